"""What a command reads: no file that it writes may take the place of one; and how those are named."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Sequence
from pathlib import Path, PurePath
from typing import TYPE_CHECKING

from vidctl.cli import options
from vidctl.errors import UsageError
from vidctl.project import configs

if TYPE_CHECKING:
    from vidctl.media.sources import Source

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
    from vidctl.tasks import names

    called = [source.name for source in sources]
    if not keeps_folders:
        return names.stems(called)
    given = [os.path.abspath(word) for word in words if os.path.isdir(word)]  # noqa: PTH100, PTH112  links stay
    parents = [source.path and os.path.abspath(source.path.parent) for source in sources]  # noqa: PTH100
    roots = [
        next((each for each in given if Path(parent).is_relative_to(each)), parent) for parent in parents if parent
    ]
    common = os.path.commonpath(roots) if roots else ""
    return names.stems(called, [PurePath(os.path.relpath(parent, common) if parent else "") for parent in parents])


def beside(sources: Iterable[Source], *, option: str) -> list[str]:
    """The paths of the sources themselves, to the letter and without their suffixes; UsageError if one is no file."""
    from vidctl.cli.output import check_folder
    from vidctl.tasks import names

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
    return names.unique(paths)


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
