"""Find specs and read them, each alone or with an overlay; and find the place where one says something."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from pathlib import Path

from vidctl.errors import SpecError
from vidctl.project import configs
from vidctl.spec.document import follow
from vidctl.spec.fields import SpecFiles
from vidctl.spec.files import SpecText, read_files, shown
from vidctl.spec.lint import lint
from vidctl.spec.model import EndpointSpec
from vidctl.spec.problem import SpecProblem
from vidctl.spec.validate import Validated, problem_at, validate


def load(path: Path, *, environ: Mapping[str, str]) -> EndpointSpec:
    """Read a spec, its variables filled in from `environ`; an overlay's file is read over its base.

    Raises SpecError with every mistake.
    """
    checked = _read(path, environ)
    if checked.value is None or checked.problems:
        raise SpecError("\n".join(map(str, checked.problems)))
    return checked.value


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


def check(path: Path, *, environ: Mapping[str, str]) -> list[SpecProblem]:
    """List what is wrong in a spec, in the order of its files and lines; raises nothing."""
    return _read(path, environ).problems


def warnings(path: Path, *, environ: Mapping[str, str]) -> list[SpecProblem]:
    """List what in a good spec cannot hold, in the order of its files and lines; of one with mistakes nothing."""
    text, checked = _opened(path, environ)
    if checked.value is None or checked.problems:
        return []
    found = [problem_at(text, each.field, each.message, each.hint) for each in lint(checked.value)]
    layers = {shown(file): layer for layer, file in enumerate(text.files)}
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
        raise SpecError(f"overlay {overlay!r} of {path.stem} not found", hint=hint)
    return known[overlay]


def locate(spec: EndpointSpec, field: tuple[str | int, ...]) -> str | None:
    """Say where a spec's files say something, `configs/yolo.yaml:12:3`: the field, else the nearest part around it.

    The files are read again.  None if they say nothing of the kind, or cannot be read any more.
    """
    text = read_files(spec.files, {})
    if not text.document.places:
        return None
    location, place = follow(field, text.document)
    if spec.is_local:
        local, local_place = follow(("local", *field), text.document)
        location, place = (local, local_place) if len(local) > len(location) else (location, place)
    mark = place.key or place.value
    return f"{shown(text.files[mark.layer])}:{mark.line}:{mark.column}" if location else None


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


def _read(path: Path, environ: Mapping[str, str]) -> Validated[EndpointSpec]:
    return _opened(path, environ)[1]


def _opened(path: Path, environ: Mapping[str, str]) -> tuple[SpecText, Validated[EndpointSpec]]:
    text = read_files(configs.layers(path), environ)
    return text, validate(text, EndpointSpec, _context(text.files) if text.document.places else None)


def _context(files: tuple[Path, ...]) -> SpecFiles:
    resolved = tuple(file.resolve() for file in files)
    folder = resolved[-1].parent
    return SpecFiles(resolved, folder.parent if folder.name == "configs" else folder)
