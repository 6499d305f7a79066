"""A window of jobs in flight: order, cancelling, and no job id lost."""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
import time

import pytest
from support.failing import failing
from support.runtime import until
from support.scripted import RESET, Reply, Request, ok, serving
from support.stating import stating

from vidctl.errors import JobFailedError
from vidctl.journal import Journal
from vidctl.runpod.http import Http
from vidctl.runpod.jobs import Health, Jobs, Streamed
from vidctl.tasks.invoker import Invoker
from vidctl.tasks.invoker import Request as Ask
from vidctl.tasks.stream_pace import StreamPace


class Endpoint:
    """A scripted endpoint: `finish(name)` decides the state of the job that was sent as {"name": name}."""

    def __init__(self, state=lambda name: {"status": "COMPLETED", "output": name}) -> None:
        self.state = state
        self.names: dict[str, str] = {}
        self.cancelled: list[str] = []
        self.most_in_flight = 0
        self._done: set[str] = set()

    def __call__(self, request: Request) -> Reply:
        route, _, job_id = request.path.removeprefix("/ep/").partition("/")
        match route:
            case "run":
                name = json.loads(request.body)["input"]["name"]
                job_id = f"job-{name}"
                self.names[job_id] = name
                self.most_in_flight = max(self.most_in_flight, len(self.names) - len(self._done))
                return ok({"id": job_id, "status": "IN_QUEUE"})
            case "status":
                answer = self.state(self.names[job_id])
                if isinstance(answer, Reply):
                    return answer
                if answer["status"] == "COMPLETED":
                    self._done.add(job_id)
                return ok({"id": job_id, **answer})
            case "cancel":
                self.cancelled.append(job_id)
                return ok({"id": job_id, "status": "CANCELLED"})
        return Reply(404)


@pytest.fixture
def journal(tmp_path):
    return Journal(tmp_path / "journal.db")


def invoker(server, journal):
    return Invoker(Jobs(Http("k"), server.url), "ep", target="local", journal=journal)


def asks(count):
    return [Ask({"name": f"n{number}"}, what=f"n{number}", subject=number) for number in range(count)]


def test_answers_come_in_the_order_of_the_questions(journal):
    """The first job ends last, and is still the first answer."""
    later = threading.Event()

    def state(name):
        if name == "n0" and not later.is_set():
            return {"status": "IN_PROGRESS"}
        if name == "n3":
            later.set()
        return {"status": "COMPLETED", "output": name}

    with serving(Endpoint(state)) as server:
        answers = list(invoker(server, journal).ask_many(asks(4), window=4, timeout_s=30))

    assert [answer.job.output for answer in answers] == ["n0", "n1", "n2", "n3"]


def test_no_more_jobs_are_out_than_the_window(journal):
    endpoint = Endpoint()
    with serving(endpoint) as server:
        answers = list(invoker(server, journal).ask_many(asks(20), window=3, timeout_s=30))

    assert len(answers) == 20
    assert endpoint.most_in_flight <= 3


def test_questions_are_read_only_as_fast_as_answers_are_taken(journal):
    """A generator of a million images is not read into memory."""
    read = []

    def source():
        for ask in asks(1000):
            read.append(ask)
            yield ask

    with serving(Endpoint()) as server:
        answers = invoker(server, journal).ask_many(source(), window=2, timeout_s=30)
        next(answers)
        answers.close()

    assert len(read) <= 4 * 2 + 1


def test_one_failed_job_does_not_stop_the_rest(journal):
    def state(name):
        if name == "n1":
            return {"status": "FAILED", "error": "no such class"}
        return {"status": "COMPLETED", "output": name}

    with serving(Endpoint(state)) as server:
        first, second, third = invoker(server, journal).ask_many(asks(3), window=2, timeout_s=30)

    assert (first.job.output, third.job.output) == ("n0", "n2")
    assert isinstance(second.error, JobFailedError)
    assert (second.error.message, second.error.job_id) == ("no such class", "job-n1")


def only_the_first_ends(*, of):
    """An endpoint that answers n0 once all jobs are out, and the others never."""
    endpoint = Endpoint()
    endpoint.state = lambda name: (
        {"status": "COMPLETED", "output": 0} if name == "n0" and len(endpoint.names) == of else {"status": "IN_QUEUE"}
    )
    return endpoint


def test_closing_cancels_what_is_out(journal):
    """Ctrl-C, or a caller that has seen enough: nothing goes on being paid."""
    endpoint = only_the_first_ends(of=3)
    with serving(endpoint) as server:
        asker = invoker(server, journal)
        answers = asker.ask_many(asks(3), window=3, timeout_s=60)
        next(answers)
        answers.close()
        said = asker.interrupt()

    assert sorted(endpoint.cancelled) == ["job-n1", "job-n2"]
    assert {entry.id: entry.status for entry in journal.jobs()} == {
        "job-n0": "COMPLETED", "job-n1": "CANCELLED", "job-n2": "CANCELLED",
    }  # fmt: skip
    stating(said.message, "2 jobs", "job-n1", "job-n2")
    assert said.exit_status == 130


def test_a_job_that_cannot_be_cancelled_is_said_to_run(journal):
    """RunPod is not reachable any more: the journal keeps the id, and the message says so."""
    endpoint = only_the_first_ends(of=2)

    def unreachable_cancel(request):
        return RESET if "/cancel/" in request.path else endpoint(request)

    with serving(unreachable_cancel) as server:
        asker = invoker(server, journal)
        answers = asker.ask_many(asks(2), window=2, timeout_s=60)
        next(answers)
        answers.close()
        said = asker.interrupt()

    stating(said.message, "1 job", "job-n1")
    assert {entry.id: entry.status for entry in journal.jobs()}["job-n1"] == "IN_QUEUE"


def test_waiting_too_long_cancels_and_names_the_job(journal):
    endpoint = Endpoint(lambda _: {"status": "IN_QUEUE"})
    with serving(endpoint) as server, failing("timed_out", "0.2 s", "cancelled") as raised:
        invoker(server, journal).ask(asks(1)[0], timeout_s=0.2)

    assert (raised.value.job_id, raised.value.exit_status) == ("job-n0", 6)
    assert endpoint.cancelled == ["job-n0"]


def test_the_id_is_in_the_journal_before_anyone_waits(journal):
    """Kill vidctl at any later moment: the id is on disk."""
    seen = []

    def state(name):
        seen.append([entry.id for entry in journal.jobs()])
        return {"status": "COMPLETED", "output": name}

    with serving(Endpoint(state)) as server:
        invoker(server, journal).ask(asks(1)[0], timeout_s=30)

    assert seen[0] == ["job-n0"]


def test_a_lost_answer_to_run_is_not_sent_again(journal):
    """One POST, and an error that says why there is no second."""
    with serving(lambda _: RESET) as server, failing("unanswered", "not sent again", varies=True):
        invoker(server, journal).ask(asks(1)[0], timeout_s=30)

    assert server.paths() == ["POST /ep/run"]


@pytest.mark.parametrize("status", ["FAILED", "CANCELLED", "TIMED_OUT"])
def test_every_bad_end_is_a_failed_job(journal, status):
    with serving(Endpoint(lambda _: {"status": status})) as server, pytest.raises(JobFailedError) as raised:
        invoker(server, journal).ask(asks(1)[0], timeout_s=30)

    assert (raised.value.status, raised.value.exit_status) == (status, 3)
    assert journal.jobs()[0].status == status


def test_an_answer_is_not_lost_with_the_journal(tmp_path):
    """The journal breaks while the job is out: the paid answer comes all the same."""
    path = tmp_path / "journal.db"

    def state(name):
        path.write_bytes(b"broken by now " * 1000)
        return {"status": "COMPLETED", "output": name}

    with serving(Endpoint(state)) as server:
        job = invoker(server, Journal(path)).ask(asks(1)[0], timeout_s=30)

    assert job.output == "n0"


def test_nothing_is_sent_whose_id_could_not_be_written_down(tmp_path):
    """The journal cannot be written: no job is asked for."""
    blocker = tmp_path / "file"
    blocker.write_text("not a folder")
    asker_journal = Journal(blocker / "journal.db")
    with serving(Endpoint()) as server, failing("failure", "journal", varies=True):
        invoker(server, asker_journal).ask(asks(1)[0], timeout_s=30)

    assert server.requests == []


def test_a_job_is_waited_for_though_the_endpoints_health_is_not_told(journal):
    """The job is out and paid: that nobody can say how many workers there are does not end the wait."""
    states = iter(["IN_QUEUE", "IN_QUEUE", "COMPLETED"])
    endpoint = Endpoint(lambda name: {"status": next(states), "output": name})
    seen = []

    def answer(request):
        return Reply(501) if request.path.endswith("/health") else endpoint(request)

    with serving(answer) as server:
        job = invoker(server, journal).ask(
            Ask({"name": "a"}, "a", None), timeout_s=30, waiting=lambda _, health: seen.append(health)
        )

    assert (job.output, seen) == ("a", [Health({}, {}), Health({}, {})])


@pytest.fixture
def ctrl_c():
    """Press Ctrl-C, as the terminal does."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield lambda: os.kill(os.getpid(), signal.SIGINT)
    signal.signal(signal.SIGINT, before)


@pytest.mark.parametrize("ask", ["ask", "stream"])
def test_ctrl_c_while_a_job_is_being_sent_cancels_it(journal, ctrl_c, ask):
    """The server has it already, and its id is on the way."""
    endpoint = Endpoint()

    def answer(request):
        if request.path.endswith("/run"):
            ctrl_c()
        return endpoint(request)

    with serving(answer) as server:
        asking = invoker(server, journal)
        with pytest.raises(KeyboardInterrupt):
            list(getattr(asking, ask)(asks(1)[0], timeout_s=30) or ())
        told = asking.interrupt()

    assert ["job-n0"] == endpoint.cancelled
    assert ("interrupted; cancelled 1 job (job-n0)", "job-n0") == (told.message, told.job_id)


def test_a_second_ctrl_c_says_what_still_runs(journal, ctrl_c):
    """It waits for no answer any more, and hides nothing."""
    endpoint, over = Endpoint(), threading.Event()

    def answer(request):
        if request.path.endswith("/cancel/job-n0"):
            ctrl_c()
            over.wait(30)
        return endpoint(request)

    with serving(answer) as server:
        asking = invoker(server, journal)
        asking._send(asks(1)[0])
        told = asking.interrupt()
        over.set()

    stating(told.message, "job-n0")
    stating(told.hint, "vidctl jobs")


def test_ctrl_c_at_any_moment_of_cancelling_hides_no_job(journal, ctrl_c):
    """Wherever the second one comes, each job was cancelled or is said to run."""
    endpoint = Endpoint()
    with serving(endpoint) as server:
        for moment in range(40):
            asking = invoker(server, journal)
            for ask in asks(3):
                asking._send(ask)
            endpoint.cancelled.clear()
            told = _interrupted_at(asking, moment, ctrl_c)

            assert all(f"job-n{n}" in told.message for n in range(3)), (moment, told.message)


def _interrupted_at(asking, moment, ctrl_c):
    """Press Ctrl-C when so many lines of `cancel_all` have run."""
    lines = 0

    def trace(frame, event, _):
        nonlocal lines
        if frame.f_code.co_name != "cancel_all":
            return None
        lines += event == "line"
        if lines == moment + 1 and event == "line":
            ctrl_c()
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        return asking.interrupt()
    finally:
        sys.settrace(before)


def test_counts_that_may_not_be_asked_for_cost_no_job(journal):
    """A key that may run jobs may still be refused at /health."""
    states = iter(["IN_QUEUE", "IN_QUEUE", "COMPLETED"])
    endpoint = Endpoint(lambda name: {"status": next(states), "output": name})

    with serving(lambda request: Reply(403) if request.path.endswith("/health") else endpoint(request)) as server:
        job = invoker(server, journal).ask(asks(1)[0], timeout_s=30, waiting=lambda *_: None)

    assert "n0" == job.output


def test_whoever_reads_slowly_has_not_made_the_job_late(journal):
    """A terminal that was stopped with Ctrl-S; the job was done in time."""
    with serving(Streaming(told("a"), told("b", status="COMPLETED"), output="ab")) as server:
        news = streamed(server, journal, timeout_s=0.2)
        first = next(news)
        end = time.monotonic() + 0.3
        until(lambda: time.monotonic() > end)
        *_, job = news

    assert (("a",), "ab") == (first.chunks, job.output)


def resumable(count):
    return [
        Ask({"name": f"n{number}"}, what=f"n{number}", subject=number, digest=f"d{number}") for number in range(count)
    ]


def test_what_was_answered_before_is_not_asked_again(journal):
    """Resumed, only what is missing is sent; the answers are the same."""
    with serving(Endpoint()) as server:
        first = list(invoker(server, journal).ask_many(resumable(2), window=2, timeout_s=30))
        sent = len([path for path in server.paths() if path.endswith("/run")])
        again = list(invoker(server, journal).ask_many(resumable(3), window=2, timeout_s=30, resumes=True))
        sent_again = [json.loads(each.body)["input"]["name"] for each in server.requests if each.path.endswith("/run")]

    assert (["n0", "n1"], 2) == ([answer.job.output for answer in first], sent)
    assert ["n0", "n1", "n2"] == [answer.job.output for answer in again]
    assert ["n2"] == sent_again[sent:]


def test_a_job_that_is_still_out_is_waited_for_not_sent_again(journal):
    """Its answer was never seen, for vidctl was killed; its id is known."""
    endpoint = Endpoint()
    endpoint.names["job-n0"] = "n0"
    journal.sent("job-n0", endpoint_id="ep", target="local", what="n0", digest="d0")
    with serving(endpoint) as server:
        (answer,) = invoker(server, journal).ask_many(resumable(1), window=1, timeout_s=30, resumes=True)
        paths = server.paths()

    assert ("job-n0", "n0") == (answer.job.id, answer.job.output)
    assert [] == [path for path in paths if path.endswith("/run")]


def _sent_again(server):
    return [json.loads(each.body)["input"]["name"] for each in server.requests if each.path.endswith("/run")]


@pytest.mark.parametrize("trouble", [RESET, Reply(500), ok({})], ids=["cut", "500", "no id"])
def test_a_job_of_which_nobody_knows_whether_it_was_accepted_is_sent_again_only_when_told_to(journal, trouble):
    endpoint = Endpoint()
    replies = {"n1": [trouble]}

    def answer(request):
        name = json.loads(request.body or b"{}").get("input", {}).get("name")
        return replies[name].pop() if replies.get(name) else endpoint(request)

    with serving(answer) as server:
        _, lost = invoker(server, journal).ask_many(resumable(2), window=1, timeout_s=30)
        _, still = invoker(server, journal).ask_many(
            resumable(2), window=1, timeout_s=30, resumes=True, resends_unknown=False
        )
        before = _sent_again(server)
        _, found = invoker(server, journal).ask_many(
            resumable(2), window=1, timeout_s=30, resumes=True, resends_unknown=True
        )

    assert lost.error is not None
    assert "unanswered" == still.error.code
    assert ["n0", "n1"] == before
    assert "n1" == found.job.output


def test_one_that_vidctl_was_killed_over_is_unknown_too(journal):
    """Its id was on the way; whether it came as far as RunPod, nobody can say."""
    journal.sending("ep", "d0")
    with serving(Endpoint()) as server:
        (answer,) = invoker(server, journal).ask_many(
            resumable(1), window=1, timeout_s=30, resumes=True, resends_unknown=False
        )

    assert ("unanswered", []) == (answer.error.code, server.requests)


def test_what_was_refused_may_be_sent_again(journal):
    with serving(lambda _: Reply(400)) as server:
        list(invoker(server, journal).ask_many(resumable(1), window=1, timeout_s=30))
    with serving(Endpoint()) as server:
        (answer,) = invoker(server, journal).ask_many(
            resumable(1), window=1, timeout_s=30, resumes=True, resends_unknown=False
        )

    assert "n0" == answer.job.output


@pytest.mark.parametrize(("counted", "sent"), [({}, 2), ({"executionTime": 900}, 1)], ids=["unpaid", "paid"])
def test_a_job_whose_worker_died_is_sent_once_more_if_no_time_was_counted_for_it(journal, counted, sent):
    endpoint = Endpoint(lambda _: {"status": "FAILED", "error": "job timed out after 1 retries", **counted})
    with serving(endpoint) as server:
        (answer,) = invoker(server, journal).ask_many(asks(1), window=1, timeout_s=30)

    assert sent == len(_sent_again(server))
    assert answer.error.is_worker_lost


@pytest.mark.parametrize("state", [{"status": "FAILED", "error": "no"}, {"status": "CANCELLED"}, Reply(404)])
def test_a_job_that_ended_without_an_answer_is_sent_again(journal, state):
    endpoint = Endpoint(lambda name: state if name == "old" else {"status": "COMPLETED", "output": name})
    endpoint.names["job-old"] = "old"
    journal.sent("job-old", endpoint_id="ep", target="local", what="n0", digest="d0")
    with serving(endpoint) as server:
        (answer,) = invoker(server, journal).ask_many(resumable(1), window=1, timeout_s=30, resumes=True)

    assert ("job-n0", "n0") == (answer.job.id, answer.job.output)


def test_without_resuming_everything_is_asked_anew(journal):
    with serving(Endpoint()) as server:
        for _ in range(2):
            list(invoker(server, journal).ask_many(resumable(1), window=1, timeout_s=30))

        assert 2 == len([path for path in server.paths() if path.endswith("/run")])


def test_what_was_delivered_is_forgotten(journal):
    with serving(Endpoint()) as server:
        asking = invoker(server, journal)
        list(asking.ask_many(resumable(2), window=2, timeout_s=30))
        asking.forget(["d0"])

    assert (None, "n1") == (journal.recall("ep", "d0"), journal.recall("ep", "d1").output)


def test_a_job_on_its_way_can_be_looked_at(journal):
    """What a worker says of its progress reaches whoever asked."""
    looks = iter([{"status": "IN_PROGRESS", "output": {"half": 1}}])
    seen = []
    with serving(Endpoint(lambda name: next(looks, {"status": "COMPLETED", "output": name}))) as server:
        asked = invoker(server, journal).ask_many(
            asks(1), window=1, timeout_s=30, seen=lambda request, job: seen.append((request.subject, job.output))
        )
        (answer,) = asked

    assert ([(0, {"half": 1})], "n0") == (seen, answer.job.output)


def test_an_answer_may_be_followed_by_another_question(journal):
    """The follow-up's job takes the place of the first; both were paid, and both are told."""

    def again(job):
        return Ask({"name": "better"}, what="again", subject=0) if job.output == "n0" else None

    first = Ask({"name": "n0"}, what="n0", subject=0, follow_up=again)
    second = Ask({"name": "n1"}, what="n1", subject=1, follow_up=again)
    with serving(Endpoint()) as server:
        repaired, good = invoker(server, journal).ask_many([first, second], window=2, timeout_s=30)

    assert ("better", ["n0"]) == (repaired.job.output, [job.output for job in repaired.earlier])
    assert ("n1", ()) == (good.job.output, good.earlier)


def test_a_follow_up_that_fails_is_the_questions_failure(journal):
    def state(name):
        return {"status": "FAILED", "error": "no"} if name == "again" else {"status": "COMPLETED", "output": name}

    ask = Ask({"name": "n0"}, "n0", 0, follow_up=lambda _: Ask({"name": "again"}, "again", 0))
    with serving(Endpoint(state)) as server:
        (answer,) = invoker(server, journal).ask_many([ask], window=1, timeout_s=30)

    assert (None, "no", "job-again") == (answer.job, answer.error.message, answer.error.job_id)


class Streaming(Endpoint):
    """A scripted endpoint with a stream: each look at it gets the next of `looks`, which are replies or tellings.

    /status says that the job runs as long as there are looks left.
    """

    def __init__(self, *looks, output="all", end="COMPLETED"):
        super().__init__(self.now)
        self.looks = list(looks)
        self.output = output
        self.end = end

    def now(self, _name):
        return {"status": "IN_PROGRESS"} if self.looks else {"status": self.end, "output": self.output}

    def __call__(self, request: Request) -> Reply:
        if not request.path.startswith("/ep/stream/"):
            return super().__call__(request)
        look = self.looks.pop(0) if self.looks else told(status=self.end)
        return look() if callable(look) else look


def told(*texts, status="IN_PROGRESS"):
    return ok({"status": status, "stream": [{"output": text} for text in texts]})


def streamed(server, journal, **options):
    return invoker(server, journal).stream(asks(1)[0], **{"timeout_s": 30, **options})


def test_what_a_job_puts_out_comes_as_it_comes(journal):
    """And at last the job itself, with the output that /status knows."""
    endpoint = Streaming(told(status="IN_QUEUE"), told("a"), told("b", "c"), told("d", status="COMPLETED"))
    with serving(endpoint) as server:
        *looks, job = streamed(server, journal)
        paths = server.paths()

    assert [("a",), ("b", "c"), ("d",)] == [look.chunks for look in looks]
    assert ("COMPLETED", "all") == (job.status, job.output)
    assert {entry.id: entry.status for entry in journal.jobs()} == {"job-n0": "COMPLETED"}
    assert 4 == len([path for path in paths if path.startswith("GET /ep/stream/job-n0?wait=10000")])


def test_a_lost_answer_of_a_stream_is_not_asked_for_again(journal):
    """What it held is gone: the gap is told, and the stream goes on behind it."""
    endpoint = Streaming(told("a"), RESET, told("c"), Reply(502), told("e", status="COMPLETED"))
    with serving(endpoint) as server:
        *looks, job = streamed(server, journal)

    assert [("a",), None, ("c",), None, ("e",)] == [None if look.is_broken else look.chunks for look in looks]
    assert "all" == job.output


@pytest.mark.parametrize("refusal", [Reply(404), Reply(405), Reply(200, b"<html>"), ok([{"output": "x"}]), ok({})])
def test_without_a_stream_the_answer_comes_at_the_end(journal, refusal):
    """A server that has no /stream, or one of another form, still has the job."""
    endpoint = Streaming(refusal)
    with serving(endpoint) as server:
        gap, job = streamed(server, journal)

    assert (True, (), "all") == (gap.is_broken, gap.chunks, job.output)


def test_a_job_that_is_gone_while_it_is_listened_to_is_told_by_its_id(journal):
    endpoint = Streaming(told("a"), Reply(404))
    endpoint.state = lambda _: Reply(404)
    with serving(endpoint) as server, failing("job_failed", "job-n0") as raised:
        list(streamed(server, journal))

    assert ("GONE", "GONE", []) == (raised.value.status, journal.jobs()[0].status, endpoint.cancelled)


def test_a_job_that_keeps_no_output_is_read_to_the_end_of_its_stream(journal):
    """What came last is not lost when /stream says COMPLETED before it gave everything."""
    endpoint = Streaming(told("a"), told("b", status="COMPLETED"), output=None)
    endpoint.state = lambda _: {"status": "COMPLETED"}
    endpoint.now = endpoint.state  # type: ignore[method-assign]
    rest = [told("c", status="COMPLETED"), told("d", status="COMPLETED")]
    endpoint.looks += rest
    with serving(endpoint) as server:
        *looks, job = streamed(server, journal)

    assert ["a", "b", "c", "d"] == [chunk for look in looks for chunk in look.chunks]
    assert None is job.output


def test_a_streamed_job_that_fails_is_a_failed_job(journal):
    """What came before is delivered first."""
    endpoint = Streaming(told("a"), end="FAILED")
    came = []
    with serving(endpoint) as server, pytest.raises(JobFailedError) as raised:
        came.extend(look for look in streamed(server, journal))

    assert ("job-n0", "FAILED", []) == (raised.value.job_id, raised.value.status, endpoint.cancelled)
    assert "FAILED" == journal.jobs()[0].status


def test_a_stream_that_is_closed_is_cancelled(journal):
    endpoint = Streaming(*[told(str(number)) for number in range(1000)])
    with serving(endpoint) as server:
        asker = invoker(server, journal)
        looks = asker.stream(asks(1)[0], timeout_s=30)
        next(looks)
        looks.close()
        said = asker.interrupt()

    assert ["job-n0"] == endpoint.cancelled
    assert "CANCELLED" == journal.jobs()[0].status
    stating(said.message, "1 job", "job-n0")


def test_a_stream_without_an_end_is_given_up_in_time(journal):
    endpoint = Streaming()
    endpoint.end = "IN_PROGRESS"
    with serving(endpoint) as server, failing("timed_out", "0.3 s") as raised:
        list(streamed(server, journal, timeout_s=0.3))

    assert ("job-n0", ["job-n0"]) == (raised.value.job_id, endpoint.cancelled)


def test_whoever_waits_for_the_first_word_hears_why(journal):
    states = ["IN_QUEUE", "IN_QUEUE", "IN_PROGRESS"]
    endpoint = Streaming(*[told(status=state) for state in states])
    seen = []

    def answer(request):
        return ok({"workers": {"initializing": 1}, "jobs": {}}) if request.path == "/ep/health" else endpoint(request)

    with serving(answer) as server:
        list(streamed(server, journal, waiting=lambda job, health: seen.append((job.status, health))))

    starting = Health({"initializing": 1}, {})
    assert [("IN_QUEUE", starting), ("IN_QUEUE", starting), ("IN_PROGRESS", None)] == seen


def test_a_stream_is_asked_about_at_once_where_text_flows_or_the_server_waits():
    pace = StreamPace()
    nothing, text = Streamed("IN_PROGRESS"), Streamed("IN_PROGRESS", ("a",))

    assert (0.0, 0.0) == (pace.pause_s(text, took_s=0.01), pace.pause_s(nothing, took_s=9.0))


def test_a_server_that_does_not_wait_is_asked_less_and_less_often_until_text_flows_again():
    pace = StreamPace()
    queued, nothing, text = Streamed("IN_QUEUE"), Streamed("IN_PROGRESS"), Streamed("IN_PROGRESS", ("a",))
    idle = [pace.pause_s(queued, took_s=0.01) for _ in range(20)]
    started = pace.pause_s(nothing, took_s=0.01)
    slow = [pace.pause_s(nothing, took_s=0.01) for _ in range(5)]
    pace.pause_s(text, took_s=0.01)

    assert (0.05, 1.0, 0.05) == (idle[0], idle[-1], started)
    assert idle == sorted(idle)
    assert slow[-1] > 0.05 == pace.pause_s(nothing, took_s=0.01)
