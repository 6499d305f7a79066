"""`vidctl rollback`."""

from __future__ import annotations

import dataclasses
import json
from typing import TYPE_CHECKING, Annotated, Any

import typer

from vidctl.cli import options

if TYPE_CHECKING:
    from vidctl.deploy.plan import Plan
    from vidctl.deploy.target import Target
    from vidctl.deploy.versions import Version


@options.spread
def rollback(
    name: Annotated[str, options.changed_argument()],
    to: Annotated[
        int | None,
        typer.Option("--to", metavar="N", help="The version [default: the one that worked before the current]."),
    ] = None,
    env: options.Environment = None,
    target: options.Target = None,
    *,
    how: options.ChangeOptions,
    said: options.ReportOptions,
) -> None:
    """Make an earlier version of an endpoint live again: its image and its settings together.

    Of those that were deployed from here and passed their smoke test; secrets keep the values that they have now.  The
    version stays until the next deploy, which says that it replaces it, and so does `vidctl plan`.
    """
    from vidctl.cli import targets
    from vidctl.deploy import by_hand, versions
    from vidctl.project import configs

    report = said.report()
    project, place = targets.deployed(report, target)
    word = configs.key_of(name, env)
    with by_hand.held(word, project, place, adopts=False, notify=report.step) as (key, live):
        begun = versions.begun(place.journal, live.id or "")
        version = versions.chosen(versions.versions(place.journal, live.id or ""), begun if to is None else to, key)
        todo = versions.plan(key, live, version, place)
        report.plan(todo, None)
        question = f"roll {key} on {place.name} back to version {version.number} ({version.image})?"
        if not (todo.is_empty and begun is None) and how.confirmed(question, report, "changed"):
            with report.live() as notify:
                versions.carry_out(todo, version, place, notify=notify)
    if report.as_json:
        print(json.dumps(_document(todo, version, place, is_done=not how.dry_run), indent=2))  # noqa: T201
        return
    verb = "is already" if todo.is_empty else "would be" if how.dry_run else "is"
    print(f"{key}: endpoint {live.id} on {place.name} {verb} version {version.number} ({version.image})")  # noqa: T201
    if not how.dry_run and not todo.is_empty:
        report.note(f"it stays until the next deploy: vidctl plan {key} says what that would change")


def _document(todo: Plan, version: Version, place: Target, *, is_done: bool) -> dict[str, Any]:
    return {
        "schema": "vidctl.rollback/1",
        "spec": todo.key,
        "target": place.name,
        "endpoint_id": todo.endpoint.id,
        "version": version.number,
        "image": version.image,
        "changes": [dataclasses.asdict(each) for each in todo.changes],
        "replaces_workers": todo.replaces_workers,
        "is_done": is_done,
    }
