"""Open audio files and videos.  Whatever PyAV raises leaves here as a MediaError that names the file."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import BinaryIO

import av
from av.container import InputContainer

from vidctl.errors import MediaError


@contextmanager
def opened(file: Path | BinaryIO, name: str, *, what: str) -> Iterator[InputContainer]:
    """The file as PyAV reads it, from its beginning; `what` names what was expected, for the message."""
    with (
        reading(name),
        file.open("rb") if isinstance(file, Path) else nullcontext(file) as readable,
        _input(readable, name, what) as container,
    ):
        yield container


@contextmanager
def reading(name: str) -> Iterator[None]:
    """The one border between PyAV and vidctl."""
    try:
        yield
    except MemoryError as error:
        raise MediaError(f"{name}: not enough memory on this machine") from error
    except (av.FFmpegError, OSError, ValueError) as error:
        raise MediaError(f"{name}: cannot be read ({_reason(error)})") from error


def _input(file: BinaryIO, name: str, what: str) -> InputContainer:
    """FFmpeg is given bytes and no protocol, so no playlist or other text makes it open a second file or an address."""
    file.seek(0)
    try:
        return av.open(file, "r", options={"protocol_whitelist": "none"}, metadata_errors="replace")
    except av.FFmpegError as error:
        raise MediaError(f"{name}: not {what}, or damaged from the start") from error


def _reason(error: BaseException) -> str:
    return " ".join(str(getattr(error, "strerror", None) or error).split())[:120] or type(error).__name__


def begins_s(container: InputContainer) -> float:
    """When the video begins, by its own clock."""
    return (container.start_time or 0) / av.time_base
