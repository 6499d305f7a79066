"""Open, orient, resize and encode images.  Whatever Pillow raises leaves here as a MediaError that names the file."""

from __future__ import annotations

import importlib
import io
import math
import struct
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial

# Registered at import, so that no thread meets Pillow's registry half filled and no other plugin is ever tried.
from PIL import (
    BmpImagePlugin,  # noqa: F401
    GifImagePlugin,  # noqa: F401
    Image,
    ImageCms,
    Jpeg2KImagePlugin,  # noqa: F401
    JpegImagePlugin,  # noqa: F401
    PngImagePlugin,  # noqa: F401
    TiffImagePlugin,  # noqa: F401
    UnidentifiedImageError,
    WebPImagePlugin,  # noqa: F401
    features,
)

from vidctl.errors import MediaError
from vidctl.media import pixels

Size = tuple[int, int]  # width and height


def _has_avif() -> bool:
    try:
        plugin = importlib.import_module("PIL.AvifImagePlugin")  # Pillow has it since 11.3
    except ImportError:
        return False
    return bool(getattr(plugin, "SUPPORTED", False))


def _has_heif() -> bool:
    try:
        importlib.import_module("pillow_heif").register_heif_opener()
    except ImportError:
        return False
    return True


# Those that not every installation reads, by what people call them, with Pillow's name and what would help.
_EXTRA = (
    ("AVIF", "AVIF", _has_avif(), "install a newer Pillow to read them"),
    ("JPEG 2000", "JPEG2000", features.check("jpg_2000"), "install a Pillow with OpenJPEG to read them"),
    ("HEIC", "HEIF", _has_heif(), "run pip install 'vidctl[heic]' to read them"),
)
FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "TIFF", "GIF", *(name for _, name, is_read, _ in _EXTRA if is_read))
# What people call a format that is not read here, and what would help.
MISSING = {called: remedy for called, _, is_read, remedy in _EXTRA if not is_read}

_HEIC_BRANDS = (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1")

_TOKEN_SIDE = 32  # of the square that is one token of Qwen3-VL

# At 90 a detector's confidences stay within 0.01 of the original's; at 85 it begins to lose borderline boxes.
JPEG_QUALITY = 90

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
class PreparedImage:
    """An image as it is sent, `sent_width` x `sent_height`; the original is displayed as `width` x `height` pixels."""

    jpeg: bytes = field(repr=False)
    width: int
    height: int
    sent_width: int
    sent_height: int


def prepare(data: bytes, *, imgsz: int, name: str) -> PreparedImage:
    """Decode an image and resize it for a model of input size `imgsz`, or raise MediaError.

    The image is turned as its EXIF orientation says.  If its longer side exceeds what the model uses for `imgsz`, a
    multiple of 32, it is resized to exactly that.  An upright JPEG that is small enough keeps its pixels byte for byte,
    without what else its file says.  Of an animation the first frame counts; `pixels` has the rest of the rule.
    """
    longest = pixels.stride_up(imgsz)
    return _prepared(data, lambda size: _fit(size, longest), name)


def prepare_within(data: bytes, *, max_pixels: int, name: str) -> PreparedImage:
    """Decode an image and resize it for a vision-language model: at most `max_pixels` in all, or raise MediaError.

    One that is smaller than a token is enlarged to that.  Otherwise as `prepare` does.
    """
    return _prepared(data, lambda size: for_language(size, max_pixels), name)


def _prepared(data: bytes, fit: Callable[[Size], Size], name: str) -> PreparedImage:
    with _reading(name):
        image = _open(data)
        size = image.size
        sent = fit(size)
        image.draft(None, sent)  # a JPEG decoder halves for free; every other one ignores this
        image.load()
        orientation = pixels.orientation(image)
        if image.format == "JPEG" and image.mode in ("RGB", "L") and sent == size and orientation == 1:
            jpeg = pixels.bare(data)  # not compressed once more
        else:
            jpeg = encode(pixels.turned(_resized(pixels.flat(image), sent), orientation))
    if orientation >= 5:
        size, sent = size[::-1], sent[::-1]
    return PreparedImage(jpeg, *size, *sent)


def open_upright(data: bytes, *, name: str = "image") -> Image.Image:
    """The whole image as people see it: full size, sRGB, upright, on white; MediaError if it cannot be read."""
    with _reading(name):
        image = _open(data)
        image.load()
        orientation, profile = pixels.orientation(image), image.info.get("icc_profile")
        shown = pixels.flat(image, in_rgb=partial(_in_srgb, profile=profile)) if profile else pixels.flat(image)
        return pixels.turned(shown, orientation)


def encode(image: Image.Image) -> bytes:
    """The JPEG that is sent of an image in RGB; nothing else of its file is sent."""
    out = io.BytesIO()
    image.save(out, "JPEG", quality=JPEG_QUALITY, comment=b"")  # without it the original's comment would be sent
    return out.getvalue()


def for_language(size: Size, max_pixels: int) -> Size:
    """The size for a vision-language model: at most `max_pixels`, and where that allows no side under a token's.

    Other servers than ours run processors that refuse what is smaller than a token; ours would enlarge it itself.
    """
    shorter = min(size)
    if shorter < _TOKEN_SIDE:
        width, height = (math.ceil(side * _TOKEN_SIDE / shorter) for side in size)
        if width * height <= max_pixels:
            return width, height
    return pixels.fit_within(size, max_pixels)


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
        raise MediaError(f"{name}: too many pixels to decode safely", hint="resize it first") from error
    except UnidentifiedImageError as error:
        raise MediaError(
            f"{name}: not an image of a supported format", hint=f"convert it to one of {', '.join(FORMATS)}"
        ) from error
    except MemoryError as error:
        raise MediaError(f"{name}: out of memory while decoding", hint="resize it first") from error
    except _DAMAGE as error:
        raise MediaError(f"{name}: damaged or incomplete image ({_reason(error)})") from error


def _reason(error: BaseException) -> str:
    text = " ".join(str(error).split())
    return text[:120] or type(error).__name__


def _open(data: bytes) -> Image.Image:
    if not data:
        raise MediaError("0 bytes, not an image")
    if "HEIC" in MISSING and data[4:8] == b"ftyp" and data[8:12] in _HEIC_BRANDS:
        raise MediaError("HEIC is not supported by this installation", hint=MISSING["HEIC"])
    image = pixels.opened(data, FORMATS)
    if min(image.size) < 1:
        raise MediaError("not an image: 0 pixels")
    return image


def _fit(size: Size, longest: int) -> Size:
    """The size with `longest` as its longer side, or the size itself if it is within that."""
    width, height = size
    if max(size) <= longest:
        return size
    scale = longest / max(size)
    return max(1, round(width * scale)), max(1, round(height * scale))


def _resized(image: Image.Image, size: tuple[int, int]) -> Image.Image:
    if image.size == size:
        return image
    return image.resize(size, Image.Resampling.BILINEAR, reducing_gap=2.0)


def _in_srgb(colour: Image.Image, *, profile: bytes) -> Image.Image:
    """The colours as the file's profile means them; a profile that cannot be applied counts as sRGB."""
    if colour.mode not in ("L", "RGB", "CMYK"):
        colour = colour.convert("RGB")
    try:
        meant = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        if "sRGB" in ImageCms.getProfileDescription(meant):
            return colour.convert("RGB")
        converted = ImageCms.profileToProfile(colour, meant, ImageCms.createProfile("sRGB"), outputMode="RGB")
    except (ImageCms.PyCMSError, *_DAMAGE):
        return colour.convert("RGB")
    return converted or colour.convert("RGB")
