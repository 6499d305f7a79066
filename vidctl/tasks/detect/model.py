"""What detection takes and gives: its options and its results."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from vidctl.errors import UsageError
from vidctl.tasks.options import settle
from vidctl.tasks.results import Failed

if TYPE_CHECKING:  # Pillow stays out of a program that has no image to prepare
    pass

Box = tuple[float, float, float, float]


@dataclass(frozen=True)
class DetectOptions:
    """What to look for, with Ultralytics' names and defaults; UsageError for a value out of range.

    `conf` and `iou` are 0 to 1, `imgsz` is in pixels, `classes` holds class names or ids (empty: all).
    """

    conf: float = 0.25
    iou: float = 0.7
    imgsz: int = 640
    max_det: int = 300
    classes: tuple[str | int, ...] = ()
    agnostic_nms: bool = False

    def __post_init__(self) -> None:
        settle(self)
        _check_fraction("conf", self.conf)
        _check_fraction("iou", self.iou)
        _check_whole("imgsz", self.imgsz, 32, 2048)
        _check_whole("max_det", self.max_det, 1, 1000)
        for wanted in self.classes:
            if isinstance(wanted, bool) or (wanted < 0 if isinstance(wanted, int) else not wanted):
                raise UsageError(f"classes must be class names or ids, not {wanted!r}")


@dataclass(frozen=True)
class Detection:
    """One object: `bbox` is x1, y1, x2, y2 in pixels of the original image as displayed; `confidence` is 0 to 1."""

    bbox: Box
    confidence: float
    class_id: int
    class_name: str

    def to_dict(self) -> dict[str, Any]:
        """The fields of the worker's answer."""
        return {
            "bbox": list(self.bbox),
            "confidence": self.confidence,
            "class": self.class_id,
            "class_name": self.class_name,
        }


@dataclass(frozen=True)
class Detections:
    """What was found in one image of `width` x `height` pixels, most confident first as the worker sends them.

    `names` are all of the model's classes, by their ids; empty if the worker does not report them.
    """

    source: str
    width: int
    height: int
    detections: tuple[Detection, ...]
    inference_s: float | None = None
    model: Mapping[str, Any] | None = None
    names: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """The worker's own fields, with the source in front; those without a value, and `names`, are left out."""
        known: dict[str, Any] = {
            "source": self.source,
            "image_size": [self.width, self.height],
            "count": len(self.detections),
            "detections": [detection.to_dict() for detection in self.detections],
            "inference_time": self.inference_s,
            "model": None if self.model is None else dict(self.model),
        }
        return {key: value for key, value in known.items() if value is not None}


Result = Detections | Failed


def _check_fraction(name: str, value: float) -> None:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value <= 1:
        raise UsageError(f"{name} must be between 0 and 1, not {value}")


def _check_whole(name: str, value: int, least: int, most: int) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
        raise UsageError(f"{name} must be a whole number from {least} to {most}, not {value}")
