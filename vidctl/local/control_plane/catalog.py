"""The GPU pools and data centers that the local runtime knows by name; every GPU of theirs is this machine.

Sources: RunPod docs, references/gpu-types, storage/s3-api and, of 2026-07-20, snippets/serverless-gpu-pricing-table;
runpod/flash core/resources/gpu.py and datacenter.py.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True)
class GpuType:
    """A card as RunPod names it, with its memory in GB."""

    id: str
    memory_gb: int

    @property
    def display_name(self) -> str:
        return self.id.removeprefix("NVIDIA ").removeprefix("GeForce ")


POOLS: Final = {
    "AMPERE_16": (
        GpuType("NVIDIA RTX A4000", 16),
        GpuType("NVIDIA RTX A4500", 20),
        GpuType("NVIDIA RTX 4000 Ada Generation", 20),
        GpuType("NVIDIA RTX 2000 Ada Generation", 16),
    ),
    "AMPERE_24": (
        GpuType("NVIDIA L4", 24),
        GpuType("NVIDIA RTX A5000", 24),
        GpuType("NVIDIA GeForce RTX 3090", 24),
    ),
    "ADA_24": (GpuType("NVIDIA GeForce RTX 4090", 24),),
    "ADA_32_PRO": (GpuType("NVIDIA GeForce RTX 5090", 32),),
    "AMPERE_48": (GpuType("NVIDIA A40", 48), GpuType("NVIDIA RTX A6000", 48)),
    "ADA_48_PRO": (
        GpuType("NVIDIA L40", 48),
        GpuType("NVIDIA L40S", 48),
        GpuType("NVIDIA RTX 6000 Ada Generation", 48),
    ),
    "AMPERE_80": (GpuType("NVIDIA A100 80GB PCIe", 80), GpuType("NVIDIA A100-SXM4-80GB", 80)),
    "ADA_80_PRO": (
        GpuType("NVIDIA H100 PCIe", 80),
        GpuType("NVIDIA H100 80GB HBM3", 80),
        GpuType("NVIDIA H100 NVL", 94),
    ),
    "BLACKWELL_96": (
        GpuType("NVIDIA RTX PRO 6000 Blackwell Server Edition", 96),
        GpuType("NVIDIA RTX PRO 6000 Blackwell Workstation Edition", 96),
        GpuType("NVIDIA RTX PRO 6000 Blackwell Max-Q Workstation Edition", 96),
    ),
    "HOPPER_141": (GpuType("NVIDIA H200", 141),),
    "BLACKWELL_180": (GpuType("NVIDIA B200", 180),),
}

# US dollars a second of one GPU of a flex worker.  The table says nothing of ADA_32_PRO.
_PRICE_PER_SECOND: Final = {
    "AMPERE_16": 0.00016,
    "AMPERE_24": 0.00019,
    "ADA_24": 0.00031,
    "AMPERE_48": 0.00034,
    "ADA_48_PRO": 0.00053,
    "AMPERE_80": 0.00076,
    "ADA_80_PRO": 0.00116,
    "BLACKWELL_96": 0.00111,
    "HOPPER_141": 0.00155,
    "BLACKWELL_180": 0.00240,
}
PRICE_PER_HOUR: Final = {pool: round(price * 3600, 2) for pool, price in _PRICE_PER_SECOND.items()}

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


@dataclass(frozen=True)
class Selection:
    """The GPUs that an endpoint asks for: pools, without some of their types."""

    pools: tuple[str, ...]
    excluded: tuple[str, ...]

    @property
    def types(self) -> tuple[str, ...]:
        """The types that are left, in the order of the pools."""
        cards = (gpu.id for pool in self.pools for gpu in POOLS.get(pool, ()))
        return tuple(card for card in cards if card not in self.excluded)

    def __str__(self) -> str:
        return ",".join((*self.pools, *(f"-{card}" for card in self.excluded)))


def selection(gpu_ids: str) -> Selection:
    """Read `POOL[,POOL…][,-<GPU type id>…]`."""
    choices = [choice.strip() for choice in gpu_ids.split(",")]
    return Selection(
        pools=tuple(choice for choice in choices if choice and not choice.startswith("-")),
        excluded=tuple(choice[1:].strip() for choice in choices if choice.startswith("-")),
    )


def unknown_places(locations: str) -> list[str]:
    """What is neither a data center nor a country in a comma-separated list of both."""
    places = [place.strip() for place in locations.split(",") if place.strip()]
    return [place for place in places if place not in DATA_CENTERS and place not in COUNTRIES]


def is_within(data_center: str, locations: str) -> bool:
    """Whether a data center is one of the places of such a list, or in one of them; it is when the list is empty."""
    places = {place.strip() for place in locations.split(",") if place.strip()}
    return not places or bool(places & {data_center, country(data_center)})


def country(data_center: str) -> str:
    """The ISO code of a data center's country: `US-KS-2` is in the US, `EU-RO-1` in RO."""
    continent, place, _ = data_center.split("-")
    return continent if continent == "US" else place


# Those that GraphQL takes as a location (runpod.md §1.4), and those that its data centers are in.
COUNTRIES: Final = frozenset({"CZ", "FR", "GB", "NO", "RO", "US"} | {country(place) for place in DATA_CENTERS})
