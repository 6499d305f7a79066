"""Jobs that workers are to drop: when each stop is sent, and what a worker has acknowledged."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    pass

BEGUN_AFTER_MS = 500  # a worker has surely begun a job that it was given so long ago


@dataclass
class Stop:
    """A job that a worker should drop; a worker that still has it at `kill_at_ms` is killed.

    The SDK (rp_scale.py, stop_job) drops a stop for a job that it has and has not begun, as it does within 0.1 s: one
    that was sent that early is sent once more.  `is_acknowledged`: the worker has asked for stops again since.
    """

    kill_at_ms: int
    given_at_ms: int = 0
    sent_at_ms: int | None = None
    is_resent: bool = False
    is_acknowledged: bool = False

    def due_at_ms(self) -> int | None:
        """When it is to be sent; None when it is not to be sent again."""
        if self.sent_at_ms is None:
            return 0
        was_early = self.sent_at_ms - self.given_at_ms < BEGUN_AFTER_MS
        return self.sent_at_ms + BEGUN_AFTER_MS if was_early and not self.is_resent else None

    def mark_sent(self, now_ms: int) -> None:
        self.is_resent = self.sent_at_ms is not None
        self.sent_at_ms = now_ms
