"""Encode a transcription request, and decode the answer.  Pure: no network, no files.

The fields are those of the worker in workers/whisper, or, with the protocol `worker-faster_whisper`, those of RunPod's
own worker of that name.
"""

from __future__ import annotations

import base64
import difflib
import math
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from itertools import accumulate
from typing import Any, TypeVar

from vidctl.errors import ApiError, UsageError
from vidctl.tasks.results import AnswerReader
from vidctl.tasks.transcribe import languages
from vidctl.tasks.transcribe.model import (
    DEFAULTS,
    OFFICIAL,
    JobTranscript,
    Segment,
    TranscribeOptions,
    Word,
    language_code,
)

_Value = TypeVar("_Value")

# Audio of a billion of Whisper's frames would last four months.
_READ = AnswerReader("a transcription worker", largest=1e9)

# What RunPod's worker takes besides; it refuses a job with any other name in it.
_OFFICIAL_EXTRA = (
    "model", "best_of", "patience", "length_penalty", "suppress_tokens", "condition_on_previous_text",
    "temperature_increment_on_fallback", "compression_ratio_threshold", "logprob_threshold", "no_speech_threshold",
)  # fmt: skip


def encode(data: bytes, options: TranscribeOptions, *, protocol: str | None = None) -> dict[str, Any]:
    """The job's input for the audio in `data`: what differs from the defaults of vidctl's own worker, or of RunPod's.

    Raise UsageError for an unknown protocol, and for what RunPod's worker cannot do.
    """
    audio = base64.b64encode(data).decode("ascii")
    if protocol is None:
        return {"audio": audio, **_set(options), **options.extra}
    if protocol != OFFICIAL:
        raise UsageError(f"invalid protocol {protocol!r}: expected {OFFICIAL}, or none for vidctl's own worker")
    return {"audio_base64": audio, **_official(options), **options.extra}


def _set(options: TranscribeOptions) -> dict[str, Any]:
    """The options that differ from their defaults; a language by its code."""
    chosen = {name: getattr(options, name) for name in DEFAULTS if name != "extra"}
    chosen = {name: value for name, value in chosen.items() if value != DEFAULTS[name]}
    chosen.pop("language", None)
    if code := language_code(options.language):
        chosen["language"] = code
    return chosen


def _official(options: TranscribeOptions) -> dict[str, Any]:
    """The same for RunPod's worker, whose own model is `base` and which cuts no silence unless asked."""
    _check_official(options)
    chosen = _set(options)
    chosen["model"] = "turbo"
    chosen["enable_vad"] = options.vad_filter
    chosen.pop("vad_filter", None)
    if chosen.pop("task", None) == "translate":
        # Its segments stay in the language of the audio: the times of the English text are those of subtitles.
        chosen |= {"translate": True, "translation": "srt"}
    if "temperature" in chosen:
        # It climbs from the temperature to 1 in steps; one that leads beyond 1 at once leaves it at the temperature.
        chosen["temperature_increment_on_fallback"] = 2.0
    return chosen


def _check_official(options: TranscribeOptions) -> None:
    if options.hotwords is not None:
        raise UsageError(f"hotwords: not supported by {OFFICIAL}", hint="put the words into the initial prompt")
    if options.task == "translate" and options.word_timestamps:
        raise UsageError(f"word_timestamps: not supported by {OFFICIAL} for a translation")
    for name in options.extra:
        if name not in _OFFICIAL_EXTRA:
            near = difflib.get_close_matches(name, _OFFICIAL_EXTRA, n=1)
            hint = f"did you mean {near[0]}?" if near else f"known keys: {', '.join(_OFFICIAL_EXTRA)}"
            raise UsageError(f"extra: unknown key {name!r} for {OFFICIAL}", hint=hint)


def decode(output: object) -> JobTranscript:
    """Read the answer to `encode(…)`, of either worker.  ApiError names the field that is no part of an answer."""
    only = output[0] if isinstance(output, list) and len(output) == 1 else output
    answer = _READ.mapping(only, "output")
    if answer.get("error") is not None:
        raise ApiError(f"the worker rejected the audio: {_refusal(answer['error'])}")
    is_official = "segments" in answer
    language = _optional(_text, answer, "detected_language" if is_official else "language", "output")
    return JobTranscript(
        _official_segments(answer) if is_official else _own_segments(answer, language),
        _optional(_seconds, answer, "duration", "output"),
        language,
        _optional(_fraction, answer, "language_probability", "output"),
        _model(answer),
        _optional(_seconds, answer, "processing_time", "output"),
        tuple(_optional(_texts, answer, "warnings", "output") or ()),
    )


def _refusal(error: object) -> str:
    """One line of it; RunPod's worker lists what it does not like."""
    return "; ".join(_texts(error, "output.error") if isinstance(error, list) else [_text(error, "output.error")])


def _own_segments(answer: Mapping[str, Any], language: str | None) -> tuple[Segment, ...]:
    if "transcription" not in answer:
        _READ.refuse("output.transcription", "is missing")
    segments = _segments(answer["transcription"], "output.transcription")
    return segments if language in languages.UNSPACED else _spaced(segments)


def _official_segments(answer: Mapping[str, Any]) -> tuple[Segment, ...]:
    """Those of the translation, if there is one, else those of the transcript with their words."""
    if answer.get("translation") is not None:
        return _spaced(_segments(list(_cues(answer["translation"])), "output.translation"))
    segments = _segments(answer["segments"], "output.segments")
    words = _optional(_words, answer, "word_timestamps", "output")
    return segments if words is None else _dealt(words, segments)


def _spaced(segments: tuple[Segment, ...]) -> tuple[Segment, ...]:
    """With the space that Whisper begins a segment with, where a worker has stripped them all."""
    if any(segment.text.startswith(" ") for segment in segments):
        return segments
    return tuple(replace(segment, text=f" {segment.text}") for segment in segments)


def _dealt(words: tuple[Word, ...], segments: tuple[Segment, ...]) -> tuple[Segment, ...]:
    """The segments with their words, which make up their texts in the same order."""
    ends = list(accumulate(_letters(segment.text) for segment in segments))
    hands: list[list[Word]] = [[] for _ in segments]
    place = letters = 0
    for word in words if segments else ():
        while place < len(ends) - 1 and letters >= ends[place]:
            place += 1
        hands[place].append(word)
        letters += _letters(word.word)
    return tuple(replace(segment, words=tuple(hand)) for segment, hand in zip(segments, hands, strict=True))


def _letters(text: str) -> int:
    return sum(len(word) for word in text.split())


_TIME = r"(\d{2,4}):(\d\d):(\d\d),(\d{3})"
_CUE = re.compile(rf"^\d+\n{_TIME} --> {_TIME}\n", re.MULTILINE | re.ASCII)


def _cues(value: object) -> Iterator[dict[str, Any]]:
    """The cues of SubRip subtitles, as segments."""
    srt = _READ.text(value, "output.translation")
    heads = list(_CUE.finditer(srt))
    ends = [head.start() for head in heads] + [len(srt)]
    if srt[: ends[0]].strip():
        _READ.refuse("output.translation", f"is {_READ.short(srt)}, not subtitles")
    for head, end in zip(heads, ends[1:], strict=True):
        numbers = [int(group) for group in head.groups()]
        yield {
            "start": _in_seconds(*numbers[:4]),
            "end": _in_seconds(*numbers[4:]),
            "text": srt[head.end() : end].strip(),
        }


def _in_seconds(hours: int, minutes: int, seconds: int, milliseconds: int) -> float:
    return (((hours * 60 + minutes) * 60 + seconds) * 1000 + milliseconds) / 1000


def _segments(value: object, where: str) -> tuple[Segment, ...]:
    """The segments, numbered from 0: faster-whisper's own numbers begin at 1."""
    return tuple(_segment(each, f"{where}[{n}]", n) for n, each in enumerate(_READ.items(value, where)))


def _segment(value: object, where: str, number: int) -> Segment:
    item = _READ.mapping(value, where)
    start, end = _span(item, where)
    avg_logprob = _optional(_READ.number, item, "avg_logprob", where)
    confidence = _optional(_fraction, item, "confidence", where)
    if confidence is None and avg_logprob is not None:
        confidence = round(math.exp(min(avg_logprob, 0.0)), 4)
    return Segment(
        number,
        start,
        end,
        _required(_text, item, "text", where),
        confidence,
        avg_logprob,
        _optional(_fraction, item, "no_speech_prob", where),
        _optional(_READ.number, item, "compression_ratio", where),
        _optional(_READ.number, item, "temperature", where),
        _optional(_count, item, "seek", where) or 0,
        _optional(_tokens, item, "tokens", where) or (),
        _optional(_words, item, "words", where),
    )


def _words(value: object, where: str) -> tuple[Word, ...]:
    return tuple(_word(each, f"{where}[{n}]") for n, each in enumerate(_READ.items(value, where)))


def _word(value: object, where: str) -> Word:
    item = _READ.mapping(value, where)
    text = _required(_text, item, "word", where)
    return Word(text, *_span(item, where), _optional(_fraction, item, "probability", where))


def _span(item: Mapping[str, Any], where: str) -> tuple[float, float]:
    start, end = _required(_seconds, item, "start", where), _required(_seconds, item, "end", where)
    if end < start - _TINY_S:
        _READ.refuse(f"{where}.end", f"is {end:g}, before its start at {start:g}")
    return start, max(start, end)


# The times of words are estimates: one may begin a hair before the audio, or end a hair before it begins.
_TINY_S = 0.1


def _seconds(value: object, where: str) -> float:
    seconds = _READ.number(value, where)
    if seconds < -_TINY_S:
        _READ.refuse(where, f"is {seconds:g}, before the audio begins")
    return max(0.0, seconds)


def _fraction(value: object, where: str) -> float:
    fraction = _READ.number(value, where)
    if not -1e-3 <= fraction <= 1 + 1e-3:  # half precision may end a hair above 1
        _READ.refuse(where, f"is {fraction:g}, not between 0 and 1")
    return min(max(fraction, 0.0), 1.0)


def _count(value: object, where: str) -> int:
    number = _READ.number(value, where)
    if number < 0 or number != int(number):
        _READ.refuse(where, f"is {number:g}, not a count")
    return int(number)


def _tokens(value: object, where: str) -> tuple[int, ...]:
    return tuple(_count(token, where) for token in _READ.items(value, where))


# A model may say anything: what would steer a terminal, break a line of subtitles or not be UTF-8 becomes a space.
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]+")


def _text(value: object, where: str) -> str:
    return _CONTROL.sub(" ", _READ.text(value, where))


def _texts(value: object, where: str) -> list[str]:
    return [_text(each, f"{where}[{n}]") for n, each in enumerate(_READ.items(value, where))]


def _model(answer: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """What the worker returns of its model; RunPod's gives a name, and the device beside it."""
    model = answer.get("model")
    if model is None:
        return None
    fields = (
        {"name": model, "device": answer.get("device")}
        if isinstance(model, str)
        else _READ.mapping(model, "output.model")
    )
    return {name: _text(value, f"output.model.{name}") for name, value in fields.items() if isinstance(value, str)}


def _required(read: Callable[[object, str], _Value], item: Mapping[str, Any], name: str, where: str) -> _Value:
    if name not in item:
        _READ.refuse(f"{where}.{name}", "is missing")
    return read(item[name], f"{where}.{name}")


def _optional(read: Callable[[object, str], _Value], item: Mapping[str, Any], name: str, where: str) -> _Value | None:
    return None if item.get(name) is None else read(item[name], f"{where}.{name}")


def partial(output: object) -> tuple[int, tuple[Segment, ...], float | None]:
    """Read the progress of a running job: the latest segments, the number of the first, and the seconds that are done.

    Anything else is 0, nothing and None: a job may send any progress while it runs.
    """
    try:
        answer = _READ.mapping(output, "output")
        done_s = _required(
            _seconds, _READ.mapping(answer.get("progress"), "output.progress"), "done", "output.progress"
        )
        first = _required(_count, answer, "first", "output")
        segments = _segments(answer.get("transcription"), "output.transcription")
    except ApiError:
        return 0, (), None
    return first, tuple(replace(segment, id=first + segment.id) for segment in segments), done_s
