"""Why an endpoint or a job does not answer: each cause a fixture, with the lines that show it and what fixes it.

Lines and counts have the shapes of live captures: runpod-plugins-official, golden-paths/15 and /20; see test_diagnosis.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest
from support.command import vidctl
from support.failing import failed
from support.project import ECHO_SMOKE, Project
from support.scripted import Reply, Request, ok, serving

from vidctl.deploy.diagnosis import EndpointSnapshot
from vidctl.operations.causes import Findings, causes
from vidctl.runpod.jobs import GONE, Job
from vidctl.runpod.types import Balance, Endpoint, LogLine, Offer, Template, Worker, WorkerList

IMAGE = "docker.io/you/yolo@sha256:0123"
START = ("system", f"start container for {IMAGE}: begin")
TRACEBACK = (
    ("container", "Traceback (most recent call last):"),
    ("container", "ModuleNotFoundError: No module named 'ultralytics'"),
)
ENDPOINT = Endpoint("test-yolo", Template(IMAGE), gpu_ids="ADA_24,AMPERE_24", workers_max=3, id="ep1")
OFFERS = (
    Offer("ADA_24", 1.1, "NONE", (("EU-RO-1", "NONE"),)),
    Offer("AMPERE_24", 0.7, "LOW", (("US-NC-1", "LOW"),)),
    Offer("AMPERE_48", 1.2, "HIGH"),
)


def seen(status: str | None, *said: tuple[Any, str], **changed: Any) -> EndpointSnapshot:
    """A job waits for 95 s, and there is one worker (or none) with this status and log."""
    fields: dict[str, Any] = {
        "workers": {} if status is None else {status.lower(): 1},
        "jobs": {"inQueue": 1, "inProgress": 0},
        "workers_max": 3,
        "waited_s": 95,
        "pools": ("ADA_24", "AMPERE_24"),
        "fleet": WorkerList(() if status is None else (Worker("w1", status, image=IMAGE),)),
        "logs": {"w1": tuple(LogLine(f"2026-08-06T17:42:{at:02}Z", *each) for at, each in enumerate(said))},
    }
    return EndpointSnapshot(**{**fields, **changed})


CALM = seen("IDLE", jobs={})


def found(snapshot: EndpointSnapshot = CALM, **changed: Any) -> Findings:
    return dataclasses.replace(Findings("yolo", ENDPOINT, snapshot), **changed)


def ended(status: str, error: str | None = None, **times: Any) -> Findings:
    """A job that is over, of which the worker logged two lines."""
    log = ('{"requestId": "j1", "message": "Started.", "level": "INFO"}', "ERROR  | j1-u1 | Traceback", "other")
    snapshot = seen("IDLE", *(("container", line) for line in log), jobs={})
    return found(snapshot, job=Job("j1", status, error=error, **times))


def endpoint(**changed: Any) -> Endpoint:
    return dataclasses.replace(ENDPOINT, **changed)


CAUSES = {
    "crash loop": (
        found(seen("UNHEALTHY", START, *TRACEBACK, START, *TRACEBACK)),
        "crash_loop", ["ModuleNotFoundError", "fix the worker and redeploy"],
    ),
    "image pull": (
        found(seen("INITIALIZING", ("system", f"error creating container: image pull: {IMAGE}: pending"))),
        "pulling", ["pending", "smaller image"],
    ),
    "architecture": (
        found(seen("UNHEALTHY", START, ("container", "exec /usr/bin/tini: exec format error"))),
        "wrong_platform", ["exec format error", "vidctl build"],
    ),
    "registry": (
        found(seen("INITIALIZING", ("system", "error pulling image: pull access denied for you/yolo"))),
        "registry_auth", ["pull access denied", "vidctl registry login"],
    ),
    "image missing": (
        found(seen("INITIALIZING", ("system", "manifest for you/yolo:1 not found: manifest unknown"))),
        "image_missing", ["manifest unknown", "vidctl push"],
    ),
    "no capacity": (
        found(seen(None), offers=OFFERS),
        "no_capacity", ["ADA_24: none", "AMPERE_24: low (US-NC-1 low)", "in stock: AMPERE_48", "gpu:"],
    ),
    "throttled": (
        found(seen("THROTTLED"), offers=OFFERS), "throttled", ["AMPERE_24: low", "name more GPUs"],
    ),
    "model loading": (
        found(seen("INITIALIZING", START, ("container", "Loading checkpoint shards: 50%"))),
        "loading", ["Loading checkpoint shards", "RUNPOD_INIT_TIMEOUT"],
    ),
    "payload refused": (
        ended("FAILED", "'image' is missing"),
        "payload_refused", ["'image' is missing", "correct the input", "Started."],
    ),
    "result too large": (
        ended("COMPLETED"), "result_too_large", ["10 MB", "vidctl deploy yolo"],
    ),
    "results that RunPod did not take": (
        found(seen("IDLE", ("container", "ERROR  | j9-u1 | Failed to return job results. | 400"), jobs={})),
        "result_too_large", ["Failed to return job results", "vidctl deploy yolo"],
    ),
    "worker died": (
        ended("FAILED", "job timed out after 1 retries"), "worker_died", ["after 1 retries", "vidctl logs yolo"],
    ),
    "out of memory": (
        ended("FAILED", "torch.cuda.OutOfMemoryError: CUDA out of memory"), "out_of_memory", ["larger GPU"],
    ),
    "handler failed": (
        ended("FAILED", "ZeroDivisionError: division by zero"),
        "job_failed", ["ZeroDivisionError", "vidctl logs yolo --grep j1"],
    ),
    "timed out": (
        ended("TIMED_OUT", execution_ms=600_000), "timed_out", ["10 min", "execution_timeout", "vidctl deploy yolo"],
    ),
    "cancelled": (ended("CANCELLED"), "cancelled", ["cancelled"]),
    "forgotten": (ended(GONE), "forgotten", ["30 minutes"]),
    "scaled down after idle days": (
        found(seen(None, workers_max=0), endpoint=endpoint(workers_max=0), applied_workers_max=3),
        "scaled_down", ["7 days", "vidctl deploy yolo"],
    ),
    "scaled down after fewer": (
        found(endpoint=endpoint(workers_max=2), applied_workers_max=3), "scaled_down", ["3 days"],
    ),
    "stopped by its spec": (
        found(seen(None, workers_max=0), endpoint=endpoint(workers_max=0), applied_workers_max=0),
        "stopped", ["workers.max"],
    ),
    "balance": (
        found(seen(None), balance=Balance(-0.2, 0.0, None)), "balance", ["$-0.20", "console.runpod.io/user/billing"],
    ),
    "all workers busy": (
        found(seen("RUNNING", workers={"running": 3}, jobs={"inQueue": 4, "inProgress": 3})),
        "at_max", ["4 jobs queued", "workers.max"],
    ),
    "nothing to do": (found(seen(None, jobs={}, waited_s=0)), "idle", ["nothing waits"]),
    "a worker that is ready": (found(), "working", ["1 worker ready"]),
    "a job that a worker has": (
        found(job=Job("j1", "IN_PROGRESS", worker_id="w1")), "working", ["w1"],
    ),
    "a job that is done": (
        found(job=Job("j1", "COMPLETED", output=1, delay_ms=95_000, execution_ms=2000)), "completed", ["95 s", "2 s"],
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", CAUSES)
def test_each_cause_has_its_evidence_and_what_mends_it(name):
    """The likeliest first."""
    findings, kind, facts = CAUSES[name]

    first = causes(findings)[0]

    said = "\n".join([first.sentence, *first.evidence, first.remedy])
    assert (kind, []) == (first.kind, [fact for fact in facts if fact not in said]), said


def test_all_causes_that_hold_are_told():
    """A quota that is exceeded is told beside the want of GPUs, which may have another reason."""
    told = causes(found(seen(None), workers_asked=12, worker_quota=5, offers=OFFERS))

    assert [each.kind for each in told] == ["no_capacity", "quota"]
    assert "12" in told[1].sentence


def test_a_job_that_is_over_is_not_explained_by_what_the_endpoint_lacks_now():
    findings = dataclasses.replace(ended("FAILED", "boom"), applied_workers_max=9, workers_asked=9, worker_quota=5)

    assert [each.kind for each in causes(findings)] == ["job_failed"]


def test_what_cannot_be_seen_is_said_and_the_rest_judged(tmp_path: Path):
    """GraphQL alone tells the balance and the quota: without it the stock still explains why no worker comes."""
    gpus = {"id": "NVIDIA L4", "pool": "AMPERE_24", "availability": "LOW", "price": {"serverless": 0.69}}
    answers = {
        "/v2/serverless": {"endpoints": [{"id": "ep1", "name": "yolo", "gpu": {"pools": ["AMPERE_24"]},
                                          "workers": {"max": 1}}]},
        "/v2/ep1/health": {"jobs": {"inQueue": 1}, "workers": {"throttled": 1}},
        "/v2/serverless/ep1/workers": {"workers": [{"id": "w1", "status": "THROTTLED"}]},
        "/v2/catalog/gpus": {"gpus": [{**gpus, "dataCenters": [{"id": "EU-RO-1", "availability": "LOW"}]}]},
    }  # fmt: skip

    def answer(request: Request) -> Reply:
        path = request.path.partition("?")[0]
        return ok(answers[path]) if path in answers else Reply(410 if path == "/graphql" else 404)

    with serving(answer) as server:
        outcome = vidctl(
            "why", "yolo", "--json", "--target", "runpod", cwd=tmp_path,
            RUNPOD_API_KEY="key", RUNPOD_API_BASE_URL=server.url, RUNPOD_ENDPOINT_BASE_URL=f"{server.url}/v2",
        )  # fmt: skip

    (cause,) = outcome.document["causes"]
    assert ("throttled", ["AMPERE_24: low (EU-RO-1 low)"]) == (cause["kind"], cause["evidence"])
    assert {"quota", "balance"} == {sentence.partition(":")[0] for sentence in outcome.document["unseen"]}


FAILING = """
import runpod

def handler(job):
    if job["input"].get("fails"):
        raise ValueError("the image is upside down")
    return job["input"]

runpod.serverless.start({"handler": handler})
"""


@pytest.fixture(scope="module")
def deployed(tmp_path_factory: pytest.TempPathFactory):
    project = Project(tmp_path_factory.mktemp("why"))
    (project.worker("echo") / "handler.py").write_text(FAILING)
    smoke = {**ECHO_SMOKE, "contains": {"question": 1}}
    project.spec("echo", worker="echo", smoke=smoke, workers={"min": 1, "max": 1})
    outcome = project.run("deploy", "echo")
    assert outcome.status == 0, outcome.stderr
    yield project
    project.close()


@pytest.mark.runtime
def test_a_job_and_its_endpoint_are_explained(deployed):
    """A job by the beginning of its id, as the runtime and the journal know it."""
    (job,) = deployed.jobs()

    document = deployed.run("why", job["id"][:8], "--json").document
    told = deployed.run("why", "echo")

    (cause,) = document["causes"]
    assert ("vidctl.why/1", job["id"], "completed", []) == (
        document["schema"], document["job_id"], cause["kind"], document["unseen"],
    )  # fmt: skip
    assert (0, "working: 1 worker ready\n") == (told.status, told.stdout)


@pytest.mark.runtime
def test_what_is_neither_endpoint_nor_job_is_an_error(deployed):
    failed(deployed.run("why", "nobody"), "not_deployed", "nobody")


def test_runpod_is_not_asked_without_a_key(tmp_path: Path):
    project = Project(tmp_path)

    failed(project.run("why", "echo", "--target", "runpod"), "auth_error", "RUNPOD_API_KEY")
