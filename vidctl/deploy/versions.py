"""The versions of an endpoint that passed their smoke test, by number, and the plan that makes one of them live again.

A version's number is RunPod's `endpointVersion`, which REST v2 shows whatever control plane wrote it; where that was
not to be had when it was deployed, the journal's own count.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from vidctl import endpoints
from vidctl.deploy import by_hand
from vidctl.deploy.model_cache import Models, requested
from vidctl.deploy.plan import Document, Plan, compare, document, hidden_names
from vidctl.deploy.rollback import RELEASE, container_of, release_of
from vidctl.deploy.survey import VOLUME_NAME
from vidctl.deploy.target import Target
from vidctl.deploy.worker_images import has_changed_folder
from vidctl.errors import NotDeployedError, UsageError
from vidctl.journal import Applied, Journal
from vidctl.progress import Notify, silent
from vidctl.runpod.types import Endpoint, WorkerImage

_NOT_SETTINGS = ("id", "name", "template", "model_references")


@dataclass(frozen=True)
class Version:
    """One version that worked; `is_current`: it is what a deploy or a rollback last left."""

    number: int
    applied: Applied
    is_current: bool = False

    @property
    def image(self) -> str:
        return self.applied.document.get("template.image") or ""


def versions(journal: Journal, endpoint_id: str) -> list[Version]:
    """The newest first, each number once: as it was last, for scaling alone makes no version."""
    written = [each for each in journal.all_applied(endpoint_id) if by_hand.SCALED not in each.document]
    found: dict[int, Version] = {}
    count = 0
    before: Document = {}
    for each in reversed(written):
        if not each.is_proven:
            continue
        known = by_hand.unmarked(each.document)
        count += known != before
        before = known
        number = int(known.get(RELEASE) or count)
        found.pop(number, None)  # the newest of a number stands where it was written
        found[number] = Version(number, each, is_current=each is written[0])
    return list(found.values())[::-1]


def begun(journal: Journal, endpoint_id: str) -> int | None:
    """The version to which a rollback that did not end was going."""
    last = journal.last_applied(endpoint_id)
    mark = None if last is None or last.is_proven else last.document.get(by_hand.ROLLED_BACK)
    return int(mark.partition(" ")[0]) if mark else None


def chosen(found: Iterable[Version], number: int | None, key: str) -> Version:
    """The version of that number; without one the newest but the current.  Raise UsageError or NotDeployedError."""
    others = [each for each in found if not each.is_current or number is not None]
    match = next((each for each in others if number in (None, each.number)), None)
    if match is not None:
        return match
    if number is None or not others:
        raise NotDeployedError(
            f"{key}: the journal knows no other version that passed its smoke test",
            hint=f"fix the worker or the spec, then vidctl deploy {key}",
        )
    raise UsageError(
        f"{key}: version {number} not found among those that passed their smoke test",
        hint=f"available: {', '.join(str(each.number) for each in others)}",
    )


def plan(key: str, live: Endpoint, version: Version, target: Target) -> Plan:
    """What would change; raise UsageError where the version is not available any more."""
    known = version.applied.document
    last = target.journal.last_applied(live.id or "")
    template = container_of(known, live.template)
    if template is None:
        gone = [path.removeprefix("template.env.") for path, value in known.items() if value is None]
        lost = ", ".join(name for name in gone if name not in live.template.env)
        raise UsageError(
            f"{key}: version {version.number} needs {lost}, whose value the endpoint no longer has",
            hint=f"go back in the spec, and vidctl deploy {key}",
        )
    if has_changed_folder(template.image):
        raise UsageError(
            f"{key}: version {version.number} ran its worker's folder as it was then, and the local runtime runs it as"
            " it is now",
            hint=f"restore the folder, e.g. with git, and vidctl deploy {key}",
        )
    models = _models(key, live, version, last, target)
    wanted = dataclasses.replace(live, **_settings(known, live), template=template, model_references=models.saved)
    _require_login(key, wanted, live, target)
    hidden = {path.removeprefix("template.env.") for path, value in known.items() if value is None}
    return compare(
        key,
        wanted,
        live,
        image=WorkerImage(template.image, template.image),
        applied=last.document if last else None,
        hidden=hidden_names(None, wanted, live) | hidden,
        models=models,
        plane=target.control.plane,
    )


def carry_out(todo: Plan, version: Version, target: Target, *, notify: Notify = silent) -> Endpoint:
    """Make the version live, image and settings together; return the endpoint as it reads back."""
    known = version.applied.document
    facts = endpoints.recorded(known)
    kept = {
        **document(dataclasses.replace(todo.endpoint, model_references=todo.models.requested), todo.hidden),
        VOLUME_NAME: known.get(VOLUME_NAME),
        **(endpoints.written(facts) if facts else {}),
        by_hand.ROLLED_BACK: f"{version.number} {by_hand.now()}",
    }
    live = by_hand.carry_out(
        todo,
        target,
        last=target.journal.last_applied(todo.endpoint.id or ""),
        document=kept,
        fingerprint=version.applied.fingerprint,
        is_proven=False,
        notify=notify,
    )
    target.journal.applied(
        spec=todo.key,
        target=target.name,
        endpoint_id=live.id or "",
        document={**kept, **release_of(target, live.id or "")},
        fingerprint=version.applied.fingerprint,
        is_proven=True,
    )
    return live


def _settings(known: Document, live: Endpoint) -> dict[str, Any]:
    """An endpoint's fields but for its container, out of the text that the journal keeps of them."""
    found: dict[str, Any] = {}
    for field in dataclasses.fields(Endpoint):
        text = known.get(f"endpoint.{field.name}")
        if field.name not in _NOT_SETTINGS:
            found[field.name] = _value(text, getattr(live, field.name))
    return {**found, "min_cuda": known.get("endpoint.min_cuda") or ""}


def _value(text: str | None, there: Any) -> Any:
    """A value of the same type as the one that is there, which is kept where the journal has none."""
    if text is None:
        return there
    if isinstance(there, bool):
        return text == "True"
    if isinstance(there, tuple):
        return () if text == "any" else tuple(text.split(", "))
    return int(text) if isinstance(there, int) else text


def _models(key: str, live: Endpoint, version: Version, last: Applied | None, target: Target) -> Models:
    """What RunPod's model cache is to hold; raise UsageError where REST v2 would have to change it."""
    wanted, now = requested(version.applied.document), requested(last.document if last else None)
    if wanted == now:
        return Models(live.model_references, now)
    if target.control.plane == "rest":
        raise UsageError(
            f"{key}: RunPod's REST v2 cannot change its model cache, which version {version.number} had otherwise",
            hint="use VIDCTL_CONTROL=graphql" if target.control.has_graphql else None,
        )
    return Models(wanted, wanted)


def _require_login(key: str, wanted: Endpoint, live: Endpoint, target: Target) -> None:
    """Raise UsageError where the login that pulls the image is gone."""
    login_id = wanted.template.registry_auth_id
    if not login_id or login_id == live.template.registry_auth_id:
        return
    if all(each.id != login_id for each in target.control.registries()):
        raise UsageError(
            f"{key}: the registry login {login_id}, with which its image is pulled, is gone",
            hint=f"vidctl deploy {key}",
        )
