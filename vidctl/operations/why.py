"""See all that may tell why an endpoint or a job does not answer; `causes` judges it."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any, TypeVar

from vidctl.deploy.diagnosis import EndpointSnapshot
from vidctl.errors import JobFailedError, NotDeployedError, UsageError, VidctlError
from vidctl.journal import JobEntry
from vidctl.journal.activity import activities
from vidctl.operations.causes import Findings
from vidctl.operations.live import LiveTarget
from vidctl.operations.names import find, not_found
from vidctl.runpod import gpus
from vidctl.runpod.jobs import GONE, Health, Job
from vidctl.runpod.types import Account, Balance, Catalogue, Endpoint, LogLine, WorkerList
from vidctl.side_by_side import side_by_side
from vidctl.text import SENTENCE, one_line

_WORKERS_LOOKED_AT = 3
_LOG_S = 2.0
_LOG_LINES = 200
_Value = TypeVar("_Value")


@dataclass
class Investigation:
    """Looks at one endpoint, or at a job and its endpoint.

    `unseen` says what could not be looked at.  GraphQL is asked for what only it has: the account's balance and quota.
    """

    target: LiveTarget
    deadline_s: float
    unseen: list[str] = field(default_factory=list)

    def look(self, word: str, *, overlay: str | None = None) -> Findings:
        """Raise NotDeployedError for what is neither an endpoint nor a job of this project's journal."""
        live = self.target.rest.account().endpoints
        entry = self._entry(word)
        endpoint = self._endpoint_of(entry, live) if entry else find(word, live, self.target, overlay=overlay)
        endpoint_id = endpoint.id or ""
        seen = self._asked(endpoint_id, entry)
        fleet = self._value(seen, "workers", WorkerList)
        health = self._value(seen, "health", Health) or Health({}, {})
        job = self._job(seen, entry) if entry else None
        account, catalogue = self._value(seen, "quota", Account), self._value(seen, "stock", Catalogue)
        applied = self.target.journal.last_applied(endpoint_id)
        return Findings(
            name=applied.spec if applied else endpoint.name,
            endpoint=endpoint,
            snapshot=self._snapshot(endpoint, health, fleet, job, entry),
            job=job,
            applied_workers_max=_whole(applied.document.get("endpoint.workers_max")) if applied else None,
            offers=catalogue.offers if catalogue else (),
            workers_asked=sum(each.workers_max for each in live),
            worker_quota=account.worker_quota if account else None,
            balance=self._value(seen, "balance", Balance),
        )

    def _entry(self, word: str) -> JobEntry | None:
        """The job of this id, or of an id that begins so."""
        found = [each for each in self.target.journal.find_jobs(word) if each.target == self.target.name]
        if len(found) > 1 and found[0].id != word:
            raise UsageError(f"{word}: several jobs begin so: {', '.join(each.id for each in found)}")
        return found[0] if found else None

    def _endpoint_of(self, entry: JobEntry, live: tuple[Endpoint, ...]) -> Endpoint:
        found = next((each for each in live if each.id == entry.endpoint_id), None)
        if found is None:
            raise not_found(f"of job {entry.id}", self.target, entry.endpoint_id)
        return found

    def _asked(self, endpoint_id: str, entry: JobEntry | None) -> Mapping[str, Any]:
        calls: dict[str, Callable[[], Any]] = {
            "health": partial(self.target.jobs.health, endpoint_id),
            "workers": partial(self.target.workers.workers, endpoint_id),
        }
        if entry:
            calls["job"] = partial(self.target.jobs.status, endpoint_id, entry.id)
        if self.target.name == "runpod":  # the local runtime has neither stock nor money to run out of
            calls |= {
                "stock": self.target.rest.catalogue,
                "quota": self.target.graphql.account,
                "balance": self.target.graphql.balance,
            }
        found = side_by_side(calls, deadline_s=self.deadline_s)
        return {name: found.get(name) for name in calls}

    def _value(self, seen: Mapping[str, Any], name: str, kind: type[_Value]) -> _Value | None:
        value = seen.get(name)
        if isinstance(value, kind):
            return value
        if name in seen:
            why = value.message if isinstance(value, VidctlError) else f"no answer in {self.deadline_s:g} s"
            self.unseen.append(f"{name}: {one_line(why, SENTENCE)}")
        return None

    def _job(self, seen: Mapping[str, Any], entry: JobEntry) -> Job:
        """The job as RunPod has it, else as it was last seen here."""
        value = seen["job"]
        if isinstance(value, Job):
            return value
        is_gone = isinstance(value, JobFailedError) and value.status == GONE
        if not is_gone:
            self._value(seen, "job", Job)
        is_unknown = entry.status in ("IN_QUEUE", "IN_PROGRESS")
        return Job(
            entry.id,
            GONE if is_gone and is_unknown else entry.status,
            output=None if is_unknown else "",  # what it put out is not known, and no sign of anything
            error=entry.error,
            delay_ms=entry.delay_ms,
            execution_ms=entry.execution_ms,
            worker_id=entry.worker_id,
        )

    def _snapshot(
        self, endpoint: Endpoint, health: Health, fleet: WorkerList | None, job: Job | None, entry: JobEntry | None
    ) -> EndpointSnapshot:
        jobs = dict(health.jobs)
        if job is not None and job.status == "IN_QUEUE":  # whatever /health says yet
            jobs["inQueue"] = max(1, jobs.get("inQueue", 0))
        return EndpointSnapshot(
            workers=health.workers,
            jobs=jobs,
            workers_max=endpoint.workers_max,
            waited_s=self._waited_s(endpoint, jobs, entry),
            pools=gpus.selection(endpoint.gpu_ids).pools,
            data_centers=endpoint.locations,
            fleet=fleet,
            logs=self._logs(endpoint.id or "", fleet),
            is_local=self.target.name == "local",
        )

    def _waited_s(self, endpoint: Endpoint, jobs: Mapping[str, int], entry: JobEntry | None) -> float:
        """How long the job waits, or the oldest of this project's; 0 where that is not known."""
        if entry:
            return max(0.0, time.time() - entry.submitted_at)
        known = activities(self.target.project.journal_file, self.target.name, since=time.time())
        activity = known.get(endpoint.id or "")
        oldest = activity.oldest_waiting_at if activity and jobs.get("inQueue") else None
        return max(0.0, time.time() - oldest) if oldest is not None else 0.0

    def _logs(self, endpoint_id: str, fleet: WorkerList | None) -> Mapping[str, tuple[LogLine, ...]]:
        """The newest lines of a few workers, those of the newest version first."""
        workers = (*fleet.fresh, *(each for each in fleet.workers if each.is_stale)) if fleet else ()
        read = partial(self.target.workers.logs, endpoint_id, tail=_LOG_LINES, max_s=_LOG_S)
        calls = {each.id: partial(read, each.id) for each in workers[:_WORKERS_LOOKED_AT]}
        found = side_by_side(calls, deadline_s=self.deadline_s)
        for worker_id, value in found.items():
            if isinstance(value, VidctlError) and not isinstance(value, NotDeployedError):
                self.unseen.append(f"logs of {worker_id}: {one_line(value.message, SENTENCE)}")
        return {worker_id: value for worker_id, value in found.items() if not isinstance(value, VidctlError)}


def _whole(text: str | None) -> int | None:
    return int(text) if text and text.isdecimal() else None
