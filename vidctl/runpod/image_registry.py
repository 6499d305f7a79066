"""What a registry lets one do: whether anybody may pull an image, and whether a login may push.

It is asked as the distribution project's documents say: spec/api, spec/auth/token, spec/auth/jwt and spec/auth/oauth.
"""

from __future__ import annotations

import base64
import json
import re
from dataclasses import dataclass, field
from typing import Final, Literal
from urllib.parse import urlencode, urljoin, urlsplit

from vidctl.runpod.http import ProbeResponse, probe

_KINDS: Final = ", ".join((
    "application/vnd.oci.image.index.v1+json",
    "application/vnd.docker.distribution.manifest.list.v2+json",
    "application/vnd.oci.image.manifest.v1+json",
    "application/vnd.docker.distribution.manifest.v2+json",
))  # fmt: skip
_REFERENCE: Final = re.compile(
    r"(?:(?P<host>localhost(?::\d+)?|[^/]+[.:][^/]*)/)?(?P<name>[^:@]+)(?::(?P<tag>[^@]+))?(?:@(?P<digest>.+))?"
)
_CHALLENGE: Final = re.compile(r'(\w+)="([^"]*)"')


def is_public(reference: str) -> bool | None:
    """Whether its registry gives the image to everybody; None where it does not say, or is not reached at once."""
    parts = _REFERENCE.fullmatch(reference)
    if parts is None:
        return None
    url = f"{_base_url(parts['host'])}/v2/{_name(parts)}/manifests/{parts['digest'] or parts['tag'] or 'latest'}"
    response = probe(url, {"Accept": _KINDS})
    token = _token(response.headers.get("WWW-Authenticate", "")) if response and response.status == 401 else None
    if isinstance(token, str):
        response = probe(url, {"Accept": _KINDS, "Authorization": f"Bearer {token}"})
    if response is None or response.status not in (200, 401, 403):
        return None
    return response.status == 200


def _base_url(host: str | None) -> str:
    if host in (None, "docker.io", "index.docker.io"):
        return "https://registry-1.docker.io"
    is_here = re.fullmatch(r"(localhost|127\.\d+\.\d+\.\d+)(:\d+)?", host or "")
    return f"http{'' if is_here else 's'}://{host}"


def _name(parts: re.Match[str]) -> str:
    is_official = parts["host"] in (None, "docker.io", "index.docker.io") and "/" not in parts["name"]
    return f"library/{parts['name']}" if is_official else parts["name"]


def _token(challenge: str, user: RegistryUser | None = None, scope: str | None = None) -> str | int | None:
    """The token that who asks gets; the status of a refusal; None of a registry that has no tokens."""
    realm, parameters = _realm(challenge)
    if not realm:
        return None
    if scope:
        parameters["scope"] = scope
    if user and user.identity_token:
        form = {"grant_type": "refresh_token", "client_id": "vidctl", "refresh_token": user.identity_token}
        response = probe(realm, {}, method="POST", form={**parameters, **form})
    else:
        response = probe(f"{realm}?{urlencode(parameters)}", user.basic() if user else {})
    document = response.document if response and response.status == 200 else None
    token = (document.get("token") or document.get("access_token")) if isinstance(document, dict) else None
    return token if isinstance(token, str) else response.status if response else None


def _realm(challenge: str) -> tuple[str, dict[str, str]]:
    """Where tokens come from, and what to ask for; "" where that is nowhere a password may be sent."""
    scheme, _, rest = challenge.partition(" ")
    parameters = dict(_CHALLENGE.findall(rest))
    realm = parameters.pop("realm", "")
    is_safe = scheme.lower() == "bearer" and realm.startswith(("https://", "http://127.", "http://localhost"))
    return (realm if is_safe else ""), parameters


# --- the right to push -----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class RegistryUser:
    """Who asks: a name and a password, or the identity token that `docker login` keeps instead."""

    name: str = ""
    password: str = field(default="", repr=False)
    identity_token: str = field(default="", repr=False)

    def basic(self) -> dict[str, str]:
        pair = base64.b64encode(f"{self.name}:{self.password}".encode()).decode()
        return {"Authorization": f"Basic {pair}"}


@dataclass(frozen=True)
class PushRight:
    """What a registry says of the right to push.

    `unsaid`: it takes the login, and says no more.  `uploaded`: it let an upload begin; `left` is where one is that
    could not be cancelled.
    """

    state: Literal["granted", "denied", "unsaid", "uploaded", "refused", "unreachable"]
    left: str | None = None


def push_right(repository: str, user: RegistryUser | None, *, begins_upload: bool = False) -> PushRight:
    """Whether a user may push: by what the registry's token grants, or by an upload that is begun and cancelled.

    Without an upload nothing is changed.
    """
    parts = _REFERENCE.fullmatch(repository)
    if parts is None:
        return PushRight("unreachable")
    base, name = _base_url(parts["host"]), _name(parts)
    response = probe(f"{base}/v2/", {})
    if response is None or response.status not in (200, 401):
        return PushRight("unreachable")
    right, headers = PushRight("unsaid"), dict[str, str]()
    if response.status == 401:
        right, headers = _admitted(base, name, response.headers.get("WWW-Authenticate", ""), user)
    if begins_upload and right.state in ("granted", "denied", "unsaid"):
        return _upload(base, name, headers)
    return right


def _admitted(base: str, name: str, challenge: str, user: RegistryUser | None) -> tuple[PushRight, dict[str, str]]:
    """What the registry says of the right, and how it is asked then."""
    if not challenge.lower().startswith("bearer"):
        headers = user.basic() if user else {}
        response = probe(f"{base}/v2/", headers)
        state: Literal["unsaid", "refused"] = "unsaid" if response and response.status == 200 else "refused"
        return PushRight(state), headers
    token = _token(challenge, user, scope=f"repository:{name}:pull,push")
    if not isinstance(token, str):
        return PushRight("refused" if isinstance(token, int) and 400 <= token < 500 else "unreachable"), {}
    granted = _grants_push(token, name)
    right = PushRight("unsaid" if granted is None else "granted" if granted else "denied")
    return right, {"Authorization": f"Bearer {token}"}


def _grants_push(token: str, name: str) -> bool | None:
    """Whether the `access` claim of a token has the right; None for a token that only its registry reads."""
    try:
        payload = token.split(".")[1]
        access = json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))["access"]
        return any(
            each["type"] == "repository" and each["name"] == name and {"push", "*"} & set(each["actions"])
            for each in access
        )
    except (IndexError, KeyError, TypeError, ValueError):
        return None


def _upload(base: str, name: str, headers: dict[str, str]) -> PushRight:
    """Begin an upload, which makes no image, and cancel it (spec/api: starting and canceling an upload)."""
    begun = probe(f"{base}/v2/{name}/blobs/uploads/", {**headers, "Content-Length": "0"}, method="POST")
    if begun is None:
        return PushRight("unreachable")
    if begun.status != 202:
        return PushRight("denied")
    place = urljoin(f"{base}/v2/", begun.headers.get("Location", ""))
    # A key goes to no other server than the one that asked for it.
    same = urlsplit(place).netloc == urlsplit(base).netloc
    ended = probe(place, headers if same else {}, method="DELETE")
    return PushRight("uploaded", None if _is_cancelled(ended) else place.partition("?")[0])


def _is_cancelled(response: ProbeResponse | None) -> bool:
    return response is not None and response.status in (200, 202, 204, 404)
