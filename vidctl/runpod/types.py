"""What an account at RunPod holds, free of any control plane's spelling."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

ScalerType = Literal["QUEUE_DELAY", "REQUEST_COUNT"]
Stock = Literal["NONE", "LOW", "MEDIUM", "HIGH"]

STAMP = "VIDCTL_SPEC"
"""The variable in a container's environment that says which spec made it; both control planes keep and show it."""


RESTARTED = "VIDCTL_RESTARTED"
"""The variable in a container's environment that `vidctl restart` sets: another value is another container."""


@dataclass(frozen=True)
class WorkerImage:
    """A worker's image: `tag` names its content, `digest` is what a template gets, once it can be pulled."""

    tag: str
    digest: str | None


@dataclass(frozen=True)
class Template:
    """What a container is made of.  `env` is complete, secrets' values included, hence not in the repr.

    GraphQL keeps it apart from the endpoint, under a `name` and an `id`; REST v2 keeps it in the endpoint, where it has
    neither.
    """

    image: str
    env: dict[str, str] = field(default_factory=dict, repr=False)
    docker_args: str = ""
    container_disk_gb: int = 10
    registry_auth_id: str = ""
    name: str = ""
    id: str | None = None


@dataclass(frozen=True)
class Endpoint:
    """What its workers are made of, how many run on which GPUs, and when they start and stop.

    `gpu_ids` is RunPod's string `POOL[,POOL…][,-<GPU type id>…]` in order of priority; `execution_timeout_ms` 0 means
    no limit; `locations`, `cuda_versions`, `min_cuda` and `network_volume_id` empty mean any, any, any and none; a list
    of versions and a least one exclude each other, and the list is the one that holds.  `model_references` is
    what RunPod's model cache holds for it, `https://huggingface.co/ORG/MODEL:REVISION`; None is what REST v2 shows of
    it, and in what is to be saved means: as it is.
    """

    name: str
    template: Template
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
    min_cuda: str = ""
    flashboot: bool = True
    model_references: tuple[str, ...] | None = None
    id: str | None = None


@dataclass(frozen=True)
class Account:
    """What one look at an account shows.  `worker_quota`: workers over all endpoints at most, None if unknown.

    `templates` are all that there are where endpoints share them: GraphQL.
    """

    endpoints: tuple[Endpoint, ...]
    worker_quota: int | None = None
    templates: tuple[Template, ...] = field(default=(), compare=False, repr=False)


@dataclass(frozen=True)
class Balance:
    """What an account has, and spends now, in US dollars; None is what RunPod does not say."""

    dollars: float | None
    spend_per_hour: float | None
    spend_limit: float | None


@dataclass(frozen=True)
class RegistryLogin:
    """A login to a private container registry that RunPod keeps; nobody can read its password back."""

    id: str
    name: str


@dataclass(frozen=True)
class NetworkVolume:
    """A network volume; names are not unique."""

    id: str
    name: str
    data_center: str
    size_gb: int


@dataclass(frozen=True)
class Offer:
    """A pool of GPUs: US dollars an hour of one GPU of a flex worker, and stock; None where it is not known."""

    pool: str
    price_per_hour: float | None
    stock: Stock | None = None
    data_centers: tuple[tuple[str, Stock], ...] = field(default=(), compare=False)
    """Where it is, and how much."""


@dataclass(frozen=True)
class Catalogue:
    """What GPUs cost.  `as_of` is `live`, or the date of the table that vidctl ships."""

    offers: tuple[Offer, ...]
    as_of: str


@dataclass(frozen=True)
class Worker:
    """One worker as RunPod lists it; `status` is a word such as INITIALIZING; None is not known, or not placed yet.

    `is_stale`: it runs an older version of the endpoint, and will be replaced.
    """

    id: str
    status: str
    is_stale: bool = False
    gpu_type_id: str | None = None
    data_center: str | None = None
    image: str | None = None
    uptime_s: int | None = None


@dataclass(frozen=True)
class WorkerList:
    """The workers of an endpoint that are there now."""

    workers: tuple[Worker, ...]
    endpoint_version: int | None = None

    @property
    def fresh(self) -> tuple[Worker, ...]:
        """Those of the newest version."""
        return tuple(worker for worker in self.workers if not worker.is_stale)


@dataclass(frozen=True)
class LogLine:
    """What a worker's container wrote, or what its host (`system`) tells of the container; `at` is RFC 3339."""

    at: str
    source: Literal["container", "system"]
    text: str

    @property
    def order(self) -> str:
        """What sorts lines by time: 52Z is before 52.1Z."""
        return self.at.removesuffix("Z")


@dataclass(frozen=True)
class LogBatch:
    """Lines that came together, and where to go on after them: the id of the last."""

    lines: tuple[LogLine, ...]
    last_id: str | None = None


@dataclass(frozen=True)
class ReleaseChange:
    """What a release changed: the field, as RunPod names it, and its values as JSON has them."""

    name: str
    old: Any = field(repr=False)
    new: Any = field(repr=False)


@dataclass(frozen=True)
class Release:
    """One version of an endpoint, newest or older; `source` is RunPod's word, as MANUAL or GIT_BUILD."""

    version: int
    created_at: str
    source: str
    workers: int
    changes: tuple[ReleaseChange, ...] = ()


@dataclass(frozen=True)
class ReleaseHistory:
    """An endpoint's versions, newest first, and how far its workers are with the newest."""

    version: int | None
    workers_on_latest: int
    workers_total: int
    is_rolling_out: bool
    releases: tuple[Release, ...]
