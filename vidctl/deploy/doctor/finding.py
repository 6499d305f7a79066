"""One thing that was looked at, and looking at many side by side, none for longer than its deadline."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Literal

from vidctl.errors import VidctlError
from vidctl.side_by_side import side_by_side
from vidctl.text import one_line

DEADLINE_S = 20.0


@dataclass(frozen=True)
class Finding:
    """What was seen, and the command that fixes it."""

    state: Literal["ok", "warn", "fail", "skipped"]
    seen: str
    fix: str | None = None


@dataclass(frozen=True)
class HealthCheck:
    """One check; `look` changes nothing, and may raise VidctlError or OSError for what it found."""

    name: str
    look: Callable[[], Finding]


def examine(checks: Sequence[HealthCheck], *, deadline_s: float = DEADLINE_S) -> list[tuple[str, Finding]]:
    """What each check finds, in their order; one that has not ended by the deadline has failed, and is left behind."""
    late = Finding("fail", f"no answer within {deadline_s:g} s", "check the network and the proxy, then try again")
    found = side_by_side({each.name: partial(_look, each) for each in checks}, deadline_s=deadline_s)
    return [(each.name, _finding(found.get(each.name, late))) for each in checks]


def _look(check: HealthCheck) -> Finding:
    try:
        return check.look()
    except OSError as error:
        return Finding("fail", one_line(f"{error.filename or 'the system'}: {error.strerror or error}"))


def _finding(found: Finding | VidctlError) -> Finding:
    return found if isinstance(found, Finding) else Finding("fail", one_line(found.message), found.hint)
