"""JSON Schemas as the engine's grammar can hold an answer to them, and what it cannot.  Pure.

vLLM refuses a whole schema for one word that xgrammar does not know (0.32, v1/structured_output/backend_xgrammar.py,
`has_xgrammar_unsupported_json_features`), without saying which.  Here that word is taken out, and named: an answer that
meets the schema meets what is left of it, too.
"""

from __future__ import annotations

from typing import Any

# xgrammar's own, `STRING_SUPPORTED_FORMATS` there.
FORMATS = frozenset({
    "email", "date", "time", "date-time", "duration", "ipv4", "ipv6", "hostname", "uuid", "uri", "uri-reference",
    "uri-template", "json-pointer", "relative-json-pointer",
})  # fmt: skip
MOST_BRANCHES = 200  # of one `allOf` and those in it: a schema may refer to itself, twice
NOTES = ("default", "examples", "description", "title", "$comment")
# Words whose value is a schema, a list of them, or a mapping to them.
ONE = ("items", "additionalProperties", "propertyNames", "not", "if", "then", "else", "unevaluatedProperties",
       "unevaluatedItems", "additionalItems")  # fmt: skip
SEVERAL = ("allOf", "anyOf", "oneOf", "prefixItems", "items")
NAMED = ("properties", "patternProperties", "$defs", "definitions", "dependentSchemas")


def relax(body: dict[str, Any]) -> tuple[dict[str, Any], list[str]]:
    """A request whose schema, if it has one, the engine takes; and the words of it that the answer is not held to."""
    named = _mapping(_mapping(body.get("response_format")).get("json_schema"))
    if isinstance(named.get("schema"), dict):
        schema, lost = relaxed(named["schema"])
        return {
            **body,
            "response_format": {**body["response_format"], "json_schema": {**named, "schema": schema}},
        }, lost
    outputs = _mapping(body.get("structured_outputs"))
    if isinstance(outputs.get("json"), dict):
        schema, lost = relaxed(outputs["json"])
        return {**body, "structured_outputs": {**outputs, "json": schema}}, lost
    return body, []


def relaxed(schema: dict[str, Any]) -> tuple[dict[str, Any], list[str]]:
    """The schema without what the engine cannot hold an answer to, and the words that this is about."""
    lost: list[str] = []
    return _relaxed(schema, schema, lost, 0), sorted(set(lost))


def _relaxed(schema: dict[str, Any], root: dict[str, Any], lost: list[str], depth: int) -> dict[str, Any]:
    if depth > 100:  # the engine says what is too deep
        return schema
    found = {name: value for name, value in schema.items() if name not in ("default", "examples")}
    _merge_all_of(found, root, lost, [MOST_BRANCHES])
    lost.extend([name for name in _unknown(found) if found.pop(name) is not False])
    if "patternProperties" in schema and "patternProperties" not in found:  # what has such a name is not forbidden
        found.pop("additionalProperties", None)
        found.pop("unevaluatedProperties", None)

    def inner(value: Any) -> Any:
        return _relaxed(value, root, lost, depth + 1) if isinstance(value, dict) else value

    for name, value in found.items():
        if name in NAMED and isinstance(value, dict):
            found[name] = {key: inner(each) for key, each in value.items()}
        elif name in SEVERAL and isinstance(value, list):
            found[name] = [inner(each) for each in value]
        elif name in ONE:
            found[name] = inner(value)
    return found


def _unknown(schema: dict[str, Any]) -> list[str]:
    """The words of one schema that xgrammar does not know, alone or beside the others."""
    words = ["multipleOf", "uniqueItems", "contains", "minContains", "maxContains"]
    is_known = schema.get("format") in FORMATS
    if not is_known:
        words.append("format")
    if "pattern" in schema or is_known:
        words += ["minLength", "maxLength"]
    patterns = schema.get("patternProperties")
    if any(name in schema for name in ("properties", "patternProperties")) or (
        schema.get("unevaluatedProperties", True) is not True
    ):
        words.append("propertyNames")
    if isinstance(patterns, dict) and ("properties" in schema or len(patterns) > 1):
        words.append("patternProperties")
    least, properties = schema.get("minProperties"), schema.get("properties")
    if isinstance(least, int) and least > (len(properties) if isinstance(properties, dict) else 0):
        words.append("minProperties")
    return [word for word in words if word in schema]


def _merge_all_of(found: dict[str, Any], root: dict[str, Any], lost: list[str], left: list[int]) -> None:
    """Put the branches of an `allOf` together, for the engine follows none of several; where two say something of the
    same thing, the first is followed.
    """
    branches = found.get("allOf")
    if not isinstance(branches, list) or len(branches) < 2:
        return
    del found["allOf"]
    for branch in branches:
        left[0] -= 1
        merged = _referred(branch, root) if left[0] >= 0 else None
        if not isinstance(merged, dict):
            lost.append("allOf")
            continue
        merged = dict(merged)
        _merge_all_of(merged, root, lost, left)
        for name, value in merged.items():
            there = found.get(name)
            if name == "properties" and isinstance(there, dict) and isinstance(value, dict):
                lost.extend("allOf" for key in value if key in there and there[key] != value[key])
                found[name] = {**value, **there}
            elif name == "required" and isinstance(there, list) and isinstance(value, list):
                found[name] = [*there, *(each for each in value if each not in there)]
            elif name in ("additionalProperties", "unevaluatedProperties"):
                lost.append(name)  # which are additional, the other branches have a say in
            elif name not in found:
                found[name] = value
            elif there != value and name not in NOTES:
                lost.append("allOf")


def _referred(branch: Any, root: dict[str, Any]) -> Any:
    """What a branch that is nothing but a reference into the same document refers to."""
    reference = branch.get("$ref") if isinstance(branch, dict) else None
    if not isinstance(reference, str):
        return branch
    place: Any = root
    for step in reference.removeprefix("#").split("/")[1:]:
        name = step.replace("~1", "/").replace("~0", "~")
        place = place.get(name) if isinstance(place, dict) else None
    if not reference.startswith("#") or not isinstance(place, dict):
        return None
    return {**place, **{name: value for name, value in branch.items() if name != "$ref"}}


def _mapping(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def unheld(words: list[str]) -> str:
    """The warning about keywords of a schema that are not enforced."""
    return f"the engine does not enforce these keywords of the schema: {', '.join(words)}"
