"""Lay one document over another: mappings key by key, all else as a whole; `null` removes what lies below."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

from vidctl.spec.document import Document, Location
from vidctl.spec.problem import Mark

# One rule of scaling excludes the other; and what an answer must contain is one value, whatever it is made of.
WHOLE = frozenset({("scaling",), ("local", "scaling"), ("smoke", "contains")})


def lifted(document: Document, layer: int) -> Document:
    """Give a document with its places and mistakes in a layer."""

    def mark(mark: Mark) -> Mark:
        return replace(mark, layer=layer)

    places = {
        at: replace(place, value=mark(place.value), key=place.key and mark(place.key))
        for at, place in document.places.items()
    }
    return Document(
        document.value, places, [replace(problem, mark=mark(problem.mark)) for problem in document.problems]
    )


def lay(over: Document, under: Document, *, suffix: str) -> Document:
    """Give two documents, both mappings, as one.  Unless `over` has a name, the name below gets the suffix."""
    laying = _Laying(over)
    value = laying.merged(over.value, under.value, ())
    if "name" not in over.value and isinstance(value.get("name"), str):
        value["name"] += suffix
    places = {at: place for at, place in under.places.items() if not laying.is_gone(at)} | over.places
    for at in laying.removals:  # stays a place, for what is missing then, but lacks no value
        places[at] = replace(places[at], is_empty=False)
    places[()] = under.places[()]
    return Document(value, places, [*under.problems, *over.problems])


@dataclass
class _Laying:
    over: Document
    gone: set[Location] = field(default_factory=set)
    """What is replaced or removed, with all that is in it."""
    removals: set[Location] = field(default_factory=set)

    def merged(self, over: Any, under: Any, at: Location) -> Any:
        if not (isinstance(over, dict) and isinstance(under, dict)) or at in WHOLE:
            self.gone.add(at)
            return over
        merged = dict(under)
        for name, value in over.items():
            here = (*at, name)
            if name in under and self._removes(here):
                self.gone.add(here)
                self.removals.add(here)
                del merged[name]
            else:
                merged[name] = self.merged(value, under[name], here) if name in under else value
        return merged

    def _removes(self, at: Location) -> bool:
        place = self.over.places[at]
        return place.is_empty and place.text == "null"

    def is_gone(self, at: Location) -> bool:
        return any(at[:length] in self.gone for length in range(1, len(at) + 1))
