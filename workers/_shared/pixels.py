"""What of an image file counts as its pixels: the one rule of client and workers.  Needs Pillow only.

Turned as its EXIF says (XMP is ignored, as OpenCV, which Ultralytics reads with, does not).  Transparency lies on
white.  Deeper grey is scaled to 8 bits; values that are not finite are black; WhiteIsZero is inverted.  Text in a PNG
is never read.
"""

from __future__ import annotations

import io
import math
import re
from collections.abc import Callable, Collection, Iterator
from typing import Any

from PIL import Image, ImageMath
from PIL.Image import open as open_image  # bound before Ultralytics puts one in its place that would install packages

STRIDE = 32  # of a detector's input
LONGEST_RATIO = 200  # of the sides: transformers refuses what is longer (qwen2_vl/image_processing_qwen2_vl.py)

_ORIENTATION, _PHOTOMETRIC = 0x0112, 0x0106
_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_LARGEST_FLOAT = 3.4e38

_PNG = b"\x89PNG\r\n\x1a\n"
_PNG_TEXT = frozenset({b"tEXt", b"zTXt", b"iTXt"})
_PNG_BESIDE = _PNG_TEXT | {b"eXIf", b"tIME", b"iCCP"}
# A marker of a JPEG; in its scans 0xFF stands before 0 and before the eight restarts, which are none.
_MARKER = re.compile(rb"\xff+([^\x00\xff\xd0-\xd7])", re.DOTALL)
_APPLICATION, _COMMENT, _START, _END = range(0xE0, 0xF0), 0xFE, 0xD8, 0xD9


def stride_up(imgsz: int) -> int:
    """The longer side that a detector uses for an input size of `imgsz`."""
    return math.ceil(imgsz / STRIDE) * STRIDE


def is_too_long(size: tuple[int, int]) -> bool:
    """Whether a vision-language model's processor refuses an image of this width and height."""
    return max(size) > LONGEST_RATIO * min(size)


def fit_within(size: tuple[int, int], max_pixels: int) -> tuple[int, int]:
    """The size with the same ratio and at most `max_pixels` in all, or the size itself if it is within that.

    A side that is not too long before does not become so: what is near the limit is made a little smaller.
    """
    width, height = size
    if width * height <= max_pixels:
        return size
    scale = math.sqrt(max_pixels / (width * height))
    width, height = max(1, math.floor(width * scale)), max(1, math.floor(height * scale))
    width = min(width, max(1, max_pixels // height))  # of what is one pixel thin, only the length can change
    height = min(height, max(1, max_pixels // width))
    if is_too_long(size):
        return width, height
    return min(width, LONGEST_RATIO * height), min(height, LONGEST_RATIO * width)


def opened(data: bytes, formats: Collection[str]) -> Image.Image:
    """The image, its pixels not decoded yet; raises what Pillow does."""
    image = open_image(io.BytesIO(_png_without(data, _PNG_TEXT)), formats=tuple(formats))
    for name in ("xmp", "XML:com.adobe.xmp"):  # a TIFF turns itself when it is loaded
        image.info.pop(name, None)
    return image


def orientation(image: Image.Image) -> int:
    """EXIF's, 1 to 8, that a loaded image still has to be turned by; 1 is upright, as is what makes no sense."""
    exif = Image.Exif()
    try:
        exif.load(image.info.get("exif") or b"")
        value = exif.get(_ORIENTATION, 1)
        return int(value) if value in _UPRIGHT else 1
    except Exception:  # noqa: BLE001  its readers raise what struct, Pillow's TIFF plugin and int do
        return 1


def turned(image: Image.Image, orientation: int) -> Image.Image:
    """The image upright."""
    return image.transpose(_UPRIGHT[orientation]) if orientation in _UPRIGHT else image


def _in_rgb(colour: Image.Image) -> Image.Image:
    return colour if colour.mode == "RGB" else colour.convert("RGB")


def flat(image: Image.Image, *, in_rgb: Callable[[Image.Image], Image.Image] = _in_rgb) -> Image.Image:
    """A loaded image in RGB, on white, with nothing of what its file says beside the pixels.

    `in_rgb` makes RGB of the colours, which come to it without their alpha.
    """
    colour, alpha = _parted(image)
    shown = in_rgb(colour)
    if alpha is not None:
        shown = Image.composite(shown, Image.new("RGB", shown.size, "white"), alpha)
    shown.info = {}  # Pillow would write some of it into the next file
    return shown


def bare(data: bytes) -> bytes:
    """A JPEG or PNG without what is not its pixels: no EXIF, XMP, comment, thumbnail, profile, nor what follows it."""
    if data.startswith(b"\xff\xd8\xff"):
        return b"".join(_jpeg_segments(data))
    return _png_without(data, _PNG_BESIDE)


def _parted(image: Image.Image) -> tuple[Image.Image, Image.Image | None]:
    """The colours, and the alpha if there is any."""
    if image.mode.startswith(("I", "F")):
        clear = image.info.get("transparency")  # of deep grey one value is clear, if any
        mask = _where(image, lambda values: values != clear) if isinstance(clear, int) else None
        return _in_8_bits(image), mask
    if not image.has_transparency_data:
        return image, None
    over = image.convert("RGBA")
    is_grey = image.mode in ("L", "LA")
    return over.getchannel("R") if is_grey else over.convert("RGB"), over.getchannel("A")


def _in_8_bits(image: Image.Image) -> Image.Image:
    """Scale 16-bit, 32-bit and floating-point grey to 0..255; `convert` alone would clip what is brighter to white."""
    grey, is_finite = _in_floats(image), None
    if image.mode == "F":
        is_finite = _where(grey, lambda values: abs(values) <= _LARGEST_FLOAT)
        grey = _on_black(grey, is_finite)
    scale, least = 255 / _full_scale(image.mode, grey), 0.0
    if _is_white_zero(image):
        scale, least = -scale, 255.0
    shallow = grey.point(lambda value: value * scale + (least + 0.5)).convert("L")
    return shallow if is_finite is None else _on_black(shallow, is_finite)


def _on_black(image: Image.Image, mask: Image.Image) -> Image.Image:
    ground = Image.new(image.mode, image.size)
    ground.paste(image, mask=mask.convert("1"))
    return ground


def _in_floats(image: Image.Image) -> Image.Image:
    return image if image.mode == "F" else image.convert("I").convert("F")


def _where(image: Image.Image, claim: Callable[[Any], Any]) -> Image.Image:
    """255 where the claim about the values holds, else 0."""
    found: Image.Image = ImageMath.lambda_eval(lambda use: claim(use["values"]), values=_in_floats(image))
    return found.point(lambda value: value * 255).convert("L")


def _full_scale(mode: str, grey: Image.Image) -> float:
    """The value that means white: what the mode says, or else the least usual depth that holds the brightest pixel."""
    if mode.startswith("I;16"):
        return 65535.0
    _, brightest = (float(value) for value in grey.getextrema())  # type: ignore[arg-type]  # one band: two numbers
    usual = (1.0, 255.0, 65535.0) if mode == "F" else (255.0, 65535.0)
    return next((full for full in usual if brightest <= full), brightest)


def _is_white_zero(image: Image.Image) -> bool:
    """Whether a TIFF's least value is white, which Pillow minds up to 8 bits only."""
    tags = getattr(image, "tag_v2", None)
    return tags is not None and tags.get(_PHOTOMETRIC) == 0


def _png_without(data: bytes, kinds: Collection[bytes]) -> bytes:
    """The PNG without chunks of these kinds; what is none, or has none, as it is."""
    if not data.startswith(_PNG):
        return data
    kept, at, since = [], len(_PNG), 0
    while at + 8 <= len(data):
        end = at + 12 + int.from_bytes(data[at : at + 4], "big")
        kind = data[at + 4 : at + 8]
        if kind in kinds:
            kept.append(data[since:at])
            since = end
        at = end
        if kind == b"IEND":
            break
    return b"".join((*kept, data[since:])) if kept else data


def _jpeg_segments(data: bytes) -> Iterator[bytes]:
    yield data[:2]
    at = 2
    while found := _MARKER.search(data, at):
        yield data[at : found.start()]  # a scan, after the segment that starts it
        marker, at = found[1][0], found.end()
        if marker == _END:
            yield b"\xff\xd9"
            return
        if marker > _START or marker in range(0xC0, 0xD0):
            at += int.from_bytes(data[at : at + 2], "big")
        segment = data[found.end() : at]
        if marker != _COMMENT and (marker not in _APPLICATION or segment[2:7] in (b"JFIF\0", b"Adobe")):
            yield b"\xff" + found[1] + segment
    yield data[at:]
