"""The audio of a file or video as samples that lie where its time says."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from fractions import Fraction
from typing import TypeAlias

import av
import numpy as np
from av.audio.frame import AudioFrame
from av.container import InputContainer
from av.filter import Graph
from numpy.typing import NDArray

from vidctl.errors import MediaError
from vidctl.media import audiotrack
from vidctl.media.audioclock import Clock
from vidctl.media.audiolength import declared_s, is_short
from vidctl.media.audiomix import Mixdown
from vidctl.media.container import begins_s

SAMPLE_RATE = 16_000  # what Whisper hears

_TIME_BASE = Fraction(1, SAMPLE_RATE)  # of what has no time of its own

Samples: TypeAlias = NDArray[np.int16]


class AudioTrack:
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
