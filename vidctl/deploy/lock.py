"""One deploy at a time for each endpoint of a project: the second one waits, and names the one it waits for."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from filelock import FileLock, Timeout

from vidctl.errors import BusyError, VidctlError
from vidctl.progress import Notify, Progress
from vidctl.project.state_folder import make_state_folder


@contextmanager
def held(root: Path, target: str, keys: Sequence[str], *, timeout_s: float, notify: Notify) -> Iterator[None]:
    """Keep other vidctls of the project in `root` from the same endpoints during the block.

    Raise BusyError, naming who has one, after `timeout_s`.
    """
    with ExitStack() as stack:
        for key in sorted(set(keys)):  # always in the same order: two that want several cannot wait for each other
            name = f"{target}-{key}"
            stack.enter_context(_one(root / ".vidctl" / "locks", name, timeout_s=timeout_s, notify=notify))
        yield


@contextmanager
def _one(folder: Path, name: str, *, timeout_s: float, notify: Notify) -> Iterator[None]:
    """Hold the lock `name` during the block; the system frees that of a process that ends, however it ends."""
    holder = folder / f"{name}.holder"
    lock = _acquired(folder, name, holder, timeout_s, notify)
    try:
        yield
    finally:
        holder.unlink(missing_ok=True)
        lock.release()


def _acquired(folder: Path, name: str, holder: Path, timeout_s: float, notify: Notify) -> FileLock:
    try:
        make_state_folder(folder)
        lock = FileLock(folder / f"{name}.lock")
        try:
            lock.acquire(timeout=0)
        except Timeout:
            notify(Progress("lock", f"{name}: waiting for {_who(holder)}"))
            _wait(lock, name, holder, timeout_s)
        holder.write_text(json.dumps({"pid": os.getpid(), "since": time.strftime("%H:%M:%S")}))
    except OSError as error:
        raise VidctlError(
            f"{folder}: cannot be written: {error.strerror}", hint="check disk space and permissions"
        ) from error
    return lock


def _wait(lock: FileLock, name: str, holder: Path, timeout_s: float) -> None:
    try:
        lock.acquire(timeout=timeout_s)
    except Timeout:
        raise BusyError(
            f"{name}: locked by {_who(holder)}", hint="wait until it is done, or stop that process"
        ) from None


def _who(holder: Path) -> str:
    with suppress(OSError, ValueError, KeyError, TypeError):
        known = json.loads(holder.read_text())
        return f"vidctl (process {known['pid']}, since {known['since']})"
    return "another vidctl"
