"""Run `vidctl` as a user does: a process of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from support import documents

VIDCTL = [sys.executable, "-c", "from vidctl.cli import main; main()"]


@dataclass(frozen=True)
class Outcome:
    status: int
    stdout: str
    stderr: str
    arguments: tuple[str, ...] = ()

    @property
    def document(self) -> Any:
        """What was printed; with `--json` as the command's schema says."""
        document = json.loads(self.stdout)
        if "--json" in self.arguments and (words := documents.command_of(self.arguments)):
            documents.check(words, document)
        return document

    @property
    def error(self) -> Any:
        """The one object that `--json` puts on stderr."""
        error = json.loads(self.stderr)
        documents.check_error(documents.command_of(self.arguments), error)
        return error


def vidctl(*arguments: str | Path, cwd: Path, stdin: bytes = b"", timeout_s: float = 300, **environ: str) -> Outcome:
    """One command with the test's own state and nobody's key."""
    done = subprocess.run(
        [*VIDCTL, *map(str, arguments)],
        cwd=cwd,
        env={**os.environ, "COLUMNS": "120", **environ},
        input=stdin,
        capture_output=True,
        timeout=timeout_s,
        check=False,
    )
    return Outcome(done.returncode, done.stdout.decode(), done.stderr.decode(), tuple(map(str, arguments)))
