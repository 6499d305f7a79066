"""Make RunPod match a spec and prove it: check, image, plan, apply, read back, smoke test, remember, or put back."""

from __future__ import annotations

import dataclasses
import difflib
import hashlib
import json
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

from vidctl import modelcache, rollback, settings
from vidctl import spec as specs
from vidctl.errors import (
    ApiError,
    JobFailedError,
    NotOwnedError,
    RefusedError,
    SeveralError,
    TimedOutError,
    UsageError,
    VidctlError,
)
from vidctl.journal import Journal
from vidctl.plan import SOURCES, Change, Plan, missing_secrets, owner, plan, template_name
from vidctl.progress import Notify, Progress, silent
from vidctl.proof import Prover
from vidctl.resources import STAMP, Account, Catalogue, Endpoint, Image, NetworkVolume, RegistryLogin, Template
from vidctl.runpod.jobs import Job, Jobs
from vidctl.runpod.waiting import settled
from vidctl.runpod.workers import Workers
from vidctl.spec import EndpointSpec

_COUNTRIES = frozenset({"CZ", "FR", "GB", "NO", "RO", "US"})  # those that RunPod's documents name as locations
_VOLUME_NAME = "spec.network_volume"  # in what the journal keeps: under which name the volume was found
_TO_BE_MADE = "(to be made)"  # the id of a registry login that RunPod does not have yet
_ROTATION = "registry_auth"  # the field of the change that gives RunPod a login's new user name or password
_LOGINS = threading.Lock()  # several specs that are deployed side by side may want the same login


class Control(Protocol):
    """A control plane: both of RunPod's, and the local runtime's, look like this."""

    @property
    def plane(self) -> Literal["graphql", "rest"]: ...
    @property
    def has_graphql(self) -> bool: ...
    def account(self) -> Account: ...
    def save(self, endpoint: Endpoint, *, before: Endpoint | None) -> Endpoint: ...
    def delete(self, endpoint: Endpoint) -> None: ...
    def templates(self) -> tuple[Template, ...]: ...
    def delete_template(self, template: Template) -> None: ...
    def registries(self) -> tuple[RegistryLogin, ...]: ...
    def save_registry(self, name: str, username: str, password: str, *, id: str | None = None) -> RegistryLogin: ...  # noqa: A002  RunPod's word
    def delete_registry(self, login: RegistryLogin) -> None: ...
    def volumes(self) -> tuple[NetworkVolume, ...]: ...
    def data_centers(self) -> tuple[str, ...]: ...
    def catalogue(self) -> Catalogue: ...


class Images(Protocol):
    """Where workers' images come from."""

    def unfit(self, spec: EndpointSpec) -> VidctlError | None:
        """Why the target can never run this spec; None if it may."""
        ...

    def doubts(self, spec: EndpointSpec, image: Image) -> list[str]:
        """What a person should know of an image that others pull: that it moves, or that it needs a login."""
        ...

    def look(self, spec: EndpointSpec) -> Image:
        """Name the image by its content; with its digest when it can be pulled.  Builds nothing."""
        ...

    def problems(self, spec: EndpointSpec) -> list[VidctlError]:
        """Why the image could not be provided, as far as can be known before."""
        ...

    def provide(self, spec: EndpointSpec, env: Mapping[str, str], notify: Notify) -> Image:
        """Make the image usable by workers with this environment, if it is not yet."""
        ...


@dataclass(frozen=True)
class Target:
    """One place to deploy to, with everything that speaks to it."""

    name: settings.Target
    control: Control
    jobs: Jobs
    workers: Workers
    images: Images
    journal: Journal


@dataclass(frozen=True)
class Choices:
    """How to deploy."""

    timeout_s: float = 600
    waits: bool = True
    rolls_back: bool = True
    adopts: bool = False


@dataclass(frozen=True)
class Survey:
    """What was found out of an account before anything is decided: one request of each kind that specs speak of."""

    account: Account
    logins: tuple[RegistryLogin, ...] = ()
    volumes: tuple[NetworkVolume, ...] = ()


@dataclass(frozen=True)
class Deployed:
    """A finished deploy.  `smoke` is the worker's answer, None when there was nothing to ask, or nobody waited."""

    endpoint_id: str
    smoke: Job | None
    is_proven: bool = True


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
    found: list[VidctlError] = []
    if missing := missing_secrets(spec, secrets):
        message = f"{', '.join(missing)}: not set, but named under secrets in {spec.key}"
        found.append(UsageError(message, hint="set it in the environment or in .env"))
    found += target.images.problems(spec)
    if known is None:
        return found
    for look in (
        lambda: _require_own(spec, target, known, adopts=adopts),
        lambda: _require_free_template(spec, known),
        lambda: _require_password(spec, known, secrets),
        lambda: _require_same_login(spec, target, known, secrets),
        lambda: _volume_id(spec, target, known),
        lambda: _require_data_centers(spec, target, known),
        lambda: _require_volume_within(spec, target, known),
        lambda: _require_model_cache(spec, target, known),
    ):
        try:
            look()
        except VidctlError as error:  # noqa: PERF203  the others are told too
            found.append(error)
    return found


def _namesakes(specs: Sequence[EndpointSpec]) -> Iterator[UsageError]:
    """RunPod would take several endpoints of one name, and nobody could tell which is whose."""
    keys: dict[str, list[str]] = {}
    for spec in specs:
        keys.setdefault(spec.name, []).append(spec.key)
    for name, those in keys.items():
        if len(those) > 1:
            yield UsageError(f"{', '.join(those)}: all have the name {name!r}", hint="give each a name of its own")


def _require_own(spec: EndpointSpec, target: Target, known: Survey, *, adopts: bool) -> None:
    live = find(spec, known.account)
    if live is not None:
        require_owned(live, spec.key, target.journal, adopts=adopts)


def _require_free_template(spec: EndpointSpec, known: Survey) -> None:
    """Raise NotOwnedError where a template of the name that ours gets is another's: names are unique in an account."""
    live, name = find(spec, known.account), template_name(spec.name)
    is_ours = live is not None and (live.template.name == name or owner(live) == spec.key)
    found = next((each for each in known.account.templates if each.name == name), None)
    if found and not is_ours and found.env.get(STAMP) != spec.key:
        raise NotOwnedError(
            f"{spec.key}: there is a template {name} ({found.id}) that is not of this spec",
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
    live = find(spec, known.account)
    new = set(spec.data_centers) - set(live.locations if live else ())
    there = set(target.control.data_centers()) if new else set()
    if nowhere := sorted(new & set(countries) - _COUNTRIES - {_country(place) for place in there}):
        raise UsageError(
            f"{where}: RunPod has no data center in {', '.join(nowhere)}",
            hint=f"there are: {', '.join(sorted(there))}" if there else None,
        )
    if there and (unknown := sorted(new - there - set(countries))):
        near = difflib.get_close_matches(unknown[0], sorted(there), n=1)
        hint = f"did you mean {near[0]}?" if near else f"there are: {', '.join(sorted(there))}"
        raise UsageError(f"{where}: RunPod has no data center {', '.join(unknown)}", hint=hint)


def _require_volume_within(spec: EndpointSpec, target: Target, known: Survey) -> None:
    """Raise UsageError for a network volume that is in none of the spec's data centers: no worker could start."""
    volume_id = _volume_id(spec, target, known) if spec.data_centers and known.volumes else ""
    volume = next((volume for volume in known.volumes if volume.id == volume_id), None)
    if volume is None or {volume.data_center, _country(volume.data_center)} & set(spec.data_centers):
        return
    raise UsageError(
        f"{specs.locate(spec, ('data_centers',)) or spec.key}: the network volume {volume.name} is in"
        f" {volume.data_center}, which is not among them",
        hint=f"add {volume.data_center}, or leave data_centers out: workers run where the volume is",
    )


def _country(data_center: str) -> str:
    """The country in a data center's name: US of US-KS-2, RO of EU-RO-1."""
    area, _, rest = data_center.partition("-")
    return area if area in ("US", "CA") else rest.partition("-")[0]


def _require_model_cache(spec: EndpointSpec, target: Target, known: Survey) -> None:
    """Raise UsageError where RunPod's model cache would have to hold something else, which REST v2 cannot say."""
    if target.control.plane == "graphql" or not spec.model_references:
        return
    live = find(spec, known.account)
    last = target.journal.last_applied(live.id) if live and live.id else None
    if modelcache.asked(last.document if last else None) != spec.model_references:
        raise UsageError(
            f"{specs.locate(spec, ('weights',)) or spec.key}: RunPod's REST v2 cannot fill its model cache",
            hint=f"write weights: volume or weights: bake{_or_graphql(target)}",
        )


def _or_graphql(target: Target) -> str:
    """The advice to use GraphQL, while there is one."""
    return ", or use VIDCTL_CONTROL=graphql" if target.control.has_graphql else ""


def find(spec: EndpointSpec, account: Account) -> Endpoint | None:
    """The live endpoint of a spec; raise ApiError when several have its name, for RunPod allows that."""
    named = [endpoint for endpoint in account.endpoints if endpoint.name == spec.name]
    if len(named) > 1:
        raise ApiError(
            f"there are {len(named)} endpoints named {spec.name!r}: {', '.join(str(each.id) for each in named)}",
            hint="delete or rename all but one in RunPod's console, or give the spec another name",
        )
    return named[0] if named else None


def require_owned(live: Endpoint, key: str, journal: Journal, *, adopts: bool) -> None:
    """Raise NotOwnedError for an endpoint that this spec did not make."""
    made_by = owner(live)
    if adopts or made_by == key or (made_by is None and live.id and journal.last_applied(live.id)):
        return
    whose = f"the spec {made_by!r} made" if made_by else "vidctl did not make"
    raise NotOwnedError(
        f"{key}: there is an endpoint named {live.name!r} ({live.id}) that {whose}",
        hint="--adopt treats it as this spec's own; or give the spec another name",
        endpoint=live.id,
    )


def prepare(
    spec: EndpointSpec,
    target: Target,
    known: Survey,
    *,
    image: Image,
    secrets: Mapping[str, str],
    saved: Plan | None = None,
) -> Plan:
    """Compare the spec with what is live and what was last applied, or just `saved`; nothing is asked or written."""
    live = find(spec, known.account)
    last = target.journal.last_applied(live.id) if live and live.id else None
    applied = dict(last.document) if last else {}
    if saved is not None and saved.models.asked:
        applied |= saved.document()
    todo = plan(
        spec,
        image=image,
        secrets=secrets,
        registry_auth_id=_login_id(spec, known),
        network_volume_id=_volume_id(spec, target, known),
        live=live,
        applied=applied or None,
        plane=target.control.plane,
    )
    return _with_rotation(spec, target, todo, secrets)


def warnings(todo: Sequence[Plan], known: Survey, journal: Journal) -> list[str]:
    """What a person should know before saying yes: too many workers, what earlier names of the specs left, what of
    the model cache REST v2 neither shows nor changes, and what each plan notes.
    """
    return [
        *_over_quota(todo, known.account),
        *_left_behind(todo, known.account, journal),
        *_out_of_sight(todo),
        *(f"{each.key}: {note}" for each in todo for note in each.notes),
    ]


def _over_quota(todo: Sequence[Plan], account: Account) -> Iterator[str]:
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
            yield f"{live.name} ({live.id}) is what {name} was called before, and still there: vidctl destroy {live.id}"


def _out_of_sight(todo: Sequence[Plan]) -> Iterator[str]:
    for each in todo:
        if models := ", ".join(each.models.unseen):
            yield f"{each.key}: RunPod's REST v2 does not show its model cache; it was last asked to hold {models}"
        if models := ", ".join(each.models.stuck):
            yield f"{each.key}: RunPod's model cache still holds {models}: REST v2 cannot take it out"


def deploy(
    spec: EndpointSpec,
    target: Target,
    todo: Plan,
    *,
    secrets: Mapping[str, str],
    choices: Choices = Choices(),
    notify: Notify = silent,
    is_stopped: Callable[[], bool] = lambda: False,
    keep: Callable[[str], None] = lambda _: None,
) -> Deployed:
    """Carry out a plan whose image is provided; raise if the endpoint does not answer its smoke test.

    `keep` gets the endpoint's id as soon as there is one: whatever fails after that, it is not lost.  Nothing is
    written when nothing changed.  An endpoint whose smoke test never passed is tested again.  When it does not pass,
    what was last good is put back: RolledBackError.
    """
    if todo.is_empty:
        keep(todo.endpoint.id or "")
    if todo.endpoint.id and is_proven(spec, target, todo):
        return Deployed(todo.endpoint.id, smoke=None)
    good = rollback.last_good(target.journal, todo)
    live = todo.endpoint
    if not todo.is_empty:
        todo = _with_login(spec, target, todo, secrets, notify)
        _doubt(target, todo)
        saved = _save(spec, target, todo, notify)
        keep(saved.id or "")
        _remember(spec, target, todo, saved, is_proven=False)
        live = _read_back(spec, target, todo, saved, secrets, notify)
    endpoint_id = live.id or ""
    _remember(spec, target, todo, live, is_proven=False)
    if not choices.waits:
        return Deployed(endpoint_id, smoke=None, is_proven=False)
    try:
        prover = Prover(target.name, target.jobs, target.workers, target.journal, notify, is_stopped)
        smoke = prover.prove(spec, live, timeout_s=choices.timeout_s)
    except (JobFailedError, TimedOutError) as error:
        if good is None or not choices.rolls_back or good == live.template:
            raise
        raise rollback.put_back(target, todo, live, good, error, notify) from error
    _remember(spec, target, todo, live, is_proven=True)
    return Deployed(endpoint_id, smoke)


def is_proven(spec: EndpointSpec, target: Target, todo: Plan) -> bool:
    """Whether nothing is to be done, and just this has answered before."""
    last = target.journal.last_applied(todo.endpoint.id) if todo.is_empty and todo.endpoint.id else None
    return last is not None and last.is_proven and last.fingerprint == _fingerprint(spec, todo)


def _save(spec: EndpointSpec, target: Target, todo: Plan, notify: Notify) -> Endpoint:
    """Save what differs; the endpoint as RunPod answers it."""
    kinds = " and ".join(dict.fromkeys(change.resource for change in todo.changes))
    which = f" ({kinds})" if todo.action == "update" else ""
    notify(Progress("apply", f"{todo.action} endpoint {todo.endpoint.name}{which}"))
    try:
        return target.control.save(todo.endpoint, before=todo.before)
    except RefusedError as error:
        raise _placed(spec, error) from error


def _read_back(
    spec: EndpointSpec, target: Target, todo: Plan, saved: Endpoint, secrets: Mapping[str, str], notify: Notify
) -> Endpoint:
    """Read all that was saved: what was not read back is not said to be done."""
    left = settled(
        lambda: prepare(spec, target, survey([spec], target), image=todo.image, secrets=secrets, saved=todo),
        lambda left: left.is_empty and left.before is not None,
    )
    if not left.is_empty or left.before is None:
        fields = ", ".join(f"{change.resource} {change.field}" for change in left.changes)
        raise ApiError(
            f"{spec.key}: accepted, but it reads back differently: {fields or 'the endpoint is not there'}",
            hint="run the deploy again; if it stays so, RunPod does not take this value",
            endpoint=saved.id,
        )
    notify(Progress("apply", f"endpoint {left.before.id} read back"))
    return left.before


def _placed(spec: EndpointSpec, error: RefusedError) -> RefusedError:
    """The same refusal with the line of the spec that it is about."""
    source = SOURCES.get(error.field or "")
    place = specs.locate(spec, source) if source else None
    if place is None:
        return error
    return RefusedError(f"{place}: {error.message}", field=error.field, hint=error.hint)


def _known_login(spec: EndpointSpec, secrets: Mapping[str, str]) -> tuple[str, str] | None:
    """The user name and the password of the spec's login; None where it does not say them, or its variable is empty."""
    login = spec.registry_auth
    password = secrets.get(login.password_variable or "") if login else None
    return (login.username, password) if login and login.username and password else None


def _with_rotation(spec: EndpointSpec, target: Target, todo: Plan, secrets: Mapping[str, str]) -> Plan:
    """The plan that also gives RunPod the login's user name and password, where it was not given just these from here.

    RunPod shows neither, so the journal is asked.
    """
    login_id, given = todo.endpoint.template.registry_auth_id, _known_login(spec, secrets)
    if spec.registry_auth is None or given is None or login_id == _TO_BE_MADE:
        return todo
    is_same = target.journal.is_login(login_id, *given)
    if is_same:
        return todo
    name = spec.registry_auth.name
    if target.control.plane == "rest":
        note = f"registry login {name} was not saved from here, and RunPod's REST v2 cannot change it"
        return dataclasses.replace(todo, notes=(*todo.notes, note))
    if is_same is None:
        note = f"registry login {name} was not saved from here: it gets the spec's user name and password"
        todo = dataclasses.replace(todo, notes=(*todo.notes, note))
    return dataclasses.replace(todo, changes=(*todo.changes, Change("template", _ROTATION, "(set)", "(changed)")))


def _require_same_login(spec: EndpointSpec, target: Target, known: Survey, secrets: Mapping[str, str]) -> None:
    """Raise UsageError where RunPod has another password, and its REST v2 would have to change it."""
    given = _known_login(spec, secrets)
    if target.control.plane == "graphql" or spec.registry_auth is None or given is None:
        return
    login_id, name = _login_id(spec, known), spec.registry_auth.name
    if login_id != _TO_BE_MADE and target.journal.is_login(login_id, *given) is False:
        raise UsageError(
            f"{specs.locate(spec, ('registry_auth',)) or spec.key}: registry login {name} has another user name or"
            " password at RunPod, and its REST v2 cannot change them",
            hint=f"vidctl registry remove {name} --force, then deploy again{_or_graphql(target)}",
        )


def _with_login(spec: EndpointSpec, target: Target, todo: Plan, secrets: Mapping[str, str], notify: Notify) -> Plan:
    """The plan with the id of its registry login, which is made if RunPod does not have it yet, or gets a new password.

    Of several specs with one login the first does it.
    """
    login, template, given = spec.registry_auth, todo.endpoint.template, _known_login(spec, secrets)
    if login is None or given is None:
        return todo
    if template.registry_auth_id != _TO_BE_MADE:
        if any(change.field == _ROTATION for change in todo.changes):
            with _LOGINS:
                _rotate(template.registry_auth_id, login.name, given, target, notify)
        return todo
    with _LOGINS:
        found = next((each for each in target.control.registries() if each.name == login.name), None)
        if found is None:
            notify(Progress("apply", f"create registry login {login.name}"))
            found = target.control.save_registry(login.name, *given)
            target.journal.login_saved(found.id, *given)
    template = dataclasses.replace(template, registry_auth_id=found.id)
    return dataclasses.replace(todo, endpoint=dataclasses.replace(todo.endpoint, template=template))


def _rotate(login_id: str, name: str, given: tuple[str, str], target: Target, notify: Notify) -> None:
    if not target.journal.is_login(login_id, *given):
        notify(Progress("apply", f"update registry login {name}"))
        target.control.save_registry(name, *given, id=login_id)
        target.journal.login_saved(login_id, *given)


def _login_id(spec: EndpointSpec, known: Survey) -> str:
    """The id of the spec's registry login; raise UsageError for one that is neither there nor can be made."""
    login = spec.registry_auth
    if login is None:
        return ""
    for each in known.logins:
        if login.name in (each.id, each.name):
            return each.id
    if login.username and login.password_variable:
        return _TO_BE_MADE
    raise UsageError(
        f"{specs.locate(spec, ('registry_auth',)) or spec.key}: RunPod has no registry login {login.name!r}",
        hint=f"vidctl registry login {login.name} -u USER --password-stdin",
    )


def _require_password(spec: EndpointSpec, known: Survey, secrets: Mapping[str, str]) -> None:
    """Raise UsageError for a login that is neither there nor can be made."""
    made = _login_id(spec, known) == _TO_BE_MADE
    variable = spec.registry_auth.password_variable if spec.registry_auth else None
    if made and not secrets.get(variable or ""):
        raise UsageError(
            f"{variable}: not set, but named as the password of registry_auth in {spec.key}",
            hint="set it in the environment or in .env",
        )


def _volume_id(spec: EndpointSpec, target: Target, known: Survey) -> str:
    """The id of the spec's network volume; raise UsageError for a name that is nobody's, or several volumes'."""
    wanted = spec.network_volume
    if wanted is None:
        return ""
    if known_id := _volume_so_far(spec, find(spec, known.account), target.journal):
        return known_id
    found = [volume for volume in known.volumes if wanted in (volume.id, volume.name)]
    if len(found) == 1:
        return found[0].id
    place = specs.locate(spec, ("network_volume",)) or spec.key
    if found:
        ids = ", ".join(f"{volume.id} in {volume.data_center}" for volume in found)
        raise UsageError(f"{place}: {len(found)} network volumes are named {wanted!r}", hint=f"write an id: {ids}")
    names = ", ".join(volume.name for volume in known.volumes)
    raise UsageError(f"{place}: there is no network volume {wanted!r}", hint=f"there are: {names}" if names else None)


def _has_new_volume(spec: EndpointSpec, account: Account, journal: Journal) -> bool:
    live = find(spec, account)
    is_moved = live is not None and bool(spec.data_centers) and set(live.locations) != set(spec.data_centers)
    return is_moved or _volume_so_far(spec, live, journal) is None


def _volume_so_far(spec: EndpointSpec, live: Endpoint | None, journal: Journal) -> str | None:
    """The endpoint's volume, if it got it for the name that the spec says: a volume keeps its id for life."""
    last = journal.last_applied(live.id) if live and live.id else None
    if live is None or last is None or last.document.get(_VOLUME_NAME) != spec.network_volume:
        return None
    return live.network_volume_id or None


def _doubt(target: Target, todo: Plan) -> None:
    """Before an endpoint is changed: what was proved of it holds no more, even if we are cut off before the end.

    Else a secret that was changed, and is in no fingerprint, would pass for proved.
    """
    last = target.journal.last_applied(todo.endpoint.id) if todo.endpoint.id else None
    if last is not None and last.is_proven:
        target.journal.applied(
            spec=last.spec,
            target=target.name,
            endpoint_id=last.endpoint_id,
            document=last.document,
            fingerprint=last.fingerprint,
            is_proven=False,
        )


def _remember(spec: EndpointSpec, target: Target, todo: Plan, live: Endpoint, *, is_proven: bool) -> None:
    target.journal.applied(
        spec=spec.key,
        target=target.name,
        endpoint_id=live.id or "",
        document={**todo.document(live), _VOLUME_NAME: spec.network_volume},
        fingerprint=_fingerprint(spec, todo),
        is_proven=is_proven,
    )


def _fingerprint(spec: EndpointSpec, todo: Plan) -> str:
    """What was proved: everything but ids and the values of secrets."""
    known = {"smoke": spec.smoke.model_dump(mode="json") if spec.smoke else None, "endpoint": todo.document()}
    return hashlib.sha256(json.dumps(known, sort_keys=True).encode()).hexdigest()
