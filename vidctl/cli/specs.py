"""`vidctl validate` and `vidctl schema`."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from vidctl.cli import defaults, documents, options

if TYPE_CHECKING:
    from vidctl import spec
    from vidctl.errors import SpecError
    from vidctl.project.settings import Project


def _documented() -> list[str]:
    """The first words of what has a schema, for completion."""
    return sorted({words.split(" ")[0] for words in documents.names()})


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
    from vidctl.errors import SpecError
    from vidctl.project import settings

    project = settings.open_project(Path.cwd(), os.environ)
    found = _checked(project, names, env)
    if said.as_json:
        entries = {"mistakes": [*map(_entry, found.mistakes)], "warnings": [*map(_entry, found.warnings)]}
        print(json.dumps({"schema": "vidctl.validate/1", "valid": found.valid, **entries}, indent=2))  # noqa: T201
    else:
        _show(found.valid)
        _warn(found.warnings)
    if found.mistakes or found.missing:
        lines = [*(f"{error.message}; {error.hint}" for error in found.missing), *map(str, found.mistakes)]
        raise SpecError("\n".join(lines), hint="vidctl schema prints every key of a spec" if found.mistakes else None)


@dataclass(frozen=True)
class _Checked:
    """What is valid, as --json prints it, and what is wrong; an overlay has its base's mistakes and warnings too."""

    valid: list[dict[str, object]] = field(default_factory=list)
    mistakes: list[spec.SpecProblem] = field(default_factory=list)
    warnings: list[spec.SpecProblem] = field(default_factory=list)
    missing: list[SpecError] = field(default_factory=list)


def _checked(project: Project, names: list[str] | None, env: str | None) -> _Checked:
    """Check the specs that are named; without names all, and vidctl.yaml."""
    from vidctl import spec
    from vidctl.errors import SpecError
    from vidctl.runpod import gpus

    found = _Checked(mistakes=[] if names else defaults.mistakes(project.root))
    for name, overlay in _wanted(project.root, names, env):
        try:
            path = spec.find(name, root=project.root, overlay=overlay)
        except SpecError as error:
            found.missing.append(error)
            continue
        if mistakes := spec.check(path, environ=project.environ):
            found.mistakes.extend(each for each in mistakes if each not in found.mistakes)
            continue
        warnings = spec.warnings(path, environ=project.environ)
        found.warnings.extend(each for each in warnings if each not in found.warnings)
        each = spec.load(path, environ=project.environ)
        notes = gpus.notes(each.gpu.names, exact=each.gpu.exact)
        found.valid.append({"spec": each.key, "name": each.name, "notes": notes})
    return found


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
    command: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[COMMAND…]",
            help="Of what this command prints with --json; `error` is what failures print.",
            autocompletion=_documented,
        ),
    ] = None,
    overlay: Annotated[
        bool, typer.Option("--overlay", help="Of an overlay: nothing is required, and null removes.")
    ] = False,
    settings: Annotated[bool, typer.Option("--settings", help="Of vidctl.yaml, the project's settings.")] = False,
) -> None:
    """Print the JSON Schema of a spec, for editors, or of what a command prints."""
    from vidctl import spec
    from vidctl.errors import UsageError

    if command and (overlay or settings):
        raise UsageError("a command's output has neither overlay nor settings", hint="vidctl schema --overlay")
    if command:
        document = documents.contract(" ".join(command))
    elif settings:
        document = defaults.settings_schema()
    else:
        document = spec.overlay_schema() if overlay else spec.json_schema()
    print(json.dumps(document, indent=2, ensure_ascii=False))  # noqa: T201
