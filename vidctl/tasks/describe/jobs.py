"""Makes jobs of questions, and answers of what became of the jobs."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from vidctl.errors import MediaError, SchemaMismatchError, UsageError, VidctlError
from vidctl.media import image
from vidctl.runpod.jobs import Job
from vidctl.runpod.limits import RUN_BYTES
from vidctl.tasks.context import TaskContext, TaskEndpoint
from vidctl.tasks.describe.budget import MAX_MODEL_LEN, WORKER_IMAGES, image_tokens, pixel_budget
from vidctl.tasks.describe.codec import decode, encode, repair
from vidctl.tasks.describe.model import DescribeOptions, Description, Result, Sent
from vidctl.tasks.describe.questions import Album, Clip, Fetch, FetchInto, Posed, Question
from vidctl.tasks.invoker import Request
from vidctl.tasks.kept_answers import AnswerCache

_JOB_BYTES = RUN_BYTES - 64 * 1024
_LEAST_PIXELS = 32 * 32  # of an image that is to be resized further


@dataclass(frozen=True)
class DescribeSettings:
    """How questions are sent: `clip` is what is seen of videos, `protocol` what the worker speaks (None: vidctl's own).

    `model` is what an OpenAI server knows the model by, `max_images` what the worker takes at once, if known, and
    `max_model_len` how many tokens the model's context holds.
    """

    clip: Clip = field(default_factory=Clip)
    protocol: str | None = None
    model: str | None = None
    max_images: int | None = None
    max_model_len: int | None = None


def settings_for(context: TaskContext, endpoint: TaskEndpoint, posed: Posed) -> DescribeSettings:
    """How this endpoint is asked; how many images it takes is looked up where there may be many."""
    protocol = context.protocol or endpoint.facts.protocol
    if context.model is not None and protocol is None:
        raise UsageError(
            f"model: {context.model}, but vidctl's own worker has one model",
            hint="MODEL_NAME in the spec's env names it",
        )
    model = context.model
    if protocol is not None and model is None:
        model = endpoint.variable("OPENAI_SERVED_MODEL_NAME_OVERRIDE") or endpoint.variable("MODEL_NAME")
    images = length = None
    if protocol is not None or posed.may_have_many_images:
        images, length = (_count(endpoint.variable(name)) for name in ("MAX_IMAGES", "MAX_MODEL_LEN"))
    if images is None and protocol is None and (endpoint.key or endpoint.facts.task):
        images = WORKER_IMAGES
    return DescribeSettings(posed.clip, protocol, model, images, length)


def _count(text: str | None) -> int | None:
    return int(text) if text and text.isascii() and text.isdigit() else None


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


@dataclass(frozen=True)
class Described:
    """What became of one question: `result` is its Description, or Failed with the error."""

    question: Question
    result: Result
    effort: Effort = field(default_factory=Effort)


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


def effort(jobs: Sequence[Job]) -> Effort:
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
class SentQuestion:
    """A question that was sent: which one it is, and how many tokens its images are to a Qwen3-VL."""

    number: int
    image_tokens: int


class QuestionJobs:
    """Makes jobs of questions, and answers of what became of the jobs."""

    def __init__(
        self,
        options: DescribeOptions,
        settings: DescribeSettings,
        fetch: Fetch,
        fetch_into: FetchInto,
        cache: AnswerCache | None = None,
    ) -> None:
        self.settings = settings
        # What is sampled is another answer each time, and is requested each time.
        self._cache = cache if options.temperature == 0 and "sampling_params" not in options.extra else None
        self._options = options
        # Without a form that its answer must have, whatever was answered can be read.
        self._formless = replace(options, schema=None, choices=(), regex=None)
        self.has_form = self._formless != options
        self._album = Album(settings.clip, fetch, fetch_into, max_images=settings.max_images, budget=self._pixels)

    def _pixels(self, count: int) -> int:
        """How many each of so many images may have; `--set max_pixels` says it of each."""
        context = self.settings.max_model_len or MAX_MODEL_LEN
        requested = self._options.extra.get("max_pixels")
        if isinstance(requested, int) and requested > 0:
            return requested
        return pixel_budget(count, max_model_len=context, max_tokens=self._options.max_tokens)

    def check(self) -> None:
        """Raise UsageError for options that the worker's input format cannot express."""
        self._payload((Sent("", b"", 32, 32),), self._options, is_streamed=False)

    def request(self, question: Question, number: int, *, is_streamed: bool = False) -> Request[SentQuestion]:
        """The job for a question, and one more if its answer is not of the requested form.  Raises MediaError, …."""
        sent, payload = self._fitting(question, is_streamed=is_streamed)
        subject = SentQuestion(number, sum(image_tokens(each.width, each.height) for each in sent))
        what = f"describe {question.label}"

        def follow_up(job: Job) -> Request[SentQuestion] | None:
            mismatch = self._mismatch(question, job)
            if mismatch is None:
                return None
            again = repair(self._options, mismatch.text, mismatch.problem)
            payload = self._payload(sent, again, is_streamed=False)
            return Request(payload, f"{what}, once more", subject, digest=self._digest(payload))

        following = follow_up if self.has_form else None
        return Request(payload, what, subject, digest=self._digest(payload), follow_up=following)

    def _digest(self, payload: dict[str, Any]) -> str | None:
        """What names a request whose answer may be given again."""
        return self._cache.digest(payload) if self._cache else None

    def read(self, question: Question, jobs: Sequence[Job], subject: SentQuestion) -> Description:
        """The answer of the last job, which has the tokens of all."""
        *earlier, last = jobs
        try:
            answer = decode(last.output, question.name, self._options, self.settings.protocol)
        except VidctlError as error:
            error.job_id = last.id
            raise
        for job in earlier:
            before = decode(job.output, question.name, self._formless, self.settings.protocol)
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
        names = (self.settings.model, (answer.model or {}).get("name"))
        return self.settings.protocol is not None and any("qwen3-vl" in str(name).lower() for name in names)

    def _mismatch(self, question: Question, job: Job) -> SchemaMismatchError | None:
        try:
            decode(job.output, question.name, self._options, self.settings.protocol)
        except SchemaMismatchError as mismatch:
            cut = decode(job.output, question.name, self._formless, self.settings.protocol).finish_reason
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
        return encode(sent, options, self.settings.protocol, model=self.settings.model, stream=is_streamed)


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
