"""Wait for answers: why there is none yet, as people are told it, and what Ctrl-C does meanwhile."""

from __future__ import annotations

from collections.abc import Generator, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from vidctl.cli.report import Wait
    from vidctl.client import Client
    from vidctl.runpod.jobs import Health, Job
    from vidctl.tasks.invoker import Waiting


Answer = TypeVar("Answer")


@contextmanager
def answers(
    client: Client, results: Generator[Answer, None, None], *, hint: str | None = None
) -> Iterator[Iterator[Answer]]:
    """The results as they come; Ctrl-C cancels what is out and raises InterruptionError that says so, and `hint`."""
    try:
        yield results
    except KeyboardInterrupt:
        interrupted = client.interrupt()
        interrupted.hint = hint or interrupted.hint
        raise interrupted from None
    finally:
        results.close()


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
