"""Audio on its way through the model: blocks of samples in, segments out.  Import it after `Settings.apply()`."""

from __future__ import annotations

import math
from collections import Counter, deque
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from itertools import chain, islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import audible
import model
import numpy as np
import speech
import weights
from audio import SAMPLE_RATE
from badinput import BadInputError
from environment import Settings
from jobinput import Options

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from model import Decoded
    from speech import Samples, Window, Word

    Batch = Sequence[Window]
    OnSegments = Callable[[Sequence["Segment"], float], None]
    Stopped = Callable[[], bool]

GPU_BATCH, CPU_BATCH = 16, 2  # a CPU gains nothing by more, and a batch takes 150 MB for each window
GPU_THREADS = 2  # one makes features and words while the other's batch is on the GPU
MAX_SEQUENCE_S = 1800  # the features of all of it are made at once
LEAST_PROBABILITY = 1e-10  # its logarithm is finite


class StoppedError(Exception):
    """The job was cancelled."""


@dataclass(frozen=True)
class Segment:
    """The speech from `start_s` to `end_s` of the source; `words` only where they were looked for."""

    id: int
    seek: int
    start_s: float
    end_s: float
    text: str
    avg_logprob: float
    no_speech_prob: float
    compression_ratio: float
    temperature: float
    tokens: tuple[int, ...]
    words: tuple[Word, ...] = ()


@dataclass(frozen=True)
class Result:
    """A transcript.  `language` None means that there was no speech to detect it by; `warnings` are sentences."""

    segments: tuple[Segment, ...]
    language: str | None
    language_probability: float | None
    duration_s: float
    duration_after_vad_s: float
    warnings: tuple[str, ...] = ()


class Transcriber:
    """Turns audio into segments; jobs at the same time take turns, batch by batch.  `info` describes the model."""

    def __init__(self, settings: Settings) -> None:
        """Load the model and warm up; raise StartError."""
        device = model.device(settings.device)
        compute_type = model.compute_type(settings.compute_type, device)
        on_gpu = device == "cuda"
        # On a CPU, batches side by side on one thread each are faster than one batch on all of them.
        self._lanes = 1 if on_gpu else settings.threads
        self._model = model.Model(weights.find(settings), device=device, compute_type=compute_type, workers=self._lanes)
        self._batch_size = settings.batch_size or (GPU_BATCH if on_gpu else CPU_BATCH)
        self._threads = GPU_THREADS if on_gpu else settings.threads
        self._pool = ThreadPoolExecutor(self._threads, thread_name_prefix="model")
        name = Path(settings.model).name  # of a path or of a repository
        self.info: dict[str, Any] = {"name": name, "device": device, "compute_type": compute_type}
        self._warm_up()

    def _warm_up(self) -> None:
        blank = np.zeros(SAMPLE_RATE, np.float32)
        model.find_voices(blank, {})
        whole = speech.windows([blank], Options(vad_filter=False), model.find_voices)
        self._model.decode(list(whole), "en", Options(temperature=(0.0,)))

    def transcribe(
        self, blocks: Iterable[Samples], options: Options, *, words: bool, on_segments: OnSegments, stopped: Stopped
    ) -> Result:
        """Transcribe audio; raise BadInputError with one sentence, or StoppedError soon after `stopped` says so.

        `on_segments` gets all segments so far and the second they reach to, as long as a good deal is still to come.
        """
        cut = self._model.check(options)
        read = _Read(blocks, stopped)
        try:
            if options.batch_size == 1:
                result = self._in_sequence(read, options, words, on_segments)
            else:
                result = self._in_batches(read, options, on_segments)
        except RuntimeError as error:
            if model.is_out_of_memory(error):
                raise BadInputError("the GPU ran out of memory with this batch: send a smaller batch_size") from error
            raise
        is_searched = options.vad_filter and not options.clip_timestamps
        missed = audible.missed(result.duration_after_vad_s, read.active_s) if is_searched else None
        return replace(result, warnings=(*cut, *([missed] if missed else [])))

    def _in_batches(self, read: _Read, options: Options, on_segments: OnSegments) -> Result:
        windows = speech.windows(read, options, model.find_voices)
        language, probability, first = self._language(windows, options)
        size = options.batch_size or self._batch_size
        if self.info["device"] == "cpu":
            size = min(size, self._batch_size)  # memory is the caller's no more than speed is
        batches = _batches(chain(first, windows), size, self._lanes)
        segments: list[Segment] = []
        speech_s = 0.0
        # The language is None where there is no speech, and then no batch.
        for batch, decoded, is_more in self._decoded(batches, language or "en", options):
            for window, one in zip(batch, decoded, strict=True):
                speech_s += len(window.samples) / SAMPLE_RATE
                segments.extend(self._segments(window, one, len(segments) + 1) if one else ())
            read.check()
            if is_more:
                on_segments(segments, batch[-1].end_s)
        return Result(tuple(segments), language, probability, read.seconds, speech_s)

    def _language(self, windows: Iterator[Window], options: Options) -> tuple[str | None, float | None, list[Window]]:
        """Give the language, how likely it is, and the windows taken to tell it by.

        The first window that is sure enough says it, else all that were taken together.
        """
        if options.language or not self._model.is_multilingual:
            return options.language or "en", 1.0, []
        taken: list[Window] = []
        votes: Counter[str] = Counter()
        for window in islice(windows, options.language_detection_segments):
            taken.append(window)
            found = self._pool.submit(self._model.languages, window).result()
            if found[0][1] > options.language_detection_threshold:
                return *found[0], taken
            votes.update(dict(found))
        if not taken:
            return None, None, []
        language, total = votes.most_common(1)[0]
        return language, total / len(taken), taken

    def _decoded(
        self, batches: Iterable[Batch], language: str, options: Options
    ) -> Iterator[tuple[Batch, list[Decoded | None], bool]]:
        """Give batches with what was heard in them, in order, and whether some are left that no thread has begun."""
        waiting: deque[tuple[Batch, Future[list[Decoded | None]]]] = deque()
        try:
            for batch in batches:
                waiting.append((batch, self._pool.submit(self._decode, batch, language, options)))
                if len(waiting) > 2 * self._threads:
                    yield _next(waiting)
            while waiting:
                yield _next(waiting)
        finally:
            for _, future in waiting:
                future.cancel()

    def _decode(self, batch: Batch, language: str, options: Options) -> list[Decoded | None]:
        if not (options.multilingual and self._model.is_multilingual):
            return self._model.decode(batch, language, options)
        languages = [self._model.languages(window)[0][0] for window in batch]
        decoded: dict[int, Decoded | None] = {}
        for language in set(languages):
            numbers = [number for number, one in enumerate(languages) if one == language]
            found = self._model.decode([batch[number] for number in numbers], language, options)
            decoded.update(zip(numbers, found, strict=True))
        return [decoded[number] for number in range(len(batch))]

    def _segments(self, window: Window, decoded: Decoded, first_id: int) -> Iterator[Segment]:
        spoken = [words for words in speech.segments(decoded.words, window) if _says_something(_text(words))]
        for number, words in enumerate(spoken, first_id):
            logprobs = [math.log(max(word.probability, LEAST_PROBABILITY)) for word in words]
            yield Segment(
                id=number,
                seek=int(window.start_s * model.FRAMES_PER_SECOND),
                start_s=words[0].start_s,
                end_s=words[-1].end_s,
                text=_text(words),
                avg_logprob=sum(logprobs) / len(logprobs),
                no_speech_prob=decoded.no_speech_prob,
                compression_ratio=decoded.compression_ratio,
                temperature=decoded.temperature,
                tokens=tuple(self._model.tokens(_text(words))),
                words=words,
            )

    def _in_sequence(self, read: _Read, options: Options, words: bool, on_segments: OnSegments) -> Result:
        samples = _whole(read)
        found, info = self._pool.submit(self._model.sequence, samples, options, words=words).result()
        segments: list[Segment] = []
        while (one := self._pool.submit(next, found, None).result()) is not None:
            read.check()
            if not _says_something(one.text):
                continue
            segments.append(
                Segment(
                    id=len(segments) + 1,
                    seek=one.seek,
                    start_s=min(one.start, read.seconds),  # the model may take the padding for audio
                    end_s=min(one.end, read.seconds),
                    text=one.text,
                    avg_logprob=one.avg_logprob,
                    no_speech_prob=one.no_speech_prob,
                    compression_ratio=one.compression_ratio,
                    temperature=one.temperature,
                    tokens=tuple(one.tokens),
                    words=tuple(model.own_words([one])),
                )
            )
            if one.end + model.WINDOW_S < read.seconds:
                on_segments(segments, one.end)
        language = info.language, info.language_probability
        return Result(tuple(segments), *language, read.seconds, info.duration_after_vad)


class _Read:
    """Blocks as they are read: `seconds` is how much there was so far; raises StoppedError once a job is cancelled."""

    def __init__(self, blocks: Iterable[Samples], stopped: Stopped) -> None:
        self._blocks = blocks
        self._stopped = stopped
        self._samples = 0
        self._loudness = audible.Loudness()

    @property
    def seconds(self) -> float:
        return self._samples / SAMPLE_RATE

    @property
    def active_s(self) -> float:
        return self._loudness.active_s

    def __iter__(self) -> Iterator[Samples]:
        for block in self._blocks:
            self.check()
            self._loudness.add(block)
            self._samples += len(block)
            yield block

    def check(self) -> None:
        if self._stopped():
            raise StoppedError


def _batches(windows: Iterator[Window], size: int, lanes: int) -> Iterator[Batch]:
    """Group windows by `size`; what is left at the end goes to all lanes evenly."""
    while group := list(islice(windows, size * lanes)):
        step = math.ceil(len(group) / lanes)
        for first in range(0, len(group), step):
            yield group[first : first + step]


def _next(
    waiting: deque[tuple[Batch, Future[list[Decoded | None]]]],
) -> tuple[Batch, list[Decoded | None], bool]:
    batch, future = waiting.popleft()
    decoded = future.result()
    return batch, decoded, any(not (other.running() or other.done()) for _, other in waiting)


def _whole(read: _Read) -> Samples:
    blocks = []
    for block in read:
        if read.seconds > MAX_SEQUENCE_S:
            raise BadInputError(
                f"batch_size 1 takes at most {MAX_SEQUENCE_S // 60} minutes of audio; leave it out for more"
            )
        blocks.append(block)
    return np.concatenate(blocks)


def _text(words: Sequence[Word]) -> str:
    return "".join(word.word for word in words)


def _says_something(text: str) -> bool:
    """Dots alone are what Whisper makes of noise."""
    return any(character.isalnum() for character in text)
