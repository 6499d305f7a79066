"""What the journal knows of each endpoint's jobs: how long they ran, which waits longest, which failed last."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path

from vidctl.journal.database import JournalFile

_LONGEST_S = 7 * 86_400.0  # a job's time to live at most: one that was sent before waits no more


@dataclass(frozen=True)
class JobFailure:
    """A job that ended FAILED or TIMED_OUT: `at` is when that was seen, `error` what its worker said."""

    job_id: str
    status: str
    at: float
    error: str | None = None


@dataclass(frozen=True)
class EndpointActivity:
    """What is known of an endpoint's jobs."""

    execution_ms: int = 0
    oldest_waiting_at: float | None = None
    last_failure: JobFailure | None = None


_WHERE = "WHERE submitted_at >= ? AND target = ?"
_RAN = f"SELECT endpoint_id, SUM(execution_ms) FROM jobs {_WHERE} GROUP BY endpoint_id"  # noqa: S608  ours
_WAITING = f"SELECT endpoint_id, MIN(submitted_at) FROM jobs {_WHERE} AND status = 'IN_QUEUE' GROUP BY endpoint_id"  # noqa: S608  ours
# Of a bare column SQLite gives the value in the row of the maximum (sqlite.org, lang_select, 2.5).
_FAILED = (
    "SELECT endpoint_id, id, status, coalesce(ended_at, submitted_at), error, MAX(submitted_at)"  # noqa: S608  ours
    f" FROM jobs {_WHERE} AND status IN ('FAILED', 'TIMED_OUT') GROUP BY endpoint_id"
)


def activities(path: Path, target: str, *, since: float) -> dict[str, EndpointActivity]:
    """Each endpoint's in a journal: of the jobs sent `since` how long they ran, of those of a week the rest."""
    file, week = JournalFile(path), time.time() - _LONGEST_S
    if not file.exists:
        return {}
    with file.opened() as database:
        ran = dict(database.execute(_RAN, (since, target)).fetchall())
        waiting = dict(database.execute(_WAITING, (week, target)).fetchall())
        failures = database.execute(_FAILED, (week, target)).fetchall()
    last = {row[0]: JobFailure(*row[1:5]) for row in failures}
    return {
        each: EndpointActivity(ran.get(each) or 0, waiting.get(each), last.get(each))
        for each in {*ran, *waiting, *last}
    }
