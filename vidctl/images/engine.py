"""The Docker engine and, through it, registries: the only home of docker-py on this side."""

from __future__ import annotations

import re
import shutil
from collections.abc import Generator, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any, Literal

import docker  # type: ignore[import-untyped]  # it ships no types
from docker import auth
from docker.credentials import CredentialsNotFound, Store, StoreError  # type: ignore[import-untyped]
from docker.errors import APIError, DockerException, NotFound, StreamParseError  # type: ignore[import-untyped]
from docker.tls import TLSConfig  # type: ignore[import-untyped]
from urllib3.exceptions import HTTPError  # what docker-py lets through when a stream breaks

from vidctl.docker import docker_config
from vidctl.errors import ImageError
from vidctl.images import streams
from vidctl.images.context import PLATFORM
from vidctl.images.source import Login

_FIRST_ANSWER_S = 30
_ANSWER_S = 600  # a busy engine is silent for long


@dataclass(frozen=True)
class RegistryAnswer:
    """What a registry says of an image: its digest, None when it has none; or why it does not say."""

    digest: str | None = None
    problem: Literal["refused", "unreachable"] | None = None
    words: str = ""


class _DockerClient(docker.APIClient):  # type: ignore[misc]  # untyped
    """docker-py's, with no login but the one that a call is given.

    docker-py would send one along with a build, and for it ask every credential helper for every login there is; what a
    build needs is pulled before it.
    """

    def __init__(self, where: docker_config.EngineAddress, config: docker_config.Config) -> None:
        tls = TLSConfig(**where.tls) if where.tls else False
        with docker_config.read_by_docker_py(config):
            super().__init__(where.host, version="auto", timeout=_FIRST_ANSWER_S, tls=tls)
        self.timeout = _ANSWER_S
        self._auth_configs = auth.AuthConfig({})

    def _set_auth_headers(self, headers: dict[str, str]) -> None:
        pass

    def try_login(self, credentials: dict[str, str]) -> None:
        """Ask the registry; docker-py's own `login` may answer from memory, and keeps what it was given."""
        self._raise_for_status(self._post_json(self._url("/auth"), data=credentials))


class DockerLogins:
    """The logins to registries in the Docker config and in its credential helpers; no engine is asked.

    Raise ImageError for a config that cannot be read, and for a helper that fails.
    """

    def __init__(self, environ: Mapping[str, str], config: docker_config.Config) -> None:
        self._environ = environ
        self._config = config

    def of(self, reference: str, login: Login | None) -> dict[str, Any]:
        """What would be used for an image, as docker-py takes it; {} where there is none."""
        if login:
            return {"username": login.username, "password": login.password}
        registry = registry_of(reference)
        helper = self._config.helper(registry)
        if not helper or self.missing_helper(reference):
            return self._config.login(registry)
        return self._kept(helper, docker_config.HUB if registry == auth.INDEX_NAME else registry)

    def missing_helper(self, reference: str) -> str | None:
        """The credential helper that would know the login and is not installed: `docker` goes on without it."""
        helper = self._config.helper(registry_of(reference))
        program = f"docker-credential-{helper}"
        return program if helper and not shutil.which(program) else None

    def _kept(self, helper: str, address: str) -> dict[str, Any]:
        try:
            found = Store(helper, environment=dict(self._environ)).get(address)
        except CredentialsNotFound:
            return {}
        except (StoreError, OSError) as error:
            raise ImageError(
                f"the Docker config's credential helper failed: {error!r}", hint="docker login REGISTRY"
            ) from error
        name, secret = found["Username"], found["Secret"]
        return {"IdentityToken": secret} if name == auth.TOKEN_USERNAME else {"Username": name, "Password": secret}


class Engine:
    """The engine that `docker` would use; raise ImageError when it is not there or may not be used."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        config = docker_config.read(environ)
        where = docker_config.engine_address(environ, config)
        self._host, self._context = where.host, where.context
        self._logins = DockerLogins(environ, config)
        with self._translated():
            self._client = _DockerClient(where, config)

    def __str__(self) -> str:
        """Where it is, and the context that names it."""
        return f"{self._host} (context {self._context})" if self._context else self._host

    def version(self) -> str:
        with self._translated():
            return str(self._client.version().get("Version", "?"))

    # --- images on the engine ----------------------------------------------------------------------------------

    def image(self, reference: str) -> dict[str, Any] | None:
        """What the engine knows of an image, None when it has none of that name."""
        with self._translated():
            try:
                return dict(self._client.inspect_image(reference))
            except NotFound:
                return None

    def labelled(self, label: str) -> list[dict[str, Any]]:
        """What the engine knows of every image with a label."""
        with self._translated():
            found = self._client.images(filters={"label": label})
        known = (self.image(each["Id"]) for each in found)
        return [each for each in known if each]  # one may be removed by now

    def history(self, image_id: str) -> list[dict[str, Any]]:
        """The steps of an image, newest first; none of one that is gone."""
        with self._translated(), suppress(NotFound):
            return list(self._client.history(image_id))
        return []

    def tag(self, image_id: str, reference: str) -> None:
        repository, _, tag = reference.rpartition(":")
        with self._translated():
            self._client.tag(image_id, repository, tag)

    def remove(self, reference: str) -> str | None:
        """Remove an image; return why the engine keeps it, None when it is gone."""
        with self._translated():
            try:
                self._client.remove_image(reference)
            except NotFound:
                return None
            except APIError as error:
                if error.status_code == 409:
                    return str(error.explanation)
                raise
        return None

    def room(self) -> int | None:
        """Free bytes where a local engine keeps its images; None when that cannot be seen from here."""
        with self._translated():
            root = self._client.info().get("DockerRootDir")
        if not (root and self._host.startswith("unix://")):
            return None
        try:
            return shutil.disk_usage(root).free
        except OSError:  # Docker Desktop's engine is in a machine of its own; another user's folder is closed
            return None

    # --- build, push, pull -------------------------------------------------------------------------------------

    def build(
        self,
        tar: Iterator[bytes],
        *,
        dockerfile: str,
        target: str | None,
        build_args: Mapping[str, str],
        labels: Mapping[str, str],
        cache_from: list[str],
        use_cache: bool,
    ) -> Generator[dict[str, Any], None, None]:
        """Yield the classic builder's lines; closing the iterator ends the build.

        What it refuses before the first line, such as an instruction that there is not, is a line as every failure is.
        """
        with self._translated():
            try:
                yield from self._client.build(
                    fileobj=tar,
                    custom_context=True,
                    dockerfile=dockerfile,
                    target=target,
                    buildargs=dict(build_args),
                    labels=dict(labels),
                    cache_from=cache_from,
                    nocache=not use_cache,
                    platform=PLATFORM,
                    rm=True,
                    forcerm=True,
                    decode=True,
                )
            except APIError as error:
                yield {"error": str(error.explanation)}

    def push(self, reference: str, login: Login | None) -> Generator[dict[str, Any], None, None]:
        repository, _, tag = reference.rpartition(":")
        with self._translated():
            yield from self._client.push(
                repository, tag, stream=True, decode=True, auth_config=self._credentials(repository, login)
            )

    def pull(self, repository: str, digest: str, login: Login | None) -> Generator[dict[str, Any], None, None]:
        with self._translated():
            yield from self._client.pull(
                f"{repository}@{digest}",
                stream=True,
                decode=True,
                platform=PLATFORM,
                auth_config=self._credentials(repository, login),
            )

    # --- registries --------------------------------------------------------------------------------------------

    def ask(self, reference: str, login: Login | None) -> RegistryAnswer:
        """Ask the registry for an image's digest, through the engine."""
        credentials = self._credentials(reference, login)
        with self._translated():
            try:
                found = self._client.inspect_distribution(reference, auth_config=credentials)
            except NotFound:
                return RegistryAnswer()
            except APIError as error:
                words = str(error.explanation)
                if error.status_code in (401, 403) or streams.is_refused(words):
                    return RegistryAnswer(problem="refused", words=words)
                return RegistryAnswer(problem="unreachable", words=words)
        return RegistryAnswer(digest=str(found["Descriptor"]["digest"]))

    def has_login(self, repository: str, login: Login | None) -> bool:
        return bool(self._credentials(repository, login))

    def try_login(self, repository: str, login: Login | None) -> RegistryAnswer:
        """Log in to the repository's registry with what would be used, afresh; an access token is taken at its word."""
        found = {name.lower(): value for name, value in self._credentials(repository, login).items()}
        if not found.get("password"):
            return RegistryAnswer()
        registry = registry_of(repository)
        address = auth.INDEX_URL if registry == auth.INDEX_NAME else registry
        with self._translated():
            try:
                self._client.try_login({**found, "serveraddress": address})
            except APIError as error:
                words = str(error.explanation)
                return RegistryAnswer(problem="refused" if streams.is_refused(words) else "unreachable", words=words)
        return RegistryAnswer()

    def _credentials(self, reference: str, login: Login | None) -> dict[str, Any]:
        with self._translated():
            return self._logins.of(reference, login)

    def missing_helper(self, reference: str) -> str | None:
        """The credential helper that would know the login and is not installed: `docker` goes on without it."""
        return self._logins.missing_helper(reference)

    @contextmanager
    def _translated(self) -> Iterator[None]:
        """Everything that docker-py and what is below it may raise, as one line and a hint."""
        try:
            yield
        except APIError as error:
            words = str(error.explanation or error)
            raise ImageError(f"the Docker engine failed: {words}", hint=streams.room_hint(words)) from error
        except (DockerException, StreamParseError, HTTPError, OSError) as error:
            raise self._unusable(str(error)) from error

    def _unusable(self, words: str) -> ImageError:
        start = _START
        if self._context:
            start = f"start the engine of the Docker context {self._context}, or choose another with docker context use"
        for pattern, reason, hint in _UNUSABLE:
            if re.search(pattern, words):
                return ImageError(f"the Docker engine at {self._host}: {reason}", hint=hint or start)
        return ImageError(f"the Docker engine at {self._host} does not answer: {words}", hint=start)


def registry_of(reference: str) -> str:
    """The registry's host; `docker.io` for a name without one.  Raise ImageError for what is no name."""
    try:
        return str(auth.resolve_repository_name(reference)[0])
    except DockerException as error:
        raise ImageError(f"invalid image name {reference}: {error}", hint="write registry/name") from error


_START = "start Docker, or set DOCKER_HOST; check with docker info"
_UNUSABLE = (
    (
        r"PermissionError|Permission denied",
        "permission denied",
        "run sudo usermod -aG docker $USER and log in again, or use rootless Docker and its DOCKER_HOST",
    ),
    (r"FileNotFoundError|No such file", "not found", None),
    (r"ConnectionRefused|Connection refused", "not running", None),
    (
        r"SSL|TLS|CERTIFICATE",
        "TLS handshake failed",
        "check DOCKER_TLS_VERIFY and the certificates in DOCKER_CERT_PATH",
    ),
    (r"timed out|Timeout", "timed out", None),
    (r"Name or service not known|resolve", "host not found", "check DOCKER_HOST"),
)
