"""RunPod's MCP server works against the local runtime, by the variables of `vidctl local env` alone."""

import json

import pytest
from support.node import McpServer


def test_a_job_runs_by_its_tools(echo):
    """With what `vidctl local env` says, and nothing else of RunPod's."""
    deployed = echo.run("deploy", "echo", "--json")
    server = McpServer(json.loads(echo.run("local", "env", "--json").stdout))

    endpoint_id = json.loads(deployed.stdout)["endpoint_id"]
    job = server.call("run-endpoint", endpointId=endpoint_id, input={"text": "hello"})
    done = server.call("get-job-status", endpointId=endpoint_id, jobId=job["id"], wait=60_000)
    health = server.call("endpoint-health", endpointId=endpoint_id)
    listed = server.call("list-endpoints")
    server.close()

    assert [endpoint_id] == [each["id"] for each in listed["items"]]
    assert ("COMPLETED", job["id"]) == (done["status"], done["id"])
    assert {"jobs", "workers"} <= health.keys()


@pytest.fixture
def mcp(runtime):
    server = McpServer({"RUNPOD_API_KEY": runtime.api_key, "RUNPOD_API_BASE_URL": runtime.url})
    yield server
    server.close()


def test_it_creates_changes_and_deletes_an_endpoint(mcp):
    wanted = {
        "name": "by-mcp",
        "type": "QUEUE",
        "image": "a/b:1",
        "gpu": {"pools": ["ADA_24"]},
        "workers": {"max": 1},
        "scaling": {"type": "QUEUE_DELAY", "queueDelay": 4},
    }
    made = mcp.call("create-endpoint", body=wanted)
    mcp.call("update-endpoint", id=made["id"], body={"workers": {"max": 2}})
    changed = mcp.call("get-endpoint", id=made["id"])
    mcp.call("delete-endpoint", id=made["id"])

    assert ("by-mcp", 2) == (changed["name"], changed["workers"]["max"])
    with pytest.raises(AssertionError, match="404"):
        mcp.call("get-endpoint", id=made["id"])
