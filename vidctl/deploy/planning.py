"""Plan each spec: gather what `plan` compares, from the account, the journal and the images, and write nothing."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from vidctl.deploy import by_hand, pull_login
from vidctl.deploy.plan import Document, Plan, plan
from vidctl.deploy.survey import Survey, live_of, login_id_of, volume_id_of
from vidctl.deploy.target import Target
from vidctl.runpod.types import WorkerImage
from vidctl.spec import EndpointSpec


@dataclass(frozen=True)
class Planned:
    """One spec with what is to be done for it; `is_proven` says that just this has answered before."""

    spec: EndpointSpec
    plan: Plan
    is_proven: bool

    @property
    def has_work(self) -> bool:
        return not (self.plan.is_empty and self.is_proven)


def plan_all(
    specs: Sequence[EndpointSpec], target: Target, known: Survey, *, secrets: Mapping[str, str]
) -> list[Planned]:
    """Plan each spec with its image as it is: nothing is built, and the account is not asked again."""
    return [plan_one(spec, target, known, image=target.images.look(spec), secrets=secrets) for spec in specs]


def plan_one(
    spec: EndpointSpec, target: Target, known: Survey, *, image: WorkerImage, secrets: Mapping[str, str]
) -> Planned:
    """Plan a spec with this image."""
    todo = prepare(spec, target, known, image=image, secrets=secrets)
    return Planned(spec, todo, is_proven(spec, target, todo))


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
    live = live_of(spec, known.account)
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
    return by_hand.noted(pull_login.with_new_password(spec, target, todo, secrets), last)


def is_proven(spec: EndpointSpec, target: Target, todo: Plan) -> bool:
    """Whether nothing is to be done, and just this has answered before."""
    last = target.journal.last_applied(todo.endpoint.id) if todo.is_empty and todo.endpoint.id else None
    return last is not None and last.is_proven and last.fingerprint == tested_fingerprint(spec, todo)


def tested_fingerprint(spec: EndpointSpec, todo: Plan) -> str:
    """What a smoke test proves: everything but ids and the values of secrets."""
    return fingerprint_of(spec, todo.document())


def fingerprint_of(spec: EndpointSpec | None, wanted: Document) -> str:
    """The same, of an endpoint as a document."""
    smoke = spec.smoke.model_dump(mode="json") if spec and spec.smoke else None
    known = {"smoke": smoke, "endpoint": wanted}
    return hashlib.sha256(json.dumps(known, sort_keys=True).encode()).hexdigest()
