"""`vidctl deploy` and `vidctl jobs`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from vidctl.cli import options

if TYPE_CHECKING:
    from vidctl.cli.report import Report
    from vidctl.deploy import Target
    from vidctl.plan import Plan
    from vidctl.settings import Project
    from vidctl.spec import EndpointSpec


def deploy(
    names: Annotated[
        list[str],
        typer.Argument(metavar="NAME…", help="Specs: yolo means configs/yolo.yaml.", autocompletion=options.specs),
    ],
    target: options.Target = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", "-n", help="Print the plan and change nothing.")] = False,
    timeout: Annotated[float, typer.Option(min=1, help="Seconds to wait for the smoke test.")] = 600,
    as_json: options.Json = False,
    quiet: options.Quiet = False,
    verbose: options.Verbose = False,
    debug: options.Debug = False,
) -> None:
    """Make endpoints as their specs say, and prove that they answer.

    Compares the spec with what is live, writes only what differs, reads it back, sends the smoke test and puts the
    endpoint's id into .env.  Doing it again changes nothing.
    """
    import os

    from vidctl import client, settings, spec
    from vidctl.cli.report import Report

    report = Report(quiet=quiet, verbose=verbose, as_json=as_json)
    project = settings.open_project(Path.cwd(), os.environ)
    chosen, is_default = settings.choose_target(project, target)
    if is_default:
        report.note("RUNPOD_API_KEY is not set: deploying to the local runtime (--target local)")
    specs = [spec.load(spec.find(name, root=project.root), environ=project.environ) for name in names]
    if chosen == "local":
        specs = [each.with_local() for each in specs]
    place = client.deploy_target(project, chosen)
    documents: list[dict[str, object]] = []
    try:
        for each in specs:
            documents.append(  # noqa: PERF401  one by one: the next may raise
                _deploy_one(each, place, project, report, dry_run=dry_run, timeout_s=timeout)
            )
    finally:  # what was deployed before one failed is deployed
        if as_json and documents:
            print(json.dumps(documents[0] if len(specs) == 1 else documents, indent=2))  # noqa: T201


def _deploy_one(
    each: EndpointSpec, place: Target, project: Project, report: Report, *, dry_run: bool, timeout_s: float
) -> dict[str, object]:
    from vidctl import deploy, settings

    todo = deploy.prepare(each, place, secrets=project.environ)
    report.plan(todo)
    if dry_run:
        state = _summary(todo) if not todo.is_empty else "up to date"
        if todo.is_empty and not deploy.is_proven(each, place, todo):
            state += ", but it has not passed its smoke test: a deploy would ask it again"
        _say(report, f"{each.key}: {state}; nothing was changed")
        return {"spec": each.key, "target": place.name, "dry_run": True, **_document(todo)}
    done = deploy.deploy(each, place, todo, secrets=project.environ, timeout_s=timeout_s, notify=report.step)
    name = settings.endpoint_id_name(each.key, place.name)
    if settings.open_project(project.root, {}).environ.get(name) != done.endpoint_id:
        settings.remember(project.env_file, name, done.endpoint_id)
        report.detail(f"{name} is in {project.env_file}")
    if todo.is_empty and done.smoke is None:
        _say(report, f"{each.key}: up to date (endpoint {done.endpoint_id} on {place.name})")
    else:
        _say(report, f"{each.key}: endpoint {done.endpoint_id} on {place.name} is ready")
        if each.task == "detect":
            report.note("try: vidctl detect frame.jpg")
    return {"spec": each.key, "target": place.name, "endpoint_id": done.endpoint_id, **_document(todo)}


def _say(report: Report, text: str) -> None:
    if not report.is_silent:
        print(text)  # noqa: T201


def _summary(todo: Plan) -> str:
    return f"would {todo.template_action} the template and {todo.endpoint_action} the endpoint"


def _document(todo: Plan) -> dict[str, object]:
    import dataclasses

    return {
        "up_to_date": todo.is_empty,
        "template": todo.template_action,
        "endpoint": todo.endpoint_action,
        "changes": [dataclasses.asdict(change) for change in todo.changes],
    }


def jobs(
    limit: Annotated[int, typer.Option("--limit", min=1, help="How many of the newest.")] = 20,
    as_json: options.Json = False,
    debug: options.Debug = False,
) -> None:
    """List the jobs that vidctl sent from this project, newest first, as it last saw them.

    A job that is still IN_QUEUE or IN_PROGRESS here although vidctl is gone may be running, and billed.
    """
    import dataclasses
    import os
    import time

    from vidctl import settings
    from vidctl.cli import report
    from vidctl.journal import Journal

    entries = Journal(settings.open_project(Path.cwd(), os.environ).journal_file).jobs(limit=limit)
    if as_json:
        print(json.dumps([dataclasses.asdict(entry) for entry in entries], indent=2))  # noqa: T201
        return
    when = {entry.id: time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(entry.submitted_at)) for entry in entries}
    report.table(
        [(when[entry.id], entry.status, entry.id, entry.endpoint_id, entry.what) for entry in entries],
        header=("sent", "status", "job", "endpoint", "what"),
    )
