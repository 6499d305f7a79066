"""What a Dockerfile says before it is built: the images it stands on, and whether it needs BuildKit.  Pure."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from vidctl.docker.dockerfile import Instruction, heredocs, instructions
from vidctl.errors import ImageError
from vidctl.images.context import PLATFORM


@dataclass(frozen=True)
class Base:
    """An image that a stage stands on, or that files are copied from."""

    line: int
    reference: str


def bases(text: str, build_args: Mapping[str, str], *, path: Path, target: str | None = None) -> list[Base]:
    """The images of every FROM, COPY --from and RUN --mount=from= that are not stages, as far as the target stage.

    Raise ImageError for a name without a value, and for a target that is no stage.
    """
    values = {**_PLATFORM_ARGUMENTS, "TARGETSTAGE": target or "default"}
    values.update({name: value for name, value in build_args.items() if name in values})
    stages: list[str] = []
    found: list[Base] = []
    for each in instructions(text):
        if each.keyword == "ARG" and not stages:
            values.update(_arguments(each, values, build_args))
        elif each.keyword == "FROM":
            if _is_stage(target, stages[-1:], len(stages) - 1):
                return found
            words = each.rest.split()
            name = _substituted(words[0], values, f"{path}:{each.line}") if words else ""
            if name and name != "scratch" and name.lower() not in stages:
                found.append(Base(each.line, name))
            stages.append(words[2].lower() if len(words) > 2 and words[1].lower() == "as" else str(len(stages)))
        else:
            sources = _sources(each, f"{path}:{each.line}")
            found += [Base(each.line, name) for name in sources if name.lower() not in stages and not name.isdigit()]
    if target is not None and not _is_stage(target, stages, len(stages) - 1):
        raise ImageError(
            f"{path}: stage {target} not found",
            hint=f"set image.target to one of its stages: {', '.join(stages) or 'it has none'}",
        )
    return found


def platform_arguments(text: str, build_args: Mapping[str, str]) -> dict[str, str]:
    """What BuildKit gives by itself to every ARG of these names that has no value; the classic builder needs them."""
    declared: set[str] = set()
    with_default: set[str] = set()
    for each in instructions(text):
        if each.keyword == "ARG":
            for word in each.text.split():
                name, has_default, _ = word.partition("=")
                (with_default if has_default else declared).add(name)
    known = _PLATFORM_ARGUMENTS.items()
    return {name: value for name, value in known if name in declared - with_default and name not in build_args}


def buildkit_line(text: str) -> tuple[int, str] | None:
    """The first line that the classic builder cannot build, and what it says; None when it can build them all."""
    for each in instructions(text):
        wanted = {flag.partition("=")[0] for flag in each.flags} & _BUILDKIT_FLAGS.get(each.keyword, set())
        if wanted:
            return each.line, f"{each.keyword} {min(wanted)}"
        if heredoc := next(iter(heredocs(each)), None):
            return each.line, f"{each.keyword} <<{heredoc}"
        if each.keyword == "FROM" and (
            platform := re.search(r"\$\{?(?:(?:BUILD|TARGET)(?:PLATFORM|OS|ARCH|VARIANT)|TARGETSTAGE)\b", each.text)
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


# docs.docker.com/reference/dockerfile/#automatic-platform-args-in-the-global-scope
_PLATFORM_ARGUMENTS = {
    f"{whose}{what}": value
    for whose in ("BUILD", "TARGET")
    for what, value in zip(("PLATFORM", "OS", "ARCH", "VARIANT"), (PLATFORM, *PLATFORM.split("/"), ""), strict=True)
}

# docs.docker.com/reference/dockerfile: options that only BuildKit's frontend knows.
_BUILDKIT_FLAGS = {
    "RUN": {"--mount", "--network", "--security", "--device"},
    "COPY": {"--link", "--chmod", "--parents", "--exclude"},
    "ADD": {"--link", "--chmod", "--checksum", "--keep-git-dir", "--exclude", "--unpack"},
}


def _sources(each: Instruction, where: str) -> list[str]:
    """The images or stages that an instruction takes files from; raise ImageError for one with a variable."""
    found: list[str] = []
    for flag in each.flags:
        name, _, value = flag.partition("=")
        if name == "--from" and each.keyword in ("COPY", "ADD"):
            found.append(value)
        elif name == "--mount" and each.keyword == "RUN":
            found += [part.partition("=")[2] for part in value.split(",") if part.startswith("from=")]
    if unclear := next((name for name in found if re.search(r"\$.", name)), None):
        raise ImageError(
            f"{where}: {each.keyword} from {unclear}: Docker expands no variables there",
            hint=f"name a stage before it, FROM {unclear} AS files, and write from=files",
        )
    return found


def _is_stage(name: str | None, stages: list[str], last: int) -> bool:
    """Whether a name, or a number up to the last one's, is one of the stages."""
    if name is None:
        return False
    return name.lower() in stages or (name.isdecimal() and int(name) <= last)


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


_VARIABLE = re.compile(r"\$(?:\{(\w+)(?:(:?)([-+])([^}]*))?\}|(\w+))")


def _value(found: re.Match[str], values: Mapping[str, str]) -> str | None:
    """What a variable is replaced by; None when it was never given a value."""
    value = values.get(found[1] or found[5])
    if found[2]:
        value = value or None  # with a colon, an empty value is none
    if found[3] == "+":
        return "" if value is None else found[4]
    return found[4] if value is None else value


def _substituted(name: str, values: Mapping[str, str], where: str) -> str:
    missing: list[str] = []

    def replace(found: re.Match[str]) -> str:
        value = _value(found, values)
        if value is None:
            missing.append(found[1] or found[5])
        return value or ""

    whole = _VARIABLE.sub(replace, re.sub("[\"']", "", name))
    if missing and (not whole or whole[-1] in ":@/"):
        raise ImageError(
            f"{where}: FROM {name}: {missing[0]} has no value",
            hint="give its ARG a default above FROM, or set it under image.build_args in the spec",
        )
    return whole
