"""Find the images, audio files or videos that a command line means: files, folders, globs, lists and URLs."""

from __future__ import annotations

import functools
import glob
import os
import re
import warnings
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from vidctl.errors import MediaError, UsageError
from vidctl.media.kinds import IMAGES, MediaKind
from vidctl.media.sources import MAX_BYTES, Source, cause, utf8
from vidctl.text import without_secrets

# The names of image formats that not every installation reads.
_FORMATS = {
    **dict.fromkeys((".avif", ".avifs"), "AVIF"),
    **dict.fromkeys((".heic", ".heif", ".hif"), "HEIC"),
    **dict.fromkeys((".jp2", ".j2k", ".jpf", ".jpx", ".jpc"), "JPEG 2000"),
}

Warn = Callable[[str], None]


def expand(
    sources: Sequence[str],
    *,
    kind: MediaKind = IMAGES,
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
    kind: MediaKind,
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


def _is_named_like_a_list(source: str, kind: MediaKind) -> bool:
    """Whether `@2x.jpg` is no list but an image, as the shell's own glob spells it."""
    return _is_of(kind, Path(source))


def _piped(stdin: BinaryIO | None, kind: MediaKind, *, again: Source | None) -> Source:
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
        raise MediaError(f"@{utf8(list_file)}: cannot be read ({cause(error)})") from error
    if "\0" in text:
        raise MediaError(f"@{utf8(list_file)}: not a list: expected text with one source per line")
    lines = [line for line in map(_line, text.split("\n")) if line]
    if not lines:
        raise MediaError(f"@{utf8(list_file)}: no sources in this list")
    yield from lines


def _line(text: str) -> str:
    """The source that a line of a list names, or nothing; a file that is called so to the letter goes first."""
    text = text.removesuffix("\r")
    if text.strip() and not _is(Path(text), os.path.lexists):
        text = text.strip()
        return "" if text.startswith("#") else text
    return text if text.strip() else ""


def _expand(source: str, kind: MediaKind, warn: Warn, *, recursive: bool) -> list[Source]:
    if not source:
        raise UsageError("empty source", hint="pass a file, a folder, a glob or an https:// URL")
    if re.match(r"[a-z][a-z0-9+.-]*://", source, re.IGNORECASE):
        return [Source(without_secrets(utf8(source)), url=source)]
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
            f"{utf8(source)}: a text file, not {kind.one}",
            hint=f"read it as a list of sources: @{utf8(source)}",
        )
    return [Source(utf8(source), path=path)]


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

    def __init__(self, kind: MediaKind) -> None:
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
            return [_failed(utf8(source), MediaError(f"{utf8(source)}: {nothing}", hint=hint))]
        for note in skipped:
            warn(f"{utf8(source)}: {note}")
        paths = sorted(self._files, key=_natural)
        return [*(Source(utf8(str(path)), path=path) for path in paths), *self._problems.values()]

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
                    utf8(str(path)), MediaError(f"{utf8(str(path))}: cannot be listed ({cause(error)})")
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


def _is_of(kind: MediaKind, path: Path) -> bool:
    return path.suffix.lower() in kind.suffixes and _is(path, Path.is_file)


def _natural(path: Path) -> list[tuple[list[tuple[str, int]], str]]:
    """Sort numbers inside names by value; equal numbers (2, 02) by spelling."""
    return [([(text, int(digits or -1)) for text, digits in _PIECES.findall(part)], part) for part in path.parts]


_PIECES = re.compile(r"([^0-9]*)([0-9]*)")
