"""What a caller hands in: the body of /run and /runsync, read with RunPod's limits."""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from vidctl.local.wire import BadRequestError, dumps, loads
from vidctl.runpod import limits

if TYPE_CHECKING:
    from collections.abc import Mapping


@dataclass(frozen=True)
class Submission:
    """What a caller hands in, checked; `body` is the JSON object for the worker, without the id."""

    body: bytes
    webhook: str | None
    execution_timeout_ms: int | None
    ttl_ms: int | None
    low_priority: bool


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


def new_job_id(*, is_sync: bool) -> str:
    return f"{'sync-' if is_sync else ''}{uuid.uuid4()}-u1"


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
