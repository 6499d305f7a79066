"""What the guide that vidctl grew from says its three endpoints cost, and where that contradicts itself.  Pure.

The guide is the "RunPod Serverless Endpoint Deployment Guide" (January 2025): its "Estimated Costs" of each endpoint,
and its table "Cost Estimates" of an hour of 30 fps video.
"""

from __future__ import annotations

from dataclasses import dataclass

from vidctl.cost.prices import Prices
from vidctl.runpod import gpus
from vidctl.text import dollars


@dataclass(frozen=True)
class GuideEstimate:
    """US dollars: `per_unit` on a card, and `per_hour` in the table, of so many units an hour.

    `execution_s` is how long it says that a unit takes, where it says it.
    """

    task: str
    what: str
    card: str
    unit: str
    per_unit: float
    units_per_hour: float
    per_hour: float
    execution_s: float | None = None

    @property
    def is_consistent(self) -> bool:
        return abs(self.per_unit * self.units_per_hour - self.per_hour) < 0.005

    def contradictions(self, prices: Prices) -> list[str]:
        """Where the guide's own numbers, and RunPod's price, say something else."""
        found = []
        if not self.is_consistent:
            found.append(
                f"{dollars(self.per_unit)} for each {self.unit} is {dollars(self.per_unit * self.units_per_hour)}"
                f" an hour, and its table says {dollars(self.per_hour)}"
            )
        pool = gpus.resolve(self.card).pool.id
        per_s = prices.per_s((pool,))
        if self.execution_s is not None and per_s is not None:
            found.append(
                f"its {1000 * self.execution_s:g} ms on an {self.card} are {dollars(self.execution_s * per_s)}"
                f" at RunPod's price, and it says {dollars(self.per_unit)}"
            )
        return found


GUIDE = (
    GuideEstimate("detect", "every 3rd frame, 10 a second", "RTX 4090", "image", 0.0004, 36_000, 14.40, 0.1),
    GuideEstimate("transcribe", "continuous audio", "A40", "minute of audio", 0.001, 60, 3.60),
    # The least that it gives, for an A100 with 40 GB, which RunPod Serverless does not rent.
    GuideEstimate("describe", "every 30th frame, 1 a second", "A100", "answer", 0.003, 3_600, 10.80),
)
GUIDE_TOTAL = (29.0, 35.0)
"""What it says that the three cost together, an hour: least and most."""


def guide_for(task: str | None) -> GuideEstimate | None:
    return next((each for each in GUIDE if each.task == task), None)
