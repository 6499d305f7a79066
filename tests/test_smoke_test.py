"""Which worker's answer proves a new version, while those of the previous version are still there."""

from __future__ import annotations

import json

import pytest
from support.failing import failing
from support.scripted import Reply, ok, serving
from support.stating import stating

from vidctl import spec
from vidctl.deploy.smoke_test import SmokeTester
from vidctl.errors import JobFailedError
from vidctl.journal import Journal
from vidctl.progress import silent
from vidctl.runpod.http import Http
from vidctl.runpod.jobs import Jobs
from vidctl.runpod.types import Endpoint, Template
from vidctl.runpod.workers import WorkersApi

WORKERS = [{"id": "old", "status": "RUNNING", "isStale": True}, {"id": "new", "status": "RUNNING", "isStale": False}]
LISTED = ok({"workers": WORKERS, "endpointVersion": 2})


class RollingRelease:
    """An endpoint of whose jobs each ends as it is said, on the worker that is said."""

    def __init__(self, *ends, workers):
        self.ends = ends
        self.jobs = 0
        self.workers = workers

    def __call__(self, request):
        match request.path.split("/")[1:]:
            case ["ep", "run"]:
                self.jobs += 1
                return ok({"id": f"job-{self.jobs}", "status": "IN_QUEUE"})
            case ["ep", "status", job_id]:
                status, worker = self.ends[min(self.jobs, len(self.ends)) - 1]
                return ok({"id": job_id, "status": status, "workerId": worker, "output": {"by": worker}})
            case ["serverless", "ep", "workers"]:
                return self.workers
            case ["serverless", "ep", "workers", *_]:
                return ok({})
        return Reply(404)


@pytest.fixture
def prove(tmp_path):
    """A function that proves an endpoint whose jobs end as given; what it returns, and how many jobs it took."""
    (tmp_path / "job.json").write_text('{"input": {"question": 1}}')
    document = {"name": "yolo", "image": "me/yolo:1", "gpu": "L4", "smoke": {"input": "job.json"}}
    (tmp_path / "yolo.yaml").write_text(json.dumps(document))
    yolo = spec.load(tmp_path / "yolo.yaml", environ={})
    live = Endpoint("yolo", Template("me/yolo:1"), "ADA_24", id="ep")

    def prove(*ends, timeout_s=30, notify=silent, workers=LISTED):
        endpoint = RollingRelease(*ends, workers=workers)
        with serving(endpoint) as server:
            http = Http("k")
            journal = Journal(tmp_path / "journal.db")
            tester = SmokeTester("runpod", Jobs(http, server.url), WorkersApi(http, server.url), journal, notify)
            try:
                return tester.run(yolo, live, timeout_s=timeout_s).worker_id, endpoint.jobs
            except JobFailedError as error:
                return error.job_id, endpoint.jobs

    return prove


def test_only_the_new_version_proves_itself(prove):
    """What a worker of the previous version answers proves nothing, and what it fails at is no failure: retry."""
    assert ("new", 3) == prove(("COMPLETED", "old"), ("FAILED", "old"), ("COMPLETED", "new"))


def test_a_failure_of_the_new_version_is_one_at_once(prove):
    assert ("job-1", 1) == prove(("FAILED", "new"), ("COMPLETED", "new"))


def test_a_version_that_nobody_has_seen_answer_is_not_proved(prove):
    """The time is over, and it was only ever the previous version: that is no success."""
    with failing("timed_out", "yolo", "previous version", "2 s", "endpoint ep", "vidctl destroy yolo"):
        prove(("COMPLETED", "old"), timeout_s=2)


def test_what_cannot_be_seen_is_said(prove):
    """A key that may not list workers: the answer counts, and the line says what it does not show."""
    reported = []
    prove(("COMPLETED", "old"), notify=reported.append, workers=Reply(403))

    stating(reported[-1].message, "version")
