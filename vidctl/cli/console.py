"""The terminal: the only module that knows Rich.  Results go to stdout, everything else to stderr."""

from __future__ import annotations

import functools
import sys
import threading
import time
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, redirect_stdout
from typing import IO, TYPE_CHECKING

from rich.console import Console, Group
from rich.file_proxy import FileProxy
from rich.live import Live
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
from rich.progress import Progress as Bar
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from vidctl.progress import Notify, Progress
from vidctl.text import one_line, printable

if TYPE_CHECKING:
    from vidctl.tasks.detect.model import Detections
    from vidctl.tasks.transcribe.run import OnProgress, TranscriptProgress


class UnderWay:
    """The newest of each key that has not ended, drawn as one line each."""

    def __init__(self, finish: Notify) -> None:
        self._finish = finish
        self._newest: dict[tuple[str, str, str], Progress] = {}
        self._changed = threading.Event()

    def notify(self, progress: Progress) -> None:
        """Keep what is passing; what is not ends its key's line, or without a key all lines of its subject."""
        about = (progress.subject, progress.step, progress.key)
        with _SCREEN:
            if progress.is_passing:
                self._newest[about] = progress
                self._changed.set()
                return
            for each in list(self._newest):
                if each == about or (not progress.key and each[0] == progress.subject):
                    del self._newest[each]
            self._finish(progress)

    @contextmanager
    def drawn(self) -> Iterator[None]:
        """Draw again ten times a second what has changed; Rich's own takes no turns with `print_markup`."""
        over = threading.Event()
        # Rich redirects both streams to stderr, wherever stdout goes.
        with Live(
            self, console=_stderr(), transient=True, auto_refresh=False, redirect_stdout=False, redirect_stderr=False
        ) as view:
            thread = threading.Thread(target=self._draw, args=(view, over), daemon=True)
            thread.start()
            try:
                yield
            finally:
                over.set()
                thread.join()

    def _draw(self, view: Live, over: threading.Event) -> None:
        while not over.wait(0.1):
            if self._changed.is_set():
                self._changed.clear()
                with _SCREEN:
                    view.refresh()

    def __rich__(self) -> Table:
        grid = Table.grid(padding=(0, 2, 0, 0))
        grid.add_column(min_width=8, justify="right", style="cyan", no_wrap=True)
        for progress in self._newest.values():
            text = Text(" ".join(printable(step_text(progress)).split()), no_wrap=True, overflow="ellipsis")
            grid.add_row(escape(progress.step), text, *_measure(progress))
        return grid


class CountingBar:
    """A bar of so many things, that also tells what is waited for."""

    def __init__(self, what: str, total: int) -> None:
        # Rich redirects both streams to stderr, wherever stdout goes.
        self._bar = Bar(
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            MofNCompleteColumn(),
            TimeRemainingColumn(),
            console=_stderr(),
            transient=True,
            redirect_stdout=False,
            redirect_stderr=False,
        )
        self._what = what
        self._task = self._bar.add_task(what, total=total)

    @contextmanager
    def drawn(self) -> Iterator[None]:
        with self._bar, results_above():
            yield

    def count(self) -> None:
        self._bar.update(self._task, advance=1, description=self._what)

    def wait(self, text: str, *, is_cold: bool = False) -> None:  # noqa: ARG002  a terminal is told of all
        self._bar.update(self._task, description=f"{self._what}: {printable(text)}")


class ListeningBar:
    """A bar in seconds of audio, for all sources together."""

    def __init__(self, count: int, tell: OnProgress) -> None:
        # Rich redirects both streams to stderr, wherever stdout goes.
        self.bar = Bar(
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            TextColumn("{task.fields[counted]}"),
            TextColumn("{task.fields[speed]}"),
            TimeRemainingColumn(),
            console=_stderr(),
            transient=True,
            redirect_stdout=False,
            redirect_stderr=False,
        )
        self._count = count
        self._tell = tell
        self._began = time.monotonic()
        self._task = self.bar.add_task("transcribe", total=None, counted="", speed="")
        self._newest: dict[int, TranscriptProgress] = {}

    def wait(self, text: str, *, is_cold: bool = False) -> None:  # noqa: ARG002  a terminal is told of all
        self.bar.update(self._task, description=f"transcribe: {printable(text)}")

    def take(self, passing: TranscriptProgress) -> None:
        with _SCREEN:
            self._tell(passing)
            self._newest[id(passing.source)] = passing
            done_s = sum(each.done_s for each in self._newest.values())
            known = [max(each.total_s, each.done_s) for each in self._newest.values() if each.total_s]
            # An audio file that is not open yet may be of any length: no bar is better than one that lies.
            total_s = sum(known) if len(known) == self._count else None
            speed = done_s / max(time.monotonic() - self._began, 1e-3)
            self.bar.update(
                self._task,
                description="transcribe",
                completed=done_s,
                total=total_s,
                counted=f"{_clock(done_s)} / {_clock(total_s)}" if total_s else _clock(done_s),
                speed=f"{speed:.1f}× real time" if done_s else "",
            )


class SegmentPrinter:
    """Prints one line a segment, as Whisper's own command does."""

    def __init__(self, *, several: bool) -> None:
        self._several = several
        self._source: object = None

    def print(self, passing: TranscriptProgress) -> None:
        if not passing.segments:
            return
        with _SCREEN:
            console = _console()
            with console.capture() as lines:  # Rich would write past a live view, not above it
                if self._several and passing.source is not self._source:
                    console.print(Text(printable(passing.source.name), "bold"), soft_wrap=True)
                for segment in passing.segments:
                    times = f"[{_clock(segment.start, 3)} --> {_clock(segment.end, 3)}]"
                    style = _confidence_style(segment.confidence)
                    console.print(Text.assemble((times, "dim"), " ", (printable(segment.text), style)), soft_wrap=True)
            self._source = passing.source
            sys.stdout.write(lines.get())
            sys.stdout.flush()


def _confidence_style(confidence: float | None) -> str:
    if confidence is None:
        return ""
    return "green" if confidence >= 0.8 else "yellow" if confidence >= 0.5 else "red"


def _clock(seconds: float, decimals: int = 0) -> str:
    """`1:02:03` and `02:03.456`: minutes always, hours when there are any."""
    whole = round(seconds, decimals) if decimals else round(seconds)
    minutes, rest = divmod(whole, 60)
    hours, minutes = divmod(int(minutes), 60)
    width = 3 + decimals if decimals else 2
    tail = f"{minutes:02d}:{rest:0{width}.{decimals}f}"
    return f"{hours}:{tail}" if hours else tail


class _Above(FileProxy):
    """A stream whose lines go above a live view."""

    @property
    def rich_proxied_file(self) -> IO[str]:
        """Itself: the console of a result would else write to the stream below, and into the live view."""
        return self  # type: ignore[return-value]  # Rich's own class is no IO, and stands for one

    def write(self, text: str) -> int:
        with _SCREEN:
            return super().write(text)


@contextmanager
def results_above() -> Iterator[None]:
    """Keep stdout from writing into the live view, where both are on one screen."""
    if not sys.stdout.isatty():
        yield
        return
    with redirect_stdout(_Above(_stderr(), sys.stdout)):
        yield


def _measure(progress: Progress) -> tuple[ProgressBar, str] | tuple[()]:
    if progress.done is None or not progress.total:
        return ()
    done = min(progress.done, progress.total)
    return ProgressBar(progress.total, done, width=20), f"{100 * done // progress.total:3d}%"


def step_text(progress: Progress) -> str:
    return f"{progress.subject}: {progress.message}" if progress.subject else progress.message


def detections(result: Detections) -> None:
    """A table for people; a pipe and a file get `lines`."""
    console = _console()
    summary = one_line(f"{result.source}: {_count(result)}, {result.width}x{result.height}")
    console.print(escape(summary), style="bold", soft_wrap=True)
    if not result.detections:
        return
    table = Table("class", "confidence", "x1", "y1", "x2", "y2", box=None, pad_edge=True, header_style="dim")
    for column in table.columns[1:]:
        column.justify = "right"
    for detection in result.detections:
        corners = (f"{value:.0f}" for value in detection.bbox)
        table.add_row(escape(one_line(detection.class_name)), f"{detection.confidence:.2f}", *corners)
    console.print(table)


def table(rows: list[tuple[str, ...]], *, header: tuple[str, ...], empty: str) -> None:
    """Rows for people: aligned on a terminal, tab-separated elsewhere; `empty` is said, beside them, of none."""
    if not rows:
        print_markup(dim(empty))
        return
    # Ids are there to be copied: a line longer than the terminal is better than half an id.
    console = _console(width=10_000)
    if not console.is_terminal:
        for row in rows:
            print("\t".join(one_line(cell) for cell in row))  # noqa: T201
        return
    console.print(_grid(rows, header), soft_wrap=True)


def _grid(rows: list[tuple[str, ...]], header: tuple[str, ...]) -> Table:
    grid = Table(box=None, pad_edge=False, header_style="dim")
    for title in header:
        grid.add_column(title, no_wrap=True)
    for row in rows:
        grid.add_row(*(escape(one_line(cell)) for cell in row))
    return grid


@contextmanager
def redrawn() -> Iterator[Callable[[list[tuple[str, ...]], tuple[str, ...], str], None]]:
    """What draws a table and a line below it in place of the ones before, on the terminal of stdout."""
    console = _console()
    with Live(console=console, auto_refresh=False, vertical_overflow="crop") as view:

        def draw(rows: list[tuple[str, ...]], header: tuple[str, ...], below: str) -> None:
            view.update(Group(_grid(rows, header), Text(one_line(below), "dim")), refresh=True)

        yield draw


def log_lines(entries: Sequence[Mapping[str, str | None]], *, whole_ids: bool) -> None:
    """Lines of workers' logs, each after its time, worker, source and job; tab-separated where no terminal is.

    A terminal gets the beginning of the workers' ids, unless the whole is wanted, and what RunPod tells in dim letters.
    """
    console = _console(width=10_000)
    for entry in entries:
        at, worker, source, job = (one_line(entry[name] or "-") for name in ("at", "worker_id", "source", "job_id"))
        message = one_line(entry["message"] or "")
        if not console.is_terminal:
            print(at, worker, source, job, message, sep="\t")  # noqa: T201
            continue
        colour = _WORKER_COLOURS[zlib.crc32(worker.encode()) % len(_WORKER_COLOURS)]
        style = "dim" if source == "system" else _LEVEL_STYLES.get(entry["level"] or "", "")
        about = f"{job} " if entry["job_id"] else ""
        shown = worker if whole_ids else worker[:8]
        text = Text.assemble((at, "dim"), " ", (shown, colour), " ", (about, "cyan"), (message, style))
        console.print(text, soft_wrap=True)
    sys.stdout.flush()


_WORKER_COLOURS = ("green", "blue", "magenta", "yellow", "bright_green", "bright_blue", "bright_magenta")
_LEVEL_STYLES = {"ERROR": "bold red", "WARN": "yellow", "DEBUG": "dim", "TRACE": "dim"}


def log_line(line: str) -> None:
    """One line of a worker's log, made harmless."""
    print(printable(line))  # noqa: T201


def _count(result: Detections) -> str:
    counts: dict[str, int] = {}
    for detection in result.detections:
        counts[detection.class_name] = counts.get(detection.class_name, 0) + 1
    return ", ".join(f"{count} {name}" for name, count in counts.items()) or "nothing found"


# Rich measures how far to move the cursor, and writes that later: two threads that print would overtake each other.
_SCREEN = threading.RLock()


def _console(*, stderr: bool = False, width: int | None = None) -> Console:
    """Without Rich's emoji, into which it would turn the place `s.yaml:100:1` of a mistake."""
    return Console(stderr=stderr, width=width, highlight=False, emoji=False)


def print_markup(markup: str, end: str = "\n") -> None:
    with _SCREEN:
        _stderr().print(markup, end=end, soft_wrap=True)


def print_labelled(label: str, style: str, text: str) -> None:
    """One line on stderr, of which only the label has a style."""
    print_markup(f"[{style}]{label}[/] {plain(text)}")


def plain(text: str) -> str:
    """The text in markup, with none of it taken for markup."""
    return escape(text)


def print_result(markup: str) -> None:
    with _SCREEN:
        _console().print(markup, soft_wrap=True)


def dim(text: str) -> str:
    return f"[dim]{escape(printable(text))}[/]"


def is_live() -> bool:
    """Whether lines can be replaced: Rich takes FORCE_COLOR for a terminal, and that would fill a CI's log."""
    return _stderr().is_interactive and sys.stderr.isatty()


@functools.cache
def _stderr() -> Console:
    """One for all, so that what is printed goes above a live view; it looks up sys.stderr each time."""
    return _console(stderr=True)


def heading(name: str) -> str:
    """The line over a result where there are several, on a terminal."""
    console = _console()
    with console.capture() as line:
        console.print(Text(printable(" ".join(name.split())), "bold"), soft_wrap=True)
    return line.get()
