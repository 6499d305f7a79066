"""What a script imports and the command line is a thin user of: here the real collaborators are made."""

from __future__ import annotations

import os
import re
from collections.abc import Generator, Iterable
from pathlib import Path
from typing import Any

from vidctl import configs, detection, settings
from vidctl.detection import Found
from vidctl.errors import NotDeployed, UsageError, VidctlError
from vidctl.invoke import Invoker
from vidctl.journal import Journal
from vidctl.media.sources import Source, expand
from vidctl.runpod.http import Http, download
from vidctl.runpod.jobs import Jobs
from vidctl.settings import Access, Project
from vidctl.tasks.answer import Failed
from vidctl.tasks.detect import Detections, DetectOptions


class Client:
    """One project and one target.

    `target` is "local" or "runpod" (default: runpod when RUNPOD_API_KEY is set, in the environment or `.env`);
    `endpoint` names a spec (`yolo`), `overlay` what lies over it (`prod`; the endpoint `yolo.prod` says both),
    `endpoint_id` an endpoint of any origin; by default the deployed spec of the task is used.  `timeout_s` is how long
    to wait for one job.  Every failure is a `vidctl.errors.VidctlError`.
    """

    def __init__(
        self,
        *,
        target: str | None = None,
        endpoint: str | None = None,
        overlay: str | None = None,
        endpoint_id: str | None = None,
        project: Path | str = ".",
        timeout_s: float = 600,
    ) -> None:
        if (endpoint or overlay) and endpoint_id:
            raise UsageError("both an endpoint's name and an id are given", hint="give one of the two")
        self.project = settings.open_project(Path(project), os.environ)
        self.target, self.is_target_by_default = settings.choose_target(
            self.project, target, default=_default_target(self.project)
        )
        self._endpoint = endpoint
        self._overlay = overlay
        self._endpoint_id = endpoint_id
        self._timeout_s = timeout_s
        self._invoker: Invoker | None = None

    def detect(self, source: str | os.PathLike[str] | bytes, **options: Any) -> Detections:
        """Find objects in one picture: a path, an https:// URL, or a picture file's bytes.

        `options` are those of `DetectOptions`.  Boxes are in the picture's own pixels, as displayed.  Raises
        MediaError, JobFailed, TimedOut, ….
        """
        picture = Source("picture", data=source) if isinstance(source, bytes) else source
        found = list(self.detect_many([picture], **options))
        if len(found) != 1:
            raise UsageError(f"{picture} means {len(found)} pictures", hint="use detect_many")
        result = found[0].result
        if isinstance(result, Failed):
            raise result.error
        return result

    def detect_many(
        self, sources: Iterable[str | os.PathLike[str] | Source], *, recursive: bool = False, **options: Any
    ) -> Generator[Found, None, None]:
        """Yield what was found in each picture, in the order of `sources`: files, folders, globs, URLs, `@lists`.

        A picture that fails does not stop the rest.  Many pictures travel in a job, several jobs at once; closing the
        iterator cancels what is out.
        """
        chosen = DetectOptions(**options)
        pictures: list[Source] = []
        for source in sources:
            pictures += [source] if isinstance(source, Source) else expand([os.fspath(source)], recursive=recursive)
        if self.target == "runpod":
            settings.runpod_access(self.project)  # a missing key is the first thing to say
        endpoint_id = self.endpoint_id("detect")  # before anything is started for an endpoint that is not there
        access = connect(self.project, self.target)
        self._invoker = Invoker(
            Jobs(Http(access.api_key), access.endpoint_base_url),
            endpoint_id,
            target=self.target,
            journal=Journal(self.project.journal_file),
        )
        return detection.detect(pictures, chosen, self._invoker, fetch=download, timeout_s=self._timeout_s)

    def interrupt(self) -> VidctlError:
        """Cancel what is out; return the error that says what was cancelled."""
        if self._invoker is None:
            return UsageError("nothing was running")
        return self._invoker.interrupt()

    def endpoint_id(self, task: str) -> str:
        """The endpoint that answers for a task; raise NotDeployed."""
        if self._endpoint_id:
            return self._endpoint_id
        named, overlay = self._endpoint, self._overlay
        keys = [configs.key_of(named, overlay)] if named else _keys_of(task, self.project, overlay)
        for key in keys:
            if endpoint_id := self.project.environ.get(settings.endpoint_id_name(key, self.target)):
                return endpoint_id
        raise NotDeployed(
            f"{' or '.join(keys) or configs.key_of(f'a spec for {task}', overlay)} is not deployed to {self.target}",
            hint=f"vidctl deploy {keys[0] if keys else 'NAME'} --target {self.target}",
        )


def _default_target(project: Project) -> settings.Target | None:
    if not project.has_settings:
        return None
    from vidctl import spec

    return spec.settings_of(project.root).target


def connect(project: Project, target: settings.Target) -> Access:
    """The way to the target; the local runtime is started when it does not run."""
    if target == "runpod":
        return settings.runpod_access(project)
    from vidctl.local import daemon

    running = daemon.up(settings.local_port(project))
    return Access("local", running.api_base_url, running.endpoint_base_url, running.api_key)


def _keys_of(task: str, project: Project, overlay: str | None) -> list[str]:
    """The specs for a task; a spec that cannot be read is not one of them, and `vidctl validate` says why."""
    keys = (configs.key_of(spec, overlay) for spec in configs.specs(project.root))
    files = {key: file for key in keys if (file := configs.file_of(project.root, key))}
    return [key for key, file in files.items() if _task_of(file, project) == task]


def _task_of(path: Path, project: Project) -> str | None:
    """A spec's task: from its line, or by reading the spec whole, which takes longer than all else before a request."""
    try:
        for file in reversed(configs.layers(path)):
            if line := re.search(r"^task: *([a-z]+) *(?:#.*)?$", file.read_text(encoding="utf-8"), re.MULTILINE):
                return line[1]
        from vidctl import spec

        return spec.load(path, environ=project.environ).task
    except (VidctlError, OSError, ValueError):
        return None
