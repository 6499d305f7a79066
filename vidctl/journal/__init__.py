"""What was applied and which jobs are out, in `.vidctl/journal.db`: losing it loses history, never correctness."""

from __future__ import annotations

import hashlib
import hmac
import json
import os
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vidctl.journal.database import JournalFile

if TYPE_CHECKING:
    import sqlite3

REMEMBERED_S = 7 * 86_400.0  # how long an answer is kept where nobody says otherwise
LARGEST_BYTES = 1_000_000_000  # of all outputs together

_JOB = (
    "id, endpoint_id, target, what, submitted_at, status, delay_ms, execution_ms,"
    " spec, command, ended_at, error_code, error, worker_id"
)


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
    """One job that vidctl sent: `status` is the last that vidctl saw, IN_QUEUE from the moment it was sent.

    `spec` is the key of the endpoint's spec, and `command` the one that sent it, as far as they are known; `ended_at`
    is when its end was seen here.
    """

    id: str
    endpoint_id: str
    target: str
    what: str
    submitted_at: float
    status: str
    delay_ms: int | None = None
    execution_ms: int | None = None
    spec: str | None = None
    command: str | None = None
    ended_at: float | None = None
    error_code: str | None = None
    error: str | None = None
    worker_id: str | None = None


@dataclass(frozen=True)
class SentRequest:
    """A question that was sent before: its job, and what it answered, and when, if vidctl saw that.

    Without a job's id nobody knows whether it was accepted.
    """

    job_id: str
    is_answered: bool
    output: Any = None
    answered_at: float | None = None
    delay_ms: int | None = None
    execution_ms: int | None = None


@dataclass(frozen=True)
class KeptOutput:
    """What a job put out, as it was seen."""

    output: Any
    kept_at: float


@dataclass(frozen=True)
class KeptSize:
    """How many outputs there are, and how large they are together."""

    outputs: int
    bytes: int


class Journal:
    """One project's journal; opened at first use, safe to use in threads and by many vidctls at once.

    Of all outputs together at most `largest_bytes` are kept, the newest.
    """

    def __init__(self, path: Path, *, largest_bytes: int = LARGEST_BYTES) -> None:
        self._file = JournalFile(path)
        self._largest_bytes = largest_bytes
        self._is_pruned = False  # once in the life of a command is enough for what only age ends

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
        with self._file.opened() as database:
            database.execute("INSERT INTO applied VALUES (?, ?, ?, ?, ?, ?, ?)", row)

    def last_applied(self, endpoint_id: str) -> Applied | None:
        """What vidctl last wrote to the endpoint; None for one that it never wrote to."""
        return self._last("endpoint_id = ?", endpoint_id)

    def last_good(self, endpoint_id: str) -> Applied | None:
        """What last passed its smoke test on the endpoint."""
        return self._last("endpoint_id = ? AND is_proven", endpoint_id)

    def _last(self, condition: str, endpoint_id: str) -> Applied | None:
        return next(iter(self._applied(condition, endpoint_id, limit=1)), None)

    def all_applied(self, endpoint_id: str) -> list[Applied]:
        """All that vidctl wrote to the endpoint, the newest first."""
        return self._applied("endpoint_id = ?", endpoint_id, limit=-1)

    def applied_specs(self, target: str) -> set[str]:
        """The keys of all specs that were ever deployed to the target."""
        return self._column("SELECT DISTINCT spec FROM applied WHERE target = ?", target)

    def saved_logins(self) -> set[str]:
        """The ids of the registry logins that were saved from here."""
        return self._column("SELECT id FROM logins")

    def _column(self, query: str, *values: str) -> set[str]:
        if not self._file.exists:
            return set()
        with self._file.opened() as database:
            return {row[0] for row in database.execute(query, values).fetchall()}

    def _applied(self, condition: str, endpoint_id: str, *, limit: int) -> list[Applied]:
        if not self._file.exists:
            return []
        with self._file.opened() as database:
            rows = database.execute(
                "SELECT at, spec, endpoint_id, document, fingerprint, is_proven FROM applied"  # noqa: S608  ours
                f" WHERE {condition} ORDER BY at DESC, rowid DESC LIMIT ?",
                (endpoint_id, limit),
            )
            return [Applied(row[0], row[1], row[2], json.loads(row[3]), row[4], bool(row[5])) for row in rows]

    def check(self) -> None:
        """Raise now if the journal cannot be written."""
        with self._file.opened() as database:
            database.execute(
                "INSERT INTO jobs (id, endpoint_id, target, what, submitted_at, status) VALUES ('', '', '', '', 0, '')"
            )
            database.execute("DELETE FROM jobs WHERE id = ''")

    def sending(self, endpoint_id: str, digest: str) -> None:
        """Record that a question is about to be sent: one whose job is never known is not sent twice unasked."""
        with self._file.opened() as database:
            database.execute(
                "INSERT OR REPLACE INTO asked (endpoint_id, digest, job_id, at) VALUES (?, ?, '', ?)",
                (endpoint_id, digest, time.time()),
            )

    def sent(
        self,
        job_id: str,
        *,
        endpoint_id: str,
        target: str,
        what: str,
        digest: str | None = None,
        spec: str | None = None,
        command: str | None = None,
    ) -> None:
        """Record a job the moment its id is known, before anyone waits for it; `digest` names what it was asked."""
        now = time.time()
        with self._file.opened() as database:
            database.execute(
                "INSERT OR REPLACE INTO jobs (id, endpoint_id, target, what, submitted_at, status, spec, command)"
                " VALUES (?, ?, ?, ?, ?, 'IN_QUEUE', ?, ?)",
                (job_id, endpoint_id, target, what, now, spec, command),
            )
            if digest:
                self._prune(database, now)
                database.execute(
                    "INSERT OR REPLACE INTO asked (endpoint_id, digest, job_id, at) VALUES (?, ?, ?, ?)",
                    (endpoint_id, digest, job_id, now),
                )

    def answered(self, endpoint_id: str, digest: str, output: Any, *, for_s: float = REMEMBERED_S) -> None:
        """Keep what a job answered, until `forget` or for a week: whoever asks again need not pay again."""
        with self._file.opened() as database:
            row = database.execute(
                "SELECT job_id FROM asked WHERE endpoint_id = ? AND digest = ?", (endpoint_id, digest)
            ).fetchone()
            if row:
                self._keep(database, row[0], output, for_s)

    def keep(self, job_id: str, output: Any, *, for_s: float = REMEMBERED_S) -> None:
        """Keep what a job put out: RunPod does not for long."""
        with self._file.opened() as database:
            self._keep(database, job_id, output, for_s)

    def _keep(self, database: sqlite3.Connection, job_id: str, output: Any, for_s: float) -> None:
        text, now = json.dumps(output), time.time()
        self._prune(database, now)
        database.execute("DELETE FROM outputs WHERE job_id = ?", (job_id,))
        row = (job_id, now, now + for_s, len(text), text)
        database.execute("INSERT INTO outputs (job_id, kept_at, until, bytes, output) VALUES (?, ?, ?, ?, ?)", row)
        while database.execute("SELECT bytes FROM outputs_size").fetchone()[0] > self._largest_bytes:
            database.execute("DELETE FROM outputs WHERE rowid = (SELECT rowid FROM outputs ORDER BY kept_at LIMIT 1)")

    def _prune(self, database: sqlite3.Connection, now: float) -> None:
        """Drop what is kept no longer, and which questions nobody can be told the answer of."""
        if self._is_pruned:
            return
        self._is_pruned = True
        database.execute("DELETE FROM outputs WHERE until < ?", (now,))
        database.execute(
            "DELETE FROM asked WHERE at < ? AND job_id NOT IN (SELECT job_id FROM outputs)", (now - REMEMBERED_S,)
        )

    def recall(self, endpoint_id: str, digest: str) -> SentRequest | None:
        """The job that was last sent with this question, and its answer."""
        if not self._file.exists:
            return None
        with self._file.opened() as database:
            row = database.execute(
                "SELECT asked.job_id, output, kept_at, delay_ms, execution_ms FROM asked"
                " LEFT JOIN outputs ON outputs.job_id = asked.job_id AND until >= ?"
                " LEFT JOIN jobs ON jobs.id = asked.job_id WHERE asked.endpoint_id = ? AND digest = ?",
                (time.time(), endpoint_id, digest),
            ).fetchone()
            return row and SentRequest(row[0], row[1] is not None, json.loads(row[1] or "null"), *row[2:])

    def output(self, job_id: str) -> KeptOutput | None:
        """What the job put out, if that is kept here."""
        if not self._file.exists:
            return None
        with self._file.opened() as database:
            row = database.execute("SELECT output, kept_at FROM outputs WHERE job_id = ?", (job_id,)).fetchone()
            return row and KeptOutput(json.loads(row[0]), row[1])

    def forget(self, endpoint_id: str, digests: Iterable[str]) -> None:
        """Drop answers that have been delivered."""
        with self._file.opened() as database:
            for digest in digests:
                database.execute(
                    "DELETE FROM outputs WHERE job_id ="
                    " (SELECT job_id FROM asked WHERE endpoint_id = ? AND digest = ?)",
                    (endpoint_id, digest),
                )
                database.execute("DELETE FROM asked WHERE endpoint_id = ? AND digest = ?", (endpoint_id, digest))

    def kept_outputs(self, job_ids: Sequence[str] | None = None, *, before: float | None = None) -> KeptSize:
        """How many outputs are kept: of these jobs, or since before then, or all."""
        if not self._file.exists:
            return KeptSize(0, 0)
        where, values = _which_outputs(job_ids, before)
        with self._file.opened() as database:
            return KeptSize(
                *database.execute(
                    f"SELECT count(*), coalesce(sum(bytes), 0) FROM outputs WHERE {where}",  # noqa: S608  ours
                    values,
                ).fetchone()
            )

    def forget_outputs(self, job_ids: Sequence[str] | None = None, *, before: float | None = None) -> KeptSize:
        """Drop the same, and say how many they were; nothing of them is left on disk."""
        found = self.kept_outputs(job_ids, before=before)
        if not found.outputs:
            return found
        where, values = _which_outputs(job_ids, before)
        with self._file.opened() as database:
            database.execute(
                f"DELETE FROM asked WHERE job_id IN (SELECT job_id FROM outputs WHERE {where})",  # noqa: S608  ours
                values,
            )
            database.execute(f"DELETE FROM outputs WHERE {where}", values)  # noqa: S608  ours
        self._file.shrink()
        return found

    def ended(
        self,
        job_id: str,
        *,
        status: str,
        delay_ms: int | None = None,
        execution_ms: int | None = None,
        error_code: str | None = None,
        error: str | None = None,
        worker_id: str | None = None,
    ) -> None:
        """Record how a job ended."""
        with self._file.opened() as database:
            database.execute(
                "UPDATE jobs SET status = ?, delay_ms = ?, execution_ms = ?, error_code = ?, error = ?, worker_id = ?,"
                " ended_at = ? WHERE id = ?",
                (status, delay_ms, execution_ms, error_code, error, worker_id, time.time(), job_id),
            )

    def seen(self, job_id: str, *, status: str) -> None:
        """Record in what state a job is that is not over, also one that was and is retried."""
        with self._file.opened() as database:
            database.execute(
                "UPDATE jobs SET status = ?, delay_ms = NULL, execution_ms = NULL, error_code = NULL, error = NULL,"
                " worker_id = NULL, ended_at = NULL WHERE id = ?",
                (status, job_id),
            )

    def jobs(
        self,
        *,
        limit: int | None = 20,
        since: float | None = None,
        endpoint_id: str | None = None,
        status: str | None = None,
    ) -> list[JobEntry]:
        """The newest jobs first, of all or of one endpoint or status; none in a project that never sent one."""
        conditions = {"submitted_at >= ?": since, "endpoint_id = ?": endpoint_id, "status = ?": status}
        known = {condition: value for condition, value in conditions.items() if value is not None}
        where = " AND ".join(known) or "TRUE"
        return self._jobs(
            f"{where} ORDER BY submitted_at DESC, rowid DESC LIMIT ?", [*known.values(), -1 if limit is None else limit]
        )

    def find_jobs(self, beginning: str, *, limit: int = 5) -> list[JobEntry]:
        """The job of this id, else those whose ids begin so."""
        if exact := self._jobs("id = ?", [beginning]):
            return exact
        return self._jobs("id > ? AND id < ? ORDER BY id LIMIT ?", [beginning, f"{beginning}\U0010ffff", limit])

    def _jobs(self, condition: str, values: Sequence[Any]) -> list[JobEntry]:
        if not self._file.exists:
            return []
        with self._file.opened() as database:
            rows = database.execute(f"SELECT {_JOB} FROM jobs WHERE {condition}", values)  # noqa: S608  ours
            return [JobEntry(*row) for row in rows]

    def login_saved(self, login_id: str, username: str, password: str) -> None:
        """Record with what RunPod was given a registry login: only a salted digest, which tells nobody the password."""
        salt = os.urandom(16)
        with self._file.opened() as database:
            row = (login_id, salt, _login_digest(username, password, salt))
            database.execute("INSERT OR REPLACE INTO logins VALUES (?, ?, ?)", row)

    def is_login(self, login_id: str, username: str, password: str) -> bool | None:
        """Whether this is what RunPod was last given for the login; None when it was not given it from here."""
        if not self._file.exists:
            return None
        with self._file.opened() as database:
            row = database.execute("SELECT salt, digest FROM logins WHERE id = ?", (login_id,)).fetchone()
        return row and hmac.compare_digest(row[1], _login_digest(username, password, row[0]))

    def login_removed(self, login_id: str) -> None:
        """Forget a login that is gone."""
        with self._file.opened() as database:
            database.execute("DELETE FROM logins WHERE id = ?", (login_id,))


def _login_digest(username: str, password: str, salt: bytes) -> bytes:
    return hashlib.scrypt(json.dumps([username, password]).encode(), salt=salt, n=2**14, r=8, p=1)


def _which_outputs(job_ids: Sequence[str] | None, before: float | None) -> tuple[str, list[Any]]:
    """A condition on the table of outputs, and its values."""
    if job_ids is not None:
        return f"job_id IN ({', '.join('?' * len(job_ids))})", list(job_ids)
    return ("TRUE", []) if before is None else ("kept_at < ?", [before])
