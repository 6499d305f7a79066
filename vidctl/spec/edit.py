"""Change single values in a spec's file, and leave every other byte of it as it is: comments, order, quotes.

A value is found by its place in the document.  What was written is read again: it must say what it said before, but
for what was to change; so an anchor that is used elsewhere, or a line that is not what it seems, is never edited.
"""

from __future__ import annotations

import codecs
import copy
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vidctl import files
from vidctl.errors import SpecError
from vidctl.spec.document import Document, Location, ValuePlace, parse
from vidctl.spec.files import read_text, shown
from vidctl.spec.problem import LINE_ENDS, Mark

_TOKEN = re.compile(r'"(?:[^"\\]|\\.)*"|\'(?:[^\']|\'\')*\'|[^\s,\[\]{}#]+')


@dataclass(frozen=True)
class Edited:
    """A file's new text; and what is left as it is because a variable gives it, each with its place and its text."""

    path: Path
    text: str
    is_changed: bool
    left: tuple[str, ...] = ()

    def write(self) -> None:
        """Write it whole or not at all."""
        data = self.text.encode()
        files.write(self.path, codecs.BOM_UTF8 + data if self.path.read_bytes().startswith(codecs.BOM_UTF8) else data)


def lines(values: Mapping[tuple[str, ...], str]) -> str:
    """The values as they stand in a spec.

    >>> print(lines({("workers", "min"): "1", ("workers", "max"): "5", ("timeouts", "idle"): "30s"}))
    workers:
      min: 1
      max: 5
    timeouts:
      idle: 30s
    """
    found: list[str] = []
    before: Location = ()
    for location, text in values.items():
        shared = 0
        while shared < len(location) - 1 and before[: shared + 1] == location[: shared + 1]:
            shared += 1
        found += [f"{'  ' * depth}{location[depth]}:" for depth in range(shared, len(location) - 1)]
        found.append(f"{'  ' * (len(location) - 1)}{location[-1]}: {text}")
        before = location
    return "\n".join(found)


def edited(path: Path, values: Mapping[tuple[str, ...], str]) -> Edited:
    """The file with these values in it; raise SpecError where it has to be done by hand."""
    text = before = read_text(path)
    left: list[str] = []
    for location, value in values.items():
        place = parse(text, {}).places.get(location)
        if place is not None and place.is_interpolated:
            where = f"{shown(path)}:{place.value.line}:{place.value.column}"
            left.append(f"{where}: {_dotted(location)} is {place.text}: it is left so, and would have to give {value}")
            continue
        text = _with(path, text, location, value)
    return Edited(path, text, text != before, tuple(left))


def _with(path: Path, text: str, location: Location, value: str) -> str:
    """The text with one value changed, or added."""
    document = parse(text, {})
    new = _Source(text, document).with_value(location, value)
    if new is None or parse(new, {}).value != _expected(document.value, location, value):
        raise SpecError(
            f"{shown(path)}: {_dotted(location)} cannot be changed without touching anything else",
            hint=f"write {_dotted(location)}: {value} there yourself",
        )
    return new


def _expected(value: Any, location: Location, text: str) -> Any:
    """What the document says once the value is in it."""
    expected = copy.deepcopy(value)
    inner = expected
    for step in location[:-1]:
        inner = inner.setdefault(step, {}) if isinstance(inner, dict) else None
    if not isinstance(inner, dict):
        return None
    inner[location[-1]] = int(text) if text.isdigit() else text
    return expected


def _dotted(location: Location) -> str:
    return ".".join(map(str, location))


class _Source:
    """A file's text, in which places can be found."""

    def __init__(self, text: str, document: Document) -> None:
        self._text = text
        self._places = document.places
        self._starts = [0, *(found.end() for found in LINE_ENDS.finditer(text))]
        self._newline = "\r\n" if "\r\n" in text else "\n"

    def with_value(self, location: Location, value: str) -> str | None:
        """The text with the value at its place; None where that place is not to be seen."""
        place = self._places.get(location)
        if place is not None:
            return self._replaced(place, value)
        if not self._places:
            return None
        known = location[:-1]
        while known not in self._places:
            known = known[:-1]
        return self._added(known, location[len(known) :], value)

    def _replaced(self, place: ValuePlace, value: str) -> str | None:
        start = self._at(place.value)
        found = _TOKEN.match(self._text, start)
        if found is None:
            return None
        quote = found[0][0] if found[0][0] in "\"'" else ""
        return self._text[:start] + self._quoted(value, quote) + self._text[found.end() :]

    def _added(self, known: Location, steps: Location, value: str) -> str | None:
        """The text with new keys in the mapping that is there of the way."""
        start = self._at(self._places[known].value)
        children = [at for at in self._places if len(at) == len(known) + 1 and at[: len(known)] == known]
        if self._text.startswith("{", start):
            quote = '"' if self._is_quoted(children) else ""
            inner = self._flow(steps, value, quote) + (", " if children else "")
            return self._text[: start + 1] + inner + self._text[start + 1 :]
        if not children:
            return None
        first = self._places[children[0]].key
        if first is None:
            return None
        indent = " " * (first.column - 1)
        block = lines({tuple(map(str, steps)): value}).splitlines()
        added = "".join(f"{indent}{line}{self._newline}" for line in block)
        end = self._end_of(children) if known else len(self._text)
        before = self._text[:end]
        glue = "" if not before or LINE_ENDS.search(before[-1]) else self._newline
        return before + glue + added + self._text[end:]

    def _end_of(self, children: list[Location]) -> int:
        """Where the line after the last value of a mapping's children begins; what is in them counts too."""
        inside = [at for at in self._places if at[: len(children[0])] in children]
        last = max(self._places[at].value.line for at in inside)
        return self._starts[last] if last < len(self._starts) else len(self._text)

    def _flow(self, steps: Location, value: str, quote: str) -> str:
        *outer, name = (f"{quote}{step}{quote}" for step in steps)
        text = f"{name}: {self._quoted(value, quote)}"
        for step in reversed(outer):
            text = f"{step}: {{{text}}}"
        return text

    def _is_quoted(self, children: list[Location]) -> bool:
        """Whether the keys of a `{…}` are quoted, as JSON's are."""
        keys = [key for at in children if (key := self._places[at].key)]
        return any(self._text.startswith('"', self._at(key)) for key in keys)

    @staticmethod
    def _quoted(value: str, quote: str) -> str:
        """A number is none in quotes."""
        if not quote or value.isdigit():
            return value
        return json.dumps(value) if quote == '"' else f"'{value}'"

    def _at(self, mark: Mark) -> int:
        return self._starts[mark.line - 1] + mark.column - 1
