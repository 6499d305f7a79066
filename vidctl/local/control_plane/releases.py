"""Say what changed between two versions of an endpoint.  Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeAlias

from vidctl.local.control_plane.records import ENDPOINT_FIELDS, TEMPLATE_FIELDS
from vidctl.text import HIDDEN, is_secret_name

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from vidctl.local.control_plane.records import EndpointRecord, TemplateRecord

Change: TypeAlias = tuple[str, Any, Any]

_OF_NO_WORKER = ("name", "readme", "isServerless", "isPublic", "startSsh")


def changes(
    before: EndpointRecord, after: EndpointRecord, had: TemplateRecord | None, has: TemplateRecord | None
) -> tuple[Change, ...]:
    """What differs, as (field, old, new): an endpoint's field under GraphQL's name, a template's as `template.NAME`.

    Values of environment variables that look like secrets are hidden.
    """
    pairs = {field: (getattr(before, ours), getattr(after, ours)) for field, ours in ENDPOINT_FIELDS.items()}
    if had is not None and has is not None:
        pairs |= dict(_template_pairs(had, has))
    return tuple((field, old, new) for field, (old, new) in pairs.items() if old != new)


def _template_pairs(had: TemplateRecord, has: TemplateRecord) -> Iterator[tuple[str, tuple[Any, Any]]]:
    for field, ours in TEMPLATE_FIELDS.items():
        if field not in _OF_NO_WORKER:
            yield f"template.{field}", (getattr(had, ours), getattr(has, ours))
    if had.env != has.env:
        yield "template.env", (_changed(had.env, has.env), _changed(has.env, had.env))


def _changed(env: Mapping[str, str], other: Mapping[str, str]) -> dict[str, str]:
    """The variables that the other environment has not or has with another value."""
    return {name: HIDDEN if is_secret_name(name) else value for name, value in env.items() if other.get(name) != value}
