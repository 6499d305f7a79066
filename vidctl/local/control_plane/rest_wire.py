"""Records as REST v2 writes them, and what its request bodies make of them.  Pure.

Sources: RunPod's OpenAPI document 2.0.0; runpod.md §2.4 and §2.5 for what the service does and the document does not
say.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any, TypeAlias

from vidctl.local.control_plane.catalog import DATA_CENTERS, POOLS
from vidctl.local.workers import start_command
from vidctl.runpod.gpus import GpuSelection, selection

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from vidctl.local.control_plane.records import (
        EndpointRecord,
        NetworkVolumeRecord,
        RegistryAuthRecord,
        ReleaseRecord,
        TemplateRecord,
    )
    from vidctl.local.workers.fleet import LocalWorker, WorkerStatus

Json: TypeAlias = dict[str, Any]

_STATUSES = ("RUNNING", "IDLE", "INITIALIZING", "THROTTLED", "UNHEALTHY")
_CONTAINER_FIELDS = {"image": "image_name", "args": "docker_args", "disk": "container_disk_in_gb", "env": "env"}
_NO_CAPACITY = (
    "There are no longer any instances available with the requested specifications. Please refresh and try again."
)
_NO_IDLE_TIMEOUT = "idleTimeout does not apply to queue-based endpoints scaling on requestCount"


class ProblemError(Exception):
    """An answer of RFC 9457: the request cannot be done, and why."""

    def __init__(self, status: int, detail: str, errors: Sequence[str] = ()) -> None:
        super().__init__(detail)
        self.status = status
        self.detail = detail
        self.errors = tuple(errors)


# Reading


def container(body: Json, base: TemplateRecord, template: TemplateRecord | None) -> TemplateRecord:
    """The container settings that a body asks for, over those of `template` or else of `base`.

    A template's variables stay beside the body's; without a template the body's are all there are.
    """
    settings: Json = {ours: body[theirs] for theirs, ours in _CONTAINER_FIELDS.items() if theirs in body}
    if body.keys() & {"cmd", "entrypoint"}:
        known = start_command.read((template or base).docker_args) or {}
        both = known | {name: body[name] for name in ("cmd", "entrypoint") if name in body}
        settings["docker_args"] = start_command.written(both)
    if "ports" in body:
        settings["ports"] = ",".join(body["ports"])
    if "registry" in body:
        settings["container_registry_auth_id"] = body["registry"] or ""
    if template is not None and "env" in body:
        settings["env"] = {**template.env, **body["env"]}
    return replace(template or base, **settings)


def endpoint(body: Json, base: EndpointRecord) -> EndpointRecord:
    """What a body makes of an endpoint; what it does not say stays.  Raise ProblemError for what RunPod would not
    save.
    """
    _check_family(body, base)
    after = replace(base, **_settings(body), **_workers(body.get("workers", {})), **_gpu(body.get("gpu", {})))
    if "idleTimeout" in body.get("workers", {}) and after.scaler_type == "REQUEST_COUNT":
        raise ProblemError(422, _NO_IDLE_TIMEOUT)
    for is_broken, detail in _rules(body, after):
        if is_broken:
            raise ProblemError(400, detail)
    return after


def _check_family(body: Json, base: EndpointRecord) -> None:
    """Raise ProblemError for a kind of endpoint that a request cannot ask for, or that cannot be here."""
    is_new = not base.id
    if is_new and ("gpu" in body) == ("cpu" in body):
        raise ProblemError(400, "exactly one of gpu or cpu is required")
    if not is_new and ("cpu" in body if not base.instance_ids else "gpu" in body):
        raise ProblemError(400, "an endpoint's compute family cannot be changed")
    if body.get("type") == "LOAD_BALANCER":
        raise ProblemError(422, "the local runtime runs queue endpoints only: type must be QUEUE")
    if "cpu" in body:
        raise ProblemError(422, "the local runtime takes endpoints with gpu only")


def _settings(body: Json) -> Json:
    settings: Json = {
        ours: body[theirs]
        for theirs, ours in (("name", "name"), ("timeout", "execution_timeout_ms"), ("flashboot", "flash_boot_type"))
        if theirs in body
    }
    if "dataCenterIds" in body:
        settings["locations"] = ",".join(body["dataCenterIds"])
    if "networkVolumes" in body:
        volumes = tuple(body["networkVolumes"])
        settings |= {"network_volume_ids": volumes, "network_volume_id": volumes[0] if volumes else ""}
    if "scaling" in body:
        kind = body["scaling"]["type"]
        value = body["scaling"]["queueDelay" if kind == "QUEUE_DELAY" else "requestCount"]
        settings |= {"scaler_type": kind, "scaler_value": value}
    return settings


def _workers(body: Json) -> Json:
    names = (("min", "workers_min"), ("max", "workers_max"), ("idleTimeout", "idle_timeout_s"))
    return {ours: body[theirs] for theirs, ours in names if theirs in body}


def _gpu(body: Json) -> Json:
    """`pools` and `excludedTypes` are one selection: pools without exclusions are the whole pools."""
    settings: Json = {}
    if "pools" in body:
        excluded = tuple(card.strip() for card in body.get("excludedTypes", ()))
        settings["gpu_ids"] = str(GpuSelection(tuple(body["pools"]), excluded))
    if "count" in body:
        settings["gpu_count"] = body["count"]
    if "allowedCudaVersions" in body:
        settings["allowed_cuda_versions"] = ",".join(body["allowedCudaVersions"])
    if "minCudaVersion" in body:
        settings["min_cuda_version"] = body["minCudaVersion"]
    return settings


def _rules(body: Json, record: EndpointRecord) -> Iterable[tuple[bool, str]]:
    """What must not be, each with what is said of it; the words of all but the data centers' are our own."""
    chosen = selection(record.gpu_ids)
    unknown = [pool for pool in chosen.pools if pool not in POOLS]
    members = {gpu.id for pool in chosen.pools for gpu in POOLS.get(pool, ())}
    strangers = [card for card in chosen.excluded if card not in members]
    return (
        (bool(unknown), f"gpu.pools has unknown GPU pools: {', '.join(unknown)}"),
        (bool(strangers), f"gpu.excludedTypes are no GPU types of the pools: {', '.join(strangers)}"),
        (bool(chosen.pools) and not chosen.types, "gpu.excludedTypes leaves no GPU type of the pools"),
        (
            "gpu" in body and bool(record.allowed_cuda_versions and record.min_cuda_version),
            "gpu.allowedCudaVersions and gpu.minCudaVersion are mutually exclusive",
        ),
        (record.workers_min > record.workers_max, "workers.min must not be greater than workers.max"),
        (record.execution_timeout_ms < 0, "timeout must not be negative"),
        (any(place not in DATA_CENTERS for place in body.get("dataCenterIds", ())), _NO_CAPACITY),
    )


def check_volumes(body: Json, record: EndpointRecord, find: Callable[[str], NetworkVolumeRecord | None]) -> None:
    """Raise ProblemError for a volume that does not exist, or from which the endpoint's data centers cannot be
    reached.
    """
    if not body.keys() & {"networkVolumes", "dataCenterIds"}:
        return
    places = _listed(record.locations)
    for volume_id in record.network_volume_ids:
        volume = find(volume_id)
        if volume is None:
            raise ProblemError(400, f"network volume {volume_id} not found")
        if places and volume.data_center not in places:
            raise ProblemError(400, _NO_CAPACITY)


def template(body: Json, base: TemplateRecord) -> TemplateRecord:
    """What a body makes of a template; what it does not say stays."""
    names = {
        "name": "name",
        "serverless": "is_serverless",
        "public": "is_public",
        "category": "category",
        "startSsh": "start_ssh",
        "startJupyter": "start_jupyter",
    }
    settings: Json = {ours: body[theirs] for theirs, ours in names.items() if theirs in body}
    if "allowedCudaVersions" in body:
        settings["allowed_cuda_versions"] = tuple(body["allowedCudaVersions"])
    if mount := body.get("mounts", {}).get("persistent"):
        settings |= {"volume_in_gb": mount["size"], "volume_mount_path": mount["path"]}
    return replace(container(body, base, None), **settings)


# Writing


def endpoint_json(record: EndpointRecord, template: TemplateRecord, url: str) -> Json:
    """An endpoint as REST v2 shows it: with its container settings, without its template."""
    is_counting = record.scaler_type == "REQUEST_COUNT"
    idle = {} if is_counting else {"idleTimeout": record.idle_timeout_s}
    return {
        "id": record.id,
        "name": record.name,
        "type": "QUEUE",
        **_container_json(template),
        **_compute_json(record),
        "workers": {"min": record.workers_min, "max": record.workers_max, **idle},
        "scaling": {"type": record.scaler_type, "requestCount" if is_counting else "queueDelay": record.scaler_value},
        "dataCenterIds": _listed(record.locations),
        "networkVolumes": list(record.network_volume_ids),
        "timeout": record.execution_timeout_ms,
        "flashboot": record.flash_boot_type,
        "requestUrls": _request_urls(f"{url}/v2/{record.id}"),
        "createdAt": record.created_at,
    }


def _container_json(template: TemplateRecord) -> Json:
    words = start_command.read(template.docker_args)
    return {
        "image": template.image_name,
        **({"args": template.docker_args} if words is None else {"args": "", **words}),
        "disk": template.container_disk_in_gb,
        "env": template.env,
        "ports": _listed(template.ports),
        "registry": template.container_registry_auth_id or None,
    }


def _compute_json(record: EndpointRecord) -> Json:
    if record.instance_ids:
        return {"gpu": None, "cpu": [_cpu_json(instance_id) for instance_id in record.instance_ids]}
    chosen = selection(record.gpu_ids)
    return {
        "gpu": {
            "pools": list(chosen.pools),
            "excludedTypes": list(chosen.excluded),
            "count": record.gpu_count,
            "allowedCudaVersions": _listed(record.allowed_cuda_versions),
            "minCudaVersion": record.min_cuda_version or None,
        }
    }


def _cpu_json(instance_id: str) -> Json:
    """`cpu3g-4-16` is a flavor, its vCPUs and its memory in GB (runpod.md §1.4, instanceIds)."""
    flavor, _, sizes = instance_id.partition("-")
    vcpus, _, memory = sizes.partition("-")
    return {
        "id": flavor,
        "vcpuCount": int(vcpus) if vcpus.isdecimal() else 2,
        "memory": int(memory) if memory.isdecimal() else 1,
    }


def _request_urls(base: str) -> Json:
    return {
        "run": f"{base}/run",
        "runSync": f"{base}/runsync",
        "status": f"{base}/status/{{job_id}}",
        "stream": f"{base}/stream/{{job_id}}",
        "cancel": f"{base}/cancel/{{job_id}}",
        "retry": f"{base}/retry/{{job_id}}",
        "purgeQueue": f"{base}/purge-queue",
        "health": f"{base}/health",
    }


def template_json(record: TemplateRecord) -> Json:
    mount = {"size": record.volume_in_gb, "path": record.volume_mount_path}
    return {
        "id": record.id,
        "name": record.name,
        **_container_json(record),
        "mounts": {"persistent": mount} if record.volume_in_gb else {},
        "serverless": record.is_serverless,
        "public": record.is_public,
        "category": record.category,
        "startSsh": record.start_ssh,
        "startJupyter": record.start_jupyter,
        "allowedCudaVersions": list(record.allowed_cuda_versions),
    }


def registry_json(record: RegistryAuthRecord) -> Json:
    return {"id": record.id, "name": record.name}


def volume_json(record: NetworkVolumeRecord) -> Json:
    return {
        "id": record.id,
        "name": record.name,
        "size": record.size_gb,
        "dataCenter": record.data_center,
        "type": record.type,
    }


def workers_json(record: EndpointRecord, shown: Sequence[tuple[LocalWorker, WorkerStatus]], now_ms: int) -> Json:
    """An endpoint's workers and how many there are of each status."""
    statuses: list[str] = [status for _, status in shown]
    return {
        "workers": [_worker_json(record, worker, status, now_ms) for worker, status in shown],
        "summary": {**{name.lower(): statuses.count(name) for name in _STATUSES}, "total": len(statuses)},
        "endpointVersion": record.version,
    }


def _worker_json(record: EndpointRecord, worker: LocalWorker, status: WorkerStatus, now_ms: int) -> Json:
    """A worker; this machine stands in for the first GPU and data center that the endpoint may have."""
    started_ms = worker.spawned_at_ms
    return {
        "id": worker.id,
        "status": status,
        "isStale": worker.version != record.version,
        "version": worker.version,
        "gpuCount": record.gpu_count,
        "image": worker.image,
        "uptimeSeconds": None if started_ms is None else max(0, now_ms - started_ms) // 1000,
        "gpuTypeId": next(iter(selection(record.gpu_ids).types), None),
        "dataCenterId": next(iter(_listed(record.locations)), None),
        "startedAt": None if started_ms is None else rfc3339(started_ms),
    }


def releases_json(record: EndpointRecord, releases: Iterable[ReleaseRecord], versions: Sequence[int]) -> Json:
    """What was saved of an endpoint, newest first, and how many workers run which version; `versions` are theirs."""
    on_latest = versions.count(record.version)
    return {
        "endpointVersion": record.version,
        "rollout": {
            "inProgress": on_latest < len(versions),
            "workersOnLatest": on_latest,
            "workersTotal": len(versions),
            "percentOnLatest": 100 * on_latest // len(versions) if versions else 0,
        },
        "releases": [_release_json(release, versions.count(release.version)) for release in releases],
    }


def _release_json(release: ReleaseRecord, workers: int) -> Json:
    return {
        "id": release.id,
        "version": release.version,
        "source": "MANUAL",
        "buildId": None,
        "createdByUserId": "local",
        "workerCount": workers,
        "createdAt": release.created_at,
        "diff": [{"field": field, "old": old, "new": new} for field, old, new in release.diff],
    }


def problem_json(problem: ProblemError, title: str) -> Json:
    body: Json = {"title": title, "status": problem.status, "detail": problem.detail}
    return {**body, "errors": list(problem.errors)} if problem.errors else body


def rfc3339(at_ms: int) -> str:
    at = datetime.fromtimestamp(at_ms / 1000, timezone.utc)
    return at.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _listed(text: str) -> list[str]:
    """The parts of a comma-separated text."""
    return [part.strip() for part in text.split(",") if part.strip()]
