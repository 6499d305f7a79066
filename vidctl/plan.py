"""Decide what must change so that RunPod matches a spec.  Pure: no network."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from vidctl.errors import UsageError
from vidctl.resources import Endpoint, Template
from vidctl.spec import EndpointSpec

Action = Literal["create", "update", "keep"]


@dataclass(frozen=True)
class Change:
    """One field that differs.  A secret's value is never in it: `old` and `new` are shown to people."""

    resource: Literal["template", "endpoint"]
    field: str
    old: str | None
    new: str


@dataclass(frozen=True)
class Plan:
    """What to save, in this order: the template, then the endpoint.  With no `changes` there is nothing to do."""

    template: Template
    endpoint: Endpoint
    template_action: Action
    endpoint_action: Action
    changes: tuple[Change, ...]

    @property
    def is_empty(self) -> bool:
        return not self.changes


def plan(
    spec: EndpointSpec,
    *,
    image: str,
    secrets: Mapping[str, str],
    live_endpoint: Endpoint | None,
    live_template: Template | None,
) -> Plan:
    """Compare what the spec asks for with what there is."""
    template = dataclasses.replace(
        wanted_template(spec, image=image, secrets=secrets), id=live_template.id if live_template else None
    )
    endpoint = dataclasses.replace(
        wanted_endpoint(spec, template_id=template.id or ""), id=live_endpoint.id if live_endpoint else None
    )
    template_changes = _template_changes(template, live_template, frozenset(spec.secrets))
    endpoint_changes = _endpoint_changes(endpoint, live_endpoint)
    return Plan(
        template=template,
        endpoint=endpoint,
        template_action=_action(live_template, template_changes),
        endpoint_action=_action(live_endpoint, endpoint_changes),
        changes=(*template_changes, *endpoint_changes),
    )


def wanted_template(spec: EndpointSpec, *, image: str, secrets: Mapping[str, str]) -> Template:
    """The spec's container; raise UsageError for a secret that is not set."""
    missing = [name for name in spec.secrets if not secrets.get(name)]
    if missing:
        raise UsageError(
            f"{', '.join(missing)}: not set, but named under secrets in {spec.key}",
            hint="set it in the environment or in .env",
        )
    return Template(
        name=template_name(spec),
        image=image,
        env={**spec.env, **{name: secrets[name] for name in spec.secrets}},
        container_disk_gb=spec.disk_gb,
        registry_auth_id=spec.registry_auth or "",
    )


def template_name(spec: EndpointSpec) -> str:
    # Template names are unique in an account (RunPod docs, sdks/graphql/manage-pod-templates): ours says whose it is.
    return f"vidctl-{spec.name}"


def wanted_endpoint(spec: EndpointSpec, *, template_id: str) -> Endpoint:
    """The spec's scaling and placement."""
    count = spec.scaling.request_count
    return Endpoint(
        name=spec.name,
        template_id=template_id,
        gpu_ids=spec.gpu.ids,
        gpu_count=spec.gpu.count,
        workers_min=spec.workers.min,
        workers_max=spec.workers.max,
        idle_timeout_s=spec.timeouts.idle_s,
        execution_timeout_ms=spec.timeouts.execution_s * 1000,
        scaler_type="QUEUE_DELAY" if count is None else "REQUEST_COUNT",
        scaler_value=max(1, round(spec.scaling.queue_delay_s or 4)) if count is None else count,
        locations=tuple(spec.data_centers),
        network_volume_id=spec.network_volume or "",
        cuda_versions=tuple(spec.cuda),
        flashboot=spec.flashboot,
    )


def _template_changes(wanted: Template, live: Template | None, secrets: frozenset[str]) -> tuple[Change, ...]:
    changes = [
        Change("template", name, None if old is None else str(old), str(new))
        for name, old, new in _differences(wanted, live, leave_out={"id", "env"})
    ]
    old_env = live.env if live else {}
    changes += [
        _env_change(name, old_env.get(name), wanted.env.get(name), hide=name in secrets)
        for name in sorted({*old_env, *wanted.env})
        if old_env.get(name) != wanted.env.get(name)
    ]
    return tuple(changes)


def _env_change(name: str, old: str | None, new: str | None, *, hide: bool) -> Change:
    # A variable that is about to go may have been a secret of an earlier spec, so its value is not shown either.
    shown_old = None if old is None else ("(set)" if hide or new is None else old)
    shown_new = "(removed)" if new is None else ("(set)" if old is None else "(changed)") if hide else new
    return Change("template", f"env.{name}", shown_old, shown_new)


def _endpoint_changes(wanted: Endpoint, live: Endpoint | None) -> tuple[Change, ...]:
    return tuple(
        Change("endpoint", name, None if old is None else _shown(old), _shown(new))
        for name, old, new in _differences(wanted, live, leave_out={"id"})
        # A template that is yet to be made has no id to compare.
        if name != "template_id" or new
    )


def _differences(wanted: object, live: object | None, *, leave_out: set[str]) -> list[tuple[str, object, object]]:
    names = [field.name for field in dataclasses.fields(wanted) if field.name not in leave_out]  # type: ignore[arg-type]  # both are dataclasses
    if live is None:
        return [(name, None, getattr(wanted, name)) for name in names]
    pairs = ((name, getattr(live, name), getattr(wanted, name)) for name in names)
    return [(name, old, new) for name, old, new in pairs if _canonical(name, old) != _canonical(name, new)]


def _canonical(name: str, value: object) -> object:
    """The order of data centers and CUDA versions means nothing; that of GPU pools is their priority."""
    return frozenset(value) if name in ("locations", "cuda_versions") and isinstance(value, tuple) else value


def _shown(value: object) -> str:
    return ", ".join(map(str, value)) or "any" if isinstance(value, tuple) else str(value)


def _action(live: object | None, changes: tuple[Change, ...]) -> Action:
    if live is None:
        return "create"
    return "update" if changes else "keep"
