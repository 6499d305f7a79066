"""The qwen-vl worker's image, built, pushed and deployed by vidctl, with a server beside it for an engine.

Its base is vLLM's own, of ten gigabytes and for GPUs: here it is one that has Python, so the container asks an
OpenAI-compatible server on this machine, as `local: {openai: …}` lets it.
"""

import json
import shutil
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from support import vision
from support.project import Project

ROOT = Path(__file__).resolve().parents[2]
ANSWER = (
    'data: {"choices": [{"index": 0, "delta": {"content": "{\\"answer\\": \\"red\\"}"}, "finish_reason": "stop"}]}\n\n'
    'data: {"choices": [], "usage": {"prompt_tokens": 75, "completion_tokens": 6}}\n\ndata: [DONE]\n\n'
)


class StandIn(ThreadingHTTPServer):
    asked: list


class Standing(BaseHTTPRequestHandler):
    """An OpenAI-compatible server that sees red in every image."""

    server: StandIn

    def do_GET(self):
        self._answer({"data": [{"id": "seer"}]} if self.path == "/v1/models" else {})

    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.server.asked.append(body)
        self.send_response(200)
        self.end_headers()
        self.wfile.write(ANSWER.encode())

    def _answer(self, value):
        self.send_response(200)
        self.end_headers()
        self.wfile.write(json.dumps(value).encode())

    def log_message(self, *_):
        """Say nothing."""


@pytest.fixture
def server():
    server = StandIn(("127.0.0.1", 0), Standing)
    server.asked = []
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server
    server.shutdown()
    server.server_close()


@pytest.fixture
def contained(base_python, repository, tmp_path, server):
    """The shipped spec in a project whose local workers are containers of the image."""
    project = Project(tmp_path / "project")
    project.environ |= {"VIDCTL_REPOSITORY": repository}
    folder = project.root / "workers/qwen-vl"
    shutil.copy(ROOT / "configs/qwen-vl.yaml", project.root / "configs")
    shutil.copytree(vision.WORKER, folder, ignore=shutil.ignore_patterns("__pycache__"))
    # The image's own pins are for another Python than the stand-in base's.
    shutil.copy(folder / "requirements-cpu.txt", folder / "requirements.txt")
    overlay = {
        "local": {
            "isolation": "container",
            "openai": f"http://127.0.0.1:{server.server_address[1]}/v1",
            "env": {"MODEL_NAME": "seer"},
            "build_args": {"BASE": base_python, "ENGINE_PYTHON": "/usr/local/bin/python3"},
        }
    }
    (project.root / "configs/qwen-vl.boxed.yaml").write_text(json.dumps(overlay))
    yield project
    project.close()


@pytest.mark.model
def test_the_image_that_would_be_deployed_is_the_one_that_answers(contained, engine, repository, server):
    """From the folder to a container that describes an image, as a user without a name."""
    (contained.root / "frame.png").write_bytes(vision.image())
    outcome = contained.run("deploy", "qwen-vl", "-e", "boxed", "--yes", "--json", timeout_s=1500)
    assert outcome.status == 0, outcome.stderr
    image = outcome.document["image"]["name"]
    asked = contained.run("describe", "frame.png", "What?", "-e", "boxed", "--choices", "red,green", "--json")
    assert asked.status == 0, asked.stderr
    (result,) = asked.document["results"]
    (worker,) = engine.containers(filters={"ancestor": image})
    config = engine.inspect_container(worker["Id"])["Config"]

    assert image.startswith(f"{repository}/qwen3-vl-runpod@sha256:")
    assert ("red", 75, "seer") == (result["response"], result["prompt_tokens"], result["model"]["name"])
    assert "10001" == config["User"]
    assert server.asked[-1]["messages"][0]["content"][0]["image_url"]["url"].startswith("data:image/")
    assert server.asked[-1]["response_format"]["json_schema"]["schema"]["properties"]["answer"]["enum"] == [
        "red",
        "green",
    ]
