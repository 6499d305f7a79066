"""The engine: vLLM's OpenAI server as a child of this process, or a server that somebody else runs."""

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
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from time import monotonic, perf_counter
from typing import TYPE_CHECKING, Any

import aiohttp
from completion import has_ended
from environment import Settings, engine_environment
from thinking import Answering, split
from variables import StartError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping

SERVE = Path(__file__).resolve().parent / "engine" / "serve.py"
MARK = "engine: "  # as engine/serve.py writes it
LAST_LINES = 200
STOP_GRACE_S = 10.0
POLL_S = 0.25
LOOK = aiohttp.ClientTimeout(total=10)  # for what a server knows at once
# Of vLLM's log: its name in large letters, and every address it answers at.
NOISE = re.compile(r"Route: /|api_utils\.py:\d+\]( *[█▄▀ ]|$)|Available routes are")
# Tokens that come in one event where nobody reads along (vLLM's stream_interval): an event for each would cost a
# quarter of the rate.
TOKENS_PER_EVENT = 32

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


class EngineGoneError(Exception):
    """The engine, or the server in its place, cannot be reached or ended in the middle of an answer."""


class MisfitError(EngineGoneError):
    """What answers is no server of OpenAI's API, or did not end its answer; the sentence is for whoever set it up."""


class RefusalError(Exception):
    """The engine did not take a request: `message` is its sentence, `status` HTTP's number."""

    def __init__(self, message: str, status: int) -> None:
        super().__init__(message)
        self.message = message
        self.status = status


@dataclass(frozen=True)
class Facts:
    """What is known of the engine: None and 0 for what it does not tell.

    `is_vllm`: whether it knows vLLM's own fields.  `min_pixels` and `max_pixels` are what its processor makes of a
    image.
    """

    model: str
    version: str
    is_vllm: bool
    max_model_len: int | None = None
    min_pixels: int = 65_536
    max_pixels: int = 16_777_216

    @property
    def label(self) -> dict[str, Any]:
        """What an answer says of its model."""
        length = {"max_model_len": self.max_model_len} if self.max_model_len else {}
        return {"name": self.model, "engine": self.version, **length}


@dataclass
class Generated:
    """What has been generated so far; it grows while the answer is read.  Times are seconds."""

    thoughts: str = ""  # that the server tells from the answer
    answering: Answering = field(default_factory=Answering, repr=False)
    finish_reason: str | None = None
    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    first_token_s: float | None = None
    _started: float = field(default_factory=perf_counter, repr=False)

    def take(self, event: Mapping[str, Any]) -> str:
        """Take one event of the stream; give the text of the answer in it, which what is thought before is not."""
        if isinstance(usage := event.get("usage"), dict):
            self.prompt_tokens = usage.get("prompt_tokens", self.prompt_tokens)
            self.completion_tokens = usage.get("completion_tokens", self.completion_tokens)
        choice = next(iter(event.get("choices") or ()), None)
        if choice is None:
            return ""
        self.finish_reason = choice.get("finish_reason") or self.finish_reason
        delta = choice.get("delta") or {}
        piece = delta.get("content") or ""
        thought = delta.get("reasoning_content") or delta.get("reasoning") or ""
        if self.first_token_s is None and (
            piece or thought or choice.get("token_ids") is not None or self.completion_tokens
        ):
            self.first_token_s = perf_counter() - self._started
        self.thoughts += thought if isinstance(thought, str) else ""
        return self.answering.feed(piece)

    @property
    def has_begun(self) -> bool:
        """Whether there is a word of it."""
        return bool(self.answering.whole or self.thoughts)

    def parted(self) -> tuple[str, str | None]:
        """The answer, and what was thought before it, if that is known."""
        answer, thought = split(self.answering.whole)
        return answer, "\n\n".join(filter(None, (self.thoughts.strip(), thought))) or None


class Server:
    """A client of an OpenAI-compatible server."""

    def __init__(self, base_url: str, key: str = "", socket: str = "") -> None:
        self._base_url = base_url
        self._headers = {"Authorization": f"Bearer {key}"} if key else {}
        self._socket = socket
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Server:
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._session is not None:
            await self._session.close()

    def url(self, route: str) -> str:
        """`route` begins with /v1, which the base address already ends with."""
        return f"{self._base_url}{route.removeprefix('/v1')}"

    async def get(self, route: str) -> Any:
        """What a GET answers, as JSON; raise RefusalError or EngineGoneError."""
        async with self._answer("GET", self.url(route), timeout=LOOK) as response:
            return await _json(response)

    async def is_healthy(self) -> bool:
        """Whether vLLM says that it is ready."""
        try:
            async with self._answer("GET", self._base_url.removesuffix("/v1") + "/health", timeout=LOOK):
                return True
        except (EngineGoneError, RefusalError):
            return False

    async def version(self) -> str | None:
        """vLLM's version; None if this is no vLLM."""
        try:
            async with self._answer("GET", self._base_url.removesuffix("/v1") + "/version", timeout=LOOK) as response:
                answer = await _json(response)
        except (EngineGoneError, RefusalError):
            return None
        # Ollama answers a version at another address only, llama.cpp and LM Studio none.
        return answer.get("version") if isinstance(answer, dict) and isinstance(answer.get("version"), str) else None

    async def post(self, route: str, body: Mapping[str, Any]) -> Any:
        """The answer as JSON; raise RefusalError or EngineGoneError.  Whoever stops waiting ends the request."""
        async with self._answer("POST", self.url(route), json=body) as response:
            return await _json(response)

    async def events(self, route: str, body: Mapping[str, Any]) -> AsyncIterator[bytes]:
        """The lines of a stream as they come, blank ones included; raise as `post` does, and MisfitError for no stream.

        What ends without a reason and without an end mark is no answer, however much of it there is.
        """
        async with self._answer("POST", self.url(route), json=body) as response:
            ended = is_stream = False
            async for line in _lines(response.content):
                ended = ended or has_ended(line)
                is_stream = is_stream or line.startswith(b"data:")
                yield line
            if not is_stream:
                raise MisfitError(f"it sent {response.content_type}, not events")
            if not ended:
                raise MisfitError("it closed the connection before its answer had ended")

    async def generate(self, body: Mapping[str, Any], generated: Generated) -> AsyncIterator[str]:
        """Ask for a chat completion and yield its text piece by piece; `generated` has all that is known so far."""
        async for line in self.events("/v1/chat/completions", body):
            if not line.startswith(b"data:") or line[5:].strip() == b"[DONE]":
                continue
            event = _event(line[5:])
            if error := event.get("error"):
                raise RefusalError(spelled(error), status_of(error))
            if piece := generated.take(event):
                yield piece

    @asynccontextmanager
    async def _answer(self, method: str, url: str, **options: Any) -> AsyncIterator[aiohttp.ClientResponse]:
        try:
            async with self._opened().request(method, url, **options) as response:
                await _check(response)
                yield response
        except (aiohttp.ClientError, asyncio.TimeoutError, OSError, ValueError) as error:  # ValueError: no JSON
            raise EngineGoneError(f"{type(error).__name__}: {error}"[:200]) from error

    def _opened(self) -> aiohttp.ClientSession:
        """The session, of the event loop that asks first."""
        if self._session is None:
            # No connection is kept: its server may close it while the next request is being written into it.
            options: dict[str, Any] = {"limit": 0, "force_close": True}
            connector = (
                aiohttp.UnixConnector(self._socket, **options) if self._socket else aiohttp.TCPConnector(**options)
            )
            # A request may generate for as long as its job may run; the connection is made at once or never.
            timeout = aiohttp.ClientTimeout(total=None, sock_connect=10)
            self._session = aiohttp.ClientSession(connector=connector, headers=self._headers, timeout=timeout)
        return self._session


async def _lines(content: aiohttp.StreamReader) -> AsyncIterator[bytes]:
    """aiohttp's own iteration refuses a line of more than 64 KiB, which an event without streaming may be."""
    rest = b""
    async for chunk in content.iter_any():
        *lines, rest = (rest + chunk).split(b"\n")
        for line in lines:
            yield line.rstrip(b"\r")
    if rest:
        yield rest


async def _json(response: aiohttp.ClientResponse) -> Any:
    return await response.json(content_type=None)


def _event(text: bytes) -> Mapping[str, Any]:
    try:
        event = json.loads(text)
    except ValueError as error:
        raise EngineGoneError(f"not an event: {text[:100]!r}") from error
    return event if isinstance(event, dict) else {}


async def _check(response: aiohttp.ClientResponse) -> None:
    if response.status < 400:
        return
    text = await response.text(errors="replace")
    try:
        answer = json.loads(text)
    except ValueError:
        answer = text
    raise RefusalError(spelled(answer.get("error", answer) if isinstance(answer, dict) else answer), response.status)


def spelled(error: Any) -> str:
    """The sentence in an error, on one line; vLLM adds which parameter it means, which its own words say already."""
    text = str(error.get("message", error)) if isinstance(error, dict) else str(error)
    text = " ".join(re.sub(r"\s*\(parameter=[^)]*\)\s*$", "", text).split())
    return text[:500] or "no reason given"


def status_of(error: Any) -> int:
    """HTTP's number in an error that came within a stream."""
    code = error.get("code") if isinstance(error, dict) else None
    return code if isinstance(code, int) and 400 <= code <= 599 else 500


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


async def look(settings: Settings) -> Facts:
    """What a server that runs already is; raise StartError when it cannot be asked or has no such model."""
    async with Server(settings.server_url, settings.server_key) as server:
        return await _look(server, settings)


async def _look(server: Server, settings: Settings) -> Facts:
    try:
        models = [str(one["id"]) for one in (await server.get("/v1/models"))["data"]]
    except (EngineGoneError, RefusalError, KeyError, TypeError) as error:
        raise StartError(f"no OpenAI-compatible server answers at {settings.server_shown} ({error})") from error
    wanted = [one for one in (settings.name, settings.model) if one in models]
    if not wanted and len(models) != 1:
        known = f"it has {', '.join(models[:8])}" if models else "it has none"
        raise StartError(f"{settings.server_shown} has no model {settings.name}; {known}: name one in MODEL_NAME")
    version = await server.version()
    engine = f"vllm {version}" if version else settings.server_shown
    return Facts((wanted or models)[0], engine, version is not None)
