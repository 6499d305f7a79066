"""The text of one answer in pieces, as a worker makes them."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Generator, Iterable, Iterator
from dataclasses import replace
from types import TracebackType
from typing import Any

from vidctl.errors import ApiError, UsageError, VidctlError
from vidctl.media.given import Given
from vidctl.runpod.jobs import Job, Streamed
from vidctl.tasks.context import TaskContext
from vidctl.tasks.describe.jobs import Described, DescribeSettings, QuestionJobs, effort, settings_for
from vidctl.tasks.describe.model import DescribeOptions, Description
from vidctl.tasks.describe.questions import Fetch, FetchInto, Question, posed, shared
from vidctl.tasks.describe.stream import StreamReader
from vidctl.tasks.invoker import Invoker, Waiting
from vidctl.tasks.results import Failed


class DescriptionStream(Iterator[str]):
    """The text of one answer in pieces, as they are made: iterate over it, then look at `result`.

    The iteration raises what `Client.describe` would.  Closing the stream before its end cancels the job; as a context
    manager it closes itself.
    """

    def __init__(self, pieces: Generator[str, None, Described], *, has_form: bool) -> None:
        self.has_form = has_form
        """Whether the answer must have a form: a schema, choices or a regex; only the result is known to have it."""
        self._pieces = pieces
        self._passed_on: list[str] = []
        self._described: Described | None = None

    def __next__(self) -> str:
        try:
            piece = next(self._pieces)
        except StopIteration as end:
            self._described = self._described or end.value
            raise
        self._passed_on.append(piece)
        return piece

    def __enter__(self) -> DescriptionStream:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Cancel the job, if it is not over."""
        self._pieces.close()

    @property
    def result(self) -> Description:
        """The answer, once the stream is at its end; what was not read of it is passed over."""
        described = self.described
        if isinstance(described.result, Failed):
            raise described.result.error
        return described.result

    @property
    def described(self) -> Described:
        """The answer with what it took."""
        deque(self, maxlen=0)
        if self._described is None:
            raise UsageError("no result: the stream was closed before its end, or failed")
        return self._described

    @property
    def is_whole(self) -> bool:
        """Whether the pieces make up the result's text.

        They do not if a worker died in the middle and another began anew, or if the answer had to be requested again.
        """
        return "".join(self._passed_on).strip() == self.result.text.strip()


def run(
    context: TaskContext,
    source: Given | Iterable[Given],
    prompt: str | None = None,
    *,
    waiting: Waiting | None = None,
    **how: Any,
) -> DescriptionStream:
    """What `Client.describe_stream` does."""
    call = posed(source, prompt, root=context.root, **shared("describe_stream", how))
    endpoint = context.find()
    settings = settings_for(context, endpoint, call)
    return stream(
        call.questions[0],
        call.options,
        context.connect(endpoint),
        settings,
        fetch=context.fetch,
        fetch_into=context.fetch_into,
        timeout_s=context.timeout_s,
        waiting=waiting,
    )


def stream(
    question: Question,
    options: DescribeOptions,
    invoker: Invoker,
    settings: DescribeSettings,
    *,
    fetch: Fetch,
    fetch_into: FetchInto,
    timeout_s: float,
    waiting: Waiting | None = None,
) -> DescriptionStream:
    """Ask one question, and stream its answer; nothing is sent before the first piece is requested.

    `waiting` hears why there is no text yet.  What was lost on the way leaves no hole: the pieces end before it, and
    the rest comes when the whole answer is known.  Raises UsageError as `describe` does.
    """
    question_jobs = QuestionJobs(options, settings, fetch, fetch_into, invoker.cache)
    question_jobs.check()
    return DescriptionStream(
        _pieces(question, question_jobs, invoker, timeout_s, waiting), has_form=question_jobs.has_form
    )


def _pieces(
    question: Question, question_jobs: QuestionJobs, invoker: Invoker, timeout_s: float, waiting: Waiting | None
) -> Generator[str, None, Described]:
    request = question_jobs.request(question, 0, is_streamed=True)
    answer = _StreamedAnswer(question_jobs.settings.protocol)
    news = invoker.stream(request, timeout_s=timeout_s, waiting=waiting)
    jobs: list[Job] = []
    try:
        for each in news:
            if isinstance(each, Job):
                jobs.append(answer.completed(each))
            elif piece := answer.take(each):
                yield piece
    finally:
        news.close()  # cancels the job, if it is out
    following = request.follow_up(jobs[0]) if request.follow_up else None
    if following is not None:
        jobs.append(invoker.ask(following, timeout_s=timeout_s))
    result = question_jobs.read(question, jobs, request.subject)
    if following is None:
        result = answer.marked(result)
    if rest := answer.rest(result.text):
        yield rest
    return Described(question, result, replace(effort(jobs), first_text_s=answer.first_text_s))


class _StreamedAnswer:
    """What is heard of one stream, and passed on as long as it is sure to be without a hole."""

    def __init__(self, protocol: str | None) -> None:
        self._reader = StreamReader(protocol)
        self._protocol = protocol
        self._began = time.monotonic()
        self._passed_on = ""
        self._is_broken = False
        self._is_made_of_pieces = False
        self._error: VidctlError | None = None
        self.first_text_s: float | None = None

    @property
    def _has_hole(self) -> bool:
        return self._is_broken or self._reader.has_gap

    def take(self, streamed: Streamed) -> str:
        """The new text, if it follows on what was passed on before."""
        # The chunks of vidctl's own worker are numbered: whether one is missing is seen.
        self._is_broken |= streamed.is_broken and self._protocol is not None
        text = "".join([self._fed(chunk) for chunk in streamed.chunks])
        if text and self.first_text_s is None:
            self.first_text_s = time.monotonic() - self._began
        if self._has_hole:
            return ""
        self._passed_on += text
        return text

    def completed(self, job: Job) -> Job:
        """The job with an output that can be read: where the platform keeps none of a stream, what the stream made."""
        if job.has_output:
            return job
        self._is_made_of_pieces = True
        self._flush()
        output = self._reader.output
        if output is None or self._error is not None:
            error = self._error or ApiError("the answer was lost: the job has no output, and its stream did not end")
            error.job_id = job.id
            raise error
        return replace(job, output=output)

    def _flush(self) -> None:
        try:
            self._reader.flush()
        except VidctlError as error:
            self._error = self._error or error

    def _fed(self, chunk: object) -> str:
        try:
            return self._reader.feed(chunk)
        except VidctlError as error:  # what became of the job, its end will say
            self._error, self._is_broken = error, True
            return ""

    def marked(self, result: Description) -> Description:
        """The result with a mark in its text and a warning, if it is made of the pieces and some of them did not come.

        Where the next ones were lost cannot be told; what was sure to be whole ends at the mark.
        """
        if not (self._is_made_of_pieces and self._has_hole):
            return result
        warnings = () if self._reader.has_gap else ("a part of the answer was lost in transit",)  # else it is one
        text = f"{self._passed_on}[…]{self.rest(result.text)}"
        return replace(result, text=text, warnings=(*result.warnings, *warnings))

    def rest(self, text: str) -> str:
        """What is still to be passed on of the whole text; "" if that is another one than was passed on so far."""
        return text[len(self._passed_on) :] if text.startswith(self._passed_on) else ""
