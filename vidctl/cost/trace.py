"""An arrival trace: when jobs come, and how long each runs, as a CSV file tells it.  Pure: text in, values out.

The first line names the columns: `at_s` (seconds from any beginning) or a time of ISO 8601, and `execution_s`, which
may be missing.  Other spellings that logs have are taken too (see `_AT`, `_EXECUTION`), and other columns are ignored.
"""

from __future__ import annotations

import csv
import math
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timezone

from vidctl.cost.simulate import Arrival
from vidctl.errors import UsageError

# Spelled in small letters and without spaces, hyphens and underscores; the last part is what a second is of its unit.
_AT = ("ats", "at", "time", "timestamp", "times", "seconds", "submittedat", "submitted", "arrival", "arrivals")
_EXECUTION = {
    **dict.fromkeys(("executions", "execution", "executiontime", "duration", "durations", "runs"), 1.0),
    **dict.fromkeys(("executionms", "executiontimems", "durationms"), 0.001),
}


@dataclass(frozen=True)
class TraceRow:
    """One job of a trace: seconds since the first one, and how long it runs if the trace says it."""

    at_s: float
    execution_s: float | None


def read_trace(text: str, name: str) -> list[TraceRow]:
    """The jobs, the first at 0, in the order of their times; raise UsageError with the line that is wrong."""
    rows = csv.DictReader(text.removeprefix("\ufeff").splitlines())
    columns = {_plain(column): column for column in rows.fieldnames or ()}
    at = next((columns[each] for each in _AT if each in columns), None)
    if at is None:
        raise UsageError(
            f"{name}: no column with the time of each job: {', '.join(rows.fieldnames or ()) or 'the file is empty'}",
            hint="name the columns in the first line: at_s (seconds, or a time as 2026-05-01T12:00:00Z), execution_s",
        )
    took = next((each for each in _EXECUTION if each in columns), None)
    found = [
        _row(row, rows.line_num, name, at, columns.get(took or ""), _EXECUTION.get(took or "", 1.0)) for row in rows
    ]
    if not found:
        raise UsageError(f"{name}: no jobs", hint="one line for each job follows the names of the columns")
    first_s = min(each.at_s for each in found)
    return sorted((TraceRow(each.at_s - first_s, each.execution_s) for each in found), key=lambda each: each.at_s)


def arrivals(rows: Iterable[TraceRow], otherwise_s: float | None) -> list[Arrival] | None:
    """The jobs to simulate, with a time for those whose trace has none; None where there is none either."""
    found = [(each.at_s, otherwise_s if each.execution_s is None else each.execution_s) for each in rows]
    if any(execution_s is None for _, execution_s in found):
        return None
    return [Arrival(at_s, execution_s) for at_s, execution_s in found if execution_s is not None]


def _row(
    row: Mapping[str, str | None], line: int, name: str, at: str, execution: str | None, unit_s: float
) -> TraceRow:
    at_s = _time_s(row.get(at) or "")
    if at_s is None:
        raise UsageError(f"{name}:{line}: invalid {at} {row.get(at)!r}: expected seconds, or a time of ISO 8601")
    text = (row.get(execution) or "").strip() if execution else ""
    if not text:
        return TraceRow(at_s, None)
    execution_s = _number(text)
    if execution_s is None or execution_s < 0:
        raise UsageError(f"{name}:{line}: invalid {execution} {text!r}: expected a number")
    return TraceRow(at_s, execution_s * unit_s)


def _time_s(text: str) -> float | None:
    """Seconds, or a time; one without a zone is UTC."""
    text = text.strip()
    number = _number(text)
    if number is not None:
        return number
    with suppress(ValueError):
        at = datetime.fromisoformat(f"{text[:-1]}+00:00" if text[-1:] in ("Z", "z") else text)
        return (at if at.tzinfo else at.replace(tzinfo=timezone.utc)).timestamp()
    return None


def _number(text: str) -> float | None:
    with suppress(ValueError):
        number = float(text)
        return number if math.isfinite(number) else None
    return None


def _plain(column: str) -> str:
    return "".join(letter for letter in column.lower() if letter.isalnum())
