"""The runtime's own routes: what it is, its workers and their logs; and GraphQL, which speaks for the records."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from vidctl import __version__
from vidctl.local import wire
from vidctl.local.api.http import integer, json_response, read_body
from vidctl.local.workers import report
from vidctl.runpod import limits

if TYPE_CHECKING:
    from starlette.requests import Request
    from starlette.responses import Response

    from vidctl.local.control_plane.records import EndpointRecord
    from vidctl.local.control_plane.store import RecordStore
    from vidctl.local.daemon import Isolation
    from vidctl.local.workers.fleet import Fleets


class RuntimeRoutes:
    """Answers who asks the runtime about itself."""

    def __init__(self, fleets: Fleets, records: RecordStore, *, isolation: Isolation, has_rate_limits: bool) -> None:
        self._fleets = fleets
        self._records = records
        self._isolation = isolation
        self._has_rate_limits = has_rate_limits

    async def about(self, _request: Request) -> Response:
        about = {
            "service": "vidctl-local",
            "version": __version__,
            "pid": os.getpid(),
            "isolation": self._isolation,
            "rateLimits": self._has_rate_limits,
        }
        return json_response(wire.dumps(about))

    async def graphql(self, request: Request) -> Response:
        # graphql-core takes 10 MB that a runtime nobody deploys to does not need
        from vidctl.local.control_plane import graphql

        status, result = graphql.respond(self._records, await read_body(request, limits.RUN_BYTES))
        return json_response(wire.dumps(result), status)

    async def workers(self, _request: Request, endpoint: EndpointRecord) -> Response:
        return json_response(wire.dumps({"workers": report.workers(self._fleets[endpoint.id])}))

    async def logs(self, request: Request, endpoint: EndpointRecord) -> Response:
        tail = integer(request, "tail", limits.DEFAULT_LOG_LINES, (0, limits.MOST_LOG_LINES))
        return json_response(wire.dumps({"logs": report.logs(self._fleets[endpoint.id], tail)}))
