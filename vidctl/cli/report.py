"""What is said of a command besides its results, by what -q, -v and --json want; see `console` for how it looks."""

from __future__ import annotations

import math
import sys
import threading
import time
import traceback as traceback_module
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from vidctl.cli import console
from vidctl.errors import InterruptionError, UsageError, VidctlError
from vidctl.progress import Notify, Progress, silent
from vidctl.text import one_line, printable, safe_json

if TYPE_CHECKING:
    from vidctl.deploy.cost import Cost
    from vidctl.deploy.plan import Change, Plan
    from vidctl.runpod.types import Catalogue
    from vidctl.tasks.results import Failed
    from vidctl.tasks.transcribe.run import OnProgress, TranscriptProgress


# When one line tells what is waited for, where no terminal shows it: a worker that starts, and others that are busy.
_COLD_S, _BUSY_S = 2.0, 10.0


def failure(error: VidctlError, *, as_json: bool) -> None:
    """One line and a hint; with --json one object on one line."""
    if as_json:
        print(safe_json(error.to_json()), file=sys.stderr)  # noqa: T201
        return
    console.print_labelled("error:", "bold red", _message(error))
    if error.job_id and error.job_id not in error.message:
        console.print_labelled("job:", "dim", one_line(error.job_id))
    if error.hint:
        console.print_labelled("hint:", "dim", one_line(error.hint))


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
            console.print_markup(
                f"[cyan]{console.plain(progress.step):>8}[/]  {console.plain(one_line(console.step_text(progress)))}"
            )

    @contextmanager
    def live(self) -> Iterator[Notify]:
        """Show what is under way: `step`, and on a terminal one line for each key too, replaced in place.

        The lines are gone when the block ends, however it ends.  Safe to call in threads.
        """
        if self.is_silent or not console.is_live():
            yield self.step
            return
        under_way = console.UnderWay(self.step)
        with under_way.drawn(), console.results_above():
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
        console.print_markup(console.plain(f"{one_line(question)} [y/N] "), end="")
        answer = ""
        try:
            answer = sys.stdin.readline()
        except KeyboardInterrupt as error:
            raise InterruptionError("interrupted; nothing was changed") from error
        finally:
            if not answer.endswith("\n"):  # Ctrl-D and Ctrl-C leave the cursor behind the question
                console.print_markup("")
        return answer.strip().lower() in ("y", "yes")

    def note(self, text: str, *, has_lines: bool = False) -> None:
        """Something a person should know, on one line, or on those that it `has_lines` for."""
        if not self.is_silent:
            # In markup: a style= would be that of a live view too, when it is drawn again below the text.
            console.print_markup(console.dim(text if has_lines else one_line(text)))

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
            console.print_labelled("error:", "bold red", about + _message(result.error))

    @contextmanager
    def counting(self, what: str, total: int, *, shown: bool) -> Iterator[Counter]:
        """A progress bar when stderr is a terminal; for one thing, and elsewhere, only what is waited for."""
        if not shown or self.is_silent or not console.is_live():
            yield Counter(_nothing, self._wait_plainly(what, shown=shown))
            return
        if total < 2:
            with self.live() as notify:
                yield Counter(_nothing, lambda text, **_: notify(Progress(what, text, is_passing=True)))
            return
        bar = console.CountingBar(what, total)
        with bar.drawn():
            yield Counter(bar.count, bar.wait)

    @contextmanager
    def listening(self, count: int, *, shown: bool, told: bool) -> Iterator[Listener]:
        """Take what comes of so many audio files: a bar in seconds of audio when stderr is a terminal.

        With `told` segments are printed too, those of several audio files under their names.  Safe to call in threads.
        """
        printer = console.SegmentPrinter(several=count > 1).print if told else _ignore
        if not shown or self.is_silent or not console.is_live():
            yield Listener(printer, self._wait_plainly("transcribe", shown=shown))
            return
        listening = console.ListeningBar(count, printer)
        with listening.bar, console.results_above():
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
        console.print_labelled("warning:", "yellow", printable(text) if has_lines else one_line(text))

    def plan(self, todo: Plan, catalogue: Catalogue | None, *, is_result: bool = False) -> None:
        """What differs, whether workers are replaced, and what it costs before and after.

        It is the result of `vidctl plan`, and goes to stdout there.
        """
        from vidctl.deploy.cost import cost, priced_on, stock

        if self.as_json or todo.is_empty or (self.quiet and not is_result):
            return
        show = console.print_result if is_result else console.print_markup
        show(
            f"[bold]{console.plain(todo.key)}[/]: {todo.action} endpoint {console.plain(printable(todo.endpoint.name))}"
        )
        for change in todo.changes:
            # Of what is new, only what says something.
            if change.old is not None or change.new:
                show(_change(change))
        if todo.image.digest is None:
            show(console.dim(f"  the image {todo.image.tag} is yet to be built and pushed"))
        if todo.replaces_workers:
            show(console.dim("  its workers will be replaced"))
        before = _price(cost(todo.before, catalogue)) if todo.before else None
        after = _price(cost(todo.endpoint, catalogue))
        price = f"{after}, as before" if before == after else f"{before} → {after}" if before else after
        show(console.dim(f"  at RunPod: {price} (prices: {priced_on(catalogue)})"))
        if found := stock(todo.endpoint, catalogue):
            show(
                console.dim(
                    "  in stock there: " + ", ".join(f"{pool} {level.lower()}" for pool, level in found.items())
                )
            )


def _change(change: Change) -> str:
    mark = "[green]+[/]" if change.old is None else "[yellow]~[/]"
    old = "" if change.old is None else f"{change.old or '(empty)'} → "
    drift = "  [magenta](drift: it was changed elsewhere)[/]" if change.is_drift else ""
    text = f"{change.resource} {change.field}: {old}{change.new or '(empty)'}"
    return f"  {mark} {console.plain(one_line(text))}{drift}"


def _price(found: Cost) -> str:
    """`$0.00/h idle, $3.35/h at most (3 workers of $0.68 to $1.12/h)`."""
    if found.worker is None:
        return "a price that RunPod does not publish"
    least, most = (f"${price:.2f}" for price in found.worker)
    each = most if least == most else f"{least} to {most}"
    workers = "1 worker" if found.workers_max == 1 else f"{found.workers_max} workers"
    return f"${found.idle or 0:.2f}/h idle, ${found.most or 0:.2f}/h at most ({workers} of {each}/h)"


def _ignore(_: TranscriptProgress) -> None:
    """Nobody reads along."""


def _nothing() -> None:
    """Nobody counts."""


def _no_wait(text: str, *, is_cold: bool = False) -> None:
    """Nobody is told."""
