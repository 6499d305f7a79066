"""The qwen-vl worker in OpenAI's words, before a server that sends what a test wants; the `openai` package judges."""

from __future__ import annotations

import asyncio
import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from openai.types import Completion
from openai.types.chat import ChatCompletion, ChatCompletionChunk
from pydantic import TypeAdapter
from support.stating import stating

CHAT = "/v1/chat/completions"
DONE = b"data: [DONE]\n\n"


def event(delta, reason=None, *, index=0, **more):
    choice = {"index": index, "delta": delta, "finish_reason": reason}
    return data(chunk([choice]) | more)


def data(value):
    return b"data: " + json.dumps(value).encode() + b"\n\n"


def chunk(choices):
    return {"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "seer", "choices": choices}


USAGE = {"prompt_tokens": 9, "completion_tokens": 2, "total_tokens": 11}


class StandIn(ThreadingHTTPServer):
    asked: list
    pieces: list
    kind: str


class Standing(BaseHTTPRequestHandler):
    """Sends the server's `pieces`; an Event among them is waited for, and nothing follows it."""

    server: StandIn

    def do_POST(self):
        self.server.asked.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
        self.send_response(200)
        self.send_header("Content-Type", self.server.kind)
        self.end_headers()
        for piece in self.server.pieces:
            if isinstance(piece, threading.Event):
                piece.wait(60)
                return
            self.wfile.write(piece)
            self.wfile.flush()

    def log_message(self, *_):
        """Say nothing."""


@pytest.fixture
def ask(qwen_module):
    """Ask a worker that stands before such a server; one that waits is let go at the end."""
    server = StandIn(("127.0.0.1", 0), Standing)
    server.asked = []
    threading.Thread(target=server.serve_forever, daemon=True).start()
    handler, server_module, environment = (qwen_module(name) for name in ("handler", "server", "environment"))
    url = f"http://127.0.0.1:{server.server_address[1]}/v1"
    settings = environment.Settings.read({"OPENAI_BASE_URL": url, "MODEL_NAME": "seer", "REQUEST_TIMEOUT": "1"})
    silence = threading.Event()

    def ask(job_input, *pieces, kind="text/event-stream", is_vllm=False):
        server.pieces, server.kind = [silence if piece is None else piece for piece in pieces], kind

        async def one():
            async with server_module.Server(url) as client:
                worker = handler.Worker(client, server_module.Facts("seer", "x", is_vllm), settings)
                return await worker.answer({"id": "1", "input": job_input})

        return asyncio.run(one())

    ask.asked = server.asked  # type: ignore[attr-defined]
    yield ask
    silence.set()
    server.shutdown()
    server.server_close()


def openai_job(*, route=CHAT, **given):
    body = {"messages": [{"role": "user", "content": "Count."}]} if route == CHAT else {"prompt": "Count."}
    return {"openai_route": route, "openai_input": {**body, **given}}


def chunks(text):
    """The chunks of a stream that ends with its end mark, as OpenAI's package takes them."""
    *events, last, nothing = text.split("\n\n")
    assert ("data: [DONE]", "") == (last, nothing)
    return [TypeAdapter(ChatCompletionChunk).validate_json(each.removeprefix("data: ")) for each in events]


def test_what_is_there_when_the_time_is_over_is_an_answer_that_was_too_long(ask):
    """A 504 would be asked for twice more by the package itself."""
    (answer,) = ask(openai_job(), event({"role": "assistant", "content": "One, "}), event({"content": "two"}), None)
    whole = TypeAdapter(ChatCompletion).validate_python(answer)

    assert ("One, two", "length") == (whole.choices[0].message.content, whole.choices[0].finish_reason)


def test_a_stream_whose_time_is_over_ends_as_one_that_was_too_long(ask):
    half = b'data: {"choi'
    job = openai_job(stream=True, stream_options={"include_usage": True})
    (text,) = ask(job, event({"content": "One"}, usage=USAGE), half, None)
    first, end, usage = chunks(text)

    assert ("One", "length") == (first.choices[0].delta.content, end.choices[0].finish_reason)
    assert 2 == usage.usage.completion_tokens


def test_without_a_word_in_time_the_refusal_is_not_asked_for_again(ask):
    """OpenAI's package repeats 408, 409, 429 and all from 500."""
    for job in (openai_job(), openai_job(stream=True), openai_job(tools=[{"type": "function"}])):
        error = ask(job, None)["error"]
        assert ("not done after 1 s (REQUEST_TIMEOUT)" in error["message"], error["code"]) == (True, 400)


@pytest.mark.parametrize("is_vllm", [True, False])
def test_an_answer_is_put_together_from_its_events(ask, is_vllm):
    """Two choices, with what the engine says of their tokens."""
    logs = [
        {"content": [{"token": word, "logprob": -0.5, "bytes": [97], "top_logprobs": []}]} for word in ("red", " one")
    ]
    ends = {"finish_reason": "stop", "stop_reason": 7}
    pieces = [
        event({"role": "assistant", "content": ""}),
        event({"role": "assistant", "content": ""}, index=1),
        data(chunk([{"index": 0, "delta": {"content": "red"}, "logprobs": logs[0]}])),
        event({"content": "blue", "reasoning_content": "Hm."}, "stop", index=1),
        data(chunk([{"index": 0, "delta": {"content": " one"}, "logprobs": logs[1], **ends}])),
        data({**chunk([]), "usage": USAGE}),
        DONE,
    ]
    (answer,) = ask(openai_job(n=2, logprobs=True), *pieces, is_vllm=is_vllm)
    whole = TypeAdapter(ChatCompletion).validate_python(answer)

    assert ["red one", "blue"] == [choice.message.content for choice in whole.choices]
    assert ["red", " one"] == [each.token for each in whole.choices[0].logprobs.content]
    assert ({"role": "assistant", "content": "blue", "reasoning_content": "Hm."}, 7) == (
        answer["choices"][1]["message"],
        answer["choices"][0]["stop_reason"],
    )
    assert (USAGE, "chat.completion", "seer") == (answer["usage"], answer["object"], answer["model"])


def test_a_plain_completion_is_put_together_too(ask):
    def said(text, reason=None):
        choice = {"index": 0, "text": text, "finish_reason": reason, "logprobs": None}
        told = {"id": "c", "object": "text_completion", "created": 1, "model": "seer", "choices": [choice]}
        return data(told)

    job = openai_job(route="/v1/completions")
    answers = [ask(job, said("a"), said("b", "stop"), DONE)[0], ask(job, said("a"), None)[0]]
    first, second = (TypeAdapter(Completion).validate_python(answer).choices[0] for answer in answers)

    assert (("ab", "stop"), ("a", "length")) == (
        (first.text, first.finish_reason),
        (second.text, second.finish_reason),
    )


def test_a_repetition_is_a_length_in_openais_words(ask):
    pieces = [event({"role": "assistant", "content": "a a a"}), event({}, "repetition", usage=USAGE), DONE]
    (answer,) = ask(openai_job(), *pieces)
    (text,) = ask(openai_job(stream=True), *pieces)

    assert "length" == TypeAdapter(ChatCompletion).validate_python(answer).choices[0].finish_reason
    assert [None, "length"] == [each.choices[0].finish_reason for each in chunks(text)]


def test_what_the_engine_cannot_hold_an_answer_to_is_not_sent_and_named(ask):
    schema = {"type": "object", "properties": {"n": {"type": "integer", "multipleOf": 5}}}
    form = {"type": "json_schema", "json_schema": {"name": "a", "schema": schema}}
    pieces = [event({"content": "{}"}, "stop"), DONE]
    own = ask({"prompt": "?", "schema": schema}, *pieces, is_vllm=True)
    (answer,) = ask(openai_job(response_format=form), *pieces, is_vllm=True)

    sent = [each["response_format"]["json_schema"]["schema"]["properties"]["n"] for each in ask.asked]
    assert [{"type": "integer"}] * 2 == sent
    assert "multipleOf" in own["warnings"][0]
    assert "multipleOf" in answer["warnings"][0]


def test_a_stream_is_passed_on_as_it_is(ask):
    pieces = [b": hello\n\nevent: message\r\n", event({"content": "é"}, "stop"), DONE]

    assert [b"".join(pieces).decode().replace("\r", "")] == ask(openai_job(stream=True), *pieces)


@pytest.mark.parametrize(
    ("kind", "pieces", "says"),
    [
        ("text/html", [b"<html><body>Sign in</body></html>\n"], "text/html"),
        ("application/json", [b'{"detail": "hello"}'], "application/json"),
        ("text/event-stream", [], "text/event-stream"),
        ("text/event-stream", [event({"content": "One"})], "closed the connection"),
    ],
)
@pytest.mark.parametrize("job", [{"prompt": "Count."}, openai_job(), openai_job(stream=True)])
def test_what_is_no_answer_is_an_error_that_says_so(ask, job, kind, pieces, says):
    """A page of sign-in, and a server that dies, say nothing of an answer."""
    error = ask(job, *pieces, kind=kind)["error"]
    message = error if isinstance(error, str) else error["message"]

    stating(message, says)


@pytest.mark.parametrize("end", [event({}, "stop"), DONE])
def test_a_reason_or_an_end_mark_is_an_end(ask, end):
    assert "One" == ask({"prompt": "Count."}, event({"content": "One"}), end)["response"]


def test_an_error_within_a_stream_is_an_error(ask):
    told = b'data: {"error": {"message": "out of cards", "code": 503}}\n\n'

    assert {"error": "out of cards"} == ask({"prompt": "Count."}, told, DONE)
    assert 503 == ask(openai_job(), told, DONE)["error"]["code"]


@pytest.mark.parametrize(
    "pieces",
    [
        [event({"content": "<think>\nA bus?"}), event({"content": "\n</think>\n\nA blue bus."}, "stop")],
        [event({"reasoning_content": "A bus?"}), event({"content": "A blue bus."}, "stop")],
        [event({"reasoning": "A bus?"}), event({"content": "A blue bus."}, "stop")],
        [event({"content": "A bus?\n</think>\n\nA blue bus."}, "stop")],
    ],
)
def test_what_a_model_thinks_is_not_its_answer(ask, pieces):
    """In our words; in OpenAI's it is passed on as the server has it."""
    answer = ask({"prompt": "What is it?"}, *pieces, DONE)

    assert ("A blue bus.", "A bus?") == (answer["response"], answer["reasoning"])


def test_thoughts_are_what_there_is_when_the_time_is_over(ask):
    answer = ask({"prompt": "What is it?"}, event({"content": "<think>A bus?"}), None)

    assert ("", "A bus?", "time") == (answer["response"], answer["reasoning"], answer["finish_reason"])
