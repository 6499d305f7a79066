"""The SQLite store that loses no job.

Inputs, outputs and stream chunks are JSON text in the database, never in memory.
"""

from __future__ import annotations

import sqlite3
from contextlib import contextmanager
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING

from vidctl.local.queue.job import JobRecord, is_expired
from vidctl.local.queue.transitions import taken

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

BATCH_BYTES = 20 << 20
ALWAYS = 0  # a time at which no job has expired yet


@dataclass(frozen=True)
class Demand:
    """What waits and runs at one endpoint.  `oldest_wait_ms` and `urgent` leave out low-priority jobs."""

    queued: int = 0
    in_progress: int = 0
    urgent: int = 0
    oldest_wait_ms: int = 0


@dataclass(frozen=True)
class JobCounts:
    """What /health counts since the endpoint exists."""

    completed: int = 0
    failed: int = 0
    retried: int = 0


_COLUMNS = tuple(field.name for field in fields(JobRecord))
_SELECT = f"SELECT {', '.join(_COLUMNS)} FROM jobs"  # noqa: S608  (our own column names)
_INSERT = f"INSERT INTO jobs ({', '.join(_COLUMNS)}) VALUES ({', '.join('?' * len(_COLUMNS))})"  # noqa: S608
_MUTABLE = _COLUMNS[2:]
_UPDATE = f"UPDATE jobs SET {', '.join(f'{name} = ?' for name in _MUTABLE)} WHERE id = ?"  # noqa: S608

_SCHEMA = """
CREATE TABLE IF NOT EXISTS jobs (
    seq INTEGER PRIMARY KEY,
    id TEXT NOT NULL UNIQUE,
    endpoint_id TEXT NOT NULL,
    queued_at_ms INTEGER NOT NULL,
    expires_at_ms INTEGER NOT NULL,
    status TEXT NOT NULL,
    ttl_ms INTEGER NOT NULL,
    retention_ms INTEGER NOT NULL,
    execution_timeout_ms INTEGER,
    started_at_ms INTEGER,
    deadline_at_ms INTEGER,
    finished_at_ms INTEGER,
    worker_id TEXT,
    retries INTEGER NOT NULL,
    low_priority INTEGER NOT NULL,
    webhook TEXT,
    webhook_tries INTEGER NOT NULL,
    webhook_due_at_ms INTEGER
);
CREATE INDEX IF NOT EXISTS jobs_queue ON jobs (endpoint_id, low_priority, seq, expires_at_ms)
    WHERE status = 'IN_QUEUE';
CREATE INDEX IF NOT EXISTS jobs_running ON jobs (endpoint_id, worker_id) WHERE status = 'IN_PROGRESS';
CREATE INDEX IF NOT EXISTS jobs_deadline ON jobs (deadline_at_ms) WHERE deadline_at_ms IS NOT NULL;
CREATE INDEX IF NOT EXISTS jobs_expiry ON jobs (expires_at_ms);
CREATE INDEX IF NOT EXISTS jobs_webhook ON jobs (webhook_due_at_ms) WHERE webhook_due_at_ms IS NOT NULL;
CREATE TABLE IF NOT EXISTS job_inputs (job_id TEXT PRIMARY KEY, body BLOB NOT NULL);
CREATE TABLE IF NOT EXISTS job_outputs (job_id TEXT PRIMARY KEY, output BLOB, error BLOB);
CREATE TABLE IF NOT EXISTS job_chunks (
    seq INTEGER PRIMARY KEY AUTOINCREMENT,
    job_id TEXT NOT NULL,
    chunk BLOB NOT NULL
);
CREATE INDEX IF NOT EXISTS job_chunks_job ON job_chunks (job_id, seq);
CREATE TABLE IF NOT EXISTS job_tallies (
    endpoint_id TEXT PRIMARY KEY,
    completed INTEGER NOT NULL DEFAULT 0,
    failed INTEGER NOT NULL DEFAULT 0,
    retried INTEGER NOT NULL DEFAULT 0
);
"""


class JobStore:
    """The jobs of all endpoints in one SQLite file; each method is one transaction, durable when it returns.

    WAL with synchronous=NORMAL: a killed process loses nothing that was answered, and a commit costs no fsync.
    """

    def __init__(self, database: Path) -> None:
        self._db = sqlite3.connect(database, isolation_level=None, timeout=10)
        self._db.execute("PRAGMA journal_mode = WAL")
        self._db.execute("PRAGMA synchronous = NORMAL")
        self._db.execute(f"PRAGMA journal_size_limit = {64 << 20}")
        self._db.executescript(_SCHEMA)

    def close(self) -> None:
        self._db.close()

    def add(self, job: JobRecord, body: bytes) -> None:
        """Put a new job in the queue; `body` is the JSON object that its worker gets, without the id."""
        with self._transaction():
            self._db.execute(_INSERT, _row(job))
            self._db.execute("INSERT INTO job_inputs VALUES (?, ?)", (job.id, body))

    def get(self, job_id: str, now_ms: int) -> JobRecord | None:
        """The job, or None when there is none or RunPod would have forgotten it."""
        row = self._db.execute(f"{_SELECT} WHERE id = ?", (job_id,)).fetchone()
        job = None if row is None else _job(row)
        return None if job is None or is_expired(job, now_ms) else job

    def body(self, job_id: str) -> bytes:
        """The JSON object that was given to `add`."""
        (body,) = self._db.execute("SELECT body FROM job_inputs WHERE job_id = ?", (job_id,)).fetchone()
        return bytes(body)

    def result(self, job_id: str) -> tuple[bytes | None, bytes | None]:
        """(output, error) as JSON text; None where there is none."""
        row = self._db.execute("SELECT output, error FROM job_outputs WHERE job_id = ?", (job_id,)).fetchone()
        return (None, None) if row is None else row

    def take(
        self, endpoint_id: str, now_ms: int, *, worker_id: str, limit: int, execution_timeout_ms: int
    ) -> list[tuple[JobRecord, bytes]]:
        """Give up to `limit` queued jobs to a worker, the oldest first, low priority last.

        Their bodies together have at most BATCH_BYTES, but for a first one that is larger.
        """
        query = (
            f"{_SELECT} WHERE endpoint_id = ? AND status = 'IN_QUEUE' AND expires_at_ms > ? "
            "ORDER BY low_priority, seq LIMIT ?"
        )
        jobs = [_job(row) for row in self._db.execute(query, (endpoint_id, now_ms, limit)).fetchall()]
        if not jobs:
            return []
        given: list[tuple[JobRecord, bytes]] = []
        size = 0
        with self._transaction():
            for job in jobs:
                body = self.body(job.id)
                size += len(body)
                if given and size > BATCH_BYTES:
                    break
                after = taken(job, now_ms, worker_id=worker_id, execution_timeout_ms=execution_timeout_ms)
                given.append((after, body))
            self._db.executemany(_UPDATE, [_update(job) for job, _ in given])
        return given

    def save(
        self, job: JobRecord, *, output: bytes | None = None, error: bytes | None = None, is_retry: bool = False
    ) -> None:
        """Write a job that a transition changed, with its result; one that goes back to the queue loses its traces.

        `is_retry`: it goes back because its worker was lost, which /health counts.
        """
        with self._transaction():
            self._db.execute(_UPDATE, _update(job))
            if job.status == "IN_QUEUE":
                self._db.execute("DELETE FROM job_outputs WHERE job_id = ?", (job.id,))
                self._db.execute("DELETE FROM job_chunks WHERE job_id = ?", (job.id,))
            elif output is not None or error is not None:
                self._db.execute("INSERT OR REPLACE INTO job_outputs VALUES (?, ?, ?)", (job.id, output, error))
            elif job.is_final:
                # What is there is the last progress update.
                self._db.execute("DELETE FROM job_outputs WHERE job_id = ?", (job.id,))
            if not job.needs_input:
                self._db.execute("DELETE FROM job_inputs WHERE job_id = ?", (job.id,))
            self._count(job, is_retry=is_retry)

    def keep(self, job: JobRecord) -> None:
        """Write for how long a job is to be kept."""
        with self._transaction():
            self._db.execute(
                "UPDATE jobs SET retention_ms = ?, expires_at_ms = ? WHERE id = ?",
                (job.retention_ms, job.expires_at_ms, job.id),
            )

    def append(self, job_id: str, chunks: Sequence[bytes]) -> None:
        """Keep what a generator handler yielded until somebody drains it."""
        with self._transaction():
            self._db.executemany(
                "INSERT INTO job_chunks (job_id, chunk) VALUES (?, ?)", [(job_id, chunk) for chunk in chunks]
            )

    def drain(self, job_id: str, *, max_bytes: int) -> list[bytes]:
        """Hand out and forget the chunks of a job in order; what passes `max_bytes` waits for the next call."""
        chunks: list[bytes] = []
        size, last = 0, -1
        with self._transaction():
            rows = self._db.execute("SELECT seq, chunk FROM job_chunks WHERE job_id = ? ORDER BY seq", (job_id,))
            for seq, chunk in rows:
                if chunks and size + len(chunk) > max_bytes:
                    break
                chunks.append(chunk)
                size, last = size + len(chunk), seq
            self._db.execute("DELETE FROM job_chunks WHERE job_id = ? AND seq <= ?", (job_id, last))
        return chunks

    def running(self, *, worker_id: str | None = None, endpoint_id: str | None = None) -> list[JobRecord]:
        """Jobs in progress: all, or those of one worker or endpoint."""
        query, values = f"{_SELECT} WHERE status = 'IN_PROGRESS'", []
        for name, value in (("worker_id", worker_id), ("endpoint_id", endpoint_id)):
            if value is not None:
                query += f" AND {name} = ?"
                values.append(value)
        return [_job(row) for row in self._db.execute(query, values).fetchall()]

    def overdue(self, now_ms: int) -> list[JobRecord]:
        """Jobs in progress past their execution time-out."""
        return self._list("status = 'IN_PROGRESS' AND deadline_at_ms <= ?", now_ms)

    def expired(self, now_ms: int, *, limit: int = 500) -> list[JobRecord]:
        """Jobs past their TTL or retention that still take space; one whose webhook is due is needed for it."""
        return self._list("expires_at_ms <= ? AND webhook_due_at_ms IS NULL LIMIT ?", now_ms, limit)

    def webhooks_due(self, now_ms: int, *, limit: int) -> list[JobRecord]:
        return self._list("webhook_due_at_ms <= ? ORDER BY webhook_due_at_ms LIMIT ?", now_ms, limit)

    def note_webhook(self, job: JobRecord) -> None:
        """Write down how far the delivery of a job's webhook has come."""
        with self._transaction():
            self._db.execute(
                "UPDATE jobs SET webhook_tries = ?, webhook_due_at_ms = ? WHERE id = ?",
                (job.webhook_tries, job.webhook_due_at_ms, job.id),
            )
            if not job.needs_input:
                self._db.execute("DELETE FROM job_inputs WHERE job_id = ?", (job.id,))

    def delete(self, job_ids: Sequence[str]) -> None:
        ids = [(job_id,) for job_id in job_ids]
        with self._transaction():
            self._db.executemany("DELETE FROM jobs WHERE id = ?", ids)
            self._db.executemany("DELETE FROM job_inputs WHERE job_id = ?", ids)
            self._db.executemany("DELETE FROM job_outputs WHERE job_id = ?", ids)
            self._db.executemany("DELETE FROM job_chunks WHERE job_id = ?", ids)

    def delete_endpoint(self, endpoint_id: str) -> None:
        """Forget all jobs and counts of an endpoint."""
        rows = self._db.execute("SELECT id FROM jobs WHERE endpoint_id = ?", (endpoint_id,)).fetchall()
        self.delete([job_id for (job_id,) in rows])
        self._db.execute("DELETE FROM job_tallies WHERE endpoint_id = ?", (endpoint_id,))

    def queued(self, endpoint_id: str) -> list[JobRecord]:
        return self._list("endpoint_id = ? AND status = 'IN_QUEUE' ORDER BY low_priority, seq", endpoint_id)

    def demand(self, endpoint_id: str, now_ms: int) -> Demand:
        queue = "FROM jobs WHERE endpoint_id = ? AND status = 'IN_QUEUE' AND expires_at_ms > ?"
        (queued,) = self._db.execute(f"SELECT COUNT(*) {queue}", (endpoint_id, now_ms)).fetchone()
        (in_progress,) = self._db.execute(
            "SELECT COUNT(*) FROM jobs WHERE endpoint_id = ? AND status = 'IN_PROGRESS'", (endpoint_id,)
        ).fetchone()
        if not queued:
            return Demand(0, in_progress)
        urgent_queue = f"{queue} AND low_priority = 0"
        (urgent,) = self._db.execute(f"SELECT COUNT(*) {urgent_queue}", (endpoint_id, now_ms)).fetchone()
        first = self._db.execute(
            f"SELECT queued_at_ms {urgent_queue} ORDER BY seq LIMIT 1", (endpoint_id, now_ms)
        ).fetchone()
        return Demand(queued, in_progress, urgent, max(0, now_ms - first[0]) if first else 0)

    def counts(self, endpoint_id: str) -> JobCounts:
        query = "SELECT completed, failed, retried FROM job_tallies WHERE endpoint_id = ?"
        row = self._db.execute(query, (endpoint_id,)).fetchone()
        return JobCounts(*row) if row else JobCounts()

    def _count(self, job: JobRecord, *, is_retry: bool) -> None:
        counted = {"COMPLETED": "completed", "FAILED": "failed", "TIMED_OUT": "failed"}
        column = "retried" if is_retry else counted.get(job.status)
        if column:
            self._db.execute(
                f"INSERT INTO job_tallies (endpoint_id, {column}) VALUES (?, 1) "  # noqa: S608
                f"ON CONFLICT (endpoint_id) DO UPDATE SET {column} = {column} + 1",
                (job.endpoint_id,),
            )

    def _list(self, condition: str, *values: int | str) -> list[JobRecord]:
        return [_job(row) for row in self._db.execute(f"{_SELECT} WHERE {condition}", values).fetchall()]

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        self._db.execute("BEGIN IMMEDIATE")
        try:
            yield
        except BaseException:
            self._db.execute("ROLLBACK")
            raise
        self._db.execute("COMMIT")


def _row(job: JobRecord) -> tuple[object, ...]:
    return tuple(getattr(job, name) for name in _COLUMNS)


def _update(job: JobRecord) -> tuple[object, ...]:
    return (*(getattr(job, name) for name in _MUTABLE), job.id)


def _job(row: tuple[object, ...]) -> JobRecord:
    return JobRecord(*row)  # type: ignore[arg-type]  # the columns are the fields, in their order
