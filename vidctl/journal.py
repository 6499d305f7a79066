"""What was deployed and which jobs are out, in `.vidctl/journal.db`: losing it loses history, never correctness."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from vidctl.errors import VidctlError

_SCHEMA = """
CREATE TABLE IF NOT EXISTS deployments (
    at REAL NOT NULL, spec TEXT NOT NULL, target TEXT NOT NULL, endpoint_id TEXT NOT NULL, image TEXT NOT NULL,
    fingerprint TEXT NOT NULL
);
CREATE TABLE IF NOT EXISTS jobs (
    id TEXT PRIMARY KEY, endpoint_id TEXT NOT NULL, target TEXT NOT NULL, what TEXT NOT NULL,
    submitted_at REAL NOT NULL, status TEXT NOT NULL, delay_ms INTEGER, execution_ms INTEGER
);
CREATE INDEX IF NOT EXISTS jobs_by_time ON jobs (submitted_at);
"""


@dataclass(frozen=True)
class JobEntry:
    """One job that vidctl sent: `status` is the last that vidctl saw, IN_QUEUE from the moment it was sent."""

    id: str
    endpoint_id: str
    target: str
    what: str
    submitted_at: float
    status: str
    delay_ms: int | None = None
    execution_ms: int | None = None


class Journal:
    """One project's journal; opened at first use, safe to use in threads and by many vidctls at once."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def deployed(self, *, spec: str, target: str, endpoint_id: str, image: str, fingerprint: str) -> None:
        """Record one deploy that passed its smoke test; `fingerprint` stands for what was proved."""
        row = (time.time(), spec, target, endpoint_id, image, fingerprint)
        with self._open() as database:
            database.execute("INSERT INTO deployments VALUES (?, ?, ?, ?, ?, ?)", row)

    def is_proven(self, endpoint_id: str, fingerprint: str) -> bool:
        """Whether the last recorded deploy of the endpoint proved just this."""
        if not self._path.exists():
            return False
        with self._open() as database:
            row = database.execute(
                "SELECT fingerprint FROM deployments WHERE endpoint_id = ? ORDER BY at DESC LIMIT 1", (endpoint_id,)
            ).fetchone()
        return row is not None and row[0] == fingerprint

    def check(self) -> None:
        """Raise now if the journal cannot be written."""
        with self._open() as database:
            database.execute("INSERT INTO jobs VALUES ('', '', '', '', 0, '', NULL, NULL)")
            database.execute("DELETE FROM jobs WHERE id = ''")

    def sent(self, job_id: str, *, endpoint_id: str, target: str, what: str) -> None:
        """Record a job the moment its id is known, before anyone waits for it."""
        row = (job_id, endpoint_id, target, what, time.time())
        with self._open() as database:
            database.execute(
                "INSERT OR REPLACE INTO jobs (id, endpoint_id, target, what, submitted_at, status)"
                " VALUES (?, ?, ?, ?, ?, 'IN_QUEUE')",
                row,
            )

    def ended(self, job_id: str, *, status: str, delay_ms: int | None = None, execution_ms: int | None = None) -> None:
        """Record how a job ended."""
        with self._open() as database:
            database.execute(
                "UPDATE jobs SET status = ?, delay_ms = ?, execution_ms = ? WHERE id = ?",
                (status, delay_ms, execution_ms, job_id),
            )

    def jobs(self, *, limit: int = 20) -> list[JobEntry]:
        """The newest jobs first; none in a project that never sent one."""
        if not self._path.exists():
            return []
        with self._open() as database:
            rows = database.execute(
                "SELECT id, endpoint_id, target, what, submitted_at, status, delay_ms, execution_ms"
                " FROM jobs ORDER BY submitted_at DESC, rowid DESC LIMIT ?",
                (limit,),
            ).fetchall()
        return [JobEntry(*row) for row in rows]

    @contextmanager
    def _open(self) -> Iterator[sqlite3.Connection]:
        try:
            if not self._path.exists():
                self._create()
            database = sqlite3.connect(self._path, timeout=30)
            try:
                database.execute("PRAGMA synchronous = NORMAL")
                with database:
                    yield database
            finally:
                database.close()
        except (sqlite3.Error, OSError) as error:
            raise VidctlError(
                f"{self._path}: the journal cannot be used: {error}",
                hint="check room and permissions; a broken journal may be deleted: it holds history only",
            ) from error

    def _create(self) -> None:
        """Make the file whole before it has its name: switching to WAL is one thing that SQLite does not wait for."""
        from filelock import FileLock

        folder = self._path.parent
        folder.mkdir(parents=True, exist_ok=True)
        (folder / ".gitignore").write_text("*\n")
        with FileLock(folder / "journal.lock"):
            if self._path.exists():
                return
            unfinished = folder / "journal.new"
            unfinished.unlink(missing_ok=True)
            unfinished.touch(mode=0o600)
            database = sqlite3.connect(unfinished)
            database.execute("PRAGMA journal_mode = WAL")
            database.executescript(_SCHEMA)
            database.close()
            unfinished.replace(self._path)
