"""What a doctor's checks look at: a project, its specs, a target, and the way there, without starting anything."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from vidctl import spec as specs
from vidctl.deploy.doctor.finding import Finding
from vidctl.errors import AuthError, SpecError
from vidctl.local import daemon
from vidctl.project import configs, settings
from vidctl.project.settings import Access, Project
from vidctl.spec import EndpointSpec, SpecProblem


@dataclass(frozen=True)
class DoctorScope:
    """`access` is None where there is no key, or no local runtime runs: `key` says so."""

    project: Project
    target: settings.Target
    specs: tuple[EndpointSpec, ...]
    control: settings.ControlPlane
    access: Access | None
    key: Finding
    settings_mistakes: tuple[SpecProblem, ...] = ()
    begins_upload: bool = False

    @property
    def environ(self) -> Mapping[str, str]:
        return self.project.environ

    @property
    def no_access(self) -> Finding:
        """What a check finds that needs the way there, where there is none."""
        return Finding("skipped", "the local runtime is not running" if self.is_local else "no key")

    @property
    def is_local(self) -> bool:
        return self.target == "local"

    @property
    def needs_engine(self) -> bool:
        """Whether a deploy to the target builds images."""
        if not self.is_local:
            return any(each.image.build for each in self.specs)
        return any(each.isolation == "container" for each in self.specs)


def scope_of(
    project: Project,
    target: settings.Target,
    *,
    settings_mistakes: Sequence[SpecProblem] = (),
    begins_upload: bool = False,
) -> DoctorScope:
    """Read the project's specs, those with mistakes left out, and find the way to the target.

    `settings_mistakes` are those in vidctl.yaml.
    """
    access, key = _access(project, target)
    valid, control = tuple(_valid(project, target)), _control(project)
    return DoctorScope(project, target, valid, control, access, key, tuple(settings_mistakes), begins_upload)


def _valid(project: Project, target: settings.Target) -> list[EndpointSpec]:
    found = []
    for file in configs.files(project.root):
        try:
            spec = specs.load(file, environ=project.environ)
        except SpecError:  # what is wrong is the check's of the specs
            continue
        found.append(spec.with_local() if target == "local" else spec)
    return found


def _control(project: Project) -> settings.ControlPlane:
    try:
        return settings.control_plane(project, specs.settings_of(project.root).control)
    except SpecError:
        return settings.control_plane(project, None)


def _access(project: Project, target: settings.Target) -> tuple[Access | None, Finding]:
    if target == "runpod":
        try:
            access = settings.runpod_access(project)
            return access, Finding("ok", f"RUNPOD_API_KEY is set, for {access.api_base_url}")
        except AuthError as error:
            return None, Finding("fail", error.message, error.hint)
    running = daemon.connection(settings.local_port(project))
    if running is None:
        return None, Finding("skipped", "the local runtime, which makes its own, is not running", "vidctl local up")
    found = Access("local", running.api_base_url, running.endpoint_base_url, running.api_key)
    return found, Finding("ok", f"the local runtime's own, for {running.url}")
