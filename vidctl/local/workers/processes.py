"""Worker processes as the operating system sees them: groups that die together, names that outlive us, bounded logs."""

from __future__ import annotations

import os
import signal
import subprocess
import threading
import time
from bisect import bisect_right
from collections import deque
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

LOG_BYTES = 5 << 20
NOTE = "vidctl-local: "  # how a line of ours begins
_KEPT_TIMES = 20_000
_PROC = Path("/proc")
# How to find programs, certificates and the network.
_INHERITABLE = frozenset({
    "PATH", "LANG", "LC_ALL", "LC_CTYPE", "TZ", "TMPDIR", "LD_LIBRARY_PATH", "CUDA_VISIBLE_DEVICES",
    "SSL_CERT_FILE", "SSL_CERT_DIR", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE",
})  # fmt: skip
_PROXIES = frozenset({"HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "http_proxy", "https_proxy", "no_proxy"})


def inheritable(environ: Mapping[str, str]) -> dict[str, str]:
    """What a worker's code may know of its caller's environment: nothing that is a secret, above all no keys."""
    return {**{name: value for name, value in environ.items() if name in _INHERITABLE}, **proxies(environ)}


def proxies(environ: Mapping[str, str]) -> dict[str, str]:
    """Its caller's proxies, which are bypassed for this machine."""
    env = {name: value for name, value in environ.items() if name in _PROXIES}
    if "HTTP_PROXY" in env or "http_proxy" in env:
        direct = (env.get("NO_PROXY") or env.get("no_proxy"), "127.0.0.1,localhost")
        env["NO_PROXY"] = env["no_proxy"] = ",".join(filter(None, direct))
    return env


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


class Log:
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


def identity(pid: int) -> str | None:
    """What tells this process from a later one with the same number; None when there is no such process."""
    if not _PROC.joinpath("self").exists():
        return _ps_started(pid)
    try:
        stat = _PROC.joinpath(str(pid), "stat").read_text()
        boot = _PROC.joinpath("sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return None
    after_name = stat.rpartition(")")[2].split()
    is_zombie = after_name[0] == "Z"
    return None if is_zombie else f"{boot}:{after_name[19]}"


def _ps_started(pid: int) -> str | None:
    answer = subprocess.run(["ps", "-o", "lstart=", "-p", str(pid)], capture_output=True, text=True, check=False)
    return answer.stdout.strip() or None


def commands() -> str:
    """The command lines of all processes that we may see."""
    if not _PROC.joinpath("self").exists():
        return subprocess.run(["ps", "-axww", "-o", "command="], capture_output=True, text=True, check=True).stdout
    return "\n".join(_command(entry) for entry in _PROC.glob("[0-9]*"))


def _command(entry: Path) -> str:
    with suppress(OSError):
        return os.fsdecode(entry.joinpath("cmdline").read_bytes())
    return ""


def remember(folder: Path, pid: int) -> None:
    """Write down which process group works for the worker that owns `folder`."""
    folder.joinpath("process").write_text(f"{pid} {identity(pid) or ''}\n")


def forget(folder: Path) -> None:
    folder.joinpath("process").unlink(missing_ok=True)


def kill_orphans(workers: Path) -> list[int]:
    """Kill the process groups that a previous run of the runtime recorded and left; their ids."""
    killed = []
    for record in sorted(workers.glob("*/process")):
        number, _, started = record.read_text().strip().partition(" ")
        if number.isdigit() and _is_ours(int(number), started, worker_id=record.parent.name):
            signal_group(int(number), signal.SIGKILL)
            killed.append(int(number))
        record.unlink()
    return killed


def signal_group(pid: int, number: signal.Signals) -> None:
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(pid, number)


def _is_ours(pid: int, started: str, *, worker_id: str) -> bool:
    """Whether the group is the one we started: its leader runs, or a member still carries the worker's name."""
    current = identity(pid)
    if current is not None:
        return bool(started) and current == started
    # The leader is gone but the SDK's heartbeat process may be left.  A number can be reused (after a reboot, say),
    # so only a process that says it is this worker proves the group ours.
    marker = f"RUNPOD_POD_ID={worker_id}".encode()
    return any(_group(entry) == pid and marker in _environment(entry) for entry in _PROC.glob("[0-9]*"))


def _group(entry: Path) -> int | None:
    with suppress(OSError):
        return int(entry.joinpath("stat").read_text().rpartition(")")[2].split()[2])
    return None


def _environment(entry: Path) -> list[bytes]:
    with suppress(OSError):
        return entry.joinpath("environ").read_bytes().split(b"\0")
    return []
