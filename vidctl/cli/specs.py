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


@options.spread
def validate(
    names: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[NAME…]", help="Specs [default: all in configs/, and every overlay].", autocompletion=options.specs
        ),
    ] = None,
    env: options.Environment = None,
    *,
    said: options.ReportOptions,
) -> None:
    """Check specs: every mistake at once, with file:line:column, and what cannot hold as a warning."""
    from vidctl import spec
    from vidctl.errors import SpecError
    from vidctl.project import settings
    from vidctl.runpod import gpus

    project = settings.open_project(Path.cwd(), os.environ)
    good: list[dict[str, object]] = []
    mistakes: list[spec.SpecProblem] = [] if names else spec.check_settings(project.root)
    warnings: list[spec.SpecProblem] = []
    missing: list[SpecError] = []
    for name, overlay in _wanted(project.root, names, env):
        try:
            path = spec.find(name, root=project.root, overlay=overlay)
        except SpecError as error:
            missing.append(error)
            continue
        if found := spec.check(path, environ=project.environ):
            mistakes += [mistake for mistake in found if mistake not in mistakes]  # an overlay has its base's too
            continue
        warnings += [each for each in spec.warnings(path, environ=project.environ) if each not in warnings]
        each = spec.load(path, environ=project.environ)
        good.append({"spec": each.key, "name": each.name, "notes": gpus.notes(each.gpu.names, exact=each.gpu.exact)})
    if said.as_json:
        entries = {"mistakes": [*map(_entry, mistakes)], "warnings": [*map(_entry, warnings)]}
        print(json.dumps({"valid": good, **entries}, indent=2))  # noqa: T201
    else:
        _show(good)
        _warn(warnings)
    if mistakes or missing:
        lines = [f"{error.message}; {error.hint}" for error in missing] + [str(mistake) for mistake in mistakes]
        raise SpecError("\n".join(lines), hint="vidctl schema prints every key of a spec" if mistakes else None)


def _wanted(root: Path, names: list[str] | None, env: str | None) -> list[tuple[str, str | None]]:
    """Which specs, each alone or with an overlay: those named, else all; raise SpecError if there are none."""
    from vidctl import spec

    if names or env:
        return [(name, env) for name in names or all_of(root, env)]
    return [(name, overlay) for name in all_of(root, None) for overlay in (None, *spec.overlays(root, name))]


def all_of(root: Path, env: str | None) -> list[str]:
    """The specs of a project, with an overlay's name those that have it; raise SpecError if there are none."""
    from vidctl import spec
    from vidctl.errors import SpecError

    known = spec.names(root)
    if not known:
        raise SpecError(f"no specs in {root}", hint="create one, such as configs/yolo.yaml")
    found = [name for name in known if env is None or env in spec.overlays(root, name)]
    if not found:
        raise SpecError(f"no spec has an overlay {env!r}", hint=f"create one, such as configs/yolo.{env}.yaml")
    return found


def _entry(mistake: spec.SpecProblem) -> dict[str, object]:
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


def _warn(warnings: list[spec.SpecProblem]) -> None:
    if warnings:
        from vidctl.cli.report import Report

        report = Report()
        for each in warnings:
            report.warn(str(each), has_lines=True)


def schema(
    overlay: Annotated[
        bool, typer.Option("--overlay", help="Of an overlay: nothing is required, and null removes.")
    ] = False,
) -> None:
    """Print the JSON Schema of a spec, for editors."""
    from vidctl import spec

    document = spec.overlay_schema() if overlay else spec.json_schema()
    print(json.dumps(document, indent=2, ensure_ascii=False))  # noqa: T201
