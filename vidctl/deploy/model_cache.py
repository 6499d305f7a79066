"""Decide what RunPod's model cache is to hold for an endpoint: by what the spec asks, what is there, and whose.  Pure.

Only GraphQL can say and change it.  A branch that was asked for is shown as the commit that it was at that time.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from vidctl.runpod.types import Endpoint
from vidctl.spec import EndpointSpec
from vidctl.spec.weights import REVISION, WEIGHTS

FIELD = "endpoint.model_references"
"""Where a document of the journal has it."""

_COMMIT = re.compile("[0-9a-f]{40}")


@dataclass(frozen=True)
class Models:
    """What to save, None for "as it is"; and `requested`, what of it is vidctl's doing, in the spec's words.

    Of REST v2: `unseen` is what the spec asks for and is in there as far as is known, `stuck` what it asks for no more.
    """

    saved: tuple[str, ...] | None = None
    requested: tuple[str, ...] = ()
    unseen: tuple[str, ...] = ()
    stuck: tuple[str, ...] = ()


def requested(document: Mapping[str, str | None] | None) -> tuple[str, ...]:
    """What vidctl asked for, by what the journal says was applied."""
    text = (document or {}).get(FIELD)
    return tuple(text.split(", ")) if text else ()


def is_held(there: tuple[str, ...], wanted: tuple[str, ...]) -> bool:
    """Whether these are the models asked for, and no others."""
    return len(there) == len(wanted) and all(map(_is_of, sorted(there), sorted(wanted)))


def _is_of(there: str, wanted: str) -> bool:
    model, _, commit = there.rpartition(":")
    name, _, branch = wanted.rpartition(":")
    is_resolved = bool(_COMMIT.fullmatch(commit)) and not _COMMIT.fullmatch(branch)
    return there == wanted or (model == name and is_resolved)


def decide(
    spec: EndpointSpec,
    *,
    live: Endpoint | None,
    applied: Mapping[str, str | None] | None,
    plane: Literal["graphql", "rest"],
) -> Models:
    """Compare what the spec asks of the cache with what is in it, and with what was last asked."""
    before = requested(applied)
    if plane == "rest":
        return _over_rest(spec.model_references, before)
    there = live.model_references if live else None
    if spec.weights == "cache":
        is_there = there is not None and is_held(there, spec.model_references)
        is_new = live is not None and _is_new_request(spec, live, before)
        return Models(there if is_there and not is_new else spec.model_references, spec.model_references)
    if spec.weights is not None:
        return Models(())
    return Models(() if live and there and _is_ours(spec, live, before) else there)


def _over_rest(wanted: tuple[str, ...], before: tuple[str, ...]) -> Models:
    """REST v2 has no field for the cache, and a change leaves it as it is."""
    if wanted == before:
        return Models(None, before, unseen=before)
    return Models(wanted, before) if wanted else Models(None, before, stuck=before)


def _is_new_request(spec: EndpointSpec, live: Endpoint, before: tuple[str, ...]) -> bool:
    """Whether another revision is wanted than the one that RunPod shows as a commit."""
    is_other = live.template.env.get(REVISION, "") != spec.env.get(REVISION, "")
    return is_other or before not in ((), spec.model_references)


def _is_ours(spec: EndpointSpec, live: Endpoint, before: tuple[str, ...]) -> bool:
    """Whether vidctl put in there what is there: the journal says so, or the variable that goes with it."""
    is_marked = live.template.env.get(WEIGHTS) == "cache" and WEIGHTS not in (*spec.env, *spec.secrets)
    return is_held(live.model_references or (), before) or is_marked
