"""`vidctl jobs`, `health` and `purge`: any job by its id, whoever sent it, and an endpoint's queue."""

from __future__ import annotations

import os
from unittest.mock import patch

import pytest
from support.command import vidctl
from support.failing import failed, failing
from support.project import Project
from support.runtime import until
from support.scripted import Reply, ok, serving

from vidctl.journal import Journal
from vidctl.local import daemon
from vidctl.operations.jobs import find_entry
from vidctl.runpod.http import Http
from vidctl.runpod.jobs import Jobs


class Moody(Project):
    """An endpoint whose one worker waits while `hold` is there, and fails while `broken` is."""

    def mood(self, name: str, *, is_on: bool = True) -> None:
        (self.root / name).touch() if is_on else (self.root / name).unlink(missing_ok=True)

    def send(self, *, is_ours: bool = True) -> str:
        """A job, as a command leaves it that is killed after it was sent; or one that was sent elsewhere."""
        job_id = self.at_runpod.run(self.endpoint_id, {"question": 1})
        if is_ours:
            self.journal.sent(job_id, endpoint_id=self.endpoint_id, target="local", what="run moody", command="run")
        return job_id

    def status(self, job_id: str) -> str:
        return self.at_runpod.status(self.endpoint_id, job_id).status

    @property
    def endpoint_id(self) -> str:
        return self.dotenv()["VIDCTL_MOODY_ENDPOINT_ID_LOCAL"]

    @property
    def journal(self) -> Journal:
        return Journal(self.root / ".vidctl" / "journal.db")

    @property
    def at_runpod(self) -> Jobs:
        running = self.up()
        return Jobs(Http(running.api_key), running.endpoint_base_url)


@pytest.fixture(scope="module")
def deployed(tmp_path_factory):
    project = Moody(tmp_path_factory.mktemp("moody"))
    project.worker("moody")
    smoke = {"input": "workers/moody/job.json", "contains": {"echo": {"question": 1}}}
    project.spec("moody", worker="moody", smoke=smoke, workers={"max": 1}, env={"MOOD": str(project.root)})
    with patch.dict(os.environ, project.environ):
        project.up()
        yield project
    project.close()


@pytest.fixture
def runtime(deployed):
    """Its runtime, deployed once; no mood is left over, and no job."""
    if not (deployed.root / ".env").exists():
        outcome = deployed.run("deploy", "moody")
        assert outcome.status == 0, outcome.stderr
    yield deployed
    for mood in ("hold", "broken"):
        deployed.mood(mood, is_on=False)
    deployed.at_runpod.purge(deployed.endpoint_id)
    with patch.dict(os.environ, deployed.environ):
        until(lambda: not daemon.endpoints(daemon.connection())[0]["jobs"].get("inProgress"))


def test_the_result_of_a_job_is_had_by_its_id(runtime):
    """Also when the command that sent it was killed, and later without asking RunPod."""
    job_id = runtime.send()
    waited = runtime.run("jobs", "wait", job_id[:12])
    again = runtime.run("jobs", "result", job_id, "--json")
    shown = runtime.run("jobs", "show", job_id, "--json").document

    assert (waited.status, waited.document) == (0, {"echo": {"question": 1}})
    assert {"schema": "vidctl.result/1", "id": job_id, "output": {"echo": {"question": 1}}}.items() <= (
        again.document.items()
    )
    assert {"status": "COMPLETED", "command": "run", "output": "journal", "error": None}.items() <= shown.items()
    assert shown["worker_id"]
    assert shown["execution_ms"] is not None


def test_a_deploys_smoke_test_is_a_job_too(runtime):
    """The journal knows of which spec, and which command sent it."""
    listed = runtime.run("jobs", "list", "--json", "--limit", "1000").document
    (smoke,) = [each for each in listed["jobs"] if each["what"] == "smoke test of moody"]
    shown = runtime.run("jobs", "show", smoke["id"]).stdout

    assert (smoke["spec"], smoke["command"]) == ("moody", "deploy")
    assert "deploy" in shown
    assert smoke["id"] in shown


def test_a_job_of_elsewhere_is_had_by_its_endpoint(runtime):
    job_id = runtime.send(is_ours=False)
    failed(runtime.run("jobs", "result", job_id, "--json"), "usage_error", job_id, "--endpoint", "--endpoint-id")
    by_name = runtime.run("jobs", "wait", job_id, "--endpoint", "moody", "--target", "local")
    shown = runtime.run("jobs", "show", job_id, "--endpoint-id", runtime.endpoint_id, "--target", "local", "--json")

    assert by_name.document == {"echo": {"question": 1}}
    assert {"status": "COMPLETED", "output": "journal"}.items() <= shown.document.items()


def test_who_stops_waiting_leaves_the_job_running(runtime):
    runtime.mood("hold")
    job_id = runtime.send()
    late = runtime.run("jobs", "wait", job_id, "--timeout", "1", "--json")
    early = runtime.run("jobs", "result", job_id, "--json")

    assert [(each.status, each.error["code"], each.error["job_id"]) for each in (late, early)] == 2 * [
        (6, "timed_out", job_id)
    ]
    runtime.mood("hold", is_on=False)
    assert runtime.run("jobs", "wait", job_id).document == {"echo": {"question": 1}}


def test_a_job_is_cancelled_when_somebody_says_yes(runtime):
    runtime.mood("hold")
    job_id = runtime.send()
    unasked, dry = runtime.run("jobs", "cancel", job_id), runtime.run("jobs", "cancel", job_id, "-n")
    assert (unasked.status, dry.status) == (2, 0)
    assert runtime.status(job_id) in ("IN_QUEUE", "IN_PROGRESS")
    done = runtime.run("jobs", "cancel", job_id, "-y", "--json")

    assert (done.document["status"], runtime.status(job_id)) == ("CANCELLED", "CANCELLED")
    assert [runtime.journal.find_jobs(job_id)[0].status, runtime.run("jobs", "cancel", job_id).status] == [
        "CANCELLED", 0,
    ]  # fmt: skip


def test_only_a_job_that_failed_is_run_again(runtime):
    runtime.mood("broken")
    job_id = runtime.send()
    failed(runtime.run("jobs", "wait", job_id, "--json"), "job_failed", job_id, "the cable is out", varies=True)
    assert runtime.journal.find_jobs(job_id)[0].error_code == "job_failed"

    assert (runtime.run("jobs", "retry", job_id).status, runtime.status(job_id)) == (2, "FAILED")
    runtime.mood("broken", is_on=False)
    assert runtime.run("jobs", "retry", job_id, "-y").status == 0
    assert runtime.run("jobs", "wait", job_id).document == {"echo": {"question": 1}}
    failed(runtime.run("jobs", "retry", job_id, "-y", "--json"), "usage_error", job_id, "COMPLETED", varies=True)


def test_a_purge_removes_what_waits_and_says_how_much(runtime):
    """What runs goes on; the journal knows what became of the rest."""
    runtime.mood("hold")
    running = runtime.send()
    until(lambda: runtime.status(running) == "IN_PROGRESS")
    waiting = [runtime.send() for _ in range(2)]
    health = runtime.run("health", "moody", "--target", "local", "--json").document
    assert (health["jobs"]["inProgress"], health["jobs"]["inQueue"]) == (1, 2)
    assert runtime.run("purge", "moody", "-n", "--target", "local", "--json").document["queued"] == 2

    done = runtime.run("purge", "moody", "-y", "--target", "local", "--json").document
    assert (done["removed"], done["queued"], runtime.status(running)) == (2, 0, "IN_PROGRESS")
    assert {runtime.journal.find_jobs(job_id)[0].status for job_id in waiting} == {"CANCELLED"}


# --- what RunPod may say, and what needs no runtime -----------------------------------------------------------


@pytest.fixture
def known(tmp_path):
    """A project whose journal knows some jobs of endpoint `ep` on RunPod."""
    journal = Journal(tmp_path / ".vidctl" / "journal.db")
    for job_id in ("abc-1", "abc-2"):
        journal.sent(job_id, endpoint_id="ep", target="runpod", what="run it")
    return journal


def at_runpod(folder, server, *words):
    urls = {"RUNPOD_API_BASE_URL": server.url, "RUNPOD_ENDPOINT_BASE_URL": server.url}
    return vidctl("jobs", *words, cwd=folder, RUNPOD_API_KEY="rpa_TESTKEY", **urls)


def test_the_beginning_of_an_id_may_mean_several(known):
    assert find_entry("abc-1", known).id == "abc-1"
    with failing("usage_error", "abc", "abc-1", "abc-2"):
        find_entry("abc", known)
    with failing("usage_error", "vidctl jobs"):
        find_entry("", known)


def test_what_is_known_of_a_failure_outlives_runpods_memory(known, tmp_path):
    known.ended("abc-1", status="FAILED", error_code="job_failed", error="out of memory")
    with serving(lambda _: Reply(404, b'{"error": "not found"}')) as server:
        ours = at_runpod(tmp_path, server, "result", "abc-1", "--json")
        lost = at_runpod(tmp_path, server, "result", "abc-2", "--json")
        shown = at_runpod(tmp_path, server, "show", "abc-2", "--json").document

    failed(ours, "job_failed", "abc-1", "out of memory")
    failed(lost, "job_failed", "abc-2", "30 minutes")
    assert (shown["status"], known.find_jobs("abc-1")[0].status) == ("GONE", "FAILED")


def test_outputs_that_only_stream_are_the_result(known, tmp_path):
    """RunPod gives each once, so they are kept here."""
    chunks = [[{"output": "a"}, {"output": "b"}], []]

    def answer(request):
        if "/stream/" in request.path:
            return ok({"status": "COMPLETED", "stream": chunks.pop(0)})
        return ok({"id": "abc-1", "status": "COMPLETED", "output": []})

    with serving(answer) as server:
        first, again = (at_runpod(tmp_path, server, "result", "abc-1") for _ in range(2))

    assert (first.document, again.document) == (["a", "b"], ["a", "b"])


def test_outputs_are_forgotten_when_somebody_says_yes(known, tmp_path):
    for job_id in ("abc-1", "abc-2"):
        known.keep(job_id, "output")

    def forget(*words):
        return vidctl("jobs", "forget", *words, "--json", cwd=tmp_path)

    failed(forget("abc-1", "--all"), "usage_error", "--all", "--older-than")
    assert (forget("--all").status, forget("--all", "-n").document["outputs"]) == (2, 2)
    assert forget("--older-than", "1d").document["outputs"] == 0
    assert (forget("abc-1", "-y").document["outputs"], known.output("abc-1")) == (1, None)
    assert (forget("--all", "-y").document["outputs"], known.output("abc-2")) == (1, None)
    assert len(known.jobs()) == 2
