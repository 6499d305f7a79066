"""What is sent again, what never is, and what failures are called."""

from __future__ import annotations

import io
import json
import time
import traceback

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support import tls
from support.failing import failing
from support.scripted import RESET, Reply, ok, script, serving
from support.servers import dripping

from vidctl.errors import (
    ApiError,
    AuthError,
    JobFailedError,
    NetworkError,
    NotDeployedError,
    RetiredError,
    VidctlError,
)
from vidctl.runpod.download import download, download_into
from vidctl.runpod.graphql import GraphQL
from vidctl.runpod.http import Http
from vidctl.runpod.jobs import JobOptions, Jobs
from vidctl.runpod.rest import Rest

KEY = "rpa_SECRETKEY"
SLOW_DOWN = Reply(429, b"{}", (("Retry-After", "0"),))


def test_key_travels_in_the_header_only():
    """The key is in Authorization, and in no URL or body."""
    with serving(script(ok({"id": "job-1"}))) as server:
        Jobs(Http(KEY), server.url).run("ep", {"a": 1})

    (request,) = server.requests
    assert request.headers["Authorization"] == f"Bearer {KEY}"
    assert KEY not in request.path
    assert KEY.encode() not in request.body


@pytest.mark.parametrize("hiccup", [SLOW_DOWN, Reply(500), Reply(502, b"<html>"), RESET])
def test_a_question_is_asked_again(hiccup):
    """GET /status survives 429, 5xx and a reset connection."""
    with serving(script(hiccup, ok({"id": "j", "status": "COMPLETED", "output": 7}))) as server:
        job = Jobs(Http(KEY), server.url).status("ep", "j")

    assert (job.status, job.output) == ("COMPLETED", 7)
    assert len(server.requests) == 2


def test_run_is_sent_again_when_it_was_refused_for_rate():
    """429 says that the job was not taken, so it is offered again."""
    with serving(script(SLOW_DOWN, SLOW_DOWN, ok({"id": "job-1"}))) as server:
        job_id = Jobs(Http(KEY), server.url).run("ep", {"a": 1})

    assert job_id == "job-1"
    assert len(server.requests) == 3


def test_a_job_is_offered_until_the_deadline_and_no_longer_and_each_429_is_counted():
    with serving(script(Reply(429, b"{}", (("Retry-After", "3"),)))) as server:
        jobs = Jobs(Http(KEY), server.url)
        with failing("api_error", "429", "3 s"):
            jobs.run("ep", {"a": 1}, deadline=time.monotonic() + 2, pause=lambda _: None)

    assert (1, 1) == (len(server.requests), jobs.rate_limited)


def test_a_server_that_was_there_is_waited_for_and_one_that_never_was_is_not():
    """It restarts: no connection is made, so nothing was sent."""
    with serving(lambda _: Reply(200, b'{"id": "job-1"}', (("Connection", "close"),))) as server:
        jobs = Jobs(Http(KEY), server.url)
        jobs.run("ep", {"a": 1})
    paused: list[float] = []
    for each, least in ((jobs, 1), (Jobs(Http(KEY), server.url), 0)):
        paused.clear()
        with failing("network_error", varies=True):
            each.run("ep", {"a": 1}, deadline=time.monotonic() + 2.5, pause=paused.append)
        assert len(paused) >= least
        assert least or not paused


def test_what_a_job_is_to_be_run_with_goes_beside_its_input():
    options = JobOptions("https://example.org/done", 60_000, 120_000, is_low_priority=True)
    with serving(script(ok({"id": "job-1"}))) as server:
        Jobs(Http(KEY), server.url).run("ep", {"a": 1}, options)

    policy = {"executionTimeout": 60_000, "ttl": 120_000, "lowPriority": True}
    assert {"input": {"a": 1}, "webhook": "https://example.org/done", "policy": policy} == json.loads(
        server.requests[0].body
    )


@pytest.mark.parametrize(
    ("trouble", "kind"),
    [
        (RESET, NetworkError),
        (Reply(500), ApiError),
        (Reply(503, b"{}", (("Retry-After", "0"),)), ApiError),
        (Reply(413, b"{}", (("Retry-After", "0"),)), ApiError),
    ],
)
def test_run_is_never_sent_blindly_again(trouble, kind):
    """After a lost or broken answer the job may be queued and paid: one request, no more."""
    with serving(script(trouble)) as server, pytest.raises(kind):
        Jobs(Http(KEY), server.url).run("ep", {"a": 1})

    assert server.paths() == ["POST /ep/run"]


def test_run_that_never_connected_says_so():
    """Nobody listens: one line, no traceback of a library in the message."""
    with failing("network_error", "127.0.0.1:9: "):
        Jobs(Http(KEY), "http://127.0.0.1:9").run("ep", {"a": 1})


@pytest.mark.parametrize(
    ("status", "kind", "exit_status"),
    [(401, AuthError, 4), (403, AuthError, 4), (404, NotDeployedError, 5), (400, ApiError, 1), (410, RetiredError, 1)],
)
def test_refusals_have_names(status, kind, exit_status):
    """Each HTTP status that RunPod documents becomes its own kind of error, with the server's sentence."""
    with (
        serving(script(Reply(status, b'{"error": "because\\u001b[31m"}'))) as server,
        pytest.raises(kind) as raised,
    ):
        Jobs(Http(KEY), server.url).run("ep", {"a": 1})

    assert raised.value.exit_status == exit_status
    assert "\x1b" not in raised.value.message


@pytest.mark.parametrize(
    ("reply", "code", "facts"),
    [
        (Reply(429, b"{}", (("Retry-After", "3600"),)), "api_error", ["429", "3600 s"]),
        (
            Reply(402, b'{"detail": "Your balance is too low"}'),
            "http_error",
            ["402: Your balance", "credit"],
        ),
        (Reply(403, b"<html>blocked by policy</html>"), "api_error", ["403", "HTTPS_PROXY"]),
        (Reply(403, b'{"detail": "no access"}'), "auth_error", ["403: no access", "RUNPOD_API_KEY"]),
    ],
    ids=["429", "402", "403 of a firewall", "403"],
)
def test_a_refusal_says_what_helps(reply, code, facts):
    """How long to wait, where to pay, or what stands between: never the key's fault when it is not."""
    with serving(lambda _: reply) as server, failing(code, *facts):
        Http(KEY).write("POST", server.url, body={})

    assert 1 == len(server.requests)


def test_a_failure_of_runpods_names_its_request():
    """Its support asks for the id; one line, whatever the header holds."""
    with (
        serving(script(Reply(500, b"{}", (("x-request-id", "req-7"),)))) as server,
        failing("http_error", "500", "req-7"),
    ):
        Jobs(Http(KEY), server.url).run("ep", {"a": 1})


def test_no_error_tells_the_key():
    """Not in the message, nor in the whole traceback."""
    with serving(script(Reply(401, b"no"))) as server:
        try:
            Jobs(Http(KEY), server.url).health("ep")
        except AuthError as error:
            shown = "".join(traceback.format_exception(error)) + str(error.to_json())

    assert KEY not in shown


def test_a_job_that_is_gone_keeps_its_id_in_the_error():
    """404 on /status: the result expired, and the error still names the job."""
    with serving(script(Reply(404))) as server, pytest.raises(JobFailedError) as raised:
        Jobs(Http(KEY), server.url).status("ep", "job-9")

    assert raised.value.job_id == "job-9"


def test_a_broken_poll_keeps_the_job_id():
    """When even polling fails for good, the error says which job is out."""
    with serving(script(Reply(200, b"not json"))) as server, pytest.raises(ApiError) as raised:
        Jobs(Http(KEY), server.url).status("ep", "job-9")

    assert raised.value.job_id == "job-9"


@pytest.mark.parametrize(
    ("said", "shown"),
    [
        ('{"error_type": "<class \'ValueError\'>", "error_message": "bad\\nthing"}', "ValueError: bad thing"),
        (["one", "two"], "one; two"),
        ("plain", "plain"),
        ({"code": 7}, '{"code": 7}'),
    ],
)
def test_a_handlers_error_becomes_a_sentence(said, shown):
    """Whatever JSON a handler gives as its error, a person reads one line."""
    with serving(script(ok({"id": "j", "status": "FAILED", "error": said}))) as server:
        job = Jobs(Http(KEY), server.url).status("ep", "j")

    assert job.error == shown


def test_image_downloads_carry_no_key():
    """An image's server is not RunPod."""
    with serving(script(Reply(200, b"bytes"))) as server:
        data = download(f"{server.url}/frame.jpg")

    assert data == b"bytes"
    assert "Authorization" not in server.requests[0].headers


def test_an_image_that_is_not_there_is_a_media_error():
    with serving(script(Reply(404))) as server, failing("media_error", "404"):
        download(f"{server.url}/frame.jpg")


def test_an_audio_is_downloaded_into_a_file():
    """Without the key, and no more of it than is allowed."""
    audio = b"sound" * 500_000
    with serving(script(Reply(200, audio))) as server:
        kept = io.BytesIO()
        download_into(f"{server.url}/talk.mp3", kept)
        with failing("media_error", "1 MB"):
            download_into(f"{server.url}/talk.mp3", io.BytesIO(), most_bytes=1 << 20)

    assert audio == kept.getvalue()
    assert "Authorization" not in server.requests[0].headers


def test_a_download_that_breaks_off_is_no_shorter_audio():
    """Half of what Content-Length promised is an error."""
    half = Reply(200, b"half", (("Content-Length", "8"), ("Connection", "close")))
    with serving(script(half)) as server, failing("media_error"):
        download_into(f"{server.url}/talk.mp3", io.BytesIO())


BUSY = [Reply(429, b"", (("Retry-After", "0"),)), Reply(503, b"", (("Retry-After", "0"),))]


@pytest.mark.parametrize("busy", BUSY, ids=["429", "503"])
def test_a_download_is_asked_for_again(busy):
    """A busy server says when."""
    with serving(script(busy, busy, Reply(200, b"bytes"))) as server:
        assert download(f"{server.url}/a.jpg") == b"bytes"


@pytest.mark.parametrize("busy", BUSY, ids=["429", "503"])
def test_a_download_is_not_asked_for_for_ever(busy):
    with serving(script(busy)) as server, failing("media_error", busy.status):
        download(f"{server.url}/a.jpg")

    assert len(server.requests) == 5


def test_a_server_that_wants_a_long_wait_is_told_of():
    """Nobody waits an hour in front of a terminal."""
    with (
        serving(script(Reply(429, b"", (("Retry-After", "3600"),)))) as server,
        failing("media_error", "429", "3600 s"),
    ):
        download(f"{server.url}/a.jpg")

    assert 1 == len(server.requests)


@pytest.mark.parametrize("head", [b"HTTP/1.0 200 OK\r\nX: ", b"HTTP/1.0 200 OK\r\n\r\n"], ids=["headers", "body"])
def test_a_download_that_drips_is_given_up(head):
    """A byte now and then holds nobody longer than --timeout."""
    with dripping(head) as base, failing("media_error", "--timeout (timeout_s)", varies=True):
        download(f"{base}/a.jpg", timeout_s=0.3)


def test_no_redirect_leads_from_https_to_http(tmp_path, monkeypatch):
    """Neither at once nor on the way to https again; from one https address to another it may."""
    pem = tls.certificate(tmp_path)
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(pem))
    with serving(script(Reply(200, b"bytes"))) as plain:
        places = {"/down": f"{plain.url}/a.jpg", "/on": "/there"}
        with tls.redirecting(pem, places) as secure:
            fetched = download(f"{secure}/on")
            with failing("media_error", "https://"):
                download(f"{secure}/down")

    assert (b"/there", []) == (fetched, plain.requests)


def test_no_redirect_leads_from_this_machine_to_http_elsewhere():
    reply = Reply(302, b"", (("Location", "http://example.org/a.jpg"),))
    with serving(script(reply)) as server, failing("media_error", "https://"):
        download(f"{server.url}/a.jpg")


@pytest.fixture
def no_proxies(monkeypatch):
    for name in ("HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy", "NO_PROXY", "no_proxy"):
        monkeypatch.delenv(name, raising=False)


def ask_api(url):
    Jobs(Http(KEY), url).status("ep", "j")


def _code(ask):
    return "media_error" if ask is download else "unanswered"


@pytest.mark.parametrize("ask", [download, ask_api])
def test_a_certificate_of_ones_own_names_the_variable(tmp_path, ask):
    """As a proxy that reads along has it."""
    with (
        tls.redirecting(tls.certificate(tmp_path), {}) as base,
        failing(_code(ask), "self-signed", "REQUESTS_CA_BUNDLE=FILE.pem"),
    ):
        ask(f"{base}/a.jpg")


@pytest.mark.parametrize("ask", [download, ask_api])
def test_a_certificate_of_another_host_is_told_of(tmp_path, monkeypatch, ask):
    pem = tls.certificate(tmp_path, of="DNS:example.org")
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(pem))
    with tls.redirecting(pem, {}) as base, failing(_code(ask), "certificate"):
        ask(f"{base}/a.jpg")


@pytest.mark.parametrize("ask", [download, ask_api])
@pytest.mark.parametrize("name", ["HTTPS_PROXY", "https_proxy", "ALL_PROXY"])
def test_a_proxy_that_fails_is_named_with_its_variable(monkeypatch, no_proxies, ask, name):
    """Without the password in it."""
    with serving(script(Reply(200))) as proxy:
        monkeypatch.setenv(name, proxy.url.replace("://", "://me:hunter2@"))
        where = proxy.url.removeprefix("http://")
        # 501: it knows no CONNECT.
        with failing(_code(ask), f"proxy {where} ", "(501)", f"hint: {name} ", "NO_PROXY=vidctl.invalid ") as caught:
            ask("https://vidctl.invalid/a.jpg")

    assert "hunter2" not in caught.value.message


def test_a_wrong_host_names_the_variables(no_proxies):
    with failing("network_error", "vidctl.invalid: ", "RUNPOD_API_BASE_URL", "RUNPOD_ENDPOINT_BASE_URL"):
        ask_api("https://vidctl.invalid/v2")


_json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=True) | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=10), inner, max_size=3),
    max_leaves=8,
)
_answers = st.one_of(
    st.binary(max_size=64),
    st.fixed_dictionaries(
        {},
        optional={
            "id": _json,
            "status": st.sampled_from(["COMPLETED", "FAILED", "IN_QUEUE", "RUNNING", "?"]) | _json,
            "output": _json,
            "error": _json,
            "delayTime": _json,
            "workers": _json,
            "endpoints": st.lists(
                st.fixed_dictionaries(
                    {}, optional=dict.fromkeys(("id", "name", "gpu", "scaling", "env", "timeout"), _json)
                )
            )
            | _json,
            "gpus": st.lists(
                st.fixed_dictionaries(
                    {"pool": _json | st.just("ADA_24")},
                    optional={"price": st.fixed_dictionaries({"serverless": _json}), "availability": _json},
                )
            ),
            "data": st.fixed_dictionaries(
                {"myself": st.fixed_dictionaries({}, optional={"endpoints": _json, "podTemplates": _json}) | _json}
            )
            | _json,
            "errors": _json,
        },
    ).map(lambda document: __import__("json").dumps(document).encode()),
)


@pytest.fixture(scope="module")
def echo():
    """A server that answers whatever the test puts into `said`."""
    said = [b"{}"]
    with serving(lambda _: Reply(200, said[0])) as server:
        yield server, said, Http(KEY)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(body=_answers)
def test_no_answer_is_a_traceback(echo, body):
    """Whatever bytes RunPod answers, only vidctl's own errors come out."""
    server, said, http = echo
    said[0] = body
    server.requests.clear()
    jobs, rest = Jobs(http, server.url), Rest(http, server.url)
    control = GraphQL(http, server.url, sleep=lambda _: None)
    calls = (
        lambda: jobs.run("ep", {"a": 1}),
        lambda: jobs.status("ep", "j"),
        lambda: jobs.health("ep"),
        control.account,
        control.volumes,
        rest.account,
        rest.catalogue,
    )
    outcomes = []
    for call in calls:
        try:
            outcomes.append(call())
        except VidctlError as error:
            outcomes.append(error.message)

    assert len(outcomes) == len(calls)
