"""See that an endpoint works, and while that takes long, say why."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from vidctl.deploy.diagnosis import Diagnosis, EndpointSnapshot, diagnose, summary
from vidctl.errors import InterruptionError, JobFailedError, NotDeployedError, TimedOutError, UsageError, VidctlError
from vidctl.journal import Journal
from vidctl.progress import Notify, Progress
from vidctl.runpod import gpus
from vidctl.runpod.jobs import Health, Job, Jobs
from vidctl.runpod.types import Endpoint, LogLine, WorkerList
from vidctl.runpod.workers import WorkersApi
from vidctl.spec import EndpointSpec
from vidctl.tasks.invoker import Invoker, Request

_POLL_S = 0.5
_LONGEST_PAUSE_S = 15.0
# Until the first look at the workers and their logs, and between two: RunPod's REST v2 takes about 60 requests a minute
# (runpod.md §2.2), and a look is one for the list and one for each log.
_FIRST_LOOK_S = 4.0
_LOOK_S = 10.0
_LOOK_AT_TROUBLE_S = 3.0
_WORKERS_LOOKED_AT = 2
_LOG_S = 1.0
_NEW_ENDPOINT_S = 30.0  # a new endpoint is not known everywhere at once (runpod.md, trap list: 404 just after create)


@dataclass(frozen=True)
class SmokeTester:
    """Waits for endpoints, with everything that it speaks to."""

    target: str
    jobs: Jobs
    workers: WorkersApi
    journal: Journal
    notify: Notify
    is_stopped: Callable[[], bool] = lambda: False
    """Called now and then: whether to cancel the smoke test and raise InterruptionError."""

    def run(self, spec: EndpointSpec, live: Endpoint, *, timeout_s: float) -> Job | None:
        """See that it works, as far as the spec lets one: a job starts a worker where none is kept running.

        Return the smoke test's job, None where there is none.  Raise JobFailedError or TimedOutError, saying why;
        whatever is raised says what is left running.
        """
        watch = _Watch(self, spec, live)
        try:
            if spec.workers.max > 0 and spec.smoke is not None:
                return self._smoke_test(spec, live, watch, timeout_s)
            if spec.workers.min > 0:
                self._wait_for_worker(live, watch, timeout_s)
            else:
                watch.notify("smoke", "skipped: the spec has no smoke test, or allows no workers")
        except (TimedOutError, JobFailedError) as error:
            raise watch.explained(error) from error
        except VidctlError as error:
            error.endpoint = live.id
            error.hint = f"{error.hint}; {watch.left()}" if error.hint else watch.left()
            raise
        return None

    def _wait_for_worker(self, live: Endpoint, watch: _Watch, timeout_s: float) -> None:
        deadline = time.monotonic() + timeout_s
        while not (health := self._health(live)).ready:
            watch(Job("", "IN_QUEUE"), health)
            if time.monotonic() > deadline:
                raise TimedOutError(f"no worker was ready after {timeout_s:g} s")
            time.sleep(_POLL_S)

    def _health(self, live: Endpoint) -> Health:
        try:
            return self.jobs.health(live.id or "")
        except NotDeployedError:
            return Health({}, {})

    def _smoke_test(self, spec: EndpointSpec, live: Endpoint, watch: _Watch, timeout_s: float) -> Job:
        """Ask until a worker of this version has answered: during a rolling release an old one may."""
        smoke = spec.smoke
        payload = _payload(smoke.input) if smoke else {}
        deadline, pause_s = time.monotonic() + timeout_s, _POLL_S
        while True:
            job = self._answer(spec, live, payload, watch, max(1.0, deadline - time.monotonic()))
            is_older = self._is_of_older_version(live, job.worker_id)
            if not is_older:
                break
            if time.monotonic() + pause_s > deadline:
                raise TimedOutError(f"only workers of the previous version answered in {timeout_s:g} s")
            watch.notify("smoke", "a worker of the previous version answered; retrying", about="older")
            time.sleep(pause_s)
            pause_s = min(pause_s * 2, _LONGEST_PAUSE_S)  # each answer is paid for
        if isinstance(job, JobFailedError):
            raise job
        if missing := difference(smoke.contains if smoke else None, job.output):
            raise JobFailedError(
                f"the answer does not match smoke.contains: {missing}", job_id=job.id, status=job.status
            )
        waited_s, ran_s = (job.delay_ms or 0) / 1000, (job.execution_ms or 0) / 1000
        unseen = "; the version that answered is unknown" if is_older is None else ""
        watch.notify("smoke", f"passed: waited {waited_s:.1f} s for a worker, ran {ran_s:.2f} s{unseen}")
        return job

    def _answer(
        self, spec: EndpointSpec, live: Endpoint, payload: Mapping[str, Any], watch: _Watch, timeout_s: float
    ) -> Job | JobFailedError:
        """What a worker made of the job: that it failed is an answer too, and perhaps of an older version."""
        try:
            return self._ask(spec, live, payload, watch, timeout_s)
        except JobFailedError as error:
            return error

    def _ask(
        self, spec: EndpointSpec, live: Endpoint, payload: Mapping[str, Any], watch: _Watch, timeout_s: float
    ) -> Job:
        request = Request(payload, what=f"smoke test of {spec.key}", subject=None)
        known_by = time.monotonic() + _NEW_ENDPOINT_S
        while True:
            invoker = Invoker(
                self.jobs, live.id or "", target=self.target, journal=self.journal, spec=spec.key, command="deploy"
            )
            try:
                return invoker.ask(request, timeout_s=timeout_s, waiting=watch)
            except NotDeployedError:
                if time.monotonic() > known_by:
                    raise
                time.sleep(_POLL_S)
            except (KeyboardInterrupt, InterruptionError):
                raise invoker.interrupt() from None
            finally:
                invoker.cancel_all()

    def _is_of_older_version(self, live: Endpoint, worker_id: str | None) -> bool | None:
        """Whether the worker runs what was there before; None where REST v2 does not let us see."""
        try:
            fleet = self.workers.workers(live.id or "")
        except VidctlError:
            return None
        return any(worker.id == worker_id and worker.is_stale for worker in fleet.workers)


@dataclass
class _Watch:
    """Tells what the workers do while one waits, and gives up on what cannot help itself."""

    tester: SmokeTester
    spec: EndpointSpec
    live: Endpoint
    started: float = field(default_factory=time.monotonic)
    next_look: float = field(default_factory=lambda: time.monotonic() + _FIRST_LOOK_S)
    last_about: str = ""
    fleet: WorkerList | None = None
    logs: dict[str, tuple[LogLine, ...]] = field(default_factory=dict)
    can_see: bool = True
    diagnosis: Diagnosis | None = None

    def __call__(self, _: Job, health: Health | None) -> None:
        """Look at the endpoint once more; raise JobFailedError when waiting longer is useless."""
        if self.tester.is_stopped():
            raise InterruptionError("interrupted", endpoint=self.live.id)
        if health is None:
            self.notify("smoke", "the worker has the job", about="job")
            return
        if health.workers.get("unhealthy") and self.fleet is None:
            self.next_look = 0
        if time.monotonic() >= self.next_look:
            self._look()
            self.next_look = time.monotonic() + (_LOOK_AT_TROUBLE_S if health.workers.get("unhealthy") else _LOOK_S)
        snapshot = self._snapshot(health)
        self.diagnosis = diagnose(snapshot)
        self.notify("wait", self.diagnosis.sentence, about=self.diagnosis.kind)
        self.tester.notify(Progress("wait", summary(snapshot), is_passing=True))
        if self.diagnosis.is_fatal:
            raise JobFailedError(self.diagnosis.sentence, status="UNHEALTHY")

    def notify(self, step: str, message: str, *, about: str = "") -> None:
        """Say it, but of the same thing only once."""
        if about and about == self.last_about:
            return
        self.last_about = about
        self.tester.notify(Progress(step, message))

    def explained(self, error: TimedOutError | JobFailedError) -> VidctlError:
        """The same error with why, with what the worker last said, and with what is left running."""
        self._look()
        # A worker that had the job is no longer what was waited for.
        found = self.diagnosis if isinstance(error, TimedOutError) or error.status == "UNHEALTHY" else None
        why = (
            "" if found is None or found.sentence in error.message or found.kind == "working" else f": {found.sentence}"
        )
        evidence = found.evidence if found is not None else ()
        # A container that was started once more has said nothing yet; why it ended is what one before it said.
        is_crash = found is not None and found.kind == "crash_loop"
        lines = (self._last_words() or evidence) if is_crash else (evidence or self._last_words())
        log = "".join(f"\n  {line}" for line in lines)
        advice = f"{found.hint}; " if found is not None and found.hint else ""
        failed = type(error)(
            f"{self.spec.key} does not work: {error.message}{why}{log}",
            hint=advice + self.left(),
            endpoint=self.live.id,
            job_id=error.job_id,
            status=error.status,
        )
        failed.has_lines = True
        return failed

    def left(self) -> str:
        """What goes on, and is billed, and the command that removes it."""
        least, most = self.live.workers_min, self.live.workers_max
        workers = f"{least} to {most} workers" if least != most else f"{most} workers"
        return f"endpoint {self.live.id} still exists ({workers}): vidctl destroy {self.spec.key} removes it"

    def _last_words(self) -> list[str]:
        """The newest lines of the container that wrote last."""
        written = [[line for line in lines if line.source == "container"] for lines in self.logs.values()]
        newest = max((lines for lines in written if lines), key=lambda lines: lines[-1].at, default=[])
        return [line.text for line in newest[-20:]]

    def _look(self) -> None:
        """See the workers and what they last wrote, if RunPod lets us."""
        if not self.can_see:
            return
        endpoint_id = self.live.id or ""
        try:
            self.fleet = self.tester.workers.workers(endpoint_id)
            for worker in self.fleet.fresh[:_WORKERS_LOOKED_AT]:
                self.logs[worker.id] = self.tester.workers.logs(endpoint_id, worker.id, tail=50, max_s=_LOG_S)
        except NotDeployedError:  # an endpoint or a worker that is not known yet, or any more
            return
        except VidctlError:
            self.can_see = False

    def _snapshot(self, health: Health) -> EndpointSnapshot:
        return EndpointSnapshot(
            workers=health.workers,
            jobs=health.jobs,
            workers_max=self.live.workers_max,
            waited_s=time.monotonic() - self.started,
            pools=gpus.selection(self.live.gpu_ids).pools,
            data_centers=self.live.locations,
            fleet=self.fleet,
            logs=self.logs,
            is_local=self.tester.target == "local",
        )


def _payload(path: Path) -> dict[str, Any]:
    """The job in a file like RunPod's test_input.json; the spec was checked, but the file may have changed since."""
    try:
        payload = json.loads(path.read_bytes())["input"]
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise UsageError(f"{path}: no longer a valid job", hint='write JSON like {"input": {…}}') from error
    return dict(payload)


def difference(wanted: Any, answer: Any, where: str = "output") -> str:
    """Where an answer lacks what is wanted, in words; "" when it has it all.

    An object must have the wanted keys (and may have more), a list the wanted items in their places, numbers may
    differ by a thousandth, and text must hold the wanted text.
    """
    if wanted is None:
        return ""
    if isinstance(wanted, dict):
        if not isinstance(answer, dict):
            return f"{where} is not an object"
        parts = (
            f"{where}.{key} is missing" if key not in answer else difference(value, answer[key], f"{where}.{key}")
            for key, value in wanted.items()
        )
        return next(filter(None, parts), "")
    if isinstance(wanted, list):
        if not isinstance(answer, list) or len(answer) != len(wanted):
            return f"{where} is not a list of {len(wanted)}"
        pairs = enumerate(zip(wanted, answer, strict=True))
        return next(filter(None, (difference(a, b, f"{where}[{index}]") for index, (a, b) in pairs)), "")
    return "" if _matches(wanted, answer) else f"{where} is {_short(answer)}, not {_short(wanted)}"


def _matches(wanted: Any, answer: Any) -> bool:
    if isinstance(wanted, str):
        return isinstance(answer, str) and wanted in answer
    if isinstance(wanted, bool) or isinstance(answer, bool):
        return wanted is answer
    if isinstance(answer, (int, float)):
        return math.isclose(wanted, answer, rel_tol=1e-3, abs_tol=1e-9)
    return bool(wanted == answer)


def _short(value: Any) -> str:
    text = json.dumps(value, default=str)
    return text if len(text) <= 80 else text[:79] + "…"
