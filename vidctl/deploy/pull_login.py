"""The login with which RunPod pulls a spec's image: whether it has the spec's password, and saving it."""

from __future__ import annotations

import dataclasses
import threading
from collections.abc import Mapping

from vidctl.deploy.plan import Change, Plan
from vidctl.deploy.survey import TO_BE_MADE
from vidctl.deploy.target import Target
from vidctl.progress import Notify, Progress
from vidctl.spec import EndpointSpec

_CHANGED = "registry_auth"  # the field of the change that gives RunPod a login's new user name or password
_ONE_AT_A_TIME = threading.Lock()  # several specs that are deployed side by side may want the same login


def credentials(spec: EndpointSpec, secrets: Mapping[str, str]) -> tuple[str, str] | None:
    """The user name and the password of the spec's login; None where it does not say them, or its variable is empty."""
    login = spec.registry_auth
    password = secrets.get(login.password_variable or "") if login else None
    return (login.username, password) if login and login.username and password else None


def with_new_password(spec: EndpointSpec, target: Target, todo: Plan, secrets: Mapping[str, str]) -> Plan:
    """The plan that also gives RunPod the login's user name and password, where it was not given just these from here.

    RunPod shows neither, so the journal is asked.
    """
    login_id, given = todo.endpoint.template.registry_auth_id, credentials(spec, secrets)
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
    return dataclasses.replace(todo, changes=(*todo.changes, Change("template", _CHANGED, "(set)", "(changed)")))


def saved(spec: EndpointSpec, target: Target, todo: Plan, secrets: Mapping[str, str], notify: Notify) -> Plan:
    """The plan with the id of its registry login, which is made if RunPod does not have it yet, or gets a new password.

    Of several specs with one login the first does it.
    """
    login, template, given = spec.registry_auth, todo.endpoint.template, credentials(spec, secrets)
    if login is None or given is None:
        return todo
    if template.registry_auth_id != TO_BE_MADE:
        if any(change.field == _CHANGED for change in todo.changes):
            _change_password(template.registry_auth_id, login.name, given, target, notify)
        return todo
    with _ONE_AT_A_TIME:
        found = next((each for each in target.control.registries() if each.name == login.name), None)
        if found is None:
            notify(Progress("apply", f"create registry login {login.name}"))
            found = target.control.save_registry(login.name, *given)
            target.journal.login_saved(found.id, *given)
    template = dataclasses.replace(template, registry_auth_id=found.id)
    return dataclasses.replace(todo, endpoint=dataclasses.replace(todo.endpoint, template=template))


def _change_password(login_id: str, name: str, given: tuple[str, str], target: Target, notify: Notify) -> None:
    with _ONE_AT_A_TIME:
        if not target.journal.is_login(login_id, *given):
            notify(Progress("apply", f"update registry login {name}"))
            target.control.save_registry(name, *given, id=login_id)
            target.journal.login_saved(login_id, *given)
