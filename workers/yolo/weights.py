"""Find the weights, and keep their OpenVINO form: made once, named by everything it depends on."""

from __future__ import annotations

import shutil
from importlib.metadata import version
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from environment import Settings
from modelfiles import digest, locked
from ultralytics import YOLO
from ultralytics.utils.downloads import attempt_download_asset
from variables import StartError

HERE = Path(__file__).resolve().parent
RELEASE = "v8.3.0"  # of Ultralytics' assets: the one that YOLO11 came with
KNOWN_SHA256 = {
    "yolo11n.pt": "0ebbc80d4a7680d14987a577cd21342b65ecfd94632bd9a8da63ae6417644ee1",
    "yolo11s.pt": "85a76fe86dd8afe384648546b56a7a78580c7cb7b404fc595f97969322d502d5",
    "yolo11m.pt": "d5ffc1a674953a08e11a8d21e022781b1b23a19b730afc309290bd9fb5305b95",
}


def find(settings: Settings) -> Path:
    """Give the path of `settings.model`, downloaded if it is one of Ultralytics' own; raise StartError.

    A path may be relative to the working folder, to this one, or to MODEL_DIR.
    """
    model = Path(settings.model).expanduser()
    if model.suffix != ".pt":
        raise StartError(f"MODEL must be a .pt file, not {settings.model}")
    for path in (Path.cwd() / model, HERE / model, settings.folder / model):
        if path.is_file():
            _check(path, settings)
            return path
    if model.name != settings.model:
        raise StartError(f"MODEL: file not found: {settings.model}")
    return _downloaded(settings)


def _downloaded(settings: Settings) -> Path:
    path = settings.folder / settings.model
    settings.folder.mkdir(parents=True, exist_ok=True)
    with locked(path), TemporaryDirectory(dir=settings.folder) as scratch:
        if not path.is_file():
            fetched = Path(scratch) / path.name
            try:
                attempt_download_asset(fetched, **({"release": RELEASE} if path.name in KNOWN_SHA256 else {}))
            except (OSError, RuntimeError) as error:
                raise StartError(
                    f"cannot download {path.name} from Ultralytics' releases on github.com; build the image with the "
                    "weights in it, or set MODEL to a .pt file (on the local runtime: VIDCTL_YOLO_MODEL)"
                ) from error
            if not fetched.is_file():
                raise StartError(f"MODEL: {path.name} not found here or among Ultralytics' weights")
            _check(fetched, settings)
            fetched.replace(path)
    return path


def _check(path: Path, settings: Settings) -> None:
    wanted = settings.sha256 or KNOWN_SHA256.get(path.name)
    if wanted and digest(path) != wanted:
        raise StartError(f"{path.name} has another sha256 than {wanted}")


def openvino(weights: Path, folder: Path) -> Path:
    """Give the folder of the weights' OpenVINO form, exporting it on first need; several processes may ask at once."""
    versions = "-".join(version(name) for name in ("ultralytics-opencv-headless", "torch", "openvino"))
    target = folder / f"{weights.stem}-{digest(weights)[:16]}-{versions}_openvino_model"
    with locked(target), TemporaryDirectory(dir=folder) as scratch:
        if not target.is_dir():
            copy = Path(shutil.copy(weights, scratch))
            # Ultralytics writes beside the weights; only a complete export gets the name that is looked for.
            Path(export(copy)).rename(target)
    return target


def export(weights: Path) -> str:
    """Export for any image size and batch, as float32; return the folder made."""
    model = load(weights)
    return str(model.export(format="openvino", dynamic=True, imgsz=own_imgsz(model.overrides), device="cpu"))


def load(path: Path) -> Any:
    """Open weights or an export of them; raise StartError unless it is a detector."""
    try:
        model = YOLO(str(path), task="detect")
    except Exception as error:  # a pickle that is not weights fails in any way it likes
        raise StartError(f"{path.name} cannot be loaded as weights ({type(error).__name__})") from error
    if model.task != "detect":
        raise StartError(f"{path.name} is a {model.task} model; expected a detector")
    return model


def own_imgsz(overrides: dict[str, Any]) -> int:
    """The size the weights were trained for, which Ultralytics too predicts at by default."""
    imgsz = overrides.get("imgsz") or 640
    return int(max(imgsz) if isinstance(imgsz, (list, tuple)) else imgsz)
