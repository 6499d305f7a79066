"""Why there is no answer yet, as people are told it."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from vidctl.cli.report import Wait
    from vidctl.runpod.jobs import Health, Job
    from vidctl.tasks.batch import Waiting


def telling(wait: Wait) -> Waiting:
    """What hears of a job that takes long, and says it."""

    def waiting(job: Job, health: Health | None) -> None:
        known = health.workers if health else {}
        is_cold = bool(known) and not (known.get("running") or known.get("idle"))
        wait(state(job, health), is_cold=is_cold)

    return waiting


def state(job: Job, health: Health | None) -> str:
    """Where the job is; if it waits, for which workers."""
    if health is None:
        return "the job is running" if job.status == "IN_PROGRESS" else "waiting"
    states = ("running", "idle", "initializing", "throttled", "unhealthy")
    workers = ", ".join(f"{health.workers[each]} {each}" for each in states if health.workers.get(each))
    return f"the job is waiting for a worker ({workers or 'no workers yet'})"
