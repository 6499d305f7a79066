"""What each failure of a request is called, and what can be done about it."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterable, Mapping
from typing import Any, Final
from urllib.parse import urlsplit

import requests
from urllib3.exceptions import ConnectTimeoutError, InvalidHeader, NewConnectionError
from urllib3.util.retry import Retry

from vidctl.errors import (
    ApiError,
    AuthError,
    NetworkError,
    NotDeployedError,
    RefusedError,
    RetiredError,
    UnansweredError,
    VidctlError,
)
from vidctl.text import SENTENCE, one_line, without_secrets

# Shorter values are no secrets, and are in every other sentence.
_MIN_SECRET_LENGTH: Final = 4

_HINTS: Final = (
    (r"gpuIds|gpu\.pools|GPU pool|excludedTypes", "run `vidctl validate`: an endpoint takes pools of GPUs, not cards"),
    (r"cannot query field", "RunPod's API has changed: upgrade vidctl, or use VIDCTL_CONTROL=rest"),
    (r"something went wrong", "check the values in the plan, then try again: RunPod says this of invalid values too"),
    # The words of runpod/runpodctl#117.
    (r"quota|worker concurrency", "lower workers.max of this or another endpoint, or ask RunPod for more workers"),
    (
        r"no longer any instances available",
        "add GPUs or data centers, or remove data_centers: no data center that the spec allows has such a GPU",
    ),
    (r"name must be unique|name already exists", "rename or delete the other one in RunPod's console"),
    (r"api key|unauthorized|not authorized|permission", "check what RUNPOD_API_KEY may do in RunPod's console"),
)


class HttpError(ApiError):
    """A refusal with what the server gave as its reason, {} when that was no JSON object."""

    code = "http_error"

    def __init__(self, message: str, *, reason: Mapping[str, Any], status: int, hint: str | None = None) -> None:
        super().__init__(message, hint=hint, status=status)
        self.reason = reason


def response_error(response: requests.Response) -> VidctlError:
    host, status, reason = host_of(response.url), response.status_code, _reason(response)
    detail = _detail(reason)
    match status:
        case 403 if response.content.lstrip().startswith(b"<"):
            # RunPod says in JSON why a key may not do something (docs, api-reference-v2); a firewall sends a page.
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
            limited = ApiError(f"{host}: rate limited (429)", hint=retry_hint(response), status=status)
            limited.retry_after_s = _retry_after_s(response)
            return limited
        case _:
            return HttpError(
                f"{host} answered {status}{detail}", reason=reason, hint=_request_id(response), status=status
            )


def retry_hint(response: requests.Response) -> str:
    """How long to wait: in seconds, or until a date, as Retry-After may say (RFC 9110, 10.2.3)."""
    after = one_line(response.headers.get("Retry-After", ""), 40)
    if after.isdecimal():
        return f"try again in {after} s"
    return f"try again after {after}" if after else "try again in a minute"


def _retry_after_s(response: requests.Response) -> float | None:
    try:
        return Retry().parse_retry_after(response.headers["Retry-After"])
    except (KeyError, InvalidHeader):
        return None


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


def connection_error(url: str, error: Exception) -> NetworkError:
    kind = NetworkError if _never_left(error) else UnansweredError
    hint = remedy(error, url) or "check the network and the base URLs"
    if "Failed to resolve" in str(error):
        hint = "check the network, and RUNPOD_API_BASE_URL and RUNPOD_ENDPOINT_BASE_URL if they are set"
    return kind(f"{host_of(url)}: {cause(error, url)}", hint=hint)


def _never_left(error: Exception) -> bool:
    """No connection was made, so nothing was sent."""
    reason = getattr(error.args[0], "reason", None) if error.args else None
    return isinstance(error, requests.ConnectTimeout) or isinstance(reason, (NewConnectionError, ConnectTimeoutError))


def cause(error: BaseException, url: str) -> str:
    """The innermost reason in words; the outer ones repeat URLs and object addresses."""
    text = str(error)
    if proxy := _proxy_of(error, url):
        refused = re.search(r"Tunnel connection failed: (\d+)", text)
        why = f"refused ({refused[1]})" if refused else "cannot be used"
        return f"proxy {host_of(without_secrets(proxy[1]))} {why}"
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


def remedy(error: BaseException, url: str) -> str | None:
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


def host_of(url: str) -> str:
    return urlsplit(url).netloc or url


# --- what RunPod says against a value ------------------------------------------------------------------------------


def refused(
    message: str, *, field: str | None = None, hide: Iterable[str] = (), status: int | None = None
) -> RefusedError:
    """The error for what RunPod says against a value, in its words, with the field and a hint.

    `hide` are values that were sent and must not be seen, for RunPod quotes what it refuses.
    """
    message = one_line(_without(message, hide), SENTENCE)
    advice = (words for sign, words in _HINTS if re.search(sign, message, re.IGNORECASE))
    return RefusedError(f"RunPod: {message}", field=field, hint=next(advice, None), status=status)


def _without(message: str, hide: Iterable[str]) -> str:
    values = {value for value in hide if len(value) >= _MIN_SECRET_LENGTH}
    written = values | {json.dumps(value)[1:-1] for value in values}
    for value in sorted(written, key=len, reverse=True):
        message = message.replace(value, "…")
    return message
