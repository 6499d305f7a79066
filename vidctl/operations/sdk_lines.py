"""Which job a line of a worker's log is about, as RunPod's SDK writes it.  Pure.

On RunPod it writes an object of JSON, elsewhere `INFO   | job-id | message` (runpod-python, serverless/modules/
rp_logger.py).  What a handler prints stands between, as it is.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass

_PLAIN = re.compile(
    r"(?P<level>TRACE|DEBUG|INFO|WARN|ERROR|TIP) *\| (?:(?P<job>[\w-]*\d[\w-]*) \| )?(?P<message>.*)", re.DOTALL
)


@dataclass(frozen=True)
class Said:
    """What a line says; `level` and `job_id` are None where it does not tell."""

    message: str
    level: str | None = None
    job_id: str | None = None


def read_line(text: str) -> Said:
    """A line taken apart; one of another form is its own message."""
    if text.startswith("{"):
        return _from_json(text)
    if found := _PLAIN.fullmatch(text):
        return Said(found["message"], found["level"], found["job"])
    return Said(text)


def _from_json(text: str) -> Said:
    try:
        entry = json.loads(text)
    except (ValueError, RecursionError):
        return Said(text)
    match entry:
        case {"requestId": job_id, "message": str(message), "level": str(level)}:
            return Said(message, level, job_id if isinstance(job_id, str) and job_id else None)
    return Said(text)
