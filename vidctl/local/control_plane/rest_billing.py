"""REST v2's billing of serverless endpoints: this machine bills nothing, so there are no records.  Pure.

The window is aligned with the buckets, as RunPod's is.  Source: RunPod's OpenAPI document 2.0.0, listServerlessBilling.
"""

from __future__ import annotations

from contextlib import suppress
from datetime import datetime, timedelta, timezone
from typing import TYPE_CHECKING, Final

from vidctl.local.control_plane.rest_wire import Json, ProblemError

if TYPE_CHECKING:
    from collections.abc import Mapping

_BUCKETS: Final = ("hour", "day", "week", "month", "year")
_AMOUNTS: Final = ("totalAmount", "gpuAmount", "cpuAmount", "diskAmount", "feeAmount")
_DEFAULT: Final = timedelta(days=30)


def serverless(query: Mapping[str, str], now: datetime) -> Json:
    """The bill of a window; raise ProblemError for a wrong query."""
    bucket = query.get("bucketSize", "day")
    if bucket not in _BUCKETS:
        raise ProblemError(422, f"bucketSize: value must be one of {', '.join(map(repr, _BUCKETS))}")
    start, end = _window(query, bucket, now)
    asked = {"startTime": _rfc3339(start), "endTime": _rfc3339(end), "bucketSize": bucket}
    return {
        "records": [],
        "metadata": {
            "query": {**asked, "serverlessId": query.get("serverlessId")},
            "recordCount": 0,
            "uniqueServerlessCount": 0,
            "totals": dict.fromkeys(_AMOUNTS, 0),
        },
    }


def _window(query: Mapping[str, str], bucket: str, now: datetime) -> tuple[datetime, datetime]:
    if "lastN" in query:
        if "startTime" in query or "endTime" in query:
            raise ProblemError(400, "lastN and startTime/endTime are mutually exclusive")
        if not (query["lastN"].isascii() and query["lastN"].isdecimal() and 0 < int(query["lastN"]) <= 100_000):
            raise ProblemError(422, "lastN must be a number of at least 1")
        start = _floor(now, bucket)
        for _ in range(int(query["lastN"]) - 1):
            start = _floor(start - timedelta(seconds=1), bucket)
        return start, _ceil(now, bucket)
    start = _time(query, "startTime", now - _DEFAULT)
    end = _time(query, "endTime", now)
    if start >= end:
        raise ProblemError(400, "startTime must be before endTime")
    return _floor(start, bucket), _ceil(end, bucket)


def _time(query: Mapping[str, str], name: str, default: datetime) -> datetime:
    if name not in query:
        return default
    with suppress(ValueError, OverflowError):
        at = datetime.fromisoformat(query[name].replace("Z", "+00:00"))
        if at.tzinfo:
            return at.astimezone(timezone.utc)
    raise ProblemError(422, f"{name} is not a time of RFC 3339")


def _floor(at: datetime, bucket: str) -> datetime:
    at = at.replace(minute=0, second=0, microsecond=0)
    if bucket == "hour":
        return at
    at = at.replace(hour=0)
    if bucket == "week":
        return at - timedelta(days=at.weekday())
    return at.replace(day=1) if bucket == "month" else at.replace(month=1, day=1) if bucket == "year" else at


def _ceil(at: datetime, bucket: str) -> datetime:
    """The end of the bucket; a time on its boundary is that end already."""
    start = _floor(at, bucket)
    longest = {"hour": timedelta(hours=1), "day": timedelta(days=1), "week": timedelta(days=7)}
    length = longest.get(bucket, timedelta(days=31 if bucket == "month" else 366))
    return at if at == start else _floor(start + length, bucket)


def _rfc3339(at: datetime) -> str:
    return at.isoformat(timespec="seconds").replace("+00:00", "Z")
