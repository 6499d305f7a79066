"""Jobs in flight share batches: what waits while one batch runs makes the next.  Nothing waits for company."""

from __future__ import annotations

import asyncio
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from time import perf_counter
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import numpy as np
    from jobinput import Options
    from numpy.typing import NDArray

    Detect = Callable[[list[NDArray[np.uint8]], Options], list[NDArray[np.float32]]]


@dataclass(frozen=True)
class Found:
    """The rows of one image (x1, y1, x2, y2, confidence, class), and the seconds it waited and took of its batch."""

    rows: NDArray[np.float32]
    queued_s: float
    share_s: float


@dataclass(frozen=True, eq=False)
class _Waiting:
    pixels: NDArray[np.uint8]
    options: Options
    since: float
    found: asyncio.Future[Found]

    @property
    def group(self) -> tuple[Any, ...]:
        # Images of one shape only: beside another shape an image would be padded differently and answer differently.
        return (self.options, self.pixels.shape)


class Batcher:
    """Runs `detect` on one thread, at most `max_batch` images at a time.  Use it within one event loop."""

    def __init__(self, detect: Detect, max_batch: int) -> None:
        self._detect = detect
        self._max_batch = max_batch
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="model")
        self._waiting: deque[_Waiting] = deque()
        self._runner: asyncio.Task[None] | None = None

    async def detect(self, images: Sequence[NDArray[np.uint8]], options: Options) -> list[Found]:
        """Detect in all images of a job; cancelled, it takes those that still wait out of the queue."""
        loop = asyncio.get_running_loop()
        now = perf_counter()
        mine = [_Waiting(pixels, options, now, loop.create_future()) for pixels in images]
        self._waiting.extend(mine)
        if self._runner is None or self._runner.done():
            self._runner = loop.create_task(self._run())
        return await asyncio.gather(*(one.found for one in mine))

    async def _run(self) -> None:
        while batch := self._next_batch():
            await self._answer(batch)

    def _next_batch(self) -> list[_Waiting]:
        """Take the longest waiting image and those behind it that can share its batch."""
        batch: list[_Waiting] = []
        others: deque[_Waiting] = deque()
        while self._waiting and len(batch) < self._max_batch:
            one = self._waiting.popleft()
            if one.found.done():
                continue
            (batch if not batch or one.group == batch[0].group else others).append(one)
        self._waiting.extendleft(reversed(others))
        return batch

    async def _answer(self, batch: list[_Waiting]) -> None:
        started = perf_counter()
        call = asyncio.get_running_loop().run_in_executor(
            self._thread, self._detect, [one.pixels for one in batch], batch[0].options
        )
        (outcome,) = await asyncio.gather(call, return_exceptions=True)
        if isinstance(outcome, BaseException):
            await self._answer_failed(batch, outcome)
            return
        share_s = (perf_counter() - started) / len(batch)
        for one, rows in zip(batch, outcome, strict=True):
            if not one.found.done():
                one.found.set_result(Found(rows, started - one.since, share_s))

    async def _answer_failed(self, batch: list[_Waiting], error: BaseException) -> None:
        """One image must not lose the others their answers: each goes again alone."""
        if len(batch) > 1:
            for one in batch:
                await self._answer([one])
        elif not batch[0].found.done():
            batch[0].found.set_exception(error)
