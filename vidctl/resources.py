"""A template and an endpoint as RunPod holds them, free of any control plane's spelling."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

ScalerType = Literal["QUEUE_DELAY", "REQUEST_COUNT"]


@dataclass(frozen=True)
class Template:
    """What a container is made of.  `env` is complete, secrets' values included, hence not in the repr."""

    name: str
    image: str
    env: dict[str, str] = field(default_factory=dict, repr=False)
    docker_args: str = ""
    container_disk_gb: int = 10
    registry_auth_id: str = ""
    id: str | None = None


@dataclass(frozen=True)
class Endpoint:
    """How many workers of a template run, on which GPUs, and when they start and stop.

    `gpu_ids` is RunPod's string `POOL[,POOL…][,-<GPU type id>…]` in order of priority; `execution_timeout_ms` 0 means
    no limit; `locations`, `cuda_versions` and `network_volume_ids` empty mean any, any and none.
    """

    name: str
    template_id: str
    gpu_ids: str
    gpu_count: int = 1
    workers_min: int = 0
    workers_max: int = 3
    idle_timeout_s: int = 5
    execution_timeout_ms: int = 600_000
    scaler_type: ScalerType = "QUEUE_DELAY"
    scaler_value: int = 4
    locations: tuple[str, ...] = ()
    network_volume_id: str = ""
    cuda_versions: tuple[str, ...] = ()
    flashboot: bool = True
    id: str | None = None
