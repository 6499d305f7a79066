"""Which of an endpoint's jobs are out: who is next, and how all of them are cancelled."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from concurrent.futures import wait as wait_for
from contextlib import suppress
from threading import Condition

from vidctl.errors import InterruptionError

_CANCELS = 8  # at once


class JobsInFlight:
    """The jobs that were sent and are not known to be over, the oldest first; safe to use in threads.

    `cancel` cancels one of them, and says whether that worked.
    """

    def __init__(self, endpoint_id: str, cancel: Callable[[str], bool]) -> None:
        self._endpoint_id = endpoint_id
        self._cancel = cancel
        self._changed = Condition()  # guards all the rest, and tells of a job that ended and of the stop
        self._is_stopped = False
        self._out: dict[str, None] = {}
        self._cancelled: list[str] = []
        self._left_running: list[str] = []

    def __contains__(self, job_id: str) -> bool:
        return job_id in self._out

    @property
    def is_stopped(self) -> bool:
        return self._is_stopped

    def add(self, job_id: str) -> None:
        with self._changed:
            self._out[job_id] = None

    def remove(self, job_id: str) -> None:
        with self._changed:
            self._out.pop(job_id, None)
            self._changed.notify_all()

    def is_oldest(self, job_id: str) -> bool:
        with self._changed:
            return next(iter(self._out), None) == job_id

    def pause(self, job_id: str, pause_s: float, *, is_next: bool) -> bool:
        """Wait, but not after the job has become the oldest that is out and so likely the next to end; whether it is.

        Raises InterruptionError when all are to stop.
        """
        with self._changed:
            self._changed.wait_for(
                lambda: self._is_stopped or (self.is_oldest(job_id) and not is_next), max(0.0, pause_s)
            )
            if self._is_stopped:
                raise InterruptionError("interrupted", endpoint=self._endpoint_id, job_id=job_id)
            return self.is_oldest(job_id)

    def hold(self, pause_s: float) -> None:
        """Wait before something is sent; raise InterruptionError when all are to stop."""
        with self._changed:
            if self._changed.wait_for(lambda: self._is_stopped, max(0.0, pause_s)):
                raise InterruptionError("interrupted before it was sent", endpoint=self._endpoint_id)

    def cancel_all(self) -> None:
        """Cancel every job that is out, and let the threads that wait for them go."""
        with self._changed:
            self._is_stopped = True
            out = sorted(self._out)
            self._changed.notify_all()
        pool = ThreadPoolExecutor(_CANCELS, thread_name_prefix="vidctl-cancel")
        try:
            wait_for([pool.submit(self._cancel_one, job_id) for job_id in out])
        finally:  # also of a second Ctrl-C, which waits no longer
            pool.shutdown(wait=False, cancel_futures=True)

    def interrupt(self) -> InterruptionError:
        """Cancel what is out; return the error that says so.  Whoever interrupts that too is told what still runs."""
        with suppress(KeyboardInterrupt):
            self.cancel_all()
        with self._changed:
            cancelled, left = sorted(self._cancelled), [*self._left_running, *self._out]
        parts = []
        if cancelled:
            parts.append(f"cancelled {_count(cancelled)}")
        if left:
            parts.append(f"could not cancel {_count(left)}, which may still run")
        ids = left or cancelled
        return InterruptionError(
            f"interrupted; {' and '.join(parts) or 'no job is left running'}",
            hint="vidctl jobs lists them" if left else None,
            endpoint=self._endpoint_id,
            job_id=ids[0] if ids else None,
        )

    def _cancel_one(self, job_id: str) -> None:
        """Cancel a job, which is among those that are out until it is known what became of it."""
        is_cancelled = self._cancel(job_id)
        with self._changed:
            if job_id in self._out:
                del self._out[job_id]
                (self._cancelled if is_cancelled else self._left_running).append(job_id)


def _count(ids: list[str]) -> str:
    return f"{len(ids)} job{'s' * (len(ids) > 1)} ({', '.join(ids[:3])}{', …' * (len(ids) > 3)})"
