"""Where things are in a worker's folder, however it is laid out: its Dockerfile, its handler, what it requires."""

from __future__ import annotations

import json
import posixpath
import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from vidctl.docker.dockerfile import Instruction, instructions

DOCKERFILE = Path("Dockerfile")
_NAMES = ("handler.py", "rp_handler.py")
_PLACES = ("", "src", ".runpod")  # .runpod is the Hub's


def dockerfile(folder: Path, named: Path = DOCKERFILE) -> Path:
    """The Dockerfile, from the folder: what is named; else the one at its top, or the Hub's in `.runpod/`."""
    hubs = Path(".runpod", "Dockerfile")
    return hubs if named == DOCKERFILE and not _is_file(folder / named) and _is_file(folder / hubs) else named


def handler(folder: Path, named: Path = DOCKERFILE) -> Path | None:
    """The file that starts RunPod's worker loop, from the folder: what the Dockerfile starts, else where it mostly is.

    None when there is none of a name that tells.
    """
    if started := _started(folder, folder / dockerfile(folder, named)):
        return started
    usual = (Path(place, name) for place in _PLACES for name in _NAMES)
    return next((each for each in usual if _is_file(folder / each)), None)


def requirements(folder: Path) -> Path | None:
    """What this machine would install for the worker."""
    names = ("requirements-cpu.txt", "requirements.txt")
    usual = (folder / place / name for place in ("", "builder", "src", ".runpod") for name in names)
    return next((each for each in usual if _is_file(each)), None)


@dataclass(frozen=True)
class _Copy:
    """What is put where in the image."""

    sources: tuple[str, ...]
    target: str

    def origin(self, folder: Path, place: str) -> Path | None:
        """The file of the folder that lies at this place in the image, if it is from here."""
        is_many = self.target.endswith("/") or len(self.sources) > 1
        for source in self.sources:
            for found in _globbed(folder, source):
                lies = posixpath.normpath(self.target)
                if found.is_dir():
                    inside = posixpath.relpath(place, lies)
                    origin = None if inside.startswith("..") else found / inside
                else:
                    places = {posixpath.join(lies, found.name)} | (set() if is_many else {lies})
                    origin = found if place in places else None
                if origin and _is_file(origin):
                    return origin.relative_to(folder)
        return None


def _started(folder: Path, file: Path) -> Path | None:
    """What a Dockerfile's last ENTRYPOINT and CMD start of the folder."""
    try:
        found = instructions(file.read_text(encoding="utf-8-sig", errors="replace"))
    except OSError:
        return None
    workdir, copies = "/", list[_Copy]()
    command = {"ENTRYPOINT": list[str](), "CMD": list[str]()}
    for each in found:
        if each.keyword == "WORKDIR":
            workdir = posixpath.join(workdir, each.rest)
        elif each.keyword in ("COPY", "ADD") and not any(flag.startswith("--from=") for flag in each.flags):
            *sources, target = _words(each) or [""]
            is_folder = target.endswith(("/", ".")) and sources
            copies.append(_Copy(tuple(sources), posixpath.join(workdir, target) + "/" * bool(is_folder)))
        elif each.keyword in command:
            command[each.keyword] = [part for word in _words(each) for part in word.split()]

    def origin(place: str) -> Path | None:
        whole = posixpath.normpath(posixpath.join(workdir, place))
        parts = PurePosixPath(whole).parts[1:]
        ends = (Path(*parts[start:]) for start in range(len(parts)))
        copied = (each.origin(folder, whole) for each in reversed(copies))
        return next(filter(None, copied), None) or next((each for each in ends if _is_file(folder / each)), None)

    for word in _scripts([*command["ENTRYPOINT"], *command["CMD"]]):
        script = origin(word)
        if script and script.suffix == ".sh":
            text = (folder / script).read_text(encoding="utf-8", errors="replace")
            # The last one: what is run before it prepares.
            script = next(filter(None, map(origin, reversed(_PYTHON.findall(text)))), None)
        if script:
            return script
    return None


_PYTHON = re.compile(r"\bpython[\w.]*\s+(?:-\w+\s+)*([\w./-]+\.py)\b")


def _scripts(words: list[str]) -> Iterator[str]:
    for number, word in enumerate(words):
        if word.endswith((".py", ".sh")):
            yield word
        elif word == "-m" and number + 1 < len(words):
            yield f"{words[number + 1].replace('.', '/')}.py"


def _words(each: Instruction) -> list[str]:
    """An instruction's words, in either of its two forms."""
    try:
        words = json.loads(each.rest)
    except ValueError:
        words = None
    if isinstance(words, list):
        return [str(word) for word in words]
    try:
        return shlex.split(each.rest)
    except ValueError:  # an open quote
        return each.rest.split()


def _globbed(folder: Path, source: str) -> list[Path]:
    clean = posixpath.normpath(source.lstrip("/"))
    if clean == ".":
        return [folder]
    try:
        return [] if clean.startswith("..") else sorted(folder.glob(clean))
    except (ValueError, NotImplementedError):
        return []


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except (OSError, ValueError):
        return False
