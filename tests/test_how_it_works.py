"""docs/how-it-works.md: the functions that it names are there, and are called in its order."""

from __future__ import annotations

import importlib
import inspect
import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from support import first_calls
from support.endpoint import answering

PAGE = Path(__file__).resolve().parent.parent / "docs" / "how-it-works.md"
_LINE = re.compile(r"\| `([\w.]+)` \| (\*?)")


def story(command: str) -> list[tuple[str, bool]]:
    """The functions of one command's table, each with whether it is called always."""
    part = next(part for part in PAGE.read_text().split("\n## ") if part.startswith(f"`{command}`"))
    return [(name, not condition) for name, condition in _LINE.findall(part)]


def place(name: str) -> tuple[str, int]:
    """Where a function or method is: its file and first line; raise AttributeError for one that there is not."""
    words = name.split(".")
    for end in range(len(words), 0, -1):
        try:
            found: Any = importlib.import_module(".".join(["vidctl", *words[:end]]))
        except ModuleNotFoundError:
            continue
        for word in words[end:]:
            found = getattr(found, word)
        code = inspect.unwrap(found).__code__
        return code.co_filename, code.co_firstlineno
    raise AttributeError(name)


def called(folder: Path, environ: dict[str, str], *arguments: str) -> list[tuple[str, int]]:
    """What a command calls, in the order of first calls."""
    output = folder / "called.json"
    done = subprocess.run(
        [sys.executable, first_calls.__file__, str(output), *arguments],
        cwd=folder,
        env={**os.environ, **environ},
        capture_output=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr.decode()
    return [(file, line) for file, line in json.loads(output.read_text())]


def in_order(names: list[tuple[str, bool]], calls: list[tuple[str, int]]) -> list[str]:
    """The names of those that are called always, in the order of the calls."""
    known = {place(name): name for name, is_always in names if is_always}
    return [known[each] for each in calls if each in known]


@pytest.mark.parametrize("command", ["vidctl deploy yolo", "vidctl detect frame.jpg"])
def test_each_function_is_there(command):
    """A name that is not, or is no function, fails here."""
    names = [name for name, _ in story(command)]

    assert len(names) > 15
    assert [place(name)[0].endswith(".py") for name in names] == [True] * len(names)


def test_deploy_is_told_in_the_order_of_its_calls(echo):
    """A first deploy to the local runtime."""
    names = story("vidctl deploy yolo")

    assert [name for name, is_always in names if is_always] == in_order(
        names, called(echo.root, echo.environ, "deploy", "echo")
    )


def test_detect_is_told_in_the_order_of_its_calls(tmp_path):
    """One image, and an endpoint that answers at once."""
    names = story("vidctl detect frame.jpg")
    with answering(tmp_path) as endpoint:
        endpoint.image("frame.jpg")
        calls = called(tmp_path, endpoint.environ, "detect", "frame.jpg", "--endpoint-id", "ep")

    assert [name for name, is_always in names if is_always] == in_order(names, calls)
