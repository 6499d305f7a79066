"""RunPod's REST v2 control plane: an endpoint holds its container, and a change sends what is ours.

Request bodies are closed: a field that RunPod does not know is a 422.  What a PATCH leaves out stays, but the maps and
lists in it replace; what a POST leaves out gets defaults that are not the documented ones (an omitted `timeout` was
seen to be stored as 0: runpod/runpod-plugins-official), so a create sends everything that is ours, a change
what differs.  Field names: RunPod's OpenAPI document, version 2.0.0.
"""

from __future__ import annotations

import dataclasses
import re
import time
from collections.abc import Iterable
from typing import Any, Final, Literal
from urllib.parse import quote

from vidctl.errors import ApiError, NotDeployedError, RefusedError
from vidctl.progress import Notify, silent
from vidctl.runpod.failures import HttpError
from vidctl.runpod.http import Http
from vidctl.runpod.reading import Node, node_of, nodes, part, read
from vidctl.runpod.rest_wire import (
    endpoint_changes,
    endpoint_input,
    endpoint_of,
    login_of,
    offer_of,
    refusal_of,
    template_of,
)
from vidctl.runpod.types import Account, Catalogue, Endpoint, NetworkVolume, RegistryLogin, Template
from vidctl.runpod.waiting import Sleep, create_once, delete_when_released
from vidctl.text import one_line

_MORE: Final = re.compile(r"cursor|next|more", re.IGNORECASE)
_MOST_PAGES: Final = 1_000  # a list that goes on longer does not end
_COUNTRY: Final = re.compile(r"[A-Z]{2}")


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
        return Account(tuple(map(endpoint_of, self._list("serverless", "endpoints"))))

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
            if not (changes := endpoint_changes(endpoint, endpoint_of(node))):
                return endpoint_of(node)
            return endpoint_of(self._request("PATCH", path, changes, hide=endpoint.template.env.values()))
        except NotDeployedError as error:
            raise ApiError(
                f"endpoint {before.name} ({before.id}) no longer exists", hint="run the same command again"
            ) from error

    def delete(self, endpoint: Endpoint) -> None:
        """Delete the endpoint, and with it its workers and its template; that it is already gone is fine."""
        self._delete(f"serverless/{_quoted(endpoint.id)}")

    def templates(self) -> tuple[Template, ...]:
        return tuple(
            dataclasses.replace(template_of(node), name=read(node, "name", str, ""), id=read(node, "id", str, None))
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
        return tuple(map(login_of, self._list("registries", "registries")))

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
            lambda: login_of(self._request("POST", "registries", login, hide=(password,))),
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
        return Catalogue(tuple(offer_of(pool, cards) for pool, cards in pools.items()), as_of="live")

    def _create(self, endpoint: Endpoint) -> Endpoint:
        namesake = self._named(endpoint.name)
        if namesake is not None:
            raise ApiError(
                f"endpoint {endpoint.name} already exists: {namesake.id}",
                hint="run the same command again: it compares with the existing endpoint",
            )
        body = {"type": "QUEUE", **endpoint_input(endpoint)}
        return create_once(
            lambda: endpoint_of(self._request("POST", "serverless", body, hide=endpoint.template.env.values())),
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
            raise refusal_of(error.reason, error.status, hide) from None


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


def _quoted(thing_id: str | None) -> str:
    return quote(thing_id or "", safe="")
