"""Whatever breaks a deploy, the next one converges: one endpoint, one template, nothing twice."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from contextlib import contextmanager
from dataclasses import dataclass, field

import pytest
from support.command import VIDCTL, vidctl
from support.scripted import RESET, Reply, forward, serving

SPEC = {
    "name": "faulty",
    "image": "docker.io/you/echo:1",
    "gpu": ["RTX 4090", "L4"],
    "workers": {"min": 0, "max": 0},
    "env": {"MODEL": "m"},
}


@pytest.fixture(params=["graphql", "rest"])
def account(request, project):
    """A RunPod account, played by the local runtime, and a spec of a prebuilt image with no worker to wait for."""
    project.run("local", "up")
    runtime = project.run("local", "env", "--json").document
    (project.root / "configs" / "faulty.yaml").write_text(json.dumps(SPEC))
    return Account(project, request.param, runtime)


@dataclass
class Account:
    project: object
    plane: str
    runtime: dict[str, str]
    pid: int | None = None
    seen: list[str] = field(default_factory=list)

    def environ(self, url=None):
        url = url or self.runtime["RUNPOD_API_BASE_URL"]
        return {
            **self.project.environ,
            "RUNPOD_API_KEY": self.runtime["RUNPOD_API_KEY"],
            "RUNPOD_API_BASE_URL": url,
            "RUNPOD_ENDPOINT_BASE_URL": self.runtime["RUNPOD_ENDPOINT_BASE_URL"],
            "VIDCTL_TARGET": "runpod",
            "VIDCTL_CONTROL": self.plane,
        }

    def run(self, *arguments, url=None):
        return vidctl(*arguments, cwd=self.project.root, **self.environ(url))

    def killed_at(self, number, *, is_carried_out):
        """Deploy, and kill vidctl with its `number`th request, before or after RunPod has carried it out; whether."""
        with self.proxy(lambda request: self._kill(request, number, is_carried_out)) as url:
            self.seen.clear()
            process = subprocess.Popen(
                [*VIDCTL, "deploy", "faulty"], cwd=self.project.root, env={**os.environ, **self.environ(url)},
                stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
            )  # fmt: skip
            self.pid = process.pid
            return process.wait(timeout=60) == -signal.SIGKILL

    def _kill(self, request, number, is_carried_out):
        self.seen.append(request.path)
        if len(self.seen) != number:
            return forward(request, self.runtime["RUNPOD_API_BASE_URL"])
        if is_carried_out:
            forward(request, self.runtime["RUNPOD_API_BASE_URL"])
        os.kill(self.pid, signal.SIGKILL)
        return RESET

    @contextmanager
    def proxy(self, answer):
        with serving(answer) as server:
            yield server.url

    def endpoints(self):
        return self.run("list", "--json").document


def is_write(request):
    """Whether a request creates or changes something; what GraphQL asks is in its body."""
    return b"mutation" in request.body if request.path == "/graphql" else request.method != "GET"


@pytest.mark.parametrize("is_carried_out", [False, True])
def test_killed_at_any_request_the_next_deploy_converges(account, is_carried_out):
    """kill -9 with each request in turn, as it leaves or as its answer comes: then once more, undisturbed."""
    number = 0
    while account.killed_at(number := number + 1, is_carried_out=is_carried_out):
        again = account.run("deploy", "faulty", "--yes", "--json")
        found = account.endpoints()

        assert (again.status, len(found)) == (0, 1), (number, again.stderr)
        assert account.run("plan", "faulty", "--detailed-exitcode").status == 0
        assert account.run("destroy", "faulty", "--yes").status == 0
        assert account.endpoints() == []
    assert number > 3


def test_a_create_whose_answer_is_lost_is_not_sent_again(account):
    """The connection breaks after RunPod made the endpoint: it is looked for and found, and there is one."""
    creates = []

    def answer(request):
        reply = forward(request, account.runtime["RUNPOD_API_BASE_URL"])
        makes = b"saveEndpoint" in request.body or (request.method, request.path) == ("POST", "/v2/serverless")
        if not makes:
            return reply
        creates.append(request)
        return RESET

    with account.proxy(answer) as url:
        outcome = account.run("deploy", "faulty", "--json", url=url)

    assert (outcome.status, len(creates)) == (0, 1), outcome.stderr
    assert [each["name"] for each in account.endpoints()] == ["faulty"]


def test_what_cannot_be_read_back_is_not_called_done(account):
    """Once it is saved, RunPod answers nothing but 500: the command fails, says so, and the next one finishes."""
    is_saved = []

    def answer(request):
        if is_saved and not is_write(request):
            return Reply(status=500)
        if is_write(request) and (b"saveEndpoint" in request.body or request.path == "/v2/serverless"):
            is_saved.append(True)
        return forward(request, account.runtime["RUNPOD_API_BASE_URL"])

    with account.proxy(answer) as url:
        broken = account.run("deploy", "faulty", "--json", url=url)
    again = account.run("deploy", "faulty", "--json")

    assert (broken.status, broken.error["code"], broken.stdout) == (1, "api_error", "")
    assert (again.status, len(account.endpoints())) == (0, 1)


def test_a_server_error_now_and_then_is_lived_through(account):
    """Every second read answers 503: reads are sent again, writes only once."""
    reads, writes = [], []

    def answer(request):
        (writes if is_write(request) else reads).append(request)
        if not is_write(request) and len(reads) % 2:
            return Reply(status=503)
        return forward(request, account.runtime["RUNPOD_API_BASE_URL"])

    with account.proxy(answer) as url:
        outcome = account.run("deploy", "faulty", "--json", url=url)

    assert outcome.status == 0, outcome.stderr
    assert len(writes) == (2 if account.plane == "graphql" else 1)


def test_a_deploy_that_changes_nothing_asks_little(account):
    """At most two requests to the control plane, and none that writes."""
    account.run("deploy", "faulty")
    seen = []

    def answer(request):
        seen.append(request)
        return forward(request, account.runtime["RUNPOD_API_BASE_URL"])

    with account.proxy(answer) as url:
        outcome = account.run("deploy", "faulty", url=url)

    assert "up to date" in outcome.stdout
    assert len(seen) <= 2
    assert not any(is_write(request) for request in seen)


def test_the_key_travels_in_one_header_only(account):
    """In no URL, in no body; and the log of --debug does not hold it either."""
    seen = []

    def answer(request):
        seen.append(request)
        return forward(request, account.runtime["RUNPOD_API_BASE_URL"])

    key = account.runtime["RUNPOD_API_KEY"]
    with account.proxy(answer) as url:
        outcome = account.run("deploy", "faulty", "-v", "--debug", url=url)

    assert {request.headers["Authorization"] for request in seen} == {f"Bearer {key}"}
    assert not any(key in request.path or key.encode() in request.body for request in seen)
    assert key not in outcome.stdout + outcome.stderr
