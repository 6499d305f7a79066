"""Which jobs are out and what was proved, on disk."""

from __future__ import annotations

import stat
from concurrent.futures import ThreadPoolExecutor

import pytest

from vidctl.errors import VidctlError
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


def test_only_the_last_deploy_of_an_endpoint_is_proven(journal):
    def deployed(fingerprint):
        journal.deployed(spec="yolo", target="local", endpoint_id="ep", image="i", fingerprint=fingerprint)

    deployed("one")
    deployed("two")

    assert not journal.is_proven("ep", "one")
    assert journal.is_proven("ep", "two")
    assert not journal.is_proven("other", "two")


def test_the_journal_is_private_and_ignored_by_git(journal, tmp_path):
    journal.sent("j", endpoint_id="e", target="local", what="")

    assert stat.S_IMODE((tmp_path / ".vidctl" / "journal.db").stat().st_mode) == 0o600
    assert (tmp_path / ".vidctl" / ".gitignore").read_text() == "*\n"


def test_a_broken_journal_is_one_clear_line(journal, tmp_path):
    (tmp_path / ".vidctl").mkdir()
    (tmp_path / ".vidctl" / "journal.db").write_bytes(b"this is not SQLite, not at all, but long enough" * 40)

    with pytest.raises(VidctlError, match="the journal cannot be used"):
        journal.sent("j", endpoint_id="e", target="local", what="")


def test_no_journal_means_no_jobs(journal):
    assert journal.jobs() == []
