"""REST v2's templates, registry logins, network volumes and catalog: how each is listed, made, changed and deleted."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timezone
from typing import TYPE_CHECKING

from starlette.responses import Response

from vidctl.local.control_plane import rest_billing, rest_catalog, rest_schema, rest_wire
from vidctl.local.control_plane.catalog import STORAGE_CENTERS
from vidctl.local.control_plane.records import NetworkVolumeRecord, RegistryAuthRecord, TemplateRecord
from vidctl.local.control_plane.rest_http import found, json_response, read_body
from vidctl.local.control_plane.rest_wire import Json, ProblemError

if TYPE_CHECKING:
    from starlette.requests import Request

    from vidctl.local.control_plane.rest_http import Pages
    from vidctl.local.control_plane.store import RecordStore


class TemplateResource:
    """Shows and changes the store's templates."""

    def __init__(self, records: RecordStore, pages: Pages) -> None:
        self._records = records
        self._pages = pages

    async def list_(self, request: Request) -> Response:
        templates, pagination = self._pages.of(request, self._records.templates())
        return json_response({"templates": [rest_wire.template_json(template) for template in templates], **pagination})

    async def create(self, request: Request) -> Response:
        body = await read_body(request, rest_schema.CREATE_TEMPLATE)
        check_registry(self._records, body)
        fresh = TemplateRecord(id="", name="", image_name="", is_serverless=False)
        return json_response(rest_wire.template_json(self._records.save_template(rest_wire.template(body, fresh))), 201)

    async def get(self, request: Request) -> Response:
        return json_response(rest_wire.template_json(self._template(request)))

    async def update(self, request: Request) -> Response:
        before = self._template(request)
        body = await read_body(request, rest_schema.UPDATE_TEMPLATE)
        check_registry(self._records, body)
        return json_response(rest_wire.template_json(self._records.save_template(rest_wire.template(body, before))))

    async def delete(self, request: Request) -> Response:
        self._records.delete_template(self._template(request).name)
        return Response(status_code=204)

    def _template(self, request: Request) -> TemplateRecord:
        return found(self._records.template(request.path_params["id"]), "template")


class LoginResource:
    """Shows and changes the logins to private container registries."""

    def __init__(self, records: RecordStore, pages: Pages) -> None:
        self._records = records
        self._pages = pages

    async def list_(self, request: Request) -> Response:
        logins, pagination = self._pages.of(request, self._records.registry_auths())
        return json_response({"registries": [rest_wire.registry_json(login) for login in logins], **pagination})

    async def create(self, request: Request) -> Response:
        body = await read_body(request, rest_schema.CREATE_REGISTRY)
        return json_response(
            rest_wire.registry_json(self._records.save_registry_auth(RegistryAuthRecord(id="", **body))), 201
        )

    async def get(self, request: Request) -> Response:
        return json_response(rest_wire.registry_json(self._login(request)))

    async def delete(self, request: Request) -> Response:
        self._records.delete_registry_auth(self._login(request).id)
        return Response(status_code=204)

    def _login(self, request: Request) -> RegistryAuthRecord:
        return found(self._records.registry_auth(request.path_params["id"]), "registry")


class VolumeResource:
    """Shows and changes the network volumes."""

    def __init__(self, records: RecordStore, pages: Pages) -> None:
        self._records = records
        self._pages = pages

    async def list_(self, request: Request) -> Response:
        volumes, pagination = self._pages.of(request, self._records.network_volumes())
        return json_response({"networkVolumes": [rest_wire.volume_json(volume) for volume in volumes], **pagination})

    async def create(self, request: Request) -> Response:
        body = await read_body(request, rest_schema.CREATE_VOLUME)
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
        return json_response(rest_wire.volume_json(self._records.save_network_volume(volume)), 201)

    async def get(self, request: Request) -> Response:
        return json_response(rest_wire.volume_json(self._volume(request)))

    async def update(self, request: Request) -> Response:
        before = self._volume(request)
        body = await read_body(request, rest_schema.UPDATE_VOLUME)
        after = replace(before, name=body.get("name", before.name), size_gb=body.get("size", before.size_gb))
        if after.size_gb < before.size_gb:
            raise ProblemError(400, f"size cannot be reduced: it is {before.size_gb} GB")
        return json_response(rest_wire.volume_json(self._records.save_network_volume(after)))

    async def delete(self, request: Request) -> Response:
        self._records.delete_network_volume(self._volume(request).id)
        return Response(status_code=204)

    def _volume(self, request: Request) -> NetworkVolumeRecord:
        return found(self._records.network_volume(request.path_params["id"]), "network volume")


def check_registry(records: RecordStore, body: Json) -> None:
    """Raise ProblemError for a body that names a login which does not exist."""
    if body.get("registry") and records.registry_auth(body["registry"]) is None:
        raise ProblemError(400, f"container registry credential {body['registry']} not found")


async def list_gpus(request: Request) -> Response:
    return json_response(rest_catalog.gpus(request.query_params))


async def get_gpu(request: Request) -> Response:
    return json_response(rest_catalog.gpu(request.path_params["id"], request.query_params))


async def list_serverless_billing(request: Request) -> Response:
    return json_response(rest_billing.serverless(request.query_params, datetime.now(timezone.utc)))


async def list_data_centers(request: Request) -> Response:
    return json_response(rest_catalog.data_centers(request.query_params))


async def get_data_center(request: Request) -> Response:
    return json_response(rest_catalog.data_center(request.path_params["id"], request.query_params))
