"""What callers do with jobs, whichever API they speak: submit one, find it, wait for its end or its next chunks."""

from __future__ import annotations

from contextlib import closing
from typing import TYPE_CHECKING

from vidctl.local.api.http import NotFoundError
from vidctl.local.api.poll import Poll
from vidctl.local.api.submission import new_job_id, read_submission
from vidctl.local.queue import transitions
from vidctl.runpod import limits

if TYPE_CHECKING:
    import asyncio

    from starlette.requests import Request

    from vidctl.local.control_plane.records import EndpointRecord
    from vidctl.local.queue.job import JobRecord
    from vidctl.local.queue.queue import JobQueue

_DRAIN_BYTES = 20 << 20


class JobCalls:
    """Callers' jobs.  Nobody waits any longer once `closing` is set."""

    def __init__(self, queue: JobQueue, closing: asyncio.Event) -> None:
        self._queue = queue
        self._closing = closing

    def submit(self, endpoint: EndpointRecord, data: bytes, *, is_sync: bool, wait_ms: int = 0) -> JobRecord:
        """Queue a job; raise BadRequestError for a request that is none."""
        request = read_submission(data, max_bytes=limits.RUNSYNC_BYTES if is_sync else limits.RUN_BYTES)
        job = transitions.submitted(
            new_job_id(is_sync=is_sync),
            endpoint.id,
            self._queue.clock(),
            ttl_ms=request.ttl_ms or limits.DEFAULT_TTL_MS,
            execution_timeout_ms=request.execution_timeout_ms,
            low_priority=request.low_priority,
            webhook=request.webhook,
            wait_ms=wait_ms,
        )
        self._queue.submit(job, request.body)
        return job

    def find(self, endpoint_id: str, job_id: str) -> JobRecord:
        """The job as it is; raise NotFoundError when there is none."""
        job = self._queue.find(endpoint_id, job_id)
        if job is None:
            raise NotFoundError(f"job {job_id} not found: unknown or expired")
        return job

    def result(self, job: JobRecord) -> tuple[bytes | None, bytes | None]:
        """(output, error) as JSON text; None where there is none."""
        return self._queue.store.result(job.id)

    async def ended(self, request: Request, job: JobRecord, timeout_s: float) -> JobRecord:
        """The job once it has ended, or as it is when the time is over or the runtime ends."""
        with closing(Poll(request, self._queue.watchers, job.id, timeout_s)) as poll:
            async for _ in poll:
                job = self.find(job.endpoint_id, job.id)
                if self.is_over(job):
                    break
        return job

    async def chunks(self, request: Request, job: JobRecord, timeout_s: float) -> tuple[JobRecord, list[bytes]]:
        """The job and its chunks, as soon as there are any or it has ended."""
        chunks: list[bytes] = []
        with closing(Poll(request, self._queue.watchers, job.id, timeout_s)) as poll:
            async for _ in poll:
                job = self.find(job.endpoint_id, job.id)
                chunks = self.drain(job)
                if chunks or self.is_over(job):
                    break
        return job, chunks

    def drain(self, job: JobRecord) -> list[bytes]:
        """Hand out and forget a job's chunks, as many as one answer may have."""
        return self._queue.store.drain(job.id, max_bytes=_DRAIN_BYTES)

    def is_over(self, job: JobRecord) -> bool:
        """Whether there is nothing more to wait for."""
        return job.is_final or self._closing.is_set()
