"""What goes over the wire: request bodies read with RunPod's limits, answers written as RunPod writes them.

Answers have their keys in alphabetical order and leave out what is not known yet, as the captured ones do.  Stored
outputs are spliced in as the JSON text they are, never parsed.
"""

from __future__ import annotations

import json
import re
import uuid
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NoReturn
from urllib.parse import urlsplit

from vidctl.errors import LocalRuntimeError
from vidctl.runpod import limits

if TYPE_CHECKING:
    from collections.abc import Mapping

    from vidctl.local.queue.job import JobRecord

_LINE = 64  # characters of a line that are looked at: more than an end mark has
_SDK = re.compile(r"RunPod-Python-SDK/(\d+)\.(\d+)")
_PROGRESS = re.compile(rb'\s*\{\s*"status"\s*:\s*"IN_PROGRESS"')


def begins_late(user_agent: str) -> bool:
    """Whether a worker's SDK begins no job that it gets while others run before one of those has ended.

    Before 1.9 its loop (rp_scale.py, run_jobs) waits for that without a time limit.
    """
    version = _SDK.match(user_agent)
    return version is not None and (int(version[1]), int(version[2])) < (1, 9)


class BadRequestError(LocalRuntimeError):
    """The request cannot be accepted; answered with HTTP 400 and the message."""


@dataclass(frozen=True)
class Submission:
    """What a caller hands in, checked; `body` is the JSON object for the worker, without the id."""

    body: bytes
    webhook: str | None
    execution_timeout_ms: int | None
    ttl_ms: int | None
    low_priority: bool


class Raw(bytes):
    """JSON text to be spliced in as it is."""


def loads(text: bytes, *, max_bytes: int) -> Any:
    """Parse strict JSON (no NaN, no Infinity); raise BadRequestError otherwise."""
    try:
        return json.loads(text, parse_constant=_refuse_constant)
    except (ValueError, RecursionError) as error:
        raise BadRequestError(f"json is invalid; max size is {max_bytes >> 20}MiB ({error})") from error


def dumps(value: Any) -> bytes:
    """JSON text in ASCII, so that no string in it, not even half a surrogate pair, cannot be sent."""
    return json.dumps(value, separators=(",", ":")).encode("ascii")


def answer(known: Mapping[str, Any]) -> bytes:
    """A JSON object of the keys that have a value, in RunPod's order."""
    parts = (
        f'"{key}":'.encode() + (value if isinstance(value, Raw) else dumps(value))
        for key, value in sorted(known.items())
        if value is not None
    )
    return b"{" + b",".join(parts) + b"}"


def read_submission(data: bytes, *, max_bytes: int) -> Submission:
    """Read the body of /run or /runsync; raise BadRequestError saying what is wrong with it."""
    request = loads(data, max_bytes=max_bytes)
    if not isinstance(request, dict):
        raise BadRequestError("the request must be a JSON object with an input")
    given = request.get("input")
    if isinstance(given, str):
        raise BadRequestError('invalid input: expected a JSON object such as {"input": {"prompt": "..."}}, got text')
    if not isinstance(given, dict) or not given:
        # RunPod takes an empty input, drops the key on its way, and the worker never sees the job: it ends FAILED
        # minutes later with "job timed out after 1 retries".  Here it is said at once.
        raise BadRequestError("input is missing or empty: expected a non-empty JSON object")
    policy = request.get("policy") or {}
    if not isinstance(policy, dict):
        raise BadRequestError("policy must be an object")
    passed_on = {key: request[key] for key in ("input", "webhook", "s3Config") if request.get(key) is not None}
    return Submission(
        body=dumps(passed_on),
        webhook=_webhook(request.get("webhook")),
        execution_timeout_ms=_policy(policy, "executionTimeout", limits.EXECUTION_TIMEOUT_MS),
        ttl_ms=_policy(policy, "ttl", limits.TTL_MS),
        low_priority=policy.get("lowPriority") is True,
    )


def is_progress(result: bytes) -> bool:
    """Whether a result that cannot be read was to be a progress update, as the SDK writes it (rp_progress.py)."""
    return _PROGRESS.match(result) is not None


def new_job_id(*, is_sync: bool) -> str:
    return f"{'sync-' if is_sync else ''}{uuid.uuid4()}-u1"


def for_worker(job: JobRecord, body: bytes) -> bytes:
    """The job object that the handler gets."""
    return b'{"id":' + dumps(job.id) + b"," + body[1:]


def status_fields(job: JobRecord, output: bytes | None, error: bytes | None) -> dict[str, Any]:
    """What /status says of a job, the last progress update of a running one included."""
    return {
        "delayTime": job.delay_ms,
        "error": None if error is None else Raw(error),
        "executionTime": job.execution_ms,
        "id": job.id,
        "output": None if output is None else Raw(output),
        "retries": job.retries or None,
        "status": job.status,
        "workerId": job.worker_id,
    }


def split_chunk(output: Any) -> list[bytes]:
    """A handler's yield as JSON texts of at most 1 MB: text is cut, what cannot be cut raises BadRequestError."""
    whole = dumps(output)
    if len(whole) <= limits.STREAM_CHUNK_BYTES:
        return [whole]
    if not isinstance(output, str):
        raise BadRequestError(f"a stream chunk has {len(whole) / (1 << 20):.1f} MiB; RunPod's limit is 1 MiB")
    size = max(1, len(output) * (limits.STREAM_CHUNK_BYTES - 2) // (2 * len(whole)))
    pieces = (output[start : start + size] for start in range(0, len(output), size))
    return [text for piece in pieces for text in split_chunk(piece)]


class Events:
    """A job's chunks as server-sent events.

    Workers that speak OpenAI's API yield the events' text themselves, cut anywhere, also inside an event: it is passed
    through.  What is no text is an event of its own.
    """

    def __init__(self) -> None:
        self._line = ""  # the beginning of the line that the text so far ends in
        self._ended_with_return = False  # whether a line feed now is the other half of a line's end
        self._is_inside = False  # whether whole lines of an event were sent, and not the blank one after them
        self.is_done = False  # whether OpenAI's end mark was sent

    def take(self, chunk: bytes) -> bytes:
        """What to send of one chunk."""
        value = json.loads(chunk)
        if not isinstance(value, str):
            return self.own(chunk)
        text = value.removeprefix("\n") if self._ended_with_return else value
        self._ended_with_return = value.endswith("\r")
        *lines, rest = re.split("\r\n|\r|\n", text)
        for line in lines:
            self._end_line(line)
        self._line = (self._line + rest)[:_LINE]
        return value.encode("utf-8", "replace")

    def own(self, data: bytes) -> bytes:
        """An event of our own, after a blank line where another is half sent."""
        return self._rest() + b"data: " + data + b"\n\n"

    def end(self) -> bytes:
        """What is missing after the last chunk: the end of an event, and OpenAI's end mark."""
        rest = self._rest()
        return rest if self.is_done else rest + b"data: [DONE]\n\n"

    def _rest(self) -> bytes:
        if not self._line and not self._is_inside:
            return b""
        ends = b"\n\n" if self._line else b"\n"
        for line in ends.splitlines():
            self._end_line(line.decode())
        return ends

    def _end_line(self, line: str) -> None:
        whole = self._line + line
        self.is_done = self.is_done or whole.rstrip() in ("data: [DONE]", "data:[DONE]")
        self._line, self._is_inside = "", whole != ""


def openai_answer(job: JobRecord, output: bytes | None, error: bytes | None, chunks: list[bytes]) -> tuple[int, bytes]:
    """HTTP status and body for a caller of /openai/v1: what the handler returned, or OpenAI's form of an error."""
    if job.status != "COMPLETED":
        return _openai_error(job, error)
    value = json.loads(output) if output is not None else [json.loads(chunk) for chunk in chunks]
    return 200, dumps(value[0] if isinstance(value, list) and len(value) == 1 else value)


def _openai_error(job: JobRecord, error: bytes | None) -> tuple[int, bytes]:
    shown = json.loads(error) if error is not None else f"the job is {job.status}"
    if not isinstance(shown, dict):
        shown = {"message": str(shown), "type": "server_error", "param": None, "code": None}
    code = shown.get("code")
    return (code if isinstance(code, int) and 400 <= code <= 599 else 500), dumps({"error": shown})


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")


def _policy(policy: Mapping[str, Any], name: str, bounds: tuple[int, int]) -> int | None:
    value, (least, most) = policy.get(name), bounds
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
        raise BadRequestError(f"policy.{name} must be milliseconds from {least} to {most}")
    return value


def _webhook(value: Any) -> str | None:
    if value in (None, ""):
        return None
    try:
        url = urlsplit(value)
        is_web = url.scheme in ("http", "https") and bool(url.hostname) and (url.port is None or url.port > 0)
    except (ValueError, AttributeError, TypeError) as error:
        raise BadRequestError("webhook must be an http(s) URL") from error
    if not is_web:
        raise BadRequestError("webhook must be an http(s) URL")
    return str(value)
