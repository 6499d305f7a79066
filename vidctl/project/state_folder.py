"""A project's `.vidctl`: its journal, locks and logs, which git ignores."""

from __future__ import annotations

from pathlib import Path


def make_state_folder(folder: Path) -> None:
    """Make a folder of a project's `.vidctl`, all of which git ignores."""
    folder.mkdir(parents=True, exist_ok=True)
    top = next((each for each in (folder, *folder.parents) if each.name == ".vidctl"), None)
    if top and not (top / ".gitignore").exists():
        (top / ".gitignore").write_text("*\n")
