"""The worker: jobs in, what the model says out.  README.md has the contract."""

from __future__ import annotations

import asyncio
import atexit
import io
import logging
import os
import signal
import sys
import threading
import time
from typing import Any

import runpod
from badinput import BadInputError
from engine import Engine
from environment import Settings
from jobinput import Request, parse
from openai_jobs import OpenAIJobs
from opening import MediaOpener
from own_jobs import OwnJobs
from posting import utf8
from server import EngineGoneError, Facts, MisfitError, RefusalError, Server, look
from variables import StartError

log = logging.getLogger("qwen-vl")

LAST_ANSWERS_S = 5.0  # to report the jobs whose engine is gone


class Worker:
    """Answers jobs, many at once: the engine batches their tokens."""

    def __init__(self, server: Server, facts: Facts, settings: Settings) -> None:
        media = MediaOpener(facts, settings)
        self._own = OwnJobs(server, facts, settings, media)
        self._openai = OpenAIJobs(server, facts, settings, media)
        self._settings = settings
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
            return await (self._own if request.kind == "own" else self._openai).answer(request, job)
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
        message = utf8(message)
        given = job.get("input")
        is_own = request.kind == "own" if request else not isinstance(given, dict) or "openai_route" not in given
        if is_own:
            return {"error": message}
        kind = "BadRequestError" if status == 400 else "NotFoundError" if status == 404 else "InternalServerError"
        return {"error": {"message": message, "type": kind, "param": None, "code": status}}


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
