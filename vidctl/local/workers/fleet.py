"""What is known of each endpoint's workers.  Nothing here starts or stops one."""

from __future__ import annotations

import asyncio
from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

from vidctl.local.workers.scaling import CRASHES_UNTIL_UNHEALTHY
from vidctl.local.workers.stops import Stop

if TYPE_CHECKING:
    from vidctl.local.control_plane.records import EndpointRecord
    from vidctl.local.queue.job import JobRecord
    from vidctl.local.workers.launcher import WorkerInstance
    from vidctl.local.workers.log import WorkerLog

WorkerStatus = Literal["RUNNING", "IDLE", "INITIALIZING", "UNHEALTHY"]
KEPT_LOGS = 5
CALM_MS = 1_000  # the SDK's loop sleeps so long when it is full


@dataclass
class LocalWorker:
    """One worker, from before it is started until after it is gone."""

    id: str
    version: int
    log: WorkerLog
    started_at_ms: int
    image: str | None = None
    instance: WorkerInstance | None = None
    spawned_at_ms: int | None = None
    is_ready: bool = False
    is_stopping: bool = False
    is_draining: bool = False
    was_killed: bool = False
    idle_since_ms: int = 0
    ended_at_ms: int = 0
    concurrency: int = 1
    error: str | None = None
    jobs: set[str] = field(default_factory=set)
    stops: dict[str, Stop] = field(default_factory=dict)
    unsent: dict[str, str] = field(default_factory=dict)

    @property
    def takes_jobs(self) -> bool:
        return not self.is_stopping and not self.is_draining

    @property
    def has_crashed(self) -> bool:
        """Whether it has ended by its own fault: before it asked for a job, or when nobody wanted it to end."""
        if not self.is_ready:
            return not self.is_stopping
        is_wanted = self.takes_jobs and not self.was_killed
        return is_wanted and self.instance is not None and self.instance.exit_code != 0

    @property
    def is_busy(self) -> bool:
        return bool(self.jobs or self.stops)

    def room(self, requested: int, now_ms: int) -> int | None:
        """How many jobs a worker that asks for several can be given at once; None: `jobs_to_give` says it.

        One that has ended no job lately has nothing to lose by being filled.  It asks for less than it can take, for it
        counts twice what it has just got.
        """
        if requested == 1 or now_ms - self.ended_at_ms < CALM_MS:
            return None
        return max(requested, self.concurrency - len(self.jobs))

    @property
    def is_settling(self) -> bool:
        """Whether it has acknowledged a stop, and has not reported yet that the job is over."""
        return any(stop.is_acknowledged for stop in self.stops.values())

    @property
    def status(self) -> WorkerStatus:
        if not self.is_ready:
            return "INITIALIZING"
        return "RUNNING" if self.is_busy else "IDLE"


@dataclass
class LocalFleet:
    """The workers of one endpoint."""

    endpoint: EndpointRecord
    workers: dict[str, LocalWorker] = field(default_factory=dict)
    past: deque[LocalWorker] = field(default_factory=lambda: deque(maxlen=KEPT_LOGS))
    crashes: int = 0
    is_broken: bool = False
    start_after_ms: int = 0

    @property
    def is_unhealthy(self) -> bool:
        """Whether its workers do not come up: no environment, or they exit again and again and end no job."""
        return self.is_broken or self.crashes >= CRASHES_UNTIL_UNHEALTHY

    def is_idle_too_long(self, worker: LocalWorker, now_ms: int) -> bool:
        has_spare = len(self.current()) > self.endpoint.workers_min
        return has_spare and now_ms - worker.idle_since_ms >= self.endpoint.idle_timeout_s * 1000

    def known(self) -> list[LocalWorker]:
        """The workers, after the last few that have gone."""
        return [*self.past, *self.workers.values()]

    def current(self) -> list[LocalWorker]:
        return [worker for worker in self.workers.values() if worker.takes_jobs]

    def shown(self) -> list[tuple[LocalWorker, WorkerStatus]]:
        """The workers with their states; in a crash loop the one that last failed stands for the next."""
        living: list[tuple[LocalWorker, WorkerStatus]] = [
            (worker, "UNHEALTHY" if self.is_unhealthy and not worker.is_ready else worker.status)
            for worker in self.workers.values()
        ]
        if self.is_unhealthy and self.past and not any(status == "UNHEALTHY" for _, status in living):
            living.append((self.past[-1], "UNHEALTHY"))
        return living


class Fleets:
    """The workers of all endpoints.  `wake` is to be set when the supervisor should look at them at once."""

    def __init__(self) -> None:
        self._by_endpoint: dict[str, LocalFleet] = {}
        self.wake = asyncio.Event()

    def __getitem__(self, endpoint_id: str) -> LocalFleet:
        return self._by_endpoint[endpoint_id]

    def get(self, endpoint_id: str) -> LocalFleet | None:
        return self._by_endpoint.get(endpoint_id)

    def all(self) -> list[LocalFleet]:
        return list(self._by_endpoint.values())

    def add(self, endpoint: EndpointRecord) -> LocalFleet:
        """Begin with an endpoint, which has no workers yet."""
        fleet = self._by_endpoint[endpoint.id] = LocalFleet(endpoint)
        return fleet

    def remove(self, endpoint_id: str) -> None:
        del self._by_endpoint[endpoint_id]

    def worker(self, endpoint_id: str, worker_id: str) -> LocalWorker | None:
        fleet = self._by_endpoint.get(endpoint_id)
        return None if fleet is None else fleet.workers.get(worker_id)

    def holder(self, job: JobRecord) -> LocalWorker | None:
        """The worker that was given a job and has not gone."""
        return None if job.worker_id is None else self.worker(job.endpoint_id, job.worker_id)
