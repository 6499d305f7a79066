"""Whisper as this worker uses it: windows of speech in, words out.  Import it after `Settings.apply()`.

Whisper's own timestamps are coarse, and cost accuracy where windows are decoded side by side.  So windows are decoded
without them, and where each word lies is read from the model's attention.
"""

from __future__ import annotations

import logging
from copy import copy
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import audible
import ctranslate2
import numpy as np
import weights
from audio import SAMPLE_RATE
from badinput import BadInputError
from faster_whisper import BatchedInferencePipeline, WhisperModel
from faster_whisper.feature_extractor import FeatureExtractor
from faster_whisper.vad import VadOptions, get_speech_timestamps
from jobinput import SEQUENTIAL
from speech import Word, halves, unheard_from
from variables import StartError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence
    from pathlib import Path

    from environment import Settings
    from faster_whisper.transcribe import Segment, TranscriptionInfo
    from jobinput import Options
    from speech import Samples, Window

WINDOW_S = 30  # what Whisper hears at once
FRAMES_PER_SECOND = 100  # in which faster-whisper counts `seek`
CONTEXT_TOKENS, PROMPT_TOKENS, TASK_TOKENS = 448, 223, 5  # in all; at most of them for prompts; what each window needs

LEAST_TOKENS = 64  # of a window's text
MOST_RESTS = 4  # of a window that are decoded after its first words

# The options that mean the same to both of faster-whisper's ways of decoding.
_SHARED = (
    "task", "initial_prompt", "hotwords", "beam_size", "best_of", "patience", "length_penalty", "repetition_penalty",
    "no_repeat_ngram_size", "temperature", "compression_ratio_threshold", "log_prob_threshold", "no_speech_threshold",
    "suppress_blank", "max_new_tokens", "prepend_punctuations", "append_punctuations",
)  # fmt: skip


@dataclass(frozen=True)
class Decoded:
    """The transcript of a window, its words in seconds of the window, and how sure it was."""

    words: tuple[Word, ...]
    avg_logprob: float
    no_speech_prob: float
    compression_ratio: float
    temperature: float


class Model:
    """A loaded model; as many threads as it has `workers` may use it at the same time."""

    def __init__(self, folder: Path, *, device: str, compute_type: str, workers: int) -> None:
        """Load the model from its folder; raise StartError."""
        # The SDK turns on everybody's INFO; faster-whisper's would be four lines a batch.
        logging.getLogger("faster_whisper").setLevel(logging.WARNING)
        try:
            self._whisper = WhisperModel(
                str(folder), device=device, compute_type=compute_type, cpu_threads=1, num_workers=workers
            )
        except (RuntimeError, ValueError) as error:  # all that CTranslate2 raises
            raise StartError(f"{folder} cannot be loaded as a Whisper model: {_first_line(error)}") from error
        self.is_multilingual: bool = self._whisper.model.is_multilingual
        known = self._whisper.hf_tokenizer.get_vocab()  # large-v3 knows one language more than those before it
        self._languages = {code for code in self._whisper.supported_languages if f"<|{code}|>" in known or code == "en"}

    def check(self, options: Options) -> list[str]:
        """Return warnings about prompts that are cut, as sentences.

        Raise BadInputError if the model does not know the language, or has no room for the prompts together.
        """
        if options.language and options.language not in self._languages:
            raise BadInputError(f"this worker's model does not support the language {options.language}")
        prompts = {"initial_prompt": options.initial_prompt, "hotwords": options.hotwords, "prefix": options.prefix}
        counts = {name: len(self.tokens(f" {text}")) for name, text in prompts.items() if text}
        lengths = {name: min(length, PROMPT_TOKENS) for name, length in counts.items()}
        taken = sum(lengths.values())
        if taken > PROMPT_TOKENS:
            raise BadInputError(
                f"{' and '.join(counts)}: {sum(counts.values())} tokens; Whisper takes at most {PROMPT_TOKENS}"
            )
        if options.batch_size == 1 and options.condition_on_previous_text:
            # The text before takes the place of the initial prompt, a prefix that of the hotwords.
            taken = PROMPT_TOKENS + (counts.get("prefix") or counts.get("hotwords", 0))
        room = CONTEXT_TOKENS - TASK_TOKENS - taken
        if room < LEAST_TOKENS:
            raise BadInputError(
                f"{'prefix' if options.prefix else 'hotwords'}: {taken - PROMPT_TOKENS} tokens; beside the text before "
                f"(condition_on_previous_text) Whisper takes at most {taken - PROMPT_TOKENS + room - LEAST_TOKENS}"
            )
        if options.max_new_tokens and options.max_new_tokens > room:
            raise BadInputError(
                f"max_new_tokens must be at most {room} beside these prompts, not {options.max_new_tokens}"
            )
        # As faster-whisper cuts them: of the text before the last words are the nearest.
        kept = {name: "last" if name == "initial_prompt" else "first" for name in counts}
        return [
            f"{name}: {length} tokens; Whisper takes the {kept[name]} {PROMPT_TOKENS}"
            for name, length in counts.items()
            if length > PROMPT_TOKENS
        ]

    def tokens(self, text: str) -> list[int]:
        ids: list[int] = self._whisper.hf_tokenizer.encode(text, add_special_tokens=False).ids
        return ids

    def languages(self, window: Window) -> list[tuple[str, float]]:
        """Give all languages with the probability that the window is in it, the likeliest first."""
        likeliest: list[tuple[str, float]] = self._whisper.detect_language(window.samples)[2]
        return likeliest

    def decode(self, windows: Sequence[Window], language: str, options: Options) -> list[Decoded | None]:
        """Decode windows side by side; give None for one without speech.

        One that fails Whisper's thresholds is decoded again, alone, at each of the temperatures until it does not.
        """
        if options.temperature[0] > 0:  # side by side there is no sampling
            decoded = [self._decode_alone(window.samples, language, options) for window in windows]
        else:
            decoded = [
                self._decode_alone(window.samples, language, options)
                if one and len(options.temperature) > 1 and _is_failed(one, options)
                else one
                for window, one in zip(windows, self._decode_together(windows, language, options), strict=True)
            ]
        if not options.vad_filter or options.clip_timestamps:
            return decoded
        return [
            self._decode_rest(window, one, language, options) if one else self._decode_again(window, language, options)
            for window, one in zip(windows, decoded, strict=True)
        ]

    def _decode_together(self, windows: Sequence[Window], language: str, options: Options) -> list[Decoded | None]:
        # Each window in a place of 30 seconds: the segments say by their `seek` which one they are of.
        places = np.zeros((len(windows), WINDOW_S * SAMPLE_RATE), np.float32)
        clips = []
        for number, window in enumerate(windows):
            places[number, : len(window.samples)] = window.samples
            clips.append({"start": number * WINDOW_S, "end": number * WINDOW_S + len(window.samples) / SAMPLE_RATE})
        found, _ = BatchedInferencePipeline(self._whisper).transcribe(
            places.reshape(-1),
            clip_timestamps=clips,
            batch_size=len(windows),
            language=language,
            without_timestamps=True,
            word_timestamps=True,
            **_shared(options),
        )
        parts: list[list[Segment]] = [[] for _ in windows]
        for segment in found:
            parts[segment.seek // (WINDOW_S * FRAMES_PER_SECOND)].append(segment)
        decoded = [_decoded(segments, number * WINDOW_S) for number, segments in enumerate(parts)]
        return [None if one is None or _is_silence(one, options) else one for one in decoded]

    def _decode_again(self, window: Window, language: str, options: Options) -> Decoded | None:
        """Decode speech that came out as silence: at the other temperatures, else half by half.

        Speech without pauses does that to Whisper, now and then, and half a minute of it would be lost.
        """
        if further := options.temperature[1:]:
            changed = replace(options, temperature=further)
            decoded = self._decode_alone(window.samples, language, changed, no_speech_threshold=None)
            if decoded and not _is_silence(decoded, options):
                return decoded
        first, second = halves(window)
        return _joined(
            self._decode_alone(first, language, options),
            self._decode_alone(second, language, options),
            len(first) / SAMPLE_RATE,
        )

    def _decode_rest(self, window: Window, decoded: Decoded, language: str, options: Options) -> Decoded:
        """Decode what comes after the last word, as often as the model ended long before the speech does.

        It does where the language changes, so unless the job names one that of the rest is looked for.
        """
        for _ in range(MOST_RESTS):
            since_s = unheard_from(decoded.words, window)
            if since_s is None:
                return decoded
            rest = window.samples[round(since_s * SAMPLE_RATE) :]
            if options.language is None and self.is_multilingual:
                language = self._whisper.detect_language(rest)[0]
            further = self._decode_alone(rest, language, options)
            if further is None or not further.words or _is_silence(further, options) or _is_failed(further, options):
                return decoded
            decoded = _joined(decoded, further, since_s) or decoded
        return decoded

    def _decode_alone(
        self, samples: Samples, language: str, options: Options, **changes: float | None
    ) -> Decoded | None:
        found, _ = self._whisper.transcribe(
            samples,
            language=language,
            condition_on_previous_text=False,
            without_timestamps=True,
            word_timestamps=True,
            **_shared(options) | changes,
        )
        # Without timestamps all of it is one segment.  After that would come what follows its last word: nothing.
        first = next(iter(found), None)
        return _decoded([first] if first else [], 0)

    def sequence(
        self, samples: Samples, options: Options, *, words: bool
    ) -> tuple[Iterator[Segment], TranscriptionInfo]:
        """Decode as faster-whisper does without batches, each window after what was said before it; lazily."""
        whisper = copy(self._whisper)
        whisper.feature_extractor = FeatureExtractor(**whisper.feat_kwargs)  # chunk_length changes it
        edges = [edge for clip in options.clip_timestamps for edge in clip if edge is not None]
        found, info = whisper.transcribe(
            samples,
            language=options.language,
            multilingual=options.multilingual,
            vad_filter=options.vad_filter,
            vad_parameters=dict(options.vad_parameters),
            clip_timestamps=edges or "0",
            chunk_length=options.chunk_length,
            word_timestamps=words,
            language_detection_threshold=options.language_detection_threshold,
            language_detection_segments=options.language_detection_segments,
            **{name: getattr(options, name) for name in SEQUENTIAL},
            **_shared(options),
        )
        return iter(found), info


def find_voices(samples: Samples, vad: Mapping[str, float]) -> list[tuple[int, int]]:
    """Find where Silero hears voices, as (start, end) in samples."""

    def find(clear: Samples) -> list[tuple[int, int]]:
        return [(one["start"], one["end"]) for one in get_speech_timestamps(clear, VadOptions(**vad))]

    return audible.voices(samples, find)


def is_out_of_memory(error: RuntimeError) -> bool:
    """Tell whether a GPU had no memory left: CTranslate2 has no exception of its own for it."""
    return "out of memory" in str(error) or "ALLOC_FAILED" in str(error)


def device(wanted: str) -> str:
    """Give the device that `wanted` means here; raise StartError if there is no GPU."""
    has_gpu = ctranslate2.get_cuda_device_count() > 0
    if wanted == "cuda" and not has_gpu:
        raise StartError("DEVICE=cuda: CTranslate2 found no GPU")
    return "cuda" if has_gpu and wanted != "cpu" else "cpu"


def compute_type(wanted: str, device: str) -> str:
    """Give the compute type that `wanted` means on the device; raise StartError if it has no such one."""
    if wanted == "auto":
        wanted = "float16" if device == "cuda" else "int8"
    known = ctranslate2.get_supported_compute_types(device)
    if wanted not in known:
        raise StartError(f"COMPUTE_TYPE={wanted} is not supported on this {device}; use {', '.join(sorted(known))}")
    return wanted


def _shared(options: Options) -> dict[str, Any]:
    return {name: getattr(options, name) for name in _SHARED} | {"suppress_tokens": list(options.suppress_tokens)}


def _decoded(segments: Sequence[Segment], start_s: float) -> Decoded | None:
    if not segments:
        return None
    first = segments[0]
    return Decoded(
        words=tuple(own_words(segments, -start_s)),
        avg_logprob=first.avg_logprob,
        no_speech_prob=first.no_speech_prob,
        compression_ratio=max(one.compression_ratio for one in segments),
        temperature=first.temperature or 0.0,
    )


def _joined(first: Decoded | None, second: Decoded | None, shift_s: float) -> Decoded | None:
    """Put together what was heard in two halves; the second begins at `shift_s`."""
    if second:
        words = (replace(one, start_s=one.start_s + shift_s, end_s=one.end_s + shift_s) for one in second.words)
        second = replace(second, words=tuple(words))
    if not first or not second:
        return first or second
    return Decoded(
        words=first.words + second.words,
        no_speech_prob=max(first.no_speech_prob, second.no_speech_prob),
        avg_logprob=min(first.avg_logprob, second.avg_logprob),
        compression_ratio=max(first.compression_ratio, second.compression_ratio),
        temperature=max(first.temperature, second.temperature),
    )


def own_words(segments: Iterable[Segment], shift_s: float = 0.0) -> Iterator[Word]:
    for segment in segments:
        for one in segment.words or ():
            yield Word(one.word, float(one.start) + shift_s, float(one.end) + shift_s, float(one.probability))


def _is_silence(decoded: Decoded, options: Options) -> bool:
    return decoded.no_speech_prob > options.no_speech_threshold and decoded.avg_logprob <= options.log_prob_threshold


def _is_failed(decoded: Decoded, options: Options) -> bool:
    is_repetitive = decoded.compression_ratio > options.compression_ratio_threshold
    return is_repetitive or decoded.avg_logprob < options.log_prob_threshold


def _first_line(error: Exception) -> str:
    return str(error).partition("\n")[0][:200]


def prepare(settings: Settings) -> str:
    """Get what a start would have to download; return what is ready.  Raises StartError."""
    return f"{weights.find(settings).name} is ready"
