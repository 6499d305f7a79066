"""`vidctl doctor`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from vidctl.cli import defaults, options

if TYPE_CHECKING:
    from vidctl.deploy.doctor.finding import Finding

SCHEMA = "vidctl.doctor/1"
_STYLES = {"ok": "green", "warn": "yellow", "fail": "bold red", "skipped": "dim"}


@options.spread
def doctor(
    target: options.Target = None,
    push: Annotated[
        bool, typer.Option("--push", help="Begin an upload at each registry, and cancel it: whether pushes are taken.")
    ] = False,
    *,
    said: options.ReportOptions,
) -> int:
    """Check this machine, the project and the account.

    Each check is ok, warn, fail or skipped, with what was seen and the command that fixes it.  Changes nothing, and
    starts nothing; what the key may write is not probed.  Exits with 1 if a check fails.
    """
    import os

    from vidctl.deploy.doctor import finding, scope, table
    from vidctl.endpoints import default_target
    from vidctl.errors import SpecError
    from vidctl.project import settings

    project = settings.open_project(Path.cwd(), os.environ)
    try:
        default = default_target(project)
    except SpecError:  # the check of the project says what is wrong
        default = None
    chosen, _ = settings.choose_target(project, target, default=default)
    mistakes = defaults.mistakes(project.root)
    looked_at = scope.scope_of(project, chosen, settings_mistakes=mistakes, begins_upload=push)
    found = finding.examine(table.checks(looked_at))
    if said.as_json:
        _print_json(chosen, found)
    else:
        _print(chosen, found, quiet=said.quiet)
    return 1 if any(each.state == "fail" for _, each in found) else 0


def _print_json(target: str, found: list[tuple[str, Finding]]) -> None:
    from vidctl.text import safe_json

    checks = [
        {"check": name, "state": each.state, "seen": each.seen, **({"fix": each.fix} if each.fix else {})}
        for name, each in found
    ]
    print(safe_json({"schema": SCHEMA, "target": target, "checks": checks}, indent=2))  # noqa: T201


def _print(target: str, found: list[tuple[str, Finding]], *, quiet: bool) -> None:
    """One line for each, its fix below; with -q only what is wrong."""
    from vidctl.cli import console
    from vidctl.text import one_line

    width = max(len(name) for name, _ in found)
    for name, each in found:
        if quiet and each.state in ("ok", "skipped"):
            continue
        state = f"[{_STYLES[each.state]}]{each.state:<7}[/]"
        console.print_result(f"{state} {console.plain(f'{name:<{width}}  {one_line(each.seen)}')}")
        if each.fix:
            console.print_result(f"{'':7} {'':{width}}  fix: {console.plain(one_line(each.fix))}")
    counts = {state: sum(each.state == state for _, each in found) for state in _STYLES}
    if not quiet:
        console.print_result(
            f"target {target}: {', '.join(f'{count} {state}' for state, count in counts.items() if count)}"
        )
