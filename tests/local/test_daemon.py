"""The runtime starts once, is found from anywhere, and stops when it is stopped."""

import os
import signal
import socket
import stat
import subprocess
import sys
import threading

import pytest
import runpod
import runpod.error
from support.failing import failing
from support.runtime import until

from vidctl.local import daemon
from vidctl.local.workers import folder_image, os_process

pytestmark = pytest.mark.runtime


@pytest.fixture
def port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch, port):
    """The folder of our runtime; whatever a test started is stopped."""
    monkeypatch.setenv("VIDCTL_STATE_DIR", str(tmp_path))
    monkeypatch.delenv("VIDCTL_LOCAL_PORT", raising=False)
    yield tmp_path / "local" / str(port)
    daemon.down(port)


@pytest.fixture
def sdk(port, monkeypatch):
    """The RunPod SDK, set up for our runtime as `vidctl local env` does."""
    running = daemon.up(port)
    monkeypatch.setenv("RUNPOD_API_BASE_URL", running.api_base_url)
    runpod.api_key = running.api_key
    runpod.endpoint_url_base = running.endpoint_base_url
    return runpod


@pytest.fixture
def worker(tmp_path):
    folder = tmp_path / "echo"
    folder.mkdir()
    (folder / "handler.py").write_text(
        "import runpod\nprint('hello from the handler', flush=True)\n"
        "if __name__ == '__main__':\n"
        "    runpod.serverless.start({'handler': lambda job: job['input']})\n"
    )
    return folder


def deploy(sdk, folder, name="echo", **settings):
    template = sdk.create_template(name, folder_image.image_name(folder), is_serverless=True)
    return sdk.create_endpoint(name, template["id"], "ADA_24", **settings)["id"]


def test_up_is_done_once(port):
    """The second time it is there, and nobody hears of it."""
    heard = []
    first = daemon.up(port, notify=heard.append)
    second = daemon.up(port, notify=heard.append)

    assert first == second == daemon.connection(port)
    assert [f"starting the local runtime at http://127.0.0.1:{port}"] == heard


def test_two_at_the_same_time_start_one(port):
    started = []
    threads = [threading.Thread(target=lambda: started.append(daemon.up(port))) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert [daemon.connection(port)] * 3 == started


def test_down_ends_it_and_says_whether_it_ran(port, home):
    running = daemon.up(port)

    assert [True, False] == [daemon.down(port), daemon.down(port)]
    assert (None, None) == (daemon.connection(port), os_process.identity(running.pid))
    assert not (home / "runtime.pid").exists()


def test_down_of_what_never_was_makes_no_folder(port, home):
    assert not daemon.down(port)
    assert not home.exists()


def test_only_the_user_can_read_the_key(port, home):
    running = daemon.up(port)

    assert (0o700, 0o600, 0o600) == tuple(
        stat.S_IMODE(path.stat().st_mode) for path in (home, home / "credentials.json", home / "runtime.log")
    )
    assert running.api_key.startswith("local_")
    assert running.api_key not in repr(running)


def test_the_key_outlives_the_runtime(port):
    """Clients that were set up once go on after a restart."""
    before = daemon.up(port).api_key
    daemon.down(port)

    assert before == daemon.up(port).api_key


def test_urls_are_what_runpods_clients_take():
    running = daemon.Connection(port=8421, pid=1, version="0", api_key="k")

    assert ("http://127.0.0.1:8421", "http://127.0.0.1:8421/v2") == (running.api_base_url, running.endpoint_base_url)


def test_a_proxy_in_the_environment_does_not_matter(port, monkeypatch):
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")

    assert daemon.up(port) == daemon.connection(port)


def test_the_sdk_deploys_and_gets_an_answer(sdk, worker, port):
    """The SDK's control client, the SDK's job client, and the SDK's worker loop between them."""
    endpoint = deploy(sdk, worker)

    assert [(endpoint, "echo")] == [(one["id"], one["name"]) for one in sdk.get_endpoints()]
    assert {"text": "hi"} == sdk.Endpoint(endpoint).run_sync({"input": {"text": "hi"}}, timeout=120)
    assert any(line.endswith(" | hello from the handler") for line in daemon.logs("echo", port=port))
    (listed,) = daemon.endpoints(daemon.connection(port))
    assert ("echo", endpoint, 1, 0) == (
        listed["name"],
        listed["id"],
        listed["jobs"]["completed"],
        listed["jobs"]["failed"],
    )


def test_down_leaves_no_worker_behind(sdk, worker, port, home):
    deploy(sdk, worker, workers_min=1)
    until(lambda: any("hello" in line for line in daemon.logs("echo", port=port)))
    (record,) = (home / "workers").glob("*/process")
    worker_pid = int(record.read_text().split()[0])
    daemon.down(port)

    assert os_process.identity(worker_pid) is None


def test_a_killed_runtime_comes_back_with_its_endpoints(sdk, worker, port):
    """kill -9: nobody finds it, the next start does, and its workers of before are gone."""
    endpoint = deploy(sdk, worker)
    before = daemon.connection(port)
    os.kill(before.pid, signal.SIGKILL)
    until(lambda: daemon.connection(port) is None and os_process.identity(before.pid) is None)
    after = daemon.up(port)

    assert before.pid != after.pid
    assert [endpoint] == [one["id"] for one in daemon.endpoints(after)]


def test_down_after_a_kill_leaves_no_copy_of_a_worker_behind(sdk, worker, port, home):
    up = daemon.up(port)
    sdk.Endpoint(deploy(sdk, worker)).run_sync({"input": {"a": 1}}, timeout=120)
    copies = list(home.glob("workers/*/source"))
    os.kill(up.pid, signal.SIGKILL)
    daemon.down(port)

    assert (len(copies), list(home.glob("workers/*/source"))) == (1, [])


def test_the_sdk_with_another_key_is_refused(sdk):
    sdk.api_key = "wrong"

    with pytest.raises(runpod.error.AuthenticationError):
        sdk.get_endpoints()


def test_a_port_that_another_program_has_is_said_to_be_taken(port):
    with socket.create_server(("127.0.0.1", port)):
        with failing("local_runtime_error", f"port {port}", "Address already in use", "--port", varies=True):
            daemon.up(port)
        assert daemon.connection(port) is None


def test_another_users_runtime_is_not_ours(port, tmp_path, monkeypatch):
    """It answers at our port, and is left alone."""
    theirs = daemon.up(port)
    monkeypatch.setenv("VIDCTL_STATE_DIR", str(tmp_path / "other"))

    assert (None, False) == (daemon.connection(port), daemon.down(port))
    with failing("local_runtime_error", f"port {port}", varies=True):
        daemon.up(port)
    monkeypatch.setenv("VIDCTL_STATE_DIR", str(tmp_path))
    assert theirs == daemon.connection(port)


def test_a_runtime_that_ends_at_once_says_why(port, home):
    (home / "runtime.db").mkdir(parents=True)

    facts = ("status 1", "unable to open database", home / "runtime.log")
    with failing("local_runtime_error", *facts, varies=True):
        daemon.up(port)
    assert not (home / "runtime.pid").exists()


def test_a_runtime_that_hangs_is_named_and_can_be_stopped(port, monkeypatch):
    running = daemon.up(port)
    os.kill(running.pid, signal.SIGSTOP)
    monkeypatch.setattr(daemon, "_ANSWER_S", 0.2)
    monkeypatch.setattr(daemon, "_STOP_S", 0.5)

    with failing("local_runtime_error", f"process {running.pid}", "vidctl local down", varies=True):
        daemon.up(port)
    assert daemon.down(port)
    assert os_process.identity(running.pid) is None


OLD_RUNTIME = """
import http.server, json, os, sys
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.end_headers()
        self.wfile.write(json.dumps({"service": "vidctl-local", "version": "0.0.1", "pid": os.getpid()}).encode())
http.server.HTTPServer(("127.0.0.1", int(sys.argv[1])), Handler).serve_forever()
"""


def test_a_runtime_of_another_version_is_replaced(port, home):
    daemon.up(port)
    daemon.down(port)
    old = subprocess.Popen(
        [sys.executable, "-c", OLD_RUNTIME, str(port)], start_new_session=True, stderr=subprocess.DEVNULL
    )
    (home / "runtime.pid").write_text(f"{old.pid} {os_process.identity(old.pid)}\n")
    until(lambda: daemon.connection(port))
    heard = []
    new = daemon.up(port, notify=heard.append)

    assert "replacing the local runtime of vidctl 0.0.1" == heard[0]
    assert (None, new) == (os_process.identity(old.pid), daemon.connection(port))
    old.wait()


def test_rate_limits_are_on_until_they_are_turned_off_and_then_off_until_turned_on(port):
    first = daemon.up(port)
    off = daemon.up(port, has_rate_limits=False)
    kept = daemon.up(port)
    on = daemon.up(port, has_rate_limits=True)

    assert [each.has_rate_limits for each in (first, off, kept, on)] == [True, False, False, True]
    assert (first.pid != off.pid, off.pid == kept.pid, kept.pid != on.pid) == (True, True, True)


@pytest.mark.parametrize("size", ["0", "-1", "many"])
def test_a_page_has_at_least_one_entry(tmp_path, size):
    command = [sys.executable, "-m", "vidctl.local", "--state-dir", str(tmp_path), "--port", "1", "--page-size", size]
    ended = subprocess.run(command, capture_output=True, text=True, check=False)

    assert (ended.returncode, f"--page-size: invalid page size '{size}'" in ended.stderr) == (2, True)


def test_without_its_libraries_it_says_what_to_install(port, monkeypatch):
    monkeypatch.setitem(sys.modules, "starlette", None)  # as if it were not installed

    with failing("local_runtime_error", "starlette", "pip install --force-reinstall vidctl"):
        daemon.up(port)


def test_the_runtimes_own_log_is_read_without_it(port):
    daemon.up(port)
    daemon.down(port)

    assert ["ready"] == daemon.logs(port=port, tail=1)


def test_logs_of_an_endpoint_need_the_endpoint(port):
    with failing("not_deployed", "vidctl local up"):
        daemon.logs("echo", port=port)
    daemon.up(port)
    with failing("not_deployed", "'echo'", "vidctl local status"):
        daemon.logs("echo", port=port)


def test_the_port_comes_from_the_environment(port, monkeypatch):
    monkeypatch.setenv("VIDCTL_LOCAL_PORT", str(port))

    assert port == daemon.up().port


@pytest.mark.parametrize("wrong", ["http", "0", "65536", "-1", "8421.5"])
def test_a_port_is_a_number(monkeypatch, wrong):
    monkeypatch.setenv("VIDCTL_LOCAL_PORT", wrong)

    with failing("usage_error", repr(wrong), "1 to 65535", "--port", "VIDCTL_LOCAL_PORT"):
        daemon.up()


def test_the_command_line_may_import_it_cheaply():
    """No web server, no GraphQL, no SDK is loaded by what the command line imports."""
    heavy = ["starlette", "uvicorn", "graphql", "runpod", "requests"]
    imported = "vidctl.local.daemon, vidctl.local.workers.environments"
    code = f"import sys, {imported}; print([m for m in {heavy} if m in sys.modules])"

    assert "[]\n" == subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
