"""What a doctor sees of the account: what the key can read on both control planes, workers, balance."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from vidctl.deploy.doctor.finding import Finding
from vidctl.deploy.doctor.scope import DoctorScope
from vidctl.errors import AuthError, RefusedError, RetiredError, VidctlError
from vidctl.project.settings import Access
from vidctl.runpod.graphql import GraphQL
from vidctl.runpod.http import Http
from vidctl.runpod.rest import Rest

_KEYS = "give the key more rights in RunPod's console (Settings, API Keys), or use another"
_CREDIT = "add credit at console.runpod.io/user/billing"
_SOON_H = 24


def key(scope: DoctorScope) -> Finding:
    return scope.key


def graphql(scope: DoctorScope) -> Finding:
    """What the key can read over GraphQL."""
    if scope.access is None:
        return scope.no_access
    plane = _graphql(scope.access)
    try:
        seen, refused = _readable(_reads(plane))
    except RetiredError as error:
        return Finding("warn", error.message, "set VIDCTL_CONTROL=rest, which vidctl uses from now on")
    return _rights(seen, refused, is_used=scope.control == "graphql")


def rest(scope: DoctorScope) -> Finding:
    """What the key can read over REST v2."""
    if scope.access is None:
        return scope.no_access
    seen, refused = _readable(_reads(Rest(Http(scope.access.api_key), scope.access.api_base_url)))
    return _rights(seen, refused, is_used=scope.control == "rest")


def _graphql(access: Access) -> GraphQL:
    return GraphQL(Http(access.api_key), access.api_base_url)


def _reads(plane: GraphQL | Rest) -> dict[str, Callable[[], Sequence[Any]]]:
    return {
        "endpoints": lambda: plane.account().endpoints,
        "templates": plane.templates,
        "registry logins": plane.registries,
        "network volumes": plane.volumes,
    }


def _readable(reads: dict[str, Callable[[], Sequence[Any]]]) -> tuple[list[str], list[VidctlError]]:
    """What can be read, counted, and the refusals."""
    seen: list[str] = []
    refused: list[VidctlError] = []
    for what, read in reads.items():
        try:
            seen.append(f"{len(read())} {what}")
        except (AuthError, RefusedError) as error:  # noqa: PERF203  the others may be allowed
            refused.append(type(error)(f"{what}: {error.message}", **_field(error)))
    return seen, refused


def _field(error: VidctlError) -> dict[str, Any]:
    return {"field": None} if isinstance(error, RefusedError) else {}


def _rights(seen: list[str], refused: list[VidctlError], *, is_used: bool) -> Finding:
    """Whether the key reads what a deploy has to."""
    not_probed = "write access is not probed"
    if not refused:
        return Finding("ok", f"the key reads {', '.join(seen)}; {not_probed}")
    reads = f"the key reads {', '.join(seen) or 'nothing'}"
    reasons = "; ".join(each.message for each in refused)
    return Finding("fail" if is_used else "warn", f"{reads}; refused: {reasons}; {not_probed}", _KEYS)


def quota(scope: DoctorScope) -> Finding:
    """Whether the account may have the workers that its endpoints ask for."""
    if scope.access is None:
        return scope.no_access
    try:
        account = _graphql(scope.access).account()
    except RetiredError:
        return Finding("skipped", "RunPod's REST v2 does not say it")
    asked = sum(each.workers_max for each in account.endpoints)
    if account.worker_quota is None:
        return Finding("skipped", f"{asked} workers at most over all endpoints; the key may not see the quota")
    seen = f"{asked} of {account.worker_quota} workers at most over all endpoints (RunPod's docs, by balance)"
    if asked > account.worker_quota:
        return Finding("warn", seen, "lower workers.max in a spec and deploy it: vidctl list shows them")
    return Finding("ok", seen)


def balance(scope: DoctorScope) -> Finding:
    """Whether there is money left, and for how long at what is spent now."""
    if scope.is_local:
        return Finding("skipped", "the local runtime costs nothing")
    if scope.access is None:
        return scope.no_access
    try:
        found = _graphql(scope.access).balance()
    except RetiredError:
        return Finding("skipped", "RunPod's REST v2 does not say it")
    except (AuthError, RefusedError) as error:
        return Finding("skipped", f"the key may not see it: {error.message}")
    if found.dollars is None:
        return Finding("skipped", "the key may not see it")
    spend = found.spend_per_hour or 0.0
    limit = "" if found.spend_limit is None else f", at most ${found.spend_limit:.2f}/h"
    seen = f"${found.dollars:.2f}; ${spend:.2f}/h are spent now{limit}"
    if found.dollars <= 0:
        return Finding("fail", seen, _CREDIT)
    if spend * _SOON_H > found.dollars:
        return Finding("warn", f"{seen}: enough for {found.dollars / spend:.0f} h", _CREDIT)
    return Finding("ok", seen)
