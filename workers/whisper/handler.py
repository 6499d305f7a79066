"""The worker: jobs in, transcripts out.  README.md has the contract."""

from __future__ import annotations

import asyncio
import logging
import math
import os
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from time import perf_counter
from typing import TYPE_CHECKING, Any

import audio
import official
import runpod
from badinput import BadInputError
from environment import Settings
from jobinput import Request, parse
from variables import StartError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from speech import Samples, Word
    from transcriber import Result, Segment, Transcriber

    Stopped = Callable[[], bool]
    OnProgress = Callable[[Sequence[Segment], float, float | None], None]

log = logging.getLogger("whisper")

BLOCK_S = 60.0  # the model begins with the first while the second is decoded
PROGRESS_URL = "RUNPOD_WEBHOOK_POST_OUTPUT"  # by hand there is none, and each update would log an error
PROGRESS_EVERY_S = 1.0
PROGRESS_SEGMENTS = 200  # of the last ones; an update is not to grow with the audio


class Worker:
    """Answers jobs, each on a thread of its own; they share the model's."""

    def __init__(self, transcriber: Transcriber, settings: Settings) -> None:
        self._transcriber = transcriber
        self._volume = settings.volume
        self._concurrency = settings.max_concurrency
        # Twice as many as there are jobs: one that is cancelled ends its batch before its thread is free.
        self._threads = ThreadPoolExecutor(2 * settings.max_concurrency, thread_name_prefix="job")

    def concurrency(self, _current: int) -> int:
        return self._concurrency

    async def answer(self, job: dict[str, Any]) -> dict[str, Any]:
        """Give what the README promises, or `{"error": one sentence}`; whatever a job holds, the worker lives on.

        A job that is cancelled stops after the batch it is at, or in the middle of its download.
        """
        stop = threading.Event()
        try:
            return await asyncio.get_running_loop().run_in_executor(self._threads, self._answer, job, stop.is_set)
        except official.InvalidJobError as error:
            return {"error": error.errors}
        except BadInputError as error:
            return {"error": str(error)}
        except Exception as error:  # a raised one would send the caller our paths and traceback
            log.exception("job %s failed", job.get("id"))
            return {"error": f"the model failed on this job ({type(error).__name__}); the worker's log says more"}
        finally:
            stop.set()

    def _answer(self, job: dict[str, Any], stopped: Stopped) -> dict[str, Any]:
        job_input = job.get("input")
        if not official.is_official(job_input):
            request = parse(job_input)
            on_progress = _Progress(job, request.words).report if PROGRESS_URL in os.environ else _ignore_progress
            return self._transcribed(request, on_progress, stopped)
        official_job = official.parse(job_input)
        result = self._transcribed(official_job.request, _ignore_progress, stopped)
        second = official_job.translation_request
        translated = self._transcribed(second, _ignore_progress, stopped) if second else None
        return official.answer(official_job, result, translated, self._transcriber.info)

    def _transcribed(self, request: Request, on_progress: OnProgress, stopped: Stopped) -> dict[str, Any]:
        started = perf_counter()
        with audio.opened(request.audio, volume=self._volume, stopped=stopped) as opened:
            open_s = perf_counter() - started
            blocks = _Timed(opened.blocks(BLOCK_S))
            result = self._transcriber.transcribe(
                blocks,
                request.options,
                words=request.words,
                on_segments=lambda segments, done_s: on_progress(segments, done_s, opened.expected_s),
                stopped=stopped,
            )
        took_s = perf_counter() - started
        warnings = [*request.warnings, *opened.warnings, *result.warnings]
        timings = {"open": open_s, "decode": blocks.took_s, "inference": took_s - open_s - blocks.took_s}
        return {
            **_spelled(result, words=request.words),
            "processing_time": round(took_s, 4),
            "model": self._transcriber.info,
            "timings": {name: round(seconds, 4) for name, seconds in timings.items()},
            **({"warnings": warnings} if warnings else {}),
        }


class _Timed:
    """Blocks of an audio file, and the seconds it took to have them."""

    def __init__(self, blocks: Iterator[Samples]) -> None:
        self._blocks = blocks
        self.took_s = 0.0

    def __iter__(self) -> Iterator[Samples]:
        return self

    def __next__(self) -> Samples:
        started = perf_counter()
        try:
            return next(self._blocks)
        finally:
            self.took_s += perf_counter() - started


class _Progress:
    """Sends RunPod the segments of a job so far, at most once a second."""

    def __init__(self, job: dict[str, Any], words: bool) -> None:
        self._job = job
        self._words = words
        self._reported_at = -math.inf

    def report(self, segments: Sequence[Segment], done_s: float, total_s: float | None) -> None:
        now = perf_counter()
        if now - self._reported_at < PROGRESS_EVERY_S:
            return
        self._reported_at = now
        first = max(0, len(segments) - PROGRESS_SEGMENTS)
        update = {
            "progress": {"done": _seconds(done_s), "total": None if total_s is None else _seconds(total_s)},
            "transcription": [_segment(one, words=self._words) for one in segments[first:]],
            "first": first,
        }
        runpod.serverless.progress_update(self._job, update)


def _ignore_progress(_segments: Sequence[Segment], _done_s: float, _total_s: float | None) -> None:
    """Send no progress: nobody listens, or the job is in the protocol of a worker that sends none."""


def _spelled(result: Result, *, words: bool) -> dict[str, Any]:
    language_probability = result.language_probability
    return {
        "transcription": [_segment(one, words=words) for one in result.segments],
        "text": "".join(one.text for one in result.segments).strip(),
        "language": result.language,
        "language_probability": None if language_probability is None else round(language_probability, 4),
        "duration": _seconds(result.duration_s),
        "duration_after_vad": _seconds(result.duration_after_vad_s),
    }


def _segment(one: Segment, *, words: bool) -> dict[str, Any]:
    return {
        "id": one.id,
        "seek": one.seek,
        "start": _seconds(one.start_s),
        "end": _seconds(one.end_s),
        "text": one.text,
        "confidence": round(math.exp(one.avg_logprob), 4),
        "avg_logprob": round(one.avg_logprob, 4),
        "no_speech_prob": round(one.no_speech_prob, 4),
        "compression_ratio": round(one.compression_ratio, 4),
        "temperature": one.temperature,
        "tokens": list(one.tokens),
        **({"words": [_word(word) for word in one.words]} if words else {}),
    }


def _word(one: Word) -> dict[str, Any]:
    return {
        "word": one.word,
        "start": _seconds(one.start_s),
        "end": _seconds(one.end_s),
        "probability": round(one.probability, 4),
    }


def _seconds(value: float) -> float:
    return round(value, 2)


def build() -> Worker:
    """Load the model that the environment names; raise StartError with one sentence if it cannot be had."""
    settings = Settings.read(os.environ)
    settings.apply()
    from transcriber import Transcriber  # after apply(): Hugging Face's libraries read the environment when imported

    return Worker(Transcriber(settings), settings)


def main() -> None:
    try:
        worker = build()
    except StartError as error:
        sys.exit(f"whisper worker: {error}")
    runpod.serverless.start({"handler": worker.answer, "concurrency_modifier": worker.concurrency})


# The SDK's heartbeat process imports this file again where processes are spawned; it must not load a second model.
if __name__ == "__main__":
    main()
