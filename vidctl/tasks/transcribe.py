"""Ask for the words in a sound, and read the answer.  Pure: no network, no files.

The fields are those of the worker in workers/whisper, or, with the protocol `worker-faster_whisper`, those of RunPod's
own worker of that name.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from vidctl.errors import VidctlError


@dataclass(frozen=True)
class TranscribeOptions:
    """How to listen, with Whisper's names; UsageError for a value out of range.

    `language` is a code or an English name, None to detect it; `task` is transcribe or translate (to English);
    `temperature` None leaves Whisper's own fallback.  `extra` holds further fields of the worker, sent as they are.
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


@dataclass(frozen=True)
class Word:
    """One word, with the space before it; `start` and `end` in seconds of the source, `probability` 0 to 1."""

    word: str
    start: float
    end: float
    probability: float


@dataclass(frozen=True)
class Segment:
    """What was said from `start` to `end`, in seconds of the source.

    `confidence` is 0 to 1 (exp of `avg_logprob`); what a worker does not tell is None.  `words` is None unless they
    were asked for.
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


@dataclass(frozen=True)
class Gap:
    """A part of the source, in seconds, that could not be transcribed."""

    start: float
    end: float
    error: VidctlError


@dataclass(frozen=True)
class Heard:
    """The answer of one job, in seconds from where its sound begins."""

    segments: tuple[Segment, ...]
    duration: float | None = None
    language: str | None = None
    language_probability: float | None = None
    model: Mapping[str, Any] | None = None
    processing_s: float | None = None
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True)
class Transcript:
    """What is said in one source of `duration` seconds, in order; `gaps` are parts that are missing."""

    source: str
    duration: float
    language: str | None
    language_probability: float | None
    segments: tuple[Segment, ...]
    gaps: tuple[Gap, ...] = ()
    model: Mapping[str, Any] | None = None
    processing_s: float | None = None
    warnings: tuple[str, ...] = ()
