"""How many workers a live endpoint has and how long they idle, changed without a deploy."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

from vidctl.deploy import by_hand
from vidctl.deploy.model_cache import Models, requested
from vidctl.deploy.plan import Plan, compare, document, hidden_names
from vidctl.deploy.planning import fingerprint_of
from vidctl.deploy.target import Target
from vidctl.errors import UsageError
from vidctl.progress import Notify, silent
from vidctl.runpod import limits
from vidctl.runpod.types import Endpoint, WorkerImage
from vidctl.spec import EndpointSpec


def plan(
    key: str, live: Endpoint, target: Target, *, wanted: Mapping[str, int], spec: EndpointSpec | None = None
) -> Plan:
    """What would change for these values of `SCALE_FIELDS`; raise UsageError for some that cannot be."""
    scaled = dataclasses.replace(live, **dict(wanted))  # type: ignore[arg-type]  # all of them are numbers
    _check(scaled, wanted, target)
    last = target.journal.last_applied(live.id or "")
    return compare(
        key,
        scaled,
        live,
        image=WorkerImage(live.template.image, live.template.image),
        applied=last.document if last else None,
        hidden=hidden_names(spec, live) | _hidden(last.document if last else {}),
        models=Models(live.model_references, requested(last.document if last else None)),
        plane=target.control.plane,
    )


def carry_out(todo: Plan, target: Target, *, spec: EndpointSpec | None, notify: Notify = silent) -> Endpoint:
    """Scale; return the endpoint as it reads back.  What passed its smoke test still has."""
    before = todo.before or todo.endpoint
    last = target.journal.last_applied(todo.endpoint.id or "")
    known = dict(last.document) if last else document(before, todo.hidden)
    known |= {f"endpoint.{name}": str(getattr(todo.endpoint, name)) for name in by_hand.SCALE_FIELDS}
    had_workers = bool(before.workers_min or before.workers_max)
    is_proven = had_workers and last is not None and last.is_proven
    fingerprint = last.fingerprint if last else ""
    if is_proven and fingerprint == fingerprint_of(spec, todo.document(before)):
        fingerprint = fingerprint_of(spec, todo.document())
    return by_hand.carry_out(
        todo,
        target,
        last=last,
        document={**known, by_hand.SCALED: by_hand.now()},
        fingerprint=fingerprint,
        is_proven=is_proven,
        notify=notify,
    )


def agreed(key: str, live: Endpoint, target: Target) -> None:
    """The spec now says what is live: no plan is to tell of it as done by hand any more."""
    last = target.journal.last_applied(live.id or "")
    if last is not None and by_hand.SCALED in last.document:
        target.journal.applied(
            spec=key,
            target=target.name,
            endpoint_id=last.endpoint_id,
            document={path: value for path, value in last.document.items() if path != by_hand.SCALED},
            fingerprint=last.fingerprint,
            is_proven=last.is_proven,
        )


def differing(spec: EndpointSpec, live: Endpoint, target: Target) -> dict[tuple[str, ...], str]:
    """Where the spec's file says something else than is live, with what it would have to say."""
    values = {
        "workers_min": (spec.workers.min, live.workers_min, f"{live.workers_min}"),
        "workers_max": (spec.workers.max, live.workers_max, f"{live.workers_max}"),
    }
    if _keeps_idle(live, target):
        values["idle_timeout_s"] = (spec.timeouts.idle_s, live.idle_timeout_s, f"{live.idle_timeout_s}s")
    return {
        spec.where(by_hand.SCALE_FIELDS[name]): text for name, (said, there, text) in values.items() if said != there
    }


def _keeps_idle(live: Endpoint, target: Target) -> bool:
    """RunPod's OpenAPI document, EndpointWorkers: a queue that scales on requests has no idle timeout."""
    return target.control.plane == "graphql" or live.scaler_type != "REQUEST_COUNT"


def _hidden(known: Mapping[str, str | None]) -> frozenset[str]:
    return frozenset(path.removeprefix("template.env.") for path, value in known.items() if value is None)


def _check(scaled: Endpoint, wanted: Mapping[str, int], target: Target) -> None:
    """Raise UsageError for what RunPod would refuse, or not keep."""
    if scaled.workers_min > scaled.workers_max:
        raise UsageError(
            f"--min {scaled.workers_min} is more than --max {scaled.workers_max}",
            hint=f"give both: --min {scaled.workers_min} --max {max(scaled.workers_min, scaled.workers_max)}",
        )
    if "idle_timeout_s" not in wanted:
        return
    least, most = limits.IDLE_TIMEOUT_S
    if not least <= scaled.idle_timeout_s <= most:
        raise UsageError(f"--idle must be between {least} s and {most} s")
    if not _keeps_idle(scaled, target):
        raise UsageError(
            "--idle: RunPod's REST v2 keeps no idle timeout of an endpoint that scales on requests",
            hint="leave --idle out" + (", or use VIDCTL_CONTROL=graphql" if target.control.has_graphql else ""),
        )
