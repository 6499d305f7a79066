"""The one place that speaks HTTP: what is sent again, what never is, and what each failure is called.

A request that changes something may have been accepted and its response lost, and a job that runs twice is paid
twice.  So a write is sent again only when it cannot have been accepted: no connection was made, or RunPod said 429.
"""

from __future__ import annotations

import io
import json
import os
import re
import time
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import count
from queue import Empty, Queue
from threading import Thread
from types import TracebackType
from typing import Any, BinaryIO
from urllib.parse import urljoin, urlsplit

import requests
from requests.adapters import HTTPAdapter
from urllib3 import BaseHTTPResponse
from urllib3.connectionpool import ConnectionPool
from urllib3.exceptions import (
    ConnectTimeoutError,
    HTTPError,
    InvalidHeader,
    MaxRetryError,
    NewConnectionError,
    ResponseError,
)
from urllib3.util.retry import Retry

from vidctl import __version__
from vidctl.errors import (
    ApiError,
    AuthError,
    MediaError,
    NetworkError,
    NotDeployedError,
    RetiredError,
    UnansweredError,
    VidctlError,
)
from vidctl.media.sources import is_safe
from vidctl.text import SENTENCE, one_line, without_secrets

_TIMEOUT_S = (10, 60)  # to connect, between two bytes
_DOWNLOAD_S = 600.0
_DOWNLOAD_TRIES = 5
_LONGEST_WAIT_S = 30.0
_STEADY_BYTES_PER_S = 64_000  # less is a server that stalls
_TIMEOUT_HINT = "raise --timeout (timeout_s) to wait longer"
_GLANCE_S = (3, 3)
_MOST_SEEN = 1024 * 1024
_MAX_IMAGE_BYTES = 200 * 1024 * 1024
_MAX_AUDIO_BYTES = 32 * 1024 * 1024 * 1024  # a video is also an audio file

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


_READS = _Retry(5, status_forcelist=(429, 500, 502, 503, 504), **_POLICY)
_WRITES = _RetryOn429(5, read=0, other=0, status_forcelist=(429,), **_POLICY)


class HttpError(ApiError):
    """A refusal with what the server gave as its reason, {} when that was no JSON object."""

    code = "http_error"

    def __init__(self, message: str, *, reason: Mapping[str, Any], status: int, hint: str | None = None) -> None:
        super().__init__(message, hint=hint, status=status)
        self.reason = reason


class Http:
    """JSON over HTTP with one key, which is sent in the Authorization header only.  Safe to use in threads."""

    def __init__(self, api_key: str) -> None:
        self._reads = _session(_READS, api_key)
        self._writes = _session(_WRITES, api_key)
        self._streams = _session(Retry(0, raise_on_status=False), api_key)

    def read(self, method: str, url: str, *, body: Any = None) -> Any:
        """Ask for something; sent again on 429, 5xx and a broken connection."""
        return self._exchange(self._reads, method, url, body)

    def write(self, method: str, url: str, *, body: Any = None) -> Any:
        """Change something; raise NetworkError, and do not try again, when the response was lost."""
        return self._exchange(self._writes, method, url, body)

    def lines(self, url: str, *, params: Mapping[str, str], max_s: float, max_bytes: int) -> tuple[str, ...]:
        """The lines of a response that may never end: those of `max_s` seconds (twice, if they drip), or `max_bytes`.

        A connection that breaks in the middle has given what it has given; the last line may be cut.
        """
        deadline = time.monotonic() + max_s
        try:
            with self._streams.get(
                url,
                params=params,
                headers={"Accept": "text/event-stream"},
                timeout=(_TIMEOUT_S[0], max_s),
                allow_redirects=False,
                proxies=_proxies(url),
                stream=True,
            ) as response:
                if not response.ok or response.is_redirect:
                    raise _refusal(response)
                data = _until(deadline, response, max_bytes)
        except (requests.RequestException, UnicodeError, ValueError) as error:
            raise _unreachable(url, error) from error
        return tuple(line.removesuffix("\r") for line in data.decode(errors="replace").split("\n"))

    def _exchange(self, session: requests.Session, method: str, url: str, body: Any) -> Any:
        try:
            response = session.request(
                method, url, json=body, timeout=_TIMEOUT_S, allow_redirects=False, proxies=_proxies(url)
            )
        except (requests.RequestException, UnicodeError, ValueError) as error:
            raise _unreachable(url, error) from error
        if not response.ok or response.is_redirect:
            raise _refusal(response)
        return _json(response)


def _until(deadline: float, response: requests.Response, max_bytes: int) -> bytes:
    """What comes before the deadline, before a silence as long as the read timeout, or before the connection ends."""
    data = bytearray()
    while len(data) < max_bytes and time.monotonic() < deadline:
        try:
            chunk = response.raw.read1(max_bytes - len(data), decode_content=True)
        except (HTTPError, OSError):
            break
        if not chunk:
            break
        data += chunk
    return bytes(data)


@dataclass(frozen=True)
class ProbeResponse:
    """What a server that is not RunPod's answers; `document` is None where it is no JSON."""

    status: int
    headers: Mapping[str, str]
    document: Any = None


def probe(url: str, headers: Mapping[str, str]) -> ProbeResponse | None:
    """Ask once, without RunPod's key and not for long; None where nothing comes."""
    try:
        with requests.get(
            url, headers={"User-Agent": _user_agent(), **headers}, timeout=_GLANCE_S, stream=True
        ) as response:
            body = response.raw.read(_MOST_SEEN, decode_content=True)
    except (requests.RequestException, HTTPError, OSError):
        return None
    try:
        document = json.loads(body)
    except ValueError:
        document = None
    return ProbeResponse(response.status_code, response.headers, document)


def download(url: str, *, timeout_s: float = _DOWNLOAD_S) -> bytes:
    """The bytes behind an image's URL, fetched without RunPod's key; raise MediaError."""
    file = io.BytesIO()
    download_into(url, file, most_bytes=_MAX_IMAGE_BYTES, timeout_s=timeout_s)
    return file.getvalue()


def download_into(
    url: str, file: BinaryIO, *, most_bytes: int = _MAX_AUDIO_BYTES, timeout_s: float = _DOWNLOAD_S
) -> None:
    """Write what is behind a URL into a file, fetched without RunPod's key; raise MediaError, also if it breaks off.

    Asked again on 429 and 503, when the server says if that is soon.  After `timeout_s` it is given up unless bytes
    come steadily: a large file may take long, and a server that drips may not.
    """
    deadline = time.monotonic() + timeout_s
    try:
        with _Downloads() as session, _offered(session, url, deadline) as response:
            _copy(response, file, most_bytes, timeout_s)
    except (requests.RequestException, HTTPError, UnicodeError, ValueError) as error:
        raise MediaError(f"download failed: {_cause(error, url)}", hint=_remedy(error, url)) from error


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
        if response.status_code not in (429, 503) or attempt == _DOWNLOAD_TRIES - 1:
            break
        wait_s = _retry_after_s(response)
        wait_s = 0.5 * 2**attempt if wait_s is None else wait_s
        if wait_s > min(_LONGEST_WAIT_S, deadline - time.monotonic()):
            break
        response.close()
        time.sleep(wait_s)
    if not response.ok:
        response.close()
        hint = _when(response) if response.status_code in (429, 503) else None
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
    timeout = (min(_TIMEOUT_S[0], left_s), min(_TIMEOUT_S[1], left_s))

    def ask() -> None:
        try:
            headers = {"User-Agent": _user_agent()}
            outcome.put(session.get(url, timeout=timeout, stream=True, headers=headers, proxies=_proxies(url)))
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


def _session(retry: Retry, api_key: str) -> requests.Session:
    session = requests.Session()
    adapter = HTTPAdapter(max_retries=retry, pool_maxsize=32)
    session.mount("https://", adapter)
    session.mount("http://", adapter)
    session.auth = _Bearer(api_key)
    session.headers["User-Agent"] = _user_agent()
    return session


class _Bearer(requests.auth.AuthBase):
    """An explicit auth object, so that requests does not look for another key in ~/.netrc."""

    def __init__(self, api_key: str) -> None:
        self._api_key = api_key

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        request.headers["Authorization"] = f"Bearer {self._api_key}"
        return request


def _proxies(url: str) -> dict[str, str] | None:
    """A proxy of the environment's must not be asked for this machine's own addresses."""
    host = urlsplit(url).hostname or ""
    return {"no_proxy": host} if host in ("localhost", "127.0.0.1", "::1") else None


def _user_agent() -> str:
    return f"vidctl/{__version__}"


def _json(response: requests.Response) -> Any:
    if not response.content:
        return None
    try:
        return json.loads(response.content)
    except (ValueError, RecursionError) as error:
        raise ApiError(
            f"{_host(response.url)} answered {response.status_code}: invalid JSON",
            hint="check RUNPOD_API_BASE_URL and RUNPOD_ENDPOINT_BASE_URL; a proxy may be in between",
            status=response.status_code,
        ) from error


def _refusal(response: requests.Response) -> VidctlError:
    host, status, reason = _host(response.url), response.status_code, _reason(response)
    detail = _detail(reason)
    match status:
        case 403 if response.content.lstrip().startswith(b"<"):
            # RunPod says in JSON why a key may not do something (runpod.md §2.2); a firewall answers with a page.
            return ApiError(
                f"{host} answered 403 without a reason from RunPod: a firewall or a proxy may be in between",
                hint="check HTTPS_PROXY, and that this network may reach the address",
                status=status,
            )
        case 401 | 403:
            return AuthError(
                f"{host} rejected the API key ({status}{detail})",
                hint="check RUNPOD_API_KEY: it may be wrong, revoked, or without access to this endpoint",
                status=status,
            )
        case 404:
            return NotDeployedError(f"{host}: {urlsplit(response.url).path} not found{detail}", status=status)
        case 410:
            return RetiredError(f"{host}: this API was retired (410)", hint="upgrade vidctl", status=status)
        case 402:
            return HttpError(
                f"{host}: payment required (402{detail})",
                reason=reason,
                hint="add credit at console.runpod.io/user/billing, then run the same command again",
                status=status,
            )
        case 429:
            return ApiError(f"{host}: rate limited (429)", hint=_when(response), status=status)
        case _:
            return HttpError(
                f"{host} answered {status}{detail}", reason=reason, hint=_request_id(response), status=status
            )


def _when(response: requests.Response) -> str:
    """How long to wait: in seconds, or until a date, as Retry-After may say (RFC 9110, 10.2.3)."""
    after = one_line(response.headers.get("Retry-After", ""), 40)
    if after.isdecimal():
        return f"try again in {after} s"
    return f"try again after {after}" if after else "try again in a minute"


def _reason(response: requests.Response) -> Mapping[str, Any]:
    try:
        body = json.loads(response.content)
    except (ValueError, RecursionError):
        return {}
    return body if isinstance(body, dict) else {}


def _detail(reason: Mapping[str, Any]) -> str:
    """The server's own sentence, when it gave one; the job API documents no shape for it."""
    keys = ("error", "message", "detail", "title")
    words = next((reason[key] for key in keys if isinstance(reason.get(key), str)), "")
    return f": {one_line(words, SENTENCE)}" if words else ""


def _request_id(response: requests.Response) -> str | None:
    """What RunPod's support asks for, when the failure is RunPod's own."""
    request_id = response.headers.get("x-request-id")
    if response.status_code < 500 or not request_id:
        return None
    return f"give RunPod's support the request id {one_line(request_id, 80)}"


def _unreachable(url: str, error: Exception) -> NetworkError:
    kind = NetworkError if _never_left(error) else UnansweredError
    hint = _remedy(error, url) or "check the network and the base URLs"
    if "Failed to resolve" in str(error):
        hint = "check the network, and RUNPOD_API_BASE_URL and RUNPOD_ENDPOINT_BASE_URL if they are set"
    return kind(f"{_host(url)}: {_cause(error, url)}", hint=hint)


def _never_left(error: Exception) -> bool:
    """No connection was made, so nothing was sent."""
    reason = getattr(error.args[0], "reason", None) if error.args else None
    return isinstance(error, requests.ConnectTimeout) or isinstance(reason, (NewConnectionError, ConnectTimeoutError))


def _cause(error: BaseException, url: str) -> str:
    """The innermost reason in words; the outer ones repeat URLs and object addresses."""
    text = str(error)
    if proxy := _proxy_of(error, url):
        refused = re.search(r"Tunnel connection failed: (\d+)", text)
        why = f"refused ({refused[1]})" if refused else "cannot be used"
        return f"proxy {_host(without_secrets(proxy[1]))} {why}"
    if isinstance(error, requests.Timeout):
        return "timed out"
    for sign, words in _CAUSES.items():
        if sign in text:
            return words
    return "connection failed"


_CAUSES = {
    "Connection refused": "connection refused",
    "NameResolution": "host not found",
    "Failed to resolve": "host not found",
    "self-signed": "self-signed certificate",
    "self signed": "self-signed certificate",
    "Hostname mismatch": "certificate is for another host",
    "IP address mismatch": "certificate is for another host",
    "certificate has expired": "certificate has expired",
    "CERTIFICATE_VERIFY_FAILED": "certificate cannot be verified",
    "WRONG_VERSION_NUMBER": "not a TLS server",
    "Connection reset": "connection reset before a response",
    "RemoteDisconnected": "connection closed before a response",
    "IncompleteRead": "connection closed in the middle of the response",
    "timed out": "timed out",
}


def _remedy(error: BaseException, url: str) -> str | None:
    """What changes the cause, where a variable of the environment does."""
    text = str(error)
    if proxy := _proxy_of(error, url):
        return f"{proxy[0]} sets it; set NO_PROXY={urlsplit(url).hostname} to bypass it"
    if "self-signed" in text or "self signed" in text or "unable to get local issuer" in text:
        return "set REQUESTS_CA_BUNDLE=FILE.pem to trust its certificates, such as that of a proxy in your network"
    return None


def _proxy_of(error: BaseException, url: str) -> tuple[str, str] | None:
    """The variable that names the proxy which failed, and its address."""
    if not isinstance(error, requests.exceptions.ProxyError) and "proxy" not in str(error).lower():
        return None
    names = (
        name for scheme in (urlsplit(url).scheme, "all") for name in (f"{scheme}_proxy", f"{scheme}_PROXY".upper())
    )
    found = next(((name, value) for name in names if (value := os.environ.get(name))), None)
    if not found:
        return None
    name, address = found
    return name, address if "://" in address else f"http://{address}"


def _host(url: str) -> str:
    return urlsplit(url).netloc or url
