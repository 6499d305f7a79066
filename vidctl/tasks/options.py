"""Take a task's sources and options as programs write them, and refuse what cannot be one by its name."""

from __future__ import annotations

import difflib
import math
import types
from collections.abc import Iterable, Mapping
from dataclasses import fields
from enum import Enum, EnumMeta
from functools import partial
from typing import Any, TypeVar, Union, get_args, get_origin, get_type_hints

from vidctl.errors import UsageError
from vidctl.media.given import Given, several
from vidctl.media.given import sources as sources_of
from vidctl.media.kinds import MediaKind
from vidctl.media.search import settled
from vidctl.media.sources import Source
from vidctl.text import DURATIONS, duration_s

Options = TypeVar("Options")


def only(source: Given, kind: MediaKind, method: str) -> Source:
    """The one image or audio that is meant; for several there is another method."""
    found = settled(sources_of(source, kind))
    if len(found) != 1:
        raise UsageError(f"{source!s} means {len(found)} {kind.plural}", hint=f"use {method}")
    return found[0]


def expanded(given: Given | Iterable[Given], kind: MediaKind, *, recursive: bool) -> list[Source]:
    """All that is meant: files, folders, globs, URLs and `@lists`."""
    return several(given, partial(sources_of, kind=kind, recursive=recursive))


def made(kind: type[Options], task: str, given: Mapping[str, Any], *, others: Iterable[str] = ()) -> Options:
    """The options of a task by their names; UsageError names the option that was meant, of these or of `others`."""
    check_names(task, given, [each.name for each in fields(kind)], others=others)  # type: ignore[arg-type]
    return kind(**given)


def check_names(task: str, given: Iterable[str], names: Iterable[str], *, others: Iterable[str] = ()) -> None:
    """Raise UsageError for a name that is none of `names`; it says which was meant, of these or of `others`."""
    known = list(names)
    for name in given:
        if name not in known:
            near = difflib.get_close_matches(name, [*known, *others], n=1, cutoff=0.5)
            hint = f"did you mean {near[0]}?" if near else f"available: {', '.join(known)}"
            raise UsageError(f"{task} has no option {name}", hint=hint)


def check_texts(given: Mapping[str, object]) -> None:
    """Raise UsageError for what is given and is not text."""
    for name, value in given.items():
        if value is not None and not isinstance(value, str):
            raise UsageError(f"{name}: {value!r} is not text")


def settle(options: object) -> None:
    """Make each field of a frozen dataclass plain: NumPy's numbers, enums, and lists, sets or generators of things.

    None means a field's default where that is a tuple or a mapping.  Raises UsageError for a value of another type.
    """
    hints = get_type_hints(type(options))
    for each in fields(options):  # type: ignore[arg-type]
        value = _plain(getattr(options, each.name))
        object.__setattr__(options, each.name, _of(hints[each.name], each.name, value))


def _plain(value: Any) -> Any:
    if isinstance(value, Enum):
        return value.value
    if hasattr(value, "dtype") and getattr(value, "shape", None) == ():
        return value.item()
    return value


def _of(hint: Any, name: str, value: Any) -> Any:
    kinds = get_args(hint) if get_origin(hint) in (Union, types.UnionType) else (hint,)
    if value is None and type(None) in kinds:
        return None
    for kind in kinds:
        if get_origin(kind) is tuple:
            return _several(get_args(kind)[0], name, value)
        if get_origin(kind) is not None and issubclass(get_origin(kind), Mapping):
            value = {} if value is None else value
    if not any(_is(value, kind) for kind in kinds):
        raise UsageError(f"{name}: {value!r} is not {_called(kinds)}")
    return value


def _several(kind: Any, name: str, value: Any) -> tuple[Any, ...]:
    if isinstance(value, EnumMeta):
        value = list(value)
    if value is None:
        return ()
    if isinstance(value, (bytes, Mapping)) or not isinstance(value, (str, Iterable)):
        raise UsageError(f"{name}: {value!r} is no list")
    several = (value,) if isinstance(value, str) else tuple(_plain(each) for each in value)
    kinds = get_args(kind) or (kind,)
    for each in several:
        if not any(_is(each, one) for one in kinds):
            raise UsageError(f"{name}: {each!r} is not {_called(kinds)}")
    return several


def _is(value: Any, kind: Any) -> bool:
    if kind in (int, float) and isinstance(value, bool):
        return False
    if kind is float:
        return isinstance(value, (int, float))
    return isinstance(value, get_origin(kind) or kind)


def _called(kinds: Iterable[Any]) -> str:
    words = {
        str: "text", int: "a whole number", float: "a number", bool: "True or False", Mapping: "a mapping",
    }  # fmt: skip
    return " or ".join(words[found] for kind in kinds if (found := get_origin(kind) or kind) in words)


def seconds(name: str, value: object) -> float:
    """A duration as a program gives it: a number of seconds, or text as on the command line; else UsageError."""
    if hasattr(value, "dtype") and getattr(value, "shape", None) == ():
        value = value.item()  # type: ignore[attr-defined]  # NumPy's
    found = duration_s(value) if isinstance(value, str) else value
    if isinstance(found, bool) or not isinstance(found, (int, float)) or not math.isfinite(found):
        raise UsageError(f"{name}: {value!r} is not a duration", hint=DURATIONS)
    return float(found)
