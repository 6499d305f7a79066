"""The worker API: what RunPod's SDK asks and posts from inside a worker (runpod-python 1.12, serverless/modules)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from starlette.responses import Response

from vidctl.local import wire
from vidctl.local.api.http import NotFoundError, integer, json_object, json_response, read, read_body, within
from vidctl.local.wire import BadRequestError
from vidctl.runpod import limits

if TYPE_CHECKING:
    from starlette.requests import Request

    from vidctl.local.api.worker_polls import WorkerPolls
    from vidctl.local.control_plane.records import EndpointRecord
    from vidctl.local.queue.queue import JobQueue
    from vidctl.local.workers.dispatch import Dispatch
    from vidctl.local.workers.fleet import Fleets, LocalWorker

_BATCH_SIZE = (1, 1000)


class WorkerRoutes:
    """Gives jobs to workers and takes in what they say of them."""

    def __init__(self, fleets: Fleets, queue: JobQueue, dispatch: Dispatch, polls: WorkerPolls) -> None:
        self._fleets = fleets
        self._queue = queue
        self._dispatch = dispatch
        self._polls = polls

    async def take(self, request: Request, endpoint: EndpointRecord) -> Response:
        jobs = await self._polls.jobs(request, endpoint, self._worker(request, endpoint), limit=1)
        return json_response(jobs[0]) if jobs else Response(status_code=204)

    async def take_batch(self, request: Request, endpoint: EndpointRecord) -> Response:
        limit = integer(request, "batch_size", 1, _BATCH_SIZE)
        jobs = await self._polls.jobs(request, endpoint, self._worker(request, endpoint), limit=limit)
        return json_response(b"[" + b",".join(jobs) + b"]") if jobs else Response(status_code=204)

    async def stop(self, request: Request, endpoint: EndpointRecord) -> Response:
        stops = await self._polls.stops(request, self._worker(request, endpoint))
        return json_response(wire.answer({"jobsToStop": stops})) if stops else Response(status_code=204)

    async def done(self, request: Request, endpoint: EndpointRecord) -> Response:
        worker_id, job_id = request.path_params["worker_id"], request.path_params["job_id"]
        max_bytes = limits.RUNSYNC_BYTES if job_id.startswith("sync-") else limits.RUN_BYTES
        body, size = await read(request, max_bytes)
        try:
            result = json_object(within(body, size, max_bytes), max_bytes=max_bytes, what="a result")
        except BadRequestError as error:
            # RunPod answers 400 too, and leaves the caller with a job that never ends or has no output.  A progress
            # update can be done without.
            if not wire.is_progress(body):
                self._finish(endpoint, worker_id, job_id, {"error": f"the worker's result was refused: {error}"})
            raise
        self._finish(endpoint, worker_id, job_id, result, is_stream=request.query_params.get("isStream") == "true")
        return json_response(b"{}")

    def _finish(
        self, endpoint: EndpointRecord, worker_id: str, job_id: str, result: dict[str, Any], *, is_stream: bool = False
    ) -> None:
        """Take in what a worker says of a job; what nobody expects any more is dropped."""
        worker = self._fleets.worker(endpoint.id, worker_id)
        job = self._queue.find_running(endpoint.id, worker_id, job_id)
        if result.get("status") == "IN_PROGRESS":
            if job is not None:
                self._queue.progress(job, wire.dumps(result.get("output")))
            return
        if job is not None:
            has_output = "output" in result and not (is_stream and result["output"] == [])
            self._queue.finish(
                job,
                output=wire.dumps(result["output"]) if has_output else None,
                error=wire.dumps(result["error"]) if result.get("error") else None,
            )
        if worker is not None:
            self._dispatch.answered(endpoint.id, worker, job_id)
            if result.get("stopPod") is True:
                self._dispatch.restart(worker)

    async def stream(self, request: Request, endpoint: EndpointRecord) -> Response:
        job = self._queue.find_running(endpoint.id, request.path_params["worker_id"], request.path_params["job_id"])
        try:
            body = await read_body(request, limits.RUN_BYTES)
            chunk = json_object(body, max_bytes=limits.RUN_BYTES, what="a stream chunk")
            if "output" not in chunk:
                raise BadRequestError("a stream chunk must have an output")
            pieces = wire.split_chunk(chunk["output"])
        except BadRequestError as error:
            # The SDK goes on after a chunk that was refused, and the caller would not miss it.
            if job is not None:
                self._queue.finish(job, error=wire.dumps(f"the worker's stream was refused: {error}"))
            raise
        if job is not None:
            self._queue.stream(job, pieces)
        return json_response(b"{}")

    async def ping(self, _request: Request, _endpoint: EndpointRecord) -> Response:
        # The heartbeat is a process of its own: that it beats says nothing about the worker, so nothing hangs on it.
        return json_response(b"{}")

    def _worker(self, request: Request, endpoint: EndpointRecord) -> LocalWorker:
        worker = self._fleets.worker(endpoint.id, request.path_params["worker_id"])
        if worker is None:
            raise NotFoundError(f"worker {request.path_params['worker_id']} not found")
        return worker
