"""What `vidctl init` gives a new project: specs, their workers' folders, samples, and what keeps secrets out of Git."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Literal

from vidctl import files
from vidctl.errors import UsageError, VidctlError

WORKERS = ("yolo", "whisper", "qwen-vl")
SAMPLES = ("sample.jpg", "clip.mp4", "speech.wav")

_PACKAGE = Path(__file__).parent.parent
_SCHEMAS = ("spec.schema.json", "overlay.schema.json")
# What a worker's folder in a checkout has that is not the worker's: weights, and what Python leaves behind.
_NOT_COPIED = re.compile(r"(^|/)(__pycache__|\.\w+_cache)/|^weights/(?!README\.md$|\.gitignore$)")
_NAME = re.compile(r"[a-z0-9][a-z0-9-]{1,61}[a-z0-9]")


@dataclass(frozen=True)
class StarterFile:
    """A file of a new project, `path` from the project's folder."""

    path: PurePosixPath
    data: bytes


@dataclass(frozen=True)
class FileOutcome:
    """What became of a file: `kept` is one that was there already, with another content."""

    path: PurePosixPath
    state: Literal["created", "unchanged", "kept"]


def starter_files(workers: Sequence[str], plain: Sequence[str] = ()) -> list[StarterFile]:
    """Return the files of a project with these shipped workers, and a minimal worker for each name in `plain`.

    Raises UsageError for a worker that is not shipped, and for a name that no spec, folder and image can have.
    """
    for name in workers:
        if name not in WORKERS:
            raise UsageError(
                f"{name}: not a worker that vidctl ships; available: {', '.join(WORKERS)}",
                hint=f"vidctl init --plain {name} creates a minimal worker of your own",
            )
    for name in plain:
        if name in WORKERS or not _NAME.fullmatch(name):
            raise UsageError(
                f"--plain {name}: invalid name: expected 3 to 63 lower-case letters, digits and dashes, "
                "and none of vidctl's own workers'"
            )
    found = [each for name in dict.fromkeys(workers) for each in _shipped(name)]
    found += [each for name in dict.fromkeys(plain) for each in _plain(name)]
    found += [_file(f"configs/{name}", _data("configs") / name) for name in _SCHEMAS]
    if workers:
        found += [_file(name, _data("samples") / name) for name in SAMPLES]
        found.append(_file("SAMPLES.md", _data("samples") / "README.md"))
    found.append(_file(".env.example", _PACKAGE / "data" / "env.example"))
    found.append(_file(".gitignore", _PACKAGE / "data" / "gitignore"))
    return found


def create(root: Path, wanted: Sequence[StarterFile]) -> list[FileOutcome]:
    """Write what is not there, and leave what is; raise VidctlError, before anything is written, where it cannot be."""
    outcomes = [FileOutcome(each.path, _state(root / each.path, each.data)) for each in wanted]
    new = [each for each, outcome in zip(wanted, outcomes, strict=True) if outcome.state == "created"]
    for folder in dict.fromkeys((root / each.path).parent for each in new):
        files.check(folder, is_folder=True)
    for each in new:
        files.write(root / each.path, each.data)
    return outcomes


def _state(path: Path, data: bytes) -> Literal["created", "unchanged", "kept"]:
    try:
        return "unchanged" if path.read_bytes() == data else "kept"
    except FileNotFoundError:
        if path.is_symlink():  # to nothing: writing would make a file elsewhere
            return "kept"
        return "created"
    except IsADirectoryError:
        return "kept"
    except OSError as error:
        raise VidctlError(f"{path}: cannot be read ({error.strerror or error})") from error


def _data(name: str) -> Path:
    """A folder that travels with the package, or the checkout's own."""
    packaged = _PACKAGE / "data" / name
    return packaged if packaged.is_dir() else _PACKAGE.parent / name


def _file(path: str, source: Path) -> StarterFile:
    return StarterFile(PurePosixPath(path), source.read_bytes())


def _shipped(name: str) -> Iterator[StarterFile]:
    yield _file(f"configs/{name}.yaml", _data("configs") / f"{name}.yaml")
    folder = _data("workers") / name
    for source in sorted(folder.rglob("*")):
        inside = source.relative_to(folder).as_posix()
        if source.is_file() and not _NOT_COPIED.search(inside):
            yield _file(f"workers/{name}/{inside}", source)


def _plain(name: str) -> Iterator[StarterFile]:
    folder = _PACKAGE / "data" / "plain"
    for file in ("handler.py", "Dockerfile", "requirements.txt", "test_input.json"):
        yield _file(f"workers/{name}/{file}", folder / file)
    spec = (folder / "spec.yaml").read_text(encoding="utf-8").replace("NAME", name)
    yield StarterFile(PurePosixPath(f"configs/{name}.yaml"), spec.encode())
