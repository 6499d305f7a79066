"""The worker: jobs in, what the model says out.  README.md has the contract."""

from __future__ import annotations

import asyncio
import atexit
import json
import logging
import os
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from time import perf_counter
from typing import TYPE_CHECKING, Any

import aiohttp
import media
import runpod
from engine import TOKENS_PER_EVENT, Engine, Facts, Generated, Refusal, Server, look
from environment import Settings, StartError
from jobinput import Asked, BadInput, parse
from runpod import http_client
from runpod.serverless.modules import rp_http

if TYPE_CHECKING:
    from media import Prepared

log = logging.getLogger("qwen-vl")

LAST_ANSWERS_S = 5.0  # for what is told of jobs whose engine is gone
HEARS_STREAM = "RUNPOD_WEBHOOK_POST_STREAM"  # by hand there is none, and each chunk would log an error


class Worker:
    """Answers jobs, many at once: the engine batches their tokens."""

    def __init__(self, server: Server, facts: Facts, settings: Settings) -> None:
        self._server = server
        self._facts = facts
        self._settings = settings
        self._threads = ThreadPoolExecutor(2 * (os.cpu_count() or 1), thread_name_prefix="media")
        self._knows_pictures = not settings.server_url  # what another server's model makes of them is not known
        self.is_broken = False

    def concurrency(self, _current: int) -> int:
        return self._settings.max_concurrency

    async def answer(self, job: dict[str, Any]) -> Any:
        """Give what the README promises, or `{"error": …}`; whatever a job holds, the worker lives on.

        A job that is cancelled ends its request, and with it its place in the engine.
        """
        asked = None
        try:
            asked = parse(job.get("input"))
            return await (self._described(asked, job) if asked.kind == "own" else self._passed_on(asked, job))
        except BadInput as error:
            return self._error(asked, job, str(error), 400)
        except Refusal as error:
            return self._error(asked, job, error.message, error.status)
        except (aiohttp.ClientError, OSError) as error:
            log.error("job %s: %s: %s", job.get("id"), type(error).__name__, error)
            told = self._error(asked, job, "the engine is gone: the worker starts anew, send the job again", 503)
            return {**told, "refresh_worker": True} if self.is_broken else told
        except Exception as error:  # a raised one would send the caller our paths and traceback
            log.exception("job %s failed", job.get("id"))
            words = f"the worker failed on this job ({type(error).__name__}); its log says more"
            return self._error(asked, job, words, 500)

    def _error(self, asked: Asked | None, job: dict[str, Any], message: str, status: int) -> dict[str, Any]:
        """One sentence; for a caller of OpenAI's API in the form that he expects."""
        given = job.get("input")
        is_own = asked.kind == "own" if asked else not isinstance(given, dict) or "openai_route" not in given
        if is_own:
            return {"error": message}
        kind = "BadRequestError" if status == 400 else "NotFoundError" if status == 404 else "InternalServerError"
        return {"error": {"message": message, "type": kind, "param": None, "code": status}}

    # In our words

    async def _described(self, asked: Asked, job: dict[str, Any]) -> dict[str, Any]:
        started = perf_counter()
        prepared = await self._prepared(asked)
        prepare_s = perf_counter() - started
        tells = asked.is_stream and HEARS_STREAM in os.environ
        posted = _Posted(job) if tells else None
        generated = Generated()
        try:
            is_late = await self._generate(self._body(asked, prepared), generated, posted, self._left_s(prepare_s))
            output = self._output(asked, prepared, generated, prepare_s, is_late=is_late)
            if posted:
                await posted.end({"done": True, **{key: value for key, value in output.items() if key != "response"}})
        finally:
            if posted:
                posted.drop()
        return output

    async def _prepared(self, asked: Asked) -> Prepared:
        limits = media.Limits(
            self._settings.max_images,
            min(asked.max_pixels or self._settings.max_pixels, self._settings.max_pixels),
            self._facts.min_pixels,
            self._facts.max_pixels,
        )
        stop = threading.Event()
        loop = asyncio.get_running_loop()
        try:
            return await loop.run_in_executor(self._threads, media.prepare, asked.body["messages"], limits, stop.is_set)
        finally:
            stop.set()

    def _body(self, asked: Asked, prepared: Prepared) -> dict[str, Any]:
        """The engine's request.  Without a reader tokens come many at a time, but they come: what is there counts."""
        body = {
            **asked.body,
            "model": self._facts.model,
            "messages": prepared.messages,
            "stream": True,
            "stream_options": {"include_usage": True},
        }
        if not self._facts.is_vllm:
            body.pop("repetition_detection", None)
            return {**body, **self._structured_elsewhere(asked)}
        if asked.choices:
            body["structured_outputs"] = {"choice": list(asked.choices)}
        elif asked.regex:
            body["structured_outputs"] = {"regex": asked.regex}
        body["stream_options"]["continuous_usage_stats"] = True
        return body if asked.is_stream else {**body, "stream_interval": TOKENS_PER_EVENT}

    def _structured_elsewhere(self, asked: Asked) -> dict[str, Any]:
        """Choices as a schema: OpenAI's API, as Ollama, llama.cpp and LM Studio have it, knows nothing else."""
        if asked.regex:
            raise BadInput(f"regex is vLLM's, and {self._facts.version} is none; use schema or choices")
        if not asked.choices:
            return {}
        schema = {
            "type": "object",
            "properties": {"answer": {"type": "string", "enum": list(asked.choices)}},
            "required": ["answer"],
            "additionalProperties": False,
        }
        named = {"name": "answer", "schema": schema, "strict": True}
        return {"response_format": {"type": "json_schema", "json_schema": named}}

    def _left_s(self, spent_s: float) -> float | None:
        """What is left of a job's time after its pictures were opened, which may have to be downloaded."""
        limit_s = self._settings.request_timeout_s
        return max(1.0, limit_s - spent_s) if limit_s else None

    async def _generate(
        self, body: dict[str, Any], generated: Generated, posted: _Posted | None, limit_s: float | None
    ) -> bool:
        """Fill in what is generated; whether the time was over before the answer was."""

        async def read() -> None:
            async for piece in self._server.generate(body, generated):
                if posted:
                    posted.put(piece)

        try:
            await asyncio.wait_for(read(), limit_s)
        except asyncio.TimeoutError:
            if not generated.text:
                words = f"not a word after {limit_s:.0f} s (REQUEST_TIMEOUT): too many jobs, or too many pictures"
                raise Refusal(words, 503) from None
            return True
        return False

    def _output(
        self, asked: Asked, prepared: Prepared, generated: Generated, prepare_s: float, *, is_late: bool
    ) -> dict[str, Any]:
        reason = "time" if is_late else generated.finish_reason
        warnings = list(asked.warnings)
        if reason == "length" and ("response_format" in asked.body or asked.regex):
            warnings.append("the answer was cut off by max_tokens, before it met what it is held to")
        first_s = generated.first_token_s
        timings = {"prepare": prepare_s, "first_token": first_s, "total": prepare_s + generated.total_s}
        return {
            "response": self._unwrapped(asked, generated.text),
            "prompt_tokens": generated.prompt_tokens,
            "completion_tokens": generated.completion_tokens,
            **(prepared.spelled() if self._knows_pictures else {}),
            "finish_reason": reason,
            "timings": {name: round(seconds, 4) for name, seconds in timings.items() if seconds is not None},
            "model": self._facts.label,
            **({"warnings": warnings} if warnings else {}),
        }

    def _unwrapped(self, asked: Asked, text: str) -> str:
        """The choice, out of the schema that it was put into for a server that is no vLLM."""
        if not asked.choices or self._facts.is_vllm:
            return text
        try:
            answer = json.loads(text)["answer"]
        except (ValueError, KeyError, TypeError):
            return text
        return answer if isinstance(answer, str) else text

    # In OpenAI's words, and in worker-vllm's

    async def _passed_on(self, asked: Asked, job: dict[str, Any]) -> Any:
        """What the engine answers, in a list as RunPod's worker-vllm has it; a stream as the text of its events."""
        if asked.route == "/v1/models":
            return [await self._server.get(asked.route)]
        started = perf_counter()
        body = {**asked.body, "model": self._facts.model}
        if "messages" in body:
            body["messages"] = (await self._prepared(asked)).messages
        limit_s = self._left_s(perf_counter() - started)
        try:
            if asked.is_stream:
                return await asyncio.wait_for(self._streamed(asked, {**body, "stream": True}, job), limit_s)
            return [await asyncio.wait_for(self._server.post(asked.route, body), limit_s)]
        except asyncio.TimeoutError:
            raise Refusal(f"not done after {limit_s:.0f} s (REQUEST_TIMEOUT); ask for fewer tokens", 504) from None

    async def _streamed(self, asked: Asked, body: dict[str, Any], job: dict[str, Any]) -> list[str]:
        posted = _Posted(job, as_text=True) if HEARS_STREAM in os.environ else None
        events = []
        try:
            async for line in self._server.events(asked.route, body):
                if line:
                    event = line.decode("utf-8", "replace") + "\n\n"
                    events.append(event)
                    if posted:
                        posted.put(event)
            if posted:
                await posted.end(None)
        finally:
            if posted:
                posted.drop()
        return ["".join(events)]


class _Posted:
    """Posts the pieces of an answer to RunPod's stream, in their order.

    While a post is under way the pieces that come are gathered, and go together with the next one: on a slow way to
    RunPod the chunks grow, and nothing waits.  The SDK itself posts only what a generator yields, and the output of a
    generator is a list, which the guide's contract is not; so this calls what the SDK calls (runpod-python 1.12,
    serverless/modules/rp_job.py, `handle_job`).
    """

    def __init__(self, job: dict[str, Any], *, as_text: bool = False) -> None:
        self._job = job
        self._as_text = as_text
        self._pieces: list[str] = []
        self._index = 0
        self._more = asyncio.Event()
        self._is_over = False
        self._task = asyncio.ensure_future(self._post_all())

    def put(self, piece: str) -> None:
        self._pieces.append(piece)
        self._more.set()

    async def end(self, last: dict[str, Any] | None) -> None:
        """Wait until everything was posted, then post `last`."""
        self._is_over = True
        self._more.set()
        await self._task
        if last is not None:
            await self._post({"text": "", "index": self._index, **last})

    def drop(self) -> None:
        """Post no more: the job is over, or was cancelled."""
        self._task.cancel()

    async def _post_all(self) -> None:
        while not (self._is_over and not self._pieces):
            await self._more.wait()
            self._more.clear()
            pieces, self._pieces = self._pieces, []
            if pieces:
                text = "".join(pieces)
                await self._post(text if self._as_text else {"text": text, "index": self._index})
                self._index += 1

    async def _post(self, chunk: Any) -> None:
        await rp_http.stream_result(_posting(), {"output": chunk}, self._job)


_session: list[Any] = []


def _posting() -> Any:
    """One session for all chunks, of the event loop that the SDK runs."""
    if not _session:
        _session.append(http_client.AsyncClientSession())
    return _session[0]


def build() -> Worker:
    """Load the model that the environment names, or find the server that has it; raise StartError with one sentence."""
    settings = Settings.read(os.environ)
    if settings.server_url:
        return Worker(Server(settings.server_url, settings.server_key), asyncio.run(look(settings)), settings)
    engine = Engine(settings)
    atexit.register(engine.stop)
    engine.start()
    worker = Worker(engine.server(), asyncio.run(engine.ready()), settings)
    threading.Thread(target=_end_with, args=(engine, worker), daemon=True).start()
    return worker


def _end_with(engine: Engine, worker: Worker) -> None:
    """An engine that ends takes the worker with it: RunPod then starts another, and jobs that wait go there."""
    engine.ended()
    if engine.is_stopping:
        return
    worker.is_broken = True
    sys.stdout.write(f"qwen-vl worker: the engine ended: {engine.reason()}\n")
    sys.stdout.flush()
    time.sleep(LAST_ANSWERS_S)
    os._exit(1)


def main() -> None:
    # That a model was loaded onto the GPU shows more than the SDK's check of it, which wants memory that is taken now.
    os.environ.setdefault("RUNPOD_SKIP_GPU_CHECK", "true")
    try:
        worker = build()
    except StartError as error:
        sys.exit(f"qwen-vl worker: {error}")
    runpod.serverless.start({"handler": worker.answer, "concurrency_modifier": worker.concurrency})


# The SDK's heartbeat process imports this file again where processes are spawned; it must not load a second model.
if __name__ == "__main__":
    main()
