"""Only our own processes are ever killed."""

import os
import signal
import subprocess
import sys

import pytest
from support.runtime import until

from vidctl.local.workers import os_process

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
