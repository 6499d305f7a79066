"""Questions that have a name: presets/NAME.yaml of the project, or those that are shipped with vidctl.

Read as specs are, with every mistake at its place, but for variables: a `$` in a question is a `$`.
"""

from __future__ import annotations

import difflib
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from pydantic import AfterValidator, Field, JsonValue, ValidationInfo, field_validator

from vidctl.errors import SpecError, UsageError
from vidctl.project import configs
from vidctl.spec.fields import SpecPart, wrong
from vidctl.spec.files import read_files, shown
from vidctl.spec.project import says_nothing
from vidctl.spec.validate import validate


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
    """The preset of that name: the project's own takes precedence over vidctl's.

    Raises UsageError for an unknown name, and SpecError with every mistake in the file.
    """
    file = configs.preset_files(root).get(name)
    if file is None:
        raise UsageError(f"preset {name!r} not found", hint=_nearest(name, root))
    if says_nothing(file):
        raise SpecError(f"{shown(file)}: the file is empty", hint="write at least `prompt: …`")
    checked = validate(read_files([file], None), _Fields, None)
    if checked.value is None or checked.problems:
        raise SpecError("\n".join(map(str, checked.problems)))
    fields = {each: getattr(checked.value, each) for each in _Fields.model_fields}
    return Preset(name, schema=fields.pop("form"), **fields)


def names(root: Path) -> list[str]:
    """The presets that there are, sorted, by the names of their files alone."""
    return list(configs.preset_files(root))


def _nearest(name: str, root: Path) -> str:
    known = names(root)
    near = difflib.get_close_matches(name, known, n=1)
    return f"did you mean {near[0]}?" if near else f"available: {', '.join(known)}; put your own in presets/NAME.yaml"


def _not_blank(text: str) -> str:
    if not text.strip():
        raise wrong("empty text")
    return text


_Text = Annotated[str, AfterValidator(_not_blank)]


class _Fields(SpecPart):
    """What the file of a preset may say."""

    prompt: _Text
    """What the model is asked."""
    system: _Text | None = None
    """How it is to behave, whatever it is asked."""
    form: dict[str, JsonValue] | None = Field(default=None, alias="schema")
    """The JSON Schema that its answer meets."""
    choices: Annotated[tuple[_Text, ...], Field(strict=False, min_length=1)] = ()
    """The texts that its answer is one of."""
    max_tokens: Annotated[int, Field(ge=1, le=1_000_000)] | None = None
    """At most so many tokens of answer."""
    temperature: Annotated[float, Field(ge=0, le=2)] | None = None
    """From 0, the likeliest words, to 2."""
    description: str = ""
    """What it is for, in a line."""

    @field_validator("choices")
    @classmethod
    def _one_form(cls, choices: tuple[str, ...], info: ValidationInfo) -> tuple[str, ...]:
        if info.data.get("form") is not None:
            raise wrong("choices and schema cannot be combined", hint="keep one of the two")
        return choices
