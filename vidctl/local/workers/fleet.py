"""What is known of an endpoint's workers, and how many of them there should be.  Nothing here starts or stops one."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from math import ceil
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from collections.abc import Mapping

    from vidctl.local.control_plane.records import EndpointRecord
    from vidctl.local.queue.store import Demand
    from vidctl.local.workers.launching import WorkerInstance
    from vidctl.local.workers.log import WorkerLog

WorkerStatus = Literal["RUNNING", "IDLE", "INITIALIZING", "UNHEALTHY"]

CRASHES_UNTIL_UNHEALTHY = 3
MAX_BACKOFF_S = 60
DEFAULT_INIT_TIMEOUT_S = 420  # RunPod docs, serverless/development/optimization: RUNPOD_INIT_TIMEOUT, 7 minutes
MAX_INIT_TIMEOUT_DIGITS = 9
KEPT_LOGS = 5
CALM_MS = 1_000  # the SDK's loop sleeps so long when it is full
BEGUN_AFTER_MS = 500  # a worker has surely begun a job that it was given so long ago


def workers_wanted(endpoint: EndpointRecord, demand: Demand, *, have: int, starting: int) -> int:
    """How many workers an endpoint should have now, if that is more than it has.

    REQUEST_COUNT: one for every `scaler_value` jobs.  QUEUE_DELAY: the first at once, one more each time a job has
    waited longer than `scaler_value` seconds.  Low-priority jobs ask for none.  Unlike RunPod, a queue that waits for a
    worker which is still starting gets no second one: here they would share the same processors.
    """
    if endpoint.scaler_type == "REQUEST_COUNT":
        needed = max(have, ceil((demand.urgent + demand.in_progress) / max(1, endpoint.scaler_value)))
    elif demand.urgent and have == 0:
        needed = 1
    elif demand.urgent and not starting and demand.oldest_wait_ms > endpoint.scaler_value * 1000:
        needed = have + 1
    else:
        needed = have
    return min(endpoint.workers_max, max(endpoint.workers_min, needed))


def jobs_to_give(requested: int, *, busy: int, ended: int, may_wait: bool) -> int:
    """How many of the jobs that a worker asks for it gets at once; 0 is: wait until one of its jobs ends.

    `busy` is how many it runs, `ended` how many have ended since it asked.  The SDK's loop (rp_scale.py, get_jobs)
    sleeps a whole second whenever it finds itself full, and counts a job that it has just got twice.  A worker that is
    never quite full keeps asking, which makes short jobs many times faster.
    """
    if not may_wait:
        return requested
    unnoticed = (requested + ended - 1) // 2
    return min(requested, unnoticed if busy else max(1, unnoticed))


def backoff_s(crashes: int) -> float:
    """How long to wait before the next start after so many workers that came to nothing."""
    return 0.0 if crashes == 0 else min(MAX_BACKOFF_S, 2.0 ** (crashes - 1))


def init_timeout_s(template_env: Mapping[str, str]) -> int:
    """How long a worker may take to ask for its first job: RUNPOD_INIT_TIMEOUT where that is a number of seconds."""
    text = template_env.get("RUNPOD_INIT_TIMEOUT", "")
    return int(text) if text.isdecimal() and len(text) <= MAX_INIT_TIMEOUT_DIGITS else DEFAULT_INIT_TIMEOUT_S


def worker_variables(
    endpoint: EndpointRecord, worker_id: str, *, template_env: Mapping[str, str], url: str, api_key: str
) -> dict[str, str]:
    """The variables that RunPod's SDK reads in a worker, pointed at this runtime, on top of the template's own.

    The names are those of runpod-python 1.12: serverless/modules/rp_job.py, rp_http.py, rp_ping.py, worker_state.py and
    http_client.py.
    """
    base = f"{url}/v2/{endpoint.id}"
    return {
        "RUNPOD_LOG_LEVEL": "INFO",
        **template_env,
        "RUNPOD_WEBHOOK_GET_JOB": f"{base}/job-take/$ID?gpu=local",
        "RUNPOD_WEBHOOK_POST_OUTPUT": f"{base}/job-done/$RUNPOD_POD_ID/$ID?gpu=local",
        "RUNPOD_WEBHOOK_POST_STREAM": f"{base}/job-stream/$RUNPOD_POD_ID/$ID?gpu=local",
        "RUNPOD_WEBHOOK_PING": f"{base}/ping/$RUNPOD_POD_ID?gpu=local",
        "RUNPOD_PING_INTERVAL": "10000",
        "RUNPOD_AI_API_KEY": api_key,
        "RUNPOD_POD_ID": worker_id,
        "RUNPOD_POD_HOSTNAME": worker_id,
        "RUNPOD_ENDPOINT_ID": endpoint.id,
        "RUNPOD_SKIP_AUTO_SYSTEM_CHECKS": "true",
        "RUNPOD_SKIP_GPU_CHECK": "true",
    }


@dataclass
class Worker:
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
class Stop:
    """A job that a worker should drop; a worker that still has it at `kill_at_ms` is killed.

    The SDK (rp_scale.py, stop_job) drops a stop for a job that it has and has not begun, as it does within 0.1 s: one
    that was sent that early is sent once more.  `is_acknowledged`: the worker has asked for stops again since.
    """

    kill_at_ms: int
    given_at_ms: int = 0
    sent_at_ms: int | None = None
    is_resent: bool = False
    is_acknowledged: bool = False

    def due_at_ms(self) -> int | None:
        """When it is to be sent; None when it is not to be sent again."""
        if self.sent_at_ms is None:
            return 0
        was_early = self.sent_at_ms - self.given_at_ms < BEGUN_AFTER_MS
        return self.sent_at_ms + BEGUN_AFTER_MS if was_early and not self.is_resent else None

    def mark_sent(self, now_ms: int) -> None:
        self.is_resent = self.sent_at_ms is not None
        self.sent_at_ms = now_ms


@dataclass
class Fleet:
    """The workers of one endpoint."""

    endpoint: EndpointRecord
    workers: dict[str, Worker] = field(default_factory=dict)
    past: deque[Worker] = field(default_factory=lambda: deque(maxlen=KEPT_LOGS))
    crashes: int = 0
    is_broken: bool = False
    start_after_ms: int = 0

    @property
    def is_unhealthy(self) -> bool:
        """Whether its workers do not come up: no environment, or they exit again and again and end no job."""
        return self.is_broken or self.crashes >= CRASHES_UNTIL_UNHEALTHY

    def current(self) -> list[Worker]:
        return [worker for worker in self.workers.values() if worker.takes_jobs]

    def shown(self) -> list[tuple[Worker, WorkerStatus]]:
        """The workers with their states; in a crash loop the one that last failed stands for the next."""
        living: list[tuple[Worker, WorkerStatus]] = [
            (worker, "UNHEALTHY" if self.is_unhealthy and not worker.is_ready else worker.status)
            for worker in self.workers.values()
        ]
        if self.is_unhealthy and self.past and not any(status == "UNHEALTHY" for _, status in living):
            living.append((self.past[-1], "UNHEALTHY"))
        return living
