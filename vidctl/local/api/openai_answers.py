"""OpenAI's form of a job's output: one answer, or server-sent events."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING

from vidctl.local.wire import dumps

if TYPE_CHECKING:
    from vidctl.local.queue.job import JobRecord


_LINE = 64  # characters of a line that are looked at: more than an end mark has


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
