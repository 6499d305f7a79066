"""Carry out one plan: save, read back, smoke test, record what passed, or roll back."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from vidctl import endpoints
from vidctl import spec as specs
from vidctl.deploy import by_hand, pull_login, rollback
from vidctl.deploy.plan import SOURCES, Plan
from vidctl.deploy.planning import is_proven, prepare, tested_fingerprint
from vidctl.deploy.smoke_test import SmokeTester
from vidctl.deploy.survey import VOLUME_NAME, survey
from vidctl.deploy.target import Target
from vidctl.errors import ApiError, JobFailedError, RefusedError, TimedOutError
from vidctl.progress import Notify, Progress, silent
from vidctl.runpod.jobs import Job
from vidctl.runpod.types import Endpoint
from vidctl.runpod.waiting import settled
from vidctl.spec import EndpointSpec


@dataclass(frozen=True)
class Choices:
    """How to deploy."""

    timeout_s: float = 600
    waits: bool = True
    rolls_back: bool = True
    adopts: bool = False


@dataclass(frozen=True)
class Deployed:
    """A finished deploy.  `smoke` is the worker's answer, None when there was nothing to ask, or nobody waited."""

    endpoint_id: str
    smoke: Job | None
    is_proven: bool = True


def deploy(
    spec: EndpointSpec,
    target: Target,
    todo: Plan,
    *,
    secrets: Mapping[str, str],
    choices: Choices = Choices(),
    notify: Notify = silent,
    is_stopped: Callable[[], bool] = lambda: False,
    keep: Callable[[str], None] = lambda _: None,
) -> Deployed:
    """Carry out a plan whose image is provided; raise if the endpoint does not answer its smoke test.

    `keep` gets the endpoint's id as soon as there is one: whatever fails after that, it is not lost.  Nothing is
    written when nothing changed.  An endpoint whose smoke test never passed is tested again.  When it does not pass,
    the last good version is restored: RolledBackError.
    """
    if todo.is_empty:
        keep(todo.endpoint.id or "")
    if todo.endpoint.id and is_proven(spec, target, todo):
        return _unchanged(spec, target, todo)
    good = rollback.last_good(target.journal, todo)
    live = todo.endpoint
    if not todo.is_empty:
        todo = pull_login.saved(spec, target, todo, secrets, notify)
        live = _save(spec, target, todo, secrets, notify, keep)
    _record(spec, target, todo, live, is_proven=False)
    if not choices.waits:
        return Deployed(live.id or "", smoke=None, is_proven=False)
    tester = SmokeTester(target.name, target.jobs, target.workers, target.journal, notify, is_stopped)
    try:
        smoke = tester.run(spec, live, timeout_s=choices.timeout_s)
    except (JobFailedError, TimedOutError) as error:
        if good is None or not choices.rolls_back or good == live.template:
            raise
        raise rollback.restore(target, todo, live, good, error, notify) from error
    _record(spec, target, todo, live, is_proven=True)
    return Deployed(live.id or "", smoke)


def _save(
    spec: EndpointSpec,
    target: Target,
    todo: Plan,
    secrets: Mapping[str, str],
    notify: Notify,
    keep: Callable[[str], None],
) -> Endpoint:
    """Save what differs; the endpoint as it reads back."""
    _mark_unproven(target, todo)
    saved = _sent(spec, target, todo, notify)
    keep(saved.id or "")
    _record(spec, target, todo, saved, is_proven=False)
    return _read_back(spec, target, todo, saved, secrets, notify)


def _mark_unproven(target: Target, todo: Plan) -> None:
    """Before an endpoint is changed: what was proved of it holds no more, even if we are cut off before the end.

    Else a secret that was changed, and is in no fingerprint, would pass for proved.
    """
    last = target.journal.last_applied(todo.endpoint.id) if todo.endpoint.id else None
    if last is not None and last.is_proven:
        target.journal.applied(
            spec=last.spec,
            target=target.name,
            endpoint_id=last.endpoint_id,
            document=last.document,
            fingerprint=last.fingerprint,
            is_proven=False,
        )


def _sent(spec: EndpointSpec, target: Target, todo: Plan, notify: Notify) -> Endpoint:
    """Send what differs; the endpoint as RunPod answers it."""
    kinds = " and ".join(dict.fromkeys(change.resource for change in todo.changes))
    which = f" ({kinds})" if todo.action == "update" else ""
    notify(Progress("apply", f"{todo.action} endpoint {todo.endpoint.name}{which}"))
    try:
        return target.control.save(todo.endpoint, before=todo.before)
    except RefusedError as error:
        raise _placed(spec, error) from error


def _read_back(
    spec: EndpointSpec, target: Target, todo: Plan, saved: Endpoint, secrets: Mapping[str, str], notify: Notify
) -> Endpoint:
    """Read all that was saved: what was not read back is not said to be done."""
    left = settled(
        lambda: prepare(spec, target, survey([spec], target), image=todo.image, secrets=secrets, saved=todo),
        lambda left: left.is_empty and left.before is not None,
    )
    if not left.is_empty or left.before is None:
        fields = ", ".join(f"{change.resource} {change.field}" for change in left.changes)
        raise ApiError(
            f"{spec.key}: the change was accepted but reads back differently: {fields or 'endpoint not found'}",
            hint=f"run vidctl deploy {spec.key} again; if it differs again, RunPod does not accept this value",
            endpoint=saved.id,
        )
    notify(Progress("apply", f"endpoint {left.before.id} read back"))
    return left.before


def _placed(spec: EndpointSpec, error: RefusedError) -> RefusedError:
    """The same refusal with the line of the spec that it is about."""
    source = SOURCES.get(error.field or "")
    place = specs.locate(spec, source) if source else None
    if place is None:
        return error
    return RefusedError(f"{place}: {error.message}", field=error.field, hint=error.hint)


def _unchanged(spec: EndpointSpec, target: Target, todo: Plan) -> Deployed:
    """What callers must know of the endpoint may have changed all the same, of which RunPod hears nothing."""
    last = target.journal.last_applied(todo.endpoint.id or "")
    is_same = last and (last.spec, endpoints.recorded(last.document)) == (spec.key, endpoints.facts_of(spec))
    if last and (not is_same or by_hand.is_marked(last.document)):
        _record(spec, target, todo, todo.before or todo.endpoint, is_proven=True)
    return Deployed(todo.endpoint.id or "", smoke=None)


def _record(spec: EndpointSpec, target: Target, todo: Plan, live: Endpoint, *, is_proven: bool) -> None:
    target.journal.applied(
        spec=spec.key,
        target=target.name,
        endpoint_id=live.id or "",
        document={
            **todo.document(live),
            VOLUME_NAME: spec.network_volume,
            endpoints.IMAGE_TAG: todo.image.tag,
            **endpoints.written(endpoints.facts_of(spec)),
            **(rollback.release_of(target, live.id or "") if is_proven else {}),
        },
        fingerprint=tested_fingerprint(spec, todo),
        is_proven=is_proven,
    )
