"""RunPod's rate limits of the job API, per endpoint and operation: so many requests in 10 s, so many at once.

What many workers add to them RunPod does not give in numbers, and is not done here.
"""

from __future__ import annotations

import time
from collections import defaultdict, deque
from contextlib import contextmanager
from math import ceil
from typing import TYPE_CHECKING

from vidctl.errors import LocalRuntimeError
from vidctl.runpod.limits import RATE_WINDOW_S

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from vidctl.runpod.limits import RateLimit


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
        while taken and taken[0] <= now - RATE_WINDOW_S:
            taken.popleft()
        if len(taken) >= limit.rate:
            message = f"rate limited (429): RunPod accepts {limit.rate} {limit.operation} requests in 10 s"
            raise TooManyRequestsError(f"{message}{_OFF}", retry_after_s=ceil(taken[0] + RATE_WINDOW_S - now))
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
