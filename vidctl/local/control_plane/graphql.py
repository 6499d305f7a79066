"""RunPod's control plane over the record store: GraphQL executed on the schema beside this file, with RunPod's quirks.

Every answer but the one to a body that is not JSON has HTTP status 200; what went wrong is in `errors[]`, what is
missing is null.  The rules are those of RunPod's docs (sdks/graphql/) and of what the authors of runpod/runpod-mcp and
runpod/pulumi-runpod-native measured.
"""

from __future__ import annotations

import json
import logging
from dataclasses import replace
from functools import cache, partial
from importlib import resources
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from graphql import (
    ExecutionResult,
    GraphQLError,
    GraphQLSchema,
    NoSchemaIntrospectionCustomRule,
    build_schema,
    execute_sync,
    parse,
    specified_rules,
    validate,
)

from vidctl.local.control_plane.catalog import (
    DATA_CENTERS,
    POOLS,
    STORAGE_CENTERS,
    display_name,
    is_within,
    unknown_places,
)
from vidctl.local.control_plane.records import (
    ENDPOINT_FIELDS,
    TEMPLATE_FIELDS,
    EndpointRecord,
    NetworkVolumeRecord,
    RegistryAuthRecord,
    TemplateRecord,
)
from vidctl.local.control_plane.store import RecordError
from vidctl.runpod.gpus import selection
from vidctl.runpod.limits import IDLE_TIMEOUT_S

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from vidctl.local.control_plane.store import RecordStore

_log = logging.getLogger(__name__)
_Arguments: TypeAlias = dict[str, Any]

_CATCH_ALL: Final = "Something went wrong. Please try again later or contact support."
_MAX_TOKENS: Final = 20_000
_RULES: Final = (*specified_rules, NoSchemaIntrospectionCustomRule)

# `saveEndpoint` with an id resets these when they are not sent, and holds the others (measured: runpod/runpod-mcp
# src/tools/endpoint-gpus.ts).
_RESET: Final[dict[str, Any]] = {"workers_max": 3, "idle_timeout_s": 10, "scaler_value": 4}


def respond(records: RecordStore, body: bytes) -> tuple[int, dict[str, Any]]:
    """Execute a GraphQL request `{"query", "variables"?, "operationName"?}`; return HTTP status and JSON answer."""
    try:
        request = json.loads(body)
        json.dumps(request, ensure_ascii=False).encode()  # what cannot be written as UTF-8 cannot be answered either
    except (ValueError, RecursionError):
        return 400, _failure("The request body is not valid JSON.")
    try:
        return 200, _execute(records, request)
    except RecursionError:
        return 200, _failure("The query is nested too deeply.")


def _execute(records: RecordStore, request: Any) -> dict[str, Any]:
    query, variables, operation = _parts(request)
    if query is None:
        return _failure('The request must be an object with "query", and optionally "variables" and "operationName".')
    try:
        document = parse(query, max_tokens=_MAX_TOKENS)
    except GraphQLError as error:
        return {"errors": [error.formatted]}
    if errors := validate(_schema(), document, _RULES):
        return {"errors": [error.formatted for error in errors]}
    result = execute_sync(_schema(), document, _root(records), variable_values=variables, operation_name=operation)
    return _answer(result)


def _parts(request: Any) -> tuple[str | None, dict[str, Any] | None, str | None]:
    """The three parts of a request; without a query when one of them is not what it must be."""
    if not isinstance(request, dict):
        return None, None, None
    query, variables, operation = (request.get(key) for key in ("query", "variables", "operationName"))
    is_well_formed = isinstance(query, str) and isinstance(variables, dict | None) and isinstance(operation, str | None)
    return (query, variables, operation) if is_well_formed else (None, None, None)


@cache
def _schema() -> GraphQLSchema:
    return build_schema(
        resources.files("vidctl.local.control_plane").joinpath("schema.graphql").read_text(encoding="utf-8")
    )


def _answer(result: ExecutionResult) -> dict[str, Any]:
    answer: dict[str, Any] = {"data": result.data}
    if result.errors:
        answer["errors"] = [_formatted(error) for error in result.errors]
    return answer


def _formatted(error: GraphQLError) -> dict[str, Any]:
    """What the caller may see: our own refusals in words, anything else as RunPod's catch-all."""
    formatted: dict[str, Any] = dict(error.formatted)
    if error.original_error is not None and not isinstance(error.original_error, RecordError | GraphQLError):
        _log.error("%s failed", error.path, exc_info=error.original_error)
        formatted["message"] = _CATCH_ALL
    return formatted


def _failure(message: str) -> dict[str, Any]:
    return {"errors": [{"message": message}]}


def _root(records: RecordStore) -> dict[str, Callable[..., Any]]:
    """The resolvers of the schema's Query and Mutation, by field."""
    resolvers = {
        "myself": _myself,
        "podTemplate": _pod_template,
        "podTemplates": _pod_templates,
        "gpuTypes": _gpu_types,
        "serverlessGpuPools": _gpu_pools,
        "dataCenters": _data_centers,
        "saveEndpoint": _save_endpoint,
        "deleteEndpoint": _delete_endpoint,
        "updateEndpointTemplate": _update_endpoint_template,
        "saveTemplate": _save_template,
        "deleteTemplate": _delete_template,
        "saveRegistryAuth": _save_registry_auth,
        "updateRegistryAuth": _update_registry_auth,
        "deleteRegistryAuth": _delete_registry_auth,
        "createNetworkVolume": _create_network_volume,
        "updateNetworkVolume": _update_network_volume,
        "deleteNetworkVolume": _delete_network_volume,
    }
    return {field: partial(_resolve, resolver, records) for field, resolver in resolvers.items()}


def _resolve(
    resolver: Callable[[RecordStore, _Arguments], Any], records: RecordStore, _info: Any, **arguments: Any
) -> Any:
    return resolver(records, arguments)


def _myself(records: RecordStore, _: _Arguments) -> dict[str, Any]:
    """The one account of this machine: nothing here costs anything, and there is no balance to run out of."""
    return {
        "id": "local",
        "currentSpendPerHr": 0.0,
        "endpoints": [_endpoint_node(records, endpoint) for endpoint in records.endpoints()],
        "endpoint": lambda _info, id: _endpoint_node(records, records.endpoint(id)),  # noqa: A006 - the schema's name
        "podTemplates": [_template_node(template) for template in records.templates()],
        "networkVolumes": [_volume_node(volume) for volume in records.network_volumes()],
        "containerRegistryCreds": [_registry_auth_node(auth) for auth in records.registry_auths()],
    }


def _pod_template(records: RecordStore, arguments: _Arguments) -> dict[str, Any] | None:
    return _template_node(records.template(arguments["id"]))


def _pod_templates(records: RecordStore, arguments: _Arguments) -> list[dict[str, Any] | None]:
    wants_runpods = (arguments.get("input") or {}).get("isRunpod")
    return [] if wants_runpods else [_template_node(template) for template in records.templates()]


def _save_endpoint(records: RecordStore, arguments: _Arguments) -> dict[str, Any] | None:
    sent = _sent(arguments["input"])
    before = records.endpoint(sent["id"]) if sent.get("id") else None
    if sent.get("id") and before is None:
        return None
    base = replace(before, **_RESET) if before else EndpointRecord(id="", name="", template_id="")
    record = replace(base, **{**_changes(sent, ENDPOINT_FIELDS), **_volumes(sent)})
    problem = _endpoint_problem(sent, record) or _place_problem(records, before, record)
    if problem:
        raise RecordError(problem)
    if "template" in sent:
        record = replace(record, template_id=_bind_template(records, sent["template"], record.template_id).id)
    endpoint = records.save_endpoint(record)
    if "template" in sent:
        _own_template(records, endpoint)
    return _endpoint_node(records, endpoint)


def _endpoint_problem(sent: _Arguments, record: EndpointRecord) -> str | None:
    """Why RunPod, or this runtime, would not save this endpoint; None when it would."""
    pools = selection(record.gpu_ids).pools
    unknown_pools = [pool for pool in pools if pool not in POOLS]
    least_s, most_s = IDLE_TIMEOUT_S
    rules = (
        (len(record.name.strip()) < 3, "Endpoint name must be at least 3 characters long."),
        ("hubReleaseId" in sent, "The local runtime has no Hub: send templateId or template."),
        (record.type != "QB", "The local runtime runs queue endpoints only: type must be QB."),
        ("templateId" in sent and "template" in sent, "Send templateId or template, not both."),
        (not record.template_id and "template" not in sent, "templateId or template is required."),
        (not pools and not record.instance_ids, "gpuIds is required."),
        (bool(unknown_pools), f"gpuIds has unknown GPU pools: {', '.join(unknown_pools)}."),
        (record.gpu_count < 1, "gpuCount must be at least 1."),
        (not 0 <= record.workers_min <= record.workers_max, "workersMin must be between 0 and workersMax."),
        (
            not least_s <= record.idle_timeout_s <= most_s,
            f"idleTimeout must be between {least_s} and {most_s} seconds.",
        ),
        (
            record.scaler_type not in ("QUEUE_DELAY", "REQUEST_COUNT"),
            "scalerType must be QUEUE_DELAY or REQUEST_COUNT.",
        ),
        (record.scaler_value < 1, "scalerValue must be at least 1."),
        (record.execution_timeout_ms < 0, "executionTimeoutMs must not be negative."),
    )
    return next((message for is_broken, message in rules if is_broken), None)


def _place_problem(records: RecordStore, before: EndpointRecord | None, record: EndpointRecord) -> str | None:
    """Why the endpoint's workers could not be where it says, with the volumes that it says; what was so may stay."""
    if record.locations != (before.locations if before else "") and (unknown := unknown_places(record.locations)):
        return f"locations has unknown data centers or countries: {', '.join(unknown)}."
    had = before.network_volume_ids if before else ()
    for volume_id in record.network_volume_ids:
        volume = records.network_volume(volume_id)
        if volume is None and volume_id not in had:
            return f"Network volume {volume_id} not found."
        if volume is not None and not is_within(volume.data_center, record.locations):
            return f"Network volume {volume_id} is in {volume.data_center}, which is not in locations."
    return None


def _bind_template(records: RecordStore, sent: _Arguments, template_id: str) -> TemplateRecord:
    """Save the template that came within an endpoint: over the one that the endpoint has when that has the name."""
    sent = _sent(sent)
    _require_name(sent["name"], "Template")
    bound = records.template(template_id)
    base = bound if bound and bound.name == sent["name"] else TemplateRecord(id="", name="", image_name="")
    return records.save_template(replace(base, **_changes(sent, TEMPLATE_FIELDS), **_environment(sent)))


def _own_template(records: RecordStore, endpoint: EndpointRecord) -> None:
    """Let the endpoint's template be its own: REST v2 deletes it with the endpoint."""
    template = records.template(endpoint.template_id)
    if template is not None:
        records.save_template(replace(template, bound_endpoint_id=endpoint.id))


def _delete_endpoint(records: RecordStore, arguments: _Arguments) -> None:
    endpoint = records.endpoint(arguments["id"])
    if endpoint is not None and (endpoint.workers_min, endpoint.workers_max) != (0, 0):
        raise RecordError("Set workersMin and workersMax to 0 before you delete the endpoint.")
    records.delete_endpoint(arguments["id"])


def _update_endpoint_template(records: RecordStore, arguments: _Arguments) -> dict[str, Any] | None:
    sent = arguments.get("input") or {}
    endpoint = records.endpoint(sent.get("endpointId", ""))
    if endpoint is None:
        return None
    return _endpoint_node(records, records.save_endpoint(replace(endpoint, template_id=sent["templateId"])))


def _save_template(records: RecordStore, arguments: _Arguments) -> dict[str, Any] | None:
    sent = _sent(arguments.get("input") or {})
    if not {"name", "dockerArgs", "env", "volumeInGb"} <= sent.keys():
        raise RecordError(_CATCH_ALL)  # what RunPod says of an input without them (runpod/pulumi-runpod-native#18)
    _require_name(sent["name"], "Template")
    before = records.template(sent["id"]) if sent.get("id") else None
    if sent.get("id") and before is None:
        return None
    base = before or TemplateRecord(id="", name="", image_name="", is_serverless=False)
    record = replace(base, **_changes(sent, TEMPLATE_FIELDS), **_environment(sent))
    return _template_node(records.save_template(record))


def _delete_template(records: RecordStore, arguments: _Arguments) -> None:
    records.delete_template(arguments.get("templateName") or "")


def _require_name(name: str, what: str) -> None:
    if not name.strip():
        raise RecordError(f"{what} name must not be empty.")


def _save_registry_auth(records: RecordStore, arguments: _Arguments) -> dict[str, Any]:
    _require_name(arguments["input"]["name"], "Registry auth")
    return _registry_auth_node(records.save_registry_auth(RegistryAuthRecord(id="", **arguments["input"])))


def _update_registry_auth(records: RecordStore, arguments: _Arguments) -> dict[str, Any] | None:
    sent = arguments["input"]
    before = records.registry_auth(sent["id"])
    if before is None:
        return None
    after = replace(before, username=sent["username"], password=sent["password"])
    return _registry_auth_node(records.save_registry_auth(after))


def _delete_registry_auth(records: RecordStore, arguments: _Arguments) -> None:
    records.delete_registry_auth(arguments["registryAuthId"])


def _create_network_volume(records: RecordStore, arguments: _Arguments) -> dict[str, Any]:
    sent = arguments["input"]
    _require_name(sent["name"], "Network volume")
    if sent["dataCenterId"] not in STORAGE_CENTERS:
        raise RecordError(f"Data center {sent['dataCenterId']} has no network volumes.")
    volume = NetworkVolumeRecord("", sent["name"], sent["size"], sent["dataCenterId"])
    return _volume_node(records.save_network_volume(volume))


def _update_network_volume(records: RecordStore, arguments: _Arguments) -> dict[str, Any] | None:
    sent = _sent(arguments["input"])
    before = records.network_volume(sent["id"])
    if before is None:
        return None
    after = replace(before, name=sent.get("name", before.name), size_gb=sent.get("size", before.size_gb))
    _require_name(after.name, "Network volume")
    if after.size_gb < before.size_gb:
        raise RecordError("The size of a network volume cannot be reduced.")
    return _volume_node(records.save_network_volume(after))


def _delete_network_volume(records: RecordStore, arguments: _Arguments) -> None:
    records.delete_network_volume(arguments["input"]["id"])


def _sent(values: Mapping[str, Any]) -> dict[str, Any]:
    """The fields that a caller sent; null is as good as not sent."""
    return {field: value for field, value in values.items() if value is not None}


def _changes(sent: Mapping[str, Any], fields: Mapping[str, str]) -> dict[str, Any]:
    """What was sent, under our records' names."""
    changes = {ours: sent[theirs] for theirs, ours in fields.items() if theirs in sent}
    return {name: tuple(value) if isinstance(value, list) else value for name, value in changes.items()}


def _environment(sent: Mapping[str, Any]) -> dict[str, Any]:
    return {"env": {pair["key"]: pair["value"] for pair in sent["env"]}} if "env" in sent else {}


def _volumes(sent: Mapping[str, Any]) -> dict[str, Any]:
    """One volume or many, kept as both: a caller may read either way."""
    if "networkVolumeIds" in sent:
        ids = tuple(volume["networkVolumeId"] for volume in sent["networkVolumeIds"])
        return {"network_volume_id": ids[0] if ids else "", "network_volume_ids": ids}
    if "networkVolumeId" in sent:
        return {"network_volume_ids": (sent["networkVolumeId"],) if sent["networkVolumeId"] else ()}
    return {}


def _endpoint_node(records: RecordStore, endpoint: EndpointRecord | None) -> dict[str, Any] | None:
    if endpoint is None:
        return None
    template = records.template(endpoint.template_id)
    volume = endpoint.network_volume_id
    return {
        "id": endpoint.id,
        **{theirs: getattr(endpoint, ours) for theirs, ours in ENDPOINT_FIELDS.items()},
        # REST v2 takes fractions of a second, GraphQL whole ones.
        "scalerValue": max(1, round(endpoint.scaler_value)),
        "networkVolumeIds": [
            {"networkVolumeId": volume_id, "dataCenterId": _data_center(records, volume_id)}
            for volume_id in endpoint.network_volume_ids
        ],
        "networkVolume": _volume_node(records.network_volume(volume), volume) if volume else None,
        "computeType": "CPU" if endpoint.instance_ids else "GPU",
        "env": _pairs(template.env if template else {}),
        "version": endpoint.version,
        "createdAt": endpoint.created_at,
        "userId": "local",
    }


def _template_node(template: TemplateRecord | None) -> dict[str, Any] | None:
    if template is None:
        return None
    fields = {theirs: getattr(template, ours) for theirs, ours in TEMPLATE_FIELDS.items()}
    return {"id": template.id, **fields, "env": _pairs(template.env), "isRunpod": False}


def _registry_auth_node(auth: RegistryAuthRecord) -> dict[str, str]:
    return {"id": auth.id, "name": auth.name}


def _volume_node(volume: NetworkVolumeRecord | None, volume_id: str = "") -> dict[str, Any]:
    """A volume; of one that nobody has created, its id."""
    if volume is None:
        return {"id": volume_id}
    return {"id": volume.id, "name": volume.name, "size": volume.size_gb, "dataCenterId": volume.data_center}


def _data_center(records: RecordStore, volume_id: str) -> str | None:
    volume = records.network_volume(volume_id)
    return None if volume is None else volume.data_center


def _pairs(env: Mapping[str, str]) -> list[dict[str, str]]:
    return [{"key": key, "value": value} for key, value in env.items()]


def _gpu_types(_: RecordStore, arguments: _Arguments) -> list[dict[str, Any]]:
    """Every card of every pool, always in stock: this machine stands in for each of them."""
    wanted = _sent(arguments.get("input") or {})
    ids = {wanted["id"]} if "id" in wanted else set(wanted["ids"]) if "ids" in wanted else None
    return [
        {
            "id": gpu.id,
            "displayName": display_name(gpu),
            "manufacturer": "Nvidia",
            "memoryInGb": gpu.memory_gb,
            "secureCloud": True,
            "lowestPrice": {"stockStatus": "High"},
        }
        for gpus in POOLS.values()
        for gpu in gpus
        if ids is None or gpu.id in ids
    ]


def _gpu_pools(_: RecordStore, __: _Arguments) -> list[dict[str, Any]]:
    return [{"id": pool, "gpuTypeIds": [gpu.id for gpu in gpus]} for pool, gpus in POOLS.items()]


def _data_centers(_: RecordStore, __: _Arguments) -> list[dict[str, Any]]:
    stock = [
        {"gpuTypeId": gpu.id, "displayName": display_name(gpu), "stockStatus": "High"}
        for gpus in POOLS.values()
        for gpu in gpus
    ]
    return [{"id": place, "name": place, "gpuAvailability": stock} for place in DATA_CENTERS]
