"""What a failure says of the job that was sent: whether it may be queued, and paid, and how it ended."""

from __future__ import annotations

import re

from vidctl.errors import ApiError, JobFailedError, NetworkError, TimedOutError, UnansweredError, VidctlError
from vidctl.runpod.jobs import Job
from vidctl.runpod.waiting import may_have_been_accepted

# RunPod's word for a job whose workers vanished: it gave the job to another one first (runpod.md, 4.3).
_LOST = re.compile(r"job timed out after \d+ retries")


def is_unknown(error: VidctlError) -> bool:
    """Whether a job that was sent may be queued, and paid, though its id never came."""
    if not isinstance(error, (UnansweredError, ApiError)) or error.job_id:
        return False
    return may_have_been_accepted(error) or error.status is None


def may_have_cost(error: VidctlError) -> bool:
    """Whether outputs of a stream may have left the server with an answer that never came."""
    return isinstance(error, UnansweredError) or not isinstance(error, NetworkError)


def may_pass(error: VidctlError) -> bool:
    """Whether it is of a server that may be back in a moment."""
    return isinstance(error, NetworkError) or (isinstance(error.status, int) and error.status >= 500)


def too_late(job: Job, timeout_s: float, endpoint_id: str, *, is_cancelled: bool) -> TimedOutError:
    """The error for a job that was waited for long enough."""
    return TimedOutError(
        f"job {job.id} was not done after {timeout_s:g} s (it was {job.status}); "
        + ("it is cancelled" if is_cancelled else "it could not be cancelled and may still run"),
        hint="give it longer with --timeout; a cold worker needs time to start",
        endpoint=endpoint_id,
        job_id=job.id,
        status=job.status,
    )


def failed(job: Job, endpoint_id: str) -> JobFailedError:
    """The error for a job that ended otherwise than COMPLETED."""
    why = job.error or {"CANCELLED": "it was cancelled", "TIMED_OUT": "it ran longer than its time limit"}.get(
        job.status, "the worker gave no reason"
    )
    error = JobFailedError(why, endpoint=endpoint_id, job_id=job.id, status=job.status)
    error.worker_id, error.delay_ms, error.execution_ms = job.worker_id, job.delay_ms, job.execution_ms
    if _LOST.search(why):
        error.is_worker_lost = True
        error.hint = "its worker died, and the time it ran may be paid; it was not sent again"
    return error
