"""`vidctl status`."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Annotated, Any

import typer

from vidctl.cli import options, targets

if TYPE_CHECKING:
    from vidctl.operations.status import EndpointStatus, StatusReader

_SCHEMA = "vidctl.status/1"
_REDRAW_S = 2.0
_HEADER = ("endpoint", "image", "workers", "queued", "running", "oldest", "last error", "$/h now", "$ today")


@options.spread
def status(
    names: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[NAME…]", help="Specs, or endpoints' names or ids [default: all].", autocompletion=options.specs
        ),
    ] = None,
    env: options.Environment = None,
    watch: Annotated[bool, typer.Option("--watch", help="Redraw every 2 seconds, until Ctrl-C.")] = False,
    timeout: Annotated[
        float,
        typer.Option(
            metavar="5s",
            parser=options.duration("--timeout", least=0.1),
            help="How long to wait for one endpoint: what is slower is left out, and its row says so.",
        ),
    ] = 5,
    target: options.Target = None,
    *,
    said: options.ReportOptions,
) -> None:
    """Show what endpoints do now: workers, queue, errors, price.

    The oldest waiting job, the last error and what was spent today are those of this project's journal; spent is an
    estimate: execution times at the price of the endpoint's first GPU.  + behind an image: changed elsewhere since the
    last deploy.
    """
    from vidctl.operations.status import StatusReader

    _check_watch(watch, said)
    report = said.report()
    place = targets.live(report, target)
    reader = StatusReader(place, tuple(dict.fromkeys(names or ())), env, deadline_s=timeout)
    if watch:
        _watch(reader)
    elif said.as_json:
        _print_document(reader)
    else:
        _print(reader, report.note)


def _check_watch(watch: bool, said: options.ReportOptions) -> None:
    import sys

    from vidctl.errors import UsageError

    if watch and (said.as_json or not sys.stdout.isatty()):
        raise UsageError("--watch redraws a table on a terminal", hint="call vidctl status --json again and again")


def _watch(reader: StatusReader) -> None:
    from vidctl.cli import console
    from vidctl.errors import InterruptionError

    try:
        with console.redrawn() as draw:
            while True:
                rows = _rows(reader.read())
                draw(rows, _HEADER, f"{time.strftime('%H:%M:%S')}; Ctrl-C ends")
                time.sleep(_REDRAW_S)
    except KeyboardInterrupt as error:
        raise InterruptionError("interrupted; nothing was changed") from error


def _print_document(reader: StatusReader) -> None:
    from vidctl.cli.output import say
    from vidctl.runpod import gpus
    from vidctl.text import safe_json

    found, now = reader.read(), time.time()
    document: dict[str, Any] = {
        "schema": _SCHEMA,
        "target": reader.target.name,
        "prices_as_of": gpus.PRICED_ON,
        "endpoints": [each.to_json(now) for each in found],
    }
    say(f"{safe_json(document, indent=2)}\n")


def _print(reader: StatusReader, note: Any) -> None:
    from vidctl.cli import console

    found = reader.read()
    console.table(_rows(found), header=_HEADER, empty=f"no endpoints on {reader.target.name}")
    for each in found:
        if each.drift:
            note(f"{each.endpoint.name}: changed elsewhere since the last deploy: {', '.join(each.drift)}")
        for sentence in each.missing:
            note(f"{each.endpoint.name}: {sentence}")


def _rows(found: list[EndpointStatus]) -> list[tuple[str, ...]]:
    now = time.time()
    return [_row(each, now) for each in found]


def _row(each: EndpointStatus, now: float) -> tuple[str, ...]:
    from vidctl.text import span

    waited_s = each.oldest_waiting_s(now)
    return (
        each.endpoint.name,
        f"{each.image}{' +' if each.drift else ''}",
        _workers(each),
        _count(each, "inQueue"),
        _count(each, "inProgress"),
        "-" if waited_s is None else span(waited_s),
        _failure(each, now),
        _dollars(each.price_per_hour, 2),
        _dollars(each.spent_today, 4),
    )


def _workers(each: EndpointStatus) -> str:
    """`2 running, 1 idle of 3`, and what did not come."""
    counts = each.workers
    known = ", ".join(f"{number} {state}" for state, number in (counts or {}).items()) or "none"
    said = f"{known} of {each.endpoint.workers_max}" if counts is not None else ""
    return "; ".join(filter(None, (said, *each.missing)))


def _failure(each: EndpointStatus, now: float) -> str:
    from vidctl.text import one_line, span

    failure = each.activity.last_failure
    if failure is None:
        return "-"
    return f"{span(now - failure.at)} ago: {one_line(failure.error or failure.status, 50)}"


def _count(each: EndpointStatus, name: str) -> str:
    return "?" if each.health is None else str(each.jobs.get(name, 0))


def _dollars(amount: float | None, digits: int) -> str:
    return "-" if amount is None else f"{amount:.{digits}f}"
