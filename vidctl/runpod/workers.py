"""What only REST v2 shows of an endpoint: its workers one by one, what each of them says, and its releases.

Source: RunPod's OpenAPI document of REST v2, `/serverless/{id}/workers` and `/serverless/{id}/workers/{workerId}/logs`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator
from typing import Any, Literal, TypeAlias
from urllib.parse import quote

from vidctl.errors import ApiError, NotDeployedError
from vidctl.runpod.http import Http
from vidctl.runpod.limits import DEFAULT_LOG_LINES
from vidctl.runpod.reading import Node, node_of, nodes, part, read
from vidctl.runpod.sse import EventReader
from vidctl.runpod.types import LogBatch, LogLine, Release, ReleaseChange, ReleaseHistory, Worker, WorkerList
from vidctl.text import SENTENCE, one_line

LogSource: TypeAlias = Literal["container", "system"]

_COLOUR = re.compile(r"\x1b\[[0-9;?]*[a-zA-Z]")


class WorkersApi:
    """The workers of one account's endpoints, at REST v2's base URL, e.g. `https://api.runpod.io/v2`.

    Where that API is not to be had its errors are raised as they come; whoever only wants to explain goes on without.
    """

    def __init__(self, http: Http, api_base_url: str) -> None:
        self._http = http
        self._base_url = api_base_url.rstrip("/")

    def workers(self, endpoint_id: str) -> WorkerList:
        """The endpoint's workers that are there now; those that were scaled down are not listed."""
        try:
            response = self._http.read("GET", self._url(endpoint_id))
        except NotDeployedError as error:
            raise NotDeployedError(f"endpoint {endpoint_id} not found", hint="vidctl list") from error
        if not isinstance(response, dict) or not isinstance(response.get("workers"), list):
            raise ApiError("invalid response from /workers: missing list 'workers'")
        return WorkerList(
            workers=tuple(filter(None, map(_worker, response["workers"]))),
            endpoint_version=_whole(response.get("endpointVersion")),
        )

    def releases(self, endpoint_id: str) -> ReleaseHistory:
        """What was saved of the endpoint, version by version (api-reference-v2, `/serverless/{id}/releases`)."""
        try:
            response = node_of(self._http.read("GET", self._url(endpoint_id, what="releases")), "/releases")
        except NotDeployedError as error:
            raise NotDeployedError(f"endpoint {endpoint_id} not found", hint="vidctl list") from error
        rollout = part(response, "rollout")
        return ReleaseHistory(
            version=read(response, "endpointVersion", int, None),
            workers_on_latest=read(rollout, "workersOnLatest", int, 0),
            workers_total=read(rollout, "workersTotal", int, 0),
            is_rolling_out=rollout.get("inProgress") is True,
            releases=tuple(map(_release, nodes(response, "releases"))),
        )

    def logs(
        self,
        endpoint_id: str,
        worker_id: str,
        *,
        source: LogSource | None = None,
        tail: int = DEFAULT_LOG_LINES,
        max_s: float = 5,
        max_bytes: int = 256 * 1024,
    ) -> tuple[LogLine, ...]:
        """The newest lines of one worker, from both sources if none is named.

        The stream never ends and is silent when nothing happens, so this takes `max_s` seconds as a rule.
        """
        url = self._url(endpoint_id, worker_id, "logs")
        params = _log_params(source, tail, None)
        reader = EventReader()
        text = self._http.stream(url, params=params, max_s=max_s, max_bytes=max_bytes)
        return tuple(_log_lines([*reader.feed(text), *reader.rest()], limit=SENTENCE))

    def follow(
        self,
        endpoint_id: str,
        worker_id: str,
        *,
        source: LogSource | None = None,
        tail: int = DEFAULT_LOG_LINES,
        since: str | None = None,
        last_id: str | None = None,
    ) -> Iterator[LogBatch]:
        """The lines of one worker as they come, whole, until the connection ends; an empty batch once it is open.

        RunPod leaves `tail` out where there is a `since` (RFC 3339), and both where there is a `last_id`: that of a
        batch after which a connection broke.  Raise NotDeployedError for a worker that is gone.
        """
        reader = EventReader()
        url = self._url(endpoint_id, worker_id, "logs")
        try:
            for text in self._http.follow(url, params=_log_params(source, tail, since), last_event_id=last_id):
                lines = tuple(_log_lines(reader.feed(text), limit=None))
                yield LogBatch(lines, reader.last_id or last_id)
        except NotDeployedError as error:
            raise NotDeployedError(f"worker {worker_id} not found: its log is gone with it") from error

    def _url(self, endpoint_id: str, *parts: str, what: str = "workers") -> str:
        path = (endpoint_id, what, *parts)
        return "/".join((self._base_url, "serverless", *(quote(part, safe="") for part in path)))


def _release(node: Node) -> Release:
    return Release(
        version=read(node, "version", int, 0),
        created_at=one_line(read(node, "createdAt", str, ""), SENTENCE),
        source=one_line(read(node, "source", str, ""), SENTENCE),
        workers=read(node, "workerCount", int, 0),
        changes=tuple(
            ReleaseChange(one_line(read(each, "field", str, ""), SENTENCE), each.get("old"), each.get("new"))
            for each in nodes(node, "diff")
        ),
    )


def _worker(entry: Any) -> Worker | None:
    if not isinstance(entry, dict) or not isinstance(entry.get("id"), str):
        return None
    return Worker(
        id=entry["id"],
        status=one_line(str(entry.get("status")), SENTENCE),
        is_stale=entry.get("isStale") is True,
        gpu_type_id=_word(entry.get("gpuTypeId")),
        data_center=_word(entry.get("dataCenterId")),
        image=_word(entry.get("image")),
        uptime_s=_whole(entry.get("uptimeSeconds")),
    )


def _log_params(source: LogSource | None, tail: int, since: str | None) -> dict[str, str]:
    which = {"since": since} if since else {"tail": str(tail)}
    return {**which, **({"source": source} if source else {})}


def _log_lines(events: Iterable[str], *, limit: int | None) -> Iterator[LogLine]:
    """The lines among a stream's events; one that was cut, or is something else, is left out."""
    for data in events:
        try:
            event = json.loads(data)
        except (ValueError, RecursionError):
            continue
        match event:
            case {"source": "container" | "system" as source, "line": str(text)}:
                # Loggers colour their lines, of which a terminal-safe line would keep the digits.
                yield LogLine(one_line(str(event.get("ts", ""))), source, one_line(_COLOUR.sub("", text), limit))


def _word(value: Any) -> str | None:
    return one_line(value, SENTENCE) if isinstance(value, str) else None


def _whole(value: Any) -> int | None:
    return value if isinstance(value, int) else None
