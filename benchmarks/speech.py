"""Ten minutes of speech through `vidctl transcribe` on the local runtime, beside faster-whisper by itself."""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import wave
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from time import perf_counter
from typing import Any

import pytest
from images import free_port
from promises import Promise, print_table

from vidctl.local.workers import environments

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "tests"))

from support import scripted  # type: ignore[import-not-found]  # noqa: E402  the tests are not typed
from support import speech as recordings  # noqa: E402

WORKER = ROOT / "workers/whisper"
VIDCTL = str(Path(sys.executable).with_name("vidctl"))
MINUTES = 10
LONG_HOURS = 3
BATCHES = ("batches of 4", "batches of 8", "batches of 16")
ROUNDS = 3
# A process counts the memory of the one that started it as its own, so a small one has to start it.
PEAK_KB = """
import resource, subprocess, sys
subprocess.run(sys.argv[1:], stdout=subprocess.DEVNULL, check=True)
print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)
"""


@dataclass
class Runs:
    """The seconds of each run over the same file, and what the last one heard."""

    seconds: list[float] = field(default_factory=list)
    text: str = ""

    def add(self, seconds: float, text: str) -> None:
        self.seconds.append(seconds)
        self.text = text

    def row(self, name: str, reference: str) -> tuple[str, str, str, str]:
        least, most = min(self.seconds), max(self.seconds)
        accuracy = recordings.accuracy(reference, self.text)
        return name, f"{statistics.median(self.seconds):.1f}", f"{least:.1f} – {most:.1f}", f"{accuracy:.4f}"


def measure(scratch: Path) -> list[Promise]:
    """Print times, accuracies, bytes and memory, and judge them."""
    try:
        audio, said = recordings.speech(MINUTES * 60)
    except pytest.skip.Exception as missing:
        raise SystemExit(f"no speech to measure with: {missing}") from None
    model = recordings.weights()
    python = environments.interpreter(WORKER, {"MODEL": str(model)}, print)
    ten_minutes = recordings.write_wav(scratch / "ten-minutes.wav", audio)
    reference = " ".join(text for _, text in said)
    with runtime(scratch / "speech", model) as project:
        return [
            *measure_speed(project, python, model, ten_minutes, reference),
            *measure_size(project, ten_minutes),
            *measure_memory(project, ten_minutes, write_long(scratch / "long.wav", ten_minutes)),
        ]


@dataclass(frozen=True)
class Project:
    """A folder with a deployed endpoint, and the environment in which commands find its runtime."""

    root: Path
    environ: dict[str, str]

    def run(self, *command: str, **environ: str) -> str:
        merged = {**self.environ, **environ}
        done = subprocess.run(command, cwd=self.root, env=merged, capture_output=True, text=True, check=False)
        if done.returncode:
            raise SystemExit(f"{' '.join(command)} failed: {done.stderr}")
        return done.stdout

    def transcribe(self, file: Path) -> str:
        """The whole command, on a worker that is up; what it heard."""
        document = json.loads(self.run(VIDCTL, "transcribe", str(file), "--json", "--target", "local"))
        return str(document["results"][0]["text"])


@contextmanager
def runtime(root: Path, model: Path) -> Iterator[Project]:
    """A local runtime of its own with the whisper worker, gone at the end."""
    (root / "configs").mkdir(parents=True)
    foreign = ("RUNPOD_", "VIDCTL_TARGET")
    environ = {name: value for name, value in os.environ.items() if not name.startswith(foreign)}
    environ |= {"VIDCTL_STATE_DIR": str(root / "state"), "VIDCTL_LOCAL_PORT": str(free_port())}
    spec = {
        "name": "benchmark",
        "task": "transcribe",
        "image": {"build": str(WORKER)},
        "gpu": "L4",
        "workers": {"min": 0, "max": 1},
        "timeouts": {"idle": "1h", "execution": "30m"},
        "env": {"MODEL": str(model), "COMPUTE_TYPE": "int8", "THREADS": str(os.cpu_count() or 1)},
        "smoke": {"input": str(WORKER / "test_input.json"), "contains": {}},
    }
    (root / "configs/benchmark.yaml").write_text(json.dumps(spec))
    project = Project(root, environ)
    try:
        project.run(VIDCTL, "deploy", "benchmark", "--target", "local", "--quiet")
        yield project
    finally:
        project.run(VIDCTL, "local", "down")


def measure_speed(project: Project, python: Path, model: Path, file: Path, reference: str) -> list[Promise]:
    """`vidctl transcribe` against faster-whisper's two ways, all warm: same file, model, threads, beams."""
    vidctl, sequential, batched = Runs(), Runs(), Runs()
    with in_one_process(python, model, file) as listen:
        best = min(BATCHES, key=lambda way: listen(way, Runs()))
        project.transcribe(file)
        for _ in range(ROUNDS):
            begin = perf_counter()
            text = project.transcribe(file)
            vidctl.add(perf_counter() - begin, text)
            listen("sequential", sequential)
            listen(best, batched)
    print_table(
        f"{MINUTES} minutes of speech, whisper-base, int8, {os.cpu_count()} threads, 5 beams: {ROUNDS} turns",
        ("", "seconds", "least – most", "word accuracy"),
        [
            vidctl.row("vidctl transcribe, the whole command", reference),
            sequential.row("WhisperModel.transcribe, warm", reference),
            batched.row(f"BatchedInferencePipeline ({best}), warm", reference),
        ],
    )
    heard, wanted = (recordings.accuracy(reference, runs.text) for runs in (vidctl, sequential))
    return [
        Promise("vidctl transcribe against sequential faster-whisper", "at most", 0.55, ratio(vidctl, sequential)),
        Promise("… against its batched pipeline", "at most", 1.15, ratio(vidctl, batched)),
        Promise("… its word accuracy, beside sequential", "at least", round(wanted, 4), round(heard, 4), ""),
    ]


def ratio(one: Runs, other: Runs) -> float:
    return statistics.median(a / b for a, b in zip(one.seconds, other.seconds, strict=True))


@contextmanager
def in_one_process(python: Path, model: Path, file: Path) -> Iterator[Any]:
    """Give what transcribes the file in one way, adds it to the runs and tells the seconds."""
    words = [python, ROOT / "benchmarks/speech_in_one_process.py", model, os.cpu_count() or 1, file]
    command = [str(word) for word in words]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        if process.stdin is None or process.stdout is None or not process.stdout.readline():
            raise SystemExit("faster-whisper's process ended")
        asks, answers = process.stdin, process.stdout

        def listen(way: str, runs: Runs) -> float:
            print(way, file=asks, flush=True)
            answer: dict[str, Any] = json.loads(answers.readline())
            runs.add(answer["seconds"], answer["text"])
            return runs.seconds[-1]

        yield listen
        process.kill()


def measure_size(project: Project, file: Path) -> list[Promise]:
    """The bodies of all requests of one transcription, as a proxy before the runtime sees them."""
    found = json.loads(project.run(VIDCTL, "local", "env", "--json"))
    behind = found["RUNPOD_ENDPOINT_BASE_URL"]
    with scripted.serving(lambda request: scripted.forward(request, behind)) as server:
        asked = {**found, "RUNPOD_ENDPOINT_BASE_URL": server.url}
        (endpoint,) = json.loads(project.run(VIDCTL, "list", "--json", "--target", "local"))
        project.run(VIDCTL, "transcribe", str(file), "--target", "runpod", "--endpoint-id", endpoint["id"], **asked)
        sent_mb = sum(len(request.body) for request in server.requests) / 1e6
    return [Promise("… what it sends of a minute", "at most", 0.3, sent_mb / MINUTES, "MB")]


def measure_memory(project: Project, short: Path, long: Path) -> list[Promise]:
    promises = []
    for file, length in ((short, f"{MINUTES} minutes"), (long, f"{LONG_HOURS} hours")):
        command = [VIDCTL, "transcribe", str(file), "--target", "local"]
        peak_kb = int(project.run(sys.executable, "-c", PEAK_KB, *command))
        promises.append(Promise(f"… its memory, {length}", "at most", 150, peak_kb * 1024 / 1e6, "MB"))
    return promises


def write_long(path: Path, speech: Path) -> Path:
    """Hours of silence, with the speech at both ends."""
    with wave.open(str(speech)) as source, wave.open(str(path), "wb") as target:
        target.setparams(source.getparams())
        spoken = source.readframes(source.getnframes())
        silent_minutes = LONG_HOURS * 60 - 2 * MINUTES
        target.writeframes(spoken)
        for _ in range(silent_minutes):
            target.writeframes(bytes(2 * 60 * source.getframerate()))
        target.writeframes(spoken)
    return path
