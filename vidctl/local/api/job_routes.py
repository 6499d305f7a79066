"""RunPod's job API for callers (RunPod docs, serverless/endpoints/send-requests)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from vidctl.local import wire
from vidctl.local.api.http import integer, json_response, read_body
from vidctl.local.workers import report
from vidctl.runpod import limits

if TYPE_CHECKING:
    from starlette.requests import Request
    from starlette.responses import Response

    from vidctl.local.api.job_calls import JobCalls
    from vidctl.local.control_plane.records import EndpointRecord
    from vidctl.local.queue.job import JobRecord
    from vidctl.local.queue.queue import JobQueue
    from vidctl.local.workers.fleet import Fleets

DEFAULT_WAIT_MS = 90_000
# RunPod documents 10 s, which is also when RunPod's own client gives up reading: a little less serves it too.
DEFAULT_STREAM_WAIT_MS = 9_000


class JobRoutes:
    """Submits, shows, streams, cancels and retries jobs."""

    def __init__(self, fleets: Fleets, queue: JobQueue, calls: JobCalls) -> None:
        self._fleets = fleets
        self._queue = queue
        self._calls = calls

    async def run(self, request: Request, endpoint: EndpointRecord) -> Response:
        job = self._calls.submit(endpoint, await read_body(request, limits.RUN_BYTES), is_sync=False)
        return _id_and_status(job)

    async def runsync(self, request: Request, endpoint: EndpointRecord) -> Response:
        wait_ms = integer(request, "wait", DEFAULT_WAIT_MS, limits.WAIT_MS)
        requested_ms = wait_ms if "wait" in request.query_params else 0
        data = await read_body(request, limits.RUNSYNC_BYTES)
        submitted = self._calls.submit(endpoint, data, is_sync=True, wait_ms=requested_ms)
        job = await self._calls.ended(request, submitted, wait_ms / 1000)
        return self._describe(job) if job.is_final else _id_and_status(job)

    async def status(self, request: Request, endpoint: EndpointRecord) -> Response:
        job = self._job(request, endpoint)
        if "ttl" in request.query_params:
            self._queue.keep_for(job, integer(request, "ttl", 0, (0, limits.TTL_MS[1])))
        return self._describe(job)

    async def status_sync(self, request: Request, endpoint: EndpointRecord) -> Response:
        """Where RunPod's JavaScript SDK waits for a job that its /runsync did not see the end of."""
        job = self._job(request, endpoint)
        wait_ms = integer(request, "wait", DEFAULT_WAIT_MS, limits.WAIT_MS)
        return self._describe(await self._calls.ended(request, job, wait_ms / 1000))

    async def stream(self, request: Request, endpoint: EndpointRecord) -> Response:
        job = self._job(request, endpoint)
        wait_ms = integer(request, "wait", DEFAULT_STREAM_WAIT_MS, limits.WAIT_MS)
        job, chunks = await self._calls.chunks(request, job, wait_ms / 1000)
        stream = b",".join(b'{"output":' + chunk + b"}" for chunk in chunks)
        return json_response(wire.answer({"status": job.status, "stream": wire.Raw(b"[" + stream + b"]")}))

    async def cancel(self, request: Request, endpoint: EndpointRecord) -> Response:
        return _id_and_status(self._queue.cancel(self._job(request, endpoint)))

    async def retry(self, request: Request, endpoint: EndpointRecord) -> Response:
        return _id_and_status(self._queue.retry(self._job(request, endpoint)))

    async def purge(self, _request: Request, endpoint: EndpointRecord) -> Response:
        return json_response(wire.answer({"removed": self._queue.purge(endpoint.id), "status": "completed"}))

    async def health(self, _request: Request, endpoint: EndpointRecord) -> Response:
        demand = self._queue.store.demand(endpoint.id, self._queue.clock())
        counts = self._queue.store.counts(endpoint.id)
        jobs = {
            "completed": counts.completed,
            "failed": counts.failed,
            "inProgress": demand.in_progress,
            "inQueue": demand.queued,
            "retried": counts.retried,
        }
        return json_response(wire.answer({"jobs": jobs, "workers": report.health(self._fleets[endpoint.id])}))

    def _job(self, request: Request, endpoint: EndpointRecord) -> JobRecord:
        return self._calls.find(endpoint.id, request.path_params["job_id"])

    def _describe(self, job: JobRecord) -> Response:
        return json_response(wire.answer(wire.status_fields(job, *self._calls.result(job))))


def _id_and_status(job: JobRecord) -> Response:
    return json_response(wire.answer({"id": job.id, "status": job.status}))
