"""An endpoint for detect, transcribe and describe that answers at once, and remembers what it was asked."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from support.command import Outcome, vidctl
from support.scripted import Reply, Request, ok, serving
from support.shapes import draw, encoded
from support.speech import SAMPLE_RATE, write_wav

FOUND = {"bbox": [1, 2, 30, 40], "confidence": 0.9, "class": 0, "class_name": "person"}
PERSON = "0 "  # how YOLO's line of it begins
SAID = {"id": 0, "start": 0.5, "end": 1.0, "text": " hello.", "confidence": 0.9}


@dataclass
class Endpoint:
    """`asked` has every job's input; `found` is what is seen in each image, by the number of the job."""

    folder: Path
    url: str = ""
    asked: list[dict[str, Any]] = field(default_factory=list)
    found: list[dict[str, Any]] = field(default_factory=lambda: [FOUND])

    def answer(self, request: Request) -> Reply:
        if request.path == "/ep/run":
            self.asked.append(json.loads(request.body)["input"])
            return ok({"id": f"job-{len(self.asked)}", "status": "IN_QUEUE"})
        if request.path.startswith(("/ep/status/", "/ep/stream/")):
            number = int(request.path.partition("job-")[2])
            return ok({"id": f"job-{number}", "status": "COMPLETED", "output": self._output(self.asked[number - 1])})
        return ok({"jobs": {}, "workers": {"idle": 1}})

    def _output(self, asked: dict[str, Any]) -> dict[str, Any]:
        if "audio" in asked:
            return {"transcription": [SAID], "language": "en", "language_probability": 0.9}
        if "prompt" in asked:
            return {"response": f"answer {len(self.asked)}", "finish_reason": "stop"}
        if "images" in asked:
            return {"results": [{"detections": self.found} for _ in asked["images"]]}
        return {"detections": self.found}

    @property
    def environ(self) -> dict[str, str]:
        """What a command needs to find it."""
        return {
            "RUNPOD_API_KEY": "rpa_TESTKEY",
            "RUNPOD_API_BASE_URL": self.url,
            "RUNPOD_ENDPOINT_BASE_URL": self.url,
        }

    def run(self, command: str, *arguments: str | Path, **options: Any) -> Outcome:
        """One command that asks this endpoint."""
        return vidctl(command, *arguments, "--endpoint-id", "ep", cwd=self.folder, **{**self.environ, **options})

    def image(self, *names: str) -> None:
        for name in names:
            (self.folder / name).parent.mkdir(parents=True, exist_ok=True)
            (self.folder / name).write_bytes(encoded(draw(seed=1)[0]))

    def audio(self, *names: str) -> None:
        for number, name in enumerate(names):
            (self.folder / name).parent.mkdir(parents=True, exist_ok=True)
            noise = np.random.default_rng(number).normal(0, 3000, 2 * SAMPLE_RATE)
            write_wav(self.folder / name, noise.astype(np.int16))


@contextmanager
def answering(folder: Path) -> Iterator[Endpoint]:
    """Serve such an endpoint, for commands that run in the folder."""
    endpoint = Endpoint(folder)
    with serving(endpoint.answer) as server:
        endpoint.url = server.url
        yield endpoint
