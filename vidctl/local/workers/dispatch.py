"""Which worker has which job: what a worker says of its jobs, and what becomes of those that it has no more."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from vidctl.local.control_plane.records import EndpointRecord
    from vidctl.local.queue.job import JobRecord
    from vidctl.local.queue.queue import JobQueue
    from vidctl.local.workers.fleet import Fleets, LocalWorker


class Dispatch:
    """Gives the jobs of the queue to workers, and takes them back."""

    def __init__(self, fleets: Fleets, queue: JobQueue) -> None:
        self._fleets = fleets
        self._queue = queue
        queue.on_released = self._released

    def mark_ready(self, endpoint_id: str, worker: LocalWorker) -> None:
        """Its first request for a job shows that a worker has started."""
        if worker.is_ready:
            return
        worker.is_ready = True
        worker.idle_since_ms = self._queue.clock()
        self._fleets[endpoint_id].is_broken = False
        self._fleets.wake.set()

    def reports_no_jobs(self, endpoint_id: str, worker: LocalWorker) -> None:
        """The worker says that it has no job: what it was given and has not answered, or its result, was lost.

        The SDK counts a job from when it has it until its result is posted or given up (rp_job.py, job_in_progress).
        """
        for job_id in worker.jobs | worker.stops.keys():
            job = self._queue.find_running(endpoint_id, worker.id, job_id)
            if job is not None:
                self._queue.lose(job, is_counted=True)
            self.release(worker, job_id)

    def take(self, endpoint: EndpointRecord, worker: LocalWorker, count: int) -> list[tuple[JobRecord, bytes]]:
        """Give a worker so many jobs, or as many as there are, each with what was handed in."""
        taken = self._queue.take(endpoint, worker.id, count)
        worker.jobs.update(job.id for job, _ in taken)
        return taken

    def answered(self, endpoint_id: str, worker: LocalWorker, job_id: str) -> None:
        """The worker has posted a job's result, so it works."""
        self._fleets[endpoint_id].crashes = 0
        self.release(worker, job_id)

    def release(self, worker: LocalWorker, job_id: str) -> None:
        """The worker has ended a job, whether or not anybody still wanted it."""
        worker.jobs.discard(job_id)
        worker.stops.pop(job_id, None)
        worker.idle_since_ms = worker.ended_at_ms = self._queue.clock()
        self._queue.takers.notify_all(worker.id)
        if worker.is_draining and not worker.is_busy:
            self._fleets.wake.set()

    def restart(self, worker: LocalWorker) -> None:
        """A handler asked for a fresh process (`refresh_worker`); jobs that it still has may finish."""
        worker.is_draining = True
        self._fleets.wake.set()

    def _released(self, job: JobRecord) -> None:
        worker = self._fleets.holder(job)
        if worker is not None:
            self.release(worker, job.id)
