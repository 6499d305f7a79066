"""Where a command may write: what would cost a source, a list or a file of somebody's is refused before it asks."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from vidctl.errors import UsageError, VidctlError

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

    def spare(self, option: str, path: Path) -> None:
        """Raise UsageError if a file of this name would cost one that the run reads, or an image, video or audio."""
        from vidctl.media.sources import PICTURES, SOUNDS

        said = f"{option} {path}"
        marks = _marks([path])
        if marks & self._sources:
            raise UsageError(f"{said}: this is one of the {self._called}", hint=_ELSEWHERE)
        if marks & self._lists:
            raise UsageError(f"{said}: this is what the run reads its words from", hint=_ELSEWHERE)
        if path.suffix.lower() in PICTURES.suffixes | SOUNDS.suffixes and not path.is_dir():
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
            found = re.fullmatch(r"(.+)-\d+\.jpg", path.name.casefold(), re.DOTALL)
            if found and found[1] in wanted and os.fspath(path.parent.parent) == inside:
                raise UsageError(
                    f"{option} {folder}: {path.parent.name}/{path.name} in it is one of the {self._called}",
                    hint="save into another folder",
                )


def print_instead(text: str, error: VidctlError) -> None:
    """Print what cannot be written, for it is paid; the error says so."""
    sys.stdout.write(text)
    sys.stdout.flush()
    error.hint = f"{_PRINTED}; {error.hint}" if error.hint else _PRINTED


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
