"""What REST v2 takes in a request body, and what it says of one that it does not take.  Pure.

The rules are those of RunPod's OpenAPI document (2.0.0), in the words of the validator that RunPod's answers show
(runpod/runpod-plugins-official, runpod-migrate/reference/breaking-changes.md, "Reading a 422").
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from vidctl.runpod.limits import IDLE_TIMEOUT_S

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

Schema: TypeAlias = dict[str, Any]

_TEXT: Final[Schema] = {"type": "string"}
_NAME: Final[Schema] = {"type": "string", "minLength": 1}
_WORDS: Final[Schema] = {"type": "array", "items": {"type": "string"}}
_NUMBER: Final[Schema] = {"type": "integer"}
_FLAG: Final[Schema] = {"type": "boolean"}
_TEXTS: Final[Schema] = {"type": "array", "items": _TEXT}
_CUDA_VERSIONS: Final[Schema] = {"type": "array", "items": {"type": "string", "pattern": r"^\d+\.\d+$"}}

_CONTAINER: Final[dict[str, Schema]] = {
    "args": _TEXT,
    "cmd": _WORDS,  # beyond the document, in answers and requests of late (runpodctl internal/api/endpoints_v2.go)
    "disk": {"type": "integer", "minimum": 1},
    "env": {"type": "object", "values": _TEXT},
    "image": _TEXT,
    "ports": _TEXTS,
    "registry": {"type": "string", "nullable": True},
}
_GPU: Final[dict[str, Schema]] = {
    "pools": {"type": "array", "items": _TEXT, "minItems": 1},
    "excludedTypes": {"type": "array", "items": {"type": "string", "pattern": r"^\s*[^-\s]"}, "uniqueItems": True},
    "count": {"type": "integer", "minimum": 1},
    "allowedCudaVersions": _CUDA_VERSIONS,
}
_ENDPOINT: Final[dict[str, Schema]] = {
    **_CONTAINER,
    "name": _NAME,
    "cpu": {
        "type": "array",
        "minItems": 1,
        "uniqueItems": True,
        "items": {
            "type": "object",
            "required": ("id", "vcpuCount"),
            "properties": {"id": _NAME, "vcpuCount": {"type": "integer", "minimum": 2}},
        },
    },
    "dataCenterIds": _TEXTS,
    "flashboot": {"type": "string", "enum": ("OFF", "FLASHBOOT", "PRIORITY_FLASHBOOT")},
    "networkVolumes": _TEXTS,
    "timeout": _NUMBER,
    "workers": {
        "type": "object",
        "properties": {
            "min": {"type": "integer", "minimum": 0},
            "max": {"type": "integer", "minimum": 0},
            "idleTimeout": {"type": "integer", "minimum": IDLE_TIMEOUT_S[0], "maximum": IDLE_TIMEOUT_S[1]},
        },
    },
    "scaling": {
        "type": "object",
        "oneOf": {
            "QUEUE_DELAY": {
                "required": ("type", "queueDelay"),
                "properties": {"type": _TEXT, "queueDelay": {"type": "number", "minimum": 0.5}},
            },
            "REQUEST_COUNT": {
                "required": ("type", "requestCount"),
                "properties": {"type": _TEXT, "requestCount": {"type": "integer", "minimum": 1}},
            },
        },
    },
}
_TEMPLATE: Final[dict[str, Schema]] = {
    **_CONTAINER,
    "name": _NAME,
    "allowedCudaVersions": _CUDA_VERSIONS,
    "entrypoint": _WORDS,
    "category": {"type": "string", "enum": ("CPU", "NVIDIA", "AMD")},
    "mounts": {
        "type": "object",
        "properties": {
            "persistent": {
                "type": "object",
                "required": ("size", "path"),
                "properties": {"size": {"type": "integer", "minimum": 10}, "path": _TEXT},
            }
        },
    },
    "public": _FLAG,
    "serverless": _FLAG,
    "startJupyter": _FLAG,
    "startSsh": _FLAG,
}
_VOLUME_SIZE: Final[Schema] = {"type": "integer", "minimum": 10, "maximum": 4096}

# `composed`: RunPod closes these bodies over several parts (`unevaluatedProperties`), which shows in what is said when
# a required field is missing.
CREATE_ENDPOINT: Final[Schema] = {
    "type": "object",
    "composed": True,
    "required": ("name", "type", "scaling"),
    "requiredUnless": {"templateId": "image"},
    "properties": {
        **_ENDPOINT,
        "type": {"type": "string", "enum": ("QUEUE", "LOAD_BALANCER")},
        "templateId": _NAME,
        "gpu": {
            "type": "object",
            "composed": True,
            "required": ("pools",),
            "properties": {**_GPU, "minCudaVersion": {"type": "string", "pattern": r"^\d+\.\d+$"}},
        },
    },
}
UPDATE_ENDPOINT: Final[Schema] = {
    "type": "object",
    "properties": {
        **_ENDPOINT,
        "templateId": _TEXT,
        "gpu": {
            "type": "object",
            "dependentRequired": {"excludedTypes": "pools"},
            "properties": {**_GPU, "minCudaVersion": {"type": "string", "pattern": r"^$|^\d+\.\d+$"}},
        },
    },
}
CREATE_TEMPLATE: Final[Schema] = {
    "type": "object",
    "composed": True,
    "required": ("name", "image"),
    "properties": _TEMPLATE,
}
UPDATE_TEMPLATE: Final[Schema] = {"type": "object", "properties": _TEMPLATE}
CREATE_REGISTRY: Final[Schema] = {
    "type": "object",
    "required": ("name", "username", "password"),
    "properties": {"name": _NAME, "username": _NAME, "password": _NAME},
}
CREATE_VOLUME: Final[Schema] = {
    "type": "object",
    "required": ("name", "size", "dataCenter"),
    "properties": {
        "name": _NAME,
        "size": _VOLUME_SIZE,
        "dataCenter": _NAME,
        "type": {"type": "string", "enum": ("STANDARD", "HIGH_PERFORMANCE")},
    },
}
UPDATE_VOLUME: Final[Schema] = {
    "type": "object",
    "minProperties": 1,
    "properties": {"name": _NAME, "size": _VOLUME_SIZE},
}


def violations(schema: Schema, value: Any, path: str = "$") -> Iterator[str]:
    """What is wrong with a JSON value, as `PATH: RULE`, what is missing first; nothing when it is right.

    Whole numbers must be int, however they were written.
    """
    if value is None and schema.get("nullable"):
        return
    if "enum" in schema and value not in schema["enum"]:
        yield f"{path}: value must be one of {_quoted(schema['enum'])}"
    elif not _is(schema["type"], value):
        yield f"{path}: got {_type(value)}, want {schema['type']}"
    else:
        yield from _CHECKS.get(schema["type"], _nothing)(schema, value, path)


def _of_object(schema: Schema, value: dict[str, Any], path: str) -> Iterator[str]:
    if "oneOf" in schema:
        variants: dict[str, Schema] = schema["oneOf"]
        if value.get("type") not in tuple(variants):
            yield from _unknown_variant(variants, value, path)
            return
        schema = variants[value["type"]]
    missing = list(_missing(schema, value))
    if missing:
        yield f"{path}: missing {'property' if len(missing) == 1 else 'properties'} {_quoted(missing)}"
    for given, needed in schema.get("dependentRequired", {}).items():
        if given in value and needed not in value:
            yield f"{path}: properties '{needed}' required, if '{given}' exists"
    if len(value) < schema.get("minProperties", 0):
        yield f"{path}: minProperties: got {len(value)}, want {schema['minProperties']}"
    yield from _of_properties(schema, value, path, is_open=bool(missing) and schema.get("composed", False))


def _of_properties(schema: Schema, value: dict[str, Any], path: str, *, is_open: bool) -> Iterator[str]:
    if "values" in schema:
        for name, item in value.items():
            yield from violations(schema["values"], item, f"{path}.{name}")
        return
    known: dict[str, Schema] = schema["properties"]
    # A missing field knocks a composed body out of its parts, and then all that it has counts as additional.
    additional = sorted(value if is_open else value.keys() - known.keys())
    if additional:
        yield f"{path}: additional properties {_quoted(additional)} not allowed"
    for name, schema in known.items():
        if name in value:
            yield from violations(schema, value[name], f"{path}.{name}")


def _missing(schema: Schema, value: Mapping[str, Any]) -> Iterator[str]:
    yield from (name for name in schema.get("required", ()) if name not in value)
    yield from (name for other, name in schema.get("requiredUnless", {}).items() if not value.keys() & {other, name})


def _unknown_variant(variants: Mapping[str, Schema], value: Mapping[str, Any], path: str) -> Iterator[str]:
    if "type" in value:
        yield f"{path}.type: value must be one of {_quoted(variants)}"
    else:
        yield f"{path}: missing property 'type'"


def _of_array(schema: Schema, value: list[Any], path: str) -> Iterator[str]:
    if len(value) < schema.get("minItems", 0):
        yield f"{path}: minItems: got {len(value)}, want {schema['minItems']}"
    if schema.get("uniqueItems"):
        twice = next((index for index, item in enumerate(value) if item in value[:index]), None)
        if twice is not None:
            yield f"{path}: items at {value.index(value[twice])} and {twice} are equal"
    for index, item in enumerate(value):
        yield from violations(schema["items"], item, f"{path}[{index}]")


def _of_text(schema: Schema, value: str, path: str) -> Iterator[str]:
    if len(value) < schema.get("minLength", 0):
        yield f"{path}: minLength: got {len(value)}, want {schema['minLength']}"
    if "pattern" in schema and not re.search(schema["pattern"].replace("$", r"\Z"), value, re.ASCII):
        yield f"{path}: '{value}' does not match pattern '{schema['pattern']}'"


def _of_number(schema: Schema, value: float, path: str) -> Iterator[str]:
    if value < schema.get("minimum", value):
        yield f"{path}: minimum: got {value}, want {schema['minimum']}"
    if value > schema.get("maximum", value):
        yield f"{path}: maximum: got {value}, want {schema['maximum']}"


def _nothing(_schema: Schema, _value: Any, _path: str) -> Iterator[str]:
    yield from ()


_CHECKS: Final[dict[str, Callable[[Schema, Any, str], Iterator[str]]]] = {
    "object": _of_object,
    "array": _of_array,
    "string": _of_text,
    "integer": _of_number,
    "number": _of_number,
}


def _is(kind: str, value: Any) -> bool:
    match kind:
        case "integer":
            return _type(value) == "number" and isinstance(value, int)
        case _:
            return _type(value) == kind


def _type(value: Any) -> str:
    """The name of a value's JSON type."""
    match value:
        case None:
            return "null"
        case bool():
            return "boolean"
        case int() | float():
            return "number"
        case str():
            return "string"
        case list():
            return "array"
        case _:
            return "object"


def _quoted(names: Any) -> str:
    return ", ".join(f"'{name}'" for name in names)
