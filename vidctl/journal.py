"""What was applied and which jobs are out, in `.vidctl/journal.db`: losing it loses history, never correctness."""

from __future__ import annotations

import hashlib
import hmac
import json
import os
import sqlite3
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vidctl.errors import VidctlError
from vidctl.project.state_folder import make_state_folder

_SCHEMA = """
CREATE TABLE IF NOT EXISTS applied (
    at REAL NOT NULL, spec TEXT NOT NULL, target TEXT NOT NULL, endpoint_id TEXT NOT NULL,
    document TEXT NOT NULL, fingerprint TEXT NOT NULL, is_proven INTEGER NOT NULL
);
CREATE INDEX IF NOT EXISTS applied_by_endpoint ON applied (endpoint_id, at);
CREATE TABLE IF NOT EXISTS jobs (
    id TEXT PRIMARY KEY, endpoint_id TEXT NOT NULL, target TEXT NOT NULL, what TEXT NOT NULL,
    submitted_at REAL NOT NULL, status TEXT NOT NULL, delay_ms INTEGER, execution_ms INTEGER
);
CREATE INDEX IF NOT EXISTS jobs_by_time ON jobs (submitted_at);
CREATE TABLE IF NOT EXISTS asked (
    endpoint_id TEXT NOT NULL, digest TEXT NOT NULL, job_id TEXT NOT NULL, at REAL NOT NULL, output TEXT,
    PRIMARY KEY (endpoint_id, digest)
);
CREATE TABLE IF NOT EXISTS logins (id TEXT PRIMARY KEY, salt BLOB NOT NULL, digest BLOB NOT NULL);
"""
_REMEMBERED_S = 7 * 86_400
_VERSION = 4  # PRAGMA user_version of a journal with these tables


@dataclass(frozen=True)
class Applied:
    """What vidctl last wrote to an endpoint.

    `document` is the endpoint as `deploy.plan.document` tells it, without the values of secrets; `fingerprint` stands
    for what a smoke test proves, and `is_proven` says that it has.
    """

    at: float
    spec: str
    endpoint_id: str
    document: Mapping[str, str | None]
    fingerprint: str
    is_proven: bool


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


@dataclass(frozen=True)
class SentRequest:
    """A question that was sent before: its job, and what it answered if vidctl saw that."""

    job_id: str
    is_answered: bool
    output: Any = None


class Journal:
    """One project's journal; opened at first use, safe to use in threads and by many vidctls at once."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def applied(
        self,
        *,
        spec: str,
        target: str,
        endpoint_id: str,
        document: Mapping[str, str | None],
        fingerprint: str,
        is_proven: bool,
    ) -> None:
        """Record what was written to an endpoint and read back, and later once more that it was proved."""
        row = (time.time(), spec, target, endpoint_id, json.dumps(document), fingerprint, is_proven)
        with self._open() as database:
            database.execute("INSERT INTO applied VALUES (?, ?, ?, ?, ?, ?, ?)", row)

    def last_applied(self, endpoint_id: str) -> Applied | None:
        """What vidctl last wrote to the endpoint; None for one that it never wrote to."""
        return self._last("endpoint_id = ?", endpoint_id)

    def last_good(self, endpoint_id: str) -> Applied | None:
        """What last passed its smoke test on the endpoint."""
        return self._last("endpoint_id = ? AND is_proven", endpoint_id)

    def _last(self, condition: str, endpoint_id: str) -> Applied | None:
        if not self._path.exists():
            return None
        with self._open() as database:
            row = database.execute(
                "SELECT at, spec, endpoint_id, document, fingerprint, is_proven FROM applied"  # noqa: S608  ours
                f" WHERE {condition} ORDER BY at DESC, rowid DESC LIMIT 1",
                (endpoint_id,),
            ).fetchone()
            return row and Applied(row[0], row[1], row[2], json.loads(row[3]), row[4], bool(row[5]))

    def check(self) -> None:
        """Raise now if the journal cannot be written."""
        with self._open() as database:
            database.execute("INSERT INTO jobs VALUES ('', '', '', '', 0, '', NULL, NULL)")
            database.execute("DELETE FROM jobs WHERE id = ''")

    def sent(self, job_id: str, *, endpoint_id: str, target: str, what: str, digest: str | None = None) -> None:
        """Record a job the moment its id is known, before anyone waits for it; `digest` names what it was asked."""
        now = time.time()
        with self._open() as database:
            database.execute(
                "INSERT OR REPLACE INTO jobs (id, endpoint_id, target, what, submitted_at, status)"
                " VALUES (?, ?, ?, ?, ?, 'IN_QUEUE')",
                (job_id, endpoint_id, target, what, now),
            )
            if digest:
                database.execute("DELETE FROM asked WHERE at < ?", (now - _REMEMBERED_S,))
                database.execute(
                    "INSERT OR REPLACE INTO asked (endpoint_id, digest, job_id, at) VALUES (?, ?, ?, ?)",
                    (endpoint_id, digest, job_id, now),
                )

    def answered(self, endpoint_id: str, digest: str, output: Any) -> None:
        """Keep what a job answered, until `forget` or for a week: whoever asks again need not pay again."""
        with self._open() as database:
            database.execute(
                "UPDATE asked SET output = ? WHERE endpoint_id = ? AND digest = ?",
                (json.dumps(output), endpoint_id, digest),
            )

    def recall(self, endpoint_id: str, digest: str) -> SentRequest | None:
        """The job that was last sent with this question, and its answer."""
        if not self._path.exists():
            return None
        with self._open() as database:
            row = database.execute(
                "SELECT job_id, output FROM asked WHERE endpoint_id = ? AND digest = ?", (endpoint_id, digest)
            ).fetchone()
        return row and SentRequest(row[0], row[1] is not None, json.loads(row[1] or "null"))

    def forget(self, endpoint_id: str, digests: Iterable[str]) -> None:
        """Drop answers that have been delivered."""
        with self._open() as database:
            database.executemany(
                "DELETE FROM asked WHERE endpoint_id = ? AND digest = ?", [(endpoint_id, each) for each in digests]
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

    def login_saved(self, login_id: str, username: str, password: str) -> None:
        """Record with what RunPod was given a registry login: only a salted digest, which tells nobody the password."""
        salt = os.urandom(16)
        with self._open() as database:
            row = (login_id, salt, _login_digest(username, password, salt))
            database.execute("INSERT OR REPLACE INTO logins VALUES (?, ?, ?)", row)

    def is_login(self, login_id: str, username: str, password: str) -> bool | None:
        """Whether this is what RunPod was last given for the login; None when it was not given it from here."""
        if not self._path.exists():
            return None
        with self._open() as database:
            row = database.execute("SELECT salt, digest FROM logins WHERE id = ?", (login_id,)).fetchone()
        return row and hmac.compare_digest(row[1], _login_digest(username, password, row[0]))

    def login_removed(self, login_id: str) -> None:
        """Forget a login that is gone."""
        with self._open() as database:
            database.execute("DELETE FROM logins WHERE id = ?", (login_id,))

    @contextmanager
    def _open(self) -> Iterator[sqlite3.Connection]:
        try:
            if not self._path.exists():
                self._create()
            database = self._connected()
            try:
                database.execute("PRAGMA synchronous = NORMAL")
                if database.execute("PRAGMA user_version").fetchone()[0] < _VERSION:
                    _add_tables(database)
                with database:
                    yield database
            finally:
                database.close()
        except (sqlite3.Error, OSError, ValueError) as error:
            raise VidctlError(
                f"{self._path}: the journal cannot be used: {error}",
                hint="check disk space and permissions; with a broken one go the paid answers that --resume would find",
            ) from error

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
            database = sqlite3.connect(unfinished)
            database.execute("PRAGMA journal_mode = WAL")
            _add_tables(database)
            database.close()
            unfinished.replace(self._path)


def _login_digest(username: str, password: str, salt: bytes) -> bytes:
    return hashlib.scrypt(json.dumps([username, password]).encode(), salt=salt, n=2**14, r=8, p=1)


def _add_tables(database: sqlite3.Connection) -> None:
    """Bring a new journal, or one of an older vidctl, to this version's tables."""
    database.executescript(f"{_SCHEMA} PRAGMA user_version = {_VERSION};")
