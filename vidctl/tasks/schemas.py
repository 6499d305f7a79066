"""What form an answer must have: JSON Schemas, read from JSON or from a short form, and answers checked against them.

Pure: no network, so no remote `$ref`, and no files.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def read(text: str) -> dict[str, Any]:
    """A schema from its JSON text, or from the short form `name, age int, bio: one sentence`; UsageError otherwise."""
    raise NotImplementedError


def check_schema(schema: Mapping[str, Any]) -> None:
    """Raise UsageError for what is no JSON Schema, with the place in it."""
    raise NotImplementedError


def check(schema: Mapping[str, Any], value: object) -> str | None:
    """The first thing that is wrong with a value, in one sentence with its path; None if it meets the schema."""
    raise NotImplementedError
