"""An image, audio file or video as it is given, to be read or opened: a file, a URL, bytes or a stream."""

from __future__ import annotations

import io
import ipaddress
import os
import re
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import BinaryIO
from urllib.parse import urlsplit

from vidctl.errors import MediaError, VidctlError
from vidctl.media.kinds import AUDIO, IMAGES, VIDEOS, MediaKind
from vidctl.text import without_secrets

# A 16-bit TIFF of the most pixels that Pillow reads would be larger; no camera's file is.
MAX_BYTES = 512 * 1024 * 1024


@dataclass(frozen=True)
class Source:
    """One image, audio file or video: a file, a URL, bytes, or a stream to read once.  `name` is what people are shown.

    What `expand` names after a URL has none of its secrets.
    """

    name: str
    path: Path | None = None
    url: str | None = None
    data: bytes | None = field(default=None, repr=False)
    stream: BinaryIO | None = field(default=None, repr=False)
    problem: VidctlError | None = field(default=None, repr=False)  # that it failed with before it was opened

    @property
    def label(self) -> str:
        """The name as it may be written down: a URL without the secrets that it may carry."""
        if self.url is None:
            return self.name
        return re.sub(r"//[^/@?#]*@", "//", re.split(r"[?#]", self.name)[0])


def is_video(source: Source) -> bool:
    """Whether the name of a file, or of what a URL means, ends as that of a video does."""
    name = source.path.name if source.path is not None else urlsplit(source.label).path if source.url else ""
    return PurePosixPath(name).suffix.lower() in VIDEOS.suffixes


def read(source: Source, *, fetch: Callable[[str], bytes]) -> bytes:
    """The image's bytes, or MediaError.  `fetch` downloads an https:// URL; http:// goes to this machine only."""
    if source.problem is not None:
        raise source.problem
    if source.data is not None:
        data = source.data
    elif source.url is not None:
        with _fetching(source.url, source.name):
            data = fetch(source.url)
    elif source.path is not None:
        with _file(source.path, source.name, IMAGES) as file:
            data = file.read(MAX_BYTES + 1)
    elif source.stream is not None:
        data = _read(source.stream, MAX_BYTES + 1, source.name)
    else:
        raise MediaError(f"{source.name}: not a file or a URL")
    if not data:
        raise MediaError(f"{source.name}: 0 bytes, not an image")
    if len(data) > MAX_BYTES:
        raise MediaError(f"{source.name}: over {MAX_BYTES // 1024**2} MB, too large for an image")
    return data


def _read(stream: BinaryIO, size: int, name: str) -> bytes:
    try:
        data = stream.read(size)
    except (OSError, ValueError) as error:  # it is closed, say, or open for writing
        raise MediaError(f"{name}: cannot be read ({cause(error)})") from error
    if not isinstance(data, bytes):
        raise MediaError(f"{name}: read() returned {type(data).__name__}, not bytes")
    return data


@contextmanager
def opened(
    source: Source, *, fetch_into: Callable[[str, BinaryIO], None], kind: MediaKind = AUDIO
) -> Iterator[Path | BinaryIO]:
    """An audio file or video to seek in: its file, or what was downloaded or piped in, kept on disk for the while.

    `fetch_into` downloads a URL into a file; `kind` is named in errors.  Raises MediaError
    on entering; what the caller does inside raises as it does.
    """
    if source.problem is not None:
        raise source.problem
    if source.data is not None:
        yield _rewound(io.BytesIO(source.data), source.name, kind)
    elif source.path is not None and _is_seekable(source.path, source.name, kind):
        yield source.path
    else:
        with tempfile.TemporaryFile() as copy:  # it has no name: nothing stays behind, whatever ends the process
            _save(source, copy, fetch_into, kind)
            yield _rewound(copy, source.name, kind)


def _is_seekable(path: Path, name: str, kind: MediaKind) -> bool:
    """Whether the file can be read again from its beginning, which a pipe of the shell's cannot."""
    with _file(path, name, kind) as file:
        if not file.seekable():
            return False
        _rewound(file, name, kind)
    return True


def _rewound(file: BinaryIO, name: str, kind: MediaKind) -> BinaryIO:
    """The file, at its beginning, if there is anything in it."""
    if not file.seek(0, os.SEEK_END):
        raise MediaError(f"{name}: 0 bytes, not {kind.one}")
    file.seek(0)
    return file


def _save(source: Source, copy: BinaryIO, fetch_into: Callable[[str, BinaryIO], None], kind: MediaKind) -> None:
    try:
        if source.url is not None:
            with _fetching(source.url, source.name):
                fetch_into(source.url, copy)
        elif source.path is not None:
            with _file(source.path, source.name, kind) as file:
                shutil.copyfileobj(file, copy)
        elif source.stream is not None:
            while data := _read(source.stream, 1 << 20, source.name):
                copy.write(data)
        else:
            raise MediaError(f"{source.name}: not a file or a URL")
        copy.flush()
    except OSError as error:
        with suppress(OSError):  # closing tries once more to write what did not fit
            copy.close()
        raise MediaError(
            f"{source.name}: cannot be saved to {tempfile.gettempdir()} ({cause(error)})",
            hint="set TMPDIR to another folder",
        ) from error


@contextmanager
def _fetching(url: str, name: str) -> Iterator[None]:
    """Refuse a URL that nothing should be fetched from; report a failure under the source's name."""
    if not is_safe(url):
        raise MediaError(
            f"{name}: only https:// URLs are downloaded", hint="use http:// for addresses of this machine only"
        )
    try:
        yield
    except VidctlError as error:
        message = error.message.replace(url, without_secrets(url))
        raise MediaError(f"{name}: {message}", hint=error.hint, status=error.status) from error


def is_safe(url: str) -> bool:
    """Whether it is https://, or http:// on this machine."""
    try:
        parts = urlsplit(url)
        host = parts.hostname or ""
    except ValueError:
        return False
    return bool(host) and (parts.scheme == "https" or _is_loopback(host))


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


@contextmanager
def _file(path: Path, name: str, kind: MediaKind) -> Iterator[BinaryIO]:
    """The file, opened to be read; whatever the system says of it becomes a MediaError."""
    try:
        # Nobody may ever write into a named pipe; one of the shell's own, as in <(curl …), is fine.
        if path.is_fifo() and not str(path).startswith(("/dev/fd/", "/proc/")):
            raise MediaError(f"{name}: a named pipe, not a file", hint="pass it on standard input: - < PIPE")
        with path.open("rb") as file:
            yield file
    except FileNotFoundError as error:
        raise MediaError(f"{name}: no such file") from error
    except IsADirectoryError as error:
        raise MediaError(f"{name}: a folder, not {kind.one}") from error
    except PermissionError as error:
        raise MediaError(f"{name}: permission denied") from error
    except (OSError, ValueError, MemoryError) as error:
        raise MediaError(f"{name}: cannot be read ({cause(error)})") from error


def cause(error: BaseException) -> str:
    return getattr(error, "strerror", None) or str(error) or type(error).__name__


def utf8(text: str) -> str:
    """The text without what no terminal and no JSON file can hold: bytes of a file name that are not UTF-8."""
    return text.encode("utf-8", "replace").decode()
