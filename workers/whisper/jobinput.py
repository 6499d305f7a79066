"""What a job may ask.  Pure: JSON in, a `Request` or one clear sentence out; no audio is opened here.

The names, and the defaults of whatever changes what the model does, are faster-whisper's.
"""

from __future__ import annotations

import difflib
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import fields
import languages
from badinput import BadInputError
from download import is_url

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

TASKS = ("transcribe", "translate")
TEMPERATURES = (0.0, 0.2, 0.4, 0.6, 0.8, 1.0)  # Whisper's: the next is for a window that the one before failed on
MAX_TEMPERATURE = 2

# What each field may be.
TEXTS = ("initial_prompt", "hotwords", "prepend_punctuations", "append_punctuations", "prefix")
FLAGS = ("vad_filter", "suppress_blank", "multilingual", "condition_on_previous_text")
WHOLE_NUMBERS = {
    "beam_size": (1, 20),
    "best_of": (0, 20),
    "no_repeat_ngram_size": (0, 100),
    "max_new_tokens": (1, 448),
    "chunk_length": (1, 30),
    "batch_size": (1, 128),
    "language_detection_segments": (1, 100),
}
NUMBERS = {
    "patience": (1, 10),
    "length_penalty": (0, 10),
    "repetition_penalty": (0.1, 10),
    "compression_ratio_threshold": (0, 100),
    "log_prob_threshold": (-100, 0),
    "no_speech_threshold": (0, 1),
    "language_detection_threshold": (0, 1),
    "prompt_reset_on_temperature": (0, 1),
    "max_initial_timestamp": (0, 30),
    "hallucination_silence_threshold": (0, 3600),
}
VAD_PARAMETERS = {
    "threshold": (0, 1),
    "neg_threshold": (0, 1),
    "min_speech_duration_ms": (0, 60_000),
    "max_speech_duration_s": (1, 3600),
    "min_silence_duration_ms": (0, 60_000),
    "speech_pad_ms": (0, 10_000),
}
MAX_TEXT = 100_000  # characters; Whisper reads the last few hundred of a prompt
MAX_CLIPS = 1000
MAX_TEMPERATURES = 20
MAX_TOKEN = 51_863  # the last one of the smallest vocabulary, English-only Whisper's

# What only makes sense where one window is decoded after the other.
SEQUENTIAL = (
    "condition_on_previous_text", "prompt_reset_on_temperature", "prefix", "max_initial_timestamp",
    "hallucination_silence_threshold",
)  # fmt: skip


@dataclass(frozen=True)
class Options:
    """How to transcribe, in faster-whisper's words.

    `language` is a code, None to detect it.  `temperature` holds what is tried in turn.  `vad_parameters` are names and
    values of faster-whisper's VadOptions.  `clip_timestamps` are (start, end) in seconds, in order and apart, end None
    for the end of the audio; empty means all of it.  `batch_size` None means the worker's own.  The last five are for
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
    temperature: tuple[float, ...] = TEMPERATURES
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
    """One job: `audio` is base64, a data: URL, an https:// URL or a path on the volume; `words` asks for each word.

    `warnings` name the fields that nobody here knows.
    """

    audio: str
    options: Options
    words: bool = False
    warnings: tuple[str, ...] = ()


def parse(job_input: Any) -> Request:
    """Check a job's `input`; raise BadInputError.

    Fields that are not ours are ignored, as the simplest handlers do, and said to be.
    """
    if not isinstance(job_input, dict):
        raise BadInputError(f"input must be an object with audio, not {fields.kind(job_input)}")
    sent = {name: value for name, value in job_input.items() if value is not None}
    for name in SEQUENTIAL:
        if sent.get("batch_size") != 1 and sent.get(name, False) is not False:
            raise BadInputError(f"{name} needs batch_size 1, which decodes one window after the other")
    words = fields.flag("word_timestamps", sent.get("word_timestamps", False))
    return Request(_audio(sent), parse_options(sent), words, tuple(_ignored(sent)))


def _ignored(sent: dict[str, Any]) -> Iterator[str]:
    known = {"audio", "audio_url", "word_timestamps", *_READERS}
    for name in sorted(sent.keys() - known):
        near = difflib.get_close_matches(name[:40], known, n=1)
        yield f"ignored unknown field {fields.shown(name)}" + (f"; did you mean {near[0]}?" if near else "")


def _audio(sent: dict[str, Any]) -> str:
    if "audio" in sent and "audio_url" in sent:
        raise BadInputError("input has both audio and audio_url; send one of them")
    if "audio_url" in sent:
        return _url(sent["audio_url"])
    audio = sent.get("audio", "")
    if not isinstance(audio, str):
        raise BadInputError(
            f"audio must be a base64 text, a data: URL, an https:// URL or a path, not {fields.kind(audio)}"
        )
    if not audio:
        raise BadInputError("audio is missing: send audio (base64, a data: URL or a path on the volume) or audio_url")
    return audio


def _url(value: Any) -> str:
    if not isinstance(value, str) or not is_url(value):
        raise BadInputError("audio_url must be an https:// URL")
    return value


def parse_options(sent: dict[str, Any]) -> Options:
    """Check the fields that say how to transcribe; null is the same as nothing; raise BadInputError."""
    return Options(**{name: read(name, sent[name]) for name, read in _READERS.items() if sent.get(name) is not None})


def _language(_name: str, value: Any) -> str | None:
    if not isinstance(value, str):
        raise BadInputError(f"language must be a code or an English name, not {fields.kind(value)}")
    if languages.is_open(value):
        return None
    code = languages.code(value)
    if code is None:
        near = [name for name in languages.nearest(value) if name not in languages.NAMES]
        hint = f"did you mean {near[0].title()}?" if near else "send en, de, fr, …"
        raise BadInputError(f"unknown language {fields.shown(value)}; {hint}")
    return code


def _task(_name: str, value: Any) -> str:
    if value not in TASKS:
        raise BadInputError(f"task must be {' or '.join(TASKS)}, not {fields.shown(value)}")
    return str(value)


def _text(name: str, value: Any) -> str:
    text = fields.text(name, value)
    if len(text) > MAX_TEXT:
        raise BadInputError(f"{name} must have at most {MAX_TEXT} characters, not {len(text)}")
    if any("\ud800" <= character <= "\udfff" for character in text):
        raise BadInputError(f"{name} is not valid Unicode")
    return text


def _whole(name: str, value: Any) -> int:
    return fields.whole(name, value, *WHOLE_NUMBERS[name])


def _best_of(name: str, value: Any) -> int:
    """Whisper takes 0 for one answer; CTranslate2 would find no answer at all."""
    return max(1, _whole(name, value))


def _number(name: str, value: Any) -> float:
    return fields.number(name, value, *NUMBERS[name])


def _temperature(name: str, value: Any) -> tuple[float, ...]:
    wanted = value if isinstance(value, list) else [value]
    if not 1 <= len(wanted) <= MAX_TEMPERATURES:
        raise BadInputError(
            f"{name} must be a number or a list of 1 to {MAX_TEMPERATURES} numbers, not of {len(wanted)}"
        )
    return tuple(fields.number(name, one, 0, MAX_TEMPERATURE) for one in wanted)


def _suppress_tokens(name: str, value: Any) -> tuple[int, ...]:
    """Take a list of ids or, as Whisper's command has them, a text of ids with commas."""
    try:
        tokens = [int(part) for part in value.split(",") if part.strip()] if isinstance(value, str) else value
    except ValueError:
        tokens = None
    if not isinstance(tokens, list) or not all(map(_is_token, tokens)):
        raise BadInputError(f"{name} must be a list of token ids from -1 to {MAX_TOKEN}, not {fields.shown(value)}")
    return tuple(tokens)


def _is_token(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and -1 <= value <= MAX_TOKEN


def _vad_parameters(name: str, value: Any) -> tuple[tuple[str, float], ...]:
    if not isinstance(value, dict):
        raise BadInputError(f"{name} must be an object, not {fields.kind(value)}")
    for one in value:
        if one not in VAD_PARAMETERS:
            raise BadInputError(f"unknown key {fields.shown(one)} in {name}; known keys: {', '.join(VAD_PARAMETERS)}")
    sent = {one: number for one, number in value.items() if number is not None}
    return tuple((one, fields.number(f"{name}.{one}", sent[one], *VAD_PARAMETERS[one])) for one in sorted(sent))


def _clip_timestamps(name: str, value: Any) -> tuple[tuple[float, float | None], ...]:
    """Take [start, end, start, …], the same as a text with commas, or [{"start", "end"}, …], as faster-whisper does."""
    numbers = _numbers(value)
    if numbers is None or not _are_clips(numbers):
        raise BadInputError(f"{name} must be starts and ends in seconds, in order, as in [0, 12.5, 60, 90]")
    ends = [*numbers[1::2], *([None] if len(numbers) % 2 else [])]
    clips = tuple(zip(numbers[::2], ends, strict=True))
    return () if clips == ((0.0, None),) else clips


def _are_clips(numbers: list[float]) -> bool:
    is_ordered = numbers == sorted(numbers) and min(numbers, default=0) >= 0
    is_each_one_long = all(start < end for start, end in zip(numbers[::2], numbers[1::2], strict=False))
    return is_ordered and is_each_one_long and len(numbers) <= 2 * MAX_CLIPS


def _numbers(value: Any) -> list[float] | None:
    """The starts and ends, one after the other; None if they are no such thing."""
    try:
        if isinstance(value, str):
            value = [float(part) for part in value.split(",") if part.strip()]
        if not isinstance(value, list):
            return None
        if any(isinstance(one, dict) for one in value):
            value = [one[edge] for one in value for edge in ("start", "end")]
        numbers = [float(one) for one in value if isinstance(one, (int, float)) and not isinstance(one, bool)]
        return numbers if len(numbers) == len(value) and all(map(math.isfinite, numbers)) else None
    except (TypeError, KeyError, ValueError, OverflowError):
        return None


_READERS: dict[str, Callable[[str, Any], Any]] = {
    **dict.fromkeys(TEXTS, _text),
    **dict.fromkeys(FLAGS, fields.flag),
    **dict.fromkeys(WHOLE_NUMBERS, _whole),
    **dict.fromkeys(NUMBERS, _number),
    "language": _language,
    "task": _task,
    "best_of": _best_of,
    "temperature": _temperature,
    "suppress_tokens": _suppress_tokens,
    "vad_parameters": _vad_parameters,
    "clip_timestamps": _clip_timestamps,
}
FIELDS = frozenset(_READERS) | {"audio", "audio_url", "word_timestamps"}
