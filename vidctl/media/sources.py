"""Find the images, audio files or videos that a command line means, and read or open them."""

from __future__ import annotations

import functools
import glob
import io
import ipaddress
import os
import re
import shutil
import tempfile
import warnings
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import BinaryIO
from urllib.parse import urlsplit

from vidctl.errors import MediaError, UsageError, VidctlError
from vidctl.text import without_secrets


@dataclass(frozen=True)
class Kind:
    """What to look for: the name of one and of several, and the endings of its files."""

    name: str
    plural: str
    suffixes: frozenset[str]

    @property
    def one(self) -> str:
        """One of them in a sentence: `an image`, `a video`."""
        return f"{'an' if self.name[0] in 'aeiou' else 'a'} {self.name}"


IMAGES = Kind(
    "image",
    "images",
    frozenset(
        {
            *(".jpg", ".jpeg", ".jpe", ".jfif", ".pjpeg", ".pjp", ".mpo", ".png", ".webp", ".bmp", ".dib", ".tif"),
            *(".tiff", ".gif", ".avif", ".avifs", ".heic", ".heif", ".hif", ".jp2", ".j2k", ".jpf", ".jpx", ".jpc"),
        }
    ),
)

# The names of image formats that not every installation reads.
_FORMATS = {
    **dict.fromkeys((".avif", ".avifs"), "AVIF"),
    **dict.fromkeys((".heic", ".heif", ".hif"), "HEIC"),
    **dict.fromkeys((".jp2", ".j2k", ".jpf", ".jpx", ".jpc"), "JPEG 2000"),
}

VIDEOS = Kind(
    "video",
    "videos",
    frozenset(
        {
            *(".3g2", ".3gp", ".asf", ".avi", ".flv", ".m2ts", ".m4v", ".mkv", ".mov", ".mp4", ".mpeg", ".mpg"),
            *(".mts", ".mxf", ".ogv", ".qt", ".ts", ".vob", ".webm", ".wmv"),
        }
    ),
)

IMAGES_AND_VIDEOS = Kind("image or video", "images and videos", IMAGES.suffixes | VIDEOS.suffixes)

# A video has audio too.
AUDIO = Kind(
    "audio file",
    "audio files",
    VIDEOS.suffixes
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


Warn = Callable[[str], None]


def expand(
    sources: Sequence[str],
    *,
    kind: Kind = IMAGES,
    recursive: bool = False,
    stdin: BinaryIO | None = None,
    warn: Warn = warnings.warn,
) -> list[Source]:
    """One Source an image (or audio), in the order given; folders and globs in natural order (frame2 before frame10).

    A source is a file, a folder (its images; with `recursive` those in its subfolders too), a glob (`**` included),
    `-` (one image on standard input), `@list.txt` (one source a line, paths relative to the current folder, `#`
    comments) or a URL.  Hidden files are skipped, repeated ones kept.  A missing file, a folder that cannot be
    listed and a folder or glob without images become a Source that `read` and `opened` refuse; MediaError is raised
    where there is nothing else, and for a list that cannot be read.  `warn` hears of files that are skipped for their
    format, and of broken links.
    """
    return settled(looked_up(sources, kind=kind, recursive=recursive, stdin=stdin, warn=warn))


def looked_up(
    sources: Sequence[str],
    *,
    kind: Kind,
    recursive: bool = False,
    stdin: BinaryIO | None = None,
    warn: Warn = warnings.warn,
) -> list[Source]:
    """As `expand`, but raise nothing where all sources are refused."""
    found: list[Source] = []
    piped: Source | None = None
    for source in sources:
        if source == "-":
            piped = _piped(stdin, kind, again=piped)
            found.append(piped)
        elif source.startswith("@") and not _is_named_like_a_list(source, kind):
            for line in _lines(source[1:]):
                found.extend(_expand(line, kind, warn, recursive=recursive))
        else:
            found.extend(_expand(source, kind, warn, recursive=recursive))
    return found


def settled(found: list[Source]) -> list[Source]:
    """The sources, if there is one that can be tried; else what the first failed with is raised."""
    first = next((source.problem for source in found if source.problem), None)
    if first and all(source.problem for source in found):
        raise first
    return found


def _is_named_like_a_list(source: str, kind: Kind) -> bool:
    """Whether `@2x.jpg` is no list but an image, as the shell's own glob spells it."""
    return _is_of(kind, Path(source))


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
        raise MediaError(f"{name}: cannot be read ({_reason(error)})") from error
    if not isinstance(data, bytes):
        raise MediaError(f"{name}: read() returned {type(data).__name__}, not bytes")
    return data


@contextmanager
def opened(
    source: Source, *, fetch_into: Callable[[str, BinaryIO], None], kind: Kind = AUDIO
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


def _is_seekable(path: Path, name: str, kind: Kind) -> bool:
    """Whether the file can be read again from its beginning, which a pipe of the shell's cannot."""
    with _file(path, name, kind) as file:
        if not file.seekable():
            return False
        _rewound(file, name, kind)
    return True


def _rewound(file: BinaryIO, name: str, kind: Kind) -> BinaryIO:
    """The file, at its beginning, if there is anything in it."""
    if not file.seek(0, os.SEEK_END):
        raise MediaError(f"{name}: 0 bytes, not {kind.one}")
    file.seek(0)
    return file


def _save(source: Source, copy: BinaryIO, fetch_into: Callable[[str, BinaryIO], None], kind: Kind) -> None:
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
            f"{source.name}: cannot be saved to {tempfile.gettempdir()} ({_reason(error)})",
            hint="set TMPDIR to another folder",
        ) from error


def _piped(stdin: BinaryIO | None, kind: Kind, *, again: Source | None) -> Source:
    """An image is small enough to be drained, so that it can be named twice; an audio file stays in the pipe."""
    if stdin is None:
        raise UsageError(f"`-` needs {kind.one} on standard input")
    if kind is IMAGES:
        return again or Source("stdin", data=stdin.read(MAX_BYTES + 1))
    if again:
        raise UsageError("`-` is given twice: standard input can be read only once")
    return Source("stdin", stream=stdin)


def _lines(list_file: str) -> Iterator[str]:
    """The sources in a list; file names that are not UTF-8 survive as the operating system spells them."""
    try:
        text = Path(list_file).read_text(encoding="utf-8-sig", errors="surrogateescape")
    except (OSError, ValueError) as error:
        raise MediaError(f"@{_printable(list_file)}: cannot be read ({_reason(error)})") from error
    if "\0" in text:
        raise MediaError(f"@{_printable(list_file)}: not a list: expected text with one source per line")
    lines = [line for line in map(_line, text.split("\n")) if line]
    if not lines:
        raise MediaError(f"@{_printable(list_file)}: no sources in this list")
    yield from lines


def _line(text: str) -> str:
    """The source that a line of a list names, or nothing; a file that is called so to the letter goes first."""
    text = text.removesuffix("\r")
    if text.strip() and not _is(Path(text), os.path.lexists):
        text = text.strip()
        return "" if text.startswith("#") else text
    return text if text.strip() else ""


def _expand(source: str, kind: Kind, warn: Warn, *, recursive: bool) -> list[Source]:
    if not source:
        raise UsageError("empty source", hint="pass a file, a folder, a glob or an https:// URL")
    if re.match(r"[a-z][a-z0-9+.-]*://", source, re.IGNORECASE):
        return [Source(without_secrets(_printable(source)), url=source)]
    path = Path(source)
    if _is(path, Path.is_dir):
        search = _Search(kind)
        for folder in search.folders(path, follows=False):
            search.take(folder.files)
            if not recursive:
                break
        return search.found(source, f"no {kind.plural} in this folder", warn, is_deep=recursive)
    if not _is(path, os.path.lexists) and glob.has_magic(source):
        search = _Search(kind)
        search.take(search.matches(source))
        return search.found(source, f"no {kind.name} matches", warn, is_deep=True)
    if path.suffix.lower() in (".txt", ".lst") and _is(path, Path.is_file):
        raise UsageError(
            f"{_printable(source)}: a text file, not {kind.one}",
            hint=f"read it as a list of sources: @{_printable(source)}",
        )
    return [Source(_printable(source), path=path)]


def _is(path: Path, claim: Callable[[Path], bool]) -> bool:
    """`claim(path)`, and False for a path that the system cannot look up (too long, a null byte, no permission)."""
    try:
        return claim(path)
    except (OSError, ValueError):
        return False


@dataclass(frozen=True)
class _Folder:
    path: Path
    files: list[Path]


class _Search:
    """Files of a kind in folders, and what stood in the way of finding more."""

    def __init__(self, kind: Kind) -> None:
        self._kind = kind
        self._files: dict[Path, None] = {}  # in the order found
        self._skipped: Counter[str] = Counter()
        self._broken: set[Path] = set()  # links without a target
        self._linked: set[Path] = set()  # folders behind links, which -r does not enter
        self._special: set[Path] = set()  # pipes, sockets, devices
        self._problems: dict[Path, Source] = {}

    def take(self, paths: Iterable[Path]) -> None:
        for path in paths:
            if path in self._files or path.suffix.lower() not in self._kind.suffixes:
                continue
            if not _is(path, Path.is_file):
                self._broken |= {path} if _is(path, _is_broken_link) else set()
                self._special |= {path} if _is(path, _is_special) else set()
                continue
            called = _FORMATS.get(path.suffix.lower())
            if called is not None and called in _unsupported():
                self._skipped[called] += 1
            else:
                self._files[path] = None

    def found(self, source: str, nothing: str, warn: Warn, *, is_deep: bool) -> list[Source]:
        """The files in natural order, then folders that cannot be listed; `nothing` is the message without any."""
        skipped = [
            f"{count} {called} file{'s' if count > 1 else ''} skipped: {_unsupported()[called]}"
            for called, count in self._skipped.items()
        ]
        for one, many, those in (
            ("broken link", "broken links", self._broken),
            ("linked folder", "linked folders", self._linked if is_deep else ()),
            ("named pipe or device", "named pipes or devices", self._special),
        ):
            if those:
                skipped.append(f"{len(those)} {one if len(those) == 1 else many} skipped")
        if not self._files and not self._problems:
            hint = f"supported endings: {', '.join(sorted(self._kind.suffixes))}"
            hint = "; ".join(skipped) or (hint if is_deep else f"{hint}; search subfolders with -r")
            return [_failed(_printable(source), MediaError(f"{_printable(source)}: {nothing}", hint=hint))]
        for note in skipped:
            warn(f"{_printable(source)}: {note}")
        paths = sorted(self._files, key=_natural)
        return [*(Source(_printable(str(path)), path=path) for path in paths), *self._problems.values()]

    def folders(self, top: Path, *, follows: bool) -> Iterator[_Folder]:
        """The folder and all below that are not hidden.  `follows` enters links too, but none into what it lies in."""
        waiting = [(top, _ids(Path(os.path.realpath(top)).parents))]
        while waiting:
            path, above = waiting.pop()
            try:
                with os.scandir(path) as entries:
                    seen = [entry for entry in entries if not entry.name.startswith(".")]
            except OSError as error:
                self._problems[path] = _failed(
                    _printable(str(path)), MediaError(f"{_printable(str(path))}: cannot be listed ({_reason(error)})")
                )
                continue
            inside = above | _ids([path])
            if len(inside) == len(above):
                continue
            below = [path / entry.name for entry in seen if _is_folder(entry, follows=follows)]
            if not follows:
                links = (entry for entry in seen if entry.is_symlink())
                self._linked |= {path / entry.name for entry in links if _is_folder(entry, follows=True)}
            yield _Folder(path, [path / entry.name for entry in seen])
            waiting += [(folder, inside) for folder in below]

    def matches(self, pattern: str) -> Iterator[Path]:
        """What the glob matches; of `**` folders to any depth."""
        head, deep, tail = _parted(pattern)
        if not deep:
            yield from map(Path, glob.iglob(pattern))  # noqa: PTH207  Path.glob wants relative
            return
        for top in glob.iglob(head) if head else ("",):  # noqa: PTH207
            if not _is(Path(top), Path.is_dir):
                continue
            for folder in self.folders(Path(top), follows=True):
                yield from self.matches(f"{glob.escape(str(folder.path))}/{tail or '*'}")


def _parted(pattern: str) -> tuple[str, str, str]:
    """What stands before the first `**` of a glob, that, and what follows it."""
    found = re.search(r"(?:^|/)(\*\*)(?:/+|$)", pattern)
    return (pattern[: found.start(1)], found[1], pattern[found.end() :]) if found else (pattern, "", "")


def _ids(folders: Iterable[Path]) -> frozenset[tuple[int, int]]:
    """The device and inode of folders, which all their names share."""
    found = []
    for folder in folders:
        with suppress(OSError):
            there = folder.stat()
            found.append((there.st_dev, there.st_ino))
    return frozenset(found)


def _is_folder(entry: os.DirEntry[str], *, follows: bool) -> bool:
    try:
        return entry.is_dir(follow_symlinks=follows)
    except OSError:
        return False


def _is_broken_link(path: Path) -> bool:
    return path.is_symlink() and not path.exists()


def _is_special(path: Path) -> bool:
    return path.exists() and not path.is_dir()


def _failed(name: str, problem: MediaError) -> Source:
    return Source(name, problem=problem)


@functools.cache
def _unsupported() -> dict[str, str]:
    """The formats of images that are not read here, and what would help."""
    from vidctl.media import image

    return image.MISSING


def _is_of(kind: Kind, path: Path) -> bool:
    return path.suffix.lower() in kind.suffixes and _is(path, Path.is_file)


def _natural(path: Path) -> list[tuple[list[tuple[str, int]], str]]:
    """Sort numbers inside names by value; equal numbers (2, 02) by spelling."""
    return [([(text, int(digits or -1)) for text, digits in _PIECES.findall(part)], part) for part in path.parts]


_PIECES = re.compile(r"([^0-9]*)([0-9]*)")


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
def _file(path: Path, name: str, kind: Kind) -> Iterator[BinaryIO]:
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
        raise MediaError(f"{name}: cannot be read ({_reason(error)})") from error


def _reason(error: BaseException) -> str:
    return getattr(error, "strerror", None) or str(error) or type(error).__name__


def _printable(text: str) -> str:
    """The text without what no terminal and no JSON file can hold: bytes of a file name that are not UTF-8."""
    return text.encode("utf-8", "replace").decode()
