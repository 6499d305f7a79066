"""What this project left in an account and no spec of it wants any more.

Ours is what carries the stamp and what the journal says was made from here: an account may serve other projects too.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from vidctl.deploy import cost
from vidctl.deploy.destroy import Possession, uses
from vidctl.deploy.plan import owner
from vidctl.deploy.target import Target
from vidctl.errors import SpecError, VidctlError
from vidctl.project import configs
from vidctl.project.settings import Project
from vidctl.runpod.types import STAMP, Account, Endpoint, RegistryLogin, Template
from vidctl.spec import load_all


@dataclass(frozen=True)
class Garbage:
    """What can go; and sentences about what stays though it costs, or may be somebody's."""

    endpoints: tuple[Possession, ...] = ()
    templates: tuple[Template, ...] = ()
    logins: tuple[RegistryLogin, ...] = ()
    notes: tuple[str, ...] = ()

    def __str__(self) -> str:
        return ", ".join([
            *map(str, self.endpoints),
            *(f"template {each.name} ({each.id})" for each in self.templates),
            *(f"registry login {each.name} ({each.id})" for each in self.logins),
        ])  # fmt: skip


def find(project: Project, target: Target) -> Garbage:
    """Look at the account; nothing is changed."""
    keys, account, notes = set(configs.keys(project.root)), target.control.account(), list[str]()
    gone: list[Endpoint] = []
    for live in account.endpoints:
        key = owner(live)
        if key is None or key in keys:
            continue
        if target.journal.last_applied(live.id or ""):
            gone.append(live)
        else:
            notes.append(f"endpoint {live.name} ({live.id}) has no spec here, and was not made from here: it stays")
    left = [each for each in account.endpoints if each not in gone]
    return Garbage(
        endpoints=tuple(Possession(owner(each) or "", each) for each in gone),
        templates=tuple(_templates(keys, account, target)),
        logins=tuple(_logins(project, left, target, notes)),
        notes=(*notes, *_idle(left, target)),
    )


def _templates(keys: set[str], account: Account, target: Target) -> Iterator[Template]:
    """Those of no endpoint, of specs that were deployed from here and are gone; one with an endpoint goes with it."""
    ours = target.journal.applied_specs(target.name) - keys
    for each in target.control.templates() if ours else ():
        if each.env.get(STAMP) in ours and not any(uses(live, each) for live in account.endpoints):
            yield each


def _logins(project: Project, left: list[Endpoint], target: Target, notes: list[str]) -> Iterator[RegistryLogin]:
    """Those saved from here that no endpoint pulls with, and no spec names."""
    ours = target.journal.saved_logins()
    if not ours:
        return
    try:
        specs = load_all(configs.keys(project.root), root=project.root, environ=project.environ)
    except SpecError:
        notes.append("registry logins stay: not every spec can be read (vidctl validate)")
        return
    named = {each.registry_auth.name for each in specs if each.registry_auth}
    used = {each.template.registry_auth_id for each in left}
    for login in target.control.registries():
        if login.id in ours - used and not {login.id, login.name} & named:
            yield login


def _idle(left: list[Endpoint], target: Target) -> Iterator[str]:
    """What this project's endpoints cost without a job: said only, for a spec may want it so."""
    for live in left:
        if not live.workers_min or not target.journal.last_applied(live.id or ""):
            continue
        try:
            idle = target.jobs.health(live.id or "").workers.get("idle", 0)
        except VidctlError:
            continue
        price = cost.cost(live).idle
        if idle:
            told = "" if price is None else f", ${price:.2f}/h"
            always = f"{idle} idle of {live.workers_min} workers that are always there{told}"
            yield f"{owner(live)}: {always}: vidctl scale {owner(live)} --min 0"
