"""REST v2's endpoints: what they are made of, their workers and logs, and their releases."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import TYPE_CHECKING

from starlette.responses import Response, StreamingResponse

from vidctl.local.control_plane import log_stream, rest_schema, rest_wire
from vidctl.local.control_plane.records import EndpointRecord, TemplateRecord
from vidctl.local.control_plane.rest_http import found, json_response, read_body
from vidctl.local.control_plane.rest_resources import check_registry
from vidctl.local.control_plane.rest_wire import Json, ProblemError

if TYPE_CHECKING:
    import asyncio

    from starlette.requests import Request

    from vidctl.local.control_plane.rest_http import Pages
    from vidctl.local.control_plane.store import RecordStore
    from vidctl.local.workers.fleet import Fleets


class EndpointResource:
    """Shows and changes the store's endpoints."""

    def __init__(self, records: RecordStore, pages: Pages, *, fleets: Fleets, closing: asyncio.Event, url: str) -> None:
        self._records = records
        self._pages = pages
        self._fleets = fleets
        self._closing = closing
        self._url = url

    async def list_(self, request: Request) -> Response:
        endpoints, pagination = self._pages.of(request, self._records.endpoints())
        return json_response({"endpoints": [self._shown(endpoint) for endpoint in endpoints], **pagination})

    async def create(self, request: Request) -> Response:
        body = await read_body(request, rest_schema.CREATE_ENDPOINT)
        template = self._named_template(body)
        # The document says that `timeout` has a default of 300000 and the service stores 0 (runpod.md §2.4).
        fresh = EndpointRecord(id="", name="", template_id="", execution_timeout_ms=0)
        if template is not None and "minCudaVersion" not in body.get("gpu", {}):
            fresh = replace(fresh, allowed_cuda_versions=",".join(template.allowed_cuda_versions))
        return json_response(self._save(body, fresh, TemplateRecord(id="", name="", image_name=""), template), 201)

    async def get(self, request: Request) -> Response:
        return json_response(self._shown(self._endpoint(request)))

    async def update(self, request: Request) -> Response:
        before = self._endpoint(request)
        body = await read_body(request, rest_schema.UPDATE_ENDPOINT)
        return json_response(self._save(body, before, self._template_of(before), self._named_template(body)))

    async def delete(self, request: Request) -> Response:
        self._records.delete_endpoint(self._endpoint(request).id, with_template=True)
        return Response(status_code=204)

    def _save(
        self, body: Json, before: EndpointRecord, container: TemplateRecord, template: TemplateRecord | None
    ) -> Json:
        endpoint = rest_wire.endpoint(body, before)
        rest_wire.check_volumes(body, endpoint, self._records.network_volume)
        check_registry(self._records, body)
        container = rest_wire.container(body, container, template)
        return self._shown(self._records.save_with_container(endpoint, container))

    def _named_template(self, body: Json) -> TemplateRecord | None:
        """The template that a body takes its settings from, if it names one."""
        if "templateId" not in body:
            return None
        template = self._records.template(body["templateId"])
        if template is None:
            raise ProblemError(404, "template not found")
        if not template.is_serverless:
            raise ProblemError(422, "the template is not a serverless template")
        return template

    def _endpoint(self, request: Request) -> EndpointRecord:
        return found(self._records.endpoint(request.path_params["id"]), "endpoint")

    def _template_of(self, endpoint: EndpointRecord) -> TemplateRecord:
        return found(self._records.template(endpoint.template_id), "template")

    def _shown(self, endpoint: EndpointRecord) -> Json:
        return rest_wire.endpoint_json(endpoint, self._template_of(endpoint), self._url)

    async def workers(self, request: Request) -> Response:
        endpoint = self._endpoint(request)
        shown = self._fleets[endpoint.id].shown()
        return json_response(rest_wire.workers_json(endpoint, shown, int(time.time() * 1000)))

    async def releases(self, request: Request) -> Response:
        endpoint = self._endpoint(request)
        versions = [worker.version for worker, _ in self._fleets[endpoint.id].shown()]
        return json_response(rest_wire.releases_json(endpoint, self._records.releases(endpoint.id), versions))

    async def logs(self, request: Request) -> Response:
        known = self._fleets[self._endpoint(request).id].known()
        log = next((worker.log for worker in known if worker.id == request.path_params["worker_id"]), None)
        wanted = log_stream.read_request(request.query_params, request.headers.get("last-event-id"))
        stream = await log_stream.open_stream(found(log, "worker"), wanted, self._closing)
        headers = {"Cache-Control": "no-cache", "X-Accel-Buffering": "no"}
        return StreamingResponse(stream, headers=headers, media_type="text/event-stream")
