"""What is wrong in a spec, where, and how to put it right."""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass
from pathlib import Path

from vidctl.text import one_line

LINE_ENDS = re.compile("\r\n|[\r\n\x85\u2028\u2029]")  # as YAML counts them
WIDTH = 110  # of the offending line as shown; a longer one is cut around the caret


@dataclass(frozen=True)
class Mark:
    """A place in a file; line and column count from 1, the column in characters.

    `layer` counts the files that lie over the first one.
    """

    line: int
    column: int
    layer: int = 0


@dataclass(frozen=True)
class Problem:
    """One thing that is wrong, before it knows its file."""

    mark: Mark
    message: str
    hint: str | None = None


@dataclass(frozen=True)
class SpecProblem:
    """One thing that is wrong in a file.  `source` is the line as written, so never a value from the environment."""

    path: Path
    line: int
    column: int
    message: str
    hint: str | None = None
    source: str = ""

    def __str__(self) -> str:
        text = f"{self.path}:{self.line}:{self.column}: {self.message}"
        if self.hint:
            text += f"; {self.hint}"
        text = one_line(text)
        if not self.source.strip():
            return text
        line, column = _cut(self.source, self.column - 1)
        return f"{text}\n    {line}\n    {_padding(line[:column])}^"


def lines_of(text: str) -> list[str]:
    """The lines as YAML counts them."""
    return LINE_ENDS.split(text)


def _cut(source: str, column: int) -> tuple[str, int]:
    """The part of a line around a column, fit for a terminal, and where in it the column is."""
    start = max(0, min(column - WIDTH // 2, len(source) - WIDTH))
    part = source[start : start + WIDTH].rstrip()
    shown = "".join(character if character.isprintable() or character == "\t" else "�" for character in part)
    return shown, column - start


def _padding(before: str) -> str:
    """As much room as `before` takes in a terminal."""
    return "".join("\t" if character == "\t" else " " * _cells(character) for character in before)


def _cells(character: str) -> int:
    if unicodedata.combining(character):
        return 0
    return 2 if unicodedata.east_asian_width(character) in "WF" else 1
