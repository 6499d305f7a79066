"""What an engine has of vidctl's images: which, how large, and what changed from one to the next."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Protocol

from vidctl.images.provenance import CONTENT, PROJECT, SPEC, is_ours
from vidctl.images.source import familiar


class _LabelledImages(Protocol):
    def labelled(self, label: str) -> list[dict[str, Any]]: ...
    def history(self, image_id: str) -> list[dict[str, Any]]: ...


@dataclass(frozen=True)
class Built:
    """One image of a spec on this engine.

    `project` is of `project_of`, None where the image names none; `repository` its name's, None without a name.
    `digest` is what it was pushed as, None if it was not.  `changed_step` is the first step of the Dockerfile that the
    spec's image before it does not share, `changed_bytes` what it and those after it weigh; None for the first image.
    """

    key: str
    tag: str
    digest: str | None
    created_at: float
    size: int
    changed_step: str | None = None
    changed_bytes: int | None = None
    project: str | None = None
    repository: str | None = None

    def is_of(self, project: str, repositories: Collection[str]) -> bool:
        """Whether a project made it: its label says so, or, without one, it is in one of the project's repositories."""
        if self.project:
            return self.project == project
        return self.repository is not None and familiar(self.repository) in map(familiar, repositories)


@dataclass(frozen=True)
class Pruned:
    """An image that was removed; or why it was kept."""

    image: Built
    kept_because: str | None = None


def built(engine: _LabelledImages, *, only: str | None = None) -> list[Built]:
    """Every image with vidctl's labels, newest first; `only` one spec's if it is named."""
    found = sorted(engine.labelled(f"{SPEC}={only}" if only else SPEC), key=_seconds)
    before: dict[tuple[str, str | None], list[dict[str, Any]]] = {}
    result: list[Built] = []
    for image in found:
        labels = image["Config"]["Labels"]
        key, project = labels[SPEC], labels.get(PROJECT)
        names = [tag for tag in image.get("RepoTags") or [] if tag.endswith(f":{labels.get(CONTENT)}")]
        series = (key, project or _repository(names[0] if names else None))
        steps = engine.history(image["Id"])[::-1]
        step, size = _change(before.get(series), steps)
        before[series] = steps
        facts = (_seconds(image), int(image["Size"]), step, size, project)
        result += [Built(key, name, _digest(image, name), *facts, _repository(name)) for name in names]
        if not names:  # one that was built again has lost its name
            result.append(Built(key, image["Id"], None, *facts))
    return result[::-1]


def outdated(
    images: Sequence[Built], *, keep: int, keys: Collection[str], project: str, repositories: Collection[str]
) -> list[Built]:
    """All but the newest `keep` of each spec of a project; `images` are newest first."""
    seen: dict[str, int] = {}
    result: list[Built] = []
    for image in images:
        if not image.is_of(project, repositories):
            continue
        seen[image.key] = seen.get(image.key, 0) + 1
        if seen[image.key] > keep and (not keys or image.key in keys):
            result.append(image)
    return result


def _repository(name: str | None) -> str | None:
    return name.rpartition(":")[0] if name else None


def _seconds(image: Mapping[str, Any]) -> float:
    """When it was made: RFC 3339 with any number of digits behind the second; 0 where the engine does not say.

    Since API 1.44 Docker leaves out what an image does not know; Podman writes the zone of its machine.
    """
    found = re.fullmatch(r"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)(\.\d+)?(Z|[+-]\d\d:\d\d)", image.get("Created") or "")
    if not found:
        return 0.0
    whole = datetime.fromisoformat(found[1] + ("+00:00" if found[3] == "Z" else found[3]))
    return whole.timestamp() + float(found[2] or 0)


def _change(old: Sequence[Mapping[str, Any]] | None, new: Sequence[Mapping[str, Any]]) -> tuple[str | None, int | None]:
    """The first step that differs: a step from the cache was made in the same second and says the same."""
    if old is None:
        return None, None
    known = [_identity(step) for step in old]
    count = 0
    while count < min(len(known), len(new)) and known[count] == _identity(new[count]):
        count += 1
    changed = [step for step in new[count:] if not is_ours(step["CreatedBy"])]
    if not changed:
        return None, 0
    return _words(changed[0]["CreatedBy"]), sum(step["Size"] for step in changed)


def _identity(step: Mapping[str, Any]) -> tuple[int, str, int]:
    return step["Created"], step["CreatedBy"], step["Size"]


def _words(created_by: str) -> str:
    """A step as the Dockerfile has it; the values of build arguments stand before a RUN's shell and are left out."""
    text = re.sub(r"^(?:\|\d+ .*?)?/bin/sh -c (?:#\(nop\) )?", "", created_by, flags=re.DOTALL)
    is_run = text != created_by and "#(nop)" not in created_by
    text = re.sub(r"\b(?:file|dir|multi):[0-9a-f]{64} in ", "… ", text).replace("# buildkit", "")
    return " ".join(("RUN " + text if is_run else text).split())


def _digest(image: Mapping[str, Any], name: str) -> str | None:
    repository = name.rpartition(":")[0]
    return next((each for each in image.get("RepoDigests") or [] if each.startswith(f"{repository}@")), None)
