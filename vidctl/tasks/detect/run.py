"""Find objects in many images: read ahead, pack many into a job, and put results back in the order of the sources."""

from __future__ import annotations

import dataclasses
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

from vidctl.errors import AuthError, JobFailedError, MediaError, NotDeployedError, VidctlError
from vidctl.media.given import Given
from vidctl.media.image import PreparedImage, prepare
from vidctl.media.kinds import IMAGES
from vidctl.media.sources import Source, read
from vidctl.runpod.limits import RUN_BYTES
from vidctl.tasks.context import TaskContext
from vidctl.tasks.detect.codec import decode, encode
from vidctl.tasks.detect.model import DetectOptions, Result
from vidctl.tasks.invoker import Invoker, JobAnswer, Request, Waiting
from vidctl.tasks.kept_answers import AnswerCache
from vidctl.tasks.options import expanded, made
from vidctl.tasks.results import Failed

# What RunPod's queue gives one worker is about a job a second, so a job carries many images.
IMAGES_PER_JOB = 16
JOBS_IN_FLIGHT = 6
_JOB_BYTES = RUN_BYTES - 64 * 1024  # of base64; the rest is for the options


@dataclass(frozen=True)
class Found:
    """What became of one source: `result` is its Detections, or Failed with the error."""

    source: Source
    result: Result


@dataclass(frozen=True)
class _ImageToSend:
    index: int
    source: Source
    prepared: PreparedImage

    @property
    def encoded_bytes(self) -> int:
        return len(self.prepared.jpeg) * 4 // 3 + 8


def run(
    context: TaskContext,
    sources: Given | Iterable[Given],
    *,
    recursive: bool = False,
    waiting: Waiting | None = None,
    **options: Any,
) -> Generator[Found, None, None]:
    """What `Client.detect_many` does."""
    chosen = made(DetectOptions, "detect", options)
    images = expanded(sources, IMAGES, recursive=recursive)
    endpoint = context.find()
    invoker = context.connect(endpoint)
    return detect(images, chosen, invoker, fetch=context.fetch, timeout_s=context.timeout_s, waiting=waiting)


def detect(
    sources: Sequence[Source],
    options: DetectOptions,
    invoker: Invoker,
    *,
    fetch: Callable[[str], bytes],
    timeout_s: float,
    waiting: Waiting | None = None,
) -> Generator[Found, None, None]:
    """Yield what became of each source, in their order; closing the generator cancels what is out.

    `waiting` hears, in threads, why there is no answer yet.
    Raises AuthError and NotDeployedError at once, for they will be the same for every other job.
    """
    unread: dict[int, Found] = {}
    readers = ThreadPoolExecutor(2, thread_name_prefix="vidctl-image")
    requests = _requests(_read_ahead(sources, options, readers, unread, fetch), options, invoker.cache)
    answers = invoker.ask_many(requests, window=JOBS_IN_FLIGHT, timeout_s=timeout_s, waiting=waiting)
    next_index = 0
    try:
        for answer in answers:
            for image, found in zip(answer.request.subject, _found(answer, invoker), strict=True):
                while next_index < image.index:
                    yield unread.pop(next_index)
                    next_index += 1
                yield found
                next_index += 1
        while next_index < len(sources):
            yield unread.pop(next_index)
            next_index += 1
    finally:
        answers.close()  # cancels what is out
        readers.shutdown(wait=False, cancel_futures=True)  # a read may hang: nobody waits for it


def _read_ahead(
    sources: Sequence[Source],
    options: DetectOptions,
    readers: ThreadPoolExecutor,
    unread: dict[int, Found],
    fetch: Callable[[str], bytes],
) -> Iterator[_ImageToSend]:
    """Images ready to be sent, in order, a job's worth ahead; those that cannot be read go into `unread`."""
    waiting: deque[tuple[int, Source, Future[tuple[Source, PreparedImage]]]] = deque()
    source_numbers = enumerate(sources)
    while True:
        while len(waiting) < IMAGES_PER_JOB and (following := next(source_numbers, None)) is not None:
            index, source = following
            waiting.append((index, source, readers.submit(_prepare, source, options.imgsz, fetch)))
        if not waiting:
            return
        index, source, future = waiting.popleft()
        try:
            kept, prepared = future.result()
        except VidctlError as error:
            unread[index] = _failed(source, error)
        else:
            yield _ImageToSend(index, kept, prepared)


def _prepare(source: Source, imgsz: int, fetch: Callable[[str], bytes]) -> tuple[Source, PreparedImage]:
    data = read(source, fetch=fetch)
    prepared = prepare(data, imgsz=imgsz, name=source.name)
    if len(prepared.jpeg) * 4 // 3 > _JOB_BYTES:
        raise MediaError(
            f"{source.name}: {len(prepared.jpeg) / 1e6:.1f} MB to send, over RunPod's limit of 10 MB per request",
            hint="use a smaller --imgsz",
        )
    # A file is read again by whoever wants to draw on it; what came over the network, or a pipe, cannot be, or not so.
    is_file = source.path is not None and source.path.is_file()
    return (source if is_file else dataclasses.replace(source, data=data)), prepared


def _requests(
    images: Iterable[_ImageToSend], options: DetectOptions, cache: AnswerCache | None
) -> Iterator[Request[list[_ImageToSend]]]:
    for job in _packed(images):
        first = job[0].source.label
        payload = encode([image.prepared for image in job], options)
        yield Request(
            payload,
            what=f"detect {first}" + (f" and {len(job) - 1} more" if len(job) > 1 else ""),
            subject=job,
            digest=cache.digest(payload) if cache else None,
        )


def _packed(images: Iterable[_ImageToSend]) -> Iterator[list[_ImageToSend]]:
    """As many images to a job as RunPod takes in a request."""
    job: list[_ImageToSend] = []
    for image in images:
        is_full = len(job) == IMAGES_PER_JOB or sum(p.encoded_bytes for p in job) + image.encoded_bytes > _JOB_BYTES
        if job and is_full:
            yield job
            job = []
        job.append(image)
    if job:
        yield job


def _found(answer: JobAnswer[list[_ImageToSend]], invoker: Invoker) -> list[Found]:
    images = answer.request.subject
    if isinstance(answer.error, (AuthError, NotDeployedError)):
        raise answer.error  # it will be the same for every other job
    if answer.job is None:
        reason = answer.error or JobFailedError("the job ended without an answer")
        return [_failed(image.source, reason) for image in images]
    try:
        results = decode(
            answer.job.output,
            [image.prepared for image in images],
            [image.source.name for image in images],
        )
    except VidctlError as error:
        error.job_id = answer.job.id
        invoker.forget([answer.request.digest or ""])
        return [_failed(image.source, error) for image in images]
    if any(isinstance(result, VidctlError) for result in results):
        invoker.forget([answer.request.digest or ""])  # the next time it may go well
    return [
        _failed(image.source, result) if isinstance(result, VidctlError) else Found(image.source, result)
        for image, result in zip(images, results, strict=True)
    ]


def _failed(source: Source, error: VidctlError) -> Found:
    return Found(source, Failed(source.name, error))
