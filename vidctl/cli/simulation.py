"""What `vidctl cost simulate` plays, and how it is shown."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from vidctl.cli.report import Report
    from vidctl.cost.facts import EndpointCosts
    from vidctl.cost.simulate import Arrival, ScalingRules
    from vidctl.cost.sweep import GpuPrice, Setting
    from vidctl.cost.trace import TraceRow
    from vidctl.errors import VidctlError

SCHEMA = "vidctl.cost.simulate/1"


@dataclass(frozen=True)
class Load:
    """A trace, and the endpoint that is to take it."""

    known: EndpointCosts
    arrivals: list[Arrival]
    source: str
    rules: ScalingRules
    price: GpuPrice

    @staticmethod
    def of(rows: list[TraceRow], known: EndpointCosts, *, concurrency: int) -> Load:
        """Raise UsageError where a price or an execution time is not known."""
        return Load(known, *_arrivals(rows, known), known.rules(concurrency=concurrency), _own_gpus(known))

    def document(self) -> dict[str, Any]:
        from vidctl.cost.sweep import played

        cold_start = self.known.cold_start()
        return {
            "schema": SCHEMA,
            "spec": self.known.spec.key,
            "jobs": len(self.arrivals),
            "trace_s": round(self.arrivals[-1].at_s, 3),
            **facts(played(self.arrivals, self.rules, self.price)),
            "prices_as_of": self.known.prices.as_of,
            "execution": self.source,
            "cold_start": {"seconds": cold_start.seconds, "source": cold_start.source},
            "concurrency": self.rules.concurrency,
        }

    def sweep(self, report: Report) -> list[Setting]:
        """Many settings, tried."""
        from vidctl.cost import sweep

        prices = [self.price, *_other_gpus(self.known)]
        tries = len(prices) * (len(sweep.IDLE_TIMEOUTS_S) + 1) * sweep.MOST_WORKERS
        with report.counting("simulate", tries, shown=True) as counter:
            return sweep.sweep(self.arrivals, self.rules, prices, tried=lambda _: counter.count())

    def yaml(self, setting: Setting) -> str:
        from vidctl.cost.sweep import spec_lines

        return spec_lines(setting, self.rules, self.price.gpu)


def _arrivals(rows: list[TraceRow], known: EndpointCosts) -> tuple[list[Arrival], str]:
    """The jobs, and from where their execution times are; raise UsageError where nobody knows them."""
    from vidctl.cost.trace import arrivals as from_trace
    from vidctl.errors import UsageError

    if all(each.execution_s is not None for each in rows):
        return from_trace(rows, None) or [], "the trace"
    time = known.job_time()
    found = from_trace(rows, None if time is None else time.seconds)
    if time is None or found is None:
        raise UsageError(
            f"{known.spec.key}: how long a job runs is neither in the trace nor measured, and no figure is published",
            hint="say it with --execution 2s, or in a column execution_s",
        )
    return found, time.source


def _own_gpus(known: EndpointCosts) -> GpuPrice:
    """The spec's GPUs at their price; raise UsageError where RunPod publishes none, or where no job would run."""
    from vidctl.cost.sweep import GpuPrice
    from vidctl.errors import UsageError

    if known.spec.workers.max < 1:
        raise UsageError(f"{known.spec.key}: workers.max is 0: no job would run")
    price = known.prices.per_s(known.pools)
    if price is None:
        raise UsageError(
            f"{known.spec.key}: RunPod publishes no price of {', '.join(known.pools)}",
            hint="set RUNPOD_API_KEY to read prices from its catalogue",
        )
    return GpuPrice(", ".join(known.spec.gpu.names), price)


def _other_gpus(known: EndpointCosts) -> list[GpuPrice]:
    """Other pools, where it is known how much faster or slower they are than the spec's."""
    from vidctl.cost.figures import of_pools
    from vidctl.cost.prices import every_pool
    from vidctl.cost.sweep import GpuPrice

    own = of_pools(known.figures, known.pools)
    found = []
    for pool in every_pool():
        other, price = of_pools(known.figures, (pool,)), known.prices.per_s((pool,))
        if own and other and price is not None and pool not in known.pools:
            found.append(GpuPrice(pool, price, other.unit_s / own.unit_s))
    return found


def facts(setting: Setting) -> dict[str, Any]:
    """What was played, and what came of it, as --json prints it."""
    from vidctl.cost.simulate import percentile
    from vidctl.cost.sweep import most_at_once

    totals, played = setting.simulation.totals_s, setting.simulation
    return {
        "gpu": setting.gpu,
        "workers_min": setting.rules.workers_min,
        "workers_max": setting.rules.workers_max,
        "idle_timeout_s": setting.rules.idle_timeout_s,
        "cost_usd": round(setting.cost, 6),
        "billed_s": played.billed_s,
        **{f"p{share}_s": round(percentile(totals, share / 100), 3) for share in (50, 95, 99)},
        "utilisation": round(played.utilisation, 4),
        "cold_starts": len(played.workers) - setting.rules.workers_min,
        "most_workers": most_at_once(played),
    }


def show(document: dict[str, Any]) -> None:
    from vidctl.text import dollars

    cold, idle_s = document["cold_start"], document["idle_timeout_s"]
    workers = f"{document['workers_min']} to {document['workers_max']} workers, idle timeout {idle_s:g} s"
    jobs = f"{document['jobs']:,} jobs in {document['trace_s']:,.0f} s"
    billed = f"{document['billed_s']:,} s of workers (prices: {document['prices_as_of']})"
    most = f"at most {document['most_workers']} at once, utilisation {document['utilisation']:.0%}"
    lines = [
        f"{document['spec']}: {jobs} on {document['gpu']}, {workers}",
        f"  cost: {dollars(document['cost_usd'])} for {billed}",
        f"  total time of a job: {_percentiles(document)}",
        f"  workers: {document['cold_starts']} cold starts, {most}",
        f"  execution times: {document['execution']}",
        f"  cold start: {cold['seconds']:g} s ({cold['source']}); jobs side by side: {document['concurrency']}",
    ]
    print(_one_line_each(lines))  # noqa: T201


def show_cheapest(best: Setting, load: Load, p95_s: float) -> None:
    from vidctl.text import dollars

    found = facts(best)
    print(  # noqa: T201
        f"cheapest with a p95 of {p95_s:g} s: {dollars(best.cost)}, {_percentiles(found)}, "
        f"utilisation {found['utilisation']:.0%}"
    )
    lines = load.yaml(best)
    print(f"in its spec:\n{lines}" if lines else "it is the spec's own setting")  # noqa: T201


def _percentiles(found: dict[str, Any]) -> str:
    return ", ".join(f"p{share} {found[f'p{share}_s']:.3g} s" for share in (50, 95, 99))


def _one_line_each(lines: list[str]) -> str:
    from vidctl.text import one_line

    return "\n".join(map(one_line, lines))


def none_fits(p95_s: float, best_s: float, known: EndpointCosts) -> VidctlError:
    from vidctl.errors import NoSettingError

    return NoSettingError(
        f"{known.spec.key}: no setting has a p95 of {p95_s:g} s with this trace: the best has {best_s:.3g} s",
        hint="workers that always run have no cold start: raise workers.min in the spec",
    )
