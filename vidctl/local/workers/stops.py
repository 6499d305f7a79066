"""Jobs that workers are to drop: when each stop is sent, and what a worker has acknowledged."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from vidctl.local.queue.waiters import Waiters
from vidctl.local.workers.launcher import STOP_GRACE_S

if TYPE_CHECKING:
    from vidctl.local.queue.job import JobRecord
    from vidctl.local.queue.queue import JobQueue
    from vidctl.local.workers.fleet import Fleets, LocalWorker

BEGUN_AFTER_MS = 500  # a worker has surely begun a job that it was given so long ago


@dataclass
class Stop:
    """A job that a worker should drop; a worker that still has it at `kill_at_ms` is killed.

    The SDK (rp_scale.py, stop_job) drops a stop for a job that it has and has not begun, as it does within 0.1 s: one
    that was sent that early is sent once more.  `is_acknowledged`: the worker has asked for stops again since.
    """

    kill_at_ms: int
    given_at_ms: int = 0
    sent_at_ms: int | None = None
    is_resent: bool = False
    is_acknowledged: bool = False

    def due_at_ms(self) -> int | None:
        """When it is to be sent; None when it is not to be sent again."""
        if self.sent_at_ms is None:
            return 0
        was_early = self.sent_at_ms - self.given_at_ms < BEGUN_AFTER_MS
        return self.sent_at_ms + BEGUN_AFTER_MS if was_early and not self.is_resent else None

    def mark_sent(self, now_ms: int) -> None:
        self.is_resent = self.sent_at_ms is not None
        self.sent_at_ms = now_ms


class JobStops:
    """Tells workers which of their jobs to drop.  `waiters` holds their long polls, by the worker's id."""

    def __init__(self, fleets: Fleets, queue: JobQueue) -> None:
        self._fleets = fleets
        self._queue = queue
        self.waiters = Waiters()
        queue.on_stop = self._add

    def due(self, worker: LocalWorker) -> list[str]:
        """The jobs whose stops are to be sent to a worker now, and count as sent."""
        now = self._queue.clock()
        due = [job_id for job_id, stop in worker.stops.items() if (at := stop.due_at_ms()) is not None and at <= now]
        for job_id in due:
            worker.stops[job_id].mark_sent(now)
        return due

    def next_due_s(self, worker: LocalWorker) -> float | None:
        """In how many seconds a stop is to be sent to a worker once more; None: never."""
        due = [at for stop in worker.stops.values() if (at := stop.due_at_ms()) is not None]
        return max(0, min(due) - self._queue.clock()) / 1000 if due else None

    def acknowledge(self, worker: LocalWorker) -> None:
        """The worker asks for stops again: its loop runs and has dealt with those that it got before.

        That does not say whether it has dropped the jobs.  What it says when it next asks for a job does (see
        `Dispatch.reports_no_jobs`), so that poll is answered soon now.
        """
        for stop in worker.stops.values():
            stop.is_acknowledged = stop.sent_at_ms is not None
        if worker.is_settling:
            self._queue.takers.notify_everyone()
            self.waiters.notify_all(worker.id)

    def _add(self, job: JobRecord) -> None:
        worker = self._fleets.holder(job)
        if worker is not None:
            worker.stops[job.id] = Stop(
                kill_at_ms=self._queue.clock() + int(STOP_GRACE_S * 1000), given_at_ms=job.started_at_ms or 0
            )
            self.waiters.notify_all(worker.id)
