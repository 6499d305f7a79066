"""Options that several commands share, so that they are spelled and explained once."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def specs() -> list[str]:
    """The project's specs, for completion: file names only, no file is read."""
    root = next((folder for folder in (Path.cwd(), *Path.cwd().parents) if (folder / "configs").is_dir()), None)
    return sorted(path.stem for path in (root / "configs").glob("*.y*ml")) if root else []


Target = Annotated[
    str | None,
    typer.Option("--target", metavar="local|runpod", help="Where to. Default: runpod with a key, else local."),
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON, errors included.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Say nothing but results and errors.")]
Verbose = Annotated[bool, typer.Option("--verbose", "-v", help="Say more.")]
Debug = Annotated[bool, typer.Option("--debug", help="Show tracebacks.")]
