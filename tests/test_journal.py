"""Which jobs are out and what was proved, on disk."""

from __future__ import annotations

import os
import sqlite3
import stat
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import pytest
from support.failing import failing

from vidctl.journal import Journal


@pytest.fixture
def journal(tmp_path):
    return Journal(tmp_path / ".vidctl" / "journal.db")


def test_a_job_is_there_before_it_ends(journal):
    journal.sent("j1", endpoint_id="ep", target="local", what="detect a.jpg")
    journal.sent("j2", endpoint_id="ep", target="local", what="detect b.jpg")
    journal.ended("j1", status="COMPLETED", delay_ms=5, execution_ms=7)

    newest, oldest = journal.jobs()
    assert (newest.id, newest.status) == ("j2", "IN_QUEUE")
    assert (oldest.id, oldest.status, oldest.delay_ms, oldest.execution_ms) == ("j1", "COMPLETED", 5, 7)


def test_threads_may_begin_at_once(journal):
    """Also with the very first write, which makes the file."""
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda n: journal.sent(f"j{n}", endpoint_id="e", target="local", what=""), range(40)))

    assert len(journal.jobs(limit=100)) == 40


def applied(journal, fingerprint, *, is_proven, image="i"):
    document = {"template.image": image, "template.env.TOKEN": None}
    journal.applied(
        spec="yolo", target="local", endpoint_id="ep", document=document, fingerprint=fingerprint, is_proven=is_proven
    )


def test_the_last_good_one_is_known_after_a_bad_one(journal):
    """What was applied last, and what was proved last, are two things."""
    applied(journal, "one", is_proven=True, image="good")
    applied(journal, "two", is_proven=False, image="bad")

    last, good = journal.last_applied("ep"), journal.last_good("ep")
    assert (last.fingerprint, last.is_proven, last.document["template.image"]) == ("two", False, "bad")
    assert (good.fingerprint, good.document) == ("one", {"template.image": "good", "template.env.TOKEN": None})
    assert journal.last_applied("other") is None


def test_a_journal_of_an_older_vidctl_is_used_on(journal, tmp_path):
    """Its jobs are kept, and the tables that it lacks are added."""
    (tmp_path / ".vidctl").mkdir()
    with sqlite3.connect(tmp_path / ".vidctl" / "journal.db") as old:
        old.execute(
            "CREATE TABLE jobs (id TEXT PRIMARY KEY, endpoint_id TEXT NOT NULL, target TEXT NOT NULL,"
            " what TEXT NOT NULL, submitted_at REAL NOT NULL, status TEXT NOT NULL, delay_ms INTEGER,"
            " execution_ms INTEGER)"
        )
        old.execute("INSERT INTO jobs VALUES ('j1', 'e', 'local', 'w', 1, 'IN_QUEUE', NULL, NULL)")
    old.close()
    applied(journal, "one", is_proven=True)

    assert journal.last_good("ep").fingerprint == "one"
    assert [job.id for job in journal.jobs()] == ["j1"]


def test_the_journal_is_private_and_ignored_by_git(journal, tmp_path):
    journal.sent("j", endpoint_id="e", target="local", what="")

    assert stat.S_IMODE((tmp_path / ".vidctl" / "journal.db").stat().st_mode) == 0o600
    assert (tmp_path / ".vidctl" / ".gitignore").read_text() == "*\n"


def test_a_broken_journal_is_one_clear_line(journal, tmp_path):
    (tmp_path / ".vidctl").mkdir()
    (tmp_path / ".vidctl" / "journal.db").write_bytes(b"this is not SQLite, not at all, but long enough" * 40)

    with failing("failure", tmp_path / ".vidctl" / "journal.db", "journal", varies=True):
        journal.sent("j", endpoint_id="e", target="local", what="")


def test_a_broken_row_is_one_clear_line_too(journal, tmp_path):
    applied(journal, "one", is_proven=True)
    with sqlite3.connect(tmp_path / ".vidctl" / "journal.db") as database:
        database.execute("UPDATE applied SET document = '{'")

    with failing("failure", tmp_path / ".vidctl" / "journal.db", "journal", varies=True):
        journal.last_applied("ep")


def test_no_journal_means_no_jobs(journal):
    assert journal.jobs() == []


def test_a_journal_in_a_folder_that_cannot_be_written_is_read(journal, tmp_path):
    """Whoever may only read a project may plan: SQLite alone reads no journal in WAL mode there."""
    applied(journal, "one", is_proven=True)
    folder = tmp_path / ".vidctl"
    for path in (*folder.iterdir(), folder):
        path.chmod(0o555 if path.is_dir() else 0o444)
    code = "import sys, pathlib; from vidctl.journal import Journal\n"
    code += "print(Journal(pathlib.Path(sys.argv[1])).last_good('ep').fingerprint)"
    # Modes are nothing to root, as long as it has its capabilities.
    as_anybody = ["setpriv", "--bounding-set=-all", "--inh-caps=-all"] if os.geteuid() == 0 else []
    done = subprocess.run(
        [*as_anybody, sys.executable, "-c", code, str(folder / "journal.db")], capture_output=True, text=True
    )
    folder.chmod(0o755)

    assert done.stdout == "one\n", done.stderr
