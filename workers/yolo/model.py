"""The detector: one model, loaded once and warm.  Import it after `Settings.apply()`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch
import torchvision_ops
import weights
from environment import Settings
from ultralytics.utils import YAML
from variables import StartError

if TYPE_CHECKING:
    from pathlib import Path

    from jobinput import Options
    from numpy.typing import NDArray


class Detector:
    """Finds the classes in `names` (id → name).  `info` describes it for the answers; `imgsz` is its own size."""

    def __init__(self, settings: Settings) -> None:
        """Load the weights, export them where the format asks for it, and warm up; raise StartError."""
        torchvision_ops.make_usable()
        self.device = _device(settings.device)
        on_gpu = self.device.startswith("cuda")
        self.half = on_gpu if settings.half is None else settings.half and on_gpu
        self.max_batch = settings.max_batch or (32 if on_gpu else 8)
        self.format = format_for(settings, self.device)
        path = weights.find(settings)
        self._yolo = weights.load(form(path, self.format, settings))
        self.names, self.imgsz = self._described()
        self.info: dict[str, Any] = {
            "name": path.stem,
            "task": "detect",
            "classes": len(self.names),
            "imgsz": self.imgsz,
            "format": self.format,
            "device": self.device,
            "half": self.half,
        }
        self._warm_up(settings.threads)

    def detect(self, images: list[NDArray[np.uint8]], options: Options) -> list[NDArray[np.float32]]:
        """Run one batch of BGR images (height, width, 3); give each its rows x1, y1, x2, y2, confidence, class."""
        results = self._yolo.predict(
            images,
            conf=options.conf,
            iou=options.iou,
            classes=list(options.classes) or None,
            imgsz=options.imgsz,
            max_det=options.max_det,
            agnostic_nms=options.agnostic,
            device=self.device,
            half=self.half,
            batch=len(images),
            verbose=False,
        )
        return [result.boxes.data.cpu().numpy() for result in results]

    def _described(self) -> tuple[dict[int, str], int]:
        if self.format == "pytorch":
            return dict(self._yolo.names), weights.own_imgsz(self._yolo.overrides)
        metadata = YAML.load(f"{self._yolo.model}/metadata.yaml")
        return dict(metadata["names"]), weights.own_imgsz(metadata)

    def _warm_up(self, threads: int) -> None:
        from jobinput import Options

        blank = np.zeros((self.imgsz, self.imgsz, 3), np.uint8)
        self.detect([blank], Options(imgsz=self.imgsz))
        if self.device == "cpu":
            # The first predict on a CPU sets torch to one thread fewer than there are cores.
            torch.set_num_threads(threads)
        self.detect([blank] * self.max_batch, Options(imgsz=self.imgsz))


def form(path: Path, name: str, settings: Settings) -> Path:
    """Give what the model loads from: the weights themselves, or their OpenVINO form."""
    return weights.openvino(path, settings.folder) if name == "openvino" else path


def format_for(settings: Settings, device: str) -> str:
    """OpenVINO is the fastest on a CPU; a GPU runs the weights as they are."""
    if settings.format != "auto":
        if settings.format == "openvino" and device != "cpu":
            raise StartError("FORMAT=openvino requires DEVICE=cpu")
        return settings.format
    return "openvino" if device == "cpu" else "pytorch"


def _device(wanted: str) -> str:
    has_gpu = torch.cuda.is_available()
    if wanted == "auto":
        return "cuda:0" if has_gpu else "cpu"
    if wanted == "cpu":
        return "cpu"
    name = f"cuda:{wanted}" if wanted.isdecimal() else "cuda:0" if wanted == "cuda" else wanted
    if not name.startswith("cuda:"):
        raise StartError(f"DEVICE must be auto, cpu, cuda or a GPU's number, not {wanted!r}")
    if not has_gpu:
        raise StartError(f"DEVICE={wanted}, but torch found no GPU")
    return name


def prepare(settings: Settings) -> str:
    """Make what a start would have to make: weights and export; return what is ready.  Raises StartError."""
    torchvision_ops.make_usable()
    path = weights.find(settings)
    name = format_for(settings, _device(settings.device))
    form(path, name, settings)
    return f"{path.name} is ready as {name}"
