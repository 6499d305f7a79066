"""Read a spec's files, each with its lines, and lay them over each other."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from vidctl.errors import SpecError
from vidctl.spec.document import Document, Location, parse
from vidctl.spec.overlay import lay, lifted
from vidctl.spec.problem import Mark, Problem, lines_of

SIZE_LIMIT = 256 * 1024  # bytes; a spec has about two thousand


@dataclass(frozen=True)
class SpecText:
    """Files, the base first, read as one document; and their lines, to show them."""

    files: tuple[Path, ...]
    document: Document
    lines: tuple[list[str], ...]


def read_files(files: Sequence[Path], environ: Mapping[str, str] | None) -> SpecText:
    """Read files; what is wrong with them is in the document's problems.  Without `environ` there are no variables."""
    opened = [_read_file(file, layer, environ) for layer, file in enumerate(files)]
    document = opened[0][0]
    for (over, _), file, base in zip(opened[1:], files[1:], files, strict=False):
        suffix = file.stem.removeprefix(base.stem).replace(".", "-")
        document = _both(over, document, suffix)
    return SpecText(tuple(files), document, tuple(lines for _, lines in opened))


def shown(path: Path) -> Path:
    """The path as the user sees it from where they are."""
    here = Path.cwd()
    return path.relative_to(here) if path.is_relative_to(here) else path


def _both(over: Document, under: Document, suffix: str) -> Document:
    """One over the other; without places if one of them could not be read."""
    if over.places and under.places:
        return lay(over, under, suffix=suffix)
    return Document(problems=[*under.problems, *over.problems])


def _read_file(path: Path, layer: int, environ: Mapping[str, str] | None) -> tuple[Document, list[str]]:
    try:
        text = read_text(path)
    except SpecError as error:
        return lifted(Document(problems=[Problem(Mark(1, 1), error.message, error.hint)]), layer), []
    document = parse(text, environ)
    if document.places and not isinstance(document.value, dict):
        problem = Problem(document.places[()].value, "expected a mapping (key: value)")
        document = Document(problems=[*document.problems, problem])
    return lifted(document, layer), _lines(text, document)


def read_text(path: Path) -> str:
    """A spec's file without its byte order mark; raise SpecError, without the file's name, for one that is none."""
    try:
        if not path.is_file():
            raise SpecError("expected a spec, found a folder" if path.is_dir() else "file not found")
        with path.open("rb") as file:
            content = file.read(SIZE_LIMIT + 1)
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else None
        raise SpecError(f"cannot be read: {reason or 'no file has such a name'}") from error
    if len(content) > SIZE_LIMIT:
        raise SpecError(f"file is too large for a spec: over {SIZE_LIMIT // 1024} kB")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise SpecError(f"not UTF-8 text (byte {error.start})", hint="save it as UTF-8") from error


def _lines(text: str, document: Document) -> list[str]:
    """The lines to show; one with a password that should not be there is not."""
    lines = lines_of(text)
    for location, harmless in _MAY_HOLD_PASSWORDS.items():
        place = document.places.get(location)
        if place and not re.fullmatch(harmless, place.text):
            lines[place.value.line - 1] = ""
    return lines


_MAY_HOLD_PASSWORDS: dict[Location, str] = {("registry_auth", "password"): "[A-Z0-9_]*", ("local", "openai"): "[^@?#]*"}
