"""Take what a program gives as a source: a path, a URL, a file's bytes, an open file, or an image in memory."""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any, TypeAlias, Union

from vidctl.errors import MediaError, UsageError
from vidctl.media.kinds import MediaKind
from vidctl.media.search import looked_up, settled
from vidctl.media.sources import Source, utf8

if TYPE_CHECKING:
    from typing import BinaryIO

    from numpy.typing import NDArray
    from PIL.Image import Image

Given: TypeAlias = Union[
    str, "os.PathLike[str]", bytes, bytearray, memoryview, "BinaryIO", "Image", "NDArray[Any]", Source
]


def several(given: Given | Iterable[Given], look_up: Callable[[Given], list[Source]]) -> list[Source]:
    """The sources of all that is given.  One of many that is none becomes a Source that `read` and `opened` refuse.

    `look_up` finds those that one thing means.  What it raises of a thing that is given alone is raised.
    """
    things = listed(given)
    if things is not given:
        return settled([source for thing in things for source in look_up(thing)])
    found: list[Source] = []
    for thing in things:
        try:
            found += look_up(thing)
        except (MediaError, UsageError) as error:  # noqa: PERF203  the others are tried
            found.append(Source(_name(thing), problem=error))
    return found


def _name(thing: object) -> str:
    """The name in errors of a thing that is no source."""
    if isinstance(thing, (str, os.PathLike)):
        return utf8(str(thing))
    return type(thing).__name__


def listed(given: Given | Iterable[Given]) -> Iterable[Given]:
    """One source as several; an invalid one is refused where it is looked up."""
    is_one = isinstance(given, (str, bytes, bytearray, memoryview, os.PathLike, Source)) or _is_in_memory(given)
    if is_one or hasattr(given, "read") or not isinstance(given, Iterable):
        return [given]  # type: ignore[list-item]
    return given  # type: ignore[return-value]


def sources(given: Given, kind: MediaKind, *, recursive: bool = False) -> list[Source]:
    """The sources that one thing means: a folder or a pattern means many, or one that `read` refuses.

    An array is an image as OpenCV and Ultralytics have it: 8 bits, height x width, with no channel, or with 3 or 4 in
    the order blue, green, red, alpha.  An image of Pillow's is taken with the pixels that it has, whatever its file
    said of the orientation.  Raises UsageError for what is no source, MediaError for an image that cannot be sent.
    """
    if isinstance(given, Source):
        return [given]
    if isinstance(given, (bytes, bytearray, memoryview)):
        return [Source(_label(kind), data=bytes(given))]
    if _is_in_memory(given):
        return [Source(_label(kind), data=_encoded(given))]
    if hasattr(given, "read"):
        return [_opened(given, kind)]
    try:
        return looked_up([os.fsdecode(given)], kind=kind, recursive=recursive)  # type: ignore[arg-type]
    except TypeError as error:
        raise UsageError(
            "invalid source: expected a path, a URL, bytes, a binary file, a Pillow image or a NumPy array, "
            f"not {type(given).__name__}"
        ) from error


def _is_in_memory(given: object) -> bool:
    """Whether it is an image of Pillow's or an array; neither library is loaded to find out."""
    pillow, numpy = sys.modules.get("PIL.Image"), sys.modules.get("numpy")
    return (pillow is not None and isinstance(given, pillow.Image)) or (
        numpy is not None and isinstance(given, numpy.ndarray)
    )


def _opened(file: Any, kind: MediaKind) -> Source:
    if isinstance(file, io.TextIOBase):
        raise UsageError(
            "invalid source: the file is open in text mode", hint='open it in binary mode: open(path, "rb")'
        )
    name = getattr(file, "name", None)
    return Source(name if isinstance(name, str) else _label(kind), stream=file)


def _encoded(given: Any) -> bytes:
    """The pixels as a file, none of them changed."""
    from PIL import Image

    image = given.copy() if isinstance(given, Image.Image) else Image.fromarray(_pixels(given))
    image.info = {name: image.info[name] for name in ("transparency", "icc_profile") if name in image.info}
    file = io.BytesIO()
    try:
        if image.mode in ("I", "F", "CMYK"):
            image.save(file, "TIFF")
        else:
            has_png = image.mode in ("1", "L", "LA", "I;16", "P", "RGB", "RGBA")
            (image if has_png else image.convert("RGB")).save(file, "PNG", compress_level=1)
    except (OSError, ValueError, SystemError) as error:
        raise MediaError(
            f"invalid image of {image.width} x {image.height} pixels in mode {image.mode}: {error}"
        ) from error
    return file.getvalue()


def _pixels(array: Any) -> Any:
    """The array in the order red, green, blue, alpha; raise UsageError for one that is no image."""
    channels = array.shape[2] if array.ndim == 3 else 1
    if array.dtype.name != "uint8" or array.ndim not in (2, 3) or channels not in (1, 3, 4) or not array.size:
        raise UsageError(
            f"invalid image: an array of {array.dtype.name}, shape {array.shape}",
            hint="pass uint8 of shape (height, width), (height, width, 3) or (height, width, 4), in BGR(A)",
        )
    if channels == 1:
        return array.reshape(array.shape[:2])
    return array[..., [2, 1, 0, 3][:channels]]


def _label(kind: MediaKind) -> str:
    """What a source without a name is called: `image`, `audio`, `video`."""
    return kind.name.partition(" ")[0]
