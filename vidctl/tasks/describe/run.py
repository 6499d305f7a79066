"""Describe images and videos: made ready ahead, one job a question, answers in the order of the questions."""

from __future__ import annotations

from collections import deque
from collections.abc import Generator, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

from vidctl.errors import AuthError, JobFailedError, NotDeployedError, VidctlError
from vidctl.media.given import Given
from vidctl.tasks.context import TaskContext
from vidctl.tasks.describe.jobs import (
    Described,
    DescribeSettings,
    QuestionJobs,
    SentQuestion,
    effort,
    settings_for,
)
from vidctl.tasks.describe.model import DescribeOptions
from vidctl.tasks.describe.questions import Fetch, FetchInto, Question, posed
from vidctl.tasks.invoker import Invoker, JobAnswer, Request, Waiting
from vidctl.tasks.results import Failed

JOBS_IN_FLIGHT = 16  # a worker takes as many at once, and its engine makes their tokens together
_READ_AHEAD = 8
_READERS = 4


def run(
    context: TaskContext,
    sources: Given | Iterable[Given],
    prompt: str | None = None,
    *,
    waiting: Waiting | None = None,
    **how: Any,
) -> Generator[Described, None, None]:
    """What `Client.describe_many` does."""
    call = posed(sources, prompt, root=context.root, **how)
    endpoint = context.find()
    settings = settings_for(context, endpoint, call)
    return describe(
        call.questions,
        call.options,
        context.connect(endpoint),
        settings,
        fetch=context.fetch,
        fetch_into=context.fetch_into,
        timeout_s=context.timeout_s,
        waiting=waiting,
    )


def describe(
    questions: Sequence[Question],
    options: DescribeOptions,
    invoker: Invoker,
    settings: DescribeSettings,
    *,
    fetch: Fetch,
    fetch_into: FetchInto,
    timeout_s: float,
    waiting: Waiting | None = None,
) -> Generator[Described, None, None]:
    """Yield what became of each question, in their order; closing the generator cancels what is out.

    An answer that is not of the requested form is requested once more.  `waiting` hears, in threads, why there is no
    answer yet.  Raises UsageError for options that the protocol
    has no words for, before anything is opened, and AuthError and NotDeployedError at once, for they will be the same
    for every other job.
    """
    question_jobs = QuestionJobs(options, settings, fetch, fetch_into, invoker.cache)
    question_jobs.check()
    unread: dict[int, Described] = {}
    readers = ThreadPoolExecutor(_READERS, thread_name_prefix="vidctl-image")
    requests = _read_ahead(questions, question_jobs, readers, unread)
    answers = invoker.ask_many(requests, window=JOBS_IN_FLIGHT, timeout_s=timeout_s, waiting=waiting)
    next_number = 0
    try:
        for answer in answers:
            while next_number < answer.request.subject.number:
                yield unread.pop(next_number)
                next_number += 1
            yield _described(questions[next_number], answer, question_jobs, invoker)
            next_number += 1
        while next_number < len(questions):
            yield unread.pop(next_number)
            next_number += 1
    finally:
        answers.close()  # cancels what is out
        readers.shutdown(wait=False, cancel_futures=True)  # a read may hang: nobody waits for it


def _read_ahead(
    questions: Sequence[Question],
    question_jobs: QuestionJobs,
    readers: ThreadPoolExecutor,
    unread: dict[int, Described],
) -> Iterator[Request[SentQuestion]]:
    """Requests ready to be sent, in order, a few ahead; what cannot be read goes into `unread`."""
    waiting: deque[tuple[int, Question, Future[Request[SentQuestion]]]] = deque()
    numbered = enumerate(questions)
    while True:
        while len(waiting) < _READ_AHEAD and (following := next(numbered, None)) is not None:
            number, question = following
            waiting.append((number, question, readers.submit(question_jobs.request, question, number)))
        if not waiting:
            return
        number, question, future = waiting.popleft()
        try:
            request = future.result()
        except VidctlError as error:
            unread[number] = Described(question, Failed(question.name, error))
        else:
            yield request


def _described(
    question: Question, answer: JobAnswer[SentQuestion], question_jobs: QuestionJobs, invoker: Invoker
) -> Described:
    if isinstance(answer.error, (AuthError, NotDeployedError)):
        raise answer.error  # it will be the same for every other job
    if answer.job is None:
        return Described(
            question, Failed(question.name, answer.error or JobFailedError("the job ended without an answer"))
        )
    jobs = [*answer.earlier, answer.job]
    try:
        return Described(question, question_jobs.read(question, jobs, answer.request.subject), effort(jobs))
    except VidctlError as error:
        if answer.request.digest:
            invoker.forget([answer.request.digest])  # the next time it may be another
        return Described(question, Failed(question.name, error), effort(jobs))
