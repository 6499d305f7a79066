"""A Dockerfile as it is written: its instructions, one by one.  Pure."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass


@dataclass(frozen=True)
class Instruction:
    """One instruction, its continued lines joined, and the line that it starts at."""

    line: int
    keyword: str
    text: str

    @property
    def flags(self) -> list[str]:
        return self.text[: -len(self.rest) or None].split()

    @property
    def rest(self) -> str:
        return re.sub(r"^(?:--\S+(?:\s+|$))*", "", self.text)


def instructions(text: str) -> list[Instruction]:
    """Read a Dockerfile as far as its instructions' borders; what it says wrong is the engine's to find."""
    lines = text.split("\n")
    escape = "`" if re.match(r"(?:#\s*\w+\s*=.*\n)*#\s*escape\s*=\s*`", text, re.IGNORECASE) else "\\"
    found: list[Instruction] = []
    position = 0
    while position < len(lines):
        start = position
        words, position = _joined(lines, position, escape)
        if words:
            keyword, *rest = words.split(None, 1)
            each = Instruction(start + 1, keyword.upper(), "".join(rest))
            found.append(each)
            for end in heredocs(each):
                position = _after(lines, position, end)
    return found


def heredocs(each: Instruction) -> Iterator[str]:
    """The words that end the texts which follow an instruction."""
    if each.keyword in ("RUN", "COPY", "ADD") and not each.rest.startswith("["):
        for word in each.rest.split():
            if found := re.fullmatch(r"\d*<<-?(['\"]?)([A-Za-z_][\w.]*)\1", word):
                yield found[2]


def _joined(lines: list[str], position: int, escape: str) -> tuple[str, int]:
    """One instruction's text and the position after it; comments and empty lines inside it do not count."""
    start, text = position, ""
    while position < len(lines):
        line = lines[position].rstrip()
        position += 1
        if line.lstrip().startswith("#") or (not line and text):
            if position == start + 1:
                break
            continue
        text += line.removesuffix(escape)  # with nothing between: `FROM py\` and `thon` is FROM python
        if not line.endswith(escape):
            break
    return text.strip(), position


def _after(lines: list[str], position: int, end: str) -> int:
    while position < len(lines) and lines[position].strip("\t\r") != end:
        position += 1
    return position + 1
