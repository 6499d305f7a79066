"""What would stop a build or a push, found before either: each check raises ImageError, with what to do."""

from __future__ import annotations

from collections.abc import Mapping

from vidctl.errors import ImageError
from vidctl.images import buildx, dockerfile
from vidctl.images.engine import Engine, registry_of
from vidctl.images.source import BuildSource

_SPARE_BYTES = 1_000_000_000
# Registries that everyone may read and nobody unknown may write.
_CLOSED_TO_STRANGERS = {"docker.io", "ghcr.io", "quay.io", "registry.gitlab.com", "public.ecr.aws", "gcr.io", "nvcr.io"}


def builder(source: BuildSource, text: str, environ: Mapping[str, str]) -> None:
    """Raise unless the Dockerfile's every line can be built here."""
    needs = dockerfile.buildkit_line(text)
    if needs and not buildx.is_there(environ):
        line, what = needs
        raise ImageError(
            f"{source.dockerfile_path}:{line}: {what} needs BuildKit, but docker buildx was not found",
            hint="install docker-buildx (docs.docker.com/build), or rewrite the line without it",
        )


def room(source: BuildSource, size: int, engine: Engine) -> None:
    """Raise unless the engine's disk takes the files twice, as sent and as layers, and 1 GB."""
    free, wanted = engine.room(), 2 * size + _SPARE_BYTES
    if free is not None and free < wanted:
        raise ImageError(
            f"the Docker engine's disk has {free / 1e9:.1f} GB free; {source.key} needs {wanted / 1e9:.1f} GB",
            hint="free disk space: vidctl images prune, docker system prune",
        )


def push_login(source: BuildSource, engine: Engine) -> None:
    """Raise unless the registry answers and takes the login.

    Whether a login may push is known for sure only by pushing.  What is asked: the registry, to log in with what would
    be used; and where there is no login, to read the repository without one, unless the registry is known to take no
    pushes from strangers.
    """
    if source.repository is None:
        return
    if engine.has_login(source.repository, source.login):
        login(source, engine)
        return
    answer = engine.ask(f"{source.repository}:vidctl", None)
    if answer.problem == "unreachable":
        raise unreachable(source, answer.words)
    if answer.problem or registry_of(source.repository) in _CLOSED_TO_STRANGERS:
        raise _no_login(source.repository, engine)


def login(source: BuildSource, engine: Engine) -> None:
    """Raise unless there is a login to the repository's registry, and the registry takes it."""
    repository = source.name
    if not engine.has_login(repository, source.login):
        raise _no_login(repository, engine)
    answer = engine.try_login(repository, source.login)
    if answer.problem == "unreachable":
        raise unreachable(source, answer.words)
    if answer.problem:
        origin = "registry_auth" if source.login else "the Docker config"
        raise ImageError(
            f"{repository}: registry rejected the login of {origin}: {answer.words}",
            hint="check the user name and the password" if source.login else f"docker login {registry_of(repository)}",
        )


def unreachable(source: BuildSource, words: str) -> ImageError:
    """The error of a registry that does not answer."""
    return ImageError(
        f"{source.repository}: registry does not answer: {words}", hint="check image.repository and the network"
    )


def _no_login(repository: str, engine: Engine) -> ImageError:
    wanted = f"run docker login {registry_of(repository)}, or set registry_auth in the spec and its password's variable"
    if helper := engine.missing_helper(repository):
        wanted = f"install {helper}, where the Docker config keeps the login; or {wanted}"
    return ImageError(f"{repository}: registry requires authentication, and no login was found", hint=wanted)
