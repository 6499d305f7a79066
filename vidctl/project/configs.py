"""Which specs, overlays over them, and presets a project has: by the names of files, none of which is read.

`yolo.prod.yaml` beside `yolo.yaml` is the overlay `prod` of the spec `yolo`; alone it is a spec of its own.
"""

from __future__ import annotations

from pathlib import Path

SUFFIXES = (".yaml", ".yml")

_SHIPPED_PRESETS = Path(__file__).parent.parent / "tasks/describe/presets"


def specs(root: Path) -> list[str]:
    """The specs of a project, overlays left out: the names of the files in its configs/, sorted."""
    return [key for key, path in _files(root / "configs").items() if base_of(path) is None]


def overlays(root: Path, name: str) -> list[str]:
    """What lies over a spec of a project, sorted: `prod` for configs/yolo.prod.yaml."""
    path = file_of(root, name)
    return list(overlay_files(path)) if path else []


def keys(root: Path) -> list[str]:
    """All that can be deployed, sorted: the specs of a project alone (`yolo`) and with their overlays (`yolo.prod`)."""
    return list(_files(root / "configs"))


def file_of(root: Path, key: str) -> Path | None:
    """The file of a spec (`yolo`) or of a spec with an overlay (`yolo.prod`)."""
    return _files(root / "configs").get(key)


def files(root: Path) -> list[Path]:
    """The files of all specs and overlays of a project."""
    return list(_files(root / "configs").values())


def preset_files(root: Path) -> dict[str, Path]:
    """The presets, sorted, each with its file: a project's own, in its presets/, take precedence over vidctl's."""
    return dict(sorted({**_files(_SHIPPED_PRESETS), **_files(root / "presets")}.items()))


def key_of(name_or_path: str, overlay: str | None = None) -> str:
    """The key of a spec that is named as a command takes it: `yolo.prod` for configs/yolo.yaml and the overlay."""
    path = Path(name_or_path)
    key = path.stem if path.suffix in SUFFIXES else path.name
    return f"{key}.{overlay}" if overlay else key


def overlay_files(path: Path) -> dict[str, Path]:
    """The overlays of the spec in a file, those over other overlays among them, each with its file."""
    start = f"{path.stem}."
    return {key.removeprefix(start): file for key, file in _files(path.parent).items() if key.startswith(start)}


def layers(path: Path) -> tuple[Path, ...]:
    """The files that make up a spec: the base first, the file itself last."""
    base = base_of(path)
    return (*layers(base), path) if base else (path,)


def is_own(root: Path, path: Path) -> bool:
    """Whether a path lies where only the project's own files do: its state, configs/, presets/, a worker's folder.

    A worker's folder is one below the project's that holds a Dockerfile: another file in it would change its image.
    """
    try:
        top, real = root.resolve(), path.resolve()
    except (OSError, ValueError, RuntimeError):  # a name that no file can have, or links in a circle
        return False
    if not real.is_relative_to(top):
        return False
    inside = real.relative_to(top).parts
    if inside[:1] == (".vidctl",):
        return True
    if inside[:1] in (("configs",), ("presets",)) and _is_file(real):
        return True
    folders = [folder for folder in real.parents if folder != top and folder.is_relative_to(top)]
    return any(_is_file(folder / "Dockerfile") for folder in folders)


def base_of(path: Path) -> Path | None:
    """The file that an overlay lies over: of those beside it, the one with most of its name; None if it is a spec."""
    name = path.stem
    while "." in name:
        name = name.rpartition(".")[0]
        for base in (path.with_name(f"{name}{suffix}") for suffix in SUFFIXES if name):
            if _is_file(base):
                return base
    return None


def _files(folder: Path) -> dict[str, Path]:
    found = sorted(folder.iterdir(), reverse=True) if folder.is_dir() else []  # of two, .yaml goes before .yml
    files = {path.stem: path for path in found if path.suffix in SUFFIXES and not path.name.startswith(".")}
    return dict(sorted(files.items()))


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except (OSError, ValueError):  # a name too long, or one that no file can have
        return False
