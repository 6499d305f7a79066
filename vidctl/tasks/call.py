"""Jobs of any endpoint, with whatever input its worker takes: one, many in their order, or streamed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Generator, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from vidctl.errors import JobFailedError, TimedOutError, UnansweredError, UsageError, VidctlError
from vidctl.runpod import limits
from vidctl.runpod.jobs import Job, JobOptions, Streamed
from vidctl.tasks import payload as payloads
from vidctl.tasks.failures import is_unknown
from vidctl.tasks.invoker import Invoker, JobAnswer, Request, Waiting
from vidctl.tasks.kept_answers import AnswerCache
from vidctl.tasks.options import seconds

UNKNOWN = "unknown"  # was sent, and whether it was accepted is not known
NOT_SENT = "not_sent"
IN_FLIGHT = 16
MOST_IN_FLIGHT = 200  # as many /run requests RunPod takes at once


@dataclass(frozen=True)
class JobResult:
    """What became of one job: `status` is RunPod's, or `unknown`, `not_sent`, `timed_out` (waited for too long).

    `index` is its input's place among many, from 0; `error` is why there is no output.
    """

    index: int
    id: str | None
    status: str
    output: Any = None
    error: VidctlError | None = None
    delay_ms: int | None = None
    execution_ms: int | None = None

    def to_dict(self) -> dict[str, Any]:
        """One line of JSON Lines: with `output`, or `error` instead."""
        outcome = {"output": self.output} if self.error is None else {"error": self.error.message}
        times = {"delay_ms": self.delay_ms, "execution_ms": self.execution_ms}
        return {"index": self.index, "id": self.id, "status": self.status, **outcome, **times}


def job_options(
    *,
    webhook: str | None = None,
    execution_timeout: float | str | None = None,
    ttl: float | str | None = None,
    priority: str | None = None,
) -> JobOptions:
    """What RunPod is told of the jobs; UsageError for what it would refuse."""
    if webhook is not None and not str(webhook).startswith(("http://", "https://")):
        raise UsageError("webhook: expected an http:// or https:// URL")
    if priority not in (None, "low", "normal"):
        raise UsageError(f"priority: {priority!r} is neither low nor normal")
    return JobOptions(
        webhook,
        _milliseconds("execution_timeout", execution_timeout, limits.EXECUTION_TIMEOUT_MS),
        _milliseconds("ttl", ttl, limits.TTL_MS),
        is_low_priority=priority == "low",
    )


def submit(invoker: Invoker, given: Mapping[str, Any], options: JobOptions, *, timeout_s: float) -> str:
    """Send one job, and wait for its id only."""
    return invoker.submit(_request(0, given, options, None, "input"), timeout_s=timeout_s)


def run(
    invoker: Invoker, given: Mapping[str, Any], options: JobOptions, *, timeout_s: float, waiting: Waiting | None = None
) -> JobResult:
    """Send one job and wait for its output; raise JobFailedError, TimedOutError, … where there is none."""
    request = _request(0, given, options, None, "input")
    request = replace(request, digest=_kept_digest(request, invoker.cache))
    (answer,) = invoker.ask_many([request], window=1, timeout_s=timeout_s, waiting=waiting)
    if answer.error:
        raise answer.error
    return _result(answer)


def run_many(
    invoker: Invoker,
    inputs: Iterable[Mapping[str, Any] | UsageError],
    options: JobOptions,
    *,
    in_flight: int = IN_FLIGHT,
    timeout_s: float,
    resume: bool = False,
    resend_unknown: bool = False,
    waiting: Waiting | None = None,
) -> Generator[JobResult, None, None]:
    """Yield what became of each input's job, in their order; an error in an input's place is its result.

    Two equal inputs are two jobs, unless answers are kept.  With `resume` only what an earlier run did not get is sent;
    a job of which is not known whether it was accepted is sent again with `resend_unknown` only.
    """
    if not 1 <= in_flight <= MOST_IN_FLIGHT:
        raise UsageError(f"in_flight: {in_flight} is not from 1 to {MOST_IN_FLIGHT}")
    answers = invoker.ask_many(
        _requests(inputs, options, invoker.cache),
        window=in_flight,
        timeout_s=timeout_s,
        resumes=resume,
        resends_unknown=resend_unknown,
        waiting=waiting,
    )
    try:
        for answer in answers:
            yield _result(answer)
    finally:
        answers.close()


def stream(
    invoker: Invoker, given: Mapping[str, Any], options: JobOptions, *, timeout_s: float, waiting: Waiting | None = None
) -> Generator[Any, None, None]:
    """Yield what the job puts out, as it comes: each output once, in order; of a handler that yields none the one.

    Raises UnansweredError at the end where one was lost on the way and the job does not keep them.
    """
    news = invoker.stream(_request(0, given, options, None, "input"), timeout_s=timeout_s, waiting=waiting)
    try:
        yield from _whole(news)
    finally:
        news.close()


def _whole(news: Iterator[Streamed | Job]) -> Iterator[Any]:
    count, is_broken = 0, False
    for each in news:
        if isinstance(each, Streamed):
            is_broken = is_broken or each.is_broken
            if not is_broken:
                count += len(each.chunks)
                yield from each.chunks
            continue
        if is_broken and not (isinstance(each.output, list) and each.has_output):
            raise UnansweredError(
                f"a part of the stream of job {each.id} was lost (outputs received: {count})",
                hint="the job is done, and does not keep what it streams: return_aggregate_stream in its handler does",
                job_id=each.id,
            )
        if is_broken:
            yield from each.output[count:]
        elif not count and each.has_output:
            yield each.output


def _requests(
    inputs: Iterable[Mapping[str, Any] | UsageError], options: JobOptions, cache: AnswerCache | None
) -> Iterator[Request[int]]:
    seen: Counter[str] = Counter()
    for index, given in enumerate(inputs):
        if isinstance(given, UsageError):
            yield Request({}, f"input {index}", index, refused=given)
            continue
        try:
            request = _request(index, given, options, seen, f"input {index}")
            yield replace(request, digest=_kept_digest(request, cache)) if cache else request
        except UsageError as error:
            yield Request({}, f"input {index}", index, refused=error)


def _request(
    index: int, given: Mapping[str, Any], options: JobOptions, seen: Counter[str] | None, where: str
) -> Request[int]:
    """A job; one of many has a digest, which tells it from others, and from those of the same input before it."""
    found = payloads.checked(given, where=where)
    payloads.check_size(found, options, where=where)
    if seen is None:
        return Request(found, "input", index, options=options)
    name = payloads.digest(found)
    seen[name] += 1
    return Request(found, where, index, digest=f"run:{name}:{seen[name]}", options=options)


def _kept_digest(request: Request[int], cache: AnswerCache | None) -> str | None:
    """What names a job whose answer may be given again: with a cache two equal inputs are one job."""
    return cache.digest(request.payload) if cache else None


def _result(answer: JobAnswer[int]) -> JobResult:
    index, job, error = answer.request.subject, answer.job, answer.error
    if job is not None:
        return JobResult(index, job.id, job.status, job.output, None, job.delay_ms, job.execution_ms)
    assert error is not None
    times = (error.delay_ms, error.execution_ms) if isinstance(error, JobFailedError) else (None, None)
    return JobResult(index, error.job_id, _status(error), None, error, *times)


def _status(error: VidctlError) -> str:
    if isinstance(error, JobFailedError):
        return str(error.status)
    if isinstance(error, TimedOutError):
        return "timed_out"
    return UNKNOWN if error.job_id or is_unknown(error) else NOT_SENT


def _milliseconds(name: str, value: float | str | None, bounds: tuple[int, int]) -> int | None:
    if value is None:
        return None
    found, (least, most) = round(1000 * seconds(name, value)), bounds
    if not least <= found <= most:
        raise UsageError(f"{name}: {found / 1000:g} s is not from {least // 1000} s to {most // 86_400_000} days")
    return found
