"""What RunPod's SDK logs of a job in a worker, where that says what it posts nowhere."""

from __future__ import annotations

import asyncio
import json
from contextlib import suppress
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from vidctl.local.queue.queue import JobQueue
    from vidctl.local.workers.dispatch import Dispatch
    from vidctl.local.workers.fleet import LocalWorker

# What the SDK logs of a job (rp_http.py, _handle_result): that it cannot be sent, and then that it is over.
UNSENT = "Error while returning job result."
FINISHED = "Finished."


class UnsentResults:
    """Fails the jobs whose result a worker has and cannot send: the SDK posts nothing then."""

    def __init__(self, queue: JobQueue, dispatch: Dispatch) -> None:
        self._queue = queue
        self._dispatch = dispatch

    def listener(self, endpoint_id: str, worker: LocalWorker) -> Callable[[bytes], None]:
        """What is to be called with all that a worker prints, in any thread."""
        loop = asyncio.get_running_loop()

        def on_write(data: bytes) -> None:
            if UNSENT.encode() in data or (worker.unsent and FINISHED.encode() in data):
                loop.call_soon_threadsafe(self._read, endpoint_id, worker, data)

        return on_write

    def _read(self, endpoint_id: str, worker: LocalWorker, data: bytes) -> None:
        for job_id, message in sdk_messages(data):
            if message.startswith(UNSENT):
                worker.unsent[job_id] = message.removeprefix(UNSENT).strip(" |")
            elif message == FINISHED and (reason := worker.unsent.pop(job_id, None)) is not None:
                # What could not be sent before was a progress update if the result has come meanwhile.
                job = self._queue.find_running(endpoint_id, worker.id, job_id)
                if job is not None:
                    failure = f"the worker cannot send its result as JSON: {reason}"
                    self._queue.finish(job, error=json.dumps(failure).encode())
                    self._dispatch.answered(endpoint_id, worker, job_id)


def sdk_messages(data: bytes) -> Iterator[tuple[str, str]]:
    """The lines of RunPod's SDK about a job (rp_logger.py), as (job id, message)."""
    for line in data.splitlines():
        with suppress(ValueError):
            entry = json.loads(line)
            if isinstance(entry, dict) and entry.get("requestId") and isinstance(entry.get("message"), str):
                yield str(entry["requestId"]), entry["message"]
