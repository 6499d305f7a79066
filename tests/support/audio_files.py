"""Audio files and videos of many forms, of samples that a test knows."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from av.stream import Disposition

RATE = 16_000


@dataclass(frozen=True)
class Form:
    """How a test file is written; a video has an image beside its audio."""

    suffix: str
    codec: str
    rate: int
    layout: str = "mono"
    bit_rate: int | None = None
    is_video: bool = False

    def __str__(self) -> str:
        return f"{self.suffix}-{self.codec}-{self.rate}-{self.layout}"


WAVS = [Form("wav", "pcm_s16le", rate, at) for rate in (8000, 16000, 22050, 44100, 48000) for at in ("mono", "stereo")]
COMPRESSED = [
    Form("mp3", "libmp3lame", 44100, "stereo", 64_000),
    Form("m4a", "aac", 44100, "stereo", 64_000),
    Form("ogg", "libopus", 48000, "stereo", 64_000),
    Form("flac", "flac", 44100, "stereo"),
    Form("mkv", "aac", 48000, "stereo", 96_000, is_video=True),
    Form("mp4", "aac", 48000, "stereo", 96_000, is_video=True),
]
SMALL = [
    Form("ogg", "libopus", 48000, bit_rate=24_000),
    Form("webm", "libopus", 48000, bit_rate=20_000),
    Form("mp3", "libmp3lame", 16000, bit_rate=24_000),
    Form("m4a", "aac", 16000, bit_rate=20_000),
    Form("adts", "aac", 16000, bit_rate=20_000),
    Form("mp4", "aac", 16000, bit_rate=20_000, is_video=True),
    Form("amr", "libopencore_amrnb", 8000, bit_rate=12_200),
]
# Containers that tell how long they are, as (muxer, codec, whether beside an image).
TELLING = [
    ("wav", "pcm_s16le", False), ("wav", "pcm_f32le", False), ("w64", "pcm_s16le", False), ("caf", "pcm_s16le", False),
    ("aiff", "pcm_s16be", False), ("au", "pcm_s16be", False), ("flac", "flac", False), ("tta", "tta", False),
    ("wv", "wavpack", False), ("mp3", "libmp3lame", False), ("asf", "wmav2", False), ("avi", "libmp3lame", True),
    ("flv", "aac", False), ("flv", "aac", True), ("matroska", "aac", False), ("matroska", "aac", True),
    ("webm", "libopus", False),
]  # fmt: skip


def write_telling(path: Path, samples: np.ndarray, form: tuple[str, str, bool], *, image_s: float = 0.0) -> Path:
    """The samples (16 kHz, mono) at 48 kHz in a container of TELLING; an image lasts `image_s` at least."""
    muxer, codec, has_image = form
    with av.open(path, "w", format=muxer) as container:
        audio = container.add_stream(codec, rate=48_000, layout="mono")
        audio.bit_rate = 64_000
        image = container.add_stream("flv1" if muxer == "flv" else "mpeg4", rate=5) if has_image else None
        if image is not None:
            image.width = image.height = 64
        resampler = av.AudioResampler(audio.codec_context.format, "mono", 48_000)
        queue, at = av.AudioFifo(), 0
        for second in range(max(-(-len(samples) // RATE), round(image_s))):
            for part in range(5 if image is not None else 0):
                shown = av.VideoFrame.from_ndarray(np.full((64, 64, 3), second % 256, np.uint8))
                shown.pts, shown.time_base = second * 5 + part, Fraction(1, 5)
                container.mux(image.encode(shown))
            block = samples[None, second * RATE : (second + 1) * RATE]
            frame = av.AudioFrame.from_ndarray(block, format="s16", layout="mono") if block.size else None
            if frame:
                frame.sample_rate = RATE
            for each in resampler.resample(frame) if frame else ():
                each.pts = None
                queue.write(each)
            while each := queue.read(audio.codec_context.frame_size or 1024):
                each.pts, each.time_base, at = at, Fraction(1, 48_000), at + each.samples
                container.mux(audio.encode(each))
        if rest := queue.read():
            rest.pts, rest.time_base = at, Fraction(1, 48_000)
            container.mux(audio.encode(rest))
        container.mux(audio.encode(None))
        if image is not None:
            container.mux(image.encode(None))
    return path


_MUXERS = {"m4a": "ipod", "mkv": "matroska"}


def write(path: Path, samples: np.ndarray, form: Form, *, late_s: float = 0.0) -> Path:
    """The samples (16 kHz, mono) as a file of that form, `late_s` after its image begins."""
    with av.open(path, "w", format=_MUXERS.get(form.suffix, form.suffix)) as container:
        audio = container.add_stream(form.codec, rate=form.rate, layout=form.layout)
        if form.bit_rate:
            audio.bit_rate = form.bit_rate
        image = container.add_stream("mpeg4", rate=5) if form.is_video else None
        if image is not None:
            image.width = image.height = 64
        resampler = av.AudioResampler(audio.codec_context.format, form.layout, form.rate)
        for second in range(-(-len(samples) // RATE)):
            if image is not None:
                for part in range(5):
                    frame = av.VideoFrame.from_ndarray(np.full((64, 64, 3), second % 256, np.uint8))
                    frame.pts, frame.time_base = second * 5 + part, Fraction(1, 5)
                    container.mux(image.encode(frame))
            heard = av.AudioFrame.from_ndarray(samples[None, second * RATE :][:, :RATE], format="s16", layout="mono")
            heard.sample_rate = RATE
            heard.pts = round((second + late_s) * RATE)
            container.mux([packet for frame in resampler.resample(heard) for packet in audio.encode(frame)])
        container.mux([packet for frame in resampler.resample(None) for packet in audio.encode(frame)])
        container.mux(audio.encode(None))
        if image is not None:
            container.mux(image.encode(None))
    return path


def write_float(path: Path, samples: np.ndarray, *, rate: int, layout: str) -> Path:
    """A wav of floating-point samples, one row a channel."""
    with av.open(path, "w") as container:
        audio = container.add_stream("pcm_f32le", rate=rate, layout=layout)
        for begin in range(0, samples.shape[1], rate):
            packed = np.ascontiguousarray(samples[:, begin : begin + rate].T, dtype=np.float32).reshape(1, -1)
            frame = av.AudioFrame.from_ndarray(packed, format="flt", layout=layout)
            frame.sample_rate, frame.pts = rate, begin
            container.mux(audio.encode(frame))
    return path


def write_tracks(
    path: Path, tracks: list[np.ndarray], *, languages: tuple[str, ...] = (), default: int = 0, muxer: str = "matroska"
) -> Path:
    """Several audio tracks in one file (16 kHz, mono), of which the one numbered `default` is marked so."""
    with av.open(path, "w", format=muxer) as container:
        streams = [container.add_stream("aac", rate=RATE, layout="mono") for _ in tracks]
        for number, stream in enumerate(streams):
            stream.disposition = Disposition.default if number == default else Disposition(0)
            if languages:
                stream.metadata["language"] = languages[number]
        for stream, samples in zip(streams, tracks, strict=True):
            resampler = av.AudioResampler(stream.codec_context.format, "mono", RATE)
            for begin in range(0, len(samples), RATE):
                frame = av.AudioFrame.from_ndarray(samples[None, begin : begin + RATE], format="s16", layout="mono")
                frame.sample_rate, frame.pts = RATE, begin
                container.mux([packet for each in resampler.resample(frame) for packet in stream.encode(each)])
            container.mux(stream.encode(None))
    return path


def undecodable(path: Path, number: int) -> Path:
    """An MP4 whose audio track of this number from 0 is in a codec that nobody knows."""
    data = path.read_bytes()
    at = -1
    for _ in range(number + 1):
        at = data.index(b"mp4a", at + 1)
    path.write_bytes(data[:at] + b"zzzz" + data[at + 4 :].replace(b"esds", b"free", 1))
    return path
