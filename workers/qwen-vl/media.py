"""Open the images and clips of a request, within the worker's limits, and put them into its messages."""

from __future__ import annotations

import io
import math
import os
import threading
from contextlib import suppress
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING, Any

import av
import displaymatrix
import images
from badinput import BadInputError
from jobinput import Media, stamp

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from fractions import Fraction

    from images import LoadedImage

    Stopped = Callable[[], bool]

MAX_CLIP_S = 3600.0  # decoding takes time, whatever is kept of it
MOST_CLIP_PIXELS = 36_000_000  # 8K; a decoder holds many frames at once
# Downloads wait for others and may be many at once; a decoder takes all cores that it gets.
DECODING = threading.BoundedSemaphore(max(2, os.cpu_count() or 1))
# FFmpeg's names of the formats that hold clips.  It knows hundreds more, among them playlists, which open other files.
FORMATS = ("asf", "avi", "flv", "gif", "matroska", "mov", "mpeg", "mpegts", "ogg", "webm")

# PyAV before 19 fails on a title that is not UTF-8 unless told otherwise; 19 knows no such word.
TAGS: dict[str, Any] = {"metadata_errors": "ignore"} if int(av.__version__.partition(".")[0]) < 19 else {}


@dataclass(frozen=True)
class Limits:
    """At most `max_images` images in a request, each shrunk to `max_pixels`; what the model's own processor does.

    `seen_min` and `seen_max` are the pixels between which the processor brings an image, `least_side` what a side
    must have for others' processors.
    """

    max_images: int
    max_pixels: int
    seen_min: int
    seen_max: int
    least_side: int = 0


@dataclass(frozen=True)
class Prepared:
    """A request's messages with its images in them as data: URLs, and how the model sees each: (width, height)."""

    messages: list[dict[str, Any]]
    seen: tuple[tuple[int, int], ...]

    def spelled(self) -> dict[str, Any]:
        """What an answer says of its images: as the model saw each, and how many tokens it cost."""
        listed = [
            {"width": width, "height": height, "tokens": width * height // images.SIDE**2}
            for width, height in self.seen
        ]
        return {"image_tokens": sum(one["tokens"] for one in listed), "images": listed}


def count(messages: list[dict[str, Any]], max_images: int) -> None:
    """Raise BadInputError if there are more images than may be; a clip is at least one."""
    number = len(_media(messages))
    if number > max_images:
        raise BadInputError(f"the job has {number} images; this worker takes {max_images} (MAX_IMAGES)")


def has_any(messages: list[dict[str, Any]]) -> bool:
    """Whether there is an image or clip to be opened."""
    return bool(_media(messages))


def prepare(messages: list[dict[str, Any]], limits: Limits, stopped: Stopped = lambda: False) -> Prepared:
    """Open everything and bring it into the limits; raise BadInputError.

    Takes as long as the downloads do, unless `stopped` says that nobody waits any more.
    """
    count(messages, limits.max_images)
    media = _media(messages)
    clips = sum(part.is_clip for part in media)
    left = limits.max_images - (len(media) - clips)
    seen: list[tuple[int, int]] = []
    done = []
    for message in messages:
        parts: list[Any] = []
        for part in _parts(message):
            if not isinstance(part, Media):
                parts.append(part)
                continue
            _go_on(stopped)
            if part.is_clip:
                shown = _frames(part, limits, left // clips, stopped)
                left, clips = left - len(shown), clips - 1
            else:
                shown = [(None, _image(part, limits))]
            for at_s, one in shown:
                parts += [] if at_s is None else [{"type": "text", "text": stamp(at_s)}]
                parts.append({"type": "image_url", "image_url": {"url": one.url}})
                seen.append(images.seen(one.width, one.height, limits.seen_min, limits.seen_max))
        done.append({**message, "content": parts} if isinstance(message.get("content"), list) else message)
    return Prepared(done, tuple(seen))


def _parts(message: dict[str, Any]) -> list[Any]:
    content = message.get("content")
    return content if isinstance(content, list) else []


def _media(messages: list[dict[str, Any]]) -> list[Media]:
    return [part for message in messages for part in _parts(message) if isinstance(part, Media)]


def _go_on(stopped: Stopped) -> None:
    if stopped():
        raise BadInputError("the job was cancelled")


def _image(one: Media, limits: Limits) -> LoadedImage:
    data = images.read(one.value, one.name)
    with DECODING:
        return images.decode(data, limits.max_pixels, one.name, least_side=limits.least_side)


def _frames(clip: Media, limits: Limits, most: int, stopped: Stopped) -> list[tuple[float | None, LoadedImage]]:
    """The frames of a clip at its rate, as (seconds from its start, image).

    A clip that has more than there may be is sampled more sparsely, over all of its length.
    """
    if most < 1:
        raise BadInputError(f"{clip.name}: the other images already take all {limits.max_images} (MAX_IMAGES)")
    most = min(most, clip.max_frames or most)
    data = images.read(clip.value, clip.name)
    with DECODING:
        length_s = min(_length_s(data, clip.name, stopped), MAX_CLIP_S)
        every_s = max(1 / clip.fps, length_s / most)
        sampled = _sampled(data, clip.name, every_s, limits.max_pixels, stopped)
        frames: list[tuple[float | None, LoadedImage]] = list(islice(sampled, most))
    if not frames:
        raise BadInputError(f"{clip.name} holds no image that can be decoded")
    return frames


def _sampled(
    data: bytes, name: str, every_s: float, max_pixels: int, stopped: Stopped
) -> Iterator[tuple[float, LoadedImage]]:
    """The frame that is shown at 0, every_s, 2 * every_s, …, upright and as it is sent."""
    with _opened(data, name) as container:
        stream = container.streams.video[0]
        stream.thread_type = "AUTO"
        # The header said less, or nothing: a decoder makes no frame that is larger (FFmpeg, AVCodecContext).
        stream.codec_context.options = {"max_pixels": str(MOST_CLIP_PIXELS)}
        start_s = None
        wanted = 0
        for frame in _decoded(container, stream, stopped):
            if frame.time is None:
                continue
            start_s = frame.time if start_s is None else start_s
            at_s = frame.time - start_s
            if at_s > MAX_CLIP_S:
                return
            if at_s + 1e-6 >= wanted * every_s:
                wanted = math.floor((at_s + 1e-6) / every_s) + 1
                yield round(at_s, 3), _displayed(frame, stream.sample_aspect_ratio, max_pixels, name)


def _decoded(container: Any, stream: Any, stopped: Stopped) -> Iterator[Any]:
    """Frames as far as the clip can be decoded."""
    for packet in _packets(container, stream, stopped):
        with suppress(av.FFmpegError):
            yield from packet.decode()


def _packets(container: Any, stream: Any, stopped: Stopped) -> Iterator[Any]:
    packets = container.demux(stream)
    while True:
        _go_on(stopped)
        try:
            yield next(packets)
        except (StopIteration, av.FFmpegError):
            return


def _displayed(frame: Any, pixel_ratio: Fraction | None, max_pixels: int, name: str) -> LoadedImage:
    """As it is displayed: with square pixels, and turned or mirrored as its matrix says; at most `max_pixels`."""
    width, height = max(1, round(frame.width * (pixel_ratio or 1))), frame.height
    images.check_ratio(width, height, name)
    image = images.shrunk(frame.to_image(), (width, height), max_pixels)
    turn = displaymatrix.upright(frame)
    return images.encoded(image if turn is None else image.transpose(turn), max_pixels)


def _length_s(data: bytes, name: str, stopped: Stopped) -> float:
    """Seconds by the header, or by the last packet where it does not say: browsers' recordings do not."""
    with _opened(data, name) as container:
        stream = container.streams.video[0]
        if stream.duration and stream.time_base:
            return float(stream.duration * stream.time_base)
        if container.duration:
            return float(container.duration / av.time_base)
        times = [packet.pts for packet in _packets(container, stream, stopped) if packet.pts is not None]
        return float((max(times) - min(times)) * stream.time_base) if times and stream.time_base else 0.0


def _opened(data: bytes, name: str) -> Any:
    try:
        # Before anything is read: a playlist would already be followed while it is opened.
        options = {"format_whitelist": ",".join(FORMATS), "protocol_whitelist": "none"}
        container = av.open(io.BytesIO(data), options=options, **TAGS)
    except (av.FFmpegError, ValueError) as error:
        raise BadInputError(f"{name} is not a clip this worker reads") from error
    if not container.streams.video:
        container.close()
        raise BadInputError(f"{name} is not a clip: it has no video stream")
    size = container.streams.video[0].codec_context
    if size.width * size.height > MOST_CLIP_PIXELS:
        container.close()
        raise BadInputError(
            f"{name} has {size.width} x {size.height} pixels; of clips this worker takes "
            f"{MOST_CLIP_PIXELS // 1_000_000} megapixels"
        )
    return container
