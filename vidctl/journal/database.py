"""The journal's file: made whole, private, brought from an older vidctl's tables to these, used by many at once."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from vidctl.errors import VidctlError
from vidctl.project.state_folder import make_state_folder

_VERSION = 5  # PRAGMA user_version of a journal with these tables

# What a job's row has since version 5, in a new journal and in one that had none of it.
_OF_JOBS = {
    "spec": "TEXT", "command": "TEXT", "ended_at": "REAL", "error_code": "TEXT", "error": "TEXT", "worker_id": "TEXT",
}  # fmt: skip
_TABLES = (
    """CREATE TABLE IF NOT EXISTS applied (
    at REAL NOT NULL, spec TEXT NOT NULL, target TEXT NOT NULL, endpoint_id TEXT NOT NULL,
    document TEXT NOT NULL, fingerprint TEXT NOT NULL, is_proven INTEGER NOT NULL)""",
    "CREATE INDEX IF NOT EXISTS applied_by_endpoint ON applied (endpoint_id, at)",
    """CREATE TABLE IF NOT EXISTS jobs (
    id TEXT PRIMARY KEY, endpoint_id TEXT NOT NULL, target TEXT NOT NULL, what TEXT NOT NULL,
    submitted_at REAL NOT NULL, status TEXT NOT NULL, delay_ms INTEGER, execution_ms INTEGER)""",
    "CREATE INDEX IF NOT EXISTS jobs_by_time ON jobs (submitted_at)",
    "CREATE INDEX IF NOT EXISTS jobs_by_endpoint ON jobs (endpoint_id, submitted_at)",
    """CREATE TABLE IF NOT EXISTS asked (
    endpoint_id TEXT NOT NULL, digest TEXT NOT NULL, job_id TEXT NOT NULL, at REAL NOT NULL,
    PRIMARY KEY (endpoint_id, digest))""",
    "CREATE INDEX IF NOT EXISTS asked_by_job ON asked (job_id)",
    """CREATE TABLE IF NOT EXISTS outputs (
    job_id TEXT PRIMARY KEY, kept_at REAL NOT NULL, until REAL NOT NULL, bytes INTEGER NOT NULL,
    output TEXT NOT NULL)""",
    "CREATE INDEX IF NOT EXISTS outputs_by_age ON outputs (kept_at)",
    "CREATE INDEX IF NOT EXISTS outputs_by_end ON outputs (until)",
    # How large all outputs are, without reading each.
    "CREATE TABLE IF NOT EXISTS outputs_size (bytes INTEGER NOT NULL)",
    """CREATE TRIGGER IF NOT EXISTS output_kept AFTER INSERT ON outputs BEGIN
    UPDATE outputs_size SET bytes = bytes + new.bytes; END""",
    """CREATE TRIGGER IF NOT EXISTS output_dropped AFTER DELETE ON outputs BEGIN
    UPDATE outputs_size SET bytes = bytes - old.bytes; END""",
    "INSERT INTO outputs_size SELECT 0 WHERE NOT EXISTS (SELECT * FROM outputs_size)",
    "CREATE TABLE IF NOT EXISTS logins (id TEXT PRIMARY KEY, salt BLOB NOT NULL, digest BLOB NOT NULL)",
)
# An older vidctl kept a job's output, for a week, beside what the job was sent with.
_OUTPUTS_OF_ASKED = (
    "INSERT OR IGNORE INTO outputs"
    " SELECT job_id, at, at + 604800, length(output), output FROM asked WHERE output IS NOT NULL"
)


class JournalFile:
    """One project's journal on disk; opened at first use, safe to use in threads and by many vidctls at once."""

    def __init__(self, path: Path) -> None:
        self._path = path

    @property
    def exists(self) -> bool:
        return self._path.exists()

    @contextmanager
    def opened(self) -> Iterator[sqlite3.Connection]:
        """One transaction, in a journal that is made if there is none; raise VidctlError if it cannot be used."""
        try:
            if not self._path.exists():
                self._create()
            with closing(self._connected()) as database:
                database.execute("PRAGMA synchronous = NORMAL")
                if _version(database) < _VERSION:
                    _upgrade(database)
                with database:
                    yield database
        except (sqlite3.Error, OSError, ValueError) as error:
            raise VidctlError(
                f"{self._path}: the journal cannot be used: {error}",
                hint="check disk space and permissions; with a broken one go the paid answers that --resume would find",
            ) from error

    def shrink(self) -> None:
        """Give the space of what was deleted back, so that nothing of it is left in the file."""
        with self.opened() as database:
            database.commit()  # both are refused within a transaction
            database.execute("VACUUM")
            database.execute("PRAGMA wal_checkpoint(TRUNCATE)")

    def _connected(self) -> sqlite3.Connection:
        if os.access(self._path.parent, os.W_OK):
            return sqlite3.connect(self._path, timeout=30)
        # In a folder that cannot be written SQLite reads a journal in WAL mode only if told that nobody else writes;
        # what an older vidctl left is completed in memory.
        database = sqlite3.connect(":memory:")
        with closing(sqlite3.connect(f"{self._path.resolve().as_uri()}?immutable=1", uri=True)) as there:
            there.backup(database)
        return database

    def _create(self) -> None:
        """Make the file whole before it has its name: switching to WAL is one thing that SQLite does not wait for."""
        from filelock import FileLock

        folder = self._path.parent
        make_state_folder(folder)
        with FileLock(folder / "journal.lock"):
            if self._path.exists():
                return
            unfinished = folder / "journal.new"
            unfinished.unlink(missing_ok=True)
            unfinished.touch(mode=0o600)
            with closing(sqlite3.connect(unfinished)) as database:
                database.execute("PRAGMA journal_mode = WAL")
                _upgrade(database)
            unfinished.replace(self._path)


def _version(database: sqlite3.Connection) -> int:
    return int(database.execute("PRAGMA user_version").fetchone()[0])


def _upgrade(database: sqlite3.Connection) -> None:
    """Bring a new journal, or one of an older vidctl, to this version's tables; of two at once the second waits."""
    with database:
        database.execute("BEGIN IMMEDIATE")
        if _version(database) >= _VERSION:
            return
        for statement in _TABLES:
            database.execute(statement)
        for column in _OF_JOBS.keys() - _columns(database, "jobs"):
            database.execute(f"ALTER TABLE jobs ADD COLUMN {column} {_OF_JOBS[column]}")
        if "output" in _columns(database, "asked"):
            database.execute(_OUTPUTS_OF_ASKED)
            database.execute("ALTER TABLE asked DROP COLUMN output")
        database.execute(f"PRAGMA user_version = {_VERSION}")


def _columns(database: sqlite3.Connection, table: str) -> set[str]:
    return {row[1] for row in database.execute(f"PRAGMA table_info({table})")}
