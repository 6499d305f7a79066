"""What the runtime's control planes save: templates and endpoints, which its workers read, and what those name."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, Literal

if TYPE_CHECKING:
    from collections.abc import Sequence


@dataclass(frozen=True)
class TemplateRecord:
    """RunPod's template (runpod.md §1.2, `saveTemplate`; §2.5).

    `bound_endpoint_id` is the endpoint that it belongs to: made with it, deleted with it.
    """

    id: str
    name: str
    image_name: str
    docker_args: str = ""
    container_disk_in_gb: int = 10
    volume_in_gb: int = 0
    volume_mount_path: str = ""
    ports: str = ""
    env: dict[str, str] = field(default_factory=dict, repr=False)
    is_serverless: bool = True
    container_registry_auth_id: str = ""
    readme: str = ""
    is_public: bool = False
    category: str = "NVIDIA"
    start_ssh: bool = True
    start_jupyter: bool = True
    allowed_cuda_versions: tuple[str, ...] = ()
    bound_endpoint_id: str = ""
    start_script: str = ""
    advanced_start: bool = False


@dataclass(frozen=True)
class EndpointRecord:
    """RunPod's endpoint (runpod.md §1.4).  `version` grows at each save that replaces workers."""

    id: str
    name: str
    template_id: str
    gpu_ids: str = ""
    gpu_count: int = 1
    workers_min: int = 0
    workers_max: int = 3
    idle_timeout_s: int = 10
    execution_timeout_ms: int = 600_000
    scaler_type: Literal["QUEUE_DELAY", "REQUEST_COUNT"] = "QUEUE_DELAY"
    scaler_value: float = 4
    locations: str = ""
    network_volume_id: str = ""
    allowed_cuda_versions: str = ""
    flash_boot_type: str = "OFF"
    type: str = "QB"
    version: int = 0
    created_at: str = ""
    instance_ids: tuple[str, ...] = ()
    network_volume_ids: tuple[str, ...] = ()
    min_cuda_version: str = ""
    model_references: tuple[str, ...] = ()
    compliance: tuple[str, ...] = ()
    flash_environment_id: str = ""
    workers_pfb_target: int = 0


@dataclass(frozen=True)
class RegistryAuthRecord:
    """A login to a private container registry."""

    id: str
    name: str
    username: str = field(default="", repr=False)
    password: str = field(default="", repr=False)


@dataclass(frozen=True)
class NetworkVolumeRecord:
    """A network volume; here it holds a place in the account and no files."""

    id: str
    name: str
    size_gb: int
    data_center: str
    type: str = "STANDARD"


@dataclass(frozen=True)
class ReleaseRecord:
    """A version of an endpoint: what changed since the one before, as (GraphQL's name of a field, old, new)."""

    id: str
    endpoint_id: str
    version: int
    created_at: str
    diff: tuple[Sequence[Any], ...] = field(default=(), repr=False)


# What GraphQL calls the fields of our records.
ENDPOINT_FIELDS: Final = {
    "name": "name",
    "templateId": "template_id",
    "gpuIds": "gpu_ids",
    "gpuCount": "gpu_count",
    "instanceIds": "instance_ids",
    "workersMin": "workers_min",
    "workersMax": "workers_max",
    "idleTimeout": "idle_timeout_s",
    "scalerType": "scaler_type",
    "scalerValue": "scaler_value",
    "executionTimeoutMs": "execution_timeout_ms",
    "locations": "locations",
    "networkVolumeId": "network_volume_id",
    "allowedCudaVersions": "allowed_cuda_versions",
    "minCudaVersion": "min_cuda_version",
    "flashBootType": "flash_boot_type",
    "modelReferences": "model_references",
    "compliance": "compliance",
    "flashEnvironmentId": "flash_environment_id",
    "workersPFBTarget": "workers_pfb_target",
    "type": "type",
}
TEMPLATE_FIELDS: Final = {
    "name": "name",
    "imageName": "image_name",
    "dockerArgs": "docker_args",
    "containerDiskInGb": "container_disk_in_gb",
    "containerRegistryAuthId": "container_registry_auth_id",
    "volumeInGb": "volume_in_gb",
    "volumeMountPath": "volume_mount_path",
    "ports": "ports",
    "isServerless": "is_serverless",
    "isPublic": "is_public",
    "startSsh": "start_ssh",
    "startJupyter": "start_jupyter",
    "startScript": "start_script",
    "advancedStart": "advanced_start",
    "category": "category",
    "readme": "readme",
}
