"""faster-whisper by itself in one warm process: run by the worker's Python, driven over a pipe.

`python speech_in_one_process.py MODEL THREADS FILE` loads the model and listens once to be warm.  Then each line of
stdin names a way to transcribe the file, and each answer is a line of JSON: seconds, text.
"""

from __future__ import annotations

import json
import sys
from time import perf_counter
from typing import Any

from faster_whisper import BatchedInferencePipeline, WhisperModel  # type: ignore[import-not-found]  # the worker's

BEAMS = 5
WARM_UP_S = "0,30"


def main() -> None:
    path, threads, file = sys.argv[1], int(sys.argv[2]), sys.argv[3]
    model = WhisperModel(path, device="cpu", compute_type="int8", cpu_threads=threads)
    list(model.transcribe(file, beam_size=BEAMS, clip_timestamps=WARM_UP_S)[0])
    print(json.dumps({"ready": True}), flush=True)
    for line in sys.stdin:
        begin = perf_counter()
        text = " ".join(segment.text for segment in transcribe(model, line.strip(), file))
        print(json.dumps({"seconds": perf_counter() - begin, "text": text}), flush=True)


def transcribe(model: Any, way: str, file: str) -> Any:
    if way == "sequential":
        return model.transcribe(file, beam_size=BEAMS)[0]
    batch_size = int(way.removeprefix("batches of "))
    return BatchedInferencePipeline(model).transcribe(file, beam_size=BEAMS, batch_size=batch_size)[0]


if __name__ == "__main__":
    main()
