"""Where a command may write: what would cost a source, a list or a file of somebody's is refused before it asks."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Collection, Iterable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path, PurePath
from typing import TYPE_CHECKING

from vidctl.cli import options
from vidctl.errors import UsageError, VidctlError
from vidctl.project import configs

if TYPE_CHECKING:
    from vidctl.media.sources import Source

_PRINTED = "what should have been written there is printed instead"
_ELSEWHERE = "the result would take its place"


class Inputs:
    """The files that a run reads, which nothing that it writes may take the place of."""

    def __init__(self, sources: Sequence[Source], words: Iterable[str | None] = (), *, called: str = "sources") -> None:
        """`words` are those of the command line, of which `@FILE` names a list or a text; `called` are the sources."""
        self._called = called
        self._paths = [source.path for source in sources if source.path is not None]
        self._sources = _marks(self._paths)
        self._lists = _marks(Path(word[1:]) for word in words if word and word.startswith("@"))
        self._root = options.project_root()
        self._project = _marks([self._root / ".env", self._root / "vidctl.yaml", *configs.files(self._root)])

    def spare(self, option: str, path: Path) -> None:
        """Raise UsageError if a file of this name would cost one that the run reads, or an image, video or audio."""
        from vidctl.media.kinds import AUDIO, IMAGES

        said = f"{option} {path}"
        marks = _marks([path])
        if marks & self._sources:
            raise UsageError(f"{said}: this is one of the {self._called}", hint=_ELSEWHERE)
        if marks & self._lists:
            raise UsageError(f"{said}: this is what the run reads its words from", hint=_ELSEWHERE)
        if marks & self._project or configs.is_own(self._root, path):
            raise UsageError(f"{said}: this is a file of the project itself", hint=_ELSEWHERE)
        if path.suffix.lower() in IMAGES.suffixes | AUDIO.suffixes and not path.is_dir():
            raise UsageError(f"{said}: an image, a video or audio by its name", hint="choose another ending")

    def spare_in(self, option: str, folder: Path, names: Iterable[str]) -> None:
        """The same for the files that will be made in a folder."""
        self.spare(option, folder)
        for name in names:
            if _marks([folder / name]) & (self._sources | self._lists):
                raise UsageError(
                    f"{option} {folder}: {name} in it would overwrite one of the {self._called}",
                    hint="save into another folder",
                )

    def spare_crops(self, option: str, folder: Path, stems: Iterable[str]) -> None:
        """The same for `folder/<class>/<stem>-<n>.jpg`, whatever classes there will be."""
        self.spare(option, folder)
        inside, wanted = os.path.realpath(folder), {stem.casefold() for stem in stems}
        for path in (Path(os.path.realpath(each)) for each in self._paths):
            if not path.is_relative_to(inside):
                continue
            name = path.relative_to(inside).as_posix()
            found = re.fullmatch(r"[^/]+/(.+)-\d+\.jpg", name.casefold(), re.DOTALL)
            if found and found[1] in wanted:
                raise UsageError(
                    f"{option} {folder}: {name} in it is one of the {self._called}",
                    hint="save into another folder",
                )


def stems(sources: Sequence[Source], words: Iterable[str], *, keeps_folders: bool) -> list[str]:
    """The names of what will be made of the sources, without suffixes, by the words of the command line.

    With `keeps_folders` each lies in the folder of its source, beginning below what all of them have in common.
    """
    from vidctl.tasks.detect import formats

    names = [source.name for source in sources]
    if not keeps_folders:
        return formats.stems(names)
    given = [os.path.abspath(word) for word in words if os.path.isdir(word)]  # noqa: PTH100, PTH112  links stay
    parents = [source.path and os.path.abspath(source.path.parent) for source in sources]  # noqa: PTH100
    roots = [
        next((each for each in given if Path(parent).is_relative_to(each)), parent) for parent in parents if parent
    ]
    common = os.path.commonpath(roots) if roots else ""
    return formats.stems(names, [PurePath(os.path.relpath(parent, common) if parent else "") for parent in parents])


def beside(sources: Iterable[Source], *, option: str) -> list[str]:
    """The paths of the sources themselves, to the letter and without their suffixes; UsageError if one is no file."""
    from vidctl.tasks.detect import formats

    paths: list[str] = []
    folders: list[Path] = []
    for source in sources:
        if source.problem is not None:
            paths.append(source.name)  # of what failed already nothing will be written
            continue
        if source.path is None:
            raise UsageError(f"{option}: {source.label} is no file on this machine", hint="-o DIR/ names a folder")
        paths.append(os.fspath(source.path.parent / source.path.stem))
        folders.append(source.path.parent)
    for folder in dict.fromkeys(folders):
        check_folder(option, folder)
    return formats.unique(paths)


class Lines:
    """Results that are delivered as they come: printed, or in a file that grows; what it cannot take is printed."""

    def __init__(self, path: Path | None) -> None:
        from vidctl.files import Growing

        self._file = None if path is None else Growing(path)
        self._held = ""  # where nothing is answered, a file that is there stays as it is
        self._is_begun = False
        self._error: VidctlError | None = None

    def add(self, text: str, *, is_answer: bool) -> None:
        """Deliver a result, together with what came before the first that `is_answer`."""
        if self._file is None:
            say(text)
            return
        self._held += text
        self._is_begun |= is_answer
        if not self._is_begun:
            return
        text, self._held = self._held, ""
        try:
            if self._error is None:
                self._file.add(text.encode(errors="backslashreplace"))
                return
        except VidctlError as error:
            self._error = error
            print_instead(text, error)
            return
        say(text)

    def close(self) -> None:
        """Raise VidctlError if something had to be printed instead."""
        if self._file is not None:
            self._file.close()
        if self._error is not None:
            raise self._error


def say(text: str) -> None:
    """Print a result.  Where nobody takes it, it stands on stderr, for it is paid, and VidctlError says so."""
    try:
        sys.stdout.write(text)
        sys.stdout.flush()
    except OSError as error:
        _leave_stdout()
        sys.stderr.write(text)
        raise VidctlError(
            f"standard output: cannot be written ({error.strerror or error})",
            hint="what should have been written there is above; -o FILE keeps it",
        ) from error


def _leave_stdout() -> None:
    """Drop what is still in its buffer, and let all that follows go to stderr."""
    with suppress(OSError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        sys.stdout.flush()
        os.dup2(2, 1)


def check_stdout() -> None:
    """Raise VidctlError if standard output is closed: nobody would get what is paid."""
    # What `_open_closed_streams` put there; `> /dev/null` has another name.
    if getattr(sys.stdout, "name", None) == os.devnull:
        raise VidctlError("standard output is closed, and nobody would get the result", hint="-o FILE keeps it")


def ending(output: str | None, known: Collection[str]) -> str:
    """The ending of a file's name, of those that say a format; UsageError for another, "" where there is none."""
    from vidctl.media.kinds import AUDIO, IMAGES

    found = suffix(output)
    if f".{found}" in IMAGES.suffixes | AUDIO.suffixes:
        return ""  # `Inputs.spare` says of it what is worse
    if found and found not in known:
        raise UsageError(f"-o {output}: no format has this ending", hint=f"say one with -f, or end it in {_or(known)}")
    return found


def form(said: str | None, output: str | None, endings: Mapping[str, str], *, is_json: bool, otherwise: str) -> str:
    """The format to write: what -f says, else what FILE's ending does, else JSON with --json; UsageError as below."""
    if is_json:
        check_json([said] if said else [], output, document="json")
    if said:
        return said
    if is_json:
        return endings.get(suffix(output), "json")
    return endings.get(ending(output, endings), otherwise)


def check_json(said: Iterable[str], output: str | None, *, document: str | None) -> None:
    """Raise UsageError where -f says that standard output is not the `document` that --json prints."""
    other = next((each for each in said if each != document), None)
    if other is not None and output in (None, "-"):
        raise UsageError(
            f"--json and -f {other}: one or the other on standard output",
            hint=f"-o FILE -f {other} writes a file; --json alone prints vidctl's JSON",
        )


def suffix(output: str | None) -> str:
    """A file's ending, in small letters and without its dot; "" for a folder and where there is none."""
    if output is None or output == "-" or output.endswith("/") or Path(output).is_dir():
        return ""
    return Path(output).suffix.lower().removeprefix(".")


def _or(endings: Iterable[str]) -> str:
    *others, last = (f".{each}" for each in endings)
    return f"{', '.join(others)} or {last}"


def check_folder(option: str, folder: Path) -> None:
    """Raise UsageError for a file in a folder's place, VidctlError for a folder into which nothing can be written."""
    from vidctl import files

    if folder.exists() and not folder.is_dir():
        raise UsageError(f"{option} {folder}: a file, not a folder")
    files.check(folder, is_folder=True)


def print_instead(text: str, error: VidctlError, how: str = "") -> None:
    """Print what cannot be written, for it is paid; the error says so, and `how`."""
    say(text)
    error.hint = f"{_PRINTED}{how}; {error.hint}" if error.hint else f"{_PRINTED}{how}"


def _marks(paths: Iterable[Path]) -> set[str | tuple[int, int]]:
    """What tells files apart: where each really lies, and if it is there its number, which all its names share."""
    marks: set[str | tuple[int, int]] = set()
    for path in paths:
        try:
            marks.add(os.path.realpath(path))
            there = path.stat()
        except (OSError, ValueError):
            continue
        marks.add((there.st_dev, there.st_ino))
    return marks
