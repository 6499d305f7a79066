"""REST v2's catalog: GPUs with their pools and serverless prices, and data centers.  Pure.

This machine stands in for every serverless GPU, which is always in stock; it has no pods to let, hence no prices for
them.  Sources: RunPod's OpenAPI document 2.0.0; runpod.md §2.5 and §3.1.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from vidctl.local.control_plane.catalog import (
    DATA_CENTERS,
    POOLS,
    PRICE_PER_HOUR,
    STORAGE_CENTERS,
    display_name,
)
from vidctl.local.control_plane.rest_wire import Json, ProblemError
from vidctl.runpod.limits import country

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from vidctl.runpod.gpus import GpuType

    Query = Mapping[str, str]

_ONLY_WITH_AVAILABILITY: Final = ("product", "count", "cloud", "countryCodes", "cudaVersions", "minCudaVersion")
_PATTERNS: Final = {
    "count": r"[1-9]\d*",
    "cloud": r"SECURE|COMMUNITY",
    "countryCodes": r"[A-Z]{2}(,[A-Z]{2})*",
    "cudaVersions": r"\d+\.\d+(,\d+\.\d+)*",
    "minCudaVersion": r"\d+(\.\d+)?",
    "globalNetwork": r"true|false",
}
_PRODUCTS: Final = ("POD", "CLUSTER", "SERVERLESS")
_GPUS: Final = {gpu.id: (pool, gpu) for pool, gpus in POOLS.items() for gpu in gpus}


def gpus(query: Query) -> Json:
    """All GPU types; with countryCodes those that are in these countries.  Raise ProblemError for a wrong query."""
    with_stock = _asks_for_availability(query)
    places = _places(query)
    return {"gpus": [_gpu(pool, gpu, places if with_stock else None) for pool, gpu in _GPUS.values() if places]}


def gpu(gpu_id: str, query: Query) -> Json:
    """One GPU type; raise ProblemError for one that does not exist or a wrong query."""
    if gpu_id not in _GPUS:
        raise ProblemError(404, "GPU type not found")
    return _gpu(*_GPUS[gpu_id], _places(query) if _asks_for_availability(query) else None)


def data_centers(query: Query) -> Json:
    """The data centers that the filters leave.  Raise ProblemError for a wrong query."""
    centers = [_data_center(center, query) for center in DATA_CENTERS]
    return {"dataCenters": [center for center in centers if _is_wanted(center, query)]}


def data_center(center_id: str, query: Query) -> Json:
    """One data center; raise ProblemError for one that does not exist or a wrong query."""
    if center_id not in DATA_CENTERS:
        raise ProblemError(404, "data center not found")
    return _data_center(center_id, query)


def _asks_for_availability(query: Query) -> bool:
    included = _choices(query, "include", ("AVAILABILITY",))
    products = _choices(query, "product", _PRODUCTS)
    for name in _ONLY_WITH_AVAILABILITY:
        if name in query and not included:
            raise ProblemError(400, f"{name} is valid only with include=AVAILABILITY")
        if name in query and not re.fullmatch(_PATTERNS.get(name, ".*"), query[name], re.ASCII):
            raise ProblemError(422, f"{name}: '{query[name]}' does not match pattern '{_PATTERNS[name]}'")
    if included and not products:
        raise ProblemError(400, "product is required with include=AVAILABILITY")
    if "cudaVersions" in query and "minCudaVersion" in query:
        raise ProblemError(400, "cudaVersions and minCudaVersion are mutually exclusive")
    return bool(included)


def _places(query: Query) -> list[str]:
    if "countryCodes" not in query:
        return list(DATA_CENTERS)
    codes = query["countryCodes"].split(",")
    return [center for center in DATA_CENTERS if country(center) in codes]


def _gpu(pool: str, gpu: GpuType, places: Sequence[str] | None) -> Json:
    """A GPU type, with its stock in these places if they are asked for."""
    prices = {"serverless": PRICE_PER_HOUR[pool]} if pool in PRICE_PER_HOUR else {}
    shown: Json = {
        "id": gpu.id,
        "name": display_name(gpu),
        "pool": pool,
        "manufacturer": "NVIDIA",
        "memory": gpu.memory_gb,
        "secure": True,
        "community": False,
        "price": {"secure": 0.0, "community": 0.0, **prices},
        "maxCount": {"secure": 0, "community": 0},
    }
    if places is None:
        return shown
    if not places:
        return {**shown, "availability": "NONE"}
    stock = [{"id": place, "name": place, "availability": "HIGH"} for place in places]
    return {**shown, "availability": "HIGH", "dataCenters": stock}


def _data_center(center_id: str, query: Query) -> Json:
    shown: Json = {
        "id": center_id,
        "name": center_id,
        "region": "NORTH_AMERICA" if country(center_id) == "US" else "EUROPE",
        "globalNetwork": False,
        "networkVolumeTypes": ["STANDARD"] if center_id in STORAGE_CENTERS else [],
        "compliance": [],
    }
    if "GPU_AVAILABILITY" in _choices(query, "include", ("GPU_AVAILABILITY", "CPU_AVAILABILITY")):
        shown["gpuAvailability"] = [
            {"id": gpu.id, "name": display_name(gpu), "availability": "HIGH"} for _, gpu in _GPUS.values()
        ]
    return shown


def _is_wanted(center: Json, query: Query) -> bool:
    """Whether the filters leave a data center: one of the regions, all of the volume types and certificates."""
    regions = _parts(query, "regions")
    needed = [("networkVolumeTypes", _parts(query, "networkVolumeTypes")), ("compliance", _parts(query, "compliance"))]
    return (
        (not regions or center["region"] in regions)
        and all(set(wanted) <= set(center[field]) for field, wanted in needed)
        and query.get("globalNetwork") != "true"
    )


def _choices(query: Query, name: str, allowed: Sequence[str]) -> list[str]:
    given = _parts(query, name)
    if not set(given) <= set(allowed):
        raise ProblemError(422, f"{name}: value must be one of {', '.join(allowed)}")
    return given


def _parts(query: Query, name: str) -> list[str]:
    return [part for part in query.get(name, "").split(",") if part]
