"""`vidctl jobs`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from vidctl.cli import options


@options.spread
def jobs(
    limit: Annotated[int, typer.Option("--limit", min=1, help="How many of the newest.")] = 20,
    *,
    said: options.ReportOptions,
) -> None:
    """List the jobs that vidctl sent from this project.

    The newest first, each as vidctl last saw it.  A job that is still IN_QUEUE or IN_PROGRESS here although vidctl is
    gone may be running, and billed.
    """
    import dataclasses
    import os
    import time

    from vidctl.cli import console
    from vidctl.journal import Journal
    from vidctl.project import settings

    entries = Journal(settings.open_project(Path.cwd(), os.environ).journal_file).jobs(limit=limit)
    if said.as_json:
        print(json.dumps([dataclasses.asdict(entry) for entry in entries], indent=2))  # noqa: T201
        return
    when = {entry.id: time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(entry.submitted_at)) for entry in entries}
    console.table(
        [(when[entry.id], entry.status, entry.id, entry.endpoint_id, entry.what) for entry in entries],
        header=("sent", "status", "job", "endpoint", "what"),
        empty="no jobs sent from this project",
    )
