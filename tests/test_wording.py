"""The file that holds how messages are worded, `tests/wording.ambr`."""

from __future__ import annotations

import re

from support.failing import COLLECTED, FILE


def test_every_wording_belongs_to_a_test():
    """What a test that is gone had said is not kept."""
    sources = {each.stem: each.read_text(encoding="utf-8") for each in FILE.parent.rglob("test_*.py")}
    entries = re.findall(r"^# name: (\w+)::(?:\w+\.)?([^\W\d]\w*)", FILE.read_text(encoding="utf-8"), re.MULTILINE)

    assert entries
    assert [] == [entry for entry in entries if f"def {entry[1]}(" not in sources.get(entry[0], "")]


def test_every_wording_belongs_to_a_case(request):
    """Nor what was said for a parameter that is gone, of a test that was collected."""
    collected = request.config.stash[COLLECTED]
    tests = {name.partition("[")[0] for name in collected}
    entries = re.findall(r"^# name: (.*?)(?:\.\d+)?$", FILE.read_text(encoding="utf-8"), re.MULTILINE)

    assert [] == [name for name in entries if name.partition("[")[0] in tests and name not in collected]
