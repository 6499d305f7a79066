"""An endpoint for detect, transcribe and describe that answers at once, and remembers what it was asked."""

from __future__ import annotations

import base64
import io
import json
import os
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from support.command import VIDCTL, Outcome, vidctl
from support.scripted import Reply, Request, ok, serving
from support.shapes import encoded
from support.speech import SAMPLE_RATE, write_wav

FOUND = {"bbox": [1, 2, 30, 40], "confidence": 0.9, "class": 0, "class_name": "person"}
SAID = {"id": 0, "start": 0.5, "end": 1.0, "text": " hello.", "confidence": 0.9}


@dataclass
class Endpoint:
    """`asked` has every job's input; `found` is what is seen in each image.

    Images are as wide as 64 and their number, from 0; a job that begins with number `holds` or a later one never ends.
    There is no worker before `cold` questions for the endpoint's health.  `warnings` are in answers about audio, and to
    prompts.
    """

    folder: Path
    url: str = ""
    asked: list[dict[str, Any]] = field(default_factory=list)
    found: list[dict[str, Any]] = field(default_factory=lambda: [FOUND])
    holds: int = 1_000
    images: int = 0
    cold: int = 0
    warnings: Sequence[str] = ()

    def answer(self, request: Request) -> Reply:
        if request.path == "/ep/run":
            self.asked.append(json.loads(request.body)["input"])
            return ok({"id": f"job-{len(self.asked)}", "status": "IN_QUEUE"})
        if request.path.startswith(("/ep/status/", "/ep/stream/")):
            number = int(request.path.partition("job-")[2].partition("?")[0])
            asked = self.asked[number - 1]
            if self.cold:
                return ok({"id": f"job-{number}", "status": "IN_QUEUE"})
            if _first(asked) >= self.holds:
                return ok({"id": f"job-{number}", "status": "IN_PROGRESS"})
            return ok({"id": f"job-{number}", "status": "COMPLETED", "output": self._output(asked)})
        self.cold = max(0, self.cold - 1)
        return ok({"jobs": {"inQueue": 1}, "workers": {"idle": 0, "initializing": 1, "running": 0}})

    def _output(self, asked: dict[str, Any]) -> dict[str, Any]:
        told = {"warnings": [*self.warnings]} if self.warnings else {}
        if "audio" in asked:
            return {"transcription": [SAID], "language": "en", "language_probability": 0.9, **told}
        if "prompt" in asked:
            return {"response": f"answer {_first(asked)}", "finish_reason": "stop", **told}
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

    def start(
        self, command: str, *arguments: str | Path, stdout: int = subprocess.PIPE, before: Sequence[str] = ()
    ) -> subprocess.Popen[bytes]:
        """The same, while the test does something to it; `before` are words of a command that runs it."""
        return subprocess.Popen(
            [*before, *VIDCTL, command, *map(str, arguments), "--endpoint-id", "ep"],
            cwd=self.folder,
            env={**os.environ, **self.environ},
            stdin=subprocess.DEVNULL,
            stdout=stdout,
            stderr=subprocess.PIPE,
        )

    def image(self, *names: str) -> None:
        for name in names:
            (self.folder / name).parent.mkdir(parents=True, exist_ok=True)
            (self.folder / name).write_bytes(encoded(Image.new("RGB", (64 + self.images, 64), "teal")))
            self.images += 1

    def audio(self, *names: str) -> None:
        for number, name in enumerate(names):
            (self.folder / name).parent.mkdir(parents=True, exist_ok=True)
            noise = np.random.default_rng(number).normal(0, 3000, 2 * SAMPLE_RATE)
            write_wav(self.folder / name, noise.astype(np.int16))


def _first(asked: dict[str, Any]) -> int:
    """The number of a job's first image; -1 for audio."""
    for image in asked.get("images") or [asked.get("image")]:
        if isinstance(image, str):
            return Image.open(io.BytesIO(base64.b64decode(image))).width - 64
    return -1


@contextmanager
def answering(folder: Path) -> Iterator[Endpoint]:
    """Serve such an endpoint, for commands that run in the folder."""
    endpoint = Endpoint(folder)
    with serving(endpoint.answer) as server:
        endpoint.url = server.url
        yield endpoint
