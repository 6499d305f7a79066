"""Decide what must change so that RunPod matches a spec: the spec, what was last applied, what is live.  Pure."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Literal

from vidctl.deploy import model_cache
from vidctl.deploy.model_cache import Models
from vidctl.errors import UsageError
from vidctl.runpod import gpus
from vidctl.runpod.types import RESTARTED, STAMP, Endpoint, Template, WorkerImage
from vidctl.spec import EndpointSpec
from vidctl.text import is_secret_name, is_secret_value

Action = Literal["create", "update", "keep"]
Plane = Literal["graphql", "rest"]
Document = Mapping[str, str | None]
"""An endpoint as flat text, `template.image` to `endpoint.flashboot`; None is a value that is hidden."""

# Where a spec says what a field of the resources gets.
SOURCES: Mapping[str, tuple[str, ...]] = {
    "name": ("name",),
    "image": ("image",),
    "env": ("env",),
    "container_disk_gb": ("disk",),
    "registry_auth_id": ("registry_auth",),
    "gpu_ids": ("gpu",),
    "gpu_count": ("gpu", "count"),
    "workers_min": ("workers", "min"),
    "workers_max": ("workers", "max"),
    "idle_timeout_s": ("timeouts", "idle"),
    "execution_timeout_ms": ("timeouts", "execution"),
    "scaler_type": ("scaling",),
    "scaler_value": ("scaling",),
    "locations": ("data_centers",),
    "network_volume_id": ("network_volume",),
    "cuda_versions": ("cuda",),
    "min_cuda": ("min_cuda",),
    "flashboot": ("flashboot",),
    "model_references": ("weights",),
}

# RunPod docs, serverless/workers/rolling-releases: these replace workers; the other fields say how many there are and
# for how long.
_WORKERS_ARE_MADE_OF = frozenset({
    "image", "docker_args", "container_disk_gb", "registry_auth_id",
    "gpu_ids", "gpu_count", "locations", "network_volume_id", "cuda_versions", "min_cuda", "flashboot",
    "model_references",
})  # fmt: skip


@dataclass(frozen=True)
class Change:
    """One field that differs.  A secret's value is never in it: `old` and `new` are shown to people.

    `is_drift` says that the live value is not what vidctl last applied: somebody changed it elsewhere.
    """

    resource: Literal["template", "endpoint"]
    field: str
    old: str | None
    new: str
    is_drift: bool = False


@dataclass(frozen=True)
class Plan:
    """What to save.  With no `changes` there is nothing to do; `endpoint` has the ids of what is there."""

    key: str
    endpoint: Endpoint
    before: Endpoint | None
    image: WorkerImage
    changes: tuple[Change, ...]
    hidden: frozenset[str]
    """The variables whose values are not shown or kept."""
    models: Models = dataclasses.field(default_factory=Models)
    """What RunPod's model cache is to hold for it."""
    notes: tuple[str, ...] = ()
    """What a person should know before it is carried out."""
    sets_back: tuple[str, ...] = ()
    """What of it undoes something that was done by hand."""

    @property
    def action(self) -> Action:
        if self.before is None:
            return "create"
        return "update" if self.changes else "keep"

    @property
    def is_empty(self) -> bool:
        return not self.changes

    @property
    def replaces_workers(self) -> bool:
        return self.before is not None and any(
            change.field in _WORKERS_ARE_MADE_OF or change.field.startswith("env.") for change in self.changes
        )

    def document(self, live: Endpoint | None = None) -> Document:
        """The endpoint as it is wanted, or as it now is, for the journal; of the model cache only what is vidctl's."""
        endpoint = dataclasses.replace(live or self.endpoint, model_references=self.models.requested)
        return document(endpoint, self.hidden)

    def fingerprint(self) -> str:
        """What this plan goes from and to; the same before and after the image is pushed."""
        image = dataclasses.replace(self.endpoint.template, image=self.image.tag)
        wanted = dataclasses.replace(self, endpoint=dataclasses.replace(self.endpoint, template=image)).document()
        live = self.before and {**document(self.before, self.hidden), "id": self.before.id}
        return hashlib.sha256(json.dumps([wanted, live], sort_keys=True).encode()).hexdigest()


def plan(
    spec: EndpointSpec,
    *,
    image: WorkerImage,
    secrets: Mapping[str, str],
    registry_auth_id: str = "",
    network_volume_id: str = "",
    live: Endpoint | None,
    applied: Document | None = None,
    plane: Plane = "graphql",
) -> Plan:
    """Compare what the spec asks for with what there is, and that with what was last applied.

    Raise UsageError for a secret that is not set.
    """
    wanted = wanted_endpoint(
        spec,
        template=wanted_template(spec, image=image, secrets=secrets, registry_auth_id=registry_auth_id),
        network_volume_id=network_volume_id,
    )
    models = model_cache.decide(spec, live=live, applied=applied, plane=plane)
    wanted = dataclasses.replace(wanted, model_references=models.saved)
    hidden = hidden_names(spec, wanted, live)
    if live is not None:
        wanted = _in_place_of(live, wanted, spec, applied)
    return compare(spec.key, wanted, live, image=image, applied=applied, hidden=hidden, models=models, plane=plane)


def compare(
    key: str,
    wanted: Endpoint,
    live: Endpoint | None,
    *,
    image: WorkerImage,
    applied: Document | None,
    hidden: frozenset[str],
    models: Models,
    plane: Plane,
) -> Plan:
    """What to save so that `live` is as it is wanted, whoever wants it: a spec, or a person by hand."""
    differing = _differences(wanted, live, plane=plane)
    return Plan(
        key=key,
        endpoint=wanted,
        before=live,
        image=image,
        changes=tuple(_change(*each, live=live, applied=applied, hidden=hidden) for each in differing),
        hidden=hidden,
        models=models,
    )


def hidden_names(spec: EndpointSpec | None, *endpoints: Endpoint | None) -> frozenset[str]:
    """The variables whose values are not shown or kept: the spec's secrets, and what looks like one."""
    said = {*spec.secrets, *spec.filled_in} if spec else set[str]()
    return frozenset(said).union(*(_secret_names(each) for each in endpoints if each is not None))


def _in_place_of(live: Endpoint, wanted: Endpoint, spec: EndpointSpec, applied: Document | None) -> Endpoint:
    """What is wanted, with what it keeps of the endpoint that is there: ids, and what no spec has set."""
    kept = {name: value for name, value in live.template.env.items() if name == RESTARTED}
    template = dataclasses.replace(
        wanted.template,
        id=live.template.id,
        name=_kept_name(spec, live, wanted),
        env={**wanted.template.env, **kept},
    )
    wanted = dataclasses.replace(wanted, id=live.id, template=template)
    if wanted.min_cuda or (applied or {}).get("endpoint.min_cuda"):
        return wanted
    return dataclasses.replace(wanted, min_cuda=live.min_cuda)


def _kept_name(spec: EndpointSpec, live: Endpoint, wanted: Endpoint) -> str:
    """Of a template that this spec made: REST v2 gives those that it makes for an endpoint names of its own."""
    is_ours = bool(live.template.name) and owner(live) == spec.key
    return live.template.name if is_ours else wanted.template.name


def require_secrets(spec: EndpointSpec, secrets: Mapping[str, str]) -> None:
    """Raise UsageError for secrets of the spec that are not set, or empty."""
    if missing := [name for name in spec.secrets if not secrets.get(name)]:
        raise UsageError(
            f"{', '.join(missing)}: not set, but named under secrets in {spec.key}",
            hint="set it in the environment or in .env",
        )


def wanted_template(
    spec: EndpointSpec, *, image: WorkerImage, secrets: Mapping[str, str], registry_auth_id: str = ""
) -> Template:
    """The spec's container; raise UsageError for a secret that is not set."""
    require_secrets(spec, secrets)
    return Template(
        name=template_name(spec.name),
        image=image.digest or image.tag,
        env={**spec.worker_env, **{name: secrets[name] for name in spec.secrets}, STAMP: spec.key},
        container_disk_gb=spec.disk_gb,
        registry_auth_id=registry_auth_id,
    )


def template_name(endpoint_name: str) -> str:
    # Template names are unique in an account (RunPod docs, sdks/graphql/manage-pod-templates): ours says whose it is.
    return f"vidctl-{endpoint_name}"


def wanted_endpoint(spec: EndpointSpec, *, template: Template, network_volume_id: str = "") -> Endpoint:
    """The spec's scaling and placement."""
    count = spec.scaling.request_count
    return Endpoint(
        name=spec.name,
        template=template,
        gpu_ids=spec.gpu.ids,
        gpu_count=spec.gpu.count,
        workers_min=spec.workers.min,
        workers_max=spec.workers.max,
        idle_timeout_s=spec.timeouts.idle_s,
        execution_timeout_ms=spec.timeouts.execution_s * 1000,
        scaler_type="QUEUE_DELAY" if count is None else "REQUEST_COUNT",
        scaler_value=max(1, round(spec.scaling.queue_delay_s or 4)) if count is None else count,
        locations=tuple(spec.data_centers),
        network_volume_id=network_volume_id,
        cuda_versions=tuple(spec.cuda),
        min_cuda=spec.min_cuda or "",
        flashboot=spec.flashboot,
    )


def owner(endpoint: Endpoint) -> str | None:
    """The key of the spec that made it, None when vidctl did not."""
    return endpoint.template.env.get(STAMP)


def document(endpoint: Endpoint, hidden: frozenset[str] = frozenset()) -> dict[str, str | None]:
    """An endpoint as flat text without ids; the values of `hidden` variables are None."""
    return {
        f"{resource}.{field}": None if _is_hidden(field, hidden) else _text(value)
        for resource, field, value in _fields(endpoint)
    }


def _secret_names(endpoint: Endpoint) -> frozenset[str]:
    """Variables that look as if they hold a secret, whether or not the spec calls them one."""
    return frozenset(
        name for name, value in endpoint.template.env.items() if is_secret_name(name) or is_secret_value(value)
    )


_Resource = Literal["template", "endpoint"]
_Difference = tuple[_Resource, str, object, object]


def _fields(endpoint: Endpoint) -> Iterator[tuple[_Resource, str, object]]:
    for field in dataclasses.fields(Template):
        if field.name not in ("id", "env"):
            yield "template", field.name, getattr(endpoint.template, field.name)
    for name in sorted(endpoint.template.env.keys() - {RESTARTED}):  # no spec says it, and no worker reads it
        yield "template", f"env.{name}", endpoint.template.env[name]
    for field in dataclasses.fields(Endpoint):
        value = getattr(endpoint, field.name)
        # Most endpoints ask nothing of the model cache, and of those of REST v2 it is not known; few have a least CUDA.
        if field.name not in ("id", "template") and (value or field.name not in ("model_references", "min_cuda")):
            yield "endpoint", field.name, value


def _differences(wanted: Endpoint, live: Endpoint | None, *, plane: Plane) -> Iterator[_Difference]:
    """What is wanted and what there is, field by field; None stands for what is not there."""
    there = {(resource, field): value for resource, field, value in _fields(live)} if live else {}
    for resource, field, value in _fields(wanted):
        old = there.pop((resource, field), None)
        if live is None or (
            not _cannot_be_compared(resource, field, live, plane)
            and _canonical(field, old, plane) != _canonical(field, value, plane)
        ):
            yield resource, field, old, value
    for (resource, field), old in there.items():  # variables that nobody asked for
        yield resource, field, old, None


def _cannot_be_compared(resource: str, field: str, live: Endpoint, plane: Plane) -> bool:
    """What REST v2 does not keep: a template's name, the idle timeout of an endpoint that scales on requests, and what
    the model cache holds.
    """
    if plane == "graphql":
        return False
    if resource == "template":
        return field == "name" and not live.template.name
    return field == "model_references" or (field == "idle_timeout_s" and live.scaler_type == "REQUEST_COUNT")


def _canonical(field: str, value: object, plane: Plane) -> object:
    """The order of places, CUDA versions, models and exclusions means nothing; that of GPU pools is their priority.

    REST v2 does not promise to give pools back in order ("whichever listed pool has capacity").
    """
    if field in ("locations", "cuda_versions", "model_references") and isinstance(value, tuple):
        return frozenset(value)
    if field == "gpu_ids" and isinstance(value, str):
        chosen = gpus.selection(value)
        pools = tuple(dict.fromkeys(chosen.pools))
        return (pools if plane == "graphql" else frozenset(pools)), frozenset(chosen.excluded)
    return value


def _change(
    resource: _Resource,
    field: str,
    old: object,
    new: object,
    *,
    live: Endpoint | None,
    applied: Document | None,
    hidden: frozenset[str],
) -> Change:
    path = f"{resource}.{field}"
    is_drift = live is not None and applied is not None and _has_drifted(path, old, applied)
    is_secret = _is_hidden(field, hidden)
    # What an earlier spec called a secret is one still, though it is about to go, or to get a plain value.
    was_secret = field.startswith("env.") and (new is None or (applied or {}).get(path, "") is None)
    shown_old = None if old is None else "(set)" if is_secret or was_secret else _text(old)
    shown_new = "(removed)" if new is None else _text(new) if not is_secret else "(set)" if old is None else "(changed)"
    return Change(resource, field, shown_old, shown_new, is_drift)


def _is_hidden(field: str, hidden: frozenset[str]) -> bool:
    return field.startswith("env.") and field.removeprefix("env.") in hidden


def _has_drifted(path: str, old: object, applied: Document) -> bool:
    """Whether the live value is another than the one applied; unknown for a hidden value."""
    if path == model_cache.FIELD:
        return not model_cache.is_held(old if isinstance(old, tuple) else (), model_cache.requested(applied))
    if path not in applied:
        return old is not None
    before = applied[path]
    return old is None or (before is not None and before != _text(old))


def drift(live: Endpoint, applied: Document, *, plane: Plane) -> tuple[str, ...]:
    """The fields of an endpoint, as `template.image`, that are not as they were last applied."""
    there = {f"{resource}.{field}": (resource, field, value) for resource, field, value in _fields(live)}
    changed = [
        path
        for path, (resource, field, value) in there.items()
        if not _cannot_be_compared(resource, field, live, plane)
        and not _is_as_applied(path, field, value, applied, plane)
    ]
    return (*changed, *(path for path in applied if path.startswith("template.env.") and path not in there))


def _is_as_applied(path: str, field: str, value: object, applied: Document, plane: Plane) -> bool:
    """Also where that is unknown: of a value that is hidden, and of a field that an older vidctl did not keep."""
    before = applied.get(path)
    if before is None:
        return path in applied or not field.startswith("env.")
    if field == "gpu_ids":
        return _canonical(field, before, plane) == _canonical(field, value, plane)
    return before == _text(value)


def _text(value: object) -> str:
    if isinstance(value, tuple):
        return ", ".join(sorted(map(str, value))) or "any"
    return str(value)
