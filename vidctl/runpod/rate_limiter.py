"""Hold requests back before RunPod refuses them: its rate limits, kept by the caller."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from threading import BoundedSemaphore, Lock

from vidctl.runpod.limits import RATE_WINDOW_S, RateLimit

# Requests that were sent evenly arrive unevenly: the window is longer here than there.
_WINDOW_S = RATE_WINDOW_S + 0.5


class RateLimiter:
    """Lets one endpoint's requests of one operation go as its limit allows; safe to use in threads.

    What many workers add to the limits is not published in numbers (RunPod docs, serverless/endpoints/send-requests),
    so the base is held: it always holds.
    """

    def __init__(self, limit: RateLimit, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = Lock()
        self._starts: deque[float] = deque(maxlen=limit.rate)
        self._places = BoundedSemaphore(limit.at_once or limit.rate)

    @contextmanager
    def one(self, pause: Callable[[float], None] = time.sleep) -> Iterator[None]:
        """One request, from its beginning to its end, begun when it may be; `pause` waits, and may raise instead."""
        if (wait_s := self.reserve()) > 0.0:
            pause(wait_s)
        with self._places:
            yield

    def reserve(self) -> float:
        """Take the next place in time; in how many seconds that is."""
        with self._lock:
            now = self._clock()
            start = now
            if len(self._starts) == self._starts.maxlen:
                start = max(now, self._starts[0] + _WINDOW_S)
            self._starts.append(start)
            return start - now
