"""The form that an answer must have: written in a line or as JSON Schema, checked on this side."""

from __future__ import annotations

import json
import subprocess
import sys
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.failing import failing
from support.stating import stating

from vidctl.errors import UsageError
from vidctl.tasks.describe.schema import check, check_schema, read

names = st.from_regex(r"[A-Za-z_][A-Za-z0-9_-]{0,10}", fullmatch=True)
kinds = st.sampled_from(["", " str", " int", " float", " bool", " list", " list[int]", " list[list[str]]"])
VALUES = {"string": "a", "integer": 1, "number": 0.5, "boolean": True}


def example(schema: dict) -> object:
    """A value that a schema of the short form takes."""
    if schema["type"] == "array":
        return [example(schema["items"])]
    return VALUES[schema["type"]]


def test_a_schema_is_a_line():
    """The words of `llm`: every field is required, and nothing else is."""
    assert {
        "type": "object",
        "properties": {
            "name": {"type": "string"},
            "age": {"type": "integer"},
            "weight": {"type": "number"},
            "tame": {"type": "boolean"},
            "tags": {"type": "array", "items": {"type": "string"}},
            "bio": {"type": "string", "description": "one sentence"},
        },
        "required": ["name", "age", "weight", "tame", "tags", "bio"],
        "additionalProperties": False,
    } == read("name, age int, weight float, tame bool, tags list[str], bio: one sentence")


@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_a_schema_is_lines_whose_descriptions_may_hold_commas(end):
    """One field a line, as in a file; empty lines do not count."""
    text = end.join(["", "name: first, then last: no titles", "  age int : in years, rounded", ""])

    assert {
        "name": {"type": "string", "description": "first, then last: no titles"},
        "age": {"type": "integer", "description": "in years, rounded"},
    } == read(text)["properties"]


def test_a_schema_is_json():
    """As it stands."""
    schema = {"$defs": {"a": {"type": "integer"}}, "type": "array", "items": {"$ref": "#/$defs/a"}}

    assert schema == read(f"\n {json.dumps(schema, indent=2)}\n")


@pytest.mark.parametrize(
    ("text", "facts"),
    [
        ("", ["NAME TYPE"]),
        (" , ,", ["NAME TYPE"]),
        ("name, age itn", ['field 2, "age itn"', "'itn'", "did you mean int?"]),
        ("age integer", ['field 1, "age integer"', "'integer'", "did you mean int?"]),
        ("age list[dict]", ['field 1, "age list[dict]"', "'dict'", "str, int"]),
        ("people.json", ['field 1, "people.json"', "NAME TYPE"]),
        (": the name", ['field 1, ": the name"', "NAME TYPE"]),
        ("2nd", ['field 1, "2nd"', "NAME TYPE"]),
        ("bio: short, no more than that", ['field 2, "no more than that"', "commas"]),
        ("a, b, a int", ["field 3", "'a'"]),
        ('{"type": }', ["JSON", "line 1 column 10"]),
        ('{"type": "object",\n "x" 5}', ["JSON", "line 2 column 6", "':'"]),
        ('{"minimum": NaN}', ["JSON", "NaN"]),
        ("[1]", ["object", "[1]"]),
        ('"name"', ["object", '"name"']),
        ('{"properties": {"age": {"minimum": "3"}}}', ['properties.age.minimum is "3"', "number"]),
    ],
)  # fmt: skip
def test_what_is_no_schema_is_refused_with_its_place(text, facts):
    """The field or the path, and what to write instead."""
    with failing("usage_error", "schema", *facts):
        read(text)


@pytest.mark.parametrize(
    ("text", "facts"),
    [
        ("[" * 100_000, ["JSON"]),
        ('{"type": "objekt"}', ['type: "objekt"']),
        ('{"pattern": "("}', ["pattern: "]),
        ('{"$schema": 5}', []),
        ('{"$schema": []}', []),
        ('{"$ref": "#/required/x", "required": ["x"]}', []),
    ],
    ids=lambda value: str(value)[:20],
)
def test_what_a_library_finds_wrong_with_a_schema_is_a_usage_error(text, facts):
    """In its words."""
    with failing("usage_error", "schema: ", *facts, varies=True):
        read(text)


@given(st.lists(st.tuples(names, kinds), min_size=1, max_size=8, unique_by=lambda field: field[0]), st.booleans())
def test_every_field_of_the_short_form_is_there(fields, in_lines):
    """And a value of its type meets the schema; without one of them it does not."""
    schema = read(("\n" if in_lines else ",").join(f"{name}{kind}" for name, kind in fields))
    value = {name: example(part) for name, part in schema["properties"].items()}

    assert [name for name, _ in fields] == list(schema["properties"])
    assert check(schema, value) is None
    assert f'the answer has no "{fields[0][0]}"' == check(schema, {})


@given(st.text())
def test_any_text_is_a_schema_or_a_usage_error(text):
    """Nothing else comes of it."""
    with suppress(UsageError):
        assert isinstance(read(text), dict)


@pytest.mark.parametrize(
    ("schema", "value", "problem"),
    [
        ({"type": "integer"}, 5, None),
        ({"type": "integer"}, True, "the answer is true, not a whole number"),
        ({"type": ["string", "null"]}, [1], "the answer is [1], not text or null"),
        ({"properties": {"a": {"items": {"type": "string"}}}}, {"a": ["x", 5]}, "a[1] is 5, not text"),
        ({"required": ["a", "b"]}, {"a": 1}, 'the answer has no "b"'),
        ({"properties": {"a": {}}, "patternProperties": {"^x-": {}}, "additionalProperties": False},
         {"a": 1, "x-b": 2, "c": 3}, 'the answer has "c", which is not in the schema'),
        ({"enum": ["low", "high"]}, "medium", 'the answer is "medium", not one of "low", "high"'),
        ({"minimum": 3}, 1, "the answer: 1 is less than the minimum of 3"),
        ({"maxLength": 3}, "x" * 1000, f'the answer: "{"x" * 56}… is too long'),
        ({"multipleOf": 0.1}, 10**400, "the answer cannot be checked (int too large to convert to float)"),
        ({"items": {"not": {"type": "null"}}}, [None], "[0]: null should not be valid under {'type': 'null'}"),
    ],
)  # fmt: skip
def test_what_is_wrong_with_a_value_is_one_sentence(schema, value, problem):
    """With its place, and without the pages that were quoted."""
    assert problem == check(schema, value)


def test_an_older_draft_is_read_by_its_own_rules():
    """`$schema` says which; in draft 4 the bound itself can be left out."""
    schema = {"$schema": "http://json-schema.org/draft-04/schema#", "minimum": 3, "exclusiveMinimum": True}

    check_schema(schema)
    assert check(schema, 3) is not None
    assert check(schema, 4) is None


@pytest.mark.parametrize(
    "reference", ["http://127.0.0.1:9/schema", "file:///etc/passwd", "other.json", "#/$defs/none", "#none"]
)
@pytest.mark.parametrize("keyword", ["$ref", "$dynamicRef"])
def test_nothing_is_fetched_for_a_schema(reference, keyword, monkeypatch):
    """A reference to what is not in the schema is refused before anything is sent, and no connection is tried."""
    monkeypatch.setattr("socket.socket.connect", lambda *_: pytest.fail("a connection"))

    with failing("usage_error", "schema: ", reference.removeprefix("#none").removeprefix("#"), "$defs"):
        check_schema({"properties": {"a": {"items": {keyword: reference}}}})


def test_references_within_a_schema_are_followed():
    """By pointer, by anchor, and by the id of a part; the schema of schemas is at hand too."""
    schema = {
        "$id": "https://example.org/pets",
        "$defs": {"a": {"type": "integer"}, "b": {"$anchor": "b", "type": "string"}, "c": {"$id": "c", "type": "null"}},
        "properties": {
            "a": {"$ref": "#/$defs/a"}, "b": {"$ref": "#b"}, "c": {"$ref": "c"},
            "more": {"type": "array", "items": {"$ref": "#"}},
        },
    }  # fmt: skip

    check_schema(schema)
    assert check(schema, {"a": 1, "b": "x", "c": None, "more": [{"a": 2}]}) is None
    assert 'more[0].a is "2", not a whole number' == check(schema, {"more": [{"a": "2"}]})


def test_a_schema_without_an_end_is_refused():
    """One that refers to itself, and nothing else."""
    with failing("usage_error", "schema: "):
        check_schema({"$ref": "#"})


def test_the_library_is_loaded_when_a_schema_is():
    """Importing the task does not: the command's help must not wait for it."""
    code = "import sys, vidctl.tasks.describe; sys.exit('jsonschema' in sys.modules)"

    assert 0 == subprocess.run([sys.executable, "-c", code], check=False).returncode


@pytest.mark.parametrize(
    ("name", "right", "wrong"),
    [
        ("date", "2026-02-28", "2026-02-30"),
        ("date-time", "2026-02-28T23:59:60.5+01:00", "2026-02-28 noon"),
        ("date-time", "2026-02-28t10:00:00z", "2026-02-28T10:00:00"),
        ("time", "10:00:00Z", "25:00:00Z"),
        ("duration", "P1DT2H", "1 day"),
        ("email", "a@example.com", "nobody"),
        ("ipv4", "127.0.0.1", "127.0.0.256"),
        pytest.param("ipv6", "::1", "1::2::3", id="ipv6"),  # a wording's name takes no colons in pairs
        ("uuid", "6ba7b810-9dad-11d1-80b4-00c04fd430c8", "6ba7b810"),
        ("uri", "https://example.com/a?b=c", "example com"),
        ("hostname", "example.com", "-example-.com"),
    ],
)
def test_a_format_is_checked(name, right, wrong):
    """The engine's grammar may not hold an answer to it."""
    schema = {"type": "object", "properties": {"a": {"type": "string", "format": name}}}

    assert check(schema, {"a": right}) is None
    stating(check(schema, {"a": wrong}), wrong, f'"{name}"')


def test_a_format_is_of_text_alone_and_an_unknown_one_says_nothing():
    assert check({"format": "date-time"}, 7) is None
    assert check({"format": "colour"}, "no such thing") is None


@pytest.mark.parametrize(
    ("text", "field"),
    [
        ("name: str", {"type": "string"}),
        ("name : list[int]", {"type": "array", "items": {"type": "integer"}}),
        ("name: list", {"type": "array", "items": {"type": "string"}}),
        ("name: string", {"type": "string", "description": "string"}),
        ("name int: str", {"type": "integer", "description": "str"}),
    ],
)
def test_a_type_after_a_colon_is_a_type(text, field):
    """As Python has it; nobody describes a field by the one word `str`."""
    assert {"name": field} == read(text)["properties"]
