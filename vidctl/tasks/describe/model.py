"""What description takes and gives: its options and its results."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any, TypeAlias

from vidctl import kinds
from vidctl.errors import UsageError
from vidctl.tasks.describe import schema
from vidctl.tasks.describe.stream import fit
from vidctl.tasks.options import settle
from vidctl.tasks.results import Failed

OFFICIAL = kinds.OFFICIAL["describe"]

Protocol: TypeAlias = str | None  # OFFICIAL, or None for vidctl's own worker; UsageError for any other

# What the options say themselves, in the words of either worker, or what vidctl decides.
_RESERVED = ("image", "images", "messages", "model", "n", "openai_input", "openai_route", "stream", "stream_options")

_MOST_STOPS = 4  # of OpenAI's API, and of vLLM


@dataclass(frozen=True)
class Sent:
    """One image of a question, as it is sent; `at_s` is its time in a video."""

    source: str
    jpeg: bytes = field(repr=False)
    width: int
    height: int
    at_s: float | None = None


@dataclass(frozen=True)
class DescribeOptions:
    """What to ask, and how to answer; UsageError for a value out of range.

    The answer meets `schema` (JSON), is one of `choices`, or matches `regex` (of the engine's own dialect), or is free.
    `extra` holds further fields of the worker's job, or of the request in OpenAI's words, sent as they are.
    """

    prompt: str
    system: str | None = None
    max_tokens: int = 512
    temperature: float = 0.7
    seed: int | None = None
    stop: tuple[str, ...] = ()
    schema: Mapping[str, Any] | None = None
    choices: tuple[str, ...] = ()
    regex: str | None = None
    extra: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        settle(self)
        for name, text in (("prompt", self.prompt), ("system", self.system or "")):
            if not isinstance(text, str) or fit(text) != text:
                raise UsageError(f"invalid {name}: expected UTF-8 text")
        if not self.prompt.strip():
            raise UsageError("prompt missing", hint="pass a prompt or a preset")
        _check_whole("max_tokens", self.max_tokens, 1, 1_000_000)
        if not is_number(self.temperature) or not 0 <= self.temperature <= 2:
            raise UsageError(f"temperature must be between 0 and 2, not {self.temperature}")
        if self.seed is not None:
            _check_whole("seed", self.seed, 0, 2**63 - 1)
        if not all(self.stop):
            raise UsageError("stop must not be empty: it would end every answer at once")
        if len(self.stop) > _MOST_STOPS:
            raise UsageError(f"stop must be at most {_MOST_STOPS} texts, not {len(self.stop)}")
        self._check_form()
        self._check_extra()

    def _check_form(self) -> None:
        given = [name for name in ("schema", "choices", "regex") if getattr(self, name) not in (None, ())]
        if len(given) > 1:
            raise UsageError(
                f"{' and '.join(given)} cannot be combined: an answer has one form", hint="keep one of them"
            )
        if self.schema is not None:
            schema.check_schema(self.schema)
        for choice in self.choices:
            if choice != choice.strip() or not choice:
                raise UsageError(f"invalid choices: {choice!r} must be text without spaces around it")
        if len(set(self.choices)) != len(self.choices):
            twice = next(each for each in self.choices if self.choices.count(each) > 1)
            raise UsageError(f"invalid choices: duplicate {twice!r}")
        if self.regex == "":
            raise UsageError("regex must not be empty")

    def _check_extra(self) -> None:
        for name in self.extra:
            if name in _RESERVED or name in DEFAULTS:
                raise UsageError(
                    f"{name} is not a field for the worker: it has an option of its own, or vidctl sets it"
                )
        try:
            json.dumps(dict(self.extra), allow_nan=False)
        except (TypeError, ValueError, RecursionError) as error:
            raise UsageError(f"a field for the worker cannot be sent as JSON: {error}") from error


DEFAULTS = {each.name: each.default for each in fields(DescribeOptions)}


@dataclass(frozen=True)
class Seen:
    """An image as the model saw it, in pixels, and the tokens that it cost."""

    width: int
    height: int
    tokens: int


@dataclass(frozen=True)
class Description:
    """What a model says of one source, or of several in one request.

    `text` is as untrusted as all that a model writes.  `data` is the answer as a value, where there is a schema.
    `finish_reason` is "stop", or why the answer ends too early: "length", "repetition" or "time".
    `reasoning` is what a thinking model wrote before its answer.  What a worker does not tell is None or
    empty; `timings` are in seconds.
    """

    source: str
    text: str
    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    image_tokens: int | None = None
    finish_reason: str | None = None
    reasoning: str | None = None
    data: Any = None
    images: tuple[Seen, ...] = ()
    timings: Mapping[str, float] = field(default_factory=dict)
    model: Mapping[str, Any] | None = None
    warnings: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """The worker's own fields, with the source in front, and `data`; those without a value are left out."""
        known: dict[str, Any] = {
            "source": self.source,
            "response": self.text,
            "reasoning": self.reasoning,
            "data": self.data,
            "prompt_tokens": self.prompt_tokens,
            "completion_tokens": self.completion_tokens,
            "image_tokens": self.image_tokens,
            "finish_reason": self.finish_reason,
            "images": [vars(image) for image in self.images] or None,
            "timings": dict(self.timings) or None,
            "model": None if self.model is None else dict(self.model),
            "warnings": list(self.warnings) or None,
        }
        return {key: value for key, value in known.items() if value is not None}


Result = Description | Failed


def _check_whole(name: str, value: int, least: int, most: int) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
        raise UsageError(f"{name} must be a whole number from {least} to {most}, not {value}")


def is_number(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)
