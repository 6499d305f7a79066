"""What the answers of all tasks share: a source that failed, and reading JSON that a worker wrote."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NoReturn, TypeVar

from vidctl.errors import ApiError, VidctlError

Answered = TypeVar("Answered")


@dataclass(frozen=True)
class Failed:
    """A source without an answer: it takes its place in the order of results."""

    source: str
    error: VidctlError

    def to_dict(self) -> dict[str, Any]:
        """The source, and the error as `--json` prints it."""
        return {"source": self.source, **self.error.to_json()}


def answer_of(result: Answered | Failed) -> Answered:
    """The answer itself; raise what became of the source instead."""
    if isinstance(result, Failed):
        raise result.error
    return result


@dataclass(frozen=True)
class AnswerReader:
    """Reads the fields of an answer of `worker` ("a detection worker"); ApiError names the field that is wrong.

    No number of such an answer is larger than `largest`: one beyond it is damage.
    """

    worker: str
    largest: float

    def number(self, value: object, where: str) -> float:
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            self.refuse(where, f"is {self.short(value)}, not a number")
        if (isinstance(value, float) and not math.isfinite(value)) or abs(value) > self.largest:
            self.refuse(where, "is not a number that can be")
        return float(value)

    def text(self, value: object, where: str) -> str:
        if not isinstance(value, str):
            self.refuse(where, f"is {self.short(value)}, not text")
        return value

    def items(self, value: object, where: str) -> list[Any]:
        if not isinstance(value, list):
            self.refuse(where, f"is {self.short(value)}, not a list")
        return value

    def mapping(self, value: object, where: str) -> Mapping[str, Any]:
        if not isinstance(value, dict):
            self.refuse(where, f"is {self.short(value)}, not an object")
        return value

    def refuse(self, where: str, problem: str) -> NoReturn:
        raise ApiError(f"not an answer of {self.worker}: `{where}` {problem}")

    def short(self, value: object) -> str:
        if isinstance(value, (list, dict)) and len(value) > 4:
            return f"{type(value).__name__} of {len(value)}"
        if isinstance(value, int) and abs(value) > self.largest:
            return "a huge number"
        text = repr(value)
        return text if len(text) <= 60 else f"{text[:57]}…"
