"""What endpoints do now: their workers and queues from RunPod, what vidctl sent from the journal."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial
from typing import Any

from vidctl.deploy import cost
from vidctl.endpoints import IMAGE_TAG
from vidctl.errors import VidctlError
from vidctl.journal import Applied
from vidctl.journal.activity import EndpointActivity, activities
from vidctl.operations.live import LiveTarget
from vidctl.operations.names import find
from vidctl.runpod import gpus
from vidctl.runpod.jobs import Health
from vidctl.runpod.types import Endpoint, WorkerList
from vidctl.side_by_side import side_by_side
from vidctl.text import SENTENCE, one_line

_STATES = ("running", "idle", "initializing", "throttled", "unhealthy")
# Between two readings of the list and the workers, for each request: REST v2 takes about 60 a minute (runpod.md §2.2).
_REST_PAUSE_S = 1.5


@dataclass(frozen=True)
class EndpointStatus:
    """One endpoint: `health` and `fleet` are None where they could not be had, and `missing` says why."""

    endpoint: Endpoint
    health: Health | None
    fleet: WorkerList | None
    activity: EndpointActivity
    applied: Applied | None
    is_billed: bool
    missing: tuple[str, ...] = ()

    @property
    def workers(self) -> Mapping[str, int] | None:
        """How many workers are in which state: as they are listed, else as `/health` counts them."""
        if self.fleet is not None:
            states = [worker.status.lower() for worker in self.fleet.workers]
            return {state: states.count(state) for state in dict.fromkeys([*_STATES, *states]) if state in states}
        if self.health is not None:
            return {state: number for state in _STATES if (number := self.health.workers.get(state, 0))}
        return None

    @property
    def jobs(self) -> Mapping[str, int]:
        return self.health.jobs if self.health else {}

    @property
    def image(self) -> str:
        """The image's content tag where vidctl knows it, else the end of its name."""
        live = self.endpoint.template.image
        known = self.applied.document if self.applied else {}
        tag = known.get(IMAGE_TAG)
        return _short(tag if tag and known.get("template.image") == live else live)

    @property
    def drift(self) -> tuple[str, ...]:
        """What was changed elsewhere since vidctl last wrote it."""
        from vidctl.deploy import plan

        return plan.drift(self.endpoint, self.applied.document, plane="rest") if self.applied else ()

    def oldest_waiting_s(self, now: float) -> float | None:
        """For how long the oldest job of vidctl's waits; unknown of jobs that others sent."""
        oldest = self.activity.oldest_waiting_at
        return max(0.0, now - oldest) if oldest is not None and self.jobs.get("inQueue") else None

    @property
    def price_per_hour(self) -> float | None:
        """Of the workers that run: RunPod bills no other state (docs, serverless/workers/overview)."""
        if not self.is_billed or self.workers is None:
            return None
        running = self.workers.get("running", 0)
        if self.fleet is None or not running:
            return _times(running, self._dearest)
        prices = [self._price_of(each.gpu_type_id) for each in self.fleet.workers if each.status == "RUNNING"]
        known = [price for price in prices if price is not None]
        return round(sum(known), 4) if len(known) == len(prices) else None

    @property
    def spent_today(self) -> float | None:
        """By the journal's execution times, at the price of the first of its GPUs: an estimate."""
        pools = gpus.selection(self.endpoint.gpu_ids).pools
        per_hour = _PRICES.get(pools[0]) if pools else None
        if not self.is_billed or per_hour is None:
            return None
        return round(self.activity.execution_ms / 3_600_000 * per_hour * self.endpoint.gpu_count, 6)

    @property
    def _dearest(self) -> float | None:
        found = cost.cost(self.endpoint).worker
        return found[1] if found else None

    def _price_of(self, gpu_type_id: str | None) -> float | None:
        pool = next((each for each in gpus.POOLS if any(card.id == gpu_type_id for card in each.gpu_types)), None)
        per_hour = pool.price_per_hour if pool else None
        return self._dearest if per_hour is None else per_hour * self.endpoint.gpu_count

    def to_json(self, now: float) -> dict[str, Any]:
        """What --json prints of it."""
        from vidctl.deploy import plan

        failure = self.activity.last_failure
        return {
            "name": self.endpoint.name,
            "id": self.endpoint.id,
            "spec": plan.owner(self.endpoint),
            "image": self.endpoint.template.image,
            "tag": self.image,
            "drift": list(self.drift),
            "workers": None if self.workers is None else dict(self.workers),
            "workers_max": self.endpoint.workers_max,
            "jobs_queued": self.jobs.get("inQueue"),
            "jobs_in_progress": self.jobs.get("inProgress"),
            "oldest_waiting_s": _rounded(self.oldest_waiting_s(now)),
            "last_error": failure
            and {
                "job_id": failure.job_id,
                "status": failure.status,
                "error": failure.error,
                "age_s": _rounded(now - failure.at),
            },
            "price_per_hour": self.price_per_hour,
            "spent_today_estimate": self.spent_today,
            "missing": list(self.missing),
        }


_PRICES = {pool.id: pool.price_per_hour for pool in gpus.POOLS}


@dataclass
class StatusReader:
    """Reads the status of the named endpoints, of all where none is named; again and again if need be.

    One request lists them, then each is asked for its health and its workers, all at once; what takes longer than the
    deadline is left out.
    """

    target: LiveTarget
    names: Sequence[str]
    overlay: str | None
    deadline_s: float
    clock: Callable[[], float] = time.monotonic
    _endpoints: tuple[Endpoint, ...] = ()
    _fleets: dict[str, WorkerList | str] = field(default_factory=dict)
    _next_look_s: float | None = None
    _activities: Mapping[str, EndpointActivity] = field(default_factory=dict)
    _applied: Mapping[str | None, Applied | None] = field(default_factory=dict)

    def read(self) -> list[EndpointStatus]:
        """Raise NotDeployedError where a name is nobody's."""
        is_look = self._next_look_s is None or self.clock() >= self._next_look_s
        if is_look:
            self._endpoints = self._listed()
        found = self._asked(with_workers=is_look)
        if is_look:
            self._next_look_s = self.clock() + _REST_PAUSE_S * (len(self._endpoints) + 1)
        return [self._status(each, found) for each in self._endpoints]

    def _listed(self) -> tuple[Endpoint, ...]:
        live = self.target.rest.account().endpoints
        if not self.names:
            return live
        found = [find(name, live, self.target, overlay=self.overlay) for name in self.names]
        return tuple({each.id: each for each in found}.values())

    def _asked(self, *, with_workers: bool) -> dict[str, Health | str]:
        """Each endpoint's health, or why it could not be had; the workers are kept until the next look."""
        ids = [each.id or "" for each in self._endpoints]
        calls: dict[tuple[str, str], Callable[[], Health | WorkerList]] = {
            ("health", each): partial(self.target.jobs.health, each) for each in ids
        }
        if with_workers:
            calls |= {("workers", each): partial(self.target.workers.workers, each) for each in ids}
        found = side_by_side(calls, deadline_s=self.deadline_s, meanwhile=self._remember)
        health: dict[str, Health | str] = {}
        for kind, each in calls:
            value = self._told(kind, found.get((kind, each)))
            if isinstance(value, WorkerList) or (kind == "workers" and isinstance(value, str)):
                self._fleets[each] = value
            else:
                health[each] = value
        return health

    def _remember(self) -> None:
        """What takes time here and can be had while others are asked: the journal, and the modules that compare."""
        from vidctl.deploy import plan  # noqa: F401  loading it takes longer than a request

        journal = self.target.journal
        self._activities = activities(self.target.project.journal_file, self.target.name, since=_midnight())
        self._applied = {each.id: journal.last_applied(each.id or "") for each in self._endpoints}

    def _told(self, kind: str, value: Health | WorkerList | VidctlError | None) -> Health | WorkerList | str:
        if value is None:
            return f"/{kind}: no answer in {self.deadline_s:g} s"
        return f"/{kind}: {one_line(value.message, SENTENCE)}" if isinstance(value, VidctlError) else value

    def _status(self, endpoint: Endpoint, health: Mapping[str, Health | str]) -> EndpointStatus:
        endpoint_id = endpoint.id or ""
        found: tuple[Health | str, WorkerList | str] = (health[endpoint_id], self._fleets[endpoint_id])
        return EndpointStatus(
            endpoint=endpoint,
            health=found[0] if isinstance(found[0], Health) else None,
            fleet=found[1] if isinstance(found[1], WorkerList) else None,
            activity=self._activities.get(endpoint_id, EndpointActivity()),
            applied=self._applied.get(endpoint_id),
            is_billed=self.target.name == "runpod",
            missing=tuple(each for each in found if isinstance(each, str)),
        )


def _midnight() -> float:
    return datetime.now().astimezone().replace(hour=0, minute=0, second=0, microsecond=0).timestamp()


def _short(image: str) -> str:
    """`yolo:0123abcd4567` of an image's name, with so much of a digest as people compare."""
    name, _, digest = image.partition("@sha256:")
    name, _, folder_digest = name.partition("?sha256=")
    last = name.rpartition("/")[2]
    known = digest or folder_digest
    return f"{last}@{known[:12]}" if known else last


def _times(number: int, price: float | None) -> float | None:
    if not number:
        return 0.0
    return None if price is None else round(number * price, 4)


def _rounded(seconds: float | None) -> float | None:
    return None if seconds is None else round(seconds, 1)
