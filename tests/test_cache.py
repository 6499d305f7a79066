"""`cache:` in vidctl.yaml: an answer that was paid is given again, as long as it would be the same."""

from __future__ import annotations

import pytest
from support.endpoint import answering
from support.failing import failed
from support.runtime import until

from vidctl import Client
from vidctl.journal import Journal
from vidctl.tasks.kept_answers import AnswerCache

KEPT = "answers kept in the journal"


@pytest.fixture
def endpoint(tmp_path):
    """An endpoint that was deployed from here, in a project that keeps answers for 30 days."""
    (tmp_path / "vidctl.yaml").write_text("cache: 30d\n")
    with answering(tmp_path) as endpoint:
        endpoint.image("a.jpg")
        endpoint.audio("a.wav")
        deployed(tmp_path, "v1")
        yield endpoint


def deployed(folder, version):
    Journal(folder / ".vidctl" / "journal.db").applied(
        spec="any", target="runpod", endpoint_id="ep", document={}, fingerprint=version, is_proven=True
    )


COMMANDS = [
    ("detect", "a.jpg"),
    ("transcribe", "a.wav"),
    ("describe", "a.jpg", "What is this?", "--temperature", "0"),
]


@pytest.mark.parametrize("words", COMMANDS)
def test_an_answer_is_paid_once(endpoint, words):
    """And said to be one that was kept; not with --no-cache, and not by another version of the endpoint."""
    first, again = endpoint.run(*words), endpoint.run(*words)
    assert (first.status, len(endpoint.asked)) == (0, 1), first.stderr
    assert again.stdout == first.stdout
    assert [KEPT in each.stderr for each in (first, again)] == [False, True]
    assert KEPT not in endpoint.run(*words, "-q").stderr

    endpoint.run(*words, "--no-cache")
    assert len(endpoint.asked) == 2
    deployed(endpoint.folder, "v2")
    endpoint.run(*words)
    assert len(endpoint.asked) == 3


@pytest.mark.parametrize(
    "words",
    [
        ("describe", "a.jpg", "What is this?"),
        ("describe", "a.jpg", "What is this?", "--temperature", "0", "--set", 'sampling_params={"n": 1}'),
        ("transcribe", "a.wav", "--temperature", "0.5"),
    ],
)
def test_what_may_be_answered_otherwise_is_paid_each_time(endpoint, words):
    for _ in range(2):
        assert endpoint.run(*words).status == 0

    assert len(endpoint.asked) == 2


@pytest.mark.parametrize("settings", ["", "target: runpod\n"])
def test_nothing_is_kept_unless_the_project_says_so(endpoint, settings):
    (endpoint.folder / "vidctl.yaml").write_text(settings)
    for _ in range(2):
        endpoint.run("detect", "a.jpg")

    assert len(endpoint.asked) == 2


def test_what_is_deployed_must_be_known(tmp_path):
    """An endpoint of elsewhere may be another by now."""
    (tmp_path / "vidctl.yaml").write_text("cache: 30d\n")
    with answering(tmp_path) as endpoint:
        endpoint.image("a.jpg")
        for _ in range(2):
            endpoint.run("detect", "a.jpg")

    assert len(endpoint.asked) == 2


def test_the_job_of_a_command_that_was_killed_is_waited_for(endpoint):
    """It is paid already."""
    endpoint.holds = 0
    process = endpoint.start("detect", "a.jpg")
    jobs = Journal(endpoint.folder / ".vidctl" / "journal.db").jobs
    until(jobs)
    process.kill()
    process.communicate()
    endpoint.holds = 1_000

    assert endpoint.run("detect", "a.jpg").status == 0
    assert len(endpoint.asked) == 1


def test_an_answer_that_cannot_be_read_is_not_given_again(endpoint):
    endpoint.found = "no list"
    assert endpoint.run("detect", "a.jpg").status == 1
    endpoint.found = []

    assert endpoint.run("detect", "a.jpg").status == 0
    assert len(endpoint.asked) == 2


def test_a_stream_gives_the_kept_answer_too(endpoint, monkeypatch):
    for name, value in endpoint.environ.items():
        monkeypatch.setenv(name, value)
    client = Client(project=endpoint.folder, target="runpod", endpoint_id="ep")
    image = endpoint.folder / "a.jpg"
    whole = client.describe(image, "What is this?", temperature=0)
    with client.describe_stream(image, "What is this?", temperature=0) as stream:
        pieces = "".join(stream)

    assert (pieces, stream.result.text, len(endpoint.asked)) == (whole.text, whole.text, 1)


def test_how_long_is_the_callers_too(endpoint, monkeypatch):
    for name, value in endpoint.environ.items():
        monkeypatch.setenv(name, value)
    image = endpoint.folder / "a.jpg"
    for cache in ("1d", "1d", 0, False):
        Client(project=endpoint.folder, target="runpod", endpoint_id="ep", cache=cache).detect(image)

    assert len(endpoint.asked) == 3


def test_run_keeps_answers_only_if_that_is_said(endpoint):
    """Of a job and of many; not with what needs a job of its own."""
    lines = endpoint.folder / "jobs.jsonl"
    lines.write_text('{"a": 1}\n{"a": 1}\n{"a": 2}\n')
    words = ("run", "-i", '{"a": 1}')
    for _ in range(2):
        endpoint.run(*words)
    assert len(endpoint.asked) == 2
    first, again = (endpoint.run(*words, "--cache", "1d") for _ in range(2))
    assert (first.stdout, KEPT in again.stderr, len(endpoint.asked)) == (again.stdout, True, 3)

    many = endpoint.run("run", "--jsonl", str(lines), "--cache", "1d", "--in-flight", "1")
    assert (many.status, len(many.stdout.splitlines()), len(endpoint.asked)) == (0, 3, 4)
    failed(endpoint.run(*words, "--cache", "1d", "--no-wait"), "usage_error", "--cache", "--no-wait")


def test_how_an_answer_comes_is_no_part_of_the_question():
    cache = AnswerCache(1.0, "v1", print)
    openai = {"openai_route": "/v1", "openai_input": {"seed": 1}}
    streamed = {"openai_route": "/v1", "openai_input": {"seed": 1, "stream": True, "stream_options": {}}}

    assert cache.digest({"a": 1}) == cache.digest({"a": 1, "stream": True})
    assert cache.digest(openai) == cache.digest(streamed)
    assert len({cache.digest(each) for each in ({"a": 1}, {"a": 2}, openai)}) == 3
