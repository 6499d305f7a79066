"""The README's examples: command lines that vidctl takes, of files that a reader has."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest
from support.shell import parsed, words_of

from vidctl.kinds import KINDS

ROOT = Path(__file__).resolve().parent.parent
SAMPLES = ROOT / "samples"
README = (ROOT / "README.md").read_text(encoding="utf-8")
LINES = [line.removeprefix("$ ") for line in README.splitlines() if re.match(r"\$ (.*\| )?vidctl ", line)]
SCRIPTS = re.findall(r"^```python\n(.*?)^```", README, re.MULTILINE | re.DOTALL)


def _sources(words: list[str]) -> list[str]:
    context = parsed(words)
    if context.command.name not in KINDS:
        return []
    given = [
        word
        for parameter in context.command.params
        if parameter.param_type_name == "argument"
        for word in context.params[parameter.name]
    ]
    return [word.removeprefix("@") for word in given if word != "-" and " " not in word]


@pytest.mark.parametrize("line", LINES)
def test_the_readmes_command_lines_parse_and_their_files_exist(line: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(SAMPLES)

    missing = [source for source in _sources(words_of(line)) if not list(Path().glob(source))]

    assert [] == missing


def _files(script: str) -> list[str]:
    texts = [node.value for node in ast.walk(ast.parse(script)) if isinstance(node, ast.Constant)]
    return [text for text in texts if isinstance(text, str) and re.fullmatch(r"\S+\.\w{3,4}", text)]


@pytest.mark.parametrize("script", SCRIPTS)
def test_the_readmes_scripts_name_files_that_exist(script: str) -> None:
    assert [] == [name for name in _files(script) if not (SAMPLES / name).is_file()]
    assert _files(script) or "client.run(" in script  # whose input is no file
