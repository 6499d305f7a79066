"""What a script imports and the command line is a thin user of: here the real collaborators are made."""

from __future__ import annotations

import os
from collections.abc import Generator, Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from vidctl.errors import NotDeployedError, SpecError, UsageError, VidctlError
from vidctl.journal import Journal
from vidctl.media.given import Given, several
from vidctl.media.given import sources as sources_of
from vidctl.media.kinds import AUDIO, IMAGES, MediaKind
from vidctl.media.search import settled
from vidctl.media.sources import Source
from vidctl.progress import Notify, silent
from vidctl.project import configs, settings
from vidctl.runpod import gpus
from vidctl.runpod.download import download, download_into
from vidctl.runpod.http import Http
from vidctl.runpod.jobs import Jobs
from vidctl.tasks.batch import Invoker
from vidctl.tasks.options import check_names, made, seconds
from vidctl.tasks.results import Failed

if TYPE_CHECKING:  # Pillow for images, PyAV for audio files: neither is loaded for the other
    from vidctl.spec import EndpointSpec
    from vidctl.tasks.batch import Waiting
    from vidctl.tasks.describe.jobs import Described, DescribeSettings
    from vidctl.tasks.describe.model import DescribeOptions, Description
    from vidctl.tasks.describe.questions import Clip, Question
    from vidctl.tasks.describe.streaming import DescriptionStream
    from vidctl.tasks.detect.model import Detections
    from vidctl.tasks.detect.run import Found
    from vidctl.tasks.transcribe.model import Transcript
    from vidctl.tasks.transcribe.run import OnProgress, Transcribed, TranscriptProgress

from vidctl.endpoints import connect, default_endpoint, default_target, keys_of, layer_texts, protocol_of, task_of


class Client:
    """One project and one target.

    `target` is "local" or "runpod" (default: runpod when RUNPOD_API_KEY is set, in the environment or `.env`);
    `endpoint` names a spec (`yolo`), `overlay` what lies over it (`prod`; the endpoint `yolo.prod` says both),
    `endpoint_id` an endpoint of any origin; by default the deployed spec of the task is used.  `protocol` is what an
    endpoint's worker speaks, if neither vidctl's own nor what its spec says, and `model` what it calls its model, if
    that is asked for.  `timeout_s` is how long to wait for one job.  A duration is a number of seconds, or text: "90s",
    "5m", "1:30".  `notify` takes a `vidctl.progress.Progress` when the local runtime has to be started.  Every failure
    is a `vidctl.errors.VidctlError`.
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
        notify: Notify = silent,
        **unknown: NoReturn,
    ) -> None:
        texts = {
            "target": target, "endpoint": endpoint, "overlay": overlay, "endpoint_id": endpoint_id,
            "protocol": protocol, "model": model,
        }  # fmt: skip
        check_names("Client", unknown, (*texts, "project", "timeout_s", "notify"))
        for name, text in texts.items():
            if text is not None and not isinstance(text, str):
                raise UsageError(f"{name}: {text!r} is not text")
        if not callable(notify):
            raise UsageError(f"notify: {notify!r} cannot be called")
        wait_s = seconds("timeout_s", timeout_s)
        if wait_s <= 0:
            raise UsageError(f"timeout_s: {timeout_s!r} is not over 0")
        if (endpoint or overlay) and endpoint_id:
            raise UsageError("both an endpoint's name and an id are given", hint="give one of the two")
        try:
            self.project = settings.open_project(Path(project), os.environ)
        except (TypeError, ValueError) as error:
            raise UsageError(f"project: {project!r} is no folder") from error
        self.target, self.is_target_by_default = settings.choose_target(
            self.project, target, default=default_target(self.project)
        )
        if endpoint_id is not None and not endpoint_id.strip():
            raise UsageError("endpoint_id: it is empty")
        self._endpoint = endpoint
        self._overlay = overlay
        self._endpoint_id = endpoint_id
        self._protocol = protocol
        self._model = model
        self._timeout_s = wait_s
        self._notify = notify
        self._invoker: Invoker | None = None
        self._fetch = partial(download, timeout_s=wait_s)
        self._fetch_into = partial(download_into, timeout_s=wait_s)
        self._asked: tuple[str, str | None] | None = None

    def detect(self, source: Given, **options: Any) -> Detections:
        """Find objects in one image: a path, an https:// URL, a file's bytes, an open file, or an image in memory.

        An array is in BGR, as OpenCV and Ultralytics have it; an image of Pillow's is taken as it is.
        `options` are those of `DetectOptions`.  Boxes are in the image's own pixels, as displayed.  Raises
        MediaError, JobFailedError, TimedOutError, ….
        """
        (found,) = self.detect_many([_only(source, IMAGES, "detect_many")], **options)
        if isinstance(found.result, Failed):
            raise found.result.error
        return found.result

    def detect_many(
        self,
        sources: Given | Iterable[Given],
        *,
        recursive: bool = False,
        waiting: Waiting | None = None,
        **options: Any,
    ) -> Generator[Found, None, None]:
        """Yield what was found in each image, in the order of `sources`: files, folders, globs, URLs, `@lists`.

        An image that fails does not stop the rest, nor does what is no image: its result is Failed.  Many images
        travel in a job, several jobs at once; closing the iterator cancels what is out.  `waiting` hears, in threads,
        in what state a job that takes long is and how the endpoint is.
        """
        from vidctl.tasks.detect import run
        from vidctl.tasks.detect.model import DetectOptions

        chosen = made(DetectOptions, "detect", options)
        images = _expanded(sources, IMAGES, recursive=recursive)
        self._check_key()
        asking = self._asking(*self._deployed("detect"))  # nothing is started for an endpoint that is not there
        return run.detect(images, chosen, asking, fetch=self._fetch, timeout_s=self._timeout_s, waiting=waiting)

    def transcribe(self, source: Given, **options: Any) -> Transcript:
        """Write down what is said in one audio file or video: a path, an https:// URL, a file's bytes, or an open file.

        `options` are those of `transcribe_many`.  A part that failed is one of the transcript's `gaps`.  Raises
        MediaError, JobFailedError, TimedOutError, … if nothing could be transcribed.
        """
        (transcribed,) = self.transcribe_many([_only(source, AUDIO, "transcribe_many")], **options)
        if isinstance(transcribed.result, Failed):
            raise transcribed.result.error
        self.delivered(transcribed)
        return transcribed.result

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
        from vidctl.tasks.transcribe.model import TranscribeOptions

        chosen = made(
            TranscribeOptions, "transcribe", options, others=("chunk_s", "audio_track", "recursive", "resume")
        )
        if on_progress is not None and not callable(on_progress):
            raise UsageError(f"on_progress: {on_progress!r} cannot be called")
        most_s = None if chunk_s is None else seconds("chunk_s", chunk_s)
        audio_files = _expanded(sources, AUDIO, recursive=recursive)
        self._check_key()
        endpoint_id, key = self._deployed("transcribe")
        from vidctl.media.audio import DEFAULT_CHUNK_S
        from vidctl.tasks.transcribe import run

        protocol = self._protocol or (protocol_of(key, self.project) if key else None)
        applied = Journal(self.project.journal_file).last_applied(endpoint_id)
        version = applied.fingerprint if applied else ""
        length_s = DEFAULT_CHUNK_S if most_s is None else most_s
        manner = run.TranscribeSettings(length_s, protocol, resume, version, audio_track)
        asking = self._asking(endpoint_id, key)
        return run.transcribe(
            audio_files,
            chosen,
            asking,
            manner,
            fetch_into=self._fetch_into,
            timeout_s=self._timeout_s,
            on_progress=on_progress or _silent,
            waiting=waiting,
        )

    def delivered(self, transcribed: Transcribed) -> None:
        """Drop the answers that a transcript is made of, unless a part of it is missing: nobody will ask for them."""
        from vidctl.tasks.transcribe.model import Transcript

        result = transcribed.result
        if self._invoker is not None and isinstance(result, Transcript) and not result.gaps:
            self._invoker.forget(transcribed.digests)

    def describe(self, source: Given | Sequence[Given], prompt: str | None = None, **how: Any) -> Description:
        """Ask a vision-language model about one image or video, or about several together.

        A source is what `detect` takes, or a video; `how` is what `describe_many` takes.  With a schema the
        answer is in the result's `data`.  Raises MediaError, JobFailedError, SchemaMismatchError, TimedOutError, ….
        """
        _refuse_together("describe", how)
        (described,) = self.describe_many(source, prompt, together=True, **how)
        if isinstance(described.result, Failed):
            raise described.result.error
        return described.result

    def describe_stream(
        self,
        source: Given | Sequence[Given],
        prompt: str | None = None,
        *,
        waiting: Waiting | None = None,
        **how: Any,
    ) -> DescriptionStream:
        """Give the answer in pieces, as they are made; at the end the stream's `result` is what `describe` returns.

            with Client().describe_stream("frame.jpg", "What happens here?") as pieces:
                for piece in pieces:
                    print(piece, end="", flush=True)
            print(pieces.result.completion_tokens)

        The text is as the model wrote it: what a terminal would obey is in it.  Closing the stream cancels the job.
        `waiting` hears, while there is no text, in what state the job is and how the endpoint is.
        """
        from vidctl.tasks.describe import streaming

        _refuse_together("describe_stream", how)
        (question,), options, clip = self._posed(source, prompt, together=True, **how)
        asking, manner = self._describing([question], clip)
        return streaming.stream(
            question,
            options,
            asking,
            manner,
            fetch=self._fetch,
            fetch_into=self._fetch_into,
            timeout_s=self._timeout_s,
            waiting=waiting,
        )

    def describe_many(
        self,
        sources: Given | Iterable[Given],
        prompt: str | None = None,
        *,
        together: bool = False,
        recursive: bool = False,
        preset: str | None = None,
        at_s: float | str | Sequence[float | str] = (),
        from_s: float | str | None = None,
        to_s: float | str | None = None,
        fps: float | None = None,
        waiting: Waiting | None = None,
        **options: Any,
    ) -> Generator[Described, None, None]:
        """Yield what a model says of each source, in their order: files, folders, globs, URLs, `@lists`; or of all.

        `preset` names a question, `caption` where there is no prompt; what else is given goes before what it says.  Of
        a video the images `at_s` seconds are seen, or `fps` a second `from_s` to `to_s`, or a few of its whole length.
        `options` are those of `DescribeOptions`; a schema may be text, such as "name, age int".  A source that fails,
        or is none, does not stop the rest: its result is Failed.  Several jobs are out at once, and closing the
        iterator cancels them.  `waiting` hears, in threads, in what state a job that takes long is and how the endpoint
        is.
        """
        from vidctl.tasks.describe import run

        questions, chosen, clip = self._posed(
            sources,
            prompt,
            together=together,
            recursive=recursive,
            preset=preset,
            at_s=at_s,
            from_s=from_s,
            to_s=to_s,
            fps=fps,
            **options,
        )
        asking, manner = self._describing(questions, clip)
        return run.describe(
            questions,
            chosen,
            asking,
            manner,
            fetch=self._fetch,
            fetch_into=self._fetch_into,
            timeout_s=self._timeout_s,
            waiting=waiting,
        )

    def _posed(
        self,
        sources: Given | Iterable[Given],
        prompt: str | None,
        *,
        together: bool = False,
        recursive: bool = False,
        preset: str | None = None,
        at_s: float | str | Sequence[float | str] = (),
        from_s: float | str | None = None,
        to_s: float | str | None = None,
        fps: float | None = None,
        **options: Any,
    ) -> tuple[list[Question], DescribeOptions, Clip]:
        from vidctl.tasks.describe import questions

        moments = at_s if isinstance(at_s, Iterable) and not isinstance(at_s, str) else (at_s,)
        clip = questions.Clip(
            tuple(_time("at_s", each) for each in moments), _time("from_s", from_s), _time("to_s", to_s), fps
        )
        chosen = questions.options(prompt, preset, options, root=self.project.root)
        return questions.questions(sources, clip, together=together, recursive=recursive), chosen, clip

    def _describing(self, questions: Iterable[Question], clip: Clip) -> tuple[Invoker, DescribeSettings]:
        """Whom to ask, and in which words; how many images a worker takes is looked up where there may be many."""
        from vidctl.tasks.describe.jobs import DescribeSettings

        self._check_key()
        endpoint_id, key = self._deployed("describe")
        protocol = self._protocol or (protocol_of(key, self.project) if key else None)
        are_many = not all(question.is_one_image for question in questions)
        if self._model is not None and protocol is None:
            raise UsageError(
                f"model: {self._model}, but vidctl's own worker has one model",
                hint="MODEL_NAME in the spec's env names it",
            )
        needs_name = protocol is not None and self._model is None
        variables = self._variables(key, is_all=needs_name) if key and (needs_name or are_many) else {}
        model = self._model or variables.get("OPENAI_SERVED_MODEL_NAME_OVERRIDE") or variables.get("MODEL_NAME")
        images, length = (_count(variables.get(name)) for name in _LIMITS)
        if images is None and protocol is None and key:
            images = WORKER_IMAGES
        return self._asking(endpoint_id, key), DescribeSettings(clip, protocol, model, images, length)

    def price_per_s(self, task: str) -> float | None:
        """What a second of the task's worker costs, in US dollars; None where that is not known, or nothing is paid.

        It is the price of the first of its spec's GPUs, and RunPod may have given it another of them.
        """
        try:
            key = None if self.target == "local" else self._deployed(task)[1]
            spec = self._spec(key) if key else None
        except VidctlError:  # it was changed since it was deployed
            return None
        if spec is None:
            return None
        price = gpus.resolve(spec.gpu.names[0]).pool.price_per_s
        return None if price is None else price * spec.gpu.count

    def _variables(self, key: str, *, is_all: bool) -> Mapping[str, str]:
        """The worker's environment by its spec, if that is wanted or says how much the worker takes."""
        file = configs.file_of(self.project.root, key)
        if file is None or not (is_all or any(name in text for text in layer_texts(file) for name in _LIMITS)):
            return {}
        spec = self._spec(key)
        return (spec.with_local() if self.target == "local" else spec).env if spec else {}

    def _spec(self, key: str) -> EndpointSpec | None:
        """The spec, read whole; None for one that is there no more."""
        from vidctl import spec

        file = configs.file_of(self.project.root, key)
        return spec.load(file, environ=self.project.environ) if file else None

    def interrupt(self) -> VidctlError:
        """Cancel what is out; return the error that says what was cancelled."""
        if self._invoker is None:
            return UsageError("nothing was running")
        return self._invoker.interrupt()

    def endpoint_id(self, task: str) -> str:
        """The endpoint that answers for a task; raise NotDeployedError, or UsageError where several may be meant."""
        return self._deployed(task)[0]

    @property
    def asked(self) -> str | None:
        """The endpoint that was asked last: its spec, or its id where it was given by that."""
        return None if self._asked is None else self._asked[1] or self._asked[0]

    @property
    def asking(self) -> str:
        """The same as a line to read."""
        endpoint_id, key = self._asked or ("", None)
        return f"asking endpoint {f'{key} ({endpoint_id})' if key else endpoint_id} on {self.target}"

    def _check_key(self) -> None:
        """A missing key is the first thing to say."""
        if self.target == "runpod":
            settings.runpod_access(self.project)

    def _asking(self, endpoint_id: str, key: str | None) -> Invoker:
        self._asked = (endpoint_id, key)
        access = connect(self.project, self.target, notify=self._notify)
        self._invoker = Invoker(
            Jobs(Http(access.api_key), access.endpoint_base_url, if_unknown=self._if_unknown(endpoint_id)),
            endpoint_id,
            target=self.target,
            journal=Journal(self.project.journal_file),
        )
        return self._invoker

    def _if_unknown(self, endpoint_id: str) -> str:
        """What to do about an endpoint that its target does not know."""
        known = self.project.environ.items()
        names = [name for name, value in known if value == endpoint_id and "_ENDPOINT_ID" in name]
        if self._endpoint_id or not names:
            return f"run vidctl list --target {self.target} to see your endpoints"
        return f"{names[0]} names it, which is out of date: deploy its spec again with --target {self.target}"

    def _check_task(self, task: str, chosen: str | None) -> None:
        """An endpoint that was named may be there for something else, which it would be asked and paid for in vain."""
        named = configs.key_of(chosen, self._overlay) if chosen else None
        file = configs.file_of(self.project.root, named) if named else None
        where = "" if self._endpoint else "vidctl.yaml: "
        if named and not file and settings.endpoint_id_name(named, self.target) not in self.project.environ:
            from vidctl import spec

            try:
                spec.find(named, root=self.project.root)
            except SpecError as error:  # it names the others
                message = f"{where}{named} is not deployed to {self.target}: {error.message}"
                raise NotDeployedError(message, hint=error.hint) from error
        is_for = task_of(file, self.project) if file else None
        if is_for not in (None, task):
            others = ", ".join(keys_of(task, self.project, None))
            hint = f"specs for {task}: {others}" if others else f"{task} needs a spec with task: {task}"
            raise UsageError(f"{where}{named} is an endpoint for {is_for}, not for {task}", hint=hint)

    def _deployed(self, task: str) -> tuple[str, str | None]:
        """The endpoint that answers for a task, and the spec that it was made of, if that is known."""
        if self._endpoint_id:
            return self._endpoint_id, None
        named, overlay = self._endpoint or default_endpoint(task, self.project), self._overlay
        self._check_task(task, named)
        keys = [configs.key_of(named, overlay)] if named else keys_of(task, self.project, overlay)
        ids = {key: self.project.environ.get(settings.endpoint_id_name(key, self.target)) for key in keys}
        found = [(endpoint_id, key) for key, endpoint_id in ids.items() if endpoint_id]
        if len(found) > 1:
            those = ", ".join(key for _, key in found)
            raise UsageError(
                f"{task}: several endpoints are deployed to {self.target}: {those}",
                hint=f"--endpoint {found[0][1]}; or a default in vidctl.yaml: endpoints: {{{task}: {found[0][1]}}}",
            )
        if found:
            return found[0]
        if not keys:
            raise NotDeployedError(
                f"spec {configs.key_of(task, overlay)} not found in {self.project.root / 'configs'}",
                hint="vidctl works in a project: a folder with configs/, and any folder below it",
            )
        names = keys[0] if len(keys) == 1 else f"none of {', '.join(keys)}"
        raise NotDeployedError(
            f"{names} is {'not ' * (len(keys) == 1)}deployed to {self.target}",
            hint=f"vidctl deploy {keys[0]} --target {self.target}",
        )


def _refuse_together(method: str, how: Mapping[str, Any]) -> None:
    if "together" in how:
        raise UsageError(f"{method} has no option together", hint="it asks about all of its sources together")


def _time(name: str, value: Any) -> Any:
    """A moment that is written as on the command line; what is no text is looked at by `Clip`."""
    return seconds(name, value) if isinstance(value, str) else value


def _silent(_: TranscriptProgress) -> None:
    """Tell nobody."""


_LIMITS = ("MAX_IMAGES", "MAX_MODEL_LEN")  # what a describing worker's environment says of them
WORKER_IMAGES = 16  # MAX_IMAGES of workers/qwen-vl, where its environment does not say it


def _count(text: str | None) -> int | None:
    return int(text) if text and text.isascii() and text.isdigit() else None


def _only(source: Given, kind: MediaKind, several: str) -> Source:
    """The one image or audio that is meant."""
    found = settled(sources_of(source, kind))
    if len(found) != 1:
        raise UsageError(f"{source!s} means {len(found)} {kind.plural}", hint=f"use {several}")
    return found[0]


def _expanded(given: Given | Iterable[Given], kind: MediaKind, *, recursive: bool) -> list[Source]:
    return several(given, partial(sources_of, kind=kind, recursive=recursive))
