"""Check what files say against a model: a value, or everything that is wrong in them, each with its file and place."""

from __future__ import annotations

import difflib
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Generic, TypeVar, get_args

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from vidctl.spec.document import Document, Location, ValuePlace, follow
from vidctl.spec.fields import SpecFiles
from vidctl.spec.files import SpecText, shown
from vidctl.spec.problem import Problem, SpecProblem

Model = TypeVar("Model", bound=BaseModel)


@dataclass(frozen=True)
class Validated(Generic[Model]):
    """What files say: a value, or problems, or both where the value cannot be trusted."""

    value: Model | None
    problems: list[SpecProblem]


def validate(text: SpecText, model: type[Model], context: SpecFiles | None) -> Validated[Model]:
    """Check what files say against a model; raise nothing."""
    value, problems = _validate(text.document, model, context)
    ordered = sorted(
        dict.fromkeys(problems), key=lambda problem: (problem.mark.layer, problem.mark.line, problem.mark.column)
    )
    return Validated(value, [_at_line(problem, text) for problem in ordered])


def problem_at(text: SpecText, field: Location, message: str, hint: str | None, *, at_key: bool = False) -> SpecProblem:
    """Say something of a field where the files say it, or of the part around it."""
    _, place = follow(field, text.document)
    return _at_line(Problem((place.key if at_key else None) or place.value, message, hint), text)


def _at_line(problem: Problem, text: SpecText) -> SpecProblem:
    mark, lines = problem.mark, text.lines[problem.mark.layer]
    source = lines[mark.line - 1] if mark.line <= len(lines) else ""
    return SpecProblem(shown(text.files[mark.layer]), mark.line, mark.column, problem.message, problem.hint, source)


def _validate(document: Document, model: type[Model], context: SpecFiles | None) -> tuple[Model | None, list[Problem]]:
    if not document.places:
        return None, document.problems
    fields = {key: part for key, part in document.value.items() if not key.startswith("x-")}
    problems = [*document.problems, *_empty(document), *_secrets_elsewhere(document, fields)]
    try:
        value = model.model_validate(fields, context=context)
    except ValidationError as error:
        spoilt = _spoilt(document)
        found = (_problem(details, document, spoilt, model) for details in error.errors(include_url=False))
        return None, [*problems, *filter(None, found)]
    return (None if problems else value), problems


def _is_free(location: Location) -> bool:
    """Whether any JSON may stand there, null included."""
    return location[:2] == ("smoke", "contains") or str(next(iter(location), "")).startswith("x-")


def _empty(document: Document) -> Iterator[Problem]:
    for location, place in document.places.items():
        if place.is_empty and not _is_free(location):
            yield Problem(place.key or place.value, "missing value", "add one, or remove the line")


def _spoilt(document: Document) -> set[Location]:
    """The broken values and all that holds them: what they lack may be what is broken."""
    broken = [location for location, place in document.places.items() if place.is_broken]
    return {location[:length] for location in broken for length in range(1, len(location) + 1)}


def _secrets_elsewhere(document: Document, fields: Mapping[str, Any]) -> Iterator[Problem]:
    """A secret that is also in env would be written in the spec after all; and an image shows its build arguments."""
    secrets = fields.get("secrets")
    for part, hint in _SHOWN.items():
        for location in ((*part, name) for name in _mapping(fields, part)):
            if isinstance(secrets, list) and location[-1] in secrets:
                place = document.places[location]
                yield Problem(place.key or place.value, "already listed in secrets", hint)


_SHOWN: dict[Location, str] = {
    ("env",): "remove it from env: or from secrets:",
    ("local", "env"): "remove it from env: or from secrets:",
    ("image", "build_args"): "move it out of build_args: anyone with the image can read them",
    ("local", "build_args"): "move it out of build_args: anyone with the image can read them",
}


def _mapping(fields: Any, location: Location) -> dict[str, Any]:
    for step in location:
        fields = fields.get(step) if isinstance(fields, dict) else None
    return fields if isinstance(fields, dict) else {}


def _problem(
    error: ErrorDetails, document: Document, spoilt: Collection[Location], model: type[BaseModel]
) -> Problem | None:
    """Say what pydantic found, where the files have it; None if the value has a problem of its own already."""
    context = error.get("ctx", {})
    location, place = own = follow(error["loc"], document)
    beside = own if (steps := context.get("beside")) is None else follow((*error["loc"][:-1], *steps), document)
    if steps is not None:  # of two values that do not go together, the one in the upper file is at fault
        location, place = max(beside, own, key=_layer)
    if location in spoilt or (place.is_empty and not _is_free(location)):
        return None
    if error["type"] == "extra_forbidden" or error["loc"][-1:] == ("[key]",):
        return _key_problem(error, location, place, model)
    if error["type"] == "missing":
        return Problem(place.key or place.value, f'missing key "{error["loc"][-1]}"')
    message, hint = (context["message"], context["hint"]) if error["type"] == "spec" else _plain(error, place)
    if steps == () and _is_of_several(location, document):
        hint = f"{hint}; in an overlay null takes away what its base says"
    rule = context.get("rule")
    quoted = (place, own[1], beside[1]) if rule else (place,)
    if any(each.is_interpolated for each in quoted):
        # What a variable gives may be a secret: neither the message nor the hint tells it.
        return Problem(place.value, rule or message, "check the value of the variable")
    return Problem(place.value, message, hint)


def _is_of_several(location: Location, document: Document) -> bool:
    """Whether several files say what is in this mapping."""
    layers = {place.value.layer for at, place in document.places.items() if at[:-1] == location}
    return len(layers) > 1


def _layer(found: tuple[Location, ValuePlace]) -> int:
    return found[1].value.layer


def _key_problem(error: ErrorDetails, location: Location, place: ValuePlace, model: type[BaseModel]) -> Problem:
    mark = place.key or place.value
    if error["type"] == "spec":
        return Problem(mark, error["ctx"]["message"], error["ctx"]["hint"])
    known = _known_keys(location[:-1], model)
    near = difflib.get_close_matches(str(location[-1]), known, n=1, cutoff=0.6)
    hint = f'did you mean "{near[0]}"?' if near else f"known keys: {', '.join(known)}"
    return Problem(mark, f'unknown key "{location[-1]}"', hint)


def _known_keys(location: Location, model: type[BaseModel]) -> list[str]:
    for step in location:
        fields = {field.alias or name: field for name, field in model.model_fields.items()}
        model = next(_models(fields[str(step)].annotation))
    return [field.alias or name for name, field in model.model_fields.items()]


def _models(annotation: Any) -> Iterator[type[BaseModel]]:
    for candidate in (annotation, *get_args(annotation)):
        if isinstance(candidate, type) and issubclass(candidate, BaseModel):
            yield candidate


def _plain(error: ErrorDetails, place: ValuePlace) -> tuple[str, str | None]:
    """Pydantic's finding in the words of someone who writes YAML.  Never quotes the value."""
    match error["type"]:
        case "string_type" if isinstance(error["input"], (bool, int, float)):
            return "expected text", f'quote it: "{place.text}"'
        case "string_type":
            return "expected text", None
        case "int_type":
            return "expected a whole number", None
        case "bool_type":
            return "expected true or false", None
        case "tuple_type" | "list_type":
            return "expected a list", f"write [{place.text[:40]}]" if place.text else None
        case "dict_type" | "model_type" | "model_attributes_type":
            return "expected a mapping (key: value)", None
        case "literal_error":
            return _not_one_of(error, place)
        case _:
            return error["msg"][:1].lower() + error["msg"][1:], None


def _not_one_of(error: ErrorDetails, place: ValuePlace) -> tuple[str, str | None]:
    expected = error["ctx"]["expected"].replace("'", "")
    words = expected.replace(" or ", ", ").split(", ")
    near = difflib.get_close_matches(place.text.lower(), words, n=1)
    return f"expected {expected}", f"did you mean {near[0]}?" if near else None
