"""The queue that callers submit jobs to and workers take them from: the store, and whom each change wakes.

Everything here runs on the event loop's thread.  Nothing is remembered in memory but who is waiting right now.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from typing import TYPE_CHECKING

from vidctl.local.queue import transitions
from vidctl.local.queue.waiters import Waiters

if TYPE_CHECKING:
    from collections.abc import Callable

    from vidctl.local.control_plane.records import EndpointRecord
    from vidctl.local.queue.job import JobRecord
    from vidctl.local.queue.store import JobStore

BURST_MS = 50  # jobs that come so close upon each other are given as one batch
LOST_ERROR = b'"job timed out after 1 retries"'


def now_ms() -> int:
    return time.time_ns() // 1_000_000


class JobQueue:
    """Jobs in, jobs out; each change is durable before anyone is notified of it.

    `on_queued(endpoint_id)` is called when a job starts to wait, `on_stop(job)` when its worker should drop it,
    `on_released(job)` when its worker has it no more.
    """

    def __init__(self, store: JobStore, *, clock: Callable[[], int] = now_ms) -> None:
        self.store = store
        self.clock = clock
        self.takers = Waiters()
        self.watchers = Waiters()
        self.webhooks = asyncio.Event()
        self._arrivals: dict[str, deque[int]] = {}
        self.on_queued: Callable[[str], None] = lambda _endpoint_id: None
        self.on_stop: Callable[[JobRecord], None] = lambda _job: None
        self.on_released: Callable[[JobRecord], None] = lambda _job: None

    def submit(self, job: JobRecord, body: bytes) -> None:
        self.store.add(job, body)
        self._announce(job.endpoint_id)

    def find(self, endpoint_id: str, job_id: str) -> JobRecord | None:
        job = self.store.get(job_id, self.clock())
        return job if job is not None and job.endpoint_id == endpoint_id else None

    def find_running(self, endpoint_id: str, worker_id: str, job_id: str) -> JobRecord | None:
        """The job if that worker is to end it; None when nobody expects that any more."""
        job = self.find(endpoint_id, job_id)
        is_running = job is not None and job.status == "IN_PROGRESS" and job.worker_id == worker_id
        return job if is_running else None

    def is_burst(self, endpoint_id: str) -> bool:
        """Whether the last job to come was close upon another, and just now: more may be on their way."""
        arrivals = self._arrivals.get(endpoint_id)
        return arrivals is not None and len(arrivals) > 1 and self.clock() - arrivals[0] <= BURST_MS

    def take(self, endpoint: EndpointRecord, worker_id: str, limit: int) -> list[tuple[JobRecord, bytes]]:
        return self.store.take(
            endpoint.id,
            self.clock(),
            worker_id=worker_id,
            limit=limit,
            execution_timeout_ms=endpoint.execution_timeout_ms,
        )

    def progress(self, job: JobRecord, output: bytes) -> None:
        """Keep the last progress_update value as the output of a running job."""
        self.store.save(job, output=output)

    def finish(self, job: JobRecord, *, output: bytes | None = None, error: bytes | None = None) -> None:
        """COMPLETED, or FAILED when there is an error."""
        change = transitions.finished if error is None else transitions.failed
        self._end(change(job, self.clock()), output=output, error=error)

    def stream(self, job: JobRecord, chunks: list[bytes]) -> None:
        self.store.append(job.id, chunks)
        self.watchers.notify_all(job.id)

    def keep_for(self, job: JobRecord, ttl_ms: int) -> None:
        """Forget a result sooner than RunPod does by itself: so long after now, or after the job's end."""
        self.store.keep(transitions.kept_for(job, self.clock(), ttl_ms))

    def cancel(self, job: JobRecord) -> JobRecord:
        """The job as it is afterwards; one that has ended stays as it is."""
        if job.is_final:
            return job
        ended = transitions.cancelled(job, self.clock())
        self._end(ended)
        self.on_stop(job)
        return ended

    def retry(self, job: JobRecord) -> JobRecord:
        """Queue a FAILED or TIMED_OUT job once more; raise WrongStateError for any other."""
        queued = transitions.retried(job, self.clock())
        self.store.save(queued)
        self._announce(queued.endpoint_id)
        return queued

    def purge(self, endpoint_id: str) -> int:
        """Cancel all that waits; how many that were."""
        waiting = self.store.queued(endpoint_id)
        for job in waiting:
            self._end(transitions.cancelled(job, self.clock()))
        return len(waiting)

    def lose(self, job: JobRecord, *, is_counted: bool) -> None:
        """The job's worker is gone: queue it again, or fail it when that was its second worker."""
        change = transitions.lost if is_counted else transitions.requeued
        after = change(job, self.clock())
        self.on_released(job)
        if after.is_final:
            self._end(after, error=LOST_ERROR)
            return
        self.store.save(after, is_retry=is_counted)
        self._announce(after.endpoint_id)

    def expire_overdue(self) -> None:
        """Time out what runs too long, and forget what RunPod would have forgotten."""
        now = self.clock()
        for job in self.store.overdue(now):
            self._end(transitions.timed_out(job, now))
            self.on_stop(job)
        expired = self.store.expired(now)
        if expired:
            self.store.delete([job.id for job in expired])
        for job in expired:
            self.watchers.notify_all(job.id)
            if job.status == "IN_PROGRESS":
                self.on_stop(job)

    def forget_endpoint(self, endpoint_id: str) -> None:
        running = self.store.running(endpoint_id=endpoint_id)
        waiting = self.store.queued(endpoint_id)
        self.store.delete_endpoint(endpoint_id)
        self._arrivals.pop(endpoint_id, None)
        for job in (*running, *waiting):
            self.watchers.notify_all(job.id)

    def recover(self) -> None:
        """Queue again what the previous run of the runtime left in progress."""
        for job in self.store.running():
            self.store.save(transitions.requeued(job, self.clock()))

    def _end(self, job: JobRecord, *, output: bytes | None = None, error: bytes | None = None) -> None:
        self.store.save(job, output=output, error=error)
        self.watchers.notify_all(job.id)
        if job.webhook_due_at_ms is not None:
            self.webhooks.set()

    def _announce(self, endpoint_id: str) -> None:
        self._arrivals.setdefault(endpoint_id, deque(maxlen=2)).append(self.clock())
        self.takers.notify(endpoint_id)
        self.on_queued(endpoint_id)
