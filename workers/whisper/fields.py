# Copied from workers/_shared/fields.py by `make sync-workers`: edit it there.
"""Check a field of a job's input: what is wrong with one is a sentence that begins with its name."""

from __future__ import annotations

from typing import Any

from badinput import BadInputError


def flag(name: str, value: Any) -> bool:
    if not isinstance(value, bool):
        raise BadInputError(f"{name} must be true or false, not {kind(value)}")
    return value


def text(name: str, value: Any) -> str:
    if not isinstance(value, str):
        raise BadInputError(f"{name} must be a text, not {kind(value)}")
    return value


def whole(name: str, value: Any, low: int, high: int) -> int:
    if isinstance(value, bool) or not isinstance(value, int):
        found = shown(value) if isinstance(value, float) else kind(value)
        raise BadInputError(f"{name} must be a whole number, not {found}")
    if not low <= value <= high:
        raise BadInputError(f"{name} must be from {low} to {high}, not {shown(value)}")
    return value


def number(name: str, value: Any, low: float, high: float) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise BadInputError(f"{name} must be a number from {low:g} to {high:g}, not {kind(value)}")
    if not low <= value <= high:  # false of NaN too
        raise BadInputError(f"{name} must be from {low:g} to {high:g}, not {shown(value)}")
    return float(value)


def kind(value: Any) -> str:
    """What a value of JSON is, in words."""
    kinds = {type(None): "null", bool: "a boolean", str: "a text", list: "a list", dict: "an object"}
    return kinds.get(type(value), "a number")


def shown(value: Any) -> str:
    """The value itself, or how it begins."""
    written = f"{value!r}"
    return written if len(written) <= 40 else f"{written[:39]}…"
