"""Questions that have a name: presets/NAME.yaml of the project, or those that are shipped with vidctl."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Preset:
    """A question to a vision-language model; None and empty are what it leaves to the caller."""

    name: str
    prompt: str
    system: str | None = None
    schema: dict[str, Any] | None = None
    choices: tuple[str, ...] = ()
    max_tokens: int | None = None
    temperature: float | None = None
    description: str = ""


def load(name: str, *, root: Path) -> Preset:
    """The preset of that name: the project's own goes before vidctl's.

    Raises UsageError for a name that there is not, and SpecError with every mistake in the file.
    """
    raise NotImplementedError


def names(root: Path) -> list[str]:
    """The presets that there are, sorted, by the names of their files alone."""
    raise NotImplementedError
