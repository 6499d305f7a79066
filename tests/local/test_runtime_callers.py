"""The job API as a caller sees it: RunPod's routes, shapes, limits and refusals.  The workers are the real SDK's."""

import json
import re

import openai
import pytest
import requests
from support.runtime import until

MIB = 1 << 20


@pytest.fixture(scope="module")
def basic(shared_runtime, handlers):
    """An endpoint with the plain handler."""
    return shared_runtime.endpoint(handlers / "basic", name="callers")


@pytest.fixture
def idle(runtime, handlers):
    """An endpoint that starts no workers, so that its jobs stay in the queue."""
    return runtime.endpoint(handlers / "basic", name="idle", workers_max=0)


def refusal(runtime, method, path, **options):
    """Status and error of a request that is to be refused."""
    response = runtime.session.request(method, f"{runtime.url}{path}", timeout=60, **options)
    return response.status_code, response.json()["error"]


def test_run_answers_at_once_with_an_id(runtime, idle):
    answer = runtime.post(f"/v2/{idle}/run", {"input": {"a": 1}})

    assert re.fullmatch(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}-u1", answer.pop("id"))
    assert answer == {"status": "IN_QUEUE"}


def test_runsync_answers_with_the_result(runtime, basic):
    answer = runtime.runsync(basic, {"do": "give", "value": {"n": 1}})

    assert list(answer) == ["delayTime", "executionTime", "id", "output", "status", "workerId"]
    assert (answer["output"], answer["status"]) == ({"n": 1}, "COMPLETED")
    assert re.fullmatch(r"sync-[0-9a-f-]{36}-u1", answer["id"])
    assert runtime.status(basic, answer["id"]) == answer


def test_runsync_lets_go_after_the_wait_and_the_job_goes_on(runtime, idle):
    answer = runtime.post(f"/v2/{idle}/runsync?wait=1000", {"input": {"a": 1}})

    assert answer == {"id": answer["id"], "status": "IN_QUEUE"}
    assert runtime.status(idle, answer["id"]) == answer


@pytest.mark.parametrize("value", [None, False, 0, "", "text", [1, 2], [], {"deep": {"er": None}}])
def test_whatever_a_handler_returns_is_the_output(runtime, basic, value):
    answer = runtime.runsync(basic, {"do": "give", "value": value})

    assert (answer["status"], answer["output"]) == ("COMPLETED", value)


def test_an_empty_dictionary_is_no_output(runtime, basic):
    """The SDK leaves an empty dictionary out of what it posts."""
    answer = runtime.runsync(basic, {"do": "give", "value": {}})

    assert (answer["status"], "output" in answer) == ("COMPLETED", False)


def test_an_error_in_the_result_fails_the_job_and_keeps_the_rest(runtime, basic):
    answer = runtime.runsync(basic, {"do": "give", "value": {"error": ["a", "b"], "seen": 3}})

    assert (answer["status"], answer["error"], answer["output"]) == ("FAILED", ["a", "b"], {"seen": 3})


def test_an_exception_fails_the_job_with_its_traceback(runtime, basic):
    answer = runtime.runsync(basic, {"do": "fail"})
    error = json.loads(answer["error"])

    assert (answer["status"], error["error_type"], error["error_message"]) == (
        "FAILED",
        "<class 'ValueError'>",
        "no such luck",
    )


def test_what_json_cannot_hold_fails_the_job_at_once(runtime, basic):
    answer = runtime.runsync(basic, {"do": "give_nan"})

    assert (answer["status"], "NaN is not JSON" in answer["error"]) == ("FAILED", True)


def test_a_result_over_the_limit_fails_the_job_and_says_so(runtime, basic):
    """RunPod loses such a result silently."""
    job = runtime.ended(basic, runtime.run(basic, {"do": "give_much", "bytes": 11 * MIB}))

    assert (job["status"], "max size is 10MiB" in job["error"]) == ("FAILED", True)


def test_a_large_result_within_the_limit_arrives(runtime, basic):
    assert len(runtime.runsync(basic, {"do": "give_much", "bytes": 15 * MIB})["output"]) == 15 * MIB


def test_health_counts_jobs_and_workers(runtime, handlers):
    endpoint = runtime.endpoint(handlers / "basic", name="health")
    before = runtime.get(f"/v2/{endpoint}/health")
    runtime.runsync(endpoint, {"a": 1})
    runtime.runsync(endpoint, {"do": "fail"})

    assert before == {
        "jobs": {"completed": 0, "failed": 0, "inProgress": 0, "inQueue": 0, "retried": 0},
        "workers": {"idle": 0, "initializing": 0, "ready": 0, "running": 0, "throttled": 0, "unhealthy": 0},
    }
    assert runtime.get(f"/v2/{endpoint}/health") == {
        "jobs": {"completed": 1, "failed": 1, "inProgress": 0, "inQueue": 0, "retried": 0},
        "workers": {"idle": 1, "initializing": 0, "ready": 1, "running": 0, "throttled": 0, "unhealthy": 0},
    }


def test_a_cancelled_job_stays_cancelled(runtime, idle):
    job_id = runtime.run(idle, {"a": 1})

    assert runtime.post(f"/v2/{idle}/cancel/{job_id}") == {"id": job_id, "status": "CANCELLED"}
    assert runtime.post(f"/v2/{idle}/cancel/{job_id}") == {"id": job_id, "status": "CANCELLED"}
    assert runtime.status(idle, job_id) == {"id": job_id, "status": "CANCELLED"}


def test_a_purge_takes_what_waits(runtime, idle):
    job_ids = [runtime.run(idle, {"n": n}) for n in range(3)]

    assert runtime.post(f"/v2/{idle}/purge-queue") == {"removed": 3, "status": "completed"}
    assert {runtime.status(idle, job_id)["status"] for job_id in job_ids} == {"CANCELLED"}
    assert runtime.get(f"/v2/{idle}/health")["jobs"]["inQueue"] == 0


def test_a_failed_job_can_be_retried(runtime, basic, tmp_path):
    job_id = runtime.run(basic, {"do": "fail"})
    runtime.ended(basic, job_id)

    assert runtime.post(f"/v2/{basic}/retry/{job_id}") == {"id": job_id, "status": "IN_QUEUE"}
    assert runtime.ended(basic, job_id)["status"] == "FAILED"


def test_a_job_that_did_not_fail_cannot_be_retried(runtime, idle):
    status, error = refusal(runtime, "POST", f"/v2/{idle}/retry/{runtime.run(idle, {'a': 1})}")

    assert (status, "is IN_QUEUE" in error) == (400, True)


def test_a_stream_of_a_waiting_job_is_empty(runtime, idle):
    job_id = runtime.run(idle, {"a": 1})

    assert runtime.get(f"/v2/{idle}/stream/{job_id}?wait=1000") == {"status": "IN_QUEUE", "stream": []}


def test_status_sync_waits_for_the_end(runtime, basic, tmp_path):
    go = tmp_path / "go"
    job_id = runtime.run(basic, {"do": "wait", "started": str(tmp_path / "started"), "until": str(go)})
    until((tmp_path / "started").exists)
    early = runtime.get(f"/v2/{basic}/status-sync/{job_id}?wait=1000")
    go.touch()
    late = runtime.get(f"/v2/{basic}/status-sync/{job_id}")

    assert (early["status"], late["status"], late["id"]) == ("IN_PROGRESS", "COMPLETED", job_id)


def test_status_may_be_posted_and_says_how_long_a_result_is_kept(runtime, basic):
    job_id = runtime.runsync(basic, {"a": 1})["id"]
    path = f"/v2/{basic}/status/{job_id}"

    assert runtime.post(path) == runtime.get(path) == runtime.get(path, params={"ttl": 600_000})
    assert runtime.get(path, params={"ttl": 1})["output"]["echo"] == {"a": 1}
    until(lambda: refusal(runtime, "GET", path)[0] == 404)
    assert refusal(runtime, "GET", path, params={"ttl": "soon"})[0] in (400, 404)


@pytest.mark.parametrize(
    ("method", "path", "status"), [("GET", "/v2/{}/run", 405), ("GET", "/v2/{}/nothing", 404), ("GET", "/nothing", 404)]
)
def test_what_is_no_route_is_told_in_json(runtime, idle, method, path, status):
    answer = runtime.session.request(method, f"{runtime.url}{path.format(idle)}", timeout=10)

    assert (answer.status_code, "error" in answer.json()) == (status, True)


def test_a_text_as_input_is_told_in_plain_words(runtime, idle):
    _, message = refusal(runtime, "POST", f"/v2/{idle}/run", json={"input": "hello"})

    assert message == 'invalid input: expected a JSON object such as {"input": {"prompt": "..."}}, got text'


def test_one_request_too_many_is_answered_with_429(runtime, handlers):
    endpoint = runtime.endpoint(handlers / "basic", name="limited", workers_max=0)
    answers = [runtime.session.post(f"{runtime.url}/v2/{endpoint}/purge-queue", timeout=10) for _ in range(3)]

    assert [answer.status_code for answer in answers] == [200, 200, 429]
    assert 1 <= int(answers[2].headers["Retry-After"]) <= 10
    assert "2 /purge-queue requests in 10 s" in answers[2].json()["error"]


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b'{"input": {}}', b'{"input": null}', b"{}"])
@pytest.mark.parametrize("route", ["run", "runsync"])
def test_a_request_without_an_input_is_refused(runtime, idle, route, body):
    assert refusal(runtime, "POST", f"/v2/{idle}/{route}", data=body)[0] == 400


@pytest.mark.parametrize(("route", "limit"), [("run", 10), ("runsync", 20)])
def test_a_body_over_the_limit_is_refused_and_one_at_it_is_not(runtime, idle, route, limit):
    def body(size):
        return json.dumps({"input": {"x": "y" * (size - len('{"input": {"x": ""}}'))}})

    refused = refusal(runtime, "POST", f"/v2/{idle}/{route}", data=body(limit * MIB + 1))
    accepted = runtime.session.post(f"{runtime.url}/v2/{idle}/{route}?wait=1000", data=body(limit * MIB), timeout=60)

    assert (refused[0], refused[1].startswith(f"json is invalid; max size is {limit}MiB")) == (400, True)
    assert accepted.json()["status"] == "IN_QUEUE"


@pytest.mark.parametrize("policy", [{"executionTimeout": 4999}, {"ttl": 9999}])
def test_a_policy_below_runpods_minimum_is_refused(runtime, idle, policy):
    status, error = refusal(runtime, "POST", f"/v2/{idle}/run", json={"input": {"a": 1}, "policy": policy})

    assert (status, error.startswith("policy.")) == (400, True)


@pytest.mark.parametrize("path", ["status/x", "stream/x", "health"])
def test_an_unknown_endpoint_is_not_found(runtime, path):
    assert refusal(runtime, "GET", f"/v2/nowhere/{path}")[0] == 404


@pytest.mark.parametrize(
    ("method", "route"), [("GET", "status"), ("GET", "stream"), ("POST", "cancel"), ("POST", "retry")]
)
def test_an_unknown_job_is_not_found(runtime, idle, method, route):
    assert refusal(runtime, method, f"/v2/{idle}/{route}/nothing-u1")[0] == 404


def test_a_job_of_another_endpoint_is_not_found(runtime, idle, basic):
    assert refusal(runtime, "GET", f"/v2/{basic}/status/{runtime.run(idle, {'a': 1})}")[0] == 404


@pytest.mark.parametrize("key", [None, "", "Bearer", "Bearer wrong", "wrong", "Basic test-key"])
@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "/v2/ep/run"),
        ("GET", "/v2/ep/job-take/w"),
        ("POST", "/graphql"),
        ("GET", "/local/v1/endpoints/ep/workers"),
    ],
)
def test_nobody_gets_in_without_the_key(runtime, method, path, key):
    headers = {} if key is None else {"Authorization": key}
    response = requests.request(method, f"{runtime.url}{path}", headers=headers, timeout=10)

    assert response.status_code == 401


@pytest.mark.parametrize("given", ["Bearer {}", "bearer {}", "BEARER  {}", "{}"])
def test_the_key_comes_with_bearer_or_bare(runtime, idle, given):
    headers = {"Authorization": given.format(runtime.api_key)}

    assert requests.get(f"{runtime.url}/v2/{idle}/health", headers=headers, timeout=10).status_code == 200


def test_anyone_may_ask_whether_it_is_there(runtime):
    about = requests.get(runtime.url, timeout=10).json()

    assert (about["service"], about["pid"]) == ("vidctl-local", runtime.pid)


def test_low_priority_starts_no_worker(runtime, handlers):
    endpoint = runtime.endpoint(handlers / "basic", name="patient")
    job_id = runtime.run(endpoint, {"a": 1}, policy={"lowPriority": True})

    assert runtime.workers(endpoint) == []
    runtime.runsync(endpoint, {"a": 1})
    assert runtime.ended(endpoint, job_id)["status"] == "COMPLETED"


def test_an_openai_request_is_a_job_and_its_answer_the_output(runtime, handlers):
    endpoint = runtime.endpoint(handlers / "openai", name="openai")
    answer = runtime.post(f"/v2/{endpoint}/openai/v1/chat/completions", {"model": "m", "messages": []})

    assert answer == {"route": "/v1/chat/completions", "input": {"model": "m", "messages": []}}


def test_an_openai_stream_is_server_sent_events(runtime, handlers):
    endpoint = runtime.endpoint(handlers / "openai", name="openai-stream")
    body = {"stream": True, "texts": ["a", "b"]}
    response = runtime.session.post(f"{runtime.url}/v2/{endpoint}/openai/v1/completions", json=body, timeout=60)

    assert response.headers["content-type"].startswith("text/event-stream")
    assert response.text == 'data: {"text":"a"}\n\ndata: {"text":"b"}\n\ndata: [DONE]\n\n'


@pytest.mark.parametrize("cut", [7, 60, 1 << 21])
def test_openais_own_client_reads_a_stream_that_is_cut_anywhere(runtime, handlers, cut):
    endpoint = runtime.endpoint(handlers / "openai", name="openai-cut")
    texts = ["One, ", "[DONE]", " two.", "é" * (cut // 4)]

    assert "".join(read(runtime, endpoint, {"cut": cut, "texts": texts})) == "".join(texts)


def test_openais_own_client_hears_an_error_after_half_an_event(runtime, handlers):
    endpoint = runtime.endpoint(handlers / "openai", name="openai-half")
    pieces = read(runtime, endpoint, {"cut": 50, "texts": ["One, "], "fails": "two"})

    assert [next(pieces), next(pieces)] == ["One, ", "two"]
    with pytest.raises(openai.APIError, match="the engine is gone"):
        next(pieces)


def read(runtime, endpoint, body):
    client = openai.OpenAI(
        api_key=runtime.api_key,
        base_url=f"{runtime.url}/v2/{endpoint}/openai/v1",
        max_retries=0,
        _strict_response_validation=True,
    )
    with client, client.chat.completions.create(model="m", messages=[], stream=True, extra_body=body) as chunks:
        for chunk in chunks:
            yield chunk.choices[0].delta.content


def test_an_openai_error_has_openais_form(runtime, handlers):
    endpoint = runtime.endpoint(handlers / "openai", name="openai-error")
    response = runtime.session.post(f"{runtime.url}/v2/{endpoint}/openai/v1/completions", json={"bad": 1}, timeout=60)

    error = response.json()["error"]

    assert (response.status_code, error["type"], "bad request" in error["message"]) == (500, "server_error", True)


def test_a_forgotten_job_is_not_found(own_runtime, handlers):
    """A job that nobody picked up is gone when its TTL is over, even between two sweeps."""
    endpoint = own_runtime.endpoint(handlers / "basic", workers_max=0)
    job_id = own_runtime.run(endpoint, {"a": 1}, policy={"ttl": 10_000})

    until(lambda: own_runtime.session.get(f"{own_runtime.url}/v2/{endpoint}/status/{job_id}").status_code == 404)
    assert own_runtime.get(f"/v2/{endpoint}/health")["jobs"]["inQueue"] == 0
