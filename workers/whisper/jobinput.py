"""What a job may ask.  Pure: JSON in, a `Request` or one clear sentence out; no sound is opened here.

The names, and the defaults of whatever changes what the model does, are faster-whisper's.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any

import languages

TASKS = ("transcribe", "translate")
WHISPER_TEMPERATURES = (0.0, 0.2, 0.4, 0.6, 0.8, 1.0)


class BadInput(ValueError):
    """What is wrong with a job, as one sentence for its caller."""


@dataclass(frozen=True)
class Options:
    """How to transcribe, in faster-whisper's words.

    `language` is a code, None to detect it.  `temperature` holds what is tried in turn.  `vad_parameters` are names and
    values of faster-whisper's VadOptions.  `clip_timestamps` are (start, end) in seconds, in order and apart, end None
    for the end of the sound; empty means all of it.  `batch_size` None means the worker's own.  The last five are for
    `batch_size` 1 only.
    """

    language: str | None = None
    task: str = "transcribe"
    vad_filter: bool = True
    initial_prompt: str | None = None
    hotwords: str | None = None
    beam_size: int = 5
    best_of: int = 5
    patience: float = 1.0
    length_penalty: float = 1.0
    repetition_penalty: float = 1.0
    no_repeat_ngram_size: int = 0
    temperature: tuple[float, ...] = WHISPER_TEMPERATURES
    compression_ratio_threshold: float = 2.4
    log_prob_threshold: float = -1.0
    no_speech_threshold: float = 0.6
    suppress_blank: bool = True
    suppress_tokens: tuple[int, ...] = (-1,)
    multilingual: bool = False
    vad_parameters: tuple[tuple[str, float], ...] = ()
    max_new_tokens: int | None = None
    chunk_length: int = 30
    clip_timestamps: tuple[tuple[float, float | None], ...] = ()
    batch_size: int | None = None
    language_detection_threshold: float = 0.5
    language_detection_segments: int = 4
    prepend_punctuations: str = "\"'“¿([{-"
    append_punctuations: str = "\"'.。,，!！?？:：”)]}、"
    condition_on_previous_text: bool = True
    prompt_reset_on_temperature: float = 0.5
    prefix: str | None = None
    max_initial_timestamp: float = 1.0
    hallucination_silence_threshold: float | None = None


@dataclass(frozen=True)
class Request:
    """One job: `audio` is base64, a data: URL, an https:// URL or a path on the volume; `words` asks for each word."""

    audio: str
    options: Options
    words: bool = False
