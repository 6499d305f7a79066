"""`vidctl validate` and `vidctl schema`."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Annotated

import typer

from vidctl.cli import options


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
    from vidctl.errors import SpecError, VidctlError

    project = settings.open_project(Path.cwd(), os.environ)
    wanted = names or spec.names(project.root)
    if not wanted:
        raise SpecError(f"{project.root} has no specs", hint="a spec is a file like configs/yolo.yaml")
    good: list[dict[str, object]] = []
    failures: list[VidctlError] = []
    for name in wanted:
        try:
            each = spec.load(spec.find(name, root=project.root), environ=project.environ)
        except VidctlError as error:
            failures.append(error)
            continue
        good.append({"spec": each.key, "name": each.name, "notes": gpus.notes(each.gpu.names, exact=each.gpu.exact)})
    if as_json:
        print(json.dumps({"valid": good}, indent=2))  # noqa: T201
    else:
        _show(good)
    if failures:
        told = "\n".join(f"{each.message}; {each.hint}" if each.hint else each.message for each in failures)
        has_mistakes = any(not each.hint for each in failures)
        raise SpecError(told, hint="vidctl schema prints what a spec may say" if has_mistakes else None)


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
