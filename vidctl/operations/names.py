"""Which endpoint of a target is meant by a spec's name, an endpoint's name or its id."""

from __future__ import annotations

from collections.abc import Sequence

from vidctl.errors import NotDeployedError, UsageError
from vidctl.operations.live import LiveTarget
from vidctl.project import configs
from vidctl.project.settings import endpoint_id_name
from vidctl.runpod.types import Endpoint


def find_id(word: str, target: LiveTarget, *, overlay: str | None = None) -> str:
    """The endpoint's id; the account is not asked for one that stands in `.env`."""
    known = _known_id(word, target, overlay)
    return known or str(find(word, target.rest.account().endpoints, target, overlay=overlay).id)


def find(word: str, live: Sequence[Endpoint], target: LiveTarget, *, overlay: str | None = None) -> Endpoint:
    """The endpoint among those that are there; raise NotDeployedError, or UsageError where several may be meant."""
    key, known_id = configs.key_of(word, overlay), _known_id(word, target, overlay)
    by_id = [each for each in live if each.id in (known_id or word, word)]
    found = by_id or [each for each in live if word == each.name] or _made_by(key, live)
    if len(found) > 1:
        ids = ", ".join(f"{each.name} ({each.id})" for each in found)
        raise UsageError(f"{word}: several endpoints may be meant: {ids}", hint="name one by its id")
    if not found:
        raise not_found(word, target, known_id)
    return found[0]


def _made_by(key: str, live: Sequence[Endpoint]) -> list[Endpoint]:
    from vidctl.deploy.plan import owner

    return [each for each in live if key == owner(each)]


def not_found(word: str, target: LiveTarget, endpoint_id: str | None = None) -> NotDeployedError:
    """The error for an endpoint that is not there (any more)."""
    what = f"{word} ({endpoint_id})" if endpoint_id and endpoint_id != word else word
    return NotDeployedError(
        f"endpoint {what} not found on {target.name}",
        hint=f"run vidctl list --target {target.name} to see the endpoints",
    )


def _known_id(word: str, target: LiveTarget, overlay: str | None) -> str | None:
    key = configs.key_of(word, overlay)
    return target.project.environ.get(endpoint_id_name(key, target.name)) or None
