"""`vidctl transcribe`."""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer
from typer.core import TyperCommand

from vidctl.cli import options
from vidctl.cli.tally import Tally

if TYPE_CHECKING:
    from typer._click import Context

    from vidctl.cli.outputs import Inputs
    from vidctl.cli.report import Report
    from vidctl.client import Client
    from vidctl.errors import VidctlError
    from vidctl.tasks.transcribe.model import Transcript
    from vidctl.tasks.transcribe.run import Transcribed
    from vidctl.tasks.transcribe.subtitles import Layout

SCHEMA = "vidctl.transcribe/1"
_KEPT = "run the same command with --resume to get the result without paying again"
_RESUME = "run the same command with --resume: it requests, and pays for, only what is missing"


class _Command(TyperCommand):
    """Takes the spellings of Whisper's own command too."""

    def parse_args(self, ctx: Context, args: list[str]) -> list[str]:
        from vidctl.cli import whispers

        return super().parse_args(ctx, whispers.translated(args))


COMMAND = _Command  # what Typer makes of the function below


def transcribe(
    sources: Annotated[
        list[str],
        typer.Argument(metavar="SOURCE…", help="Audio files and videos: files, folders, globs, URLs, - or @list.txt."),
    ],
    language: Annotated[
        str | None, typer.Option(metavar="LANGUAGE", help="Spoken language: de or German [default: detected].")
    ] = None,
    task: Annotated[
        Literal["transcribe", "translate"], typer.Option(help="Transcribe as spoken, or translate to English.")
    ] = "transcribe",
    word_timestamps: Annotated[bool, typer.Option("--word-timestamps", help="Add the times of single words.")] = False,
    vad: Annotated[bool, typer.Option("--vad/--no-vad", help="Skip what is not speech.")] = True,
    initial_prompt: Annotated[
        str | None,
        typer.Option(metavar="TEXT|@FILE|-", help="Text in the style of the transcript, with its names."),
    ] = None,
    hotwords: Annotated[str | None, typer.Option(metavar="WORDS|@FILE|-", help="Words to expect.")] = None,
    beam_size: Annotated[int, typer.Option(help="Number of beams in the search.")] = 5,
    temperature: Annotated[
        float | None, typer.Option(help="Sampling temperature [default: 0, higher where that fails].")
    ] = None,
    setting: options.Settings = None,
    max_line_width: Annotated[
        int | None, typer.Option(min=1, help="Maximum characters in a line of subtitles.")
    ] = None,
    max_line_count: Annotated[int | None, typer.Option(min=1, help="Maximum lines in a subtitle.")] = None,
    max_words_per_line: Annotated[int | None, typer.Option(min=1, help="Maximum words in a line of subtitles.")] = None,
    highlight_words: Annotated[
        bool, typer.Option("--highlight-words", help="Underline each word as it is spoken, in srt and vtt.")
    ] = False,
    keep_segments: Annotated[
        bool, typer.Option("--keep-segments", help="Write one subtitle per segment, however long, as whisper does.")
    ] = False,
    formats: Annotated[
        list[str] | None,
        typer.Option(
            "--format", "-f", metavar="txt,srt,vtt,tsv,json|all", help="Output formats [default: by FILE's ending]."
        ),
    ] = None,
    as_json: options.JsonResult = False,
    output: Annotated[str | None, options.output("DIR|FILE|-", "Where to write the transcript [default: -].")] = None,
    beside: Annotated[
        bool, typer.Option("--beside", help="Write next to each source, under its name, where players look for it.")
    ] = False,
    overwrite: options.Overwrite = False,
    recursive: options.Recursive = False,
    chunk: Annotated[
        float | None,
        typer.Option(
            metavar="5m",
            parser=options.duration("--chunk"),
            help="Longest audio to send in one job; longer audio is cut at silences.",
        ),
    ] = None,
    audio_track: Annotated[
        str | None,
        typer.Option(metavar="N|LANGUAGE", help="Audio track to transcribe [default: the one a player would choose]."),
    ] = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Continue an earlier run; only what is missing is paid for.")
    ] = False,
    endpoint: Annotated[
        str | None,
        typer.Option(
            metavar="NAME", help="A deployed spec [default: the one for transcribe].", autocompletion=options.specs
        ),
    ] = None,
    env: options.Environment = None,
    endpoint_id: options.EndpointId = None,
    protocol: Annotated[
        str | None, typer.Option(metavar="NAME", help="Protocol of that endpoint: worker-faster_whisper.")
    ] = None,
    target: options.Target = None,
    timeout: options.Timeout = 600,
    no_progress: options.NoProgress = False,
    quiet: options.Quiet = False,
    verbose: options.Verbose = False,
    debug: options.Debug = False,
) -> None:
    """Transcribe audio files and videos.

    Only the audio is uploaded, compressed. On a terminal segments are streamed, coloured by confidence; elsewhere
    the text is printed, or subtitles with -f. Missing parts are marked (exit code 9), and `--resume` requests only
    those.
    """
    from vidctl.cli import outputs
    from vidctl.cli.report import Report
    from vidctl.cli.waiting import telling
    from vidctl.client import Client
    from vidctl.errors import UsageError
    from vidctl.media.kinds import AUDIO
    from vidctl.media.search import expand
    from vidctl.tasks.transcribe.subtitles import Layout

    texts = (("--initial-prompt ", initial_prompt), ("--hotwords ", hotwords))
    options.check_stdin(*(("", word) for word in dict.fromkeys(sources)), *texts)
    layout = Layout(max_line_width, max_line_count, max_words_per_line, highlight_words, keep_segments)
    report = Report(quiet=quiet, verbose=verbose, as_json=as_json)
    audio_files = expand(sources, kind=AUDIO, recursive=recursive, stdin=sys.stdin.buffer, warn=report.skipped)
    if beside and (output is not None or (as_json and not formats)):
        raise UsageError(f"--beside and {'-o' if output is not None else '--json'}: one or the other")
    output = "./" if beside else output
    form = _form(formats or [], output, is_json=as_json, count=len(audio_files))
    has_words = word_timestamps or bool(layout.of_words)
    # Subtitles that are cut where words are need their times; of a translation there are none that are its own.
    cuts_words = layout.is_readable and task == "transcribe" and not {"srt", "vtt"}.isdisjoint(form)
    wanted: dict[str, Any] = {
        "language": language,
        "task": task,
        "word_timestamps": has_words or cuts_words,
        "vad_filter": vad,
        "initial_prompt": initial_prompt and options.text("--initial-prompt", initial_prompt),
        "hotwords": hotwords and options.text("--hotwords", hotwords),
        "beam_size": beam_size,
        "temperature": temperature,
        "extra": options.settings(setting or []),
    }
    names = (
        outputs.beside(audio_files, option="--beside")
        if beside
        else outputs.stems(audio_files, sources, keeps_folders=recursive)
    )
    place = _place(
        output, form, outputs.Inputs(audio_files, [*sources, initial_prompt, hotwords], called="audio files"), names
    )
    client = Client(
        target=target,
        endpoint=endpoint,
        overlay=env,
        endpoint_id=endpoint_id,
        protocol=protocol,
        timeout_s=timeout,
        notify=report.step,
    )
    if client.is_target_by_default:
        report.detail(options.LOCAL_BY_DEFAULT)
    delivery = _Delivery(form, layout, place, names, report, client, overwrite=overwrite or resume, has_words=has_words)
    with report.listening(len(audio_files), shown=not no_progress, told=delivery.is_streamed) as listener:
        results = client.transcribe_many(
            audio_files,
            chunk_s=chunk,
            audio_track=int(audio_track) if audio_track and audio_track.isdecimal() else audio_track,
            resume=resume,
            on_progress=listener.tell,
            waiting=telling(listener.wait),
            **wanted,
        )
        report.detail(client.asking)
        try:
            for each in results:
                delivery.add(each)
        except KeyboardInterrupt:
            interrupted = client.interrupt()
            interrupted.hint = "answers so far are kept: run the same command with --resume to continue"
            raise interrupted from None
        finally:
            results.close()
            delivery.close()
    delivery.tally.settle()


def _form(formats: list[str], output: str | None, *, is_json: bool, count: int) -> tuple[str, ...]:
    """The formats to write, in the order named; empty where a person reads a terminal, ("document",) for --json."""
    from vidctl.cli.outputs import check_json, ending, suffix
    from vidctl.errors import UsageError
    from vidctl.tasks.transcribe.subtitles import FORMATS

    names = [name for each in formats for name in each.replace(" ", "").split(",") if name]
    if unknown := [name for name in names if name != "all" and name not in FORMATS]:
        raise UsageError(f"-f {unknown[0]}: unknown format", hint=f"use {', '.join(FORMATS)} or all")
    if formats and not names:
        raise UsageError(f"-f {formats[0]}: no format given", hint=f"use {', '.join(FORMATS)} or all")
    if is_json:
        check_json(names, output, document=None)  # -f json is Whisper's own JSON
    if is_json and not names and suffix(output) not in FORMATS.keys() - {"json"}:
        return ("document",)
    chosen = tuple(FORMATS) if "all" in names else tuple(dict.fromkeys(names))
    if output in (None, "-"):
        if len(chosen) > 1 or (count > 1 and chosen not in ((), ("txt",))):
            raise UsageError(
                "stdout: takes one file, and there are several to write", hint="write to a folder: -o DIR/"
            )
        return chosen
    return chosen or (ending(output, FORMATS) or "txt",)


@dataclass(frozen=True)
class _Place:
    """Where results go: a folder with a file each, or one file; stdout if `path` is None."""

    path: Path | None
    is_folder: bool


def _place(output: str | None, form: tuple[str, ...], inputs: Inputs, stems: list[str]) -> _Place:
    """Find out before anything is paid; raise UsageError for a place that cannot be, or would cost an audio file."""
    from vidctl.cli.outputs import check_folder, check_stdout
    from vidctl.errors import UsageError
    from vidctl.files import check

    if output in (None, "-"):
        check_stdout()
        return _Place(None, is_folder=False)
    path = Path(str(output))
    is_folder = path.is_dir() or str(output).endswith("/") or not (path.suffix or path.exists())
    is_one = form == ("document",) or (len(form) == 1 and len(stems) == 1)
    if not is_one and (path.exists() or path.suffix) and not is_folder:
        raise UsageError(f"-o {output}: one file cannot hold several", hint="write to a folder: -o DIR/")
    if not is_folder:
        inputs.spare("-o", path)
    elif form == ("document",):
        inputs.spare_in("-o", path, ["transcripts.json"])
    else:
        inputs.spare_in("-o", path, (f"{stem}.{each}" for stem in stems for each in form))
    if is_folder:
        check_folder("-o", path)
    else:
        check(path)
    return _Place(path, is_folder)


class _Delivery:
    """Takes transcripts as they are done: prints or writes them, and remembers what failed."""

    def __init__(
        self,
        form: tuple[str, ...],
        layout: Layout,
        place: _Place,
        stems: list[str],
        report: Report,
        client: Client,
        *,
        overwrite: bool,
        has_words: bool,
    ) -> None:
        self.tally = Tally("audio_files")
        self._has_words = has_words
        self._form = form
        self._layout = layout
        self._place = place
        self._stems = stems
        self._overwrite = overwrite  # what a resumed run adds to is its own
        self._report = report
        self._client = client
        self._kept: list[Transcribed] = []  # one document cannot be begun before all is known

    @property
    def is_streamed(self) -> bool:
        """Whether segments are streamed: a person reads them on a terminal."""
        return not self._form and self._place.path is None and sys.stdout.isatty()

    def add(self, each: Transcribed) -> None:
        from vidctl.tasks.results import Failed

        stem = self._stems[self.tally.taken]
        self.tally.taken += 1
        result = each.result
        if self._form == ("document",):
            self._kept.append(each)
        if isinstance(result, Failed):
            self.tally.failures.append(result.error)
            if len(self._stems) > 1:
                self._report.failed(result, is_in_result=self._form == ("document",))
            return
        self._report_result(result)
        if self._form == ("document",):
            return
        errors = self._write(result, stem)
        for error in errors:
            self._report.failed(Failed(result.source, error))
        self.tally.unsaved += errors[:1]
        if not errors:
            self._client.delivered(each)

    def close(self) -> None:
        """Deliver the document, also that of the results that there are when something stopped the rest."""
        if not self._kept:
            return
        document = {
            "schema": SCHEMA,
            "endpoint": self._client.asked,
            "results": [each.result.to_dict() for each in self._kept],
        }
        text = json.dumps(document, ensure_ascii=False, allow_nan=False, indent=2) + "\n"
        path = self._place.path
        if path is None:
            self._print(text)
        elif error := self._save(path / "transcripts.json" if self._place.is_folder else path, text):
            self._print_instead(text, error)
            raise error
        for each in self._kept:
            self._client.delivered(each)
        self._kept = []

    def _report_result(self, result: Transcript) -> None:
        from vidctl.errors import PartialFailureError

        if not result.segments and not result.gaps:
            self._report.note(f"{result.source}: no speech found")
        for warning in result.warnings:
            self._report.flaw(warning if result.source in warning else f"{result.source}: {warning}")
        for gap in result.gaps:
            self._report.flaw(f"{result.source}: missing {gap.start:.0f}-{gap.end:.0f} s: {gap.error.message}")
        if result.gaps:
            self.tally.flawed.append(
                PartialFailureError(
                    f"{result.source}: missing {sum(gap.end - gap.start for gap in result.gaps):.0f} of "
                    f"{result.duration:.0f} s",
                    hint=_RESUME,
                    job_id=result.gaps[0].error.job_id,
                )
            )

    def _write(self, result: Transcript, stem: str) -> list[VidctlError]:
        """Print it or write its files; what could not be written."""
        from vidctl.cli.report import document
        from vidctl.tasks.transcribe.subtitles import FORMATS
        from vidctl.text import printable

        if self.is_streamed:
            return []
        unsaved: list[tuple[Path, str, VidctlError]] = []
        heading = f"# {printable(' '.join(result.source.split()))}\n" if len(self._stems) > 1 else ""
        for form in self._form or ("txt",):
            # The times of words were asked for to cut subtitles, and are in JSON only where somebody wants them.
            is_bare = form == "json" and not self._has_words
            text = FORMATS[form](result.without_words() if is_bare else result, self._layout)
            if self._place.path is None:
                self._print(heading + text)
                continue
            path = self._place.path / f"{stem}.{form}" if self._place.is_folder else self._place.path
            if error := self._save(path, text, result.source):
                unsaved.append((path, text, error))
        # Files of several formats, or JSON of several audio files, nobody could tell apart again by their headings.
        is_mixed = len(unsaved) > 1 or (
            len(self._stems) > 1 and self._form not in (("txt",), ("srt",), ("vtt",), ("tsv",))
        )
        for path, text, error in unsaved:
            if is_mixed:
                line = document({"file": str(path), "source": result.source, "content": text}) + "\n"
                self._print_instead(line, error, ", as JSON lines of file, source and content")
            else:
                self._print_instead(heading + text, error)
        return [error for _, _, error in unsaved]

    def _print(self, text: str) -> None:
        from vidctl.cli.outputs import say
        from vidctl.errors import VidctlError

        try:
            say(text)
        except VidctlError as error:
            error.hint = f"{error.hint}; {_KEPT}"
            raise

    def _save(self, path: Path, text: str, name: str = "the document") -> VidctlError | None:
        """Write one file; what stood in the way."""
        from vidctl.errors import VidctlError
        from vidctl.files import write_new

        try:
            write_new(path, text.encode(), overwrite=self._overwrite or not self._place.is_folder)
        except VidctlError as error:
            return error
        self._report.note(f"{name}: saved {path}" if len(self._stems) > 1 else f"saved {path}")
        return None

    def _print_instead(self, text: str, error: VidctlError, how: str = "") -> None:
        """Print what cannot be written, for it is paid."""
        from vidctl.cli.outputs import print_instead

        print_instead(text, error, how)
        error.hint = f"{error.hint}; {_KEPT}"
