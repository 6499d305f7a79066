"""Which endpoint answers for a task, what is known of its worker, and the way to it.

What an endpoint is was written down when it was deployed: a spec that was changed since changes it no more than the
worker.  Only where there is no such record, as on another machine, the spec is read, which takes longer than all else
before a request.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from vidctl.errors import NotDeployedError, SpecError, UsageError, VidctlError
from vidctl.journal import LARGEST_BYTES, Applied, Journal
from vidctl.kinds import KINDS
from vidctl.progress import Notify, Progress, silent
from vidctl.project import configs, settings
from vidctl.project.settings import Access, Project, Target
from vidctl.runpod import gpus
from vidctl.runpod.http import Http
from vidctl.runpod.jobs import Jobs
from vidctl.tasks.context import EndpointFacts, TaskEndpoint
from vidctl.tasks.invoker import Invoker
from vidctl.tasks.kept_answers import AnswerCache
from vidctl.tasks.spending import SpendingLimit

if TYPE_CHECKING:
    from vidctl.spec import EndpointSpec

# Under which names the facts stand in what the journal keeps of an endpoint.
IMAGE_TAG = "spec.image_tag"  # the image that a template's digest stands for, by its content
_TASK, _PROTOCOL, _VARIABLE = "spec.task", "spec.protocol", "spec.env."


def default_target(project: Project) -> Target | None:
    if not project.has_settings:
        return None
    from vidctl import spec

    return spec.settings_of(project.root).target


def cache_settings(project: Project) -> tuple[float | None, int]:
    """For how many seconds the project keeps answers to give them again, if at all, and how many bytes of them."""
    if not project.has_settings:
        return None, LARGEST_BYTES
    from vidctl import spec

    said = spec.settings_of(project.root)
    return said.cache, round(said.cache_gb * 1e9)


def connect(project: Project, target: Target, *, notify: Notify = silent) -> Access:
    """The way to the target; the local runtime is started when it does not run, and `notify` hears of it."""
    if target == "runpod":
        return settings.runpod_access(project)
    from vidctl.local import daemon

    running = daemon.up(settings.local_port(project), notify=lambda said: notify(Progress("local", said)))
    return Access("local", running.api_base_url, running.endpoint_base_url, running.api_key, running.has_rate_limits)


def facts_of(spec: EndpointSpec) -> EndpointFacts:
    """What callers must know of a spec's endpoint; values that may be secrets are left out."""
    names = KINDS[spec.task].variables if spec.task else ()
    variables = {name: None if name in spec.filled_in else spec.env[name] for name in names if name in spec.env}
    return EndpointFacts(spec.task, spec.image.protocol, variables)


def written(facts: EndpointFacts) -> dict[str, str | None]:
    """The facts as they stand in what the journal keeps of an endpoint."""
    variables = {f"{_VARIABLE}{name}": value for name, value in facts.variables.items()}
    return {_TASK: facts.task, _PROTOCOL: facts.protocol, **variables}


def recorded(document: Mapping[str, str | None]) -> EndpointFacts | None:
    """The facts in what the journal keeps; None in what an older vidctl wrote."""
    if _TASK not in document:
        return None
    variables = {name.removeprefix(_VARIABLE): value for name, value in document.items() if name.startswith(_VARIABLE)}
    return EndpointFacts(document[_TASK], document.get(_PROTOCOL), variables)


def deployed_gpus(journal: Journal, endpoint_id: str) -> tuple[str, int] | None:
    """RunPod's `gpuIds` of an endpoint, and how many GPUs a worker has, as vidctl last deployed it."""
    applied = journal.last_applied(endpoint_id)
    gpu_ids = applied.document.get("endpoint.gpu_ids") if applied else None
    return (gpu_ids, int(applied.document.get("endpoint.gpu_count") or 1)) if applied and gpu_ids else None


class EndpointFinder:
    """Finds the endpoint that answers for a task in a project, on one target.

    It may be given by its spec's name and an overlay, or by its id; else it is the one of the project's settings, or
    the only one that is deployed.  Raises UsageError for what cannot be meant.
    """

    def __init__(
        self,
        project: Project,
        target: Target,
        *,
        endpoint: str | None = None,
        overlay: str | None = None,
        endpoint_id: str | None = None,
        journal_bytes: int = LARGEST_BYTES,
    ) -> None:
        if (endpoint or overlay) and endpoint_id:
            raise UsageError("both an endpoint's name and an id are given", hint="give one of the two")
        if endpoint_id is not None and not endpoint_id.strip():
            raise UsageError("endpoint_id: it is empty")
        self._project = project
        self._target = target
        self._name = endpoint
        self._overlay = overlay
        self._endpoint_id = endpoint_id
        self._journal = Journal(project.journal_file, largest_bytes=journal_bytes)

    def find(self, task: str) -> TaskEndpoint:
        """The endpoint that answers; raise NotDeployedError, or UsageError where several may be meant."""
        if self._endpoint_id:
            return self._endpoint(self._endpoint_id, None)
        named = self._name or self._by_settings(task)
        if named:
            return self._named(task, configs.key_of(named, self._overlay))
        found = [each for each in self._deployed() if each.facts.task == task]
        if len(found) > 1:
            raise UsageError(
                f"{task}: several endpoints are deployed to {self._target}: {', '.join(each.name for each in found)}",
                hint=f"--endpoint {found[0].name}; or a default in vidctl.yaml: endpoints: {{{task}: {found[0].name}}}",
            )
        if not found:
            raise self._not_deployed(self._keys_for(task, self._overlay), configs.key_of(task, self._overlay))
        return found[0]

    def find_any(self) -> TaskEndpoint:
        """The endpoint that is named, whatever it is for, else the only one that is deployed; raises as `find` does."""
        if self._endpoint_id:
            return self._endpoint(self._endpoint_id, None)
        if self._name:
            key = configs.key_of(self._name, self._overlay)
            endpoint_id = self._id_of(key)
            self._check_is_known(key, endpoint_id, "")
            if endpoint_id is None:
                raise self._not_deployed([key], key)
            return self._endpoint(endpoint_id, key)
        found = list(self._deployed())
        if len(found) == 1:
            return found[0]
        known = [each.name for each in found] or self._keys(self._overlay)
        there = f"deployed to {self._target}: {', '.join(each.name for each in found) or 'none'}"
        raise UsageError(f"which endpoint? {there}", hint=f"name one: {', '.join(known)}" if known else None)

    def smoke_input(self, endpoint: TaskEndpoint) -> Path | None:
        """The file with the job of the endpoint's smoke test, by its spec; None where there is none."""
        spec = self._spec(endpoint.key) if endpoint.key else None
        return spec.smoke.input if spec and spec.smoke else None

    def connect(
        self,
        endpoint: TaskEndpoint,
        *,
        command: str | None = None,
        spending: SpendingLimit | None = None,
        cache_s: float | None = None,
        notify: Notify = silent,
    ) -> Invoker:
        """What sends jobs to the endpoint, on behalf of a command; its target is started if it must be.

        Answers that were kept for at most `cache_s` are given again, if it is known what is deployed.
        """
        access = connect(self._project, self._target, notify=notify)
        jobs = Jobs(
            Http(access.api_key),
            access.endpoint_base_url,
            if_unknown=self._if_unknown(endpoint.id),
            has_rate_limits=access.has_rate_limits,
        )
        cache = AnswerCache(cache_s, endpoint.version, notify) if cache_s and endpoint.version else None
        return Invoker(
            jobs,
            endpoint.id,
            target=self._target,
            journal=self._journal,
            spec=endpoint.key,
            command=command,
            spending=spending,
            cache=cache,
        )

    def gpus_of(self, endpoint: TaskEndpoint) -> tuple[str, int] | None:
        """RunPod's `gpuIds` of the endpoint and how many GPUs a worker has: as deployed, else as its spec says now."""
        if found := deployed_gpus(self._journal, endpoint.id):
            return found
        with suppress(SpecError):
            if endpoint.key and (spec := self._spec(endpoint.key)):
                return spec.gpu.ids, spec.gpu.count
        return None

    def price_per_s(self, task: str) -> float | None:
        """What a second of the task's worker costs, in US dollars; None where that is not known.

        It is the price of the first of its spec's GPUs, and RunPod may have given it another of them.
        """
        try:
            key = self.find(task).key
            spec = self._spec(key) if key else None
        except VidctlError:  # it was changed since it was deployed
            return None
        if spec is None:
            return None
        price = gpus.resolve(spec.gpu.names[0]).pool.price_per_s
        return None if price is None else price * spec.gpu.count

    def _named(self, task: str, key: str) -> TaskEndpoint:
        """The endpoint of a spec, which may be there for something else: it would be asked and paid for in vain."""
        where = "" if self._name else "vidctl.yaml: "
        endpoint_id = self._id_of(key)
        self._check_is_known(key, endpoint_id, where)
        endpoint = self._endpoint(endpoint_id, key) if endpoint_id else None
        is_for = endpoint.facts.task if endpoint else self._task_of(key)
        if is_for not in (None, task):
            others = ", ".join(self._keys_for(task, None))
            hint = f"specs for {task}: {others}" if others else f"{task} needs a spec with task: {task}"
            raise UsageError(f"{where}{key} is an endpoint for {is_for}, not for {task}", hint=hint)
        if endpoint is None:
            raise self._not_deployed([key], key)
        return endpoint

    def _check_is_known(self, key: str, endpoint_id: str | None, where: str) -> None:
        if endpoint_id or configs.file_of(self._project.root, key):
            return
        from vidctl import spec

        try:
            spec.find(key, root=self._project.root)
        except SpecError as error:  # it names the others
            message = f"{where}{key} is not deployed to {self._target}: {error.message}"
            raise NotDeployedError(message, hint=error.hint) from error

    def _not_deployed(self, keys: list[str], wanted: str) -> NotDeployedError:
        if not keys:
            return NotDeployedError(
                f"spec {wanted} not found in {self._project.root / 'configs'}",
                hint="vidctl works in a project: a folder with configs/, and any folder below it",
            )
        names = keys[0] if len(keys) == 1 else f"none of {', '.join(keys)}"
        return NotDeployedError(
            f"{names} is {'not ' * (len(keys) == 1)}deployed to {self._target}",
            hint=f"vidctl deploy {keys[0]} --target {self._target}",
        )

    def _if_unknown(self, endpoint_id: str) -> str:
        """What to do about an endpoint that its target does not know."""
        known = self._project.environ.items()
        names = [name for name, value in known if value == endpoint_id and "_ENDPOINT_ID" in name]
        if self._endpoint_id or not names:
            return f"run vidctl list --target {self._target} to see your endpoints"
        return f"{names[0]} names it, which is out of date: deploy its spec again with --target {self._target}"

    def _by_settings(self, task: str) -> str | None:
        """Whose endpoint answers for a task by what vidctl.yaml says."""
        if not self._project.has_settings:
            return None
        from vidctl import spec

        chosen: str | None = getattr(spec.settings_of(self._project.root).endpoints, task, None)
        return chosen

    def _id_of(self, key: str) -> str | None:
        return self._project.environ.get(settings.endpoint_id_name(key, self._target)) or None

    def _keys(self, overlay: str | None) -> list[str]:
        """The specs of the project, with the overlay where there is one to lay over them."""
        keys = (configs.key_of(each, overlay) for each in configs.specs(self._project.root))
        return [key for key in keys if configs.file_of(self._project.root, key)]

    def _deployed(self) -> Iterator[TaskEndpoint]:
        """The project's endpoints; one whose spec cannot be read is none of them: `vidctl validate` says why."""
        for key in self._keys(self._overlay):
            with suppress(SpecError):
                if endpoint_id := self._id_of(key):
                    yield self._endpoint(endpoint_id, key)

    def _keys_for(self, task: str, overlay: str | None) -> list[str]:
        return [key for key in self._keys(overlay) if self._task_of(key) == task]

    def _task_of(self, key: str) -> str | None:
        """What a spec's endpoint is for, or would be; None for a spec that cannot be read."""
        endpoint_id = self._id_of(key)
        try:
            return self._facts(key, self._journal.last_applied(endpoint_id) if endpoint_id else None).task
        except SpecError:
            return None

    def _endpoint(self, endpoint_id: str, key: str | None) -> TaskEndpoint:
        applied = self._journal.last_applied(endpoint_id)
        version = applied.fingerprint if applied else ""
        return TaskEndpoint(endpoint_id, key, self._facts(key, applied), version, partial(self._env, key))

    def _facts(self, key: str | None, applied: Applied | None) -> EndpointFacts:
        """What was recorded for just this spec, else what the spec says now."""
        if applied and key in (None, applied.spec) and (facts := recorded(applied.document)):
            return facts
        if key is None:
            return EndpointFacts()
        try:
            found = self._spec(key)
        except SpecError:
            found = self._spec(key, _AllSet(self._project.environ))
        return facts_of(found) if found else EndpointFacts()

    def _env(self, key: str | None) -> Mapping[str, str]:
        found = self._spec(key) if key else None
        return found.env if found else {}

    def _spec(self, key: str, environ: Mapping[str, str] | None = None) -> EndpointSpec | None:
        """The spec as it is now, as its target gets it; None for one that is there no more.  Raises SpecError."""
        file = configs.file_of(self._project.root, key)
        if file is None:
            return None
        from vidctl import spec

        found = spec.load(file, environ=self._project.environ if environ is None else environ)
        return found.with_local() if self._target == "local" else found


class _AllSet(dict[str, str]):
    """Variables among which each counts as set: those that are not were, where the endpoint was deployed."""

    def __contains__(self, _: object) -> bool:
        return True
