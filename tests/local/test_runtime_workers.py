"""The worker API with the real SDK loop on its other side, and the SDK's own client against the job API."""

import json
import os
import shutil
import signal
import subprocess
import sys
import threading
from importlib import metadata
from pathlib import Path

import pytest
from support.runtime import until


def lines(path):
    return path.read_text().split() if path.exists() else []


@pytest.fixture(scope="module")
def overlap(shared_runtime, handlers):
    """An endpoint whose worker takes up to 50 jobs at once."""
    return shared_runtime.endpoint(handlers / "overlap", name="overlap", workers_max=1)


@pytest.fixture(scope="module")
def basic(shared_runtime, handlers):
    """An endpoint with one worker and the plain handler."""
    return shared_runtime.endpoint(handlers / "basic", name="workers", workers_max=1)


def test_two_workers_of_one_folder_do_not_exchange_their_files(runtime, handlers, tmp_path):
    endpoint = runtime.endpoint(handlers / "basic", name="two-workers", workers_min=2, workers_max=2)
    started, go = tmp_path / "started", tmp_path / "go"
    given = {"do": "keep", "started": str(started), "until": str(go)}
    job_ids = {who: runtime.run(endpoint, {**given, "who": who}) for who in ("Anna", "Ben")}
    until(lambda: started.exists() and len(started.read_text().split()) == 2)
    go.touch()
    kept = {who: runtime.ended(endpoint, job_id)["output"] for who, job_id in job_ids.items()}

    assert {who: output["kept"] for who, output in kept.items()} == {"Anna": "Anna", "Ben": "Ben"}
    assert kept["Anna"]["cwd"] != kept["Ben"]["cwd"]
    assert not (handlers / "basic" / "input.txt").exists()


@pytest.fixture(scope="module", params=[metadata.version("runpod"), "2.0.0rc2"])
def four(request, shared_runtime, handlers, tmp_path_factory):
    """A worker of concurrency 4 on that version of the SDK, which waits for its first job."""
    folder = tmp_path_factory.mktemp("four") / "worker"
    shutil.copytree(handlers / "overlap", folder)
    if request.param != metadata.version("runpod"):
        (folder / "requirements.txt").write_text(f"runpod=={request.param}\n")
    endpoint = shared_runtime.endpoint(
        folder, name=f"four-{request.param}", workers_min=1, workers_max=1, env={"CONCURRENCY": "4"}
    )
    until(lambda: shared_runtime.get(f"/v2/{endpoint}/health")["workers"]["idle"] == 1, timeout_s=300)
    return endpoint, request.param


def test_four_jobs_at_once_begin_at_once_in_a_worker_that_takes_four(runtime, four):
    """The last of them began after 2 seconds when the worker was filled little by little."""
    endpoint, version = four
    job_ids = [runtime.run(endpoint, {"together": 4}) for _ in range(4)]
    jobs = [runtime.ended(endpoint, job_id) for job_id in job_ids]

    assert [job["status"] for job in jobs] == ["COMPLETED"] * 4
    assert {job["output"]["version"] for job in jobs} == {version}
    assert max(job["delayTime"] for job in jobs) < 1500


def test_a_cancel_and_a_failure_are_the_same_on_both_versions(runtime, four):
    endpoint, _ = four
    job_id = runtime.run(endpoint, {"together": 99})
    until(lambda: runtime.status(endpoint, job_id)["status"] == "IN_PROGRESS")
    runtime.post(f"/v2/{endpoint}/cancel/{job_id}")
    until(lambda: runtime.get(f"/v2/{endpoint}/health")["workers"]["idle"] == 1)

    assert runtime.ended(endpoint, runtime.run(endpoint, {"fail": "no luck"}))["status"] == "FAILED"
    assert runtime.runsync(endpoint, {"a": 1})["status"] == "COMPLETED"


def test_the_copy_goes_with_its_worker(runtime, handlers):
    endpoint = runtime.endpoint(handlers / "basic", name="copy-goes", workers_max=1)
    cwd = Path(runtime.runsync(endpoint, {"do": "environment"})["output"]["cwd"])
    was_there = cwd.is_dir()
    os.kill(runtime.workers(endpoint)[0]["pid"], signal.SIGKILL)
    until(lambda: not cwd.exists())

    assert was_there


def test_what_a_handler_wrote_through_a_link_is_said_in_its_log(runtime, handlers, tmp_path):
    """Weights are not copied, and nothing keeps root from writing to them."""
    folder = tmp_path / "worker"
    shutil.copytree(handlers / "basic", folder)
    (folder / "weights").mkdir()
    (folder / "weights" / "model.bin").write_text("good")
    endpoint = runtime.endpoint(folder, name="spoils", workers_max=1)
    runtime.runsync(endpoint, {"do": "tell_path", "path": "weights/model.bin"})
    (worker,) = runtime.workers(endpoint)
    os.kill(worker["pid"], signal.SIGKILL)

    def said():
        logs = runtime.get(f"/local/v1/endpoints/{endpoint}/logs")["logs"]
        return [line for log in logs for line in log["lines"] if "changed while this worker ran" in line]

    (line,) = until(said)
    assert str(folder / "weights" / "model.bin") in line


def test_the_copies_of_a_killed_runtime_go_when_the_next_one_starts(own_runtime, handlers):
    endpoint = own_runtime.endpoint(handlers / "basic", name="killed-runtime", workers_max=1)
    cwd = Path(own_runtime.runsync(endpoint, {"do": "environment"})["output"]["cwd"])
    own_runtime.kill()
    was_there = cwd.is_dir()
    own_runtime.start()

    assert (was_there, cwd.exists()) == (True, False)


def test_a_worker_runs_in_its_own_copy_with_a_scratch_home_and_no_key_of_ours(runtime, handlers, monkeypatch):
    endpoint = runtime.endpoint(handlers / "basic", name="environment", env={"MODEL": "small"})
    output = runtime.runsync(endpoint, {"do": "environment"})["output"]
    env = output["environment"]

    assert output["cwd"] == str(runtime.state_dir / "workers" / env["RUNPOD_POD_ID"] / "source")
    assert env["PATH"].split(os.pathsep)[0] == str(Path(sys.executable).parent)
    assert env["VIRTUAL_ENV"] == sys.prefix
    assert (env["MODEL"], env["RUNPOD_ENDPOINT_ID"], env["RUNPOD_AI_API_KEY"]) == ("small", endpoint, runtime.api_key)
    assert env["HOME"].startswith(str(runtime.state_dir))
    assert "RUNPOD_API_KEY" not in env


def test_a_handler_of_any_place_runs_with_its_neighbours(runtime, tmp_path):
    """What the Dockerfile starts: here RunPod's layout, whose image has the files of src at its top."""
    folder = tmp_path / "speech"
    (folder / "src").mkdir(parents=True)
    (folder / "Dockerfile").write_text("FROM python\nWORKDIR /\nCOPY src .\nCMD python -u /rp_handler.py\n")
    (folder / "src" / "predict.py").write_text("def answer(job):\n    return job['input']['question'] + 1\n")
    start = "import runpod\nfrom predict import answer\nrunpod.serverless.start({'handler': answer})\n"
    (folder / "src" / "rp_handler.py").write_text(start)
    endpoint = runtime.endpoint(folder, name="any-place")

    assert 42 == runtime.runsync(endpoint, {"question": 41})["output"]


def test_chunks_of_a_generator_are_streamed_and_not_its_output(runtime, handlers):
    endpoint = runtime.endpoint(handlers / "generator", name="generator")
    job_id = runtime.run(endpoint, {"values": [1, "two", {"three": 3}]})
    status = runtime.ended(endpoint, job_id)

    assert (status["status"], "output" in status) == ("COMPLETED", False)
    assert runtime.get(f"/v2/{endpoint}/stream/{job_id}") == {
        "status": "COMPLETED",
        "stream": [{"output": 1}, {"output": "two"}, {"output": {"three": 3}}],
    }
    assert runtime.get(f"/v2/{endpoint}/stream/{job_id}") == {"status": "COMPLETED", "stream": []}


def test_an_aggregating_generator_gives_both(runtime, handlers):
    endpoint = runtime.endpoint(handlers / "async_generator", name="aggregate")
    job_id = runtime.run(endpoint, {"values": ["a", "b"]})

    assert runtime.ended(endpoint, job_id)["output"] == ["a", "b"]
    assert runtime.get(f"/v2/{endpoint}/stream/{job_id}")["stream"] == [{"output": "a"}, {"output": "b"}]


def test_progress_is_the_output_until_there_is_one(runtime, basic, tmp_path):
    job_id = runtime.run(basic, {"do": "progress", "until": str(tmp_path / "go")})
    progress = until(lambda: runtime.status(basic, job_id).get("output"))
    running = runtime.status(basic, job_id)
    (tmp_path / "go").touch()

    assert (progress, running["status"], list(running)) == (
        {"percent": 50},
        "IN_PROGRESS",
        ["delayTime", "id", "output", "status", "workerId"],
    )
    assert runtime.ended(basic, job_id)["output"] == "done"


def test_one_worker_runs_many_jobs_at_once(runtime, overlap):
    """Each job ends only when all eight run together."""
    job_ids = [runtime.run(overlap, {"together": 8}) for _ in range(8)]
    ended = [runtime.ended(overlap, job_id) for job_id in job_ids]

    assert [job["status"] for job in ended] == ["COMPLETED"] * 8
    assert len({job["workerId"] for job in ended}) == 1


def test_a_cancelled_job_is_stopped_in_its_worker_which_goes_on(runtime, overlap, tmp_path):
    started, cancelled = tmp_path / "started", tmp_path / "cancelled"
    job_id = runtime.run(overlap, {"together": 99, "started": str(started), "cancelled": str(cancelled)})
    until(lambda: lines(started))
    answer = runtime.post(f"/v2/{overlap}/cancel/{job_id}")
    until(lambda: lines(cancelled))

    assert answer == {"id": job_id, "status": "CANCELLED"}
    assert runtime.status(overlap, job_id)["status"] == "CANCELLED"
    assert runtime.runsync(overlap, {"together": 1})["output"]["pid"] == int(lines(started)[0])


def test_refresh_worker_gives_the_next_job_a_fresh_process(runtime, handlers):
    endpoint = runtime.endpoint(handlers / "basic", name="refresh", workers_max=1)
    pids = [runtime.runsync(endpoint, {"do": "refresh"})["output"]["pid"] for _ in range(2)]

    assert pids[0] != pids[1]


def test_an_idle_worker_goes_after_the_idle_time_out(runtime, handlers):
    endpoint = runtime.endpoint(handlers / "basic", name="idle-out", idle_timeout_s=1)
    runtime.runsync(endpoint, {"a": 1})

    assert until(lambda: runtime.workers(endpoint) == [])
    assert runtime.runsync(endpoint, {"a": 1})["status"] == "COMPLETED"


def test_min_workers_stay(runtime, handlers):
    endpoint = runtime.endpoint(handlers / "basic", name="min", workers_min=1, idle_timeout_s=1)
    [worker] = until(lambda: [w for w in runtime.workers(endpoint) if w["status"] == "IDLE"])
    runtime.runsync(endpoint, {"a": 1})

    assert [w["id"] for w in runtime.workers(endpoint)] == [worker["id"]]


def test_request_count_starts_a_worker_for_every_so_many_jobs(runtime, handlers, tmp_path):
    endpoint = runtime.endpoint(
        handlers / "basic", name="count", scaler_type="REQUEST_COUNT", scaler_value=1, workers_max=2
    )
    started, go = tmp_path / "started", tmp_path / "go"
    job_ids = [runtime.run(endpoint, {"do": "wait", "started": str(started), "until": str(go)}) for _ in range(3)]
    until(lambda: len(lines(started)) == 2)
    health = runtime.get(f"/v2/{endpoint}/health")
    go.touch()

    assert (health["workers"]["running"], health["jobs"]["inQueue"]) == (2, 1)
    assert {runtime.ended(endpoint, job_id)["status"] for job_id in job_ids} == {"COMPLETED"}


def test_a_job_for_a_worker_that_hung_up_goes_to_the_next(runtime, basic):
    """A poll whose client is gone takes no job with it."""
    worker = runtime.runsync(basic, {"a": 1})["workerId"]
    poll = f"{runtime.url}/v2/{basic}/job-take/{worker}?gpu=x"
    for _ in range(5):
        subprocess.run(["curl", "-s", "-m", "0.2", "-H", f"Authorization: {runtime.api_key}", poll], check=False)

    assert runtime.runsync(basic, {"a": 2})["output"]["echo"] == {"a": 2}


def test_a_late_or_unknown_result_is_dropped(runtime, basic):
    done = runtime.runsync(basic, {"a": 1})
    answers = [
        runtime.post(f"/v2/{basic}/job-done/{worker}/{job}", {"output": "late"})
        for worker, job in ((done["workerId"], done["id"]), ("stranger", done["id"]), (done["workerId"], "unknown-u1"))
    ]

    assert answers == [{}, {}, {}]
    assert runtime.status(basic, done["id"]) == done


def test_a_ping_is_answered(runtime, basic):
    assert runtime.get(f"/v2/{basic}/ping/anyone?job_id=a,b&runpod_version=1.12.0") == {}


def test_the_workers_logs_can_be_read(runtime, basic):
    runtime.runsync(basic, {"a": 1})
    [worker] = runtime.workers(basic)

    def logged():
        return runtime.get(f"/local/v1/endpoints/{basic}/logs?tail=5")["logs"][-1]

    until(lambda: "Finished." in logged()["lines"][-1])  # which the SDK writes after it has given the answer
    assert (logged()["workerId"], len(logged()["lines"])) == (worker["id"], 5)


CLIENT = """
import json, runpod
runpod.api_key = "{key}"
endpoint = runpod.Endpoint("{endpoint}")
job = endpoint.run({{"values": ["a", "b"]}})
chunks = list(job.stream())
print(json.dumps({{
    "sync": endpoint.run_sync({{"values": [1]}}),
    "stream": chunks,
    "output": job.output(timeout=30),
    "status": job.status(),
    "health": sorted(endpoint.health()["workers"]),
    "purged": endpoint.purge_queue(),
    "cancelled": endpoint.run({{"values": []}}).cancel()["status"],
}}))
"""


def test_runpods_own_client_works_against_it(runtime, handlers):
    endpoint = runtime.endpoint(handlers / "async_generator", name="client")
    script = CLIENT.format(key=runtime.api_key, endpoint=endpoint)
    env = {**os.environ, "RUNPOD_ENDPOINT_BASE_URL": f"{runtime.url}/v2"}
    client = subprocess.run([sys.executable, "-c", script], env=env, capture_output=True, text=True, timeout=120)

    assert client.returncode == 0, client.stderr
    assert json.loads(client.stdout) == {
        "sync": [1],
        "stream": ["a", "b"],
        "output": ["a", "b"],
        "status": "COMPLETED",
        "health": ["idle", "initializing", "ready", "running", "throttled", "unhealthy"],
        "purged": {"removed": 0, "status": "completed"},
        "cancelled": "CANCELLED",
    }


ASYNC_CLIENT = """
import asyncio, json, runpod
from runpod.http_client import AsyncClientSession
runpod.api_key = "{key}"

async def main():
    async with AsyncClientSession() as session:
        endpoint = runpod.AsyncioEndpoint("{endpoint}", session)
        job = await endpoint.run({{"values": ["a", "b"]}})
        output = await job.output(timeout=30)
        cancelled = await (await endpoint.run({{"values": [1]}})).cancel()
        health = await endpoint.health()
        print(json.dumps([output, await job.status(), cancelled["status"], sorted(health)]))

asyncio.run(main())
"""


def test_runpods_asyncio_client_works_against_it(runtime, handlers):
    endpoint = runtime.endpoint(handlers / "async_generator", name="asyncio-client")
    script = ASYNC_CLIENT.format(key=runtime.api_key, endpoint=endpoint)
    env = {**os.environ, "RUNPOD_ENDPOINT_BASE_URL": f"{runtime.url}/v2"}
    client = subprocess.run([sys.executable, "-c", script], env=env, capture_output=True, text=True, timeout=120)

    assert client.returncode == 0, client.stderr
    output, status, cancelled, health = json.loads(client.stdout)
    assert (output, status, health) == (["a", "b"], "COMPLETED", ["jobs", "workers"])
    assert cancelled in ("CANCELLED", "COMPLETED")


def test_many_callers_get_their_own_answers(runtime, overlap):
    answers = {}

    def ask(number):
        answers[number] = runtime.runsync(overlap, {"together": 1, "n": number})["status"]

    callers = [threading.Thread(target=ask, args=(number,)) for number in range(20)]
    for caller in callers:
        caller.start()
    for caller in callers:
        caller.join()

    assert answers == dict.fromkeys(range(20), "COMPLETED")
