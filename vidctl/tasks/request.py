"""One job to be sent, and what became of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from concurrent.futures import Future
from dataclasses import dataclass, replace
from typing import Any, Generic, TypeVar

from vidctl.errors import VidctlError
from vidctl.runpod.jobs import DEFAULT_OPTIONS, Job, JobOptions

T = TypeVar("T")


@dataclass(frozen=True)
class Request(Generic[T]):
    """One job to be sent: `what` names it for people, `subject` is the caller's own.

    A request with a `digest`, which names its content, may be resumed: its answer is kept in the journal until
    `Invoker.forget`.  `follow_up` looks at its answer, in a thread, and says what is to be asked next in its place.
    One that is `refused` takes its place in the order, and is not sent.  One that is not `repeatable` may be answered
    otherwise the next time.
    """

    payload: Mapping[str, Any]
    what: str
    subject: T
    digest: str | None = None
    follow_up: Callable[[Job], Request[T] | None] | None = None
    options: JobOptions = DEFAULT_OPTIONS
    refused: VidctlError | None = None
    repeatable: bool = True


@dataclass(frozen=True)
class JobAnswer(Generic[T]):
    """A finished job, or why there is none; `earlier` are those that it was the follow-up of."""

    request: Request[T]
    job: Job | None = None
    error: VidctlError | None = None
    earlier: tuple[Job, ...] = ()


def without_payload(request: Request[T]) -> Request[T]:
    """What was sent takes megabytes, and whoever gets the answer needs them no more."""
    return replace(request, payload={}, follow_up=None)


def answer_to(request: Request[T], future: Future[tuple[Job, ...]]) -> JobAnswer[T]:
    error = future.exception()
    if error is None:
        *earlier, job = future.result()
        return JobAnswer(request, job=job, earlier=tuple(earlier))
    if isinstance(error, VidctlError):
        return JobAnswer(request, error=error)
    raise error
