"""What a shell offers at the end of a line: from the project's files and vidctl's tables, never from the network."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from vidctl.text import one_line

if TYPE_CHECKING:
    from vidctl.journal import JobEntry

_ENDPOINT_ID = re.compile(r"""^\s*(?:export\s+)?(VIDCTL_\w+_ENDPOINT_ID\w*)=["']?([\w-]+)""", re.MULTILINE)
_NEWEST = 500  # jobs that are offered, and whose workers are


def targets() -> list[str]:
    return ["local", "runpod"]


def protocols(context: typer.Context) -> list[str]:
    """The protocol of RunPod's own worker for the command's task."""
    from vidctl.kinds import OFFICIAL

    found = OFFICIAL.get(context.command.name or "")
    return [found] if found else []


def languages() -> list[tuple[str, str]]:
    """The codes of the languages that Whisper knows, with their names."""
    from vidctl.tasks.transcribe.languages import NAMES

    return list(NAMES.items())


def transcript_formats(incomplete: str) -> list[str]:
    """The formats that are not in the list yet, behind what is."""
    from vidctl.tasks.transcribe.formats import FORMATS

    before, comma, _ = incomplete.rpartition(",")
    names = [*FORMATS, *([] if before else ["all"])]
    return [f"{before}{comma}{name}" for name in names if name not in before.split(",")]


def endpoint_ids() -> list[tuple[str, str]]:
    """The ids in `.env`, each with its variable."""
    try:
        text = (_root() / ".env").read_bytes().decode(errors="replace") if (_root() / ".env").is_file() else ""
    except OSError:
        return []
    return [(found[2], found[1]) for found in _ENDPOINT_ID.finditer(text)]


def worker_ids() -> list[str]:
    """The workers that answered this project's newest jobs, the newest first."""
    return list(dict.fromkeys(each.worker_id for each in _newest_jobs() if each.worker_id))


def job_ids() -> list[tuple[str, str]]:
    """This project's newest jobs, each with what it was sent for."""
    return [(each.id, one_line(each.what)) for each in _newest_jobs()]


def _newest_jobs() -> list[JobEntry]:
    from vidctl.errors import VidctlError
    from vidctl.journal import Journal

    try:
        return Journal(_root() / ".vidctl" / "journal.db").jobs(limit=_NEWEST)
    except VidctlError:  # a broken journal is told of by the command
        return []


def _root() -> Path:
    from vidctl.cli import options

    return options.project_root()
