"""What is known of an endpoint before it is estimated or simulated: its price, its speed, and from where.  Pure."""

from __future__ import annotations

from dataclasses import dataclass

from vidctl.cost.figures import UNITS, Figure, figures_for, of_pools
from vidctl.cost.measured import Measured
from vidctl.cost.prices import Prices
from vidctl.cost.simulate import ScalingRules
from vidctl.runpod import gpus
from vidctl.spec import EndpointSpec

ASSUMED_COLD_START_S = 30.0


@dataclass(frozen=True)
class KnownTime:
    """Seconds, and what says so: jobs of this endpoint, somebody's figure, or the command line."""

    seconds: float
    source: str


@dataclass(frozen=True)
class EndpointCosts:
    """One spec's endpoint; `execution_s` and `cold_start_s`, if given, take precedence over what is known."""

    spec: EndpointSpec
    prices: Prices
    measured: Measured | None = None
    execution_s: float | None = None
    cold_start_s: float | None = None

    @property
    def unit(self) -> str:
        return UNITS.get(self.spec.task or "", "call")

    @property
    def pools(self) -> tuple[str, ...]:
        return gpus.selection(self.spec.gpu.ids).pools

    @property
    def figures(self) -> tuple[Figure, ...]:
        return figures_for(self.spec.task, self.spec.env)

    def unit_time(self, pools: tuple[str, ...] | None = None) -> KnownTime | None:
        """How long a unit takes on its own GPUs, or on those of other pools; None if nobody measured it."""
        if pools is None or set(pools) <= set(self.pools):
            if self.execution_s is not None:
                return KnownTime(self.execution_s, "--execution")
            if self.measured and self.measured.unit_s is not None:
                return KnownTime(self.measured.unit_s, f"measured: median of {self._jobs}")
        figure = of_pools(self.figures, self.pools if pools is None else pools)
        return None if figure is None else KnownTime(figure.unit_s, f"{figure.card}: {figure.source}")

    def job_time(self) -> KnownTime | None:
        """How long a job takes on its own GPUs: what was measured of whole jobs, else that of one unit."""
        if self.measured and self.execution_s is None:
            return KnownTime(self.measured.job_s, f"measured: median of {self._jobs}")
        return self.unit_time()

    def cold_start(self) -> KnownTime:
        if self.cold_start_s is not None:
            return KnownTime(self.cold_start_s, "--cold-start")
        if self.measured and self.measured.cold_start_s is not None:
            return KnownTime(self.measured.cold_start_s, "measured: median delay of jobs that found no worker")
        return KnownTime(ASSUMED_COLD_START_S, "assumed; say another with --cold-start")

    def rules(self, *, concurrency: int) -> ScalingRules:
        """By what its workers start and stop."""
        spec = self.spec
        count, delay_s = spec.scaling.request_count, spec.scaling.queue_delay_s
        return ScalingRules(
            scaler_type="QUEUE_DELAY" if count is None else "REQUEST_COUNT",
            scaler_value=(delay_s or 4) if count is None else count,
            workers_min=spec.workers.min,
            workers_max=spec.workers.max,
            idle_timeout_s=spec.timeouts.idle_s,
            cold_start_s=self.cold_start().seconds,
            concurrency=concurrency,
        )

    @property
    def _jobs(self) -> str:
        count = self.measured.jobs if self.measured else 0
        return f"{count} jobs" if count != 1 else "1 job"
