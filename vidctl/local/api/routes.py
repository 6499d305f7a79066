"""The table of routes of the job API, the worker API, OpenAI's API and our own.

They are those of RunPod docs, serverless/endpoints/send-requests, and of runpod-python 1.12, serverless/modules.
`GET /` and `/local/v1` are our own.  What is REST v2's is in control_plane/rest.py.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from starlette.routing import Route

from vidctl.local.api.http import NotFoundError
from vidctl.runpod import limits

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from starlette.requests import Request
    from starlette.responses import Response

    from vidctl.local.api.job_routes import JobRoutes
    from vidctl.local.api.openai_routes import OpenAiRoutes
    from vidctl.local.api.rate_limits import RateLimits
    from vidctl.local.api.runtime_routes import RuntimeRoutes
    from vidctl.local.api.worker_routes import WorkerRoutes
    from vidctl.local.control_plane.records import EndpointRecord
    from vidctl.local.workers.fleet import Fleets
    from vidctl.runpod.limits import RateLimit

    Handler = Callable[[Request], Awaitable[Response]]
    EndpointHandler = Callable[[Request, EndpointRecord], Awaitable[Response]]


class RouteTable:
    """Finds the endpoint of each request, and counts it where its operation is limited."""

    def __init__(self, fleets: Fleets, rate_limits: RateLimits | None) -> None:
        self._fleets = fleets
        self._rate_limits = rate_limits

    def routes(self, jobs: JobRoutes, workers: WorkerRoutes, openai: OpenAiRoutes, own: RuntimeRoutes) -> list[Route]:
        on, base = self._on_endpoint, "/v2/{endpoint_id}"
        return [
            Route("/", own.about),
            Route(f"{base}/job-take/{{worker_id}}", on(workers.take)),
            Route(f"{base}/job-take-batch/{{worker_id}}", on(workers.take_batch)),
            Route(f"{base}/job-stop/{{worker_id}}", on(workers.stop)),
            Route(f"{base}/job-done/{{worker_id}}/{{job_id}}", on(workers.done), methods=["POST"]),
            Route(f"{base}/job-stream/{{worker_id}}/{{job_id}}", on(workers.stream), methods=["POST"]),
            Route(f"{base}/ping/{{worker_id}}", on(workers.ping)),
            Route(f"{base}/run", on(jobs.run, limits.RUN_RATE), methods=["POST"]),
            Route(f"{base}/runsync", on(jobs.runsync, limits.RUNSYNC_RATE), methods=["POST"]),
            Route(f"{base}/status/{{job_id}}", on(jobs.status, limits.STATUS_RATE), methods=["GET", "POST"]),
            Route(f"{base}/status-sync/{{job_id}}", on(jobs.status_sync, limits.STATUS_RATE)),
            Route(f"{base}/stream/{{job_id}}", on(jobs.stream, limits.STREAM_RATE)),
            Route(f"{base}/cancel/{{job_id}}", on(jobs.cancel, limits.CANCEL_RATE), methods=["POST"]),
            Route(f"{base}/retry/{{job_id}}", on(jobs.retry), methods=["POST"]),
            Route(f"{base}/purge-queue", on(jobs.purge, limits.PURGE_RATE), methods=["POST"]),
            Route(f"{base}/health", on(jobs.health)),
            Route(f"{base}/openai/{{route:path}}", on(openai.openai, limits.OPENAI_RATE), methods=["GET", "POST"]),
            Route("/graphql", own.graphql, methods=["POST"]),
            Route("/local/v1/endpoints/{endpoint_id}/workers", on(own.workers)),
            Route("/local/v1/endpoints/{endpoint_id}/logs", on(own.logs)),
        ]

    def _on_endpoint(self, handler: EndpointHandler, limit: RateLimit | None = None) -> Handler:
        async def handle(request: Request) -> Response:
            fleet = self._fleets.get(request.path_params["endpoint_id"])
            if fleet is None:
                raise NotFoundError(f"endpoint {request.path_params['endpoint_id']} not found")
            if limit is None or self._rate_limits is None:
                return await handler(request, fleet.endpoint)
            with self._rate_limits.one(fleet.endpoint.id, limit):
                return await handler(request, fleet.endpoint)

        return handle
