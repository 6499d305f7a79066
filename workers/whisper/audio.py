"""From what a caller sent to the samples Whisper hears, in blocks: memory stays bounded however long the audio is.

Any bytes give an `Audio` or BadInputError, nothing else.
"""

from __future__ import annotations

import io
from contextlib import contextmanager
from fractions import Fraction
from pathlib import Path
from tempfile import TemporaryFile
from typing import IO, TYPE_CHECKING, Any

import audiotrack
import av
import av.filter
import numpy as np
from audioclock import Clock
from audiolength import declared_s, is_cut, is_short
from audiomix import Mixdown
from badinput import BadInputError
from base64text import from_text
from download import download, is_url

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from numpy.typing import NDArray

    Stopped = Callable[[], bool]

SAMPLE_RATE = 16_000
VOLUME = Path("/runpod-volume")  # where RunPod mounts a network volume

# ffmpeg's names of the formats that hold audio.  It knows hundreds more, among them playlists, which open other files
# and addresses.
FORMATS = (
    "aac", "ac3", "aiff", "amr", "ape", "asf", "au", "avi", "caf", "dts", "eac3", "flac", "flv", "matroska", "mov",
    "mp3", "mpeg", "mpegts", "ogg", "tta", "voc", "w64", "wav", "wv",
)  # fmt: skip
SOME_FORMATS = "WAV, MP3, M4A, FLAC, Ogg, WebM, MP4, …"
MAX_CHANNELS = 8
RATES = range(1_000, 768_001)  # beyond them ffmpeg's resampler takes gigabytes or minutes
MAX_AUDIO_S = 24 * 3600.0  # a small file can hold days of nothing
MAX_DOWNLOAD_BYTES = 2_000_000_000
DOWNLOAD_TIMEOUT_S = 300  # for all of it
SERVER_SILENCE_S = 30  # until a server's next byte

# PyAV before 19 fails on a title that is not UTF-8 unless told otherwise; 19 knows no such word.
TAGS: dict[str, Any] = {"metadata_errors": "ignore"} if int(av.__version__.partition(".")[0]) < 19 else {}

BATCH = 100_000  # samples that are mixed at once: a call for each of a file's frames takes as long as decoding it


class Audio:
    """An open audio file or video.

    `expected_s` is how long its file says it is, None if it does not say; `warnings` grows while it is read.
    """

    def __init__(self, file: IO[bytes]) -> None:
        self._container = _container(file)
        self._stream = _stream(self._container)
        self._turns = [one.index for one in audiotrack.successors(self._container, self._stream)]
        if len(self._container.streams.audio) > 1:  # looking at the tracks may have read it to its end
            self._container.close()
            file.seek(0)
            self._container = _container(file)
            self._stream = self._container.streams[self._turns[0]]
        self._declared_s = declared_s(self._container, self._stream)
        duration = self._container.duration
        self.expected_s = self._declared_s or (duration / av.time_base if duration else None)
        self.warnings: list[str] = []
        self._damaged = 0
        self._peak = 0.0
        self._is_cut = is_cut(file)
        start = self._container.start_time
        self._clock = Clock(None if start is None else start / av.time_base)

    def blocks(self, seconds: float = 300.0) -> Iterator[NDArray[np.float32]]:
        """Yield mono samples at 16 kHz, within -1 to 1, `seconds` at a time; raise BadInputError if none or too many.

        Where the audio begins later than the image or has a hole there is silence: times are those of the video.
        """
        size = round(seconds * SAMPLE_RATE)
        total, waiting, count = 0, [], 0
        for piece in self._pieces():
            rest = piece
            self._peak = max(self._peak, float(np.abs(piece).max(initial=0.0)))
            while count + rest.size >= size:
                waiting.append(rest[: size - count])
                rest = rest[size - count :]
                yield np.concatenate(waiting)
                total, waiting, count = total + size, [], 0
            waiting.append(rest)
            count += rest.size
            if total + count > MAX_AUDIO_S * SAMPLE_RATE:
                raise BadInputError(f"audio is longer than {MAX_AUDIO_S / 3600:.0f} hours")
        if not total + count:
            raise BadInputError("audio is empty: it has 0 samples")
        if count:
            yield np.concatenate(waiting)
        self._warn((total + count) / SAMPLE_RATE)

    def close(self) -> None:
        self._container.close()

    def _pieces(self) -> Iterator[NDArray[np.float32]]:
        mixer = None
        for hole_s, frame in self._clock.placed(self._frames()):
            if mixer and (hole_s or not mixer.takes(frame)):
                yield from mixer.rest()
                mixer = None
            yield from _silence(hole_s)
            mixer = mixer or _Mixer(frame)
            yield from mixer.mixed(frame)
        if mixer:
            yield from mixer.rest()

    def _frames(self) -> Iterator[av.AudioFrame]:
        """The decoded frames; packets that do not decode are left out, a file that breaks off ends."""
        streams = [self._container.streams[index] for index in self._turns]
        packets = self._container.demux(streams)
        while True:
            try:
                packet = next(packets)
            except StopIteration:
                return
            except IndexError:  # PyAV's, at a packet of a stream that began later: not ours
                packets = self._container.demux(streams)
                continue
            except av.FFmpegError:
                self._is_cut = True
                return
            if not packet.size and packet.stream.index != self._turns[-1]:
                continue  # how demux says that it is at the end: only the last one has something left
            try:
                frames = packet.decode()
            except av.FFmpegError:
                self._damaged += 1
                continue
            yield from (frame for frame in frames if frame.samples)

    def _warn(self, heard_s: float) -> None:
        """Say what of the file could not be heard."""
        reached_s = max(heard_s, self._clock.reached_s)  # a wrong timestamp may be in the file's length too
        if self._is_cut or is_short(reached_s, self._declared_s):
            is_known = self._declared_s is not None and is_short(heard_s, self._declared_s)
            of_how_much = f" of {self._declared_s:.1f} s" if is_known else ""
            self.warnings.append(f"audio breaks off after {heard_s:.1f} s{of_how_much}")
        elif self._damaged:
            self.warnings.append(f"audio is damaged: {self._damaged} of its packets cannot be decoded")
        if others := audiotrack.unheard(self._container, self._turns, self._peak):
            number = self._container.streams.audio.index(self._stream) + 1
            self.warnings.append(f"audio track {number} is silent; track {others[0]} was not transcribed")


class _Mixer:
    """Brings frames that are alike to mono at 16 kHz, many at a time."""

    def __init__(self, frame: av.AudioFrame) -> None:
        if frame.layout.nb_channels > MAX_CHANNELS:
            raise BadInputError(f"audio has {frame.layout.nb_channels} channels; at most {MAX_CHANNELS} are supported")
        if frame.sample_rate not in RATES:
            raise BadInputError(f"audio has {frame.sample_rate} samples a second; 1000 to 768000 are supported")
        self._kind = _kind(frame)
        self._frames = av.AudioFifo()
        self._graph = _graph(frame)
        self._mixdown = Mixdown() if frame.layout.nb_channels == 2 else None

    def takes(self, frame: av.AudioFrame) -> bool:
        return self._kind == _kind(frame)

    def mixed(self, frame: av.AudioFrame) -> Iterator[NDArray[np.float32]]:
        frame.pts = None  # Clock has seen to it; the queue wants them without holes
        self._frames.write(frame)
        if self._frames.samples >= BATCH:
            yield from self._resampled(self._frames.read())

    def rest(self) -> Iterator[NDArray[np.float32]]:
        if self._frames.samples:
            yield from self._resampled(self._frames.read())
        yield from self._resampled(None)

    def _resampled(self, frame: av.AudioFrame | None) -> Iterator[NDArray[np.float32]]:
        self._graph.push(frame)
        while True:
            try:
                pulled = self._graph.pull()
            except (BlockingIOError, EOFError):  # it waits for more, or has had all
                return
            samples = np.nan_to_num(pulled.to_ndarray()[0], nan=0.0, posinf=0.0, neginf=0.0)
            if self._mixdown:
                samples = self._mixdown.mono(samples.reshape(-1, 2))
            yield np.clip(samples, -1.0, 1.0, out=samples)


def _graph(frame: av.AudioFrame) -> Any:
    """A graph of ffmpeg's filters that brings frames like this one to mono float samples at 16 kHz; two stay two."""
    graph = av.filter.Graph()
    source = graph.add_abuffer(
        sample_rate=frame.sample_rate,
        format=frame.format.name,
        layout=frame.layout.name,
        time_base=Fraction(1, frame.sample_rate),
    )
    # By default ffmpeg mixes channels down to more than full scale where samples are floats.
    mixed = graph.add("aresample", rematrix_maxval="1")
    layout = "stereo" if frame.layout.nb_channels == 2 else "mono"
    form = graph.add("aformat", sample_fmts="flt", channel_layouts=layout, sample_rates=str(SAMPLE_RATE))
    graph.link_nodes(source, mixed, form, graph.add("abuffersink")).configure()
    return graph


def _kind(frame: av.AudioFrame) -> tuple[str, str, int]:
    return frame.format.name, frame.layout.name, frame.sample_rate


def _silence(seconds: float) -> Iterator[NDArray[np.float32]]:
    left = round(seconds * SAMPLE_RATE)
    while left:
        yield np.zeros(min(left, BATCH), np.float32)
        left -= min(left, BATCH)


def _container(file: IO[bytes]) -> Any:
    # Files are read through Python only: ffmpeg itself may open nothing.
    only = {"format_whitelist": ",".join(FORMATS), "protocol_whitelist": "none"}
    try:
        return av.open(file, options=only, **TAGS)
    except av.FFmpegError as error:
        file.seek(4)
        if file.read(4) == b"ftyp":
            raise BadInputError("audio is cut short: the index at the end of the MP4 is missing") from error
        raise BadInputError(f"audio is not a supported audio file or video ({SOME_FORMATS})") from error


def _stream(container: Any) -> Any:
    if not container.streams.audio:
        raise BadInputError("audio is a video without audio" if container.streams.video else "audio has no audio track")
    stream = audiotrack.best(container.streams.audio)
    if stream is None:
        raise BadInputError("audio has an unsupported codec")
    return stream


def _never() -> bool:
    return False


@contextmanager
def opened(audio: str, *, volume: Path = VOLUME, stopped: Stopped = _never) -> Iterator[Audio]:
    """Open base64, a data: URL, an https:// URL or a path below `volume`; raise BadInputError with one sentence.

    A download ends as soon as `stopped` says so.
    """
    with _file(audio, volume, stopped) as file:
        source = Audio(file)
        try:
            yield source
        except av.FFmpegError as error:
            raise BadInputError("audio is damaged and cannot be decoded") from error
        finally:
            source.close()


@contextmanager
def _file(audio: str, volume: Path, stopped: Stopped) -> Iterator[IO[bytes]]:
    if is_url(audio):
        with TemporaryFile() as file:
            download(
                audio,
                file,
                what="the audio's URL",
                max_bytes=MAX_DOWNLOAD_BYTES,
                timeout_s=DOWNLOAD_TIMEOUT_S,
                silence_s=SERVER_SILENCE_S,
                stopped=stopped,
            )
            file.seek(0)
            yield file
    elif audio.startswith(f"{volume}/"):
        with _on_volume(audio, volume) as file:
            yield file
    else:
        yield io.BytesIO(from_text(audio, "audio"))


def _on_volume(path: str, volume: Path) -> IO[bytes]:
    """Open a file of the volume, which no `..` and no link may lead out of."""
    try:
        resolved = Path(path).resolve(strict=True)
        if not resolved.is_relative_to(volume.resolve()) or not resolved.is_file():
            raise FileNotFoundError
        return resolved.open("rb")
    except (OSError, RuntimeError, ValueError) as error:
        raise BadInputError(f"file {path[:200]!r} not found on the volume") from error
