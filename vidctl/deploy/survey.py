"""What there is in the account, looked at once before anything is decided, and what of it a spec names."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from vidctl import spec as specs
from vidctl.deploy.plan import owner
from vidctl.deploy.target import Target
from vidctl.errors import ApiError, NotOwnedError, UsageError
from vidctl.journal import Journal
from vidctl.runpod.types import Account, Endpoint, NetworkVolume, RegistryLogin
from vidctl.spec import EndpointSpec

VOLUME_NAME = "spec.network_volume"  # in what the journal keeps: under which name the volume was found
TO_BE_MADE = "(to be made)"  # the id of a registry login that RunPod does not have yet


@dataclass(frozen=True)
class Survey:
    """What was found out of an account before anything is decided: one request of each kind that specs speak of."""

    account: Account
    logins: tuple[RegistryLogin, ...] = ()
    volumes: tuple[NetworkVolume, ...] = ()


def survey(specs: Sequence[EndpointSpec], target: Target) -> Survey:
    """Look at the account, once for all specs; of volumes only where a spec names one that it has not had so far, or
    other data centers.
    """
    account = target.control.account()
    is_new_volume = any(spec.network_volume and _has_new_volume(spec, account, target.journal) for spec in specs)
    return Survey(
        account=account,
        logins=target.control.registries() if any(spec.registry_auth for spec in specs) else (),
        volumes=target.control.volumes() if is_new_volume else (),
    )


def live_of(spec: EndpointSpec, account: Account) -> Endpoint | None:
    """The live endpoint of a spec; raise ApiError when several have its name, for RunPod allows that."""
    named = [endpoint for endpoint in account.endpoints if endpoint.name == spec.name]
    if len(named) > 1:
        raise ApiError(
            f"{len(named)} endpoints are named {spec.name!r}: {', '.join(str(each.id) for each in named)}",
            hint="delete or rename all but one in RunPod's console, or give the spec another name",
        )
    return named[0] if named else None


def require_owned(live: Endpoint, key: str, journal: Journal, *, adopts: bool) -> None:
    """Raise NotOwnedError for an endpoint that this spec did not make."""
    made_by = owner(live)
    if adopts or made_by == key or (made_by is None and live.id and journal.last_applied(live.id)):
        return
    whose = f"belongs to the spec {made_by!r}" if made_by else "was not made by vidctl"
    raise NotOwnedError(
        f"{key}: endpoint {live.name!r} ({live.id}) already exists and {whose}",
        hint="take it over with --adopt, or give the spec another name",
        endpoint=live.id,
    )


def login_id_of(spec: EndpointSpec, known: Survey) -> str:
    """The id of the spec's registry login; raise UsageError for one that is neither there nor can be made."""
    login = spec.registry_auth
    if login is None:
        return ""
    for each in known.logins:
        if login.name in (each.id, each.name):
            return each.id
    if login.username and login.password_variable:
        return TO_BE_MADE
    raise UsageError(
        f"{specs.locate(spec, ('registry_auth',)) or spec.key}: registry login {login.name!r} not found at RunPod",
        hint=f"vidctl registry login {login.name} -u USER --password-stdin",
    )


def volume_id_of(spec: EndpointSpec, target: Target, known: Survey) -> str:
    """The id of the spec's network volume; raise UsageError for a name that is nobody's, or several volumes'."""
    wanted = spec.network_volume
    if wanted is None:
        return ""
    if known_id := _volume_so_far(spec, live_of(spec, known.account), target.journal):
        return known_id
    found = [volume for volume in known.volumes if wanted in (volume.id, volume.name)]
    if len(found) == 1:
        return found[0].id
    place = specs.locate(spec, ("network_volume",)) or spec.key
    if found:
        ids = ", ".join(f"{volume.id} in {volume.data_center}" for volume in found)
        raise UsageError(f"{place}: {len(found)} network volumes are named {wanted!r}", hint=f"use an id: {ids}")
    names = ", ".join(volume.name for volume in known.volumes)
    raise UsageError(f"{place}: network volume {wanted!r} not found", hint=f"available: {names}" if names else None)


def _has_new_volume(spec: EndpointSpec, account: Account, journal: Journal) -> bool:
    live = live_of(spec, account)
    is_moved = live is not None and bool(spec.data_centers) and set(live.locations) != set(spec.data_centers)
    return is_moved or _volume_so_far(spec, live, journal) is None


def _volume_so_far(spec: EndpointSpec, live: Endpoint | None, journal: Journal) -> str | None:
    """The endpoint's volume, if it got it for the name that the spec says: a volume keeps its id for life."""
    last = journal.last_applied(live.id) if live and live.id else None
    if live is None or last is None or last.document.get(VOLUME_NAME) != spec.network_volume:
        return None
    return live.network_volume_id or None
