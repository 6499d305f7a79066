"""What a model's files need before they get the name that is looked for: a digest, and one process at a time."""

from __future__ import annotations

import fcntl
import hashlib
from contextlib import contextmanager
from typing import TYPE_CHECKING

from variables import StartError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


def digest(path: Path) -> str:
    with path.open("rb") as file:
        found = hashlib.sha256()
        while block := file.read(1 << 20):
            found.update(block)
    return found.hexdigest()


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Keep other processes from making `path` meanwhile; raise StartError if nothing can be written beside it."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        lock = path.with_name(f".{path.name}.lock").open("w")
    except OSError as error:
        raise StartError(f"cannot write to {path.parent}: {error.strerror}; set MODEL_DIR to a folder") from error
    with lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
