"""What the local runtime knows of a template and an endpoint: its control side writes it, its workers read it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal


@dataclass(frozen=True)
class TemplateRecord:
    """RunPod's template (runpod.md §1.2, `saveTemplate`)."""

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
    scaler_value: int = 4
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
