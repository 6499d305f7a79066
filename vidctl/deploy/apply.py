"""Make RunPod match a spec: check, image, plan, apply, read back, smoke test, remember, or roll back."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from vidctl import spec as specs
from vidctl.deploy import rollback
from vidctl.deploy.checks import TO_BE_MADE, VOLUME_NAME, Survey, find, known_login, login_id_of, survey, volume_id_of
from vidctl.deploy.plan import SOURCES, Change, Plan, plan
from vidctl.deploy.smoke_test import SmokeTester
from vidctl.deploy.target import Target
from vidctl.errors import (
    ApiError,
    JobFailedError,
    RefusedError,
    TimedOutError,
)
from vidctl.progress import Notify, Progress, silent
from vidctl.runpod.jobs import Job
from vidctl.runpod.types import Endpoint, WorkerImage
from vidctl.runpod.waiting import settled
from vidctl.spec import EndpointSpec

_ROTATION = "registry_auth"  # the field of the change that gives RunPod a login's new user name or password
_LOGINS = threading.Lock()  # several specs that are deployed side by side may want the same login


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


def prepare(
    spec: EndpointSpec,
    target: Target,
    known: Survey,
    *,
    image: WorkerImage,
    secrets: Mapping[str, str],
    saved: Plan | None = None,
) -> Plan:
    """Compare the spec with what is live and what was last applied, or just `saved`; nothing is asked or written."""
    live = find(spec, known.account)
    last = target.journal.last_applied(live.id) if live and live.id else None
    applied = dict(last.document) if last else {}
    if saved is not None and saved.models.requested:
        applied |= saved.document()
    todo = plan(
        spec,
        image=image,
        secrets=secrets,
        registry_auth_id=login_id_of(spec, known),
        network_volume_id=volume_id_of(spec, target, known),
        live=live,
        applied=applied or None,
        plane=target.control.plane,
    )
    return _with_rotation(spec, target, todo, secrets)


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
        return Deployed(todo.endpoint.id, smoke=None)
    good = rollback.last_good(target.journal, todo)
    live = todo.endpoint
    if not todo.is_empty:
        todo = _with_login(spec, target, todo, secrets, notify)
        _mark_unproven(target, todo)
        saved = _save(spec, target, todo, notify)
        keep(saved.id or "")
        _remember(spec, target, todo, saved, is_proven=False)
        live = _read_back(spec, target, todo, saved, secrets, notify)
    endpoint_id = live.id or ""
    _remember(spec, target, todo, live, is_proven=False)
    if not choices.waits:
        return Deployed(endpoint_id, smoke=None, is_proven=False)
    try:
        tester = SmokeTester(target.name, target.jobs, target.workers, target.journal, notify, is_stopped)
        smoke = tester.run(spec, live, timeout_s=choices.timeout_s)
    except (JobFailedError, TimedOutError) as error:
        if good is None or not choices.rolls_back or good == live.template:
            raise
        raise rollback.restore(target, todo, live, good, error, notify) from error
    _remember(spec, target, todo, live, is_proven=True)
    return Deployed(endpoint_id, smoke)


def is_proven(spec: EndpointSpec, target: Target, todo: Plan) -> bool:
    """Whether nothing is to be done, and just this has answered before."""
    last = target.journal.last_applied(todo.endpoint.id) if todo.is_empty and todo.endpoint.id else None
    return last is not None and last.is_proven and last.fingerprint == _fingerprint(spec, todo)


def _save(spec: EndpointSpec, target: Target, todo: Plan, notify: Notify) -> Endpoint:
    """Save what differs; the endpoint as RunPod answers it."""
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


def _with_rotation(spec: EndpointSpec, target: Target, todo: Plan, secrets: Mapping[str, str]) -> Plan:
    """The plan that also gives RunPod the login's user name and password, where it was not given just these from here.

    RunPod shows neither, so the journal is asked.
    """
    login_id, given = todo.endpoint.template.registry_auth_id, known_login(spec, secrets)
    if spec.registry_auth is None or given is None or login_id == TO_BE_MADE:
        return todo
    is_same = target.journal.is_login(login_id, *given)
    if is_same:
        return todo
    name = spec.registry_auth.name
    if target.control.plane == "rest":
        note = f"registry login {name} was not saved from here, and RunPod's REST v2 cannot change it"
        return dataclasses.replace(todo, notes=(*todo.notes, note))
    if is_same is None:
        note = f"registry login {name} was not saved from here: it gets the spec's user name and password"
        todo = dataclasses.replace(todo, notes=(*todo.notes, note))
    return dataclasses.replace(todo, changes=(*todo.changes, Change("template", _ROTATION, "(set)", "(changed)")))


def _with_login(spec: EndpointSpec, target: Target, todo: Plan, secrets: Mapping[str, str], notify: Notify) -> Plan:
    """The plan with the id of its registry login, which is made if RunPod does not have it yet, or gets a new password.

    Of several specs with one login the first does it.
    """
    login, template, given = spec.registry_auth, todo.endpoint.template, known_login(spec, secrets)
    if login is None or given is None:
        return todo
    if template.registry_auth_id != TO_BE_MADE:
        if any(change.field == _ROTATION for change in todo.changes):
            with _LOGINS:
                _rotate(template.registry_auth_id, login.name, given, target, notify)
        return todo
    with _LOGINS:
        found = next((each for each in target.control.registries() if each.name == login.name), None)
        if found is None:
            notify(Progress("apply", f"create registry login {login.name}"))
            found = target.control.save_registry(login.name, *given)
            target.journal.login_saved(found.id, *given)
    template = dataclasses.replace(template, registry_auth_id=found.id)
    return dataclasses.replace(todo, endpoint=dataclasses.replace(todo.endpoint, template=template))


def _rotate(login_id: str, name: str, given: tuple[str, str], target: Target, notify: Notify) -> None:
    if not target.journal.is_login(login_id, *given):
        notify(Progress("apply", f"update registry login {name}"))
        target.control.save_registry(name, *given, id=login_id)
        target.journal.login_saved(login_id, *given)


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


def _remember(spec: EndpointSpec, target: Target, todo: Plan, live: Endpoint, *, is_proven: bool) -> None:
    target.journal.applied(
        spec=spec.key,
        target=target.name,
        endpoint_id=live.id or "",
        document={**todo.document(live), VOLUME_NAME: spec.network_volume},
        fingerprint=_fingerprint(spec, todo),
        is_proven=is_proven,
    )


def _fingerprint(spec: EndpointSpec, todo: Plan) -> str:
    """What was proved: everything but ids and the values of secrets."""
    known = {"smoke": spec.smoke.model_dump(mode="json") if spec.smoke else None, "endpoint": todo.document()}
    return hashlib.sha256(json.dumps(known, sort_keys=True).encode()).hexdigest()
