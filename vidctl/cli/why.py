"""`vidctl why`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from vidctl.cli import options, targets

if TYPE_CHECKING:
    from vidctl.operations.causes import Cause, Findings

_SCHEMA = "vidctl.why/1"


@options.spread
def why(
    name: Annotated[
        str,
        typer.Argument(
            metavar="NAME|JOB",
            help="A spec, an endpoint's name or id, or the id of a job that this project sent.",
            autocompletion=options.specs,
        ),
    ],
    env: options.Environment = None,
    timeout: Annotated[
        float,
        typer.Option(
            metavar="10s", parser=options.duration("--timeout", least=0.1), help="How long to wait for each answer."
        ),
    ] = 10,
    target: options.Target = None,
    *,
    said: options.ReportOptions,
) -> None:
    """Say why an endpoint or a job does not answer.

    The likeliest cause first, each with the lines that show it and what fixes it.  It changes nothing, and sends no
    job.
    """
    from vidctl.operations.causes import causes
    from vidctl.operations.why import Investigation

    report = said.report()
    investigation = Investigation(targets.live(report, target), deadline_s=timeout)
    found = investigation.look(name, overlay=env)
    told = causes(found)
    if said.as_json:
        _print_document(found, told, investigation.unseen)
        return
    for cause in told:
        _print(cause)
    for sentence in investigation.unseen:
        report.note(f"not seen: {sentence}")


def _print(cause: Cause) -> None:
    from vidctl.cli import console
    from vidctl.text import one_line

    console.print_result(f"[bold]{console.plain(cause.kind)}[/]: {console.plain(one_line(cause.sentence))}")
    for line in cause.evidence:
        console.print_result(console.dim(f"  {one_line(line)}"))
    if cause.remedy:
        console.print_result(f"  [cyan]→[/] {console.plain(one_line(cause.remedy))}")


def _print_document(found: Findings, told: list[Cause], unseen: list[str]) -> None:
    import dataclasses

    from vidctl.cli.output import say
    from vidctl.text import safe_json

    document = {
        "schema": _SCHEMA,
        "endpoint_id": found.endpoint.id,
        "job_id": found.job.id if found.job else None,
        "status": found.job.status if found.job else None,
        "causes": [dataclasses.asdict(cause) for cause in told],
        "unseen": unseen,
    }
    say(f"{safe_json(document, indent=2)}\n")
