"""Jobs in the words of OpenAI's API or of worker-vllm, which the engine answers in its own."""

from __future__ import annotations

import asyncio
import logging
from time import perf_counter
from typing import TYPE_CHECKING, Any

from completion import Completion, in_openais_words
from jobinput import take_default
from posting import Posted, hears_stream
from relaxing import relax, unheld
from server import TOKENS_PER_EVENT, Facts, RefusalError, Server, spelled, status_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from environment import Settings
    from jobinput import Request
    from opening import MediaOpener

log = logging.getLogger("qwen-vl")


class OpenAIJobs:
    """Passes requests on to the engine."""

    def __init__(self, server: Server, facts: Facts, settings: Settings, media: MediaOpener) -> None:
        self._server = server
        self._facts = facts
        self._settings = settings
        self._media = media

    async def answer(self, request: Request, job: dict[str, Any]) -> Any:
        """What the engine answers, in a list as RunPod's worker-vllm has it; a stream as the text of its events."""
        if request.route == "/v1/models":
            return [await self._server.get(request.route)]
        started = perf_counter()
        body = {**request.body, "model": self._facts.model}
        if not self._facts.is_vllm:
            take_default(body)
        if "messages" in body:
            body["messages"] = (await self._media.prepared(request)).messages
        body, lost = relax(body) if self._facts.is_vllm else (body, [])
        if lost:
            log.warning("job %s: %s", job.get("id"), unheld(lost))
        posted = Posted(job, as_text=True) if request.is_stream and hears_stream() else None
        try:
            answer = await self._answered(request, body, posted, self._settings.left_s(perf_counter() - started))
            if posted:
                await posted.end(None)
        finally:
            if posted:
                posted.drop()
        return [{**answer, "warnings": [unheld(lost)]} if lost and isinstance(answer, dict) else answer]

    async def _answered(
        self, request: Request, body: dict[str, Any], posted: Posted | None, limit_s: float | None
    ) -> Any:
        """The answer, or the text of its events; what there is of it when the time is over, as one that was too long.

        An error that says so would be requested again, twice by the `openai` package, and paid again.
        """
        if request.is_stream:
            return await self._streamed(request, body, posted, limit_s)
        # How a tool's arguments add up is known to the engine alone.
        if limit_s is None or body.get("tools"):
            try:
                whole = await asyncio.wait_for(self._server.post(request.route, body), limit_s)
            except asyncio.TimeoutError:
                raise self._late() from None
            return in_openais_words(whole)
        completion = Completion()
        options = {"include_usage": True, **({"continuous_usage_stats": True} if self._facts.is_vllm else {})}
        wanted = {**body, "stream": True, "stream_options": options}
        if self._facts.is_vllm:
            wanted["stream_interval"] = TOKENS_PER_EVENT
        await self._read(request, wanted, completion, lambda _: None, limit_s)
        if completion.error:
            raise RefusalError(spelled(completion.error), status_of(completion.error))
        return completion.answer()

    async def _streamed(
        self, request: Request, body: dict[str, Any], posted: Posted | None, limit_s: float | None
    ) -> str:
        sent: list[str] = []

        def send(text: str) -> None:
            sent.append(text)
            if posted:
                posted.put(text)

        completion = Completion()
        options = body.get("stream_options")
        options = options if isinstance(options, dict) else {}
        with_usage = options.get("include_usage") is True
        if self._facts.is_vllm and with_usage:
            body = {**body, "stream_options": {"continuous_usage_stats": True, **options}}
        if await self._read(request, {**body, "stream": True}, completion, send, limit_s):
            send(completion.last_words(with_usage=with_usage))
        return "".join(sent)

    async def _read(
        self,
        request: Request,
        body: dict[str, Any],
        completion: Completion,
        on_text: Callable[[str], None],
        limit_s: float | None,
    ) -> bool:
        """Read a stream; whether the time was over before it was."""

        async def read() -> None:
            async for line in self._server.events(request.route, body):
                on_text(completion.take(line))

        try:
            await asyncio.wait_for(read(), limit_s)
        except asyncio.TimeoutError:
            if not completion.has_begun:
                raise self._late() from None
            return True
        return False

    def _late(self) -> RefusalError:
        """Nothing came in time; 400, for it would not another time either, and is not to be requested three times."""
        limit_s = self._settings.request_timeout_s
        return RefusalError(f"not done after {limit_s:g} s (REQUEST_TIMEOUT); ask for fewer tokens or images", 400)
