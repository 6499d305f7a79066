"""How long, and when, as people write it: `90`, `90s`, `5m`, `1h30m`, `1:30`; in seconds."""

from __future__ import annotations

import math
import re

from vidctl.errors import UsageError

EXAMPLES = "write 90, 90s, 5m or 1:30"

_NUMBER = r"(\d{1,15}(?:\.\d{1,9})?)"
_UNITS = re.compile("".join(rf"(?:{_NUMBER} ?{unit} ?)?" for unit in "dhms"), re.ASCII)
_CLOCK = re.compile(rf"(?:(?:(\d{{1,9}}):)?(\d{{1,9}}):)?{_NUMBER}", re.ASCII)


def parsed(text: str) -> float | None:
    """The seconds that a text means, None if it is none: of a clock, with units, or alone."""
    text = text.strip()
    if found := _CLOCK.fullmatch(text):
        hours, minutes, seconds = (float(part or 0) for part in found.groups())
        is_time = not (found[2] and seconds >= 60) and not (found[1] and minutes >= 60)
        return hours * 3600 + minutes * 60 + seconds if is_time else None
    if text and (found := _UNITS.fullmatch(text)):
        days, hours, minutes, seconds = (float(part or 0) for part in found.groups())
        return ((days * 24 + hours) * 60 + minutes) * 60 + seconds
    return None


def seconds(name: str, value: object) -> float:
    """The same of what a program gives, where a number is one of seconds; UsageError if it is none."""
    if hasattr(value, "dtype") and getattr(value, "shape", None) == ():
        value = value.item()  # type: ignore[attr-defined]  # NumPy's
    found = parsed(value) if isinstance(value, str) else value
    if isinstance(found, bool) or not isinstance(found, (int, float)) or not math.isfinite(found):
        raise UsageError(f"{name}: {value!r} is not a duration", hint=EXAMPLES)
    return float(found)
