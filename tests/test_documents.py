"""Every command has a JSON Schema of what it prints with `--json`, and says with which codes it may fail.

Here only that they are there and whole; `support.command` compares every document and every error that a test reads.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

import pytest
from jsonschema import Draft202012Validator
from support import documents as checked
from support.command import vidctl
from support.failing import all_classes, failed
from typer.main import get_command

from vidctl.cli import app, documents


def _commands(command: Any, words: tuple[str, ...] = ()) -> Iterator[str]:
    """Every command by its words; a group that only shows its help is none."""
    inner = getattr(command, "commands", {})
    if words and (not inner or " ".join(words) in documents.names()):
        yield " ".join(words)
    for name in inner:
        yield from _commands(inner[name], (*words, name))


COMMANDS = sorted(_commands(get_command(app)))


def _command(words: str) -> Any:
    command: Any = get_command(app)
    for word in words.split():
        command = command.commands[word]
    return command


@pytest.mark.parametrize("words", COMMANDS)
def test_every_command_takes_json_and_documents_what_it_prints(words: str) -> None:
    contract = documents.contract(words)

    Draft202012Validator.check_schema(contract)
    assert re.fullmatch(r"vidctl(\.[a-z]+)+/[1-9][0-9]*", contract["title"])
    assert contract["description"]
    assert "--json" in [flag for option in _command(words).params for flag in option.opts]


@pytest.mark.parametrize("words", COMMANDS)
def test_every_command_documents_its_errors(words: str) -> None:
    contract = documents.contract(words)
    known = {each.code for each in all_classes()}

    assert sorted(set(contract["x-errors"])) == contract["x-errors"]
    assert set() == set(contract["x-errors"]) - known
    assert {"failure", "usage_error", "interrupted"} <= set(contract["x-errors"])
    assert all(code.isdecimal() and meaning for code, meaning in contract.get("x-exit", {}).items())


def test_every_code_is_documented_by_a_command() -> None:
    documented = {code for words in COMMANDS for code in documents.contract(words)["x-errors"]}

    assert set() == {each.code for each in all_classes()} - documented


def test_no_contract_is_of_a_command_that_is_not_there() -> None:
    assert [] == sorted(set(documents.names()) - set(COMMANDS) - {"error"})


def test_a_script_reads_a_commands_schema(tmp_path):
    printed = vidctl("schema", "local", "up", cwd=tmp_path)

    assert documents.contract("local up") == json.loads(printed.stdout)
    failed(vidctl("schema", "lokal", "--json", cwd=tmp_path), "usage_error", "lokal", varies=True)


def test_a_key_that_no_schema_names_is_found() -> None:
    """What `support.command` does with every document that a test reads."""
    checked.check("local down", {"schema": "vidctl.local.down/1", "stopped": True})

    with pytest.raises(AssertionError, match="more"):
        checked.check("local down", {"schema": "vidctl.local.down/1", "stopped": True, "more": 1})
    with pytest.raises(AssertionError, match="rolled_back"):
        checked.check_error("local down", {"error": "x", "code": "rolled_back"})
