"""Options of commands that a project's vidctl.yaml gives, for where the command line does not have them."""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from vidctl.cli import options

if TYPE_CHECKING:
    from vidctl.spec import ProjectSettings, SpecProblem
    from vidctl.spec.document import Location

# Of these the command line, or another setting, is to say.
_ELSEWHERE = {
    "json": "say --json on the command line",
    "debug": "say --debug on the command line",
    "yes": "say -y on the command line: each time anew",
    "target": "write target: beside defaults:",
    "endpoint": "write endpoints: beside defaults:",
    "endpoint-id": "write endpoints: beside defaults:",
}
# They tell what is wrong with vidctl.yaml, or do not need it.
_WITHOUT = frozenset({"config", "doctor", "help", "init", "schema", "validate"})


def of_project(name: str) -> dict[str, Any] | None:
    """What Typer takes as the defaults of a command and of those in it; raise SpecError for what is wrong in the file.

    A project without a vidctl.yaml is not read.
    """
    root = options.project_root()
    file = root / "vidctl.yaml"
    if not file.is_file():
        return None
    from vidctl import spec
    from vidctl.errors import SpecError

    try:
        found = spec.settings_of(root).defaults
        if problems := list(_problems(root, found)):
            raise SpecError("\n".join(map(str, problems)))
    except SpecError:
        if name in _WITHOUT:
            return None
        raise
    return _map(found)


def mistakes(root: Path) -> list[SpecProblem]:
    """What is wrong in a project's vidctl.yaml, its default options among it; raises nothing."""
    from vidctl import spec
    from vidctl.errors import SpecError

    problems = spec.check_settings(root)
    try:
        settings: ProjectSettings = spec.settings_of(root)
    except SpecError:
        return problems
    return [*problems, *_problems(root, settings.defaults)]


def settings_schema() -> dict[str, Any]:
    """The JSON Schema of vidctl.yaml, with the options that each command takes."""
    from vidctl import spec

    document = spec.settings_schema()
    commands = {words: _command_schema(command) for words, command in _commands(_root(), "")}
    document["properties"]["defaults"] = {
        "description": document["properties"]["defaults"]["description"],
        "type": "object",
        "properties": {words: schema for words, schema in commands.items() if schema["properties"]},
        "additionalProperties": False,
    }
    return document


def _command_schema(command: Any) -> dict[str, Any]:
    properties = {name: _option_schema(option) for name, option in _options(command).items()}
    return {"type": "object", "properties": properties, "additionalProperties": False}


def _option_schema(option: Any) -> dict[str, Any]:
    described = {"description": option.help} if option.help else {}
    if option.is_flag:
        return {**described, "type": "boolean"}
    plain = ["string", "number", "boolean"]
    if option.multiple:
        return {**described, "type": ["array", *plain], "items": {"type": plain}}
    return {**described, "type": plain}


def _root() -> Any:
    from vidctl.cli import app

    return typer.main.get_command(app)


def _commands(command: Any, words: str) -> Iterator[tuple[str, Any]]:
    """Each command by the words that name it: `detect`, `local up`."""
    for name in getattr(command, "commands", {}):
        inner = f"{words} {name}".strip()
        yield inner, command.commands[name]
        yield from _commands(command.commands[name], inner)


def _options(command: Any) -> dict[str, Any]:
    """The options that may have a default, by their names without dashes before them."""
    found: dict[str, Any] = {}
    for each in command.params:
        names = [flag.removeprefix("--") for flag in each.opts if flag.startswith("--")]
        if each.param_type_name == "option" and names and not set(names) & set(_ELSEWHERE):
            found |= dict.fromkeys(names, each)
    return found


def _problems(root: Path, found: Mapping[str, Mapping[str, Any]]) -> Iterator[SpecProblem]:
    from vidctl import spec

    for words, values in found.items():
        command = _find(words)
        if command is None:
            known = [each for each, _ in _commands(_root(), "")]
            yield spec.settings_problem(
                root, ("defaults", words), f'unknown command "{words}"', _near(words, known), at_key=True
            )
            continue
        for name, value in values.items():
            place = ("defaults", words, name)
            if name not in _options(command):
                yield _unknown(root, place, words, command)
            elif problem := _problem(command, _options(command)[name], value):
                yield spec.settings_problem(root, place, *problem)


def _unknown(root: Path, place: Location, words: str, command: Any) -> SpecProblem:
    from vidctl import spec

    name = str(place[-1])
    if name in _ELSEWHERE:
        return spec.settings_problem(root, place, f'"{name}" has no default here', _ELSEWHERE[name], at_key=True)
    hint = _near(name.replace("_", "-").lstrip("-"), list(_options(command)))
    return spec.settings_problem(root, place, f'unknown option "{name}" of vidctl {words}', hint, at_key=True)


def _near(word: str, known: list[str]) -> str:
    near = difflib.get_close_matches(word, known, n=1)
    return f'did you mean "{near[0]}"?' if near else f"known: {', '.join(known)}"


def _find(words: str) -> Any:
    """The command of these words, None if there is none."""
    command = _root()
    for name in words.split():
        if name not in getattr(command, "commands", {}):
            return None
        command = command.commands[name]
    return command


def _problem(command: Any, option: Any, value: Any) -> tuple[str, str | None] | None:
    """What is wrong with a value, by the rule that holds for it on the command line."""
    from vidctl.errors import UsageError

    if option.is_flag:
        return None if isinstance(value, bool) else ("expected true or false", None)
    if isinstance(value, dict) or (isinstance(value, list) and not option.multiple):
        return "expected one value", "write it as on the command line"
    try:
        option.process_value(typer.Context(command), _typed(option, value))
    except UsageError as error:
        return error.message, error.hint
    except typer.TyperException as error:
        return error.format_message(), None
    return None


def _typed(option: Any, value: Any) -> Any:
    """A value of YAML as it is typed on a command line."""
    if option.is_flag:
        return value
    if option.multiple:
        return [_word(each) for each in (value if isinstance(value, list) else [value])]
    return _word(value)


def _word(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _map(found: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """The values by the names of commands, one in another, and of Python's parameters."""
    defaults: dict[str, Any] = {}
    for words, values in found.items():
        known = _options(_find(words))
        part = defaults
        for name in words.split():
            part = part.setdefault(name, {})
        part |= {known[name].name: _typed(known[name], value) for name, value in values.items()}
    return defaults
