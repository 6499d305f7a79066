"""OpenAI's API, as jobs: RunPod passes each request on to the worker that speaks it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from starlette.responses import StreamingResponse

from vidctl.local import wire
from vidctl.local.api.http import json_response, read_body
from vidctl.local.api.openai_answers import Events, openai_answer
from vidctl.local.api.poll import ClientGoneError
from vidctl.runpod import limits

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from starlette.requests import Request
    from starlette.responses import Response

    from vidctl.local.api.job_calls import JobCalls
    from vidctl.local.control_plane.records import EndpointRecord
    from vidctl.local.queue.job import JobRecord

_WAIT_S = limits.DEFAULT_TTL_MS / 1000


class OpenAiRoutes:
    """Answers what is below /openai."""

    def __init__(self, calls: JobCalls) -> None:
        self._calls = calls

    async def openai(self, request: Request, endpoint: EndpointRecord) -> Response:
        data = await read_body(request, limits.RUNSYNC_BYTES)
        given = wire.loads(data, max_bytes=limits.RUNSYNC_BYTES) if data else {}
        envelope = {"openai_route": f"/{request.path_params['route']}", "openai_input": given}
        job = self._calls.submit(endpoint, wire.dumps({"input": envelope}), is_sync=True)
        if isinstance(given, dict) and given.get("stream") is True:
            return StreamingResponse(self._events(request, job), media_type="text/event-stream")
        job = await self._calls.ended(request, job, _WAIT_S)
        status, body = openai_answer(job, *self._calls.result(job), self._calls.drain(job))
        return json_response(body, status)

    async def _events(self, request: Request, job: JobRecord) -> AsyncIterator[bytes]:
        """Server-sent events: what the handler yields, an error if there is one, and OpenAI's end mark."""
        events = Events()
        while True:
            try:
                job, chunks = await self._calls.chunks(request, job, _WAIT_S)
            except ClientGoneError:
                return
            for chunk in chunks:
                yield events.take(chunk)
            if not chunks and self._calls.is_over(job):
                break
        if job.status != "COMPLETED":
            yield events.own(openai_answer(job, *self._calls.result(job), [])[1])
        yield events.end()
