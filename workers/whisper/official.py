"""The protocol of RunPod's own worker-faster_whisper, so that this worker can replace it.  Pure.

A job in it becomes a `Request`, our result becomes its answer.  The model is always this worker's own.  Windows
are decoded side by side, so that `condition_on_previous_text` has no effect; nor has `suppress_tokens`, as there.
Source: runpod-workers/worker-faster_whisper 1.0.10, src/rp_schema.py, rp_handler.py and predict.py.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeGuard

from badinput import BadInputError
from download import is_url
from jobinput import FIELDS, MAX_TEMPERATURES, Request, parse_options
from runpod.serverless.utils.rp_validator import validate

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

# Its schema: (type, default) of each field; none is required, and no other is allowed.
SCHEMA: dict[str, tuple[type, Any]] = {
    "audio": (str, None),
    "audio_base64": (str, None),
    "model": (str, "base"),
    "transcription": (str, "plain_text"),
    "translate": (bool, False),
    "translation": (str, "plain_text"),
    "language": (str, None),
    "temperature": (float, 0),
    "best_of": (int, 5),
    "beam_size": (int, 5),
    "patience": (float, 1.0),
    "length_penalty": (float, 0),
    "suppress_tokens": (str, "-1"),
    "initial_prompt": (str, None),
    "condition_on_previous_text": (bool, True),
    "temperature_increment_on_fallback": (float, 0.2),
    "compression_ratio_threshold": (float, 2.4),
    "logprob_threshold": (float, -1.0),
    "no_speech_threshold": (float, 0.6),
    "enable_vad": (bool, False),
    "word_timestamps": (bool, False),
}
ITS_ALONE = frozenset(SCHEMA) - FIELDS
OURS_ALONE = FIELDS - frozenset(SCHEMA)
# Those that its README names; the two distilled ones it refuses all the same.
MODELS = (
    "tiny", "base", "small", "medium", "large-v1", "large-v2", "large-v3", "turbo", "distil-large-v2",
    "distil-large-v3",
)  # fmt: skip
SHARED = (
    "best_of", "beam_size", "patience", "length_penalty", "initial_prompt", "compression_ratio_threshold",
    "no_speech_threshold",
)  # fmt: skip
SEGMENT_FIELDS = (
    "id", "seek", "start", "end", "text", "tokens", "temperature", "avg_logprob", "compression_ratio", "no_speech_prob",
)  # fmt: skip


class InvalidJobError(BadInputError):
    """A job that its validator refuses; `errors` is the list that it answers with."""

    def __init__(self, errors: list[str]) -> None:
        super().__init__(" ".join(errors))
        self.errors = errors


@dataclass(frozen=True)
class OfficialRequest:
    """A job in its protocol: `request` comes first, then `translation_request`, if a translation is wanted.

    `transcription` and `translation` name the formats of the two texts.
    """

    request: Request
    translation_request: Request | None
    transcription: str
    translation: str


def is_official(job_input: Any) -> TypeGuard[dict[str, Any]]:
    """Tell whether a job is in its protocol: it has a field of its own, or a URL and none of ours."""
    if not isinstance(job_input, dict):
        return False
    if ITS_ALONE & job_input.keys():
        return True
    audio = job_input.get("audio")
    return isinstance(audio, str) and is_url(audio) and not OURS_ALONE & job_input.keys()


def parse(job_input: dict[str, Any]) -> OfficialRequest:
    """Check a job in its protocol; raise InvalidJobError with the validator's errors, else BadInputError."""
    sent = _validated(job_input)
    if sent["model"] not in MODELS:
        raise BadInputError(f"unknown model {sent['model'][:40]!r}; known models: {', '.join(MODELS)}")
    temperatures = _temperatures(sent["temperature"], sent["temperature_increment_on_fallback"])
    # What it gives to its second pass too.
    shared = {"temperature": temperatures, "vad_filter": sent["enable_vad"], "language": sent["language"]}
    options = shared | {name: sent[name] for name in SHARED} | {"log_prob_threshold": sent["logprob_threshold"]}
    request = Request(_audio(sent), parse_options(options), sent["word_timestamps"])
    translating = Request(request.audio, parse_options(shared | {"task": "translate"}))
    return OfficialRequest(
        request, translating if sent["translate"] else None, sent["transcription"], sent["translation"]
    )


def _validated(job_input: dict[str, Any]) -> dict[str, Any]:
    schema = {name: {"type": kind, "required": False, "default": default} for name, (kind, default) in SCHEMA.items()}
    try:
        checked = validate(job_input, schema)
    except OverflowError as error:  # it makes a float of any whole number
        raise BadInputError("a number in this job is too large") from error
    if "errors" in checked:
        raise InvalidJobError(checked["errors"])
    validated: dict[str, Any] = checked["validated_input"]
    return validated


def _audio(sent: dict[str, Any]) -> str:
    if sent["audio"] and sent["audio_base64"]:
        raise BadInputError("Must provide either audio or audio_base64, not both")
    audio: str = sent["audio"] or sent["audio_base64"]
    if not audio:
        raise BadInputError("Must provide either audio or audio_base64")
    return audio


def _temperatures(first: float, increment: float) -> list[float]:
    """What is tried in turn: from the first in steps up to 1."""
    if not increment > 0:
        return [first]
    steps = (round(first + step * increment, 6) for step in range(1, MAX_TEMPERATURES))
    return [first, *(temperature for temperature in steps if temperature <= 1)]


def answer(
    job: OfficialRequest, result: Mapping[str, Any], translated: Mapping[str, Any] | None, info: Mapping[str, Any]
) -> dict[str, Any]:
    """Give its answer out of our results, and out of `info`, the model's name and device."""
    segments = result["transcription"]
    return {
        "segments": [{name: segment[name] for name in SEGMENT_FIELDS} for segment in segments],
        "detected_language": result["language"],
        "transcription": formatted(segments, job.transcription),
        "translation": formatted(translated["transcription"], job.translation) if translated else None,
        "device": info["device"],
        "model": info["name"],
        **({"word_timestamps": _words(segments)} if job.request.words else {}),
    }


def _words(segments: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    return [{name: word[name] for name in ("word", "start", "end")} for one in segments for word in one["words"]]


def formatted(segments: Iterable[Mapping[str, Any]], name: str) -> str:
    """Write the text as plain_text, formatted_text, srt or vtt; a format it does not know is plain_text, as there.

    Its VTT lacks the header that makes it one; ours has it.
    """
    if name == "srt":
        return "".join(f"{number}\n{_cue(one, ',')}" for number, one in enumerate(segments, start=1))
    if name == "vtt":
        return "WEBVTT\n\n" + "".join(_cue(one, ".") for one in segments)
    return ("\n" if name == "formatted_text" else " ").join(one["text"].lstrip() for one in segments)


def _cue(segment: Mapping[str, Any], decimal_mark: str) -> str:
    start, end = (_clock(segment[edge], decimal_mark) for edge in ("start", "end"))
    return f"{start} --> {end}\n{segment['text'].strip().replace('-->', '->')}\n\n"


def _clock(seconds: float, decimal_mark: str) -> str:
    minutes, milliseconds = divmod(round(seconds * 1000), 60_000)
    hours, minutes = divmod(minutes, 60)
    return f"{hours:02d}:{minutes:02d}:{milliseconds // 1000:02d}{decimal_mark}{milliseconds % 1000:03d}"
