"""Say why an endpoint keeps one waiting, from what can be seen of it.  Pure: no network.

A job that stays IN_QUEUE has opposite causes: no GPU is free, or the worker dies again and again.  Four of five
"capacity" reports were the latter (runpod-mcp PR #62), so what the workers say goes before what the counts suggest.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from vidctl.resources import Fleet, LogLine

Kind = Literal[
    "stopped",
    "no_capacity",
    "throttled",
    "pulling",
    "registry_auth",
    "image_missing",
    "crash_loop",
    "loading",
    "at_max",
    "rolling",
    "starting",
    "working",
]


@dataclass(frozen=True)
class Sight:
    """What is seen of an endpoint on which somebody waits.

    `workers` and `jobs` are the counts of `/health`; `fleet` is None where the workers cannot be listed; `logs` holds
    the newest lines of both sources for each worker's id.  The rest is how the endpoint is set.
    """

    workers: Mapping[str, int]
    jobs: Mapping[str, int]
    workers_max: int
    waited_s: float = 0
    pools: tuple[str, ...] = ()
    data_centers: tuple[str, ...] = ()
    fleet: Fleet | None = None
    logs: Mapping[str, tuple[LogLine, ...]] = field(default_factory=dict)


@dataclass(frozen=True)
class Diagnosis:
    """Why it takes so long: one line for people, what to do about it, and the log lines that show it.

    `is_hopeless`: waiting longer cannot help.
    """

    kind: Kind
    sentence: str
    hint: str = ""
    evidence: tuple[str, ...] = ()
    is_hopeless: bool = False
