"""The GPU pools and data centers that the local runtime knows by name; every GPU of theirs is this machine.

Sources: RunPod docs, references/gpu-types; runpod/flash core/resources/gpu.py and datacenter.py.
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

DATA_CENTERS: Final = (
    "EU-CZ-1",
    "EU-RO-1",
    "EUR-NO-1",
    "US-CA-2",
    "US-IL-1",
    "US-KS-2",
    "US-MO-1",
    "US-MO-2",
    "US-NC-2",
    "US-NE-1",
    "US-TX-3",
    "US-WA-1",
)
