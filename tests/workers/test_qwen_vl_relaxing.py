"""Of a schema the engine is told what it can hold an answer to; the rest has a name."""

import pytest
from jsonschema import Draft202012Validator


@pytest.fixture(scope="module")
def relaxed(qwen_module):
    return qwen_module("relaxing").relaxed


TEXT = {"type": "string"}


@pytest.mark.parametrize(
    ("schema", "left", "lost"),
    [
        ({"type": "number", "multipleOf": 0.5}, {"type": "number"}, ["multipleOf"]),
        ({"type": "array", "items": TEXT, "uniqueItems": True}, {"type": "array", "items": TEXT}, ["uniqueItems"]),
        ({"type": "array", "uniqueItems": False}, {"type": "array"}, []),
        ({"type": "object", "minProperties": 1}, {"type": "object"}, ["minProperties"]),
        ({"type": "array", "contains": TEXT, "minContains": 2}, {"type": "array"}, ["contains", "minContains"]),
        ({**TEXT, "format": "date", "maxLength": 10}, {**TEXT, "format": "date"}, ["maxLength"]),
        ({**TEXT, "pattern": "^a", "minLength": 1}, {**TEXT, "pattern": "^a"}, ["minLength"]),
        ({**TEXT, "maxLength": 10}, {**TEXT, "maxLength": 10}, []),
        ({**TEXT, "format": "iri"}, TEXT, ["format"]),
        (
            {"type": "object", "properties": {"a": TEXT}, "propertyNames": {"maxLength": 3}},
            {"type": "object", "properties": {"a": TEXT}},
            ["propertyNames"],
        ),
        (
            {"properties": {"a": TEXT}, "patternProperties": {"^x": TEXT}, "additionalProperties": False},
            {"properties": {"a": TEXT}},
            ["patternProperties"],
        ),
        (
            {
                "properties": {"a": {"anyOf": [{"type": "integer", "multipleOf": 5}, {"type": "null"}]}},
            },
            {"properties": {"a": {"anyOf": [{"type": "integer"}, {"type": "null"}]}}},
            ["multipleOf"],
        ),
        ({"properties": {"multipleOf": TEXT}}, {"properties": {"multipleOf": TEXT}}, []),
        ({"enum": [{"multipleOf": 3}]}, {"enum": [{"multipleOf": 3}]}, []),
        ({"allOf": [TEXT]}, {"allOf": [TEXT]}, []),
        ({"allOf": [TEXT, {"enum": ["yes", "no"]}]}, {**TEXT, "enum": ["yes", "no"]}, []),
        (
            {
                "allOf": [{"$ref": "#/$defs/A"}, {"properties": {"b": TEXT}, "required": ["b"]}],
                "$defs": {"A": {"type": "object", "properties": {"a": TEXT}, "required": ["a"]}},
            },
            {
                "type": "object",
                "properties": {"a": TEXT, "b": TEXT},
                "required": ["a", "b"],
                "$defs": {"A": {"type": "object", "properties": {"a": TEXT}, "required": ["a"]}},
            },
            [],
        ),
        ({"allOf": [{"minimum": 1}, {"minimum": 2}]}, {"minimum": 1}, ["allOf"]),
        ({"allOf": [{"$ref": "#"}, {"$ref": "#"}]}, {}, ["allOf"]),
    ],
)
def test_what_the_engine_cannot_hold_is_taken_out_and_named(relaxed, schema, left, lost):
    before = repr(schema)

    assert (left, lost) == relaxed(schema)
    assert before == repr(schema)
    Draft202012Validator.check_schema(left)
