"""`vidctl validate` and `vidctl schema`."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from vidctl.cli import options

if TYPE_CHECKING:
    from vidctl import spec


def validate(
    names: Annotated[
        list[str] | None,
        typer.Argument(metavar="[NAME…]", help="Specs [default: all in configs/].", autocompletion=options.specs),
    ] = None,
    as_json: options.Json = False,
    debug: options.Debug = False,
) -> None:
    """Check specs: every mistake at once, with file:line:column."""
    from vidctl import gpus, settings, spec
    from vidctl.errors import SpecError

    project = settings.open_project(Path.cwd(), os.environ)
    wanted = names or spec.names(project.root)
    if not wanted:
        raise SpecError(f"{project.root} has no specs", hint="a spec is a file like configs/yolo.yaml")
    good: list[dict[str, object]] = []
    mistakes: list[spec.Mistake] = []
    missing: list[SpecError] = []
    for name in wanted:
        try:
            path = spec.find(name, root=project.root)
        except SpecError as error:
            missing.append(error)
            continue
        if found := spec.check(path, environ=project.environ):
            mistakes += found
            continue
        each = spec.load(path, environ=project.environ)
        good.append({"spec": each.key, "name": each.name, "notes": gpus.notes(each.gpu.names, exact=each.gpu.exact)})
    if as_json:
        print(json.dumps({"valid": good, "mistakes": [_entry(each) for each in mistakes]}, indent=2))  # noqa: T201
    else:
        _show(good)
    if mistakes or missing:
        told = [f"{error.message}; {error.hint}" for error in missing] + [str(mistake) for mistake in mistakes]
        raise SpecError("\n".join(told), hint="vidctl schema prints what a spec may say" if mistakes else None)


def _entry(mistake: spec.Mistake) -> dict[str, object]:
    return {
        "file": str(mistake.path),
        "line": mistake.line,
        "column": mistake.column,
        "message": mistake.message,
        "hint": mistake.hint,
    }


def _show(good: list[dict[str, object]]) -> None:
    for entry in good:
        print(f"{entry['spec']}: valid ({entry['name']})")  # noqa: T201
        notes = entry["notes"]
        for note in notes if isinstance(notes, list) else []:
            print(f"  {note}")  # noqa: T201


def schema() -> None:
    """Print the JSON Schema of a spec, for editors."""
    from vidctl import spec

    print(json.dumps(spec.json_schema(), indent=2, ensure_ascii=False))  # noqa: T201
