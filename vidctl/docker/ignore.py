"""What a .dockerignore excludes: the rules of github.com/moby/patternmatcher, by which docker and BuildKit read it.

They are more than the documents say, and a pattern that is read otherwise sends what its writer hides.  docker-py's own
matcher ignores case and looks at fewer folders above.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from vidctl.errors import ImageError

Above = tuple[bool, ...]
"""Which patterns match a folder, or one above it."""


@dataclass(frozen=True)
class _Pattern:
    text: str
    is_exception: bool
    matches: Callable[[str], bool]

    def may_reach(self, folder: str) -> bool:
        """Whether what is in the folder can match, though the folder does not."""
        if not self.is_exception:
            return False
        stem = self.text.removesuffix("/**").removesuffix("/*")
        return any(each in stem for each in "*[]?^\\") or f"{stem}/".startswith(f"{folder}/")


class Ignore:
    """The patterns of a .dockerignore, which `where` names; raise ImageError for one that is none.

    `always` are patterns before its own, for what is excluded unless it says otherwise; `kept` is never excluded.
    """

    def __init__(self, text: str, *, where: str, always: Iterable[str] = (), kept: Iterable[str] = ()) -> None:
        found = [_pattern(each) for each in always]
        for number, line in enumerate(text.split("\n"), start=1):
            words = "" if line.startswith("#") else line.strip()
            if words:
                try:
                    found.append(_pattern(words))
                except ValueError as error:
                    hint = "see docs.docker.com/build/concepts/context/#syntax"
                    raise ImageError(f"{where}:{number}: invalid pattern {words!r}: {error}", hint=hint) from error
        self._patterns = found
        self._kept = frozenset(kept)

    def excludes(self, path: str, above: Above) -> tuple[bool, Above]:
        """Whether a path is excluded, and what to pass on for what is in it."""
        matches = []
        is_excluded = False
        for number, pattern in enumerate(self._patterns):
            is_match = bool(above) and above[number]
            # A pattern that would change nothing is not looked at: so it says nothing of what is inside either.
            if not is_match and pattern.is_exception == is_excluded:
                is_match = pattern.matches(path)
            matches.append(is_match)
            if is_match:
                is_excluded = not pattern.is_exception
        return is_excluded and path not in self._kept, tuple(matches)

    def may_keep_some(self, folder: str) -> bool:
        """Whether something in an excluded folder may be kept."""
        return any(each.may_reach(folder) for each in self._patterns) or any(
            each.startswith(f"{folder}/") for each in self._kept
        )


def _pattern(words: str) -> _Pattern:
    is_exception = words.startswith("!")
    rest = words[is_exception:].strip()
    cleaned = _cleaned(rest) if rest else ""
    # Once more from the start, as there: `./!a` is an exception.
    text = _cleaned((f"!{cleaned}" if is_exception else cleaned).strip())
    is_exception = text.startswith("!")
    text = text.removeprefix("!")
    if not text:
        raise ValueError("empty exception")
    _check(text)
    return _Pattern(text, is_exception, _matcher(text))


def _cleaned(path: str) -> str:
    """Go's filepath.Clean, without the slash that it may begin with."""
    clean = os.path.normpath(re.sub("^/+", "/", path))
    return clean[1:] if len(clean) > 1 and clean[0] == "/" else clean


def _check(pattern: str) -> None:
    """Raise ValueError for what Go's filepath.Match does not take."""
    position = 0
    while position < len(pattern):
        mark = pattern[position]
        position += 1
        if mark == "\\":
            if position == len(pattern):
                raise ValueError("it ends with a \\")
            position += 1
        elif mark == "[":
            position = _after_set(pattern, position)


def _after_set(pattern: str, position: int) -> int:
    position += pattern.startswith("^", position)
    start = position
    while position == start or not pattern.startswith("]", position):
        position = _after_letter(pattern, position)
        if pattern.startswith("-", position):
            position = _after_letter(pattern, position + 1)
    return position + 1


def _after_letter(pattern: str, position: int) -> int:
    if pattern[position : position + 1] in ("-", "]"):
        raise ValueError(f"a [set] has {pattern[position]} only after a \\")
    position += pattern.startswith("\\", position) + 1
    if position >= len(pattern):
        raise ValueError("a [set] is never closed")
    return position


def _matcher(pattern: str) -> Callable[[str], bool]:
    """What tells whether a path matches.

    Without a special letter the whole path is compared, with `**` at an end the other end of it; the rest is a regular
    expression, made letter by letter, even in a [set].
    """
    parts: list[str] = []
    kind = "whole"
    words = list(_WORD.findall(pattern))
    for number, word in enumerate(words):
        if word.startswith("**"):
            is_last = number == len(words) - 1
            parts.append(".*" if is_last else "(.*/)?")
            kind = "end" if number == 0 else "start" if is_last and kind == "whole" else "expression"
        elif word in _SPECIAL or word.startswith("\\"):
            parts.append(_SPECIAL.get(word, word))
            kind = "expression"
        else:
            parts.append(f"\\{word}" if word in ".+()|{}$" else word)
    if kind == "whole":
        return pattern.__eq__
    if kind == "start":
        return lambda path: path.startswith(pattern[:-2])
    if kind == "end":
        return lambda path: path.endswith(pattern[2:]) or f"/{path}" == pattern[2:]
    expression = re.compile(f"(?:{_python(''.join(parts))})\\Z", re.ASCII)
    return lambda path: expression.match(path) is not None


_WORD = re.compile(r"\*\*/?|\\.|.", re.DOTALL)
_SPECIAL = {"*": "[^/]*", "?": "[^/]", "[": "[", "]": "]"}


def _python(expression: str) -> str:
    """Go's regular expression as Python spells it; raise ValueError for what is none.

    What Go has beyond this, such as [[:alpha:]] and \\pL, no pattern needs: it is refused.
    """
    parts: list[str] = []
    position = 0
    while position < len(expression):
        mark = expression[position]
        if mark == "[":
            part, position = _set(expression, position + 1)
        elif mark == "\\":
            part, position = _escaped(expression[position + 1], _CLASSES | _PLACES), position + 2
        else:
            part, position = mark, position + 1
        parts.append(part)
    return "".join(parts)


def _set(expression: str, position: int) -> tuple[str, int]:
    is_negated = expression.startswith("^", position)
    position += is_negated
    start, parts = position, []
    while position == start or not expression.startswith("]", position):
        if expression.startswith("[:", position) and ":]" in expression[position:]:
            raise ValueError("it has a [:class:]")
        class_ = _SETS.get(expression[position : position + 2])
        if class_:
            parts.append(class_)
            position += 2
            continue
        low, position = _letter(expression, position)
        high = low
        if expression.startswith("-", position) and not expression.startswith("-]", position):
            high, position = _letter(expression, position + 1)
        if high < low:
            raise ValueError(f"the range {low}-{high} is empty")
        parts.append(f"{re.escape(low)}-{re.escape(high)}")
    return f"[{'^' * is_negated}{''.join(parts)}]", position + 1


def _letter(expression: str, position: int) -> tuple[str, int]:
    if position >= len(expression):
        raise ValueError("a [set] is never closed")
    if expression[position] != "\\":
        return expression[position], position + 1
    if position + 1 >= len(expression):
        raise ValueError("it ends with a \\")
    letter = expression[position + 1]
    return _CONTROLS.get(letter) or _escaped(letter, {})[-1], position + 2


def _escaped(letter: str, known: dict[str, str]) -> str:
    """What a \\ before a letter stands for."""
    if letter in known:
        return known[letter]
    if letter in _CONTROLS:
        return re.escape(_CONTROLS[letter])
    if letter.isalnum() or not letter.isascii():
        raise ValueError(f"\\{letter} has no meaning")
    return re.escape(letter)


_CONTROLS = {"a": "\a", "f": "\f", "n": "\n", "r": "\r", "t": "\t", "v": "\v"}
_CLASSES = {"d": r"\d", "D": r"\D", "w": r"\w", "W": r"\W", "s": r"[\t\n\f\r ]", "S": r"[^\t\n\f\r ]"}
_PLACES = {"A": r"\A", "b": r"\b", "B": r"\B", "z": r"\Z"}
_SETS = {r"\d": r"\d", r"\D": r"\D", r"\w": r"\w", r"\W": r"\W", r"\s": r"\t\n\f\r ", r"\S": r"\S\v"}
