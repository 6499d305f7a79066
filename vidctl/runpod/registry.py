"""Whether anybody may pull an image: its registry is asked once, without a login (distribution spec, pulling)."""

from __future__ import annotations

import re
from typing import Final
from urllib.parse import urlencode

from vidctl.runpod.http import probe

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
    if response and response.status == 401 and (token := _token(response.headers.get("WWW-Authenticate", ""))):
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


def _token(challenge: str) -> str | None:
    """The token that everybody gets who asks for one; a registry that wants a password has none."""
    scheme, _, rest = challenge.partition(" ")
    parameters = dict(_CHALLENGE.findall(rest))
    realm = parameters.pop("realm", "")
    if scheme.lower() != "bearer" or not realm.startswith(("https://", "http://127.", "http://localhost")):
        return None
    response = probe(f"{realm}?{urlencode(parameters)}", {})
    document = response.document if response and response.status == 200 else None
    token = (document.get("token") or document.get("access_token")) if isinstance(document, dict) else None
    return token if isinstance(token, str) else None
