"""RunPod's REST v2 control plane: an endpoint holds its container, and a change sends what is ours.

Request bodies are closed: a field that RunPod does not know is a 422.  What a PATCH leaves out stays, but the maps and
lists in it replace; what a POST leaves out gets defaults that are not the documented ones (an omitted `timeout` was
seen to be stored as 0: runpod/runpod-plugins-official), so a create sends everything that is ours, a change
what differs.  Field names: RunPod's OpenAPI document, version 2.0.0.
"""

from __future__ import annotations

import dataclasses
import math
import re
import time
from collections.abc import Iterable, Mapping
from typing import Any, Final, Literal
from urllib.parse import quote

from vidctl.errors import ApiError, NotDeployedError, RefusedError
from vidctl.progress import Notify, silent
from vidctl.runpod.failures import HttpError, refused
from vidctl.runpod.http import Http
from vidctl.runpod.reading import Node, endpoint_name, node_of, nodes, part, read, strings
from vidctl.runpod.types import Account, Catalogue, Endpoint, NetworkVolume, Offer, RegistryLogin, Stock, Template
from vidctl.runpod.waiting import Sleep, create_once, delete_when_released
from vidctl.text import one_line

_MORE: Final = re.compile(r"cursor|next|more", re.IGNORECASE)
_MOST_PAGES: Final = 1_000  # a list that goes on longer does not end
_COUNTRY: Final = re.compile(r"[A-Z]{2}")
_STOCKS: Final[tuple[Stock, ...]] = ("NONE", "LOW", "MEDIUM", "HIGH")

# Where in a body a value of ours stands; a problem names it as `$.workers.max: …`.
_FIELDS: Final = {
    "name": "name",
    "image": "image",
    "args": "docker_args",
    "disk": "container_disk_gb",
    "env": "env",
    "registry": "registry_auth_id",
    "gpu.pools": "gpu_ids",
    "gpu.excludedTypes": "gpu_ids",
    "gpu.count": "gpu_count",
    "gpu.allowedCudaVersions": "cuda_versions",
    "gpu.minCudaVersion": "min_cuda",
    "workers.min": "workers_min",
    "workers.max": "workers_max",
    "workers.idleTimeout": "idle_timeout_s",
    "scaling.type": "scaler_type",
    "scaling": "scaler_value",
    "dataCenterIds": "locations",
    "networkVolumes": "network_volume_id",
    "timeout": "execution_timeout_ms",
    "flashboot": "flashboot",
}
_POINTED: Final = re.compile(r"([$/][^:]*):(.*)", re.DOTALL)
_KEYS: Final = {
    path.rpartition(".")[2]: field for path, field in _FIELDS.items() if path not in ("name", "scaling.type")
}


class Rest:
    """One account at one base URL, e.g. `https://api.runpod.io`."""

    plane: Final[Literal["rest"]] = "rest"
    has_graphql: Final = True  # for all that is known here

    def __init__(self, http: Http, base_url: str, *, notify: Notify = silent, sleep: Sleep = time.sleep) -> None:
        self._http = http
        self._url = f"{base_url}/v2"
        self._notify = notify
        self._sleep = sleep

    def account(self) -> Account:
        """All endpoints; one request.  What workers the account may have is not said here."""
        return Account(tuple(map(_endpoint, self._list("serverless", "endpoints"))))

    def save(self, endpoint: Endpoint, *, before: Endpoint | None) -> Endpoint:
        """Create it, or make the endpoint with the id of `before` equal to it; return it as RunPod now says it is.

        Raise ApiError when an endpoint of that name appeared meanwhile, RefusedError when a location is a country, or
        when RunPod's model cache would have to hold something else: REST v2 has no field for it, and leaves it as it
        is.
        """
        self._refuse_countries(endpoint.locations)
        _refuse_models(endpoint, before)
        if before is None:
            return self._create(endpoint)
        path = f"serverless/{_quoted(before.id)}"
        try:
            node = self._request("GET", path)
            if not (changes := _changes(endpoint, _endpoint(node))):
                return _endpoint(node)
            return _endpoint(self._request("PATCH", path, changes, hide=endpoint.template.env.values()))
        except NotDeployedError as error:
            raise ApiError(
                f"endpoint {before.name} ({before.id}) no longer exists", hint="run the same command again"
            ) from error

    def delete(self, endpoint: Endpoint) -> None:
        """Delete the endpoint, and with it its workers and its template; that it is already gone is fine."""
        self._delete(f"serverless/{_quoted(endpoint.id)}")

    def templates(self) -> tuple[Template, ...]:
        return tuple(
            dataclasses.replace(_template(node), name=read(node, "name", str, ""), id=read(node, "id", str, None))
            for node in self._list("templates", "templates")
        )

    def delete_template(self, template: Template) -> None:
        """Delete it by its id; that it is already gone is fine."""
        delete_when_released(
            lambda: self._try_to_delete(f"templates/{_quoted(template.id)}"),
            what=f"template {template.name}",
            notify=self._notify,
            sleep=self._sleep,
        )

    def registries(self) -> tuple[RegistryLogin, ...]:
        return tuple(map(_registry, self._list("registries", "registries")))

    def save_registry(self, name: str, username: str, password: str, *, id: str | None = None) -> RegistryLogin:  # noqa: A002  the protocol's name
        """Create a login; raise ApiError with an id, for REST v2 changes none, or when one of that name is there."""
        if id is not None:
            raise ApiError(
                f"RunPod's REST v2 cannot change the registry login {name!r}",
                hint="use VIDCTL_CONTROL=graphql; or delete it in RunPod's console and create it again",
            )
        if any(login.name == name for login in self.registries()):
            raise ApiError(f"registry login {name!r} already exists", hint="run the same command again")
        login = {"name": name, "username": username, "password": password}
        return create_once(
            lambda: _registry(self._request("POST", "registries", login, hide=(password,))),
            lambda: next((login for login in self.registries() if login.name == name), None),
            what=f"registry login {name}",
            sleep=self._sleep,
        )

    def delete_registry(self, login: RegistryLogin) -> None:
        """Delete it; that it is already gone is fine."""
        self._delete(f"registries/{_quoted(login.id)}")

    def volumes(self) -> tuple[NetworkVolume, ...]:
        return tuple(
            NetworkVolume(
                id=read(node, "id", str, ""),
                name=read(node, "name", str, ""),
                data_center=read(node, "dataCenter", str, ""),
                size_gb=read(node, "size", int, 0),
            )
            for node in self._list("network-volumes", "networkVolumes")
        )

    def data_centers(self) -> tuple[str, ...]:
        return tuple(read(node, "id", str, "") for node in self._list("catalog/datacenters", "dataCenters"))

    def catalogue(self) -> Catalogue:
        """What each pool costs and has in stock now: of its cards the dearest, and the one that is there most."""
        pools: dict[str, list[Node]] = {}
        for node in self._list("catalog/gpus?include=AVAILABILITY&product=SERVERLESS", "gpus"):
            if pool := read(node, "pool", str, None):
                pools.setdefault(pool, []).append(node)
        return Catalogue(tuple(_offer(pool, cards) for pool, cards in pools.items()), as_of="live")

    def _create(self, endpoint: Endpoint) -> Endpoint:
        namesake = self._named(endpoint.name)
        if namesake is not None:
            raise ApiError(
                f"endpoint {endpoint.name} already exists: {namesake.id}",
                hint="run the same command again: it compares with the existing endpoint",
            )
        body = {"type": "QUEUE", **_body(endpoint)}
        return create_once(
            lambda: _endpoint(self._request("POST", "serverless", body, hide=endpoint.template.env.values())),
            lambda: self._named(endpoint.name),
            what=f"endpoint {endpoint.name}",
            sleep=self._sleep,
        )

    def _named(self, name: str) -> Endpoint | None:
        return next((endpoint for endpoint in self.account().endpoints if endpoint.name == name), None)

    def _refuse_countries(self, locations: Iterable[str]) -> None:
        countries = [location for location in locations if _COUNTRY.fullmatch(location)]
        if not countries:
            return
        there = [place for place in self.data_centers() if not set(place.split("-")).isdisjoint(countries)]
        raise RefusedError(
            f"RunPod's REST v2 takes data centers, not countries: {', '.join(countries)}",
            field="locations",
            hint=f"name data centers: {', '.join(there) or 'none there'}; or use VIDCTL_CONTROL=graphql",
        )

    def _list(self, path: str, key: str) -> list[Node]:
        """The whole list, all its pages; what comes again on a later page, as what moved does, counts once."""
        found: dict[object, Node] = {}
        seen: set[str] = set()
        page = path
        while True:
            response = self._request("GET", page)
            if key not in response:
                raise ApiError(f"invalid response from RunPod: missing list {key!r}", hint="check RUNPOD_API_BASE_URL")
            for node in nodes(response, key):
                found[read(node, "id", str, None) or len(found)] = node
            cursor = _next_cursor(response, key)
            if cursor is None:
                return list(found.values())
            if cursor in seen or len(seen) == _MOST_PAGES:
                raise ApiError(
                    f"invalid response from RunPod: the list of {key} never ends", hint="use VIDCTL_CONTROL=graphql"
                )
            seen.add(cursor)
            page = f"{path}{'&' if '?' in path else '?'}cursor={quote(cursor, safe='')}"

    def _delete(self, path: str) -> None:
        if (refusal := self._try_to_delete(path)) is not None:
            raise refusal

    def _try_to_delete(self, path: str) -> RefusedError | None:
        try:
            self._send("DELETE", path, None, ())
        except NotDeployedError:
            return None
        except RefusedError as refusal:
            return refusal
        return None

    def _request(self, method: str, path: str, body: Node | None = None, *, hide: Iterable[str] = ()) -> Node:
        try:
            response = self._send(method, path, body, hide)
        except NotDeployedError as error:
            if path.startswith("serverless/"):
                raise
            raise ApiError(f"no REST API at {self._url}/{path}", hint="check RUNPOD_API_BASE_URL") from error
        return node_of(response, "RunPod's REST API")

    def _send(self, method: str, path: str, body: Node | None, hide: Iterable[str]) -> Any:
        send = self._http.read if method == "GET" else self._http.write
        try:
            return send(method, f"{self._url}/{path}", body=body)
        except HttpError as error:
            if error.status not in (400, 409, 422):
                raise
            # From None: the error's own words may hold a value that must not be seen.
            raise _refusal(error.reason, error.status, hide) from None


def _refuse_models(endpoint: Endpoint, before: Endpoint | None) -> None:
    there = () if before is None else before.model_references
    if endpoint.model_references not in (None, there):
        raise RefusedError(
            "RunPod's REST v2 cannot change what its model cache holds",
            field="model_references",
            hint="run the same command again: it lists the alternatives",
        )


def _next_cursor(response: Node, key: str) -> str | None:
    """Where the next page begins, None on the last one (`pagination`: the service since autumn 2026, not the document).

    Raise ApiError when there is more and nothing says where: one page taken for all would make vidctl create what is
    there already.
    """
    rest = {name: value for name, value in response.items() if name != key}
    pages = part(response, "pagination")
    cursor: str | None = read(pages, "nextCursor", str, None)
    more = pages.get("hasNextPage")
    if cursor and more is not False:
        return cursor
    if more is False:
        del rest["pagination"]
    if sign := _sign_of_more(rest):
        raise ApiError(
            f"RunPod returned only a part of its {key}: {one_line(sign, 60)} says there is more",
            hint="upgrade vidctl, or use VIDCTL_CONTROL=graphql",
        )
    return None


def _sign_of_more(response: Node) -> str | None:
    """The name of the field that says that there are more pages, wherever it stands."""
    for name, value in response.items():
        if isinstance(value, dict):
            if sign := _sign_of_more(value):
                return f"{name}.{sign}"
        elif value and _MORE.search(name):
            return name
    return None


def _refusal(problem: Mapping[str, Any], status: int, hide: Iterable[str]) -> RefusedError:
    """An RFC 9457 problem in one sentence.

    Where a property is missing, RunPod lists every other one as unknown too: the missing one is what is wrong.
    """
    errors = problem.get("errors")
    lines = [line for line in errors if isinstance(line, str)] if isinstance(errors, list) else []
    lines.sort(key=lambda line: "missing propert" not in line)
    message = next(
        (words for words in (*lines, problem.get("detail"), problem.get("title")) if words), "no reason given"
    )
    return refused(str(message), field=_field(str(message)), hide=hide, status=status)


def _field(message: str) -> str | None:
    """Which value of ours it is about: by the pointer before the colon, else by the first name of one in the words."""
    pointed = _POINTED.match(message)
    pointer, words = pointed.groups() if pointed else ("", message)
    path = re.findall(r"[A-Za-z]+", pointer)
    for length in range(len(path), 0, -1):
        if field := _FIELDS.get(".".join(path[:length])):
            return field
    names = (".".join([*path, name]) for name in re.findall(r"[A-Za-z]+", words))
    return next((_FIELDS.get(name) or _KEYS[name] for name in names if name in _FIELDS or name in _KEYS), None)


def _changes(endpoint: Endpoint, live: Endpoint) -> Node:
    """What a PATCH must send to make `live` equal: fields that differ, and of an object (`gpu`, …) all that is ours.

    What is equal stays out: a name renames the endpoint's template, a volume or a flashboot may be more than ours.
    """
    there, wanted = _body(live), _body(endpoint)
    if _unordered(there) == _unordered(wanted):
        return {}  # another order alone is not written
    changes = {name: value for name, value in wanted.items() if value != there[name]}
    if "gpu" in changes and (endpoint.cuda_versions or live.min_cuda):
        # It excludes a list of versions, and must be cleared in the same PATCH.
        changes["gpu"].setdefault("minCudaVersion", "")
    return changes


def _unordered(value: Any) -> Any:
    """A value that is equal to another whose lists have another order, which REST v2 does not keep."""
    if isinstance(value, dict):
        return {name: _unordered(each) for name, each in value.items()}
    return frozenset(value) if isinstance(value, list) else value


def _body(endpoint: Endpoint) -> Node:
    template, pools, excluded = endpoint.template, *_split(endpoint.gpu_ids)
    is_by_requests = endpoint.scaler_type == "REQUEST_COUNT"
    # A queue that scales on requests has no idle timeout: 422 (RunPod's OpenAPI document, EndpointWorkers).
    idle = {} if is_by_requests else {"idleTimeout": endpoint.idle_timeout_s}
    return {
        "name": endpoint.name,
        "image": template.image,
        "args": template.docker_args,
        "disk": template.container_disk_gb,
        "env": template.env,
        "registry": template.registry_auth_id or None,
        "gpu": {
            "pools": pools,
            "excludedTypes": excluded,
            "count": endpoint.gpu_count,
            "allowedCudaVersions": list(endpoint.cuda_versions),
            **({"minCudaVersion": endpoint.min_cuda} if endpoint.min_cuda and not endpoint.cuda_versions else {}),
        },
        "workers": {"min": endpoint.workers_min, "max": endpoint.workers_max, **idle},
        "scaling": {
            "type": endpoint.scaler_type,
            "requestCount" if is_by_requests else "queueDelay": endpoint.scaler_value,
        },
        "dataCenterIds": list(endpoint.locations),
        "networkVolumes": [endpoint.network_volume_id] if endpoint.network_volume_id else [],
        "timeout": endpoint.execution_timeout_ms,
        "flashboot": "FLASHBOOT" if endpoint.flashboot else "OFF",
    }


def _split(gpu_ids: str) -> tuple[list[str], list[str]]:
    """Pools, and the types of card that are taken out of them."""
    parts = list(dict.fromkeys(part.strip() for part in gpu_ids.split(",") if part.strip()))
    return [part for part in parts if part[0] != "-"], [part[1:].strip() for part in parts if part[0] == "-"]


def _endpoint(node: Node) -> Endpoint:
    gpu, workers, scaling = (part(node, key) for key in ("gpu", "workers", "scaling"))
    is_by_requests = scaling.get("type") == "REQUEST_COUNT"
    excluded = [f"-{card}" for card in strings(gpu, "excludedTypes")]
    return Endpoint(
        id=read(node, "id", str, None),
        name=endpoint_name(node),
        template=_template(node),
        gpu_ids=",".join([*strings(gpu, "pools"), *excluded]),
        gpu_count=read(gpu, "count", int, 1),
        workers_min=read(workers, "min", int, 0),
        workers_max=read(workers, "max", int, 0),
        idle_timeout_s=read(workers, "idleTimeout", int, 0),
        execution_timeout_ms=read(node, "timeout", int, 0),
        scaler_type="REQUEST_COUNT" if is_by_requests else "QUEUE_DELAY",
        # A queue delay may be half a second here: rounded up, so that it is never taken for "at once".
        scaler_value=math.ceil(read(scaling, "requestCount" if is_by_requests else "queueDelay", (int, float), 0)),
        locations=tuple(strings(node, "dataCenterIds")),
        network_volume_id=next(iter(strings(node, "networkVolumes")), ""),
        cuda_versions=tuple(strings(gpu, "allowedCudaVersions")),
        min_cuda=read(gpu, "minCudaVersion", str, ""),
        flashboot=read(node, "flashboot", str, "OFF") != "OFF",
    )


def _template(node: Node) -> Template:
    env = part(node, "env")
    return Template(
        image=read(node, "image", str, ""),
        docker_args=read(node, "args", str, ""),
        container_disk_gb=read(node, "disk", int, 0),
        registry_auth_id=read(node, "registry", str, ""),
        env={name: read(env, name, str, "") for name in env},
    )


def _registry(node: Node) -> RegistryLogin:
    return RegistryLogin(id=read(node, "id", str, ""), name=read(node, "name", str, ""))


def _offer(pool: str, cards: list[Node]) -> Offer:
    prices = [read(part(card, "price"), "serverless", (int, float), None) for card in cards]
    stocks = [_STOCKS.index(card["availability"]) for card in cards if card.get("availability") in _STOCKS]
    return Offer(
        pool,
        price_per_hour=max((float(price) for price in prices if price is not None), default=None),
        stock=_STOCKS[max(stocks)] if stocks else None,
    )


def _quoted(thing_id: str | None) -> str:
    return quote(thing_id or "", safe="")
