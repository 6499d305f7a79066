"""Tell sources from the prompt on the command line of `vidctl describe`, and read times and schemas."""

from __future__ import annotations

import glob
import os
import re
import shlex
from pathlib import PurePath
from typing import Any

from vidctl.cli import options
from vidctl.errors import MediaError, UsageError


def parted(words: list[str], prompt: str | None, preset: str | None) -> tuple[list[str], str | None]:
    """The sources, and the prompt if there is one.

    Raises MediaError for a last word that may be a mistyped name: to take it for the prompt would cost a wrong answer.
    """

    *others, last = words
    if prompt is None and preset is None and _is_source(last) and (first := next(filter(_is_prompt, others), None)):
        raise UsageError(
            f"{first}: no such file", hint=f'put the prompt last: vidctl describe {shlex.quote(last)} "{first}"'
        )
    has_prompt = prompt is not None or preset is not None
    if _is_source(last) or (last.startswith("@") and (has_prompt or not others)):
        return words, prompt and options.text("--prompt", prompt)
    if _looks_like_a_file(last) and not last.startswith("@"):
        hint = "if it is the prompt, pass it with -p" if others and not has_prompt else None
        raise MediaError(f"{last}: no such file", hint=hint)
    if has_prompt:
        raise UsageError(f"{last}: no such file", hint="a prompt is given already; -p takes precedence over a preset's")
    if not others:
        raise UsageError(f"{last}: no such file", hint=f'put the image first: vidctl describe FILE "{last}"')
    return others, options.text("the prompt", last)


def _is_source(word: str) -> bool:
    if word == "-" or re.match(r"[a-z][a-z0-9+.-]*://", word, re.IGNORECASE):
        return True
    try:
        return os.path.lexists(word) or (glob.has_magic(word) and any(glob.iglob(word, recursive=True)))  # noqa: PTH207
    except (OSError, ValueError):  # no file can have this name
        return False


def _is_prompt(word: str) -> bool:
    """Whether this can only be a prompt: several words that name nothing."""
    return len(word.split()) > 1 and not (word.startswith("@") or _is_source(word) or _looks_like_a_file(word))


def _looks_like_a_file(word: str) -> bool:
    """Whether who types this means a file: one word with an ending, a folder or a pattern, or `my frame.jpg`."""
    from vidctl.media.kinds import IMAGES_AND_VIDEOS

    if len(word.split()) != 1:
        return PurePath(word).suffix.lower() in IMAGES_AND_VIDEOS.suffixes
    return re.search(r"[/*\[]|\.[A-Za-z0-9]{1,5}$", word) is not None


def seconds(name: str, text: str) -> float:
    """`83.5`, `1:23`, `1:02:03.5` and `2m`, in seconds."""
    from vidctl.text import duration_s

    found = duration_s(text)
    if found is None:
        raise UsageError(f"invalid {name} {shlex.quote(text)}: expected a time", hint="write 83.5, 1:23, 1:02:03 or 2m")
    return found


def schema(word: str) -> dict[str, Any]:
    """A file, JSON, or fields in their short form."""
    from vidctl.tasks.describe.schema import read

    if word.lstrip().startswith("{"):
        return read(word)
    if _is_source(word):
        return read(options.text("--schema", f"@{word}"))
    if re.fullmatch(r"\S+\.json|\S*/\S*", word):
        raise UsageError(f"--schema {word}: no such file")
    return read(word)
