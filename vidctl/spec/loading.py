"""Find specs and read them, each alone or with an overlay; and find the place where one says something."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from pathlib import Path

from vidctl.errors import SpecError
from vidctl.project import configs
from vidctl.spec.fit import doubts
from vidctl.spec.mistake import Mistake
from vidctl.spec.model import Context, EndpointSpec
from vidctl.spec.reading import Reading, Sheets, follow, marked, open_sheets, read, shown


def load(path: Path, *, environ: Mapping[str, str]) -> EndpointSpec:
    """Read a spec, its variables filled in from `environ`; an overlay's file is read over its base.

    Raises SpecError with every mistake.
    """
    reading = _read(path, environ)
    if reading.value is None or reading.mistakes:
        raise SpecError("\n".join(map(str, reading.mistakes)))
    return reading.value


def load_all(
    names: Iterable[str], *, root: Path, environ: Mapping[str, str], overlay: str | None = None
) -> list[EndpointSpec]:
    """Find and read specs, each once.  Raises SpecError with everything that is wrong in any of them."""
    specs: dict[str, EndpointSpec] = {}
    errors: list[SpecError] = []
    for name in names:
        try:
            spec = load(find(name, root=root, overlay=overlay), environ=environ)
            specs[spec.key] = spec
        except SpecError as error:  # noqa: PERF203  the others' mistakes are reported too
            errors.append(error)
    if len(errors) > 1:
        raise SpecError("\n".join(f"{each.message}; {each.hint}" if each.hint else each.message for each in errors))
    if errors:
        raise errors[0]
    return list(specs.values())


def check(path: Path, *, environ: Mapping[str, str]) -> list[Mistake]:
    """List what is wrong in a spec, in the order of its files and lines; raises nothing."""
    return _read(path, environ).mistakes


def warnings(path: Path, *, environ: Mapping[str, str]) -> list[Mistake]:
    """List what in a good spec cannot hold, in the order of its files and lines; of one with mistakes nothing."""
    sheets, reading = _opened(path, environ)
    if reading.value is None or reading.mistakes:
        return []
    found = [marked(sheets, each.field, each.message, each.hint) for each in doubts(reading.value)]
    layers = {shown(file): layer for layer, file in enumerate(sheets.files)}
    return sorted(found, key=lambda each: (layers[each.path], each.line, each.column))


def names(root: Path) -> list[str]:
    """The specs of a project, overlays left out, sorted."""
    return configs.specs(root)


def overlays(root: Path, name: str) -> list[str]:
    """The overlays of a spec, sorted: `prod` for configs/yolo.prod.yaml."""
    return configs.overlays(root, name)


def find(name_or_path: str, *, root: Path, overlay: str | None = None) -> Path:
    """Find a spec by name (`yolo`: configs/yolo.yaml of the project) or by path, or an overlay's file over it.

    `yolo.prod` is `yolo` with the overlay `prod`.  Raises SpecError.
    """
    path = configs.file_of(root, name_or_path) or _by_path(name_or_path)
    if path is None:
        raise SpecError(f"spec {name_or_path!r} not found", hint=_nearest(name_or_path, root))
    if overlay is None:
        return path
    known = configs.overlay_files(path)
    if overlay not in known:
        hint = f"available: {', '.join(known)}" if known else f"create {shown(path.with_suffix(''))}.{overlay}.yaml"
        raise SpecError(f"{path.stem} has no overlay {overlay!r}", hint=hint)
    return known[overlay]


def locate(spec: EndpointSpec, field: tuple[str | int, ...]) -> str | None:
    """Say where a spec's files say something, `configs/yolo.yaml:12:3`: the field, else the nearest part around it.

    The files are read again.  None if they say nothing of the kind, or cannot be read any more.
    """
    sheets = open_sheets(spec.files, {})
    if not sheets.document.places:
        return None
    location, place = follow(field, sheets.document)
    if spec.is_local:
        local, local_place = follow(("local", *field), sheets.document)
        location, place = (local, local_place) if len(local) > len(location) else (location, place)
    mark = place.key or place.value
    return f"{shown(sheets.files[mark.layer])}:{mark.line}:{mark.column}" if location else None


def _by_path(word: str) -> Path | None:
    path = Path(word)
    return path if path.suffix in configs.SUFFIXES and "\0" not in word and path.is_file() else None


def _nearest(name: str, root: Path) -> str:
    known = [key for spec in names(root) for key in (spec, *(f"{spec}.{each}" for each in overlays(root, spec)))]
    if near := difflib.get_close_matches(configs.key_of(name), known, n=1):
        return f"did you mean {near[0]}?"
    return (
        f"available: {', '.join(names(root))}"
        if known
        else f"{root / 'configs'} has no specs: create configs/NAME.yaml"
    )


def _read(path: Path, environ: Mapping[str, str]) -> Reading[EndpointSpec]:
    return _opened(path, environ)[1]


def _opened(path: Path, environ: Mapping[str, str]) -> tuple[Sheets, Reading[EndpointSpec]]:
    sheets = open_sheets(configs.layers(path), environ)
    return sheets, read(sheets, EndpointSpec, _context(sheets.files) if sheets.document.places else None)


def _context(files: tuple[Path, ...]) -> Context:
    resolved = tuple(file.resolve() for file in files)
    folder = resolved[-1].parent
    return Context(resolved, folder.parent if folder.name == "configs" else folder)
