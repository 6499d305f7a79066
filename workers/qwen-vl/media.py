"""Open the pictures and clips of a request, within the worker's limits, and put them into its messages."""

from __future__ import annotations

import io
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import av
import picture
from jobinput import BadInput, Media, stamp

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from fractions import Fraction

    from picture import Picture

    Stopped = Callable[[], bool]

MAX_CLIP_S = 3600.0  # decoding takes time, whatever is kept of it
# FFmpeg's names of the formats that hold clips.  It knows hundreds more, among them playlists, which open other files.
FORMATS = ("asf", "avi", "flv", "gif", "matroska", "mov", "mpeg", "mpegts", "ogg", "webm")

# PyAV before 19 fails on a title that is not UTF-8 unless told otherwise; 19 knows no such word.
TAGS = {"metadata_errors": "ignore"} if int(av.__version__.partition(".")[0]) < 19 else {}


@dataclass(frozen=True)
class Limits:
    """At most `max_images` pictures in a request, each shrunk to `max_pixels`; what the model's own processor does.

    `seen_min` and `seen_max` are the pixels between which the processor brings a picture.
    """

    max_images: int
    max_pixels: int
    seen_min: int
    seen_max: int


@dataclass(frozen=True)
class Prepared:
    """A request's messages with its pictures in them as data: URLs, and how the model sees each: (width, height)."""

    messages: list[dict[str, Any]]
    seen: tuple[tuple[int, int], ...]

    def spelled(self) -> dict[str, Any]:
        """What an answer says of its pictures: as the model saw each, and how many tokens it cost."""
        images = [
            {"width": width, "height": height, "tokens": width * height // picture.SIDE**2}
            for width, height in self.seen
        ]
        return {"image_tokens": sum(one["tokens"] for one in images), "images": images}


def count(messages: list[dict[str, Any]], max_images: int) -> None:
    """Raise BadInput if there are more pictures than may be; a clip is at least one."""
    number = sum(isinstance(part, Media) for message in messages for part in _parts(message))
    if number > max_images:
        raise BadInput(f"the job has {number} pictures; this worker takes {max_images} (MAX_IMAGES)")


def prepare(messages: list[dict[str, Any]], limits: Limits, stopped: Stopped = lambda: False) -> Prepared:
    """Open everything and bring it into the limits; raise BadInput.  Takes as long as the downloads do."""
    count(messages, limits.max_images)
    left = limits.max_images - sum(
        isinstance(part, Media) and not part.is_clip for message in messages for part in _parts(message)
    )
    seen: list[tuple[int, int]] = []
    done = []
    for message in messages:
        parts: list[Any] = []
        for part in _parts(message):
            if stopped():
                raise BadInput("the job was cancelled")
            if not isinstance(part, Media):
                parts.append(part)
                continue
            shown = list(_frames(part, limits, left)) if part.is_clip else [(None, _picture(part, limits))]
            left -= len(shown) if part.is_clip else 0
            for at_s, one in shown:
                parts += [] if at_s is None else [{"type": "text", "text": stamp(at_s)}]
                parts.append({"type": "image_url", "image_url": {"url": one.url}})
                seen.append(picture.seen(one.width, one.height, limits.seen_min, limits.seen_max))
        done.append({**message, "content": parts} if isinstance(message.get("content"), list) else message)
    return Prepared(done, tuple(seen))


def _parts(message: dict[str, Any]) -> list[Any]:
    content = message.get("content")
    return content if isinstance(content, list) else []


def _picture(one: Media, limits: Limits) -> Picture:
    return picture.decode(picture.read(one.value, one.name), limits.max_pixels, one.name)


def _frames(clip: Media, limits: Limits, most: int) -> Iterator[tuple[float, Picture]]:
    """The frames of a clip at its rate, as (seconds from its start, picture).

    A clip that has more than there may be is sampled more sparsely, over all of its length.
    """
    if most < 1:
        raise BadInput(f"{clip.name}: the other pictures are {limits.max_images} already (MAX_IMAGES)")
    most = min(most, clip.max_frames or most)
    data = picture.read(clip.value, clip.name)
    length_s = min(_length_s(data, clip.name), MAX_CLIP_S)
    every_s = max(1 / clip.fps, length_s / most)
    found = 0
    for at_s, image in _sampled(data, clip.name, every_s):
        if found == most:
            return
        found += 1
        yield at_s, picture.encoded(image, limits.max_pixels)
    if not found:
        raise BadInput(f"{clip.name} holds no picture that can be decoded")


def _sampled(data: bytes, name: str, every_s: float) -> Iterator[tuple[float, Any]]:
    """The frame that is shown at 0, every_s, 2 * every_s, …, upright and in RGB."""
    with _opened(data, name) as container:
        stream = container.streams.video[0]
        stream.thread_type = "AUTO"
        start_s = None
        wanted = 0
        for frame in _decoded(container, stream):
            if frame.time is None:
                continue
            start_s = frame.time if start_s is None else start_s
            at_s = frame.time - start_s
            if at_s > MAX_CLIP_S:
                return
            if at_s + 1e-6 >= wanted * every_s:
                wanted = math.floor((at_s + 1e-6) / every_s) + 1
                yield round(at_s, 3), _image(frame, stream.sample_aspect_ratio)


def _decoded(container: Any, stream: Any) -> Iterator[Any]:
    """Frames as far as the clip can be decoded."""
    packets = container.demux(stream)
    while True:
        try:
            packet = next(packets)
        except (StopIteration, av.FFmpegError):
            return
        try:
            yield from packet.decode()
        except av.FFmpegError:
            continue


def _image(frame: Any, pixel_ratio: Fraction | None) -> Any:
    """As it is displayed: with square pixels, and turned as the film's matrix says."""
    image = frame.to_image()
    if pixel_ratio and pixel_ratio != 1:
        image = image.resize((max(1, round(image.width * pixel_ratio)), image.height))
    return image.rotate(frame.rotation, expand=True) if frame.rotation else image


def _length_s(data: bytes, name: str) -> float:
    with _opened(data, name) as container:
        stream = container.streams.video[0]
        if stream.duration and stream.time_base:
            return float(stream.duration * stream.time_base)
        return container.duration / av.time_base if container.duration else 0.0


def _opened(data: bytes, name: str) -> Any:
    try:
        # Before anything is read: a playlist would already be followed while it is opened.
        options = {"format_whitelist": ",".join(FORMATS), "protocol_whitelist": "none"}
        container = av.open(io.BytesIO(data), options=options, **TAGS)
    except (av.FFmpegError, ValueError) as error:
        raise BadInput(f"{name} is no clip that this worker reads") from error
    if not container.streams.video:
        container.close()
        raise BadInput(f"{name} is no clip: it holds no picture")
    return container
