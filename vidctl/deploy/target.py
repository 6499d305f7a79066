"""What a deploy works with: a control plane, a source of images, and the target that holds them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, Protocol

from vidctl.errors import (
    VidctlError,
)
from vidctl.journal import Journal
from vidctl.progress import Notify
from vidctl.project import settings
from vidctl.runpod.jobs import Jobs
from vidctl.runpod.types import Account, Catalogue, Endpoint, NetworkVolume, RegistryLogin, Template, WorkerImage
from vidctl.runpod.workers import WorkersApi
from vidctl.spec import EndpointSpec


class Control(Protocol):
    """A control plane: both of RunPod's, and the local runtime's, look like this."""

    @property
    def plane(self) -> Literal["graphql", "rest"]: ...
    @property
    def has_graphql(self) -> bool: ...
    def account(self) -> Account: ...
    def save(self, endpoint: Endpoint, *, before: Endpoint | None) -> Endpoint: ...
    def delete(self, endpoint: Endpoint) -> None: ...
    def templates(self) -> tuple[Template, ...]: ...
    def delete_template(self, template: Template) -> None: ...
    def registries(self) -> tuple[RegistryLogin, ...]: ...
    def save_registry(self, name: str, username: str, password: str, *, id: str | None = None) -> RegistryLogin: ...  # noqa: A002  RunPod's word
    def delete_registry(self, login: RegistryLogin) -> None: ...
    def volumes(self) -> tuple[NetworkVolume, ...]: ...
    def data_centers(self) -> tuple[str, ...]: ...
    def catalogue(self) -> Catalogue: ...


class WorkerImages(Protocol):
    """Where workers' images come from."""

    def unfit(self, spec: EndpointSpec) -> VidctlError | None:
        """Why the target can never run this spec; None if it may."""
        ...

    def doubts(self, spec: EndpointSpec, image: WorkerImage) -> list[str]:
        """What a person should know of an image that others pull: that it moves, or that it needs a login."""
        ...

    def look(self, spec: EndpointSpec) -> WorkerImage:
        """Name the image by its content; with its digest when it can be pulled.  Builds nothing."""
        ...

    def problems(self, spec: EndpointSpec) -> list[VidctlError]:
        """Why the image could not be provided, as far as can be known before."""
        ...

    def provide(self, spec: EndpointSpec, env: Mapping[str, str], notify: Notify) -> WorkerImage:
        """Make the image usable by workers with this environment, if it is not yet."""
        ...


@dataclass(frozen=True)
class Target:
    """One place to deploy to, with everything that speaks to it."""

    name: settings.Target
    control: Control
    jobs: Jobs
    workers: WorkersApi
    images: WorkerImages
    journal: Journal
