"""One job that was sent, from here or elsewhere: where it is, what it put out, and how it is stopped or run again."""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from vidctl.errors import ApiError, JobFailedError, NotDeployedError, TimedOutError, UsageError, VidctlError
from vidctl.journal import JobEntry, Journal
from vidctl.operations.live import LiveTarget
from vidctl.runpod import limits
from vidctl.runpod.jobs import FINAL, GONE, Job, Streamed

RETRYABLE = ("FAILED", "TIMED_OUT")  # RunPod docs, serverless/endpoints/operation-reference: Retry job
_OVER = FINAL | {GONE}
_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 0.1, 2.0
_LOOKS = 8  # at once
_MOST_LOOKED_AT = 500  # jobs after a purge

Pause = Callable[[float], None]


def find_entry(word: str, journal: Journal) -> JobEntry:
    """The journal's job of this id, or of which this is the beginning; raise UsageError where that is not one."""
    found = journal.find_jobs(word) if word else []
    if len(found) > 1:
        ids = ", ".join(each.id for each in found)
        raise UsageError(f"{word}: several jobs begin so: {ids}", hint="write more of the id")
    if not found:
        raise UsageError(
            f"job {word or '(empty)'} not found among those sent from this project",
            hint="vidctl jobs lists them; --endpoint NAME or --endpoint-id ID says whose job any other is",
        )
    return found[0]


@dataclass(frozen=True)
class SentJob:
    """A job, and the target that has it; `entry` is what the journal knows, None for one that is of elsewhere."""

    id: str
    endpoint_id: str
    target: LiveTarget
    entry: JobEntry | None = None

    def look(self) -> Job:
        """The job as it is now, which the journal is told; raise JobFailedError when RunPod no longer has it."""
        try:
            job = self.target.jobs.status(self.endpoint_id, self.id)
        except JobFailedError as error:
            if error.status == GONE and self.entry and self.entry.status not in _OVER:
                self._record(Job(self.id, GONE))
            raise
        self._record(job)
        return job

    def result(self) -> Any:
        """What it put out, kept here or at RunPod; raise JobFailedError, or TimedOutError while it is not over."""
        if kept := self.target.journal.output(self.id):
            return kept.output
        try:
            job = self.look()
        except JobFailedError as error:
            if self.entry and self.entry.status in RETRYABLE:
                raise self._failure(self.entry.status, self.entry.error) from error
            raise
        return self._output(job)

    def wait(self, *, timeout_s: float, waiting: Callable[[Job], None], pause: Pause = time.sleep) -> Any:
        """The same, once it is over; whoever stops waiting leaves it running."""
        if kept := self.target.journal.output(self.id):
            return kept.output
        deadline, pause_s = time.monotonic() + timeout_s, _FIRST_PAUSE_S
        while not (job := self.look()).is_final and (left_s := deadline - time.monotonic()) > 0:
            waiting(job)
            pause(min(pause_s, left_s))
            pause_s = min(pause_s * 1.3, _LONGEST_PAUSE_S)
        return self._output(job)

    def cancel(self) -> Job:
        """Stop it; how it is then."""
        self.target.jobs.cancel(self.endpoint_id, self.id)
        return self.look()

    def require_retryable(self) -> Job:
        """The job as it is; raise UsageError for one that RunPod would not run again."""
        job = self.look()
        if job.status not in RETRYABLE:
            raise UsageError(
                f"job {self.id} is {job.status}: only a job that is {' or '.join(RETRYABLE)} can be run again",
                hint=f"vidctl jobs result {self.id}" if job.status == "COMPLETED" else None,
            )
        return job

    def retry(self) -> Job:
        """Run it once more, with the same id and input, which is paid again; how it is then."""
        self.target.jobs.retry(self.endpoint_id, self.id)
        with suppress(VidctlError):  # as below
            self.target.journal.seen(self.id, status="IN_QUEUE")
        return self.look()

    def _output(self, job: Job) -> Any:
        if not job.is_final:
            raise TimedOutError(
                f"job {self.id} is not done: it is {job.status}, and goes on",
                hint=f"vidctl jobs wait {self.id}",
                endpoint=self.endpoint_id,
                job_id=self.id,
                status=job.status,
            )
        if job.status != "COMPLETED":
            raise self._failure(job.status, job.error)
        output = job.output if job.has_output else self._streamed(job)
        with suppress(VidctlError):  # a full disk must not cost what was paid
            self.target.journal.keep(self.id, output)
        return output

    def _streamed(self, job: Job) -> Any:
        """What a generator put out, of whose outputs /status keeps none; RunPod gives each of them once."""
        chunks: list[Any] = []
        with suppress(ApiError, NotDeployedError):
            while (news := self._news()).chunks:
                chunks += news.chunks
        return chunks or job.output

    def _news(self) -> Streamed:
        return self.target.jobs.stream(self.endpoint_id, self.id, hold_s=0.0)

    def _failure(self, status: str, error: str | None) -> JobFailedError:
        why = error or {"CANCELLED": "it was cancelled", "TIMED_OUT": "it ran longer than its time limit"}.get(
            status, "the worker gave no reason"
        )
        hint = f"vidctl jobs retry {self.id} runs it again, which is paid again" if status in RETRYABLE else None
        return JobFailedError(
            f"job {self.id} is {status}: {why}", hint=hint, endpoint=self.endpoint_id, job_id=self.id, status=status
        )

    def _record(self, job: Job) -> None:
        if self.entry is None or (job.status == self.entry.status and job.status in _OVER):
            return
        with suppress(VidctlError):  # what was seen is of use without being written down
            if job.status not in _OVER:
                self.target.journal.seen(self.id, status=job.status)
                return
            self.target.journal.ended(
                self.id,
                status=job.status,
                delay_ms=job.delay_ms,
                execution_ms=job.execution_ms,
                error_code=None if job.status == "COMPLETED" else JobFailedError.code,
                error=job.error,
                worker_id=job.worker_id,
            )


def purge(endpoint_id: str, target: LiveTarget) -> int:
    """Remove what waits in the endpoint's queue; how many jobs that were.  The journal is told of its own."""
    removed = target.jobs.purge(endpoint_id)
    since = time.time() - limits.TTL_MS[1] / 1000  # no job waits longer
    entries = target.journal.jobs(limit=_MOST_LOOKED_AT, since=since, endpoint_id=endpoint_id, status="IN_QUEUE")
    with ThreadPoolExecutor(_LOOKS, thread_name_prefix="vidctl-look") as pool:
        list(pool.map(lambda entry: _settle(SentJob(entry.id, endpoint_id, target, entry)), entries))
    return removed


def _settle(job: SentJob) -> None:
    with suppress(VidctlError):  # it was removed; what the journal says of it is for people
        job.look()
