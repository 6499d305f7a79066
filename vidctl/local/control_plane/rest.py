"""RunPod's REST v2 control plane over the record store: the same templates and endpoints that GraphQL shows.

Paths, statuses and headers are those of RunPod's OpenAPI document 2.0.0; what the service does and the document does
not say is in runpod.md §2.  Whether an image exists is not looked up: a worker's folder is an image here.
"""

from __future__ import annotations

import hmac
import uuid
from typing import TYPE_CHECKING, Final

from starlette.applications import Starlette
from starlette.datastructures import MutableHeaders
from starlette.routing import Route

from vidctl.local.control_plane.rest_endpoints import EndpointResource
from vidctl.local.control_plane.rest_http import EXCEPTION_HANDLERS, Pages, problem_response
from vidctl.local.control_plane.rest_resources import (
    LoginResource,
    TemplateResource,
    VolumeResource,
    get_data_center,
    get_gpu,
    list_data_centers,
    list_gpus,
    list_serverless_billing,
)
from vidctl.local.control_plane.rest_wire import ProblemError

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Awaitable, Callable

    from starlette.requests import Request
    from starlette.responses import Response
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

    from vidctl.local.control_plane.store import RecordStore
    from vidctl.local.workers.fleet import Fleets

    Handler = Callable[[Request], Awaitable[Response]]

PAGE_SIZE: Final = 100  # of a list; RunPod's own is not published

# No endpoint has one of these as its id, which is random: the job API lives at /v2/{endpoint_id}.
_RESOURCES: Final = frozenset({"serverless", "templates", "registries", "network-volumes", "catalog", "billing"})
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
        records: RecordStore,
        fleets: Fleets,
        closing: asyncio.Event,
        url: str,
        api_key: str,
        page_size: int = PAGE_SIZE,
    ) -> None:
        self._otherwise = otherwise
        self._api_key = api_key.encode()
        pages = Pages(page_size)
        endpoints = EndpointResource(records, pages, fleets=fleets, closing=closing, url=url)
        routes = _routes(endpoints, records, pages)
        self._app = Starlette(routes=routes, exception_handlers=EXCEPTION_HANDLERS)

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
            await problem_response(ProblemError(401, detail))(scope, receive, _with_headers(send, headers))
            return
        headers |= {"RateLimit": _RATE_LIMIT, "RateLimit-Policy": _RATE_LIMIT_POLICY}
        await self._app(scope, receive, _with_headers(send, headers))


def _routes(endpoints: EndpointResource, records: RecordStore, pages: Pages) -> list[Route]:
    templates = TemplateResource(records, pages)
    logins = LoginResource(records, pages)
    volumes = VolumeResource(records, pages)
    endpoint, template, volume, login = (
        f"/v2/{resource}/{{id}}" for resource in ("serverless", "templates", "network-volumes", "registries")
    )
    return [
        _route("/v2/serverless", GET=endpoints.list_, POST=endpoints.create),
        _route(endpoint, GET=endpoints.get, PATCH=endpoints.update, DELETE=endpoints.delete),
        _route(f"{endpoint}/workers", GET=endpoints.workers),
        _route(f"{endpoint}/workers/{{worker_id}}/logs", GET=endpoints.logs),
        _route(f"{endpoint}/releases", GET=endpoints.releases),
        _route("/v2/templates", GET=templates.list_, POST=templates.create),
        _route(template, GET=templates.get, PATCH=templates.update, DELETE=templates.delete),
        _route("/v2/registries", GET=logins.list_, POST=logins.create),
        _route(login, GET=logins.get, DELETE=logins.delete),
        _route("/v2/network-volumes", GET=volumes.list_, POST=volumes.create),
        _route(volume, GET=volumes.get, PATCH=volumes.update, DELETE=volumes.delete),
        _route("/v2/billing/serverless", GET=list_serverless_billing),
        _route("/v2/catalog/gpus", GET=list_gpus),
        _route("/v2/catalog/gpus/{id}", GET=get_gpu),
        _route("/v2/catalog/datacenters", GET=list_data_centers),
        _route("/v2/catalog/datacenters/{id}", GET=get_data_center),
    ]


def _is_ours(path: str) -> bool:
    _, _, rest = path.partition("/v2/")
    return path.startswith("/v2/") and rest.partition("/")[0] in _RESOURCES


def _route(path: str, **handlers: Handler) -> Route:
    async def handle(request: Request) -> Response:
        return await handlers["GET" if request.method == "HEAD" else request.method](request)

    return Route(path, handle, methods=list(handlers))


def _with_headers(send: Send, headers: dict[str, str]) -> Send:
    async def send_with_headers(message: Message) -> None:
        if message["type"] == "http.response.start":
            MutableHeaders(scope=message).update(headers)
        await send(message)

    return send_with_headers
