"""What an endpoint costs an hour, and how much RunPod has of its GPUs.  Pure."""

from __future__ import annotations

from dataclasses import dataclass

from vidctl.runpod import gpus
from vidctl.runpod.types import Catalogue, Endpoint, Stock


@dataclass(frozen=True)
class Cost:
    """US dollars an hour: `worker` of one that runs, in the cheapest and in the dearest pool; None if not published."""

    worker: tuple[float, float] | None
    workers_min: int
    workers_max: int

    @property
    def idle(self) -> float | None:
        """Without a single job, at most: the workers that are always there."""
        return _dollars(self.workers_min, self.worker)

    def to_json(self) -> dict[str, object]:
        """What --json prints, in US dollars an hour."""
        least, most = self.worker or (None, None)
        return {
            "worker_per_hour": {"least": least, "most": most},
            "idle_per_hour": self.idle,
            "most_per_hour": self.most,
        }

    @property
    def most(self) -> float | None:
        """With every worker running."""
        return _dollars(self.workers_max, self.worker)


def cost(endpoint: Endpoint, catalogue: Catalogue | None = None) -> Cost:
    """What it costs, by RunPod's own prices or by the table that vidctl ships."""
    shipped = {pool.id: pool.price_per_hour for pool in gpus.POOLS}
    live = {each.pool: each.price_per_hour for each in catalogue.offers} if catalogue else {}
    pools = gpus.selection(endpoint.gpu_ids).pools
    prices = [live.get(pool) or shipped.get(pool) for pool in pools]
    known = [price * endpoint.gpu_count for price in prices if price is not None]
    worker = (min(known), max(known)) if known and len(known) == len(pools) else None
    return Cost(worker, endpoint.workers_min, endpoint.workers_max)


def stock(endpoint: Endpoint, catalogue: Catalogue | None) -> dict[str, Stock]:
    """How much RunPod has of each of its pools just now; without those whose stock is unknown."""
    known = {each.pool: each.stock for each in catalogue.offers} if catalogue else {}
    return {pool: found for pool in gpus.selection(endpoint.gpu_ids).pools if (found := known.get(pool))}


def priced_on(catalogue: Catalogue | None) -> str:
    """Of when the prices are: `live`, or a date."""
    return catalogue.as_of if catalogue else gpus.PRICED_ON


def _dollars(workers: int, worker: tuple[float, float] | None) -> float | None:
    """What so many cost, of the dearest pool; rounded, for JSON shows every digit of a sum of floats."""
    if not workers:
        return 0.0
    return None if worker is None else round(workers * worker[1], 6)
