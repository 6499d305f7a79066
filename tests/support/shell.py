"""The vidctl in a line of a shell, as a page shows it."""

from __future__ import annotations

import shlex
from typing import Any

from typer.main import get_command

from vidctl.cli import app


def words_of(line: str) -> list[str]:
    """The arguments of the vidctl in a line of a shell: without comment, pipes, redirections and other programs."""
    lexer = shlex.shlex(line, posix=True, punctuation_chars="|<>")
    lexer.whitespace_split = True
    words = list(lexer)
    words = words[words.index("vidctl") + 1 :]
    ends = [place for place, word in enumerate(words) if word in ("|", "<", ">")]
    return words[: min(ends, default=None)]


def parsed(words: list[str]) -> Any:
    """The context of the command that the words name; a usage error where Typer finds one."""
    command: Any = get_command(app)
    words = list(words)
    while words and words[0] in getattr(command, "commands", {}):
        command = command.commands[words.pop(0)]
    return command.make_context(command.name, words)
