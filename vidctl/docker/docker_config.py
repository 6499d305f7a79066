"""Which engine and which logins `docker` would use: its variables, its config.json, its contexts.

docker-py knows no contexts, and gives up on a config.json with an entry that `docker` passes over.
"""

from __future__ import annotations

import base64
import hashlib
import json
import os
import tempfile
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from vidctl.errors import ImageError

DEFAULT_HOST = "unix:///var/run/docker.sock"
HUB = "https://index.docker.io/v1/"  # Docker Hub, as config.json and credential helpers call it
_HUB_NAMES = ("docker.io", "index.docker.io")


@dataclass(frozen=True)
class EngineAddress:
    """Where the engine is; `tls` has docker-py's arguments of a TLSConfig, `context` the context that names it."""

    host: str
    tls: Mapping[str, Any] | None = None
    context: str | None = None


@dataclass(frozen=True)
class Config:
    """A config.json as it was read; a missing one holds nothing."""

    file: Path | None
    content: Mapping[str, Any] = field(default_factory=dict, repr=False)

    def helper(self, registry: str) -> str | None:
        """The credential helper that keeps the registry's login: `pass` for docker-credential-pass."""
        helpers = self._part("credHelpers")
        return helpers.get(HUB if registry in _HUB_NAMES else registry) or self.content.get("credsStore") or None

    def login(self, registry: str) -> dict[str, str]:
        """The login in the file itself, as docker-py takes it; raise ImageError for one that cannot be read."""
        entries = self._part("auths")
        names = [name for name in entries if _host(name) == _host(registry)]
        for name in sorted(names, key=lambda name: name != registry):
            if found := self._entry(name, entries[name]):
                return found
        return {}

    def _part(self, name: str) -> Mapping[str, Any]:
        part = self.content.get(name)
        return part if isinstance(part, dict) else {}

    def _entry(self, name: str, entry: Any) -> dict[str, str]:
        entry = entry if isinstance(entry, dict) else {}
        if entry.get("identitytoken"):
            return {"IdentityToken": entry["identitytoken"]}
        if entry.get("registrytoken"):
            return {"registrytoken": entry["registrytoken"]}
        if entry.get("auth"):
            try:
                username, password = _decoded(entry["auth"])
            except ValueError as error:
                raise ImageError(
                    f"{self.file}: invalid login for {name}", hint=f"docker login {_host(name)}"
                ) from error
        else:
            username, password = entry.get("username"), entry.get("password")
        return {"username": username, "password": password} if username and password else {}

    @property
    def is_plain(self) -> bool:
        """Whether docker-py too can read it."""
        try:
            entries = (self.content.get("auths") or {}).values()
            return all("auth" not in each or _decoded(each["auth"]) for each in entries)
        except (AttributeError, TypeError, ValueError):
            return False


def _decoded(auth: Any) -> tuple[str, str]:
    if not isinstance(auth, str):
        raise ValueError("not text")
    username, colon, password = base64.b64decode(auth, validate=True).decode().partition(":")
    if not colon:
        raise ValueError("no password")
    return username, password.strip("\0")


def _host(registry: str) -> str:
    host = registry.removeprefix("http://").removeprefix("https://").partition("/")[0]
    return _HUB_NAMES[0] if host in _HUB_NAMES else host


def folder(environ: Mapping[str, str]) -> Path | None:
    """Docker's own folder: DOCKER_CONFIG, else .docker in the home folder; None for a user who has none."""
    if environ.get("DOCKER_CONFIG"):
        return Path(environ["DOCKER_CONFIG"])
    if environ.get("HOME"):
        return Path(environ["HOME"], ".docker")
    try:
        return Path.home() / ".docker"
    except RuntimeError:  # no HOME, and nobody of that number in /etc/passwd
        return None


def read(environ: Mapping[str, str]) -> Config:
    """Read config.json; raise ImageError for one that cannot be read."""
    where = folder(environ)
    if where is None:
        return Config(None)
    file = where / "config.json"
    content = _document(file)
    return Config(file, content or {})


def engine_address(environ: Mapping[str, str], config: Config) -> EngineAddress:
    """The engine by docker's own order: DOCKER_HOST, DOCKER_CONTEXT, what `docker context use` chose, the usual socket.

    Raise ImageError for a context that is missing or cannot be read.
    """
    if environ.get("DOCKER_HOST"):
        return EngineAddress(environ["DOCKER_HOST"], _tls(environ))
    name = environ.get("DOCKER_CONTEXT") or config.content.get("currentContext") or "default"
    if name == "default":
        return EngineAddress(DEFAULT_HOST)
    origin = "DOCKER_CONTEXT" if environ.get("DOCKER_CONTEXT") else str(config.file)
    where, place = folder(environ), hashlib.sha256(str(name).encode()).hexdigest()
    meta = _document(where / "contexts" / "meta" / place / "meta.json") if where else None
    if where is None or meta is None:
        raise ImageError(
            f"Docker context {name} not found (named by {origin})",
            hint="run docker context ls to list contexts, or docker context use default",
        )
    try:
        found = meta["Endpoints"]["docker"]
        host, is_unverified = found.get("Host") or DEFAULT_HOST, bool(found.get("SkipTLSVerify"))
    except (KeyError, TypeError, AttributeError) as error:
        raise ImageError(
            f"Docker context {name} has no engine (named by {origin})", hint=f"docker context inspect {name}"
        ) from error
    return EngineAddress(
        str(host), _certificates(where / "contexts" / "tls" / place / "docker", not is_unverified), name
    )


def _tls(environ: Mapping[str, str]) -> dict[str, Any] | None:
    if not (environ.get("DOCKER_TLS_VERIFY") or environ.get("DOCKER_CERT_PATH")):
        return None
    place = Path(environ.get("DOCKER_CERT_PATH") or folder(environ) or ".")
    pair = str(place / "cert.pem"), str(place / "key.pem")
    return {"client_cert": pair, "ca_cert": str(place / "ca.pem"), "verify": bool(environ.get("DOCKER_TLS_VERIFY"))}


def _certificates(place: Path, is_verified: bool) -> dict[str, Any] | None:
    if not place.is_dir():
        return None
    ca, pair = place / "ca.pem", (place / "cert.pem", place / "key.pem")
    return {
        "client_cert": tuple(map(str, pair)) if all(each.is_file() for each in pair) else None,
        "ca_cert": str(ca) if ca.is_file() else None,
        "verify": is_verified,
    }


def _document(file: Path) -> dict[str, Any] | None:
    """A JSON file of Docker's; None when it is missing."""
    try:
        text = file.read_text(encoding="utf-8")
        document = json.loads(text) if text.strip() else {}
        if not isinstance(document, dict):
            raise ValueError("expected an object")
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise ImageError(
            f"{file}: cannot be read: {error.strerror or error}",
            hint=f"run sudo chown -R $USER {file.parent}, or set DOCKER_CONFIG to another folder",
        ) from error
    except ValueError as error:
        hint = "fix it, or move it away: it is Docker's own file"
        raise ImageError(f"{file}: invalid Docker config: {error}", hint=hint) from error
    return document


_turn = threading.Lock()


@contextmanager
def read_by_docker_py(config: Config) -> Iterator[None]:
    """Let docker-py read all of the config but for logins, in the making of a client.

    It takes none from its caller.  Where there is an entry that stops it, it is shown another folder meanwhile.
    """
    if config.is_plain:
        yield
        return
    with _turn, tempfile.TemporaryDirectory() as scratch:
        Path(scratch, "config.json").write_text(json.dumps({**config.content, "auths": {"none": {}}}))
        before = os.environ.get("DOCKER_CONFIG")
        os.environ["DOCKER_CONFIG"] = scratch
        try:
            yield
        finally:
            os.environ.pop("DOCKER_CONFIG")
            if before is not None:
                os.environ["DOCKER_CONFIG"] = before
