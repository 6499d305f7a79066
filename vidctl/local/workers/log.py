"""The log of a worker: bounded, written by threads, read from its end or from a place in it."""

from __future__ import annotations

import os
import threading
import time
from bisect import bisect_right
from collections import deque
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

LOG_BYTES = 5 << 20
NOTE = "vidctl-local: "  # how a line of ours begins
_KEPT_TIMES = 20_000


@dataclass(frozen=True)
class Stretch:
    """A part of a log: the position of its first byte, its bytes, and (position, time) of each write."""

    start: int
    data: bytes
    times: tuple[tuple[int, int], ...]

    def at_ms(self, position: int) -> int:
        """When the byte at `position` was written; of one from long ago, a time after that."""
        index = bisect_right(self.times, position, key=lambda time: time[0])
        return self.times[max(0, index - 1)][1]


class WorkerLog:
    """An append-only log that keeps its last 5 to 10 MB: `path`, and `path` with `.1` behind it.

    `written` is how many bytes were ever written, those that are gone included.  Threads may write to it, and
    `on_write` is called with what a worker prints, in the one that did.
    """

    def __init__(self, path: Path, *, max_bytes: int = LOG_BYTES) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self.path = path
        self.written = 0
        self.on_write: Callable[[bytes], None] = lambda _data: None
        self._times: deque[tuple[int, int]] = deque(maxlen=_KEPT_TIMES)
        self._max_bytes = max_bytes
        self._file = path.open("ab", buffering=0)
        self._lock = threading.Lock()
        self._is_mid_line = False

    def write(self, data: bytes) -> None:
        with self._lock:
            self._write(data)
        self.on_write(data)

    def _write(self, data: bytes) -> None:
        if self._file.closed:
            return
        if self._file.tell() + len(data) > self._max_bytes:
            self._file.close()
            self.path.replace(older(self.path))
            self._file = self.path.open("ab", buffering=0)
        self._file.write(data)
        at_ms = time.time_ns() // 1_000_000
        if not self._times or self._times[-1][1] != at_ms:
            self._times.append((self.written, at_ms))
        self.written += len(data)
        self._is_mid_line = not data.endswith(b"\n")

    def note(self, message: str) -> None:
        """A line of ours between the worker's."""
        with self._lock:
            start = "\n" if self._is_mid_line else ""
            self._write(f"{start}{NOTE}{message}\n".encode())

    def read(self, position: int) -> Stretch:
        """What was written from `position` on, or from the first byte that is still kept."""
        with self._lock:
            data = b""
            for part in (self.path, older(self.path)):
                data = _end_of(part, self.written - len(data) - position) + data
            return Stretch(self.written - len(data), data, tuple(self._times))

    def close(self) -> None:
        with self._lock:
            self._file.close()


def _end_of(path: Path, size: int) -> bytes:
    """The last bytes of a file, at most `size`; none when there is no file."""
    if size <= 0:
        return b""
    with suppress(FileNotFoundError), path.open("rb") as file:
        file.seek(max(0, file.seek(0, os.SEEK_END) - size))
        return file.read()
    return b""


def older(path: Path) -> Path:
    return path.with_name(f"{path.name}.1")


def last_lines(path: Path, count: int) -> list[str]:
    """The last lines of a rotated log, as text, at most `count`; none when there is no log."""
    if count <= 0:
        return []
    lines: list[str] = []
    for part in (path, older(path)):
        lines = _tail(part, count - len(lines)) + lines
        if len(lines) >= count:
            break
    return lines[-count:]


def _tail(path: Path, count: int, *, block: int = 1 << 16) -> list[str]:
    if count <= 0:
        return []
    with suppress(FileNotFoundError), path.open("rb") as file:
        end = file.seek(0, os.SEEK_END)
        start, data = end, b""
        while start > 0 and data.count(b"\n") <= count:
            size = min(block, start)
            start -= size
            file.seek(start)
            data = file.read(size) + data
        return [line.decode("utf-8", "replace") for line in data.splitlines()[-count:]]
    return []
