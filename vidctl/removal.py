"""Take away what a spec made: its endpoint, or what an interrupted deploy left of one."""

from __future__ import annotations

from dataclasses import dataclass

from vidctl.deploy import Target
from vidctl.errors import ApiError
from vidctl.plan import template_name
from vidctl.progress import Notify, Progress, silent
from vidctl.resources import STAMP, Endpoint, Template
from vidctl.runpod.waiting import settled


@dataclass(frozen=True)
class Possession:
    """What there is of a spec: its endpoint, or the template of one that was never made."""

    key: str
    live: Endpoint | None
    templates: tuple[Template, ...] = ()

    def __str__(self) -> str:
        if self.live is not None:
            return f"endpoint {self.live.name} ({self.live.id})"
        return ", ".join(f"template {each.name} ({each.id})" for each in self.templates)


def leftovers(key: str, endpoint_name: str, target: Target) -> tuple[Template, ...]:
    """The template that a deploy left which ended before it made the endpoint."""
    return tuple(
        each
        for each in target.control.templates()
        if each.name == template_name(endpoint_name) and each.env.get(STAMP) == key
    )


def destroy(thing: Possession, target: Target, *, notify: Notify = silent) -> None:
    """Delete an endpoint, or what an interrupted deploy left of one; return once it is seen to be gone."""
    live = thing.live
    if live is not None:
        notify(Progress("destroy", f"endpoint {live.name} ({live.id})"))
        target.control.delete(live)
        gone = settled(lambda: all(each.id != live.id for each in target.control.account().endpoints), bool)
        if not gone:
            raise ApiError(f"endpoint {live.id} was deleted, and is still there", hint="run it again", endpoint=live.id)
    # REST v2 deletes the template that was made with an endpoint, not the one that GraphQL had given it.
    for template in thing.templates if live is None else leftovers(thing.key, live.name, target):
        notify(Progress("destroy", f"template {template.name}"))
        target.control.delete_template(template)
