"""`vidctl init`."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from vidctl.cli import options

if TYPE_CHECKING:
    from vidctl.cli.report import Report
    from vidctl.project.starter import FileOutcome

SCHEMA = "vidctl.init/1"


def _workers() -> list[str]:
    """What vidctl ships, for completion."""
    from vidctl.project.starter import WORKERS

    return list(WORKERS)


@options.spread
def init(
    workers: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[WORKER…]",
            help="yolo, whisper, qwen-vl [default: all three, unless --plain is given].",
            autocompletion=_workers,
        ),
    ] = None,
    plain: Annotated[
        list[str] | None,
        typer.Option("--plain", metavar="NAME", help="Create a minimal worker of that name; repeatable."),
    ] = None,
    *,
    said: options.ReportOptions,
) -> None:
    """Start a project in this folder.

    Creates specs in configs/, workers in workers/, .env.example, .gitignore, and an image, a video and speech to try
    them with. A file that is there already is kept as it is.
    """
    from vidctl.project import starter

    shipped = _meant(workers, plain)
    outcomes = starter.create(Path.cwd(), starter.starter_files(shipped, plain or ()))
    commands = _next([*shipped, *(plain or ())][0], is_plain=not shipped)
    if said.as_json:
        print(json.dumps({"schema": SCHEMA, **_states(outcomes), "next": commands}, indent=2))  # noqa: T201
        return
    _show(said.report(), outcomes)
    if not said.quiet:
        print("\n  ".join(["next:", *commands]))  # noqa: T201


def _meant(workers: list[str] | None, plain: list[str] | None) -> list[str]:
    """The shipped workers that are wanted: all where nothing is named."""
    from vidctl.project.starter import WORKERS

    return list(WORKERS) if not workers and not plain else workers or []


def _states(outcomes: list[FileOutcome]) -> dict[str, list[str]]:
    return {
        state: [str(each.path) for each in outcomes if each.state == state]
        for state in ("created", "unchanged", "kept")
    }


def _show(report: Report, outcomes: list[FileOutcome]) -> None:
    for each in outcomes:
        if each.state == "kept":
            report.warn(f"{each.path}: kept; it differs from what vidctl ships")
    for line in _created(outcomes):
        report.note(line)


def _created(outcomes: list[FileOutcome]) -> Iterator[str]:
    """What is new, a worker's folder as one."""
    created = [each.path for each in outcomes if each.state == "created"]
    counts = Counter("/".join(path.parts[:2]) + "/" if path.parts[0] == "workers" else str(path) for path in created)
    for name, count in counts.items():
        yield f"created {name}{f' ({count} files)' if name.endswith('/') else ''}"
    if not created:
        yield "nothing to create: everything is there"


def _next(name: str, *, is_plain: bool) -> list[str]:
    """Three commands that work as they are, on this machine."""
    from vidctl.kinds import KINDS

    tasks = {"yolo": "detect", "whisper": "transcribe", "qwen-vl": "describe"}
    task = None if is_plain else tasks[name]
    call = f"vidctl run {name}" if task is None else f"vidctl {task} {KINDS[task].example}"
    return [f"vidctl deploy {name} --target local", f"{call} --target local", "vidctl local down"]
