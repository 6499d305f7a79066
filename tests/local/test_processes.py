"""Logs stay small, and only our own processes are ever killed."""

import os
import signal
import subprocess
import sys

import pytest
from support.runtime import until

from vidctl.local.workers import os_process
from vidctl.local.workers.log import WorkerLog, last_lines

SLEEPS = [sys.executable, "-c", "import time; print('up', flush=True); time.sleep(600)"]


@pytest.fixture
def sleeper():
    """A process group that does nothing, as a worker `w1` would be."""
    with subprocess.Popen(
        SLEEPS, stdout=subprocess.PIPE, start_new_session=True, env={**os.environ, "RUNPOD_POD_ID": "w1"}
    ) as process:
        process.stdout.readline()
        yield process
        process.kill()


@pytest.fixture
def folder(tmp_path):
    folder = tmp_path / "w1"
    folder.mkdir()
    return folder


def test_a_log_keeps_its_end_and_no_more_than_twice_its_size(tmp_path):
    log = WorkerLog(tmp_path / "log", max_bytes=1000)
    for number in range(1000):
        log.write(f"line {number}\n".encode())
    log.close()

    assert sum(path.stat().st_size for path in tmp_path.iterdir()) <= 2000
    assert last_lines(tmp_path / "log", 100) == [f"line {number}" for number in range(900, 1000)]


def test_a_line_of_ours_is_a_line_whatever_the_worker_left_unfinished(tmp_path):
    log = WorkerLog(tmp_path / "log")
    log.write(b"half")
    log.note("one")
    log.note("two")
    log.close()

    assert (tmp_path / "log").read_text() == "half\nvidctl-local: one\nvidctl-local: two\n"


@pytest.mark.parametrize(("count", "lines"), [(0, []), (1, ["c"]), (2, ["b", "c"]), (9, ["a", "b", "c"])])
def test_the_last_lines_are_the_last_lines(tmp_path, count, lines):
    (tmp_path / "log").write_text("a\nb\nc\n")

    assert last_lines(tmp_path / "log", count) == lines


def test_there_are_no_lines_without_a_log(tmp_path):
    assert last_lines(tmp_path / "log", 5) == []


def test_a_long_log_is_read_from_its_end(tmp_path):
    (tmp_path / "log").write_text("x" * 200_000 + "\nlast\n")

    assert last_lines(tmp_path / "log", 1) == ["last"]


def test_what_a_previous_life_left_is_killed(tmp_path, folder, sleeper):
    os_process.remember(folder, sleeper.pid)

    assert os_process.kill_orphans(tmp_path) == [sleeper.pid]
    assert sleeper.wait(timeout=10) == -signal.SIGKILL


def test_a_stranger_with_a_remembered_number_is_left_alone(tmp_path, folder, sleeper):
    """Process numbers are reused: the one that is written down may be somebody else's by now."""
    (folder / "process").write_text(f"{sleeper.pid} another-boot:12345\n")

    assert os_process.kill_orphans(tmp_path) == []
    assert sleeper.poll() is None


def test_a_group_whose_leader_is_gone_is_known_by_the_workers_name(tmp_path, folder):
    """A killed worker leaves the SDK's heartbeat process in its group."""
    leader = subprocess.Popen(
        ["sh", "-c", f"{sys.executable} -c 'import time; time.sleep(600)' & echo $!"],
        stdout=subprocess.PIPE,
        start_new_session=True,
        env={**os.environ, "RUNPOD_POD_ID": "w1"},
    )
    member = int(leader.stdout.readline())
    leader.wait()
    leader.stdout.close()
    (folder / "process").write_text(f"{leader.pid} gone:1\n")

    assert os_process.kill_orphans(tmp_path) == [leader.pid]
    assert until(lambda: os_process.identity(member) is None)


@pytest.mark.parametrize("record", ["", "not a number", "999999999 boot:1"])
def test_a_record_of_nothing_kills_nothing(tmp_path, folder, record):
    (folder / "process").write_text(record)

    assert os_process.kill_orphans(tmp_path) == []
    assert not (folder / "process").exists()
