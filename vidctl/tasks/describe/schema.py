"""What form an answer must have: JSON Schemas, read from JSON or from a short form, and answers checked against them.

The short form is that of Simon Willison's `llm` (docs/schemas.md), and lists besides: `name, age int, tags list[str]`.
Pure: a `$ref` to another document is never fetched.
"""

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Mapping
from functools import partial
from typing import TYPE_CHECKING, Any, NoReturn

from vidctl.errors import UsageError

if TYPE_CHECKING:  # jsonschema takes as long to import as `vidctl --help` does in all
    from jsonschema import FormatChecker, ValidationError
    from jsonschema.protocols import Validator
    from referencing import Resource
    from referencing._core import Resolver

TYPES = {"str": "string", "int": "integer", "float": "number", "bool": "boolean"}

# Of RFC 3339, 3986 and 1123, as far as a pattern goes; jsonschema has these only with further packages.
_TIME = r"([01]\d|2[0-3]):[0-5]\d:([0-5]\d|60)(\.\d+)?(z|[+-]([01]\d|2[0-3]):[0-5]\d)"
_LABEL = r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?"
_FORMATS = {
    "date-time": rf"\d{{4}}-(0[1-9]|1[0-2])-(0[1-9]|[12]\d|3[01])[t ]{_TIME}",
    "time": _TIME,
    "duration": r"P(?!$)(\d+W|(\d+Y)?(\d+M)?(\d+D)?(T(?=\d)(\d+H)?(\d+M)?(\d+S)?)?)",
    "hostname": rf"(?=.{{1,253}}$){_LABEL}(\.{_LABEL})*",
    "uri": r"[a-z][a-z0-9+.-]*:[^\s<>\"{}|\\^`]*",
}

# What jsonschema and referencing raise where a $schema, an $id or a $ref is none, or a number is beyond a float's.
_CONFUSED = (ArithmeticError, AttributeError, LookupError, TypeError, ValueError)

_HINT = (
    "write a field as NAME, NAME TYPE or NAME TYPE: DESCRIPTION; with one field a line a description may hold commas"
)


def read(text: str) -> dict[str, Any]:
    """A schema from its JSON text, or from the short form `name, age int, bio: one sentence`; UsageError otherwise.

    In the short form every field is required, and there are no others.
    """
    schema = _from_json(text) if text.lstrip()[:1] in ("{", "[", '"') else _from_fields(text)
    check_schema(schema)
    return schema


def check_schema(schema: Mapping[str, Any]) -> None:
    """Raise UsageError for what is no JSON Schema, with the place in it, and for one that needs another document."""
    from jsonschema.exceptions import best_match

    try:
        validator = _validator(schema)
        rules = type(validator)(validator.META_SCHEMA, format_checker=validator.FORMAT_CHECKER)
        error = best_match(rules.iter_errors(dict(schema)))
        if error is None:
            _check_references(schema)
            validator.is_valid(None)  # a reference that leads to itself has no end here
    except RecursionError as endless:
        raise UsageError("schema: nested too deeply, or refers to itself without end") from endless
    except _CONFUSED as odd:
        raise UsageError(f"schema: not a JSON Schema ({str(odd)[:100]})") from odd
    if error is not None:
        raise UsageError(f"schema: {_problem(error, 'it')}")


def check(schema: Mapping[str, Any], value: Any) -> str | None:
    """What is wrong with a value, in one sentence with its place; None if it meets the schema."""
    from jsonschema.exceptions import best_match

    try:
        error = best_match(_validator(schema).iter_errors(value))
        return None if error is None else _problem(error, "the answer")
    except RecursionError:
        return "the answer is nested too deeply"
    except _CONFUSED as odd:  # a number of hundreds of digits
        return f"the answer cannot be checked ({str(odd)[:100]})"


def _validator(schema: Mapping[str, Any]) -> Validator:
    """Of the draft that the schema names, with a registry that fetches nothing: jsonschema's own opens addresses."""
    from jsonschema import Draft202012Validator
    from jsonschema.validators import validator_for
    from referencing import Registry

    whole = dict(schema)
    kind = validator_for(whole, default=Draft202012Validator)
    return kind(whole, registry=Registry(), format_checker=_formats(kind))


def _formats(kind: type[Validator]) -> FormatChecker:
    """What jsonschema checks of `format` without other packages, and the rest of what people ask a model for."""
    from jsonschema import FormatChecker

    formats = FormatChecker(())
    formats.checkers = {**kind.FORMAT_CHECKER.checkers}
    for name, pattern in _FORMATS.items():
        formats.checkers.setdefault(name, (partial(_has_format, pattern), ()))
    return formats


def _has_format(pattern: str, value: object) -> bool:
    return not isinstance(value, str) or re.fullmatch(pattern, value, re.ASCII | re.IGNORECASE) is not None


def _check_references(schema: Mapping[str, Any]) -> None:
    from referencing import Registry, Resource
    from referencing.exceptions import Unresolvable
    from referencing.jsonschema import DRAFT202012

    resource = Resource.from_contents(dict(schema), default_specification=DRAFT202012)
    try:
        _follow(Registry().resolver_with_root(resource), resource)
    except Unresolvable as error:
        raise UsageError(
            f"schema: {_short(error.ref)} not found", hint="use $defs; other documents are not fetched"
        ) from error


def _follow(resolver: Resolver[Any], resource: Resource[Any]) -> None:
    """Look up each reference, relative to where it stands."""
    if isinstance(resource.contents, dict):
        for name in ("$ref", "$dynamicRef"):
            if isinstance(resource.contents.get(name), str):
                resolver.lookup(resource.contents[name])
    for part in resource.subresources():
        _follow(resolver.in_subresource(part), part)


def _problem(error: ValidationError, whole: str) -> str:
    """What jsonschema found, without the pages that it quotes."""
    where = error.json_path.removeprefix("$").removeprefix(".") or whole
    instance: Any = error.instance
    rule: Any = error.validator_value
    match error.validator:
        case "type":
            return f"{where} is {_short(instance)}, not {_kinds(rule)}"
        case "required" if isinstance(rule, list):
            return f"{where} has no {_short(next(name for name in rule if name not in instance))}"
        case "additionalProperties" if rule is False:
            return f"{where} has {_short(_unknown(instance, error.schema))}, which is not in the schema"
        case "format" if rule in (*_FORMATS, "date", "email", "ipv4", "ipv6", "uuid"):
            return f"{where} is {_short(instance)}, which is not in the format {_short(rule)}"
        case "enum":
            return f"{where} is {_short(instance)}, not one of {', '.join(map(_short, rule[:20]))}"
    return f"{where}: {error.message.replace(repr(instance), _short(instance), 1)[:200]}"


def _kinds(rule: Any) -> str:
    return " or ".join(_KINDS.get(str(name), str(name)) for name in (rule if isinstance(rule, list) else [rule]))


_KINDS = {
    "array": "a list",
    "boolean": "true or false",
    "integer": "a whole number",
    "number": "a number",
    "object": "an object",
    "string": "text",
}


def _unknown(instance: Any, schema: Any) -> Any:
    """The first name in an object that its schema does not have."""
    known, patterns = schema.get("properties", {}), schema.get("patternProperties", {})
    unknown = (name for name in instance if name not in known and not any(re.search(each, name) for each in patterns))
    return next(unknown)


def _short(value: object) -> str:
    """The value as JSON writes it, or the beginning of it."""
    text = json.dumps(value, ensure_ascii=False, default=str)
    return text if len(text) <= 60 else f"{text[:57]}…"


def _from_json(text: str) -> dict[str, Any]:
    try:
        schema = json.loads(text, parse_constant=_refuse_constant)
    except json.JSONDecodeError as error:
        raise UsageError(f"schema: invalid JSON, line {error.lineno} column {error.colno}: {error.msg}") from error
    except (ValueError, RecursionError) as error:
        raise UsageError(f"schema: invalid JSON ({error})") from error
    if not isinstance(schema, dict):
        raise UsageError(f"schema must be an object, not {_short(schema)}")
    return schema


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")


def _from_fields(text: str) -> dict[str, Any]:
    """The object that `name, age int` means; fields are separated by lines where there are several, else by commas."""
    parts = [part.strip() for part in re.split("[\r\n]" if "\n" in text.strip() else ",", text)]
    properties: dict[str, Any] = {}
    for number, field in enumerate(filter(None, parts), start=1):
        name, schema = _field(field, f"schema: field {number}, {_short(field)}")
        if name in properties:
            raise UsageError(f"schema: field {number}: duplicate name {name!r}")
        properties[name] = schema
    if not properties:
        raise UsageError("schema is empty", hint=_HINT)
    return {"type": "object", "properties": properties, "required": list(properties), "additionalProperties": False}


def _field(field: str, where: str) -> tuple[str, dict[str, Any]]:
    head, _, description = field.partition(":")
    name, *types = re.sub(r"\s*\[\s*(.*?)\s*\]", r"[\1]", head).split() or [""]
    if not re.fullmatch(r"[^\W\d][\w-]*", name):
        raise UsageError(f"{where}: invalid name: expected letters, digits, _ and -", hint=_HINT)
    if not types and _is_type(description.strip()):  # `name: str`, as Python has it
        types, description = [description.strip()], ""
    if len(types) > 1:
        raise UsageError(f"{where}: expected a name and a type only", hint=_HINT)
    schema = _type(types[0] if types else "str", where)
    return name, {**schema, "description": description.strip()} if description.strip() else schema


def _is_type(text: str) -> bool:
    return text in TYPES or re.fullmatch(rf"list(\[({'|'.join(TYPES)})\])?", text) is not None


def _type(word: str, where: str) -> dict[str, Any]:
    if listed := re.fullmatch(r"list(?:\[(.*)\])?", word):
        return {"type": "array", "items": _type(listed[1] or "str", where)}
    if word in TYPES:
        return {"type": TYPES[word]}
    known = [*TYPES, "list[str]"]
    near = difflib.get_close_matches(word, [*TYPES, *TYPES.values(), "list[str]"], n=1)
    meant = next((short for short, long in TYPES.items() if near and near[0] in (short, long)), None)
    hint = f"did you mean {meant}?" if meant else f"known types: {', '.join(known)}"
    raise UsageError(f"{where}: unknown type {word!r}", hint=hint)
