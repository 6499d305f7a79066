"""What a job is."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from vidctl.runpod import limits

Status = Literal["IN_QUEUE", "IN_PROGRESS", "COMPLETED", "FAILED", "CANCELLED", "TIMED_OUT"]

FINAL: frozenset[Status] = frozenset({"COMPLETED", "FAILED", "CANCELLED", "TIMED_OUT"})
RETRYABLE: frozenset[Status] = frozenset({"FAILED", "TIMED_OUT"})


@dataclass(frozen=True)
class JobRecord:
    """One job's state without its payloads; times are milliseconds since 1970.

    `expires_at_ms` is when it is forgotten: TTL after submission while it is open, its retention after it ended.
    `execution_timeout_ms` is the caller's policy; None means the endpoint's.  `retries` counts dispatches that were
    lost with their worker.
    """

    id: str
    endpoint_id: str
    queued_at_ms: int
    expires_at_ms: int
    status: Status = "IN_QUEUE"
    ttl_ms: int = limits.DEFAULT_TTL_MS
    retention_ms: int = limits.RUN_RETENTION_MS
    execution_timeout_ms: int | None = None
    started_at_ms: int | None = None
    deadline_at_ms: int | None = None
    finished_at_ms: int | None = None
    worker_id: str | None = None
    retries: int = 0
    low_priority: bool = False
    webhook: str | None = None
    webhook_tries: int = 0
    webhook_due_at_ms: int | None = None

    @property
    def is_final(self) -> bool:
        return self.status in FINAL

    @property
    def needs_input(self) -> bool:
        """Whether a worker, a retry or the webhook will yet ask for what was handed in."""
        return not self.is_final or self.status in RETRYABLE or self.webhook_due_at_ms is not None

    @property
    def is_sync(self) -> bool:
        return self.id.startswith("sync-")

    @property
    def delay_ms(self) -> int | None:
        """How long the last attempt waited in the queue."""
        return None if self.started_at_ms is None else max(0, self.started_at_ms - self.queued_at_ms)

    @property
    def execution_ms(self) -> int | None:
        """How long the last attempt ran."""
        if self.started_at_ms is None or self.finished_at_ms is None:
            return None
        return max(0, self.finished_at_ms - self.started_at_ms)


def is_expired(job: JobRecord, now_ms: int) -> bool:
    """RunPod has forgotten it: /status answers 404."""
    return now_ms >= job.expires_at_ms
