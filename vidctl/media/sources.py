"""Find the pictures, sounds or films that a command line means, and read or open them."""

from __future__ import annotations

import glob
import io
import ipaddress
import os
import re
import shutil
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import BinaryIO
from urllib.parse import urlsplit

from vidctl.errors import MediaError, UsageError, VidctlError
from vidctl.text import without_secrets


@dataclass(frozen=True)
class Kind:
    """What is looked for: how people call one and several, and how the names of its files end."""

    name: str
    plural: str
    suffixes: frozenset[str]


PICTURES = Kind(
    "picture",
    "pictures",
    frozenset({".jpg", ".jpeg", ".jpe", ".png", ".webp", ".bmp", ".dib", ".tif", ".tiff", ".gif"}),
)

FILMS = Kind(
    "film",
    "films",
    frozenset(
        {
            *(".3g2", ".3gp", ".asf", ".avi", ".flv", ".m2ts", ".m4v", ".mkv", ".mov", ".mp4", ".mpeg", ".mpg"),
            *(".mts", ".mxf", ".ogv", ".qt", ".ts", ".vob", ".webm", ".wmv"),
        }
    ),
)

PICTURES_AND_FILMS = Kind("picture or film", "pictures and films", PICTURES.suffixes | FILMS.suffixes)

# A film is a sound with a picture.
SOUNDS = Kind(
    "sound",
    "sounds",
    FILMS.suffixes
    | {
        *(".aac", ".ac3", ".aif", ".aifc", ".aiff", ".amr", ".ape", ".au", ".caf", ".eac3", ".flac", ".gsm"),
        *(".m4a", ".m4b", ".mka", ".mp2", ".mp3", ".mpga", ".oga", ".ogg", ".opus", ".ra", ".snd", ".spx"),
        *(".tta", ".w64", ".wav", ".wma", ".wv"),
    },
)

# A 16-bit TIFF of the most pixels that Pillow reads would be larger; no camera's file is.
MAX_BYTES = 512 * 1024 * 1024


@dataclass(frozen=True)
class Source:
    """One picture or sound: a file, an address, bytes, or a stream to read once.  `name` is what people are shown.

    What `expand` names after an address has none of its secrets.
    """

    name: str
    path: Path | None = None
    url: str | None = None
    data: bytes | None = field(default=None, repr=False)
    stream: BinaryIO | None = field(default=None, repr=False)

    @property
    def label(self) -> str:
        """The name as it may be written down: an address without the secrets that it may carry."""
        if self.url is None:
            return self.name
        return re.sub(r"//[^/@?#]*@", "//", re.split(r"[?#]", self.name)[0])


def expand(
    sources: Sequence[str], *, kind: Kind = PICTURES, recursive: bool = False, stdin: BinaryIO | None = None
) -> list[Source]:
    """One Source a picture (or sound), in the order typed; folders and globs in natural order (frame2 before frame10).

    A source is a file, a folder (its pictures; with `recursive` those in its subfolders too), a glob (`**` included),
    `-` (one picture on standard input), `@list.txt` (one source a line, paths relative to the current folder, `#`
    comments) or an address.  Hidden files are skipped, repeated ones kept.  A missing file becomes a Source that `read`
    and `opened` refuse; MediaError is raised for a folder or glob without pictures and for a list that cannot be read.
    """
    found: list[Source] = []
    piped: Source | None = None
    for source in sources:
        if source == "-":
            piped = _piped(stdin, kind, again=piped)
            found.append(piped)
        elif source.startswith("@"):
            for line in _lines(source[1:]):
                found.extend(_expand(line, kind, recursive))
        else:
            found.extend(_expand(source, kind, recursive))
    return found


def is_film(source: Source) -> bool:
    """Whether the name of a file, or of what an address means, ends as that of a film does."""
    name = source.path.name if source.path is not None else urlsplit(source.label).path if source.url else ""
    return PurePosixPath(name).suffix.lower() in FILMS.suffixes


def read(source: Source, *, fetch: Callable[[str], bytes]) -> bytes:
    """The picture's bytes, or MediaError.  `fetch` downloads an https:// address; http:// goes to this machine only."""
    if source.data is not None:
        data = source.data
    elif source.url is not None:
        with _fetching(source.url, source.name):
            data = fetch(source.url)
    elif source.path is not None:
        with _file(source.path, source.name, PICTURES) as file:
            data = file.read(MAX_BYTES + 1)
    elif source.stream is not None:
        data = source.stream.read(MAX_BYTES + 1)
    else:
        raise MediaError(f"{source.name}: neither a file nor an address")
    if not data:
        raise MediaError(f"{source.name}: 0 bytes, not a picture")
    if len(data) > MAX_BYTES:
        raise MediaError(f"{source.name}: over {MAX_BYTES // 1024**2} MB, too large for a picture")
    return data


@contextmanager
def opened(
    source: Source, *, fetch_into: Callable[[str, BinaryIO], None], kind: Kind = SOUNDS
) -> Iterator[Path | BinaryIO]:
    """A sound or film to seek in: its file, or what was downloaded or piped in, kept on disk for the while.

    `fetch_into` downloads an address into a file; `kind` is what people are told was looked for.  Raises MediaError
    on entering; what the caller does inside raises as it does.
    """
    if source.data is not None:
        yield _sought(io.BytesIO(source.data), source.name, kind)
    elif source.path is not None and _is_sought(source.path, source.name, kind):
        yield source.path
    else:
        with tempfile.TemporaryFile() as kept:  # it has no name: nothing stays behind, whatever ends the process
            _keep(source, kept, fetch_into, kind)
            yield _sought(kept, source.name, kind)


def _is_sought(path: Path, name: str, kind: Kind) -> bool:
    """Whether the file can be read again from its beginning, which a pipe of the shell's cannot."""
    with _file(path, name, kind) as file:
        if not file.seekable():
            return False
        _sought(file, name, kind)
    return True


def _sought(file: BinaryIO, name: str, kind: Kind) -> BinaryIO:
    """The file, at its beginning, if there is anything in it."""
    if not file.seek(0, os.SEEK_END):
        raise MediaError(f"{name}: 0 bytes, not a {kind.name}")
    file.seek(0)
    return file


def _keep(source: Source, kept: BinaryIO, fetch_into: Callable[[str, BinaryIO], None], kind: Kind) -> None:
    try:
        if source.url is not None:
            with _fetching(source.url, source.name):
                fetch_into(source.url, kept)
        elif source.path is not None:
            with _file(source.path, source.name, kind) as file:
                shutil.copyfileobj(file, kept)
        elif source.stream is not None:
            shutil.copyfileobj(source.stream, kept)
        else:
            raise MediaError(f"{source.name}: neither a file nor an address")
        kept.flush()
    except OSError as error:
        with suppress(OSError):  # closing tries once more to write what did not fit
            kept.close()
        raise MediaError(
            f"{source.name}: cannot be kept in {tempfile.gettempdir()} ({_reason(error)})",
            hint="TMPDIR names another folder",
        ) from error


def _piped(stdin: BinaryIO | None, kind: Kind, *, again: Source | None) -> Source:
    """A picture is small enough to be drained, so that it can be named twice; a sound stays in the pipe."""
    if stdin is None:
        raise UsageError(f"`-` needs a {kind.name} on standard input")
    if kind is PICTURES:
        return again or Source("stdin", data=stdin.read(MAX_BYTES + 1))
    if again:
        raise UsageError("`-` is named twice, and standard input can be read only once")
    return Source("stdin", stream=stdin)


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


def _expand(source: str, kind: Kind, recursive: bool) -> list[Source]:
    if not source:
        raise UsageError("an empty source", hint="name a file, a folder, a glob or an https:// address")
    if re.match(r"[a-z][a-z0-9+.-]*://", source, re.IGNORECASE):
        return [Source(without_secrets(_shown(source)), url=source)]
    path = Path(source)
    if _is(path, Path.is_dir):
        none_found = f"{_shown(source)}: no {kind.plural} in this folder"
        return _files(_in_folder(path, kind, recursive), kind, none_found, recursive)
    if not _is(path, os.path.lexists) and glob.has_magic(source):
        matches = (Path(match) for match in glob.iglob(source, recursive=True))  # noqa: PTH207  Path.glob wants relative
        files = [match for match in matches if _is_of(kind, match)]
        return _files(files, kind, f"{_shown(source)}: no {kind.name} matches", recursive=True)
    if path.suffix.lower() in (".txt", ".lst") and _is(path, Path.is_file):
        raise UsageError(f"{_shown(source)}: text, not a {kind.name}", hint=f"as a list of sources: @{_shown(source)}")
    return [Source(_shown(source), path=path)]


def _is(path: Path, claim: Callable[[Path], bool]) -> bool:
    """`claim(path)`, and False for a path that the system cannot look up (too long, a null byte, no permission)."""
    try:
        return claim(path)
    except (OSError, ValueError):
        return False


def _in_folder(folder: Path, kind: Kind, recursive: bool) -> list[Path]:
    def refuse(error: OSError) -> None:
        raise MediaError(f"{_shown(str(error.filename))}: cannot be listed ({_reason(error)})") from error

    files: list[Path] = []
    for parent, folders, names in os.walk(folder, onerror=refuse):
        folders[:] = [name for name in folders if recursive and not name.startswith(".")]
        files.extend(Path(parent, name) for name in names if not name.startswith("."))
    return [path for path in files if _is_of(kind, path)]


def _is_of(kind: Kind, path: Path) -> bool:
    return path.suffix.lower() in kind.suffixes and _is(path, Path.is_file)


def _files(paths: list[Path], kind: Kind, none_found: str, recursive: bool) -> list[Source]:
    if not paths:
        hint = f"{kind.plural} end in {', '.join(sorted(kind.suffixes))}"
        raise MediaError(none_found, hint=hint if recursive else f"{hint}; -r looks in subfolders too")
    return [Source(_shown(str(path)), path=path) for path in sorted(paths, key=_natural)]


def _natural(path: Path) -> list[tuple[list[tuple[str, int]], str]]:
    """Sort numbers inside names by value; equal numbers (2, 02) by spelling."""
    return [([(text, int(digits or -1)) for text, digits in _PIECES.findall(part)], part) for part in path.parts]


_PIECES = re.compile(r"([^0-9]*)([0-9]*)")


@contextmanager
def _fetching(url: str, name: str) -> Iterator[None]:
    """Refuse an address that nothing should be fetched from; tell a failure under the source's name."""
    if not _is_safe(url):
        raise MediaError(
            f"{name}: only https:// addresses are fetched", hint="http:// is for this machine's own addresses"
        )
    try:
        yield
    except VidctlError as error:
        message = error.message.replace(url, without_secrets(url))
        raise MediaError(f"{name}: {message}", hint=error.hint, status=error.status) from error


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


@contextmanager
def _file(path: Path, name: str, kind: Kind) -> Iterator[BinaryIO]:
    """The file, opened to be read; whatever the system says of it becomes a MediaError."""
    try:
        # Nobody may ever write into a named pipe; one of the shell's own, as in <(curl …), is fine.
        if path.is_fifo() and not str(path).startswith(("/dev/fd/", "/proc/")):
            raise MediaError(f"{name}: a named pipe, not a file", hint="read it with - < PIPE")
        with path.open("rb") as file:
            yield file
    except FileNotFoundError as error:
        raise MediaError(f"{name}: no such file") from error
    except IsADirectoryError as error:
        raise MediaError(f"{name}: a folder, not a {kind.name}") from error
    except PermissionError as error:
        raise MediaError(f"{name}: no permission to read it") from error
    except (OSError, ValueError, MemoryError) as error:
        raise MediaError(f"{name}: cannot be read ({_reason(error)})") from error


def _reason(error: BaseException) -> str:
    return getattr(error, "strerror", None) or str(error) or type(error).__name__


def _shown(text: str) -> str:
    """The text without what no terminal and no JSON file can hold: bytes of a file name that are not UTF-8."""
    return text.encode("utf-8", "replace").decode()
