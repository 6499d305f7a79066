"""What a command prints with `--json`, compared with the JSON Schema that vidctl ships for it."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any

from jsonschema import Draft202012Validator

from vidctl.cli import documents


def command_of(arguments: Sequence[str]) -> str:
    """The words that name the command, however its options are mixed with them; "" where none has a schema."""
    known = documents.names()
    words = [word for word in arguments if not word.startswith("-")]
    return next((name for count in (3, 2, 1) if (name := " ".join(words[:count])) in known), "")


def check(words: str, document: Any) -> None:
    """The document is as its schema says, and has no key that is not in there."""
    _check(words, document)


def check_error(words: str, error: Any) -> None:
    """The same of a failure; its code is one that the command documents."""
    if "code" in error:
        _check("error", error)
        if words:
            codes = documents.contract(words)["x-errors"]
            if error["code"] not in codes:
                raise AssertionError(f"vidctl {words}: {error['code']} is not in x-errors of its schema")


def _check(words: str, document: Any) -> None:
    problems = [
        f"{'.'.join(map(str, each.absolute_path))}: {each.message}" for each in _validator(words).iter_errors(document)
    ]
    if problems:
        raise AssertionError(f"vidctl {words} --json is not what vidctl/data/schemas says: {'; '.join(problems)}")


@functools.cache
def _validator(words: str) -> Draft202012Validator:
    return Draft202012Validator(_closed(documents.contract(words)))


def _closed(schema: Any) -> Any:
    """A schema that takes no key that it does not name: users may get more in later versions, and tests may not."""
    if isinstance(schema, list):
        return [_closed(each) for each in schema]
    if not isinstance(schema, dict):
        return schema
    closed = {key: _closed(value) for key, value in schema.items()}
    if isinstance(schema.get("properties"), dict) and "type" in schema:
        closed.setdefault("additionalProperties", False)
    return closed
