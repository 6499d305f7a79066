"""Fetch what is behind a user's URL, without RunPod's key."""

from __future__ import annotations

import io
import time
from itertools import count
from queue import Empty, Queue
from threading import Thread
from typing import BinaryIO
from urllib.parse import urljoin, urlsplit

import requests
from urllib3.exceptions import HTTPError, InvalidHeader
from urllib3.util.retry import Retry

from vidctl.errors import MediaError
from vidctl.media.sources import is_safe
from vidctl.runpod.failures import cause, remedy, retry_hint
from vidctl.runpod.http import TIMEOUT_S, proxies, user_agent

_LIMIT_S = 600.0
_TRIES = 5
_LONGEST_WAIT_S = 30.0
_STEADY_BYTES_PER_S = 64_000  # less is a server that stalls
_TIMEOUT_HINT = "raise --timeout (timeout_s) to wait longer"
_MAX_IMAGE_BYTES = 200 * 1024 * 1024
_MAX_AUDIO_BYTES = 32 * 1024 * 1024 * 1024  # a video is also an audio file


def download(url: str, *, timeout_s: float = _LIMIT_S) -> bytes:
    """The bytes behind an image's URL, fetched without RunPod's key; raise MediaError."""
    file = io.BytesIO()
    download_into(url, file, most_bytes=_MAX_IMAGE_BYTES, timeout_s=timeout_s)
    return file.getvalue()


def download_into(url: str, file: BinaryIO, *, most_bytes: int = _MAX_AUDIO_BYTES, timeout_s: float = _LIMIT_S) -> None:
    """Write what is behind a URL into a file, fetched without RunPod's key; raise MediaError, also if it breaks off.

    Asked again on 429 and 503, when the server says if that is soon.  After `timeout_s` it is given up unless bytes
    come steadily: a large file may take long, and a server that drips may not.
    """
    deadline = time.monotonic() + timeout_s
    try:
        with _Downloads() as session, _offered(session, url, deadline) as response:
            _copy(response, file, most_bytes, timeout_s)
    except (requests.RequestException, HTTPError, UnicodeError, ValueError) as error:
        raise MediaError(f"download failed: {cause(error, url)}", hint=remedy(error, url)) from error


class _Downloads(requests.Session):
    """Follows no redirect from https to http, and none from this machine to http elsewhere."""

    def get_redirect_target(self, resp: requests.Response) -> str | None:
        location = super().get_redirect_target(resp)
        if location is None:
            return None
        target = urljoin(resp.url, location)
        if urlsplit(target).scheme != "https" and (urlsplit(resp.url).scheme == "https" or not is_safe(target)):
            raise MediaError("the server redirects to an address that is not https://")
        return location


def _offered(session: requests.Session, url: str, deadline: float) -> requests.Response:
    """The response, whose body is still to come."""
    for attempt in count():
        response = _open(session, url, deadline)
        if response.status_code not in (429, 503) or attempt == _TRIES - 1:
            break
        wait_s = _retry_after_s(response)
        wait_s = 0.5 * 2**attempt if wait_s is None else wait_s
        if wait_s > min(_LONGEST_WAIT_S, deadline - time.monotonic()):
            break
        response.close()
        time.sleep(wait_s)
    if not response.ok:
        response.close()
        hint = retry_hint(response) if response.status_code in (429, 503) else None
        raise MediaError(f"the server answered {response.status_code}", hint=hint)
    return response


def _retry_after_s(response: requests.Response) -> float | None:
    try:
        return Retry(0).get_retry_after(response.raw)
    except InvalidHeader:
        return None


def _open(session: requests.Session, url: str, deadline: float) -> requests.Response:
    """The head of a response, in time: sockets only time out between two bytes, so it is read in a thread."""
    outcome: Queue[requests.Response | Exception] = Queue()
    left_s = max(deadline - time.monotonic(), 0.1)
    timeout = (min(TIMEOUT_S[0], left_s), min(TIMEOUT_S[1], left_s))

    def ask() -> None:
        try:
            headers = {"User-Agent": user_agent()}
            outcome.put(session.get(url, timeout=timeout, stream=True, headers=headers, proxies=proxies(url)))
        except Exception as error:  # noqa: BLE001  raised where it is waited for
            outcome.put(error)

    Thread(target=ask, daemon=True).start()
    try:
        response = outcome.get(timeout=left_s + 1)  # the socket's own time-out says more
    except Empty:
        raise MediaError("download failed: timed out", hint=_TIMEOUT_HINT) from None
    if isinstance(response, Exception):
        raise response
    return response


def _copy(response: requests.Response, file: BinaryIO, most_bytes: int, timeout_s: float) -> None:
    """urllib3 raises if fewer bytes come than Content-Length promised."""
    written, started = 0, time.monotonic()
    while chunk := response.raw.read1(1 << 16, decode_content=True):
        written += len(chunk)
        if written > most_bytes:
            raise MediaError(f"larger than {most_bytes >> 20} MB")
        file.write(chunk)
        took_s = time.monotonic() - started
        if took_s > timeout_s and written < _STEADY_BYTES_PER_S * took_s:
            raise MediaError(
                f"download failed: timed out after {took_s:.0f} s with {written:,} bytes received",
                hint=_TIMEOUT_HINT,
            )
