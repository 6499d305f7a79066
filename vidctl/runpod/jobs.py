"""RunPod's job API: `/run`, `/status`, `/stream`, `/cancel`, `/retry`, `/purge-queue`, `/health`.

RunPod docs, serverless/endpoints/operation-reference.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

from vidctl.errors import ApiError, JobFailedError, NetworkError, NotDeployedError, UnansweredError, VidctlError
from vidctl.runpod import limits
from vidctl.runpod.http import Http
from vidctl.runpod.rate_limiter import RateLimiter
from vidctl.runpod.reading import Node, node_of
from vidctl.runpod.retry import until_taken
from vidctl.text import SENTENCE, one_line, reason

FINAL = frozenset({"COMPLETED", "FAILED", "CANCELLED", "TIMED_OUT"})
_STATES = FINAL | {"IN_QUEUE", "IN_PROGRESS", "RUNNING"}  # RUNNING: documented, never captured

GONE = "GONE"  # our word for a job that RunPod no longer has
# RunPod's /stream takes more, but what stands before it cuts silent connections.
_HOLD_MS = (limits.WAIT_MS[0], 30_000)
_PATIENCE_S = 60.0  # to have a job taken


@dataclass(frozen=True)
class Job:
    """What `/status` says: times in milliseconds, None while unknown.

    `ended_s` is when its end was seen here, on the clock of `time.monotonic`.
    """

    id: str
    status: str
    output: Any = None
    error: str | None = None
    delay_ms: int | None = None
    execution_ms: int | None = None
    worker_id: str | None = None
    ended_s: float | None = None

    @property
    def is_final(self) -> bool:
        return self.status in FINAL

    @property
    def has_output(self) -> bool:
        """Whether there is one; a generator whose outputs only stream leaves an empty list."""
        return self.output is not None and self.output != []


@dataclass(frozen=True)
class Streamed:
    """What `/stream` says: the job's state, and the outputs that came since it was last asked, which it then drops.

    With `is_broken` a response was lost, and with it perhaps some of the outputs before these.
    """

    status: str
    chunks: tuple[Any, ...] = ()
    is_broken: bool = False

    @property
    def is_final(self) -> bool:
        return self.status in FINAL


@dataclass(frozen=True)
class Health:
    """How many workers are in each state, and how many jobs wait."""

    workers: Mapping[str, int]
    jobs: Mapping[str, int]

    @property
    def ready(self) -> int:
        return max(self.workers.get("ready", 0), self.workers.get("idle", 0) + self.workers.get("running", 0))


@dataclass(frozen=True)
class JobOptions:
    """What RunPod is told of a job besides its input; None is RunPod's default, of which the endpoint may have its own.

    RunPod docs, serverless/endpoints/send-requests.
    """

    webhook: str | None = None
    execution_timeout_ms: int | None = None
    ttl_ms: int | None = None
    is_low_priority: bool = False

    def fields(self) -> dict[str, Any]:
        """The same as `/run` takes it."""
        policy = {"executionTimeout": self.execution_timeout_ms, "ttl": self.ttl_ms}
        said: dict[str, Any] = {name: value for name, value in policy.items() if value is not None}
        if self.is_low_priority:
            said["lowPriority"] = True
        return {**({"webhook": self.webhook} if self.webhook else {}), **({"policy": said} if said else {})}


DEFAULT_OPTIONS = JobOptions()


class Jobs:
    """One account's jobs at one base URL, e.g. `https://api.runpod.ai/v2`.  Safe to use in threads."""

    def __init__(
        self,
        http: Http,
        base_url: str,
        *,
        if_unknown: str = "run vidctl list to see your endpoints",
        has_rate_limits: bool = True,
    ) -> None:
        """`if_unknown` is the hint of the error for an endpoint that is not known there."""
        self._http = http
        self._base_url = base_url
        self._if_unknown = if_unknown
        self._has_rate_limits = has_rate_limits
        self._limiters: dict[tuple[str, limits.RateLimit], RateLimiter] = {}
        self._has_answered = False
        self.rate_limited = 0
        """How often a job was not taken at first, for there were too many (429)."""

    def run(
        self,
        endpoint_id: str,
        payload: Mapping[str, Any],
        options: JobOptions = DEFAULT_OPTIONS,
        *,
        deadline: float | None = None,
        pause: Callable[[float], None] = time.sleep,
    ) -> str:
        """Queue one job and return its id; raise UnansweredError if the response was lost: it may be queued then.

        It is offered again only where it cannot have been taken, until the deadline (on the clock of `time.monotonic`):
        RunPod said 429, or a server that was there before cannot be reached.  `pause` waits, and may raise instead.
        """
        body = {"input": payload, **options.fields()}

        def offer() -> Any:
            with self._limited(endpoint_id, limits.RUN_RATE, pause):
                return self._http.offer("POST", self._url(endpoint_id, "run"), body=body)

        by = time.monotonic() + _PATIENCE_S if deadline is None else deadline
        try:
            response = until_taken(offer, self._pause_s, deadline=by, pause=pause)
        except UnansweredError as error:
            error.hint = "the job may have been accepted, so it was not sent again; " + (error.hint or "")
            raise
        except NotDeployedError as error:
            raise self._no_endpoint(endpoint_id) from error
        self._has_answered = True
        return _text(node_of(response, "/run"), "id", "/run")

    def _pause_s(self, error: Exception) -> float | None:
        """How long to wait before a job is offered again; None where it is not."""
        if isinstance(error, ApiError) and error.status == 429:
            self.rate_limited += 1
            return error.retry_after_s or 0.0
        is_away = isinstance(error, NetworkError) and not isinstance(error, UnansweredError)
        return 0.0 if is_away and self._has_answered else None

    def _limited(
        self, endpoint_id: str, limit: limits.RateLimit, pause: Callable[[float], None] = time.sleep
    ) -> AbstractContextManager[None]:
        if not self._has_rate_limits:
            return nullcontext()
        return self._limiters.setdefault((endpoint_id, limit), RateLimiter(limit)).one(pause)

    def status(self, endpoint_id: str, job_id: str) -> Job:
        """The job as it is now; raise JobFailedError when RunPod no longer has it."""
        try:
            with self._limited(endpoint_id, limits.STATUS_RATE):
                response = self._http.read("GET", self._url(endpoint_id, "status", job_id))
        except NotDeployedError as error:
            kept_min = limits.RUN_RETENTION_MS // 60_000
            raise JobFailedError(
                f"job {job_id} not found: results are kept for {kept_min} minutes, and jobs for their time to live",
                job_id=job_id,
                endpoint=endpoint_id,
                status=GONE,
            ) from error
        except VidctlError as error:
            error.job_id = job_id
            raise
        return _job(node_of(response, "/status"))

    def stream(self, endpoint_id: str, job_id: str, *, hold_s: float) -> Streamed:
        """What the job has put out since the last time; while that is nothing, RunPod holds its response for `hold_s`.

        It gives each output once, so it is not repeated if its response was lost: raise UnansweredError, or ApiError.
        """
        wait_ms = min(max(round(1000 * hold_s), _HOLD_MS[0]), _HOLD_MS[1])
        url = f"{self._url(endpoint_id, 'stream', job_id)}?wait={wait_ms}"
        with self._limited(endpoint_id, limits.STREAM_RATE):
            response = node_of(self._http.write("GET", url), "/stream")
        return Streamed(_state(response, "/stream"), tuple(_outputs(response.get("stream"))))

    def cancel(self, endpoint_id: str, job_id: str) -> None:
        """Stop one job; one that is over or gone is fine."""
        try:
            with self._limited(endpoint_id, limits.CANCEL_RATE):
                self._http.read("POST", self._url(endpoint_id, "cancel", job_id))  # cancelling twice is harmless
        except (NotDeployedError, ApiError) as error:
            if error.status not in (400, 404):
                raise

    def retry(self, endpoint_id: str, job_id: str) -> None:
        """Queue a job that FAILED or TIMED_OUT once more, with its id and input; it is paid again.

        Raises UnansweredError if the response was lost: it may be queued then.
        """
        try:
            self._http.write("POST", self._url(endpoint_id, "retry", job_id))
        except VidctlError as error:
            error.job_id = job_id
            raise

    def purge(self, endpoint_id: str) -> int:
        """Remove the jobs that wait, not those that run; how many these were.  RunPod takes two of these in 10 s."""
        try:
            with self._limited(endpoint_id, limits.PURGE_RATE):
                response = node_of(self._http.write("POST", self._url(endpoint_id, "purge-queue")), "/purge-queue")
        except NotDeployedError as error:
            raise self._no_endpoint(endpoint_id) from error
        removed = response.get("removed")
        if not isinstance(removed, int):
            raise ApiError("invalid response from /purge-queue: missing 'removed'")
        return removed

    def health(self, endpoint_id: str) -> Health:
        """How the endpoint is; raise NotDeployedError for one that does not exist."""
        try:
            response = node_of(self._http.read("GET", self._url(endpoint_id, "health")), "/health")
        except NotDeployedError as error:
            raise self._no_endpoint(endpoint_id) from error
        return Health(workers=_counts(response.get("workers")), jobs=_counts(response.get("jobs")))

    def _no_endpoint(self, endpoint_id: str) -> NotDeployedError:
        return NotDeployedError(f"endpoint {endpoint_id} not found", hint=self._if_unknown, endpoint=endpoint_id)

    def _url(self, endpoint_id: str, *parts: str) -> str:
        return "/".join((self._base_url, *(quote(part, safe="") for part in (endpoint_id, *parts))))


def _job(response: Node) -> Job:
    return Job(
        id=_text(response, "id", "/status"),
        status=_state(response, "/status"),
        output=response.get("output"),
        error=_reason(response.get("error")),
        delay_ms=_milliseconds(response.get("delayTime")),
        execution_ms=_milliseconds(response.get("executionTime")),
        worker_id=response.get("workerId") if isinstance(response.get("workerId"), str) else None,
    )


def _state(response: Node, route: str) -> str:
    status = _text(response, "status", route)
    if status not in _STATES:
        raise ApiError(f"invalid response from {route}: unknown state {one_line(status, SENTENCE)!r}")
    return "IN_PROGRESS" if status == "RUNNING" else status


def _outputs(stream: Any) -> Iterator[Any]:
    if not isinstance(stream, list):
        raise ApiError("invalid response from /stream: missing 'stream'")
    for each in stream:
        if not isinstance(each, dict) or "output" not in each:
            raise ApiError("invalid response from /stream: missing 'output'")
        yield each["output"]


def _reason(error: Any) -> str | None:
    """A handler's error is any JSON value; what the SDK makes of an exception is JSON in a string.

    The exception's last line is what a person needs (runpod-python: serverless/modules/rp_job.py, `run_job`).
    """
    return None if error is None else one_line(reason(error), SENTENCE)


def _text(response: Node, key: str, route: str) -> str:
    value = response.get(key)
    if not isinstance(value, str) or not value:
        raise ApiError(f"invalid response from {route}: missing {key!r}")
    return value


def _milliseconds(value: Any) -> int | None:
    return int(value) if isinstance(value, (int, float)) and 0 <= value < 1e15 else None


def _counts(value: Any) -> dict[str, int]:
    if not isinstance(value, dict):
        return {}
    return {name: count for name, count in value.items() if isinstance(count, int)}
