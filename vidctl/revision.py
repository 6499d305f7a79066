"""The Git revision of the code that runs: read from the checkout's own files, or what the build of a wheel wrote."""

from __future__ import annotations

import re
from pathlib import Path

FILE = Path("vidctl/data/revision")  # in the package, written by hatch_build.py
_HASH = re.compile(r"[0-9a-f]{40}(?:[0-9a-f]{24})?")


def revision() -> str | None:
    """Twelve digits of it; None where nothing tells."""
    root = Path(__file__).parent.parent
    found = of_checkout(root)
    if found is None:
        try:
            found = (root / FILE).read_text(encoding="ascii").strip()
        except (OSError, ValueError):
            return None
    return found[:12] if _HASH.fullmatch(found) else None


def of_checkout(root: Path) -> str | None:
    """The commit that is checked out in a folder, without running Git; None where it is no checkout.

    As gitrepository-layout(5) has it: `.git` is a folder, or a file that names one; HEAD is a commit or names a branch,
    which is a file or a line of packed-refs, in the folder that `commondir` names where there is one.
    """
    try:
        folder = _git_folder(root)
        head = (folder / "HEAD").read_text(encoding="utf-8").strip()
        if not head.startswith("ref: "):
            return head if _HASH.fullmatch(head) else None
        return _branch(folder, head.removeprefix("ref: "))
    except (OSError, ValueError):
        return None


def _git_folder(root: Path) -> Path:
    git = root / ".git"
    if git.is_dir():
        return git
    return root / git.read_text(encoding="utf-8").removeprefix("gitdir: ").strip()


def _branch(folder: Path, name: str) -> str | None:
    shared = folder / "commondir"
    common = folder / shared.read_text(encoding="utf-8").strip() if shared.is_file() else folder
    for place in (folder, common):
        if (place / name).is_file():
            found = (place / name).read_text(encoding="utf-8").strip()
            return found if _HASH.fullmatch(found) else None
    lines = (common / "packed-refs").read_text(encoding="utf-8").splitlines()
    return next((line.split(" ")[0] for line in lines if line.endswith(f" {name}") and line[0] not in "#^"), None)
