"""From a worker's folder to an image in a registry: named by its content, built and pushed only when it is not there.

The tag is a hash of all that the image is made of (`context.py`), so that the same files are the same tag on every
machine, and asking the registry for the tag is all that a second deploy does.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterable, Mapping
from contextlib import closing
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from vidctl.errors import ImageError, VidctlError
from vidctl.images import buildx, context, dockerfile, streams
from vidctl.images.context import PLATFORM
from vidctl.images.inventory import Built, Pruned, built, outdated
from vidctl.images.log import ImageLog, secrets_of
from vidctl.images.provenance import labels, project_of
from vidctl.images.source import BuildSource, Login
from vidctl.progress import Notify, Progress
from vidctl.runpod.types import WorkerImage

if TYPE_CHECKING:
    from vidctl.images.engine import Engine

__all__ = ["BuildSource", "Built", "Images", "Login", "Pruned"]

_WAITS_S = (1.0, 4.0)  # before the second and the third try of a push whose line broke


_T = TypeVar("_T")


@dataclass(frozen=True)
class _Read:
    """A source as it was read: its files, its Dockerfile, its bases' digests, all its build arguments, its tag."""

    context: context.Context
    text: str
    bases: Mapping[str, str]
    args: Mapping[str, str]
    tag: str


class Images:
    """The images of a Docker engine, and what registries have of them.

    A tag is `repository:content-…`, a digest `repository@sha256:…`; where there is no repository, the image's id.
    `environ` names the engine and the logins, as `docker` reads it; full logs go to `logs`; `project` is the
    folder of the project whose images they are.  Whatever fails raises ImageError.  A file that is not touched is read
    once, a base's digest asked for once, in an object's life.
    """

    def __init__(self, environ: Mapping[str, str], *, logs: Path, project: Path) -> None:
        self._environ = environ
        self._logs = logs
        self._project = project_of(project)
        self._known: context.Digests = {}
        self._base_digests: dict[str, str] = {}

    # --- what is there -----------------------------------------------------------------------------------------

    def look(self, source: BuildSource) -> WorkerImage:
        """Find the tag, and the digest under which the registry has it; nothing is built or sent."""
        return self._look(source, self._read(source).tag)

    def problems(self, source: BuildSource) -> list[VidctlError]:
        """All that would stop a build or a push; nothing, when the image is there already."""
        try:
            engine = self._engine
        except ImageError as error:
            return [error]
        from vidctl.images import checks

        found: dict[str, VidctlError] = {}
        image = _tried(lambda: self.look(source), found)
        if image and image.digest:
            return []
        if read := _tried(lambda: self._read(source), found):
            _tried(lambda: checks.builder(source, read.text, self._environ), found)
            _tried(lambda: checks.room(source, read.context.size, engine), found)
        _tried(lambda: checks.push_login(source, engine), found)
        return list(found.values())

    # --- making it be there ------------------------------------------------------------------------------------

    def provide(self, source: BuildSource, notify: Notify) -> WorkerImage:
        """Build and push what is not there yet; return it with its digest."""
        from vidctl.images import checks

        read = self._read(source)
        image = self._look(source, read.tag)
        if image.digest:
            return image
        checks.push_login(source, self._engine)
        image = self._build(source, read, notify, force=False)
        return self._push(source, read.tag, notify) if source.repository else image

    def build(self, source: BuildSource, notify: Notify, *, force: bool = False) -> WorkerImage:
        """Build, unless this engine has it; with `force` always, and without the layer cache."""
        return self._build(source, self._read(source), notify, force=force)

    def push(self, source: BuildSource, notify: Notify) -> WorkerImage:
        """Push what was built, again when the line breaks; return the digest that the registry then reports."""
        return self._push(source, self._read(source).tag, notify)

    # --- what was built ----------------------------------------------------------------------------------------

    def built(self) -> list[Built]:
        """What this engine has of vidctl's, newest first."""
        return built(self._engine)

    def outdated(self, *, keep: int, keys: Collection[str] = (), repositories: Collection[str] = ()) -> list[Built]:
        """All but the newest `keep` of each of the project's specs (of these keys, else of every one).

        An image that no project's label is on is the project's if it is in one of these repositories.
        """
        return outdated(self.built(), keep=keep, keys=keys, project=self._project, repositories=repositories)

    def prune(self, outdated: Iterable[Built]) -> list[Pruned]:
        """Remove these from this engine, never from a registry; what a container uses is kept."""
        return [Pruned(each, self._engine.remove(each.tag)) for each in outdated]

    # --- how ---------------------------------------------------------------------------------------------------

    @cached_property
    def _engine(self) -> Engine:
        from vidctl.images.engine import Engine  # docker-py takes a quarter of a second to load

        return Engine(self._environ)

    def _read(self, source: BuildSource) -> _Read:
        text = source.read_dockerfile()
        named = dockerfile.bases(text, source.build_args, path=source.dockerfile_path, target=source.target)
        digests = {base.reference: self._base_digest(base, source) for base in named}
        found = context.read(source.folder, dockerfile=source.dockerfile, known=self._known)
        args = {**source.build_args, **dockerfile.platform_arguments(text, source.build_args)}
        tag = found.tag(dockerfile=source.dockerfile, build_args=args, bases=digests, target=source.target)
        return _Read(found, text, digests, args, f"{source.name}:{tag}")

    def _base_digest(self, base: dockerfile.Base, source: BuildSource) -> str:
        from vidctl.images import bases

        if base.reference not in self._base_digests:
            self._base_digests[base.reference] = bases.digest(base, source, self._engine)
        return self._base_digests[base.reference]

    def _look(self, source: BuildSource, tag: str) -> WorkerImage:
        if source.repository is None:
            found = self._usable(tag)
            return WorkerImage(tag, found["Id"] if found else None)
        from vidctl.images import checks

        answer = self._engine.ask(tag, source.login)
        if answer.problem == "refused":
            # Docker Hub answers so of a repository that is not there yet, whoever asks.
            checks.login(source, self._engine)
        elif answer.problem:
            raise checks.unreachable(source, answer.words)
        return WorkerImage(tag, f"{source.repository}@{answer.digest}" if answer.digest else None)

    def _usable(self, tag: str) -> dict[str, Any] | None:
        """The image on this engine, if it is one for RunPod's hosts."""
        found = self._engine.image(tag)
        return found if found and _platform(found) == PLATFORM else None

    def _build(self, source: BuildSource, read: _Read, notify: Notify, *, force: bool) -> WorkerImage:
        found = None if force else self._usable(read.tag)
        if found is None:
            from vidctl.images import bases, checks

            checks.builder(source, read.text, self._environ)
            checks.room(source, read.context.size, self._engine)
            with ImageLog(self._logs, source.key, "build", secrets=_secrets(source)) as log:
                bases.pull(read.bases, source, self._engine, notify=notify, log=log)
                found = self._checked(source, read, self._run(source, read, notify, log, use_cache=not force))
                self._engine.tag(found["Id"], read.tag)
            notify(Progress("build", f"{read.tag} is built"))
        return WorkerImage(read.tag, found["Id"] if source.repository is None else None)

    def _run(self, source: BuildSource, read: _Read, notify: Notify, log: ImageLog, *, use_cache: bool) -> str:
        """Build with what the Dockerfile needs; return the image's id."""
        content = read.tag.rpartition(":")[2]
        marks = labels(source.key, content, source.folder, self._environ, project=self._project)
        if dockerfile.buildkit_line(read.text):
            order = buildx.Order(source.key, source.dockerfile, source.build_args, marks, use_cache, source.target)
            return buildx.build(read.context.tar(), order, environ=self._environ, notify=notify, log=log)
        if line := dockerfile.syntax_line(read.text):
            notify(Progress("build", f"{source.dockerfile}:{line}: the syntax line is ignored without BuildKit"))
        lines = self._engine.build(
            read.context.tar(),
            dockerfile=source.dockerfile,
            target=source.target,
            build_args=read.args,
            labels=marks,
            cache_from=[each.tag for each in self._pushed_before(source)][:1],
            use_cache=use_cache,
        )
        with closing(lines):  # an engine goes on building for as long as someone listens
            return streams.follow_build(lines, key=source.key, notify=notify, log=log)

    def _pushed_before(self, source: BuildSource) -> list[Built]:
        known = built(self._engine, only=source.key)
        return [each for each in known if each.digest and each.is_of(self._project, [source.name])]

    def _checked(self, source: BuildSource, read: _Read, image_id: str) -> dict[str, Any]:
        """What was built, before it gets its name; raise ImageError if it is for other machines."""
        found = self._engine.image(image_id) or {}
        if _platform(found) != PLATFORM:
            raise ImageError(
                f"{source.key}: the image is for {_platform(found)}; RunPod's hosts are {PLATFORM}",
                hint=f"pull its base for it: docker pull --platform {PLATFORM} {next(iter(read.bases), 'BASE')}",
            )
        return found

    def _push(self, source: BuildSource, tag: str, notify: Notify) -> WorkerImage:
        if source.repository is None:
            raise ImageError(f"{source.key}: no repository to push to", hint="add image.repository to the spec")
        if self._usable(tag) is None:
            raise ImageError(f"{tag}: not built", hint=f"vidctl build {source.key}")
        with ImageLog(self._logs, source.key, "push", secrets=_secrets(source)) as log:
            digest = self._pushed(source, tag, notify, log)
        answer = self._engine.ask(tag, source.login)
        if answer.digest is None or digest not in (None, answer.digest):
            reported = answer.digest or answer.words or "not found"
            raise ImageError(
                f"{tag}: pushed as {digest}, but the registry reports {reported}", hint=f"vidctl push {source.key}"
            )
        notify(Progress("push", f"{tag} is in the registry: {answer.digest}"))
        return WorkerImage(tag, f"{source.repository}@{answer.digest}")

    def _pushed(self, source: BuildSource, tag: str, notify: Notify, log: ImageLog) -> str | None:
        for wait_s in _WAITS_S:
            try:
                return self._push_once(source, tag, notify, log)
            except streams.RegistryConnectionError as error:  # noqa: PERF203  that is what the loop is for
                notify(Progress("push", f"{error.message.splitlines()[0]}; retrying in {wait_s:g} s"))
                time.sleep(wait_s)
        return self._push_once(source, tag, notify, log)

    def _push_once(self, source: BuildSource, tag: str, notify: Notify, log: ImageLog) -> str | None:
        with closing(self._engine.push(tag, source.login)) as lines:
            return streams.follow_push(lines, key=source.key, notify=notify, log=log)


def _tried(check: Callable[[], _T], found: dict[str, VidctlError]) -> _T | None:
    """What a check returns; or None, and what it raised among those found, each once."""
    try:
        return check()
    except ImageError as error:
        found[error.message] = error
        return None


def _secrets(source: BuildSource) -> set[str]:
    return secrets_of(source.build_args) | ({source.login.password} if source.login else set())


def _platform(image: Mapping[str, Any]) -> str:
    return f"{image.get('Os')}/{image.get('Architecture')}"
