"""200 photographs through `vidctl detect` on the local runtime, beside Ultralytics by itself on the same machine."""

from __future__ import annotations

import json
import os
import re
import socket
import statistics
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, Any

from promises import Promise, print_table

if TYPE_CHECKING:
    from collections.abc import Mapping
    from types import TracebackType

ROOT = Path(__file__).resolve().parent.parent
HERE = ROOT / "benchmarks"
WORKER = ROOT / "workers/yolo"
WAYS = ("stream", "stream in batches", "list in batches")
ROUNDS = 5
_COUNTED = re.compile(rb"image (\d+)/(\d+) ")


@dataclass
class Runs:
    """The seconds of each run over the same number of images, and how many objects the last one found."""

    images: int
    seconds: list[float] = field(default_factory=list)
    objects: int = 0

    @property
    def rate(self) -> float:
        return self.images / statistics.median(self.seconds)

    def row(self, name: str, details: str = "") -> tuple[str, str, str, str]:
        rates = sorted(self.images / seconds for seconds in self.seconds)
        return name, f"{self.rate:.1f}", f"{rates[0]:.1f} – {rates[-1]:.1f}", details or f"{self.objects} objects"


@dataclass(frozen=True)
class Bench:
    """What all runs share: the photographs, scratch space, the worker's Python, Ultralytics' environment, threads."""

    photographs: Path
    scratch: Path
    worker_python: Path
    ultralytics_env: Mapping[str, str]
    threads: int
    rounds: int

    @property
    def count(self) -> int:
        return len(list(self.photographs.iterdir()))


def measure(bench: Bench, weights: Path, label: str, form: str, *, is_judged: bool) -> list[Promise]:
    """`vidctl detect` against `model.predict`, both warm, with the same weights, format, size and threads."""
    with Runtime(bench) as runtime, InOneProcess(bench, weights, form) as ultralytics:
        runtime.deploy(weights, form)
        vidctl, predict = Runs(bench.count), Runs(bench.count)
        runtime.detect(Runs(bench.count))
        way = min(WAYS, key=lambda name: min(ultralytics.predict(name, Runs(bench.count)) for _ in range(2)))
        ratios = []
        for _ in range(bench.rounds):
            runtime.detect(vidctl)
            ultralytics.predict(way, predict)
            ratios.append(predict.seconds[-1] / vidctl.seconds[-1])
    print_table(
        f"{label}, {form}, {bench.threads} threads: {bench.count} photographs of 1280x720, {bench.rounds} turns",
        ("", "images/s", "least – most", ""),
        [vidctl.row("vidctl detect, the whole command"), predict.row(f"model.predict ({way}), warm")],
    )
    what = f"vidctl detect against model.predict: {label}, {form}"
    return [Promise(what, "at least", 0.9, statistics.median(ratios))] if is_judged else []


def measure_as_typed(bench: Bench, weights: Path, label: str, *, is_judged: bool) -> list[Promise]:
    """`vidctl detect` with the worker's own choices against `yolo predict` as a user would type it."""
    with Runtime(bench) as runtime:
        runtime.deploy(weights, "auto")
        vidctl, whole, loop = Runs(bench.count), Runs(bench.count), Runs(bench.count - 1)
        runtime.detect(Runs(bench.count))
        ratios = []
        for _ in range(bench.rounds):
            runtime.detect(vidctl)
            yolo_predict(bench, weights, whole, loop)
            ratios.append((vidctl.images / vidctl.seconds[-1]) / (loop.images / loop.seconds[-1]))
    print_table(
        f"{label}, as typed: {bench.count} photographs of 1280x720, {bench.rounds} turns",
        ("", "images/s", "least – most", ""),
        [
            vidctl.row("vidctl detect, the whole command"),
            whole.row("yolo predict, the whole command", "with its start"),
            loop.row("yolo predict, from its first image to its last", "what is promised against"),
        ],
    )
    what = f"vidctl detect against yolo predict's loop: {label}"
    return [Promise(what, "at least", 1.5, statistics.median(ratios))] if is_judged else []


def yolo_predict(bench: Bench, weights: Path, whole: Runs, loop: Runs) -> None:
    """Run it with its defaults; when an image is done is seen by the line that it prints."""
    typed = ["predict", f"model={weights}", f"source={bench.photographs}", "imgsz=640"]
    begin = perf_counter()
    with subprocess.Popen(
        [bench.worker_python, HERE / "yolo_command.py", *typed],
        cwd=bench.scratch,
        env=bench.ultralytics_env,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    ) as process:
        printed = [perf_counter() for line in process.stdout or () if _COUNTED.match(line)]
    if process.returncode or len(printed) != whole.images:
        raise SystemExit(f"yolo predict ended with status {process.returncode} after {len(printed)} images")
    whole.seconds.append(perf_counter() - begin)
    loop.seconds.append(printed[-1] - printed[0])


class InOneProcess:
    """A warm model in a process of its own."""

    def __init__(self, bench: Bench, weights: Path, form: str) -> None:
        threads = str(bench.threads)
        self._process = subprocess.Popen(
            [bench.worker_python, HERE / "in_one_process.py", weights, form, threads, bench.photographs],
            cwd=bench.scratch,
            env={**bench.ultralytics_env, "OMP_NUM_THREADS": threads},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )

    def __enter__(self) -> InOneProcess:
        self._read()  # that it is ready
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._process.kill()
        self._process.communicate()

    def predict(self, way: str, runs: Runs) -> float:
        if self._process.stdin is None:
            raise SystemExit("Ultralytics has no input")
        print(way, file=self._process.stdin, flush=True)
        answer = self._read()
        runs.seconds.append(answer["seconds"])
        runs.objects = answer["objects"]
        return runs.seconds[-1]

    def _read(self) -> dict[str, Any]:
        """The next answer; what Ultralytics itself prints comes between."""
        for line in self._process.stdout or ():
            if line.startswith("{"):
                answer: dict[str, Any] = json.loads(line)
                return answer
        raise SystemExit("Ultralytics' process ended")


class Runtime:
    """A local runtime of its own, with one endpoint; gone at the end."""

    def __init__(self, bench: Bench) -> None:
        self._bench = bench
        self._project = bench.scratch / "project"
        self._environ = {
            **{name: value for name, value in os.environ.items() if not name.startswith(("RUNPOD_", "VIDCTL_YOLO"))},
            "VIDCTL_STATE_DIR": str(bench.scratch / "state"),
            "VIDCTL_LOCAL_PORT": str(free_port()),
        }

    def __enter__(self) -> Runtime:
        (self._project / "configs").mkdir(parents=True, exist_ok=True)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._vidctl("local", "down")

    def deploy(self, weights: Path, form: str) -> None:
        spec = {
            "name": "benchmark",
            "task": "detect",
            "image": {"build": str(WORKER), "repository": "example/yolo"},
            "gpu": "L4",
            "workers": {"min": 0, "max": 1},
            "timeouts": {"idle": "1h", "execution": "10m"},
            "env": {"MODEL": str(weights), "FORMAT": form, "THREADS": str(self._bench.threads)},
            "smoke": {"input": str(WORKER / "test_input.json"), "contains": {}},
        }
        (self._project / "configs/benchmark.yaml").write_text(json.dumps(spec))
        self._vidctl("deploy", "benchmark", "--target", "local", "--quiet")

    def detect(self, runs: Runs) -> float:
        """The whole command, its start too, on a worker that is up."""
        begin = perf_counter()
        said = self._vidctl("detect", str(self._bench.photographs), "--json", "--target", "local")
        runs.seconds.append(perf_counter() - begin)
        results: list[dict[str, Any]] = json.loads(said)["results"]
        runs.objects = sum(result["count"] for result in results)
        if len(results) != runs.images:
            raise SystemExit(f"vidctl detect answered for {len(results)} of {runs.images} images")
        return runs.seconds[-1]

    def _vidctl(self, *arguments: str) -> bytes:
        command = [str(Path(sys.executable).with_name("vidctl")), *arguments]
        done = subprocess.run(command, cwd=self._project, env=self._environ, capture_output=True, check=False)
        if done.returncode:
            raise SystemExit(f"vidctl {' '.join(arguments)} failed: {done.stderr.decode()}")
        return done.stdout


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
