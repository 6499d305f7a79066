"""How the results of a task are written: one small object a format.  Pure: text out."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from vidctl.text import printable

Result = TypeVar("Result")
Context = TypeVar("Context")


@dataclass(frozen=True)
class ResultFormat(Generic[Result, Context]):
    """A format: its name, and `write`, which makes text of results and of what is known besides them.

    A file with one of the `endings` has this format.  A document holds all results and is written when the last is
    known; in other formats each result is written as it comes, and `write` takes one.  A format that `is_json` makes
    errors JSON too; one that `has_failures` tells itself which sources failed.
    """

    name: str
    write: Callable[[Sequence[Result], Context], str]
    endings: tuple[str, ...] = ()
    is_document: bool = False
    is_json: bool = False
    has_failures: bool = False


def by_name(*formats: ResultFormat[Result, Context]) -> dict[str, ResultFormat[Result, Context]]:
    """The formats of a task by their names, in the order in which people are told of them."""
    return {each.name: each for each in formats}


def heading(name: str) -> str:
    """The line over a result where there are several, in text."""
    return f"# {printable(' '.join(name.split()))}\n"
