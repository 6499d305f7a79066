"""The worker: jobs in, boxes out.  README.md has the contract."""

from __future__ import annotations

import asyncio
import logging
import os
import sys
from concurrent.futures import ThreadPoolExecutor
from time import perf_counter
from typing import TYPE_CHECKING, Any

import images
import runpod
from badinput import BadInputError
from base64text import from_text
from batching import Batcher, Found
from download import is_url
from environment import Settings
from jobinput import Options, parse
from variables import StartError

if TYPE_CHECKING:
    from model import Detector

log = logging.getLogger("yolo")

DOWNLOADS = 32  # at once


class Worker:
    """Answers jobs.  Images are decoded side by side; jobs in flight at the same time share the model's batches."""

    def __init__(self, detector: Detector, settings: Settings) -> None:
        self._detector = detector
        self._concurrency = settings.max_concurrency
        # A slow server must not keep the decoders, or the SDK, which uses the loop's threads, from other jobs.
        self._downloads = ThreadPoolExecutor(DOWNLOADS, thread_name_prefix="download")
        self._decoders = ThreadPoolExecutor(settings.threads, thread_name_prefix="decode")
        self._batches = Batcher(detector.detect, detector.max_batch)

    def concurrency(self, _current: int) -> int:
        return self._concurrency

    async def answer(self, job: dict[str, Any]) -> dict[str, Any]:
        """Return what the README promises, or `{"error": one sentence}`; no job ends the worker."""
        try:
            return await self._answer(job.get("input"))
        except BadInputError as error:
            return {"error": str(error)}
        except Exception as error:  # a raised one would send the caller our paths and traceback
            log.exception("job %s failed", job.get("id"))
            return {"error": f"detection failed ({type(error).__name__}); see the worker's log"}

    async def _answer(self, job_input: Any) -> dict[str, Any]:
        started = perf_counter()
        request = parse(job_input, names=self._detector.names, imgsz=self._detector.imgsz)
        loaded = await asyncio.gather(*(self._load(image, request.options) for image in request.images))
        if not request.is_list and isinstance(loaded[0], BadInputError):
            raise loaded[0]
        decoded = perf_counter()
        decoded_images = [one for one in loaded if isinstance(one, images.LoadedImage)]
        found = await self._batches.detect([one.pixels for one in decoded_images], request.options)
        ended = perf_counter()
        queued_s = min((one.queued_s for one in found), default=0.0)
        about = {
            "inference_time": _seconds(ended - started),
            "model": self._detector.info,
            "names": [name for _, name in sorted(self._detector.names.items())],
            "timings": {
                "decode": _seconds(decoded - started),
                "queue": _seconds(queued_s),
                "inference": _seconds(ended - decoded - queued_s),
            },
        }
        answers = self._answers(loaded, iter(found))
        return {"results": answers, **about} if request.is_list else {**answers[0], **about}

    async def _load(self, image: Any, options: Options) -> images.LoadedImage | BadInputError:
        try:
            loop = asyncio.get_running_loop()
            data = await loop.run_in_executor(self._downloads, images.fetch, image) if is_url(image) else image
            return await loop.run_in_executor(self._decoders, _decode, data, options.imgsz)
        except BadInputError as error:
            return error

    def _answers(self, loaded: list[images.LoadedImage | BadInputError], found: Any) -> list[dict[str, Any]]:
        return [
            {"error": str(one)} if isinstance(one, BadInputError) else self._answer_for(one, next(found))
            for one in loaded
        ]

    def _answer_for(self, one: images.LoadedImage, found: Found) -> dict[str, Any]:
        detections = [self._detection(row, one) for row in found.rows.tolist()]
        return {
            "detections": detections,
            "count": len(detections),
            "inference_time": _seconds(found.share_s),
            "image_size": list(one.size),
        }

    def _detection(self, row: list[float], one: images.LoadedImage) -> dict[str, Any]:
        *corners, confidence, number = row[:6]
        height, width = one.pixels.shape[:2]
        scales = (one.size[0] / width, one.size[1] / height) * 2
        return {
            "bbox": [round(corner * scale, 2) for corner, scale in zip(corners, scales, strict=True)],
            "confidence": round(confidence, 4),
            "class": int(number),
            "class_name": self._detector.names[int(number)],
        }


def _decode(data: bytes | Any, imgsz: int) -> images.LoadedImage:
    return images.decode(data if isinstance(data, bytes) else from_text(data, "image"), imgsz)


def _seconds(value: float) -> float:
    return round(value, 4)


def build() -> Worker:
    """Load the model that the environment names; raise StartError with one sentence if that fails."""
    settings = Settings.read(os.environ)
    settings.apply()
    from model import Detector  # after apply(): torch and Ultralytics read the environment when imported

    return Worker(Detector(settings), settings)


def main() -> None:
    try:
        worker = build()
    except StartError as error:
        sys.exit(f"yolo worker: {error}")
    runpod.serverless.start({"handler": worker.answer, "concurrency_modifier": worker.concurrency})


# The SDK's heartbeat process imports this file again where processes are spawned; it must not load a second model.
if __name__ == "__main__":
    main()
