"""A promise, what was measured for it, and tables of both."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class Promise:
    """`measured` must be `at least` or `at most` the limit."""

    what: str
    bound: Literal["at least", "at most"]
    limit: float
    measured: float
    unit: str = "times"

    @property
    def is_met(self) -> bool:
        return self.measured >= self.limit if self.bound == "at least" else self.measured <= self.limit

    @property
    def row(self) -> tuple[str, str, str, str]:
        return (
            self.what,
            f"{self.bound} {self.limit:g} {self.unit}",
            f"{self.measured:.2f}",
            "met" if self.is_met else "MISSED",
        )


def print_table(title: str, header: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """A table that reads in a terminal and is Markdown."""
    widths = [max(len(row[column]) for row in [header, *rows]) for column in range(len(header))]

    def line(cells: Sequence[str]) -> str:
        return "| " + " | ".join(cell.ljust(width) for cell, width in zip(cells, widths, strict=True)) + " |"

    print(f"\n{title}\n", flush=True)
    for text in (line(header), line(["-" * width for width in widths]), *map(line, rows)):
        print(text, flush=True)
