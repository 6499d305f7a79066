"""Transcribe audio of any length: cut at silences, sent as jobs side by side, and put together again."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections import defaultdict, deque
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from threading import Lock
from typing import Any, BinaryIO

from vidctl.errors import AuthError, CostLimitError, JobFailedError, NotDeployedError, UsageError, VidctlError
from vidctl.media import audio
from vidctl.media.audio import Chunk
from vidctl.media.given import Given
from vidctl.media.kinds import AUDIO
from vidctl.media.sources import Source, opened
from vidctl.runpod.jobs import Job
from vidctl.tasks.context import TaskContext
from vidctl.tasks.invoker import Invoker, JobAnswer, Request, Waiting
from vidctl.tasks.options import expanded, made, seconds
from vidctl.tasks.results import Failed
from vidctl.tasks.transcribe import languages
from vidctl.tasks.transcribe.codec import decode, encode, partial
from vidctl.tasks.transcribe.model import JobTranscript, Segment, TranscribeOptions, Transcript, TranscriptPart
from vidctl.tasks.transcribe.stitch import stitch

JOBS_IN_FLIGHT = 8


@dataclass(frozen=True)
class Transcribed:
    """What became of one source: `result` is its Transcript, or Failed with the error.

    `digests` name the answers that it is made of, which are kept until `Client.delivered`.
    """

    source: Source
    result: Transcript | Failed
    digests: tuple[str, ...] = ()


@dataclass(frozen=True)
class TranscriptProgress:
    """Progress of a source: `segments` that follow those passed on before, and seconds done so far.

    The segments of a source are passed on when all those of the sources before it were.
    """

    source: Source
    segments: tuple[Segment, ...]
    done_s: float
    total_s: float | None


@dataclass(frozen=True)
class TranscribeSettings:
    """How audio is sent: at most `chunk_s` seconds in a job, by `protocol` (None: that of vidctl's own worker).

    Of a file with several audio tracks `audio_track` is taken, a number from 1 or a language; None is what a player
    would choose.  With `resumes` a job that an earlier run sent is not sent again, if `version` is that of then: what
    is deployed.
    """

    chunk_s: float = audio.DEFAULT_CHUNK_S
    protocol: str | None = None
    resumes: bool = False
    version: str = ""
    audio_track: int | str | None = None

    def __post_init__(self) -> None:
        if not audio.SHORTEST_CHUNK_S <= self.chunk_s <= audio.LONGEST_CHUNK_S:
            raise UsageError(
                f"invalid chunk of {self.chunk_s:g} s: "
                f"expected {audio.SHORTEST_CHUNK_S:g} s to {audio.LONGEST_CHUNK_S:g} s",
                hint="shorter chunks cost accuracy, and longer ones exceed RunPod's request limit",
            )
        track = self.audio_track
        if track is not None and (isinstance(track, bool) or not isinstance(track, (int, str)) or track in (0, "")):
            raise UsageError(f"invalid audio_track {track!r}: expected a number from 1, or a language")
        if isinstance(track, int) and track < 1:
            raise UsageError(f"invalid audio_track {track}: expected a number from 1, or a language")


OnProgress = Callable[[TranscriptProgress], None]


def run(
    context: TaskContext,
    sources: Given | Iterable[Given],
    *,
    recursive: bool = False,
    chunk_s: float | str | None = None,
    audio_track: int | str | None = None,
    resume: bool = False,
    on_progress: OnProgress | None = None,
    waiting: Waiting | None = None,
    **options: Any,
) -> Generator[Transcribed, None, None]:
    """What `Client.transcribe_many` does."""
    chosen = made(TranscribeOptions, "transcribe", options, others=("chunk_s", "audio_track", "recursive", "resume"))
    if on_progress is not None and not callable(on_progress):
        raise UsageError(f"on_progress: {on_progress!r} cannot be called")
    length_s = audio.DEFAULT_CHUNK_S if chunk_s is None else seconds("chunk_s", chunk_s)
    audio_files = expanded(sources, AUDIO, recursive=recursive)
    endpoint = context.find()
    protocol = context.protocol or endpoint.facts.protocol
    settings = TranscribeSettings(length_s, protocol, resume, endpoint.version, audio_track)
    return transcribe(
        audio_files,
        chosen,
        context.connect(endpoint),
        settings,
        fetch_into=context.fetch_into,
        timeout_s=context.timeout_s,
        on_progress=on_progress or _silent,
        waiting=waiting,
    )


def _silent(_: TranscriptProgress) -> None:
    """Nobody listens."""


def transcribe(
    sources: Sequence[Source],
    options: TranscribeOptions,
    invoker: Invoker,
    settings: TranscribeSettings,
    *,
    fetch_into: Callable[[str, BinaryIO], None],
    timeout_s: float,
    on_progress: OnProgress,
    waiting: Waiting | None = None,
) -> Generator[Transcribed, None, None]:
    """Yield what became of each source, in their order; closing the generator cancels what is out.

    A part that failed becomes a gap of its transcript.  `on_progress` gets, in threads, the progress of a source that
    is not done, and `waiting` why nothing comes yet.  What was answered is kept for a run that `resumes`.
    Raises UsageError for options that the protocol has no words for, before anything is opened, and AuthError and
    NotDeployedError at once, for they will be the same for every other job.
    """
    encode(b"", options, protocol=settings.protocol)
    order = _OrderedProgress(on_progress)
    transcriptions = [_Transcription(number, source, order) for number, source in enumerate(sources)]
    requests = _requests(transcriptions, options, settings, fetch_into)
    answers = invoker.ask_many(
        requests,
        window=JOBS_IN_FLIGHT,
        timeout_s=timeout_s,
        resumes=settings.resumes,
        seen=_observe,
        waiting=waiting,
    )
    try:
        yield from _delivered(transcriptions, answers, invoker)
    finally:
        answers.close()  # cancels what is out
        requests.close()  # and what was opened or downloaded is let go


def _delivered(
    transcriptions: Sequence[_Transcription], answers: Iterable[JobAnswer[_SentChunk]], invoker: Invoker
) -> Iterator[Transcribed]:
    """What became of each source, in their order, as soon as it is over."""
    pending = deque(transcriptions)
    try:
        for answer in answers:
            _collect(answer, invoker)
            while pending and pending[0].is_over:
                yield pending.popleft().deliver()
    except CostLimitError as error:  # what is there of those that were begun is paid
        for begun in (each for each in pending if each.is_begun):
            begun.fail(error)
            yield begun.deliver()
        raise
    while pending:
        yield pending.popleft().deliver()


@dataclass(frozen=True)
class _SentChunk:
    """A chunk on its way, without its bytes."""

    transcription: _Transcription
    index: int
    start_s: float
    end_s: float


def _requests(
    transcriptions: Sequence[_Transcription],
    options: TranscribeOptions,
    settings: TranscribeSettings,
    fetch_into: Callable[[str, BinaryIO], None],
) -> Generator[Request[_SentChunk], None, None]:
    for transcription in transcriptions:
        yield from _requests_of(transcription, options, settings, fetch_into)


def _requests_of(
    transcription: _Transcription,
    options: TranscribeOptions,
    settings: TranscribeSettings,
    fetch_into: Callable[[str, BinaryIO], None],
) -> Iterator[Request[_SentChunk]]:
    try:
        for chunk in _chunks(transcription, settings, fetch_into):
            if "clip_timestamps" in options.extra and not (chunk.index == 0 and chunk.is_last):
                raise UsageError(
                    f"{transcription.source.name}: clip_timestamps need the audio in one job, and it is cut",
                    hint=f"send more in one job: up to --chunk {audio.LONGEST_CHUNK_S / 60:g}m",
                )
            sent = transcription.add_chunk(chunk)
            payload = encode(chunk.data, options, protocol=settings.protocol)
            yield Request(
                payload,
                _what(transcription, chunk),
                sent,
                digest=_digest(chunk, options, settings),
                repeatable=not options.temperature,  # without one Whisper samples only what it cannot decode
            )
    except VidctlError as error:
        transcription.fail(error)


def _chunks(
    transcription: _Transcription, settings: TranscribeSettings, fetch_into: Callable[[str, BinaryIO], None]
) -> Iterator[Chunk]:
    name = transcription.source.name
    choice = audio.TrackChoice(settings.audio_track, _spoken)
    with opened(transcription.source, fetch_into=fetch_into) as file:
        transcription.total_s = audio.duration_s(file, name=name, choice=choice)
        yield from audio.chunks(
            file, name=name, chunk_s=settings.chunk_s, warn=transcription.warnings.append, choice=choice
        )


def _spoken(language: str) -> str:
    """One code for a language, however it is written; what Whisper does not know is as it is."""
    return languages.code(language) or language.lower()


def _what(transcription: _Transcription, chunk: Chunk) -> str:
    is_whole = chunk.index == 0 and chunk.is_last
    return f"transcribe {transcription.source.label}" + (
        "" if is_whole else f" {chunk.start_s:.0f}-{chunk.end_s:.0f} s"
    )


def _digest(chunk: Chunk, options: TranscribeOptions, settings: TranscribeSettings) -> str:
    key = [chunk.digest, settings.protocol, settings.version, dataclasses.asdict(options)]
    return hashlib.sha256(json.dumps(key, sort_keys=True).encode()).hexdigest()


def _observe(request: Request[_SentChunk], job: Job) -> None:
    first, segments, done_s = partial(job.output)
    if segments or done_s is not None:
        request.subject.transcription.update(request.subject, first, segments, done_s or 0.0)


def _collect(answer: JobAnswer[_SentChunk], invoker: Invoker) -> None:
    sent = answer.request.subject
    if isinstance(answer.error, (AuthError, NotDeployedError)):
        raise answer.error  # it will be the same for every other job
    transcript, error = None, answer.error
    if answer.job is not None:
        try:
            transcript = decode(answer.job.output)
        except VidctlError as damage:
            damage.job_id = answer.job.id
            error = damage
            invoker.forget([answer.request.digest or ""])  # it would be as little use to a run that resumes
    elif error is None:
        error = JobFailedError("the job ended without output")
    sent.transcription.finish_chunk(sent, transcript, error, answer.request.digest)


@dataclass
class _ChunkProgress:
    """How far one chunk is: its segments so far, in the source's seconds, and how many of them were passed on."""

    segments: list[Segment] = field(default_factory=list)
    notified: int = 0
    done_s: float = 0.0
    is_over: bool = False


class _OrderedProgress:
    """Passes on the progress of sources: their segments in the order of the sources, how far they are at once."""

    def __init__(self, on_progress: OnProgress) -> None:
        self._on_progress = on_progress
        self._lock = Lock()
        self._front = 0
        self._held: dict[int, list[Segment]] = defaultdict(list)
        self._newest: dict[int, TranscriptProgress] = {}
        self._over: set[int] = set()

    def take(self, number: int, progress: TranscriptProgress, *, is_over: bool) -> None:
        with self._lock:
            self._newest[number] = progress
            self._held[number] += progress.segments
            if is_over:
                self._over.add(number)
            if number != self._front:
                self._on_progress(dataclasses.replace(progress, segments=()))
            while self._front in self._newest:
                segments = tuple(self._held.pop(self._front, ()))
                self._on_progress(dataclasses.replace(self._newest[self._front], segments=segments))
                if self._front not in self._over:
                    break
                del self._newest[self._front]
                self._front += 1


class _Transcription:
    """One source on its way: its chunks come back in any order, and are passed on in theirs."""

    def __init__(self, number: int, source: Source, order: _OrderedProgress) -> None:
        self.source = source
        self.total_s: float | None = None
        self.warnings: list[str] = []
        self._digests: list[str] = []
        self._number = number
        self._order = order
        self._lock = Lock()
        self._parts: dict[int, TranscriptPart] = {}
        self._chunks: list[_ChunkProgress] = []
        self._front = 0
        self._is_read = False
        self._error: VidctlError | None = None

    @property
    def is_begun(self) -> bool:
        """Whether something came of it."""
        return bool(self._parts)

    @property
    def is_over(self) -> bool:
        """Whether nothing more will come."""
        return self._is_read and len(self._parts) == len(self._chunks)

    def add_chunk(self, chunk: Chunk) -> _SentChunk:
        with self._lock:
            self._chunks.append(_ChunkProgress())
            self._is_read = chunk.is_last
        return _SentChunk(self, chunk.index, chunk.start_s, chunk.end_s)

    def fail(self, error: VidctlError) -> None:
        """The source cannot be read, or not further."""
        with self._lock:
            self._error = error
            self._is_read = True
            self._notify_segments()

    def update(self, sent: _SentChunk, first: int, segments: Sequence[Segment], done_s: float) -> None:
        """Take the progress of a job: its segments from the one with the number `first`."""
        with self._lock:
            chunk = self._chunks[sent.index]
            if chunk.is_over:
                return
            if first <= len(chunk.segments):  # else some between were missed, and come at the end
                chunk.segments[first:] = TranscriptPart(
                    sent.start_s, sent.end_s, JobTranscript(tuple(segments))
                ).segments
            chunk.done_s = min(max(chunk.done_s, done_s), sent.end_s - sent.start_s)
            self._notify_segments()

    def finish_chunk(
        self, sent: _SentChunk, transcript: JobTranscript | None, error: VidctlError | None, digest: str | None
    ) -> None:
        """Take what became of a chunk."""
        with self._lock:
            part = self._parts[sent.index] = TranscriptPart(sent.start_s, sent.end_s, transcript, error)
            if digest is not None:
                self._digests.append(digest)
            chunk = self._chunks[sent.index]
            chunk.segments = list(part.segments) if transcript else chunk.segments[: chunk.notified]
            chunk.done_s = sent.end_s - sent.start_s
            chunk.is_over = True
            self._notify_segments()

    def deliver(self) -> Transcribed:
        """What became of it all; nothing of it is held any longer."""
        done = Transcribed(self.source, self._result(), tuple(self._digests))
        self._parts, self._chunks = {}, []
        return done

    def _result(self) -> Transcript | Failed:
        parts = [self._parts[index] for index in sorted(self._parts)]
        if self._error:
            end_s = parts[-1].end_s if parts else 0.0
            parts.append(TranscriptPart(end_s, max(end_s, self.total_s or 0.0), None, self._error))
        errors = [part.error for part in parts if part.error]
        if errors and len(errors) == len(parts):
            return Failed(self.source.name, errors[0])
        transcript = stitch(self.source.name, parts)
        return dataclasses.replace(transcript, warnings=(*self.warnings, *transcript.warnings))

    def _notify_segments(self) -> None:
        """Pass on the next segments; those after a chunk that is not over have to wait."""
        news: list[Segment] = []
        while self._front < len(self._chunks):
            chunk = self._chunks[self._front]
            news += chunk.segments[chunk.notified :]
            chunk.notified = max(chunk.notified, len(chunk.segments))  # fewer, when a job begins anew on another worker
            if not chunk.is_over:
                break
            chunk.segments = []
            self._front += 1
        done_s = sum(chunk.done_s for chunk in self._chunks)
        self._order.take(
            self._number, TranscriptProgress(self.source, tuple(news), done_s, self.total_s), is_over=self.is_over
        )
