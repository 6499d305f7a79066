"""`vidctl logs`."""

from __future__ import annotations

import re
import signal
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from enum import Enum
from types import FrameType
from typing import TYPE_CHECKING, Annotated, Any

import typer

from vidctl.cli import completion, options, targets

if TYPE_CHECKING:
    from vidctl.operations.logs import LogReader, LogSelection, WorkerLine

_SCHEMA = "vidctl.logs/1"


class _LogOrigin(str, Enum):
    container = "container"
    system = "system"


@dataclass(frozen=True)
class LogOptions:
    """Which lines."""

    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on with what comes, until Ctrl-C.")] = False
    since: Annotated[
        str | None, typer.Option(metavar="10m|TIME", help="Lines since then: a duration, or a time of RFC 3339.")
    ] = None
    tail: Annotated[
        int | None,
        typer.Option(
            min=0,
            max=5000,
            metavar="N",
            help="The newest lines of each worker [default: 100; 5000 with --grep or --since].",
        ),
    ] = None
    worker: Annotated[
        str | None,
        typer.Option(
            metavar="ID",
            help="Only this worker; the beginning of its id is enough.",
            autocompletion=completion.worker_ids,
        ),
    ] = None
    source: Annotated[
        _LogOrigin | None, typer.Option(help="What the container writes, or what RunPod tells of it [default: both].")
    ] = None
    grep: Annotated[
        str | None, typer.Option(metavar="REGEX", help="Only lines in which this regular expression is found.")
    ] = None

    def selection(self) -> LogSelection:
        from vidctl.operations.logs import LogSelection

        return LogSelection(
            tail=_tail(self.tail, follow=self.follow, is_searching=bool(self.grep or self.since)),
            since=_time(self.since) if self.since else None,
            source=self.source.value if self.source else None,
            worker=self.worker,
            is_following=self.follow,
        )


@options.spread
def logs(
    name: Annotated[str, options.endpoint_argument()],
    env: options.Environment = None,
    *,
    wanted: LogOptions,
    target: options.Target = None,
    said: options.ReportOptions,
) -> None:
    """Print the logs of an endpoint's workers, merged by time.

    Each line with its time, worker, source and job.  Without -f it ends when nothing comes for 2 seconds, or at 5,000
    lines of a worker.  With --json it is one document, with -f one JSON object a line.
    """
    from vidctl.errors import InterruptionError
    from vidctl.operations.logs import LogReader
    from vidctl.operations.names import find_id

    pattern, selection = _pattern(wanted.grep), wanted.selection()
    report = said.report()
    place = targets.live(report, target)
    notes: list[str] = []
    endpoint_id = find_id(name, place, overlay=env)
    reader = LogReader(place.workers, endpoint_id, selection, note=notes.append if said.as_json else report.note)
    with _ended_by_ctrl_c(reader.stop) as is_interrupted:
        entries = _entries(reader, pattern)
        if not said.as_json:
            _print(entries, report.verbose)
        elif wanted.follow:
            _print_lines(entries)
        else:
            _print_document(endpoint_id, entries, notes)
    if is_interrupted():
        raise InterruptionError("interrupted; all lines that had come are printed")


def _tail(tail: int | None, *, follow: bool, is_searching: bool) -> int:
    from vidctl.runpod.limits import DEFAULT_LOG_LINES, MOST_LOG_LINES

    if tail is not None:
        return tail
    return MOST_LOG_LINES if is_searching and not follow else DEFAULT_LOG_LINES


def _pattern(grep: str | None) -> re.Pattern[str] | None:
    from vidctl.errors import UsageError

    if grep is None:
        return None
    try:
        return re.compile(grep)
    except (re.error, RecursionError, OverflowError) as error:
        raise UsageError(f"--grep {grep}: not a regular expression: {error}") from error


def _time(since: str) -> str:
    """A time of RFC 3339, for a duration that long ago."""
    from datetime import datetime, timedelta, timezone

    from vidctl.errors import UsageError
    from vidctl.text import duration_s

    if re.fullmatch(r"\d{4}-\d\d-\d\d[Tt]\d\d:\d\d:\d\d(\.\d+)?([Zz]|[+-]\d\d:\d\d)", since, re.ASCII):
        return since
    seconds = duration_s(since)
    if seconds is None:
        raise UsageError(
            f"--since {since}: neither a duration nor a time of RFC 3339",
            hint="write 10m, 1h30m or 2026-11-29T08:00:00Z",
        )
    at = datetime.now(timezone.utc) - timedelta(seconds=min(seconds, 10 * 365 * 86_400))
    return at.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _entries(reader: LogReader, pattern: re.Pattern[str] | None) -> Iterator[list[dict[str, Any]]]:
    """The lines in which the pattern is found, as --json prints them, in batches."""
    for batch in reader.batches():
        if found := [_entry(each) for each in batch if pattern is None or pattern.search(each.line.text)]:
            yield found


def _entry(each: WorkerLine) -> dict[str, Any]:
    from vidctl.operations.sdk_lines import read_line

    said = read_line(each.line.text)
    return {
        "at": each.line.at,
        "worker_id": each.worker_id,
        "source": each.line.source,
        "job_id": said.job_id,
        "level": said.level,
        "message": said.message,
    }


def _print(batches: Iterable[list[dict[str, Any]]], verbose: bool) -> None:
    from vidctl.cli import console

    for batch in batches:
        console.log_lines(batch, whole_ids=verbose)


def _print_lines(batches: Iterable[list[dict[str, Any]]]) -> None:
    from vidctl.text import safe_json

    for batch in batches:
        print("".join(f"{safe_json(entry)}\n" for entry in batch), end="", flush=True)  # noqa: T201


def _print_document(endpoint_id: str, batches: Iterable[list[dict[str, Any]]], notes: list[str]) -> None:
    from vidctl.cli.output import say
    from vidctl.text import safe_json

    lines = [entry for batch in batches for entry in batch]
    document = {"schema": _SCHEMA, "endpoint_id": endpoint_id, "lines": lines, "notes": notes}
    say(f"{safe_json(document, indent=2)}\n")


@contextmanager
def _ended_by_ctrl_c(stop: Callable[[], None]) -> Iterator[Callable[[], bool]]:
    """Ctrl-C stops instead of raising, which would lose the line that is being printed; a second one raises."""
    times: list[int] = []

    def interrupt(number: int, _: FrameType | None) -> None:
        times.append(number)
        stop()
        if len(times) > 1:
            raise KeyboardInterrupt

    before = signal.signal(signal.SIGINT, interrupt)
    try:
        yield lambda: bool(times)
    finally:
        signal.signal(signal.SIGINT, before)
