"""Every failure has a code of its own, which the README lists."""

from __future__ import annotations

import pkgutil
import re
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path

from support.failing import classes

import vidctl
from vidctl.errors import VidctlError

README = Path(__file__).resolve().parent.parent / "README.md"
_ROW = re.compile(r"^\| `(\w+)` \| ([\w' ]+) \| `(\w+)` \|", re.MULTILINE)


def _classes() -> Iterator[type[VidctlError]]:
    """Every class of failures that vidctl may raise to a user; the local server's own are answers of its API."""
    for module in pkgutil.walk_packages(vidctl.__path__, "vidctl."):
        if not module.name.startswith("vidctl.local") and module.name != "vidctl.__main__":
            import_module(module.name)
    for each in classes():
        if each.__module__.startswith("vidctl.") and not each.__module__.startswith("vidctl.local"):
            yield each


def test_the_readme_lists_every_code():
    """With the exit status and the class."""
    listed = {name: (code, status) for code, status, name in _ROW.findall(README.read_text(encoding="utf-8"))}
    there = {each.__name__: (each.code, str(each.exit_status)) for each in _classes()}
    there["SeveralError"] = ("several", "the first one's")

    assert there == listed


def test_no_two_failures_have_one_code():
    codes = [each.code for each in _classes()]

    assert sorted(set(codes)) == sorted(codes)
