"""The GPU pools and data centers that the local runtime knows by name; every GPU of theirs is this machine.

Sources of the data centers: RunPod docs, storage/s3-api; runpod/flash core/resources/datacenter.py.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from vidctl.runpod import gpus, limits

if TYPE_CHECKING:
    from vidctl.runpod.gpus import GpuType

POOLS: Final = {pool.id: pool.gpu_types for pool in gpus.POOLS}
# US dollars of one GPU of a flex worker, of the pools whose price is published.
PRICE_PER_HOUR: Final = {
    pool.id: round(pool.price_per_hour, 2) for pool in gpus.POOLS if pool.price_per_hour is not None
}

# Those that have network volumes.
STORAGE_CENTERS: Final = (
    "EU-CZ-1",
    "EU-RO-1",
    "EUR-IS-1",
    "EUR-NO-1",
    "US-CA-2",
    "US-GA-2",
    "US-IL-1",
    "US-KS-2",
    "US-MD-1",
    "US-MO-1",
    "US-MO-2",
    "US-NC-1",
    "US-NC-2",
    "US-NE-1",
    "US-WA-1",
)
DATA_CENTERS: Final = (*STORAGE_CENTERS, "US-TX-3")


def display_name(gpu: GpuType) -> str:
    """What RunPod calls a card where people read it."""
    return gpu.id.removeprefix("NVIDIA ").removeprefix("GeForce ")


def unknown_places(locations: str) -> list[str]:
    """What is neither a data center nor a country in a comma-separated list of both."""
    places = [place.strip() for place in locations.split(",") if place.strip()]
    return [place for place in places if place not in DATA_CENTERS and place not in COUNTRIES]


def is_within(data_center: str, locations: str) -> bool:
    """Whether a data center is one of the places of such a list, or in one of them; it is when the list is empty."""
    places = {place.strip() for place in locations.split(",") if place.strip()}
    return not places or bool(places & {data_center, limits.country(data_center)})


# Those that GraphQL takes as a location (runpod.md §1.4), and those that its data centers are in.
COUNTRIES: Final = limits.COUNTRIES | {limits.country(place) for place in DATA_CENTERS}
