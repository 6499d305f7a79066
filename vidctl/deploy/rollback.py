"""Restore what last worked when a new version does not: which container that was, and saving it."""

from __future__ import annotations

import dataclasses
from contextlib import suppress

from vidctl import endpoints
from vidctl.deploy import model_cache
from vidctl.deploy.model_cache import Models
from vidctl.deploy.plan import Document, Plan, document
from vidctl.deploy.target import Target
from vidctl.errors import ApiError, RolledBackError, TimedOutError, VidctlError
from vidctl.journal import Journal
from vidctl.progress import Notify, Progress
from vidctl.runpod.types import Endpoint, Template
from vidctl.runpod.waiting import settled

RELEASE = "release.version"  # in what the journal keeps of what passed its smoke test: RunPod's number of it


def release_of(target: Target, endpoint_id: str) -> dict[str, str | None]:
    """RunPod's number of the endpoint as it now is, for the journal; nothing where REST v2 is not to be had."""
    with suppress(VidctlError):
        number = target.workers.workers(endpoint_id).endpoint_version
        return {} if number is None else {RELEASE: str(number)}
    return {}


def last_good(journal: Journal, todo: Plan) -> Template | None:
    """The container to restore if the new one does not work; None when no good one is known.

    That is what is live now, if it was proved, or if the journal does not know the endpoint; else what was last proved,
    with the values of its secrets, which the journal does not keep, as they are live: a version whose secret is gone
    cannot be restored.
    """
    before = todo.before
    if before is None or before.id is None:
        return None
    last = journal.last_applied(before.id)
    good = journal.last_good(before.id)
    if last is None:
        return before.template
    if good is None:
        return None
    if _is_same_container(document(before, todo.hidden), good.document):
        return before.template
    return container_of(good.document, before.template)


def _is_same_container(live: Document, good: Document) -> bool:
    """Whether they agree, as far as the journal knows."""
    paths = {path for path in (*live, *good) if path.startswith("template.") and path != "template.name"}
    return all(
        path in live and path in good and (None in (live[path], good[path]) or live[path] == good[path])
        for path in paths
    )


def container_of(known: Document, live: Template) -> Template | None:
    prefix = "template.env."
    names = [path.removeprefix(prefix) for path in known if path.startswith(prefix)]
    values = {name: live.env.get(name) if known[prefix + name] is None else known[prefix + name] for name in names}
    env = {name: value for name, value in values.items() if value is not None}
    if len(env) < len(values):
        return None
    return dataclasses.replace(
        live,
        image=known.get("template.image") or live.image,
        container_disk_gb=int(known.get("template.container_disk_gb") or live.container_disk_gb),
        docker_args=known.get("template.docker_args") or "",
        registry_auth_id=known.get("template.registry_auth_id") or "",
        env=env,
    )


def restore(
    target: Target, todo: Plan, live: Endpoint, good: Template, error: VidctlError, notify: Notify
) -> VidctlError:
    """Restore the last good container and its model cache, the scaling stays as the spec says.

    Return the error that tells of both.
    """
    notify(Progress("rollback", f"rolling back to {good.image}"))
    template = dataclasses.replace(good, id=live.template.id, name=live.template.name)
    models = models_then(target.journal, todo, live)
    wanted = dataclasses.replace(live, template=template, model_references=models.saved)
    try:
        target.control.save(wanted, before=live)
        again = settled(
            lambda: next((each for each in target.control.account().endpoints if each.id == live.id), None),
            lambda again: again is not None and again.template == template and _holds(again, models),
        )
    except VidctlError as failure:
        return _not_restored(live, error, failure.message)
    if again is None or again.template != template or not _holds(again, models):
        return _not_restored(live, error, "it reads back differently")
    target.journal.applied(
        spec=todo.key,
        target=target.name,
        endpoint_id=live.id or "",
        document={
            **document_then(target.journal, dataclasses.replace(again, model_references=models.requested), todo),
            **release_of(target, live.id or ""),
        },
        fingerprint="",
        is_proven=True,
    )
    return RolledBackError(
        f"{error.message}\nRolled back to the last good version: {good.image}",
        hint=f"{_advice(error)}; --no-rollback keeps the new version",
        endpoint=live.id,
        job_id=error.job_id,
        status=error.status,
    )


def _advice(error: VidctlError) -> str:
    """A worker that fails is to be fixed; one that was slow may be well."""
    if isinstance(error, TimedOutError):
        return "give it longer with --timeout, or set RUNPOD_INIT_TIMEOUT under env in the spec"
    return "fix the worker and redeploy"


def models_then(journal: Journal, todo: Plan, live: Endpoint) -> Models:
    """What RunPod's model cache held for the last good version; over REST v2 it has not changed."""
    good, before = journal.last_good(live.id or ""), todo.before
    requested = model_cache.requested(good.document if good else None)
    if live.model_references is None or requested == todo.models.requested:
        return Models(live.model_references, todo.models.requested)
    there = before.model_references if before else None
    return Models(
        there if there is not None and (not requested or model_cache.is_held(there, requested)) else requested,
        requested,
    )


def _holds(live: Endpoint, models: Models) -> bool:
    return models.saved is None or model_cache.is_held(live.model_references or (), models.saved)


def document_then(journal: Journal, again: Endpoint, todo: Plan) -> dict[str, str | None]:
    """What the journal keeps of the restored endpoint: values that the last good version kept to itself are hidden.

    What its callers must know of it is what was recorded of that version.
    """
    good = journal.last_good(again.id or "")
    known = good.document if good else {}
    hidden = frozenset(path.removeprefix("template.env.") for path, value in known.items() if value is None)
    facts = endpoints.recorded(known)
    return {**document(again, todo.hidden | hidden), **(endpoints.written(facts) if facts else {})}


def _not_restored(live: Endpoint, error: VidctlError, why: str) -> ApiError:
    failed = ApiError(
        f"{error.message}\nThe rollback to the last good version failed: {why}",
        hint="deploy again, or check the endpoint in RunPod's console",
        endpoint=live.id,
        job_id=error.job_id,
        status=error.status,
    )
    failed.has_lines = True
    return failed
