"""What people see: the only module that knows Rich.  Results go to stdout, everything else to stderr."""

from __future__ import annotations

import json
import sys
import traceback as traceback_module
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
from rich.progress import Progress as Bar
from rich.table import Table

from vidctl.errors import VidctlError
from vidctl.progress import Progress

if TYPE_CHECKING:
    from vidctl.plan import Plan
    from vidctl.tasks.detect import Detections, Failed


def failure(error: VidctlError, *, as_json: bool) -> None:
    """One line and a hint; with --json one object on one line."""
    if as_json:
        print(json.dumps(error.to_json(), ensure_ascii=False), file=sys.stderr)  # noqa: T201
        return
    console = _stderr()
    console.print(f"[bold red]error:[/] {escape(_printable(error.message))}", soft_wrap=True)
    if error.job_id and error.job_id not in error.message:
        console.print(f"[dim]job:[/] {escape(error.job_id)}", soft_wrap=True)
    if error.hint:
        console.print(f"[dim]hint:[/] {escape(_printable(error.hint))}", soft_wrap=True)


def traceback(error: BaseException) -> None:
    """Where it happened, without the values of variables: those may be secret."""
    traceback_module.print_exception(error, file=sys.stderr)


class Counter(Protocol):
    """Counts finished things."""

    def __call__(self) -> None: ...


@dataclass(frozen=True)
class Report:
    """How much to say: `quiet` only results and failures; with `as_json` failures are JSON and nothing else is said."""

    quiet: bool = False
    verbose: bool = False
    as_json: bool = False

    @property
    def is_silent(self) -> bool:
        return self.quiet or self.as_json

    def step(self, progress: Progress) -> None:
        """One plain line for each thing that happened."""
        if not self.is_silent:
            _stderr().print(
                f"[cyan]{escape(progress.step):>8}[/]  {escape(_printable(progress.message))}", soft_wrap=True
            )

    def note(self, text: str) -> None:
        """Something a person should know, on one line."""
        if not self.is_silent:
            _stderr().print(escape(_printable(text)), style="dim", soft_wrap=True)

    def detail(self, text: str) -> None:
        """Something for those who asked for more with -v."""
        if self.verbose and not self.is_silent:
            self.note(text)

    def failed(self, result: Failed) -> None:
        """One of many failed; the rest goes on."""
        if not self.as_json:
            about = "" if result.source in result.error.message else f"{result.source}: "
            text = escape(_printable(about + result.error.message))
            _stderr().print(f"[bold red]error:[/] {text}", soft_wrap=True)

    @contextmanager
    def counting(self, what: str, total: int, *, shown: bool) -> Iterator[Counter]:
        """A progress bar when stderr is a terminal, nothing otherwise."""
        console = _stderr()
        if not shown or self.is_silent or not console.is_terminal or total < 2:
            yield lambda: None
            return
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
        with Bar(*columns, console=console, transient=True) as bar:
            task = bar.add_task(what, total=total)
            yield lambda: bar.advance(task)

    def plan(self, todo: Plan) -> None:
        """What differs: a mark, the field, the old and the new value; of what is new, only what says something."""
        for change in todo.changes:
            if not self.is_silent and (change.old is not None or change.new):
                mark = "[green]+[/]" if change.old is None else "[yellow]~[/]"
                old = "" if change.old is None else f"{change.old or '(empty)'} → "
                text = f"{change.resource} {change.field}: {old}{change.new or '(empty)'}"
                _stderr().print(f"  {mark} {escape(_printable(text))}", soft_wrap=True)


def detections(result: Detections) -> None:
    """A table on a terminal, plain lines elsewhere."""
    console = Console(highlight=False)
    summary = f"{result.source}: {_count(result)}, {result.width}x{result.height}"
    if not console.is_terminal:
        print("\n".join(lines(result)))  # noqa: T201
        return
    console.print(escape(_printable(summary)), style="bold", soft_wrap=True)
    if not result.detections:
        return
    table = Table("class", "confidence", "x1", "y1", "x2", "y2", box=None, pad_edge=True, header_style="dim")
    for column in table.columns[1:]:
        column.justify = "right"
    for detection in result.detections:
        corners = (f"{value:.0f}" for value in detection.bbox)
        table.add_row(escape(_printable(detection.class_name)), f"{detection.confidence:.2f}", *corners)
    console.print(table)


def table(rows: list[tuple[str, ...]], *, header: tuple[str, ...]) -> None:
    """Rows for people: aligned on a terminal, tab-separated elsewhere."""
    console = Console(highlight=False)
    if not console.is_terminal:
        for row in rows:
            print("\t".join(_printable(cell) for cell in row))  # noqa: T201
        return
    grid = Table(box=None, pad_edge=False, header_style="dim")
    for title in header:
        grid.add_column(title, no_wrap=True)
    for row in rows:
        grid.add_row(*(escape(_printable(cell)) for cell in row))
    # Ids are there to be copied: a line longer than the terminal is better than half an id.
    console.print(grid, crop=False, width=max(console.width, 400), soft_wrap=True)


def lines(result: Detections) -> list[str]:
    """What a pipe or a file gets: a line a detection, `source: class confidence x1 y1 x2 y2`."""
    source = _printable(result.source)
    if not result.detections:
        return [f"{source}: nothing found"]
    return [
        f"{source}: {_printable(found.class_name)} {found.confidence:.2f} "
        + " ".join(f"{corner:.0f}" for corner in found.bbox)
        for found in result.detections
    ]


def log_line(line: str) -> None:
    """One line of a worker's log, made harmless."""
    print(_printable(line))  # noqa: T201


def _count(result: Detections) -> str:
    counts: dict[str, int] = {}
    for detection in result.detections:
        counts[detection.class_name] = counts.get(detection.class_name, 0) + 1
    return ", ".join(f"{count} {name}" for name, count in counts.items()) or "nothing found"


def _stderr() -> Console:
    return Console(stderr=True, highlight=False)


def _printable(text: str) -> str:
    """File names and servers' words may hold escape sequences, which a terminal would obey."""
    return "".join(c if c.isprintable() or c == "\n" else "\N{REPLACEMENT CHARACTER}" for c in text)
