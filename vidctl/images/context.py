"""The files that an image is built from: read once for the content tag, then sent as they were read.

What counts is what git would keep, so that a tag is the same in every checkout: paths, bytes, the executable bit and
links' targets.  Times, owners and the other permission bits (a umask) do not.
"""

from __future__ import annotations

import hashlib
import json
import os
import stat
import tarfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from vidctl.docker.ignore import Above, Ignore
from vidctl.errors import ImageError

PLATFORM = "linux/amd64"  # RunPod's hosts

_CHUNK = 1 << 20
# A project that is its own build folder has its keys there, and what changes with every deploy.  `!.env` sends it.
_NEVER_SENT = (".env", ".vidctl")
_FORMAT = 1  # a part of the tag: raise it when the same files come to mean another image

Digests = dict[tuple[int, ...], str]
"""What files were found to hold, by what `stat` says of them: a file that was not touched is not read again."""


@dataclass(frozen=True)
class Entry:
    """One file, folder or link.  `content` is a file's SHA-256, a link's target, or nothing."""

    path: str
    kind: Literal["file", "folder", "link"]
    content: str = ""
    is_executable: bool = False
    size: int = 0


@dataclass(frozen=True)
class Context:
    """A folder as it was read, without what its .dockerignore excludes."""

    folder: Path
    entries: tuple[Entry, ...]

    @property
    def size(self) -> int:
        return sum(entry.size for entry in self.entries)

    def tag(
        self, *, dockerfile: str, build_args: Mapping[str, str], bases: Mapping[str, str], target: str | None = None
    ) -> str:
        """Name the image that comes of these files, these arguments and these bases' digests."""
        facts: dict[str, Any] = {"platform": PLATFORM, "dockerfile": dockerfile}
        facts |= {"args": dict(build_args), "bases": dict(bases)} | ({"target": target} if target else {})
        digest = hashlib.sha256(json.dumps([_FORMAT, facts], sort_keys=True).encode())
        for entry in self.entries:
            line = [entry.path, entry.kind, entry.content, entry.is_executable]
            digest.update(b"\n" + json.dumps(line).encode())
        return f"content-{digest.hexdigest()[:16]}"

    def tar(self) -> Iterator[bytes]:
        """Yield a tar of just what was read, without times and owners: so the engine's layer cache holds everywhere.

        Raise ImageError when a file is no longer what was read: the tag would be a lie.
        """
        for entry in self.entries:
            yield _header(entry)
            if entry.kind == "file":
                yield from self._bytes(entry)
                yield bytes(-entry.size % tarfile.BLOCKSIZE)
        yield bytes(2 * tarfile.BLOCKSIZE)

    def _bytes(self, entry: Entry) -> Iterator[bytes]:
        digest, left = hashlib.sha256(), entry.size
        try:
            with (self.folder / entry.path).open("rb") as file:
                while left and (chunk := file.read(min(left, _CHUNK))):
                    digest.update(chunk)
                    left -= len(chunk)
                    yield chunk
                has_more = bool(file.read(1))
        except OSError as error:
            raise _unreadable(self.folder / entry.path, error) from error
        if left or has_more or digest.hexdigest() != entry.content:
            raise ImageError(
                f"{self.folder / entry.path}: changed while it was being sent", hint="run the command again"
            )


def read(folder: Path, *, dockerfile: str = "Dockerfile", known: Digests | None = None) -> Context:
    """Read every file once, but for those in `known`; raise ImageError for one that cannot be read.

    Pipes, sockets and devices are left out: git keeps none.  As with BuildKit, `<dockerfile>.dockerignore` goes before
    the folder's `.dockerignore`.
    """
    name = Path(dockerfile).as_posix()
    patterns, text = f"{name}.dockerignore", _text(folder / f"{name}.dockerignore")
    if text is None:
        patterns, text = ".dockerignore", _text(folder / ".dockerignore") or ""
    where = os.fspath(folder / patterns)
    ignored = Ignore(text, where=where, always=_NEVER_SENT, kept=(name, ".dockerignore", patterns))
    try:
        entries = tuple(_walk(folder, "", ignored, (), {} if known is None else known))
    except OSError as error:
        raise _unreadable(Path(error.filename or folder), error) from error
    return Context(folder, tuple(sorted(entries, key=lambda entry: os.fsencode(entry.path))))


def _walk(root: Path, below: str, ignored: Ignore, above: Above, known: Digests) -> Iterator[Entry]:
    with os.scandir(root / below) as items:
        found = [(f"{below}/{item.name}" if below else item.name, item) for item in items]
    for path, item in found:
        is_excluded, matches = ignored.excludes(path, above)
        if item.is_dir(follow_symlinks=False):
            inside: list[Entry] = []
            if not is_excluded or ignored.may_keep_some(path):
                try:
                    inside = list(_walk(root, path, ignored, matches, known))
                except PermissionError:
                    if not is_excluded:
                        raise
            if not is_excluded or inside:
                yield Entry(path, "folder")
            yield from inside
        elif not is_excluded and item.is_symlink():
            yield Entry(path, "link", os.fspath(Path(item.path).readlink()))
        elif not is_excluded and item.is_file(follow_symlinks=False):
            yield _file(path, Path(item.path), known)


def _file(path: str, place: Path, known: Digests) -> Entry:
    with place.open("rb", buffering=0) as file:
        facts = os.fstat(file.fileno())
        key = (facts.st_dev, facts.st_ino, facts.st_size, facts.st_mtime_ns, facts.st_ctime_ns)
        if key not in known:
            digest, buffer = hashlib.sha256(), memoryview(bytearray(_CHUNK))
            while count := file.readinto(buffer):
                digest.update(buffer[:count])
            known[key] = digest.hexdigest()
    return Entry(path, "file", known[key], bool(facts.st_mode & stat.S_IXUSR), facts.st_size)


def _header(entry: Entry) -> bytes:
    info = tarfile.TarInfo(entry.path)  # time 0 and owner 0 by default
    info.mode = 0o755 if entry.kind == "folder" or entry.is_executable else 0o644
    if entry.kind == "folder":
        info.type = tarfile.DIRTYPE
    elif entry.kind == "link":
        info.type, info.linkname = tarfile.SYMTYPE, entry.content
    info.size = entry.size
    return info.tobuf(tarfile.PAX_FORMAT, "utf-8", "surrogateescape")


def _text(path: Path) -> str | None:
    try:
        return path.read_text(encoding="utf-8-sig", errors="surrogateescape")
    except FileNotFoundError:
        return None
    except OSError as error:
        raise _unreadable(path, error) from error


def _unreadable(path: Path, error: OSError) -> ImageError:
    return ImageError(
        f"{path}: cannot be read: {error.strerror or error}", hint="it is part of the image's build folder"
    )
