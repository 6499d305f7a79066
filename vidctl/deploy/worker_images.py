"""The images of a project's workers: prebuilt, built by a Docker engine, or a local process's folder itself."""

from __future__ import annotations

import re
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from vidctl.docker import worker_folder
from vidctl.errors import UsageError, VidctlError
from vidctl.images import BuildSource, Images, Login
from vidctl.local import daemon
from vidctl.local.workers import environments, folder_image
from vidctl.progress import Notify, Progress
from vidctl.project.settings import Project
from vidctl.runpod.image_registry import is_public
from vidctl.runpod.types import WorkerImage
from vidctl.spec import EndpointSpec, locate
from vidctl.spec.lint import MOVES, moves


class ProjectImages:
    """A `deploy.target.WorkerImages`; `local_isolation` is how the local runtime runs workers, None for RunPod."""

    def __init__(self, project: Project, local_isolation: daemon.Isolation | None) -> None:
        self._project = project
        self._local_isolation = local_isolation
        self._docker = docker_images(project)

    def look(self, spec: EndpointSpec) -> WorkerImage:
        if self._is_folder(spec):
            name = folder_image.image_name(_folder(spec), spec.handler)
            return WorkerImage(name, name)
        if spec.image.reference is not None:
            return WorkerImage(spec.image.reference, spec.image.reference)
        return self._docker.look(self._source(spec))

    def unfit(self, spec: EndpointSpec) -> VidctlError | None:
        if self._is_folder(spec):
            return None if spec.image.build else _no_folder(spec)
        if spec.image.build and spec.image.repository is None and self._local_isolation is None:
            hint = "add image.repository: docker.io/NAME/worker"
            return UsageError(f"{spec.key}: image.repository is missing: RunPod pulls the image from it", hint=hint)
        return None

    def doubts(self, spec: EndpointSpec, image: WorkerImage) -> list[str]:
        reference = spec.image.reference or image.digest
        if self._is_folder(spec) or reference is None:
            return []
        found = [f"{spec.key}: {reference}: {MOVES}"] if moves(spec.image.reference) else []
        if self._local_isolation is None and spec.registry_auth is None and is_public(reference) is False:
            found.append(
                f"{spec.key}: RunPod cannot pull {reference}: its registry requires authentication, and the spec"
                " has no registry_auth"
            )
        return found

    def problems(self, spec: EndpointSpec) -> list[VidctlError]:
        if unfit := self.unfit(spec):
            return [unfit]
        if self._is_folder(spec):
            return []
        if found := placeholder(spec):
            return [found]
        return [] if spec.image.reference is not None else self._docker.problems(self._source(spec))

    def provide(self, spec: EndpointSpec, env: Mapping[str, str], notify: Notify) -> WorkerImage:
        if self._is_folder(spec):
            environments.interpreter(_folder(spec), env, lambda line: notify(Progress("image", line)))
            return self.look(spec)
        if spec.image.reference is not None:
            return self.look(spec)
        return self._docker.provide(self._source(spec), notify)

    def _source(self, spec: EndpointSpec) -> BuildSource:
        return image_source(spec, self._project.environ)

    def _is_folder(self, spec: EndpointSpec) -> bool:
        """Whether the worker runs as a process of the local runtime, without a container."""
        return self._local_isolation is not None and (spec.isolation or self._local_isolation) == "process"


def docker_images(project: Project) -> Images:
    """The Docker engine that `docker` would use, with the project's folder for logs."""
    return Images(project.environ, logs=project.root / ".vidctl" / "logs", project=project.root)


def has_changed_folder(image: str) -> bool:
    """Whether an image is a worker's folder as it no longer is."""
    if not folder_image.is_folder(image):
        return False
    with suppress(VidctlError):
        return folder_image.image_name(folder_image.folder(image), folder_image.handler(image)) != image
    return True


def image_source(each: EndpointSpec, environ: Mapping[str, str]) -> BuildSource:
    """What to build for a spec; raise UsageError for one with a prebuilt image."""
    image, login = each.image, each.registry_auth
    if image.build is None:
        raise UsageError(
            f"{each.key}: its image is prebuilt ({image.reference})",
            hint=f"run vidctl deploy {each.key}: it needs no build",
        )
    password = environ.get(login.password_variable) if login and login.password_variable else None
    return BuildSource(
        key=each.key,
        folder=image.build,
        repository=image.repository,
        dockerfile=str(worker_folder.dockerfile(image.build, image.dockerfile)),
        target=image.target,
        build_args=each.build_args,
        login=Login(login.username, password) if login and login.username and password else None,
    )


def _folder(spec: EndpointSpec) -> Path:
    if spec.image.build is None:
        raise _no_folder(spec)
    return spec.image.build


_YOU = re.compile(r"(?:(?:index\.)?docker\.io/)?you/")


def placeholder(spec: EndpointSpec) -> UsageError | None:
    """The error of an image whose name is still an example's."""
    name = spec.image.reference or spec.image.repository or ""
    if not _YOU.match(name):
        return None
    where = locate(spec, ("image",)) or spec.key
    hint = "export VIDCTL_REPOSITORY=docker.io/NAME with your own name, or write it in the spec"
    return UsageError(f"{where}: docker.io/you is a placeholder for your own account: {name}", hint=hint)


def _no_folder(spec: EndpointSpec) -> UsageError:
    return UsageError(
        f"{spec.key}: the local runtime runs a worker's folder, and image has no build:",
        hint="give image a build: folder, or run images: vidctl local up --isolation container",
    )
