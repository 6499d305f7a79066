"""A server of OpenAI's API, the engine's or somebody else's: what it is, and what it answers."""

from __future__ import annotations

import asyncio
import json
import re
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from time import perf_counter
from typing import TYPE_CHECKING, Any

import aiohttp
from completion import has_ended
from thinking import Answering, split
from variables import StartError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping

    from environment import Settings

# Tokens that come in one event where nobody reads along (vLLM's stream_interval): an event for each would cost a
# quarter of the rate.
TOKENS_PER_EVENT = 32
LOOK = aiohttp.ClientTimeout(total=10)  # for what a server knows at once


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
