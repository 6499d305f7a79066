"""What goes over the wire: JSON as RunPod reads and writes it.

Answers have their keys in alphabetical order and leave out what is not known yet, as the captured ones do.  Stored
outputs are spliced in as the JSON text they are, never parsed.
"""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any, NoReturn

from vidctl.errors import LocalRuntimeError
from vidctl.runpod import limits

if TYPE_CHECKING:
    from collections.abc import Mapping

    from vidctl.local.queue.job import JobRecord

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


def is_progress(result: bytes) -> bool:
    """Whether a result that cannot be read was to be a progress update, as the SDK writes it (rp_progress.py)."""
    return _PROGRESS.match(result) is not None


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


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")
