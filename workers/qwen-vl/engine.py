"""The engine: vLLM's OpenAI server as a child of this process."""

from __future__ import annotations

import asyncio
import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import threading
from collections import deque
from contextlib import suppress
from pathlib import Path
from time import monotonic
from typing import Any

from environment import Settings, engine_environment
from server import Facts, Server
from variables import StartError

SERVE = Path(__file__).resolve().parent / "engine" / "serve.py"
MARK = "engine: "  # as engine/serve.py writes it
LAST_LINES = 200
STOP_GRACE_S = 10.0
POLL_S = 0.25
# Of vLLM's log: its name in large letters, and every address it answers at.
NOISE = re.compile(r"Route: /|api_utils\.py:\d+\]( *[█▄▀ ]|$)|Available routes are")

# What a line of vLLM's log means when it is the last thing that it says, the likeliest first.
REASONS = (
    (r"Failed core proc\(s\): \{[^}]*-9\b", "the engine was killed: the machine has too little memory for the model"),
    (r"out of memory|No available memory for the cache|KV cache.*larger than|Free memory on device|MemoryError",
     "the memory does not hold the model: take a GPU with more, or lower MAX_MODEL_LEN or GPU_MEMORY_UTILIZATION"),
    (r"driver.*too old|driver version is insufficient|no kernel image|no NVIDIA driver|forward compatibility",
     "this machine's NVIDIA driver is too old for the image: request newer ones with `cuda:` in the spec"),
    (r"No space left on device", "the disk is full: give the endpoint a larger one"),
    (r"max_model_len.*greater than|maximum model length|max seq len",
     "MAX_MODEL_LEN is more than the model or the memory can hold"),
    (r"unrecognized arguments|invalid choice|argument --", "VLLM_EXTRA_ARGS has an argument that vLLM does not know"),
)  # fmt: skip


def arguments(settings: Settings, socket: str) -> list[str]:
    """The arguments of vLLM's server.  Images come in the request alone: it fetches nothing by itself."""
    wanted: dict[str, object] = {
        "--model": settings.model,
        "--revision": settings.revision,
        "--tokenizer": "" if settings.tokenizer == settings.model else settings.tokenizer,
        "--served-model-name": settings.name,
        "--uds": socket,
        "--dtype": settings.dtype,
        "--max-model-len": settings.max_model_len,
        "--gpu-memory-utilization": settings.gpu_memory_utilization,
        "--tensor-parallel-size": settings.tensor_parallel_size,
        "--limit-mm-per-prompt": json.dumps({"image": settings.max_images, "video": 0}),
        "--allowed-media-domains": "none.invalid",
        # A model that is held to JSON may else fill its answer with blanks.
        "--structured-outputs-config": json.dumps({"backend": "xgrammar", "disable_any_whitespace": True}),
    }
    pairs = [(name, str(value)) for name, value in wanted.items() if value not in (None, "")]
    return [*(word for pair in pairs for word in pair), "--disable-uvicorn-access-log", *settings.engine_arguments]


class Engine:
    """vLLM as a child process, which is started, listened to, and ended with us."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._last: deque[str] = deque(maxlen=LAST_LINES)
        self._limits: dict[str, Any] = {}
        self._folder = tempfile.TemporaryDirectory(prefix="engine-")  # a socket's path must be short
        self._socket = str(Path(self._folder.name) / "s")
        self._process: subprocess.Popen[bytes] | None = None
        self.is_stopping = False
        self._reader = threading.Thread(target=self._listen, daemon=True)

    def server(self) -> Server:
        """A client of it, for one event loop."""
        return Server("http://engine/v1", socket=self._socket)

    def start(self) -> None:
        """Start it; `ready` waits for it."""
        environment = {**engine_environment(os.environ), "ENGINE_PARENT": str(os.getpid())}
        # A group of its own: who ends the handler's lets its jobs finish first.
        try:
            self._process = subprocess.Popen(
                [self._settings.engine_python, "-u", str(SERVE), *arguments(self._settings, self._socket)],
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        except OSError as error:
            python = self._settings.engine_python
            raise StartError(f"ENGINE_PYTHON: {python} cannot be run: {error.strerror}") from error
        self._reader.start()

    async def ready(self) -> Facts:
        """Wait until it answers; raise StartError, with the reason, when it ends or takes too long."""
        async with self.server() as server:
            return await self._ready(server)

    async def _ready(self, server: Server) -> Facts:
        began = monotonic()
        while not await server.is_healthy():
            if self._process is None or self._process.poll() is not None:
                raise StartError(self.reason())
            if 0 < self._settings.startup_timeout_s < monotonic() - began:
                self.stop()
                raise StartError(
                    f"the model was not loaded after {self._settings.startup_timeout_s:g} s (VLLM_STARTUP_TIMEOUT)"
                )
            await asyncio.sleep(POLL_S)
        models = (await server.get("/v1/models"))["data"]
        model = next((one for one in models if one["id"] == self._settings.name), None)
        if model is None:
            raise StartError("VLLM_EXTRA_ARGS names the model: OPENAI_SERVED_MODEL_NAME_OVERRIDE is for that")
        limits = {name: self._limits[name] for name in ("min_pixels", "max_pixels") if name in self._limits}
        version = await server.version()
        return Facts(self._settings.name, f"vllm {version}", True, model.get("max_model_len"), **limits)

    def ended(self) -> int:
        """Wait until it has ended, in a thread; its exit status.  Nothing that it started is left."""
        if self._process is None:
            return 0
        status = self._process.wait()
        # vLLM's other processes, which have the GPU's memory, outlive a server that was killed.
        with suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._reader.join(5)
        return status

    def stop(self) -> None:
        """End it and all that it started."""
        self.is_stopping = True
        if self._process is None:
            return
        if self._process.poll() is None:
            self._process.terminate()  # it ends its own processes; told all at once, they report each other's death
            with suppress(subprocess.TimeoutExpired):
                self._process.wait(STOP_GRACE_S)
        with suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)

    def reason(self) -> str:
        """Why it ended, in one sentence, by its last words."""
        self._reader.join(5)
        status = self._process.poll() if self._process else None
        lines = list(self._last)
        if reason := next((line for line in reversed(lines) if line.startswith(f"{MARK}cannot start: ")), None):
            return reason.removeprefix(f"{MARK}cannot start: ")
        if status == -signal.SIGKILL:
            return "the engine was killed: the machine has too little memory for the model"
        error = next((line for line in reversed(lines) if re.search(r"^(\S*?)?\w*(Error|Exception)\b.*?: .", line)), "")
        for pattern, sentence in REASONS:
            if found := next((line for line in reversed(lines) if re.search(pattern, line, re.IGNORECASE)), None):
                return f"{sentence} ({_short(found)})"
        return f"the engine ended with status {status}: {_short(error) or 'it gave no reason'}"

    def _listen(self) -> None:
        """Pass on what it says, line by line; a progress bar that is drawn over and over is told at each tenth."""
        if self._process is None or self._process.stdout is None:
            return
        bar: tuple[str, ...] = ()
        for raw in self._process.stdout:
            for line in raw.decode("utf-8", "replace").replace("\r", "\n").split("\n"):
                if not line.strip() or NOISE.search(line):
                    continue
                if shown := re.match(r"(.*?): +(\d{0,2})\d%", line):
                    if shown.groups() == bar:
                        continue
                    bar = shown.groups()
                self._take(line.rstrip())

    def _take(self, line: str) -> None:
        self._last.append(re.sub(r"^\((\w+)( pid=\d+)?\) (ERROR|INFO|WARNING) \S+ \S+ \[[^]]*\] ?", "", line))
        if line.startswith(MARK + "{"):
            self._limits.update(json.loads(line.removeprefix(MARK)))
            return
        sys.stdout.write(f"{line}\n")
        sys.stdout.flush()


def _short(line: str) -> str:
    return " ".join(line.split())[:300]
