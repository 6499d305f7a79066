"""Find the pictures that a command line means, and read their bytes."""

from __future__ import annotations

import glob
import ipaddress
import os
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO
from urllib.parse import urlsplit

from vidctl.errors import MediaError, UsageError, VidctlError

IMAGE_SUFFIXES = frozenset({".jpg", ".jpeg", ".jpe", ".png", ".webp", ".bmp", ".dib", ".tif", ".tiff", ".gif"})

# A 16-bit TIFF of the most pixels that Pillow reads would be larger; no camera's file is.
MAX_BYTES = 512 * 1024 * 1024


@dataclass(frozen=True)
class Source:
    """One picture to read: a file, an address, or bytes from standard input.  `name` is what people are shown."""

    name: str
    path: Path | None = None
    url: str | None = None
    data: bytes | None = field(default=None, repr=False)


def expand(sources: Sequence[str], *, recursive: bool = False, stdin: BinaryIO | None = None) -> list[Source]:
    """One Source a picture, in the order typed; folders and globs in natural order (frame2 before frame10).

    A source is a file, a folder (its pictures; with `recursive` those in its subfolders too), a glob (`**` included),
    `-` (one picture on standard input), `@list.txt` (one source a line, paths relative to the current folder, `#`
    comments) or an address.  Hidden files are skipped, repeated ones kept.  A missing file becomes a Source that `read`
    refuses; MediaError is raised for a folder or glob without pictures and for a list that cannot be read.
    """
    found: list[Source] = []
    piped: bytes | None = None
    for source in sources:
        if source == "-":
            piped = _drain(stdin) if piped is None else piped
            found.append(Source("stdin", data=piped))
        elif source.startswith("@"):
            for line in _lines(source[1:]):
                found.extend(_expand(line, recursive))
        else:
            found.extend(_expand(source, recursive))
    return found


def read(source: Source, *, fetch: Callable[[str], bytes]) -> bytes:
    """The picture's bytes, or MediaError.  `fetch` downloads an https:// address; http:// goes to this machine only."""
    if source.data is not None:
        data = source.data
    elif source.url is not None:
        data = _download(source.url, source.name, fetch)
    elif source.path is not None:
        data = _read_file(source.path, source.name)
    else:
        raise MediaError(f"{source.name}: neither a file nor an address")
    if not data:
        raise MediaError(f"{source.name}: 0 bytes, not a picture")
    if len(data) > MAX_BYTES:
        raise MediaError(f"{source.name}: over {MAX_BYTES // 1024**2} MB, too large for a picture")
    return data


def _drain(stdin: BinaryIO | None) -> bytes:
    if stdin is None:
        raise UsageError("`-` needs a picture on standard input")
    return stdin.read(MAX_BYTES + 1)


def _lines(list_file: str) -> Iterator[str]:
    """The sources in a list; file names that are not UTF-8 survive as the operating system spells them."""
    try:
        text = Path(list_file).read_text(encoding="utf-8-sig", errors="surrogateescape")
    except (OSError, ValueError) as error:
        raise MediaError(f"@{_shown(list_file)}: cannot be read ({_reason(error)})") from error
    if "\0" in text:
        raise MediaError(f"@{_shown(list_file)}: not a list, which is text with one source a line")
    lines = [line.strip() for line in text.splitlines()]
    lines = [line for line in lines if line and not line.startswith("#")]
    if not lines:
        raise MediaError(f"@{_shown(list_file)}: names no sources")
    yield from lines


def _expand(source: str, recursive: bool) -> list[Source]:
    if not source:
        raise UsageError("an empty source", hint="name a file, a folder, a glob or an https:// address")
    if re.match(r"[a-z][a-z0-9+.-]*://", source, re.IGNORECASE):
        return [Source(_shown(source), url=source)]
    path = Path(source)
    if _is(path, Path.is_dir):
        return _files(_in_folder(path, recursive), f"{_shown(source)}: no pictures in this folder", recursive)
    if not _is(path, os.path.lexists) and glob.has_magic(source):
        matches = (Path(match) for match in glob.iglob(source, recursive=True))  # noqa: PTH207  Path.glob wants relative
        pictures = [match for match in matches if _is_picture(match)]
        return _files(pictures, f"{_shown(source)}: no picture matches", recursive=True)
    return [Source(_shown(source), path=path)]


def _is(path: Path, claim: Callable[[Path], bool]) -> bool:
    """`claim(path)`, and False for a path that the system cannot look up (too long, a null byte, no permission)."""
    try:
        return claim(path)
    except (OSError, ValueError):
        return False


def _in_folder(folder: Path, recursive: bool) -> list[Path]:
    def refuse(error: OSError) -> None:
        raise MediaError(f"{_shown(str(error.filename))}: cannot be listed ({_reason(error)})") from error

    pictures: list[Path] = []
    for parent, folders, names in os.walk(folder, onerror=refuse):
        folders[:] = [name for name in folders if recursive and not name.startswith(".")]
        pictures.extend(Path(parent, name) for name in names if not name.startswith("."))
    return [path for path in pictures if _is_picture(path)]


def _is_picture(path: Path) -> bool:
    return path.suffix.lower() in IMAGE_SUFFIXES and _is(path, Path.is_file)


def _files(paths: list[Path], none_found: str, recursive: bool) -> list[Source]:
    if not paths:
        hint = f"pictures end in {', '.join(sorted(IMAGE_SUFFIXES))}"
        raise MediaError(none_found, hint=hint if recursive else f"{hint}; -r looks in subfolders too")
    return [Source(_shown(str(path)), path=path) for path in sorted(paths, key=_natural)]


def _natural(path: Path) -> list[tuple[list[tuple[str, int]], str]]:
    """Sort numbers inside names by value; equal numbers (2, 02) by spelling."""
    return [([(text, int(digits or -1)) for text, digits in _PIECES.findall(part)], part) for part in path.parts]


_PIECES = re.compile(r"([^0-9]*)([0-9]*)")


def _download(url: str, name: str, fetch: Callable[[str], bytes]) -> bytes:
    if not _is_safe(url):
        raise MediaError(
            f"{name}: only https:// addresses are fetched", hint="http:// is for this machine's own addresses"
        )
    try:
        return fetch(url)
    except VidctlError as error:
        raise MediaError(f"{name}: {error.message}", hint=error.hint, status=error.status) from error


def _is_safe(url: str) -> bool:
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


def _read_file(path: Path, name: str) -> bytes:
    try:
        # Nobody may ever write into a named pipe; one of the shell's own, as in <(curl …), is fine.
        if path.is_fifo() and not str(path).startswith(("/dev/fd/", "/proc/")):
            raise MediaError(f"{name}: a named pipe, not a file", hint="read it with - < PIPE")
        with path.open("rb") as file:
            return file.read(MAX_BYTES + 1)
    except FileNotFoundError as error:
        raise MediaError(f"{name}: no such file") from error
    except IsADirectoryError as error:
        raise MediaError(f"{name}: a folder, not a picture") from error
    except PermissionError as error:
        raise MediaError(f"{name}: no permission to read it") from error
    except (OSError, ValueError, MemoryError) as error:
        raise MediaError(f"{name}: cannot be read ({_reason(error)})") from error


def _reason(error: BaseException) -> str:
    return getattr(error, "strerror", None) or str(error) or type(error).__name__


def _shown(text: str) -> str:
    """The text without what no terminal and no JSON file can hold: bytes of a file name that are not UTF-8."""
    return text.encode("utf-8", "replace").decode()
