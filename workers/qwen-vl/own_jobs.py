"""Jobs in the worker's own words: a prompt with images or a clip, and what the model says."""

from __future__ import annotations

import asyncio
import json
from time import perf_counter
from typing import TYPE_CHECKING, Any

from badinput import BadInputError
from jobinput import take_default
from posting import Posted, hears_stream, utf8
from relaxing import relax, unheld
from server import TOKENS_PER_EVENT, Facts, Generated, RefusalError, Server

if TYPE_CHECKING:
    from environment import Settings
    from jobinput import Request
    from media import Prepared
    from opening import MediaOpener


class OwnJobs:
    """Answers jobs in the fields that the README promises."""

    def __init__(self, server: Server, facts: Facts, settings: Settings, media: MediaOpener) -> None:
        self._server = server
        self._facts = facts
        self._settings = settings
        self._media = media

    async def answer(self, request: Request, job: dict[str, Any]) -> dict[str, Any]:
        started = perf_counter()
        prepared = await self._media.prepared(request)
        prepare_s = perf_counter() - started
        streams = request.is_stream and hears_stream()
        posted = Posted(job) if streams else None
        # Out of the schema that it was put into for another server, a choice comes as a whole.
        read_along = None if request.choices and not self._facts.is_vllm else posted
        generated = Generated()
        try:
            is_late = await self._generate(
                self._body(request, prepared), generated, read_along, self._settings.left_s(perf_counter() - started)
            )
            total_s = perf_counter() - started
            output = self._output(request, prepared, generated, (prepare_s, total_s), is_late=is_late)
            if posted:
                if read_along is None:
                    posted.put(output["response"])
                await posted.end({"done": True, **{key: value for key, value in output.items() if key != "response"}})
        finally:
            if posted:
                posted.drop()
        return output

    def _body(self, request: Request, prepared: Prepared) -> dict[str, Any]:
        """The engine's request.  Without a reader tokens come many at a time, but they come: what is there counts."""
        body = {
            **request.body,
            "model": self._facts.model,
            "messages": prepared.messages,
            "stream": True,
            "stream_options": {"include_usage": True},
        }
        if not self._facts.is_vllm:
            take_default(body)
            return {**body, **self._structured_elsewhere(request)}
        body, _ = relax(body)
        if request.choices:
            body["structured_outputs"] = {"choice": list(request.choices)}
        elif request.regex:
            body["structured_outputs"] = {"regex": request.regex}
        body["stream_options"]["continuous_usage_stats"] = True
        return body if request.is_stream else {**body, "stream_interval": TOKENS_PER_EVENT}

    def _structured_elsewhere(self, request: Request) -> dict[str, Any]:
        """Choices as a schema: OpenAI's API, as Ollama, llama.cpp and LM Studio have it, knows nothing else."""
        if request.regex:
            raise BadInputError(f"regex needs vLLM, and {self._facts.version} is not; use schema or choices")
        if not request.choices:
            return {}
        schema = {
            "type": "object",
            "properties": {"answer": {"type": "string", "enum": list(request.choices)}},
            "required": ["answer"],
            "additionalProperties": False,
        }
        named = {"name": "answer", "schema": schema, "strict": True}
        return {"response_format": {"type": "json_schema", "json_schema": named}}

    async def _generate(
        self, body: dict[str, Any], generated: Generated, posted: Posted | None, limit_s: float | None
    ) -> bool:
        """Fill in what is generated; whether the time was over before the answer was."""

        async def read() -> None:
            async for piece in self._server.generate(body, generated):
                if posted:
                    posted.put(piece)

        try:
            await asyncio.wait_for(read(), limit_s)
        except asyncio.TimeoutError:
            if not generated.has_begun:
                whole_s = self._settings.request_timeout_s
                words = f"no token after {whole_s:g} s (REQUEST_TIMEOUT): too many jobs, or too many images"
                raise RefusalError(words, 503) from None
            return True
        return False

    def _output(
        self, request: Request, prepared: Prepared, generated: Generated, took_s: tuple[float, float], *, is_late: bool
    ) -> dict[str, Any]:
        """The answer; `took_s` is how long its images took, and all of it."""
        reason = "time" if is_late else generated.finish_reason
        warnings = list(request.warnings)
        if request.max_pixels and request.max_pixels > self._settings.max_pixels and self._media.knows_images:
            warnings.append(f"max_pixels: this worker resizes to {self._settings.max_pixels} (MAX_PIXELS) in any case")
        if self._facts.is_vllm and (lost := relax(request.body)[1]):
            warnings.append(unheld(lost))
        if reason == "length" and ("response_format" in request.body or request.regex):
            warnings.append("the answer was cut off by max_tokens before it had its form")
        timings = {"prepare": took_s[0], "first_token": generated.first_token_s, "total": took_s[1]}
        answer, thought = generated.parted()
        return {
            "response": self._unwrapped(request, answer),
            **({"reasoning": thought} if thought else {}),
            "prompt_tokens": generated.prompt_tokens,
            "completion_tokens": generated.completion_tokens,
            **(prepared.spelled() if self._media.knows_images else {}),
            "finish_reason": reason,
            "timings": {name: round(seconds, 4) for name, seconds in timings.items() if seconds is not None},
            "model": self._facts.label,
            **({"warnings": [utf8(one) for one in warnings]} if warnings else {}),
        }

    def _unwrapped(self, request: Request, text: str) -> str:
        """The choice, out of the schema that it was put into for a server that is no vLLM."""
        if not request.choices or self._facts.is_vllm:
            return text
        try:
            answer = json.loads(text)["answer"]
        except (ValueError, KeyError, TypeError):
            return text
        return answer if isinstance(answer, str) else text
