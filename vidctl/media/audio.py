"""Make of any audio file or video what a speech recogniser needs: small chunks, cut where nobody speaks.

Whatever PyAV raises leaves here as a MediaError that names the file.  Nothing is ever held whole but one encoded chunk.
"""

from __future__ import annotations

import hashlib
import io
from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO, Literal

import av
import numpy as np
from av.audio.frame import AudioFrame
from av.audio.stream import AudioStream
from av.container import InputContainer, OutputContainer
from av.packet import Packet

from vidctl.errors import MediaError
from vidctl.media import audiolength, audiotrack
from vidctl.media.audioclock import JUMP_S
from vidctl.media.audiolength import declared_s
from vidctl.media.container import begins_s, opened, reading
from vidctl.media.pauses import quietest
from vidctl.media.samples import SAMPLE_RATE, AudioTrack, Samples

DEFAULT_CHUNK_S = 300.0
SHORTEST_CHUNK_S = 10.0
LONGEST_CHUNK_S = 1800.0  # 9 MB with base64 at the most that the encoder makes of it; RunPod takes 10 MB

_BIT_RATE = 24_000
# Constrained, no audio needs more than 0.25 MB a minute with base64; else music takes 0.29.  Longer packets cost less
# in the file.  Level 3 is six times as fast as 10, and Whisper hears no difference to a wav.
_OPUS = {"application": "audio", "compression_level": "3", "frame_duration": "60", "vbr": "constrained"}

# A stream of these at hardly more than our own bit rate is passed on as it is, in a container that keeps its times.
_PASSED_ON = {
    **dict.fromkeys(("opus", "vorbis"), "ogg"),
    **dict.fromkeys(("mp3", "mp3float"), "mp3"),
    **dict.fromkeys(("aac", "amrnb", "amrwb"), "mov"),
}
_SMALL_BIT_RATE = 29_000

_SHORTEST_REST_S = 10.0  # a last chunk that would be shorter is joined to the one before
_LONGEST_SEARCH_S = 60.0  # for a silence, before a chunk is full

_WHAT = "an audio file or video"
_Then = Literal["goes on", "is cut", "ends"]


@dataclass(frozen=True)
class Chunk:
    """A part of the audio as it is sent: `start_s` to `end_s` of the source.

    `digest` is that of `data`, and the same whenever the same source is cut in the same way.
    """

    index: int
    start_s: float
    end_s: float
    data: bytes = field(repr=False)
    digest: str
    is_last: bool


@dataclass(frozen=True)
class TrackChoice:
    """Which audio track is wanted: its number from 1, or its language; None is what a player would choose.

    `spoken` gives one code for all the ways to write a language.
    """

    track: int | str | None = None
    spoken: Callable[[str], str] = str.lower


_ANY = TrackChoice()


def duration_s(file: Path | BinaryIO, *, name: str, choice: TrackChoice = _ANY) -> float | None:
    """How long the file says that its audio is, without reading it; None if it does not say.  Raises MediaError."""
    with opened(file, name, what=_WHAT) as container:
        return _length_s(container, _audio(container, name, choice))


def chunks(
    file: Path | BinaryIO,
    *,
    name: str,
    warn: Callable[[str], None],
    chunk_s: float = DEFAULT_CHUNK_S,
    choice: TrackChoice = _ANY,
) -> Iterator[Chunk]:
    """Yield the audio in chunks, each as soon as it is ready; raise MediaError if there is none that can be read.

    A chunk is mono Ogg Opus of at most `chunk_s` seconds, which is at most LONGEST_CHUNK_S; the last one may take what
    would be too short for a chunk of its own.  Cuts lie in pauses, where there are any.  Audio that is small
    already and one chunk long is passed on without its video, but as it is.  Times are those of the video: audio that
    begins late begins with silence, and so does one that has a hole go on.  `warn` is called for a file that is
    damaged or incomplete: of it there are the chunks that it has.
    """
    passed_on = None
    with file.open("rb") if isinstance(file, Path) else nullcontext(file) as readable, reading(name):
        is_cut = audiolength.is_cut(readable)
    with opened(file, name, what=_WHAT) as container:
        stream = _audio(container, name, choice)
        turns = [stream.index]
        is_alone = choice.track is not None or len(container.streams.audio) == 1
        with suppress(av.FFmpegError, ValueError):  # what cannot be copied may still be decoded
            passed_on = _passed_on(container, stream, chunk_s, is_cut=is_cut) if is_alone else None
    if passed_on is not None:
        yield passed_on
        return
    if not is_alone:
        with opened(file, name, what=_WHAT) as container:
            turns = [each.index for each in audiotrack.successors(container, _audio(container, name, choice))]
    with opened(file, name, what=_WHAT) as container:
        yield from _encoded(
            AudioTrack(container, turns, name, warn, is_cut=is_cut, is_chosen=choice.track is not None), chunk_s
        )


def _audio(container: InputContainer, name: str, choice: TrackChoice) -> AudioStream:
    """The audio that is wanted, or that a player would choose."""
    tracks = container.streams.audio
    stream = audiotrack.best(tracks)
    if isinstance(stream, AudioStream):
        return stream if choice.track is None else _wanted(tracks, name, choice)
    if tracks:
        raise MediaError(f"{name}: the audio cannot be decoded: unsupported codec")
    if container.streams.video and container.format.name != "tty":  # FFmpeg shows text as a terminal would
        raise MediaError(f"{name}: has no audio")
    raise MediaError(f"{name}: not {_WHAT}")


def _wanted(tracks: Sequence[AudioStream], name: str, choice: TrackChoice) -> AudioStream:
    if isinstance(choice.track, int):
        found = tracks[choice.track - 1 : choice.track]
    else:
        wanted = choice.spoken(str(choice.track))
        found = [track for track in tracks if choice.spoken(track.language or "") == wanted]
    if not found:
        raise MediaError(f"{name}: audio track {choice.track} not found; available: {', '.join(map(_named, tracks))}")
    stream = audiotrack.best(found)
    if not isinstance(stream, AudioStream):
        raise MediaError(f"{name}: audio track {choice.track} cannot be decoded: unsupported codec")
    return stream


def _named(track: AudioStream) -> str:
    number = track.container.streams.audio.index(track) + 1
    return f"{number} ({track.language})" if track.language else str(number)


def _length_s(container: InputContainer, stream: AudioStream) -> float | None:
    if stream.duration is not None and stream.time_base is not None:
        return float(stream.duration * stream.time_base)
    if (declared := declared_s(container, stream)) is not None:
        return declared
    return container.duration / av.time_base if container.duration is not None else None


def _passed_on(container: InputContainer, stream: AudioStream, chunk_s: float, *, is_cut: bool) -> Chunk | None:
    """The whole audio in its own packets, or None if it is large or long, or anything about it is odd."""
    form = _PASSED_ON.get(stream.codec_context.name)
    if form is None or (stream.bit_rate or 0) > _SMALL_BIT_RATE:
        return None
    packets = _packets(container, stream, chunk_s + _rest_s(chunk_s))
    if not packets:
        return None
    end_s = _end_s(packets[-1]) - begins_s(container)
    is_whole = not is_cut and abs(end_s - (declared_s(container, stream) or end_s)) <= JUMP_S
    data = _remuxed(packets, stream, form)
    is_small = len(data) * 8 <= _SMALL_BIT_RATE * end_s
    return _chunk(0, 0.0, end_s, data, is_last=True) if is_whole and is_small else None


def _packets(container: InputContainer, stream: AudioStream, most_s: float) -> list[Packet[AudioStream]]:
    """All the stream's packets; none of them if there are too many, or one is broken or not where it should be."""
    packets, size, end_s = [], 0, begins_s(container)
    most_bytes, most_s = _SMALL_BIT_RATE / 8 * most_s, end_s + most_s
    for packet in container.demux(stream):
        if not packet.size:
            continue  # how demux says that it is at the end
        is_odd = packet.is_corrupt or packet.pts is None or not packet.duration
        if is_odd or abs(_time_s(packet) - end_s) > JUMP_S:
            return []
        size, end_s = size + packet.size, _end_s(packet)
        if end_s > most_s or size > most_bytes:
            return []
        packets.append(packet)
    return packets


def _time_s(part: Packet[AudioStream] | AudioFrame) -> float:
    """When it begins; only of one that has a `pts`."""
    assert part.pts is not None
    assert part.time_base is not None
    return float(part.pts * part.time_base)


def _end_s(packet: Packet[AudioStream]) -> float:
    assert packet.duration is not None
    return _time_s(packet) + float(packet.duration * packet.time_base)


def _remuxed(packets: list[Packet[AudioStream]], stream: AudioStream, form: str) -> bytes:
    file = io.BytesIO()
    with _output(file, form) as container:
        copy = container.add_stream_from_template(stream)
        for packet in packets:
            packet.stream = copy
            container.mux(packet)
    return file.getvalue()


def _output(file: BinaryIO, form: str) -> OutputContainer:
    """A container without serial number, date or version: the same audio is the same bytes."""
    return av.open(file, "w", format=form, options={"fflags": "+bitexact"})


def _chunk(index: int, start_s: float, end_s: float, data: bytes, *, is_last: bool) -> Chunk:
    return Chunk(index, start_s, end_s, data, hashlib.sha256(data).hexdigest(), is_last)


def _encoded(track: AudioTrack, chunk_s: float) -> Iterator[Chunk]:
    """Encode as samples come; of them only those are kept that the next cut may lie in."""
    index, begins, ends, encoder = 0, 0, 0, _Encoder()
    for samples, then in _parts(track.samples(), chunk_s):
        encoder.add(samples)
        ends += len(samples)
        if then != "goes on":
            data = encoder.finish()
            yield _chunk(index, begins / SAMPLE_RATE, ends / SAMPLE_RATE, data, is_last=then == "ends")
            index, begins, encoder = index + 1, ends, _Encoder()


class _Encoder:
    """Samples in, one Ogg Opus file out."""

    def __init__(self) -> None:
        self._file = io.BytesIO()
        self._container = _output(self._file, "ogg")
        self._stream = self._container.add_stream("libopus", rate=SAMPLE_RATE, options=_OPUS, layout="mono")
        self._stream.bit_rate = _BIT_RATE
        self._position = 0

    def add(self, samples: Samples) -> None:
        if not len(samples):
            return
        frame = AudioFrame.from_ndarray(samples.reshape(1, -1), format="s16", layout="mono")
        frame.sample_rate = SAMPLE_RATE
        frame.pts = self._position
        self._position += len(samples)
        self._container.mux(self._stream.encode(frame))

    def finish(self) -> bytes:
        self._container.mux(self._stream.encode(None))
        self._container.close()
        return self._file.getvalue()


def _parts(blocks: Iterator[Samples], chunk_s: float) -> Iterator[tuple[Samples, _Then]]:
    """The samples in order, and with each what comes then: more of the chunk, a cut, or nothing."""
    search, rest = (round(s * SAMPLE_RATE) for s in (min(_LONGEST_SEARCH_S, chunk_s / 3), _rest_s(chunk_s)))
    most = round(chunk_s * SAMPLE_RATE)
    kept, passed = np.empty(0, np.int16), 0
    for block in blocks:
        kept = np.concatenate((kept, block))
        while passed + len(kept) > most + rest:
            cut = quietest(kept, since=max(0, most - search - passed), until=most - passed)
            yield kept[:cut], "is cut"
            kept, passed = kept[cut:], 0
        free = most - search - passed
        if free > 0:
            yield kept[:free], "goes on"
            passed += len(kept[:free])
            kept = kept[free:]
    yield kept, "ends"


def _rest_s(chunk_s: float) -> float:
    """What is less than this is no chunk of its own."""
    return min(_SHORTEST_REST_S, chunk_s / 3)
