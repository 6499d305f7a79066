"""What a script imports and the command line is a thin user of."""

from __future__ import annotations

import os
from collections.abc import Generator, Iterable, Mapping, Sequence
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NoReturn

from vidctl.endpoints import EndpointFinder, cache_settings, default_target
from vidctl.errors import UsageError, VidctlError
from vidctl.kinds import KINDS
from vidctl.media.given import Given
from vidctl.media.kinds import AUDIO, IMAGES
from vidctl.progress import Notify, silent
from vidctl.project import settings
from vidctl.tasks.context import TaskContext, TaskEndpoint
from vidctl.tasks.invoker import Invoker
from vidctl.tasks.options import check_names, check_texts, only, seconds
from vidctl.tasks.results import Failed, answer_of
from vidctl.tasks.spending import SpendingLimit

if TYPE_CHECKING:  # Pillow for images, PyAV for audio files: neither is loaded for the other
    from vidctl.tasks.call import JobResult
    from vidctl.tasks.describe.jobs import Described
    from vidctl.tasks.describe.model import Description
    from vidctl.tasks.describe.streaming import DescriptionStream
    from vidctl.tasks.detect.model import Detections
    from vidctl.tasks.detect.run import Found
    from vidctl.tasks.invoker import Waiting
    from vidctl.tasks.transcribe.model import Transcript
    from vidctl.tasks.transcribe.run import OnProgress, Transcribed


class Client:
    """One project and one target.

    `target` is "local" or "runpod" (default: runpod when RUNPOD_API_KEY is set, in the environment or `.env`);
    `endpoint` names a spec (`yolo`), `overlay` what lies over it (`prod`; the endpoint `yolo.prod` says both),
    `endpoint_id` an endpoint of any origin; by default the deployed spec of the task is used.  `protocol` is what an
    endpoint's worker speaks, if neither vidctl's own nor what its spec says, and `model` what it calls its model, if
    that is asked for.  `timeout_s` is how long to wait for one job.  A duration is a number of seconds, or text: "90s",
    "5m", "1:30".  With `max_cost_usd` no job is sent whose execution time could cost more than is left of it: what was
    paid for is delivered, then CostLimitError raised.  With `cache`, such as "30d", what the endpoint answered is kept
    and given again, instead of being paid once more, as long as the same version is deployed: detections, transcripts,
    and descriptions at temperature 0.  None is what vidctl.yaml says, False never; `run` keeps none unless it is said.
    `notify` takes a `vidctl.progress.Progress` when the local runtime has to be started, or kept answers are used.
    Every failure is a `vidctl.errors.VidctlError`.
    """

    def __init__(
        self,
        *,
        target: str | None = None,
        endpoint: str | None = None,
        overlay: str | None = None,
        endpoint_id: str | None = None,
        protocol: str | None = None,
        model: str | None = None,
        project: Path | str = ".",
        timeout_s: float | str = 600,
        max_cost_usd: float | None = None,
        cache: float | str | Literal[False] | None = None,
        notify: Notify = silent,
        **unknown: NoReturn,
    ) -> None:
        named = {"endpoint": endpoint, "overlay": overlay, "endpoint_id": endpoint_id}
        texts = {"target": target, **named, "protocol": protocol, "model": model}
        check_names("Client", unknown, (*texts, "project", "timeout_s", "max_cost_usd", "cache", "notify"))
        check_texts(texts)
        if not callable(notify):
            raise UsageError(f"notify: {notify!r} cannot be called")
        self._timeout_s = seconds("timeout_s", timeout_s)
        if self._timeout_s <= 0:
            raise UsageError(f"timeout_s: {timeout_s!r} is not over 0")
        try:
            self.project = settings.open_project(Path(project), os.environ)
        except (TypeError, ValueError) as error:
            raise UsageError(f"project: {project!r} is no folder") from error
        self.target, self.is_target_by_default = settings.choose_target(
            self.project, target, default=default_target(self.project)
        )
        if max_cost_usd is not None and not (isinstance(max_cost_usd, (int, float)) and max_cost_usd > 0):
            raise UsageError(f"max_cost_usd: {max_cost_usd!r} is not a number over 0")
        self._max_cost_usd = max_cost_usd
        by_settings, journal_bytes = cache_settings(self.project)
        self._task_cache_s, self._is_cache_said = _cache_s(cache, by_settings), cache is not None
        self._finder = EndpointFinder(self.project, self.target, **named, journal_bytes=journal_bytes)
        self._protocol, self._model, self._notify = protocol, model, notify
        self._endpoint: TaskEndpoint | None = None
        self._invoker: Invoker | None = None

    def detect(self, source: Given, **options: Any) -> Detections:
        """Find objects in one image: a path, an https:// URL, a file's bytes, an open file, or an image in memory.

        An array is in BGR, as OpenCV and Ultralytics have it; an image of Pillow's is taken as it is.
        `options` are those of `DetectOptions`.  Boxes are in the image's own pixels, as displayed.  Raises
        MediaError, JobFailedError, TimedOutError, ….
        """
        (found,) = self.detect_many([only(source, IMAGES, "detect_many")], **options)
        return answer_of(found.result)

    def detect_many(
        self,
        sources: Given | Iterable[Given],
        *,
        recursive: bool = False,
        waiting: Waiting | None = None,
        **options: Any,
    ) -> Generator[Found, None, None]:
        """Yield what was found in each image, in the order of `sources`: files, folders, globs, URLs, `@lists`.

        An image that fails does not stop the rest, nor does what is no image: its result is Failed.  Many images are
        sent in a job, several jobs at once; closing the iterator cancels what is out.  `waiting` hears, in threads, in
        what state a job that takes long is and how the endpoint is.
        """
        from vidctl.tasks.detect import run

        return run.run(self._context("detect"), sources, recursive=recursive, waiting=waiting, **options)

    def transcribe(self, source: Given, **options: Any) -> Transcript:
        """Transcribe one audio file or video: a path, an https:// URL, a file's bytes, or an open file.

        `options` are those of `transcribe_many`.  A part that failed is one of the transcript's `gaps`.  Raises
        MediaError, JobFailedError, TimedOutError, … if nothing could be transcribed.
        """
        (transcribed,) = self.transcribe_many([only(source, AUDIO, "transcribe_many")], **options)
        self.delivered(transcribed)
        return answer_of(transcribed.result)

    def transcribe_many(
        self,
        sources: Given | Iterable[Given],
        *,
        recursive: bool = False,
        chunk_s: float | str | None = None,
        audio_track: int | str | None = None,
        resume: bool = False,
        on_progress: OnProgress | None = None,
        waiting: Waiting | None = None,
        **options: Any,
    ) -> Generator[Transcribed, None, None]:
        """Yield the transcript of each audio file, in the order of `sources`: files, folders, globs, URLs, `@lists`.

        An audio file longer than `chunk_s` seconds is cut at silences and sent as jobs side by side.  Of a video with
        several audio tracks `audio_track` is heard, a number from 1 or a language, else what a player would choose.
        With `resume` only what an earlier run did not get is sent: answers are kept for a week, or until `delivered` is
        called.  An audio file that fails, or is none, does not stop the rest: its result is Failed.  `on_progress`
        hears, in threads, what comes while an audio file is not done, and `waiting` what a slow job waits for.
        `options` are those of `TranscribeOptions`.  Closing the iterator cancels what is out.
        """
        from vidctl.tasks.transcribe import run

        return run.run(
            self._context("transcribe"),
            sources,
            recursive=recursive,
            chunk_s=chunk_s,
            audio_track=audio_track,
            resume=resume,
            on_progress=on_progress,
            waiting=waiting,
            **options,
        )

    def delivered(self, transcribed: Transcribed) -> None:
        """Drop the answers that a transcript is made of, unless a part of it is missing: nobody will ask for them."""
        result = transcribed.result
        if self._invoker is not None and not isinstance(result, Failed) and not result.gaps:
            self._invoker.delivered(transcribed.digests)

    def describe(self, source: Given | Sequence[Given], prompt: str | None = None, **how: Any) -> Description:
        """Ask a vision-language model about one image or video, or about several together.

        A source is what `detect` takes, or a video; `how` is what `describe_many` takes.  With a schema the
        answer is in the result's `data`.  Raises MediaError, JobFailedError, SchemaMismatchError, TimedOutError, ….
        """
        from vidctl.tasks.describe import questions

        (described,) = self.describe_many(source, prompt, **questions.shared("describe", how))
        return answer_of(described.result)

    def describe_stream(
        self, source: Given | Sequence[Given], prompt: str | None = None, *, waiting: Waiting | None = None, **how: Any
    ) -> DescriptionStream:
        """Give the answer in pieces, as they are made; at the end the stream's `result` is what `describe` returns.

            with Client().describe_stream("frame.jpg", "What happens here?") as pieces:
                for piece in pieces:
                    print(piece, end="", flush=True)
            print(pieces.result.completion_tokens)

        The text is as the model wrote it: what a terminal would obey is in it.  Closing the stream cancels the job.
        """
        from vidctl.tasks.describe import streaming

        return streaming.run(self._context("describe"), source, prompt, waiting=waiting, **how)

    def describe_many(
        self,
        sources: Given | Iterable[Given],
        prompt: str | None = None,
        *,
        together: bool = False,
        recursive: bool = False,
        waiting: Waiting | None = None,
        **how: Any,
    ) -> Generator[Described, None, None]:
        """Yield what a model says of each source, in their order: files, folders, globs, URLs, `@lists`; or of all.

        `how` may name a `preset`, a question such as `caption` where there is no prompt; what else is given goes before
        what it says.  Of a video the images `at_s` seconds are seen, or `fps` a second `from_s` to `to_s`, or a few of
        its whole length.  The rest are options of `DescribeOptions`; a schema may be text, such as "name, age int".  A
        source that fails, or is none, does not stop the rest: its result is Failed.  Several jobs are out at once, and
        closing the iterator cancels them.  `waiting` hears, in threads, what a slow job waits for.
        """
        from vidctl.tasks.describe import run

        how |= {"together": together, "recursive": recursive}
        return run.run(self._context("describe"), sources, prompt, waiting=waiting, **how)

    def run(self, given: Mapping[str, Any], *, waiting: Waiting | None = None, **options: Any) -> JobResult:
        """Run one job of any endpoint, with the input that its worker takes, and wait for its output.

            Client(endpoint="mine").run({"name": "world"}).output

        `options` are `webhook` (a URL), `execution_timeout` and `ttl` (durations), and `priority` ("low").  Raises
        JobFailedError, TimedOutError, ….
        """
        from vidctl.tasks import call

        chosen = call.job_options(**_known("run", options))
        return call.run(self._any(), given, chosen, timeout_s=self._timeout_s, waiting=waiting)

    def submit(self, given: Mapping[str, Any], **options: Any) -> str:
        """The same without waiting: the job's id, which is in the journal."""
        from vidctl.tasks import call

        chosen = call.job_options(**_known("submit", options))
        return call.submit(self._any(), given, chosen, timeout_s=self._timeout_s)

    def run_many(
        self,
        inputs: Iterable[Mapping[str, Any] | UsageError],
        *,
        in_flight: int = 16,
        resume: bool = False,
        resend_unknown: bool = False,
        waiting: Waiting | None = None,
        **options: Any,
    ) -> Generator[JobResult, None, None]:
        """Yield what became of each input's job, in their order, with at most `in_flight` of them out at once.

        With `resume` only what an earlier run did not get is sent, and with `resend_unknown` also what that had sent
        without getting to know whether it was accepted.  A job that fails does not stop the rest: its result has an
        `error`.  `options` are those of `run`.  Closing the iterator cancels what is out.
        """
        from vidctl.tasks import call

        chosen = call.job_options(**_known("run_many", options))
        return call.run_many(
            self._any(),
            inputs,
            chosen,
            in_flight=in_flight,
            timeout_s=self._timeout_s,
            resume=resume,
            resend_unknown=resend_unknown,
            waiting=waiting,
        )

    def stream(
        self, given: Mapping[str, Any], *, waiting: Waiting | None = None, **options: Any
    ) -> Generator[Any, None, None]:
        """Yield what a job of any endpoint puts out, as it comes: each output once.  Closing it cancels the job."""
        from vidctl.tasks import call

        chosen = call.job_options(**_known("stream", options))
        return call.stream(self._any(), given, chosen, timeout_s=self._timeout_s, waiting=waiting)

    def smoke_input(self) -> Path | None:
        """The file with the job of the endpoint's smoke test, by its spec; None where there is none."""
        return self._finder.smoke_input(self._finder.find_any())

    @property
    def rate_limited(self) -> int:
        """How often RunPod did not take a job at first, for there were too many (429)."""
        return self._invoker.rate_limited if self._invoker else 0

    def _any(self) -> Invoker:
        if self.target == "runpod":
            settings.runpod_access(self.project)
        return self._connect("run", self._finder.find_any())

    def run_task(self, task: str, *arguments: Any, **options: Any) -> Any:
        """Run a task by its name: what it takes and gives is its own, for `detect` what `detect_many` does."""
        if task not in KINDS:
            raise UsageError(f"unknown task {task!r}", hint=f"available: {', '.join(KINDS)}")
        return import_module(KINDS[task].run).run(self._context(task), *arguments, **options)

    def price_per_s(self, task: str) -> float | None:
        """What a second of the task's worker costs, in US dollars; None where that is not known, or nothing is paid."""
        return None if self.target == "local" else self._finder.price_per_s(task)

    def interrupt(self) -> VidctlError:
        """Cancel what is out; return the error that says what was cancelled."""
        return UsageError("nothing was running") if self._invoker is None else self._invoker.interrupt()

    def endpoint_id(self, task: str) -> str:
        """The endpoint that answers for a task; raise NotDeployedError, or UsageError where several may be meant."""
        return self._finder.find(task).id

    @property
    def endpoint_name(self) -> str | None:
        """The endpoint that was used last: its spec, or its id where it was given by that."""
        return self._endpoint.name if self._endpoint else None

    @property
    def endpoint_line(self) -> str:
        """The same as a line to read."""
        return f"asking endpoint {self._endpoint or ''} on {self.target}"

    def _context(self, task: str) -> TaskContext:
        find, connect = partial(self._find, task), partial(self._connect, task)
        return TaskContext(self.project.root, self._timeout_s, self._protocol, self._model, find, connect)

    def _find(self, task: str) -> TaskEndpoint:
        if self.target == "runpod":
            settings.runpod_access(self.project)  # a missing key is the first thing to say
        return self._finder.find(task)

    def _connect(self, task: str, endpoint: TaskEndpoint) -> Invoker:
        self._endpoint = endpoint
        spending = None if self._max_cost_usd is None else self._limit(endpoint, self._max_cost_usd)
        # Any other endpoint may answer otherwise each time: its caller has to say that it does not.
        cache_s = self._task_cache_s if task in KINDS or self._is_cache_said else None
        self._invoker = self._finder.connect(
            endpoint, command=task, spending=spending, cache_s=cache_s, notify=self._notify
        )
        return self._invoker

    def _limit(self, endpoint: TaskEndpoint, most_usd: float) -> SpendingLimit:
        """The limit at what a second of the endpoint costs at most; raise UsageError where that is not known."""
        from vidctl.cost.gather import most_per_s

        if self.target == "local":
            return SpendingLimit(most_usd)  # nothing is paid
        price = most_per_s(self.project, self._finder.gpus_of(endpoint))
        if price is None:
            raise UsageError(
                f"the price of endpoint {endpoint} is not known, so a limit of costs cannot be kept",
                hint="name the endpoint by its spec, with GPUs whose price RunPod publishes",
            )
        return SpendingLimit(most_usd, price)


def _cache_s(said: float | str | Literal[False] | None, by_settings: float | None) -> float | None:
    """For how long answers are kept and given again; None for not at all."""
    if said is None:
        return by_settings
    return None if said is False else seconds("cache", said)


_JOB_OPTIONS = ("webhook", "execution_timeout", "ttl", "priority")


def _known(method: str, options: Mapping[str, Any]) -> Mapping[str, Any]:
    check_names(method, options, _JOB_OPTIONS)
    return options
