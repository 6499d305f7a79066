"""`vidctl cost`."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from vidctl.cli import options

if TYPE_CHECKING:
    from vidctl.cost.facts import EndpointCosts

app = typer.Typer(
    help="Estimate, simulate and report what endpoints cost.",
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.callback(invoke_without_command=True)(options.help_alone)

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


@app.command("estimate")
@options.spread
def estimate(
    names: Annotated[
        list[str],
        typer.Argument(metavar="NAME…", help="Specs: yolo means configs/yolo.yaml.", autocompletion=options.specs),
    ],
    env: options.Environment = None,
    every: Annotated[
        float | None,
        typer.Option(
            metavar="1s",
            parser=options.duration("--every", least=0.001),
            help="Of a video one image every so often [default: 1s].",
        ),
    ] = None,
    fps: Annotated[float | None, typer.Option(metavar="N", help="The same as images a second.")] = None,
    jobs_per_day: Annotated[
        int, typer.Option(min=0, max=10_000_000, metavar="N", help="Calls a day, for the price of a month.")
    ] = 1_000,
    execution: Execution = None,
    cold_start: ColdStart = None,
    *,
    said: options.ReportOptions,
) -> None:
    """Estimate the price of a call, an hour of video and a month, by GPU.

    A call costs its execution time: as measured in this project's jobs at RunPod, else by a published figure, whose
    source is named; where there is none, none is guessed. A month adds starting, idling and workers.min. The guide's
    own estimates stand beside it. Nothing is sent.
    """
    from vidctl.cli import estimates
    from vidctl.cost.estimate import Usage
    from vidctl.errors import UsageError

    if every is not None and fps is not None:
        raise UsageError("--every and --fps: one or the other")
    if fps is not None and fps <= 0:
        raise UsageError(f"--fps {fps:g}: must be more than 0")
    usage = Usage(every_s=1 / fps if fps else every or 1.0, jobs_per_day=jobs_per_day)
    known = _known(names, env, execution_s=execution, cold_start_s=cold_start)
    documents = [estimates.document(each, usage) for each in known]
    if said.as_json:
        print(json.dumps(estimates.whole(documents, usage, known[0].prices), indent=2))  # noqa: T201
        return
    for document in documents:
        estimates.show(document, usage)
    if line := estimates.total(documents):
        print(line)  # noqa: T201


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
    from vidctl.cli import simulation
    from vidctl.cost.sweep import cheapest
    from vidctl.cost.trace import read_trace

    report = said.report()
    rows = read_trace(_text(trace), str(trace))
    (known,) = _known([name], env, execution_s=execution, cold_start_s=cold_start)
    load = simulation.Load.of(rows, known, concurrency=concurrency)
    document = load.document()
    tried = [] if p95 is None else load.sweep(report)
    best = cheapest(tried, p95 or 0.0)
    if p95 is not None:
        document["cheapest"] = best and {**simulation.facts(best), "yaml": load.yaml(best)}
    if said.as_json:
        print(json.dumps(document, indent=2))  # noqa: T201
    else:
        simulation.show(document)
        if best:
            simulation.show_cheapest(best, load, p95 or 0.0)
    if p95 is not None and best is None:
        raise simulation.none_fits(p95, min(each.p95_s for each in tried), known)


@app.command("report")
@options.spread
def report(
    since: Annotated[
        float, typer.Option(metavar="7d", parser=options.duration("--since", least=1), help="How far back.")
    ] = 7 * 86_400.0,
    by: Annotated[Literal["endpoint", "day", "command"], typer.Option(help="A row for each of these.")] = "endpoint",
    *,
    said: options.ReportOptions,
) -> None:
    """Report what was spent at RunPod: this project's jobs, and RunPod's own bill.

    A job is its execution time at the price of the dearest of its endpoint's GPUs. RunPod bills workers, with their
    starts, idle times and disks, and jobs sent from elsewhere: the difference is shown where the key may read its
    bills. Days are those of UTC. The local runtime costs nothing.
    """
    import time

    from vidctl.cli import spending
    from vidctl.cost.gather import spending_report
    from vidctl.project import settings

    project = settings.open_project(Path.cwd(), os.environ)
    found = spending_report(project, since_s=since, by=by, now_s=time.time())
    if said.as_json:
        print(json.dumps(spending.document(found, by), indent=2))  # noqa: T201
    else:
        spending.show(found, by)


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
