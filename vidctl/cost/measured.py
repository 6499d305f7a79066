"""What the journal tells of an endpoint's speed: how long its jobs ran, and how long the first after a pause waited."""

from __future__ import annotations

import re
import statistics
from collections.abc import Sequence
from dataclasses import dataclass

from vidctl.journal import JobEntry

_IMAGES = re.compile(r"detect .* and (\d+) more", re.DOTALL)
_AUDIO = re.compile(r"transcribe .* (\d+)-(\d+) s", re.DOTALL)


@dataclass(frozen=True)
class Measured:
    """Medians in seconds: of `jobs` jobs, of what is counted of the task (see figures.UNITS), and of cold starts.

    None is what no job told: of audio that was sent whole the length is not known.
    """

    jobs: int
    job_s: float
    unit_s: float | None
    cold_start_s: float | None


def measured(entries: Sequence[JobEntry], task: str | None, *, idle_timeout_s: float) -> Measured | None:
    """What these jobs of one endpoint tell; None if none was seen to be COMPLETED.  Smoke tests do not count."""
    done = sorted(
        (each for each in entries if each.status == "COMPLETED" and each.execution_ms is not None),
        key=lambda each: each.submitted_at,
    )
    jobs = [each for each in done if not each.what.startswith("smoke test")]
    if not jobs:
        return None
    units = [(each, units_of(each.what, task)) for each in jobs]
    unit_s = [(each.execution_ms or 0) / 1000 / count for each, count in units if count]
    cold_s = _cold_starts_s(done, idle_timeout_s)
    return Measured(
        jobs=len(jobs),
        job_s=statistics.median((each.execution_ms or 0) / 1000 for each in jobs),
        unit_s=statistics.median(unit_s) if unit_s else None,
        cold_start_s=statistics.median(cold_s) if cold_s else None,
    )


def units_of(what: str, task: str | None) -> float | None:
    """How many units a job was, by its name in the journal, which the task's `run` gave it; None if that is silent."""
    if task == "detect":
        match = _IMAGES.fullmatch(what)
        return 1.0 + int(match[1]) if match else 1.0
    if task == "transcribe":
        match = _AUDIO.fullmatch(what)
        length_s = int(match[2]) - int(match[1]) if match else 0
        return length_s / 60 or None
    return 1.0


def _cold_starts_s(done: Sequence[JobEntry], idle_timeout_s: float) -> list[float]:
    """How long jobs waited that came when every worker had stopped."""
    found: list[float] = []
    busy_until_s = float("-inf")
    for each in done:
        delay_s = (each.delay_ms or 0) / 1000
        if each.submitted_at > busy_until_s + idle_timeout_s and each.delay_ms:
            found.append(delay_s)
        busy_until_s = max(busy_until_s, each.submitted_at + delay_s + (each.execution_ms or 0) / 1000)
    return found
