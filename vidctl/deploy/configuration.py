"""Every setting, its value and where it comes from: what `vidctl config show` tells."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

from vidctl import spec
from vidctl.local import daemon
from vidctl.local.workers import environments
from vidctl.project import env_file, settings
from vidctl.project.settings import Project
from vidctl.spec import ProjectSettings
from vidctl.text import HIDDEN, is_secret_name, is_secret_value

DEFAULT: Final = "default"
_FILE: Final = "vidctl.yaml"

# Variables that the environment or .env may set, with what holds where neither does.
_VARIABLES: Final[Mapping[str, str | None]] = {
    "RUNPOD_API_KEY": None,
    "RUNPOD_API_BASE_URL": settings.API_BASE_URL,
    "RUNPOD_ENDPOINT_BASE_URL": settings.ENDPOINT_BASE_URL,
    "VIDCTL_REGISTRY_PASSWORD": None,
    "VIDCTL_LOCAL_PORT": str(daemon.DEFAULT_PORT),
    "DOCKER_HOST": None,
    "DOCKER_CONTEXT": None,
    "DOCKER_CONFIG": None,
}


@dataclass(frozen=True)
class ConfiguredValue:
    """One setting; `value` is None where it is not set, and hidden where it may be a secret."""

    name: str
    value: str | None
    origin: str

    def shown(self) -> ConfiguredValue:
        is_secret = is_secret_name(self.name.rpartition(".")[2]) or is_secret_value(self.value or "")
        return replace(self, value=HIDDEN) if is_secret and self.value else self


def configured(project: Project, environ: Mapping[str, str], *, target: str | None = None) -> list[ConfiguredValue]:
    """All settings of a project; `environ` is the environment alone, `target` what the command line says."""
    said = spec.settings_of(project.root)
    dotenv = env_file.variables(project.env_file, environ)
    found = [
        ConfiguredValue("project", str(project.root), "configs/" if (project.root / "configs").is_dir() else DEFAULT),
        _target(project, said, environ, dotenv, target),
        _control(project, said, environ, dotenv),
        *_variables(environ, dotenv),
        ConfiguredValue("VIDCTL_STATE_DIR", str(daemon.state_dir()), _of("VIDCTL_STATE_DIR", environ, {})),
        ConfiguredValue("VIDCTL_CACHE_DIR", str(environments.cache_dir()), _of("VIDCTL_CACHE_DIR", environ, {})),
        *_of_file(said),
    ]
    return [each.shown() for each in found]


def _of(name: str, environ: Mapping[str, str], dotenv: Mapping[str, str]) -> str:
    """Where a variable's value comes from."""
    return "environment" if name in environ else ".env" if name in dotenv else DEFAULT


def _target(
    project: Project, said: ProjectSettings, environ: Mapping[str, str], dotenv: Mapping[str, str], flag: str | None
) -> ConfiguredValue:
    chosen, _ = settings.choose_target(project, flag, default=said.target)
    origin = "flag" if flag else _of("VIDCTL_TARGET", environ, dotenv)
    return ConfiguredValue("target", chosen, _FILE if origin == DEFAULT and said.target else origin)


def _control(
    project: Project, said: ProjectSettings, environ: Mapping[str, str], dotenv: Mapping[str, str]
) -> ConfiguredValue:
    origin = _of("VIDCTL_CONTROL", environ, dotenv)
    plane = settings.control_plane(project, said.control)
    return ConfiguredValue("control", plane, _FILE if origin == DEFAULT and said.control else origin)


def _variables(environ: Mapping[str, str], dotenv: Mapping[str, str]) -> Iterator[ConfiguredValue]:
    """Those that vidctl reads, and all others that .env sets: specs may use them."""
    merged = {**dotenv, **environ}
    for name in dict.fromkeys([*_VARIABLES, *dotenv]):
        if name not in ("VIDCTL_TARGET", "VIDCTL_CONTROL"):
            yield ConfiguredValue(name, merged.get(name, _VARIABLES.get(name)), _of(name, environ, dotenv))


def _of_file(said: ProjectSettings) -> Iterator[ConfiguredValue]:
    """What else vidctl.yaml may say, each part of it by its own name."""
    for name in type(said).model_fields:
        if name not in ("target", "control"):
            yield from _parts(name, getattr(said, name), name in said.model_fields_set)


def _parts(name: str, value: Any, is_said: bool) -> Iterator[ConfiguredValue]:
    if hasattr(value, "model_fields_set"):
        for part in type(value).model_fields:
            yield from _parts(f"{name}.{part}", getattr(value, part), part in value.model_fields_set)
    elif isinstance(value, Mapping):
        for part, inner in value.items():
            yield from _parts(f"{name}.{part}", inner, is_said)
    else:
        text = None if value is None else str(value).lower() if isinstance(value, bool) else str(value)
        yield ConfiguredValue(name, text, _FILE if is_said else DEFAULT)
