"""Change a live endpoint beside its spec: journaled, saved, read back; plans tell until a deploy sets it back."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from vidctl.deploy import destroy, lock, model_cache
from vidctl.deploy.plan import Change, Document, Plan, compare, owner
from vidctl.deploy.target import Target
from vidctl.errors import ApiError, NotDeployedError, RefusedError
from vidctl.journal import Applied
from vidctl.progress import Notify, Progress
from vidctl.project.settings import Project
from vidctl.runpod.types import Endpoint
from vidctl.runpod.waiting import settled

# What the journal keeps beside an endpoint: when it was changed by hand, and to which version.
SCALED = "by_hand.scaled"
ROLLED_BACK = "by_hand.rolled_back"
RESTARTED_AT = "by_hand.restarted"

SCALE_FIELDS: Mapping[str, tuple[str, str]] = {
    "workers_min": ("workers", "min"),
    "workers_max": ("workers", "max"),
    "idle_timeout_s": ("timeouts", "idle"),
}
"""What `vidctl scale` changes of an endpoint, and where a spec says it."""


def now() -> str:
    """The moment as a plan tells it."""
    return time.strftime("%Y-%m-%d %H:%M")


@contextmanager
def held(
    word: str, project: Project, target: Target, *, adopts: bool, notify: Notify
) -> Iterator[tuple[str, Endpoint]]:
    """Keep other vidctls from the endpoint of a spec, or with an id, during the block: its spec's key, and it.

    Raise NotDeployedError, NotOwnedError or BusyError.
    """
    # What goes by its id is of a spec too, whose deploys are to wait.
    owners = {each.id: owner(each) for each in target.control.account().endpoints}
    with lock.held(project.root, target.name, [owners.get(word) or word], timeout_s=60, notify=notify):
        found = destroy.find(word, project, target, adopts=adopts)
        if found.live is None:
            raise NotDeployedError(f"{found.key} is not deployed to {target.name}", hint=f"vidctl deploy {found.key}")
        yield found.key, found.live


def is_marked(known: Document) -> bool:
    """Whether the endpoint was changed by hand since the last deploy."""
    return SCALED in known or ROLLED_BACK in known


def unmarked(known: Document) -> Document:
    """The same, as a deploy leaves it."""
    return {path: value for path, value in known.items() if path not in (SCALED, ROLLED_BACK, RESTARTED_AT)}


def noted(todo: Plan, last: Applied | None) -> Plan:
    """The plan, which says what it sets back of what was changed by hand since the last deploy."""
    if last is None or todo.is_empty:
        return todo
    sentences: list[str] = []
    if version := last.document.get(ROLLED_BACK):
        number, _, at = version.partition(" ")
        sentences.append(f"rolled back by hand to version {number} on {at} and pinned until now: a deploy replaces it")
    scaled = [change for change in todo.changes if change.field in SCALE_FIELDS and not change.is_drift]
    if (when := last.document.get(SCALED)) and scaled:
        sentences.append(f"scaled by hand on {when}: a deploy sets back {', '.join(map(_told, scaled))}")
    return dataclasses.replace(todo, sets_back=tuple(sentences))


def _told(change: Change) -> str:
    return f"{'.'.join(SCALE_FIELDS[change.field])} from {change.old} to {change.new}"


def carry_out(
    todo: Plan,
    target: Target,
    *,
    last: Applied | None,
    document: Document,
    fingerprint: str,
    is_proven: bool,
    notify: Notify,
) -> Endpoint:
    """Save the plan's endpoint; return it as it reads back.

    The journal has the change before RunPod does: whoever is killed between the two leaves an endpoint of which the
    next plan says what was done by hand.
    """
    endpoint_id = todo.endpoint.id or ""

    def record(known: Document, fingerprint: str, *, is_proven: bool) -> None:
        target.journal.applied(
            spec=todo.key,
            target=target.name,
            endpoint_id=endpoint_id,
            document=known,
            fingerprint=fingerprint,
            is_proven=is_proven,
        )

    record(document, fingerprint, is_proven=False)
    notify(Progress("apply", f"update endpoint {todo.endpoint.name}"))
    try:
        target.control.save(todo.endpoint, before=todo.before)
    except RefusedError:
        if last is not None:
            record(last.document, last.fingerprint, is_proven=last.is_proven)
        raise
    live = _read_back(todo, target)
    notify(Progress("apply", f"endpoint {endpoint_id} read back"))
    if is_proven:
        record(document, fingerprint, is_proven=True)
    return live


def _read_back(todo: Plan, target: Target) -> Endpoint:
    left = settled(lambda: _left(todo, target), lambda left: left.is_empty)
    if left.before is None:
        raise NotDeployedError(f"{todo.key}: endpoint {todo.endpoint.id} no longer exists", hint="vidctl list")
    if not left.is_empty:
        fields = ", ".join(f"{change.resource} {change.field}" for change in left.changes)
        raise ApiError(
            f"{todo.key}: the change was accepted but reads back differently: {fields}",
            hint="run the same command again; if it differs again, RunPod does not accept this value",
            endpoint=todo.endpoint.id,
        )
    return left.before


def _left(todo: Plan, target: Target) -> Plan:
    """What still differs."""
    live = next((each for each in target.control.account().endpoints if each.id == todo.endpoint.id), None)
    wanted, there = todo.endpoint, live.model_references if live else None
    if there is not None and model_cache.is_held(there, wanted.model_references or ()):
        wanted = dataclasses.replace(wanted, model_references=there)
    return compare(
        todo.key,
        wanted,
        live,
        image=todo.image,
        applied=None,
        hidden=todo.hidden,
        models=todo.models,
        plane=target.control.plane,
    )
