"""`vidctl describe`."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import chain
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from vidctl.cli import completion, options
from vidctl.cli.tally import Tally

if TYPE_CHECKING:
    from vidctl.cli.inputs import Inputs
    from vidctl.cli.report import Report
    from vidctl.client import Client
    from vidctl.media.sources import Source
    from vidctl.runpod.jobs import Health, Job
    from vidctl.tasks.describe.formats import AnswersFormat
    from vidctl.tasks.describe.jobs import Described
    from vidctl.tasks.describe.model import Description
    from vidctl.tasks.describe.streaming import DescriptionStream

Format = Literal["text", "json", "jsonl"]


@dataclass(frozen=True)
class PromptOptions:
    """What is asked."""

    prompt: Annotated[
        str | None, typer.Option("--prompt", "-p", metavar="TEXT|@FILE|-", help="The prompt; - reads it from stdin.")
    ] = None
    system: Annotated[str | None, typer.Option("--system", "-s", metavar="TEXT|@FILE", help="The system prompt.")] = (
        None
    )
    preset: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="A named prompt: caption, ocr, …, or presets/NAME.yaml [default: caption, without a prompt].",
            autocompletion=options.presets,
        ),
    ] = None
    together: Annotated[bool, typer.Option("--together", help="Ask about all sources in one question.")] = False

    def check_stdin(self, words: list[str]) -> None:
        said = (("-p ", self.prompt), ("--system ", self.system))
        options.check_stdin(*(("", word) for word in dict.fromkeys(words)), *said)

    def given(self) -> dict[str, Any]:
        """What of it are options of `Client.describe_many`, with the text of files."""
        system = self.system and options.text("--system", self.system)
        return {"preset": self.preset, **({"system": system} if system else {})}


@dataclass(frozen=True)
class FrameOptions:
    """What is used of videos."""

    at: Annotated[
        list[str] | None, typer.Option(metavar="1:23", help="Use the frame of a video at this time; may be repeated.")
    ] = None
    from_time: Annotated[
        str | None, typer.Option("--from", metavar="1:23", help="Use the frames of a video from this time.")
    ] = None
    to_time: Annotated[
        str | None, typer.Option("--to", metavar="1:30", help="Use the frames of a video before this time.")
    ] = None
    fps: Annotated[
        float | None, typer.Option(help="Frames per second of video [default: 1, or fewer if those are too many].")
    ] = None

    def given(self) -> dict[str, Any]:
        """The same by the names of `Client.describe_many`."""
        from vidctl.cli import prompts

        return {
            "at_s": tuple(prompts.seconds("--at", each) for each in self.at or []),
            "from_s": None if self.from_time is None else prompts.seconds("--from", self.from_time),
            "to_s": None if self.to_time is None else prompts.seconds("--to", self.to_time),
            "fps": self.fps,
        }

    @property
    def are_given(self) -> bool:
        return bool(self.at or self.from_time or self.to_time or self.fps)


@dataclass(frozen=True)
class AnswerOptions:
    """What the answer is like."""

    max_tokens: Annotated[
        int | None, typer.Option(help="Maximum tokens of the answer [default: the preset's, or 512].")
    ] = None
    temperature: Annotated[
        float | None,
        typer.Option(help="Sampling temperature; 0 gives the likeliest answer [default: the preset's, or 0.7]."),
    ] = None
    seed: Annotated[int | None, typer.Option(help="Seed of the sampling, for repeatable answers.")] = None
    stop: Annotated[
        list[str] | None, typer.Option(metavar="TEXT", help="Stop the answer before this text; may be repeated.")
    ] = None
    setting: options.Settings = None
    schema: Annotated[
        str | None,
        typer.Option(metavar="FILE|FIELDS|JSON", help='Answer with JSON: by a JSON Schema, or "name, age int".'),
    ] = None
    choices: Annotated[
        list[str] | None, typer.Option(metavar="yes,no", help="Answer with one of these; may be repeated.")
    ] = None

    def given(self) -> dict[str, Any]:
        """The same by the names of `DescribeOptions`; a preset may set what is not given."""
        from vidctl.cli import prompts

        extra = options.settings(self.setting or [])
        maybe = {
            "max_tokens": self.max_tokens,
            "temperature": self.temperature,
            "seed": self.seed,
            "regex": extra.pop("regex", None),
            "schema": None if self.schema is None else prompts.schema(self.schema),
            "choices": ",".join(self.choices) if self.choices else None,
        }
        given = {name: value for name, value in maybe.items() if value is not None}
        return {"extra": extra, "stop": tuple(self.stop or ()), **given}


@dataclass(frozen=True)
class AnswerOutput:
    """Where answers go, and how they are written."""

    output_format: Annotated[
        Format | None,
        typer.Option("--format", "-f", help="How to print the result [default: by FILE's ending, else text]."),
    ] = None
    as_json: options.JsonResult = False
    output: Annotated[str | None, options.output("FILE|-", "Write the result to FILE.")] = None
    no_stream: Annotated[bool, typer.Option("--no-stream", help="Print the answer only when it is complete.")] = False
    reasoning: Annotated[bool, typer.Option("--reasoning", help="Print a thinking model's reasoning on stderr.")] = (
        False
    )
    stats: Annotated[bool, typer.Option("--stats", help="Print times, token counts and the price.")] = False

    def form(self) -> AnswersFormat:
        from vidctl.cli.output import chosen_formats
        from vidctl.tasks.describe.formats import FORMATS

        said = [self.output_format] if self.output_format else []
        document = FORMATS["json"] if self.as_json else None
        (form,) = chosen_formats(said, self.output, FORMATS, document=document, otherwise="text")
        return form


Words = Annotated[
    list[str],
    typer.Argument(
        metavar="SOURCE… [PROMPT]",
        help="Images or videos: files, folders, globs, URLs, - or @list.txt; then the prompt, or @FILE with it.",
    ),
]
WorkerProtocol = Annotated[
    str | None,
    typer.Option(metavar="NAME", help="Protocol of that endpoint: worker-vllm.", autocompletion=completion.protocols),
]
WorkerModel = Annotated[str | None, typer.Option(metavar="NAME", help="Model name that its worker-vllm serves.")]


@options.spread
def describe(
    words: Words,
    *,
    asked: PromptOptions,
    frames: FrameOptions,
    answer: AnswerOptions,
    recursive: options.Recursive = False,
    output: AnswerOutput,
    chosen: options.EndpointOptions,
    protocol: WorkerProtocol = None,
    model: WorkerModel = None,
    no_cache: options.NoCache = False,
    run: options.RunOptions,
) -> None:
    """Ask about images and videos.

    The last argument is the prompt, unless it is a file or -p or --preset is given. Each source gets an answer of its
    own; with --together all sources share one. Of a video, frames are sent. Images are resized before upload. On a
    terminal a single answer is streamed. A source that fails is reported and does not stop the rest (exit code 9).
    """
    from vidctl.cli import prompts
    from vidctl.cli.inputs import Inputs
    from vidctl.media.kinds import IMAGES_AND_VIDEOS, VIDEOS
    from vidctl.media.search import expand

    asked.check_stdin(words)
    names, prompt = prompts.parted(words, asked.prompt, asked.preset)
    how, form = {**asked.given(), **frames.given(), **answer.given()}, output.form()
    report = run.report(as_json=output.as_json or form.is_json)
    kind = VIDEOS if frames.are_given else IMAGES_AND_VIDEOS
    sources = expand(names, kind=kind, recursive=recursive, stdin=sys.stdin.buffer, warn=report.skipped)
    count = 1 if asked.together else len(sources)
    delivery = _AnswerDelivery(form, output, count, report)
    delivery.check(Inputs(sources, [*words, asked.prompt, asked.system, answer.schema and f"@{answer.schema}"]))
    delivery.client = client = run.client(
        chosen, report, protocol=protocol, model=model, cache=options.cache(no_cache=no_cache)
    )
    requests = _Requests(client, sources, prompt, how, report, shown=not run.no_progress)
    if delivery.has_reader and count == 1 and not output.no_stream:
        requests.streamed(delivery)
    else:
        requests.all(delivery, count, together=asked.together)
    delivery.tally.settle()


# --- asking --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Requests:
    """All requests of one command."""

    client: Client
    sources: list[Source]
    prompt: str | None
    how: dict[str, Any]
    report: Report
    shown: bool

    def all(self, delivery: _AnswerDelivery, count: int, *, together: bool) -> None:
        from vidctl.cli.waiting import answers, telling

        try:
            with self.report.counting("describe", count, shown=self.shown) as counter:
                waiting = telling(counter.wait)
                described = self.client.describe_many(
                    self.sources, self.prompt, together=together, waiting=waiting, **self.how
                )
                self.report.detail(self.client.endpoint_line)
                with answers(self.client, described) as results:
                    for each in results:
                        delivery.add(each)
                        counter.count()
        finally:
            delivery.close()

    def streamed(self, delivery: _AnswerDelivery) -> None:
        """Stream the one answer to stdout."""
        stream = None
        try:
            stream, first = self._first()
            delivery.add_streamed(stream, first)
        except KeyboardInterrupt:
            raise self.client.interrupt() from None
        finally:
            if stream:
                stream.close()

    def _first(self) -> tuple[DescriptionStream, str]:
        """The stream, and the first piece of it; what is waited for meanwhile is shown, and gone when it is there."""
        from vidctl.cli.waiting import state
        from vidctl.progress import Progress

        def waiting(job: Job, health: Health | None) -> None:
            notify(Progress("describe", state(job, health), is_passing=True))

        hears = waiting if self.shown and not self.report.is_silent else None
        with self.report.passing(shown=self.shown) as notify:
            notify(Progress("describe", "waiting for the first token", is_passing=True))
            stream = self.client.describe_stream(self.sources, self.prompt, waiting=hears, **self.how)
            self.report.detail(self.client.endpoint_line)
            return stream, next(stream, "")


# --- delivering ----------------------------------------------------------------------------------------------------


class _AnswerDelivery:
    """Takes answers as they come: prints or collects them, and remembers what failed."""

    client: Client

    def __init__(self, form: AnswersFormat, options: AnswerOutput, count: int, report: Report) -> None:
        from vidctl.cli.output import Output

        self.tally = Tally("sources")
        self._form = form
        self._options = options
        self._output = Output(options.output)
        self._has_several = count > 1
        self._report = report
        self._answers: list[Described] = []
        self._price_per_s: float | None = None
        self._knows_price = False

    @property
    def has_reader(self) -> bool:
        """Whether a person reads text as it comes."""
        return self._output.is_read and self._form.name == "text"

    def check(self, inputs: Inputs) -> None:
        """Raise UsageError, before anything is paid, for a place that cannot be or would cost a source."""
        from vidctl.errors import UsageError

        if self._output.is_folder:
            raise UsageError(f"-o {self._output.said}: a folder, not a file")
        self._output.check(inputs)

    def add(self, described: Described) -> None:
        from vidctl.tasks.results import Failed

        self.tally.taken += 1
        self._answers.append(described)
        result, is_answer = described.result, not isinstance(described.result, Failed)
        if isinstance(result, Failed):
            self.tally.failures.append(result.error)
            if self._has_several:
                self._report.failed(result, is_in_result=self._form.has_failures)
        if not self._form.is_document:
            self._output.add(self._text([described]), is_answer=is_answer)
        if not isinstance(result, Failed):
            self._tell(described, result)

    def add_streamed(self, stream: DescriptionStream, first: str) -> None:
        """Print pieces as they come; the whole answer after them, if it turned out to be another one.

        An answer that must have a form is printed when it is known to have it.
        """
        if not stream.has_form:
            _print_pieces(chain([first], stream))
        described, result = stream.described, stream.result
        self.tally.taken += 1
        self._answers.append(described)
        if not stream.has_form and not stream.is_whole:
            self._report.flaw("the answer was restarted; this is the whole answer:")
        if stream.has_form or not stream.is_whole:
            self._output.add(self._text([described]))
        self._tell(described, result)

    def close(self) -> None:
        """Deliver the document, also that of the results that there are when something stopped the rest."""
        from vidctl.tasks.describe import stats

        if self._options.stats and len(self._answers) > 1:
            spent = stats.of_all(self._answers, price=self._price)
            facts = [*stats.sums(self._answers, spent), self._dollars(spent)]
            self._report.note(f"all {len(self._answers)}: {'; '.join(facts)}")
        self._output.close()
        if not self._form.is_document or not self.tally.taken:
            return
        # Where nothing was answered, a file that is there stays as it is; what failed was reported.
        if self._output.path is None or len(self.tally.failures) < self.tally.taken:
            self._output.write(self._text(self._answers))

    def _text(self, answers: list[Described]) -> str:
        from vidctl.cli import console
        from vidctl.tasks.describe.formats import AnswersContext
        from vidctl.tasks.formats import heading

        is_read = self._output.is_read
        headed = console.heading if is_read else heading
        context = AnswersContext(self.client.endpoint_name, self._price, self._has_several, is_read, headed)
        return self._form.write(answers, context)

    def _tell(self, described: Described, result: Description) -> None:
        """What else there is to know of an answer: that it ends too early, what it cost."""
        from vidctl.text import one_line

        if self._options.reasoning:
            about = f"{one_line(result.source)}: reasoning: "
            self._report.note(about + (result.reasoning or "none was returned"), has_lines=True)
        ending = _ENDINGS.get(result.finish_reason or "")
        if result.reasoning and not result.text:
            ending = f"the model was still reasoning: {ending or 'no answer'}; {_THINK_LESS}"
        if ending:
            tokens = f" ({result.completion_tokens} tokens)" if result.completion_tokens else ""
            self._report.flaw(f"{result.source}: {ending}{tokens}")
        for warning in result.warnings:
            self._report.flaw(f"{result.source}: {warning}")
        if self._options.stats:
            self._report.note(f"{result.source}: {'; '.join(self._facts(described, result))}")

    def _facts(self, described: Described, result: Description) -> Iterator[str]:
        from vidctl.tasks.describe import stats

        known = stats.of_answer(described, result, price=None if self._has_several else self._price)
        yield from stats.facts(known, result)
        if not self._has_several:
            yield self._dollars(known)

    def _dollars(self, stats: dict[str, Any]) -> str:
        if "price_usd" in stats:
            return f"${stats['price_usd']:.6f}, without the worker's start and idle time"
        return "no price: local" if self.client.target == "local" else "price unknown"

    def _price(self, worked_s: float) -> float | None:
        if not self._knows_price:
            self._price_per_s, self._knows_price = self.client.price_per_s("describe"), True
        return None if self._price_per_s is None else round(self._price_per_s * worked_s, 6)


def _print_pieces(pieces: Iterable[str]) -> None:
    from vidctl.text import prose

    last = "\n"
    try:
        for piece in pieces:
            sys.stdout.write(prose(piece))
            sys.stdout.flush()
            last = piece or last
    finally:
        if not last.endswith("\n"):  # an error, and the prompt of the shell, begin a line
            sys.stdout.write("\n")
            sys.stdout.flush()


_THINK_LESS = """pass --set 'chat_template_kwargs={"enable_thinking": false}' to turn reasoning off"""
_ENDINGS = {
    "length": "the answer was cut off; raise --max-tokens",
    "repetition": "the answer repeated itself and was stopped; pass --set repetition_detection=null to let it continue",
    "time": "the answer was cut off at the worker's time limit",
}
