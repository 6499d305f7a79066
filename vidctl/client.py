"""What a script imports and the command line is a thin user of: here the real collaborators are made."""

from __future__ import annotations

import dataclasses
import os
from collections import deque
from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vidctl import __version__, settings
from vidctl.errors import AuthError, JobFailed, MediaError, NotDeployed, UsageError, VidctlError
from vidctl.invoke import Answer, Invoker, Request
from vidctl.journal import Journal
from vidctl.media.image import Prepared, prepare
from vidctl.media.sources import Source, expand, read
from vidctl.progress import Notify, Progress
from vidctl.runpod.http import Http, download
from vidctl.runpod.jobs import MAX_REQUEST_BYTES, Jobs
from vidctl.settings import Access, Project
from vidctl.tasks.detect import Detections, DetectOptions, Failed, Result, decode, encode

if TYPE_CHECKING:  # reading specs takes as long to load as all the rest, and pictures are waiting
    from vidctl import deploy
    from vidctl.spec import EndpointSpec

# What RunPod's queue gives one worker is about a job a second, so a job carries many pictures.
PICTURES_PER_JOB = 16
JOBS_IN_FLIGHT = 6
_JOB_BYTES = MAX_REQUEST_BYTES - 64 * 1024  # of base64; the rest is for the options


@dataclass(frozen=True)
class Found:
    """What became of one source: `result` is its Detections, or Failed with the error."""

    source: Source
    result: Result


@dataclass(frozen=True)
class _Picture:
    index: int
    source: Source
    prepared: Prepared

    @property
    def encoded_bytes(self) -> int:
        return len(self.prepared.jpeg) * 4 // 3 + 8


class Client:
    """One project and one target.

    `target` is "local" or "runpod" (default: runpod when RUNPOD_API_KEY is set, in the environment or `.env`);
    `endpoint` names a spec (`yolo`), `endpoint_id` an endpoint of any origin; by default the deployed spec of the task
    is used.  `timeout_s` is how long to wait for one job.  Every failure is a `vidctl.errors.VidctlError`.
    """

    def __init__(
        self,
        *,
        target: str | None = None,
        endpoint: str | None = None,
        endpoint_id: str | None = None,
        project: Path | str = ".",
        timeout_s: float = 600,
    ) -> None:
        self.project = settings.open_project(Path(project), os.environ)
        self.is_target_by_default = settings.choose_target(self.project, target)[1]
        self.access = connect(self.project, target)
        self._endpoint = endpoint
        self._endpoint_id = endpoint_id
        self._timeout_s = timeout_s
        self._jobs = Jobs(Http(self.access.api_key), self.access.endpoint_base_url)
        self._journal = Journal(self.project.journal_file)
        self._invoker: Invoker | None = None

    def detect(self, source: str | os.PathLike[str], **options: Any) -> Detections:
        """Find objects in one picture: a path or an https:// URL; `options` are those of `DetectOptions`.

        Boxes are in the picture's own pixels, as displayed.  Raises MediaError, JobFailed, TimedOut, ….
        """
        found = list(self.detect_many([os.fspath(source)], **options))
        if len(found) != 1:
            raise UsageError(f"{source} means {len(found)} pictures", hint="use detect_many")
        result = found[0].result
        if isinstance(result, Failed):
            raise result.error
        return result

    def detect_many(
        self, sources: Iterable[str | os.PathLike[str] | Source], *, recursive: bool = False, **options: Any
    ) -> Generator[Found, None, None]:
        """Yield what was found in each picture, in the order of `sources`: files, folders, globs, URLs, `@lists`.

        A picture that fails does not stop the rest.  Many pictures travel in a job, several jobs at once; closing the
        iterator cancels what is out.
        """
        chosen = DetectOptions(**options)
        pictures: list[Source] = []
        for source in sources:
            pictures += [source] if isinstance(source, Source) else expand([os.fspath(source)], recursive=recursive)
        self._invoker = Invoker(
            self._jobs, self.endpoint_id("detect"), target=self.access.target, journal=self._journal
        )
        return _detect(pictures, chosen, self._invoker, self._timeout_s)

    def interrupt(self) -> VidctlError:
        """Cancel what is out; return the error that says what was cancelled."""
        if self._invoker is None:
            return UsageError("nothing was running")
        return self._invoker.interrupt()

    def endpoint_id(self, task: str) -> str:
        """The endpoint that answers for a task; raise NotDeployed."""
        if self._endpoint_id:
            return self._endpoint_id
        keys = [self._endpoint] if self._endpoint else _keys_of(task, self.project)
        for key in keys:
            name = settings.endpoint_id_name(Path(key).stem, self.access.target)
            if endpoint_id := self.project.environ.get(name):
                return endpoint_id
        raise NotDeployed(
            f"{' or '.join(keys) or f'a spec for {task}'} is not deployed to {self.access.target}",
            hint=f"vidctl deploy {keys[0] if keys else 'NAME'} --target {self.access.target}",
        )


def connect(project: Project, target: str | None) -> Access:
    """The way to the target; the local runtime is started when it does not run."""
    chosen, _ = settings.choose_target(project, target)
    if chosen == "runpod":
        return settings.runpod_access(project)
    from vidctl.local import daemon

    running = daemon.up()
    return Access("local", running.api_base_url, running.endpoint_base_url, running.api_key)


def deploy_target(project: Project, chosen: settings.Target) -> deploy.Target:
    """Everything that a deploy speaks to."""
    from vidctl import deploy
    from vidctl.runpod.graphql import GraphQL

    access = connect(project, chosen)
    http = Http(access.api_key)
    is_local = chosen == "local"
    return deploy.Target(
        name=chosen,
        control=GraphQL(http, access.api_base_url),
        jobs=Jobs(http, access.endpoint_base_url),
        images=_WorkerFolders() if is_local else _Prebuilt(),
        journal=Journal(project.journal_file),
        worker_log=(lambda endpoint_id: _local_log(http, access, endpoint_id)) if is_local else (lambda _: []),
    )


class _WorkerFolders:
    """For the local runtime: the worker's folder is the image, and its virtual environment what is built."""

    def reference(self, spec: EndpointSpec) -> str:
        from vidctl.local import environments

        if spec.image.build is None:
            raise UsageError(
                f"{spec.key}: the local runtime runs a worker's folder, and image has no build:",
                hint="give image a build: folder, or deploy with --target runpod",
            )
        return environments.image_name(spec.image.build)

    def provide(self, spec: EndpointSpec, env: Mapping[str, str], notify: Notify) -> None:
        from vidctl.local import environments

        if spec.image.build is not None:
            environments.interpreter(spec.image.build, env, notify=lambda line: notify(Progress("image", line)))


class _Prebuilt:
    """For RunPod: an image that is in a registry already."""

    def reference(self, spec: EndpointSpec) -> str:
        if spec.image.reference is None:
            raise UsageError(
                f"{spec.key}: vidctl {__version__} cannot build and push images yet",
                hint="build and push it, and name it as image.reference; or deploy with --target local",
            )
        return spec.image.reference

    def provide(self, spec: EndpointSpec, env: Mapping[str, str], notify: Notify) -> None:
        """RunPod's hosts pull it."""


def _local_log(http: Http, access: Access, endpoint_id: str) -> list[str]:
    """The newest log lines of the endpoint's last worker."""
    try:
        answer = http.read("GET", f"{access.api_base_url}/local/v1/endpoints/{endpoint_id}/workers")
    except VidctlError:
        return []
    workers = answer.get("workers") if isinstance(answer, dict) else None
    return [str(line) for line in (workers[-1].get("lastLog") or [])] if workers else []


def _keys_of(task: str, project: Project) -> list[str]:
    """The specs for a task; a spec that cannot be read is not one of them, and `vidctl validate` says why."""
    from vidctl import spec

    def is_for_task(key: str) -> bool:
        try:
            return spec.load(spec.find(key, root=project.root), environ=project.environ).task == task
        except VidctlError:
            return False

    return [key for key in spec.names(project.root) if is_for_task(key)]


def _detect(
    sources: Sequence[Source], options: DetectOptions, invoker: Invoker, timeout_s: float
) -> Generator[Found, None, None]:
    """Read ahead, pack, send, and put failures back in their places."""
    unread: dict[int, Found] = {}
    with ThreadPoolExecutor(2, thread_name_prefix="vidctl-picture") as readers:
        requests = _requests(_read_ahead(sources, options, readers, unread), options)
        answers = invoker.ask_many(requests, window=JOBS_IN_FLIGHT, timeout_s=timeout_s)
        next_index = 0
        try:
            for answer in answers:
                for picture, found in zip(answer.request.subject, _found(answer), strict=True):
                    while next_index < picture.index:
                        yield unread.pop(next_index)
                        next_index += 1
                    yield found
                    next_index += 1
            while next_index < len(sources):
                yield unread.pop(next_index)
                next_index += 1
        finally:
            answers.close()  # cancels what is out
            readers.shutdown(wait=False, cancel_futures=True)


def _read_ahead(
    sources: Sequence[Source], options: DetectOptions, readers: ThreadPoolExecutor, unread: dict[int, Found]
) -> Iterator[_Picture]:
    """Pictures ready to be sent, in order, a job's worth ahead; those that cannot be read go into `unread`."""
    waiting: deque[tuple[int, Source, Future[tuple[Source, Prepared]]]] = deque()
    source_numbers = enumerate(sources)
    while True:
        while len(waiting) < PICTURES_PER_JOB and (following := next(source_numbers, None)) is not None:
            index, source = following
            waiting.append((index, source, readers.submit(_prepare, source, options.imgsz)))
        if not waiting:
            return
        index, source, future = waiting.popleft()
        try:
            kept, prepared = future.result()
        except VidctlError as error:
            unread[index] = _failed(source, error)
        else:
            yield _Picture(index, kept, prepared)


def _prepare(source: Source, imgsz: int) -> tuple[Source, Prepared]:
    data = read(source, fetch=download)
    prepared = prepare(data, imgsz=imgsz, name=source.name)
    if len(prepared.jpeg) * 4 // 3 > _JOB_BYTES:
        raise MediaError(
            f"{source.name}: {len(prepared.jpeg) / 1e6:.1f} MB to send, over RunPod's 10 MB for a request",
            hint="a smaller --imgsz sends less",
        )
    # A file is read again by whoever wants to draw on it; what came over the network is not fetched twice.
    return (dataclasses.replace(source, data=data) if source.url else source), prepared


def _requests(pictures: Iterable[_Picture], options: DetectOptions) -> Iterator[Request[list[_Picture]]]:
    for job in _packed(pictures):
        first = job[0].source.name
        yield Request(
            encode([picture.prepared for picture in job], options),
            what=f"detect {first}" + (f" and {len(job) - 1} more" if len(job) > 1 else ""),
            subject=job,
        )


def _packed(pictures: Iterable[_Picture]) -> Iterator[list[_Picture]]:
    """As many pictures to a job as RunPod takes in a request."""
    job: list[_Picture] = []
    for picture in pictures:
        is_full = len(job) == PICTURES_PER_JOB or sum(p.encoded_bytes for p in job) + picture.encoded_bytes > _JOB_BYTES
        if job and is_full:
            yield job
            job = []
        job.append(picture)
    if job:
        yield job


def _found(answer: Answer[list[_Picture]]) -> list[Found]:
    pictures = answer.request.subject
    if isinstance(answer.error, (AuthError, NotDeployed)):
        raise answer.error  # it will be the same for every other job
    if answer.job is None:
        reason = answer.error or JobFailed("the job ended without an answer")
        return [_failed(picture.source, reason) for picture in pictures]
    try:
        results = decode(
            answer.job.output,
            [picture.prepared for picture in pictures],
            [picture.source.name for picture in pictures],
        )
    except VidctlError as error:
        error.job_id = answer.job.id
        return [_failed(picture.source, error) for picture in pictures]
    return [
        _failed(picture.source, result) if isinstance(result, VidctlError) else Found(picture.source, result)
        for picture, result in zip(pictures, results, strict=True)
    ]


def _failed(source: Source, error: VidctlError) -> Found:
    return Found(source, Failed(source.name, error))
