"""What long work tells whoever listens: plain values, silent by default."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class Progress:
    """One thing that happened: `step` groups lines that belong together; `done` of `total` when it can be counted."""

    step: str
    message: str
    done: int | None = None
    total: int | None = None


Notify = Callable[[Progress], None]


def silent(_: Progress) -> None:
    """Tell nobody."""
