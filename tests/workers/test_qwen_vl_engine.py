"""How the qwen-vl worker starts its engine, reads it, and says why it ended."""

from __future__ import annotations

import asyncio
import json
import os
import re
import signal
import subprocess
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import pairwise
from pathlib import Path

import pytest
from support import vision
from support.runtime import until
from support.stating import stating


@pytest.fixture(scope="module")
def environment(qwen_module):
    return qwen_module("environment")


@pytest.fixture(scope="module")
def engine(qwen_module):
    return qwen_module("engine")


@pytest.fixture(scope="module")
def server(qwen_module):
    return qwen_module("server")


class Server(ThreadingHTTPServer):
    daemon_threads = True


@contextmanager
def serving(answers):
    """A server on loopback: each path's status and bytes, sent in small pieces."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            self.rfile.read(int(self.headers.get("Content-Length") or 0))
            status, body = answers.get(self.path, (404, b"{}"))
            self.send_response(status)
            self.end_headers()
            for at in range(0, len(body), 7):
                self.wfile.write(body[at : at + 7])
                self.wfile.flush()

        do_POST = do_GET  # noqa: N815  http.server's name

        def log_message(self, *_):
            """Say nothing."""

    server = Server(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}/v1"
    finally:
        server.shutdown()
        server.server_close()


def events(*parts):
    return b"".join(b"data: " + json.dumps(part).encode() + b"\n\n" for part in parts) + b"data: [DONE]\n\n"


def generated(server, url):
    """The text and what is known of an answer."""

    async def ask():
        found = server.Generated()
        async with server.Server(url) as client:
            pieces = [piece async for piece in client.generate({}, found)]
        return pieces, found

    return asyncio.run(ask())


@pytest.mark.parametrize(
    ("name", "value", "fact"),
    [
        ("DTYPE", "int4", "auto, bfloat16"),
        ("MAX_MODEL_LEN", "8k", "8k"),
        ("MAX_IMAGES", "0", "1"),
        ("GPU_MEMORY_UTILIZATION", "1.5", "1.5"),
        ("REQUEST_TIMEOUT", "soon", "soon"),
        ("OPENAI_BASE_URL", "localhost", "http://127.0.0.1:11434/v1"),
        ("VLLM_EXTRA_ARGS", "'x", ""),
    ],
)
def test_a_variable_that_makes_no_sense_is_named(environment, name, value, fact):
    with pytest.raises(environment.StartError) as caught:
        environment.Settings.read({name: value})
    stating(str(caught.value), name, fact)


def test_the_guides_variables_become_vllms(engine, environment):
    """MODEL_NAME, TOKENIZER_NAME, MAX_MODEL_LEN, GPU_MEMORY_UTILIZATION and DTYPE; no token among the arguments."""
    told = {
        "MODEL_NAME": "a/b", "TOKENIZER_NAME": "c/d", "HF_TOKEN": "hf_secret", "MAX_MODEL_LEN": "8192",
        "GPU_MEMORY_UTILIZATION": "0.8", "DTYPE": "bfloat16", "VLLM_EXTRA_ARGS": "--max-num-seqs 8",
    }  # fmt: skip
    words = engine.arguments(environment.Settings.read(told), "/s")
    pairs = dict(pairwise(words))

    assert ("a/b", "c/d", "8192", "0.8", "bfloat16", "8") == tuple(
        pairs[f"--{name}"]
        for name in ("model", "tokenizer", "max-model-len", "gpu-memory-utilization", "dtype", "max-num-seqs")
    )
    assert "hf_secret" not in " ".join(words)


def test_the_engine_is_told_no_key_of_runpods(environment):
    """What it needs is there; RunPod's keys and addresses are not."""
    told = environment.engine_environment({"RUNPOD_AI_API_KEY": "k", "HF_TOKEN": "t", "PATH": "/bin"})

    assert (None, "t", "1") == (told.get("RUNPOD_AI_API_KEY"), told["HF_TOKEN"], told["VLLM_NO_USAGE_STATS"])


@pytest.mark.parametrize(
    ("line", "facts"),
    [
        (
            "torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2.00 GiB",
            ("memory",),
        ),
        ("ValueError: No available memory for the cache blocks.", ("memory",)),
        (
            "RuntimeError: Engine core initialization failed. Failed core proc(s): {'EngineCore_DP0': -9}",
            ("killed", "memory"),
        ),
        ("RuntimeError: The NVIDIA driver on your system is too old", ("driver",)),
        ("OSError: [Errno 28] No space left on device", ("disk",)),
        ("api_server.py: error: unrecognized arguments: --nothing", ("VLLM_EXTRA_ARGS",)),
        ("engine: cannot start: a/b is gated", ("a/b",)),
        ("KeyError: 'what nobody knows'", ("KeyError",)),
    ],
)
def test_why_an_engine_ended_is_one_sentence(engine, environment, line, facts):
    one = engine.Engine(environment.Settings.read({}))
    one._reader.start()
    for each in ("(EngineCore pid=7) INFO 11-27 15:18:43 [core.py:1] Loading", line, "  warnings.warn("):
        one._take(each)

    stating(one.reason(), *facts)


def test_a_stream_is_read_however_it_is_cut(server):
    """Text, counts and the reason for the end; pieces of seven bytes."""
    choice = {"index": 0, "finish_reason": None}
    body = events(
        {"choices": [{**choice, "delta": {"content": "Grüße "}}]},
        {"choices": [{**choice, "delta": {"content": "an alle"}, "finish_reason": "stop"}]},
        {"choices": [], "usage": {"prompt_tokens": 5, "completion_tokens": 3}},
    )
    with serving({"/v1/chat/completions": (200, body)}) as url:
        pieces, found = generated(server, url)

    assert (["Grüße ", "an alle"], "stop", 5, 3) == (
        pieces, found.finish_reason, found.prompt_tokens, found.completion_tokens,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("status", "body", "says"),
    [
        (400, b'{"error": {"message": "max_tokens=9 is (parameter=max_tokens, value=9)"}}', "max_tokens=9 is"),
        (500, b"<html>broken</html>", "<html>broken</html>"),
        (404, b'{"object": "error", "message": "no such model"}', "no such model"),
        (200, events({"error": {"message": "in the middle"}}), "in the middle"),
    ],
)
def test_what_the_engine_refuses_is_its_own_sentence(server, status, body, says):
    with serving({"/v1/chat/completions": (status, body)}) as url, pytest.raises(server.RefusalError) as caught:
        generated(server, url)

    assert says == str(caught.value)


@pytest.mark.parametrize(
    ("models", "name", "found"),
    [
        (["llava", "qwen3-vl:2b"], "qwen3-vl:2b", "qwen3-vl:2b"),
        (["only-one"], "Qwen/Qwen3-VL-8B-Instruct", "only-one"),
        (["a", "b"], "c", None),
        ([], "c", None),
    ],
)
def test_a_server_that_is_there_must_have_the_model(server, environment, models, name, found):
    """By its name, or the only one that there is; else the names are told."""
    listed = json.dumps({"data": [{"id": one} for one in models]}).encode()
    with serving({"/v1/models": (200, listed)}) as url:
        settings = environment.Settings.read({"OPENAI_BASE_URL": url, "MODEL_NAME": name})
        if found is None:
            with pytest.raises(environment.StartError) as caught:
                asyncio.run(server.look(settings))
            stating(str(caught.value), f" {name}", *models)
        else:
            facts = asyncio.run(server.look(settings))
            assert (found, False, url) == (facts.model, facts.is_vllm, facts.version)


def test_a_servers_password_is_shown_to_nobody(server, environment):
    """Its address is in every answer."""
    listed = json.dumps({"data": [{"id": "one"}]}).encode()
    with serving({"/v1/models": (200, listed)}) as url:
        settings = environment.Settings.read({"OPENAI_BASE_URL": url.replace("://", "://me:secret@")})
        facts = asyncio.run(server.look(settings))

    assert (url, False) == (facts.version, "secret" in repr(settings))


def test_a_progress_bar_is_told_at_each_tenth(engine, environment, capsys):
    one = engine.Engine(environment.Settings.read({}))
    drawn = "".join(f"\rLoading: {percent:3d}%|###| {percent}/100" for percent in range(101))
    one._process = subprocess.Popen(["printf", "%s", drawn], stdout=subprocess.PIPE)
    one._listen()

    assert 11 == capsys.readouterr().out.count("Loading")


def test_no_server_is_one_sentence(server, environment):
    settings = environment.Settings.read({"OPENAI_BASE_URL": "http://127.0.0.1:1/v1"})
    with pytest.raises(environment.StartError) as caught:
        asyncio.run(server.look(settings))
    stating(str(caught.value), "http://127.0.0.1:1/v1", varies=True)


# --- the real engine --------------------------------------------------------------------------------------------------


def started(python, **env):
    """A worker as RunPod starts it, without anybody to ask for jobs."""
    told = {"PATH": os.environ["PATH"], **env}
    return subprocess.Popen(
        [python, "handler.py", "--test_input", '{"input": {"prompt": "Hi", "max_tokens": 4}}'],
        cwd=vision.WORKER, env=told, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    )  # fmt: skip


@pytest.mark.model
@pytest.mark.parametrize(
    ("variables", "says"),
    [
        ({"MODEL_NAME": "/no/such/folder"}, "invalid MODEL_NAME /no/such/folder: "),
        ({"MODEL_NAME": str(vision.WORKER)}, "is not a model: config.json is missing"),
        ({"ENGINE_PYTHON": "/no/such/python"}, "ENGINE_PYTHON: /no/such/python cannot be run: No such file"),
        ({"VLLM_EXTRA_ARGS": "--no-such-argument 1"}, "VLLM_EXTRA_ARGS has an argument that vLLM does not know"),
        ({"MAX_MODEL_LEN": "99999999"}, "MAX_MODEL_LEN is more than the model or the memory can hold"),
    ],
)
def test_a_start_that_fails_says_why_and_ends(qwen_python, qwen_variables, variables, says):
    """Not a silent crash loop: the last line is one sentence."""
    with started(qwen_python, **{**qwen_variables, **variables}) as process:
        said, _ = process.communicate(timeout=240)

    assert 1 == process.returncode
    assert re.match(r"qwen-vl worker: .*" + re.escape(says), said.splitlines()[-1])


@pytest.mark.model
def test_an_engine_ends_with_its_worker(drive_qwen, tmp_path_factory):
    """Also with one that was killed: a GPU's memory is not held by something that nobody knows of."""
    place = tmp_path_factory.mktemp("q")
    worker = drive_qwen(TMPDIR=str(place), REQUEST_TIMEOUT="77")
    server = _server(vision.engine_socket(place))
    assert len(_group(server)) > 1
    os.kill(worker.pid, signal.SIGKILL)

    until(lambda: not _group(server))


@pytest.mark.model
def test_a_worker_ends_with_its_engine(drive_qwen, tmp_path_factory):
    """Its jobs are answered first; then RunPod starts another worker.  Nothing of the engine is left."""
    place = tmp_path_factory.mktemp("q")
    worker = drive_qwen(TMPDIR=str(place), REQUEST_TIMEOUT="78")
    socket = vision.engine_socket(place)
    server = _server(socket)
    (job,) = worker.send({"prompt": "Go on.", "max_tokens": 16000, "sampling_params": vision.EXACTLY})
    until(lambda: vision.running(socket) == 1)
    os.kill(server, signal.SIGKILL)
    answered, answer = worker.receive()

    assert (job, True) == (answered, "the engine is gone" in answer["output"]["error"])
    assert 1 == worker.status()
    until(lambda: not _group(server))


def _server(socket):
    """The process that has the socket among its arguments, and a group of its own with all of vLLM's in it."""
    (found,) = (int(pid.name) for pid in Path("/proc").glob("[0-9]*") if str(socket).encode() in _read(pid / "cmdline"))
    return found


def _group(leader):
    """The living processes of a group; a killed one that nobody has waited for is none."""
    stats = (_read(pid / "stat").rpartition(b")")[2].split() for pid in Path("/proc").glob("[0-9]*"))
    return [stat for stat in stats if len(stat) > 2 and int(stat[2]) == leader and stat[0] != b"Z"]


def _read(path):
    try:
        return path.read_bytes()
    except OSError:
        return b""
