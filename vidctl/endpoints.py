"""Which endpoint is meant: by the specs of a project, its settings and what was deployed; and the way to its target."""

from __future__ import annotations

import re
from pathlib import Path

from vidctl.errors import VidctlError
from vidctl.progress import Notify, Progress, silent
from vidctl.project import configs, settings
from vidctl.project.settings import Access, Project


def default_target(project: Project) -> settings.Target | None:
    if not project.has_settings:
        return None
    from vidctl import spec

    return spec.settings_of(project.root).target


def default_endpoint(task: str, project: Project) -> str | None:
    """Whose endpoint answers for a task by what vidctl.yaml says."""
    if not project.has_settings:
        return None
    from vidctl import spec

    chosen: str | None = getattr(spec.settings_of(project.root).endpoints, task, None)
    return chosen


def connect(project: Project, target: settings.Target, *, notify: Notify = silent) -> Access:
    """The way to the target; the local runtime is started when it does not run, and `notify` hears of it."""
    if target == "runpod":
        return settings.runpod_access(project)
    from vidctl.local import daemon

    running = daemon.up(settings.local_port(project), notify=lambda said: notify(Progress("local", said)))
    return Access("local", running.api_base_url, running.endpoint_base_url, running.api_key)


def keys_of(task: str, project: Project, overlay: str | None) -> list[str]:
    """The specs for a task; a spec that cannot be read is not one of them, and `vidctl validate` says why."""
    keys = (configs.key_of(spec, overlay) for spec in configs.specs(project.root))
    files = {key: file for key in keys if (file := configs.file_of(project.root, key))}
    return [key for key, file in files.items() if task_of(file, project) == task]


def task_of(path: Path, project: Project) -> str | None:
    """A spec's task: from its line, or by reading the spec whole, which takes longer than all else before a request."""
    try:
        for file in reversed(configs.layers(path)):
            if line := re.search(r"^task: *([a-z]+) *(?:#.*)?$", file.read_text(encoding="utf-8"), re.MULTILINE):
                return line[1]
        from vidctl import spec

        return spec.load(path, environ=project.environ).task
    except (VidctlError, OSError, ValueError):
        return None


def protocol_of(key: str, project: Project) -> str | None:
    """What the spec says of its prebuilt image's worker; most say nothing, and need not be read whole for that."""
    file = configs.file_of(project.root, key)
    if file is None or not any(
        re.search(r"^[^#\n]*\bprotocol[\"']?\s*:", text, re.MULTILINE) for text in layer_texts(file)
    ):
        return None
    from vidctl import spec

    return spec.load(file, environ=project.environ).image.protocol


def layer_texts(path: Path) -> list[str]:
    try:
        return [file.read_text(encoding="utf-8") for file in configs.layers(path)]
    except (OSError, ValueError):
        return []
