"""`vidctl transcribe`."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer
from typer.core import TyperCommand

from vidctl.cli import completion, options
from vidctl.cli.tally import Tally

if TYPE_CHECKING:
    from typer._click import Context

    from vidctl.cli.inputs import Inputs
    from vidctl.cli.report import Report
    from vidctl.client import Client
    from vidctl.errors import VidctlError
    from vidctl.media.sources import Source
    from vidctl.tasks.transcribe.formats import TranscriptContext, TranscriptFormat
    from vidctl.tasks.transcribe.model import Transcript
    from vidctl.tasks.transcribe.run import Transcribed
    from vidctl.tasks.transcribe.subtitles import Layout

_KEPT = "run the same command with --resume to get the result without paying again"
_DOCUMENT = "transcripts.json"
_CONTINUE = "answers so far are kept: run the same command with --resume to continue"
_RESUME = "run the same command with --resume: it requests, and pays for, only what is missing"


class _WhisperCommand(TyperCommand):
    """Takes the spellings of Whisper's own command too."""

    def parse_args(self, ctx: Context, args: list[str]) -> list[str]:
        from vidctl.cli import whisper_options

        return super().parse_args(ctx, whisper_options.translated(args))


COMMAND = _WhisperCommand  # what Typer makes of the function below


@dataclass(frozen=True)
class SpeechOptions:
    """What the model is told."""

    language: Annotated[
        str | None,
        typer.Option(
            metavar="LANGUAGE",
            help="Spoken language: de or German [default: detected].",
            autocompletion=completion.languages,
        ),
    ] = None
    task: Annotated[
        Literal["transcribe", "translate"], typer.Option(help="Transcribe as spoken, or translate to English.")
    ] = "transcribe"
    word_timestamps: Annotated[bool, typer.Option("--word-timestamps", help="Add the times of single words.")] = False
    vad: Annotated[bool, typer.Option("--vad/--no-vad", help="Skip what is not speech.")] = True
    initial_prompt: Annotated[
        str | None,
        typer.Option(metavar="TEXT|@FILE|-", help="Text in the style of the transcript, with its names."),
    ] = None
    hotwords: Annotated[str | None, typer.Option(metavar="WORDS|@FILE|-", help="Words to expect.")] = None
    beam_size: Annotated[int, typer.Option(help="Number of beams in the search.")] = 5
    temperature: Annotated[
        float | None, typer.Option(help="Sampling temperature [default: 0, higher where that fails].")
    ] = None
    setting: options.Settings = None

    def check_stdin(self, sources: list[str]) -> None:
        texts = (("--initial-prompt ", self.initial_prompt), ("--hotwords ", self.hotwords))
        options.check_stdin(*(("", word) for word in dict.fromkeys(sources)), *texts)

    def wanted(self, layout: Layout, forms: set[str]) -> dict[str, Any]:
        """The fields of `TranscribeOptions`, with the text of files."""
        # Subtitles that are cut where words are need their times; of a translation there are none that are its own.
        cuts_words = layout.is_readable and self.task == "transcribe" and not {"srt", "vtt"}.isdisjoint(forms)
        return {
            "language": self.language,
            "task": self.task,
            "word_timestamps": self.word_timestamps or bool(layout.of_words) or cuts_words,
            "vad_filter": self.vad,
            "initial_prompt": self.initial_prompt and options.text("--initial-prompt", self.initial_prompt),
            "hotwords": self.hotwords and options.text("--hotwords", self.hotwords),
            "beam_size": self.beam_size,
            "temperature": self.temperature,
            "extra": options.settings(self.setting or []),
        }


@dataclass(frozen=True)
class SubtitleOptions:
    """How subtitles are laid out, with the names of `Layout`."""

    max_line_width: Annotated[int | None, typer.Option(min=1, help="Maximum characters in a line of subtitles.")] = None
    max_line_count: Annotated[int | None, typer.Option(min=1, help="Maximum lines in a subtitle.")] = None
    max_words_per_line: Annotated[int | None, typer.Option(min=1, help="Maximum words in a line of subtitles.")] = None
    highlight_words: Annotated[
        bool, typer.Option("--highlight-words", help="Underline each word as it is spoken, in srt and vtt.")
    ] = False
    keep_segments: Annotated[
        bool, typer.Option("--keep-segments", help="Write one subtitle per segment, however long, as whisper does.")
    ] = False

    def layout(self) -> Layout:
        from vidctl.tasks.transcribe.subtitles import Layout

        return Layout(**vars(self))


@dataclass(frozen=True)
class TranscriptOutput:
    """Where transcripts go, and how they are written."""

    formats: Annotated[
        list[str] | None,
        typer.Option(
            "--format",
            "-f",
            metavar="txt,srt,vtt,tsv,json|all",
            help="Output formats [default: by FILE's ending].",
            autocompletion=completion.transcript_formats,
        ),
    ] = None
    as_json: options.JsonResult = False
    output: Annotated[str | None, options.output("DIR|FILE|-", "Where to write the transcript [default: -].")] = None
    beside: Annotated[
        bool, typer.Option("--beside", help="Write next to each source, under its name, where players look for it.")
    ] = False
    overwrite: options.Overwrite = False

    @property
    def place(self) -> str | None:
        """What -o would say."""
        return "./" if self.beside else self.output

    def forms(self, *, count: int) -> tuple[TranscriptFormat, ...]:
        """The formats to write of so many audio files; the document for --json."""
        from vidctl.cli.output import chosen_formats
        from vidctl.errors import UsageError
        from vidctl.tasks.transcribe.formats import DOCUMENT, FORMATS

        if self.beside and (self.output is not None or (self.as_json and not self.formats)):
            raise UsageError(f"--beside and {'-o' if self.output is not None else '--json'}: one or the other")
        document = DOCUMENT if self.as_json else None
        forms = chosen_formats(self._said(FORMATS), self.place, FORMATS, document=document, otherwise="txt")
        is_text = [each.name for each in forms] == ["txt"]
        if self.place in (None, "-") and (len(forms) > 1 or (count > 1 and not is_text and document not in forms)):
            raise UsageError(
                "stdout: takes one file, and there are several to write", hint="write to a folder: -o DIR/"
            )
        return forms

    def _said(self, known: Iterable[str]) -> tuple[str, ...]:
        from vidctl.errors import UsageError

        names = [name for each in self.formats or () for name in each.replace(" ", "").split(",") if name]
        hint = f"use {', '.join(known)} or all"
        if unknown := [name for name in names if name != "all" and name not in known]:
            raise UsageError(f"-f {unknown[0]}: unknown format", hint=hint)
        if self.formats and not names:
            raise UsageError(f"-f {self.formats[0]}: no format given", hint=hint)
        return tuple(known) if "all" in names else tuple(dict.fromkeys(names))


@dataclass(frozen=True)
class AudioOptions:
    """What is heard and sent."""

    chunk: Annotated[
        float | None,
        typer.Option(
            metavar="5m",
            parser=options.duration("--chunk"),
            help="Longest audio to send in one job; longer audio is cut at silences.",
        ),
    ] = None
    audio_track: Annotated[
        str | None,
        typer.Option(metavar="N|LANGUAGE", help="Audio track to transcribe [default: the one a player would choose]."),
    ] = None
    resume: Annotated[
        bool, typer.Option("--resume", help="Continue an earlier run; only what is missing is paid for.")
    ] = False

    def sent(self) -> dict[str, Any]:
        """The same by the names of `Client.transcribe_many`."""
        track = int(self.audio_track) if self.audio_track and self.audio_track.isdecimal() else self.audio_track
        return {"chunk_s": self.chunk, "audio_track": track, "resume": self.resume}


Sources = Annotated[
    list[str],
    typer.Argument(metavar="SOURCE…", help="Audio files and videos: files, folders, globs, URLs, - or @list.txt."),
]
WorkerProtocol = Annotated[
    str | None,
    typer.Option(
        metavar="NAME", help="Protocol of that endpoint: worker-faster_whisper.", autocompletion=completion.protocols
    ),
]


@options.spread
def transcribe(
    sources: Sources,
    *,
    speech: SpeechOptions,
    subtitles: SubtitleOptions,
    output: TranscriptOutput,
    recursive: options.Recursive = False,
    audio: AudioOptions,
    chosen: options.EndpointOptions,
    protocol: WorkerProtocol = None,
    no_cache: options.NoCache = False,
    run: options.RunOptions,
) -> None:
    """Transcribe audio files and videos.

    Only the audio is uploaded, compressed. On a terminal segments are streamed, coloured by confidence; elsewhere the
    text is printed, or subtitles with -f. Missing parts are marked (exit code 9), and `--resume` requests only those.
    """
    from vidctl.cli.inputs import Inputs
    from vidctl.cli.waiting import answers, telling
    from vidctl.tasks.transcribe.formats import TranscriptContext

    speech.check_stdin(sources)
    layout, report = subtitles.layout(), run.report(as_json=output.as_json)
    audio_files = _audio_files(sources, report, recursive=recursive)
    forms = output.forms(count=len(audio_files))
    wanted = speech.wanted(layout, {each.name for each in forms})
    context = TranscriptContext(layout, speech.word_timestamps or bool(layout.of_words))
    names = _names(audio_files, sources, beside=output.beside, recursive=recursive)
    delivery = _TranscriptDelivery(forms, context, output, names, report, resumes=audio.resume)
    delivery.check(Inputs(audio_files, [*sources, speech.initial_prompt, speech.hotwords], called="audio files"))
    delivery.client = client = run.client(chosen, report, protocol=protocol, cache=options.cache(no_cache=no_cache))
    with report.listening(len(audio_files), shown=not run.no_progress, told=delivery.is_streamed) as listener:
        results = client.transcribe_many(
            audio_files, on_progress=listener.tell, waiting=telling(listener.wait), **audio.sent(), **wanted
        )
        report.detail(client.endpoint_line)
        with closing(delivery), answers(client, results, hint=_CONTINUE) as transcripts:
            for each in transcripts:
                delivery.add(each)
    delivery.tally.settle()


def _audio_files(words: list[str], report: Report, *, recursive: bool) -> list[Source]:
    from vidctl.media.kinds import AUDIO
    from vidctl.media.search import expand

    return expand(words, kind=AUDIO, recursive=recursive, stdin=sys.stdin.buffer, warn=report.skipped)


def _names(sources: list[Source], words: list[str], *, beside: bool, recursive: bool) -> list[str]:
    from vidctl.cli import inputs

    if beside:
        return inputs.beside(sources, option="--beside")
    return inputs.stems(sources, words, keeps_folders=recursive)


class _TranscriptDelivery:
    """Takes transcripts as they are done: prints or writes them, and remembers what failed."""

    client: Client

    def __init__(
        self,
        forms: tuple[TranscriptFormat, ...],
        context: TranscriptContext,
        options: TranscriptOutput,
        names: list[str],
        report: Report,
        *,
        resumes: bool,
    ) -> None:
        from vidctl.cli.output import Output

        self.tally = Tally("audio_files")
        self._forms = forms
        self._context = context
        self._output = Output(options.place)
        # Segments are streamed where nothing else was asked for, and a person reads them.
        self.is_streamed = self._output.is_read and not options.formats and not options.as_json
        self._overwrite = options.overwrite or resumes  # what a resumed run adds to is its own
        self._names = names
        self._report = report
        self._kept: list[Transcribed] = []

    @property
    def _is_document(self) -> bool:
        return self._forms[0].is_document

    def check(self, inputs: Inputs) -> None:
        """Raise UsageError, before anything is paid, for a place that cannot be or would cost an audio file."""
        from vidctl.errors import UsageError

        is_one = self._is_document or (len(self._forms) == 1 and len(self._names) == 1)
        if not is_one and self._output.path is not None and not self._output.is_folder:
            raise UsageError(f"-o {self._output.said}: one file cannot hold several", hint="write to a folder: -o DIR/")
        files = (f"{stem}.{each.name}" for stem in self._names for each in self._forms)
        self._output.check(inputs, [_DOCUMENT] if self._is_document else files)

    def add(self, each: Transcribed) -> None:
        from vidctl.tasks.results import Failed

        stem = self._names[self.tally.taken]
        self.tally.taken += 1
        result = each.result
        if self._is_document:
            self._kept.append(each)
        if isinstance(result, Failed):
            self.tally.failures.append(result.error)
            if len(self._names) > 1:
                self._report.failed(result, is_in_result=self._is_document)
            return
        self._report_result(result)
        if self._is_document:
            return
        errors = [] if self.is_streamed else self._write(result, stem)
        for error in errors:
            self._report.failed(Failed(result.source, error))
        self.tally.unsaved += errors[:1]
        if not errors:
            self.client.delivered(each)

    def close(self) -> None:
        """Deliver the document, also that of the results that there are when something stopped the rest."""
        from dataclasses import replace

        if not self._kept:
            return
        context = replace(self._context, endpoint=self.client.endpoint_name)
        text = self._forms[0].write([each.result for each in self._kept], context)
        with _saying_what_is_kept():
            path = self._output.write(text, name=_DOCUMENT, overwrite=self._overwrite)
        if path is not None:
            self._note_saved("the document", path)
        for each in self._kept:
            self.client.delivered(each)
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
        """Print it or write its files; what could not be written is printed instead, and why is given."""
        from vidctl.cli.output import say
        from vidctl.errors import VidctlError

        unsaved: list[tuple[Path, str, VidctlError]] = []
        for form in self._forms:
            text = form.write([result], self._context)
            if self._output.path is None:
                with _saying_what_is_kept():
                    say(self._heading(result) + text)
                continue
            name = f"{stem}.{form.name}"
            try:
                self._note_saved(result.source, self._output.save(name, text, overwrite=self._overwrite))
            except VidctlError as error:
                unsaved.append((self._output.file(name), text, error))
        self._print_instead(unsaved, result)
        return [error for _, _, error in unsaved]

    def _print_instead(self, unsaved: list[tuple[Path, str, VidctlError]], result: Transcript) -> None:
        """Print what cannot be written, for it is paid."""
        from vidctl.cli.output import print_instead
        from vidctl.text import safe_json

        # Files of several formats, or JSON of several audio files, nobody could tell apart again by their headings.
        is_text = len(self._forms) == 1 and self._forms[0].name != "json"
        is_mixed = len(unsaved) > 1 or (len(self._names) > 1 and not is_text)
        for path, text, error in unsaved:
            if is_mixed:
                line = safe_json({"file": str(path), "source": result.source, "content": text}) + "\n"
                print_instead(line, error, ", as JSON lines of file, source and content")
            else:
                print_instead(self._heading(result) + text, error)
            error.hint = f"{error.hint}; {_KEPT}"

    def _heading(self, result: Transcript) -> str:
        from vidctl.tasks.formats import heading

        return heading(result.source) if len(self._names) > 1 else ""

    def _note_saved(self, name: str, path: Path) -> None:
        self._report.note(f"{name}: saved {path}" if len(self._names) > 1 else f"saved {path}")


@contextmanager
def _saying_what_is_kept() -> Iterator[None]:
    from vidctl.errors import VidctlError

    try:
        yield
    except VidctlError as error:
        error.hint = f"{error.hint}; {_KEPT}"
        raise
