"""From what a caller sent to what the engine is sent.  Any bytes give a `Picture` or BadInput, nothing else."""

from __future__ import annotations

import base64
import binascii
import io
import math
import os
import sys
from contextlib import contextmanager
from dataclasses import dataclass, field
from time import monotonic
from typing import TYPE_CHECKING, Any

from jobinput import BadInput
from PIL import Image, ImageOps
from requests import RequestException
from runpod.serverless.utils.rp_ssrf import SSRFError, iter_content_capped, safe_get

if TYPE_CHECKING:
    from collections.abc import Iterator

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
LONGEST_RATIO = 200  # of the sides: transformers refuses what is longer (qwen2_vl/image_processing_qwen2_vl.py)

Image.init()  # Pillow loads its formats at the first picture, which here comes on several threads at once


@dataclass(frozen=True)
class Picture:
    """A picture as the engine is sent it, `width` x `height` pixels; `mime` is image/jpeg or image/png."""

    data: bytes = field(repr=False)
    mime: str
    width: int
    height: int

    @property
    def url(self) -> str:
        return f"data:{self.mime};base64,{base64.b64encode(self.data).decode('ascii')}"


def is_url(value: Any) -> bool:
    return isinstance(value, str) and value[:8].lower().startswith(("http://", "https://"))


def seen(width: int, height: int, min_pixels: int, max_pixels: int) -> tuple[int, int]:
    """The size in which the model sees a picture: sides in whole tokens, of pixels within the two limits.

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
    """The bytes of a picture or clip: base64, a data: URL, or an https:// URL; raise BadInput naming `name`."""
    return download(value, name) if is_url(value) else from_text(value, name)


def download(url: str, name: str, timeout_s: float = DOWNLOAD_TIMEOUT_S) -> bytes:
    """Fetch a file by RunPod's guarded download, which refuses addresses inside the worker's own network.

    It ends after `timeout_s`, at most SILENCE_S later, however slowly the server goes on.
    Plain http is for RUNPOD_ALLOW_PRIVATE_DOWNLOAD_URLS only, the SDK's switch for a worker among its own servers.
    Source: runpod-python 1.12 serverless/utils/rp_ssrf.py.
    """
    allows_http = os.environ.get("RUNPOD_ALLOW_PRIVATE_DOWNLOAD_URLS", "").lower() in ("1", "true", "yes")
    if url[:5].lower() != "https" and not allows_http:
        raise BadInput(f"{name}: the URL must be https://")
    try:
        with _within(timeout_s), safe_get(url, timeout=SILENCE_S, max_bytes=MAX_DOWNLOAD_BYTES) as response:
            if response.url[:5].lower() != "https" and not allows_http:
                raise BadInput(f"{name}: the URL leads to one that is not https://")
            if response.status_code != 200:
                raise BadInput(f"{name}: the URL answered {response.status_code}")
            return b"".join(iter_content_capped(response, 1 << 16, MAX_DOWNLOAD_BYTES))
    except _TooSlow as error:
        raise BadInput(f"{name}: the URL took longer than {timeout_s} s") from error
    except SSRFError as error:
        raise BadInput(f"{name}: the URL {_refused(str(error))}") from error
    except (RequestException, ValueError, OSError) as error:
        if isinstance(error, BadInput):
            raise
        raise BadInput(f"{name}: the URL cannot be fetched") from error


def _refused(why: str) -> str:
    """What the SDK's guard means; its sentences name addresses inside the worker's network."""
    told = {
        "size cap": f"is over {MAX_DOWNLOAD_BYTES // 1_000_000} MB",
        "non-public address": "is not on the public internet",
        "could not resolve": "names a host that cannot be found",
    }
    return next((sentence for words, sentence in told.items() if words in why), "cannot be fetched safely")


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


def from_text(value: Any, name: str) -> bytes:
    """Take the bytes out of base64, bare or in a data: URL."""
    if not isinstance(value, str):
        raise BadInput(f"{name} must be a base64 text, a data: URL or an https:// URL")
    text = value
    if value[:5].lower() == "data:":
        head, comma, text = value.partition(",")
        if not comma or not head.lower().endswith(";base64"):
            raise BadInput(f"{name}: the data: URL is not base64")
    try:
        data = base64.b64decode(text, validate=True)
    except ValueError:
        data = _wrapped(text, name)
    if not data:
        raise BadInput(f"{name} is empty")
    return data


def _wrapped(text: str, name: str) -> bytes:
    """Base64 as mail and `base64(1)` write it, in lines."""
    try:
        return base64.b64decode("".join(text.split()), validate=True)
    except (binascii.Error, ValueError) as error:
        raise BadInput(f"{name} is not valid base64") from error


def decode(data: bytes, max_pixels: int, name: str) -> Picture:
    """Open a picture upright, shrunk to at most `max_pixels`; raise BadInput naming `name`."""
    try:
        return _decode(data, max_pixels, name)
    except BadInput:
        raise
    except Image.DecompressionBombError as error:
        raise BadInput(f"{name} is larger than {MOST_PIXELS // 1_000_000} megapixels") from error
    except Exception as error:  # Pillow's decoders raise a dozen types on hostile bytes
        raise BadInput(f"{name} is damaged or cut short") from error


def _decode(data: bytes, max_pixels: int, name: str) -> Picture:
    try:
        image = Image.open(io.BytesIO(data), formats=FORMATS)
    except Image.UnidentifiedImageError as error:
        raise BadInput(f"{name} is not a picture this worker reads ({', '.join(FORMATS)})") from error
    _check_size(*image.size, name)
    kind, mode, (width, height) = image.format, image.mode, image.size
    sent = _fit(width, height, max_pixels)
    # A JPEG decodes at a half, quarter or eighth of its size for a fraction of the time.
    image.draft(None, sent)
    image.load()
    turn = _turn(image)
    as_it_is = kind in ("JPEG", "PNG") and mode in ("RGB", "L") and sent == (width, height) and turn == 1
    if as_it_is and len(data) <= MOST_BESIDE + 3 * width * height:
        return Picture(data, f"image/{kind.lower()}", width, height)
    return encoded(upright(image), max_pixels)


def _turn(image: Image.Image) -> int:
    """EXIF's orientation, which cameras have; 1 is upright, as is a picture whose EXIF makes no sense."""
    try:
        return int(image.getexif().get(0x0112, 1))
    except Exception:  # noqa: BLE001  its readers raise what struct, Pillow's TIFF plugin and int do
        return 1


def _check_size(width: int, height: int, name: str) -> None:
    if width * height > MOST_PIXELS:
        raise BadInput(
            f"{name} has {width} x {height} pixels, {width * height / 1e6:.0f} megapixels; "
            f"this worker takes {MOST_PIXELS // 1_000_000}"
        )
    check_ratio(width, height, name)


def check_ratio(width: int, height: int, name: str) -> None:
    """Raise BadInput for what is too long and thin to be looked at."""
    if max(width, height) >= LONGEST_RATIO * min(width, height):
        raise BadInput(f"{name} has {width} x {height} pixels: one side may be {LONGEST_RATIO} times the other at most")


def encoded(image: Image.Image, max_pixels: int) -> Picture:
    """An upright picture in RGB as it is sent, at most `max_pixels`."""
    image = shrunk(image, image.size, max_pixels)
    out = io.BytesIO()
    image.save(out, "JPEG", quality=JPEG_QUALITY, comment=b"")  # Pillow would copy the comment of the file
    return Picture(out.getvalue(), "image/jpeg", *image.size)


def shrunk(image: Image.Image, size: tuple[int, int], max_pixels: int) -> Image.Image:
    """The picture in this size, its width and height, and smaller where that has more than `max_pixels`."""
    size = _fit(*size, max_pixels)
    return image if image.size == size else image.resize(size, Image.Resampling.BICUBIC, reducing_gap=2.0)


def upright(image: Image.Image) -> Image.Image:
    """As people see it: turned as its EXIF says, in RGB, on white where it is transparent."""
    if _turn(image) != 1:
        ImageOps.exif_transpose(image, in_place=True)
    if image.mode.startswith(("I", "F")):
        _, high = image.convert("F").getextrema()
        full = 255.0 if high <= 255 else max(65535.0, float(high))
        return image.convert("F").point(lambda value: value * (255 / full)).convert("L").convert("RGB")
    if image.has_transparency_data:
        image = image.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", image.size, (255, 255, 255, 255)), image).convert("RGB")
    return image.convert("RGB")


def _fit(width: int, height: int, max_pixels: int) -> tuple[int, int]:
    """The size with the same ratio and at most `max_pixels`."""
    scale = min(1.0, math.sqrt(max_pixels / (width * height)))
    return max(1, math.floor(width * scale)), max(1, math.floor(height * scale))
