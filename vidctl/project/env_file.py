"""A project's `.env`: reading it as python-dotenv does, and changing one variable with every other byte kept."""

from __future__ import annotations

import codecs
import io
import logging
import os
import re
import select
import time
from collections.abc import Callable, Iterable, Mapping
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from vidctl import files
from vidctl.errors import UsageError, VidctlError
from vidctl.project.state_folder import make_state_folder

if TYPE_CHECKING:
    from dotenv.parser import Binding


PIPE_S = 10.0  # for whoever fills a `.env` that is a named pipe


def variables(env_file: Path, environ: Mapping[str, str]) -> dict[str, str]:
    """What the file sets; `${NAME}` is filled in, but not between single quotes."""
    text = _read(env_file)
    if not text:
        return {}
    from dotenv.variables import parse_variables

    found: dict[str, str] = {}
    for each in _bindings(text):
        string = each.original.string
        if each.error:
            blank = _BLANK_LINES.match(string)
            _warn(env_file, each.original.line + (len(blank[0].splitlines()) if blank else 0))
        elif each.key is not None and each.value is not None:
            is_literal = _SINGLE_QUOTED.match(string) is not None
            known = {**environ, **found}
            atoms = parse_variables(each.value)
            found[each.key] = each.value if is_literal else "".join(atom.resolve(known) for atom in atoms)
    return found


@cache
def _warn(env_file: Path, line: int) -> None:
    """Tell, once, of a line that is none; what stands in it may be a secret."""
    logging.getLogger("vidctl").warning("%s:%d: line ignored: expected NAME=value", env_file, line)


def _read(env_file: Path) -> str:
    """The file's text; a named pipe, as password managers put there, is read while it is being filled."""
    try:
        if env_file.is_fifo():
            data = _from_pipe(env_file)
        elif env_file.is_file():
            data = env_file.read_bytes()
        elif env_file.is_dir():
            raise UsageError(f"{env_file}: a folder, not a file", hint="save it as UTF-8 lines of NAME=value")
        else:
            return ""
        return data.decode("utf-8-sig")
    except OSError as error:
        raise UsageError(f"{env_file}: cannot be read: {error.strerror}", hint="check its permissions") from error
    except ValueError as error:
        raise UsageError(f"{env_file}: not UTF-8 text", hint="save it as UTF-8 lines of NAME=value") from error


def _from_pipe(pipe: Path) -> bytes:
    data = b""
    deadline = time.monotonic() + PIPE_S
    descriptor = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)  # else opening it would wait for a writer
    try:
        while (left_s := deadline - time.monotonic()) > 0:
            if not select.select([descriptor], [], [], left_s)[0]:
                break
            more = os.read(descriptor, 65536)
            if not more and data:
                return data
            if not more:  # nobody writes yet
                time.sleep(0.01)
            data += more
    finally:
        os.close(descriptor)
    raise UsageError(
        f"{pipe}: cannot be read: a named pipe that was not written to its end within {PIPE_S:g} s",
        hint="unlock or start what fills it, or remove the pipe and set the variables in the environment",
    )


def remember(env_file: Path, name: str, value: str) -> None:
    """Set one variable in `.env`, whole or not at all, every other byte kept; a new file is its owner's only."""
    _edit(env_file, lambda text: _with(text, name, value), hint=f"add the line {name}={value} to it")


def forget(env_file: Path, name: str) -> None:
    """Take one variable out of `.env`, whole or not at all, every other byte kept."""
    if any(each.key == name for each in _bindings(_read(env_file))):
        _edit(env_file, lambda text: _without(text, name), hint=f"remove the line {name}=… from it")


def _edit(env_file: Path, edit: Callable[[str], str], *, hint: str) -> None:
    from filelock import FileLock

    env_file = env_file.resolve()  # a linked .env stays a link
    if env_file.exists() and not env_file.is_file():
        raise VidctlError(
            f"{env_file}: cannot be written: not a regular file",
            hint=f"{hint}, where its content comes from",
        )
    try:
        lock_folder = env_file.parent / ".vidctl"
        make_state_folder(lock_folder)
        with FileLock(lock_folder / "env.lock"):
            before = env_file.read_bytes() if env_file.exists() else b""
            mark = codecs.BOM_UTF8 if before.startswith(codecs.BOM_UTF8) else b""
            files.write(env_file, mark + edit(before[len(mark) :].decode()).encode(), mode=0o600, is_durable=True)
    except VidctlError as error:
        raise VidctlError(error.message, hint=hint) from error
    except (OSError, ValueError) as error:
        raise VidctlError(f"{env_file}: cannot be written: {error}", hint=hint) from error


_BLANK_LINES = re.compile(r"(?:[^\S\r\n]*(?:\r\n|\n|\r))*")
_QUOTED = r"""'(?:\\.|[^'\\])*'|"(?:\\.|[^"\\])*\""""
_LINE = re.compile(
    r"(?P<before>\s*(?:export[^\S\r\n]+)?)(?:'[^']+'|[^=\#\s]+)[^\S\r\n]*"
    rf"(?:=(?:[^\S\r\n]*(?:{_QUOTED})|[^\r\n]*?))?"
    r"(?P<after>(?:[^\S\r\n]+\#[^\r\n]*)?[^\S\r\n]*(?:\r\n|\n|\r)?)",
    re.DOTALL,
)
_SINGLE_QUOTED = re.compile(r"\s*(?:export[^\S\r\n]+)?(?:'[^']+'|[^=\#\s]+)[^\S\r\n]*=[^\S\r\n]*'")


def _with(text: str, name: str, value: str) -> str:
    """The text with the line that counts, the last of that name, changed, or with one more line."""
    parts = _bindings(text)
    for n in reversed(range(len(parts))):
        if parts[n].key == name and (line := _LINE.fullmatch(parts[n].original.string)):
            changed = f"{line['before']}{name}={value}{line['after']}"
            return "".join([*_strings(parts[:n]), changed, *_strings(parts[n + 1 :])])
    end = "\r\n" if "\r\n" in text else "\n"
    return text + (end if text and not text.endswith(("\n", "\r")) else "") + f"{name}={value}{end}"


def _without(text: str, name: str) -> str:
    """The text without the lines of that name; empty lines before them stay."""
    kept = []
    for each in _bindings(text):
        string = each.original.string
        blank = _BLANK_LINES.match(string)
        kept.append(string if each.key != name else blank[0] if blank else "")
    return "".join(kept)


def _strings(parts: Iterable[Binding]) -> list[str]:
    return [each.original.string for each in parts]


def _bindings(text: str) -> list[Binding]:
    """The file's parts, which together are its text."""
    from dotenv.parser import parse_stream

    return list(parse_stream(io.StringIO(text)))
