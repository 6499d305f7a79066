"""`vidctl cost`."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from vidctl.cli import options

if TYPE_CHECKING:
    from vidctl.cli.report import Report
    from vidctl.cost.facts import EndpointCosts
    from vidctl.cost.simulate import Arrival, ScalingRules
    from vidctl.cost.sweep import GpuPrice, Setting
    from vidctl.cost.trace import TraceRow
    from vidctl.errors import VidctlError

app = typer.Typer(
    help="Estimate and simulate what endpoints cost.",
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.callback(invoke_without_command=True)(options.help_alone)

SIMULATE_SCHEMA = "vidctl.cost.simulate/1"

Execution = Annotated[
    float | None,
    typer.Option(
        metavar="2s",
        parser=options.duration("--execution", least=0),
        help="How long a job runs [default: as measured, else a published figure].",
    ),
]
ColdStart = Annotated[
    float | None,
    typer.Option(
        metavar="30s",
        parser=options.duration("--cold-start", least=0),
        help="How long a worker takes to start [default: as measured, else 30s].",
    ),
]
Concurrency = Annotated[int, typer.Option(min=1, metavar="N", help="Jobs that a worker runs side by side.")]


@app.command("simulate")
@options.spread
def simulate(
    trace: Annotated[
        Path, typer.Argument(metavar="TRACE.csv", help="Jobs: columns at_s or an ISO time, and execution_s if known.")
    ],
    name: Annotated[
        str, typer.Argument(metavar="NAME", help="A spec: yolo means configs/yolo.yaml.", autocompletion=options.specs)
    ],
    env: options.Environment = None,
    p95: Annotated[
        float | None,
        typer.Option(
            "--p95",
            metavar="2s",
            parser=options.duration("--p95", least=0),
            help="Find the cheapest setting with which 95 % of jobs are done in this time.",
        ),
    ] = None,
    execution: Execution = None,
    cold_start: ColdStart = None,
    concurrency: Concurrency = 1,
    *,
    said: options.ReportOptions,
) -> None:
    """Simulate a trace of jobs: what it costs, and how long they wait.

    Plays RunPod's scaling rules and bills each worker from its start until it has stopped, rounded up to the next
    second. The columns are at_s (or at, time, timestamp, submitted_at; seconds, or a time of ISO 8601) and execution_s
    (or execution, duration, execution_ms), which may be missing. With --p95 it tries other numbers of workers, idle
    timeouts and, where it is known how fast they are, GPUs. Nothing is sent.
    """
    from vidctl.cost.sweep import cheapest
    from vidctl.cost.trace import read_trace

    report = said.report()
    rows = read_trace(_text(trace), str(trace))
    (known,) = _known([name], env, execution_s=execution, cold_start_s=cold_start)
    load = _Load(known, *_arrivals(rows, known), known.rules(concurrency=concurrency), _own_gpus(known))
    document = load.document()
    tried = [] if p95 is None else load.sweep(report)
    best = cheapest(tried, p95 or 0.0)
    if p95 is not None:
        document["cheapest"] = best and {**_setting(best), "yaml": load.yaml(best)}
    if said.as_json:
        print(json.dumps(document, indent=2))  # noqa: T201
    else:
        _show_simulation(document)
        if best:
            _show_cheapest(best, load, p95 or 0.0)
    if p95 is not None and best is None:
        raise _none_fits(p95, min(each.p95_s for each in tried), known)


@dataclass(frozen=True)
class _Load:
    """A trace, and the endpoint that is to take it."""

    known: EndpointCosts
    arrivals: list[Arrival]
    source: str
    rules: ScalingRules
    price: GpuPrice

    def document(self) -> dict[str, Any]:
        from vidctl.cost.sweep import played

        cold_start = self.known.cold_start()
        return {
            "schema": SIMULATE_SCHEMA,
            "spec": self.known.spec.key,
            "jobs": len(self.arrivals),
            "trace_s": round(self.arrivals[-1].at_s, 3),
            **_setting(played(self.arrivals, self.rules, self.price)),
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


def _known(
    names: list[str], env: str | None, *, execution_s: float | None, cold_start_s: float | None
) -> list[EndpointCosts]:
    """What is known of the specs' endpoints."""
    from vidctl import spec
    from vidctl.cost.gather import endpoint_costs
    from vidctl.project import settings

    project = settings.open_project(Path.cwd(), os.environ)
    specs = spec.load_all(names, root=project.root, environ=project.environ, overlay=env)
    return endpoint_costs(project, specs, execution_s=execution_s, cold_start_s=cold_start_s)


def _text(path: Path) -> str:
    from vidctl.errors import UsageError

    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not text in UTF-8"
        raise UsageError(f"{path}: cannot be read ({reason})") from error


def _arrivals(rows: list[TraceRow], known: EndpointCosts) -> tuple[list[Arrival], str]:
    """The jobs, and from where their execution times are; raise UsageError where nobody knows them."""
    from vidctl.cost.trace import arrivals
    from vidctl.errors import UsageError

    if all(each.execution_s is not None for each in rows):
        return arrivals(rows, None) or [], "the trace"
    time = known.job_time()
    found = arrivals(rows, None if time is None else time.seconds)
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


def _setting(setting: Setting) -> dict[str, Any]:
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


def _show_simulation(document: dict[str, Any]) -> None:
    from vidctl.cost.prices import dollars

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


def _show_cheapest(best: Setting, load: _Load, p95_s: float) -> None:
    from vidctl.cost.prices import dollars

    facts = _setting(best)
    print(  # noqa: T201
        f"cheapest with a p95 of {p95_s:g} s: {dollars(best.cost)}, {_percentiles(facts)}, "
        f"utilisation {facts['utilisation']:.0%}"
    )
    lines = load.yaml(best)
    print(f"in its spec:\n{lines}" if lines else "it is the spec's own setting")  # noqa: T201


def _percentiles(facts: dict[str, Any]) -> str:
    return ", ".join(f"p{share} {facts[f'p{share}_s']:.3g} s" for share in (50, 95, 99))


def _one_line_each(lines: list[str]) -> str:
    from vidctl.text import one_line

    return "\n".join(map(one_line, lines))


def _none_fits(p95_s: float, best_s: float, known: EndpointCosts) -> VidctlError:
    from vidctl.errors import NoSettingError

    return NoSettingError(
        f"{known.spec.key}: no setting has a p95 of {p95_s:g} s with this trace: the best has {best_s:.3g} s",
        hint="workers that always run have no cold start: raise workers.min in the spec",
    )
