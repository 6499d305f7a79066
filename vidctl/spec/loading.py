"""Find specs, read them, and tell every mistake at once."""

from __future__ import annotations

import difflib
from collections.abc import Collection, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, get_args

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from vidctl.errors import SpecError
from vidctl.spec.document import Document, Location, Place, Slip, parse
from vidctl.spec.mistake import Mistake, lines_of
from vidctl.spec.model import Context, EndpointSpec

SIZE_LIMIT = 256 * 1024  # bytes; a spec has about two thousand
SUFFIXES = (".yaml", ".yml")


def load(path: Path, *, environ: Mapping[str, str]) -> EndpointSpec:
    """Read a spec, its variables filled in from `environ`.  Raises SpecError with every mistake."""
    spec, mistakes = _read(path, environ)
    if spec is None or mistakes:
        raise SpecError("\n".join(map(str, mistakes)))
    return spec


def check(path: Path, *, environ: Mapping[str, str]) -> list[Mistake]:
    """List what is wrong in a spec, in the order of its lines; raises nothing."""
    return _read(path, environ)[1]


def names(root: Path) -> list[str]:
    """The specs of a project: the names of the files in its configs/, sorted."""
    folder = root / "configs"
    found = folder.iterdir() if folder.is_dir() else iter(())
    return sorted({path.stem for path in found if path.suffix in SUFFIXES and not path.name.startswith(".")})


def find(name_or_path: str, *, root: Path) -> Path:
    """Find a spec by name (`yolo`: configs/yolo.yaml of the project) or by path.  Raises SpecError."""
    for suffix in SUFFIXES:
        if name_or_path in names(root) and (path := root / "configs" / f"{name_or_path}{suffix}").exists():
            return path
    path = Path(name_or_path)
    if path.suffix in SUFFIXES and "\0" not in name_or_path and path.is_file():
        return path
    raise SpecError(f"there is no spec {name_or_path!r}", hint=_nearest(name_or_path, root))


def _nearest(name: str, root: Path) -> str:
    known = names(root)
    if near := difflib.get_close_matches(Path(name).stem, known, n=1):
        return f"did you mean {near[0]}?"
    return f"there are: {', '.join(known)}" if known else f"{root / 'configs'} holds none: write configs/NAME.yaml"


def _read(path: Path, environ: Mapping[str, str]) -> tuple[EndpointSpec | None, list[Mistake]]:
    try:
        text = _text(path)
    except SpecError as error:
        return None, [Mistake(_shown(path), 1, 1, error.message, error.hint)]
    document = parse(text, environ)
    spec, slips = _validate(document, path)
    lines = lines_of(text)
    ordered = sorted(dict.fromkeys(slips), key=lambda slip: (slip.mark.line, slip.mark.column))
    return spec, [_mistake(slip, _shown(path), lines) for slip in ordered]


def _mistake(slip: Slip, path: Path, lines: list[str]) -> Mistake:
    source = lines[slip.mark.line - 1] if slip.mark.line <= len(lines) else ""
    return Mistake(path, slip.mark.line, slip.mark.column, slip.message, slip.hint, source)


def _shown(path: Path) -> Path:
    """The path as the user sees it from where they are."""
    here = Path.cwd()
    return path.relative_to(here) if path.is_relative_to(here) else path


def _text(path: Path) -> str:
    try:
        if not path.is_file():
            raise SpecError("this is a folder, not a spec" if path.is_dir() else "there is no such file")
        with path.open("rb") as file:
            content = file.read(SIZE_LIMIT + 1)
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else None
        raise SpecError(f"this file cannot be read: {reason or 'no file has such a name'}") from error
    if len(content) > SIZE_LIMIT:
        raise SpecError(f"this file is too large for a spec: over {SIZE_LIMIT // 1024} kB")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise SpecError(f"this file is not UTF-8 text (byte {error.start})", hint="save it as UTF-8") from error


def _validate(document: Document, path: Path) -> tuple[EndpointSpec | None, list[Slip]]:
    value = document.value
    if not document.places:
        return None, document.slips
    if not isinstance(value, dict):
        message = "a spec is a mapping: name: …, image: …"
        return None, [*document.slips, Slip(document.places[()].value, message)]
    fields = {key: part for key, part in value.items() if not key.startswith("x-")}
    slips = [*document.slips, *_empty(document), *_secrets_elsewhere(document, fields)]
    resolved = path.resolve()
    folder = resolved.parent.parent if resolved.parent.name == "configs" else resolved.parent
    try:
        spec = EndpointSpec.model_validate(fields, context=Context(resolved, folder))
    except ValidationError as error:
        spoilt = _spoilt(document)
        found = (_slip(details, document, spoilt) for details in error.errors(include_url=False))
        return None, [*slips, *filter(None, found)]
    return (None if slips else spec), slips


def _is_free(location: Location) -> bool:
    """Whether any JSON may stand there, null included."""
    return location[:2] == ("smoke", "contains") or str(next(iter(location), "")).startswith("x-")


def _empty(document: Document) -> Iterator[Slip]:
    for location, place in document.places.items():
        if place.is_empty and not _is_free(location):
            yield Slip(place.key or place.value, "this has no value", "give it one, or remove the line")


def _spoilt(document: Document) -> set[Location]:
    """The broken values and all that holds them: what they lack may be what is broken."""
    broken = [location for location, place in document.places.items() if place.is_broken]
    return {location[:length] for location in broken for length in range(1, len(location) + 1)}


def _secrets_elsewhere(document: Document, fields: Mapping[str, Any]) -> Iterator[Slip]:
    """A secret that is also in env would be written in the spec after all; and an image shows its build arguments."""
    secrets = fields.get("secrets")
    for part, hint in _SHOWN.items():
        for location in ((*part, name) for name in _mapping(fields, part)):
            if isinstance(secrets, list) and location[-1] in secrets:
                place = document.places[location]
                yield Slip(place.key or place.value, "this is one of the secrets", hint)


_SHOWN: dict[Location, str] = {
    ("env",): "keep it in one of env: and secrets:",
    ("local", "env"): "keep it in one of env: and secrets:",
    ("image", "build_args"): "whoever has the image can read its build arguments",
    ("local", "build_args"): "whoever has the image can read its build arguments",
}


def _mapping(fields: Any, location: Location) -> dict[str, Any]:
    for step in location:
        fields = fields.get(step) if isinstance(fields, dict) else None
    return fields if isinstance(fields, dict) else {}


def _slip(error: ErrorDetails, document: Document, spoilt: Collection[Location]) -> Slip | None:
    """Say what pydantic found, where the file has it; None if the value's own mistake has been told."""
    context = error.get("ctx", {})
    beside = context.get("beside")
    location, place = _place(error["loc"] if beside is None else (*error["loc"][:-1], *beside), document)
    if location in spoilt or (place.is_empty and not _is_free(location)):
        return None
    if error["type"] == "extra_forbidden" or error["loc"][-1:] == ("[key]",):
        return _key_slip(error, location, place)
    if error["type"] == "missing":
        return Slip(place.key or place.value, f"{error['loc'][-1]}: is missing")
    message, hint = (context["message"], context["hint"]) if error["type"] == "spec" else _said(error, place)
    if place.is_interpolated:  # what a variable gives may be a secret: neither the message nor the hint tells it
        return Slip(place.value, context.get("rule") or message, "this is what the variable gives")
    return Slip(place.value, message, hint)


def _place(loc: Iterable[str | int], document: Document) -> tuple[Location, Place]:
    """Follow pydantic's location down the document, past the steps that a shorthand leaves out."""
    location: Location = ()
    for step in loc:
        if (*location, step) in document.places:
            location = (*location, step)
    return location, document.places[location]


def _key_slip(error: ErrorDetails, location: Location, place: Place) -> Slip:
    mark = place.key or place.value
    if error["type"] == "spec":
        return Slip(mark, error["ctx"]["message"], error["ctx"]["hint"])
    known = _known_keys(location[:-1])
    near = difflib.get_close_matches(str(location[-1]), known, n=1, cutoff=0.6)
    hint = f"did you mean {near[0]}?" if near else f"known here: {', '.join(known)}"
    return Slip(mark, f"there is no such key as {location[-1]!r}", hint)


def _known_keys(location: Location) -> list[str]:
    model: type[BaseModel] = EndpointSpec
    for step in location:
        fields = {field.alias or name: field for name, field in model.model_fields.items()}
        model = next(_models(fields[str(step)].annotation))
    return [field.alias or name for name, field in model.model_fields.items()]


def _models(annotation: Any) -> Iterator[type[BaseModel]]:
    for candidate in (annotation, *get_args(annotation)):
        if isinstance(candidate, type) and issubclass(candidate, BaseModel):
            yield candidate


def _said(error: ErrorDetails, place: Place) -> tuple[str, str | None]:
    """Pydantic's finding in the words of someone who writes YAML.  Never quotes the value."""
    match error["type"]:
        case "string_type" if isinstance(error["input"], (bool, int, float)):
            return "this must be text", f'quote it: "{place.text}"'
        case "string_type":
            return "this must be text", None
        case "int_type":
            return "this must be a whole number", None
        case "bool_type":
            return "this must be true or false", None
        case "tuple_type" | "list_type":
            return "this must be a list", f"write [{place.text[:40]}]" if place.text else None
        case "dict_type" | "model_type" | "model_attributes_type":
            return "this must be a mapping (key: value)", None
        case "literal_error":
            return _not_one_of(error, place)
        case _:
            return error["msg"][:1].lower() + error["msg"][1:], None


def _not_one_of(error: ErrorDetails, place: Place) -> tuple[str, str | None]:
    expected = error["ctx"]["expected"].replace("'", "")
    words = expected.replace(" or ", ", ").split(", ")
    near = difflib.get_close_matches(place.text.lower(), words, n=1)
    return f"this must be {expected}", f"did you mean {near[0]}?" if near else None
