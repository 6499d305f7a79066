"""What the control plane saves reaches the workers: new versions replace them, a deleted endpoint ends them."""

import threading

import pytest
from support.runtime import until

from vidctl.local.workers.folder_image import image_name
from vidctl.local.workers.os_process import identity

SAVE_TEMPLATE = """
mutation Save($input: SaveTemplateInput!) { saveTemplate(input: $input) { id } }
"""
SAVE_ENDPOINT = """
mutation Save($input: EndpointInput!) { saveEndpoint(input: $input) { id } }
"""


class Deployment:
    """A template and its endpoint, saved over GraphQL."""

    def __init__(self, runtime, folder, name, **settings):
        self._runtime = runtime
        self._template = {"name": name, "imageName": image_name(folder), "containerDiskInGb": 5, "isServerless": True}
        self._template |= {"dockerArgs": "", "volumeInGb": 0}
        self._template["id"] = self._save(SAVE_TEMPLATE, {**self._template, "env": []}, "saveTemplate")
        self._endpoint = {"name": name, "templateId": self._template["id"], "gpuIds": "ADA_24", "idleTimeout": 60}
        self._endpoint |= {"workersMin": 0, "workersMax": 1, "scalerType": "QUEUE_DELAY", "scalerValue": 4, **settings}
        self.id = self._endpoint["id"] = self._save(SAVE_ENDPOINT, self._endpoint, "saveEndpoint")

    def set_env(self, **env):
        pairs = [{"key": key, "value": value} for key, value in env.items()]
        self._save(SAVE_TEMPLATE, {**self._template, "env": pairs}, "saveTemplate")

    def scale(self, **settings):
        self._endpoint |= settings
        self._save(SAVE_ENDPOINT, self._endpoint, "saveEndpoint")

    def delete(self):
        self.scale(workersMin=0, workersMax=0)
        self._runtime.post("/graphql", {"query": f'mutation {{ deleteEndpoint(id: "{self.id}") }}'})

    def _save(self, query, given, operation):
        answer = self._runtime.post("/graphql", {"query": query, "variables": {"input": given}})
        assert "errors" not in answer, answer
        return answer["data"][operation]["id"]


@pytest.fixture
def deployment(runtime, handlers, request):
    return Deployment(runtime, handlers / "basic", request.node.name)


def test_a_new_version_gets_every_job_that_comes_after_it(runtime, deployment):
    """Also when the workers of the old one are still there."""
    before = runtime.runsync(deployment.id, {"do": "environment"})
    deployment.set_env(RELEASE="two")
    after = runtime.runsync(deployment.id, {"do": "environment"})

    assert "RELEASE" not in before["output"]["environment"]
    assert after["output"]["environment"]["RELEASE"] == "two"


def test_a_busy_worker_of_an_old_version_finishes_its_job(runtime, deployment, tmp_path):
    started, go = tmp_path / "started", tmp_path / "go"
    job_id = runtime.run(deployment.id, {"do": "wait", "started": str(started), "until": str(go)})
    until(started.exists)
    deployment.set_env(RELEASE="two")
    after = runtime.runsync(deployment.id, {"do": "environment"})
    go.touch()
    before = runtime.ended(deployment.id, job_id)

    assert (before["status"], "retries" in before) == ("COMPLETED", False)
    assert before["workerId"] != after["workerId"]
    assert until(lambda: [worker["id"] for worker in runtime.workers(deployment.id)] == [after["workerId"]])


def test_what_does_not_make_new_workers_keeps_the_old(runtime, deployment):
    first = runtime.runsync(deployment.id, {"a": 1})
    deployment.scale(idleTimeout=90, name="other-name")

    assert runtime.runsync(deployment.id, {"a": 1})["workerId"] == first["workerId"]


def test_a_deleted_endpoint_is_gone_with_its_workers_and_jobs(runtime, handlers):
    deployment = Deployment(runtime, handlers / "basic", "to-be-deleted", workersMax=0)
    answers = []
    url = f"{runtime.url}/v2/{deployment.id}"
    waiting = threading.Thread(
        target=lambda: answers.append(runtime.session.post(f"{url}/runsync", json={"input": {"a": 1}}, timeout=60))
    )
    waiting.start()
    until(lambda: runtime.get(f"/v2/{deployment.id}/health")["jobs"]["inQueue"] == 1)
    deployment.delete()
    waiting.join()

    assert answers[0].status_code == 404
    assert runtime.session.get(f"{url}/health", timeout=10).status_code == 404


def test_the_workers_of_a_deleted_endpoint_end(runtime, deployment):
    runtime.runsync(deployment.id, {"a": 1})
    [worker] = runtime.workers(deployment.id)
    folder = runtime.state_dir / "workers" / worker["id"]
    deployment.delete()

    assert until(lambda: not folder.exists())
    assert identity(worker["pid"]) is None


def test_nothing_is_left_of_the_past_workers_of_a_deleted_endpoint(runtime, deployment):
    for _ in range(2):
        runtime.runsync(deployment.id, {"do": "refresh"})
    logs = runtime.get(f"/local/v1/endpoints/{deployment.id}/logs")["logs"]
    folders = [runtime.state_dir / "workers" / log["workerId"] for log in logs]
    deployment.delete()

    assert len(folders) > 1
    assert until(lambda: not any(folder.exists() for folder in folders))
