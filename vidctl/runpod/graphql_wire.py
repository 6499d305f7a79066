"""How GraphQL spells an endpoint, its template and a login: from its nodes to our values, and back.  Pure."""

from __future__ import annotations

from typing import Final

from vidctl.runpod.reading import Node, endpoint_name, nodes, read, strings
from vidctl.runpod.types import Endpoint, RegistryLogin, Template

TEMPLATE_SCALARS: Final = (
    "id", "name", "imageName", "dockerArgs", "containerDiskInGb", "containerRegistryAuthId",
    "volumeInGb", "volumeMountPath", "ports", "isServerless", "readme",
    # What RunPod's own tools set, and what a save without them would put back to its default.
    "isPublic", "category", "startSsh", "startJupyter", "startScript", "advancedStart",
)  # fmt: skip
ENDPOINT_SCALARS: Final = (
    "id", "name", "templateId", "gpuIds", "gpuCount", "workersMin", "workersMax", "idleTimeout", "executionTimeoutMs",
    "scalerType", "scalerValue", "locations", "networkVolumeId", "allowedCudaVersions", "flashBootType",
    "minCudaVersion", "instanceIds", "modelReferences", "compliance", "type",
)  # fmt: skip


def template_input(template: Template) -> Node:
    """Every field that is ours."""
    return {
        "name": template.name,
        "imageName": template.image,
        "dockerArgs": template.docker_args,
        "containerDiskInGb": template.container_disk_gb,
        "env": [{"key": key, "value": value} for key, value in sorted(template.env.items())],
        "containerRegistryAuthId": template.registry_auth_id,
    }


def endpoint_input(endpoint: Endpoint, template: Template, node: Node | None = None) -> Node:
    """Every field that is ours, over `node` if there is one."""
    return {
        "name": endpoint.name,
        "templateId": template.id,
        "gpuIds": endpoint.gpu_ids,
        "gpuCount": endpoint.gpu_count,
        "workersMin": endpoint.workers_min,
        "workersMax": endpoint.workers_max,
        "idleTimeout": endpoint.idle_timeout_s,
        "executionTimeoutMs": endpoint.execution_timeout_ms,
        "scalerType": endpoint.scaler_type,
        "scalerValue": endpoint.scaler_value,
        "locations": ",".join(endpoint.locations),
        "allowedCudaVersions": ",".join(endpoint.cuda_versions),
        "flashBootType": _flashboot(endpoint, node),
        **_volume_input(endpoint, node),
        **({} if endpoint.model_references is None else {"modelReferences": list(endpoint.model_references)}),
        **_floor(endpoint, node),
    }


def _floor(endpoint: Endpoint, node: Node | None) -> Node:
    """A list of versions and a least version exclude each other (RunPod's REST v2 specification, `gpu`)."""
    floor = "" if endpoint.cuda_versions else endpoint.min_cuda
    return {"minCudaVersion": floor} if floor or (node and node.get("minCudaVersion")) else {}


def _flashboot(endpoint: Endpoint, node: Node | None) -> str:
    """FLASHBOOT, or the dearer kind of it that somebody chose elsewhere."""
    if not endpoint.flashboot:
        return "OFF"
    live = read(node or {}, "flashBootType", str, "OFF")
    return "FLASHBOOT" if live == "OFF" else str(live)


def _volume_input(endpoint: Endpoint, node: Node | None) -> Node:
    """Our one volume; those that somebody added to it stay as long as it stays."""
    given: Node = {"networkVolumeId": endpoint.network_volume_id}
    if node is not None and endpoint.network_volume_id != _volume_id(node):
        given["networkVolumeIds"] = (
            [{"networkVolumeId": endpoint.network_volume_id}] if endpoint.network_volume_id else []
        )
    return given


def echo(node: Node) -> Node:
    """An endpoint's every field that can be written, as it is; null says what leaving out says."""
    fields = {field: node[field] for field in ENDPOINT_SCALARS if node.get(field) not in (None, [])}
    # Read with its data center, written without (runpod/runpod-mcp src/tools/endpoint-gpus.ts).
    volumes = [{"networkVolumeId": volume_id} for volume_id in _volume_ids(node)]
    return {**fields, "networkVolumeIds": volumes} if volumes else fields


def template_of(node: Node) -> Template:
    return Template(
        id=read(node, "id", str, None),
        name=read(node, "name", str, ""),
        image=read(node, "imageName", str, ""),
        docker_args=read(node, "dockerArgs", str, ""),
        container_disk_gb=read(node, "containerDiskInGb", int, 0),
        registry_auth_id=read(node, "containerRegistryAuthId", str, ""),
        env=env_of(node),
    )


def env_of(node: Node) -> dict[str, str]:
    return {read(pair, "key", str, ""): read(pair, "value", str, "") for pair in nodes(node, "env")}


def endpoint_of(node: Node, template: Template) -> Endpoint:
    scaler = read(node, "scalerType", str, "QUEUE_DELAY")
    return Endpoint(
        id=read(node, "id", str, None),
        name=endpoint_name(node),
        template=template,
        gpu_ids=read(node, "gpuIds", str, ""),
        gpu_count=read(node, "gpuCount", int, 1),
        workers_min=read(node, "workersMin", int, 0),
        workers_max=read(node, "workersMax", int, 0),
        idle_timeout_s=read(node, "idleTimeout", int, 0),
        execution_timeout_ms=read(node, "executionTimeoutMs", int, 0),
        scaler_type="REQUEST_COUNT" if scaler == "REQUEST_COUNT" else "QUEUE_DELAY",
        scaler_value=read(node, "scalerValue", int, 0),
        locations=_words(read(node, "locations", str, "")),
        network_volume_id=_volume_id(node),
        cuda_versions=_words(read(node, "allowedCudaVersions", str, "")),
        min_cuda=read(node, "minCudaVersion", str, ""),
        flashboot=read(node, "flashBootType", str, "OFF") != "OFF",
        model_references=tuple(strings(node, "modelReferences")),
    )


def _volume_id(node: Node) -> str:
    """The one volume that we know of; it may stand in either field."""
    return read(node, "networkVolumeId", str, "") or next(iter(_volume_ids(node)), "")


def _volume_ids(node: Node) -> list[str]:
    return [read(volume, "networkVolumeId", str, "") for volume in nodes(node, "networkVolumeIds")]


def login_of(node: Node) -> RegistryLogin:
    return RegistryLogin(id=read(node, "id", str, ""), name=read(node, "name", str, ""))


def _words(text: str) -> tuple[str, ...]:
    return tuple(word.strip() for word in text.split(",") if word.strip())
