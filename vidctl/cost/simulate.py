"""Play an arrival trace against an endpoint's scaling rules: who waits how long, and what is billed.  Pure: no clock.

The rules are those of RunPod's docs: a queue-delay endpoint gets its first worker at once and one more each time a job
has waited longer than the delay; a request-count endpoint has one worker for every so many jobs, queued and running
(serverless/endpoints/endpoint-configurations).  A worker is billed from when it starts until it has stopped, rounded up
to the next second: its start (container and model), its jobs and its idle timeout (serverless/pricing).
"""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from math import ceil

from vidctl.runpod.types import ScalerType


@dataclass(frozen=True)
class Arrival:
    """A job: when it is submitted, and how long it runs on a worker; seconds."""

    at_s: float
    execution_s: float


@dataclass(frozen=True)
class ScalingRules:
    """What decides how many workers there are.

    `concurrency` is how many jobs a worker runs side by side, `cold_start_s` how long one takes from its start until
    it takes a job, `stop_s` how long it takes to stop.  A worker that is full looks again whether it has room every
    `full_pause_s`: RunPod's SDK sleeps a second then (rp_scale.py, get_jobs).  With `one_start_at_a_time` no second
    worker starts while another does, as in the local runtime, where they would share the same processors.
    """

    scaler_type: ScalerType
    scaler_value: float
    workers_min: int
    workers_max: int
    idle_timeout_s: float
    cold_start_s: float
    concurrency: int = 1
    stop_s: float = 0.0
    full_pause_s: float = 1.0
    one_start_at_a_time: bool = False


@dataclass(frozen=True)
class Served:
    """What became of a job: `delay_s` from its submission until a worker began it."""

    at_s: float
    delay_s: float
    execution_s: float

    @property
    def total_s(self) -> float:
        return self.delay_s + self.execution_s


@dataclass(frozen=True)
class Lifetime:
    """One worker, from the decision to start it until it has stopped."""

    started_s: float
    stopped_s: float
    busy_s: float

    @property
    def billed_s(self) -> int:
        return ceil(round(self.stopped_s - self.started_s, 6))


@dataclass(frozen=True)
class Simulation:
    """The jobs in the order in which they were submitted, and the workers in the order in which they were started."""

    jobs: tuple[Served, ...]
    workers: tuple[Lifetime, ...]

    @property
    def billed_s(self) -> int:
        """Seconds of workers that are billed; times the price a second, and the number of GPUs, this is the cost."""
        return sum(worker.billed_s for worker in self.workers)

    @property
    def utilisation(self) -> float:
        """The share of billed time in which a worker had a job, 0 to 1."""
        return sum(worker.busy_s for worker in self.workers) / self.billed_s if self.billed_s else 0.0

    @property
    def delays_s(self) -> list[float]:
        return [job.delay_s for job in self.jobs]

    @property
    def totals_s(self) -> list[float]:
        """From submission to result, of each job."""
        return [job.total_s for job in self.jobs]


def percentile(values: Iterable[float], share: float) -> float:
    """The least value that `share` (0 to 1) of all do not exceed: the nearest rank; 0 of none."""
    ordered = sorted(values)
    return ordered[max(0, ceil(share * len(ordered)) - 1)] if ordered else 0.0


@dataclass
class _SimulatedWorker:
    started_s: float
    is_ready: bool = False
    running: int = 0
    full_since_s: float = 0.0
    looks_at_s: float = 0.0
    idle_since_s: float = 0.0
    busy_since_s: float = 0.0
    busy_s: float = 0.0
    stopped_s: float | None = None


def simulate(arrivals: Sequence[Arrival], scaling: ScalingRules) -> Simulation:
    """Play all jobs to their end; the workers that always run are billed from the first submission until then.

    Raises ValueError for rules under which no job would ever run.
    """
    if scaling.workers_max < 1 or scaling.concurrency < 1 or scaling.scaler_value <= 0:
        raise ValueError("workers_max and concurrency must be at least 1, and scaler_value more than 0")
    return _Run(sorted(arrivals, key=lambda each: each.at_s), scaling).play()


class _Run:
    def __init__(self, arrivals: Sequence[Arrival], scaling: ScalingRules) -> None:
        self._arrivals = arrivals
        self._scaling = scaling
        # Of one time in the order of their kinds: what ends before what begins.
        self._events: list[tuple[float, int, int]] = [(each.at_s, _ARRIVE, n) for n, each in enumerate(arrivals)]
        self._looks_s: set[float] = set()
        self._queue: deque[int] = deque()
        self._began_s: dict[int, float] = {}
        self._on: dict[int, _SimulatedWorker] = {}
        self._ended_s = self._last_start_s = arrivals[0].at_s if arrivals else 0.0
        self._all = [
            _SimulatedWorker(self._ended_s, is_ready=True, idle_since_s=self._ended_s)
            for _ in range(scaling.workers_min)
        ]
        self._there = list(self._all)

    def play(self) -> Simulation:
        while self._events:
            at_s, kind, number = heapq.heappop(self._events)
            self._happen(at_s, kind, number)
            if self._events and self._events[0][0] == at_s:
                continue
            self._give(at_s)
            self._scale(at_s)
            self._stop_idle(at_s)
        jobs = (
            Served(each.at_s, self._began_s[number] - each.at_s, each.execution_s)
            for number, each in enumerate(self._arrivals)
        )
        workers = (
            Lifetime(each.started_s, self._ended_s if each.stopped_s is None else each.stopped_s, each.busy_s)
            for each in self._all
        )
        return Simulation(tuple(jobs), tuple(workers))

    def _happen(self, at_s: float, kind: int, number: int) -> None:
        if kind == _ARRIVE:
            self._queue.append(number)
        elif kind == _READY:
            self._all[number].is_ready = True
            self._all[number].idle_since_s = at_s
        elif kind == _DONE:
            worker = self._on.pop(number)
            if worker.running == self._scaling.concurrency:
                self._look_for_room(worker, at_s)
            worker.running -= 1
            self._ended_s = at_s
            if worker.running == 0:
                worker.idle_since_s = at_s
                worker.busy_s += at_s - worker.busy_since_s

    def _look_for_room(self, worker: _SimulatedWorker, at_s: float) -> None:
        """A full worker has ended a job, and notices that it has room when it next looks."""
        pause_s = self._scaling.full_pause_s
        pauses = ceil(round((at_s - worker.full_since_s) / pause_s, 6)) if pause_s else 0
        worker.looks_at_s = max(at_s, worker.full_since_s + pauses * pause_s)
        self._look(worker.looks_at_s, at_s)

    def _give(self, at_s: float) -> None:
        """Give queued jobs to workers with room, to the fullest first, so that others may stop."""
        most = self._scaling.concurrency
        room = [each for each in self._there if each.is_ready and each.running < most and at_s >= each.looks_at_s]
        while self._queue and room:
            worker = max(room, key=lambda each: each.running)
            number = self._queue.popleft()
            if worker.running == 0:
                worker.busy_since_s = at_s
            worker.running += 1
            if worker.running == most:
                worker.full_since_s = at_s
            self._began_s[number], self._on[number] = at_s, worker
            heapq.heappush(self._events, (at_s + self._arrivals[number].execution_s, _DONE, number))
            room = [each for each in room if each.running < most]

    def _scale(self, at_s: float) -> None:
        while len(self._there) < self._wanted(at_s):
            worker = _SimulatedWorker(at_s)
            self._all.append(worker)
            self._there.append(worker)
            self._last_start_s = at_s
            heapq.heappush(self._events, (at_s + self._scaling.cold_start_s, _READY, len(self._all) - 1))
        if self._queue and self._scaling.scaler_type == "QUEUE_DELAY" and len(self._there) < self._scaling.workers_max:
            self._look(self._due_s(), at_s)

    def _wanted(self, at_s: float) -> int:
        """How many workers there should be now, if that is more than there are."""
        rules, have = self._scaling, len(self._there)
        if rules.scaler_type == "REQUEST_COUNT":
            running = sum(each.running for each in self._there)
            wanted = ceil((len(self._queue) + running) / rules.scaler_value)
        elif self._queue and have == 0:
            wanted = 1
        elif self._queue and at_s >= self._due_s() and not (rules.one_start_at_a_time and self._is_anyone_starting()):
            wanted = have + 1
        else:
            wanted = have
        return min(rules.workers_max, max(rules.workers_min, have, wanted))

    def _due_s(self) -> float:
        """When the job that waits longest has waited for one more worker."""
        return max(self._arrivals[self._queue[0]].at_s, self._last_start_s) + self._scaling.scaler_value

    def _stop_idle(self, at_s: float) -> None:
        for worker in list(self._there):
            if not worker.is_ready or worker.running or len(self._there) <= self._scaling.workers_min:
                continue
            ends_s = worker.idle_since_s + self._scaling.idle_timeout_s
            if at_s >= ends_s:
                worker.stopped_s = self._ended_s = at_s + self._scaling.stop_s
                self._there.remove(worker)
            else:
                self._look(ends_s, at_s)

    def _look(self, wanted_s: float, now_s: float) -> None:
        """Look again at that time; what is due and cannot be yet is looked at when something happens."""
        if wanted_s > now_s and wanted_s not in self._looks_s:
            self._looks_s.add(wanted_s)
            heapq.heappush(self._events, (wanted_s, _LOOK, 0))

    def _is_anyone_starting(self) -> bool:
        return any(not each.is_ready for each in self._there)


_DONE, _READY, _ARRIVE, _LOOK = range(4)
