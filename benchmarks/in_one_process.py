"""Ultralytics' own `model.predict` in one warm process: run by the worker's Python, driven over a pipe.

`python in_one_process.py WEIGHTS FORMAT THREADS FOLDER` loads the model and predicts once to be warm.  Then each line
of stdin names a way to predict the whole folder, and each answer is a line that starts with {: seconds, objects found.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from time import perf_counter
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "workers/yolo"))

import torch  # type: ignore[import-not-found]  # only the worker's environment has these
import torchvision_ops  # type: ignore[import-not-found]  # the worker's, so that both sides have the same NMS
import weights  # type: ignore[import-not-found]
from ultralytics import YOLO  # type: ignore[import-not-found]

IMGSZ = 640
BATCH = 8


def main() -> None:
    torchvision_ops.make_usable()
    path, form, threads, folder = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]), sys.argv[4]
    files = sorted(str(file) for file in Path(folder).iterdir())
    if form == "openvino":
        path = weights.openvino(path, Path(os.environ["XDG_CACHE_HOME"]) / "yolo-worker")
    model = YOLO(str(path), task="detect")
    model.predict(files[:BATCH], imgsz=IMGSZ, batch=BATCH, verbose=False)
    # The first predict on a CPU sets torch to one thread fewer than there are cores.
    torch.set_num_threads(threads)
    print(json.dumps({"ready": True}), flush=True)
    for line in sys.stdin:
        begin = perf_counter()
        objects = sum(len(result.boxes) for result in predict(model, line.strip(), folder, files))
        print(json.dumps({"seconds": perf_counter() - begin, "objects": objects}), flush=True)


def predict(model: Any, way: str, folder: str, files: list[str]) -> Any:
    match way:
        case "stream":
            return model.predict(folder, imgsz=IMGSZ, stream=True, verbose=False)
        case "stream in batches":
            return model.predict(folder, imgsz=IMGSZ, batch=BATCH, stream=True, verbose=False)
        case "list in batches":
            return model.predict(files, imgsz=IMGSZ, batch=BATCH, verbose=False)
        case _:
            raise SystemExit(f"no such way: {way}")


if __name__ == "__main__":
    main()
