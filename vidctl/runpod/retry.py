"""What is sent again, and what never is.

A request that changes something may have been accepted and its response lost, and a job that runs twice is paid
twice.  So a write is sent again only when it cannot have been accepted: no connection was made, or RunPod said 429.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Mapping
from types import TracebackType
from typing import Any, TypeVar

from urllib3 import BaseHTTPResponse
from urllib3.connectionpool import ConnectionPool
from urllib3.exceptions import MaxRetryError, ResponseError
from urllib3.util.retry import Retry

Answer = TypeVar("Answer")
_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 0.5, 30.0
_POLICY: Mapping[str, Any] = {
    "allowed_methods": None,
    "raise_on_status": False,
    "connect": 2,
    "backoff_factor": 0.3,
    "backoff_jitter": 0.3,
    "backoff_max": 10,
    "retry_after_max": 30,
}


class _Retry(Retry):
    """Gives the response back at once where the server asks for a longer wait than anybody would sit through."""

    def increment(
        self,
        method: str | None = None,
        url: str | None = None,
        response: BaseHTTPResponse | None = None,
        error: Exception | None = None,
        _pool: ConnectionPool | None = None,
        _stacktrace: TracebackType | None = None,
    ) -> _Retry:
        # The wait that is read is at most the longest one.
        if response is not None and _pool and self.get_retry_after(response) == self.retry_after_max:
            raise MaxRetryError(_pool, url, ResponseError("too long to wait"))
        return super().increment(method, url, response, error, _pool, _stacktrace)


class _RetryOn429(_Retry):
    """Otherwise any 503 and 413 with a Retry-After would be sent again too, whatever the list of statuses says."""

    RETRY_AFTER_STATUS_CODES = frozenset({429})


READS = _Retry(5, status_forcelist=(429, 500, 502, 503, 504), **_POLICY)
WRITES = _RetryOn429(5, read=0, other=0, status_forcelist=(429,), **_POLICY)
OFFERS = _Retry(2, read=0, other=0, respect_retry_after_header=False, **_POLICY)


def until_taken(
    offer: Callable[[], Answer],
    pause_of: Callable[[Exception], float | None],
    *,
    deadline: float,
    pause: Callable[[float], None],
) -> Answer:
    """What `offer` gives, offered again after a while where `pause_of` its error is not None, until the deadline.

    The pauses are what the server says, if it does, else ever longer; all are jittered, so that those who were refused
    together do not come back together.
    """
    longest_s = _FIRST_PAUSE_S
    while True:
        try:
            return offer()
        except Exception as error:  # noqa: PERF203  each is waited after
            said_s = pause_of(error)
            if said_s is None:
                raise
            wait_s = max(said_s, 0.0) + random.uniform(0.0, longest_s)  # noqa: S311  no secret
            if time.monotonic() + wait_s > deadline:
                raise
            longest_s = min(2 * longest_s, _LONGEST_PAUSE_S)
            pause(wait_s)
