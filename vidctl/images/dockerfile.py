"""What a Dockerfile says before it is built: the images it stands on, and whether it needs BuildKit.  Pure."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from vidctl.errors import ImageError


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


@dataclass(frozen=True)
class Base:
    """An image that a stage stands on, or that files are copied from."""

    line: int
    reference: str


def instructions(text: str) -> list[Instruction]:
    """Read a Dockerfile as far as its instructions' borders; what it says wrong is the engine's to find."""
    lines = text.splitlines()
    escape = "`" if re.match(r"(?:#\s*\w+\s*=.*\n)*#\s*escape\s*=\s*`", text, re.IGNORECASE) else "\\"
    found: list[Instruction] = []
    position = 0
    while position < len(lines):
        start = position
        words, position = _joined(lines, position, escape)
        if words:
            keyword, _, rest = words.partition(" ")
            each = Instruction(start + 1, keyword.upper(), rest.strip())
            found.append(each)
            for end in _heredocs(each):
                position = _after(lines, position, end)
    return found


def bases(text: str, build_args: Mapping[str, str], *, path: Path) -> list[Base]:
    """The images of every FROM and COPY --from that are not stages; raise ImageError for a name without a value."""
    values: dict[str, str] = {}
    stages: set[str] = set()
    found: list[Base] = []
    for each in instructions(text):
        if each.keyword == "ARG" and not stages:
            values.update(_arguments(each, values, build_args))
        elif each.keyword == "FROM":
            words = each.rest.split()
            name = _substituted(words[0], values, f"{path}:{each.line}") if words else ""
            if name and name != "scratch" and name.lower() not in stages:
                found.append(Base(each.line, name))
            stages.add(words[2].lower() if len(words) > 2 and words[1].lower() == "as" else str(len(stages)))
        elif each.keyword in ("COPY", "ADD"):
            sources = [flag.partition("=")[2] for flag in each.flags if flag.startswith("--from=")]
            found += [Base(each.line, name) for name in sources if name.lower() not in stages and not name.isdigit()]
    return found


def buildkit_line(text: str) -> tuple[int, str] | None:
    """The first line that the classic builder cannot build, and what it says; None when it can build them all."""
    for each in instructions(text):
        wanted = {flag.partition("=")[0] for flag in each.flags} & _BUILDKIT_FLAGS.get(each.keyword, set())
        if wanted:
            return each.line, f"{each.keyword} {min(wanted)}"
        if heredoc := next(iter(_heredocs(each)), None):
            return each.line, f"{each.keyword} <<{heredoc}"
        if each.keyword == "FROM" and (
            platform := re.search(r"\$\{?(?:BUILD|TARGET)(?:PLATFORM|OS|ARCH)\b", each.text)
        ):
            return each.line, f"FROM {platform[0]}"
    return None


def syntax_line(text: str) -> int | None:
    """The line of a `# syntax=` directive: the classic builder ignores it."""
    for number, line in enumerate(text.splitlines(), start=1):
        if not (found := re.match(r"#\s*(\w+)\s*=", line)):
            return None
        if found[1].lower() == "syntax":
            return number
    return None


# docs.docker.com/reference/dockerfile: options that only BuildKit's frontend knows.
_BUILDKIT_FLAGS = {
    "RUN": {"--mount", "--network", "--security", "--device"},
    "COPY": {"--link", "--chmod", "--parents", "--exclude"},
    "ADD": {"--link", "--chmod", "--checksum", "--keep-git-dir", "--exclude", "--unpack"},
}


def _joined(lines: list[str], position: int, escape: str) -> tuple[str, int]:
    """One instruction's text and the position after it; comments and empty lines inside it do not count."""
    parts: list[str] = []
    while position < len(lines):
        line = lines[position].strip()
        position += 1
        if line.startswith("#") or (not line and parts):
            continue
        parts.append(line.removesuffix(escape).strip())
        if not line.endswith(escape):
            break
    return " ".join(filter(None, parts)), position


def _heredocs(each: Instruction) -> Iterator[str]:
    if each.keyword in ("RUN", "COPY", "ADD") and not each.rest.startswith("["):
        for word in each.rest.split():
            if found := re.fullmatch(r"\d*<<-?(['\"]?)([A-Za-z_][\w.]*)\1", word):
                yield found[2]


def _after(lines: list[str], position: int, end: str) -> int:
    while position < len(lines) and lines[position].strip("\t") != end:
        position += 1
    return position + 1


def _arguments(
    each: Instruction, values: Mapping[str, str], build_args: Mapping[str, str]
) -> Iterator[tuple[str, str]]:
    try:
        words = shlex.split(each.text)
    except ValueError:  # an open quote: the engine's to find
        words = each.text.split()
    for word in words:
        name, has_default, default = word.partition("=")
        if name in build_args:
            yield name, build_args[name]
        elif has_default:
            yield name, _VARIABLE.sub(lambda found: _value(found, values) or "", default)


_VARIABLE = re.compile(r"\$(?:\{(\w+)(?::?([-+])([^}]*))?\}|(\w+))")


def _value(found: re.Match[str], values: Mapping[str, str]) -> str | None:
    value = values.get(found[1] or found[4]) or None
    if found[2] == "+":
        return found[3] if value else ""
    return value or found[3]


def _substituted(name: str, values: Mapping[str, str], where: str) -> str:
    def replace(found: re.Match[str]) -> str:
        value = _value(found, values)
        if value is None:
            raise ImageError(
                f"{where}: FROM {name}: {found[1] or found[4]} has no value",
                hint="give its ARG a default above FROM, or the spec's image a build_args",
            )
        return value

    return _VARIABLE.sub(replace, name)
