"""From a worker's folder to an image in a registry: named by its content, built and pushed only when it is not there.

The tag is a hash of all that the image is made of (`context.py`), so that the same files are the same tag on every
machine, and asking the registry for the tag is all that a second deploy does.
"""

from __future__ import annotations

import re
import time
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vidctl.errors import ImageError, VidctlError
from vidctl.images import buildx, context, dockerfile, streams
from vidctl.images.context import PLATFORM
from vidctl.images.inventory import Built, Pruned, built, outdated
from vidctl.images.log import Log, secrets_of
from vidctl.images.login import Login
from vidctl.images.provenance import labels
from vidctl.progress import Notify, Progress
from vidctl.resources import Image

if TYPE_CHECKING:
    from vidctl.images.engine import Engine

__all__ = ["Built", "Image", "Images", "Login", "Pruned", "Source"]

_WAITS_S = (1.0, 4.0)  # before the second and the third try of a push whose line broke
_SPARE_BYTES = 1_000_000_000


@dataclass(frozen=True)
class Source:
    """What to build.

    `key` is the spec's, for labels and names of log files.  Without a `repository` the image stays on this engine.
    Without a `login` the Docker config and its credential helpers are asked.
    """

    key: str
    folder: Path
    repository: str | None = None
    dockerfile: str = "Dockerfile"
    build_args: Mapping[str, str] = field(default_factory=dict, repr=False)
    login: Login | None = None


@dataclass(frozen=True)
class _Read:
    """A source as it was read: its files, its Dockerfile, its bases' digests, its tag."""

    context: context.Context
    text: str
    bases: Mapping[str, str]
    tag: str


class Images:
    """The images of a Docker engine, and what registries have of them.

    A tag is `repository:content-…`, a digest `repository@sha256:…`; where there is no repository, the image's id.
    `environ` names the engine (DOCKER_HOST, …) and the logins (DOCKER_CONFIG); full logs go to `logs`.  Whatever fails
    raises ImageError.  Not to be shared by threads; a file that is not touched is read once in its life.
    """

    def __init__(self, environ: Mapping[str, str], *, logs: Path) -> None:
        self._environ = environ
        self._logs = logs
        self._known: context.Digests = {}
        self._base_digests: dict[str, str] = {}

    # --- what is there -----------------------------------------------------------------------------------------

    def look(self, source: Source) -> Image:
        """Find the tag, and the digest under which the registry has it; nothing is built or sent."""
        return self._look(source, self._read(source).tag)

    def _look(self, source: Source, tag: str) -> Image:
        if source.repository is None:
            found = self._usable(tag)
            return Image(tag, found["Id"] if found else None)
        answer = self._engine.ask(tag, source.login)
        if answer.problem == "refused":
            # Docker Hub answers so of a repository that is not there yet, whoever asks.
            self._check_login(source)
        elif answer.problem:
            raise _unreachable(source, answer.words)
        return Image(tag, f"{source.repository}@{answer.digest}" if answer.digest else None)

    def problems(self, source: Source) -> list[VidctlError]:
        """All that would stop a build or a push, found before either.

        Whether a login may push is known for sure only by pushing.  What is asked: the registry, to log in with what
        would be used; and where there is no login, to read the repository without one, unless the registry is known to
        take no pushes from strangers.
        """
        try:
            _ = self._engine
        except ImageError as error:
            return [error]
        found: list[VidctlError] = []
        try:
            read = self._read(source)
            self._check_builder(source, read)
            self._check_room(source, read)
        except ImageError as error:
            found.append(error)
        try:
            self._check_registry(source)
        except ImageError as error:
            found.append(error)
        return found

    # --- making it be there ------------------------------------------------------------------------------------

    def provide(self, source: Source, notify: Notify) -> Image:
        """Build and push what is not there yet; return it with its digest."""
        read = self._read(source)
        image = self._look(source, read.tag)
        if image.digest:
            return image
        image = self._build(source, read, notify, force=False)
        return self._push(source, read.tag, notify) if source.repository else image

    def build(self, source: Source, notify: Notify, *, force: bool = False) -> Image:
        """Build, unless this engine has it; with `force` always, and without the layer cache."""
        return self._build(source, self._read(source), notify, force=force)

    def _build(self, source: Source, read: _Read, notify: Notify, *, force: bool) -> Image:
        found = None if force else self._usable(read.tag)
        if found is None:
            self._check_builder(source, read)
            with Log(self._logs, source.key, "build", secrets=_secrets(source)) as log:
                self._pull_bases(source, read, notify, log)
                self._make(source, read, notify, log, use_cache=not force)
            found = self._usable(read.tag)
            notify(Progress("build", f"{read.tag} is built"))
        return Image(read.tag, found["Id"] if found and source.repository is None else None)

    def push(self, source: Source, notify: Notify) -> Image:
        """Push what was built, again when the line breaks; return the digest that the registry then reports."""
        return self._push(source, self._read(source).tag, notify)

    def _push(self, source: Source, tag: str, notify: Notify) -> Image:
        if source.repository is None:
            raise ImageError(
                f"{source.key}: has no repository to push to", hint="name one: image.repository in the spec"
            )
        if self._usable(tag) is None:
            raise ImageError(f"{tag}: is not built", hint=f"vidctl build {source.key}")
        with Log(self._logs, source.key, "push", secrets=_secrets(source)) as log:
            digest = self._pushed(source, tag, notify, log)
        answer = self._engine.ask(tag, source.login)
        if answer.digest is None or digest not in (None, answer.digest):
            reported = answer.digest or answer.words or "nothing of that name"
            raise ImageError(
                f"{tag}: was pushed as {digest}, and the registry reports {reported}",
                hint=f"vidctl push {source.key}",
            )
        notify(Progress("push", f"{tag} is in the registry: {answer.digest}"))
        return Image(tag, f"{source.repository}@{answer.digest}")

    # --- what was built ----------------------------------------------------------------------------------------

    def built(self) -> list[Built]:
        """What this engine has of vidctl's, newest first."""
        return built(self._engine)

    def outdated(self, *, keep: int, keys: Collection[str] = ()) -> list[Built]:
        """What `prune` would remove: all but the newest `keep` of each spec (of these keys, else of every one)."""
        return outdated(self.built(), keep=keep, keys=keys)

    def prune(self, *, keep: int, keys: Collection[str] = ()) -> list[Pruned]:
        """Remove what is outdated from this engine, never from a registry; what a container uses is kept."""
        return [Pruned(each, self._engine.remove(each.tag)) for each in self.outdated(keep=keep, keys=keys)]

    # --- the parts ---------------------------------------------------------------------------------------------

    @cached_property
    def _engine(self) -> Engine:
        from vidctl.images.engine import Engine  # docker-py takes a quarter of a second to load

        return Engine(self._environ)

    def _read(self, source: Source) -> _Read:
        text = _dockerfile_text(source)
        named = dockerfile.bases(text, source.build_args, path=source.folder / source.dockerfile)
        bases = {each.reference: self._base_digest(source, each) for each in named}
        found = context.read(source.folder, dockerfile=source.dockerfile, known=self._known)
        content = found.tag(dockerfile=source.dockerfile, build_args=source.build_args, bases=bases)
        repository = source.repository or "vidctl/" + (
            re.sub(r"[^a-z0-9]+", "-", source.folder.resolve().name.lower()).strip("-") or "worker"
        )
        return _Read(found, text, bases, f"{repository}:{content}")

    def _base_digest(self, source: Source, base: dockerfile.Base) -> str:
        """The registry's digest of a base; the image id of one that was made on this engine.

        Docker too builds on an image that is there under this name without asking a registry.
        """
        name, digest = _without_tag(base.reference)
        if digest:
            return digest
        if base.reference not in self._base_digests:
            local = self._engine.image(base.reference)
            known = _repo_digests(local).get(_familiar(name)) if local else None
            if local and not known:
                return str(local["Id"])
            answer = self._engine.ask(base.reference, self._login_for(source, base.reference))
            found = answer.digest or known
            if not found:
                raise ImageError(
                    f"{source.folder / source.dockerfile}:{base.line}: the base image {base.reference} cannot be had: "
                    f"{answer.words or 'its registry has none of that name'}",
                    hint="check its name; docker pull tells more; a private one needs docker login",
                )
            self._base_digests[base.reference] = found
        return self._base_digests[base.reference]

    def _login_for(self, source: Source, reference: str) -> Login | None:
        from vidctl.images.engine import registry_of

        is_same = source.repository is not None and registry_of(source.repository) == registry_of(reference)
        return source.login if is_same else None

    def _usable(self, tag: str) -> dict[str, Any] | None:
        """The image on this engine, if it is one for RunPod's hosts."""
        found = self._engine.image(tag)
        return found if found and _platform(found) == PLATFORM else None

    def _check_builder(self, source: Source, read: _Read) -> None:
        """Raise unless the Dockerfile's every line can be built."""
        needs = dockerfile.buildkit_line(read.text)
        if needs and not buildx.is_there(self._environ):
            line, what = needs
            raise ImageError(
                f"{source.folder / source.dockerfile}:{line}: {what} needs BuildKit, and docker buildx is not there",
                hint="install docker-buildx (docs.docker.com/build), or write the line without it",
            )

    def _check_room(self, source: Source, read: _Read) -> None:
        """Raise unless the engine's disk takes the files twice, as sent and as layers, and 1 GB."""
        free, size = self._engine.room(), read.context.size
        if free is not None and free < 2 * size + _SPARE_BYTES:
            raise ImageError(
                f"the Docker engine's disk has {free / 1e9:.1f} GB free; {source.key} needs "
                f"{(2 * size + _SPARE_BYTES) / 1e9:.1f} GB",
                hint="make room: vidctl images prune, docker system prune",
            )

    def _check_registry(self, source: Source) -> None:
        repository = source.repository
        if repository is None:
            return
        if self._engine.has_login(repository, source.login):
            self._check_login(source)
            return
        from vidctl.images.engine import registry_of

        answer = self._engine.ask(f"{repository}:vidctl", None)
        if answer.problem == "unreachable":
            raise _unreachable(source, answer.words)
        if answer.problem or registry_of(repository) in _CLOSED_TO_STRANGERS:
            raise _no_login(repository)

    def _check_login(self, source: Source) -> None:
        """Raise unless there is a login to the repository's registry that the registry takes."""
        repository = source.repository or ""
        if not self._engine.has_login(repository, source.login):
            raise _no_login(repository)
        answer = self._engine.try_login(repository, source.login)
        if answer.problem == "unreachable":
            raise _unreachable(source, answer.words)
        if answer.problem:
            origin = "registry_auth" if source.login else "the Docker config"
            raise ImageError(
                f"{repository}: its registry does not take the login of {origin}: {answer.words}",
                hint="check the user and the password" if source.login else f"docker login {repository.split('/')[0]}",
            )

    def _pull_bases(self, source: Source, read: _Read, notify: Notify, log: Log) -> None:
        """Have the very bases that the tag was made of: the engine would build on an older one that it has."""
        for reference, digest in read.bases.items():
            name, pinned = _without_tag(reference)
            local = self._engine.image(reference)
            if local and (pinned or digest in (local["Id"], _repo_digests(local).get(_familiar(name)))):
                continue
            notify(Progress("build", f"pulling the base {reference}"))
            lines = self._engine.pull(name, digest, self._login_for(source, reference))
            streams.follow_pull(lines, key=source.key, notify=notify, log=log)
            if not pinned:
                self._engine.tag(
                    f"{name}@{digest}", reference if ":" in reference.split("/")[-1] else f"{reference}:latest"
                )

    def _make(self, source: Source, read: _Read, notify: Notify, log: Log, *, use_cache: bool) -> None:
        """Build with what the Dockerfile needs, check what came out, and only then give it its name."""
        marks = labels(source.key, read.tag.rpartition(":")[2], source.folder, self._environ)
        if dockerfile.buildkit_line(read.text):
            order = buildx.Order(source.key, source.dockerfile, source.build_args, marks, use_cache)
            image_id = buildx.build(read.context.tar(), order, environ=self._environ, notify=notify, log=log)
        else:
            if line := dockerfile.syntax_line(read.text):
                notify(
                    Progress("build", f"{source.dockerfile}:{line}: the syntax line has no meaning without BuildKit")
                )
            lines = self._engine.build(
                read.context.tar(),
                dockerfile=source.dockerfile,
                build_args=source.build_args,
                labels=marks,
                cache_from=[each.tag for each in self.built() if each.key == source.key and each.digest][:1],
                use_cache=use_cache,
            )
            image_id = streams.follow_build(lines, key=source.key, notify=notify, log=log)
        found = self._engine.image(image_id)
        if found is None or _platform(found) != PLATFORM:
            base = next(iter(read.bases), "BASE")
            raise ImageError(
                f"{source.key}: the image is for {_platform(found or {})}, and RunPod's hosts are {PLATFORM}",
                hint=f"its base is of another platform: docker pull --platform {PLATFORM} {base}",
            )
        self._engine.tag(image_id, read.tag)

    def _pushed(self, source: Source, tag: str, notify: Notify, log: Log) -> str | None:
        for wait_s in _WAITS_S:
            try:
                return self._push_once(source, tag, notify, log)
            except streams.Broken as error:  # noqa: PERF203  that is what the loop is for
                notify(Progress("push", f"{error.message}; trying again in {wait_s:g} s"))
                time.sleep(wait_s)
        return self._push_once(source, tag, notify, log)

    def _push_once(self, source: Source, tag: str, notify: Notify, log: Log) -> str | None:
        lines = self._engine.push(tag, source.login)
        return streams.follow_push(lines, key=source.key, notify=notify, log=log)


# Registries that everyone may read and nobody unknown may write.
_CLOSED_TO_STRANGERS = {"docker.io", "ghcr.io", "quay.io", "registry.gitlab.com", "public.ecr.aws", "gcr.io", "nvcr.io"}


def _dockerfile_text(source: Source) -> str:
    path = source.folder / source.dockerfile
    if not path.resolve().is_relative_to(source.folder.resolve()):
        raise ImageError(f"{path}: is outside of the build folder {source.folder}", hint="move it inside")
    try:
        return path.read_text(encoding="utf-8")
    except FileNotFoundError as error:
        raise ImageError(f"{path}: is not there", hint="an image is built from a Dockerfile in its folder") from error
    except (OSError, ValueError) as error:
        raise ImageError(f"{path}: cannot be read: {error}", hint="a Dockerfile is UTF-8 text") from error


def _secrets(source: Source) -> set[str]:
    return secrets_of(source.build_args) | ({source.login.password} if source.login else set())


def _platform(image: Mapping[str, Any]) -> str:
    return f"{image.get('Os')}/{image.get('Architecture')}"


def _repo_digests(image: Mapping[str, Any]) -> dict[str, str]:
    """An image's digests by repository."""
    pairs = (each.split("@") for each in image.get("RepoDigests") or [] if "@" in each)
    return {_familiar(repository): digest for repository, digest in pairs}


def _without_tag(reference: str) -> tuple[str, str | None]:
    """An image's repository, and its digest if it is pinned to one."""
    name, _, digest = reference.partition("@")
    folder, slash, last = name.rpartition("/")
    return folder + slash + last.partition(":")[0], digest or None


def _familiar(repository: str) -> str:
    """`python` for docker.io/library/python, as the engine spells it."""
    return re.sub(r"^(?:index\.)?docker\.io/", "", repository).removeprefix("library/")


def _no_login(repository: str) -> ImageError:
    return ImageError(
        f"{repository}: its registry wants a login, and there is none",
        hint=f"docker login {repository.split('/')[0]}, or registry_auth in the spec",
    )


def _unreachable(source: Source, words: str) -> ImageError:
    return ImageError(
        f"{source.repository}: its registry does not answer: {words}", hint="check image.repository, and the network"
    )
