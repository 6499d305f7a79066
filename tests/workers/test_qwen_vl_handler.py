"""The qwen-vl worker's handler in its own environment, before a server that is not vLLM and does what a test wants."""

from __future__ import annotations

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from support import vision

pytestmark = pytest.mark.model

END = {"choices": [], "usage": {"prompt_tokens": 9, "completion_tokens": 2}}


class StandIn(ThreadingHTTPServer):
    asked: list
    events: list


class Standing(BaseHTTPRequestHandler):
    """Answers with what its server's `events` are: an exception there ends the connection, an Event is waited for."""

    server: StandIn

    def do_GET(self):
        self._begin(200 if self.path == "/v1/models" else 404)
        self.wfile.write(json.dumps({"data": [{"id": "seer"}]}).encode())

    def do_POST(self):
        self.server.asked.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
        self._begin(200)
        for event in self.server.events:
            if isinstance(event, threading.Event):
                event.wait(60)
                return
            self.wfile.write(b"data: " + json.dumps(event).encode() + b"\n\n")
            self.wfile.flush()
        self.wfile.write(b"data: [DONE]\n\n")

    def _begin(self, status):
        self.send_response(status)
        self.end_headers()

    def log_message(self, *_):
        """Say nothing."""


@pytest.fixture
def server():
    server = StandIn(("127.0.0.1", 0), Standing)
    server.asked, server.events = [], []
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server
    server.shutdown()
    server.server_close()


@pytest.fixture
def worker(drive_qwen, server):
    return drive_qwen(
        OPENAI_BASE_URL=f"http://127.0.0.1:{server.server_address[1]}/v1", MODEL_NAME="seer", REQUEST_TIMEOUT="2"
    )


def said(text, reason=None):
    return {"choices": [{"index": 0, "delta": {"content": text}, "finish_reason": reason}]}


def test_an_answer_is_read_in_openais_words(worker, server):
    """vLLM's own fields do not reach a server that would refuse them; choices are a schema there."""
    server.events = [said('{"answer": '), said('"red"}', "stop"), END]
    (answer,) = worker.ask({"prompt": "Which?", "image": vision.encoded(vision.image()), "choices": ["red", "blue"]})
    (body,) = server.asked

    assert ("red", 9, 2, "stop") == tuple(
        answer[name] for name in ("response", "prompt_tokens", "completion_tokens", "finish_reason")
    )
    assert ["red", "blue"] == body["response_format"]["json_schema"]["schema"]["properties"]["answer"]["enum"]
    assert {"repetition_detection", "structured_outputs", "stream_interval"}.isdisjoint(body)


def test_a_server_that_falls_silent_gives_what_there_is(worker, server):
    """Until REQUEST_TIMEOUT; and without a word, says so."""
    silence = threading.Event()
    server.events = [said("One, two"), silence]
    (late,) = worker.ask({"prompt": "Count."})
    server.events = [silence]
    (nothing,) = worker.ask({"prompt": "Count."})
    silence.set()

    assert ("One, two", "time") == (late["response"], late["finish_reason"])
    assert 2.0 <= late["timings"]["total"]
    assert "no token after 2 s (REQUEST_TIMEOUT)" in nothing["error"]


def test_a_server_that_ends_in_the_middle_is_no_engine_that_starts_anew(worker, server):
    """Nothing would start it."""
    server.events = [{"nonsense": 1}, "no object"]
    (odd,) = worker.ask({"prompt": "Hello"})
    server.server_close()
    (gone,) = worker.ask({"prompt": "Hello"})

    assert "" == odd["response"]
    assert {"error": "the server behind this worker does not answer as it should"} == gone


def test_half_a_character_in_a_job_is_posted_as_a_whole_one(worker, server):
    """JSON can spell it, and RunPod's SDK cannot send it: the job would never end."""
    server.events = [said("Yes.", "stop"), END]
    (answer,) = worker.ask({"prompt": "Hello", "\ud800": 1})

    assert ["unknown fields ignored: ?"] == answer["warnings"]


def test_a_text_waits_for_no_image(worker, server):
    """Sixteen jobs whose images do not come are given up, and keep nobody else waiting."""
    server.events = [said("Yes.", "stop"), END]
    slow = {"prompt": "?", "image_url": "https://192.0.2.1/never.png"}
    answers = worker.ask(*[slow] * 16, {"prompt": "Hello"})

    assert "Yes." == answers[-1]["response"]
    assert all("image_url" in one["error"] or "REQUEST_TIMEOUT" in one["error"] for one in answers[:-1])
