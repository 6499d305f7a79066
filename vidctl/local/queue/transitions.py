"""How a job may change.  Pure: each takes a frozen job and the time, and gives the next job, which the store writes."""

from __future__ import annotations

from dataclasses import replace

from vidctl.errors import LocalRuntimeError
from vidctl.local.queue.job import RETRYABLE, JobRecord, Status
from vidctl.runpod import limits

MAX_DISPATCHES = 2


class WrongStateError(LocalRuntimeError):
    """A job cannot change like this from where it is; the message says from where to where."""


def submitted(
    job_id: str,
    endpoint_id: str,
    now_ms: int,
    *,
    ttl_ms: int = limits.DEFAULT_TTL_MS,
    execution_timeout_ms: int | None = None,
    low_priority: bool = False,
    webhook: str | None = None,
    wait_ms: int = 0,
) -> JobRecord:
    """A job as it enters the queue; `wait_ms` is how long a /runsync caller waits, which lengthens retention."""
    retention_ms = limits.RUN_RETENTION_MS
    if job_id.startswith("sync-"):
        least, most = limits.RUNSYNC_RETENTION_MS
        retention_ms = min(max(least, wait_ms), most)
    return JobRecord(
        id=job_id,
        endpoint_id=endpoint_id,
        queued_at_ms=now_ms,
        expires_at_ms=now_ms + ttl_ms,
        ttl_ms=ttl_ms,
        retention_ms=retention_ms,
        execution_timeout_ms=execution_timeout_ms,
        low_priority=low_priority,
        webhook=webhook,
    )


def taken(job: JobRecord, now_ms: int, *, worker_id: str, execution_timeout_ms: int) -> JobRecord:
    """A worker has it; `execution_timeout_ms` is the endpoint's, 0 means none, and the job's own policy wins."""
    _require(job, {"IN_QUEUE"}, "IN_PROGRESS")
    limit_ms = execution_timeout_ms if job.execution_timeout_ms is None else job.execution_timeout_ms
    return replace(
        job,
        status="IN_PROGRESS",
        started_at_ms=now_ms,
        deadline_at_ms=now_ms + limit_ms if limit_ms else None,
        worker_id=worker_id,
    )


def finished(job: JobRecord, now_ms: int) -> JobRecord:
    _require(job, {"IN_PROGRESS"}, "COMPLETED")
    return _ended(job, "COMPLETED", now_ms)


def failed(job: JobRecord, now_ms: int) -> JobRecord:
    _require(job, {"IN_PROGRESS"}, "FAILED")
    return _ended(job, "FAILED", now_ms)


def timed_out(job: JobRecord, now_ms: int) -> JobRecord:
    _require(job, {"IN_PROGRESS"}, "TIMED_OUT")
    return _ended(job, "TIMED_OUT", now_ms)


def cancelled(job: JobRecord, now_ms: int) -> JobRecord:
    _require(job, {"IN_QUEUE", "IN_PROGRESS"}, "CANCELLED")
    return _ended(job, "CANCELLED", now_ms)


def lost(job: JobRecord, now_ms: int) -> JobRecord:
    """Its worker died: back to the queue the first time, FAILED after that (RunPod's automatic retry)."""
    _require(job, {"IN_PROGRESS"}, "IN_QUEUE")
    if job.retries + 1 >= MAX_DISPATCHES:
        return _ended(job, "FAILED", now_ms)
    return replace(requeued(job, now_ms), retries=job.retries + 1)


def requeued(job: JobRecord, now_ms: int) -> JobRecord:
    """Back to the queue through no fault of its own: the runtime or the platform stopped its worker."""
    _require(job, {"IN_PROGRESS"}, "IN_QUEUE")
    return replace(job, status="IN_QUEUE", queued_at_ms=now_ms, started_at_ms=None, deadline_at_ms=None, worker_id=None)


def retried(job: JobRecord, now_ms: int) -> JobRecord:
    """The caller asked for another attempt of a FAILED or TIMED_OUT job: same id, same input, a new start."""
    _require(job, RETRYABLE, "IN_QUEUE")
    return replace(
        job,
        status="IN_QUEUE",
        queued_at_ms=now_ms,
        expires_at_ms=now_ms + job.ttl_ms,
        started_at_ms=None,
        deadline_at_ms=None,
        finished_at_ms=None,
        worker_id=None,
        retries=0,
        webhook_tries=0,
        webhook_due_at_ms=None,
    )


def kept_for(job: JobRecord, now_ms: int, ttl_ms: int) -> JobRecord:
    """A result is to be forgotten so long after now, or after the job's end, if it were not before."""
    if job.is_final:
        return replace(job, expires_at_ms=min(job.expires_at_ms, now_ms + ttl_ms))
    return replace(job, retention_ms=min(job.retention_ms, ttl_ms))


def _ended(job: JobRecord, status: Status, now_ms: int) -> JobRecord:
    has_webhook = job.webhook is not None and status != "CANCELLED"
    return replace(
        job,
        status=status,
        finished_at_ms=now_ms,
        deadline_at_ms=None,
        expires_at_ms=now_ms + job.retention_ms,
        webhook_due_at_ms=now_ms if has_webhook else None,
    )


def _require(job: JobRecord, allowed: set[Status] | frozenset[Status], target: Status) -> None:
    if job.status not in allowed:
        raise WrongStateError(f"job {job.id} is {job.status} and cannot become {target}")
