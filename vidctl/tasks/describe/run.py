"""Describe images and videos: made ready ahead, one job a question, answers in the order of the questions."""

from __future__ import annotations

import json
import time
from collections import deque
from collections.abc import Generator, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from types import TracebackType
from typing import Any

from vidctl.errors import (
    ApiError,
    AuthError,
    JobFailedError,
    MediaError,
    NotDeployedError,
    SchemaMismatchError,
    UsageError,
    VidctlError,
)
from vidctl.media import image
from vidctl.runpod.jobs import Job, Streamed
from vidctl.runpod.limits import RUN_BYTES
from vidctl.tasks.batch import Answer, Invoker, Request, Waiting
from vidctl.tasks.describe.budget import MAX_MODEL_LEN, image_tokens, pixel_budget
from vidctl.tasks.describe.codec import StreamReader, decode, encode, repair
from vidctl.tasks.describe.model import DescribeOptions, Description, Result, Sent
from vidctl.tasks.describe.questions import Album, Clip, Fetch, FetchInto, Question
from vidctl.tasks.results import Failed

JOBS_IN_FLIGHT = 16  # a worker takes as many at once, and its engine makes their tokens together
_READ_AHEAD = 8
_READERS = 4
_JOB_BYTES = RUN_BYTES - 64 * 1024
_LEAST_PIXELS = 32 * 32  # of an image that is to be resized further


@dataclass(frozen=True)
class Manner:
    """How questions are sent: `clip` is what is seen of videos, `protocol` what the worker speaks (None: vidctl's own).

    `model` is what an OpenAI server knows the model by, `max_images` what the worker takes at once, if known, and
    `max_model_len` how many tokens the model's context holds.
    """

    clip: Clip = field(default_factory=Clip)
    protocol: str | None = None
    model: str | None = None
    max_images: int | None = None
    max_model_len: int | None = None


@dataclass(frozen=True)
class Effort:
    """What an answer took, over all of its jobs: two, if the first answer was not of the requested form.

    `first_text_s` is how long it took from sending the job until its first text was here, if it was streamed.  `runs`
    are the seconds between which each job ran, as far as they are known, and on which worker.
    """

    jobs: int = 0
    delay_ms: int | None = None
    execution_ms: int | None = None
    first_text_s: float | None = None
    runs: tuple[tuple[str, float, float], ...] = ()


def busy_s(efforts: Iterable[Effort]) -> float:
    """How long workers were at these answers, which is what RunPod bills: jobs side by side share a worker's time.

    A little more than that, for a job's end is seen late.
    """
    total_s = 0.0
    latest: dict[str, float] = {}
    for worker, began_s, ended_s in sorted(run for effort in efforts for run in effort.runs):
        since_s = max(began_s, latest.get(worker, began_s))
        total_s += max(0.0, ended_s - since_s)
        latest[worker] = max(ended_s, since_s)
    return total_s


@dataclass(frozen=True)
class Described:
    """What became of one question: `result` is its Description, or Failed with the error."""

    question: Question
    result: Result
    effort: Effort = field(default_factory=Effort)


def describe(
    questions: Sequence[Question],
    options: DescribeOptions,
    invoker: Invoker,
    manner: Manner,
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
    asker = _Asker(options, manner, fetch, fetch_into)
    asker.check()
    unread: dict[int, Described] = {}
    readers = ThreadPoolExecutor(_READERS, thread_name_prefix="vidctl-image")
    requests = _read_ahead(questions, asker, readers, unread)
    answers = invoker.ask_many(requests, window=JOBS_IN_FLIGHT, timeout_s=timeout_s, waiting=waiting)
    next_number = 0
    try:
        for answer in answers:
            while next_number < answer.request.subject.number:
                yield unread.pop(next_number)
                next_number += 1
            yield _described(questions[next_number], answer, asker)
            next_number += 1
        while next_number < len(questions):
            yield unread.pop(next_number)
            next_number += 1
    finally:
        answers.close()  # cancels what is out
        readers.shutdown(wait=False, cancel_futures=True)  # a read may hang: nobody waits for it


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


def stream(
    question: Question,
    options: DescribeOptions,
    invoker: Invoker,
    manner: Manner,
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
    asker = _Asker(options, manner, fetch, fetch_into)
    asker.check()
    return DescriptionStream(_pieces(question, asker, invoker, timeout_s, waiting), has_form=asker.has_form)


def _pieces(
    question: Question, asker: _Asker, invoker: Invoker, timeout_s: float, waiting: Waiting | None
) -> Generator[str, None, Described]:
    request = asker.request(question, 0, is_streamed=True)
    answer = _StreamedAnswer(asker.manner.protocol)
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
    result = asker.read(question, jobs, request.subject)
    if following is None:
        result = answer.marked(result)
    if rest := answer.rest(result.text):
        yield rest
    return Described(question, result, replace(_effort(jobs), first_text_s=answer.first_text_s))


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


def _read_ahead(
    questions: Sequence[Question], asker: _Asker, readers: ThreadPoolExecutor, unread: dict[int, Described]
) -> Iterator[Request[_Subject]]:
    """Requests ready to be sent, in order, a few ahead; what cannot be read goes into `unread`."""
    waiting: deque[tuple[int, Question, Future[Request[_Subject]]]] = deque()
    numbered = enumerate(questions)
    while True:
        while len(waiting) < _READ_AHEAD and (following := next(numbered, None)) is not None:
            number, question = following
            waiting.append((number, question, readers.submit(asker.request, question, number)))
        if not waiting:
            return
        number, question, future = waiting.popleft()
        try:
            request = future.result()
        except VidctlError as error:
            unread[number] = Described(question, Failed(question.name, error))
        else:
            yield request


def _described(question: Question, answer: Answer[_Subject], asker: _Asker) -> Described:
    if isinstance(answer.error, (AuthError, NotDeployedError)):
        raise answer.error  # it will be the same for every other job
    if answer.job is None:
        return Described(
            question, Failed(question.name, answer.error or JobFailedError("the job ended without an answer"))
        )
    jobs = [*answer.earlier, answer.job]
    try:
        return Described(question, asker.read(question, jobs, answer.request.subject), _effort(jobs))
    except VidctlError as error:
        return Described(question, Failed(question.name, error), _effort(jobs))


def _effort(jobs: Sequence[Job]) -> Effort:
    runs = tuple(
        (job.worker_id or "", job.ended_s - job.execution_ms / 1000, job.ended_s)
        for job in jobs
        if job.ended_s is not None and job.execution_ms is not None
    )
    delays, executions = [job.delay_ms for job in jobs], [job.execution_ms for job in jobs]
    return Effort(len(jobs), _sum(delays), _sum(executions), runs=runs)


def _sum(values: Sequence[int | None]) -> int | None:
    known = [value for value in values if value is not None]
    return sum(known) if known else None


@dataclass(frozen=True)
class _Subject:
    """A question that was sent: which one it is, and how many tokens its images are to a Qwen3-VL."""

    number: int
    image_tokens: int


class _Asker:
    """Makes jobs of questions, and answers of what became of the jobs."""

    def __init__(self, options: DescribeOptions, manner: Manner, fetch: Fetch, fetch_into: FetchInto) -> None:
        self.manner = manner
        self._options = options
        # Without a form that its answer must have, whatever was answered can be read.
        self._formless = replace(options, schema=None, choices=(), regex=None)
        self.has_form = self._formless != options
        self._album = Album(manner.clip, fetch, fetch_into, max_images=manner.max_images, budget=self._pixels)

    def _pixels(self, count: int) -> int:
        """How many each of so many images may have; `--set max_pixels` says it of each."""
        context = self.manner.max_model_len or MAX_MODEL_LEN
        requested = self._options.extra.get("max_pixels")
        if isinstance(requested, int) and requested > 0:
            return requested
        return pixel_budget(count, max_model_len=context, max_tokens=self._options.max_tokens)

    def check(self) -> None:
        """Raise UsageError for options that the worker's input format cannot express."""
        self._payload((Sent("", b"", 32, 32),), self._options, is_streamed=False)

    def request(self, question: Question, number: int, *, is_streamed: bool = False) -> Request[_Subject]:
        """The job for a question, and one more if its answer is not of the requested form.  Raises MediaError, …."""
        sent, payload = self._fitting(question, is_streamed=is_streamed)
        subject = _Subject(number, sum(image_tokens(each.width, each.height) for each in sent))
        what = f"describe {question.label}"

        def follow_up(job: Job) -> Request[_Subject] | None:
            mismatch = self._mismatch(question, job)
            if mismatch is None:
                return None
            again = repair(self._options, mismatch.text, mismatch.problem)
            return Request(self._payload(sent, again, is_streamed=False), f"{what}, once more", subject)

        return Request(payload, what, subject, follow_up=follow_up if self.has_form else None)

    def read(self, question: Question, jobs: Sequence[Job], subject: _Subject) -> Description:
        """The answer of the last job, which has the tokens of all."""
        *earlier, last = jobs
        try:
            answer = decode(last.output, question.name, self._options, self.manner.protocol)
        except VidctlError as error:
            error.job_id = last.id
            raise
        for job in earlier:
            before = decode(job.output, question.name, self._formless, self.manner.protocol)
            answer = replace(
                answer,
                prompt_tokens=_sum([before.prompt_tokens, answer.prompt_tokens]),
                completion_tokens=_sum([before.completion_tokens, answer.completion_tokens]),
                image_tokens=_sum([before.image_tokens, answer.image_tokens]),
                warnings=(*answer.warnings, "the first answer did not have the requested form, and is billed too"),
            )
        if answer.image_tokens is None and self._is_qwen3_vl(answer):
            answer = replace(answer, image_tokens=subject.image_tokens * len(jobs))
        return answer

    def _is_qwen3_vl(self, answer: Description) -> bool:
        """Whether it is known what an image costs this model, where its worker does not say it."""
        names = (self.manner.model, (answer.model or {}).get("name"))
        return self.manner.protocol is not None and any("qwen3-vl" in str(name).lower() for name in names)

    def _mismatch(self, question: Question, job: Job) -> SchemaMismatchError | None:
        try:
            decode(job.output, question.name, self._options, self.manner.protocol)
        except SchemaMismatchError as mismatch:
            cut = decode(job.output, question.name, self._formless, self.manner.protocol).finish_reason
            return None if cut in ("length", "repetition", "time") else mismatch  # the next one would be, too
        except VidctlError:
            return None
        return None

    def _fitting(self, question: Question, *, is_streamed: bool) -> tuple[tuple[Sent, ...], dict[str, Any]]:
        """The images, small enough for what RunPod takes in a request, and the input that they are in."""
        sent = self._album.images(question)
        while True:
            payload = self._payload(sent, self._options, is_streamed=is_streamed)
            size = len(json.dumps({"input": payload}))
            if size <= _JOB_BYTES:
                return sent, payload
            sent = _smaller(sent, size, question.name)

    def _payload(self, sent: Sequence[Sent], options: DescribeOptions, *, is_streamed: bool) -> dict[str, Any]:
        return encode(sent, options, self.manner.protocol, model=self.manner.model, stream=is_streamed)


def _smaller(sent: Sequence[Sent], size: int, name: str) -> tuple[Sent, ...]:
    images = sum(len(each.jpeg) * 4 // 3 for each in sent)
    room = _JOB_BYTES - (size - images)
    if room <= 0:
        raise UsageError(f"{name}: the text to send is {(size - images) / 1e6:.1f} MB, over RunPod's limit of 10 MB")
    share = 0.9 * room / images
    if min(each.width * each.height * share for each in sent) < _LEAST_PIXELS:
        raise MediaError(
            f"{name}: {len(sent)} images are {images / 1e6:.1f} MB to send, over RunPod's limit of 10 MB",
            hint="send fewer images at a time",
        )
    return tuple(_resized(each, share) for each in sent)


def _resized(sent: Sent, share: float) -> Sent:
    smaller = image.prepare_within(sent.jpeg, max_pixels=int(sent.width * sent.height * share), name=sent.source)
    return replace(sent, jpeg=smaller.jpeg, width=smaller.sent_width, height=smaller.sent_height)
