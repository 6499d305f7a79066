"""A limit on what jobs may cost: no job is sent that could go over it, as far as the jobs before tell."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from threading import Lock
from typing import Protocol, TypeVar

from vidctl.errors import CostLimitError, VidctlError
from vidctl.runpod.jobs import Job
from vidctl.text import dollars

_LOOK_S = 0.05  # how often a job that has to wait for others looks whether it may be sent

Thing = TypeVar("Thing")


class _Answer(Protocol):
    @property
    def error(self) -> VidctlError | None: ...


Answered = TypeVar("Answered", bound=_Answer)


@dataclass
class _JobOut:
    """A job that is out: since when it is seen to run."""

    running_since_s: float | None = None


class SpendingLimit:
    """At most `most_usd` US dollars for the execution time of jobs, at `price_per_s`; safe to use in threads.

    Each job that is out is reckoned with what the longest before it took, or with its own time where that is more
    already.  What one takes is not known before the first has ended, so that goes alone.  RunPod's start and idle time
    of workers is not in it.
    """

    def __init__(self, most_usd: float = math.inf, price_per_s: float = 0.0) -> None:
        self._most_usd = most_usd
        self._price_per_s = price_per_s
        self._lock = Lock()  # guards all that follows
        self._spent_s = 0.0
        self._longest_s: float | None = None
        self._waiting = 0  # to be sent, with their share reserved
        self._out: dict[str, _JobOut] = {}
        self._ended = 0
        self.has_stopped = False
        """Whether something was not sent, or was cancelled in the queue, for the sake of the limit."""

    @property
    def spent_usd(self) -> float:
        with self._lock:
            return self._spent_s * self._price_per_s

    def error(self) -> CostLimitError:
        """What was spent, and why no more."""
        jobs = f"{self._ended} job{'s' * (self._ended != 1)}"
        return CostLimitError(
            f"stopped at the limit of {dollars(self._most_usd)}: spent {dollars(self.spent_usd)} for {jobs}",
            hint="that is execution time at the dearest of its GPUs; starting and idling workers are billed besides",
        )

    def admit(self, hold: Callable[[float], None]) -> None:
        """Wait until one more job may be sent, with `hold`, which may raise; raise CostLimitError if none may be.

        Then comes `sent`, or `unsent`.
        """
        while not self._may_send():
            hold(_LOOK_S)

    def sent(self, job_id: str) -> None:
        with self._lock:
            self._waiting -= 1
            self._out[job_id] = _JobOut()

    def unsent(self) -> None:
        """What was admitted could not be sent."""
        with self._lock:
            self._waiting -= 1

    def seen(self, job: Job) -> bool:
        """Look at a job that is not over; whether to cancel it: it is only queued, and the limit is reached."""
        with self._lock:
            sent = self._out.get(job.id)
            if sent is None:
                return False
            if job.status == "IN_QUEUE":
                is_over = self._committed_s(reserves=False) * self._price_per_s >= self._most_usd
                self.has_stopped = self.has_stopped or is_over
                return is_over
            sent.running_since_s = sent.running_since_s or time.monotonic()
            return False

    def ended(self, job_id: str, execution_ms: int | None) -> None:
        """It is over; without a time that RunPod counted it is what was seen of it.  Of another job nothing happens."""
        with self._lock:
            sent = self._out.pop(job_id, None)
            if sent is None:
                return
            took_s = _running_s(sent) if execution_ms is None else execution_ms / 1000
            if not took_s and execution_ms is None:
                return  # it never ran
            self._ended += 1
            self._spent_s += took_s
            self._longest_s = max(took_s, self._longest_s or 0.0)

    def until_reached(self, things: Iterable[Thing]) -> Iterator[Thing]:
        """The things, as long as more may be sent."""
        for thing in things:
            if self.has_stopped:
                return
            yield thing

    def delivered(self, answers: Iterable[Answered]) -> Iterator[Answered]:
        """The answers, without the last ones if those were not sent for the sake of the limit; then raise its error."""
        unsent: list[Answered] = []
        for answer in answers:
            unsent.append(answer)
            if not isinstance(answer.error, CostLimitError):
                yield from unsent
                unsent = []
        if self.has_stopped:
            raise self.error()

    def _may_send(self) -> bool:
        with self._lock:
            if self.has_stopped:
                may = False
            elif math.isinf(self._most_usd):
                may = True
            elif self._out or self._waiting:
                if self._longest_s is None or self._would_exceed():
                    return False  # the end of one that is out may tell more
                may = True
            else:
                may = not self._would_exceed()
            self.has_stopped = not may
            self._waiting += may
        if not may:
            raise self.error()
        return True

    def _would_exceed(self) -> bool:
        """Whether one more could cost more than is left."""
        least_s = self._committed_s() + (self._longest_s or 0.0)
        return least_s * self._price_per_s > self._most_usd or (
            self._price_per_s > 0 and self._spent_s * self._price_per_s >= self._most_usd
        )

    def _committed_s(self, *, reserves: bool = True) -> float:
        share_s = (self._longest_s or 0.0) if reserves else 0.0
        return (
            self._spent_s + self._waiting * share_s + sum(max(share_s, _running_s(each)) for each in self._out.values())
        )


def _running_s(sent: _JobOut) -> float:
    return 0.0 if sent.running_since_s is None else time.monotonic() - sent.running_since_s
