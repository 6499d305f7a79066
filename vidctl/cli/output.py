"""Where a command's results go, and in which format: checked before anything is paid, and never lost after."""

from __future__ import annotations

import os
import sys
from collections.abc import Collection, Iterable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from vidctl.errors import UsageError, VidctlError

if TYPE_CHECKING:
    from vidctl.cli.inputs import Inputs
    from vidctl.files import Growing
    from vidctl.tasks.formats import ResultFormat

_PRINTED = "what should have been written there is printed instead"


class Output:
    """What -o names: FILE, DIR/ (with its slash, or a folder that is there), or standard output for - and without it.

    Results are added as they come, written as one document, or saved as files of their own.
    """

    def __init__(self, said: str | None) -> None:
        self.said = said
        self.path = None if said is None or said == "-" else Path(said)
        self.is_folder = self.path is not None and (str(said).endswith("/") or self.path.is_dir())
        self._file: Growing | None = None
        self._held = ""  # what came before the first answer
        self._error: VidctlError | None = None

    @property
    def is_read(self) -> bool:
        """Whether a person reads along: on a terminal."""
        return self.path is None and sys.stdout.isatty()

    @property
    def is_looked_at(self) -> bool:
        """Whether it is standard output, a pipe or the like, of which nobody expects to be a file of one format."""
        return self.path is None or (self.path.exists() and not self.path.is_file())

    def check(self, inputs: Inputs, names: Iterable[str] = ()) -> None:
        """Raise UsageError where a file that is read would be lost, VidctlError where nothing can be written.

        `names` are those of the files that will be made where it is a folder.
        """
        from vidctl import files

        if self.path is None:
            check_stdout()
        elif self.is_folder:
            inputs.spare_in("-o", self.path, names)
            check_folder("-o", self.path)
        else:
            inputs.spare("-o", self.path)
            files.check(self.path)

    def add(self, text: str, *, is_answer: bool = True) -> None:
        """Deliver a result as it comes: printed, or in a file that grows; what that cannot take is printed.

        A file is begun with the first that `is_answer`: where nothing is answered, one that is there stays as it is.
        """
        from vidctl.files import Growing

        if self.path is None:
            say(text)
            return
        if self._file is None:
            self._held += text
            if not is_answer:
                return
            self._file, text = Growing(self.path), self._held
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
        """Raise VidctlError if a result that was added had to be printed instead."""
        if self._file is not None:
            self._file.close()
        if self._error is not None:
            raise self._error

    def write(self, text: str, *, name: str = "", overwrite: bool = False) -> Path | None:
        """Deliver a document whole, and give its file; one that cannot be written is printed, and VidctlError raised.

        In a folder it has a `name`.
        """
        if self.path is None:
            say(text)
            return None
        try:
            return self.save(name, text, overwrite=overwrite)
        except VidctlError as error:  # a full disk: what is paid is not lost
            print_instead(text, error)
            raise

    def is_same(self, path: Path) -> bool:
        return self.path is not None and self.path.resolve() == path.resolve()

    def file(self, name: str) -> Path:
        """The file of this name in the folder, else the one file."""
        assert self.path is not None
        return self.path / name if self.is_folder else self.path

    def save(self, name: str, text: str, *, overwrite: bool) -> Path:
        """Write a file of the folder, or the one file; VidctlError if it cannot be, or would replace another there."""
        from vidctl.files import write_new

        return write_new(self.file(name), text.encode(), overwrite=overwrite or not self.is_folder)


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


def print_instead(text: str, error: VidctlError, how: str = "") -> None:
    """Print what cannot be written, for it is paid; the error says so, and `how`."""
    say(text)
    error.hint = f"{_PRINTED}{how}; {error.hint}" if error.hint else f"{_PRINTED}{how}"


def check_folder(option: str, folder: Path) -> None:
    """Raise UsageError for a file in a folder's place, VidctlError for a folder into which nothing can be written."""
    from vidctl import files

    if folder.exists() and not folder.is_dir():
        raise UsageError(f"{option} {folder}: a file, not a folder")
    files.check(folder, is_folder=True)


Format = TypeVar("Format", bound="ResultFormat[Any, Any]")


def chosen_formats(
    said: Sequence[str], output: str | None, known: Mapping[str, Format], *, document: Format | None, otherwise: str
) -> tuple[Format, ...]:
    """The formats to write: what -f says, else what FILE's ending does, else with --json its `document`.

    UsageError where -f says that standard output is another than --json does, or no format has the ending.
    """
    by_ending = {each: form for form in known.values() for each in form.endings}
    if document is not None:
        _check_json(said, output, document)
        by_ending |= dict.fromkeys(document.endings, document)
    if said:
        return tuple(known[name] for name in said)
    if document is not None:
        return (by_ending.get(_suffix(output), document),)
    return (by_ending.get(_ending(output, by_ending), known[otherwise]),)


def _ending(output: str | None, known: Collection[str]) -> str:
    """The ending of a file's name, of those that say a format; UsageError for another, "" where there is none."""
    from vidctl.media.kinds import AUDIO, IMAGES

    found = _suffix(output)
    if f".{found}" in IMAGES.suffixes | AUDIO.suffixes:
        return ""  # `Inputs.spare` says of it what is worse
    if found and found not in known:
        raise UsageError(f"-o {output}: no format has this ending", hint=f"say one with -f, or end it in {_or(known)}")
    return found


def _check_json(said: Iterable[str], output: str | None, document: Format) -> None:
    """Raise UsageError where -f says that standard output is not the `document` that --json prints."""
    other = next((each for each in said if each != document.name), None)
    if other is not None and output in (None, "-"):
        raise UsageError(
            f"--json and -f {other}: one or the other on standard output",
            hint=f"-o FILE -f {other} writes a file; --json alone prints vidctl's JSON",
        )


def _suffix(output: str | None) -> str:
    """A file's ending, in small letters and without its dot; "" for a folder and where there is none."""
    if output is None or output == "-" or output.endswith("/") or Path(output).is_dir():
        return ""
    return Path(output).suffix.lower().removeprefix(".")


def _or(endings: Iterable[str]) -> str:
    *others, last = (f".{each}" for each in endings)
    return f"{', '.join(others)} or {last}"
