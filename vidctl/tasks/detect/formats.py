"""Write detections as lines, or in the formats that other tools read: json, jsonl, csv, coco and YOLO's txt.

Every writer takes results in the order of their sources and returns text that ends in a newline.  The text of jsonl,
csv (`header=False` after the first) and txt can be written one result at a time.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vidctl.files import write_new
from vidctl.tasks.detect.model import Detection, Detections, Result
from vidctl.tasks.formats import ResultFormat, by_name
from vidctl.tasks.names import stems
from vidctl.tasks.results import Failed
from vidctl.text import one_line

SCHEMA = "vidctl.detect/1"

# The first seven are those of supervision's CSVSink; tracker_id stays empty, as there.
CSV_COLUMNS = (
    "x_min", "y_min", "x_max", "y_max", "class_id", "confidence", "tracker_id", "class_name",
    "source", "width", "height",
)  # fmt: skip


def to_json(results: Iterable[Result], *, endpoint: str | None = None) -> str:
    """One document for any number of images: `{"schema", "results": […]}`; a failed source has `error` and `code`.

    `endpoint` is the one that answered.
    """
    document = {"schema": SCHEMA, **_endpoint_field(endpoint), "results": [result.to_dict() for result in results]}
    return json.dumps(document, ensure_ascii=False, allow_nan=False, indent=2) + "\n"


def to_jsonl(results: Iterable[Result], *, endpoint: str | None = None) -> str:
    """One object a line, one line a source."""
    return "".join(
        json.dumps(
            {"schema": SCHEMA, **_endpoint_field(endpoint), **result.to_dict()}, ensure_ascii=False, allow_nan=False
        )
        + "\n"
        for result in results
    )


def _endpoint_field(endpoint: str | None) -> dict[str, str]:
    return {} if endpoint is None else {"endpoint": endpoint}


def to_csv(results: Iterable[Result], *, header: bool = True) -> str:
    """One row a detection, in pixels.  A source that failed, or shows nothing, has no row."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    if header:
        writer.writerow(CSV_COLUMNS)
    for result in results:
        if isinstance(result, Detections):
            writer.writerows(_row(found, result) for found in result.detections)
    return out.getvalue()


def to_coco(results: Iterable[Result]) -> str:
    """A COCO data set with scores.  Image ids count sources from 1; a failed one leaves a gap and is in `errors`.

    A category's id is its class's, counted from 1.  All of the model's classes are there if the worker reports
    them, else those that were detected.
    """
    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    errors: list[dict[str, Any]] = []
    all_names: tuple[str, ...] = ()
    detected: dict[int, str] = {}
    for image_id, result in enumerate(results, start=1):
        if isinstance(result, Failed):
            errors.append(result.to_dict())
            continue
        images.append({"id": image_id, "file_name": result.source, "width": result.width, "height": result.height})
        all_names = all_names or result.names
        for found in result.detections:
            detected.setdefault(found.class_id, found.class_name)
            # From 1: pycocotools' COCOeval takes an annotation id of 0 for "no match".
            annotations.append({"id": len(annotations) + 1, "image_id": image_id, **_coco(found)})
    names = detected | dict(enumerate(all_names))
    document = {
        "info": {"description": SCHEMA},
        "licenses": [],
        "images": images,
        "annotations": annotations,
        "categories": [{"id": class_id + 1, "name": names[class_id]} for class_id in sorted(names)],
    }
    if errors:
        document["errors"] = errors
    return json.dumps(document, ensure_ascii=False, allow_nan=False) + "\n"


def to_txt(results: Iterable[Result], *, save_conf: bool = False) -> str:
    """The label files of several images, to be looked at: under a `# source` line each."""
    return "".join(
        _heading(result) + (yolo_lines(result, save_conf=save_conf) if isinstance(result, Detections) else "")
        for result in results
    )


def to_lines(results: Iterable[Result]) -> str:
    """A line a detection, of source, class, confidence, x1, y1, x2 and y2, parted by tabs.

    A class name may have spaces.  An image without a detection is a line with its source alone; a failed one has none.
    """
    return "".join(f"{line}\n" for result in results if isinstance(result, Detections) for line in _lines(result))


@dataclass(frozen=True)
class DetectionsContext:
    """What is known besides the results: the endpoint that answered, and where in the run they are."""

    endpoint: str | None = None
    save_conf: bool = False
    is_first: bool = True
    is_only: bool = False  # the one image of its run: its labels are a file that a training reads


DetectionsFormat = ResultFormat[Result, DetectionsContext]


def _txt(results: Sequence[Result], context: DetectionsContext) -> str:
    if not context.is_only:
        return to_txt(results, save_conf=context.save_conf)
    return "".join(yolo_lines(each, save_conf=context.save_conf) for each in results if isinstance(each, Detections))


FORMATS: dict[str, DetectionsFormat] = by_name(
    ResultFormat("table", lambda results, _: to_lines(results)),
    ResultFormat(
        "json",
        lambda results, context: to_json(results, endpoint=context.endpoint),
        ("json",),
        is_document=True,
        is_json=True,
        has_failures=True,
    ),
    ResultFormat(
        "jsonl",
        lambda results, context: to_jsonl(results, endpoint=context.endpoint),
        ("jsonl",),
        is_json=True,
        has_failures=True,
    ),
    ResultFormat("csv", lambda results, context: to_csv(results, header=context.is_first), ("csv",)),
    ResultFormat("coco", lambda results, _: to_coco(results), is_document=True, has_failures=True),
    ResultFormat("txt", _txt, ("txt",)),
)


def yolo_lines(result: Detections, *, save_conf: bool = False) -> str:
    """The label file of one image, as Ultralytics' `save_txt` writes it, and trains on.

    Class, centre x, centre y, width, height (all 0 to 1); `save_conf` adds the confidence, which no training takes.
    """
    return "".join(_yolo(found, result, save_conf=save_conf) for found in result.detections)


def save_txt(
    result: Detections, folder: Path, *, stem: str | None = None, overwrite: bool = False, save_conf: bool = False
) -> Path:
    """Write the image's label file into the folder; see `stems` for images that share a name.

    Labels that are there and differ are only replaced with `overwrite`.
    """
    path = folder / f"{stem or stems([result.source])[0]}.txt"
    return write_new(path, yolo_lines(result, save_conf=save_conf).encode(), overwrite=overwrite)


def _lines(result: Detections) -> Iterator[str]:
    source = one_line(result.source)
    if not result.detections:
        yield source
    for found in result.detections:
        corners = (f"{corner:.0f}" for corner in found.bbox)
        yield "\t".join([source, one_line(found.class_name), f"{found.confidence:.2f}", *corners])


def _row(found: Detection, result: Detections) -> tuple[object, ...]:
    return (
        *found.bbox, found.class_id, found.confidence, "", found.class_name, result.source, result.width, result.height,
    )  # fmt: skip


def _coco(found: Detection) -> dict[str, Any]:
    x1, y1, x2, y2 = found.bbox
    width, height = round(x2 - x1, 2), round(y2 - y1, 2)
    return {
        "category_id": found.class_id + 1,
        "bbox": [x1, y1, width, height],
        "area": round(width * height, 2),
        "segmentation": [],
        "iscrowd": 0,
        "score": found.confidence,
    }


def _heading(result: Result) -> str:
    source = " ".join(result.source.splitlines())
    problem = f": {' '.join(result.error.message.splitlines())}" if isinstance(result, Failed) else ""
    return f"# {source}{problem}\n"


def _yolo(found: Detection, result: Detections, *, save_conf: bool) -> str:
    x1, y1, x2, y2 = found.bbox
    numbers = (
        (x1 + x2) / 2 / result.width,
        (y1 + y2) / 2 / result.height,
        (x2 - x1) / result.width,
        (y2 - y1) / result.height,
        *([found.confidence] if save_conf else []),
    )
    return f"{found.class_id} {' '.join(f'{number:.6g}' for number in numbers)}\n"
