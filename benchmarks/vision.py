"""Sixteen jobs through the local runtime beside the same sixteen asked of their engine itself; and the first token.

The model is tiny and random: the engine is real, so these are the costs of everything around it.
"""

from __future__ import annotations

import asyncio
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import aiohttp
import pexpect
import pytest
from images import free_port
from promises import Promise, print_table
from speech import VIDCTL, Project

ROOT = Path(__file__).resolve().parent.parent

from support import vision  # type: ignore[import-not-found]  # noqa: E402  the tests are not typed

JOBS = 16
TOKENS = 200
ROUNDS = 15  # of half a second each, some of which the engine stalls in
MODEL = "Qwen/Qwen3-VL-8B-Instruct"
CONTEXT = 4096
WAIT_MS = 300_000  # the most that RunPod's /runsync waits for a job, as the engine does


@dataclass
class Rates:
    """Tokens a second of each turn."""

    alone: list[float] = field(default_factory=list)
    together: list[float] = field(default_factory=list)

    def row(self, name: str) -> tuple[str, str, str, str]:
        alone, together = (statistics.median(one) for one in (self.alone, self.together))
        return name, f"{alone:.0f}", f"{together:.0f}", f"{min(self.together):.0f} – {max(self.together):.0f}"


def measure(scratch: Path) -> list[Promise]:
    """Print rates and times, and judge them."""
    try:
        python, model = vision.engine_python(), vision.weights()
    except pytest.skip.Exception as missing:
        raise SystemExit(f"no engine to measure with: {missing}") from None
    in_process = json.loads(alone_in(python, model))
    with TemporaryDirectory(prefix="v") as place, runtime(scratch / "vision", model, Path(place)) as project:
        socket = vision.engine_socket(Path(place))
        promises = asyncio.run(measure_rates(project, socket, in_process))
        return [*promises, *measure_first_token(project, socket)]


def alone_in(python: Path, model: Path) -> str:
    command = [str(python), str(ROOT / "benchmarks/engine_in_process.py"), str(model), str(TOKENS), str(JOBS)]
    told = {**os.environ, "PYTHONPATH": str(vision.WORKER / "engine/startup")}
    done = subprocess.run(command, env=told, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"vLLM in one process failed: {done.stderr[-2000:]}")
    return done.stdout.splitlines()[-1]


@contextmanager
def runtime(root: Path, model: Path, place: Path) -> Iterator[Project]:
    """A local runtime of its own with the qwen-vl worker, gone at the end; temporary files are in `place`."""
    (root / "configs").mkdir(parents=True)
    foreign = ("RUNPOD_", "VIDCTL_TARGET")
    environ = {name: value for name, value in os.environ.items() if not name.startswith(foreign)}
    environ |= {"VIDCTL_STATE_DIR": str(root / "state"), "VIDCTL_LOCAL_PORT": str(free_port()), "TMPDIR": str(place)}
    spec = {
        "name": "benchmark",
        "task": "describe",
        "image": {"build": str(vision.WORKER)},
        "gpu": "A100",
        "workers": {"min": 0, "max": 1},
        "timeouts": {"idle": "1h", "execution": "10m"},
        "env": {
            "MODEL_NAME": str(model),
            "OPENAI_SERVED_MODEL_NAME_OVERRIDE": MODEL,
            "MAX_MODEL_LEN": str(CONTEXT),
            "VLLM_CPU_KVCACHE_SPACE": "1",
            "REQUEST_TIMEOUT": "300",
        },
        "smoke": {"input": str(vision.WORKER / "test_input.json"), "contains": {}},
    }
    (root / "configs/benchmark.yaml").write_text(json.dumps(spec))
    (root / "frame.png").write_bytes(vision.image())
    project = Project(root, environ)
    try:
        began = time.perf_counter()
        project.run(VIDCTL, "deploy", "benchmark", "--target", "local", "--quiet")
        print(f"\nfrom `vidctl deploy` to the smoke test's answer: {time.perf_counter() - began:.1f} s", flush=True)
        yield project
    finally:
        project.run(VIDCTL, "local", "down")


async def measure_rates(project: Project, socket: Path, in_process: dict[str, float]) -> list[Promise]:
    """One job after the other and all at once, by turns: the engine asked on its socket, and through the runtime."""
    direct, through = Rates(), Rates()
    found = json.loads(project.run(VIDCTL, "local", "env", "--json"))
    (endpoint,) = json.loads(project.run(VIDCTL, "list", "--json", "--target", "local"))
    url = f"{found['RUNPOD_ENDPOINT_BASE_URL']}/{endpoint['id']}"
    headers = {"Authorization": f"Bearer {found['RUNPOD_API_KEY']}"}
    # vLLM closes a connection that it keeps after 5 s, which may be while the next request is written into it.
    connector = aiohttp.UnixConnector(str(socket), limit=0, force_close=True)
    async with (
        aiohttp.ClientSession(connector=connector) as engine,
        aiohttp.ClientSession(headers=headers, connector=aiohttp.TCPConnector(limit=0)) as runpod,
    ):
        ways: list[tuple[Callable[[int], Awaitable[int]], Rates]] = [
            (lambda number: ask_engine(engine, number), direct),
            (lambda number: ask_runtime(runpod, url, number), through),
        ]
        for ask, _ in ways:
            await asyncio.gather(*(ask(number) for number in range(JOBS)))
        for _ in range(ROUNDS):
            for ask, rates in ways:
                rates.alone.append(await rate(ask, 2, together=False))
            for ask, rates in ways:
                rates.together.append(await rate(ask, JOBS, together=True))
    print_table(
        f"{JOBS} jobs of {TOKENS} tokens, tokens a second: {ROUNDS} turns",
        ("", "one at a time", f"{JOBS} at once", "least – most"),
        [
            (
                "vLLM in the asking process (AsyncLLM)",
                f"{in_process['alone']:.0f}",
                f"{in_process['together']:.0f}",
                "",
            ),
            direct.row("vllm serve, asked on its socket"),
            through.row("through the local runtime, RunPod's SDK and the worker"),
        ],
    )
    start_s, first_s = in_process["start_s"], in_process["first_s"]
    print(f"\nAsyncLLM was ready after {start_s:.1f} s; an image's first token took it {first_s:.3f} s")
    beside_direct = statistics.median(a / b for a, b in zip(through.together, direct.together, strict=True))
    beside_alone = statistics.median(a / b for a, b in zip(through.together, through.alone, strict=True))
    return [
        Promise(f"{JOBS} jobs at once through the runtime, against one at a time", "at least", 4, beside_alone),
        Promise("… against the same asked of vllm serve", "at least", 0.8, beside_direct),
    ]


async def rate(ask: Callable[[int], Awaitable[int]], jobs: int, *, together: bool) -> float:
    began = time.perf_counter()
    if together:
        made = sum(await asyncio.gather(*(ask(number) for number in range(jobs))))
    else:
        made = sum([await ask(number) for number in range(jobs)])
    return made / (time.perf_counter() - began)


async def ask_engine(session: aiohttp.ClientSession, number: int) -> int:
    body = {
        "model": MODEL,
        "messages": [{"role": "user", "content": f"Tell me {number}."}],
        "max_tokens": TOKENS,
        "temperature": 1.0,
        "seed": number,
        "ignore_eos": True,
    }
    async with session.post("http://engine/v1/chat/completions", json=body) as response:
        return int((await response.json())["usage"]["completion_tokens"])


async def ask_runtime(session: aiohttp.ClientSession, url: str, number: int) -> int:
    job_input = {
        "prompt": f"Tell me {number}.",
        "max_tokens": TOKENS,
        "temperature": 1.0,
        "seed": number,
        "sampling_params": vision.EXACTLY,
    }
    async with session.post(f"{url}/runsync?wait={WAIT_MS}", json={"input": job_input}) as response:
        job: dict[str, Any] = await response.json()
    if job["status"] != "COMPLETED":
        raise SystemExit(f"a job ended as {job}")
    return int(job["output"]["completion_tokens"])


def measure_first_token(project: Project, socket: Path) -> list[Promise]:
    """From the start of the command to the first letter on a terminal, beside the engine's own first token."""
    commands, engine = [], []
    for _ in range(ROUNDS + 1):
        commands.append(first_letter_s(project))
        engine.append(asyncio.run(first_event_s(socket)))
    commands, engine = commands[1:], engine[1:]
    begin_s = statistics.median(time_of([VIDCTL, "--version"], project) for _ in range(ROUNDS))
    over = statistics.median(a - b for a, b in zip(commands, engine, strict=True))
    rows = [
        ("the engine, asked on its socket", f"{statistics.median(engine):.3f}"),
        ("vidctl describe on a terminal, from its start", f"{statistics.median(commands):.3f}"),
        ("… of which `vidctl --version` takes", f"{begin_s:.3f}"),
    ]
    print_table("An image's first token", ("", "seconds"), rows)
    return [Promise("the first token on a terminal, over the engine's own", "at most", 0.5, over, "s")]


def first_letter_s(project: Project) -> float:
    command = ["describe", "frame.png", "Tell me.", "--target", "local", "--max-tokens", "64", "--temperature", "1"]
    child = pexpect.spawn(VIDCTL, command, cwd=str(project.root), env={**project.environ, "TERM": "dumb"}, timeout=60)
    began = time.perf_counter()
    child.expect(r"\S")
    took_s = time.perf_counter() - began
    child.expect(pexpect.EOF)
    child.close()
    if child.exitstatus:
        raise SystemExit(f"vidctl describe failed: {child.before!r}")
    return took_s


async def first_event_s(socket: Path) -> float:
    url = f"data:image/png;base64,{vision.encoded(vision.image())}"
    content = [{"type": "image_url", "image_url": {"url": url}}, {"type": "text", "text": "Tell me."}]
    body = {"model": MODEL, "messages": [{"role": "user", "content": content}], "max_tokens": 64, "stream": True}
    async with aiohttp.ClientSession(connector=aiohttp.UnixConnector(str(socket))) as session:
        began = time.perf_counter()
        async with session.post("http://engine/v1/chat/completions", json=body) as response:
            async for line in response.content:
                event = json.loads(line[5:]) if line.startswith(b"data: {") else {}
                if any((choice["delta"].get("content") or "").strip() for choice in event.get("choices", ())):
                    break
        return time.perf_counter() - began


def time_of(command: list[str], project: Project) -> float:
    began = time.perf_counter()
    project.run(*command)
    return time.perf_counter() - began


if __name__ == "__main__":
    sys.exit("part of `make bench`: python benchmarks/run.py vision")
