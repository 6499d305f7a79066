"""Open, orient, shrink and encode pictures.  Whatever Pillow raises leaves here as a MediaError that names the file."""

from __future__ import annotations

import io
import math
import struct
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

# Registered at import, so that no thread meets Pillow's registry half filled and no other plugin is ever tried.
from PIL import (
    BmpImagePlugin,  # noqa: F401
    GifImagePlugin,  # noqa: F401
    Image,
    JpegImagePlugin,  # noqa: F401
    PngImagePlugin,  # noqa: F401
    TiffImagePlugin,  # noqa: F401
    UnidentifiedImageError,
    WebPImagePlugin,  # noqa: F401
)

from vidctl.errors import MediaError

Size = tuple[int, int]  # width and height

FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "TIFF", "GIF")

# At 90 a detector's confidences stay within 0.01 of the original's; at 85 it begins to lose borderline boxes.
JPEG_QUALITY = 90

_ORIENTATION = 0x0112
_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}

# What damaged bytes make Pillow and its decoders raise.  Warning: a program may have turned warnings into errors.
_DAMAGE = (
    ArithmeticError,
    AssertionError,
    AttributeError,
    BufferError,
    EOFError,
    LookupError,
    MemoryError,
    OSError,
    RuntimeError,
    SyntaxError,
    TypeError,
    ValueError,
    Warning,
    struct.error,
    zlib.error,
)


@dataclass(frozen=True)
class Prepared:
    """A picture as it is sent, `sent_width` x `sent_height`; the original is displayed as `width` x `height` pixels."""

    jpeg: bytes = field(repr=False)
    width: int
    height: int
    sent_width: int
    sent_height: int


def prepare(data: bytes, *, imgsz: int, name: str) -> Prepared:
    """Make of a picture what a model of input size `imgsz` needs to see, or raise MediaError.

    The picture is turned as its EXIF orientation says.  If its longer side exceeds `imgsz` it is shrunk to exactly
    that.  An upright JPEG that is small enough is passed on byte for byte.  Of an animation the first frame counts,
    16-bit values are scaled to 8, and transparency is dropped, as Ultralytics and `Image.convert("RGB")` do.
    """
    return _prepared(data, lambda size: _fit(size, imgsz), name, flat=_rgb)


def prepare_within(data: bytes, *, max_pixels: int, name: str) -> Prepared:
    """Make of a picture what a vision-language model needs to see: at most `max_pixels` in all, or raise MediaError.

    Otherwise as `prepare` does, but what is transparent becomes white, as people see it.
    """
    return _prepared(data, lambda size: fit_within(size, max_pixels), name, flat=_on_white)


def _prepared(
    data: bytes, fit: Callable[[Size], Size], name: str, *, flat: Callable[[Image.Image], Image.Image]
) -> Prepared:
    with _reading(name):
        image = _open(data)
        size = image.size
        sent = fit(size)
        image.draft(None, sent)  # a JPEG decoder halves for free; every other one ignores this
        image.load()
        orientation = _orientation(image)
        untouched = image.format == "JPEG" and image.mode in ("RGB", "L") and sent == size and orientation == 1
        jpeg = data if untouched else encode(_turned(_shrunk(flat(image), sent), orientation))
    if orientation >= 5:
        size, sent = size[::-1], sent[::-1]
    return Prepared(jpeg, *size, *sent)


def open_upright(data: bytes, *, name: str = "picture") -> Image.Image:
    """The whole picture as people see it: full size, RGB, EXIF orientation applied; MediaError if it cannot be read."""
    with _reading(name):
        image = _open(data)
        image.load()
        return _turned(_rgb(image), _orientation(image))


def encode(image: Image.Image) -> bytes:
    """The JPEG that is sent of a picture in RGB."""
    out = io.BytesIO()
    image.save(out, "JPEG", quality=JPEG_QUALITY, comment=b"")  # without it the original's comment would travel along
    return out.getvalue()


def fit_within(size: Size, max_pixels: int) -> Size:
    """The size with the same ratio and at most `max_pixels` in all, or the size itself if it is within that."""
    width, height = size
    if width * height <= max_pixels:
        return size
    scale = math.sqrt(max_pixels / (width * height))
    width, height = max(1, math.floor(width * scale)), max(1, math.floor(height * scale))
    width = min(width, max(1, max_pixels // height))  # of what is one pixel thin, only the length can shrink
    return width, min(height, max(1, max_pixels // width))


def is_jpeg(data: bytes) -> bool:
    """Whether the bytes start as a JPEG does."""
    return data.startswith(b"\xff\xd8\xff")


@contextmanager
def _reading(name: str) -> Iterator[None]:
    """Translate whatever a decoder raises; the one border between Pillow and vidctl."""
    try:
        yield
    except MediaError as error:
        raise MediaError(f"{name}: {error.message}", hint=error.hint) from error
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise MediaError(f"{name}: more pixels than can be read safely", hint="shrink it first") from error
    except UnidentifiedImageError as error:
        raise MediaError(
            f"{name}: not a picture that can be read", hint=f"known formats: {', '.join(FORMATS)}"
        ) from error
    except MemoryError as error:
        raise MediaError(f"{name}: too large for this machine's memory", hint="shrink it first") from error
    except _DAMAGE as error:
        raise MediaError(f"{name}: damaged or incomplete picture ({_reason(error)})") from error


def _reason(error: BaseException) -> str:
    text = " ".join(str(error).split())
    return text[:120] or type(error).__name__


def _open(data: bytes) -> Image.Image:
    if not data:
        raise MediaError("0 bytes, not a picture")
    image = Image.open(io.BytesIO(data), formats=FORMATS)
    if min(image.size) < 1:
        raise MediaError("a picture of no pixels")
    return image


def _fit(size: Size, longest: int) -> Size:
    """The size with `longest` as its longer side, or the size itself if it is within that."""
    width, height = size
    if max(size) <= longest:
        return size
    scale = longest / max(size)
    return max(1, round(width * scale)), max(1, round(height * scale))


def _orientation(image: Image.Image) -> int:
    """The EXIF orientation that a loaded picture still has to be turned by; unreadable EXIF counts as upright."""
    try:
        value = image.getexif().get(_ORIENTATION, 1)
    except _DAMAGE:
        return 1
    return value if value in _UPRIGHT else 1


def _shrunk(image: Image.Image, size: tuple[int, int]) -> Image.Image:
    if image.size == size:
        return image
    return image.resize(size, Image.Resampling.BILINEAR, reducing_gap=2.0)


def _turned(image: Image.Image, orientation: int) -> Image.Image:
    return image if orientation == 1 else image.transpose(_UPRIGHT[orientation])


def _rgb(image: Image.Image) -> Image.Image:
    if image.mode.startswith(("I", "F")):
        return _eight_bit(image).convert("RGB")
    return image if image.mode == "RGB" else image.convert("RGB")


def _on_white(image: Image.Image) -> Image.Image:
    # Grey of sixteen bits has one clear value, if any; as RGBA all that is not dark would be white.
    if not image.has_transparency_data or image.mode.startswith("I"):
        return _rgb(image)
    over = image.convert("RGBA")
    return Image.alpha_composite(Image.new("RGBA", over.size, "white"), over).convert("RGB")


def _eight_bit(image: Image.Image) -> Image.Image:
    """Scale 16-bit, 32-bit and floating-point grey to 0..255; `convert` alone would clip what is brighter to white."""
    grey = image if image.mode == "F" else image.convert("I")
    full = _full_scale(image.mode, grey)
    return grey.point(lambda value: value * (255 / full)).convert("L")


def _full_scale(mode: str, grey: Image.Image) -> float:
    """The value that means white: what the mode says, or else the least usual depth that holds the brightest pixel."""
    if mode.startswith("I;16"):
        return 65535.0
    _, brightest = (float(value) for value in grey.getextrema())  # type: ignore[arg-type]  # one band: two numbers
    usual = (1.0, 255.0, 65535.0) if mode == "F" else (255.0, 65535.0)
    return next((full for full in usual if brightest <= full), brightest)
