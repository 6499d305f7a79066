"""Every failure has a code of its own, which the README lists."""

from __future__ import annotations

import re
from pathlib import Path

from support.failing import all_classes

README = Path(__file__).resolve().parent.parent / "README.md"
_ROW = re.compile(r"^\| `(\w+)` \| ([\w' ]+) \| `(\w+)` \|", re.MULTILINE)


def test_the_readme_lists_every_code():
    """With the exit status and the class."""
    listed = {name: (code, status) for code, status, name in _ROW.findall(README.read_text(encoding="utf-8"))}
    there = {each.__name__: (each.code, str(each.exit_status)) for each in all_classes()}
    there["SeveralError"] = ("several", "the first one's")

    assert there == listed


def test_no_two_failures_have_one_code():
    codes = [each.code for each in all_classes()]

    assert sorted(set(codes)) == sorted(codes)
