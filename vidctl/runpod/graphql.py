"""RunPod's GraphQL control plane: read whole, merged with what is there, written whole.

The API answers HTTP 200 with `errors[]` for every failure but a bad key, and `saveEndpoint` resets fields that are not
sent (runpod/runpod-mcp src/tools/endpoint-gpus.ts), so a save carries every field that can be written, ours or not.
Values go in variables, never in the query text.  Field names: runpod/runpodctl internal/api, runpod-python
api/mutations, runpod-mcp; `containerRegistryCreds` is in none of them, but in several public programs that list logins.
"""

from __future__ import annotations

import dataclasses
import re
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Final, Literal

from vidctl.errors import ApiError, NotDeployedError, NotOwnedError, RefusedError
from vidctl.progress import Notify, silent
from vidctl.runpod import gpus
from vidctl.runpod.failures import HttpError, refused
from vidctl.runpod.graphql_wire import (
    ENDPOINT_SCALARS,
    TEMPLATE_SCALARS,
    echo,
    endpoint_input,
    endpoint_of,
    env_of,
    login_of,
    template_input,
    template_of,
)
from vidctl.runpod.http import Http
from vidctl.runpod.reading import Node, endpoint_name, node_of, nodes, read
from vidctl.runpod.types import (
    STAMP,
    Account,
    Balance,
    Catalogue,
    Endpoint,
    NetworkVolume,
    Offer,
    RegistryLogin,
    Template,
)
from vidctl.runpod.waiting import Sleep, create_once, delete_when_released, is_in_use, settled

_TEMPLATE: Final = f"{' '.join(TEMPLATE_SCALARS)} env {{ key value }}"
_ENDPOINT: Final = f"{' '.join(ENDPOINT_SCALARS)} networkVolumeIds {{ networkVolumeId }}"

ACCOUNT: Final = f"""
query Account($withBalance: Boolean!) {{
  myself {{
    clientBalance @include(if: $withBalance)
    endpoints {{ {_ENDPOINT} }}
    podTemplates {{ {_TEMPLATE} }}
  }}
}}
"""
# runpodctl internal/api/graphql.go; REST v2 has none of it.
BALANCE: Final = "query Balance { myself { clientBalance currentSpendPerHr spendLimit } }"
TEMPLATES: Final = f"query Templates {{ myself {{ podTemplates {{ {_TEMPLATE} }} }} }}"
SAVE_TEMPLATE: Final = (
    f"mutation SaveTemplate($input: SaveTemplateInput!) {{ saveTemplate(input: $input) {{ {_TEMPLATE} }} }}"
)
SAVE_ENDPOINT: Final = (
    f"mutation SaveEndpoint($input: EndpointInput!) {{ saveEndpoint(input: $input) {{ {_ENDPOINT} }} }}"
)
DELETE_ENDPOINT: Final = "mutation DeleteEndpoint($id: String!) { deleteEndpoint(id: $id) }"
DELETE_TEMPLATE: Final = "mutation DeleteTemplate($name: String!) { deleteTemplate(templateName: $name) }"
REGISTRIES: Final = "query Registries { myself { containerRegistryCreds { id name } } }"
# The names of these inputs' types are published nowhere, so the variables are their fields.
SAVE_REGISTRY: Final = """
mutation SaveRegistry($name: String!, $username: String!, $password: String!) {
  saveRegistryAuth(input: {name: $name, username: $username, password: $password}) { id name }
}
"""
UPDATE_REGISTRY: Final = """
mutation UpdateRegistry($id: String!, $username: String!, $password: String!) {
  updateRegistryAuth(input: {id: $id, username: $username, password: $password}) { id name }
}
"""
DELETE_REGISTRY: Final = "mutation DeleteRegistry($id: String!) { deleteRegistryAuth(registryAuthId: $id) }"
VOLUMES: Final = "query Volumes { myself { networkVolumes { id name size dataCenterId } } }"
DATA_CENTERS: Final = "query DataCenters { dataCenters { id } }"

# RunPod docs, serverless/workers/overview: workers over all endpoints at most, by US dollars of balance.
_WORKER_QUOTAS: Final = ((900, 60), (700, 50), (500, 40), (300, 30), (200, 20), (100, 10))
_LEAST_WORKER_QUOTA: Final = 5

# What of a question's errors is worth asking again for (runpod/flash src/runpod_flash/core/api/runpod.py).
_PASSING: Final = re.compile(
    r"try again later|internal server error|service unavailable|too many requests|temporarily unavailable",
    re.IGNORECASE,
)
_PASSING_PAUSES_S: Final = (1, 3)

_FIELDS: Final = {
    "imageName": "image",
    "dockerArgs": "docker_args",
    "containerDiskInGb": "container_disk_gb",
    "containerRegistryAuthId": "registry_auth_id",
    "gpuIds": "gpu_ids",
    "gpuCount": "gpu_count",
    "workersMin": "workers_min",
    "workersMax": "workers_max",
    "worker concurrency": "workers_max",
    "idleTimeout": "idle_timeout_s",
    "executionTimeoutMs": "execution_timeout_ms",
    "scalerType": "scaler_type",
    "scalerValue": "scaler_value",
    "locations": "locations",
    "networkVolumeId": "network_volume_id",
    "allowedCudaVersions": "cuda_versions",
    "minCudaVersion": "min_cuda",
    "flashBootType": "flashboot",
    "modelReferences": "model_references",
    "input.env": "env",
    "input.name": "name",
}
_FIELD: Final = re.compile("|".join(rf"\b{re.escape(field)}\b" for field in _FIELDS))


@dataclass(frozen=True)
class _Live:
    """What the account holds, as RunPod says it, by id."""

    endpoints: Mapping[str, Node]
    templates: Mapping[str, Node]
    balance: float | None

    def value(self, node: Node) -> Endpoint:
        """The endpoint; one whose template is not shown is seen to have no image, so that it is not taken for equal."""
        template_id = read(node, "templateId", str, "")
        template = self.templates.get(template_id)
        return endpoint_of(node, template_of(template) if template else Template(image="", id=template_id or None))

    def template_named(self, name: str) -> Node | None:
        return next((node for node in self.templates.values() if node.get("name") == name), None)

    def users(self, template_id: str | None, *, but: str | None) -> list[str]:
        """The names of the endpoints that use a template, `but` one."""
        return [
            endpoint_name(node)
            for endpoint_id, node in self.endpoints.items()
            if node.get("templateId") == template_id and endpoint_id != but
        ]


class GraphQL:
    """One account at one base URL, e.g. `https://api.runpod.io`."""

    plane: Final[Literal["graphql"]] = "graphql"
    has_graphql: Final = True

    def __init__(self, http: Http, base_url: str, *, notify: Notify = silent, sleep: Sleep = time.sleep) -> None:
        self._http = http
        self._url = f"{base_url}/graphql"
        self._notify = notify
        self._sleep = sleep

    def account(self) -> Account:
        """All endpoints with their templates; one request, or two with a key that may not see the balance."""
        try:
            live = self._look(with_balance=True)
        except RefusedError:
            live = self._look()
        endpoints, templates = map(live.value, live.endpoints.values()), map(template_of, live.templates.values())
        return Account(tuple(endpoints), _worker_quota(live.balance), tuple(templates))

    def balance(self) -> Balance:
        """The account's money; raise RefusedError for a key that may not see it."""
        myself = self._myself(BALANCE)
        found = (_dollars(myself, field) for field in ("clientBalance", "currentSpendPerHr", "spendLimit"))
        return Balance(*found)

    def save(self, endpoint: Endpoint, *, before: Endpoint | None) -> Endpoint:
        """Create it, or make the endpoint with the id of `before` equal to it; return it as RunPod now says it is.

        Only the template or the endpoint that differs is written.  Raise ApiError when an endpoint of that name
        appeared meanwhile, NotOwnedError when its template's name belongs to another.
        """
        live = self._look()
        if before is None:
            return self._create(endpoint, live)
        node = live.endpoints.get(before.id or "")
        if node is None:
            raise ApiError(f"endpoint {before.name} ({before.id}) no longer exists", hint="run the same command again")
        template = self._save_template(endpoint.template, live, used_by=before.id)
        now = endpoint_of(node, template)
        models = now.model_references if endpoint.model_references is None else endpoint.model_references
        wanted = dataclasses.replace(endpoint, id=now.id, template=template, model_references=models)
        if node.get("templateId") == template.id and now == wanted:
            return now
        return endpoint_of(self._save("Endpoint", {**echo(node), **endpoint_input(endpoint, template, node)}), template)

    def delete(self, endpoint: Endpoint) -> None:
        """Delete the endpoint, then its template if that carries vidctl's stamp and RunPod lets go of it at once.

        What is already gone is fine; `delete_template` waits for the template.
        """
        live = self._look()
        node = live.endpoints.get(endpoint.id or "")
        if node is not None:
            self._delete_endpoint(node)
        template = live.template_named(endpoint.template.name)
        if template and STAMP in env_of(template) and not live.users(template.get("id"), but=endpoint.id):
            self._try_to_delete(template_of(template))

    def templates(self) -> tuple[Template, ...]:
        return tuple(map(template_of, nodes(self._myself(TEMPLATES), "podTemplates")))

    def delete_template(self, template: Template) -> None:
        """Delete it by its name; that it is already gone is fine."""
        delete_when_released(
            lambda: self._try_to_delete(template),
            what=f"template {template.name}",
            notify=self._notify,
            sleep=self._sleep,
        )

    def registries(self) -> tuple[RegistryLogin, ...]:
        return tuple(map(login_of, nodes(self._myself(REGISTRIES), "containerRegistryCreds")))

    def save_registry(self, name: str, username: str, password: str, *, id: str | None = None) -> RegistryLogin:  # noqa: A002  the protocol's name
        """Create a login, or with an id replace what it says; raise ApiError when one of that name is there."""
        login = {"username": username, "password": password}
        if id is not None:
            return login_of(self._done("updateRegistryAuth", UPDATE_REGISTRY, {"id": id, **login}, hide=(password,)))
        if any(login.name == name for login in self.registries()):
            raise ApiError(f"registry login {name!r} already exists", hint="run the same command again")
        return create_once(
            lambda: login_of(self._done("saveRegistryAuth", SAVE_REGISTRY, {"name": name, **login}, hide=(password,))),
            lambda: next((login for login in self.registries() if login.name == name), None),
            what=f"registry login {name}",
            sleep=self._sleep,
        )

    def delete_registry(self, login: RegistryLogin) -> None:
        """Delete it; that it is already gone is fine."""
        try:
            self._request("write", DELETE_REGISTRY, {"id": login.id})
        except RefusedError:
            if not self._is_gone(lambda: all(other.id != login.id for other in self.registries())):
                raise

    def volumes(self) -> tuple[NetworkVolume, ...]:
        return tuple(
            NetworkVolume(
                id=read(node, "id", str, ""),
                name=read(node, "name", str, ""),
                data_center=read(node, "dataCenterId", str, ""),
                size_gb=read(node, "size", int, 0),
            )
            for node in nodes(self._myself(VOLUMES), "networkVolumes")
        )

    def data_centers(self) -> tuple[str, ...]:
        return tuple(read(node, "id", str, "") for node in nodes(self._request("read", DATA_CENTERS), "dataCenters"))

    def catalogue(self) -> Catalogue:
        """The table that vidctl ships: GraphQL has no prices of pools."""
        offers = tuple(Offer(pool.id, pool.price_per_hour) for pool in gpus.POOLS)
        return Catalogue(offers, as_of=gpus.PRICED_ON)

    def _look(self, *, with_balance: bool = False) -> _Live:
        myself = self._myself(ACCOUNT, {"withBalance": with_balance})
        return _Live(
            endpoints=_by_id(nodes(myself, "endpoints")),
            templates=_by_id(nodes(myself, "podTemplates")),
            balance=_dollars(myself, "clientBalance"),
        )

    def _create(self, endpoint: Endpoint, live: _Live) -> Endpoint:
        namesake = _named(live, endpoint.name)
        if namesake is not None:
            raise ApiError(
                f"endpoint {endpoint.name} already exists: {namesake.get('id')}",
                hint="run the same command again: it compares with the existing endpoint",
            )
        template = self._save_template(endpoint.template, live, used_by=None)
        node = create_once(
            lambda: self._save("Endpoint", endpoint_input(endpoint, template)),
            lambda: _named(self._look(), endpoint.name),
            what=f"endpoint {endpoint.name}",
            sleep=self._sleep,
        )
        return endpoint_of(node, template)

    def _save_template(self, template: Template, live: _Live, *, used_by: str | None) -> Template:
        """Make the template of this name be so, or create it; raise NotOwnedError when it belongs to another."""
        node = live.template_named(template.name)
        if node is None:
            return self._create_template(template)
        now, others = template_of(node), live.users(node.get("id"), but=used_by)
        is_in_place = used_by is not None and live.endpoints[used_by].get("templateId") == now.id
        if not is_in_place and now.env.get(STAMP) != template.env.get(STAMP, ""):
            raise NotOwnedError(
                f"template {template.name} already exists and belongs to another spec",
                hint="rename or delete it in RunPod's console, or give the spec another name",
            )
        if now == dataclasses.replace(template, id=now.id):
            return now
        if others:
            raise NotOwnedError(
                f"template {template.name} is also used by {', '.join(others)}",
                hint="give the other endpoint a template of its own in RunPod's console",
            )
        kept = {field: node[field] for field in TEMPLATE_SCALARS if node.get(field) is not None}
        return template_of(self._save("Template", {**kept, **template_input(template)}, hide=template.env.values()))

    def _create_template(self, template: Template) -> Template:
        # volumeInGb, dockerArgs and env must be there even when empty (runpod/pulumi-runpod-native#18).
        new = {"volumeInGb": 0, "isServerless": True, **template_input(template)}
        node = create_once(
            lambda: self._save("Template", new, hide=template.env.values()),
            lambda: self._look().template_named(template.name),
            what=f"template {template.name}",
            sleep=self._sleep,
        )
        return template_of(node)

    def _delete_endpoint(self, node: Node) -> None:
        if (node.get("workersMin"), node.get("workersMax")) != (0, 0):
            # RunPod docs, sdks/graphql/manage-endpoints: only an endpoint without workers can be deleted.
            self._save("Endpoint", {**echo(node), "workersMin": 0, "workersMax": 0})
        try:
            self._request("write", DELETE_ENDPOINT, {"id": node["id"]})
        except RefusedError:
            if not self._is_gone(lambda: node["id"] not in self._look().endpoints):
                raise

    def _is_gone(self, look: Callable[[], bool]) -> bool:
        """Whether what RunPod refuses to delete is not there any more, which it may show late."""
        return settled(look, bool, sleep=self._sleep)

    def _try_to_delete(self, template: Template) -> RefusedError | None:
        try:
            self._request("write", DELETE_TEMPLATE, {"name": template.name})
        except RefusedError as refusal:
            if is_in_use(refusal):
                return refusal
            is_gone = self._is_gone(lambda: all(other.name != template.name for other in self.templates()))
            return None if is_gone else refusal
        return None

    def _save(self, kind: Literal["Template", "Endpoint"], given: Node, *, hide: Iterable[str] = ()) -> Node:
        document = SAVE_TEMPLATE if kind == "Template" else SAVE_ENDPOINT
        return self._done(f"save{kind}", document, {"input": given}, hide=hide)

    def _done(self, mutation: str, document: str, variables: Node, *, hide: Iterable[str] = ()) -> Node:
        return _object(self._request("write", document, variables, hide=hide), mutation)

    def _myself(self, document: str, variables: Node | None = None) -> Node:
        return _object(self._request("read", document, variables), "myself")

    def _request(
        self, kind: Literal["read", "write"], document: str, variables: Node | None = None, *, hide: Iterable[str] = ()
    ) -> Node:
        pauses_s = iter(_PASSING_PAUSES_S if kind == "read" else ())
        while problem := _problem(response := self._send(kind, document, variables or {}), hide):
            pause_s = next(pauses_s, None)
            if pause_s is None or not _PASSING.search(problem.message):
                raise problem
            self._sleep(pause_s)
        return _object(response, "data")

    def _send(self, kind: Literal["read", "write"], document: str, variables: Node) -> Node:
        send = self._http.read if kind == "read" else self._http.write
        try:
            response = send("POST", self._url, body={"query": document, "variables": variables})
        except NotDeployedError as error:
            raise ApiError(f"no GraphQL API at {self._url}", hint="check RUNPOD_API_BASE_URL") from error
        except HttpError as error:
            # GraphQL servers may answer bad variables with 400; 5xx says nothing of what was done.
            if error.status == 400 and error.reason.get("errors"):
                return dict(error.reason)
            raise
        return node_of(response, "RunPod's GraphQL API")


def _problem(response: Node, hide: Iterable[str]) -> RefusedError | None:
    errors = response.get("errors")
    if not errors:
        return None
    error = errors[0] if isinstance(errors, list) else errors
    node = error if isinstance(error, dict) else {"message": error}
    message, path = str(node.get("message") or "an error without a message"), str(node.get("path") or "")
    found = _FIELD.search(message) or _FIELD.search(path)
    return refused(message, field=_FIELDS[found[0]] if found else None, hide=hide)


def _worker_quota(balance: float | None) -> int | None:
    if balance is None:
        return None
    return next((quota for dollars, quota in _WORKER_QUOTAS if balance >= dollars), _LEAST_WORKER_QUOTA)


def _dollars(myself: Node, field: str) -> float | None:
    dollars = myself.get(field)
    return dollars if isinstance(dollars, (int, float)) else None


def _named(live: _Live, name: str) -> Node | None:
    return next((node for node in live.endpoints.values() if endpoint_name(node) == name), None)


def _by_id(nodes: Iterable[Node]) -> dict[str, Node]:
    return {read(node, "id", str, ""): node for node in nodes}


def _object(response: Node, key: str) -> Node:
    value = response.get(key)
    if not isinstance(value, dict):
        raise ApiError(
            f"invalid response from RunPod: missing {key!r}",
            hint="run the same command again: it may have been deleted",
        )
    return value
