"""What scripts may count on of each command: the JSON Schema of its document, and the codes of its failures.

Each is a file in data/schemas, named by the command's words.  `title` is the document's name and version, which several
commands may share; `x-errors` are the codes of `vidctl.errors` that the command may end with, `x-exit` what its exit
status says besides theirs.
Keys may be added within a version; none goes, or changes what it means.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from vidctl.errors import UsageError

_FOLDER = Path(__file__).resolve().parent.parent / "data" / "schemas"


def names() -> list[str]:
    """The commands that have one, by their words, and `error`: what failures print on stderr."""
    return sorted(path.stem.replace(".", " ") for path in _FOLDER.glob("*.json"))


def contract(words: str) -> dict[str, Any]:
    """The contract of a command, named by its words ("local up"); UsageError if it has none."""
    path = _FOLDER / f"{words.replace(' ', '.')}.json"
    if words not in names():
        raise UsageError(f"command {words!r} not found", hint=f"available: {', '.join(names())}")
    document: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return document
