"""Speak HTTP with RunPod, with one key: reads, writes, and streams that are read for a while."""

from __future__ import annotations

import codecs
import json
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import requests
from requests.adapters import HTTPAdapter
from urllib3.exceptions import HTTPError
from urllib3.util.retry import Retry

from vidctl import __version__
from vidctl.errors import ApiError
from vidctl.runpod.failures import connection_error, host_of, response_error
from vidctl.runpod.retry import OFFERS, READS, WRITES

TIMEOUT_S = (10, 60)  # to connect, between two bytes
_GLANCE_S = (3, 3)
# What stands before RunPod cuts a silent connection after about 100 s (runpod.md §4.4).
_SILENCE_S = 90
_PIECE = 64 * 1024
_MOST_SEEN = 1024 * 1024
_CONNECTIONS = 64  # kept open; jobs in flight are seldom more


class Http:
    """JSON over HTTP with one key, which is sent in the Authorization header only.  Safe to use in threads."""

    def __init__(self, api_key: str) -> None:
        self._reads = _session(READS, api_key)
        self._writes = _session(WRITES, api_key)
        self._offers = _session(OFFERS, api_key)
        self._streams = _session(Retry(0, raise_on_status=False), api_key)

    def read(self, method: str, url: str, *, body: Any = None) -> Any:
        """Ask for something; sent again on 429, 5xx and a broken connection."""
        return self._exchange(self._reads, method, url, body)

    def write(self, method: str, url: str, *, body: Any = None) -> Any:
        """Change something; raise NetworkError, and do not try again, when the response was lost."""
        return self._exchange(self._writes, method, url, body)

    def offer(self, method: str, url: str, *, body: Any = None) -> Any:
        """The same, and a 429 is the caller's to wait for: raise ApiError."""
        return self._exchange(self._offers, method, url, body)

    def stream(self, url: str, *, params: Mapping[str, str], max_s: float, max_bytes: int) -> str:
        """The text of a response that may never end: that of `max_s` seconds (twice, if it drips), or `max_bytes`.

        A connection that breaks in the middle has given what it has given, cut anywhere.
        """
        deadline = time.monotonic() + max_s
        with self._open_stream(url, params, max_s) as response:
            return _until(deadline, response, max_bytes).decode(errors="replace")

    def follow(self, url: str, *, params: Mapping[str, str], last_event_id: str | None = None) -> Iterator[str]:
        """The text of a response that may never end, as it comes: first "" once there is one.

        It ends with the connection, however that ends.  `last_event_id` is where one broke off that is gone on with.
        """
        with self._open_stream(url, params, _SILENCE_S, last_event_id) as response:
            yield ""
            decoder = codecs.getincrementaldecoder("utf-8")("replace")
            while data := _piece(response, _PIECE):
                yield decoder.decode(data)

    def _open_stream(
        self, url: str, params: Mapping[str, str], silence_s: float, last_event_id: str | None = None
    ) -> requests.Response:
        headers = {"Accept": "text/event-stream"} | ({"Last-Event-ID": last_event_id} if last_event_id else {})
        try:
            response = self._streams.get(
                url,
                params=params,
                headers=headers,
                timeout=(TIMEOUT_S[0], silence_s),
                allow_redirects=False,
                proxies=proxies(url),
                stream=True,
            )
            if response.ok and not response.is_redirect:
                return response
            with response:
                raise response_error(response)
        except (requests.RequestException, UnicodeError, ValueError) as error:
            raise connection_error(url, error) from error

    def _exchange(self, session: requests.Session, method: str, url: str, body: Any) -> Any:
        try:
            response = session.request(
                method, url, json=body, timeout=TIMEOUT_S, allow_redirects=False, proxies=proxies(url)
            )
        except (requests.RequestException, UnicodeError, ValueError) as error:
            raise connection_error(url, error) from error
        if not response.ok or response.is_redirect:
            raise response_error(response)
        return _json(response)


def _until(deadline: float, response: requests.Response, max_bytes: int) -> bytes:
    """What comes before the deadline, before a silence as long as the read timeout, or before the connection ends."""
    data = bytearray()
    while len(data) < max_bytes and time.monotonic() < deadline:
        if not (chunk := _piece(response, max_bytes - len(data))):
            break
        data += chunk
    return bytes(data)


def _piece(response: requests.Response, max_bytes: int) -> bytes:
    """What has come by now, at least a byte; none where the connection ended, or was silent for too long."""
    try:
        return bytes(response.raw.read1(max_bytes, decode_content=True))
    except (HTTPError, OSError):
        return b""


@dataclass(frozen=True)
class ProbeResponse:
    """What a server that is not RunPod's answers; `document` is None where it is no JSON."""

    status: int
    headers: Mapping[str, str]
    document: Any = None


def probe(
    url: str, headers: Mapping[str, str], *, method: str = "GET", form: Mapping[str, str] | None = None
) -> ProbeResponse | None:
    """Ask once, without RunPod's key and not for long; None where nothing comes."""
    try:
        with requests.request(
            method,
            url,
            headers={"User-Agent": user_agent(), **headers},
            data=form,
            auth=_as_it_is,
            timeout=_GLANCE_S,
            allow_redirects=method in ("GET", "HEAD"),
            proxies=proxies(url),
            stream=True,
        ) as response:
            body = response.raw.read(_MOST_SEEN, decode_content=True)
    except (requests.RequestException, HTTPError, OSError):
        return None
    try:
        document = json.loads(body)
    except ValueError:
        document = None
    return ProbeResponse(response.status_code, response.headers, document)


def _as_it_is(request: requests.PreparedRequest) -> requests.PreparedRequest:
    """The request without what requests would take from ~/.netrc for its host, over its own headers."""
    return request


def _session(retry: Retry, api_key: str) -> requests.Session:
    session = requests.Session()
    adapter = HTTPAdapter(max_retries=retry, pool_maxsize=_CONNECTIONS)
    session.mount("https://", adapter)
    session.mount("http://", adapter)
    session.auth = _Bearer(api_key)
    session.headers["User-Agent"] = user_agent()
    return session


class _Bearer(requests.auth.AuthBase):
    """An explicit auth object, so that requests does not look for another key in ~/.netrc."""

    def __init__(self, api_key: str) -> None:
        self._api_key = api_key

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        request.headers["Authorization"] = f"Bearer {self._api_key}"
        return request


def proxies(url: str) -> dict[str, str] | None:
    """A proxy of the environment's must not be asked for this machine's own addresses."""
    host = urlsplit(url).hostname or ""
    return {"no_proxy": host} if host in ("localhost", "127.0.0.1", "::1") else None


def user_agent() -> str:
    return f"vidctl/{__version__}"


def _json(response: requests.Response) -> Any:
    if not response.content:
        return None
    try:
        return json.loads(response.content)
    except (ValueError, RecursionError) as error:
        raise ApiError(
            f"{host_of(response.url)} answered {response.status_code}: invalid JSON",
            hint="check RUNPOD_API_BASE_URL and RUNPOD_ENDPOINT_BASE_URL; a proxy may be in between",
            status=response.status_code,
        ) from error
