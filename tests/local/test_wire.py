"""Requests are read strictly and say what is wrong; answers look like RunPod's."""

import itertools
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vidctl.local import wire
from vidctl.local.api.openai_answers import Events, openai_answer
from vidctl.local.api.submission import read_submission
from vidctl.local.queue import transitions
from vidctl.local.wire import BadRequestError
from vidctl.runpod import limits

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)


def read(request):
    return read_submission(json.dumps(request).encode(), max_bytes=limits.RUN_BYTES)


@pytest.mark.parametrize("request_", [{}, {"input": {}}, {"input": None}, {"input": "text"}, {"input": [1]}, [], 3])
def test_an_input_that_the_worker_would_never_see_is_refused_at_once(request_):
    with pytest.raises(BadRequestError):
        read(request_)


@pytest.mark.parametrize(
    "text", [b"", b"{", b'{"input": {"a": NaN}}', b"\xff\xfe", b"[" * 100_000, b'{"input": Infinity}']
)
def test_what_is_not_json_is_refused(text):
    with pytest.raises(BadRequestError, match="json is invalid; max size is 10MiB"):
        read_submission(text, max_bytes=limits.RUN_BYTES)


@pytest.mark.parametrize(
    "policy",
    [
        {"executionTimeout": 4_999},
        {"ttl": 9_999},
        {"ttl": 700_000_000},
        {"ttl": True},
        {"ttl": "1 h"},
        {"ttl": 1e5},
        [1],
    ],
)
def test_a_policy_outside_runpods_limits_is_refused(policy):
    with pytest.raises(BadRequestError, match="policy"):
        read({"input": {"a": 1}, "policy": policy})


@pytest.mark.parametrize(
    "webhook", ["file:///etc/passwd", "example.com", 7, "http://", "http://x:99999/", ["http://x"]]
)
def test_a_webhook_is_a_web_address(webhook):
    with pytest.raises(BadRequestError, match="webhook"):
        read({"input": {"a": 1}, "webhook": webhook})


def test_the_worker_gets_the_input_and_what_the_caller_sent_for_it_under_our_id():
    request = {"input": {"a": 1}, "id": "mine", "webhook": "http://x/", "s3Config": {"k": 1}, "policy": {"ttl": 10_000}}
    submission = read(request)
    job = transitions.submitted("ours-u1", "ep", 0)

    assert json.loads(wire.for_worker(job, submission.body)) == {
        "id": "ours-u1",
        "input": {"a": 1},
        "webhook": "http://x/",
        "s3Config": {"k": 1},
    }


@given(json_values)
def test_every_value_gets_through_an_answer(value):
    """What a handler returned is what the caller reads, surrogates and all."""
    spliced = wire.Raw(wire.dumps(value))

    assert json.loads(wire.answer({"output": spliced})) == {"output": value}


@given(st.binary() | json_values.map(lambda value: json.dumps(value).encode()))
def test_no_request_breaks_the_reader(data):
    """It takes a request with an input, or says that it is bad."""
    try:
        submission = read_submission(data, max_bytes=limits.RUN_BYTES)
    except BadRequestError:
        return
    assert json.loads(submission.body)["input"]


def test_a_completed_status_is_what_runpod_answers():
    taken = transitions.taken(transitions.submitted("a-u1", "ep", 0), 3355, worker_id="w", execution_timeout_ms=0)
    fields = wire.status_fields(transitions.finished(taken, 3395), b'{"n":1}', None)

    assert wire.answer(fields).decode() == (
        '{"delayTime":3355,"executionTime":40,"id":"a-u1","output":{"n":1},"status":"COMPLETED","workerId":"w"}'
    )


def test_a_waiting_job_says_nothing_but_that():
    fields = wire.status_fields(transitions.submitted("a-u1", "ep", 0), None, None)

    assert wire.answer(fields) == b'{"id":"a-u1","status":"IN_QUEUE"}'


@given(st.text(min_size=1), st.integers(1, 3))
def test_long_text_is_cut_into_chunks_that_give_it_back(text, times):
    whole = text * (times * limits.STREAM_CHUNK_BYTES // len(text))
    chunks = wire.split_chunk(whole)

    assert "".join(json.loads(chunk) for chunk in chunks) == whole
    assert max(map(len, chunks)) <= limits.STREAM_CHUNK_BYTES


def test_a_chunk_that_cannot_be_cut_is_refused():
    with pytest.raises(BadRequestError, match="1 MiB"):
        wire.split_chunk({"text": "x" * limits.STREAM_CHUNK_BYTES})


def test_an_openai_error_that_a_handler_returned_keeps_its_code():
    failed = transitions.failed(
        transitions.taken(transitions.submitted("a", "ep", 0), 0, worker_id="w", execution_timeout_ms=0), 0
    )

    assert openai_answer(failed, None, b'{"message":"no","code":422}', []) == (
        422,
        b'{"error":{"message":"no","code":422}}',
    )


def sent(*chunks, failed=None):
    """What a caller reads of a stream whose handler yields these."""
    events = Events()
    sent_events = [events.take(wire.dumps(chunk)) for chunk in chunks]
    error = [events.own(wire.dumps(failed))] if failed else []
    return b"".join([*sent_events, *error, events.end()]).decode()


@pytest.mark.parametrize(
    ("chunks", "text"),
    [
        (["data: {}\n\n"], "data: {}\n\ndata: [DONE]\n\n"),
        (["data: [DONE]"], "data: [DONE]\n\n"),
        (["data: [DO", "NE]\n", "\n"], "data: [DONE]\n\n"),
        (["data:[DONE]\r\n\r\n"], "data:[DONE]\r\n\r\n"),
        (["data: [DONE]\r", "\n"], "data: [DONE]\r\n\n"),
        (["data: [DONE]\n\n", ": last words\n\n"], "data: [DONE]\n\n: last words\n\n"),
        (['data: {"text":"[DONE]"}\n\n'], 'data: {"text":"[DONE]"}\n\ndata: [DONE]\n\n'),
        ([{"choices": []}], 'data: {"choices":[]}\n\ndata: [DONE]\n\n'),
        (["event: a\n", "data: 1\ndata: 2\n\n"], "event: a\ndata: 1\ndata: 2\n\ndata: [DONE]\n\n"),
        (["data: {", {"choices": []}], 'data: {\n\ndata: {"choices":[]}\n\ndata: [DONE]\n\n'),
        (["data: {}\n", {"choices": []}], 'data: {}\n\ndata: {"choices":[]}\n\ndata: [DONE]\n\n'),
        ([], "data: [DONE]\n\n"),
    ],
)
def test_yielded_text_is_passed_through_and_what_is_missing_comes_after_it(chunks, text):
    assert sent(*chunks) == text


@given(st.lists(st.integers(0, 200), max_size=8))
def test_events_are_whole_wherever_their_text_was_cut(cuts):
    """worker-vllm from 2.24 cuts where its HTTP client does."""
    whole = "".join(f'data: {{"text":"{word}\\n"}}\n\n' for word in ("one", "[DONE]", "é 😀")) + "data: [DONE]\n\n"
    places = [0, *sorted(min(cut, len(whole)) for cut in cuts), len(whole)]

    assert sent(*(whole[start:end] for start, end in itertools.pairwise(places))) == whole


def test_text_of_more_than_a_chunk_stays_one_event():
    whole = f'data: {{"text":"{"é" * limits.STREAM_CHUNK_BYTES}"}}\n\ndata: [DONE]\n\n'

    assert sent(*map(json.loads, wire.split_chunk(whole))) == whole


def test_an_error_after_half_an_event_is_an_event():
    assert sent('data: {"te', failed={"error": 1}) == 'data: {"te\n\ndata: {"error":1}\n\ndata: [DONE]\n\n'


@pytest.mark.parametrize(
    ("result", "is_progress"),
    [
        (b'{"status": "IN_PROGRESS", "output": NaN}', True),
        (b'{"status":"IN_PROGRESS"', True),
        (b'{"output": {"status": "IN_PROGRESS"}}', False),
        (b'{"output": NaN}', False),
        (b"", False),
    ],
)
def test_a_progress_update_is_known_by_its_beginning(result, is_progress):
    assert wire.is_progress(result) is is_progress
