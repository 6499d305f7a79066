"""Find the cheapest scaling that keeps a promise: play a trace with many settings.  Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from vidctl.cost.simulate import Arrival, ScalingRules, Simulation, percentile, simulate

IDLE_TIMEOUTS_S = (1, 5, 15, 60, 300, 900, 3600)
MOST_WORKERS = 10


@dataclass(frozen=True)
class GpuPrice:
    """One choice of GPUs: US dollars of a worker's second, and how long a job runs there, as a share of the trace's."""

    gpu: str
    per_s: float
    slowness: float = 1.0


@dataclass(frozen=True)
class Setting:
    """What was tried, and what came of it."""

    gpu: str
    rules: ScalingRules
    simulation: Simulation
    cost: float

    @property
    def p95_s(self) -> float:
        return percentile(self.simulation.totals_s, 0.95)


def played(arrivals: Sequence[Arrival], rules: ScalingRules, price: GpuPrice) -> Setting:
    """What the trace costs with these rules on these GPUs."""
    slower = [replace(each, execution_s=each.execution_s * price.slowness) for each in arrivals]
    simulation = simulate(slower, rules)
    return Setting(price.gpu, rules, simulation, simulation.billed_s * price.per_s)


def cheapest(settings: Sequence[Setting], p95_s: float) -> Setting | None:
    """The cheapest that meets it, of equals the one with most workers; None if none does."""
    fitting = (each for each in settings if each.p95_s <= p95_s)
    return min(fitting, key=lambda each: (each.cost, -each.rules.workers_max), default=None)


def sweep(
    arrivals: Sequence[Arrival],
    rules: ScalingRules,
    prices: Sequence[GpuPrice],
    *,
    tried: Callable[[Setting], None] = lambda _: None,
) -> list[Setting]:
    """Every number of workers, idle timeout and choice of GPUs; the rule by which workers start stays as it is."""
    found: list[Setting] = []
    for price in prices:
        for idle_s in sorted({*IDLE_TIMEOUTS_S, rules.idle_timeout_s}):
            for each in _with_workers(arrivals, replace(rules, idle_timeout_s=idle_s), price):
                found.append(each)
                tried(each)
    return found


def _with_workers(arrivals: Sequence[Arrival], rules: ScalingRules, price: GpuPrice) -> Iterator[Setting]:
    """From one worker on, until one more makes no difference."""
    for workers_max in range(max(1, rules.workers_min), max(MOST_WORKERS, rules.workers_max) + 1):
        setting = played(arrivals, replace(rules, workers_max=workers_max), price)
        yield setting
        if most_at_once(setting.simulation) < workers_max:
            if workers_max < rules.workers_max:
                yield replace(setting, rules=rules)  # the spec's own number, with which nothing is different
            return


def most_at_once(simulation: Simulation) -> int:
    """The most workers that there were at the same time."""
    changes = sorted(
        change for each in simulation.workers for change in ((each.started_s, 1), (each.stopped_s, -1))
    )  # at one time those that stop come first
    there = most = 0
    for _, change in changes:
        there += change
        most = max(most, there)
    return most


def spec_lines(setting: Setting, given: ScalingRules, gpu: str) -> str:
    """What differs from the spec, as lines of YAML for it; "" where nothing does."""
    lines: Mapping[str, str] = {
        **({"gpu": f"gpu: {setting.gpu}"} if setting.gpu != gpu else {}),
        **(
            {"workers": f"workers:\n  min: {given.workers_min}\n  max: {setting.rules.workers_max}"}
            if setting.rules.workers_max != given.workers_max
            else {}
        ),
        **(
            {"timeouts": f"timeouts:\n  idle: {setting.rules.idle_timeout_s:g}s"}
            if setting.rules.idle_timeout_s != given.idle_timeout_s
            else {}
        ),
    }
    return "\n".join(lines.values())
