"""Parse a job's input.  Pure: JSON in, a `Request` or one clear sentence out; no image is opened here."""

from __future__ import annotations

import difflib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import fields
import pixels
from badinput import BadInputError

if TYPE_CHECKING:
    from collections.abc import Mapping

MAX_IMAGES = 64
MAX_DETECTIONS = 1000
MIN_IMGSZ, MAX_IMGSZ = 32, 2048


@dataclass(frozen=True)
class Options:
    """How to detect.  `classes` empty means all; `imgsz` is the longer side the model sees, a multiple of 32."""

    conf: float = 0.25
    iou: float = 0.7
    classes: tuple[int, ...] = ()
    imgsz: int = 640
    max_det: int = 300
    agnostic: bool = False


@dataclass(frozen=True)
class Request:
    """The images of a job, each base64, a data: URL or an https:// URL; `is_list` asks for the answer as a list."""

    images: tuple[Any, ...]
    is_list: bool
    options: Options


def parse(job_input: Any, *, names: Mapping[int, str], imgsz: int) -> Request:
    """Check a job's `input` against the model's class `names`; `imgsz` is the model's own size.

    Unknown fields are ignored, as the simplest handlers do.  Raises BadInputError.
    """
    if not isinstance(job_input, dict):
        raise BadInputError(f"input must be an object with an image, not {fields.kind(job_input)}")
    images, is_list = _images(job_input)
    options = Options(
        conf=_fraction(job_input, "conf", Options.conf),
        iou=_fraction(job_input, "iou", Options.iou),
        classes=_classes(job_input.get("classes"), names),
        imgsz=_imgsz(job_input, imgsz),
        max_det=_whole(job_input, "max_det", Options.max_det, 1, MAX_DETECTIONS),
        agnostic=_boolean(job_input, "agnostic_nms"),
    )
    return Request(images, is_list, options)


def _images(job_input: dict[str, Any]) -> tuple[tuple[Any, ...], bool]:
    image, images = job_input.get("image"), job_input.get("images")
    if image is not None and images is not None:
        raise BadInputError("input has both image and images; send one of them")
    if images is None:
        if image is None or image == "":
            raise BadInputError("no image: input needs image (one image) or images (a list of images)")
        return (image,), False
    if not isinstance(images, list):
        raise BadInputError(f"images must be a list, not {fields.kind(images)}")
    if not images:
        raise BadInputError("images is an empty list")
    if len(images) > MAX_IMAGES:
        raise BadInputError(f"images has {len(images)} images; the limit is {MAX_IMAGES} per job")
    return tuple(images), True


def _fraction(job_input: dict[str, Any], name: str, default: float) -> float:
    value = job_input.get(name)
    return default if value is None else fields.number(name, value, 0, 1)


def _whole(job_input: dict[str, Any], name: str, default: int, low: int, high: int) -> int:
    value = job_input.get(name)
    return default if value is None else fields.whole(name, value, low, high)


def _imgsz(job_input: dict[str, Any], default: int) -> int:
    size = _whole(job_input, "imgsz", default, MIN_IMGSZ, MAX_IMGSZ)
    return pixels.stride_up(size)


def _boolean(job_input: dict[str, Any], name: str) -> bool:
    value = job_input.get(name)
    return value is not None and fields.flag(name, value)


def _classes(value: Any, names: Mapping[int, str]) -> tuple[int, ...]:
    if value is None:
        return ()
    wanted = value if isinstance(value, list) else [value]
    ids = _Ids(names)
    return tuple(sorted({_class_id(one, ids, names) for one in wanted}))


class _Ids:
    """The ids of names: of the very name, else of the first that differs in case or spaces around it only."""

    def __init__(self, names: Mapping[int, str]) -> None:
        self.folded: dict[str, int] = {}
        self._exact: dict[str, int] = {}
        for number, name in names.items():
            self._exact.setdefault(name, number)
            self.folded.setdefault(name.strip().casefold(), number)

    def get(self, wanted: str) -> int | None:
        return self._exact.get(wanted, self.folded.get(wanted.strip().casefold()))


def _class_id(wanted: Any, ids: _Ids, names: Mapping[int, str]) -> int:
    if isinstance(wanted, str):
        found = ids.get(wanted)
        if found is None:
            raise BadInputError(_unknown_class(wanted, ids.folded, names))
        return found
    if isinstance(wanted, bool) or not isinstance(wanted, int):
        raise BadInputError(f"classes must be names or whole numbers, not {fields.kind(wanted)}")
    if wanted not in names:
        raise BadInputError(f"unknown class {fields.shown(wanted)}: the model has classes {min(names)} to {max(names)}")
    return wanted


def _unknown_class(wanted: str, ids: Mapping[str, int], names: Mapping[int, str]) -> str:
    near = [names[ids[name]] for name in difflib.get_close_matches(wanted[:40].casefold(), ids, n=3, cutoff=0.6)]
    if near:
        return f"unknown class {fields.shown(wanted)}; did you mean {' or '.join(near)}?"
    some = ", ".join(list(names.values())[:8])
    return f"unknown class {fields.shown(wanted)}; the model's classes: {some}{' …' if len(names) > 8 else ''}"
