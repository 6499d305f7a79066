"""Any audio file or video, made into small chunks that are cut where nobody speaks."""

from __future__ import annotations

import hashlib
import io
import subprocess
import sys
import wave
from collections.abc import Callable, Sequence
from pathlib import Path

import av
import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from PIL import Image
from support.audio_files import (
    COMPRESSED,
    SMALL,
    TELLING,
    WAVS,
    Form,
    undecodable,
    write,
    write_float,
    write_telling,
    write_tracks,
)
from support.failing import failing
from support.stating import stating

from vidctl.media.audio import DEFAULT_CHUNK_S, LONGEST_CHUNK_S, Chunk, TrackChoice, chunks, duration_s

RATE = 16_000
LENGTH_S = 60
LIBRIVOX = Path("/usr/share/pocketsphinx/test/data/librivox")


def heard(data: bytes) -> np.ndarray:
    """What a worker hears of it: 16 kHz, mono, -1 to 1."""
    with av.open(io.BytesIO(data)) as container:
        resampler = av.AudioResampler("s16", "mono", RATE)
        frames = [f for frame in container.decode(audio=0) for f in resampler.resample(frame)]
        frames += resampler.resample(None)
    return np.concatenate([frame.to_ndarray()[0] for frame in frames]).astype(np.float32) / 32768


def no_warning(text: str) -> None:
    raise AssertionError(text)


def cut(
    file: Path | io.BytesIO, chunk_s: float = DEFAULT_CHUNK_S, warn: Callable[[str], None] = no_warning
) -> list[Chunk]:
    return list(chunks(file, name="talk", warn=warn, chunk_s=chunk_s))


def tone(seconds: float, loudness: float = 0.3) -> np.ndarray:
    """A voice of a kind: a buzz that swells and fades within each syllable, a fifth of a second."""
    at = np.arange(round(seconds * RATE)) / RATE
    buzz = sum(np.sin(2 * np.pi * pitch * at) for pitch in (120, 240, 480, 960)) / 4
    return (32767 * loudness * buzz * (0.55 + 0.45 * np.sin(2 * np.pi * 5 * at))).astype(np.int16)


def room(seconds: float) -> np.ndarray:
    """The quiet noise of a room."""
    return np.random.default_rng(0).normal(0, 15, round(seconds * RATE)).astype(np.int16)


def layout_of(parts: Sequence[tuple[float, float]]) -> np.ndarray:
    """Bursts of a voice, each with its pause behind it, in seconds."""
    return np.concatenate([part for burst_s, pause_s in parts for part in (tone(burst_s), room(pause_s))])


@pytest.fixture(scope="module")
def speech() -> np.ndarray:
    """A minute of people who read aloud, with pauses between their sentences."""
    clips = sorted(LIBRIVOX.glob("*.wav"))
    if not clips:
        pytest.skip("needs Debian's pocketsphinx-testdata")
    said = [np.concatenate([np.frombuffer(clip.read_bytes()[44:], np.int16), room(0.7)]) for clip in clips]
    once = np.concatenate(said)
    return np.tile(once, -(-LENGTH_S * RATE // len(once)))[: LENGTH_S * RATE]


@pytest.fixture(scope="module")
def made(speech, tmp_path_factory) -> Callable[[Form], Path]:
    """The minute in any form, each written once."""
    folder = tmp_path_factory.mktemp("audio")

    def make(form: Form) -> Path:
        path = folder / f"{form}.{form.suffix}"
        return path if path.exists() else write(path, speech, form)

    return make


@pytest.mark.parametrize("form", WAVS + COMPRESSED, ids=str)
def test_no_second_is_lost_in_any_form(made, speech, form):
    """The same minute in every form: chunks lie end to end, and a worker hears all that is said, when it is said."""
    found = cut(made(form), 20)

    parts = [heard(chunk.data) for chunk in found]
    lengths = [len(part) / RATE for part in parts]
    assert len(found) > 2
    assert [0.0, *(chunk.end_s for chunk in found[:-1])] == [chunk.start_s for chunk in found]
    assert pytest.approx([chunk.end_s - chunk.start_s for chunk in found], abs=0.001) == lengths
    assert pytest.approx(LENGTH_S, abs=0.05) == sum(lengths)
    assert pytest.approx(LENGTH_S, abs=0.05) == duration_s(made(form), name="talk")
    assert list(range(len(found))) == [chunk.index for chunk in found]
    assert [False] * (len(found) - 1) + [True] == [chunk.is_last for chunk in found]
    late_s, likeness = compared(np.concatenate(parts), speech)
    assert abs(late_s) < 0.05
    assert likeness > 0.95


def compared(samples: np.ndarray, other: np.ndarray) -> tuple[float, float]:
    """By how many seconds some audio is later than another, and how well they correlate then: 1 is the same."""
    size = 2 * max(len(samples), len(other))
    spectrum = np.fft.rfft(samples.astype(np.float64), size) * np.conj(np.fft.rfft(other.astype(np.float64), size))
    likeness = np.fft.irfft(spectrum, size) / (
        np.linalg.norm(samples.astype(float)) * np.linalg.norm(other.astype(float))
    )
    late = int(likeness.argmax())
    return (late if late < size // 2 else late - size) / RATE, float(likeness.max())


@pytest.mark.parametrize("form", [WAVS[2], COMPRESSED[5]], ids=str)
def test_a_minute_costs_at_most_0_3_megabytes(made, form):
    """Base64 included."""
    sent_mb = sum(len(chunk.data) for chunk in cut(made(form), 60)) * 4 / 3 / 1e6

    assert sent_mb < 0.3 * LENGTH_S / 60


@pytest.mark.parametrize("kind", ["noise", "music"])
def test_what_is_harder_to_encode_than_speech_costs_no_more(tmp_path, kind):
    """Neither noise nor music exceeds 0.3 MB a minute, so LONGEST_CHUNK_S always fits a request of 10 MB."""
    at = np.arange(60 * RATE) / RATE
    pitches = np.array([[220], [277], [330], [1760], [5200]])
    chords = np.sin(2 * np.pi * pitches * at * (1 + 0.001 * np.sin(at))).sum(axis=0) / 8
    samples = chords if kind == "music" else np.random.default_rng(0).normal(0, 0.2, at.size)
    file = write(tmp_path / "loud.wav", (samples.clip(-1, 1) * 32767).astype(np.int16), WAVS[2])

    (chunk,) = cut(file)
    assert len(chunk.data) * 4 / 3 / 1e6 < 0.3
    assert len(chunk.data) * 4 / 3 * LONGEST_CHUNK_S / 60 < 10e6


def test_the_same_audio_gives_the_same_digests(made):
    """A run that goes on where another stopped knows which chunks were paid for; other cuts are other chunks."""
    first, again, otherwise = (cut(made(WAVS[2]), chunk_s) for chunk_s in (20, 20, 15))

    assert [chunk.digest for chunk in first] == [chunk.digest for chunk in again]
    assert [hashlib.sha256(chunk.data).hexdigest() for chunk in first] == [chunk.digest for chunk in first]
    assert not {chunk.digest for chunk in first} & {chunk.digest for chunk in otherwise}


def test_a_chunk_comes_before_the_rest_is_read(made):
    """The first can be sent while the others are still to be made."""
    with made(WAVS[2]).open("rb") as file:
        first = next(chunks(file, name="talk", warn=no_warning, chunk_s=10))

        assert 0 == first.index
        assert file.tell() < LENGTH_S * RATE


def test_bytes_are_cut_as_a_file_is(made):
    """What was piped in or downloaded gives the same chunks as the file itself."""
    path = made(COMPRESSED[5])

    assert cut(path, 20) == cut(io.BytesIO(path.read_bytes()), 20)


def test_many_channels_at_a_high_rate_are_mixed_down(tmp_path):
    """192 kHz and eight channels: as long, and as loud as it was."""
    at = np.arange(192_000 * 5) / 192_000
    file = write_float(
        tmp_path / "studio.wav", np.tile(0.5 * np.sin(2 * np.pi * 440 * at), (8, 1)), rate=192_000, layout="7.1"
    )

    samples = heard(cut(file)[0].data)

    assert 5 * RATE == len(samples)
    assert 0.3 < np.abs(samples).max() < 0.6


def test_two_loud_channels_do_not_overdrive(tmp_path):
    """Both at full scale, in floating point: mixed, they are still a sine."""
    at = np.arange(48_000 * 2) / 48_000
    file = write_float(
        tmp_path / "loud.wav", np.tile(0.9 * np.sin(2 * np.pi * 440 * at), (2, 1)), rate=48_000, layout="stereo"
    )

    samples = heard(cut(file)[0].data)

    assert pytest.approx(0.9 / 2**0.5, abs=0.05) == np.sqrt(np.mean(samples**2))


def test_channels_of_opposite_polarity_are_heard(tmp_path):
    """A second of a voice in both channels alike, four with one of them upside down, two alike again: none is lost."""
    left = np.tile(tone(1), 7) / 32768
    right = np.concatenate([left[:RATE], -left[RATE : 5 * RATE], left[5 * RATE :]])
    file = write_float(tmp_path / "swapped.wav", np.stack([left, right]), rate=RATE, layout="stereo")

    samples = heard(cut(file)[0].data)

    loudness = np.sqrt(np.mean(samples[: 7 * RATE].reshape(7, -1) ** 2, axis=1))
    assert loudness == pytest.approx([np.sqrt(np.mean(left**2))] * 7, rel=0.1)


def test_what_the_channels_share_is_kept_where_most_is_opposite(tmp_path):
    """A voice in the middle, under music that is wide: the mix has the voice alone, and is what is taken."""
    voice, music = tone(5, 0.2) / 32768, np.random.default_rng(0).normal(0, 0.1, 5 * RATE)
    file = write_float(tmp_path / "wide.wav", np.stack([voice + music, voice - music]), rate=RATE, layout="stereo")

    samples = heard(cut(file)[0].data)[: 5 * RATE]

    assert np.corrcoef(samples, voice)[0, 1] > 0.95


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_what_is_no_number_is_silence(tmp_path, value):
    """NaN and infinity in one second of three: it is silent, and the others are heard."""
    at = np.arange(48_000 * 3) / 48_000
    samples = 0.5 * np.sin(2 * np.pi * 440 * at)
    samples[48_000:96_000] = value
    file = write_float(tmp_path / "broken.wav", samples[None], rate=48_000, layout="mono")

    before, broken, after = heard(cut(file)[0].data).reshape(3, RATE)

    assert np.abs(before[:-800]).max() > 0.3
    assert np.abs(broken[800:-800]).max() < 0.01
    assert np.abs(after[800:]).max() > 0.3


@pytest.mark.parametrize("form", [COMPRESSED[4], COMPRESSED[5]], ids=str)
def test_audio_that_begins_late_begins_with_silence(tmp_path, form):
    """Times are the video's, not those since somebody was first heard."""
    file = write(tmp_path / f"late.{form.suffix}", tone(10), form, late_s=3)

    (chunk,) = cut(file)

    samples = heard(chunk.data)
    assert pytest.approx(13, abs=0.1) == chunk.end_s == len(samples) / RATE
    assert np.abs(samples[: round(2.9 * RATE)]).max() < 0.01 < np.abs(samples[round(3.1 * RATE) :][:RATE]).max()


def test_a_hole_in_the_audio_is_silence(tmp_path):
    """A microphone that was muted for 4 s moves nothing that is said afterwards."""
    file = tmp_path / "muted.mka"
    with av.open(file, "w", format="matroska") as container:
        stream = container.add_stream("pcm_s16le", rate=RATE, layout="mono")
        for begin_s in (0, 1, 2, 7, 8):
            frame = av.AudioFrame.from_ndarray(tone(1)[None], format="s16", layout="mono")
            frame.sample_rate, frame.pts = RATE, begin_s * RATE
            container.mux(stream.encode(frame))

    (chunk,) = cut(file)

    loud = [np.abs(second).max() > 0.1 for second in heard(chunk.data).reshape(-1, RATE)]
    assert [True] * 3 + [False] * 4 + [True] * 2 == loud


def test_a_wrong_timestamp_moves_nothing(tmp_path):
    """A second that claims to be 100 s later than it is, and the next where it was: no hole, nothing incomplete."""
    file = tmp_path / "glitch.mka"
    with av.open(file, "w", format="matroska") as container:
        stream = container.add_stream("pcm_s16le", rate=RATE, layout="mono")
        for second in range(6):
            frame = av.AudioFrame.from_ndarray(tone(1)[None] if second != 2 else room(1)[None], "s16", "mono")
            frame.sample_rate, frame.pts = RATE, second * RATE
            for packet in stream.encode(frame):
                packet.pts, packet.dts = packet.pts + (100 * RATE if second == 2 else 0), second
                container.mux(packet)

    (chunk,) = cut(file)

    loud = [np.abs(second).max() > 0.1 for second in heard(chunk.data).reshape(-1, RATE)]
    assert [True] * 2 + [False] + [True] * 3 == loud


@pytest.mark.parametrize("number", [0, 1])
def test_a_track_that_cannot_be_decoded_is_passed_over(tmp_path, number):
    """Phones write a second track that hardly anything plays; the other one is heard, be it marked or not."""
    file = write_tracks(tmp_path / "phone.mp4", [tone(12), tone(12)], muxer="mp4")

    (chunk,) = cut(undecodable(file, number))

    assert 0.1 < np.abs(heard(chunk.data)).max()
    with failing("media_error", "talk", f"track {number + 1}", "decoded"):
        list(chunks(file, name="talk", warn=no_warning, choice=TrackChoice(number + 1)))


def test_the_track_marked_as_default_is_heard(tmp_path):
    """Not the first, nor the one with more in it."""
    file = write_tracks(tmp_path / "video.mkv", [room(12), tone(12)], default=1)

    (chunk,) = cut(file)

    assert 0.1 < np.abs(heard(chunk.data)).max()


@pytest.mark.parametrize("wanted", [2, "ger", "DE"])
def test_a_track_can_be_chosen(tmp_path, wanted):
    """By its number or its language, which files and people write in several ways."""
    file = write_tracks(tmp_path / "video.mkv", [tone(12), room(12), tone(12)], languages=("eng", "ger", "fre"))

    def spoken(language):
        return {"ger": "de"}.get(language.lower(), language.lower())

    (chunk,) = chunks(file, name="talk", warn=no_warning, choice=TrackChoice(wanted, spoken))

    assert np.abs(heard(chunk.data)).max() < 0.01
    with failing("media_error", "talk", "track it", "1 (eng), 2 (ger), 3 (fre)"):
        list(chunks(file, name="talk", warn=no_warning, choice=TrackChoice("it", spoken)))


def test_a_silent_track_beside_another_is_said(tmp_path):
    """Screen recorders write the microphone that was off as the first."""
    file = write_tracks(tmp_path / "screen.mkv", [np.zeros(12 * RATE, np.int16), tone(12)])
    warnings: list[str] = []

    cut(file, warn=warnings.append)

    (warning,) = warnings
    stating(warning, "talk: ", "track 1", "silent", "--audio-track 2")


def test_a_track_that_another_takes_over_from_goes_on_in_it(tmp_path):
    """A broadcast whose ids change in the middle, as after a change of programme: nothing of it is lost."""
    file, parts = tmp_path / "change.ts", []
    for pid in (256, 512):
        part = tmp_path / f"{pid}.ts"
        with av.open(part, "w", format="mpegts", options={"mpegts_start_pid": str(pid)}) as container:
            stream = container.add_stream("aac", rate=RATE, layout="mono")
            for second in range(12):
                frame = av.AudioFrame.from_ndarray(tone(1)[None], format="s16", layout="mono")
                frame.sample_rate, frame.pts = RATE, second * RATE
                container.mux(stream.encode(frame))
            container.mux(stream.encode(None))
        parts.append(part.read_bytes())
    file.write_bytes(b"".join(parts))

    (chunk,) = cut(file)

    assert pytest.approx(24, abs=0.3) == chunk.end_s


@pytest.mark.parametrize(("seconds", "lengths"), [(60, 1), (66, 1), (69.9, 1), (75, 2), (135, 3)])
def test_no_chunk_is_hardly_worth_a_job(tmp_path, seconds, lengths):
    """A rest of less than 10 s is joined to the last chunk."""
    file = write(tmp_path / "talk.wav", np.tile(layout_of([(4, 1)]), 30)[: round(seconds * RATE)], WAVS[2])

    found = cut(file, 60)

    assert lengths == len(found)
    assert all(10 <= chunk.end_s - chunk.start_s <= 60 for chunk in found[:-1])
    assert 10 <= found[-1].end_s - found[-1].start_s <= 70


@pytest.mark.media
@settings(max_examples=40)
@given(
    st.lists(st.tuples(st.floats(0.3, 4), st.sampled_from([0.3, 0.35, 0.5, 0.8, 1.5, 4.0])), min_size=8, max_size=16)
)
@example([(3.5, 0.3)] * 12)
def test_nobody_is_cut_off(tmp_path_factory, parts):
    """Where there is a pause of 0.3 s in reach before a chunk is full, no cut lies inside of what is said."""
    file = write(tmp_path_factory.mktemp("talk") / "talk.wav", layout_of(parts), WAVS[2])
    lengths = np.array(parts).flatten()
    ends = np.cumsum(lengths)

    found = cut(file, 15)

    for chunk in found[:-1]:
        assert chunk.end_s - chunk.start_s <= 15
        part = int(np.searchsorted(ends, chunk.end_s))
        assert 1 == part % 2, f"a cut at {chunk.end_s} s, in what is said until {ends[part]} s"


def test_of_several_pauses_the_last_good_one_is_taken(tmp_path):
    """Few chunks, cut between sentences rather than between words."""
    file = write(tmp_path / "talk.wav", layout_of([(22, 1.0), (2, 0.9), (2, 0.3), (15, 0)]), WAVS[2])

    first, _ = cut(file, 30)

    assert pytest.approx(25.45, abs=0.1) == first.end_s


def test_without_a_pause_the_cut_is_where_it_is_quietest(tmp_path):
    """Loud noise throughout, and a moment of half of it."""
    noise = np.random.default_rng(0).normal(0, 6000, 45 * RATE)
    noise[round(24.9 * RATE) : round(25.1 * RATE)] *= 0.5
    file = write(tmp_path / "train.wav", noise.clip(-32768, 32767).astype(np.int16), WAVS[2])

    first, _ = cut(file, 30)

    assert 24.8 < first.end_s < 25.2


def test_a_stop_within_a_word_is_no_pause(tmp_path):
    """The silence before a t or a k is shorter than 0.3 s: better to cut where the voice is low for longer."""
    voice = np.concatenate([tone(0.88), room(0.12)] * 45)
    voice[22 * RATE : round(22.5 * RATE)] //= 8
    file = write(tmp_path / "talk.wav", voice, WAVS[2])

    first, _ = cut(file, 30)

    assert 22 < first.end_s < 22.5


@pytest.mark.parametrize("form", SMALL, ids=str)
def test_what_is_small_already_is_passed_on_as_it_is(made, form):
    """Its packets are the source's, without the image; and it lasts as long."""
    (chunk,) = cut(made(form))

    with av.open(made(form)) as source, av.open(io.BytesIO(chunk.data)) as sent:
        assert ["audio"] == [stream.type for stream in sent.streams]
        expected, actual = (
            [bytes(packet) for packet in container.demux(audio=0) if packet.size] for container in (source, sent)
        )
    # What wraps AAC in a stream of its own is left behind.
    assert ([packet[7:] for packet in expected] if form.suffix == "adts" else expected) == actual
    assert pytest.approx(LENGTH_S, abs=0.1) == len(heard(chunk.data)) / RATE
    assert pytest.approx(LENGTH_S, abs=0.1) == chunk.end_s
    assert [chunk] == cut(made(form))


@pytest.mark.parametrize("form", [SMALL[1], SMALL[5]], ids=str)
def test_what_is_small_but_long_is_cut(made, form):
    """Parallel jobs need cuts in pauses, and those need samples."""
    assert len(cut(made(form), 15)) >= 4


@pytest.mark.parametrize("form", [SMALL[5], Form("mkv", "libopus", 48000, bit_rate=20_000, is_video=True)], ids=str)
def test_small_audio_that_begins_late_is_not_passed_on(tmp_path, form):
    """Its packets alone would begin too early."""
    file = write(tmp_path / f"late.{form.suffix}", tone(60, 0.1), form, late_s=3)

    assert pytest.approx(63, abs=0.1) == len(heard(cut(file)[0].data)) / RATE


@pytest.fixture
def no_audio(tmp_path) -> Callable[[str], bytes]:
    """Files of which nothing can be heard."""

    def make(what: str) -> bytes:
        path = tmp_path / what
        match what:
            case "letter.txt":
                path.write_text("Dear Sir or Madam,\n" * 500)
            case "video.srt":
                path.write_text("1\n00:00:01,000 --> 00:00:02,000\nHello\n" * 20)
            case "photo.jpg":
                Image.new("RGB", (64, 64)).save(path)
            case "noise.bin":
                path.write_bytes(np.random.default_rng(0).bytes(100_000))
            case "header.wav":
                with wave.open(str(path), "wb") as file:
                    file.setparams((1, 2, RATE, 0, "NONE", ""))
            case "half.m4a":
                whole = write(path, tone(60), COMPRESSED[1]).read_bytes()
                path.write_bytes(whole[: len(whole) // 2])
            case "silent.mp4":
                with av.open(path, "w") as container:
                    image = container.add_stream("mpeg4", rate=5)
                    container.mux(image.encode(av.VideoFrame.from_ndarray(np.zeros((64, 64, 3), np.uint8))))
                    container.mux(image.encode(None))
            case "empty":
                path.touch()
        return path.read_bytes()

    return make


@pytest.mark.parametrize(
    ("what", "fact"),
    [
        ("letter.txt", "not an audio file"),
        ("video.srt", "not an audio file"),
        ("noise.bin", "not an audio file"),
        ("empty", "not an audio file"),
        ("half.m4a", "damaged"),
        ("header.wav", "empty"),
        ("photo.jpg", "no audio"),
        ("silent.mp4", "no audio"),
    ],
)
@pytest.mark.parametrize("has_name", [True, False])
def test_what_cannot_be_heard_is_refused_in_one_line(no_audio, tmp_path, what, fact, has_name):
    """The name first, then what is wrong; whether or not a file's ending tells FFmpeg what it might be."""
    data = no_audio(what)

    with failing("media_error", fact) as caught:
        cut(tmp_path / what if has_name else io.BytesIO(data))

    assert caught.value.message.startswith("talk: ")
    assert "\n" not in caught.value.message


@pytest.mark.parametrize("form", [COMPRESSED[0], COMPRESSED[3], COMPRESSED[4]], ids=str)
def test_what_breaks_off_goes_as_far_as_it_goes(made, tmp_path, form):
    """Half a file is half the chunks, and a warning that says how much is missing."""
    data = made(form).read_bytes()
    warnings: list[str] = []

    found = cut(io.BytesIO(data[: len(data) // 2]), 15, warnings.append)

    (warning,) = warnings
    assert pytest.approx(LENGTH_S / 2, abs=2) == found[-1].end_s
    stating(warning, "talk: incomplete", f"{found[-1].end_s:.1f} of {LENGTH_S:.1f} s", varies=True)
    assert found[-1].is_last


@pytest.mark.parametrize("form", TELLING, ids=lambda form: "-".join(map(str, form)))
def test_a_container_that_tells_its_length_is_incomplete_only_when_it_is(tmp_path, form):
    """Cut off, it is said; whole, it is not, though the image may go on for longer than the audio."""
    file = write_telling(tmp_path / "talk", tone(12), form, image_s=18)
    data = file.read_bytes()
    warnings: list[str] = []

    (whole,) = cut(file)
    found = cut(io.BytesIO(data[: len(data) * 6 // 10]), warn=warnings.append)

    assert pytest.approx(12, abs=0.2) == whole.end_s
    assert found[-1].end_s < 11
    assert ["talk: incomplete: "] == [warning[:18] for warning in warnings]


def test_damage_in_the_middle_moves_nothing(made):
    """What cannot be decoded is silent, what comes after is where it was, and somebody is told."""
    data = bytearray(made(COMPRESSED[5]).read_bytes())
    middle = len(data) // 2
    data[middle : middle + 20_000] = bytes(20_000)
    warnings: list[str] = []

    found = cut(io.BytesIO(bytes(data)), 20, warnings.append)

    assert pytest.approx(LENGTH_S, abs=0.1) == found[-1].end_s
    assert ["talk: damaged at"] == [warning[:16] for warning in warnings]


@pytest.mark.parametrize(
    "text",
    [
        "ffconcat version 1.0\nfile secret.wav\n",
        "#EXTM3U\n#EXT-X-TARGETDURATION:10\n#EXTINF:10,\nsecret.wav\n#EXT-X-ENDLIST\n",
        "v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nt=0 0\nm=audio 5004 RTP/AVP 0\n",
    ],
    ids=["concat", "hls", "sdp"],
)
def test_a_playlist_opens_nothing(tmp_path, monkeypatch, text):
    """A download that names other files, or addresses, is no audio."""
    write(tmp_path / "secret.wav", tone(10), WAVS[2])
    monkeypatch.chdir(tmp_path)

    with failing("media_error", "talk", "not an audio file"):
        cut(io.BytesIO(text.encode()))


@pytest.mark.media
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="needs Linux's /proc")
def test_an_hour_needs_little_memory(speech, tmp_path):
    """With all that the command imports it stays within 150 MB, where the file alone has 115: no length adds to it."""
    long = tmp_path / "long.wav"
    with wave.open(str(long), "wb") as file:
        file.setparams((1, 2, RATE, 0, "NONE", ""))
        for _ in range(3600 // LENGTH_S):
            file.writeframes(speech.tobytes())

    program = (
        "import sys, pathlib, vidctl.cli, vidctl.client, vidctl.media.audio as audio\n"
        "found = audio.chunks(pathlib.Path(sys.argv[1]), name='long', warn=lambda text: None, chunk_s=1800.0)\n"
        "print(round([chunk.end_s for chunk in found][-1] / 3600, 2))\n"
        "print(next(line.split()[1] for line in open('/proc/self/status') if line.startswith('VmHWM')))\n"
    )
    hours, kilobytes = subprocess.run(
        [sys.executable, "-c", program, long], capture_output=True, text=True, check=True
    ).stdout.split()

    assert 1.0 == float(hours)
    assert int(kilobytes) < 150 * 1024
