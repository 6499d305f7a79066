"""What endpoints do now, read side by side: a slow one leaves out no other."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import requests
from support.command import Outcome, vidctl
from support.failing import failed
from support.project import ECHO_SMOKE, Project
from support.scripted import Reply, Request, ok, serving

from vidctl.journal import Journal
from vidctl.journal.activity import EndpointActivity, JobFailure, activities
from vidctl.operations.live import live_target
from vidctl.operations.status import StatusReader
from vidctl.project import settings
from vidctl.text import span


def listed(*names: str, **changed: Any) -> Reply:
    """Endpoints as REST v2 lists them; each one's id is its name with -id behind it."""
    fields = {
        "type": "QUEUE", "image": "docker.io/me/yolo@sha256:0123456789abcdef0123", "args": "", "disk": 10, "env": {},
        "registry": None, "gpu": {"pools": ["ADA_24"], "count": 1}, "workers": {"min": 0, "max": 3, "idleTimeout": 5},
        "scaling": {"type": "QUEUE_DELAY", "queueDelay": 4}, "dataCenterIds": [], "networkVolumes": [],
        "timeout": 600000, "flashboot": "FLASHBOOT", **changed,
    }  # fmt: skip
    return ok({"endpoints": [{**fields, "name": name, "id": f"{name}-id"} for name in names]})


HEALTH = ok({"jobs": {"inQueue": 2, "inProgress": 1}, "workers": {"running": 1, "idle": 1}})
WORKERS = ok(
    {
        "workers": [
            {"id": "w1", "status": "RUNNING", "gpuTypeId": "NVIDIA GeForce RTX 4090"},
            {"id": "w2", "status": "IDLE", "gpuTypeId": "NVIDIA GeForce RTX 4090"},
        ]
    }
)
NEVER = Reply(body=b"", never_ends=True)


class Account:
    """Endpoints that answer, but for `slow` paths, which never do, and what `other` paths answer."""

    def __init__(self, *names: str, slow: tuple[str, ...] = (), **other: Reply) -> None:
        self.list = listed(*names)
        self.slow = slow
        self.other = other

    def __call__(self, request: Request) -> Reply:
        path = request.path
        if path.endswith("/serverless"):
            return self.list
        if path in self.slow:
            return NEVER
        kind = path.rpartition("/")[2]
        return self.other.get(kind, {"health": HEALTH, "workers": WORKERS}[kind])


def status(account: Account, folder: Path, *words: str) -> tuple[Outcome, list[str]]:
    """The command against this account, and what it asked."""
    with serving(account) as server:
        outcome = vidctl(
            "status", *words, "--target", "runpod", cwd=folder,
            RUNPOD_API_KEY="key", RUNPOD_API_BASE_URL=server.url, RUNPOD_ENDPOINT_BASE_URL=f"{server.url}/v2",
        )  # fmt: skip
        return outcome, server.paths()


def test_one_request_lists_all_and_two_ask_each(tmp_path):
    outcome, paths = status(Account("a", "b"), tmp_path, "--json")

    document = outcome.document
    assert sorted(paths) == [
        "GET /v2/a-id/health", "GET /v2/b-id/health", "GET /v2/serverless",
        "GET /v2/serverless/a-id/workers", "GET /v2/serverless/b-id/workers",
    ]  # fmt: skip
    assert ("vidctl.status/1", ["a", "b"]) == (document["schema"], [each["name"] for each in document["endpoints"]])
    first = document["endpoints"][0]
    assert (first["workers"], first["jobs_queued"], first["jobs_in_progress"]) == ({"running": 1, "idle": 1}, 2, 1)
    assert (first["tag"], first["drift"], first["missing"]) == ("yolo@0123456789ab", [], [])


def test_only_workers_that_run_cost(tmp_path):
    """Each at the price of its own card: RunPod bills no other state."""
    outcome, _ = status(Account("a"), tmp_path, "--json")

    assert outcome.document["endpoints"][0]["price_per_hour"] == pytest.approx(1.116)


def test_a_slow_endpoint_leaves_out_no_other(tmp_path):
    """Its own row is there too, with what came, and says what did not."""
    slow = ("/v2/b-id/health", "/v2/serverless/c-id/workers")

    outcome, _ = status(Account("a", "b", "c", slow=slow), tmp_path, "--timeout", "3s")

    rows = [line.split("\t") for line in outcome.stdout.splitlines()]
    assert [row[0] for row in rows] == ["a", "b", "c"]
    assert [row[2] for row in rows] == [
        "1 running, 1 idle of 3",
        "1 running, 1 idle of 3; /health: no answer in 3 s",
        "1 running, 1 idle of 3; /workers: no answer in 3 s",
    ]
    assert [row[3] for row in rows] == ["2", "?", "2"]
    assert outcome.status == 0


def test_an_endpoint_that_answers_with_an_error_has_its_row(tmp_path):
    account = Account("a", workers=Reply(403, b'{"detail": "key lacks access"}'))

    outcome, _ = status(account, tmp_path, "--json")

    (missing,) = outcome.document["endpoints"][0]["missing"]
    assert "/workers" in missing
    assert "403" in missing


def test_who_watches_asks_rest_less_often_than_it_draws(tmp_path):
    """REST v2 takes about 60 requests a minute: the list and the workers are kept, the health is asked each time."""
    clock = iter([0.0, 2.0, 4.0, 4.6, 4.6])
    with serving(Account("a", "b")) as server:
        environ = {
            "RUNPOD_API_KEY": "key",
            "RUNPOD_API_BASE_URL": server.url,
            "RUNPOD_ENDPOINT_BASE_URL": f"{server.url}/v2",
        }
        target = live_target(settings.Project(tmp_path, environ), "runpod")
        reader = StatusReader(target, (), None, deadline_s=60, clock=lambda: next(clock))
        found = [reader.read() for _ in range(4)]

    paths = server.paths()
    assert [len(each) for each in found] == [2, 2, 2, 2]
    assert all(each.workers == {"running": 1, "idle": 1} for row in found for each in row)
    assert (8, 4, 2) == (
        sum(path.endswith("/health") for path in paths),
        sum(path.endswith("/workers") for path in paths),
        sum(path.endswith("/serverless") for path in paths),
    )


def test_a_name_that_is_nobodys_is_an_error(tmp_path):
    failed(status(Account("a"), tmp_path, "b")[0], "not_deployed", "b")


def test_a_name_that_is_several_endpoints_is_not_guessed(tmp_path):
    account = Account("a")
    account.list = ok({"endpoints": [{"id": "x1", "name": "a"}, {"id": "x2", "name": "a"}]})

    failed(status(account, tmp_path, "a")[0], "usage_error", "x1", "x2")


def test_watch_needs_a_terminal(tmp_path):
    failed(vidctl("status", "--watch", cwd=tmp_path), "usage_error", "--watch")


def test_the_journal_knows_what_waits_what_failed_and_what_ran(tmp_path):
    """Of each endpoint and target by itself; a job that ended waits no more."""
    path = tmp_path / ".vidctl" / "journal.db"
    journal = Journal(path)
    for number, endpoint_id in enumerate(("e1", "e1", "e1", "e2")):
        journal.sent(f"j{number}", endpoint_id=endpoint_id, target="runpod", what="")
    journal.ended("j0", status="COMPLETED", execution_ms=1500)
    journal.ended("j1", status="FAILED", execution_ms=500, error="no such file")
    jobs = {each.id: each for each in journal.jobs()}

    failed_at = jobs["j1"].ended_at
    assert activities(path, "runpod", since=0) == {
        "e1": EndpointActivity(2000, jobs["j2"].submitted_at, JobFailure("j1", "FAILED", failed_at, "no such file")),
        "e2": EndpointActivity(0, jobs["j3"].submitted_at, None),
    }
    assert activities(path, "local", since=0) == {}
    assert activities(path, "runpod", since=failed_at + 1)["e1"].execution_ms == 0


def test_a_project_without_a_journal_has_no_activity(tmp_path):
    assert activities(tmp_path / ".vidctl" / "journal.db", "runpod", since=0) == {}
    assert not (tmp_path / ".vidctl").exists()


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(0, "0 s"), (119, "119 s"), (120, "2 min"), (7199, "120 min"), (7200, "2 h"), (172800, "2 d")],
)
def test_a_span_of_time_is_short(seconds, words):
    assert span(seconds) == words


@pytest.fixture(scope="module")
def deployed(tmp_path_factory: pytest.TempPathFactory):
    """An endpoint of the local runtime, deployed over GraphQL."""
    project = Project(tmp_path_factory.mktemp("status"))
    project.worker("echo")
    project.spec("echo", worker="echo", smoke=ECHO_SMOKE, workers={"min": 1, "max": 2})
    outcome = project.run("deploy", "echo")
    assert outcome.status == 0, outcome.stderr
    yield project
    project.close()


@pytest.mark.runtime
def test_what_was_deployed_over_one_plane_has_not_drifted_on_the_other(deployed):
    """The image is named by its content, and a change made elsewhere is named by its field."""
    before = deployed.run("status", "echo", "--json").document["endpoints"][0]
    running = deployed.up()
    changed = requests.patch(
        f"{running.url}/v2/serverless/{before['id']}",
        json={"workers": {"min": 1, "max": 1, "idleTimeout": 5}},
        headers={"Authorization": f"Bearer {running.api_key}"},
        timeout=60,
    )
    assert changed.ok, changed.text

    after = deployed.run("status", before["id"])

    assert (before["drift"], before["spec"], before["price_per_hour"]) == ([], "echo", None)
    assert before["tag"].startswith("echo@")
    assert after.stdout.split("\t")[1] == f"{before['tag']} +"
    assert "endpoint.workers_max" in after.stderr
