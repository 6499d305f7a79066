# Copied from workers/_shared/download.py by `make sync-workers`: edit it there.
"""Download a caller's URL, by RunPod's guarded download."""

from __future__ import annotations

import os
import sys
from contextlib import contextmanager
from email.utils import parsedate_to_datetime
from time import monotonic, sleep, time
from typing import IO, TYPE_CHECKING, Any
from urllib.parse import urlsplit

from badinput import BadInputError
from requests import RequestException
from runpod.serverless.utils.rp_ssrf import SSRFError, iter_content_capped, safe_get

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    Stopped = Callable[[], bool]

_CHUNK_BYTES = 1 << 18
_TRIES = 5
_LONGEST_WAIT_S = 30.0
# What the SDK's guard means; its sentences name addresses inside the worker's network.
_REFUSALS = {
    "non-public address": "is not on the public internet",
    "could not resolve": "has a host that was not found",
}


def _never() -> bool:
    return False


def is_url(value: Any) -> bool:
    return isinstance(value, str) and value[:8].lower().startswith(("http://", "https://"))


def download(
    url: str,
    file: IO[bytes],
    *,
    what: str,
    max_bytes: int,
    timeout_s: float,
    silence_s: float,
    stopped: Stopped = _never,
) -> None:
    """Write a URL's bytes into `file`; raise BadInputError with a sentence that begins with `what` ("the image's URL").

    The SDK's guard refuses addresses inside the worker's own network.  It ends after `timeout_s` or when `stopped` says
    so, at the server's next byte or at most `silence_s` later; on 429 and 503 it retries, when the server says if that
    is soon.  Plain http is for RUNPOD_ALLOW_PRIVATE_DOWNLOAD_URLS only, the SDK's switch for a worker among its
    own servers, and no redirect from https goes there.
    Source: runpod-python 1.12 serverless/utils/rp_ssrf.py.
    """
    _require_https(url, f"{what} must be https://")
    try:
        with _within(timeout_s, stopped), _response(url, silence_s, max_bytes) as response:
            if _scheme(url) == "https" != _scheme(response.url):
                raise BadInputError(f"{what} redirects to one that is not https://")
            _require_https(response.url, f"{what} redirects to one that is not https://")
            if response.status_code != 200:
                raise BadInputError(f"{what} returned HTTP {response.status_code}")
            for chunk in iter_content_capped(response, _CHUNK_BYTES, max_bytes):
                file.write(chunk)
    except _Aborted as error:
        raise BadInputError(f"{what} {error}") from error
    except SSRFError as error:
        raise BadInputError(f"{what} {_refusal(str(error), max_bytes)}") from error
    except (RequestException, ValueError, OSError) as error:
        if isinstance(error, BadInputError):
            raise
        raise BadInputError(f"{what} cannot be downloaded") from error


def _response(url: str, silence_s: float, max_bytes: int) -> Any:
    """The response, its body not read yet; the last one of a server that is too busy."""
    for attempt in range(_TRIES):
        response = safe_get(url, timeout=silence_s, max_bytes=max_bytes)
        wait_s = _retry_after_s(response.headers.get("Retry-After", ""), 0.5 * 2**attempt)
        if response.status_code not in (429, 503) or attempt == _TRIES - 1 or wait_s > _LONGEST_WAIT_S:
            break
        response.close()
        until = monotonic() + wait_s
        while monotonic() < until:
            _sleep(min(0.1, until - monotonic()))
    return response


def _retry_after_s(after: str, otherwise: float) -> float:
    """What Retry-After says: seconds, or a date (RFC 9110, 10.2.3)."""
    if after.strip().isdecimal():
        return float(after)
    try:
        return max(parsedate_to_datetime(after).timestamp() - time(), 0.0)
    except (TypeError, ValueError):
        return otherwise


def _sleep(seconds: float) -> None:
    """A call in Python, which `_within` sees."""
    sleep(max(seconds, 0.0))


def _scheme(url: str) -> str:
    return urlsplit(url).scheme.lower()


def _require_https(url: str, refusal: str) -> None:
    allows_http = os.environ.get("RUNPOD_ALLOW_PRIVATE_DOWNLOAD_URLS", "").lower() in ("1", "true", "yes")
    if _scheme(url) != "https" and not allows_http:
        raise BadInputError(refusal)


def _refusal(why: str, max_bytes: int) -> str:
    if "size cap" in why:
        return f"is over {max_bytes // 1_000_000} MB"
    return next((sentence for words, sentence in _REFUSALS.items() if words in why), "cannot be downloaded safely")


class _Aborted(BaseException):
    """Not an Exception: requests and the SDK would take it for a broken connection and try the next address."""


@contextmanager
def _within(seconds: float, stopped: Stopped) -> Iterator[None]:
    """Raise _Aborted from whatever this thread is in when the time is up, or when `stopped` says so.

    Python's sockets time out between two bytes only, so a server that drips, its headers even, holds on for as long as
    it likes.  The SDK's guard opens the sockets and gives out none before the headers are there, so no other thread
    could close it, and one that downloads and is left behind would be held as long.  A trace sees each call of a Python
    function in this thread, and every read of a socket is one; it costs 6 ms and 1 ms a megabyte.
    """
    deadline = monotonic() + seconds

    def check(*_: Any) -> None:
        if stopped():
            raise _Aborted("was aborted: the job was cancelled")
        if monotonic() > deadline:
            raise _Aborted(f"took longer than {seconds} s")

    before = sys.gettrace()
    sys.settrace(check)
    try:
        yield
    finally:
        sys.settrace(before)
