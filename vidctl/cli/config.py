"""`vidctl config`: the settings, and where each comes from."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Annotated

import typer

from vidctl.cli import options

SCHEMA = "vidctl.config.show/1"

app = typer.Typer(help="Show the settings, and where each comes from.")
app.callback(invoke_without_command=True)(options.help_alone)


@app.command("show")
@options.spread
def show(
    origin: Annotated[
        bool,
        typer.Option("--origin", help="Also where each comes from: flag, environment, .env, vidctl.yaml, default."),
    ] = False,
    target: options.Target = None,
    *,
    said: options.ReportOptions,
) -> None:
    """Show every setting and its value.

    Secrets are hidden.  --json always has where each comes from.
    """
    import os

    from vidctl.cli import console
    from vidctl.deploy import configuration
    from vidctl.project import settings
    from vidctl.text import safe_json

    project = settings.open_project(Path.cwd(), os.environ)
    found = configuration.configured(project, os.environ, target=target)
    if said.as_json:
        document = {"schema": SCHEMA, "settings": [dataclasses.asdict(each) for each in found]}
        print(safe_json(document, indent=2))  # noqa: T201
        return
    rows = [(each.name, "-" if each.value is None else each.value, each.origin) for each in found]
    header = ("setting", "value", "origin")
    console.table([row if origin else row[:2] for row in rows], header=header if origin else header[:2], empty="")
