"""Ask one worker one thing, or many things with a window of jobs in flight.

A job's id is in the journal before anyone waits; whatever is out when the caller gives up is cancelled, and said.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from concurrent.futures import wait as wait_for
from contextlib import contextmanager, suppress
from dataclasses import replace

from vidctl.errors import (
    ApiError,
    CostLimitError,
    InterruptionError,
    JobFailedError,
    NotDeployedError,
    TimedOutError,
    UnansweredError,
    VidctlError,
)
from vidctl.journal import REMEMBERED_S, Journal, SentRequest
from vidctl.runpod.jobs import GONE, Job, Jobs, Streamed
from vidctl.tasks.failures import failed, is_unknown, may_have_cost, may_pass, too_late
from vidctl.tasks.health_counts import Waiting as Waiting
from vidctl.tasks.health_counts import notifying
from vidctl.tasks.in_flight import JobsInFlight
from vidctl.tasks.in_order import in_order
from vidctl.tasks.kept_answers import AnswerCache
from vidctl.tasks.request import JobAnswer, Request, T, answer_to, without_payload
from vidctl.tasks.spending import SpendingLimit
from vidctl.tasks.stream_pace import HOLD_S, StreamPace

# Jobs end about in the order they were sent, so the oldest that is out is asked for first and most often.
_FIRST_POLL_S = 0.03
_FIRST_POLL_OF_OTHERS_S = 0.3
_SLOWEST_POLL_S = 1.0
_WARM_S = 1.0  # a job that takes longer may wait for a worker, and whoever waits for it is told
_PATIENCE_S = 60.0  # with a server that does not answer while a job is out

__all__ = ["Invoker", "JobAnswer", "Request", "Waiting"]


class Invoker:
    """Sends jobs to one endpoint and waits for them; collaborators come from outside."""

    def __init__(
        self,
        jobs: Jobs,
        endpoint_id: str,
        *,
        target: str,
        journal: Journal,
        spec: str | None = None,
        command: str | None = None,
        spending: SpendingLimit | None = None,
        cache: AnswerCache | None = None,
    ) -> None:
        """`spec` and `command` are for the journal: of which spec the endpoint is, and who sends."""
        self.cache = cache
        self.endpoint_id = endpoint_id
        self._jobs = jobs
        self._target = target
        self._journal = journal
        self._sender = {"spec": spec, "command": command}
        self._in_flight = JobsInFlight(endpoint_id, self._cancel)
        self._spending = spending or SpendingLimit()
        self._ended_at = -math.inf  # when a job last ended

    def ask(
        self,
        request: Request[T],
        *,
        timeout_s: float,
        waiting: Waiting | None = None,
    ) -> Job:
        """Send one job and wait until it is COMPLETED.

        Raises JobFailedError if it ends otherwise and TimedOutError after `timeout_s`, when the job is cancelled.
        Ctrl-C cancels it too.
        """
        try:
            job_id = self._sent(request, timeout_s)
            return self._follow(request, job_id, timeout_s, self._notifying(waiting), is_new=True)
        except KeyboardInterrupt:
            self.cancel_all()
            raise

    def stream(
        self, request: Request[T], *, timeout_s: float, waiting: Waiting | None = None
    ) -> Generator[Streamed | Job, None, None]:
        """Send one job; yield what it puts out while it runs, as it comes, and at last the job, COMPLETED.

        An output that was lost on the way is not asked for again: what follows it `is_broken`.  Closing the iterator
        cancels the job.  Raises JobFailedError and TimedOutError as `ask` does.
        """
        if (sent := self._recalled(request)) and sent.is_answered and self._reuses(request):
            yield self._given_again(sent)
            return
        job_id = self._sent(request, timeout_s)
        try:
            with self._recorded(request, job_id, is_new=True):
                job = yield from self._streamed(job_id, timeout_s, self._notifying(waiting))
            yield self._completed(request, job)
        finally:
            if job_id in self._in_flight:
                self.cancel_all()

    def ask_many(
        self,
        requests: Iterable[Request[T]],
        *,
        window: int,
        timeout_s: float,
        resumes: bool = False,
        resends_unknown: bool = True,
        seen: Callable[[Request[T], Job], None] | None = None,
        waiting: Waiting | None = None,
    ) -> Generator[JobAnswer[T], None, None]:
        """Yield an answer for each request, in their order, with at most `window` jobs in flight.

        `requests` is read only as fast as answers are taken.  With `resumes` a request that was sent before is not sent
        again while its answer is known or its job goes on; one of which nobody knows whether it was accepted, or what
        it was answered, only if it `resends_unknown`.  A job that a lost worker took with it is sent once more where
        RunPod has counted no time for it.  `seen` is told, in threads, of every look at a job that is not over;
        `waiting` of the oldest that is out, once it takes longer than a warm worker's.  Closing cancels what is out.
        Raises CostLimitError at the end if the spending limit was reached; what was not sent for it has no answer.
        """
        notify = self._notifying(waiting)

        def finish(request: Request[T]) -> tuple[Job, ...]:
            if request.refused:
                raise request.refused
            look = self._looking(request, seen, notify)
            job = self._resumed(request, timeout_s, look, resumes=resumes, resends_unknown=resends_unknown)
            job = job or self._answered(request, timeout_s, look)
            following = request.follow_up(job) if request.follow_up else None
            return (job,) if following is None else (job, *finish(following))

        pool = ThreadPoolExecutor(window, thread_name_prefix="vidctl-job")
        try:
            wanted = self._spending.until_reached(requests)
            done = in_order(wanted, lambda each: pool.submit(finish, each), window, kept=without_payload)
            yield from self._spending.delivered(answer_to(request, future) for request, future in done)
        finally:
            self.cancel_all()
            pool.shutdown(wait=True, cancel_futures=True)
            self.cancel_all()  # what was being sent in that moment

    def _looking(
        self, request: Request[T], seen: Callable[[Request[T], Job], None] | None, notify: Callable[[Job], None]
    ) -> Callable[[Job], None]:
        began = time.monotonic()

        def look(job: Job) -> None:
            if seen:
                seen(request, job)
            if time.monotonic() - began > _WARM_S and self._in_flight.is_oldest(job.id):
                notify(job)

        return look

    def interrupt(self) -> InterruptionError:
        """Cancel what is out; return the error that says so.  Whoever interrupts that too is told what still runs."""
        return self._in_flight.interrupt()

    def cancel_all(self) -> None:
        """Cancel every job that is out, and let the threads that wait for them go."""
        self._in_flight.cancel_all()

    def submit(self, request: Request[T], *, timeout_s: float) -> str:
        """Send one job and wait for nothing but its id, which is in the journal then."""
        job_id = self._sent(request, timeout_s)
        with self._recorded(request, job_id, is_new=True):
            self._in_flight.remove(job_id)
        return job_id

    @property
    def rate_limited(self) -> int:
        """How often a job was not taken at first, for there were too many (429)."""
        return self._jobs.rate_limited

    def delivered(self, digests: Iterable[str]) -> None:
        """Drop the answers that were kept to be resumed, unless they are to be given again."""
        if self.cache is None:
            self.forget(digests)

    def forget(self, digests: Iterable[str]) -> None:
        """Drop answers that were kept, so that they are not given again."""
        with suppress(VidctlError):  # they are dropped with time
            self._journal.forget(self.endpoint_id, digests)

    def _answered(self, request: Request[T], timeout_s: float, look: Callable[[Job], None]) -> Job:
        try:
            return self._follow(request, self._send(request, timeout_s), timeout_s, look, is_new=True)
        except JobFailedError as error:
            if not error.is_worker_lost or error.execution_ms:
                raise
        return self._follow(request, self._send(request, timeout_s), timeout_s, look, is_new=True)

    def _reuses(self, request: Request[T]) -> bool:
        return self.cache is not None and request.repeatable and request.digest is not None

    def _recalled(self, request: Request[T]) -> SentRequest | None:
        """The job that was sent with this request before, with its answer if that is not too old."""
        sent = self._journal.recall(self.endpoint_id, request.digest) if request.digest else None
        return None if sent and self.cache and not self.cache.takes(sent) else sent

    def _given_again(self, sent: SentRequest) -> Job:
        if self.cache:
            self.cache.tell()
        return Job(sent.job_id, "COMPLETED", sent.output, None, sent.delay_ms, sent.execution_ms)

    def _resumed(
        self,
        request: Request[T],
        timeout_s: float,
        look: Callable[[Job], None],
        *,
        resumes: bool,
        resends_unknown: bool,
    ) -> Job | None:
        """The answer of the job that was sent with this request before; None if it has none, or is not to be given."""
        sent = self._recalled(request) if resumes or self._reuses(request) else None
        if sent is None:
            return None
        if sent.is_answered:
            return self._given_again(sent)
        if not sent.job_id:
            if resends_unknown:
                return None
            raise UnansweredError("sent before, and whether it was accepted is unknown", endpoint=self.endpoint_id)
        try:
            return self._follow(request, sent.job_id, timeout_s, look)
        except JobFailedError as error:
            if error.status == GONE and not resends_unknown:
                raise
            return None

    def _sent(self, request: Request[T], timeout_s: float) -> str:
        """Send in a thread: Ctrl-C between a request and its answer would leave a job that nobody knows of."""
        pool = ThreadPoolExecutor(1, thread_name_prefix="vidctl-job")
        sending = pool.submit(self._send, request, timeout_s)
        try:
            return sending.result()
        except KeyboardInterrupt:
            wait_for([sending])
            self.cancel_all()
            raise
        finally:
            pool.shutdown(wait=False)

    def _send(self, request: Request[T], timeout_s: float = _PATIENCE_S) -> str:
        """Send the job, and count it among those that are out."""
        if self._in_flight.is_stopped:
            raise InterruptionError("interrupted before it was sent")
        self._spending.admit(self._in_flight.hold)
        try:
            self._announce(request)
            job_id = self._jobs.run(
                self.endpoint_id,
                request.payload,
                request.options,
                deadline=time.monotonic() + timeout_s,
                pause=self._in_flight.hold,
            )
        except VidctlError as error:
            self._spending.unsent()
            if request.digest and not is_unknown(error):
                self.forget([request.digest])
            raise
        self._spending.sent(job_id)
        self._in_flight.add(job_id)
        return job_id

    def _announce(self, request: Request[T]) -> None:
        """Write down what is about to be sent: an id that could not be written down is better not asked for."""
        if request.digest:
            self._journal.sending(self.endpoint_id, request.digest)
        else:
            self._journal.check()

    def _follow(
        self, request: Request[T], job_id: str, timeout_s: float, look: Callable[[Job], None], *, is_new: bool = False
    ) -> Job:
        with self._recorded(request, job_id, is_new=is_new):
            job = self._wait(job_id, timeout_s, look)
        return self._completed(request, job)

    @contextmanager
    def _recorded(self, request: Request[T], job_id: str, *, is_new: bool) -> Iterator[None]:
        """Count the job among those that are out, and write it down if it is new; an error gets its id."""
        self._in_flight.add(job_id)
        try:
            if is_new:
                self._journal.sent(
                    job_id,
                    endpoint_id=self.endpoint_id,
                    target=self._target,
                    what=request.what,
                    digest=request.digest,
                    **self._sender,
                )
            yield
        except VidctlError as error:
            error.job_id = job_id  # it may still run: whoever catches this can cancel or follow it
            if error.status == GONE:
                self._settled(job_id, GONE)
            raise

    def _completed(self, request: Request[T], job: Job) -> Job:
        """The job that has ended, written down as such; raise JobFailedError if it is not COMPLETED."""
        if job.status == "COMPLETED" and request.digest:
            with suppress(VidctlError):  # as with _record
                kept_s = self.cache.max_age_s if self.cache else REMEMBERED_S
                self._journal.answered(self.endpoint_id, request.digest, job.output, for_s=kept_s)
        self._settled(job.id, job.status, job)
        if job.status != "COMPLETED":
            raise failed(job, self.endpoint_id)
        return replace(job, ended_s=time.monotonic())

    def _streamed(self, job_id: str, timeout_s: float, look: Callable[[Job], None]) -> Generator[Streamed, None, Job]:
        """What comes while the job runs; then the job, and if it has no output of its own all that came."""
        began = time.monotonic()
        try:
            yield from self._until_final(job_id, timeout_s, look)
        except (ApiError, NotDeployedError):
            yield Streamed("IN_PROGRESS", is_broken=True)  # a refusal: whether the job is there at all, /status says
        job = self._wait(job_id, timeout_s, look, began=began)
        if job.status == "COMPLETED" and not job.has_output:
            with suppress(ApiError, NotDeployedError):
                while (rest := self._jobs.stream(self.endpoint_id, job_id, hold_s=0.0)).chunks:
                    yield rest
        return job

    def _until_final(
        self, job_id: str, timeout_s: float, look: Callable[[Job], None]
    ) -> Generator[Streamed, None, None]:
        began = heard_at = time.monotonic()
        news, pace = Streamed("IN_QUEUE"), StreamPace()
        while not news.is_final:
            asked_at = time.monotonic()
            left_s = max(0.0, began + timeout_s - asked_at)
            try:
                news = self._jobs.stream(self.endpoint_id, job_id, hold_s=min(HOLD_S, left_s))
                heard_at = time.monotonic()
            except VidctlError as error:
                if not may_pass(error) or time.monotonic() - heard_at > _PATIENCE_S:
                    raise
                news = Streamed(news.status, is_broken=may_have_cost(error))
            if news.chunks or news.is_broken:
                yield news
            elif not news.is_final:
                look(Job(job_id, news.status))
            # Looked at once more after the time: whoever reads slowly has not made the job late.
            if left_s == 0.0 and not news.is_final:
                raise self._too_late(Job(job_id, news.status), timeout_s)
            self._in_flight.pause(job_id, pace.pause_s(news, took_s=time.monotonic() - asked_at), is_next=True)

    def _wait(self, job_id: str, timeout_s: float, look: Callable[[Job], None], *, began: float | None = None) -> Job:
        seen_at = time.monotonic()
        began = seen_at if began is None else began
        is_next = self._in_flight.is_oldest(job_id)
        job = Job(job_id, "IN_QUEUE")
        pause_s = _FIRST_POLL_S if is_next else _FIRST_POLL_OF_OTHERS_S
        while True:
            if job.status == "IN_QUEUE":
                began = max(began, self._ended_at)  # a queue that moves is no reason to give up
            deadline = began + timeout_s
            was_next, left_s = is_next, deadline - time.monotonic()
            is_next = self._in_flight.pause(job_id, min(pause_s, left_s), is_next=was_next)
            if is_next and not was_next:
                pause_s = _FIRST_POLL_S
            try:
                job = self._jobs.status(self.endpoint_id, job_id)
                seen_at = time.monotonic()
            except VidctlError as error:
                # The job is out and paid: a server that restarts, or a network that is away, is waited for.
                if not may_pass(error) or time.monotonic() - seen_at > _PATIENCE_S:
                    raise
            if job.is_final:
                return job
            if time.monotonic() >= deadline:
                raise self._too_late(job, timeout_s)
            if self._spending.seen(job):
                self._give_up(job_id, CostLimitError.code)
                raise self._spending.error()
            look(job)
            pause_s = min(pause_s * 1.15, _SLOWEST_POLL_S)

    def _notifying(self, waiting: Waiting | None) -> Callable[[Job], None]:
        return notifying(waiting, lambda: self._jobs.health(self.endpoint_id))

    def _too_late(self, job: Job, timeout_s: float) -> TimedOutError:
        is_cancelled = self._give_up(job.id, TimedOutError.code)
        return too_late(job, timeout_s, self.endpoint_id, is_cancelled=is_cancelled)

    def _give_up(self, job_id: str, error_code: str) -> bool:
        """Cancel a job that is waited for no longer; whether that worked."""
        is_cancelled = self._cancel(job_id, error_code=error_code)
        self._spending.ended(job_id, None)
        self._in_flight.remove(job_id)
        return is_cancelled

    def _cancel(self, job_id: str, *, error_code: str = InterruptionError.code) -> bool:
        """Cancel one job; if RunPod cannot be told, the journal goes on holding it as one that is out."""
        try:
            self._jobs.cancel(self.endpoint_id, job_id)
        except VidctlError:
            return False
        self._record(job_id, "CANCELLED", error_code=error_code)
        return True

    def _settled(self, job_id: str, status: str, job: Job | None = None) -> None:
        self._ended_at = time.monotonic()
        self._spending.ended(job_id, job.execution_ms if job else None)
        self._in_flight.remove(job_id)
        self._record(job_id, status, job)

    def _record(
        self, job_id: str, status: str, job: Job | None = None, *, error_code: str = JobFailedError.code
    ) -> None:
        """Write down how a job ended.  A disk that is full by now must not cost the answer, or the other jobs' end."""
        with suppress(VidctlError):
            self._journal.ended(
                job_id,
                status=status,
                delay_ms=job.delay_ms if job else None,
                execution_ms=job.execution_ms if job else None,
                error_code=None if status == "COMPLETED" else error_code,
                error=job.error if job else None,
                worker_id=job.worker_id if job else None,
            )
