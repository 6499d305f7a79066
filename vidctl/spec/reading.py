"""From files to a checked value, or to everything that is wrong in them, each with its file and place."""

from __future__ import annotations

import difflib
import re
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar, get_args

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from vidctl.errors import SpecError
from vidctl.spec.document import Document, Location, Place, Problem, parse
from vidctl.spec.mistake import Mark, Mistake, lines_of
from vidctl.spec.model import Context
from vidctl.spec.overlay import lay, lifted

SIZE_LIMIT = 256 * 1024  # bytes; a spec has about two thousand

Model = TypeVar("Model", bound=BaseModel)


@dataclass(frozen=True)
class Sheets:
    """Files, the base first, read as one document; and their lines, to show them."""

    files: tuple[Path, ...]
    document: Document
    lines: tuple[list[str], ...]


@dataclass(frozen=True)
class Reading(Generic[Model]):
    """What files say: a value, or mistakes, or both where the value cannot be trusted."""

    value: Model | None
    mistakes: list[Mistake]


def read(sheets: Sheets, model: type[Model], context: Context | None) -> Reading[Model]:
    """Check what files say against a model; raise nothing."""
    value, problems = _validate(sheets.document, model, context)
    ordered = sorted(
        dict.fromkeys(problems), key=lambda problem: (problem.mark.layer, problem.mark.line, problem.mark.column)
    )
    return Reading(value, [_mistake(problem, sheets) for problem in ordered])


def marked(sheets: Sheets, field: Location, message: str, hint: str | None) -> Mistake:
    """Say something of a field where the files say it, or of the part around it."""
    _, place = follow(field, sheets.document)
    return _mistake(Problem(place.value, message, hint), sheets)


def open_sheets(files: Sequence[Path], environ: Mapping[str, str] | None) -> Sheets:
    """Read files; what is wrong with them is in the document's problems.  Without `environ` there are no variables."""
    opened = [_sheet(file, layer, environ) for layer, file in enumerate(files)]
    document = opened[0][0]
    for (over, _), file, base in zip(opened[1:], files[1:], files, strict=False):
        suffix = file.stem.removeprefix(base.stem).replace(".", "-")
        document = _both(over, document, suffix)
    return Sheets(tuple(files), document, tuple(lines for _, lines in opened))


def follow(loc: Iterable[str | int], document: Document) -> tuple[Location, Place]:
    """Follow a location down the document as far as it goes, past the steps that a shorthand leaves out."""
    location: Location = ()
    for step in loc:
        if (*location, step) in document.places:
            location = (*location, step)
    return location, document.places[location]


def shown(path: Path) -> Path:
    """The path as the user sees it from where they are."""
    here = Path.cwd()
    return path.relative_to(here) if path.is_relative_to(here) else path


def _both(over: Document, under: Document, suffix: str) -> Document:
    """One over the other; without places if one of them could not be read."""
    if over.places and under.places:
        return lay(over, under, suffix=suffix)
    return Document(problems=[*under.problems, *over.problems])


def _sheet(path: Path, layer: int, environ: Mapping[str, str] | None) -> tuple[Document, list[str]]:
    try:
        text = _text(path)
    except SpecError as error:
        return lifted(Document(problems=[Problem(Mark(1, 1), error.message, error.hint)]), layer), []
    document = parse(text, environ)
    if document.places and not isinstance(document.value, dict):
        problem = Problem(document.places[()].value, "expected a mapping (key: value)")
        document = Document(problems=[*document.problems, problem])
    return lifted(document, layer), _lines(text, document)


def _text(path: Path) -> str:
    try:
        if not path.is_file():
            raise SpecError("expected a spec, found a folder" if path.is_dir() else "file not found")
        with path.open("rb") as file:
            content = file.read(SIZE_LIMIT + 1)
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else None
        raise SpecError(f"cannot be read: {reason or 'no file has such a name'}") from error
    if len(content) > SIZE_LIMIT:
        raise SpecError(f"file is too large for a spec: over {SIZE_LIMIT // 1024} kB")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise SpecError(f"not UTF-8 text (byte {error.start})", hint="save it as UTF-8") from error


def _lines(text: str, document: Document) -> list[str]:
    """The lines to show; one with a password that should not be there is not."""
    lines = lines_of(text)
    for location, harmless in _MAY_HOLD_PASSWORDS.items():
        place = document.places.get(location)
        if place and not re.fullmatch(harmless, place.text):
            lines[place.value.line - 1] = ""
    return lines


_MAY_HOLD_PASSWORDS: dict[Location, str] = {("registry_auth", "password"): "[A-Z0-9_]*", ("local", "openai"): "[^@?#]*"}


def _mistake(problem: Problem, sheets: Sheets) -> Mistake:
    mark, lines = problem.mark, sheets.lines[problem.mark.layer]
    source = lines[mark.line - 1] if mark.line <= len(lines) else ""
    return Mistake(shown(sheets.files[mark.layer]), mark.line, mark.column, problem.message, problem.hint, source)


def _validate(document: Document, model: type[Model], context: Context | None) -> tuple[Model | None, list[Problem]]:
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


def _layer(found: tuple[Location, Place]) -> int:
    return found[1].value.layer


def _key_problem(error: ErrorDetails, location: Location, place: Place, model: type[BaseModel]) -> Problem:
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


def _plain(error: ErrorDetails, place: Place) -> tuple[str, str | None]:
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


def _not_one_of(error: ErrorDetails, place: Place) -> tuple[str, str | None]:
    expected = error["ctx"]["expected"].replace("'", "")
    words = expected.replace(" or ", ", ").split(", ")
    near = difflib.get_close_matches(place.text.lower(), words, n=1)
    return f"expected {expected}", f"did you mean {near[0]}?" if near else None
