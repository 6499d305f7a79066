"""A limit on what jobs cost: what is sent under it, what is kept, and what is said."""

from __future__ import annotations

import json
import threading
import wave
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from support.command import vidctl
from support.failing import failed, failing
from support.scripted import Reply, Request, Server, ok, serving

from vidctl import Client
from vidctl.errors import CostLimitError, InterruptionError
from vidctl.journal import Journal
from vidctl.runpod.http import Http
from vidctl.runpod.jobs import Job, Jobs
from vidctl.tasks.invoker import Invoker
from vidctl.tasks.invoker import Request as Ask
from vidctl.tasks.spending import SpendingLimit

PRICE = 0.001  # US dollars a second


class _FullError(Exception):
    """One more may be sent only after another has ended."""


def _hold(_: float) -> None:
    raise _FullError


@given(st.lists(st.integers(1, 20_000), min_size=1, max_size=40), st.floats(0.001, 0.1), st.integers(1, 8))
def test_what_is_spent_is_over_the_limit_only_by_what_nobody_could_know(
    executions_ms: list[int], most_usd: float, window: int
) -> None:
    """A job that takes longer than all before it; with jobs of one length only the first, which nobody knew."""
    limit = SpendingLimit(most_usd, PRICE)
    out: deque[tuple[str, int]] = deque()
    longest_ms = surprise_ms = sent = 0
    waiting = deque(enumerate(executions_ms))
    while waiting:
        try:
            limit.admit(_hold)
        except _FullError:
            job_id, took_ms = out.popleft()
            limit.ended(job_id, took_ms)
            longest_ms = max(longest_ms, took_ms)
            continue
        except CostLimitError:
            break
        number, execution_ms = waiting.popleft()
        surprise_ms += max(0, execution_ms - longest_ms)
        limit.sent(str(number))
        sent += 1
        out.append((str(number), execution_ms))
        if len(out) == window:
            job_id, took_ms = out.popleft()
            limit.ended(job_id, took_ms)
            longest_ms = max(longest_ms, took_ms)
    for job_id, took_ms in out:
        limit.ended(job_id, took_ms)

    assert limit.spent_usd == pytest.approx(PRICE * sum(executions_ms[:sent]) / 1000)
    assert limit.spent_usd <= most_usd + PRICE * surprise_ms / 1000 + 1e-9
    assert limit.has_stopped == (sent < len(executions_ms))


def test_the_first_job_goes_alone_and_whoever_waits_can_be_stopped() -> None:
    limit = SpendingLimit(1, PRICE)
    limit.admit(_hold)
    limit.sent("first")

    def stopped(_: float) -> None:
        raise InterruptionError("interrupted")

    with pytest.raises(InterruptionError):
        limit.admit(stopped)
    limit.ended("first", 10)
    limit.admit(_hold)
    limit.unsent()
    limit.admit(_hold)


def test_without_a_limit_nothing_waits() -> None:
    limit = SpendingLimit()
    for number in range(5):
        limit.admit(_hold)
        limit.sent(str(number))

    assert not limit.seen(Job("1", "IN_QUEUE"))


class _Queue:
    """Jobs of an endpoint: the first `done` of them COMPLETED after as many seconds as they say, the others queued."""

    def __init__(self, execution_ms: int, *, done: int = 10_000, when_queued: Callable[[], None] | None = None) -> None:
        self.execution_ms, self.done = execution_ms, done
        self.when_queued = when_queued
        self.sent: list[str] = []
        self.images: list[int] = []
        self.cancelled: list[str] = []
        self._lock = threading.Lock()

    def __call__(self, request: Request) -> Reply:
        _, route, *rest = request.path.strip("/").split("/")
        with self._lock:
            if route == "run":
                self.sent.append(f"job-{len(self.sent)}")
                self.images.append(len(json.loads(request.body)["input"].get("images", [])))
                return ok({"id": self.sent[-1], "status": "IN_QUEUE"})
            if route == "status":
                return ok(self._status(rest[0]))
            if route == "cancel":
                self.cancelled.append(rest[0])
                return ok({"id": rest[0], "status": "CANCELLED"})
        return Reply(404)

    def _status(self, job_id: str) -> dict[str, object]:
        number = self.sent.index(job_id)
        if number >= self.done:
            if self.when_queued:
                self.when_queued()
                self.when_queued = None
            return {"id": job_id, "status": "IN_QUEUE"}
        found = {"detections": [], "count": 0, "inference_time": 0.1, "transcription": []}
        results = {"results": [found] * self.images[number]} if self.images[number] else found
        return {"id": job_id, "status": "COMPLETED", "executionTime": self.execution_ms, "output": results}


def _invoker(server: Server, folder: Path, limit: SpendingLimit) -> Invoker:
    jobs = Jobs(Http("k"), server.url)
    return Invoker(jobs, "ep", target="runpod", journal=Journal(folder / "journal.db"), spending=limit)


def test_nothing_is_sent_that_would_go_over_and_what_was_paid_is_delivered(tmp_path: Path) -> None:
    queue = _Queue(execution_ms=2000)
    requests = (Ask({"n": number}, what=f"n{number}", subject=number) for number in range(1000))
    with serving(queue) as server:
        answers = _invoker(server, tmp_path, SpendingLimit(0.007, PRICE)).ask_many(requests, window=4, timeout_s=30)
        got = []
        with failing("cost_limit", "$0.00700", "$0.00600", "3 jobs"):
            got.extend((answer.request.subject, answer.job is not None) for answer in answers)

    assert got == sorted(got)
    assert (3, True) == (len(queue.sent), got[-1][1])
    assert 3 == sum(is_answered for _, is_answered in got)
    assert next(requests).subject < 20  # no more were read than may be in the window


def test_what_is_queued_is_cancelled_once_the_running_ones_have_cost_it(tmp_path: Path) -> None:
    """It was sent for what the first ones took; another has taken all that was left meanwhile."""
    limit = SpendingLimit(1, PRICE)

    def elsewhere() -> None:
        limit.admit(_hold)
        limit.sent("elsewhere")
        limit.ended("elsewhere", 1_000_000)

    queue = _Queue(execution_ms=10, done=2, when_queued=elsewhere)
    with serving(queue) as server:
        invoker = _invoker(server, tmp_path, limit)
        answers = invoker.ask_many([Ask({"n": n}, what="n", subject=n) for n in range(3)], window=1, timeout_s=30)
        with failing("cost_limit", "$1.00", "3 jobs"):
            assert [0, 1] == [answer.request.subject for answer in answers]

    assert ["job-2"] == queue.cancelled


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A project whose endpoint for images is deployed to RunPod, on GPUs of $0.00034 a second at most."""
    (tmp_path / "configs").mkdir()
    spec = {"name": "test-yolo", "task": "detect", "image": "docker.io/you/yolo:1", "gpu": ["L4", "A40"]}
    (tmp_path / "configs" / "yolo.yaml").write_text(json.dumps(spec))
    (tmp_path / ".env").write_text("VIDCTL_YOLO_ENDPOINT_ID=ep\n")
    for number in range(40):
        Image.new("RGB", (8, 8)).save(tmp_path / f"{number:02}.png")
    return tmp_path


def _environ(server: Server) -> dict[str, Any]:
    return {"RUNPOD_API_KEY": "k", "RUNPOD_ENDPOINT_BASE_URL": server.url, "RUNPOD_API_BASE_URL": server.url}


def test_detect_delivers_what_was_paid_and_says_what_that_was(folder: Path) -> None:
    queue = _Queue(execution_ms=10_000)
    with serving(queue) as server:
        outcome = vidctl("detect", ".", "--max-cost", "0.005", "--json", cwd=folder, **_environ(server))

    failed(outcome, "cost_limit", "$0.00500", "$0.00340", "1 job")
    assert ([f"{number:02}.png" for number in range(16)], 1) == (
        [each["source"] for each in outcome.document["results"]], len(queue.sent)
    )  # fmt: skip


def test_a_limit_that_is_not_reached_changes_nothing(folder: Path) -> None:
    with serving(_Queue(execution_ms=100)) as server:
        outcome = vidctl("detect", ".", "--max-cost", "$1", cwd=folder, **_environ(server))

    assert (0, 40) == (outcome.status, len(outcome.stdout.splitlines())), outcome.stderr


def test_without_a_known_price_nothing_is_sent(folder: Path) -> None:
    queue = _Queue(execution_ms=100)
    with serving(queue) as server:
        words = ("detect", "00.png", "--max-cost", "1", "--endpoint-id", "other")
        outcome = vidctl(*words, cwd=folder, **_environ(server))

    failed(outcome, "usage_error", "other", "price")
    assert [] == queue.sent


def test_of_a_long_audio_file_the_part_that_was_paid_is_delivered(folder: Path) -> None:
    """With a gap from there on; its answers are kept, so that --resume pays for the rest alone."""
    with wave.open(str(folder / "long.wav"), "wb") as file:
        file.setparams((1, 2, 8000, 0, "NONE", ""))
        file.writeframes(bytes(2 * 8000 * 40))
    spec = {"name": "test-asr", "task": "transcribe", "image": "docker.io/you/asr:1", "gpu": "A40"}
    (folder / "configs" / "asr.yaml").write_text(json.dumps(spec))
    (folder / ".env").write_text("VIDCTL_ASR_ENDPOINT_ID=ep\n")
    queue = _Queue(execution_ms=10_000)
    words = ("transcribe", "long.wav", "--chunk", "10s", "--json")
    with serving(queue) as server:
        outcome = vidctl(*words, "--max-cost", "0.005", cwd=folder, **_environ(server))
        resumed = vidctl(*words, "--resume", cwd=folder, **_environ(server))

    failed(outcome, "cost_limit", "$0.00340", "1 job", varies=True)
    (transcript,) = outcome.document["results"]
    (gap,) = transcript["gaps"]
    assert (True, 40) == (0 < gap["start"] <= 10, round(gap["end"]))
    assert 0 == resumed.status, resumed.stderr
    assert "gaps" not in resumed.document["results"][0]


@pytest.mark.parametrize("amount", ["0", "-1", "much", "nan", "inf"])
def test_an_amount_that_cannot_be_is_refused(folder: Path, amount: str) -> None:
    failed(vidctl("detect", "00.png", f"--max-cost={amount}", cwd=folder), "usage_error", "--max-cost", amount)
    with failing("usage_error", "max_cost_usd"):
        Client(project=folder, max_cost_usd=-1)


def test_run_keeps_the_limit_too(folder: Path) -> None:
    """Of many jobs the rows of those that were paid are printed."""
    (folder / "rows.jsonl").write_text("".join(f'{{"n": {number}}}\n' for number in range(20)))
    queue = _Queue(execution_ms=10_000)
    with serving(queue) as server:
        words = ("run", "yolo", "--jsonl", "rows.jsonl", "--max-cost", "0.008")
        outcome = vidctl(*words, cwd=folder, **_environ(server))

    failed(outcome, "cost_limit", "$0.00680", "2 jobs")
    rows = [json.loads(line) for line in outcome.stdout.splitlines()]
    assert (2, 2) == (len(queue.sent), sum(row["status"] == "COMPLETED" for row in rows)), rows
