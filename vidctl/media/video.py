"""Take frames out of videos, as they are displayed at a time.

Whatever FFmpeg says leaves here as a MediaError that names the file.  Only the requested frames are kept.
"""

from __future__ import annotations

import math
from collections.abc import Generator, Iterator
from contextlib import closing, suppress
from dataclasses import dataclass
from fractions import Fraction
from itertools import chain, count
from pathlib import Path
from typing import BinaryIO

import av
from av.container import InputContainer
from av.packet import Packet
from av.stream import Disposition
from av.video.frame import VideoFrame
from av.video.reformatter import Colorspace
from av.video.stream import VideoStream
from PIL import Image

from vidctl.errors import MediaError, UsageError
from vidctl.media.container import begins_s, opened, reading
from vidctl.media.displaymatrix import upright
from vidctl.media.image import PreparedImage, Size, encode, for_language

# To decode a second takes 15 ms at 720p, and to seek, which decodes from the key image before, 70 (by measurement).
_FAR_S = 10.0
_BACK_S = 10.0  # a seek that came too late is tried once more from so much earlier
_ROUNDING_S = 0.001  # Matroska's times are in milliseconds
_JUMP_BACK_S = 1.0
_JUMP_AHEAD_S = 3600.0  # beyond, it is the clock that is broken
_USUAL_RATE = 25.0  # where the file gives none
_LONGEST_S = 1e8  # three years; FFmpeg counts them in ticks of 64 bits
_FASTEST = 1000  # images a second

_MOST_PIXELS = 8192 * 8192  # of one image; a decoder keeps up to 16, and more for its threads
_HD_LINES = 720
_UNSPECIFIED = 2  # colours: FFmpeg's AVCOL_SPC_UNSPECIFIED

# Formats whose header says when a video ends, not how long it is.
_END_TIME_FORMATS = ("matroska", "flv")


@dataclass(frozen=True)
class Frame:
    """The image of a video that is displayed at `at_s` seconds from its beginning, as it is sent."""

    at_s: float
    prepared: PreparedImage


def duration_s(file: Path | BinaryIO, *, name: str) -> float | None:
    """When the file says that its image ends, which is not read; None if it does not say.  Raises MediaError."""
    with opened(file, name, what="a video") as container:
        return _header_s(container, _stream(container, name))


def measured_s(file: Path | BinaryIO, *, name: str) -> float:
    """When the video ends by what is in it, for a file that does not say; nothing is decoded.  Raises MediaError."""
    with opened(file, name, what="a video") as container:
        stream = _stream(container, name)
        number, ends_s = 0, 0.0
        for packet in _packets(container, stream):
            number += 1
            begins = packet.dts if packet.pts is None else packet.pts
            if begins is not None:
                ends_s = max(ends_s, float((begins + (packet.duration or 0)) * packet.time_base) - begins_s(container))
        return ends_s or number * _usual_gap_s(stream)


def frame_at(file: Path | BinaryIO, *, at_s: float, max_pixels: int, name: str) -> Frame:
    """The image displayed at `at_s`; MediaError, with the video's length, if it is over by then.

    Before the first image that is the first one, and at the very end the last.
    """
    _check_time("at", at_s)
    with closing(_Video(file, name)) as video:
        shown = video.shown_at(at_s)
        if shown is None and at_s <= video.ends_s + _ROUNDING_S:
            shown = video.last
        if shown is None:
            raise _over(name, at_s, video.ends_s)
        return Frame(at_s, _prepared(shown, max_pixels, name))


def frames(
    file: Path | BinaryIO,
    *,
    from_s: float,
    to_s: float | None,
    fps: float,
    max_frames: int,
    max_pixels: int,
    name: str,
) -> tuple[Frame, ...]:
    """The images displayed at `from_s`, `from_s` + 1/`fps`, … before `to_s`, or before the video's end.

    Raises MediaError for a video that is over before `from_s`, and for more than `max_frames`: it says how many there
    would be, and which `fps` fits.
    """
    span = _Span(from_s, to_s, fps)
    if max_frames < 1:
        raise UsageError(f"max_frames must be at least 1, not {max_frames}")
    span.refuse_over(max_frames, duration_s(file, name=name), name)
    found: list[Frame] = []
    before: _ShownFrame | None = None
    with closing(_Video(file, name)) as video:
        for at_s, shown in video.shown_at_each(span.times()):
            if len(found) == max_frames:
                break
            # At more images a second than the video has, the same one is displayed again.
            prepared = found[-1].prepared if shown is before else _prepared(shown, max_pixels, name)
            found.append(Frame(at_s, prepared))
            before = shown
        else:
            if not found:
                raise _over(name, from_s, video.ends_s)
            return tuple(found)
    span.refuse_over(max_frames, measured_s(file, name=name), name)
    raise MediaError(f"{name}: over {max_frames} frames at {fps:g} fps", hint="lower fps")


def _check_time(name: str, value: float) -> None:
    if not 0 <= value <= _LONGEST_S:
        raise UsageError(f"invalid {name} {value:g} s: expected 0 to {_LONGEST_S:g} s")


def _over(name: str, at_s: float, ends_s: float) -> MediaError:
    return MediaError(f"{name}: no frame at {at_s:g} s: the video is {ends_s:.2f} s long")


@dataclass(frozen=True)
class _Span:
    """The times of the requested frames; UsageError for invalid ones."""

    from_s: float
    to_s: float | None
    fps: float

    def __post_init__(self) -> None:
        _check_time("from", self.from_s)
        if self.to_s is not None and not self.from_s < self.to_s <= _LONGEST_S:
            raise UsageError(f"invalid to {self.to_s:g} s: expected a time after from ({self.from_s:g} s)")
        if not 1 / _LONGEST_S <= self.fps <= _FASTEST:
            raise UsageError(f"fps must be over 0 and at most {_FASTEST}, not {self.fps:g}")

    def times(self) -> Iterator[float]:
        for number in count():
            at_s = self.from_s + number / self.fps
            if self.to_s is not None and at_s >= self.to_s - _ROUNDING_S:
                return
            yield at_s

    def refuse_over(self, most: int, ends_s: float | None, name: str) -> None:
        """Raise MediaError if there are more images than `most` in a video that ends then, where that is known."""
        if ends_s is None:
            return
        span_s = min(ends_s, self.to_s or ends_s) - self.from_s - _ROUNDING_S
        number = math.ceil(span_s * self.fps)
        if number > most:
            raise MediaError(
                f"{name}: {number} frames at {self.fps:g} fps, over the limit of {most}",
                hint=f"set fps to {_rounded_down(most / span_s)} or lower",
            )


def _rounded_down(value: float) -> str:
    """In three figures, and never more than it is."""
    digits = 2 - math.floor(math.log10(value))
    return f"{math.floor(value * 10**digits) / 10**digits:.{max(digits, 0)}f}".rstrip("0").rstrip(".")


@dataclass(frozen=True, eq=False)
class _ShownFrame:
    """An image of a video, in seconds from the video's beginning; it ends there if no other follows."""

    begins_s: float
    ends_s: float
    frame: VideoFrame
    pixel_ratio: Fraction


class _Video:
    """Finds the images that are displayed at times that grow: decodes what is near, seeks what is far."""

    def __init__(self, file: Path | BinaryIO, name: str) -> None:
        self._file = file
        self._name = name
        self._coming = _decoded(file, name, None)
        self._shown: _ShownFrame | None = None
        self._following: _ShownFrame | None = None
        self._can_seek = True
        self.ends_s = 0.0  # of what was seen of it

    def close(self) -> None:
        self._coming.close()

    @property
    def last(self) -> _ShownFrame | None:
        """The last one that was displayed."""
        return self._shown

    def shown_at_each(self, times: Iterator[float]) -> Iterator[tuple[float, _ShownFrame]]:
        """Each time with what is displayed then, up to the video's end."""
        for at_s in times:
            shown = self.shown_at(at_s)
            if shown is None:
                return
            yield at_s, shown

    def shown_at(self, at_s: float) -> _ShownFrame | None:
        """What is displayed then, before the first image that one; None if the video is over."""
        reached = self._following or self._shown
        if self._can_seek and at_s > (reached.begins_s if reached else 0.0) + _FAR_S:
            self._go_to(at_s)
        following = self._peek()
        while following is not None and following.begins_s <= at_s + _ROUNDING_S:
            self._shown, self._following = following, None
            following = self._peek()
        if following is None and self._shown is None:
            raise MediaError(f"{self._name}: damaged: no frame can be decoded")
        if following is None and at_s >= self.ends_s - _ROUNDING_S:
            return None
        return self._shown or following

    def _peek(self) -> _ShownFrame | None:
        """The image after the one that is displayed; None at the end."""
        if self._following is None:
            self._following = next(self._coming, None)
            if self._following is not None:
                self.ends_s = max(self.ends_s, self._following.ends_s)
        return self._following

    def _go_to(self, at_s: float) -> None:
        """Have what is displayed then come next, or come soon: from the beginning, where a video cannot be sought
        in.
        """
        for since_s in (at_s, at_s - _BACK_S):
            self._begin(since_s)
            following = self._peek()
            if following is not None and following.begins_s <= at_s + _ROUNDING_S:
                return
        self._can_seek = False
        self._begin(None)

    def _begin(self, since_s: float | None) -> None:
        self._coming.close()
        self._coming = _decoded(self._file, self._name, since_s)
        self._shown = self._following = None


def _decoded(file: Path | BinaryIO, name: str, since_s: float | None) -> Generator[_ShownFrame, None, None]:
    """The images in the order of their display, from the first one or from a key image about then."""
    with opened(file, name, what="a video") as container:
        stream = _stream(container, name)
        stream.thread_type = "AUTO"
        stream.codec_context.options = {"max_pixels": str(_MOST_PIXELS)}
        if since_s is not None and not _sought(container, stream, since_s):
            return
        clock = _Clock(container, stream)
        ratio = _pixel_ratio(stream)
        for frame in _frames(container, stream):
            if frame.pts is None and since_s is not None:
                return  # nobody knows where this is
            place = clock.place(frame)
            if not frame.is_corrupt:  # as what comes before the first key image
                yield _ShownFrame(*place, frame, ratio)


def _stream(container: InputContainer, name: str) -> VideoStream:
    """The image that a player would choose; the cover of a record is none."""
    for stream in (container.streams.best("video"), *container.streams.video):
        if not isinstance(stream, VideoStream) or stream.codec_context is None or container.format.name == "tty":
            continue  # FFmpeg shows text as a terminal would
        if stream.disposition & Disposition.attached_pic:
            continue
        if stream.codec_context.width * stream.codec_context.height > _MOST_PIXELS:
            raise MediaError(f"{name}: more pixels than can be decoded safely", hint="resize it first")
        return stream
    if container.streams.audio:
        raise MediaError(f"{name}: not a video: it holds audio only")
    raise MediaError(f"{name}: not a video that can be read")


def _sought(container: InputContainer, stream: VideoStream, since_s: float) -> bool:
    """Go to a key image at or before a time; whether that could be done."""
    if stream.time_base is None:
        return False
    try:
        container.seek(math.floor((since_s + begins_s(container)) / stream.time_base), stream=stream)
    except av.FFmpegError:
        return False
    return True


def _frames(container: InputContainer, stream: VideoStream) -> Iterator[VideoFrame]:
    """What can be decoded, and what the decoder still holds at the end; what cannot be is left out."""
    for packet in chain(_packets(container, stream), (None,)):
        with suppress(av.FFmpegError):  # the next packet may be whole
            yield from stream.decode(packet)


def _packets(container: InputContainer, stream: VideoStream) -> Iterator[Packet[VideoStream]]:
    """Up to the end, or to what is damaged beyond reading."""
    with suppress(av.FFmpegError):
        yield from (packet for packet in container.demux(stream) if packet.size)  # an empty one says that it is the end


def _header_s(container: InputContainer, stream: VideoStream) -> float | None:
    if stream.duration is not None and stream.time_base is not None:
        return float((stream.duration + (stream.start_time or 0)) * stream.time_base) - begins_s(container)
    if container.duration is None:
        return None
    has_end_time = container.format.name.startswith(_END_TIME_FORMATS)
    return container.duration / av.time_base - (begins_s(container) if has_end_time else 0.0)


def _usual_gap_s(stream: VideoStream) -> float:
    return 1 / float(stream.average_rate or stream.guessed_rate or _USUAL_RATE)


class _Clock:
    """Says when an image is displayed: by the video's clock, or where it has none by counting."""

    def __init__(self, container: InputContainer, stream: VideoStream) -> None:
        self._zero_s = begins_s(container)
        self._tick_s = float(stream.time_base or 0)  # an image that the decoder gives at the end has none of its own
        self._gap_s = _usual_gap_s(stream)
        self._begins_s: float | None = None  # the image before
        self._ends_s = 0.0

    def place(self, frame: VideoFrame) -> tuple[float, float]:
        """When it begins and ends.  A clock that jumps back, or too far, is followed from there."""
        at_s = self._ends_s if frame.pts is None else frame.pts * self._tick_s - self._zero_s
        if self._begins_s is not None:
            if not self._begins_s - _JUMP_BACK_S <= at_s <= self._ends_s + _JUMP_AHEAD_S:
                self._zero_s += at_s - self._ends_s
                at_s = self._ends_s
            at_s = max(at_s, self._begins_s)
        self._begins_s = at_s
        self._ends_s = at_s + (frame.duration * self._tick_s or self._gap_s)
        return at_s, self._ends_s


def _prepared(shown: _ShownFrame, max_pixels: int, name: str) -> PreparedImage:
    """As it is displayed: its pixels square, and turned as the video's matrix says."""
    frame, turn = shown.frame, upright(shown.frame)
    displayed: Size = (max(1, round(frame.width * shown.pixel_ratio)), frame.height)
    sent = for_language(displayed, max_pixels)
    with reading(name):
        pixels = frame.reformat(*sent, "rgb24", src_colorspace=_colours(frame)).to_ndarray()
    image = Image.fromarray(pixels)
    if turn is not None:
        image = image.transpose(turn)
    if image.size != sent:
        displayed, sent = displayed[::-1], sent[::-1]
    return PreparedImage(encode(image), *displayed, *sent)


def _pixel_ratio(stream: VideoStream) -> Fraction:
    """How much wider than high a pixel is; what no video has is a mistake of its header."""
    ratio = stream.sample_aspect_ratio or Fraction(1)
    return ratio if Fraction(1, 10) <= ratio <= 10 else Fraction(1)


def _colours(frame: VideoFrame) -> Colorspace | None:
    """BT.709 for high definition that says nothing, as players take it; FFmpeg would take BT.601."""
    return Colorspace.ITU709 if frame.colorspace == _UNSPECIFIED and frame.height >= _HD_LINES else None
