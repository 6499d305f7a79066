"""What people see: the only module that knows Rich.  Results go to stdout, everything else to stderr."""

from __future__ import annotations

import functools
import math
import sys
import threading
import time
import traceback as traceback_module
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stdout
from dataclasses import dataclass
from typing import IO, TYPE_CHECKING, Protocol

from rich.console import Console
from rich.file_proxy import FileProxy
from rich.live import Live
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
from rich.progress import Progress as Bar
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from vidctl.errors import InterruptionError, UsageError, VidctlError
from vidctl.progress import Notify, Progress, silent
from vidctl.text import one_line, printable, safe_json

if TYPE_CHECKING:
    from vidctl.deploy.cost import Cost
    from vidctl.deploy.plan import Change, Plan
    from vidctl.runpod.types import Catalogue
    from vidctl.tasks.detect.model import Detections
    from vidctl.tasks.results import Failed
    from vidctl.tasks.transcribe.run import OnProgress, TranscriptProgress


# When one line tells what is waited for, where no terminal shows it: a worker that starts, and others that are busy.
_COLD_S, _BUSY_S = 2.0, 10.0


def failure(error: VidctlError, *, as_json: bool) -> None:
    """One line and a hint; with --json one object on one line."""
    if as_json:
        print(safe_json(error.to_json()), file=sys.stderr)  # noqa: T201
        return
    _print(f"[bold red]error:[/] {escape(_message(error))}")
    if error.job_id and error.job_id not in error.message:
        _print(f"[dim]job:[/] {escape(one_line(error.job_id))}")
    if error.hint:
        _print(f"[dim]hint:[/] {escape(one_line(error.hint))}")


def _message(error: VidctlError) -> str:
    """What a terminal may be shown of it: the name of a file forges no line of its own."""
    return printable(error.message) if error.has_lines else one_line(error.message)


def traceback(error: BaseException) -> None:
    """Where it happened, without the values of variables: those may be secret."""
    traceback_module.print_exception(error, file=sys.stderr)


class Wait(Protocol):
    """Tells what is waited for; `is_cold` where no worker runs yet."""

    def __call__(self, text: str, *, is_cold: bool = False) -> None: ...


@dataclass(frozen=True)
class Counter:
    """Counts finished things, and tells what is waited for meanwhile."""

    count: Callable[[], None]
    wait: Wait


@dataclass(frozen=True)
class Listener:
    """Takes what comes of audio files, and tells what is waited for meanwhile."""

    tell: OnProgress
    wait: Wait


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
        """One plain line for each thing that happened; what is passing is for a live view only."""
        if not self.is_silent and not progress.is_passing:
            _print(f"[cyan]{escape(progress.step):>8}[/]  {escape(one_line(_said(progress)))}")

    @contextmanager
    def live(self) -> Iterator[Notify]:
        """Show what is under way: `step`, and on a terminal one line for each key too, replaced in place.

        The lines are gone when the block ends, however it ends.  Safe to call in threads.
        """
        if self.is_silent or not _is_live():
            yield self.step
            return
        under_way = _UnderWay(self.step)
        with under_way.drawn(), _results_above():
            yield under_way.notify

    @contextmanager
    def passing(self, *, shown: bool) -> Iterator[Notify]:
        """The same for what is waited for and not worth a line: nothing of it stays."""
        if not shown:
            yield silent
            return
        with self.live() as notify:
            yield notify

    @property
    def can_ask(self) -> bool:
        """Whether somebody sits at a terminal, and expects to be asked."""
        return not self.as_json and sys.stdin.isatty() and sys.stderr.isatty()

    def confirm(self, question: str) -> bool:
        """Ask, and take anything but yes for a no; raise UsageError where there is nobody to ask."""
        if not self.can_ask:
            raise UsageError(f"{question} No terminal to ask on", hint="say yes beforehand with -y")
        _print(escape(f"{one_line(question)} [y/N] "), end="")
        answer = ""
        try:
            answer = sys.stdin.readline()
        except KeyboardInterrupt as error:
            raise InterruptionError("interrupted; nothing was changed") from error
        finally:
            if not answer.endswith("\n"):  # Ctrl-D and Ctrl-C leave the cursor behind the question
                _print("")
        return answer.strip().lower() in ("y", "yes")

    def note(self, text: str, *, has_lines: bool = False) -> None:
        """Something a person should know, on one line, or on those that it `has_lines` for."""
        if not self.is_silent:
            # In markup: a style= would be that of a live view too, when it is drawn again below the text.
            _print(_dim(text if has_lines else one_line(text)))

    def detail(self, text: str) -> None:
        """Something for those who asked for more with -v."""
        if self.verbose and not self.is_silent:
            self.note(text)

    def failed(self, result: Failed, *, is_in_result: bool = True) -> None:
        """One of many failed; the rest goes on.  In JSON it is said only where no document holds it."""
        if self.as_json and not is_in_result:
            print(safe_json({"source": result.source, **result.error.to_json()}), file=sys.stderr)  # noqa: T201
        if not self.as_json:
            about = "" if result.source in result.error.message else one_line(f"{result.source}: ")
            _print(f"[bold red]error:[/] {escape(about + _message(result.error))}")

    @contextmanager
    def counting(self, what: str, total: int, *, shown: bool) -> Iterator[Counter]:
        """A progress bar when stderr is a terminal; for one thing, and elsewhere, only what is waited for."""
        if not shown or self.is_silent or not _is_live():
            yield Counter(_nothing, self._wait_plainly(what, shown=shown))
            return
        if total < 2:
            with self.live() as notify:
                yield Counter(_nothing, lambda text, **_: notify(Progress(what, text, is_passing=True)))
            return
        named = TextColumn("{task.description}", markup=False)
        columns = (named, BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
        # Rich redirects both streams to stderr, wherever stdout goes.
        bar = Bar(*columns, console=_stderr(), transient=True, redirect_stdout=False, redirect_stderr=False)
        with bar, _results_above():
            task = bar.add_task(what, total=total)
            yield Counter(
                lambda: bar.update(task, advance=1, description=what),
                lambda text, **_: bar.update(task, description=f"{what}: {printable(text)}"),
            )

    @contextmanager
    def listening(self, count: int, *, shown: bool, told: bool) -> Iterator[Listener]:
        """Take what comes of so many audio files: a bar in seconds of audio when stderr is a terminal.

        With `told` segments are printed too, those of several audio files under their names.  Safe to call in threads.
        """
        printer = _Segments(several=count > 1).print if told else _ignore
        if not shown or self.is_silent or not _is_live():
            yield Listener(printer, self._wait_plainly("transcribe", shown=shown))
            return
        listening = _Listening(count, printer)
        with listening.bar, _results_above():
            yield Listener(listening.take, listening.wait)

    def _wait_plainly(self, what: str, *, shown: bool) -> Wait:
        """One line for all that is waited for: sooner if a worker has to start than if the others are busy."""
        if not shown:
            return _no_wait
        began: list[float] = []
        lock = threading.Lock()

        def wait(text: str, *, is_cold: bool = False) -> None:
            with lock:
                if not began:
                    began.append(time.monotonic())
                if time.monotonic() - began[0] > (_COLD_S if is_cold else _BUSY_S):
                    began[0] = math.inf
                    self.step(Progress(what, text))

        return wait

    def flaw(self, text: str) -> None:
        """What is wrong with a result, or missing of it: whoever wants nothing else than that is told too."""
        if not self.as_json:
            self._warn(text, has_lines=False)

    def skipped(self, text: str) -> None:
        """Which sources are left out: no result, and no document, tells of them."""
        if self.as_json:
            print(safe_json({"warning": one_line(text)}), file=sys.stderr)  # noqa: T201
        else:
            self._warn(text, has_lines=False)

    def warn(self, text: str, *, has_lines: bool = False) -> None:
        """Something that may cost or surprise, on one line, or on those that it `has_lines` for."""
        if not self.is_silent:
            self._warn(text, has_lines=has_lines)

    def _warn(self, text: str, *, has_lines: bool) -> None:
        _print(f"[yellow]warning:[/] {escape(printable(text) if has_lines else one_line(text))}")

    def plan(self, todo: Plan, catalogue: Catalogue | None, *, is_result: bool = False) -> None:
        """What differs, whether workers are replaced, and what it costs before and after.

        It is the result of `vidctl plan`, and goes to stdout there.
        """
        from vidctl.deploy.cost import cost, priced_on, stock

        if self.as_json or todo.is_empty or (self.quiet and not is_result):
            return
        show = _print_result if is_result else _print
        show(f"[bold]{escape(todo.key)}[/]: {todo.action} endpoint {escape(printable(todo.endpoint.name))}")
        for change in todo.changes:
            # Of what is new, only what says something.
            if change.old is not None or change.new:
                show(_change(change))
        if todo.image.digest is None:
            show(_dim(f"  the image {todo.image.tag} is yet to be built and pushed"))
        if todo.replaces_workers:
            show(_dim("  its workers will be replaced"))
        before = _price(cost(todo.before, catalogue)) if todo.before else None
        after = _price(cost(todo.endpoint, catalogue))
        price = f"{after}, as before" if before == after else f"{before} → {after}" if before else after
        show(_dim(f"  at RunPod: {price} (prices: {priced_on(catalogue)})"))
        if found := stock(todo.endpoint, catalogue):
            show(_dim("  in stock there: " + ", ".join(f"{pool} {level.lower()}" for pool, level in found.items())))


def _change(change: Change) -> str:
    mark = "[green]+[/]" if change.old is None else "[yellow]~[/]"
    old = "" if change.old is None else f"{change.old or '(empty)'} → "
    drift = "  [magenta](drift: it was changed elsewhere)[/]" if change.is_drift else ""
    text = f"{change.resource} {change.field}: {old}{change.new or '(empty)'}"
    return f"  {mark} {escape(one_line(text))}{drift}"


def _price(found: Cost) -> str:
    """`$0.00/h idle, $3.35/h at most (3 workers of $0.68 to $1.12/h)`."""
    if found.worker is None:
        return "a price that RunPod does not publish"
    least, most = (f"${price:.2f}" for price in found.worker)
    each = most if least == most else f"{least} to {most}"
    workers = "1 worker" if found.workers_max == 1 else f"{found.workers_max} workers"
    return f"${found.idle or 0:.2f}/h idle, ${found.most or 0:.2f}/h at most ({workers} of {each}/h)"


class _UnderWay:
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
        """Draw again ten times a second what has changed; Rich's own thread for it takes no turns with `_print`."""
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
            text = Text(" ".join(printable(_said(progress)).split()), no_wrap=True, overflow="ellipsis")
            grid.add_row(escape(progress.step), text, *_measure(progress))
        return grid


class _Listening:
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


class _Segments:
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


def _ignore(_: TranscriptProgress) -> None:
    """Nobody reads along."""


def _nothing() -> None:
    """Nobody counts."""


def _no_wait(text: str, *, is_cold: bool = False) -> None:
    """Nobody is told."""


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
def _results_above() -> Iterator[None]:
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


def _said(progress: Progress) -> str:
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
        _print(_dim(empty))
        return
    # Ids are there to be copied: a line longer than the terminal is better than half an id.
    console = _console(width=10_000)
    if not console.is_terminal:
        for row in rows:
            print("\t".join(one_line(cell) for cell in row))  # noqa: T201
        return
    grid = Table(box=None, pad_edge=False, header_style="dim")
    for title in header:
        grid.add_column(title, no_wrap=True)
    for row in rows:
        grid.add_row(*(escape(one_line(cell)) for cell in row))
    console.print(grid, soft_wrap=True)


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


def _print(markup: str, end: str = "\n") -> None:
    with _SCREEN:
        _stderr().print(markup, end=end, soft_wrap=True)


def _print_result(markup: str) -> None:
    with _SCREEN:
        _console().print(markup, soft_wrap=True)


def _dim(text: str) -> str:
    return f"[dim]{escape(printable(text))}[/]"


def _is_live() -> bool:
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
