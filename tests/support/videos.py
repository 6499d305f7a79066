"""Real videos, small ones: each image is a bar code of its number, so that whoever sees one knows which it is."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import BinaryIO, TypeVar, cast

import av
import numpy as np
from av.audio.frame import AudioFrame
from av.video.frame import VideoFrame
from PIL import Image

BITS = 12
BAR = 16  # pixels
WIDTH, HEIGHT = BITS * BAR, 48
RATE = 48_000

# A video with B-frames, so that the order of decoding is not that of display, and with few key images.
REORDERED = {"preset": "veryfast", "bf": "2", "g": "25", "x264-params": "b-adapt=0:scenecut=0"}


@dataclass(frozen=True)
class Form:
    """How a video is written: format and codec, as FFmpeg names them."""

    format: str
    codec: str = "libx264"
    options: dict[str, str] = field(default_factory=lambda: dict(REORDERED))
    container_options: dict[str, str] = field(default_factory=dict)
    pixels: str = "yuv420p"

    def __str__(self) -> str:
        return "-".join([self.format, self.codec, *self.container_options.values()])


MP4 = Form("mp4")
MKV = Form("matroska")
AVI = Form("avi", "mpeg4", {"bf": "0", "g": "25", "q": "3"})
UNTIMED = Form("h264")  # a bare stream: no times, no index, no length
LIVE = Form("matroska", container_options={"live": "1"})  # as browsers record: no length and no index
FORMS = [
    MP4,
    Form("mp4", container_options={"movflags": "faststart"}),
    Form("mp4", container_options={"movflags": "frag_keyframe+empty_moov"}),
    Form("mov", "libx265", {"preset": "ultrafast", "x265-params": "log-level=none"}),
    MKV,
    LIVE,
    Form("webm", "libvpx-vp9", {"deadline": "realtime", "cpu-used": "8", "g": "25"}),
    AVI,
    Form("mpegts"),
    Form("flv"),
    Form("mpeg", "mpeg1video", {"bf": "2", "g": "12"}),
    UNTIMED,
]


def bars(number: int, size: tuple[int, int] = (WIDTH, HEIGHT)) -> np.ndarray:
    """The image of a number."""
    bits = [number >> bit & 1 for bit in range(BITS)]
    line = np.repeat(np.array(bits, np.uint8) * 255, BAR)
    image = Image.fromarray(np.repeat(np.tile(line, (HEIGHT, 1))[:, :, None], 3, axis=2))
    return np.asarray(image.resize(size, Image.Resampling.NEAREST))


def number_of(jpeg: bytes) -> int:
    """The number whose image this is."""
    image = Image.open(io.BytesIO(jpeg)).convert("L").resize((BITS, 1), Image.Resampling.BOX)
    return sum(1 << bit for bit in range(BITS) if cast("int", image.getpixel((bit, 0))) > 127)


_File = TypeVar("_File", bound=Path | BinaryIO)


def write(
    file: _File,
    times: Iterable[float],
    form: Form = MP4,
    *,
    rate: int = 25,
    audio_s: float = 0.0,
    images: Callable[[int], np.ndarray] = bars,
    look: Callable[[av.VideoStream], object] = id,
) -> _File:
    """A video whose images begin at `times`, in seconds; with `sound_s` it has an audio file, from 0 on.

    `look` is shown the stream before anything is written.
    """
    times = list(times)
    height, width, _ = images(0).shape
    with av.open(
        str(file) if isinstance(file, Path) else file, "w", format=form.format, options=form.container_options
    ) as container:
        stream = container.add_stream(form.codec, rate=rate, options=dict(form.options))
        stream.width, stream.height, stream.pix_fmt = width, height, form.pixels
        ticks = Fraction(1, rate) if form.codec in ("mpeg4", "mpeg1video", "mpeg2video") else Fraction(1, 90_000)
        stream.codec_context.time_base = ticks
        look(stream)
        sound = container.add_stream("aac", rate=RATE, layout="mono") if audio_s else None
        if sound is not None:
            for packet in _silence(sound, audio_s):
                container.mux(packet)
        for number, at_s in enumerate(times):
            frame = VideoFrame.from_ndarray(images(number), "rgb24")
            frame.pts, frame.time_base = round(at_s / ticks), ticks
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return file


def _silence(stream: av.AudioStream, seconds: float) -> Sequence[av.Packet]:
    packets = []
    for index in range(round(seconds * RATE / 1024)):
        frame = AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), "fltp", "mono")
        frame.sample_rate, frame.pts, frame.time_base = RATE, index * 1024, Fraction(1, RATE)
        packets += stream.encode(frame)
    return [*packets, *stream.encode(None)]


def steady(seconds: float, rate: int = 25, since_s: float = 0.0) -> list[float]:
    """The times of a video of so many images a second."""
    return [since_s + number / rate for number in range(round(seconds * rate))]


# --- corners, and the ways that they are displayed ------------------------------------------------------------------

CORNERS = {"red": (255, 0, 0), "green": (0, 255, 0), "blue": (0, 0, 255), "white": (255, 255, 255)}

# (a, b, c, d) of a display matrix, and where the corners are by it; ISO 14496-12 has x' = ax + cy and y' = bx + dy.
MATRICES = [
    ((1, 0, 0, 1), ["red", "green", "blue", "white"]),
    ((-1, 0, 0, 1), ["green", "red", "white", "blue"]),  # right is left
    ((1, 0, 0, -1), ["blue", "white", "red", "green"]),  # below is above
    ((-1, 0, 0, -1), ["white", "blue", "green", "red"]),
    ((0, 1, -1, 0), ["blue", "red", "white", "green"]),  # right is below, and below is left: a telephone held upright
    ((0, -1, 1, 0), ["green", "white", "red", "blue"]),
    ((0, 1, 1, 0), ["red", "blue", "green", "white"]),
    ((0, -1, -1, 0), ["white", "green", "blue", "red"]),
    ((0.995, 0.0998, -0.0998, 0.995), ["red", "green", "blue", "white"]),  # six degrees askew
]


def corners(_: int = 0) -> np.ndarray:
    """A colour in each corner: red and green above, blue and white below."""
    red, green, blue, white = CORNERS.values()
    small = np.array([[red, green], [blue, white]], np.uint8)
    return np.asarray(Image.fromarray(small).resize((128, 64), Image.Resampling.NEAREST))


def displayed_by(matrix: Sequence[float]) -> Callable[[av.VideoStream], None]:
    """What gives a stream that matrix, as `look` of `write`."""
    a, b, c, d = (round(each * (1 << 16)) for each in matrix)
    return lambda stream: stream.set_display_matrix((a, b, 0, c, d, 0, 0, 0, 1 << 30))


def seen_in(jpeg: bytes) -> list[str]:
    """The names of the colours in the corners: above, from left to right, and below."""
    image = Image.open(io.BytesIO(jpeg)).convert("RGB").resize((2, 2), Image.Resampling.BOX)

    def name(place: tuple[int, int]) -> str:
        shown = np.array(image.getpixel(place))
        return min(CORNERS, key=lambda each: abs(shown - CORNERS[each]).sum())

    return [name(place) for place in ((0, 0), (1, 0), (0, 1), (1, 1))]
