# Copied from workers/_shared/download.py by `make sync-workers`: edit it there.
"""Fetch what a caller's URL names, by RunPod's guarded download."""

from __future__ import annotations

import os
import sys
from contextlib import contextmanager
from time import monotonic
from typing import IO, TYPE_CHECKING, Any
from urllib.parse import urlsplit

from badinput import BadInput
from requests import RequestException
from runpod.serverless.utils.rp_ssrf import SSRFError, iter_content_capped, safe_get

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    Stopped = Callable[[], bool]

_CHUNK_BYTES = 1 << 18
# What the SDK's guard means; its sentences name addresses inside the worker's network.
_REFUSALS = {
    "non-public address": "is not on the public internet",
    "could not resolve": "names a host that cannot be found",
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
    """Write a URL's bytes into `file`; raise BadInput with a sentence that begins with `what` ("the image's URL").

    The SDK's guard refuses addresses inside the worker's own network.  It ends after `timeout_s` or when `stopped` says
    so, at the server's next byte or at most `silence_s` later.  Plain http, also after a redirect, is for
    RUNPOD_ALLOW_PRIVATE_DOWNLOAD_URLS only, the SDK's switch for a worker among its own servers.
    Source: runpod-python 1.12 serverless/utils/rp_ssrf.py.
    """
    _require_https(url, f"{what} must be https://")
    try:
        with _within(timeout_s, stopped), safe_get(url, timeout=silence_s, max_bytes=max_bytes) as response:
            _require_https(response.url, f"{what} leads to one that is not https://")
            if response.status_code != 200:
                raise BadInput(f"{what} answered {response.status_code}")
            for chunk in iter_content_capped(response, _CHUNK_BYTES, max_bytes):
                file.write(chunk)
    except _Over as error:
        raise BadInput(f"{what} {error}") from error
    except SSRFError as error:
        raise BadInput(f"{what} {_refused(str(error), max_bytes)}") from error
    except (RequestException, ValueError, OSError) as error:
        if isinstance(error, BadInput):
            raise
        raise BadInput(f"{what} cannot be fetched") from error


def _require_https(url: str, refusal: str) -> None:
    allows_http = os.environ.get("RUNPOD_ALLOW_PRIVATE_DOWNLOAD_URLS", "").lower() in ("1", "true", "yes")
    if urlsplit(url).scheme.lower() != "https" and not allows_http:
        raise BadInput(refusal)


def _refused(why: str, max_bytes: int) -> str:
    if "size cap" in why:
        return f"is over {max_bytes // 1_000_000} MB"
    return next((sentence for words, sentence in _REFUSALS.items() if words in why), "cannot be fetched safely")


class _Over(BaseException):
    """Not an Exception: requests and the SDK would take it for a broken connection and try the next address."""


@contextmanager
def _within(seconds: float, stopped: Stopped) -> Iterator[None]:
    """Raise _Over from whatever this thread is in when the time is up, or when `stopped` says so.

    Python's sockets time out between two bytes only, so a server that drips holds on for as long as it likes.  A trace
    sees each call of a Python function in this thread, and every read of a socket is one.
    """
    deadline = monotonic() + seconds

    def check(*_: Any) -> None:
        if stopped():
            raise _Over("was given up: the job is cancelled")
        if monotonic() > deadline:
            raise _Over(f"took longer than {seconds} s")

    before = sys.gettrace()
    sys.settrace(check)
    try:
        yield
    finally:
        sys.settrace(before)
