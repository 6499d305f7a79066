"""Workers as the local runtime runs them: in their own environment, driven over a pipe."""

from __future__ import annotations

import importlib
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from support import speech, vision

from vidctl.errors import LocalRuntimeError
from vidctl.local.workers import environments

ROOT = Path(__file__).resolve().parents[2]
DRIVER = ROOT / "tests/support/handler_driver.py"
YOLO = ROOT / "workers/yolo"
WHISPER = ROOT / "workers/whisper"
SHAPES = ROOT / "tests/data/shapes.pt"


class Driven:
    """One worker process; `ask` sends jobs that start together and gives their answers in the same order."""

    def __init__(self, python: Path, folder: Path, env: Mapping[str, str]) -> None:
        surroundings = {"PATH": os.environ["PATH"], "XDG_CACHE_HOME": str(environments.cache_home(folder)), **env}
        self._process = subprocess.Popen(
            [python, DRIVER, folder], stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=folder, env=surroundings
        )
        self._sent = 0
        assert {"ready": True} == self._read()

    @property
    def pid(self) -> int:
        return self._process.pid

    def ask(self, *inputs: Any) -> list[Any]:
        ids = self.send(*inputs)
        answers = dict(self.receive() for _ in ids)
        return [answers[one]["output"] for one in ids]

    def send(self, *inputs: Any) -> list[str]:
        first, self._sent = self._sent, self._sent + len(inputs)
        jobs = [{"id": str(first + position), "input": job_input} for position, job_input in enumerate(inputs)]
        self._write(jobs)
        return [job["id"] for job in jobs]

    def cancel(self, job_id: str) -> None:
        self._write({"id": job_id, "cancel": True})

    def receive(self) -> tuple[str, dict[str, Any]]:
        answer = self._read()
        return answer["id"], answer

    def status(self) -> int:
        """Wait until it has ended by itself; its exit status."""
        return self._process.wait(60)

    def close(self) -> None:
        with suppress(BrokenPipeError):  # of one that has ended
            self._process.communicate(timeout=60)

    def _write(self, value: Any) -> None:
        self._process.stdin.write(json.dumps(value).encode() + b"\n")
        self._process.stdin.flush()

    def _read(self) -> dict[str, Any]:
        line = self._process.stdout.readline()
        assert line, f"the worker ended with status {self._process.wait(10)}"
        return json.loads(line)


def _python(request: pytest.FixtureRequest, folder: Path, env: Mapping[str, str]) -> Path:
    """The Python of a worker's own environment, made when it is not in the cache."""
    capture = request.config.pluginmanager.getplugin("capturemanager")

    def notify(line: str) -> None:
        with capture.global_and_fixture_disabled():
            sys.stderr.write(f"  {line}\n")

    try:
        return environments.interpreter(folder, env, notify)
    except LocalRuntimeError as error:
        pytest.skip(f"the {folder.name} worker's environment cannot be made: {error}")


@contextmanager
def _drives(python: Path, folder: Path, model: Path) -> Iterator[Callable[..., Driven]]:
    """Start workers of a folder on a model, with more variables if need be; one process for each set of them."""
    started: dict[tuple[tuple[str, str], ...], Driven] = {}

    def drive(**env: str) -> Driven:
        key = tuple(sorted(env.items()))
        if key not in started:
            started[key] = Driven(python, folder, {"MODEL": str(model), **env})
        return started[key]

    yield drive
    for worker in started.values():
        worker.close()


def _loader(folder: Path) -> Callable[[str], ModuleType]:
    """Import a worker's light modules here, by their own names for each other but hidden from everybody else."""
    names = {path.stem for path in folder.glob("*.py")}
    loaded: dict[str, ModuleType] = {}

    def load(name: str) -> ModuleType:
        sys.modules.update(loaded)
        sys.path.insert(0, str(folder))
        try:
            return importlib.import_module(name)
        finally:
            sys.path.remove(str(folder))
            loaded.update({one: sys.modules.pop(one) for one in names & sys.modules.keys()})

    return load


@pytest.fixture(scope="session")
def yolo_python(request: pytest.FixtureRequest) -> Path:
    """The Python of the yolo worker's environment."""
    return _python(request, YOLO, {"MODEL": str(SHAPES)})


@pytest.fixture(scope="session")
def drive_yolo(yolo_python: Path) -> Iterator[Callable[..., Driven]]:
    """Start a yolo worker on the shapes model, with more variables if need be."""
    with _drives(yolo_python, YOLO, SHAPES) as drive:
        yield drive


@pytest.fixture(scope="session")
def yolo(drive_yolo: Callable[..., Driven]) -> Driven:
    """The yolo worker as a CPU has it: OpenVINO, all cores."""
    return drive_yolo()


@pytest.fixture(scope="session")
def yolo_module() -> Callable[[str], ModuleType]:
    """Import one of the yolo worker's light modules here."""
    return _loader(YOLO)


@pytest.fixture(scope="session")
def whisper_python(request: pytest.FixtureRequest) -> Path:
    """The Python of the whisper worker's environment."""
    return _python(request, WHISPER, {"MODEL": str(speech.weights())})


@pytest.fixture(scope="session")
def drive_whisper(whisper_python: Path) -> Iterator[Callable[..., Driven]]:
    """Start a whisper worker on the real base model, with more variables if need be."""
    with _drives(whisper_python, WHISPER, speech.weights()) as drive:
        yield drive


@pytest.fixture(scope="session")
def whisper(drive_whisper: Callable[..., Driven]) -> Driven:
    """The whisper worker as a CPU has it: int8, all cores."""
    return drive_whisper()


@pytest.fixture(scope="session")
def whisper_module() -> Callable[[str], ModuleType]:
    """Import one of the whisper worker's light modules here."""
    return _loader(WHISPER)


@pytest.fixture(scope="session")
def qwen_python(request: pytest.FixtureRequest) -> Path:
    """The Python of the qwen-vl worker's environment, the engine's made too."""
    return _python(request, vision.WORKER, _qwen_variables())


@pytest.fixture(scope="session")
def drive_qwen(qwen_python: Path) -> Iterator[Callable[..., Driven]]:
    """Start a qwen-vl worker on the tiny model, with more variables if need be."""
    with _drives(qwen_python, vision.WORKER, vision.weights()) as drive:
        yield lambda **env: drive(**{**_qwen_variables(), **env})


@pytest.fixture(scope="session")
def qwen_variables() -> dict[str, str]:
    """What a qwen-vl worker of the tests is told."""
    return _qwen_variables()


def _qwen_variables() -> dict[str, str]:
    """The tiny model under the real one's name, and four images a job."""
    return {
        "MODEL_NAME": str(vision.weights()),
        "OPENAI_SERVED_MODEL_NAME_OVERRIDE": "Qwen/Qwen3-VL-8B-Instruct",
        "ENGINE_PYTHON": str(vision.engine_python()),
        "MAX_MODEL_LEN": "16384",
        "MAX_IMAGES": "4",
        "VLLM_CPU_KVCACHE_SPACE": "1",
    }


@pytest.fixture(scope="session")
def qwen_module() -> Callable[[str], ModuleType]:
    """Import one of the qwen-vl worker's light modules here."""
    return _loader(vision.WORKER)
