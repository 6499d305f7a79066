"""What REST v2 tells of an endpoint's workers, and their logs, which are streams without an end."""

from __future__ import annotations

import json

import pytest
from support.failing import failing
from support.scripted import RESET, Reply, ok, script, serving

from vidctl.errors import ApiError, AuthError, NetworkError, NotDeployedError
from vidctl.runpod.http import Http
from vidctl.runpod.types import LogLine, Worker, WorkerList
from vidctl.runpod.workers import WorkersApi

# The shape of RunPod's own example and of a live capture (runpod-plugins-official, golden-paths/15).
LISTED = {
    "endpointVersion": 2,
    "summary": {"running": 1, "idle": 0, "initializing": 0, "throttled": 1, "unhealthy": 0, "total": 2},
    "workers": [
        {
            "dataCenterId": "US-NC-1",
            "gpuCount": 1,
            "gpuTypeId": "NVIDIA GeForce RTX 4090",
            "id": "z3jr9rv2k3tt2y",
            "image": "justinrunpod/vo:v1",
            "isStale": True,
            "startedAt": "2026-08-05T21:42:31.705Z",
            "status": "RUNNING",
            "uptimeSeconds": 3600,
            "version": 1,
        },
        {"id": "a1", "status": "THROTTLED", "isStale": False, "gpuCount": 1, "gpuTypeId": None, "uptimeSeconds": None},
    ],
}


def event(source: str, line: str, at: str = "2026-08-06T17:42:52Z") -> bytes:
    return f"id: {at}\ndata: {json.dumps({'source': source, 'line': line, 'ts': at})}\n\n".encode()


def stream(*parts: bytes, never_ends: bool = False) -> Reply:
    return Reply(body=b"".join(parts), headers=(("Content-Type", "text/event-stream"),), never_ends=never_ends)


def logs(reply: Reply, **limits) -> tuple[LogLine, ...]:
    with serving(script(reply)) as server:
        return WorkersApi(Http("key"), server.url).logs("ep", "w1", **limits)


def test_workers_are_read_with_what_is_not_known_yet():
    """A worker that waits for a GPU has neither a GPU nor a place; one of an older version is stale."""
    with serving(script(ok(LISTED))) as server:
        fleet = WorkersApi(Http("key"), f"{server.url}/v2").workers("ep/1")

    old = Worker("z3jr9rv2k3tt2y", "RUNNING", True, "NVIDIA GeForce RTX 4090", "US-NC-1", "justinrunpod/vo:v1", 3600)
    waiting = Worker("a1", "THROTTLED")
    assert fleet == WorkerList((old, waiting), endpoint_version=2)
    assert fleet.fresh == (waiting,)
    assert server.paths() == ["GET /v2/serverless/ep%2F1/workers"]


def test_logs_are_asked_for_and_read():
    """The worker's own stream, with its source and how far back; colours and control characters do not come through."""
    body = (event("system", "create container you/yolo:1"), event("container", "\x1b[31mERROR\x1b[0m\tno\x07 model"))
    with serving(script(stream(*body))) as server:
        lines = WorkersApi(Http("key"), server.url).logs("ep", "w/1", source="system", tail=20)

    at = "2026-08-06T17:42:52Z"
    assert lines == (
        LogLine(at, "system", "create container you/yolo:1"),
        LogLine(at, "container", "ERROR no\N{REPLACEMENT CHARACTER} model"),
    )
    assert server.paths() == ["GET /serverless/ep/workers/w%2F1/logs?tail=20&source=system"]


def test_stream_without_an_end_gives_what_came():
    """RunPod never closes a log and sends nothing while nothing happens: the reader leaves by itself."""
    lines = logs(stream(event("container", "Worker ready."), never_ends=True), max_s=0.2)

    assert [line.text for line in lines] == ["Worker ready."]


def test_stream_is_cut_at_its_limit_of_bytes():
    """A worker that writes without pause fills neither memory nor time; the line that was cut is left out."""
    one = event("container", "x" * 100)

    lines = logs(stream(one * 1000, never_ends=True), max_s=60, max_bytes=len(one) * 3 + 80)

    assert len(lines) == 3


@pytest.mark.parametrize(
    "noise",
    [
        b": keep-alive\n\n",
        b"data: {\n\n",
        b"data: [1]\n\n",
        b'data: {"source": "elsewhere", "line": "x"}\n\n',
        b'data: {"source": "container", "line": null}\n\n',
        b"data: \xff\n\n",
        b"retry: 1000\r\n\r\n",
    ],
)
def test_what_is_no_log_line_is_passed_over(noise):
    """Comments, half-written JSON and strangers cost no line before or after them."""
    lines = logs(stream(event("system", "before"), noise, event("system", "after")))

    assert [line.text for line in lines] == ["before", "after"]


def test_stream_that_breaks_gives_what_came():
    """An answer shorter than it said it would be is no reason to forget its lines."""
    headers = (("Content-Length", "100000"), ("Connection", "close"))

    lines = logs(Reply(body=event("system", "before") + b'data: {"sou', headers=headers))

    assert [line.text for line in lines] == ["before"]


@pytest.mark.parametrize(
    ("reply", "kind"),
    [
        (Reply(401), AuthError),
        (Reply(403), AuthError),
        (Reply(404, b'{"title": "Not Found", "status": 404}'), NotDeployedError),
        (Reply(410), ApiError),
        (Reply(429, headers=(("Retry-After", "30"),)), ApiError),
        (Reply(503), ApiError),
        (Reply(302, headers=(("Location", "https://elsewhere.example"),)), ApiError),
        (RESET, NetworkError),
    ],
)
def test_logs_that_cannot_be_had_are_asked_for_once(reply, kind):
    """An explanation is not worth a wait: what refuses says so at once, as an error that a caller can pass over."""
    with serving(script(reply)) as server, pytest.raises(kind):
        WorkersApi(Http("key"), server.url).logs("ep", "w1")

    assert len(server.requests) == 1


@pytest.mark.parametrize("document", [[], {}, {"workers": None}, "text"])
def test_answer_without_workers_is_an_error(document):
    """A server of another kind is not taken for an endpoint without workers."""
    with serving(script(ok(document))) as server, failing("api_error", "/workers"):
        WorkersApi(Http("key"), server.url).workers("ep")


def test_strange_entries_are_no_workers():
    """What has no id cannot be asked about; unknown words of RunPod's are kept as they are."""
    entries = [None, {"status": "IDLE"}, {"id": "w1", "status": "NAPPING", "uptimeSeconds": "long"}]
    with serving(script(ok({"workers": entries}))) as server:
        fleet = WorkersApi(Http("key"), server.url).workers("ep")

    assert fleet == WorkerList((Worker("w1", "NAPPING"),))
