"""From what a caller sent to what the engine is sent.  Any bytes give a `Image` or BadInputError, nothing else."""

from __future__ import annotations

import base64
import io
import math
from dataclasses import dataclass, field
from typing import Any

import pixels
from badinput import BadInputError
from base64text import from_text
from download import download, is_url
from PIL import Image, UnidentifiedImageError

# The formats the worker says it reads.  Pillow knows forty more, among them ones that start other programs.
FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "GIF", "TIFF")
MOST_PIXELS = 100_000_000
MAX_DOWNLOAD_BYTES = 50_000_000
DOWNLOAD_TIMEOUT_S = 20  # for all of it
SILENCE_S = 10  # until a server's next byte
JPEG_QUALITY = 95
MOST_BESIDE = 65_536  # bytes of a file beside its pixels that are passed on: a profile, not an album in its comments
# Qwen3-VL sees patches of 16 pixels, 2 by 2 of which are one token (its preprocessor_config.json).
SIDE = 32

Image.init()  # Pillow loads its formats at the first image, which here comes on several threads at once


@dataclass(frozen=True)
class LoadedImage:
    """An image as the engine is sent it, `width` x `height` pixels; `mime` is image/jpeg or image/png."""

    data: bytes = field(repr=False)
    mime: str
    width: int
    height: int

    @property
    def url(self) -> str:
        return f"data:{self.mime};base64,{base64.b64encode(self.data).decode('ascii')}"


def seen(width: int, height: int, min_pixels: int, max_pixels: int) -> tuple[int, int]:
    """The size in which the model sees an image: sides in whole tokens, of pixels within the two limits.

    As transformers computes it (models/qwen2_vl/image_processing_qwen2_vl.py, smart_resize).  One token is 32 x 32.
    """
    wide, high = (max(SIDE, round(side / SIDE) * SIDE) for side in (width, height))
    if wide * high > max_pixels:
        scale = math.sqrt(width * height / max_pixels)
        wide, high = (max(SIDE, math.floor(side / scale / SIDE) * SIDE) for side in (width, height))
    elif wide * high < min_pixels:
        scale = math.sqrt(min_pixels / (width * height))
        wide, high = (math.ceil(side * scale / SIDE) * SIDE for side in (width, height))
    return wide, high


def read(value: Any, name: str) -> bytes:
    """The bytes of an image or clip: base64, a data: URL, or an https:// URL; raise BadInputError naming `name`."""
    if not is_url(value):
        return from_text(value, name)
    file = io.BytesIO()
    download(
        value,
        file,
        what=f"{name}: the URL",
        max_bytes=MAX_DOWNLOAD_BYTES,
        timeout_s=DOWNLOAD_TIMEOUT_S,
        silence_s=SILENCE_S,
    )
    return file.getvalue()


def decode(data: bytes, max_pixels: int, name: str, *, least_side: int = 0) -> LoadedImage:
    """Open an image upright, shrunk to at most `max_pixels`; raise BadInputError naming `name`.

    One with a side of less than `least_side` is enlarged to that.
    """
    try:
        return _decode(data, max_pixels, name, least_side)
    except BadInputError:
        raise
    except Image.DecompressionBombError as error:
        raise BadInputError(f"{name} is larger than {MOST_PIXELS // 1_000_000} megapixels") from error
    except Exception as error:  # Pillow's decoders raise a dozen types on hostile bytes
        raise BadInputError(f"{name} is damaged or cut short") from error


def _decode(data: bytes, max_pixels: int, name: str, least_side: int) -> LoadedImage:
    try:
        image = pixels.opened(data, FORMATS)
    except UnidentifiedImageError as error:
        raise BadInputError(f"{name} is not an image this worker reads ({', '.join(FORMATS)})") from error
    _check_size(*image.size, name)
    kind, mode, (width, height) = image.format or "", image.mode, image.size
    sent = pixels.fit_within((width, height), max_pixels)
    # A JPEG decodes at a half, quarter or eighth of its size for a fraction of the time.
    image.draft(None, sent)
    image.load()
    turn = pixels.orientation(image)
    as_it_is = kind in ("JPEG", "PNG") and mode in ("RGB", "L") and sent == (width, height) and turn == 1
    as_it_is = as_it_is and min(sent) >= least_side
    if as_it_is and not image.has_transparency_data:
        data = pixels.bare(data)  # the engine would turn it as its XMP says
        if len(data) <= MOST_BESIDE + 3 * width * height:
            return LoadedImage(data, f"image/{kind.lower()}", width, height)
    return encoded(_enlarged(pixels.turned(pixels.flat(image), turn), least_side), max_pixels)


def _enlarged(image: Image.Image, least_side: int) -> Image.Image:
    scale = least_side / min(image.size)
    if scale <= 1:
        return image
    return image.resize((round(image.width * scale), round(image.height * scale)), Image.Resampling.BICUBIC)


def _check_size(width: int, height: int, name: str) -> None:
    if width * height > MOST_PIXELS:
        raise BadInputError(
            f"{name} has {width} x {height} pixels, {width * height / 1e6:.0f} megapixels; "
            f"this worker takes {MOST_PIXELS // 1_000_000}"
        )
    check_ratio(width, height, name)


def check_ratio(width: int, height: int, name: str) -> None:
    """Raise BadInputError for what is too long and thin to be looked at."""
    if pixels.is_too_long((width, height)):
        raise BadInputError(
            f"{name} has {width} x {height} pixels: one side may be {pixels.LONGEST_RATIO} times the other at most"
        )


def encoded(image: Image.Image, max_pixels: int) -> LoadedImage:
    """An upright image in RGB as it is sent, at most `max_pixels`."""
    image = shrunk(image, image.size, max_pixels)
    out = io.BytesIO()
    image.save(out, "JPEG", quality=JPEG_QUALITY, comment=b"")  # Pillow would copy the comment of the file
    return LoadedImage(out.getvalue(), "image/jpeg", *image.size)


def shrunk(image: Image.Image, size: tuple[int, int], max_pixels: int) -> Image.Image:
    """The image in this size, its width and height, and smaller where that has more than `max_pixels`."""
    size = pixels.fit_within(size, max_pixels)
    return image if image.size == size else image.resize(size, Image.Resampling.BICUBIC, reducing_gap=2.0)
