"""RunPod's GraphQL control plane: templates and endpoints, found by name, written whole, read back.

The API answers HTTP 200 with `errors[]` for every failure but a bad key, and `saveEndpoint` resets the fields that are
not sent (runpod/runpod-mcp src/tools/endpoint-gpus.ts), so a save always carries every field.  Values go in variables,
never in the query text.  Field names: runpod/runpodctl internal/api, runpod-python api/mutations.
"""

from __future__ import annotations

import re
from typing import Any, Final

from vidctl.errors import ApiError, NotDeployed
from vidctl.resources import Endpoint, Template
from vidctl.runpod.http import Http, one_line

_TEMPLATE_FIELDS: Final = """
  id name imageName dockerArgs containerDiskInGb env { key value } containerRegistryAuthId
"""
_ENDPOINT_FIELDS: Final = """
  id name templateId gpuIds gpuCount workersMin workersMax idleTimeout executionTimeoutMs scalerType scalerValue
  locations networkVolumeId allowedCudaVersions flashBootType
"""

FIND: Final = f"""
query Find {{
  myself {{
    endpoints {{ {_ENDPOINT_FIELDS} }}
    podTemplates {{ {_TEMPLATE_FIELDS} }}
  }}
}}
"""
SAVE_TEMPLATE: Final = f"""
mutation SaveTemplate($input: SaveTemplateInput!) {{
  saveTemplate(input: $input) {{ {_TEMPLATE_FIELDS} }}
}}
"""
SAVE_ENDPOINT: Final = f"""
mutation SaveEndpoint($input: EndpointInput!) {{
  saveEndpoint(input: $input) {{ {_ENDPOINT_FIELDS} }}
}}
"""


class GraphQL:
    """One account's templates and endpoints at one base URL, e.g. `https://api.runpod.io`."""

    def __init__(self, http: Http, base_url: str) -> None:
        self._http = http
        self._url = f"{base_url}/graphql"

    def find(self, endpoint_name: str, template_name: str) -> tuple[Endpoint | None, Template | None]:
        """The endpoint of that name and its template, or the template of that name; one request.

        RunPod shows some endpoints with ` -fb` behind their name (runpodctl#270), so that is not counted.
        """
        myself = _object(self._ask("read", FIND, {}), "myself")
        endpoints = [_endpoint(node) for node in _nodes(myself, "endpoints")]
        templates = [_template(node) for node in _nodes(myself, "podTemplates")]
        named = [endpoint for endpoint in endpoints if endpoint.name == endpoint_name]
        if len(named) > 1:
            ids = ", ".join(str(endpoint.id) for endpoint in named)
            raise ApiError(
                f"there are {len(named)} endpoints named {endpoint_name!r}: {ids}",
                hint="delete or rename all but one in RunPod's console, or give the spec another name",
            )
        endpoint = named[0] if named else None
        by_id = {template.id: template for template in templates}
        by_name = {template.name: template for template in templates}
        template = by_id.get(endpoint.template_id) if endpoint else None
        return endpoint, template or by_name.get(template_name)

    def save_template(self, template: Template) -> Template:
        """Create it, or with an id replace it; return it as RunPod now says it is."""
        return _template(
            _object(self._ask("write", SAVE_TEMPLATE, {"input": _template_input(template)}), "saveTemplate")
        )

    def save_endpoint(self, endpoint: Endpoint) -> Endpoint:
        """Create it, or with an id replace it; return it as RunPod now says it is."""
        return _endpoint(
            _object(self._ask("write", SAVE_ENDPOINT, {"input": _endpoint_input(endpoint)}), "saveEndpoint")
        )

    def _ask(self, kind: str, query: str, variables: dict[str, Any]) -> dict[str, Any]:
        send = self._http.read if kind == "read" else self._http.write
        try:
            answer = send("POST", self._url, body={"query": query, "variables": variables})
        except NotDeployed as error:
            raise ApiError(f"there is no GraphQL API at {self._url}", hint="check RUNPOD_API_BASE_URL") from error
        if not isinstance(answer, dict):
            raise ApiError("RunPod's GraphQL API answered something that is not an object")
        if answer.get("errors"):
            raise ApiError(f"RunPod: {_message(answer['errors'])}")
        return _object(answer, "data")


def _message(errors: Any) -> str:
    first = errors[0] if isinstance(errors, list) else errors
    said = first.get("message") if isinstance(first, dict) else first
    return one_line(str(said or "an error without a message"))


def _template_input(template: Template) -> dict[str, Any]:
    # volumeInGb, dockerArgs and env must be there even when empty (runpod/pulumi-runpod-native#18).
    known = {
        "name": template.name,
        "imageName": template.image,
        "dockerArgs": template.docker_args,
        "containerDiskInGb": template.container_disk_gb,
        "volumeInGb": 0,
        "env": [{"key": key, "value": value} for key, value in sorted(template.env.items())],
        "isServerless": True,
        "containerRegistryAuthId": template.registry_auth_id,
    }
    return known if template.id is None else {"id": template.id, **known}


def _endpoint_input(endpoint: Endpoint) -> dict[str, Any]:
    known = {
        "name": endpoint.name,
        "templateId": endpoint.template_id,
        "gpuIds": endpoint.gpu_ids,
        "gpuCount": endpoint.gpu_count,
        "workersMin": endpoint.workers_min,
        "workersMax": endpoint.workers_max,
        "idleTimeout": endpoint.idle_timeout_s,
        "executionTimeoutMs": endpoint.execution_timeout_ms,
        "scalerType": endpoint.scaler_type,
        "scalerValue": endpoint.scaler_value,
        "locations": ",".join(endpoint.locations),
        "networkVolumeId": endpoint.network_volume_id,
        "allowedCudaVersions": ",".join(endpoint.cuda_versions),
        "flashBootType": "FLASHBOOT" if endpoint.flashboot else "OFF",
    }
    return known if endpoint.id is None else {"id": endpoint.id, **known}


def _template(node: dict[str, Any]) -> Template:
    return Template(
        id=_read(node, "id", str, None),
        name=_read(node, "name", str, ""),
        image=_read(node, "imageName", str, ""),
        docker_args=_read(node, "dockerArgs", str, ""),
        container_disk_gb=_read(node, "containerDiskInGb", int, 0),
        registry_auth_id=_read(node, "containerRegistryAuthId", str, ""),
        env={
            _read(pair, "key", str, ""): _read(pair, "value", str, "")
            for pair in (node.get("env") or [])
            if isinstance(pair, dict)
        },
    )


def _endpoint(node: dict[str, Any]) -> Endpoint:
    scaler = _read(node, "scalerType", str, "QUEUE_DELAY")
    return Endpoint(
        id=_read(node, "id", str, None),
        name=re.sub(r" -fb$", "", _read(node, "name", str, "")),
        template_id=_read(node, "templateId", str, ""),
        gpu_ids=_read(node, "gpuIds", str, ""),
        gpu_count=_read(node, "gpuCount", int, 1),
        workers_min=_read(node, "workersMin", int, 0),
        workers_max=_read(node, "workersMax", int, 0),
        idle_timeout_s=_read(node, "idleTimeout", int, 0),
        execution_timeout_ms=_read(node, "executionTimeoutMs", int, 0),
        scaler_type="REQUEST_COUNT" if scaler == "REQUEST_COUNT" else "QUEUE_DELAY",
        scaler_value=_read(node, "scalerValue", int, 0),
        locations=_words(_read(node, "locations", str, "")),
        network_volume_id=_read(node, "networkVolumeId", str, ""),
        cuda_versions=_words(_read(node, "allowedCudaVersions", str, "")),
        flashboot=_read(node, "flashBootType", str, "OFF") != "OFF",
    )


def _words(text: str) -> tuple[str, ...]:
    return tuple(word.strip() for word in text.split(",") if word.strip())


def _read(node: dict[str, Any], key: str, kind: type, default: Any) -> Any:
    """A field of an answer; null means the default, another type is an answer that cannot be trusted."""
    value = node.get(key)
    if value is None:
        return default
    if not isinstance(value, kind) or isinstance(value, bool):
        raise ApiError(f"RunPod's answer has {key} = {one_line(repr(value), 60)}, which is not a {kind.__name__}")
    return value


def _object(answer: dict[str, Any], key: str) -> dict[str, Any]:
    value = answer.get(key)
    if not isinstance(value, dict):
        raise ApiError(f"RunPod's answer has no {key!r}")
    return value


def _nodes(answer: dict[str, Any], key: str) -> list[dict[str, Any]]:
    nodes = answer.get(key) or []
    if not isinstance(nodes, list) or not all(isinstance(node, dict) for node in nodes):
        raise ApiError(f"RunPod's answer has no list of {key!r}")
    return nodes
