"""The worker: jobs in, what the model says out.  README.md has the contract."""

from __future__ import annotations

import asyncio
import atexit
import io
import json
import logging
import os
import signal
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from time import perf_counter
from typing import TYPE_CHECKING, Any

import media
import runpod
from badinput import BadInputError
from completion import Completion, in_openais_words
from engine import Engine
from environment import Settings
from jobinput import REPETITION, Request, parse
from posting import Posted
from relaxing import relax
from server import EngineGoneError, Facts, Generated, MisfitError, RefusalError, Server, look, spelled, status_of
from variables import StartError

if TYPE_CHECKING:
    from collections.abc import Callable

    from media import Prepared

log = logging.getLogger("qwen-vl")

LEAST_SIDE = 32  # of an image; processors of other models and servers refuse a smaller one
# Tokens that come in one event where nobody reads along (vLLM's stream_interval): an event for each would cost a
# quarter of the rate.
TOKENS_PER_EVENT = 32
LAST_ANSWERS_S = 5.0  # to report the jobs whose engine is gone
HEARS_STREAM = "RUNPOD_WEBHOOK_POST_STREAM"  # by hand there is none, and each chunk would log an error


class Worker:
    """Answers jobs, many at once: the engine batches their tokens."""

    def __init__(self, server: Server, facts: Facts, settings: Settings) -> None:
        self._server = server
        self._facts = facts
        self._settings = settings
        # A thread for each job: one that waits for a slow server keeps nobody else waiting.
        self._threads = ThreadPoolExecutor(settings.max_concurrency, thread_name_prefix="media")
        self._knows_images = not settings.server_url  # what another server's model makes of them is not known
        self.is_broken = False

    def concurrency(self, _current: int) -> int:
        return self._settings.max_concurrency

    async def answer(self, job: dict[str, Any]) -> Any:
        """Give what the README promises, or `{"error": …}`; whatever a job holds, the worker lives on.

        A job that is cancelled ends its request, and with it its place in the engine.
        """
        request = None
        try:
            request = parse(job.get("input"))
            return await (self._described(request, job) if request.kind == "own" else self._passed_on(request, job))
        except BadInputError as error:
            return self._error(request, job, str(error), 400)
        except RefusalError as error:
            return self._error(request, job, error.message, error.status)
        except EngineGoneError as error:
            log.error("job %s: %s", job.get("id"), error)
            if self._settings.server_url:
                words = "the server behind this worker does not answer as it should"
                return self._error(request, job, f"{words}: {error}" if isinstance(error, MisfitError) else words, 503)
            answer = self._error(request, job, "the engine is gone and the worker restarts: send the job again", 503)
            return {**answer, "refresh_worker": True} if self.is_broken else answer
        except Exception as error:  # a raised one would send the caller our paths and traceback
            log.exception("job %s failed", job.get("id"))
            words = f"the worker failed on this job ({type(error).__name__}); see its log"
            return self._error(request, job, words, 500)

    def _error(self, request: Request | None, job: dict[str, Any], message: str, status: int) -> dict[str, Any]:
        """One sentence; for a caller of OpenAI's API in the form that he expects."""
        message = _utf8(message)
        given = job.get("input")
        is_own = request.kind == "own" if request else not isinstance(given, dict) or "openai_route" not in given
        if is_own:
            return {"error": message}
        kind = "BadRequestError" if status == 400 else "NotFoundError" if status == 404 else "InternalServerError"
        return {"error": {"message": message, "type": kind, "param": None, "code": status}}

    # The worker's own input

    async def _described(self, request: Request, job: dict[str, Any]) -> dict[str, Any]:
        started = perf_counter()
        prepared = await self._prepared(request)
        prepare_s = perf_counter() - started
        streams = request.is_stream and HEARS_STREAM in os.environ
        posted = Posted(job) if streams else None
        # Out of the schema that it was put into for another server, a choice comes as a whole.
        read_along = None if request.choices and not self._facts.is_vllm else posted
        generated = Generated()
        try:
            is_late = await self._generate(self._body(request, prepared), generated, read_along, self._left_s(started))
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

    async def _prepared(self, request: Request) -> Prepared:
        """The request's images, opened; what takes longer than a request may is given up."""
        limits = media.Limits(
            self._settings.max_images,
            min(request.max_pixels or self._settings.max_pixels, self._settings.max_pixels),
            self._facts.min_pixels,
            self._facts.max_pixels,
            0 if self._knows_images else LEAST_SIDE,
        )
        messages = request.body["messages"]
        if not media.has_any(messages):
            return media.Prepared(messages, ())
        stop = threading.Event()
        limit_s = self._settings.request_timeout_s or None
        opening = asyncio.get_running_loop().run_in_executor(
            self._threads, media.prepare, messages, limits, stop.is_set
        )
        try:
            return await asyncio.wait_for(opening, limit_s)
        except asyncio.TimeoutError:
            raise BadInputError(f"the images were not opened after {limit_s:g} s (REQUEST_TIMEOUT)") from None
        finally:
            stop.set()

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
            _take_default(body)
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

    def _left_s(self, started: float) -> float | None:
        """What is left of a job's time after its images were opened, which may have to be downloaded."""
        limit_s = self._settings.request_timeout_s
        return max(0.0, limit_s - (perf_counter() - started)) if limit_s else None

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
        if request.max_pixels and request.max_pixels > self._settings.max_pixels and self._knows_images:
            warnings.append(f"max_pixels: this worker resizes to {self._settings.max_pixels} (MAX_PIXELS) in any case")
        if self._facts.is_vllm and (lost := relax(request.body)[1]):
            warnings.append(_unheld(lost))
        if reason == "length" and ("response_format" in request.body or request.regex):
            warnings.append("the answer was cut off by max_tokens before it had its form")
        timings = {"prepare": took_s[0], "first_token": generated.first_token_s, "total": took_s[1]}
        answer, thought = generated.parted()
        return {
            "response": self._unwrapped(request, answer),
            **({"reasoning": thought} if thought else {}),
            "prompt_tokens": generated.prompt_tokens,
            "completion_tokens": generated.completion_tokens,
            **(prepared.spelled() if self._knows_images else {}),
            "finish_reason": reason,
            "timings": {name: round(seconds, 4) for name, seconds in timings.items() if seconds is not None},
            "model": self._facts.label,
            **({"warnings": [_utf8(one) for one in warnings]} if warnings else {}),
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

    # OpenAI's API, and worker-vllm's input

    async def _passed_on(self, request: Request, job: dict[str, Any]) -> Any:
        """What the engine answers, in a list as RunPod's worker-vllm has it; a stream as the text of its events."""
        if request.route == "/v1/models":
            return [await self._server.get(request.route)]
        started = perf_counter()
        body = {**request.body, "model": self._facts.model}
        if not self._facts.is_vllm:
            _take_default(body)
        if "messages" in body:
            body["messages"] = (await self._prepared(request)).messages
        body, lost = relax(body) if self._facts.is_vllm else (body, [])
        if lost:
            log.warning("job %s: %s", job.get("id"), _unheld(lost))
        posted = Posted(job, as_text=True) if request.is_stream and HEARS_STREAM in os.environ else None
        try:
            answer = await self._answered(request, body, posted, self._left_s(started))
            if posted:
                await posted.end(None)
        finally:
            if posted:
                posted.drop()
        return [{**answer, "warnings": [_unheld(lost)]} if lost and isinstance(answer, dict) else answer]

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


def _unheld(words: list[str]) -> str:
    """The warning about keywords of a schema that are not enforced."""
    return f"the engine does not enforce these keywords of the schema: {', '.join(words)}"


def _take_default(body: dict[str, Any]) -> None:
    """Take out vLLM's own field that the worker sets by itself; one that the job has is the server's to judge."""
    if body.get("repetition_detection") == REPETITION:
        del body["repetition_detection"]


def _utf8(text: str) -> str:
    """Without halves of characters, which JSON can spell and the SDK cannot post."""
    return text.encode("utf-8", "replace").decode("utf-8")


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
    # The SDK takes no more jobs then (runpod-python 1.12, serverless/modules/rp_scale.py, `handle_shutdown`).
    if callable(signal.getsignal(signal.SIGTERM)):
        os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(LAST_ANSWERS_S)
    os._exit(1)


def main() -> None:
    # That a model was loaded onto the GPU shows more than the SDK's check of it, which wants memory that is taken now.
    os.environ.setdefault("RUNPOD_SKIP_GPU_CHECK", "true")
    # The engine's words go through here: none may end the thread that passes them on.
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")
    try:
        worker = build()
    except (StartError, EngineGoneError) as error:
        sys.exit(f"qwen-vl worker: {error}")
    runpod.serverless.start({"handler": worker.answer, "concurrency_modifier": worker.concurrency})


# The SDK's heartbeat process imports this file again where processes are spawned; it must not load a second model.
if __name__ == "__main__":
    main()
