"""Encode detection requests, and decode their answers.  Pure: no network, no files.

The fields are those of the worker in workers/yolo: `image` or `images` in; `detections`, `count`, `image_size` and
`inference_time` out, or `results` with one such answer an image.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Mapping, Sequence
from dataclasses import fields
from typing import TYPE_CHECKING, Any

from vidctl.errors import ApiError, MediaError, UsageError
from vidctl.tasks.results import AnswerReader

if TYPE_CHECKING:  # Pillow stays out of a program that has no image to prepare
    from vidctl.media.image import PreparedImage

from vidctl.tasks.detect.model import Box, Detection, Detections, DetectOptions

# No image is a million pixels wide.
_READ = AnswerReader("a detection worker", largest=1e6)


def parse_classes(text: str) -> tuple[str | int, ...]:
    """Read `person,car,2`: names and ids, separated by commas; in double quotes all is a name, as in `"1","a, b"`."""
    words: list[str | int] = []
    for quoted, plain in _WORD.findall(text):
        if quoted:
            words.append(quoted.replace('""', '"'))
        elif plain:
            words.append(int(plain) if plain.isascii() and plain.isdigit() else plain)
    if not words:
        raise UsageError(f"classes: {text!r} has no names or ids", hint="omit it to detect all classes")
    return tuple(words)


_WORD = re.compile(r'\s*(?:"((?:[^"]|"")+)"|([^,]*?))\s*(?:,|$)')


def encode(images: Sequence[PreparedImage], options: DetectOptions) -> dict[str, Any]:
    """The job's input: `image` for one image, `images` for several; the rarer options only when they are set."""
    encoded = [_base64(image.jpeg) for image in images]
    payload: dict[str, Any] = {"image": encoded[0]} if len(encoded) == 1 else {"images": encoded}
    payload |= {"conf": options.conf, "iou": options.iou, "imgsz": options.imgsz}
    for name in ("max_det", "classes", "agnostic_nms"):
        value = getattr(options, name)
        if value != DEFAULTS[name]:
            payload[name] = list(value) if isinstance(value, tuple) else value
    return payload


DEFAULTS = {field.name: field.default for field in fields(DetectOptions)}


def decode(output: object, images: Sequence[PreparedImage], sources: Sequence[str]) -> list[Detections | MediaError]:
    """Read the answer to `encode(images, …)`: one entry an image, in their order, boxes in the originals' pixels.

    An image that the worker could not read becomes a MediaError in its place, and so does one of several that it saw
    in another size.  ApiError is raised for anything that does not answer the request, and names the field.
    """
    answer = _READ.mapping(output, "output")
    items = _items(answer, len(images))
    return [
        _decode_one(item, where, answer, image, source)
        for (where, item), image, source in zip(items, images, sources, strict=True)
    ]


def _items(answer: Mapping[str, Any], expected: int) -> list[tuple[str, Mapping[str, Any]]]:
    """One object an image, each with the name that an error message gives it."""
    if "results" in answer:
        results = _READ.items(answer["results"], "results")
        if len(results) != expected:
            count = f"{len(results)} result{'' if len(results) == 1 else 's'}"
            raise ApiError(f"the worker returned {count} for {expected} images")
        return [(f"results[{index}]", _READ.mapping(item, f"results[{index}]")) for index, item in enumerate(results)]
    if expected != 1 and "error" in answer:
        raise ApiError(f"the worker refused the images: {_READ.text(answer['error'], 'error')}")
    if expected != 1:
        _READ.refuse("results", "is missing")
    return [("output", answer)]


def _decode_one(
    item: Mapping[str, Any], where: str, answer: Mapping[str, Any], image: PreparedImage, source: str
) -> Detections | MediaError:
    if "error" in item:
        return MediaError(f"{source}: {_READ.text(item['error'], f'{where}.error')}")
    if "detections" not in item:
        _READ.refuse(f"{where}.detections", "is missing")
    try:
        _check_size(item.get("image_size"), where, image)
    except ApiError as error:
        if item is answer:
            raise
        return MediaError(f"{source}: {error.message}")  # the others of its job are answered
    found = _READ.items(item["detections"], f"{where}.detections")
    seconds = item.get("inference_time", answer.get("inference_time"))
    model = item.get("model", answer.get("model"))
    return Detections(
        source,
        image.width,
        image.height,
        tuple(_detection(each, f"{where}.detections[{n}]", image) for n, each in enumerate(found)),
        None if seconds is None else _READ.number(seconds, f"{where}.inference_time"),
        None if model is None else _READ.mapping(model, f"{where}.model"),
        _names(item.get("names", answer.get("names"))),
    )


def _names(value: object) -> tuple[str, ...]:
    """All of the model's classes, as workers/yolo reports them; other workers may mean other things by `names`."""
    if not isinstance(value, list) or not all(isinstance(name, str) for name in value):
        return ()
    return tuple(value)


def _check_size(value: object, where: str, image: PreparedImage) -> None:
    """An answer about an image of another size is an answer about another image."""
    sent = [image.sent_width, image.sent_height]
    if value is not None and value != sent:
        _READ.refuse(f"{where}.image_size", f"is {_READ.short(value)}, but the image sent was {sent}")


def _detection(value: object, where: str, image: PreparedImage) -> Detection:
    item = _READ.mapping(value, where)
    for name in ("bbox", "confidence", "class"):
        if name not in item:
            _READ.refuse(f"{where}.{name}", "is missing")
    class_id = _class_id(item["class"], f"{where}.class")
    return Detection(
        _box(item["bbox"], f"{where}.bbox", image),
        _confidence(item["confidence"], f"{where}.confidence"),
        class_id,
        _READ.text(item.get("class_name", str(class_id)), f"{where}.class_name"),
    )


def _box(value: object, where: str, image: PreparedImage) -> Box:
    """The box in the original's pixels, within the image, to a hundredth."""
    corners = [_READ.number(corner, where) for corner in _READ.items(value, where)]
    if len(corners) != 4:
        _READ.refuse(where, f"has {len(corners)} numbers, not 4 (x1, y1, x2, y2)")
    x1, y1, x2, y2 = corners
    if x2 < x1 or y2 < y1:
        _READ.refuse(where, "has swapped corners")
    across, down = image.width / image.sent_width, image.height / image.sent_height
    return (
        _within(x1 * across, image.width),
        _within(y1 * down, image.height),
        _within(x2 * across, image.width),
        _within(y2 * down, image.height),
    )


def _within(value: float, limit: int) -> float:
    return round(min(max(value, 0.0), float(limit)), 2)


def _confidence(value: object, where: str) -> float:
    confidence = _READ.number(value, where)
    if not -1e-3 <= confidence <= 1 + 1e-3:  # half precision may end a hair above 1
        _READ.refuse(where, f"is {confidence:g}, not between 0 and 1")
    return round(min(max(confidence, 0.0), 1.0), 4)


def _class_id(value: object, where: str) -> int:
    number = _READ.number(value, where)
    if number < 0 or number != int(number):
        _READ.refuse(where, f"is {number:g}, not a class id")
    return int(number)


def _base64(data: bytes) -> str:
    return base64.b64encode(data).decode("ascii")
