"""A worker's log as server-sent events, as REST v2 streams it: what was, then what comes, without an end.

An event's id is the line's time and its place in the log, so that a client which comes back with the last id it saw
misses nothing and sees nothing twice.  Sources: RunPod's OpenAPI document 2.0.0, listWorkerLogs; runpod.md §2.4.
"""

from __future__ import annotations

import asyncio
import json
import re
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from typing import TYPE_CHECKING, Final, Literal

from vidctl.local.control_plane.rest_wire import ProblemError, rfc3339
from vidctl.local.queue.waiters import until_set
from vidctl.local.threads import in_thread
from vidctl.local.workers.log import NOTE
from vidctl.runpod import limits

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping

    from vidctl.local.workers.log import WorkerLog

_LOOK_S: Final = 0.25
_TIME = re.compile(r"(\d{4}-\d\d-\d\d[Tt]\d\d:\d\d:\d\d)(\.\d+)?([Zz]|[+-]\d\d:\d\d)", re.ASCII)
_CURSOR = re.compile(r"(?P<time>[^/]+)(?:/(?P<place>\d{12}))?", re.ASCII)


@dataclass(frozen=True)
class Line:
    """A line of a log: when it came, who wrote it, and `place`, the number of bytes up to its end."""

    place: int
    at_ms: int
    source: Literal["container", "system"]
    text: str


@dataclass(frozen=True)
class LogRequest:
    """Which lines a client wants: those after a place in the log, or since a time, or the last few."""

    source: str | None
    tail: int
    since_ms: int | None = None
    after_place: int | None = None

    def past(self, lines: list[Line]) -> list[Line]:
        """Of the lines that there are at the beginning, those to send."""
        if self.after_place is not None:
            return [line for line in lines if line.place > self.after_place]
        if self.since_ms is not None:
            return [line for line in lines if line.at_ms >= self.since_ms]
        return lines[-self.tail :] if self.tail else []


def read_request(query: Mapping[str, str], last_event_id: str | None) -> LogRequest:
    """Read a request: Last-Event-ID wins over `since`, and that over `tail`.  Raise ProblemError for what is wrong."""
    source = query.get("source")
    if source not in ("container", "system", None):
        raise ProblemError(422, "source: value must be one of 'container', 'system'")
    tail = _tail(query.get("tail", str(limits.DEFAULT_LOG_LINES)))
    if last_event_id:
        return _resumed(source, tail, last_event_id)
    return LogRequest(source, tail, since_ms=_milliseconds(query["since"], "since") if "since" in query else None)


def _resumed(source: str | None, tail: int, cursor: str) -> LogRequest:
    match = _CURSOR.fullmatch(cursor)
    at_ms = _milliseconds(match["time"] if match else cursor, "Last-Event-ID")
    place = match["place"] if match else None
    # A cursor without a place is a time at which the client saw a line, which it does not want twice.
    return LogRequest(source, tail, since_ms=at_ms + 1, after_place=None if place is None else int(place))


def _tail(text: str) -> int:
    with suppress(ValueError):
        if 0 <= int(text) <= limits.MOST_LOG_LINES:
            return int(text)
    raise ProblemError(422, f"tail must be a number from 0 to {limits.MOST_LOG_LINES}")


def _milliseconds(text: str, name: str) -> int:
    """A time of RFC 3339, whose fraction may have more digits than Python reads."""
    match = _TIME.fullmatch(text)
    with suppress(ValueError):
        if match:
            zone = "+00:00" if match[3] in "Zz" else match[3]
            whole = datetime.fromisoformat(match[1].upper() + zone)
            return round((whole - _EPOCH) / timedelta(milliseconds=1)) + int(1000 * float(match[2] or 0))
    raise ProblemError(422, f"{name} is not a time of RFC 3339")


_EPOCH: Final = datetime.fromisoformat("1970-01-01T00:00:00+00:00")


async def open_stream(log: WorkerLog, request: LogRequest, closing: asyncio.Event) -> AsyncIterator[bytes]:
    """A stream of the wanted lines that there are now, then of each as it comes; an idle one sends nothing.

    It ends only with the runtime.
    """
    lines, seen = await in_thread(partial(_lines, log, 0))
    return _events(log, request, request.past(_of(lines, request.source)), seen, closing)


async def _events(
    log: WorkerLog, request: LogRequest, past: list[Line], seen: int, closing: asyncio.Event
) -> AsyncIterator[bytes]:
    for line in past:
        yield _event(line)
    while not closing.is_set():
        if log.written > seen:
            lines, seen = await in_thread(partial(_lines, log, seen))
            for line in _of(lines, request.source):
                yield _event(line)
        await until_set(closing, _LOOK_S)


def _lines(log: WorkerLog, place: int) -> tuple[list[Line], int]:
    """The whole lines from a place on, and the place after them."""
    stretch = log.read(place)
    start = stretch.start
    lines = []
    for raw in stretch.data[: stretch.data.rfind(b"\n") + 1].splitlines(keepends=True):
        text = raw.decode("utf-8", "replace").rstrip("\r\n")
        at_ms = stretch.at_ms(start)
        start += len(raw)
        lines.append(Line(start, at_ms, "system" if text.startswith(NOTE) else "container", text.removeprefix(NOTE)))
    return lines, start


def _of(lines: list[Line], source: str | None) -> list[Line]:
    return [line for line in lines if source in (None, line.source)]


def _event(line: Line) -> bytes:
    at = rfc3339(line.at_ms)
    data = json.dumps({"ts": at, "source": line.source, "line": line.text}, separators=(",", ":"))
    return f"id: {at}/{line.place:012d}\ndata: {data}\n\n".encode()
