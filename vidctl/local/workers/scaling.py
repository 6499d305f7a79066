"""How many workers there should be, how many jobs one gets at once, and how long it may take to start.  Pure."""

from __future__ import annotations

from math import ceil
from typing import TYPE_CHECKING

from vidctl.runpod import limits

if TYPE_CHECKING:
    from collections.abc import Mapping

    from vidctl.local.control_plane.records import EndpointRecord
    from vidctl.local.queue.store import Demand

CRASHES_UNTIL_UNHEALTHY = 3
MAX_BACKOFF_S = 60
MAX_INIT_TIMEOUT_DIGITS = 9


def workers_wanted(endpoint: EndpointRecord, demand: Demand, *, have: int, starting: int) -> int:
    """How many workers an endpoint should have now, if that is more than it has.

    REQUEST_COUNT: one for every `scaler_value` jobs.  QUEUE_DELAY: the first at once, one more each time a job has
    waited longer than `scaler_value` seconds.  Low-priority jobs ask for none.  Unlike RunPod, a queue that waits for a
    worker which is still starting gets no second one: here they would share the same processors.
    """
    if endpoint.scaler_type == "REQUEST_COUNT":
        needed = max(have, ceil((demand.urgent + demand.in_progress) / max(1, endpoint.scaler_value)))
    elif demand.urgent and have == 0:
        needed = 1
    elif demand.urgent and not starting and demand.oldest_wait_ms > endpoint.scaler_value * 1000:
        needed = have + 1
    else:
        needed = have
    return min(endpoint.workers_max, max(endpoint.workers_min, needed))


def jobs_to_give(requested: int, *, busy: int, ended: int, may_wait: bool) -> int:
    """How many of the jobs that a worker asks for it gets at once; 0 is: wait until one of its jobs ends.

    `busy` is how many it runs, `ended` how many have ended since it asked.  The SDK's loop (rp_scale.py, get_jobs)
    sleeps a whole second whenever it finds itself full, and counts a job that it has just got twice.  A worker that is
    never quite full keeps asking, which makes short jobs many times faster.
    """
    if not may_wait:
        return requested
    unnoticed = (requested + ended - 1) // 2
    return min(requested, unnoticed if busy else max(1, unnoticed))


def backoff_s(crashes: int) -> float:
    """How long to wait before the next start after so many workers that came to nothing."""
    return 0.0 if crashes == 0 else min(MAX_BACKOFF_S, 2.0 ** (crashes - 1))


def init_timeout_s(template_env: Mapping[str, str]) -> int:
    """How long a worker may take to ask for its first job: RUNPOD_INIT_TIMEOUT where that is a number of seconds."""
    text = template_env.get("RUNPOD_INIT_TIMEOUT", "")
    return int(text) if text.isdecimal() and len(text) <= MAX_INIT_TIMEOUT_DIGITS else limits.INIT_TIMEOUT_S
