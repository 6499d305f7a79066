"""Make RunPod match a spec and prove it: plan, apply, read back, smoke test, remember."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from vidctl import settings
from vidctl.errors import ApiError, JobFailed, TimedOut, UsageError, VidctlError
from vidctl.invoke import Invoker, Request
from vidctl.journal import Journal
from vidctl.plan import Plan, plan, template_name
from vidctl.progress import Notify, Progress, silent
from vidctl.resources import Endpoint, Template
from vidctl.runpod.jobs import Health, Job, Jobs
from vidctl.spec import EndpointSpec, Smoke

_POLL_S = 0.5


class Control(Protocol):
    """A control plane: both of RunPod's, and the local runtime's, look like this."""

    def find(self, endpoint_name: str, template_name: str) -> tuple[Endpoint | None, Template | None]: ...
    def save_template(self, template: Template) -> Template: ...
    def save_endpoint(self, endpoint: Endpoint) -> Endpoint: ...


class Images(Protocol):
    """Where a worker's image comes from."""

    def reference(self, spec: EndpointSpec) -> str:
        """What the template will name; changes whenever the worker's files do."""
        ...

    def provide(self, spec: EndpointSpec, env: Mapping[str, str], notify: Notify) -> None:
        """Make the image usable by workers with this environment, if it is not yet."""
        ...


@dataclass(frozen=True)
class Target:
    """One place to deploy to, with everything that speaks to it."""

    name: settings.Target
    control: Control
    jobs: Jobs
    images: Images
    journal: Journal
    worker_log: Callable[[str], list[str]]
    """The last log lines of an endpoint's failing worker, [] where they cannot be had."""


@dataclass(frozen=True)
class Deployed:
    """A finished deploy.  `smoke` is the worker's answer, None when there was nothing to prove."""

    endpoint_id: str
    smoke: Job | None


def prepare(spec: EndpointSpec, target: Target, *, secrets: Mapping[str, str]) -> Plan:
    """Compare the spec with what is live: one request, nothing written."""
    live_endpoint, live_template = target.control.find(spec.name, template_name(spec))
    return plan(
        spec,
        image=target.images.reference(spec),
        secrets=secrets,
        live_endpoint=live_endpoint,
        live_template=live_template,
    )


def deploy(
    spec: EndpointSpec,
    target: Target,
    todo: Plan,
    *,
    secrets: Mapping[str, str],
    timeout_s: float = 600,
    notify: Notify = silent,
) -> Deployed:
    """Carry out what `prepare` found; raise if the endpoint does not answer its smoke test.

    Nothing is written when nothing changed.  An endpoint whose smoke test never passed is tested again.
    """
    if todo.endpoint.id and is_proven(spec, target, todo):
        return Deployed(todo.endpoint.id, smoke=None)
    target.images.provide(spec, todo.template.env, notify)
    endpoint_id = _apply(spec, target, todo, secrets, notify)
    smoke = _prove(spec, target, endpoint_id, timeout_s, notify)
    target.journal.deployed(
        spec=spec.key,
        target=target.name,
        endpoint_id=endpoint_id,
        image=todo.template.image,
        fingerprint=_fingerprint(spec, todo),
    )
    return Deployed(endpoint_id, smoke)


def is_proven(spec: EndpointSpec, target: Target, todo: Plan) -> bool:
    """Whether nothing is to be done, and just this has answered before."""
    endpoint_id = todo.endpoint.id
    return todo.is_empty and bool(endpoint_id and target.journal.is_proven(endpoint_id, _fingerprint(spec, todo)))


def _apply(spec: EndpointSpec, target: Target, todo: Plan, secrets: Mapping[str, str], notify: Notify) -> str:
    """Save what differs, then read it all back: what was not read back is not said to be done."""
    template, endpoint = todo.template, todo.endpoint
    if todo.template_action != "keep":
        notify(Progress("apply", f"{todo.template_action} template {template.name}"))
        template = target.control.save_template(template)
    if todo.endpoint_action != "keep":
        notify(Progress("apply", f"{todo.endpoint_action} endpoint {endpoint.name}"))
        endpoint = target.control.save_endpoint(dataclasses.replace(endpoint, template_id=template.id or ""))
    left = prepare(spec, target, secrets=secrets)
    if not left.is_empty or not left.endpoint.id:
        fields = ", ".join(f"{change.resource} {change.field}" for change in left.changes)
        raise ApiError(
            f"{spec.key}: accepted, but it reads back differently: {fields or 'the endpoint is not there'}",
            hint="run the deploy again; if it stays so, RunPod does not take this value",
            endpoint=endpoint.id,
        )
    notify(Progress("apply", f"endpoint {left.endpoint.id} read back"))
    return left.endpoint.id


def _prove(spec: EndpointSpec, target: Target, endpoint_id: str, timeout_s: float, notify: Notify) -> Job | None:
    """See that it works, as far as the spec lets one: a job starts a worker where none is kept running."""
    if spec.workers.max > 0 and spec.smoke is not None:
        return _smoke_test(spec, spec.smoke, target, endpoint_id, timeout_s, notify)
    if spec.workers.min > 0:
        _wait_for_worker(spec, target, endpoint_id, timeout_s, notify)
    else:
        notify(Progress("smoke", "nothing was asked of it: the spec has no smoke test, or lets no worker start"))
    return None


def _wait_for_worker(spec: EndpointSpec, target: Target, endpoint_id: str, timeout_s: float, notify: Notify) -> None:
    deadline, watch = time.monotonic() + timeout_s, _watch(notify)
    waiting = Job("", "IN_QUEUE")
    while not (health := target.jobs.health(endpoint_id)).ready:
        try:
            watch(waiting, health)
        except JobFailed as error:
            raise _unproven(spec, target, endpoint_id, error) from error
        if time.monotonic() > deadline:
            late = TimedOut(f"no worker was ready after {timeout_s:g} s")
            raise _unproven(spec, target, endpoint_id, late) from None
        time.sleep(_POLL_S)


def _smoke_test(
    spec: EndpointSpec, smoke: Smoke, target: Target, endpoint_id: str, timeout_s: float, notify: Notify
) -> Job:
    request = Request(_smoke_input(smoke.input), what=f"smoke test of {spec.key}", subject=None)
    invoker = Invoker(target.jobs, endpoint_id, target=target.name, journal=target.journal)
    try:
        job = invoker.ask(request, timeout_s=timeout_s, waiting=_watch(notify))
    except KeyboardInterrupt:
        raise invoker.interrupt() from None
    except (TimedOut, JobFailed) as error:
        raise _unproven(spec, target, endpoint_id, error) from error
    finally:
        invoker.cancel_all()
    missing = difference(smoke.contains, job.output)
    if missing:
        raise JobFailed(
            f"the smoke test of {spec.key} answered, but not as the spec says: {missing}",
            hint=f"endpoint {endpoint_id} exists; mend the worker, or smoke.contains, and deploy again",
            endpoint=endpoint_id,
            job_id=job.id,
            status=job.status,
        )
    waited_s, ran_s = (job.delay_ms or 0) / 1000, (job.execution_ms or 0) / 1000
    notify(Progress("smoke", f"passed: waited {waited_s:.1f} s for a worker, ran {ran_s:.2f} s"))
    return job


def _unproven(spec: EndpointSpec, target: Target, endpoint_id: str, error: TimedOut | JobFailed) -> VidctlError:
    """The same error with what the worker last said, and what is left behind."""
    log = "".join(f"\n  {line}" for line in target.worker_log(endpoint_id))
    return type(error)(
        f"{spec.key} does not work: {error.message}{log}",
        hint=f"endpoint {endpoint_id} exists; mend the worker and deploy again",
        endpoint=endpoint_id,
        job_id=error.job_id,
        status=error.status,
    )


def _watch(notify: Notify) -> Callable[[Job, Health | None], None]:
    """Tell what the workers do while the smoke test waits; give up on a worker that cannot start."""
    said: set[str] = set()

    def watch(_: Job, health: Health | None) -> None:
        state = _state(health)
        if state not in said:
            said.add(state)
            notify(Progress("smoke", state))
        if health and health.workers.get("unhealthy") and not (health.ready or health.workers.get("initializing")):
            raise JobFailed("the worker exits again and again before it takes a job", status="UNHEALTHY")

    return watch


def _state(health: Health | None) -> str:
    if health is None:
        return "the worker has the job"
    busy = {name: count for name, count in health.workers.items() if count and name != "ready"}
    workers = ", ".join(f"{count} {name}" for name, count in busy.items())
    return f"waiting for a worker ({workers or 'none yet'})"


def _smoke_input(path: Path) -> dict[str, Any]:
    """The job in a file like RunPod's test_input.json; the spec was checked, but the file may have changed since."""
    try:
        payload = json.loads(path.read_bytes())["input"]
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise UsageError(f"{path}: is no longer a job", hint='it must be JSON like {"input": {…}}') from error
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


def _fingerprint(spec: EndpointSpec, todo: Plan) -> str:
    """What was proved: everything but ids and the values of variables, some of which are secret."""
    known = {
        "smoke": spec.smoke.model_dump(mode="json") if spec.smoke else None,
        "template": {**dataclasses.asdict(todo.template), "id": None, "env": sorted(todo.template.env)},
        "endpoint": {**dataclasses.asdict(todo.endpoint), "id": None, "template_id": None},
    }
    return hashlib.sha256(json.dumps(known, sort_keys=True).encode()).hexdigest()
