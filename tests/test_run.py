"""`vidctl run`, and `Client.run` and its siblings: jobs of any endpoint."""

from __future__ import annotations

import json
import shutil
import threading
from collections.abc import Callable, Generator
from pathlib import Path
from typing import Any

import pytest
from support.command import vidctl
from support.failing import failed, failing
from support.project import ECHO_SMOKE, Project
from support.scripted import RESET, Reply, Request, ok, serving

from vidctl import Client
from vidctl.runpod.jobs import JobOptions
from vidctl.tasks import call, payload

ROOT = Path(__file__).resolve().parent


# --- inputs --------------------------------------------------------------------------------------------------------


def test_an_input_is_the_same_bare_and_as_a_job_of_test_input_json() -> None:
    bare = payload.parsed('{"prompt": "a"}', where="x")

    assert bare == payload.parsed('{"input": {"prompt": "a"}}', where="x")
    assert bare == payload.parsed('{"id": "t", "input": {"prompt": "a"}}', where="x")
    assert {"input": {"a": 1}, "seed": 2} == payload.parsed('{"input": {"a": 1}, "seed": 2}', where="x")


def test_values_are_json_where_they_are_that() -> None:
    pairs = [("n", "5"), ("on", "true"), ("words", "a b"), ("quoted", '"5"'), ("list", "[1]"), ("nan", "NaN")]

    assert {"n": 5, "on": True, "words": "a b", "quoted": "5", "list": [1], "nan": "NaN"} == payload.of_pairs(
        pairs, where="x"
    )


@pytest.mark.parametrize(
    ("text", "fact"),
    [
        ('{"a": 1,}', "column 9"),
        ('{\n "a": b}', "line 2, column 7"),
        ("[1]", "object"),
        ("{}", "empty"),
        ('{"input": {}}', "empty"),
        ('{"a": NaN}', "NaN"),
        ("[" * 100_000, "deeply"),
    ],
)
def test_what_is_no_input_is_refused_with_its_place(text: str, fact: str) -> None:
    with failing("usage_error", "--input", fact, varies=True):
        payload.parsed(text, where="--input")


def test_a_job_is_refused_from_the_first_byte_that_runpod_does_not_take() -> None:
    room = 10 * 1024 * 1024 - len(json.dumps({"input": {"a": ""}}))
    payload.check_size({"a": "x" * room}, JobOptions(), where="--input")

    with failing("usage_error", "10,485,761", "10,485,760"):
        payload.check_size({"a": "x" * (room + 1)}, JobOptions(), where="--input")


@pytest.mark.parametrize(
    "given",
    [{"webhook": "ftp://x"}, {"execution_timeout": 4}, {"ttl": "9s"}, {"ttl": "8d"}, {"priority": "high"}],
)
def test_what_runpod_would_refuse_of_a_jobs_options_is_refused(given: dict[str, Any]) -> None:
    with failing("usage_error", *given, varies=True):
        call.job_options(**given)


# --- the client, with a scripted endpoint --------------------------------------------------------------------------


class Echo:
    """Answers a job with its input, and what `trouble` says for the input's `n` instead of /run's answer."""

    def __init__(self, **trouble: Reply) -> None:
        self.trouble = trouble
        self.sent: list[Any] = []
        self.bodies: list[Any] = []
        self._lock = threading.Lock()

    def __call__(self, request: Request) -> Reply:
        route, _, job_id = request.path.split("?")[0].removeprefix("/ep/").partition("/")
        if route == "run":
            body = json.loads(request.body)
            with self._lock:
                self.bodies.append(body)
                self.sent.append(body["input"]["n"])
                number = len(self.sent)
            name = f"n{body['input']['n']}"
            return self.trouble.pop(name, None) or ok({"id": f"job-{number}", "status": "IN_QUEUE"})
        if route == "status":
            given = self.bodies[int(job_id.removeprefix("job-")) - 1]["input"]
            if given.get("fails"):
                return ok({"id": job_id, "status": "FAILED", "error": "no such luck", "executionTime": 3})
            return ok({"id": job_id, "status": "COMPLETED", "output": given, "delayTime": 1, "executionTime": 2})
        return ok({"id": job_id, "status": "CANCELLED"}) if route == "cancel" else Reply(404)


@pytest.fixture
def client_of(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], Client]:
    monkeypatch.setenv("RUNPOD_API_KEY", "k")

    def made(url: str) -> Client:
        monkeypatch.setenv("RUNPOD_ENDPOINT_BASE_URL", url)
        return Client(target="runpod", endpoint_id="ep", project=tmp_path, timeout_s=30)

    return made


def test_a_job_is_run_with_its_options(client_of: Callable[[str], Client]) -> None:
    endpoint = Echo()
    with serving(endpoint) as server:
        result = client_of(server.url).run(
            {"n": 1}, webhook="https://x.example/", execution_timeout="1m", ttl=3600, priority="low"
        )

    assert ("COMPLETED", {"n": 1}, 1, 2) == (result.status, result.output, result.delay_ms, result.execution_ms)
    policy = {"executionTimeout": 60_000, "ttl": 3_600_000, "lowPriority": True}
    assert [{"input": {"n": 1}, "webhook": "https://x.example/", "policy": policy}] == endpoint.bodies


@pytest.mark.parametrize("given", [{}, None, "text", [1], {"a": float("nan")}, {"a": object()}])
def test_what_is_no_input_is_not_sent(client_of: Callable[[str], Client], given: Any) -> None:
    endpoint = Echo()
    with serving(endpoint) as server, failing("usage_error", varies=True):
        client_of(server.url).run(given)

    assert [] == endpoint.bodies


def test_an_option_that_is_none_is_refused_by_its_name(client_of: Callable[[str], Client]) -> None:
    with failing("usage_error", "web_hook", "webhook"):
        client_of("http://127.0.0.1:9").run({"n": 1}, web_hook="https://x")


def test_of_many_each_takes_its_place(client_of: Callable[[str], Client]) -> None:
    """One that fails, one that was refused, one whose answer was cut; two that are equal are two jobs."""
    inputs: list[Any] = [{"n": 0}, {"n": 1, "fails": True}, {"n": 0}, {}, {"n": 2}, {"n": 3}]
    endpoint = Echo(n2=RESET)
    with serving(endpoint) as server:
        rows = [each.to_dict() for each in client_of(server.url).run_many(inputs, in_flight=3)]

    assert [0, 1, 2, 3, 4, 5] == [row["index"] for row in rows]
    assert ["COMPLETED", "FAILED", "COMPLETED", "not_sent", "unknown", "COMPLETED"] == [row["status"] for row in rows]
    assert "no such luck" == rows[1]["error"]
    assert rows[4]["id"] is None
    assert [0, 0, 1, 2, 3] == sorted(endpoint.sent)
    assert rows[0]["id"] != rows[2]["id"]


def test_resumed_only_what_has_no_answer_is_sent_and_what_is_unknown_only_when_told_to(
    client_of: Callable[[str], Client],
) -> None:
    inputs = [{"n": 0}, {"n": 0}, {"n": 1}]
    endpoint = Echo(n1=Reply(500))
    with serving(endpoint) as server:
        first = list(client_of(server.url).run_many(inputs))
        second = list(client_of(server.url).run_many(inputs, resume=True))
        third = list(client_of(server.url).run_many(inputs, resume=True, resend_unknown=True))

    assert ["COMPLETED", "COMPLETED", "unknown"] == [each.status for each in first]
    assert [each.to_dict() for each in first[:2]] == [each.to_dict() for each in second[:2]]
    assert "unknown" == second[2].status
    assert ["COMPLETED"] * 3 == [each.status for each in third]
    assert [0, 0, 1, 1] == sorted(endpoint.sent)


def streams(*replies: Any, output: Any = None) -> Callable[[Request], Reply]:
    """An endpoint whose job streams so; RESET is a response that is lost."""
    left = list(replies)

    def answer(request: Request) -> Reply:
        route = request.path.split("/")[2]
        if route == "run":
            return ok({"id": "j"})
        if route == "status":
            return ok({"id": "j", "status": "COMPLETED", **({} if output is None else {"output": output})})
        reply = left.pop(0) if left else {"status": "COMPLETED", "stream": []}
        return reply if isinstance(reply, Reply) else ok(reply)

    return answer


def chunk(*outputs: Any, status: str = "IN_PROGRESS") -> dict[str, Any]:
    return {"status": status, "stream": [{"output": each} for each in outputs]}


@pytest.mark.parametrize(
    ("answer", "outputs"),
    [
        (streams(chunk(1, 2), chunk(3, status="COMPLETED")), [1, 2, 3]),
        (streams(chunk(status="COMPLETED"), output={"all": 1}), [{"all": 1}]),
        (streams(chunk(1), RESET, chunk(3, status="COMPLETED"), output=[1, 2, 3]), [1, 2, 3]),
    ],
    ids=["as they come", "one that streams nothing", "one that was lost on the way"],
)
def test_a_stream_gives_each_output_once(
    client_of: Callable[[str], Client], answer: Callable[[Request], Reply], outputs: list[Any]
) -> None:
    with serving(answer) as server:
        assert outputs == list(client_of(server.url).stream({"n": 1}))


def test_a_stream_that_has_lost_an_output_for_good_says_so(client_of: Callable[[str], Client]) -> None:
    got: list[Any] = []
    with (
        serving(streams(chunk(1), RESET, chunk(3, status="COMPLETED"))) as server,
        failing("unanswered", "job j", "received: 1"),
    ):
        got.extend(client_of(server.url).stream({"n": 1}))

    assert [1] == got or [] == got


# --- the command, with a real worker -------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def echoing(tmp_path_factory: pytest.TempPathFactory) -> Generator[Project, None, None]:
    project = Project(tmp_path_factory.mktemp("run"))
    project.worker("echo")
    project.spec("echo", worker="echo", smoke=ECHO_SMOKE)
    shutil.copytree(ROOT / "local" / "handlers" / "generator", project.root / "workers" / "counting")
    (project.root / "workers" / "counting" / "test_input.json").write_text('{"input": {"values": [1, 2]}}')
    project.spec("counting", worker="counting")
    outcome = project.run("deploy", "echo", "counting", "-y")
    assert outcome.status == 0, outcome.stderr
    yield project
    project.close()


@pytest.mark.runtime
def test_the_output_is_printed_and_the_document_says_whose_it_is(echoing: Project) -> None:
    plain = echoing.run("run", "echo", "-i", "text=hello", "-i", "n=5")
    document = echoing.run("run", "echo", "--input", '{"n": 5}', "--json").document

    assert {"echo": {"text": "hello", "n": 5}, "greeting": "hello"} == plain.document
    assert ("vidctl.run/1", "COMPLETED", "echo") == (document["schema"], document["status"], document["endpoint"])
    assert document["id"] in [job["id"] for job in echoing.jobs()]


@pytest.mark.runtime
def test_without_an_input_the_smoke_tests_is_sent_which_is_that_of_test_input_json(echoing: Project) -> None:
    outcome = echoing.run("run", "counting", "--stream")

    assert (0, "1\n2\n") == (outcome.status, outcome.stdout)


@pytest.mark.runtime
def test_an_id_is_printed_at_once_and_an_endpoint_may_be_named_by_its_own(echoing: Project) -> None:
    endpoint_id = echoing.dotenv()["VIDCTL_ECHO_ENDPOINT_ID_LOCAL"]

    outcome = echoing.run("run", "--endpoint-id", endpoint_id, "--no-wait", "-i", "n=1", "--priority", "low")

    assert outcome.stdout.strip() in [job["id"] for job in echoing.jobs()]


@pytest.mark.runtime
def test_what_the_worker_says_of_a_failed_job_is_told(echoing: Project) -> None:
    outcome = echoing.run("run", "counting", "-i", "value=1", "--json")

    failed(outcome, "job_failed", "values", varies=True)


@pytest.mark.runtime
def test_rows_of_failed_jobs_are_written_to_the_file_too(echoing: Project) -> None:
    """Where all failed as well: their ids and errors are the result, not what an earlier run left."""
    output = echoing.root / "failed.jsonl"
    output.write_text("old\n")

    outcome = echoing.run("run", "counting", "--jsonl", "-", "-o", output.name, stdin=b'{"value": 1}\n{"value": 2}\n')
    rows = [json.loads(line) for line in output.read_text().splitlines()]

    assert outcome.status != 0
    assert ["FAILED", "FAILED"] == [row["status"] for row in rows]
    assert all(row["id"] and row["error"] for row in rows)


@pytest.mark.runtime
def test_many_are_in_the_order_of_their_lines_and_resumed_for_nothing(echoing: Project) -> None:
    lines = echoing.root / "inputs.jsonl"
    lines.write_text("".join(f'{{"n": {number % 3}}}\n' for number in range(12)) + "\n")

    first = echoing.run("run", "echo", "--jsonl", "inputs.jsonl", "-o", "outputs.jsonl", "--in-flight", "6")
    rows = (echoing.root / "outputs.jsonl").read_text()
    count = len(echoing.jobs())
    again = echoing.run("run", "echo", "--jsonl", "-", "--resume", stdin=lines.read_bytes())

    assert (0, 0) == (first.status, again.status), first.stderr + again.stderr
    assert [(n, n % 3) for n in range(12)] == [
        (row["index"], row["output"]["echo"]["n"]) for row in map(json.loads, rows.splitlines())
    ]
    assert rows == again.stdout
    assert count == len(echoing.jobs())


@pytest.mark.runtime
def test_a_line_that_is_no_input_stops_a_file_before_anything_is_sent_and_is_a_row_of_a_pipe(echoing: Project) -> None:
    text = '{"n": 1}\n{"n": 2\n{"n": 3}\n'
    (echoing.root / "bad.jsonl").write_text(text)
    count = len(echoing.jobs())

    of_file = echoing.run("run", "echo", "--jsonl", "bad.jsonl")
    after = len(echoing.jobs())
    of_pipe = echoing.run("run", "echo", "--jsonl", "-", stdin=text.encode())

    failed(of_file, "usage_error", "bad.jsonl:2", "column 8")
    assert count == after
    failed(of_pipe, "partial", "1 of 3")
    assert ["COMPLETED", "not_sent", "COMPLETED"] == [
        json.loads(line)["status"] for line in of_pipe.stdout.splitlines()
    ]


@pytest.mark.parametrize(
    ("arguments", "fact"),
    [
        (("--jsonl", "-", "--stream"), "--stream"),
        (("--stream", "--json", "-i", "n=1"), "--json"),
        (("--resume", "-i", "n=1"), "--jsonl"),
        (("-i", "n=1", "-i", "{}"), "KEY=VALUE"),
        (("-i", "word"), "word"),
        (("-i", "=1"), "=1"),
        (("-i", "n=1", "-i", "n=2"), "n"),
        (("-i", "n=1", "--ttl", "1s"), "ttl"),
        (("-i", "n=@missing.txt"), "missing.txt"),
        (("--jsonl", "missing.jsonl"), "missing.jsonl"),
    ],
)
def test_what_cannot_be_meant_is_refused(tmp_path: Path, arguments: tuple[str, ...], fact: str) -> None:
    outcome = vidctl("run", "--endpoint-id", "ep", *arguments, cwd=tmp_path, RUNPOD_API_KEY="k")

    failed(outcome, "usage_error", fact)


def test_an_endpoint_that_is_not_deployed_is_named_with_the_command_that_does_it(project: Project) -> None:
    project.worker("echo")
    project.spec("echo", worker="echo")

    failed(project.run("run", "echo", "-i", "n=1"), "not_deployed", "vidctl deploy echo")


@pytest.mark.runtime
def test_a_minimal_worker_is_made_deployed_and_run_in_an_empty_folder(project: Project) -> None:
    """The three commands that init prints, to the letter."""
    (project.root / "configs").rmdir()
    commands = project.run("init", "--plain", "mine", "--json").document["next"]

    outcomes = [project.run(*command.split()[1:]) for command in commands]

    assert [0, 0, 0] == [each.status for each in outcomes], outcomes[0].stderr
    assert {"greeting": "Hello, world!"} == outcomes[1].document
