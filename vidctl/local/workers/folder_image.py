"""Worker folders as images: their names by content, and the copies that workers run in.

The local runtime runs a worker's handler from its folder.  What RunPod calls an image is then a reference to that
folder with a hash of its content.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import parse_qs, quote, unquote, urlsplit

from vidctl.docker import worker_folder
from vidctl.docker.ignore import Ignore
from vidctl.errors import ImageError, LocalRuntimeError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from vidctl.docker.ignore import Above

_HANDLER = Path("handler.py")
_NOT_CONTENT = re.compile(r"__pycache__|\.git|\.venv|\.cache|\..*_cache")


def image_name(folder: Path, handler: Path | None = None) -> str:
    """Name a worker folder by its content: `file:///abs/folder?sha256=<16 hex>`.

    What is run of it, from the folder, is in there where it is not `handler.py`: `&handler=src/rp_handler.py`.

    Paths, bytes and the executable bit count; times, Python's and other tools' caches do not.  Raise
    LocalRuntimeError when the folder cannot be read or has no handler.
    """
    folder = folder.resolve()
    handler = handler or worker_folder.handler(folder)
    if handler is None or not (folder / handler).is_file():
        raise LocalRuntimeError(
            f"{handler or 'handler.py'} not found in {folder}",
            hint="name the file that starts RunPod's worker loop: local: {handler: src/start.py}; or run its image: "
            "local: {isolation: container}",
        )
    content = hashlib.sha256()
    try:
        for path in _content_files(folder):
            content.update(json.dumps([path.relative_to(folder).as_posix(), os.access(path, os.X_OK)]).encode())
            content.update(_file_digest(path))
    except OSError as error:
        raise LocalRuntimeError(f"cannot read {folder}: {error}") from error
    named = "" if handler == _HANDLER else f"&handler={quote(handler.as_posix())}"
    return f"{folder.as_uri()}?sha256={content.hexdigest()[:16]}{named}"


def _content_files(folder: Path) -> Iterator[Path]:
    """The files that make a worker what it is, in an order that does not depend on the file system."""
    for path in sorted(folder.iterdir()):
        if _NOT_CONTENT.fullmatch(path.name) or path.suffix == ".pyc":
            continue
        if path.is_dir() and not path.is_symlink():
            yield from _content_files(path)
        elif path.is_file():
            yield path


def _file_digest(path: Path) -> bytes:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(1 << 20):
            digest.update(chunk)
    return digest.digest()


def copy_source(folder: Path, to: Path, handler: Path = _HANDLER) -> None:
    """Give a worker a working directory of its own: what its image would hold is copied.

    `weights/` and what `.dockerignore` leaves out may be large, so that those files are links to the folder's own: a
    handler must not write into them, and nothing but its good manners keeps it from that.  Of other tools' folders,
    such as `.venv`, and of links to folders there is one link each; Python's caches are left behind.
    Raise LocalRuntimeError for a pattern that is none.
    """
    patterns = next((path for path in _ignore_files(folder) if path.is_file()), None)
    text = "" if patterns is None else patterns.read_text(encoding="utf-8-sig", errors="surrogateescape")
    try:
        ignored = Ignore(text, where=str(patterns), kept=(handler.as_posix(),))
    except ImageError as error:
        raise LocalRuntimeError(str(error), hint=error.hint) from error
    to.mkdir(parents=True)
    _copy_into(folder, to, "", ignored, ())


def _ignore_files(folder: Path) -> tuple[Path, Path]:
    return folder / "Dockerfile.dockerignore", folder / ".dockerignore"


def _copy_into(source: Path, to: Path, inside: str, ignored: Ignore, above: Above) -> None:
    for path in sorted(source.iterdir()):
        name, target = inside + path.name, to / path.name
        if path.name == "__pycache__" or path.suffix == ".pyc":
            continue
        is_linked, matches = ignored.excludes(name, above)
        if _NOT_CONTENT.fullmatch(path.name) or (path.is_dir() and path.is_symlink()):
            target.symlink_to(path.resolve())
        elif path.is_dir():
            target.mkdir()
            _copy_into(path, target, f"{name}/", ignored, matches)
        elif path.is_file() and (is_linked or name.startswith("weights/")):
            target.symlink_to(path.resolve())
        elif path.is_file():
            shutil.copy2(path, target)


def is_folder(image_name: str) -> bool:
    """Whether an image name means a worker folder, be it a right one or not."""
    return image_name.startswith("file:")


def folder(image_name: str) -> Path:
    """Find the worker folder that an image name stands for.

    Raise LocalRuntimeError when the name is not one of a worker folder, or the folder is gone.
    """
    try:
        parts = urlsplit(image_name)
        is_one = parts.scheme == "file" and not parts.netloc and bool(parse_qs(parts.query).get("sha256"))
        path = Path(unquote(parts.path))
        is_there = is_one and (path / handler(image_name)).is_file()
    except (OSError, ValueError):  # brackets that are no address, a path that no file can have
        is_one = False
    if not is_one:
        raise LocalRuntimeError(
            f"the local runtime cannot run the image {image_name}: it does not name a worker folder",
            hint="deploy a spec with `image: {build: <a worker's folder>}`",
        )
    if not is_there:
        raise LocalRuntimeError(f"worker folder {path} not found", hint="redeploy it from its current folder")
    return path


def handler(image_name: str) -> Path:
    """What is run of the worker folder that an image name stands for, from the folder."""
    named = parse_qs(urlsplit(image_name).query).get("handler")
    return Path(named[0]) if named else _HANDLER
