"""Jobs in flight share batches; pure asyncio, so checked here with a detector made of plain values."""

from __future__ import annotations

import asyncio
import threading
from dataclasses import dataclass

import pytest

PATIENCE_S = 20


@dataclass(frozen=True)
class Pixels:
    name: str
    shape: tuple[int, ...] = (360, 640, 3)


class Model:
    """Remembers its batches; the first one runs until `go` is set, so that others gather meanwhile."""

    def __init__(self, *, poison: str | None = None) -> None:
        self.batches: list[tuple[str, str]] = []
        self.running = threading.Event()
        self.go = threading.Event()
        self._poison = poison

    def detect(self, images, options):
        self.batches.append(("".join(one.name for one in images), options))
        self.running.set()
        assert self.go.wait(PATIENCE_S)
        if self._poison in {one.name for one in images}:
            raise RuntimeError("poisoned")
        return [one.name.upper() for one in images]


@pytest.fixture(scope="module")
def batching(yolo_module):
    return yolo_module("batching")


def names(found):
    return [one.rows for one in found]


async def _busy(batcher, model):
    """Give the model a first job, and come back when it is at it."""
    first = asyncio.create_task(batcher.detect([Pixels("a")], "x"))
    assert await asyncio.to_thread(model.running.wait, PATIENCE_S)
    return first


def test_a_job_alone_runs_at_once(batching):
    """Nothing waits for company."""
    model = Model()
    model.go.set()
    found = asyncio.run(batching.Batcher(model.detect, 8).detect([Pixels("a"), Pixels("b")], "x"))

    assert (["A", "B"], [("ab", "x")]) == (names(found), model.batches)


def test_jobs_that_wait_share_the_next_batch(batching):
    """What came while one batch ran is the next, cut at the largest batch, and each job gets its own answers."""

    async def story():
        model = Model()
        batcher = batching.Batcher(model.detect, 3)
        first = await _busy(batcher, model)
        others = [asyncio.create_task(batcher.detect([Pixels(name) for name in job], "x")) for job in ("bc", "d", "e")]
        await asyncio.sleep(0)  # one turn of the loop: all three are in the queue
        model.go.set()
        return [names(found) for found in await asyncio.gather(first, *others)], model.batches

    answers, batches = asyncio.run(story())

    assert ([["A"], ["B", "C"], ["D"], ["E"]], [("a", "x"), ("bcd", "x"), ("e", "x")]) == (answers, batches)


def test_only_equal_options_and_shapes_share(batching):
    """An image's answer does not depend on who came with it."""

    async def story():
        model = Model()
        batcher = batching.Batcher(model.detect, 8)
        first = await _busy(batcher, model)
        wide, tall = Pixels("b"), Pixels("c", (640, 360, 3))
        others = [
            asyncio.create_task(batcher.detect(*job))
            for job in (([wide, tall], "x"), ([Pixels("d")], "y"), ([Pixels("e")], "x"))
        ]
        await asyncio.sleep(0)
        model.go.set()
        await asyncio.gather(first, *others)
        return model.batches[1:]

    assert [("be", "x"), ("c", "x"), ("d", "y")] == asyncio.run(story())


def test_a_cancelled_job_leaves_the_queue(batching):
    """RunPod's job-stop cancels the job's task; its images cost the model nothing."""

    async def story():
        model = Model()
        batcher = batching.Batcher(model.detect, 8)
        first = await _busy(batcher, model)
        doomed = asyncio.create_task(batcher.detect([Pixels("b")], "x"))
        kept = asyncio.create_task(batcher.detect([Pixels("c")], "x"))
        await asyncio.sleep(0)
        doomed.cancel()
        await asyncio.wait([doomed])
        model.go.set()
        await asyncio.gather(first, kept)
        return model.batches

    assert [("a", "x"), ("c", "x")] == asyncio.run(story())


def test_one_failure_does_not_lose_the_others(batching):
    """A batch that fails goes again image by image."""

    async def story():
        model = Model(poison="c")
        model.go.set()
        batcher = batching.Batcher(model.detect, 8)
        jobs = [batcher.detect([Pixels(name)], "x") for name in "bcd"]
        return await asyncio.gather(*jobs, return_exceptions=True)

    before, poisoned, after = asyncio.run(story())

    assert (["B"], "poisoned", ["D"]) == (names(before), str(poisoned), names(after))


def test_the_model_runs_again_after_it_was_idle(batching):
    """The runner ends with the queue and starts with the next job."""

    async def story():
        model = Model()
        model.go.set()
        batcher = batching.Batcher(model.detect, 8)
        return [names(await batcher.detect([Pixels(name)], "x")) for name in "ab"]

    assert [["A"], ["B"]] == asyncio.run(story())
