"""RunPod's rate limits of the job API, per endpoint and operation: so many requests in 10 s, so many at once.

The numbers are those of RunPod docs, serverless/endpoints/send-requests.  What many workers add to them is not given
there in numbers, and not done here.
"""

from __future__ import annotations

import time
from collections import defaultdict, deque
from contextlib import contextmanager
from math import ceil
from typing import TYPE_CHECKING, NamedTuple

from vidctl.errors import LocalRuntimeError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

WINDOW_S = 10.0


class RateLimit(NamedTuple):
    """How many requests of an operation are taken in 10 s, and how many at once, where that is limited."""

    operation: str
    rate: int
    at_once: int | None = None


RUN = RateLimit("/run", 1000, 200)
RUNSYNC = RateLimit("/runsync", 2000, 400)
STATUS = RateLimit("/status", 2000, 400)
STREAM = RateLimit("/stream", 2000, 400)
CANCEL = RateLimit("/cancel", 100, 20)
PURGE = RateLimit("/purge-queue", 2)
OPENAI = RateLimit("/openai", 2000, 400)


class TooManyRequestsError(LocalRuntimeError):
    """One request too many; answered with HTTP 429."""

    def __init__(self, message: str, *, retry_after_s: int) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


class RateLimits:
    """Counts the requests that were taken."""

    def __init__(self, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._taken: dict[tuple[str, str], deque[float]] = defaultdict(deque)
        self._now: dict[tuple[str, str], int] = defaultdict(int)

    @contextmanager
    def one(self, endpoint_id: str, limit: RateLimit) -> Iterator[None]:
        """One request, from its beginning to its end; raise TooManyRequestsError for one that is over a limit."""
        key = (endpoint_id, limit.operation)
        taken, now = self._taken[key], self._clock()
        while taken and taken[0] <= now - WINDOW_S:
            taken.popleft()
        if len(taken) >= limit.rate:
            message = f"rate limited (429): RunPod accepts {limit.rate} {limit.operation} requests in 10 s"
            raise TooManyRequestsError(f"{message}{_OFF}", retry_after_s=ceil(taken[0] + WINDOW_S - now))
        if limit.at_once is not None and self._now[key] >= limit.at_once:
            message = f"rate limited (429): RunPod accepts {limit.at_once} {limit.operation} requests at a time"
            raise TooManyRequestsError(f"{message}{_OFF}", retry_after_s=1)
        taken.append(now)
        self._now[key] += 1
        try:
            yield
        finally:
            self._now[key] -= 1


_OFF = " (for a load test: vidctl local up --no-rate-limits)"
