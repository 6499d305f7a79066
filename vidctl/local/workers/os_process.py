"""Processes as the operating system sees them: identities that outlive us, and groups that die together."""

from __future__ import annotations

import os
import signal
from contextlib import suppress
from typing import TYPE_CHECKING

import psutil  # type: ignore[import-untyped]  # it ships no types

if TYPE_CHECKING:
    from pathlib import Path


def identity(pid: int) -> str | None:
    """What tells this process from a later one with the same number; None when there is no such process."""
    try:
        process = psutil.Process(pid)
        if process.status() == psutil.STATUS_ZOMBIE:
            return None
        started_s = process.create_time()
    except (psutil.Error, ValueError, OverflowError):
        return None
    # Linux knows when a process began after the machine did: the time of day may be set meanwhile.
    return f"{started_s - psutil.boot_time() if psutil.LINUX else started_s:.3f}"


def commands() -> str:
    """The command lines of all processes that we may see."""
    return "\n".join(" ".join(process.info["cmdline"] or ()) for process in psutil.process_iter(["cmdline"]))


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
    return any(_is_member(process, pid, worker_id) for process in psutil.process_iter())


def _is_member(process: psutil.Process, group: int, worker_id: str) -> bool:
    try:
        return os.getpgid(process.pid) == group and process.environ().get("RUNPOD_POD_ID") == worker_id
    except (psutil.Error, OSError):
        return False
