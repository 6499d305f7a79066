"""What each release of an endpoint changed, without what nobody else may read.  Pure."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from vidctl.runpod.types import Release, ReleaseChange
from vidctl.text import HIDDEN, is_secret_name, is_secret_value, without_secrets


def changes(release: Release) -> list[dict[str, Any]]:
    """Its changes as --json prints them; an environment is told variable by variable."""
    return [shown for change in release.changes for shown in _shown(change)]


def line(change: dict[str, Any]) -> str:
    """`workersMax: 3 → 1`."""
    return f"{change['field']}: {_text(change['old'])} → {_text(change['new'])}"


def _shown(change: ReleaseChange) -> Iterator[dict[str, Any]]:
    if change.name.rpartition(".")[2] != "env":
        yield {"field": change.name, "old": _plain(change.name, change.old), "new": _plain(change.name, change.new)}
        return
    old, new = _variables(change.old), _variables(change.new)
    for name in sorted(old.keys() | new.keys()):
        if old.get(name) != new.get(name):
            values = {key: _plain(name, values.get(name)) for key, values in (("old", old), ("new", new))}
            yield {"field": f"{change.name}.{name}", **values}


def _variables(value: Any) -> dict[str, Any]:
    """An environment as REST v2 writes it, an object, or as GraphQL does, a list of pairs."""
    if isinstance(value, dict):
        return value
    pairs = value if isinstance(value, list) else []
    return {str(each.get("key")): each.get("value") for each in pairs if isinstance(each, dict)}


def _plain(name: str, value: Any) -> Any:
    if value is None or isinstance(value, (bool, int, float)):
        return value
    if is_secret_name(name) or is_secret_value(_text(value)):
        return HIDDEN
    return without_secrets(value) if isinstance(value, str) and not value.startswith("file:") else value


def _text(value: Any) -> str:
    if value is None:
        return "(none)"
    return value or "(empty)" if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
