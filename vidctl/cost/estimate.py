"""What a call, an hour of video and a month cost on each pool of GPUs.  Pure.

A call costs its execution time; a month what is billed of workers that start, work, idle and stop, as the simulation
plays it with jobs that come at random, the same ones each time.
"""

from __future__ import annotations

import math
import random
from collections.abc import Iterator
from dataclasses import dataclass

from vidctl.cost.facts import EndpointCosts, KnownTime
from vidctl.cost.prices import every_pool
from vidctl.cost.simulate import Arrival, ScalingRules, simulate

DAY_S = 86_400.0
DAYS = 30  # of a month
_MOST_JOBS = 5_000  # are played of a day; of more the same share of its time


@dataclass(frozen=True)
class Usage:
    """What is assumed of the callers: one unit every so many seconds of a video, and calls of one unit in a day."""

    every_s: float = 1.0
    jobs_per_day: int = 1_000


@dataclass(frozen=True)
class WorkerDay:
    """What workers do in a day, on average: the seconds that are billed, and how many start."""

    billed_s: float
    cold_starts: float


@dataclass(frozen=True)
class PoolEstimate:
    """One pool: US dollars, None where its price is not published, or nobody measured how long a unit takes on it."""

    pool: str
    is_own: bool
    per_s: float | None
    time: KnownTime | None
    day: WorkerDay | None

    @property
    def per_unit(self) -> float | None:
        return self.per_s * self.time.seconds if self.per_s is not None and self.time else None

    @property
    def per_month(self) -> float | None:
        return self.per_s * self.day.billed_s * DAYS if self.per_s is not None and self.day else None

    def per_hour(self, units: float) -> float | None:
        """What so many units cost: those of an hour of video."""
        return None if self.per_unit is None else self.per_unit * units


def units_per_hour(task: str | None, every_s: float) -> float:
    """How many units an hour of video is: audio is heard whole, all else looks every so often."""
    return 60.0 if task == "transcribe" else 3600 / every_s


def estimates(known: EndpointCosts, usage: Usage) -> Iterator[PoolEstimate]:
    """The spec's own pools in their order, then all others from the cheapest on."""
    for pool in (*known.pools, *(each for each in every_pool() if each not in known.pools)):
        time = known.unit_time((pool,))
        rules = known.rules(concurrency=1)
        day = worker_day(rules, time.seconds, usage.jobs_per_day) if time and rules.workers_max else None
        yield PoolEstimate(pool, pool in known.pools, known.prices.per_s((pool,)), time, day)


def worker_day(rules: ScalingRules, execution_s: float, jobs: int) -> WorkerDay:
    """A day with so many jobs."""
    played = min(jobs, _MOST_JOBS)
    share = played / jobs if jobs else 1.0
    always_s = rules.workers_min * DAY_S
    if not played:
        return WorkerDay(always_s, 0.0)
    chance = random.Random(0)  # noqa: S311  no secret
    times = sorted(chance.uniform(0, DAY_S * share) for _ in range(played))
    simulation = simulate([Arrival(at_s, execution_s) for at_s in times], rules)
    # Of a part of the day the rest goes on as it does, so nothing that comes after the part is its own.
    ends_s = DAY_S * share if share < 1 else math.inf
    lives = [(each.started_s, min(each.stopped_s, ends_s)) for each in simulation.workers if each.started_s < ends_s]
    # The simulation knows those that always run only from the first job to the last.
    missing_s = rules.workers_min * max(0.0, DAY_S * share - (max(stopped for _, stopped in lives) - times[0]))
    billed_s = sum(math.ceil(stopped - started) for started, stopped in lives) + missing_s
    return WorkerDay(billed_s / share, (len(lives) - rules.workers_min) / share)
