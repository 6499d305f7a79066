"""`vidctl destroy`."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Annotated, Any

import typer

from vidctl.cli import options, targets

if TYPE_CHECKING:
    from vidctl.cli.report import Report
    from vidctl.deploy.destroy import Possession
    from vidctl.deploy.target import Target
    from vidctl.progress import Notify
    from vidctl.project.settings import Project


@options.spread
def destroy(
    names: Annotated[
        list[str] | None,
        typer.Argument(metavar="[NAME…]", help="Specs or endpoint ids.", autocompletion=options.specs),
    ] = None,
    every: Annotated[
        bool,
        typer.Option("--all", help="All that the specs in configs/ and their overlays made; with -e, that overlay's."),
    ] = False,
    env: options.Environment = None,
    target: options.Target = None,
    adopt: Annotated[bool, typer.Option("--adopt", help="Delete even what vidctl or this spec did not make.")] = False,
    *,
    how: options.ChangeOptions,
    said: options.ReportOptions,
) -> None:
    """Delete endpoints with their templates.

    Their workers and queued jobs are deleted too.  The specs stay.
    """
    from vidctl.deploy import destroy as destroy_
    from vidctl.deploy import lock, plan

    report = said.report()
    project, place = targets.deployed(report, target)
    words = _words(names or [], env, project, every=every)
    made_by = {each.id: plan.owner(each) for each in place.control.account().endpoints}
    keys = [made_by.get(word) or word for word in words]  # a deploy of what goes by its id holds its spec's lock
    with lock.held(project.root, place.name, keys, timeout_s=60, notify=report.step):
        found = (
            _all_of(words, project, place, report)
            if every
            else [destroy_.find(word, project, place, adopts=adopt) for word in words]
        )
        what = ", ".join(str(each) for each in found)
        if found:
            how.confirmed(f"delete {what} on {place.name}?", report, "deleted")
        if how.dry_run:
            _print([_entry(each, place) for each in found], report, [f"would delete {each}" for each in found])
            return
        _destroy_all(found, project, place, report)


def _words(names: list[str], env: str | None, project: Project, *, every: bool) -> list[str]:
    """What is meant: keys of specs, and ids; raise UsageError where nothing is, or both."""
    from vidctl.errors import UsageError
    from vidctl.project import configs

    if every == bool(names):
        raise UsageError("name the endpoints, or use --all", hint="vidctl list shows what there is")
    if not every:
        return list(dict.fromkeys(configs.key_of(name, env) for name in names))
    return [key for key in configs.keys(project.root) if env is None or key.endswith(f".{env}")]


def _all_of(keys: list[str], project: Project, place: Target, report: Report) -> list[Possession]:
    """What there is of each spec that was deployed; what has its name and is another's is left, and said."""
    from vidctl.deploy import destroy
    from vidctl.errors import NotDeployedError, NotOwnedError, SpecError

    found: list[Possession] = []
    for key in keys:
        try:
            found.append(destroy.find(key, project, place, adopts=False))
        except (NotDeployedError, SpecError):  # noqa: PERF203  of a spec that cannot be read, its stamp was sought
            continue
        except NotOwnedError as error:
            report.note(f"left as it is: {error.message}")
    return found


def _destroy_all(found: list[Possession], project: Project, place: Target, report: Report) -> None:
    """Delete each, those after one that cannot be deleted too; raise what went wrong."""
    from vidctl.errors import SeveralError, VidctlError

    documents: list[dict[str, Any]] = []
    failures: list[VidctlError] = []
    with report.live() as notify:
        for each in found:
            try:
                documents.append(delete(each, project, place, report, notify))
            except VidctlError as error:  # noqa: PERF203  the others cost money as long as they are there
                failures.append(error)
    _print(documents, report, [] if found else [f"nothing of this project is deployed to {place.name}"])
    if failures:
        raise SeveralError.of(failures)


def _print(documents: list[dict[str, Any]], report: Report, lines: list[str]) -> None:
    if report.as_json:
        print(json.dumps(documents, indent=2))  # noqa: T201
        return
    for line in lines:
        print(line)  # noqa: T201


def _entry(thing: Possession, place: Target) -> dict[str, Any]:
    return {"spec": thing.key, "target": place.name, "endpoint_id": thing.live and thing.live.id}


def delete(thing: Possession, project: Project, place: Target, report: Report, notify: Notify) -> dict[str, Any]:
    """Delete it, and say what was deleted and what is kept; what --json prints of it."""
    from vidctl.deploy import destroy

    kept = destroy.destroy(thing, place, notify=notify, gone=lambda: _forget(thing, project, place))
    if not report.as_json and (thing.live or not kept):
        print(f"{thing.key}: deleted {thing}")  # noqa: T201
    for sentence in [*kept, *destroy.login_left(thing, place)]:
        report.note(f"{thing.key}: {sentence}")
    entry = _entry(thing, place)
    return {**entry, "kept": list(kept)} if kept else entry


def _forget(gone: Possession, project: Project, place: Target) -> None:
    """Take the endpoint's id out of .env; that of another project's spec of the same name stays."""
    from vidctl.project import env_file, settings

    variable = settings.endpoint_id_name(gone.key, place.name)
    if gone.live is None or project.environ.get(variable) == gone.live.id:
        env_file.forget(project.env_file, variable)
