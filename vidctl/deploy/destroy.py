"""Take away what a spec made: its endpoint, or what an interrupted deploy left of one."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass

from vidctl.deploy.plan import owner, template_name
from vidctl.deploy.survey import live_of, require_owned
from vidctl.deploy.target import Target
from vidctl.errors import ApiError, NotDeployedError, RefusedError, SpecError, VidctlError
from vidctl.progress import Notify, Progress, silent
from vidctl.project import configs
from vidctl.project.settings import Project
from vidctl.runpod.types import STAMP, Account, Endpoint, RegistryLogin, Template
from vidctl.runpod.waiting import is_in_use, settled
from vidctl.spec import EndpointSpec, load_all

DESTROYED = "by_hand.destroyed"  # in what the journal keeps: when


@dataclass(frozen=True)
class Possession:
    """What there is of a spec: its endpoint, or the template of one that was never made."""

    key: str
    live: Endpoint | None
    templates: tuple[Template, ...] = ()

    def __str__(self) -> str:
        if self.live is not None:
            return f"endpoint {self.live.name} ({self.live.id})"
        return ", ".join(f"template {each.name} ({each.id})" for each in self.templates)


def find(word: str, project: Project, target: Target, *, adopts: bool) -> Possession:
    """An endpoint by its id, else what a spec of this project made.  Raise NotDeployedError, SpecError or
    NotOwnedError.
    """
    account = target.control.account()
    for live in account.endpoints:
        if live.id == word:
            require_owned(live, word, target.journal, adopts=adopts or owner(live) is not None)
            return Possession(owner(live) or word, live)
    return _made(word, project, target, account, adopts=adopts)


def _made(word: str, project: Project, target: Target, account: Account, *, adopts: bool) -> Possession:
    stamped = [each for each in account.endpoints if owner(each) == word]
    known = _spec(word, project, is_gone=bool(stamped))
    key = known.key if known else word
    live = live_of(known, account) if known else None
    # The stamp alone does not say whose an endpoint is: another project may have a spec of that name.
    live = live or next((each for each in stamped if _is_as_made(each, target)), None)
    templates = leftovers(key, known.name, target) if known and live is None else ()
    templates = tuple(each for each in templates if not any(uses(other, each) for other in account.endpoints))
    if live is None and not templates:
        others = ", ".join(f"{each.name} ({each.id})" for each in stamped)
        hint = f"destroy one of another project or name by its id: {others}" if others else None
        raise NotDeployedError(f"{key} is not deployed to {target.name} from here", hint=hint or "vidctl list")
    if live is not None:
        require_owned(live, key, target.journal, adopts=adopts)
    return Possession(key, live, templates)


def _is_as_made(live: Endpoint, target: Target) -> bool:
    """Whether this project made it, under the name that it has: whoever gave it another may want to keep it."""
    last = target.journal.last_applied(live.id or "")
    return last is not None and last.document.get("endpoint.name") == live.name


def _spec(name: str, project: Project, *, is_gone: bool) -> EndpointSpec | None:
    """A spec by its name; None for one that cannot be read if it may be gone; else raise NotDeployedError or
    SpecError.
    """
    try:
        (known,) = load_all([name], root=project.root, environ=project.environ)
    except SpecError as error:
        if is_gone:
            return None
        if configs.file_of(project.root, name):
            raise
        raise NotDeployedError(f"{name}: no endpoint or spec found", hint="vidctl list") from error
    return known


def leftovers(key: str, endpoint_name: str, target: Target, *, name: str = "") -> tuple[Template, ...]:
    """The template that a deploy left which ended before it made the endpoint; `name` is another that it may have."""
    names = {template_name(endpoint_name), name}
    return tuple(each for each in target.control.templates() if each.name in names and each.env.get(STAMP) == key)


def destroy(
    thing: Possession, target: Target, *, notify: Notify = silent, gone: Callable[[], None] = lambda: None
) -> tuple[str, ...]:
    """Delete an endpoint, or what an interrupted deploy left of one; return once it is seen to be gone.

    `gone` is called when the endpoint is, before its template is tried: RunPod may not let go of that for two minutes.
    A template that somebody else uses stays; return a sentence about each.
    """
    live, templates, others = thing.live, thing.templates, tuple[Endpoint, ...]()
    if live is not None:
        notify(Progress("destroy", f"endpoint {live.name} ({live.id})"))
        target.control.delete(live)
        others = settled(
            lambda: target.control.account().endpoints, lambda left: all(each.id != live.id for each in left)
        )
        if any(each.id == live.id for each in others):
            raise ApiError(
                f"endpoint {live.id} was deleted but still exists", hint="run the command again", endpoint=live.id
            )
    gone()
    if live is not None:
        with suppress(VidctlError):  # it is gone, whether or not that can be written down
            target.journal.applied(
                spec=thing.key,
                target=target.name,
                endpoint_id=live.id or "",
                document={DESTROYED: time.strftime("%Y-%m-%d %H:%M")},
                fingerprint="",
                is_proven=False,
            )
        # REST v2 deletes the template that was made with an endpoint, not the one that GraphQL had given it.
        templates = leftovers(thing.key, live.name, target, name=live.template.name)
    return tuple(filter(None, (_delete(each, others, target, notify) for each in templates)))


def users_of(login: RegistryLogin, target: Target) -> list[Endpoint]:
    """The endpoints that pull with a login."""
    return [each for each in target.control.account().endpoints if each.template.registry_auth_id == login.id]


def login_left(gone: Possession, target: Target) -> Iterator[str]:
    """Say it where an endpoint leaves its registry login behind, and no other uses it: it may be wanted again."""
    login_id = gone.live.template.registry_auth_id if gone.live else ""
    for login in target.control.registries() if login_id else ():
        if login.id == login_id and not users_of(login, target):
            yield f"registry login {login.name} stays at RunPod: vidctl registry remove {login.name}"


def remove_login(login: RegistryLogin, target: Target) -> None:
    """Delete a login; return once it is seen to be gone."""
    target.control.delete_registry(login)
    if not settled(lambda: all(each.id != login.id for each in target.control.registries()), bool):
        raise ApiError(f"registry login {login.name} was deleted but still exists", hint="run the command again")
    target.journal.login_removed(login.id)


def _delete(template: Template, others: Sequence[Endpoint], target: Target, notify: Notify) -> str | None:
    """Delete a template; a sentence about one that is in use elsewhere."""
    users = [f"{each.name} ({each.id})" for each in others if uses(each, template)]
    if users:
        return f"template {template.name} is kept: {', '.join(users)} uses it too"
    notify(Progress("destroy", f"template {template.name}"))
    try:
        target.control.delete_template(template)
    except RefusedError as refusal:
        if not is_in_use(refusal):
            raise
        return f"template {template.name} ({template.id}) is kept: RunPod says that it is in use"
    return None


def uses(endpoint: Endpoint, template: Template) -> bool:
    """Whether it is made of the template, which REST v2 does not say: there its container is the template's."""
    if endpoint.template.id:
        return endpoint.template.id == template.id
    return (endpoint.template.image, endpoint.template.env) == (template.image, template.env)
