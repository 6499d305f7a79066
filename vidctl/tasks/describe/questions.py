"""The questions of a call: which images, of which sources, with which prompt and options.

A source is opened when its images are wanted, and closed when they are there.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from itertools import chain
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any, BinaryIO

from vidctl.errors import MediaError, UsageError
from vidctl.media import image
from vidctl.media.given import Given, listed, several
from vidctl.media.given import sources as sources_of
from vidctl.media.kinds import IMAGES, IMAGES_AND_VIDEOS, VIDEOS
from vidctl.media.search import settled
from vidctl.media.sources import Source, is_video, opened, read
from vidctl.tasks.describe.model import DescribeOptions, Sent
from vidctl.tasks.options import made, seconds, settle

if TYPE_CHECKING:  # PyAV stays out where there are images only
    from vidctl.media.video import Frame

DEFAULT_PRESET = "caption"
FORM_PROMPT = "Look carefully, and answer by what you see. Where it does not show something, do not make it up."
FRAMES = 16  # of a video, where nothing is known of what the worker takes
_MOST_FRAMES = 256
_FRAMES_PER_S = 1.0

Fetch = Callable[[str], bytes]
FetchInto = Callable[[str, BinaryIO], None]


@dataclass(frozen=True)
class Clip:
    """Which images of a video are shown: those at `at_s`, or `fps` a second from `from_s` to `to_s`.

    Without `fps` there is one a second, or fewer, over all of that part, if those would be too many; without any of
    them the part is the whole video.  UsageError for what cannot be.
    """

    at_s: tuple[float, ...] = ()
    from_s: float | None = None
    to_s: float | None = None
    fps: float | None = None

    def __post_init__(self) -> None:
        settle(self)
        span = (self.from_s, self.to_s, self.fps)
        if self.at_s and span != (None, None, None):
            raise UsageError("at cannot be combined with from, to or fps", hint="keep at, or from, to and fps")
        for name, value in (*(("at", each) for each in self.at_s), ("from", self.from_s), ("to", self.to_s)):
            if value is not None and not 0 <= value < float("inf"):
                raise UsageError(f"invalid {name} {value:g} s: expected 0 s or later")
        if self.fps is not None and not 0 < self.fps <= 240:
            raise UsageError(f"fps must be over 0 and at most 240, not {self.fps:g}")
        if self.to_s is not None and self.to_s <= (self.from_s or 0.0):
            raise UsageError(f"invalid to {self.to_s:g} s: expected a time after from ({self.from_s or 0.0:g} s)")

    @property
    def is_given(self) -> bool:
        return self != Clip()


@dataclass(frozen=True)
class Question:
    """The sources of one request: most often one image or video."""

    sources: tuple[Source, ...]

    @property
    def name(self) -> str:
        """What people are shown."""
        return self._named([source.name for source in self.sources])

    @property
    def is_one_image(self) -> bool:
        """Whether there is one source, whose name is an image's: without opening it."""
        only = self.sources[0].path if len(self.sources) == 1 else None
        return only is not None and only.suffix.lower() in IMAGES.suffixes

    @property
    def label(self) -> str:
        """The name as it may be written down."""
        return self._named([source.label for source in self.sources])

    def _named(self, names: list[str]) -> str:
        return names[0] if len(names) == 1 else f"{names[0]} and {len(names) - 1} more"


@dataclass(frozen=True)
class Posed:
    """All questions of a call, with what is asked and what is seen of videos."""

    questions: list[Question]
    options: DescribeOptions
    clip: Clip

    @property
    def may_have_many_images(self) -> bool:
        """Whether there is a question of which it is not known that it has one image."""
        return not all(question.is_one_image for question in self.questions)


def posed(
    sources: Given | Iterable[Given],
    prompt: str | None,
    *,
    root: Path,
    together: bool = False,
    recursive: bool = False,
    preset: str | None = None,
    at_s: float | str | Sequence[float | str] = (),
    from_s: float | str | None = None,
    to_s: float | str | None = None,
    fps: float | None = None,
    **given: Any,
) -> Posed:
    """What a program asks, as `Client.describe_many` takes it."""
    moments = at_s if isinstance(at_s, Iterable) and not isinstance(at_s, str) else (at_s,)
    clip = Clip(tuple(_time("at_s", each) for each in moments), _time("from_s", from_s), _time("to_s", to_s), fps)
    chosen = options(prompt, preset, given, root=root)
    return Posed(questions(sources, clip, together=together, recursive=recursive), chosen, clip)


def shared(method: str, given: Mapping[str, Any]) -> dict[str, Any]:
    """The options of a call that asks about all of its sources together."""
    if "together" in given:
        raise UsageError(f"{method} has no option together", hint="it asks about all of its sources together")
    return {**given, "together": True}


def _time(name: str, value: Any) -> Any:
    """A moment that is written as on the command line; what is no text is looked at by `Clip`."""
    return seconds(name, value) if isinstance(value, str) else value


def questions(
    sources: Given | Iterable[Given], clip: Clip, *, together: bool = False, recursive: bool = False
) -> list[Question]:
    """A question for each image or video, or one for all of them together.  Raises MediaError where there are none.

    What is no source is a question that cannot be asked; together with others it is raised.
    """
    look_up = partial(_expanded, clip=clip, recursive=recursive)
    found = (
        settled([each for source in listed(sources) for each in look_up(source)])
        if together
        else several(sources, look_up)
    )
    if not found:
        raise UsageError("no image or video given")
    return [Question(tuple(found))] if together else [Question((each,)) for each in found]


def _expanded(source: Given, clip: Clip, *, recursive: bool) -> list[Source]:
    if isinstance(source, Source):
        return [source]
    if isinstance(source, (str, os.PathLike)):
        return sources_of(source, VIDEOS if clip.is_given else IMAGES_AND_VIDEOS, recursive=recursive)
    return sources_of(source, VIDEOS if clip.is_given else IMAGES)


def options(prompt: str | None, preset: str | None, given: Mapping[str, Any], *, root: Path) -> DescribeOptions:
    """What to ask: what is `given` takes precedence over the preset, and a prompt over its prompt.

    Without either it is the preset `caption`, or with a form for the answer a prompt for that form.  Raises UsageError,
    and SpecError for a preset that is wrong.
    """
    if preset is not None and not isinstance(preset, str):
        raise UsageError(f"invalid preset {preset!r}: expected text")
    chosen: dict[str, Any] = {}
    has_form = any(given.get(form) for form in _FORMS)
    if preset is None and prompt is None and has_form:
        chosen["prompt"] = FORM_PROMPT
    elif preset is not None or prompt is None:
        chosen = _of_preset(DEFAULT_PRESET if preset is None else preset, root)
        if has_form:
            chosen = {name: value for name, value in chosen.items() if name not in _FORMS}
    if prompt is not None:
        chosen["prompt"] = prompt
    values = {name: _value(name, value) for name, value in given.items()}
    return made(DescribeOptions, "describe", {**chosen, **values}, others=_OTHERS)


_FORMS = ("schema", "choices", "regex")
_OTHERS = ("preset", "at_s", "from_s", "to_s", "fps", "recursive")  # what else a call for a description takes


def _of_preset(name: str, root: Path) -> dict[str, Any]:
    from vidctl.spec import presets

    preset = presets.load(name, root=root)
    fields = ("prompt", "system", "schema", "choices", "max_tokens", "temperature")
    return {each: value for each in fields if (value := getattr(preset, each)) not in (None, ())}


def _value(name: str, value: Any) -> Any:
    """A schema may be written in its short form, and a list be a list."""
    from vidctl.tasks.describe import schema

    if name == "schema" and isinstance(value, str):
        return schema.read(value)
    if name == "stop" and isinstance(value, str):
        return (value,)
    if name == "choices" and isinstance(value, str):
        return tuple(each.strip() for each in value.split(","))
    return tuple(value) if isinstance(value, list) else value


Budget = Callable[[int], int]  # how many pixels each of so many images may have
Take = Callable[[int], tuple[Sent, ...]]  # the images, each of at most so many pixels


class Album:
    """Opens the images of a question, and the frames of its videos."""

    def __init__(
        self, clip: Clip, fetch: Fetch, fetch_into: FetchInto, *, max_images: int | None = None, budget: Budget
    ) -> None:
        self._clip = clip
        self._most = max_images  # in a question, if that is known
        self._budget = budget
        self._fetch = fetch
        self._fetch_into = fetch_into

    def images(self, question: Question) -> tuple[Sent, ...]:
        """The question's images; the more there are, the smaller they are."""
        stills = sum(not self._is_video(source) for source in question.sources)
        videos = len(question.sources) - stills
        frames = max(1, ((self._most or FRAMES) - stills) // videos) if videos else 0
        with ExitStack() as stack:
            planned = [self._planned(source, frames, stack) for source in question.sources]
            count = sum(number for number, _ in planned)
            if self._most is not None and count > self._most:
                raise UsageError(
                    f"{question.name}: {count} images in one question, over the worker's limit of {self._most}",
                    hint="raise MAX_IMAGES in the spec's env",
                )
            return tuple(chain.from_iterable(take(self._budget(count)) for _, take in planned))

    def _is_video(self, source: Source) -> bool:
        if not self._clip.is_given:
            return is_video(source)
        if PurePosixPath(source.label).suffix.lower() in IMAGES.suffixes:
            raise UsageError(
                f"{source.name}: not a video: an image has no times", hint="leave out --at, --from, --to and --fps"
            )
        return True

    def _planned(self, source: Source, frames: int, stack: ExitStack) -> tuple[int, Take]:
        """How many images a source gives, and how they are had."""
        if not self._is_video(source):
            return 1, partial(self._still, source)
        file = stack.enter_context(opened(source, fetch_into=self._fetch_into, kind=VIDEOS))
        if self._clip.at_s:
            return len(self._clip.at_s), partial(self._moments, source, file)
        return self._span(source, file, frames)

    def _still(self, source: Source, max_pixels: int) -> tuple[Sent, ...]:
        data = read(source, fetch=self._fetch)
        try:
            prepared = image.prepare_within(data, max_pixels=max_pixels, name=source.name)
        except MediaError as error:
            if source.problem is None and PurePosixPath(source.label).suffix.lower() not in IMAGES.suffixes:
                formats = f"; {error.hint}" if error.hint else ""
                error.hint = f"if it is a video, pass --from 0{formats}"
            raise
        return (Sent(source.name, prepared.jpeg, prepared.sent_width, prepared.sent_height),)

    def _moments(self, source: Source, file: Path | BinaryIO, max_pixels: int) -> tuple[Sent, ...]:
        from vidctl.media import video

        moments = [video.frame_at(file, at_s=at_s, max_pixels=max_pixels, name=source.name) for at_s in self._clip.at_s]
        return tuple(_sent(source, frame) for frame in moments)

    def _span(self, source: Source, file: Path | BinaryIO, frames: int) -> tuple[int, Take]:
        from vidctl.media import video

        length_s = video.duration_s(file, name=source.name)
        if length_s is None and self._clip.fps is None and self._clip.to_s is None:
            length_s = video.measured_s(file, name=source.name)
        from_s = self._clip.from_s or 0.0
        ends_s = None if length_s is not None and length_s <= from_s else length_s  # `frames` says that it is over
        to_s = min((each for each in (self._clip.to_s, ends_s) if each is not None), default=None)
        span_s = None if to_s is None else max(to_s - from_s, 0.0)
        most = frames if self._clip.fps is None or self._most is not None else _MOST_FRAMES
        fps = self._clip.fps or _sparse(span_s, most)
        count = most if span_s is None else max(1, math.ceil(span_s * fps))

        def take(max_pixels: int) -> tuple[Sent, ...]:
            found = video.frames(
                file, from_s=from_s, to_s=to_s, fps=fps, max_frames=most, max_pixels=max_pixels, name=source.name
            )
            return tuple(_sent(source, frame) for frame in found)

        return min(count, most), take


def _sparse(span_s: float | None, most: int) -> float:
    """An image a second, or so many fewer that there are at most `most`."""
    if not span_s:
        return _FRAMES_PER_S
    return min(_FRAMES_PER_S, most / span_s)


def _sent(source: Source, frame: Frame) -> Sent:
    prepared = frame.prepared
    return Sent(source.name, prepared.jpeg, prepared.sent_width, prepared.sent_height, at_s=frame.at_s)
