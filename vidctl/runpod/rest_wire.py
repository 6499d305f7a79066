"""How REST v2 spells an endpoint, its container, a login, an offer and a refusal: to our values, and back.  Pure."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping
from typing import Any, Final

from vidctl.errors import RefusedError
from vidctl.runpod import gpus
from vidctl.runpod.failures import refused
from vidctl.runpod.gpus import GpuSelection
from vidctl.runpod.reading import Node, endpoint_name, nodes, part, read, strings
from vidctl.runpod.types import Endpoint, Offer, RegistryLogin, Stock, Template

_STOCKS: Final[tuple[Stock, ...]] = ("NONE", "LOW", "MEDIUM", "HIGH")

# Where in a body a value of ours stands; a problem names it as `$.workers.max: …`.
_FIELDS: Final = {
    "name": "name",
    "image": "image",
    "args": "docker_args",
    "disk": "container_disk_gb",
    "env": "env",
    "registry": "registry_auth_id",
    "gpu.pools": "gpu_ids",
    "gpu.excludedTypes": "gpu_ids",
    "gpu.count": "gpu_count",
    "gpu.allowedCudaVersions": "cuda_versions",
    "gpu.minCudaVersion": "min_cuda",
    "workers.min": "workers_min",
    "workers.max": "workers_max",
    "workers.idleTimeout": "idle_timeout_s",
    "scaling.type": "scaler_type",
    "scaling": "scaler_value",
    "dataCenterIds": "locations",
    "networkVolumes": "network_volume_id",
    "timeout": "execution_timeout_ms",
    "flashboot": "flashboot",
}
_POINTED: Final = re.compile(r"([$/][^:]*):(.*)", re.DOTALL)
_KEYS: Final = {
    path.rpartition(".")[2]: field for path, field in _FIELDS.items() if path not in ("name", "scaling.type")
}


def refusal_of(problem: Mapping[str, Any], status: int, hide: Iterable[str]) -> RefusedError:
    """An RFC 9457 problem in one sentence.

    Where a property is missing, RunPod lists every other one as unknown too: the missing one is what is wrong.
    """
    errors = problem.get("errors")
    lines = [line for line in errors if isinstance(line, str)] if isinstance(errors, list) else []
    lines.sort(key=lambda line: "missing propert" not in line)
    message = next(
        (words for words in (*lines, problem.get("detail"), problem.get("title")) if words), "no reason given"
    )
    return refused(str(message), field=_field(str(message)), hide=hide, status=status)


def _field(message: str) -> str | None:
    """Which value of ours it is about: by the pointer before the colon, else by the first name of one in the words."""
    pointed = _POINTED.match(message)
    pointer, words = pointed.groups() if pointed else ("", message)
    path = re.findall(r"[A-Za-z]+", pointer)
    for length in range(len(path), 0, -1):
        if field := _FIELDS.get(".".join(path[:length])):
            return field
    names = (".".join([*path, name]) for name in re.findall(r"[A-Za-z]+", words))
    return next((_FIELDS.get(name) or _KEYS[name] for name in names if name in _FIELDS or name in _KEYS), None)


def endpoint_changes(endpoint: Endpoint, live: Endpoint) -> Node:
    """What a PATCH must send to make `live` equal: fields that differ, and of an object (`gpu`, …) all that is ours.

    What is equal stays out: a name renames the endpoint's template, a volume or a flashboot may be more than ours.
    """
    there, wanted = endpoint_input(live), endpoint_input(endpoint)
    if _unordered(there) == _unordered(wanted):
        return {}  # another order alone is not written
    changes = {name: value for name, value in wanted.items() if value != there[name]}
    if "gpu" in changes and (endpoint.cuda_versions or live.min_cuda):
        # It excludes a list of versions, and must be cleared in the same PATCH.
        changes["gpu"].setdefault("minCudaVersion", "")
    return changes


def _unordered(value: Any) -> Any:
    """A value that is equal to another whose lists have another order, which REST v2 does not keep."""
    if isinstance(value, dict):
        return {name: _unordered(each) for name, each in value.items()}
    return frozenset(value) if isinstance(value, list) else value


def endpoint_input(endpoint: Endpoint) -> Node:
    template, chosen = endpoint.template, gpus.selection(endpoint.gpu_ids)
    is_by_requests = endpoint.scaler_type == "REQUEST_COUNT"
    # A queue that scales on requests has no idle timeout: 422 (RunPod's OpenAPI document, EndpointWorkers).
    idle = {} if is_by_requests else {"idleTimeout": endpoint.idle_timeout_s}
    return {
        "name": endpoint.name,
        "image": template.image,
        "args": template.docker_args,
        "disk": template.container_disk_gb,
        "env": template.env,
        "registry": template.registry_auth_id or None,
        "gpu": {
            "pools": list(dict.fromkeys(chosen.pools)),
            "excludedTypes": list(dict.fromkeys(chosen.excluded)),
            "count": endpoint.gpu_count,
            "allowedCudaVersions": list(endpoint.cuda_versions),
            **({"minCudaVersion": endpoint.min_cuda} if endpoint.min_cuda and not endpoint.cuda_versions else {}),
        },
        "workers": {"min": endpoint.workers_min, "max": endpoint.workers_max, **idle},
        "scaling": {
            "type": endpoint.scaler_type,
            "requestCount" if is_by_requests else "queueDelay": endpoint.scaler_value,
        },
        "dataCenterIds": list(endpoint.locations),
        "networkVolumes": [endpoint.network_volume_id] if endpoint.network_volume_id else [],
        "timeout": endpoint.execution_timeout_ms,
        "flashboot": "FLASHBOOT" if endpoint.flashboot else "OFF",
    }


def endpoint_of(node: Node) -> Endpoint:
    gpu, workers, scaling = (part(node, key) for key in ("gpu", "workers", "scaling"))
    is_by_requests = scaling.get("type") == "REQUEST_COUNT"
    return Endpoint(
        id=read(node, "id", str, None),
        name=endpoint_name(node),
        template=template_of(node),
        gpu_ids=str(GpuSelection(tuple(strings(gpu, "pools")), tuple(strings(gpu, "excludedTypes")))),
        gpu_count=read(gpu, "count", int, 1),
        workers_min=read(workers, "min", int, 0),
        workers_max=read(workers, "max", int, 0),
        idle_timeout_s=read(workers, "idleTimeout", int, 0),
        execution_timeout_ms=read(node, "timeout", int, 0),
        scaler_type="REQUEST_COUNT" if is_by_requests else "QUEUE_DELAY",
        # A queue delay may be half a second here: rounded up, so that it is never taken for "at once".
        scaler_value=math.ceil(read(scaling, "requestCount" if is_by_requests else "queueDelay", (int, float), 0)),
        locations=tuple(strings(node, "dataCenterIds")),
        network_volume_id=next(iter(strings(node, "networkVolumes")), ""),
        cuda_versions=tuple(strings(gpu, "allowedCudaVersions")),
        min_cuda=read(gpu, "minCudaVersion", str, ""),
        flashboot=read(node, "flashboot", str, "OFF") != "OFF",
    )


def template_of(node: Node) -> Template:
    env = part(node, "env")
    return Template(
        image=read(node, "image", str, ""),
        docker_args=read(node, "args", str, ""),
        container_disk_gb=read(node, "disk", int, 0),
        registry_auth_id=read(node, "registry", str, ""),
        env={name: read(env, name, str, "") for name in env},
    )


def login_of(node: Node) -> RegistryLogin:
    return RegistryLogin(id=read(node, "id", str, ""), name=read(node, "name", str, ""))


def offer_of(pool: str, cards: list[Node]) -> Offer:
    prices = [read(part(card, "price"), "serverless", (int, float), None) for card in cards]
    stocks = [_STOCKS.index(card["availability"]) for card in cards if card.get("availability") in _STOCKS]
    return Offer(
        pool,
        price_per_hour=max((float(price) for price in prices if price is not None), default=None),
        stock=_STOCKS[max(stocks)] if stocks else None,
        data_centers=_places(cards),
    )


def _places(cards: list[Node]) -> tuple[tuple[str, Stock], ...]:
    """In which data centers a pool's cards are, each with what there is most of one of them."""
    found: dict[str, int] = {}
    for card in cards:
        for place in nodes(card, "dataCenters"):
            if place.get("availability") in _STOCKS and (name := read(place, "id", str, "")):
                found[name] = max(found.get(name, 0), _STOCKS.index(place["availability"]))
    return tuple((name, _STOCKS[level]) for name, level in sorted(found.items()))
