"""The long polls of workers: how a job gets from the queue to a worker, and how a worker hears of one to drop."""

from __future__ import annotations

import asyncio
from contextlib import closing
from typing import TYPE_CHECKING

from vidctl.local import wire
from vidctl.local.api.poll import Poll
from vidctl.local.workers.scaling import jobs_to_give

if TYPE_CHECKING:
    from starlette.requests import Request

    from vidctl.local.control_plane.records import EndpointRecord
    from vidctl.local.queue.queue import JobQueue
    from vidctl.local.workers.dispatch import Dispatch
    from vidctl.local.workers.fleet import LocalWorker
    from vidctl.local.workers.stops import JobStops

POLL_S = 20.0  # a worker's long poll; the SDK gives up after 90 s
FULL_WAIT_S = 0.5
BURST_S = 0.05
SETTLE_S = 0.5  # how often a worker that got a stop for a job is to say whether it has jobs


class WorkerPolls:
    """Answers workers that ask for jobs, or for jobs to drop, as soon as there are any."""

    def __init__(self, queue: JobQueue, dispatch: Dispatch, stops: JobStops, closing: asyncio.Event) -> None:
        self._queue = queue
        self._dispatch = dispatch
        self._stops = stops
        self._closing = closing

    async def jobs(self, request: Request, endpoint: EndpointRecord, worker: LocalWorker, *, limit: int) -> list[bytes]:
        """Jobs for a worker, as soon as there are any; none when the poll's time is over.

        Jobs of a burst are given together: one that could take more than there are gets them a little later.  So does
        one whose SDK would begin those that come after the first only when that has ended.
        A worker that would be full waits for one of its jobs to end, or for half a second; see `jobs_to_give`.  One
        that got a stop for a job is soon answered, for what its next poll says.
        """
        self._dispatch.mark_ready(endpoint.id, worker)
        if request.query_params.get("job_in_progress") == "0":
            self._dispatch.reports_no_jobs(endpoint.id, worker)
            worker.concurrency = limit  # only then it asks for as many as it can take
        wanted = _Wanted(worker, limit, begins_late=wire.begins_late(request.headers.get("user-agent", "")))
        with closing(Poll(request, self._queue.takers, endpoint.id, POLL_S)) as poll:
            async for _ in poll:
                if not worker.takes_jobs:
                    # It was woken because it is to end, or for a job that is for the next in line.
                    self._queue.takers.notify(endpoint.id)
                    await self._hold_until_stopped(request, worker)
                    return []
                room = worker.room(limit, self._queue.clock())
                if room and self._is_gathering(endpoint.id, wanted, room):
                    poll.listen_to(endpoint.id)
                    poll.wake_at(wanted.gathered_at)
                    continue
                count = room or wanted.count()
                taken = self._dispatch.take(endpoint, worker, count) if count else []
                if taken or _should_poll_again(worker, poll, wanted.settled_at):
                    return [wire.for_worker(job, body) for job, body in taken]
                # While it waits for its own jobs to end, a new job is for another worker.
                poll.listen_to(endpoint.id if count else worker.id)
                if not count:
                    poll.wake_at(wanted.full_until)
        return []

    def _is_gathering(self, endpoint_id: str, wanted: _Wanted, room: int) -> bool:
        """Whether to wait for the rest of a burst: there are jobs, they do not fill the worker, and time is left."""
        now = _now()
        is_burst = self._queue.is_burst(endpoint_id) or (wanted.begins_late and not wanted.worker.jobs)
        if now >= wanted.gathered_at or not is_burst:
            return False
        if not 0 < self._queue.store.demand(endpoint_id, self._queue.clock()).queued < room:
            return False
        wanted.gathered_at = min(wanted.gathered_at, now + BURST_S)
        return True

    async def _hold_until_stopped(self, request: Request, worker: LocalWorker) -> None:
        """Keep a worker that gets no more jobs from asking again at once, which the SDK does after a 204."""
        settled_at = _now() + SETTLE_S
        with closing(Poll(request, self._stops.waiters, worker.id, POLL_S)) as poll:
            async for _ in poll:
                if worker.is_stopping or self._closing.is_set() or _should_poll_again(worker, poll, settled_at):
                    return

    async def stops(self, request: Request, worker: LocalWorker) -> list[str]:
        """Jobs that a worker is to drop, as soon as there are any; none when it is to end or the time is over."""
        self._stops.acknowledge(worker)
        with closing(Poll(request, self._stops.waiters, worker.id, POLL_S)) as poll:
            async for _ in poll:
                due = self._stops.due(worker)
                if due or worker.is_stopping:
                    return due
                in_s = self._stops.next_due_s(worker)
                if in_s is not None:
                    poll.wake_at(_now() + in_s)
        return []


class _Wanted:
    """What a worker asked for, and until when it waits rather than get too few jobs, or too many."""

    def __init__(self, worker: LocalWorker, limit: int, *, begins_late: bool) -> None:
        now = _now()
        self.worker = worker
        self.begins_late = begins_late
        self.full_until = now + FULL_WAIT_S
        self.settled_at = now + SETTLE_S
        self.gathered_at = float("inf")
        self._limit = limit
        self._busy_before = len(worker.jobs)

    def count(self) -> int:
        """How many jobs it gets now; see `jobs_to_give`."""
        busy = len(self.worker.jobs)
        may_wait = _now() < self.full_until
        return jobs_to_give(self._limit, busy=busy, ended=self._busy_before - busy, may_wait=may_wait)


def _should_poll_again(worker: LocalWorker, poll: Poll, at: float) -> bool:
    """Whether a poll is to end: its worker acknowledged a stop, and this poll may be from before that."""
    if worker.is_settling and _now() < at:
        poll.wake_at(at)
        return False
    return worker.is_settling


def _now() -> float:
    return asyncio.get_running_loop().time()
