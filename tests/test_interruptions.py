"""Ctrl-C, SIGTERM and kill -9 while jobs are out: nothing is lost, and nothing goes on being paid unsaid."""

from __future__ import annotations

import json
import os
import signal

import pytest
from support.project import ended
from support.runtime import until
from support.shapes import draw, encoded

from vidctl.local import daemon


@pytest.fixture
def waiting(project, monkeypatch):
    """A deployed worker that answers no image before `gate` is there; three images to ask about."""
    for name, value in project.environ.items():
        monkeypatch.setenv(name, value)
    project.gate = project.root / "gate"
    project.worker("slow")
    project.spec("slow", worker="slow", task="detect", env={"GATE": str(project.gate)})
    assert project.run("deploy", "slow").status == 0
    for number in range(3):
        (project.root / f"{number}.jpg").write_bytes(encoded(draw(number)[0]))
    return project


def states(project):
    """The runtime's own count of jobs."""
    (endpoint,) = daemon.endpoints(daemon.connection())
    return {state: count for state, count in endpoint["jobs"].items() if count}


def running(project, *arguments):
    """vidctl detect, with its job in a worker's hands."""
    process = project.start("detect", "0.jpg", "1.jpg", "2.jpg", *arguments)
    until(lambda: states(project).get("inProgress") == 1)
    return process


def test_ctrl_c_cancels_what_is_out_and_says_so(waiting):
    status, stdout, stderr = ended(running(waiting), signal.SIGINT)
    (job,) = waiting.jobs()

    assert (status, stdout) == (130, "")
    assert f"interrupted; cancelled 1 job ({job['id']})" in stderr
    assert "Traceback" not in stderr
    assert job["status"] == "CANCELLED"
    assert until(lambda: not states(waiting).get("inProgress"))


def test_ctrl_c_with_json_is_one_object(waiting):
    status, _, stderr = ended(running(waiting, "--json"), signal.SIGINT)

    assert (status, json.loads(stderr)["code"]) == (130, "interrupted")
    assert json.loads(stderr)["job_id"] == waiting.jobs()[0]["id"]


def test_ctrl_c_while_nothing_is_out_is_said_too(project):
    """In the middle of a deploy's preparations."""
    folder = project.worker("echo")
    (folder / "prepare.py").write_text("import time, pathlib\npathlib.Path('../../began').touch()\ntime.sleep(600)\n")
    (folder / "requirements.txt").write_text("six==1.17.0\n")
    project.spec("echo", worker="echo")
    process = project.start("deploy", "echo", "--json", VIDCTL_CACHE_DIR=str(project.root / "cache"))
    until((project.root / "began").exists)
    status, stdout, stderr = ended(process, signal.SIGINT)

    assert (status, stdout, json.loads(stderr)["code"]) == (130, "", "interrupted")


def test_a_closed_terminal_cancels_too(waiting):
    status, _, _ = ended(running(waiting), signal.SIGHUP)

    assert (129, "CANCELLED") == (status, waiting.jobs()[0]["status"])


def test_sigterm_cancels_too(waiting):
    """What a batch system sends: the same, with its own exit status."""
    status, _, stderr = ended(running(waiting), signal.SIGTERM)

    assert status == 143
    assert "cancelled 1 job" in stderr
    assert waiting.jobs()[0]["status"] == "CANCELLED"


def test_kill_9_loses_no_job_id(waiting):
    """vidctl is gone at once; the job goes on, its id is in the journal, and its result can be had by it."""
    status, _, _ = ended(running(waiting), signal.SIGKILL)
    (job,) = waiting.jobs()
    waiting.gate.touch()
    until(lambda: states(waiting).get("completed") == 1)
    again = waiting.run("detect", "0.jpg", "--json")

    assert status == -signal.SIGKILL
    assert (job["status"], job["what"]) == ("IN_QUEUE", "detect 0.jpg and 2 more")
    assert again.status == 0


def test_kill_9_of_the_runtime_while_vidctl_waits(waiting):
    """The runtime comes back on its state: the job is still there, and vidctl, which went on asking, has its answer."""
    process = running(waiting, "--json")
    os.kill(daemon.connection().pid, signal.SIGKILL)
    waiting.run("local", "up")
    waiting.gate.touch()
    stdout, stderr = process.communicate(timeout=120)

    assert (process.returncode, stderr) == (0, b"")
    assert len(json.loads(stdout)["results"]) == 3


def test_a_job_that_times_out_here_is_cancelled_there(waiting):
    outcome = waiting.run("detect", "0.jpg", "--timeout", "3", "--json")

    assert (outcome.status, outcome.error["code"]) == (6, "timed_out")
    assert outcome.error["job_id"] == waiting.jobs()[0]["id"]
    assert until(lambda: not states(waiting).get("inProgress"))
