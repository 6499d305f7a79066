"""Read a YAML file into plain values, each with its place: YAML 1.2's reading of words and numbers, and no surprises.

What YAML 1.1 readers take for something else (`on`, `010`, `1:30`, `1e3`) is a mistake, so are duplicate keys, tags and
keys that are not text.  `${NAME}` and `${NAME:-default}` are filled in after parsing, in values only, so that no value
from the environment can change the structure; what they give is always text.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import yaml
from yaml.composer import Composer
from yaml.parser import Parser
from yaml.reader import Reader
from yaml.resolver import BaseResolver
from yaml.scanner import Scanner

from vidctl.spec.problem import Mark, Problem

DEPTH_LIMIT = 40
TOO_DEEP = f"nested more than {DEPTH_LIMIT} levels deep"
VALUE_LIMIT = 20_000  # aliases included: it is what stops "a billion laughs"

NUMBER_LIMIT = 64  # characters; longer plain scalars are text

Location = tuple[str | int, ...]


class Interpolated(str):
    """Text that a variable gave; where a number or true/false is expected it is read as one."""

    __slots__ = ()


@dataclass(frozen=True)
class ValuePlace:
    """Where a value stands, and its key if it has one.  A broken value has its problem in the list already."""

    value: Mark
    key: Mark | None = None
    text: str = ""
    is_interpolated: bool = False
    is_empty: bool = False
    is_broken: bool = False


@dataclass
class Document:
    """The value of a file, the place of everything in it, and what was wrong on the way."""

    value: Any = None
    places: dict[Location, ValuePlace] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)


def follow(loc: Iterable[str | int], document: Document) -> tuple[Location, ValuePlace]:
    """Follow a location down the document as far as it goes, past the steps that a shorthand leaves out."""
    location: Location = ()
    for step in loc:
        if (*location, step) in document.places:
            location = (*location, step)
    return location, document.places[location]


class _UnreadableError(Exception):
    def __init__(self, problem: Problem) -> None:
        super().__init__(problem.message)
        self.problem = problem


def parse(text: str, environ: Mapping[str, str] | None) -> Document:
    """Read YAML text; what is wrong is in the document's problems, never raised.  Without `environ` a `$` is one."""
    try:
        root = _compose(text)
        return _NodeReader(environ).read(root)
    except _UnreadableError as error:
        return Document(problems=[error.problem])


def _compose(text: str) -> yaml.Node:
    loader = None
    try:
        loader = _Loader(text)
        root = loader.get_single_node()
    except yaml.MarkedYAMLError as error:
        raise _UnreadableError(_syntax_problem(error)) from error
    except yaml.reader.ReaderError as error:
        raise _UnreadableError(_character_problem(text, error)) from error
    except (ValueError, OverflowError) as error:  # PyYAML lets chr() and int() refuse `"\UFFFFFFFF"` and `%YAML 9…9`
        at = _mark(loader.get_mark()) if loader else Mark(1, 1)
        raise _UnreadableError(Problem(at, "invalid YAML: a number here is out of range")) from error
    if root is None:
        raise _UnreadableError(
            Problem(Mark(1, 1), "the file is empty", "the shipped configs/yolo.yaml documents every field")
        )
    return root


class _Loader(Reader, Scanner, Parser, Composer, BaseResolver):
    """PyYAML as far as its node tree, every plain scalar left as text."""

    def __init__(self, text: str) -> None:
        Reader.__init__(self, text)
        Scanner.__init__(self)
        Parser.__init__(self)
        Composer.__init__(self)
        BaseResolver.__init__(self)
        self._depth = 0

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        self._depth += 1
        if self._depth > DEPTH_LIMIT:
            event = self.peek_event()  # type: ignore[no-untyped-call]
            raise _UnreadableError(Problem(_mark(event.start_mark), TOO_DEEP))
        node = super().compose_node(parent, index)
        self._depth -= 1
        return node

    def resolve(self, *_: Any) -> str:
        return ""  # so that a node with a tag is one that the file tags


def _syntax_problem(error: yaml.MarkedYAMLError) -> Problem:
    mark = error.problem_mark or error.context_mark
    problem = error.problem or error.context or "invalid YAML"
    line = mark.get_snippet(max_length=10_000) if mark and mark.buffer else ""
    at = _mark(mark) if mark else Mark(1, 1)
    if error.context_mark and "end" in problem and "stream" in problem:
        return Problem(_mark(error.context_mark), "what starts here is never closed")
    if "'\\t'" in problem:
        return Problem(at, "a tab cannot indent YAML", "use spaces")
    if "another document" in problem or "single document" in (error.context or ""):
        return Problem(at, "a second YAML document starts here", "one file holds one spec")
    if "${" in (line or ""):
        return Problem(at, f"invalid YAML: {problem}", 'inside { } or [ ] a variable needs quotes: "${NAME}"')
    if "mapping values are not allowed" in problem:
        return Problem(at, "invalid YAML: a second colon", "check the indentation, or quote the text")
    return Problem(at, f"invalid YAML: {problem}")


def _character_problem(text: str, error: yaml.reader.ReaderError) -> Problem:
    before = text[: error.position]
    start = max(before.rfind("\n"), before.rfind("\r")) + 1
    line = len(re.findall("\r\n|[\r\n\x85\u2028\u2029]", before)) + 1
    return Problem(Mark(line, error.position - start + 1), f"YAML does not allow the character U+{_code(error):04X}")


def _code(error: yaml.reader.ReaderError) -> int:
    character: int | str | bytes = error.character
    return character if isinstance(character, int) else ord(character)


def _mark(mark: yaml.Mark) -> Mark:
    return Mark(mark.line + 1, mark.column + 1)


class _NodeReader:
    """Turn the node tree into values, keeping places and collecting problems."""

    def __init__(self, environ: Mapping[str, str] | None) -> None:
        self.environ = environ
        self.document = Document()
        self.problems: dict[Problem, None] = {}  # an alias repeats its anchor's problems: once is enough
        self.broken: set[Mark] = set()
        self.open: set[int] = set()
        self.visits = 0

    def read(self, root: yaml.Node) -> Document:
        self.document.value = self._value(root, (), None)
        self.document.problems = list(self.problems)
        return self.document

    def _report(self, node: yaml.Node, message: str, hint: str | None = None) -> None:
        mark = _mark(node.start_mark)
        self.problems[Problem(mark, message, hint)] = None
        self.broken.add(mark)

    def _value(self, node: yaml.Node, location: Location, key: yaml.Node | None) -> Any:
        self._guard(node)
        self._keep(location, node, key)
        if node.tag not in ("", "!"):
            self._report(node, "tags (!name) are not supported", "remove it")
        self.open.add(id(node))
        value = self._content(node, location)
        self.open.discard(id(node))
        if isinstance(node, yaml.ScalarNode) and _mark(node.start_mark) in self.broken:
            self._keep(location, node, key, is_broken=True)
        return value

    def _guard(self, node: yaml.Node) -> None:
        """Stop at what aliases can make endless: a loop, a tower, a bomb."""
        self.visits += 1 + (len(node.value) if isinstance(node, yaml.MappingNode) else 0)
        if id(node) in self.open:
            raise _UnreadableError(Problem(_mark(node.start_mark), "alias refers to itself"))
        if len(self.open) > DEPTH_LIMIT:
            raise _UnreadableError(Problem(_mark(node.start_mark), TOO_DEEP))
        if self.visits > VALUE_LIMIT:
            raise _UnreadableError(Problem(_mark(node.start_mark), f"the spec holds more than {VALUE_LIMIT} values"))

    def _keep(self, location: Location, node: yaml.Node, key: yaml.Node | None, *, is_broken: bool = False) -> None:
        text = node.value if isinstance(node, yaml.ScalarNode) else ""
        self.document.places[location] = ValuePlace(
            value=_mark(node.start_mark),
            key=_mark(key.start_mark) if key else None,
            text=text,
            is_interpolated=self.environ is not None and _VARIABLE.search(text.replace("$$", "")) is not None,
            is_empty=isinstance(node, yaml.ScalarNode) and node.style is None and text in ("", "null"),
            is_broken=is_broken,
        )

    def _content(self, node: yaml.Node, location: Location) -> Any:
        match node:
            case yaml.MappingNode():
                return self._mapping(node, location)
            case yaml.SequenceNode():
                return [self._value(item, (*location, index), None) for index, item in enumerate(node.value)]
            case yaml.ScalarNode():
                return self._scalar(node)
        raise AssertionError(node)

    def _mapping(self, node: yaml.MappingNode, location: Location) -> dict[str, Any]:
        values: dict[str, Any] = {}
        for name, (key, value) in self._entries(node).items():
            values[name] = self._value(value, (*location, name), key)
        return values

    def _entries(self, node: yaml.MappingNode) -> dict[str, tuple[yaml.Node, yaml.Node]]:
        """The mapping's own entries over those that `<<` brings in."""
        own: dict[str, tuple[yaml.Node, yaml.Node]] = {}
        merged: dict[str, tuple[yaml.Node, yaml.Node]] = {}
        for key, value in node.value:
            if isinstance(key, yaml.ScalarNode) and key.value == "<<" and key.style is None:
                for source in self._merge_sources(value):
                    self.open.add(id(source))
                    merged = {**self._entries(source), **merged}
                    self.open.discard(id(source))
            elif (name := self._key(key, own)) is not None:
                own[name] = (key, value)
        return {**merged, **own}

    def _merge_sources(self, node: yaml.Node) -> Iterator[yaml.MappingNode]:
        for source in node.value if isinstance(node, yaml.SequenceNode) else [node]:
            self._guard(source)
            if isinstance(source, yaml.MappingNode):
                yield source
            else:
                self._report(source, "`<<` merges mappings only", "name an anchor: `<<: *name`")

    def _key(self, node: yaml.Node, known: Mapping[str, tuple[yaml.Node, yaml.Node]]) -> str | None:
        if not isinstance(node, yaml.ScalarNode):
            self._report(node, "a key must be text")
            return None
        name = _joined(node.value)
        if node.style is None and (trap := _trap(name) or _not_text(name)):
            self._report(node, *trap)
        elif unfit := _unfit(name):
            self._report(node, unfit)
        elif name in known:
            first = known[name][0].start_mark.line + 1
            self._report(node, f'duplicate key "{name}" (first on line {first})', "keep one of the two")
        else:
            return name
        return None

    def _scalar(self, node: yaml.ScalarNode) -> Any:
        text = _joined(node.value)
        if unfit := _unfit(text):
            self._report(node, unfit)
        if "$" in text and self.environ is not None:
            return self._interpolated(node, text, self.environ)
        if node.style is not None:
            return text
        if trap := _trap(text):
            self._report(node, *trap)
            return None
        return _plain(text)

    def _interpolated(self, node: yaml.ScalarNode, text: str, environ: Mapping[str, str]) -> str:
        def fill(found: re.Match[str]) -> str:
            if found[0] == "$$":
                return "$"
            name, default = found["name"], found["default"]
            if name is None:
                self._report(node, "invalid variable", "write ${NAME} or ${NAME:-default}, or $$ for a plain $")
                return ""
            value = environ.get(name, "")
            if default is None and name not in environ:
                hint = f"set it in the environment or in .env, or give a default: ${{{name}:-…}}"
                self._report(node, f"variable {name} is not set", hint)
            elif unfit := _unfit(value):
                self._report(node, f"variable {name} cannot be used: {unfit}")
            return value or default or ""

        filled = _VARIABLE.sub(fill, text)
        return Interpolated(filled) if "${" in text.replace("$$", "") else filled


_VARIABLE = re.compile(r"\$\$|\$\{(?:(?P<name>[A-Za-z_][A-Za-z0-9_]*)(?::-(?P<default>[^}]{0,1000}))?\})?")

_WORDS = {
    word: meaning
    for meaning, words in {"true": "y yes on true", "false": "n no off false"}.items()
    for lower in words.split()
    for word in (lower, lower.capitalize(), lower.upper())
    if word not in ("true", "false")
}
_INTEGER = re.compile(r"-?(0|[1-9][0-9]*)")
_FLOAT = re.compile(r"-?(0|[1-9][0-9]*)\.[0-9]+")
_NUMBER_TRAPS = (
    (re.compile(r"[-+]?0[0-9_]+"), "YAML parsers disagree on a number that starts with 0"),
    (re.compile(r"[-+]?0[xobXOB][0-9a-fA-F_]+"), "YAML parsers disagree on this number"),
    (re.compile(r"[-+]?[0-9]+(:[0-5]?[0-9])+(\.[0-9]*)?"), "some YAML parsers read this as a number of base 60"),
    (re.compile(r"[-+]?([0-9]+\.?[0-9]*|\.[0-9]+)[eE][-+]?[0-9]+"), "YAML parsers disagree on this number"),
    (re.compile(r"[-+]?[0-9][0-9,]*_[0-9_]*(\.[0-9_]*)?"), "YAML parsers disagree on a number with underscores"),
    (re.compile(r"\+[0-9.]+|-?\.[0-9]+|-?[0-9]+\."), "YAML parsers disagree on this number"),
    (re.compile(r"[-+]?[0-9]{16,}(\.[0-9]*)?|[-+]?[0-9]*\.[0-9]{17,}"), "number has too many digits"),
)
_WORD_TRAPS = (
    (re.compile(r"[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)"), "not a finite number"),
    (re.compile(r"[0-9]{4}-[0-9]{1,2}-[0-9]{1,2}([Tt ].*)?"), "some YAML parsers read this as a date"),
    (re.compile(r"=|Null|NULL|~"), "some YAML parsers read this as a special value"),
)


def _trap(text: str) -> tuple[str, str] | None:
    """Say why a plain scalar means different things to different readers, and what to write instead; None if not."""
    if len(text) > NUMBER_LIMIT:
        return None
    if meaning := _WORDS.get(text):
        return f"some YAML parsers read {text} as {meaning}", f'write {meaning}, or "{text}" if it is text'
    for pattern, reason in _NUMBER_TRAPS:
        if pattern.fullmatch(text):
            return reason, f'write plain digits, or "{text[:40]}" if it is text'
    for pattern, reason in _WORD_TRAPS:
        if pattern.fullmatch(text):
            return reason, f'quote it: "{text[:40]}"'
    return None


def _plain(text: str) -> Any:
    if len(text) > NUMBER_LIMIT:
        return text
    if text in ("", "null"):
        return None
    if text in ("true", "false"):
        return text == "true"
    if _INTEGER.fullmatch(text):
        return int(text)
    if _FLOAT.fullmatch(text) and math.isfinite(float(text)):
        return float(text)
    return text


def _not_text(name: str) -> tuple[str, str] | None:
    if isinstance(_plain(name), str):
        return None
    return "a key must be text", f'quote it: "{name}"' if name else "write a key before the colon"


def _joined(text: str) -> str:
    """JSON's pairs of escapes (`"\\ud83d\\ude00"`) as the character they mean; YAML's reader leaves the halves."""
    return _PAIR.sub(lambda pair: pair[0].encode("utf-16", "surrogatepass").decode("utf-16"), text)


_PAIR = re.compile("[\ud800-\udbff][\udc00-\udfff]")


def _unfit(text: str) -> str | None:
    """Text that no environment variable, file name or JSON document can carry."""
    if "\0" in text:
        return "text contains a NUL character"
    if any("\ud800" <= character <= "\udfff" for character in text):
        return "text contains half of a surrogate pair"
    return None
