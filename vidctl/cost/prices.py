"""What a worker costs a second, pool by pool, by RunPod's own prices or by the table that vidctl ships.  Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from vidctl.deploy.cost import cost, priced_on
from vidctl.runpod import gpus
from vidctl.runpod.types import Catalogue, Endpoint, Template


@dataclass(frozen=True)
class Prices:
    """US dollars of a worker with `gpu_count` GPUs; None is not published.  `as_of` is `live`, or a table's date."""

    catalogue: Catalogue | None
    gpu_count: int = 1

    @property
    def as_of(self) -> str:
        return priced_on(self.catalogue)

    def per_s(self, pools: Sequence[str]) -> float | None:
        """What a second costs in the dearest of the pools, which is what it may cost."""
        worker = cost(
            Endpoint("", Template(""), gpu_ids=",".join(pools), gpu_count=self.gpu_count), self.catalogue
        ).worker
        return None if worker is None else worker[1] / 3600


def every_pool() -> list[str]:
    """All pools, the cheapest first, those without a published price last."""
    return [pool.id for pool in sorted(gpus.POOLS, key=lambda pool: (pool.price_per_s is None, pool.price_per_s or 0))]
