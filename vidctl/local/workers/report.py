"""What is shown of an endpoint's workers: their counts, states and logs."""

from __future__ import annotations

from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any

from vidctl.local.workers.log import last_lines

if TYPE_CHECKING:
    from vidctl.local.workers.fleet import LocalFleet, LocalWorker, WorkerStatus

_LAST_LINES = 20


def health(fleet: LocalFleet) -> dict[str, int]:
    """/health's worker counts.  As RunPod's, `ready` counts the idle ones once more."""
    states = [status for _, status in fleet.shown()]
    idle = states.count("IDLE")
    return {
        "idle": idle,
        "initializing": states.count("INITIALIZING"),
        "ready": idle,
        "running": states.count("RUNNING"),
        "throttled": 0,
        "unhealthy": states.count("UNHEALTHY"),
    }


def workers(fleet: LocalFleet) -> list[dict[str, Any]]:
    """Each worker with its state and last log lines."""
    return [_worker(worker, status) for worker, status in fleet.shown()]


def _worker(worker: LocalWorker, status: WorkerStatus) -> dict[str, Any]:
    return {
        "id": worker.id,
        "status": status,
        "pid": worker.instance.pid if worker.instance else None,
        "startedAt": _iso(worker.started_at_ms),
        "lastLog": last_lines(worker.log.path, _LAST_LINES),
        "error": worker.error,
    }


def logs(fleet: LocalFleet, tail: int) -> list[dict[str, Any]]:
    """The last lines of each worker's log, those of the last few that have gone included, the newest last."""
    return [
        {"workerId": worker.id, "startedAt": _iso(worker.started_at_ms), "lines": last_lines(worker.log.path, tail)}
        for worker in fleet.known()
    ]


def _iso(at_ms: int) -> str:
    return datetime.fromtimestamp(at_ms / 1000, timezone.utc).isoformat(timespec="milliseconds")
