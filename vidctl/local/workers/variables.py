"""The environment variables of a worker: what it is told, and what it may know of this machine.  Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

# How to find programs, certificates and the network.
_INHERITABLE = frozenset({
    "PATH", "LANG", "LC_ALL", "LC_CTYPE", "TZ", "TMPDIR", "LD_LIBRARY_PATH", "CUDA_VISIBLE_DEVICES",
    "SSL_CERT_FILE", "SSL_CERT_DIR", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE",
})  # fmt: skip
_PROXIES = frozenset({"HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "http_proxy", "https_proxy", "no_proxy"})


def inheritable(environ: Mapping[str, str]) -> dict[str, str]:
    """What a worker's code may know of its caller's environment: nothing that is a secret, above all no keys."""
    return {**{name: value for name, value in environ.items() if name in _INHERITABLE}, **proxies(environ)}


def proxies(environ: Mapping[str, str]) -> dict[str, str]:
    """Its caller's proxies, which are bypassed for this machine."""
    env = {name: value for name, value in environ.items() if name in _PROXIES}
    if "HTTP_PROXY" in env or "http_proxy" in env:
        direct = (env.get("NO_PROXY") or env.get("no_proxy"), "127.0.0.1,localhost")
        env["NO_PROXY"] = env["no_proxy"] = ",".join(filter(None, direct))
    return env
