"""`vidctl describe`."""

from __future__ import annotations

import glob
import os
import re
import shlex
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import chain
from pathlib import Path, PurePath
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from vidctl.cli import options
from vidctl.cli.tally import Tally

if TYPE_CHECKING:
    from vidctl.cli.outputs import Inputs
    from vidctl.cli.report import Report
    from vidctl.client import Client
    from vidctl.media.sources import Source
    from vidctl.runpod.jobs import Health, Job
    from vidctl.tasks.describe.jobs import Described
    from vidctl.tasks.describe.model import Description
    from vidctl.tasks.describe.streaming import DescriptionStream

Format = Literal["text", "json", "jsonl"]
SCHEMA = "vidctl.describe/1"


def describe(
    words: Annotated[
        list[str],
        typer.Argument(
            metavar="SOURCE… [PROMPT]",
            help="Images or videos: files, folders, globs, URLs, - or @list.txt; then the prompt, or @FILE with it.",
        ),
    ],
    prompt: Annotated[
        str | None, typer.Option("--prompt", "-p", metavar="TEXT|@FILE|-", help="The prompt; - reads it from stdin.")
    ] = None,
    system: Annotated[
        str | None, typer.Option("--system", "-s", metavar="TEXT|@FILE", help="The system prompt.")
    ] = None,
    preset: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="A named prompt: caption, ocr, …, or presets/NAME.yaml [default: caption, without a prompt].",
            autocompletion=options.presets,
        ),
    ] = None,
    together: Annotated[bool, typer.Option("--together", help="Ask about all sources in one question.")] = False,
    at: Annotated[
        list[str] | None, typer.Option(metavar="1:23", help="Use the frame of a video at this time; may be repeated.")
    ] = None,
    from_time: Annotated[
        str | None, typer.Option("--from", metavar="1:23", help="Use the frames of a video from this time.")
    ] = None,
    to_time: Annotated[
        str | None, typer.Option("--to", metavar="1:30", help="Use the frames of a video before this time.")
    ] = None,
    fps: Annotated[
        float | None, typer.Option(help="Frames per second of video [default: 1, or fewer if those are too many].")
    ] = None,
    max_tokens: Annotated[
        int | None, typer.Option(help="Maximum tokens of the answer [default: the preset's, or 512].")
    ] = None,
    temperature: Annotated[
        float | None,
        typer.Option(help="Sampling temperature; 0 gives the likeliest answer [default: the preset's, or 0.7]."),
    ] = None,
    seed: Annotated[int | None, typer.Option(help="Seed of the sampling, for repeatable answers.")] = None,
    stop: Annotated[
        list[str] | None, typer.Option(metavar="TEXT", help="Stop the answer before this text; may be repeated.")
    ] = None,
    setting: options.Settings = None,
    schema: Annotated[
        str | None,
        typer.Option(metavar="FILE|FIELDS|JSON", help='Answer with JSON: by a JSON Schema, or "name, age int".'),
    ] = None,
    choices: Annotated[
        list[str] | None, typer.Option(metavar="yes,no", help="Answer with one of these; may be repeated.")
    ] = None,
    recursive: options.Recursive = False,
    output_format: Annotated[
        Format | None,
        typer.Option("--format", "-f", help="How to print the result [default: by FILE's ending, else text]."),
    ] = None,
    as_json: options.JsonResult = False,
    output: Annotated[str | None, options.output("FILE|-", "Write the result to FILE.")] = None,
    no_stream: Annotated[bool, typer.Option("--no-stream", help="Print the answer only when it is complete.")] = False,
    reasoning: Annotated[
        bool, typer.Option("--reasoning", help="Print a thinking model's reasoning on stderr.")
    ] = False,
    stats: Annotated[bool, typer.Option("--stats", help="Print times, token counts and the price.")] = False,
    endpoint: Annotated[
        str | None,
        typer.Option(
            metavar="NAME", help="A deployed spec [default: the one for describe].", autocompletion=options.specs
        ),
    ] = None,
    env: options.Environment = None,
    endpoint_id: options.EndpointId = None,
    protocol: Annotated[
        str | None, typer.Option(metavar="NAME", help="Protocol of that endpoint: worker-vllm.")
    ] = None,
    model: Annotated[str | None, typer.Option(metavar="NAME", help="Model name that its worker-vllm serves.")] = None,
    target: options.Target = None,
    timeout: options.Timeout = 600,
    no_progress: options.NoProgress = False,
    quiet: options.Quiet = False,
    verbose: options.Verbose = False,
    debug: options.Debug = False,
) -> None:
    """Ask about images and videos.

    The last argument is the prompt, unless it is a file or -p or --preset is given. Each source gets an answer of its
    own; with --together all sources share one. Of a video, frames are sent. Images are resized before upload. On a
    terminal a single answer is streamed. A source that fails is reported and does not stop the rest (exit code 9).

    \b
    vidctl describe frame.jpg "What is the person on the left doing?"
    vidctl describe clip.mp4 --from 1:20 --to 1:30 "What happens?"
    vidctl describe before.jpg after.jpg --together "What has changed?"
    vidctl describe frames/ --preset ocr -f jsonl > texts.jsonl
    vidctl describe invoice.png --schema "number, total float, paid bool"
    """
    from vidctl.cli.outputs import Inputs
    from vidctl.cli.report import Report
    from vidctl.client import Client
    from vidctl.media.kinds import IMAGES_AND_VIDEOS, VIDEOS
    from vidctl.media.search import expand

    options.check_stdin(*(("", word) for word in dict.fromkeys(words)), ("-p ", prompt), ("--system ", system))
    names, question = _parted(words, prompt, preset)
    extra = options.settings(setting or [])
    how = {
        "preset": preset,
        "at_s": tuple(_seconds("--at", each) for each in at or []),
        "from_s": None if from_time is None else _seconds("--from", from_time),
        "to_s": None if to_time is None else _seconds("--to", to_time),
        "fps": fps,
        "extra": extra,
        "stop": tuple(stop or ()),
        **_given(
            system=system and options.text("--system", system),
            max_tokens=max_tokens,
            temperature=temperature,
            seed=seed,
            regex=extra.pop("regex", None),
            schema=None if schema is None else _schema(schema),
            choices=",".join(choices) if choices else None,
        ),
    }
    is_of_videos = bool(at or from_time or to_time or fps)
    kind = VIDEOS if is_of_videos else IMAGES_AND_VIDEOS
    form = _form(output_format, output, is_json=as_json)
    report = Report(quiet=quiet, verbose=verbose, as_json=as_json or form != "text")
    sources = expand(names, kind=kind, recursive=recursive, stdin=sys.stdin.buffer, warn=report.skipped)
    path = _place(output, Inputs(sources, [*words, prompt, system, schema and f"@{schema}"]))
    client = Client(
        target=target,
        endpoint=endpoint,
        overlay=env,
        endpoint_id=endpoint_id,
        protocol=protocol,
        model=model,
        timeout_s=timeout,
        notify=report.step,
    )
    if client.is_target_by_default:
        report.detail(options.LOCAL_BY_DEFAULT)
    count = 1 if together else len(sources)
    requests = _Requests(client, sources, question, {**how, "together": together}, report, shown=not no_progress)
    delivery = _Delivery(form, path, count, report, client, wants_stats=stats, wants_thoughts=reasoning)
    has_reader = path is None and form == "text" and sys.stdout.isatty()
    if has_reader and count == 1 and not no_stream:
        requests.streamed(delivery)
    else:
        requests.all(delivery, count)
    delivery.tally.settle()


def _given(**values: Any) -> dict[str, Any]:
    """The options that were given on the command line; a preset may set the others."""
    return {name: value for name, value in values.items() if value is not None}


# --- arguments -------------------------------------------------------------------------------------------


def _parted(words: list[str], prompt: str | None, preset: str | None) -> tuple[list[str], str | None]:
    """The sources, and the prompt if there is one.

    Raises MediaError for a last word that may be a mistyped name: to take it for the prompt would cost a wrong answer.
    """
    from vidctl.errors import MediaError, UsageError

    *others, last = words
    if prompt is None and preset is None and _is_source(last) and (first := next(filter(_is_prompt, others), None)):
        raise UsageError(
            f"{first}: no such file", hint=f'put the prompt last: vidctl describe {shlex.quote(last)} "{first}"'
        )
    has_prompt = prompt is not None or preset is not None
    if _is_source(last) or (last.startswith("@") and (has_prompt or not others)):
        return words, prompt and options.text("--prompt", prompt)
    if _looks_like_a_file(last) and not last.startswith("@"):
        hint = "if it is the prompt, pass it with -p" if others and not has_prompt else None
        raise MediaError(f"{last}: no such file", hint=hint)
    if has_prompt:
        raise UsageError(f"{last}: no such file", hint="a prompt is given already; -p takes precedence over a preset's")
    if not others:
        raise UsageError(f"{last}: no such file", hint=f'put the image first: vidctl describe FILE "{last}"')
    return others, options.text("the prompt", last)


def _is_source(word: str) -> bool:
    if word == "-" or re.match(r"[a-z][a-z0-9+.-]*://", word, re.IGNORECASE):
        return True
    try:
        return os.path.lexists(word) or (glob.has_magic(word) and any(glob.iglob(word, recursive=True)))  # noqa: PTH207
    except (OSError, ValueError):  # no file can have this name
        return False


def _is_prompt(word: str) -> bool:
    """Whether this can only be a prompt: several words that name nothing."""
    return len(word.split()) > 1 and not (word.startswith("@") or _is_source(word) or _looks_like_a_file(word))


def _looks_like_a_file(word: str) -> bool:
    """Whether who types this means a file: one word with an ending, a folder or a pattern, or `my frame.jpg`."""
    from vidctl.media.kinds import IMAGES_AND_VIDEOS

    if len(word.split()) != 1:
        return PurePath(word).suffix.lower() in IMAGES_AND_VIDEOS.suffixes
    return re.search(r"[/*\[]|\.[A-Za-z0-9]{1,5}$", word) is not None


def _seconds(name: str, text: str) -> float:
    """`83.5`, `1:23`, `1:02:03.5` and `2m`, in seconds."""
    from vidctl.errors import UsageError
    from vidctl.text import duration_s

    found = duration_s(text)
    if found is None:
        raise UsageError(f"invalid {name} {shlex.quote(text)}: expected a time", hint="write 83.5, 1:23, 1:02:03 or 2m")
    return found


def _schema(word: str) -> dict[str, Any]:
    """A file, JSON, or fields in their short form."""
    from vidctl.errors import UsageError
    from vidctl.tasks.describe import schema

    if word.lstrip().startswith("{"):
        return schema.read(word)
    if _is_source(word):
        return schema.read(options.text("--schema", f"@{word}"))
    if re.fullmatch(r"\S+\.json|\S*/\S*", word):
        raise UsageError(f"--schema {word}: no such file")
    return schema.read(word)


def _form(given: Format | None, output: str | None, *, is_json: bool) -> str:
    from vidctl.cli.outputs import form

    endings = {"txt": "text", "json": "json", "jsonl": "jsonl"}
    return form(given, output, endings, is_json=is_json, otherwise="text")


def _place(output: str | None, inputs: Inputs) -> Path | None:
    """Where to write; raise UsageError, before anything is paid, for a place that cannot be or would cost a source."""
    from vidctl import files
    from vidctl.cli.outputs import check_stdout
    from vidctl.errors import UsageError, VidctlError

    if output in (None, "-"):
        check_stdout()
        return None
    path = Path(str(output))
    if path.is_dir():
        raise UsageError(f"-o {output}: a folder, not a file")
    inputs.spare("-o", path)
    if not os.access(path.parent, os.W_OK):
        raise VidctlError(f"{path.parent}: folder not found, or not writable")
    files.check(path)
    return path


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

    def all(self, delivery: _Delivery, count: int) -> None:
        from vidctl.cli.waiting import telling

        try:
            with self.report.counting("describe", count, shown=self.shown) as counter:
                waiting = telling(counter.wait)
                described = self.client.describe_many(self.sources, self.prompt, waiting=waiting, **self.how)
                self.report.detail(self.client.asking)
                try:
                    for each in described:
                        delivery.add(each)
                        counter.count()
                except KeyboardInterrupt:
                    raise self.client.interrupt() from None
                finally:
                    described.close()
        finally:
            delivery.close()

    def streamed(self, delivery: _Delivery) -> None:
        """Stream the one answer to stdout."""
        how = {name: value for name, value in self.how.items() if name != "together"}
        stream = None
        try:
            stream, first = self._first(how)
            delivery.add_streamed(stream, first)
        except KeyboardInterrupt:
            raise self.client.interrupt() from None
        finally:
            if stream:
                stream.close()

    def _first(self, how: dict[str, Any]) -> tuple[DescriptionStream, str]:
        """The stream, and the first piece of it; what is waited for meanwhile is shown, and gone when it is there."""
        from vidctl.cli.waiting import state
        from vidctl.progress import Progress

        def waiting(job: Job, health: Health | None) -> None:
            notify(Progress("describe", state(job, health), is_passing=True))

        hears = waiting if self.shown and not self.report.is_silent else None
        with self.report.passing(shown=self.shown) as notify:
            notify(Progress("describe", "waiting for the first token", is_passing=True))
            stream = self.client.describe_stream(self.sources, self.prompt, waiting=hears, **how)
            self.report.detail(self.client.asking)
            return stream, next(stream, "")


# --- delivering ----------------------------------------------------------------------------------------------------


class _Delivery:
    """Takes answers as they come: prints or collects them, and remembers what failed."""

    def __init__(
        self,
        form: str,
        path: Path | None,
        count: int,
        report: Report,
        client: Client,
        *,
        wants_stats: bool,
        wants_thoughts: bool,
    ) -> None:
        from vidctl.cli.outputs import Lines

        self.tally = Tally("sources")
        self._form = form
        self._path = path
        self._several = count > 1
        self._report = report
        self._client = client
        self._wants_stats = wants_stats
        self._wants_thoughts = wants_thoughts
        self._took: list[Described] = []
        self._price_per_s: float | None = None
        self._knows_price = False
        self._kept: list[dict[str, Any]] = []
        self._is_whole = form == "json"  # one document cannot be begun before all is known
        self._lines = Lines(path)

    def add(self, described: Described) -> None:
        from vidctl.tasks.results import Failed

        self.tally.taken += 1
        result = described.result
        self._took.append(described)
        if isinstance(result, Failed):
            self.tally.failures.append(result.error)
            if self._several:
                self._report.failed(result, is_in_result=self._form != "text")
        if self._form != "text":
            self._give(self._document(described), is_answer=not isinstance(result, Failed))
        elif not isinstance(result, Failed):
            self._give(self._answer(result))
        if not isinstance(result, Failed):
            self._say(described, result)

    def add_streamed(self, stream: DescriptionStream, first: str) -> None:
        """Print pieces as they come; the whole answer after them, if it turned out to be another one.

        An answer that must have a form is printed when it is known to have it.
        """
        if not stream.has_form:
            _print_pieces(chain([first], stream))
        described, result = stream.described, stream.result
        self.tally.taken += 1
        self._took.append(described)
        if not stream.has_form and not stream.is_whole:
            self._report.flaw("the answer was restarted; this is the whole answer:")
        if stream.has_form or not stream.is_whole:
            self._give(self._answer(result))
        self._say(described, result)

    def close(self) -> None:
        """Deliver the document, also that of the results that there are when something stopped the rest."""
        from vidctl.cli.outputs import print_instead, say
        from vidctl.cli.report import document
        from vidctl.errors import VidctlError
        from vidctl.files import write

        if self._wants_stats and len(self._took) > 1:
            self._report.note(f"all {len(self._took)}: {'; '.join(self._sums())}")
        self._lines.close()
        if not self._is_whole or not self.tally.taken:
            return
        # Where nothing was answered, a file that is there stays as it is; what failed was reported.
        if self._path is not None and len(self.tally.failures) == self.tally.taken:
            return
        whole = {"stats": self._spent()} if self._several else {}
        text = document({"schema": SCHEMA, **self._endpoint(), "results": self._kept, **whole}, indent=2) + "\n"
        self._kept = []
        if self._path is None:
            say(text)
            return
        try:
            write(self._path, text.encode())
        except VidctlError as error:  # a full disk: what is printed is not lost
            print_instead(text, error)
            raise

    def _give(self, item: str | dict[str, Any], *, is_answer: bool = True) -> None:
        if isinstance(item, str):
            self._lines.add(item, is_answer=is_answer)
        elif self._is_whole:
            self._kept.append(item)
        else:
            self._lines.add(_line({**self._endpoint(), **item}), is_answer=is_answer)

    def _endpoint(self) -> dict[str, Any]:
        return {"endpoint": self._client.asked}

    def _answer(self, result: Description) -> str:
        """The answer as text, under the name of its source where there are several."""
        from vidctl.cli.report import document, heading, prose

        is_read = self._path is None and sys.stdout.isatty()
        if result.data is not None:
            text = document(result.data, indent=2 if is_read else None)
        else:
            text = prose(result.text).strip("\n")
        return (heading(result.source, is_bold=is_read) if self._several else "") + text + "\n"

    def _document(self, described: Described) -> dict[str, Any]:
        from vidctl.tasks.results import Failed

        result = described.result
        names = [source.name for source in described.question.sources]
        item = {**result.to_dict(), **({"sources": names} if len(names) > 1 else {})}
        return item if isinstance(result, Failed) else {**item, "stats": self._stats(described, result)}

    def _say(self, described: Described, result: Description) -> None:
        """What else there is to know of an answer: that it ends too early, what it cost."""
        from vidctl.text import one_line

        if self._wants_thoughts:
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
        if self._wants_stats:
            stats = self._stats(described, result)
            facts = [*_facts(stats, result), *([] if self._several else [self._dollars(stats)])]
            self._report.note(f"{result.source}: {'; '.join(facts)}")

    def _stats(self, described: Described, result: Description) -> dict[str, Any]:
        """What is known of times and price; with `--json` it is in the document."""
        effort = described.effort
        known = {
            "jobs": effort.jobs,
            "delay_ms": effort.delay_ms,
            "execution_ms": effort.execution_ms,
            "first_text_s": None if effort.first_text_s is None else round(effort.first_text_s, 3),
            "first_token_s": result.timings.get("first_token"),
            "tokens_per_s": _speed(described, result),
            # Of several answers only the sum is known: their jobs share the time of a worker.
            "price_usd": None if self._several or not effort.execution_ms else self._price(effort.execution_ms / 1000),
        }
        return {name: value for name, value in known.items() if value is not None}

    def _spent(self) -> dict[str, Any]:
        """What all jobs together took, those of answers that were of no use too."""
        from vidctl.tasks.describe.jobs import busy_s

        efforts = [described.effort for described in self._took]
        worked_s = busy_s(efforts)
        known = {
            "jobs": sum(effort.jobs for effort in efforts),
            "execution_ms": sum(effort.execution_ms or 0 for effort in efforts),
            "busy_ms": round(worked_s * 1000),
            "price_usd": self._price(worked_s),
        }
        return {name: value for name, value in known.items() if value is not None}

    def _sums(self) -> Iterator[str]:
        from vidctl.tasks.results import Failed

        answers = [each.result for each in self._took if not isinstance(each.result, Failed)]
        spent = self._spent()
        yield f"{sum(answer.prompt_tokens or 0 for answer in answers)} prompt tokens"
        yield f"{sum(answer.completion_tokens or 0 for answer in answers)} answer tokens"
        yield f"ran {spent['execution_ms'] / 1000:.2f} s, side by side in {spent['busy_ms'] / 1000:.2f} s"
        yield self._dollars(spent)

    def _dollars(self, stats: dict[str, Any]) -> str:
        if "price_usd" in stats:
            return f"${stats['price_usd']:.6f}, without the worker's start and idle time"
        return "no price: local" if self._client.target == "local" else "price unknown"

    def _price(self, worked_s: float) -> float | None:
        if not self._knows_price:
            self._price_per_s, self._knows_price = self._client.price_per_s("describe"), True
        return None if self._price_per_s is None else round(self._price_per_s * worked_s, 6)


def _print_pieces(pieces: Iterable[str]) -> None:
    from vidctl.cli.report import prose

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


def _speed(described: Described, result: Description) -> float | None:
    """Tokens a second, from the first one to the last where the worker tells its times, else over all of the job."""
    tokens, effort, timings = result.completion_tokens, described.effort, result.timings
    if not tokens:
        return None
    seconds = (effort.execution_ms or 0) / 1000
    if effort.jobs == 1 and {"first_token", "total"} <= timings.keys():
        tokens, seconds = tokens - 1, timings["total"] - timings.get("prepare", 0.0) - timings["first_token"]
    return round(tokens / seconds, 1) if tokens and seconds > 0 else None


def _facts(stats: dict[str, Any], result: Description) -> Iterator[str]:
    if "delay_ms" in stats:
        yield f"queue {stats['delay_ms'] / 1000:.2f} s"
    firsts = [("here", stats.get("first_text_s")), ("in the engine", stats.get("first_token_s"))]
    if times := [f"{seconds:.2f} s {where}" for where, seconds in firsts if seconds is not None]:
        yield f"first token {', '.join(times)}"
    if "tokens_per_s" in stats:
        yield f"{stats['tokens_per_s']:.1f} tokens/s"
    if result.prompt_tokens is not None:
        image = "" if result.image_tokens is None else f" ({result.image_tokens} of them image)"
        yield f"{result.prompt_tokens} prompt tokens{image}"
    if result.completion_tokens is not None:
        yield f"{result.completion_tokens} answer tokens"
    if "execution_ms" in stats:
        jobs = f" in {stats['jobs']} jobs" if stats["jobs"] > 1 else ""
        yield f"ran {stats['execution_ms'] / 1000:.2f} s{jobs}"


def _line(item: dict[str, Any]) -> str:
    from vidctl.cli.report import document

    return document({"schema": SCHEMA, **item}) + "\n"
