"""Find what would stop a deploy before anything is built or changed, and what a person should know of it."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterator, Mapping, Sequence

from vidctl import spec as specs
from vidctl.deploy import model_cache, pull_login
from vidctl.deploy.plan import Plan, owner, require_secrets, template_name
from vidctl.deploy.survey import TO_BE_MADE, Survey, live_of, login_id_of, require_owned, survey, volume_id_of
from vidctl.deploy.target import Target
from vidctl.errors import NotOwnedError, SeveralError, UsageError, VidctlError
from vidctl.journal import Journal
from vidctl.runpod.limits import COUNTRIES, country
from vidctl.runpod.types import STAMP, Account
from vidctl.spec import EndpointSpec


def check(
    specs: Sequence[EndpointSpec], target: Target, *, secrets: Mapping[str, str], adopts: bool, writes: bool = True
) -> Survey:
    """Find everything that would stop a deploy, before anything is built or changed; raise it all together.

    The journal is tried unless it is known that nothing will be written.
    """
    problems: list[VidctlError] = []
    known: Survey | None = None
    try:
        known = survey(specs, target)
    except VidctlError as error:
        problems.append(error)
    problems += _namesakes(specs)
    for spec in specs:
        problems += _problems(spec, target, known, secrets=secrets, adopts=adopts)
    try:
        if writes:
            target.journal.check()
    except VidctlError as error:
        problems.append(error)
    if problems or known is None:
        raise SeveralError.of(problems)
    return known


def _problems(
    spec: EndpointSpec, target: Target, known: Survey | None, *, secrets: Mapping[str, str], adopts: bool
) -> list[VidctlError]:
    found = [*_raised_by(lambda: require_secrets(spec, secrets)), *target.images.problems(spec)]
    if known is None:
        return found
    requirements: tuple[Callable[[], object], ...] = (
        lambda: _require_own(spec, target, known, adopts=adopts),
        lambda: _require_free_template(spec, known),
        lambda: _require_password(spec, known, secrets),
        lambda: _require_same_login(spec, target, known, secrets),
        lambda: volume_id_of(spec, target, known),
        lambda: _require_data_centers(spec, target, known),
        lambda: _require_volume_within(spec, target, known),
        lambda: _require_model_cache(spec, target, known),
    )
    return [*found, *(error for each in requirements for error in _raised_by(each))]


def _raised_by(requirement: Callable[[], object]) -> list[VidctlError]:
    """What it raises, for the others are reported too; nothing where it holds."""
    try:
        requirement()
    except VidctlError as error:
        return [error]
    return []


def _namesakes(specs: Sequence[EndpointSpec]) -> Iterator[UsageError]:
    """RunPod would take several endpoints of one name, and nobody could tell which is whose."""
    keys: dict[str, list[str]] = {}
    for spec in specs:
        keys.setdefault(spec.name, []).append(spec.key)
    for name, those in keys.items():
        if len(those) > 1:
            yield UsageError(f"{', '.join(those)}: all have the name {name!r}", hint="give each its own name")


def _require_own(spec: EndpointSpec, target: Target, known: Survey, *, adopts: bool) -> None:
    live = live_of(spec, known.account)
    if live is not None:
        require_owned(live, spec.key, target.journal, adopts=adopts)


def _require_free_template(spec: EndpointSpec, known: Survey) -> None:
    """Raise NotOwnedError where a template of the name that ours gets is another's: names are unique in an account."""
    live, name = live_of(spec, known.account), template_name(spec.name)
    is_ours = live is not None and (live.template.name == name or owner(live) == spec.key)
    found = next((each for each in known.account.templates if each.name == name), None)
    if found and not is_ours and found.env.get(STAMP) != spec.key:
        raise NotOwnedError(
            f"{spec.key}: template {name} ({found.id}) already exists and does not belong to this spec",
            hint="rename or delete it in RunPod's console, or give the spec another name",
        )


def _require_data_centers(spec: EndpointSpec, target: Target, known: Survey) -> None:
    """Raise UsageError for a place that RunPod does not have, or for a country where only GraphQL takes one.

    RunPod is asked only about places that the endpoint does not have yet.
    """
    where = specs.locate(spec, ("data_centers",)) or spec.key
    countries = [place for place in spec.data_centers if "-" not in place]
    if countries and target.control.plane == "rest":
        raise UsageError(
            f"{where}: RunPod's REST v2 takes data centers, not countries: {', '.join(countries)}",
            hint=f"name data centers like EU-RO-1{_or_graphql(target)}",
        )
    live = live_of(spec, known.account)
    new = set(spec.data_centers) - set(live.locations if live else ())
    there = set(target.control.data_centers()) if new else set()
    if nowhere := sorted(new & set(countries) - COUNTRIES - {country(place) for place in there}):
        raise UsageError(
            f"{where}: RunPod has no data center in {', '.join(nowhere)}",
            hint=f"available: {', '.join(sorted(there))}" if there else None,
        )
    if there and (unknown := sorted(new - there - set(countries))):
        near = difflib.get_close_matches(unknown[0], sorted(there), n=1)
        hint = f"did you mean {near[0]}?" if near else f"available: {', '.join(sorted(there))}"
        raise UsageError(f"{where}: data center {', '.join(unknown)} not found at RunPod", hint=hint)


def _require_volume_within(spec: EndpointSpec, target: Target, known: Survey) -> None:
    """Raise UsageError for a network volume that is in none of the spec's data centers: no worker could start."""
    volume_id = volume_id_of(spec, target, known) if spec.data_centers and known.volumes else ""
    volume = next((volume for volume in known.volumes if volume.id == volume_id), None)
    if volume is None or {volume.data_center, country(volume.data_center)} & set(spec.data_centers):
        return
    raise UsageError(
        f"{specs.locate(spec, ('data_centers',)) or spec.key}: the network volume {volume.name} is in"
        f" {volume.data_center}, which is not among them",
        hint=f"add {volume.data_center}, or remove data_centers: workers run where the volume is",
    )


def _require_model_cache(spec: EndpointSpec, target: Target, known: Survey) -> None:
    """Raise UsageError where RunPod's model cache would have to hold something else, which REST v2 cannot say."""
    if target.control.plane == "graphql" or not spec.model_references:
        return
    live = live_of(spec, known.account)
    last = target.journal.last_applied(live.id) if live and live.id else None
    if model_cache.requested(last.document if last else None) != spec.model_references:
        raise UsageError(
            f"{specs.locate(spec, ('weights',)) or spec.key}: RunPod's REST v2 cannot fill its model cache",
            hint=f"write weights: volume or weights: bake{_or_graphql(target)}",
        )


def _or_graphql(target: Target) -> str:
    """The advice to use GraphQL, while there is one."""
    return ", or use VIDCTL_CONTROL=graphql" if target.control.has_graphql else ""


def warnings(todo: Sequence[Plan], known: Survey, journal: Journal) -> list[str]:
    """What a person should know before saying yes: too many workers, what earlier names of the specs left, what of
    the model cache REST v2 neither shows nor changes, what each plan notes, and what was done by hand.
    """
    return [
        *over_quota(todo, known.account),
        *_left_behind(todo, known.account, journal),
        *_out_of_sight(todo),
        *(f"{each.key}: {note}" for each in todo for note in (*each.notes, *each.sets_back)),
    ]


def over_quota(todo: Sequence[Plan], account: Account) -> Iterator[str]:
    """An account has so many workers over all endpoints."""
    quota = account.worker_quota
    planned = {each.endpoint.id or each.key: each.endpoint.workers_max for each in todo}
    total = sum(({each.id or each.name: each.workers_max for each in account.endpoints} | planned).values())
    if quota is not None and total > quota and not all(each.is_empty for each in todo):
        yield f"{total} workers at most over all endpoints; an account with this balance has {quota} (RunPod's docs)"


def _left_behind(todo: Sequence[Plan], account: Account, journal: Journal) -> Iterator[str]:
    """The endpoints that this project made of the same specs under other names; nothing will ever change them again."""
    names = {each.key: each.endpoint.name for each in todo}
    for live in account.endpoints:
        name = names.get(owner(live) or "")
        if name not in (None, live.name) and journal.last_applied(live.id or ""):
            what = f"{live.name} ({live.id}), the endpoint of {name} under its former name,"
            yield f"{what} still exists: vidctl destroy {live.id}"


def _out_of_sight(todo: Sequence[Plan]) -> Iterator[str]:
    for each in todo:
        if models := ", ".join(each.models.unseen):
            yield f"{each.key}: RunPod's REST v2 does not show its model cache; it was last set to {models}"
        if models := ", ".join(each.models.stuck):
            yield f"{each.key}: RunPod's model cache still holds {models}: REST v2 cannot remove it"


def _require_same_login(spec: EndpointSpec, target: Target, known: Survey, secrets: Mapping[str, str]) -> None:
    """Raise UsageError where RunPod has another password, and its REST v2 would have to change it."""
    given = pull_login.credentials(spec, secrets)
    if target.control.plane == "graphql" or spec.registry_auth is None or given is None:
        return
    login_id, name = login_id_of(spec, known), spec.registry_auth.name
    if login_id != TO_BE_MADE and target.journal.is_login(login_id, *given) is False:
        raise UsageError(
            f"{specs.locate(spec, ('registry_auth',)) or spec.key}: registry login {name} has another user name or"
            " password at RunPod, and its REST v2 cannot change them",
            hint=f"vidctl registry remove {name} --force, then deploy again{_or_graphql(target)}",
        )


def _require_password(spec: EndpointSpec, known: Survey, secrets: Mapping[str, str]) -> None:
    """Raise UsageError for a login that is neither there nor can be made."""
    made = login_id_of(spec, known) == TO_BE_MADE
    variable = spec.registry_auth.password_variable if spec.registry_auth else None
    if made and not secrets.get(variable or ""):
        raise UsageError(
            f"{variable}: not set, but named as the password of registry_auth in {spec.key}",
            hint="set it in the environment or in .env",
        )
