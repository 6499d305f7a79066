"""How an endpoint is, asked beside a job that is waited for."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from threading import Thread

from vidctl.errors import VidctlError
from vidctl.runpod.jobs import Health, Job

Waiting = Callable[[Job, Health | None], None]

_HEALTH_S = 0.3  # most often its answer is there by then


class HealthCounts:
    """What `/health` counts, for people to look at: a job is paid, and neither ends nor waits for such an answer."""

    def __init__(self, ask: Callable[[], Health]) -> None:
        self._ask = ask
        self._known = Health({}, {})
        self._asking: Thread | None = None

    def latest(self) -> Health:
        """The counts, as before while nobody answers or may not."""
        if self._asking is None or not self._asking.is_alive():
            self._asking = Thread(target=self._look, name="vidctl-health", daemon=True)
            self._asking.start()
        self._asking.join(_HEALTH_S)
        return self._known

    def _look(self) -> None:
        with suppress(VidctlError):
            self._known = self._ask()


def notifying(waiting: Waiting | None, ask: Callable[[], Health]) -> Callable[[Job], None]:
    """What is done at each look at a job that is not over: `waiting` hears of it, and how the endpoint is."""
    counts = HealthCounts(ask)

    def look(job: Job) -> None:
        if waiting is not None:
            waiting(job, counts.latest() if job.status == "IN_QUEUE" else None)

    return look
