"""What long work tells whoever listens: plain values, silent by default."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class Progress:
    """One thing that happened: `step` groups lines that belong together; `done` of `total` when it can be counted.

    A terminal keeps one live line for each `key`, with the newest message; what `is_passing` (a percentage, a count of
    waiting jobs) is shown there only.  `subject` is the spec that it is about, where there are several.
    """

    step: str
    message: str
    done: int | None = None
    total: int | None = None
    key: str = ""
    is_passing: bool = False
    subject: str = ""


Notify = Callable[[Progress], None]


def silent(_: Progress) -> None:
    """Tell nobody."""
