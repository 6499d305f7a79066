"""Which jobs are out and what was proved, on disk."""

from __future__ import annotations

import os
import sqlite3
import stat
import subprocess
import sys
import time
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


def test_how_a_job_ended_is_told_later(journal):
    """Of which spec's endpoint it was, who sent it, and why it failed."""
    journal.sent("j1", endpoint_id="ep", target="local", what="detect a.jpg", spec="yolo.prod", command="detect")
    journal.ended("j1", status="FAILED", execution_ms=7, error_code="job_failed", error="out of memory", worker_id="w1")

    (job,) = journal.jobs()
    assert (job.spec, job.command, job.error_code, job.error, job.worker_id) == (
        "yolo.prod", "detect", "job_failed", "out of memory", "w1",
    )  # fmt: skip
    assert job.ended_at >= job.submitted_at

    journal.seen("j1", status="IN_QUEUE")
    (again,) = journal.jobs()
    assert (again.status, again.error, again.execution_ms, again.ended_at) == ("IN_QUEUE", None, None, None)


def test_jobs_are_found_by_the_beginning_of_their_id(journal):
    for job_id in ("ab-1", "ab-12", "b%-1", "b_-1"):
        journal.sent(job_id, endpoint_id="ep", target="local", what="")

    def found(beginning):
        return [job.id for job in journal.find_jobs(beginning)]

    assert (found("ab-1"), found("ab"), found("b%"), found("c")) == (["ab-1"], ["ab-1", "ab-12"], ["b%-1"], [])


def test_an_answer_is_kept_by_its_question_and_by_its_job(journal):
    journal.sent("j1", endpoint_id="ep", target="local", what="", digest="d")
    assert (journal.recall("ep", "d").is_answered, journal.output("j1")) == (False, None)

    journal.answered("ep", "d", {"text": "ü"})
    assert (journal.recall("ep", "d").output, journal.output("j1").output) == ({"text": "ü"}, {"text": "ü"})

    journal.forget("ep", ["d"])
    assert (journal.recall("ep", "d"), journal.output("j1")) == (None, None)


def test_no_output_is_an_output_too(journal):
    journal.sent("j1", endpoint_id="ep", target="local", what="", digest="d")
    journal.answered("ep", "d", None)

    assert (journal.recall("ep", "d").is_answered, journal.output("j1").output) == (True, None)


def test_outputs_end_with_their_time(journal, tmp_path):
    journal.sent("j1", endpoint_id="ep", target="local", what="", digest="d")
    journal.answered("ep", "d", "old", for_s=-1)
    assert not journal.recall("ep", "d").is_answered

    Journal(tmp_path / ".vidctl" / "journal.db").keep("j2", "new")
    assert (journal.output("j1"), journal.output("j2").output) == (None, "new")


def test_of_too_many_outputs_the_oldest_go(tmp_path):
    journal = Journal(tmp_path / ".vidctl" / "journal.db", largest_bytes=250)
    for number in range(5):
        journal.keep(f"j{number}", "x" * 98)  # with its quotes 100
    journal.keep("j4", "y" * 98)  # anew, which is no more

    assert [number for number in range(5) if journal.output(f"j{number}")] == [3, 4]
    assert journal.output("j4").output == "y" * 98


@pytest.mark.parametrize(("how", "left"), [({}, []), ({"job_ids": ["j1"]}, ["j2"]), ({"before": 0}, ["j1", "j2"])])
def test_outputs_that_are_forgotten_leave_nothing_on_disk(journal, tmp_path, how, left):
    for job_id in ("j1", "j2"):
        journal.sent(job_id, endpoint_id="ep", target="local", what="", digest=f"d{job_id}")
        journal.answered("ep", f"d{job_id}", f"secret of {job_id}")
    dropped = journal.forget_outputs(**how)

    on_disk = b"".join(file.read_bytes() for file in (tmp_path / ".vidctl").iterdir())
    assert [job_id for job_id in ("j1", "j2") if f"secret of {job_id}".encode() in on_disk] == left
    assert (dropped.outputs, len(journal.jobs())) == (2 - len(left), 2)


def test_answers_of_an_older_vidctl_are_still_found(journal, tmp_path):
    """It kept them beside the questions."""
    (tmp_path / ".vidctl").mkdir()
    with sqlite3.connect(tmp_path / ".vidctl" / "journal.db") as old:
        old.execute(
            "CREATE TABLE asked (endpoint_id TEXT NOT NULL, digest TEXT NOT NULL, job_id TEXT NOT NULL,"
            " at REAL NOT NULL, output TEXT, PRIMARY KEY (endpoint_id, digest))"
        )
        old.execute("INSERT INTO asked VALUES ('ep', 'd', 'j1', ?, '\"text\"')", (time.time(),))
        old.execute("INSERT INTO asked VALUES ('ep', 'e', 'j2', ?, NULL)", (time.time(),))
        old.execute("PRAGMA user_version = 4")
    old.close()

    assert (journal.recall("ep", "d").output, journal.recall("ep", "e").is_answered) == ("text", False)
    assert journal.output("j1").output == "text"


def test_an_old_journal_is_brought_up_to_date_by_many_at_once(journal, tmp_path):
    (tmp_path / ".vidctl").mkdir()
    with sqlite3.connect(tmp_path / ".vidctl" / "journal.db") as old:
        old.execute("PRAGMA journal_mode = WAL")
    old.close()
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda n: journal.sent(f"j{n}", endpoint_id="e", target="local", what=""), range(16)))

    assert len(journal.jobs(limit=None)) == 16
