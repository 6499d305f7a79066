"""Draw detections into images, and cut them out."""

from __future__ import annotations

import functools
import io
from collections.abc import Iterable
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

from vidctl.errors import UsageError
from vidctl.files import write_new
from vidctl.media.image import is_jpeg, open_upright
from vidctl.tasks.detect.model import Detection, Detections
from vidctl.tasks.names import safe_name, stems

Colour = tuple[int, int, int]

# Okabe and Ito's colours, which people with any kind of colour blindness tell apart, then Tol's muted ones.
PALETTE: tuple[Colour, ...] = (
    (230, 159, 0), (86, 180, 233), (0, 158, 115), (240, 228, 66), (0, 114, 178), (213, 94, 0), (204, 121, 167),
    (136, 204, 238), (68, 170, 153), (17, 119, 51), (153, 153, 51), (221, 204, 119), (204, 102, 119), (136, 34, 85),
    (170, 68, 153), (51, 34, 136),
)  # fmt: skip

_JPEG_QUALITY = 92

# Fonts of many scripts as systems have them, the widest first; Pillow looks where the system keeps its fonts.
_WIDE_FONTS = (
    "NotoSansCJK-Regular.ttc", "Arial Unicode.ttf", "DroidSansFallbackFull.ttf", "wqy-microhei.ttc",
    "Hiragino Sans GB.ttc", "PingFang.ttc", "AppleSDGothicNeo.ttc", "msyh.ttc", "meiryo.ttc", "malgun.ttf",
    "NotoSansDevanagari-Regular.ttf", "NotoSansArabic-Regular.ttf", "NotoSansThai-Regular.ttf", "Nirmala.ttf",
    "segoeui.ttf", "unifont.ttf", "FreeSans.ttf", "DejaVuSans.ttf", "NotoSans-Regular.ttf", "Arial.ttf",
)  # fmt: skip
_PROBED = 20  # pixels high
_NO_CHARACTER = "\U0010ffff"  # Unicode keeps this place empty for ever, so each font draws its box

_Font = ImageFont.ImageFont | ImageFont.FreeTypeFont


def annotate(image: Image.Image, detections: Iterable[Detection], *, line_width: int | None = None) -> Image.Image:
    """A copy with a box and a label like `person 0.91` for each detection, the most confident on top.

    A class whose name no font here can write is labelled with its id.  `line_width` in pixels follows the size of the
    image unless given.
    """
    copy = image.convert("RGB") if image.mode != "RGB" else image.copy()
    draw = ImageDraw.Draw(copy)
    line = line_width or max(2, round(sum(copy.size) / 2 * 0.003))
    size = max(11, round(sum(copy.size) / 2 * 0.018))
    for found in sorted(detections, key=lambda each: each.confidence):
        colour = PALETTE[found.class_id % len(PALETTE)]
        draw.rectangle(found.bbox, outline=colour, width=line)
        _label(draw, found, colour, size, copy.size, line)
    return copy


def save_annotated(
    result: Detections, data: bytes, folder: Path, *, stem: str | None = None, overwrite: bool = False
) -> Path:
    """Write the annotated image into the folder: a JPEG stays a JPEG, all else becomes PNG.

    `stem` names the file; without it the source does (see `files.stems` for sources that share a name).  UsageError if
    that would overwrite the source itself, MediaError if it cannot be read, VidctlError if nothing can be written, or
    another file is there without `overwrite`.
    """
    suffix = ".jpg" if is_jpeg(data) else ".png"
    path = folder / f"{stem or stems([result.source])[0]}{suffix}"
    _refuse_source(path, result.source)
    annotated = annotate(open_upright(data, name=result.source), result.detections)
    return write_new(path, _bytes(annotated, suffix), overwrite=overwrite)


def save_crops(
    result: Detections, data: bytes, folder: Path, *, stem: str | None = None, overwrite: bool = False
) -> list[Path]:
    """Write each detection as `folder/<class name>/<stem>-<n>.jpg`, n counting the image's detections from 1.

    Boxes of less than a pixel are left out.  Errors are those of `save_annotated`.
    """
    stem = stem or stems([result.source])[0]
    image = open_upright(data, name=result.source)
    paths = []
    for number, found in enumerate(result.detections, start=1):
        x1, y1, x2, y2 = (round(corner) for corner in found.bbox)
        if x2 > x1 and y2 > y1:
            path = folder / safe_name(found.class_name) / f"{stem}-{number}.jpg"
            _refuse_source(path, result.source)
            crop = _bytes(image.crop((x1, y1, x2, y2)), ".jpg")
            paths.append(write_new(path, crop, overwrite=overwrite))
    return paths


def _label(
    draw: ImageDraw.ImageDraw,
    found: Detection,
    colour: Colour,
    font_size: int,
    size: tuple[int, int],
    line: int,
) -> None:
    """Above the box where there is room, else inside its top edge; never outside the image."""
    name = "".join(char if char.isprintable() else " " for char in found.class_name)
    file = _font_of(name)
    font = ImageFont.truetype(file, font_size) if file else ImageFont.load_default(font_size)
    text = f"{found.class_id if file is None else name} {found.confidence:.2f}"
    left, top, right, bottom = draw.textbbox((0, 0), text, font=font)
    pad = max(2, round((bottom - top) * 0.25))
    width, height = right - left + 2 * pad, bottom - top + 2 * pad
    x = max(0, min(found.bbox[0], size[0] - width))
    above = found.bbox[1] - height + line
    y = above if above >= 0 else max(0, min(found.bbox[1], size[1] - height))
    draw.rectangle((x, y, x + width, y + height), fill=colour)
    draw.text((x + pad - left, y + pad - top), text, fill=_readable_on(colour), font=font)


@functools.lru_cache(maxsize=1000)
def _font_of(name: str) -> str | None:
    """The font that has all of the characters: "" is Pillow's own, None says that there is none."""
    if _has_all(ImageFont.load_default(_PROBED), name):
        return ""
    return next((file for file in _WIDE_FONTS if (font := _found(file)) and _has_all(font, name)), None)


@functools.cache
def _found(file: str) -> ImageFont.FreeTypeFont | None:
    try:
        return ImageFont.truetype(file, _PROBED)
    except OSError:
        return None


def _has_all(font: _Font, name: str) -> bool:
    missing = _drawn(font, _NO_CHARACTER)
    return all(char == " " or _drawn(font, char) != missing for char in set(name))


def _drawn(font: _Font, char: str) -> tuple[object, bytes]:
    mask = font.getmask(char)
    return mask.size, bytes(mask)


def _readable_on(colour: Colour) -> Colour:
    """Black or white, whichever contrasts more (luminance by ITU-R BT.601)."""
    red, green, blue = colour
    return (0, 0, 0) if 0.299 * red + 0.587 * green + 0.114 * blue > 128 else (255, 255, 255)


def _refuse_source(path: Path, source: str) -> None:
    try:
        same = path.samefile(source)
    except (OSError, ValueError):
        return
    if same:
        raise UsageError(f"{path}: would overwrite the source", hint="save into another folder")


def _bytes(image: Image.Image, suffix: str) -> bytes:
    out = io.BytesIO()
    if suffix == ".jpg":
        image.save(out, "JPEG", quality=_JPEG_QUALITY, comment=b"")
    else:
        image.save(out, "PNG", compress_level=4)
    return out.getvalue()
