"""Logs of an endpoint's workers: merged, followed over broken connections, with the jobs that lines are about."""

from __future__ import annotations

import itertools
import json
import re
import signal
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.failing import failed, failing
from support.project import Project
from support.scripted import Reply, Request, ok, serving

from vidctl.operations.logs import LogPace, LogReader, LogSelection
from vidctl.operations.sdk_lines import Said, read_line
from vidctl.runpod.http import Http
from vidctl.runpod.workers import WorkersApi

QUICK = LogPace(idle_s=0.3, caught_up_s=0.2, look_s=0.05, retry_s=0.01, tick_s=0.02)
STREAM = (("Content-Type", "text/event-stream"),)


def event(second: int, line: str, source: str = "container") -> bytes:
    at = f"2026-08-06T17:42:{second:02}Z"
    return f"id: {at}/{second:012}\ndata: {json.dumps({'ts': at, 'source': source, 'line': line})}\n\n".encode()


def live(*events: bytes) -> Reply:
    """A log as RunPod streams it: what there is, then silence."""
    return Reply(body=b"".join(events), headers=STREAM, never_ends=True)


def broken(*events: bytes) -> Reply:
    """A connection that breaks in the middle of an event."""
    return Reply(
        body=b"".join(events) + b'id: x\ndata: {"ts": "2026',
        headers=(*STREAM, ("Content-Length", "100000"), ("Connection", "close")),
    )


class Account:
    """Workers with scripted logs; each connection to a log takes the next of its replies, the last one again."""

    def __init__(self, **logs: list[Reply]) -> None:
        self.logs = logs
        self.listed = list(logs)

    def __call__(self, request: Request) -> Reply:
        path = urlsplit(request.path).path
        if path.endswith("/workers"):
            workers = [{"id": each, "status": "RUNNING", "uptimeSeconds": 60} for each in self.listed]
            return ok({"workers": workers})
        replies = self.logs.get(path.split("/")[-2], [])
        if not replies:
            return Reply(404, b'{"title": "Not Found"}')
        return replies.pop(0) if len(replies) > 1 else replies[0]


def read(account: Account, **wanted) -> tuple[list[str], list[str], list[Request]]:
    """The lines, the notes, and what was asked for."""
    notes: list[str] = []
    with serving(account) as server:
        api = WorkersApi(Http("key"), server.url)
        reader = LogReader(api, "ep", LogSelection(**{"tail": 100, **wanted}), note=notes.append, pace=QUICK)
        lines = [f"{each.worker_id} {each.line.text}" for batch in reader.batches() for each in batch]
    return lines, notes, [each for each in server.requests if "/logs" in each.path]


def test_logs_of_all_workers_are_one_by_time():
    """Each log is a stream of its own that never ends: one waits for silence, and sorts."""
    account = Account(w1=[live(event(1, "a"), event(3, "c"))], w2=[live(event(2, "b", "system"), event(4, "d"))])

    lines, notes, _ = read(account)

    assert lines == ["w1 a", "w2 b", "w1 c", "w2 d"]
    assert notes == []


def test_a_broken_connection_is_gone_on_with():
    """From the last whole event, by its id: no line is lost or comes twice, and a cut one comes whole."""
    account = Account(w1=[broken(event(1, "a"), event(2, "b")), live(event(3, "c"))])

    lines, _, asked = read(account)

    assert lines == ["w1 a", "w1 b", "w1 c"]
    assert [each.headers.get("Last-Event-ID") for each in asked] == [None, "2026-08-06T17:42:02Z/000000000002"]


def test_what_is_followed_goes_on_and_finds_new_workers():
    """A worker that starts meanwhile is read from its first line; whoever stops loses no line that had come."""
    account = Account(w1=[live(event(5, "a"))], w2=[live(event(1, "b"), event(2, "c"))])
    account.listed = ["w1"]
    lines: list[str] = []
    with serving(account) as server:
        api = WorkersApi(Http("key"), server.url)
        request = LogSelection(tail=7, is_following=True)
        reader = LogReader(api, "ep", request, note=lambda _: None, pace=QUICK)
        for batch in reader.batches():
            lines += [each.line.text for each in batch]
            account.listed = ["w1", "w2"]
            if len(lines) == 3:
                reader.stop()
        tails = [parse_qs(urlsplit(each.path).query)["tail"] for each in server.requests if "/logs" in each.path]

    assert lines == ["a", "b", "c"]
    assert tails == [["7"], ["5000"]]


def test_a_log_is_cut_at_5000_lines_of_a_worker_and_that_is_said():
    account = Account(w1=[live(*(event(1, str(number)) for number in range(5003)))], w2=[live(event(2, "z"))])

    lines, notes, _ = read(account)

    assert (5001, "w1 4999", "w2 z") == (len(lines), lines[-2], lines[-1])
    assert ["w1", "5000"] == re.findall(r"\bw\d\b|\b5000\b", " ".join(notes))


def test_since_is_sent_and_its_reach_is_said():
    """What removed workers wrote cannot be had; how old the oldest of the others is tells how far that goes."""
    account = Account(w1=[live(event(1, "a"))])

    _, notes, asked = read(account, since="2026-08-06T17:00:00Z", source="system")

    query = parse_qs(urlsplit(asked[0].path).query)
    assert query == {"since": ["2026-08-06T17:00:00Z"], "source": ["system"]}
    assert "60 s" in notes[0]


def test_one_worker_is_read_by_the_beginning_of_its_id():
    account = Account(abc1=[live(event(1, "a"))], xyz2=[live(event(2, "b"))])

    assert read(account, worker="x")[0] == ["xyz2 b"]


def test_a_beginning_of_several_ids_is_refused():
    account = Account(abc1=[live()], abc2=[live()])

    with failing("usage_error", "abc1", "abc2"):
        read(account, worker="abc")


def test_a_worker_that_is_gone_is_said():
    """One that is not listed is tried, for its log may be there for two minutes more."""
    account = Account(w1=[live(event(1, "a"))], w2=[])

    assert read(account)[:2] == (["w1 a"], [f"worker w2: {_gone('w2')}"])


def _gone(worker_id: str) -> str:
    return f"worker {worker_id} not found: its log is gone with it"


def test_a_log_that_nobody_has_is_an_error():
    with failing("not_deployed", "w9"):
        read(Account(w1=[live()]), worker="w9")


def test_an_endpoint_without_workers_has_no_lines_and_says_why():
    lines, notes, _ = read(Account())

    assert lines == []
    assert "no worker" in notes[0]


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ('{"requestId": "4b9-u1", "message": "Started.", "level": "INFO"}', Said("Started.", "INFO", "4b9-u1")),
        ('{"requestId": null, "message": "Jobs in queue: 1", "level": "DEBUG"}', Said("Jobs in queue: 1", "DEBUG")),
        ("INFO   | 4b9-u1 | Started.", Said("Started.", "INFO", "4b9-u1")),
        ("ERROR  | it failed | twice", Said("it failed | twice", "ERROR")),
        ("--- Starting Worker | Version 1 ---", Said("--- Starting Worker | Version 1 ---")),
        ('{"requestId": 1}', Said('{"requestId": 1}')),
        ("{not JSON", Said("{not JSON")),
    ],
)  # fmt: skip
def test_a_line_of_the_sdks_tells_its_job(line, said):
    """In both of its forms; what a handler prints is its own message."""
    assert read_line(line) == said


@given(st.text())
def test_any_line_can_be_read(line):
    assert isinstance(read_line(line).message, str)


CHATTY = """
import itertools, threading, time, runpod

def chat():
    for number in itertools.count():
        print("line", number, flush=True)
        time.sleep(0.01)

threading.Thread(target=chat, daemon=True).start()
runpod.serverless.start({"handler": lambda job: job["input"]})
"""


@pytest.fixture(scope="module")
def chatty(tmp_path_factory: pytest.TempPathFactory):
    """A deployed endpoint with a worker that never falls silent."""
    project = Project(tmp_path_factory.mktemp("chatty"))
    (project.worker("echo") / "handler.py").write_text(CHATTY)
    smoke = {"input": "workers/echo/job.json", "contains": {"question": 1}}
    project.spec("echo", worker="echo", smoke=smoke, workers={"min": 1, "max": 1})
    outcome = project.run("deploy", "echo")
    assert outcome.status == 0, outcome.stderr
    yield project
    project.close()


@pytest.mark.runtime
def test_ctrl_c_ends_what_is_followed_and_loses_no_line(chatty):
    """Every line up to the last that was printed, in its order, once."""
    process = chatty.start("logs", "echo", "-f", "--source", "container", "--grep", "^line")
    first = [process.stdout.readline() for _ in range(300)]
    process.send_signal(signal.SIGINT)
    printed = [*first, *process.stdout.readlines()]
    stderr, status = process.stderr.read().decode(), process.wait(60)

    numbers = [int(line.split()[-1]) for line in printed]
    gaps = [(before, after) for before, after in itertools.pairwise(numbers) if after != before + 1]
    assert (130, []) == (status, gaps)
    assert "Traceback" not in stderr


@pytest.mark.runtime
def test_a_job_is_found_in_the_log_by_its_id(chatty):
    """As one JSON document, of which each line names its worker, its source and its job."""
    (job,) = chatty.jobs()

    document = chatty.run("logs", "echo", "--since", "10m", "--grep", job["id"], "--json").document

    lines = [(each["source"], each["job_id"], each["message"]) for each in document["lines"]]
    assert ("vidctl.logs/1", [("container", job["id"], "Started."), ("container", job["id"], "Finished.")]) == (
        document["schema"],
        lines,
    )


@pytest.mark.parametrize(
    ("words", "facts"),
    [(["--since", "soon"], "--since soon"), (["--grep", "("], "--grep ("), (["--since", "2026-13"], "2026-13")],
)
def test_what_cannot_be_meant_is_refused_before_anything_is_started(words, facts, tmp_path: Path):
    project = Project(tmp_path)

    failed(project.run("logs", "echo", *words), "usage_error", facts)
