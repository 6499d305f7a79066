"""The images that an image stands on: which ones they are just now, and having them on the engine."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from vidctl.errors import ImageError
from vidctl.images import dockerfile, streams
from vidctl.images.context import PLATFORM
from vidctl.images.engine import Engine, registry_of
from vidctl.images.log import ImageLog
from vidctl.images.source import BuildSource, Login, familiar
from vidctl.progress import Notify, Progress


def digest(base: dockerfile.Base, source: BuildSource, engine: Engine) -> str:
    """The registry's digest of a base, or the image id of one that was made on this engine; raise ImageError.

    Docker too builds on an image that is there under this name without asking a registry.
    """
    name, pinned = _parts(base.reference)
    if pinned:
        return pinned
    local = engine.image(base.reference)
    pulled = _digests(local).get(familiar(name)) if local else None
    if local and not pulled:
        return str(local["Id"])
    answer = engine.ask(base.reference, _login(source, base.reference))
    found = answer.digest or pulled
    if not found:
        reason = answer.words or "not in its registry"
        raise ImageError(
            f"{source.dockerfile_path}:{base.line}: base image {base.reference} not found: {reason}",
            hint=f"check its name with docker pull {base.reference}; for a private image run docker login first",
        )
    return found


def pull(digests: Mapping[str, str], source: BuildSource, engine: Engine, *, notify: Notify, log: ImageLog) -> None:
    """Have the very bases that the tag was made of: the engine would build on an older one that it has."""
    for reference, wanted in digests.items():
        name, pinned = _parts(reference)
        local = engine.image(reference)
        if local and wanted == local["Id"]:  # made on this engine: no registry has it
            continue
        is_it = pinned or (local and wanted == _digests(local).get(familiar(name)))
        # One name and one digest stand for an image of each platform, and the engine has that of whoever pulled it.
        if local and is_it and f"{local.get('Os')}/{local.get('Architecture')}" == PLATFORM:
            continue
        if local and is_it:
            engine.remove(f"{name}@{wanted}")  # which the engine gives to no other image while this one has it
        notify(Progress("build", f"pulling the base image {reference}"))
        lines = engine.pull(name, wanted, _login(source, reference))
        streams.follow_pull(lines, key=source.key, notify=notify, log=log)
        if not pinned:
            engine.tag(f"{name}@{wanted}", reference if reference != name else f"{reference}:latest")


def _login(source: BuildSource, reference: str) -> Login | None:
    """The source's own login, for a base in the same registry."""
    is_same = source.repository is not None and registry_of(source.repository) == registry_of(reference)
    return source.login if is_same else None


def _parts(reference: str) -> tuple[str, str | None]:
    """An image's name without its tag, and its digest if it is pinned to one."""
    name, _, pinned = reference.partition("@")
    folder, slash, last = name.rpartition("/")
    return folder + slash + last.partition(":")[0], pinned or None


def _digests(image: Mapping[str, Any]) -> dict[str, str]:
    """An image's digests by repository."""
    pairs = (each.split("@") for each in image.get("RepoDigests") or [] if "@" in each)
    return {familiar(repository): digest for repository, digest in pairs}
