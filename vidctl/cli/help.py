"""`vidctl help`."""

from __future__ import annotations

import json
from typing import Annotated, Any

import typer

from vidctl.cli import options

SCHEMA = "vidctl.help/1"


def _commands(context: typer.Context, incomplete: str) -> list[str]:
    """The commands in the one that is named so far, for completion."""
    from vidctl.cli import COMMANDS

    named = context.params.get("names") or []
    return [] if named else [name for name in COMMANDS if name.startswith(incomplete)]


@options.spread
def help_(
    names: Annotated[
        list[str] | None,
        typer.Argument(metavar="[COMMAND…]", help="deploy, or local up.", autocompletion=_commands),
    ] = None,
    *,
    said: options.ReportOptions,
) -> None:
    """Show the help of a command.

    Without one, of vidctl: all commands.
    """
    command = _find(names or [])
    words = " ".join(["vidctl", *(names or [])])
    context = typer.Context(command, info_name=words, help_option_names=["-h", "--help"])
    text = command.get_help(context)
    if not said.as_json:
        print(text)  # noqa: T201  the answer itself
        return
    print(json.dumps({"schema": SCHEMA, "command": words, "help": text, "commands": _listed(command)}, indent=2))  # noqa: T201


def _find(names: list[str]) -> Any:
    import difflib

    from vidctl.cli import app
    from vidctl.errors import UsageError

    command: Any = typer.main.get_command(app)
    for position, name in enumerate(names):
        known = list(getattr(command, "commands", {}))
        if name not in known:
            near = difflib.get_close_matches(name, known, n=1)
            group = " ".join(["vidctl", "help", *names[:position]])
            raise UsageError(f"command {name!r} not found", hint=f"did you mean {near[0]}?" if near else group)
        command = command.commands[name]
    return command


def _listed(command: Any) -> list[dict[str, str]]:
    """The commands in a group, each with its sentence; those of vidctl itself with their groups."""
    from vidctl.cli import COMMANDS, app, groups

    if command is not typer.main.get_command(app) and command.name != "vidctl":
        inner = getattr(command, "commands", {})
        return [{"name": name, "help": each.get_short_help_str(1000)} for name, each in inner.items()]
    return [
        {"name": name, "group": title, "help": COMMANDS[name].help}
        for title, names in groups.of(COMMANDS).items()
        for name in names
    ]
