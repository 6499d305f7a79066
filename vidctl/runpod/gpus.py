"""The GPUs that RunPod Serverless rents: from the names people use to its pools.  Pure: no network.

RunPod rents a pool, not a card: `L4` means "one of AMPERE_24".  Pools, members and prices are those of RunPod's docs
(references/gpu-types and serverless/pricing) and of runpod-flash 1.21 on the day `PRICED_ON`.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from vidctl.errors import SpecError

PRICED_ON = "2026-07-20"


class UnknownGpuError(SpecError):
    """unknown GPU; the hint names the nearest that it has."""

    code = "unknown_gpu"


@dataclass(frozen=True)
class GpuType:
    """One model of card.  `id` is RunPod's GPU type id; `aliases` are its other names, some shared with siblings."""

    id: str
    memory_gb: int
    aliases: tuple[str, ...] = ()


@dataclass(frozen=True)
class Pool:
    """Cards that RunPod takes for equal.  `price_per_s`: US dollars a second of a flex worker; None if unpublished."""

    id: str
    memory_gb: int
    price_per_s: float | None
    gpu_types: tuple[GpuType, ...]

    @property
    def price_per_hour(self) -> float | None:
        return None if self.price_per_s is None else round(self.price_per_s * 3600, 4)


@dataclass(frozen=True)
class GpuChoice:
    """What a name means: a pool, and those of its cards that the name covers."""

    pool: Pool
    gpu_types: tuple[GpuType, ...]


@dataclass(frozen=True)
class GpuSelection:
    """What an endpoint asks for: pools in order of priority, without some of their types of card.

    As text it is RunPod's `gpuIds`: `POOL[,POOL…][,-<GPU type id>…]`.
    """

    pools: tuple[str, ...]
    excluded: tuple[str, ...] = ()

    @property
    def types(self) -> tuple[str, ...]:
        """The types that are left, in the order of the pools."""
        cards = (card.id for pool in self.pools if pool in _POOLS_BY_ID for card in _POOLS_BY_ID[pool].gpu_types)
        return tuple(card for card in cards if card not in self.excluded)

    def __str__(self) -> str:
        return ",".join((*self.pools, *(f"-{card}" for card in self.excluded)))


CUDA_VERSIONS = (
    "11.8", "12.0", "12.1", "12.2", "12.3", "12.4", "12.5", "12.6", "12.7", "12.8", "12.9", "13.0",
)  # fmt: skip
"""What RunPod takes, the oldest first: the values of `CudaVersion` in its REST API (runpod-sdk 0.6.2 on docs.rs)."""

POOLS: tuple[Pool, ...] = (
    Pool(
        "AMPERE_16",
        16,
        0.00016,
        (
            GpuType("NVIDIA RTX A4000", 16),
            GpuType("NVIDIA RTX A4500", 20),
            GpuType("NVIDIA RTX 4000 Ada Generation", 20),
            GpuType("NVIDIA RTX 2000 Ada Generation", 16),
        ),
    ),
    Pool(
        "AMPERE_24",
        24,
        0.00019,
        (GpuType("NVIDIA L4", 24), GpuType("NVIDIA RTX A5000", 24), GpuType("NVIDIA GeForce RTX 3090", 24)),
    ),
    Pool("ADA_24", 24, 0.00031, (GpuType("NVIDIA GeForce RTX 4090", 24),)),
    Pool("ADA_32_PRO", 32, None, (GpuType("NVIDIA GeForce RTX 5090", 32),)),
    Pool("AMPERE_48", 48, 0.00034, (GpuType("NVIDIA A40", 48), GpuType("NVIDIA RTX A6000", 48))),
    Pool(
        "ADA_48_PRO",
        48,
        0.00053,
        (GpuType("NVIDIA L40", 48), GpuType("NVIDIA L40S", 48), GpuType("NVIDIA RTX 6000 Ada Generation", 48)),
    ),
    Pool(
        "AMPERE_80",
        80,
        0.00076,
        (
            GpuType("NVIDIA A100 80GB PCIe", 80, ("A100",)),
            GpuType("NVIDIA A100-SXM4-80GB", 80, ("A100", "A100 SXM")),
        ),
    ),
    Pool(
        "ADA_80_PRO",
        80,
        0.00116,
        (
            GpuType("NVIDIA H100 PCIe", 80, ("H100",)),
            GpuType("NVIDIA H100 80GB HBM3", 80, ("H100", "H100 SXM", "H100 SXM5")),
            GpuType("NVIDIA H100 NVL", 94, ("H100",)),
        ),
    ),
    Pool(
        "BLACKWELL_96",
        96,
        0.00111,
        (
            GpuType(
                "NVIDIA RTX PRO 6000 Blackwell Server Edition",
                96,
                ("RTX PRO 6000", "RTX PRO 6000 Blackwell", "RTX PRO 6000 Server"),
            ),
            GpuType(
                "NVIDIA RTX PRO 6000 Blackwell Workstation Edition",
                96,
                ("RTX PRO 6000", "RTX PRO 6000 Blackwell", "RTX PRO 6000 Workstation"),
            ),
            GpuType(
                "NVIDIA RTX PRO 6000 Blackwell Max-Q Workstation Edition",
                96,
                ("RTX PRO 6000", "RTX PRO 6000 Blackwell", "RTX PRO 6000 Max-Q"),
            ),
        ),
    ),
    Pool("HOPPER_141", 141, 0.00155, (GpuType("NVIDIA H200", 141, ("H200", "H200 SXM")),)),
    Pool("BLACKWELL_180", 180, 0.00240, (GpuType("NVIDIA B200", 180),)),
)

# Cards that people ask for and no serverless pool has, with the nearest that one has.
NOT_OFFERED = {
    "V100": "L4 or RTX A5000",
    "P100": "RTX A4000",
    "T4": "RTX A4000",
    "A2": "RTX 2000 Ada",
    "A10": "L4 or RTX A5000",
    "A10G": "L4 or RTX A5000",
    "A16": "RTX A4000",
    "A30": "L4 or RTX A5000",
    "RTX A2000": "RTX 2000 Ada",
    "RTX 5000 Ada": "RTX 5090 or RTX 6000 Ada",
    "RTX PRO 4500": "RTX 5090",
    "RTX 2080 Ti": "RTX A4000",
    "RTX 3060": "RTX A4000",
    "RTX 3070": "RTX A4000",
    "RTX 3080": "RTX A4500",
    "RTX 3080 Ti": "RTX 3090",
    "RTX 3090 Ti": "RTX 3090",
    "RTX 4070": "RTX A4000",
    "RTX 4070 Ti": "RTX A4000",
    "RTX 4080": "RTX 4090",
    "RTX 5070": "RTX 4090",
    "RTX 5080": "RTX 4090",
    "L20": "L40S",
    "H20": "H100",
    "H800": "H100",
    "GH200": "H200",
    "H200 NVL": "H200",
    "B300": "B200",
    "GB200": "B200",
    "MI300X": "H200",
}


def resolve(name: str) -> GpuChoice:
    """Find the pool and the cards that a name means: what people say, a pool id, or RunPod's GPU type id.

    Case, spaces and the words NVIDIA, GeForce and RTX do not matter; a size (`A100 80GB`) must be right.
    Raises UnknownGpuError.
    """
    if pool := _POOLS_BY_ID.get(name.strip().upper()):
        return GpuChoice(pool, pool.gpu_types)
    memory_gb, key = _memory_and_key(name)
    choice = _CHOICES.get(key)
    if choice is None:
        raise _unknown(name, key)
    if memory_gb is None:
        return choice
    return _of_size(choice, name, memory_gb)


def gpu_ids(names: Iterable[str], *, exact: bool = False) -> str:
    """Write RunPod's `gpuIds`: pools in the order first named, each once, then with `exact` the cards not asked for.

    Raises UnknownGpuError.
    """
    wanted = _wanted(names)
    excluded = [
        gpu_type.id
        for pool, gpu_types in wanted.items()
        for gpu_type in pool.gpu_types
        if exact and gpu_type not in gpu_types
    ]
    return str(GpuSelection(tuple(pool.id for pool in wanted), tuple(excluded)))


def selection(gpu_ids: str) -> GpuSelection:
    """Read RunPod's `gpuIds`."""
    parts = [part.strip() for part in gpu_ids.split(",")]
    return GpuSelection(
        pools=tuple(part for part in parts if part and not part.startswith("-")),
        excluded=tuple(part[1:].strip() for part in parts if part.startswith("-")),
    )


def notes(names: Iterable[str], *, exact: bool = False) -> list[str]:
    """Say, for each pool that may give more than one model of card, which ones.  Raises UnknownGpuError."""
    lines = []
    for pool, named in _wanted(names).items():
        possible = _possible(pool, named, exact=exact)
        if len(possible) > 1:
            narrower = len(named) < len(possible)
            advice = "; write `exact: true` to get only the GPUs named" if narrower else ""
            lines.append(f"{pool.id} gives {_either([gpu_type.id for gpu_type in possible])}{advice}")
    return lines


def cards(names: Iterable[str], *, exact: bool = False) -> list[GpuType]:
    """List the models of card that RunPod may give for these names.  Raises UnknownGpuError."""
    return [card for pool, named in _wanted(names).items() for card in _possible(pool, named, exact=exact)]


def _possible(pool: Pool, named: set[GpuType], *, exact: bool) -> list[GpuType]:
    return [gpu_type for gpu_type in pool.gpu_types if not exact or gpu_type in named]


def _wanted(names: Iterable[str]) -> dict[Pool, set[GpuType]]:
    wanted: dict[Pool, set[GpuType]] = {}
    for choice in map(resolve, names):
        wanted.setdefault(choice.pool, set()).update(choice.gpu_types)
    return wanted


def _of_size(choice: GpuChoice, name: str, memory_gb: int) -> GpuChoice:
    fitting = tuple(gpu_type for gpu_type in choice.gpu_types if gpu_type.memory_gb == memory_gb)
    if not fitting:
        sizes = _either([f"{size} GB" for size in sorted({gpu_type.memory_gb for gpu_type in choice.gpu_types})])
        card = re.sub(r"[\s_-]*" + _MEMORY.pattern, "", name, flags=re.IGNORECASE).strip()
        raise UnknownGpuError(
            f"RunPod Serverless has no {card} with {memory_gb} GB", hint=f"its {card} has {sizes}: write {card}"
        )
    return GpuChoice(choice.pool, fitting)


def _unknown(name: str, key: str) -> UnknownGpuError:
    for card, nearest in NOT_OFFERED.items():
        if key == _key(card):
            return UnknownGpuError(
                f"RunPod Serverless does not offer the {card}", hint=f"the nearest it has: {nearest}"
            )
    near = difflib.get_close_matches(key, _CHOICES, n=1, cutoff=0.6)
    pools = difflib.get_close_matches(name.strip().upper(), _POOLS_BY_ID, n=1, cutoff=0.75)
    if pools or near:
        meant = pools[0] if pools else _SHORT[near[0]]
        return UnknownGpuError(f"unknown GPU {name!r}", hint=f"did you mean {meant}?")
    return UnknownGpuError(f"unknown GPU {name!r}", hint=f"available: {_every_card()}")


def _every_card() -> str:
    named = (_SHORT[_key([*gpu_type.aliases, gpu_type.id][0])] for pool in POOLS for gpu_type in pool.gpu_types)
    return ", ".join(dict.fromkeys(named))


_MEMORY = re.compile(r"(?<![a-z0-9])(\d{1,4})\s*gi?b?(?![a-z0-9])", re.IGNORECASE)
_NOISE = re.compile(r"nvidia|geforce|rtx|generation|edition|[^a-z0-9]")


def _memory_and_key(name: str) -> tuple[int | None, str]:
    found = _MEMORY.search(name)
    return int(found[1]) if found else None, _key(name)


def _key(name: str) -> str:
    """The name without what people leave out: 'NVIDIA GeForce RTX 4090 24GB' is '4090'."""
    return _NOISE.sub("", _MEMORY.sub(" ", name).lower())


def _either(words: Sequence[str]) -> str:
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} or {words[-1]}"


def _choices() -> dict[str, GpuChoice]:
    cards: dict[str, dict[GpuType, Pool]] = {}
    for pool in POOLS:
        for gpu_type in pool.gpu_types:
            for name in (gpu_type.id, *gpu_type.aliases):
                cards.setdefault(_key(name), {})[gpu_type] = pool
    return {key: GpuChoice(next(iter(found.values())), tuple(found)) for key, found in cards.items()}


def _short_names() -> dict[str, str]:
    """For each key the name to say to a person, most specific keys included: '4090' is 'RTX 4090'."""
    return {
        _key(name): re.sub(r"NVIDIA |GeForce | Generation| Edition|[ -]80GB", "", name)
        for pool in POOLS
        for gpu_type in pool.gpu_types
        for name in (*gpu_type.aliases, gpu_type.id)
    }


_POOLS_BY_ID = {pool.id: pool for pool in POOLS}
_CHOICES = _choices()
_SHORT = _short_names()
