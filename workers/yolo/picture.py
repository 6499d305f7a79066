"""From what a caller sent to the pixels a model sees.  Any bytes give a `Picture` or BadInput, nothing else."""

from __future__ import annotations

import base64
import binascii
import io
import os
import sys
from contextlib import contextmanager
from dataclasses import dataclass
from time import monotonic
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
from jobinput import BadInput
from PIL import Image, ImageOps
from PIL.Image import open as open_image  # bound before Ultralytics puts one in its place that would install packages
from requests import RequestException
from runpod.serverless.utils.rp_ssrf import SSRFError, iter_content_capped, safe_get

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

# The formats the worker says it reads.  Pillow knows forty more, among them ones that start other programs.
FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "GIF", "TIFF")
MAX_PIXELS = 100_000_000
MAX_DOWNLOAD_BYTES = 50_000_000
DOWNLOAD_TIMEOUT_S = 20  # for all of it
SILENCE_S = 10  # until a server's next byte
PAGE_WHITE = (255, 255, 255, 255)

Image.init()  # Pillow loads its formats at the first picture, which here comes on several threads at once


@dataclass(frozen=True)
class Picture:
    """BGR `pixels` (height, width, 3) as shown, no longer than the model's size; `size` is (width, height) as sent."""

    pixels: NDArray[np.uint8]
    size: tuple[int, int]


def is_url(image: Any) -> bool:
    return isinstance(image, str) and image[:8].lower().startswith(("http://", "https://"))


def download(url: str, timeout_s: float = DOWNLOAD_TIMEOUT_S) -> bytes:
    """Fetch a picture by RunPod's guarded download, which refuses addresses inside the worker's own network.

    It ends after `timeout_s`, at most SILENCE_S later, however slowly the server goes on.
    Plain http is for RUNPOD_ALLOW_PRIVATE_DOWNLOAD_URLS only, the SDK's switch for a worker among its own servers.
    Source: runpod-python 1.12 serverless/utils/rp_ssrf.py.
    """
    allows_http = os.environ.get("RUNPOD_ALLOW_PRIVATE_DOWNLOAD_URLS", "").lower() in ("1", "true", "yes")
    if url[:5].lower() != "https" and not allows_http:
        raise BadInput("the image's URL must be https://")
    try:
        with _within(timeout_s), safe_get(url, timeout=SILENCE_S, max_bytes=MAX_DOWNLOAD_BYTES) as response:
            if response.status_code != 200:
                raise BadInput(f"the image's URL answered {response.status_code}")
            return b"".join(iter_content_capped(response, 1 << 16, MAX_DOWNLOAD_BYTES))
    except _TooSlow as error:
        raise BadInput(f"the image's URL took longer than {timeout_s} s") from error
    except SSRFError as error:
        too_large = "size cap" in str(error)
        limit = f"is over {MAX_DOWNLOAD_BYTES // 1_000_000} MB" if too_large else "is not on the public internet"
        raise BadInput(f"the image's URL {limit}") from error
    except (RequestException, ValueError, OSError) as error:
        if isinstance(error, BadInput):
            raise
        raise BadInput("the image's URL cannot be fetched") from error


class _TooSlow(BaseException):
    """Not an Exception: requests and the SDK would take it for a broken connection and try the next address."""


@contextmanager
def _within(seconds: float) -> Iterator[None]:
    """Raise _TooSlow from whatever this thread is in when the time is up.

    Python's sockets time out between two bytes only, so a server that drips holds on for as long as it likes.  A trace
    sees each call of a Python function in this thread, and every read of a socket is one.
    """
    deadline = monotonic() + seconds

    def check(*_: Any) -> None:
        if monotonic() > deadline:
            raise _TooSlow

    before = sys.gettrace()
    sys.settrace(check)
    try:
        yield
    finally:
        sys.settrace(before)


def from_text(image: Any) -> bytes:
    """Take the bytes out of base64, bare or in a data: URL."""
    if not isinstance(image, str):
        raise BadInput("image must be a base64 text, a data: URL or an https:// URL")
    text = image
    if image[:5].lower() == "data:":
        head, comma, text = image.partition(",")
        if not comma or not head.lower().endswith(";base64"):
            raise BadInput("the image's data: URL is not base64")
    try:
        data = base64.b64decode(text, validate=True)
    except ValueError:
        data = _wrapped(text)
    if not data:
        raise BadInput("image is empty")
    return data


def _wrapped(text: str) -> bytes:
    """Base64 as mail and `base64(1)` write it, in lines."""
    try:
        return base64.b64decode("".join(text.split()), validate=True)
    except (binascii.Error, ValueError) as error:
        raise BadInput("image is not valid base64") from error


def decode(data: bytes, imgsz: int) -> Picture:
    """Open a picture upright, in 8-bit colour, shrunk so that its longer side is at most `imgsz`."""
    try:
        return _decode(data, imgsz)
    except BadInput:
        raise
    except Image.DecompressionBombError as error:
        raise _too_large() from error
    except Exception as error:  # Pillow's decoders raise a dozen types on hostile bytes
        raise BadInput("image is damaged or cut short") from error


def _decode(data: bytes, imgsz: int) -> Picture:
    try:
        image = open_image(io.BytesIO(data), formats=FORMATS)
    except Image.UnidentifiedImageError as error:
        raise BadInput(f"image is not a picture this worker reads ({', '.join(FORMATS)})") from error
    width, height = image.size
    if width * height > MAX_PIXELS:
        raise _too_large()
    shrink = min(1.0, imgsz / max(width, height))
    # A JPEG decodes at a half, quarter or eighth of its size for a fraction of the time.
    image.draft(None, (max(1, round(width * shrink)), max(1, round(height * shrink))))
    image.load()
    turned = image.getexif().get(0x0112, 1) in (5, 6, 7, 8)
    ImageOps.exif_transpose(image, in_place=True)
    size = (height, width) if turned else (width, height)
    return Picture(_shrunk(cv2.cvtColor(np.asarray(_in_colour(image)), cv2.COLOR_RGB2BGR), size, imgsz), size)


def _too_large() -> BadInput:
    return BadInput(f"image is larger than {MAX_PIXELS // 1_000_000} megapixels")


def _in_colour(image: Image.Image) -> Image.Image:
    if image.mode == "RGB":
        return image
    if image.mode.startswith(("I", "F")):
        return Image.fromarray(_in_8_bits(np.asarray(image))).convert("RGB")
    if image.has_transparency_data:
        image = image.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", image.size, PAGE_WHITE), image).convert("RGB")
    return image.convert("RGB")


def _in_8_bits(values: NDArray[Any]) -> NDArray[np.uint8]:
    """Bring 16- and 32-bit grey to 8 bits; Pillow's own conversion would make all above 255 white."""
    values = np.nan_to_num(values.astype(np.float64), nan=0.0, posinf=0.0, neginf=0.0)
    highest = values.max()
    full_scale = 255 if highest <= 255 else max(65535, highest)
    return np.clip(values * (255 / full_scale), 0, 255).astype(np.uint8)


def _shrunk(pixels: NDArray[np.uint8], size: tuple[int, int], imgsz: int) -> NDArray[np.uint8]:
    """Shrink just as Ultralytics' letterbox would, but here, where pictures are decoded side by side."""
    ratio = min(1.0, imgsz / max(size))
    width, height = (max(1, round(side * ratio)) for side in size)
    if pixels.shape[:2] == (height, width):
        return pixels
    return cv2.resize(pixels, (width, height), interpolation=cv2.INTER_LINEAR)
