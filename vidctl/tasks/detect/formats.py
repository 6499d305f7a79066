"""Write detections in the formats that other tools read: json, jsonl, csv, coco and YOLO's txt.

Every writer takes results in the order of their sources and returns text that ends in a newline.  The text of jsonl,
csv (`header=False` after the first) and txt can be written one result at a time.
"""

from __future__ import annotations

import csv
import io
import json
import re
import unicodedata
from collections.abc import Callable, Iterable, Sequence
from itertools import repeat
from pathlib import Path, PurePath
from typing import Any
from urllib.parse import unquote, urlsplit

from vidctl.files import write_new
from vidctl.tasks.detect.model import Detection, Detections, Result
from vidctl.tasks.results import Failed

SCHEMA = "vidctl.detect/1"

# What Linux, macOS or Windows does not take in a name, and what is no character at all.
_REFUSED = re.compile(r"""[\x00-\x1f\x7f-\x9f/\\<>:"|?*\ud800-\udfff]""")

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


FORMATS: dict[str, Callable[[Iterable[Result]], str]] = {
    "json": to_json,
    "jsonl": to_jsonl,
    "csv": to_csv,
    "coco": to_coco,
    "txt": to_txt,
}


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


def stems(sources: Sequence[str], folders: Sequence[PurePath] | None = None) -> list[str]:
    """A file name without suffix for each source, to the letter where every system takes it, below its folder.

    Those that would be the same on some system get -2, -3, …: first those whose names had to be changed, for a reader
    finds the labels of an image by its very name.
    """
    pairs = zip(sources, folders or repeat(PurePath()), strict=folders is not None)
    names = ["/".join([*map(safe_name, folder.parts), _stem(source)]) for source, folder in pairs]
    is_changed = [_REFUSED.search(_own_stem(source)) is not None for source in sources]
    order = sorted(range(len(names)), key=is_changed.__getitem__)
    numbered = dict(zip(order, unique(names[at] for at in order), strict=True))
    return [numbered[at] for at in range(len(names))]


def unique(names: Iterable[str]) -> list[str]:
    """The names, with -2, -3, … for those that some file system takes for one that was before."""
    taken: set[str] = set()
    counts: dict[str, int] = {}  # the last number that each got: whoever comes next need not count from 2 again
    numbered: list[str] = []
    for name in names:
        each, folded = name, _folded(name)
        while _folded(each) in taken:
            counts[folded] = counts.get(folded, 1) + 1
            each = f"{name}-{counts[folded]}"
        taken.add(_folded(each))
        numbered.append(each)
    return numbered


def is_numbered(stem: str, source: str) -> bool:
    """Whether a source's stem has a number of its own, because another source has that name."""
    return PurePath(stem).name != _stem(source)


def safe_name(text: str) -> str:
    """The text as the name of a file or folder: what some file system refuses becomes `_`; never hidden."""
    return _fitted(_REFUSED.sub("_", text).strip(" ."), 150).rstrip(" .") or "_"


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


def _fitted(name: str, size: int) -> str:
    return name.encode()[:size].decode(errors="ignore")


def _folded(name: str) -> str:
    """What names have in common that some file system takes for one: that of a Mac knows no case and no normal form."""
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", name).casefold())


def _stem(source: str) -> str:
    # File systems allow 255 bytes, and a number and a suffix follow.
    return _fitted(_REFUSED.sub("_", _own_stem(source)), 240) or "_"


def _own_stem(source: str) -> str:
    """The name to the letter; of a URL it is decoded: `%20` is a space."""
    path = unquote(urlsplit(source).path) if source.lower().startswith(("https://", "http://")) else source
    return PurePath(path).stem
