"""Spell the options in an error as they are typed: `--max-tokens` where Python says `max_tokens`."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from vidctl.errors import UsageError

if TYPE_CHECKING:
    from vidctl.errors import VidctlError

# A word that is no part of a file's name, of an option or of a quoted value.
_NAME = re.compile(r"(?<![\w/.'\"`-])[a-z]+(?:_[a-z]+)+(?![\w/.'\"`=-])")
_SUBJECT = re.compile(r"(?:invalid )?[a-z_]+(?: and [a-z_]+)*(?=[\s:])")


def with_dashes(error: VidctlError, flags: Sequence[str], words: Sequence[str]) -> VidctlError:
    """The error itself, with names of the command's options as its flags: those of two words, and what it is about.

    What it is about is in front, and only an option if the command line has that option: `model` is also a word.
    """
    if isinstance(error, UsageError):
        typed = {word.partition("=")[0] for word in words if "=" in word}  # by its name, as a field for --set
        names = {flag.removeprefix("--").replace("-", "_"): flag for flag in flags if flag.startswith("--")}
        known = {name: flag for name, flag in names.items() if name not in typed}
        given = {name: flag for name, flag in known.items() if any(_is_said(flag, word) for word in words)}
        front = _SUBJECT.match(error.message)
        if front:
            error.message = _replaced(re.compile(r"[a-z_]+"), front[0], given) + error.message[front.end() :]
        error.message = _replaced(_NAME, error.message, known)
    return error


def _is_said(flag: str, word: str) -> bool:
    return word.partition("=")[0].replace("_", "-") == flag


def _replaced(pattern: re.Pattern[str], text: str, names: Mapping[str, str]) -> str:
    return pattern.sub(lambda found: names.get(found[0], found[0]), text)
