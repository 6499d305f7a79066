"""What transcription takes and gives: its options and its results."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from typing import Any

from vidctl import kinds
from vidctl.errors import UsageError, VidctlError
from vidctl.tasks.options import settle
from vidctl.tasks.transcribe import languages, subtitles

OFFICIAL = kinds.OFFICIAL["transcribe"]
TASKS = ("transcribe", "translate")
MAX_TEMPERATURE = 2  # Whisper's own fallback ends at 1; more is the caller's choice

# The fields that the options set themselves, of either worker.
_RESERVED = ("audio", "audio_url", "audio_base64", "enable_vad", "transcription", "translate", "translation")


@dataclass(frozen=True)
class TranscribeOptions:
    """How to transcribe, with Whisper's names; UsageError for a value out of range.

    `language` is a code or an English name, None or "auto" to detect it; `task` is transcribe or translate (to
    English); `temperature` None leaves Whisper's own fallback.  `extra` holds further fields of the worker, sent as
    they are.
    """

    language: str | None = None
    task: str = "transcribe"
    word_timestamps: bool = False
    vad_filter: bool = True
    initial_prompt: str | None = None
    hotwords: str | None = None
    beam_size: int = 5
    temperature: float | None = None
    extra: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        settle(self)
        language_code(self.language)
        if self.task not in TASKS:
            raise UsageError(f"invalid task {self.task!r}: expected {TASKS[0]} or {TASKS[1]}")
        if isinstance(self.beam_size, bool) or not isinstance(self.beam_size, int) or not 1 <= self.beam_size <= 20:
            raise UsageError(f"invalid beam_size {self.beam_size}: expected a whole number from 1 to 20")
        if self.temperature is not None and (
            isinstance(self.temperature, bool)
            or not isinstance(self.temperature, (int, float))
            or not 0 <= self.temperature <= MAX_TEMPERATURE
        ):
            raise UsageError(f"invalid temperature {self.temperature}: expected a number from 0 to {MAX_TEMPERATURE}")
        for name in self.extra:
            if name in _RESERVED or name in DEFAULTS:
                raise UsageError(f"{name}: has an option of its own, or is set by vidctl")
            try:
                json.dumps({name: self.extra[name]}, allow_nan=False)
            except (TypeError, ValueError) as error:
                raise UsageError(f"{name}: cannot be sent as JSON: {self.extra[name]!r:.60}") from error


DEFAULTS = {each.name: each.default for each in fields(TranscribeOptions)}


def language_code(language: str | None) -> str | None:
    """The code of a language that was named, None where it is to be detected; UsageError if there is none such."""
    if language is None:
        return None
    if not isinstance(language, str):
        raise UsageError(f"invalid language {language!r}: expected a code or an English name")
    if languages.is_open(language):
        return None
    code = languages.code(language)
    if code is None:
        near = languages.nearest(language)
        hint = f"did you mean {' or '.join(near)}?" if near else "use a code or an English name: de, german"
        raise UsageError(f"unknown language {language!r}", hint=hint)
    return code


@dataclass(frozen=True)
class Word:
    """One word, with the space before it; `start` and `end` in seconds of the source, `probability` 0 to 1 if known."""

    word: str
    start: float
    end: float
    probability: float | None = None


@dataclass(frozen=True)
class Segment:
    """The speech from `start` to `end`, in seconds of the source.

    `confidence` is 0 to 1 (exp of `avg_logprob`); what a worker does not return is None.  `words` is None unless they
    were requested.
    """

    id: int
    start: float
    end: float
    text: str
    confidence: float | None = None
    avg_logprob: float | None = None
    no_speech_prob: float | None = None
    compression_ratio: float | None = None
    temperature: float | None = None
    seek: int = 0
    tokens: tuple[int, ...] = ()
    words: tuple[Word, ...] | None = None

    def to_dict(self) -> dict[str, Any]:
        """The fields of the worker's answer; those without a value are left out."""
        known = {
            "id": self.id,
            "seek": self.seek,
            "start": self.start,
            "end": self.end,
            "text": self.text,
            "confidence": self.confidence,
            "avg_logprob": self.avg_logprob,
            "no_speech_prob": self.no_speech_prob,
            "compression_ratio": self.compression_ratio,
            "temperature": self.temperature,
            "tokens": list(self.tokens) or None,
            "words": None if self.words is None else [_present(asdict(word)) for word in self.words],
        }
        return _present(known)


@dataclass(frozen=True)
class Gap:
    """A part of the source, in seconds, that could not be transcribed."""

    start: float
    end: float
    error: VidctlError

    def to_dict(self) -> dict[str, Any]:
        """Where it is, and the error as `--json` prints it."""
        return {"start": self.start, "end": self.end, **self.error.to_json()}


@dataclass(frozen=True)
class JobTranscript:
    """The answer of one job, in seconds from where its audio begins."""

    segments: tuple[Segment, ...]
    duration: float | None = None
    language: str | None = None
    language_probability: float | None = None
    model: Mapping[str, Any] | None = None
    processing_s: float | None = None
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True)
class TranscriptPart:
    """A piece of a source, from `start_s` to `end_s`: its transcript, or the error."""

    start_s: float
    end_s: float
    transcript: JobTranscript | None
    error: VidctlError | None = None

    @property
    def segments(self) -> tuple[Segment, ...]:
        """Its segments, in the source's time."""
        return tuple(placed(segment, self) for segment in self.transcript.segments) if self.transcript else ()


@dataclass(frozen=True)
class Transcript:
    """The transcript of one source of `duration` seconds, in order; `gaps` are parts that are missing."""

    source: str
    duration: float
    language: str | None
    language_probability: float | None
    segments: tuple[Segment, ...]
    gaps: tuple[Gap, ...] = ()
    model: Mapping[str, Any] | None = None
    processing_s: float | None = None
    warnings: tuple[str, ...] = ()

    @property
    def text(self) -> str:
        """The whole text.  Whisper's segments bring their own spaces, in the languages that have any."""
        return "".join(segment.text for segment in self.segments).strip()

    @property
    def words(self) -> tuple[Word, ...]:
        """All words in order; none unless they were requested."""
        return tuple(word for segment in self.segments for word in segment.words or ())

    def without_words(self) -> Transcript:
        """The same without the times of single words."""
        return replace(self, segments=tuple(replace(segment, words=None) for segment in self.segments))

    def to_txt(self) -> str:
        """One line a segment."""
        return subtitles.txt(self)

    def to_srt(self, **layout: Any) -> str:
        """SubRip subtitles of two lines of 42 characters and 7 seconds at most, cut where words are if there are any.

        `layout` is that of `subtitles.Layout`; `keep_segments=True` makes a subtitle of each segment.  UsageError if it
        needs words and has none.
        """
        return subtitles.srt(self, subtitles.Layout(**layout))

    def to_vtt(self, **layout: Any) -> str:
        """WebVTT subtitles; see `to_srt`."""
        return subtitles.vtt(self, subtitles.Layout(**layout))

    def to_tsv(self) -> str:
        """`start`, `end` (in milliseconds) and `text`, separated by tabs."""
        return subtitles.tsv(self)

    def to_json(self) -> str:
        """The JSON of Whisper's own command."""
        return subtitles.json(self)

    def to_dict(self) -> dict[str, Any]:
        """The worker's own fields, with the source in front; those without a value are left out."""
        return _present(
            {
                "source": self.source,
                "duration": self.duration,
                "language": self.language,
                "language_probability": self.language_probability,
                "text": self.text,
                "segments": [segment.to_dict() for segment in self.segments],
                "gaps": [gap.to_dict() for gap in self.gaps] or None,
                "model": None if self.model is None else dict(self.model),
                "processing_time": self.processing_s,
                "warnings": list(self.warnings) or None,
            }
        )


def _present(known: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in known.items() if value is not None}


def placed(segment: Segment, part: TranscriptPart) -> Segment:
    """The segment in the source's time, within its part."""
    words = segment.words
    return replace(
        segment,
        seek=segment.seek + round(part.start_s * _FRAMES_PER_SECOND),
        start=moved(segment.start, part),
        end=moved(segment.end, part),
        words=words
        and tuple(replace(word, start=moved(word.start, part), end=moved(word.end, part)) for word in words),
    )


_FRAMES_PER_SECOND = 100  # of Whisper's, in which it counts `seek`


def moved(seconds: float, part: TranscriptPart) -> float:
    """To a millisecond: no format tells more."""
    return round(min(part.start_s + seconds, part.end_s), 3)
