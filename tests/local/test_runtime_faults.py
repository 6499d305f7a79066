"""What goes wrong with workers and with the runtime itself, and what callers see of it."""

import json
import os
import signal
import threading
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import psutil
import pytest
from support.runtime import LocalRuntime, until

from vidctl.local.workers.os_process import identity


def lines(path):
    return path.read_text().split() if path.exists() else []


def is_alive(pid):
    return identity(int(pid)) is not None


@pytest.fixture
def basic(runtime, handlers, request):
    """An endpoint with one worker of its own and the plain handler."""
    return runtime.endpoint(handlers / "basic", name=request.node.name[:60], workers_max=1)


def test_a_killed_workers_job_is_given_to_another(runtime, basic, tmp_path):
    started, go = tmp_path / "started", tmp_path / "go"
    job_id = runtime.run(basic, {"do": "wait", "started": str(started), "until": str(go)})
    [pid] = until(lambda: lines(started))
    os.kill(int(pid), signal.SIGKILL)
    until(lambda: len(lines(started)) == 2)
    go.touch()
    job = runtime.ended(basic, job_id)

    assert (job["status"], job["retries"], job["output"]) == ("COMPLETED", 1, {"pid": int(lines(started)[1])})
    assert runtime.get(f"/v2/{basic}/health")["jobs"]["retried"] == 1


def test_a_job_that_kills_two_workers_fails(runtime, basic, tmp_path):
    started = tmp_path / "started"
    job = runtime.ended(basic, runtime.run(basic, {"do": "die", "started": str(started)}))

    assert (job["status"], job["error"], job["retries"]) == ("FAILED", "job timed out after 1 retries", 1)
    assert len(lines(started)) == 2


@pytest.mark.runtime
def test_a_worker_that_ends_before_its_child_is_seen_to_end(handlers, tmp_path):
    """A child may hold the pipe of what the worker prints; neither its job nor the next ones wait for that.

    On asyncio's own loop, which is what a machine without uvloop has.
    """
    (tmp_path / "hidden" / "uvloop").mkdir(parents=True)
    (tmp_path / "hidden" / "uvloop" / "__init__.py").write_text("raise ImportError")
    runtime = LocalRuntime(tmp_path / "runtime", environment={"PYTHONPATH": str(tmp_path / "hidden")})
    runtime.start()
    try:
        endpoint = runtime.endpoint(handlers / "basic", name="ends-first", workers_max=1)
        job = runtime.ended(endpoint, runtime.run(endpoint, {"do": "exit_before_a_child"}))

        assert (job["status"], job["retries"]) == ("FAILED", 1)
        assert runtime.runsync(endpoint, {"a": 1})["status"] == "COMPLETED"
    finally:
        runtime.close()


def test_a_hanging_handler_is_timed_out_killed_and_replaced(runtime, basic, tmp_path):
    """A handler that blocks its loop cannot hear that its job is to stop."""
    started = tmp_path / "started"
    hanging = {"do": "wait", "started": str(started), "until": str(tmp_path / "never")}
    job_id = runtime.run(basic, hanging, policy={"executionTimeout": 5_000})
    job = runtime.ended(basic, job_id)
    [pid] = lines(started)

    assert (job["status"], job["executionTime"] >= 5_000) == ("TIMED_OUT", True)
    assert runtime.runsync(basic, {"a": 1})["status"] == "COMPLETED"
    assert not is_alive(pid)


@pytest.fixture
def unlimited(tmp_path):
    """A runtime that may be asked as often as a test can."""
    runtime = LocalRuntime(tmp_path / "runtime", has_rate_limits=False)
    runtime.start()
    yield runtime
    runtime.close()


def test_a_cancel_right_after_pick_up_reaches_the_job(unlimited, handlers):
    """Also when the worker has the job and has not begun it; the next one then has the worker, which was not killed."""
    runtime = unlimited
    endpoint = runtime.endpoint(handlers / "overlap", name="cancel-race", workers_max=1, env={"CONCURRENCY": "1"})
    pid = runtime.runsync(endpoint, {"a": 1})["output"]["pid"]
    for _ in range(3):
        job_id = runtime.run(endpoint, {"together": 2})
        while runtime.status(endpoint, job_id)["status"] != "IN_PROGRESS":
            pass
        runtime.post(f"/v2/{endpoint}/cancel/{job_id}")

        assert runtime.runsync(endpoint, {"a": 1}).get("output", {}).get("pid") == pid


def test_a_bystander_of_a_hanging_job_is_not_held_to_account(runtime, handlers, tmp_path):
    """Its worker was killed by us: the next one gets it, and it can still be lost once."""
    endpoint = runtime.endpoint(handlers / "overlap", name="bystander", workers_max=1)
    started = tmp_path / "started"
    bystander = runtime.run(endpoint, {"together": 2, "started": str(started)})
    until(lambda: lines(started))
    hanging = runtime.run(endpoint, {"block": 600}, policy={"executionTimeout": 5_000})
    until(lambda: len(lines(started)) == 2)
    runtime.run(endpoint, {"together": 2})
    job = runtime.ended(endpoint, bystander)

    assert runtime.status(endpoint, hanging)["status"] == "TIMED_OUT"
    assert (job["status"], "retries" in job) == ("COMPLETED", False)
    assert runtime.get(f"/v2/{endpoint}/health")["workers"]["unhealthy"] == 0


def test_a_result_that_is_no_json_fails_the_job_at_once_with_the_reason(runtime, handlers, tmp_path):
    """The SDK logs that and posts nothing; another worker would fare no better.  Its other jobs go on."""
    endpoint = runtime.endpoint(handlers / "overlap", name="no-json", workers_max=1)
    other = runtime.run(endpoint, {"together": 2})
    job = runtime.ended(endpoint, runtime.run(endpoint, {"object": True, "together": 1}))
    runtime.run(endpoint, {"together": 2})

    assert (job["status"], job["error"], "retries" in job) == (
        "FAILED",
        "the worker cannot send its result as JSON: Object of type object is not JSON serializable",
        False,
    )
    assert runtime.ended(endpoint, other)["status"] == "COMPLETED"


def test_a_progress_update_that_is_no_json_costs_the_job_nothing(runtime, basic):
    job = runtime.ended(basic, runtime.run(basic, {"do": "progress_object"}))

    assert (job["status"], job["output"]) == ("COMPLETED", "done")


def test_a_result_that_is_never_posted_is_noticed_when_the_worker_asks_again(runtime, handlers):
    """Nobody should wait for the execution time-out, also when the SDK logs next to nothing."""
    endpoint = runtime.endpoint(handlers / "basic", name="quiet", workers_max=1, env={"RUNPOD_LOG_LEVEL": "ERROR"})
    job = runtime.ended(endpoint, runtime.run(endpoint, {"do": "give_an_object"}))

    assert (job["status"], job["error"], job["retries"]) == ("FAILED", "job timed out after 1 retries", 1)


def test_workers_that_die_again_and_again_are_unhealthy_until_one_ends_a_job(runtime, basic, tmp_path):
    """Also when each of them asks for a job first."""
    deadly = {"do": "die", "started": str(tmp_path / "started")}
    job_ids = [runtime.run(basic, deadly) for _ in range(2)]
    until(lambda: runtime.get(f"/v2/{basic}/health")["workers"]["unhealthy"] == 1)
    runtime.post(f"/v2/{basic}/cancel/{job_ids[1]}")

    assert runtime.runsync(basic, {"a": 1})["status"] == "COMPLETED"
    assert runtime.get(f"/v2/{basic}/health")["workers"]["unhealthy"] == 0


@pytest.mark.parametrize("env", [{"A": "x\0y"}, {"A=B": "x"}], ids=["value", "name"])
def test_an_environment_that_no_process_can_have_is_said(runtime, handlers, env, request):
    endpoint = runtime.endpoint(handlers / "basic", name=request.node.name, env=env)
    runtime.run(endpoint, {"a": 1})
    [worker] = until(lambda: [w for w in runtime.workers(endpoint) if w["status"] == "UNHEALTHY"])

    assert worker["error"].startswith("invalid environment variable 'A")


def test_a_worker_that_never_asks_for_a_job_is_unhealthy_and_says_why(runtime, handlers):
    endpoint = runtime.endpoint(handlers / "silent", name="init", env={"RUNPOD_INIT_TIMEOUT": "1"})
    job_id = runtime.run(endpoint, {"a": 1})
    until(lambda: runtime.get(f"/v2/{endpoint}/health")["workers"]["unhealthy"] == 1)
    errors = [worker["error"] for worker in runtime.workers(endpoint) if worker["error"]]
    runtime.post(f"/v2/{endpoint}/cancel/{job_id}")

    assert "RUNPOD_INIT_TIMEOUT" in errors[0]


def test_a_progress_update_that_cannot_be_read_costs_the_job_nothing(runtime, basic, tmp_path):
    go = tmp_path / "go"
    job_id = runtime.run(basic, {"do": "progress_nan", "until": str(go)})
    until(lambda: runtime.workers(basic) and any("400" in line for line in runtime.workers(basic)[0]["lastLog"]))
    go.touch()
    job = runtime.ended(basic, job_id)

    assert (job["status"], job["output"]) == ("COMPLETED", "done")


def test_a_chunk_that_cannot_be_passed_on_fails_the_job(runtime, handlers):
    """The caller would otherwise take what is left for the whole."""
    endpoint = runtime.endpoint(handlers / "generator", name="large-chunk", workers_max=1)
    job = runtime.ended(endpoint, runtime.run(endpoint, {"values": [1, ["x" * 100] * 20_000, 2]}))
    stream = runtime.get(f"/v2/{endpoint}/stream/{job['id']}")["stream"]

    assert (job["status"], "RunPod's limit is 1 MiB" in job["error"], stream) == ("FAILED", True, [{"output": 1}])
    assert runtime.runsync(endpoint, {"values": [1]})["status"] == "COMPLETED"


def test_what_the_runtime_keeps_is_its_users_alone(own_runtime, handlers):
    endpoint = own_runtime.endpoint(handlers / "basic")
    worker = own_runtime.runsync(endpoint, {"a": 1})["workerId"]
    kept = [*own_runtime.state_dir.glob("runtime.db-*"), own_runtime.state_dir / "workers" / worker / "log"]

    assert {path.name: oct(path.stat().st_mode & 0o077) for path in kept} == dict.fromkeys(
        ("runtime.db-wal", "runtime.db-shm", "log"), "0o0"
    )


def test_a_handler_that_exits_at_start_is_unhealthy_and_says_why(runtime, handlers):
    endpoint = runtime.endpoint(handlers / "exits")
    job_id = runtime.run(endpoint, {"a": 1})
    until(lambda: runtime.get(f"/v2/{endpoint}/health")["workers"]["unhealthy"] == 1)
    worker = until(lambda: next((w for w in runtime.workers(endpoint) if w["error"]), None))

    assert (worker["status"], worker["error"]) == ("UNHEALTHY", "the worker exited with status 1")
    assert "the model file is missing" in worker["lastLog"]
    assert runtime.status(endpoint, job_id)["status"] == "IN_QUEUE"


def test_a_worker_whose_folder_is_gone_is_unhealthy_and_says_so(runtime, tmp_path, handlers):
    folder = tmp_path / "gone"
    folder.mkdir()
    (folder / "handler.py").write_text("")
    endpoint = runtime.endpoint(folder)
    (folder / "handler.py").unlink()
    folder.rmdir()
    runtime.run(endpoint, {"a": 1})
    [worker] = until(lambda: [w for w in runtime.workers(endpoint) if w["status"] == "UNHEALTHY"])

    assert f"{folder} not found" in worker["error"]


def test_a_worker_that_prints_a_lot_fills_neither_disk_nor_memory(runtime, basic):
    job = runtime.runsync(basic, {"do": "print_much", "lines": 40_000})
    logs = runtime.state_dir / "workers" / job["workerId"]

    assert (job["status"], job["output"]) == ("COMPLETED", "printed")
    assert sum(path.stat().st_size for path in logs.glob("log*")) <= 10 << 20


def test_no_process_of_a_worker_is_left_behind(own_runtime, handlers):
    """The SDK's heartbeat is a process of its own, which outlives a killed parent."""
    endpoint = own_runtime.endpoint(handlers / "basic")
    own_runtime.runsync(endpoint, {"a": 1})
    [worker] = own_runtime.workers(endpoint)
    os.kill(worker["pid"], signal.SIGKILL)
    until(lambda: own_runtime.workers(endpoint) == [])

    assert members(worker["pid"]) == []


def members(group):
    """The living processes of a process group."""
    return [pid for pid in psutil.pids() if group_of(pid) == group and is_alive(pid)]


def group_of(pid):
    with suppress(ProcessLookupError):
        return os.getpgid(pid)


def batch_taken(runtime, handlers):
    """An endpoint, its worker, and three jobs that the worker has just got in one answer."""
    endpoint = runtime.endpoint(handlers / "silent", name=f"batch-{os.urandom(4).hex()}", workers_min=1, workers_max=1)
    [worker] = until(lambda: [worker for worker in runtime.workers(endpoint) if worker["pid"]])
    job_ids = [runtime.run(endpoint, {"n": number}) for number in range(3)]
    batch = runtime.get(f"/v2/{endpoint}/job-take-batch/{worker['id']}?gpu=x&batch_size=9&job_in_progress=0")
    assert [job["id"] for job in batch] == job_ids
    return endpoint, worker, job_ids


def test_a_worker_that_dies_with_a_batch_loses_none_of_it(runtime, handlers):
    endpoint, worker, job_ids = batch_taken(runtime, handlers)
    os.kill(worker["pid"], signal.SIGKILL)
    until(lambda: runtime.get(f"/v2/{endpoint}/health")["jobs"]["inQueue"] == 3)

    assert [runtime.status(endpoint, job_id)["retries"] for job_id in job_ids] == [1, 1, 1]
    runtime.post(f"/v2/{endpoint}/purge-queue")


def test_a_runtime_that_dies_with_a_batch_out_loses_none_of_it(own_runtime, handlers):
    endpoint, _, job_ids = batch_taken(own_runtime, handlers)
    own_runtime.kill()
    own_runtime.start()

    assert [own_runtime.status(endpoint, job_id) for job_id in job_ids] == [
        {"id": job_id, "status": "IN_QUEUE"} for job_id in job_ids
    ]


def test_a_killed_runtime_loses_no_job_and_no_result(own_runtime, handlers, tmp_path):
    endpoint = own_runtime.endpoint(handlers / "overlap")
    done = own_runtime.runsync(endpoint, {"together": 1})
    [worker] = own_runtime.workers(endpoint)
    started = tmp_path / "started"
    running = own_runtime.run(endpoint, {"together": 2, "started": str(started)})
    until(lambda: lines(started))
    waiting = own_runtime.endpoint(handlers / "overlap", workers_max=0, name="waiting")
    queued = [own_runtime.run(waiting, {"together": 1}) for _ in range(50)]
    own_runtime.kill()
    own_runtime.change(waiting, workers_max=1)
    own_runtime.start()

    assert until(lambda: members(worker["pid"]) == [])
    assert own_runtime.status(endpoint, done["id"]) == done
    assert {own_runtime.ended(waiting, job_id)["status"] for job_id in queued} == {"COMPLETED"}
    own_runtime.run(endpoint, {"together": 2})
    again = own_runtime.ended(endpoint, running)
    assert (again["status"], "retries" in again) == ("COMPLETED", False)


def test_a_stopped_runtime_puts_its_jobs_back_and_leaves_no_process(own_runtime, handlers, tmp_path):
    endpoint = own_runtime.endpoint(handlers / "basic")
    started, go = tmp_path / "started", tmp_path / "go"
    job_id = own_runtime.run(endpoint, {"do": "wait", "started": str(started), "until": str(go)})
    [pid] = until(lambda: lines(started))
    own_runtime.stop()
    left = members(pid)
    go.touch()
    own_runtime.start()

    assert left == []
    assert own_runtime.ended(endpoint, job_id)["status"] == "COMPLETED"
    assert len(lines(started)) == 2


def test_nothing_secret_is_in_the_runtimes_log(own_runtime, handlers):
    endpoint = own_runtime.endpoint(handlers / "basic", env={"TOKEN": "hf_secret"})
    own_runtime.runsync(endpoint, {"do": "fail"})
    own_runtime.session.get(f"{own_runtime.url}/graphql?api_key={own_runtime.api_key}", timeout=10)
    own_runtime.stop()

    assert (own_runtime.api_key in own_runtime.log(), "hf_secret" in own_runtime.log()) == (False, False)


def test_an_endpoint_that_cannot_be_looked_after_is_no_end_of_the_others(own_runtime, handlers):
    """A row that another version wrote, say."""
    broken = own_runtime.endpoint(handlers / "basic", name="broken", scaler_type="REQUEST_COUNT")
    well = own_runtime.endpoint(handlers / "basic", name="well")
    own_runtime.stop()
    own_runtime.change(broken, scaler_value="four")
    own_runtime.start()
    own_runtime.run(broken, {"a": 1})
    until(lambda: f"looking after endpoint {broken} failed" in own_runtime.log())

    assert own_runtime.runsync(well, {"a": 1})["status"] == "COMPLETED"
    assert own_runtime.log().count("Traceback") == 1


class WebhookServer(ThreadingHTTPServer):
    url: str
    answers: list[int]
    posts: list[tuple[dict[str, str], dict]]


@pytest.fixture
def receiver():
    """A webhook receiver: `answers` are the statuses it gives in turn, `posts` what it got."""

    class Receiver(BaseHTTPRequestHandler):
        def do_POST(self):
            body = self.rfile.read(int(self.headers["content-length"]))
            server.posts.append((dict(self.headers), json.loads(body)))
            self.send_response(server.answers.pop(0) if server.answers else 200)
            self.end_headers()

        def log_message(self, *_):
            pass

    server = WebhookServer(("127.0.0.1", 0), Receiver)
    server.answers, server.posts = [], []
    server.url = f"http://127.0.0.1:{server.server_port}/hook?x=1"
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.mark.parametrize(("do", "status"), [("echo", "COMPLETED"), ("fail", "FAILED")])
def test_a_webhook_gets_the_whole_job_however_it_ends(runtime, basic, receiver, do, status):
    job_id = runtime.run(basic, {"do": do}, webhook=receiver.url)
    [(headers, posted)] = until(lambda: receiver.posts)

    assert {**runtime.status(basic, job_id), "input": {"do": do}, "webhook": receiver.url} == posted
    assert (posted["status"], headers["content-type"]) == (status, "application/json")
