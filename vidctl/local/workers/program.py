"""Run a program to its end, under a lock between processes that it shares."""

from __future__ import annotations

import fcntl
import os
import subprocess
from collections import deque
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

from vidctl.errors import LocalRuntimeError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

_LAST_LINES = 20


@contextmanager
def locked(path: Path, what: str, notify: Callable[[str], None]) -> Iterator[int]:
    """Hold a lock between processes; say so before waiting for whoever has it.

    What it gives is the lock's descriptor: a child that inherits it holds the lock too, should we be killed meanwhile.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    lock = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            notify(f"waiting for {what}: another process is working on it")
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield lock
    finally:
        # A process that prepare.py left behind may have the descriptor still: closing ours alone would not do.
        fcntl.flock(lock, fcntl.LOCK_UN)
        os.close(lock)


def run_to_end(
    command: list[str],
    *,
    what: str,
    cwd: Path,
    env: Mapping[str, str],
    log: Path,
    lock: int,
    notify: Callable[[str], None],
) -> None:
    """Run it to its end, its output to the log and line by line to `notify`; raise LocalRuntimeError on failure."""
    last: deque[str] = deque(maxlen=_LAST_LINES)
    with _appended(log) as record, _child(command, cwd, env, lock) as process:
        for line in process.stdout or ():
            record.write(line)
            if line.strip():
                last.append(line.rstrip())
                notify(line.rstrip())
    if process.returncode != 0:
        raise LocalRuntimeError(
            f"{what} failed: {Path(command[0]).name} exited with status {process.returncode}\n" + "\n".join(last),
            hint=f"see the whole output in {log}",
        )


def _appended(log: Path) -> TextIO:
    """Open a log for lines that are there at once, for the user alone: indexes' passwords may be in it."""
    return os.fdopen(os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600), "w", buffering=1, encoding="utf-8")


@contextmanager
def _child(command: list[str], cwd: Path, env: Mapping[str, str], lock: int) -> Iterator[subprocess.Popen[str]]:
    """A process that is over when the block is: by itself, or killed when the block fails."""
    process = subprocess.Popen(
        command,
        cwd=cwd,
        env=env,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        encoding="utf-8",
        errors="replace",
        pass_fds=(lock,),
    )
    with process:
        try:
            yield process
        except BaseException:
            process.kill()
            raise
