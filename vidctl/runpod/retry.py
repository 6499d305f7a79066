"""What is sent again, and what never is.

A request that changes something may have been accepted and its response lost, and a job that runs twice is paid
twice.  So a write is sent again only when it cannot have been accepted: no connection was made, or RunPod said 429.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import TracebackType
from typing import Any

from urllib3 import BaseHTTPResponse
from urllib3.connectionpool import ConnectionPool
from urllib3.exceptions import MaxRetryError, ResponseError
from urllib3.util.retry import Retry

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
