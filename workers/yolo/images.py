"""From what a caller sent to the pixels a model sees.  Any bytes give a `LoadedImage` or BadInputError."""

from __future__ import annotations

import io
from dataclasses import dataclass
from typing import TYPE_CHECKING

import cv2
import numpy as np
import pixels
from badinput import BadInputError
from download import download
from PIL import Image, UnidentifiedImageError

if TYPE_CHECKING:
    from numpy.typing import NDArray

# The formats of the README.  Pillow knows forty more, among them ones that start other programs.
FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "GIF", "TIFF")
MAX_PIXELS = 100_000_000
MAX_DOWNLOAD_BYTES = 50_000_000
DOWNLOAD_TIMEOUT_S = 20  # for all of it
SILENCE_S = 10  # until a server's next byte

Image.init()  # Pillow loads its formats at the first image, which here comes on several threads at once


@dataclass(frozen=True)
class LoadedImage:
    """BGR `pixels` (height, width, 3) as shown, no longer than the model's size; `size` is (width, height) as sent."""

    pixels: NDArray[np.uint8]
    size: tuple[int, int]


def fetch(url: str) -> bytes:
    """What an https:// URL gives; raise BadInputError."""
    file = io.BytesIO()
    download(
        url,
        file,
        what="the image's URL",
        max_bytes=MAX_DOWNLOAD_BYTES,
        timeout_s=DOWNLOAD_TIMEOUT_S,
        silence_s=SILENCE_S,
    )
    return file.getvalue()


def decode(data: bytes, imgsz: int) -> LoadedImage:
    """Open an image upright, in 8-bit colour, resized so that its longer side is at most `imgsz`."""
    try:
        return _decode(data, imgsz)
    except BadInputError:
        raise
    except Image.DecompressionBombError as error:
        raise _too_large() from error
    except Exception as error:  # Pillow's decoders raise a dozen types on hostile bytes
        raise BadInputError("image is damaged or truncated") from error


def _decode(data: bytes, imgsz: int) -> LoadedImage:
    try:
        image = pixels.opened(data, FORMATS)
    except UnidentifiedImageError as error:
        raise BadInputError(f"image has an unsupported format; expected one of {', '.join(FORMATS)}") from error
    width, height = image.size
    if width * height > MAX_PIXELS:
        raise _too_large()
    scale = min(1.0, imgsz / max(width, height))
    # A JPEG decodes at a half, quarter or eighth of its size for a fraction of the time.
    image.draft(None, (max(1, round(width * scale)), max(1, round(height * scale))))
    image.load()
    orientation = pixels.orientation(image)
    size = (height, width) if orientation >= 5 else (width, height)
    upright = pixels.turned(pixels.flat(image), orientation)
    return LoadedImage(_resized(cv2.cvtColor(np.asarray(upright), cv2.COLOR_RGB2BGR), size, imgsz), size)


def _too_large() -> BadInputError:
    return BadInputError(f"image is larger than {MAX_PIXELS // 1_000_000} megapixels")


def _resized(pixels: NDArray[np.uint8], size: tuple[int, int], imgsz: int) -> NDArray[np.uint8]:
    """Resize just as Ultralytics' letterbox would, but here, where images are decoded side by side."""
    ratio = min(1.0, imgsz / max(size))
    width, height = (max(1, round(side * ratio)) for side in size)
    if pixels.shape[:2] == (height, width):
        return pixels
    resized: NDArray[np.uint8] = cv2.resize(pixels, (width, height), interpolation=cv2.INTER_LINEAR)
    return resized
