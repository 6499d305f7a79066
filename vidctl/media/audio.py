"""Make of any audio file or video what a speech recogniser needs: small chunks, cut where nobody speaks.

Whatever PyAV raises leaves here as a MediaError that names the file.  Nothing is ever held whole but one encoded chunk.
"""

from __future__ import annotations

import hashlib
import io
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Any, BinaryIO, Literal, TypeAlias

import av
import numpy as np
from av.audio.frame import AudioFrame
from av.audio.stream import AudioStream
from av.container import InputContainer, OutputContainer
from av.filter import Graph
from av.packet import Packet
from numpy.typing import NDArray

from vidctl.errors import MediaError
from vidctl.media import audiolength, audiotrack
from vidctl.media.audioclock import JUMP_S, Clock
from vidctl.media.audiolength import declared_s, is_short
from vidctl.media.audiomix import Mixdown
from vidctl.media.container import begins_s, opened, reading

SAMPLE_RATE = 16_000  # what Whisper hears
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

_TIME_BASE = Fraction(1, SAMPLE_RATE)  # of what has no time of its own

_FRAME = SAMPLE_RATE // 50  # of 20 ms: how finely loudness is looked at
_SMOOTHED_FRAMES = 15  # 0.3 s: no stop within a word is as long
_PAUSE_FRAMES = 13  # all the whole frames that a pause of 0.3 s is sure to hold, less one at its edge
_SILENCE_DB = -60.0

_WHAT = "an audio file or video"

Samples: TypeAlias = NDArray[np.int16]
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
class Choice:
    """Which audio track is wanted: its number from 1, or its language; None is what a player would choose.

    `spoken` gives one code for all the ways to write a language.
    """

    track: int | str | None = None
    spoken: Callable[[str], str] = str.lower


_ANY = Choice()


def duration_s(file: Path | BinaryIO, *, name: str, choice: Choice = _ANY) -> float | None:
    """How long the file says that its audio is, without reading it; None if it does not say.  Raises MediaError."""
    with opened(file, name, what=_WHAT) as container:
        return _length_s(container, _audio(container, name, choice))


def chunks(
    file: Path | BinaryIO,
    *,
    name: str,
    warn: Callable[[str], None],
    chunk_s: float = DEFAULT_CHUNK_S,
    choice: Choice = _ANY,
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
            _Track(container, turns, name, warn, is_cut=is_cut, is_chosen=choice.track is not None), chunk_s
        )


def _audio(container: InputContainer, name: str, choice: Choice) -> AudioStream:
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


def _wanted(tracks: Sequence[AudioStream], name: str, choice: Choice) -> AudioStream:
    if isinstance(choice.track, int):
        found = tracks[choice.track - 1 : choice.track]
    else:
        wanted = choice.spoken(str(choice.track))
        found = [track for track in tracks if choice.spoken(track.language or "") == wanted]
    if not found:
        raise MediaError(f"{name}: audio track {choice.track} not found: there are {', '.join(map(_named, tracks))}")
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


def _encoded(track: _Track, chunk_s: float) -> Iterator[Chunk]:
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
            cut = _quietest(kept, since=max(0, most - search - passed), until=most - passed)
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


def _quietest(samples: Samples, *, since: int, until: int) -> int:
    """Where to cut: in the middle of the last pause of at least half the longest, or of the least loud 0.3 s.

    In a pause every 20 ms are nearer to the noise floor than to the speech, for 0.3 s.
    """
    searched = samples[since:until].astype(np.float32) / 32768
    frames = searched[: len(searched) // _FRAME * _FRAME].reshape(-1, _FRAME)
    power = np.mean(frames**2, axis=1)
    smoothed = np.convolve(power, np.full(_SMOOTHED_FRAMES, 1 / _SMOOTHED_FRAMES), "valid")
    floor, speech = _decibels(smoothed.min()), _decibels(np.percentile(power, 90))
    begins, ends = _runs(_decibels(power) <= floor + (speech - floor) / 4)
    lengths = ends - begins
    if lengths.max(initial=0) >= _PAUSE_FRAMES:
        good = np.flatnonzero(lengths >= max(_PAUSE_FRAMES, lengths.max() / 2))[-1]
        frame = (begins[good] + ends[good]) / 2
    else:
        frame = smoothed.argmin() + _SMOOTHED_FRAMES / 2
    return since + round(float(frame) * _FRAME)


def _decibels(power: Any) -> Any:
    """Relative to the loudest there can be, and never below what counts as silence anyway."""
    return np.maximum(10 * np.log10(np.maximum(power, 1e-12)), _SILENCE_DB)


def _runs(claims: NDArray[np.bool_]) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Where the runs of True begin, and where they have ended."""
    edges = np.flatnonzero(np.diff(claims, prepend=False, append=False))
    return edges[::2], edges[1::2]


class _Track:
    """The audio of a video, as samples that lie where the video's time says."""

    def __init__(
        self,
        container: InputContainer,
        turns: list[int],
        name: str,
        warn: Callable[[str], None],
        *,
        is_cut: bool,
        is_chosen: bool,
    ) -> None:
        self._container = container
        tracks = {track.index: track for track in container.streams.audio}
        self._streams = [tracks[index] for index in turns]  # one after the other
        self._is_cut = is_cut
        self._is_chosen = is_chosen
        self._peak = 0
        self._name = name
        self._warn = warn
        self._clock = Clock(begins_s(container))
        self._damaged_s: float | None = None

    def samples(self) -> Iterator[Samples]:
        """Blocks of about a second, 16 kHz, mono; raise MediaError if there is not one sample."""
        resampler: _Resampler | None = None
        for gap_s, frame in self._clock.placed(self._frames()):
            if resampler is None or gap_s or not resampler.takes(frame):
                yield from self._metered(resampler.rest()) if resampler else ()
                yield from _silence(gap_s)
                resampler = _Resampler(frame)
            yield from self._metered(resampler.resampled(frame))
        if resampler is None:
            what = "damaged from the start" if self._damaged_s is not None else "the audio is empty"
            raise MediaError(f"{self._name}: {what}")
        yield from self._metered(resampler.rest())
        self._warn_of_damage()
        self._warn_of_silence()

    def _metered(self, blocks: Iterator[Samples]) -> Iterator[Samples]:
        for block in blocks:
            self._peak = max(self._peak, int(np.abs(block.astype(np.int32)).max(initial=0)))
            yield block

    def _frames(self) -> Iterator[AudioFrame]:
        """What can be decoded; what cannot leaves a gap in time."""
        with self._noticing_damage():
            for packet in self._container.demux(self._streams):
                if not packet.size and packet.stream is not self._streams[-1]:
                    continue  # how demux says that it is at the end: only the last one has something left
                with self._noticing_damage():
                    yield from (frame for frame in packet.decode() if isinstance(frame, AudioFrame))

    @contextmanager
    def _noticing_damage(self) -> Iterator[None]:
        try:
            yield
        except av.FFmpegError:
            self._damaged_s = self._clock.heard_s if self._damaged_s is None else self._damaged_s

    def _warn_of_damage(self) -> None:
        heard_s, promised_s = self._clock.heard_s, declared_s(self._container, self._streams[0])
        if is_short(max(heard_s, self._clock.reached_s), promised_s):
            self._warn(f"{self._name}: incomplete: the audio ends after {heard_s:.1f} of {promised_s:.1f} s")
        elif self._is_cut:
            self._warn(f"{self._name}: incomplete: the file breaks off, and the audio ends after {heard_s:.1f} s")
        elif self._damaged_s is not None:
            self._warn(f"{self._name}: damaged at {self._damaged_s:.1f} s; unreadable parts are skipped")

    def _warn_of_silence(self) -> None:
        turns = [stream.index for stream in self._streams]
        others = audiotrack.unheard(self._container, turns, self._peak / 32768)
        if others and not self._is_chosen:
            number = self._container.streams.audio.index(self._streams[0]) + 1
            self._warn(f"{self._name}: audio track {number} is silent; use --audio-track {others[0]} for another")


class _Resampler:
    """Frames of one format in, 16 kHz mono out; what is not a number becomes silence."""

    def __init__(self, frame: AudioFrame) -> None:
        self._format = _format(frame)
        self._graph = Graph()
        source = self._graph.add_abuffer(
            sample_rate=frame.sample_rate, format=frame.format.name, layout=frame.layout.name, time_base=_TIME_BASE
        )
        self._mixdown = Mixdown() if frame.layout.nb_channels == 2 else None
        layout = "stereo" if self._mixdown else "mono"
        # Without rematrix_maxval two loud channels in floating point sum up to more than full scale.
        mixed = self._graph.add("aresample", f"{SAMPLE_RATE}:ochl={layout}:osf=flt:rematrix_maxval=1")
        block = self._graph.add("asetnsamples", f"n={SAMPLE_RATE}:p=0")
        sink = self._graph.add("abuffersink")
        self._graph.link_nodes(source, mixed, block, sink).configure()

    def takes(self, frame: AudioFrame) -> bool:
        return self._format == _format(frame)

    def resampled(self, frame: AudioFrame) -> Iterator[Samples]:
        frame.pts = None
        self._graph.push(frame)
        return self._pulled()

    def rest(self) -> Iterator[Samples]:
        self._graph.push(None)
        return self._pulled()

    def _pulled(self) -> Iterator[Samples]:
        with suppress(av.error.BlockingIOError, av.error.EOFError):
            while True:
                samples = self._graph.pull().to_ndarray()[0]
                numbers = np.nan_to_num(samples, nan=0.0, posinf=0.0, neginf=0.0)
                if self._mixdown:
                    numbers = self._mixdown.mono(numbers.reshape(-1, 2))
                yield np.rint(numbers.clip(-1, 1) * 32768).clip(max=32767).astype(np.int16)


def _format(frame: AudioFrame) -> tuple[int, str, str]:
    return frame.sample_rate, frame.format.name, frame.layout.name


def _silence(length_s: float) -> Iterator[Samples]:
    left = round(length_s * SAMPLE_RATE)
    while left > 0:
        yield np.zeros(min(left, SAMPLE_RATE), np.int16)
        left -= SAMPLE_RATE
