"""The JSON Schema of a spec, for editors: what the loader takes, as far as it can be told without looking at files."""

from __future__ import annotations

from typing import Any

from vidctl.spec.model import EndpointSpec
from vidctl.spec.project import ProjectSettings

DIALECT = "https://json-schema.org/draft/2020-12/schema"
VARIABLE = {"type": "string", "pattern": r"\$\{"}


def json_schema() -> dict[str, Any]:
    """Give the schema (draft 2020-12) of a file in configs/."""
    schema = _open(EndpointSpec.model_json_schema())
    schema["patternProperties"] = {"^x-": {"description": "Your own, for anchors."}}
    schema["$defs"]["variable"] = VARIABLE
    return {"$schema": DIALECT, **schema}


def overlay_schema() -> dict[str, Any]:
    """Give the schema of an overlay: that of a spec with nothing required, and null for any key, to remove it."""
    return dict(_optional(json_schema()))


def settings_schema() -> dict[str, Any]:
    """Give the schema of a project's vidctl.yaml."""
    schema = _open(ProjectSettings.model_json_schema())
    schema["description"] = "A project's settings: vidctl.yaml, beside configs/."
    schema["$defs"]["variable"] = VARIABLE
    return {"$schema": DIALECT, **schema}


def _open(schema: Any) -> Any:
    """Let a variable stand wherever more than plain text is asked for, and null nowhere."""
    if isinstance(schema, list):
        return [_open(part) for part in schema if part != {"type": "null"}]
    if not isinstance(schema, dict):
        return schema
    # The defaults are Python's (seconds, null): the descriptions say them in YAML's words.
    opened = {key: _open(part) for key, part in schema.items() if key not in ("default", "title")}
    if len(opened.get("anyOf", ())) == 1:
        opened.update(opened.pop("anyOf")[0])
    if "patternProperties" in opened:
        opened["additionalProperties"] = False
    return _or_variable(opened) if _is_narrow(opened) else opened


def _or_variable(schema: dict[str, Any]) -> dict[str, Any]:
    description = {key: schema.pop(key) for key in ("description",) if key in schema}
    return {**description, "anyOf": [schema, {"$ref": "#/$defs/variable"}]}


def _is_narrow(schema: dict[str, Any]) -> bool:
    return schema.get("type") in ("integer", "boolean") or bool({"pattern", "enum", "const"} & set(schema))


def _optional(schema: Any) -> Any:
    if isinstance(schema, list):
        return [_optional(part) for part in schema]
    if not isinstance(schema, dict):
        return schema
    optional = {key: _optional(part) for key, part in schema.items() if key != "required"}
    for group in {"properties", "patternProperties"} & set(optional):
        optional[group] = {name: _or_null(part) for name, part in optional[group].items()}
    return optional


def _or_null(schema: dict[str, Any]) -> dict[str, Any]:
    description = {key: schema.pop(key) for key in ("description",) if key in schema}
    forms = schema["anyOf"] if schema.keys() == {"anyOf"} else [schema]
    return {**description, "anyOf": [*forms, {"type": "null"}]}
