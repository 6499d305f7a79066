"""RunPod's REST v2 control plane over the registry: the same templates and endpoints that GraphQL shows.

Paths, statuses and headers are those of RunPod's OpenAPI document 2.0.0; what the service does and the document does
not say is in runpod.md §2.  Whether an image exists is not looked up: a worker's folder is an image here.
"""

from __future__ import annotations

import asyncio
import hmac
import json
import time
import uuid
from dataclasses import replace
from http import HTTPStatus
from math import isfinite
from typing import TYPE_CHECKING, Any, Final, NoReturn, TypeVar

from starlette.applications import Starlette
from starlette.datastructures import MutableHeaders
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route

from vidctl.local import wire
from vidctl.local.control_plane import log_stream, rest_catalog, rest_schema, rest_wire
from vidctl.local.control_plane.catalog import STORAGE_CENTERS
from vidctl.local.control_plane.records import EndpointRecord, NetworkVolumeRecord, RegistryAuthRecord, TemplateRecord
from vidctl.local.control_plane.registry import RegistryError
from vidctl.local.control_plane.rest_wire import Json, ProblemError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from starlette.types import ASGIApp, Message, Receive, Scope, Send

    from vidctl.local.control_plane.registry import Registry
    from vidctl.local.control_plane.rest_schema import Schema
    from vidctl.local.workers.fleet import Fleets

    Handler = Callable[[Request], Awaitable[Response]]

_T = TypeVar("_T")
_R = TypeVar("_R", EndpointRecord, TemplateRecord, RegistryAuthRecord, NetworkVolumeRecord)

PAGE_SIZE: Final = 100  # of a list; RunPod's own is not published

# No endpoint has one of these as its id, which is random: the job API lives at /v2/{endpoint_id}.
_RESOURCES: Final = frozenset({"serverless", "templates", "registries", "network-volumes", "catalog"})
_BODY_BYTES: Final = 10 << 20
_POSITION_DIGITS: Final = 9
_MAX_INT: Final = 2**31 - 1
# RunPod's quota as its OpenAPI document shows it.  Nobody counts here, so all of it is always left.
_QUOTA: Final = (("minute", 60, 60), ("hour", 3_000, 3_600), ("day", 50_000, 86_400))
_RATE_LIMIT: Final = ", ".join(f'"{window}";r={count};t={seconds}' for window, count, seconds in _QUOTA)
_RATE_LIMIT_POLICY: Final = ", ".join(f'"{window}";q={count};w={seconds}' for window, count, seconds in _QUOTA)


class ControlPlane:
    """Answers what is REST v2's, and passes everything else on to `otherwise`."""

    def __init__(
        self,
        otherwise: ASGIApp,
        *,
        registry: Registry,
        fleets: Fleets,
        closing: asyncio.Event,
        url: str,
        api_key: str,
        page_size: int = PAGE_SIZE,
    ) -> None:
        self._otherwise = otherwise
        self._registry = registry
        self._fleets = fleets
        self._closing = closing
        self._url = url
        self._page_size = page_size
        self._api_key = api_key.encode()
        self._app = Starlette(routes=self._routes(), exception_handlers=_ERRORS)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or not _is_ours(scope["path"]):
            await self._otherwise(scope, receive, send)
            return
        headers = {"x-request-id": str(uuid.uuid4())}
        given = next((value for name, value in scope["headers"] if name == b"authorization"), b"")
        scheme, _, key = given.partition(b" ")
        is_bearer = scheme.lower() == b"bearer"
        if not (is_bearer and hmac.compare_digest(key.strip(), self._api_key)):
            detail = "invalid bearer token" if is_bearer else "missing bearer token"
            await _problem(ProblemError(401, detail))(scope, receive, _with_headers(send, headers))
            return
        headers |= {"RateLimit": _RATE_LIMIT, "RateLimit-Policy": _RATE_LIMIT_POLICY}
        await self._app(scope, receive, _with_headers(send, headers))

    def _routes(self) -> list[Route]:
        endpoint, template, volume, login = (
            f"/v2/{resource}/{{id}}" for resource in ("serverless", "templates", "network-volumes", "registries")
        )
        return [
            _route("/v2/serverless", GET=self._list_endpoints, POST=self._create_endpoint),
            _route(endpoint, GET=self._get_endpoint, PATCH=self._update_endpoint, DELETE=self._delete_endpoint),
            _route(f"{endpoint}/workers", GET=self._list_workers),
            _route(f"{endpoint}/workers/{{worker_id}}/logs", GET=self._stream_logs),
            _route(f"{endpoint}/releases", GET=self._list_releases),
            _route("/v2/templates", GET=self._list_templates, POST=self._create_template),
            _route(template, GET=self._get_template, PATCH=self._update_template, DELETE=self._delete_template),
            _route("/v2/registries", GET=self._list_registries, POST=self._create_registry),
            _route(login, GET=self._get_registry, DELETE=self._delete_registry),
            _route("/v2/network-volumes", GET=self._list_volumes, POST=self._create_volume),
            _route(volume, GET=self._get_volume, PATCH=self._update_volume, DELETE=self._delete_volume),
            _route("/v2/catalog/gpus", GET=_list_gpus),
            _route("/v2/catalog/gpus/{id}", GET=_get_gpu),
            _route("/v2/catalog/datacenters", GET=_list_data_centers),
            _route("/v2/catalog/datacenters/{id}", GET=_get_data_center),
        ]

    def _page(self, request: Request, things: Sequence[_R]) -> tuple[Sequence[_R], Json]:
        """The page that a request asks for, and what stands beside it.  A cursor is its own page's end, and what is
        there: where that is gone meanwhile, a page begins early, so that nothing is left out.
        """
        start = 0
        if cursor := request.query_params.get("cursor"):
            position, _, last = cursor.partition("-")
            if not position.isdecimal() or not position.isascii() or len(position) > _POSITION_DIGITS:
                raise ProblemError(400, "invalid cursor")
            after = (index for index, thing in enumerate(things, 1) if thing.id == last)
            start = next(after, max(0, int(position) - self._page_size))
        end = start + self._page_size
        page, more = things[start:end], end < len(things)
        following = f"{end}-{page[-1].id}" if more else None
        return page, {"pagination": {"hasNextPage": more, "nextCursor": following}}

    # Endpoints

    async def _list_endpoints(self, request: Request) -> Response:
        endpoints, pagination = self._page(request, self._registry.endpoints())
        return _json({"endpoints": [self._shown(endpoint) for endpoint in endpoints], **pagination})

    async def _create_endpoint(self, request: Request) -> Response:
        body = await _body(request, rest_schema.CREATE_ENDPOINT)
        template = self._named_template(body)
        # The document says that `timeout` has a default of 300000 and the service stores 0 (runpod.md §2.4).
        fresh = EndpointRecord(id="", name="", template_id="", execution_timeout_ms=0)
        if template is not None and "minCudaVersion" not in body.get("gpu", {}):
            fresh = replace(fresh, allowed_cuda_versions=",".join(template.allowed_cuda_versions))
        return _json(self._save(body, fresh, TemplateRecord(id="", name="", image_name=""), template), 201)

    async def _get_endpoint(self, request: Request) -> Response:
        return _json(self._shown(self._endpoint(request)))

    async def _update_endpoint(self, request: Request) -> Response:
        before = self._endpoint(request)
        body = await _body(request, rest_schema.UPDATE_ENDPOINT)
        return _json(self._save(body, before, self._template_of(before), self._named_template(body)))

    async def _delete_endpoint(self, request: Request) -> Response:
        self._registry.delete_endpoint(self._endpoint(request).id, with_template=True)
        return Response(status_code=204)

    def _save(
        self, body: Json, before: EndpointRecord, container: TemplateRecord, template: TemplateRecord | None
    ) -> Json:
        endpoint = rest_wire.endpoint(body, before)
        rest_wire.check_volumes(body, endpoint, self._registry.network_volume)
        self._check_registry(body)
        container = rest_wire.container(body, container, template)
        return self._shown(self._registry.save_with_container(endpoint, container))

    def _named_template(self, body: Json) -> TemplateRecord | None:
        """The template that a body takes its settings from, if it names one."""
        if "templateId" not in body:
            return None
        template = self._registry.template(body["templateId"])
        if template is None:
            raise ProblemError(404, "template not found")
        if not template.is_serverless:
            raise ProblemError(422, "the template is not a serverless template")
        return template

    def _check_registry(self, body: Json) -> None:
        if body.get("registry") and self._registry.registry_auth(body["registry"]) is None:
            raise ProblemError(400, f"container registry credential {body['registry']} not found")

    def _endpoint(self, request: Request) -> EndpointRecord:
        return _found(self._registry.endpoint(request.path_params["id"]), "endpoint")

    def _template_of(self, endpoint: EndpointRecord) -> TemplateRecord:
        return _found(self._registry.template(endpoint.template_id), "template")

    def _shown(self, endpoint: EndpointRecord) -> Json:
        return rest_wire.endpoint_json(endpoint, self._template_of(endpoint), self._url)

    async def _list_workers(self, request: Request) -> Response:
        endpoint = self._endpoint(request)
        shown = self._fleets[endpoint.id].shown()
        return _json(rest_wire.workers_json(endpoint, shown, int(time.time() * 1000)))

    async def _list_releases(self, request: Request) -> Response:
        endpoint = self._endpoint(request)
        versions = [worker.version for worker, _ in self._fleets[endpoint.id].shown()]
        return _json(rest_wire.releases_json(endpoint, self._registry.releases(endpoint.id), versions))

    async def _stream_logs(self, request: Request) -> Response:
        known = self._fleets[self._endpoint(request).id].known()
        log = next((worker.log for worker in known if worker.id == request.path_params["worker_id"]), None)
        wanted = log_stream.read_request(request.query_params, request.headers.get("last-event-id"))
        stream = await log_stream.open_stream(_found(log, "worker"), wanted, self._closing)
        headers = {"Cache-Control": "no-cache", "X-Accel-Buffering": "no"}
        return StreamingResponse(stream, headers=headers, media_type="text/event-stream")

    # Templates

    async def _list_templates(self, request: Request) -> Response:
        templates, pagination = self._page(request, self._registry.templates())
        return _json({"templates": [rest_wire.template_json(template) for template in templates], **pagination})

    async def _create_template(self, request: Request) -> Response:
        body = await _body(request, rest_schema.CREATE_TEMPLATE)
        self._check_registry(body)
        fresh = TemplateRecord(id="", name="", image_name="", is_serverless=False)
        return _json(rest_wire.template_json(self._registry.save_template(rest_wire.template(body, fresh))), 201)

    async def _get_template(self, request: Request) -> Response:
        return _json(rest_wire.template_json(self._template(request)))

    async def _update_template(self, request: Request) -> Response:
        before = self._template(request)
        body = await _body(request, rest_schema.UPDATE_TEMPLATE)
        self._check_registry(body)
        return _json(rest_wire.template_json(self._registry.save_template(rest_wire.template(body, before))))

    async def _delete_template(self, request: Request) -> Response:
        self._registry.delete_template(self._template(request).name)
        return Response(status_code=204)

    def _template(self, request: Request) -> TemplateRecord:
        return _found(self._registry.template(request.path_params["id"]), "template")

    # Registry credentials

    async def _list_registries(self, request: Request) -> Response:
        logins, pagination = self._page(request, self._registry.registry_auths())
        return _json({"registries": [rest_wire.registry_json(login) for login in logins], **pagination})

    async def _create_registry(self, request: Request) -> Response:
        body = await _body(request, rest_schema.CREATE_REGISTRY)
        return _json(rest_wire.registry_json(self._registry.save_registry_auth(RegistryAuthRecord(id="", **body))), 201)

    async def _get_registry(self, request: Request) -> Response:
        return _json(rest_wire.registry_json(self._login(request)))

    async def _delete_registry(self, request: Request) -> Response:
        self._registry.delete_registry_auth(self._login(request).id)
        return Response(status_code=204)

    def _login(self, request: Request) -> RegistryAuthRecord:
        return _found(self._registry.registry_auth(request.path_params["id"]), "registry")

    # Network volumes

    async def _list_volumes(self, request: Request) -> Response:
        volumes, pagination = self._page(request, self._registry.network_volumes())
        return _json({"networkVolumes": [rest_wire.volume_json(volume) for volume in volumes], **pagination})

    async def _create_volume(self, request: Request) -> Response:
        body = await _body(request, rest_schema.CREATE_VOLUME)
        if body["dataCenter"] not in STORAGE_CENTERS:
            supported = ", ".join(STORAGE_CENTERS)
            raise ProblemError(400, f"data center {body['dataCenter']} has no network volumes; supported: {supported}")
        volume = NetworkVolumeRecord(
            id="",
            name=body["name"],
            size_gb=body["size"],
            data_center=body["dataCenter"],
            type=body.get("type", "STANDARD"),
        )
        return _json(rest_wire.volume_json(self._registry.save_network_volume(volume)), 201)

    async def _get_volume(self, request: Request) -> Response:
        return _json(rest_wire.volume_json(self._volume(request)))

    async def _update_volume(self, request: Request) -> Response:
        before = self._volume(request)
        body = await _body(request, rest_schema.UPDATE_VOLUME)
        after = replace(before, name=body.get("name", before.name), size_gb=body.get("size", before.size_gb))
        if after.size_gb < before.size_gb:
            raise ProblemError(400, f"size cannot be reduced: it is {before.size_gb} GB")
        return _json(rest_wire.volume_json(self._registry.save_network_volume(after)))

    async def _delete_volume(self, request: Request) -> Response:
        self._registry.delete_network_volume(self._volume(request).id)
        return Response(status_code=204)

    def _volume(self, request: Request) -> NetworkVolumeRecord:
        return _found(self._registry.network_volume(request.path_params["id"]), "network volume")


async def _list_gpus(request: Request) -> Response:
    return _json(rest_catalog.gpus(request.query_params))


async def _get_gpu(request: Request) -> Response:
    return _json(rest_catalog.gpu(request.path_params["id"], request.query_params))


async def _list_data_centers(request: Request) -> Response:
    return _json(rest_catalog.data_centers(request.query_params))


async def _get_data_center(request: Request) -> Response:
    return _json(rest_catalog.data_center(request.path_params["id"], request.query_params))


def _is_ours(path: str) -> bool:
    _, _, rest = path.partition("/v2/")
    return path.startswith("/v2/") and rest.partition("/")[0] in _RESOURCES


def _route(path: str, **handlers: Handler) -> Route:
    async def handle(request: Request) -> Response:
        return await handlers["GET" if request.method == "HEAD" else request.method](request)

    return Route(path, handle, methods=list(handlers))


def _found(record: _T | None, what: str) -> _T:
    if record is None:
        raise ProblemError(404, f"{what} not found")
    return record


async def _body(request: Request, schema: Schema) -> Json:
    """The request's body, as the schema wants it; raise ProblemError otherwise."""
    data = bytearray()
    async for chunk in request.stream():
        data += chunk
        if len(data) > _BODY_BYTES:
            raise ProblemError(413, "request body is too large")
    try:
        body = json.loads(data, parse_constant=_refuse, parse_float=_number, parse_int=_integer)
        json.dumps(body, ensure_ascii=False).encode()  # half a surrogate pair can be read and not be kept
    except (ValueError, RecursionError) as error:
        raise ProblemError(400, "request body is not valid JSON") from error
    if errors := list(rest_schema.violations(schema, body)):
        raise ProblemError(422, "Request validation failed.", errors)
    return dict(body)


def _refuse(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")


def _integer(text: str) -> int:
    """RunPod's numbers have 32 bits."""
    number = int(text)
    if abs(number) > _MAX_INT:
        raise ValueError(f"{text} is out of range")
    return number


def _number(text: str) -> float:
    """In JSON 3.0 is an integer."""
    number = float(text)
    if not isfinite(number) or abs(number) > _MAX_INT:
        raise ValueError(f"{text} is out of range")
    return int(number) if number.is_integer() else number


def _with_headers(send: Send, headers: dict[str, str]) -> Send:
    async def send_with_headers(message: Message) -> None:
        if message["type"] == "http.response.start":
            MutableHeaders(scope=message).update(headers)
        await send(message)

    return send_with_headers


def _json(body: Json, status: int = 200) -> Response:
    return Response(wire.dumps(body), status, media_type="application/json")


def _problem(problem: ProblemError, headers: dict[str, str] | None = None) -> Response:
    body = rest_wire.problem_json(problem, HTTPStatus(problem.status).phrase)
    return Response(wire.dumps(body), problem.status, headers, media_type="application/problem+json")


async def _error_response(_: Request, error: Exception) -> Response:
    match error:
        case ProblemError():
            return _problem(error)
        case HTTPException(status_code=405):
            return _problem(
                ProblemError(405, "The requested method is not allowed for this path."), dict(error.headers or {})
            )
        case HTTPException():
            return _problem(ProblemError(error.status_code, "resource not found"))
        case ClientDisconnect():
            return Response(status_code=499)
        case _:
            return _problem(ProblemError(400, str(error)))


_ERRORS: dict[Any, Any] = dict.fromkeys((ProblemError, HTTPException, RegistryError, ClientDisconnect), _error_response)
