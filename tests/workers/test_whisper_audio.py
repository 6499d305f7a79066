"""How the whisper worker hears what it is sent: real PyAV and real files, without the worker's environment."""

from __future__ import annotations

import base64
import io
import subprocess
import sys
import threading
import wave
from fractions import Fraction
from pathlib import Path
from urllib.parse import quote

import av
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image
from support import tls
from support.audio_files import TELLING, undecodable, write_telling, write_tracks
from support.scripted import Reply, script
from support.scripted import serving as scripted
from support.servers import dripping, serving
from support.stating import stating

WHISPER = Path(__file__).resolve().parents[2] / "workers/whisper"
LENGTH_S, TONE_AT_S, TONE_S = 5.0, 3.0, 1.0
WAVS = [
    ("wav", "pcm_s16le", rate, layout) for rate in (8000, 16000, 22050, 44100, 48000) for layout in ("mono", "stereo")
]
COMPRESSED = [
    ("mp3", "libmp3lame", 44100, "stereo"),
    ("mp3", "libmp3lame", 16000, "mono"),
    ("ipod", "aac", 44100, "stereo"),
    ("mp4", "aac", 48000, "stereo"),
    ("adts", "aac", 44100, "mono"),
    ("ogg", "libopus", 48000, "mono"),
    ("webm", "libopus", 48000, "stereo"),
    ("flac", "flac", 44100, "stereo"),
    ("matroska", "aac", 48000, "stereo"),
    ("mpegts", "aac", 48000, "stereo"),
    ("avi", "libmp3lame", 44100, "stereo"),
]


@pytest.fixture(scope="module")
def audio_module(whisper_module):
    return whisper_module("audio")


@pytest.fixture
def refused(audio_module, whisper_module):
    """The sentence that refuses an `audio`."""

    def sentence(audio, **options):
        with (
            pytest.raises(whisper_module("jobinput").BadInputError) as caught,
            audio_module.opened(audio, **options) as opened,
        ):
            list(opened.blocks())
        return str(caught.value)

    return sentence


@pytest.fixture
def heard(audio_module):
    """The samples that bytes hold, and the warnings."""

    def samples(data, seconds=1.5):
        with audio_module.opened(sent(data)) as opened:
            return np.concatenate(list(opened.blocks(seconds))), opened.warnings

    return samples


def sent(data):
    return base64.b64encode(data).decode()


def tone(rate=16_000, length_s=LENGTH_S):
    """Silence but for a second of a tone."""
    at_s = np.arange(round(length_s * rate)) / rate
    return np.where((at_s >= TONE_AT_S) & (at_s < TONE_AT_S + TONE_S), 0.5 * np.sin(2 * np.pi * 440 * at_s), 0.0)


def wav(samples, rate=16_000):
    """16-bit WAV; `samples` are -1 to 1, one column for each channel."""
    file = io.BytesIO()
    with wave.open(file, "wb") as writer:
        writer.setnchannels(1 if samples.ndim == 1 else samples.shape[1])
        writer.setsampwidth(2)
        writer.setframerate(rate)
        writer.writeframes((samples * 32767).astype("<i2").tobytes())
    return file.getvalue()


def encoded(kind, codec, rate, layout, *, later_s=0.0, hole=None, has_image=False, length_s=LENGTH_S):
    """The tone in a file; `later_s` is when it begins, `hole` a span in seconds that is left out, if not empty."""
    file = io.BytesIO()
    with av.open(file, "w", format=kind) as container:
        video = container.add_stream("mpeg4", rate=25, width=64, height=48, pix_fmt="yuv420p") if has_image else None
        stream = container.add_stream(codec, rate=rate, layout=layout)
        for number in range(round(length_s * 25) if video else 0):
            frame = av.VideoFrame(64, 48, "yuv420p")
            frame.pts = number
            container.mux(video.encode(frame))
        for frame in frames(tone(rate, length_s), stream):
            at_s = frame.pts / rate
            frame.pts += round(later_s * rate)
            if not hole or not hole[0] <= at_s < hole[1]:
                container.mux(stream.encode(frame))
        container.mux([packet for one in (video, stream) if one for packet in one.encode(None)])
    return file.getvalue()


def frames(samples, stream):
    """Frames as an encoder wants them."""
    whole = av.AudioFrame.from_ndarray((samples * 32767).astype("<i2")[None], format="s16", layout="mono")
    whole.sample_rate = stream.rate
    queue, at = av.AudioFifo(), 0
    for frame in av.AudioResampler(stream.format, stream.layout, stream.rate).resample(whole):
        frame.pts = None
        queue.write(frame)
    while frame := queue.read(stream.codec_context.frame_size or 1024, partial=True):
        frame.pts, frame.time_base, at = at, Fraction(1, stream.rate), at + frame.samples
        yield frame


def onset_s(samples):
    """When the tone begins."""
    return int(np.argmax(np.abs(samples) > 0.2)) / 16_000


@pytest.mark.parametrize("form", [*WAVS, *COMPRESSED], ids=lambda form: "-".join(map(str, form)))
def test_length_and_times_are_the_files(heard, form):
    """What encoders add at the start or the end is not heard: within 0.1 s of the truth."""
    samples, warnings = heard(encoded(*form))

    assert pytest.approx(LENGTH_S, abs=0.1) == samples.size / 16_000
    assert pytest.approx(TONE_AT_S, abs=0.05) == onset_s(samples)
    assert (np.float32, []) == (samples.dtype, warnings)


@pytest.mark.parametrize("kind", ["mp4", "matroska"])
def test_audio_that_begins_later_than_the_image_keeps_its_times(heard, kind):
    """Times are the video's: two seconds of video before the audio are two seconds of silence."""
    samples, _ = heard(encoded(kind, "aac", 48000, "mono", later_s=2.0, has_image=True))

    assert pytest.approx(TONE_AT_S + 2, abs=0.05) == onset_s(samples)
    assert pytest.approx(LENGTH_S + 2, abs=0.1) == samples.size / 16_000
    assert not samples[: 2 * 16_000 - 2000].any()


def test_a_hole_in_the_audio_is_silence(heard):
    """What was never recorded takes as long as it took."""
    samples, _ = heard(encoded("matroska", "aac", 48000, "mono", hole=(1.0, 2.5)))

    assert pytest.approx(TONE_AT_S, abs=0.05) == onset_s(samples)
    assert pytest.approx(LENGTH_S, abs=0.1) == samples.size / 16_000


def ticks(*at_s):
    """10 ms of nothing at each of these seconds."""
    file = io.BytesIO()
    with av.open(file, "w", format="matroska") as container:
        stream = container.add_stream("pcm_s16le", rate=16_000, layout="mono")
        for second in at_s:
            frame = av.AudioFrame.from_ndarray(np.zeros((1, 160), np.int16), format="s16", layout="mono")
            frame.sample_rate, frame.pts, frame.time_base = 16_000, second * 16_000, Fraction(1, 16_000)
            container.mux(stream.encode(frame))
    return file.getvalue()


def test_holes_are_an_hour_in_all(heard):
    """Beyond it the file's clock was set: no few bytes become a day of silence."""
    samples, _ = heard(ticks(*range(0, 40 * 1000, 1000)), seconds=60)

    assert pytest.approx(3000, abs=1) == samples.size / 16_000


@pytest.mark.media
def test_audio_lasts_a_day_at_most(refused, audio_module, monkeypatch):
    """What is longer is refused when it gets there, whatever the file says."""
    monkeypatch.setattr(audio_module, "MAX_AUDIO_S", 7200.0)
    with audio_module.opened(sent(wav(np.zeros(7200 * 1000), 1000))) as opened:
        length = sum(block.size for block in opened.blocks())

    assert 7200 * 16_000 == length
    stating(refused(sent(wav(np.zeros(7201 * 1000), 1000))), "audio", "2 hours")


def test_the_size_of_the_blocks_changes_nothing(audio_module):
    """Blocks are full but for the last, and together they are the audio."""
    with audio_module.opened(sent(wav(tone()))) as opened:
        blocks = list(opened.blocks(1.5))

    assert [24_000, 24_000, 24_000, 8_000] == [block.size for block in blocks]
    assert np.allclose(tone(), np.concatenate(blocks), atol=1e-3)


def test_a_file_says_how_long_it_is(audio_module):
    """For a progress bar, before anything is decoded."""
    with audio_module.opened(sent(wav(tone()))) as opened:
        assert LENGTH_S == opened.expected_s


def test_eight_channels_at_192_khz_are_mixed_to_no_more_than_full_scale(heard):
    """Channels without names too: as many as ffmpeg has a layout for."""
    samples, _ = heard(wav(np.repeat(tone(192_000)[:, None], 8, axis=1), 192_000))

    assert LENGTH_S * 16_000 == samples.size
    assert pytest.approx(0.5, abs=0.02) == np.abs(samples).max()


def test_channels_of_opposite_polarity_are_heard(heard):
    """One of them is taken where their mix is next to silence, and the mix where it is not."""
    left = voice(5.0) / 32768
    right = np.concatenate([left[:16_000], -left[16_000:64_000], left[64_000:]])
    samples, _ = heard(wav(np.stack([left, right], axis=1)))

    assert np.sqrt(np.mean(samples.reshape(5, -1) ** 2, axis=1)) == pytest.approx([0.5 / 2**0.5] * 5, rel=0.05)


def test_more_channels_are_refused(refused):
    """PyAV's memory is not safe with them."""
    stating(refused(sent(wav(np.zeros((1600, 9))))), "audio", "9 channels", "8")


@pytest.mark.parametrize("rate", [1, 2_000_000_000])
def test_rates_of_no_audio_are_refused(refused, rate):
    """Resampling them would take all memory, or all day."""
    stating(refused(sent(wav(np.zeros(1600), rate))), "audio", f"{rate} samples a second", "1000 to 768000")


def test_samples_that_are_no_numbers_are_silence(heard):
    """A float WAV can hold NaN and infinity."""
    broken = tone().astype("<f4")
    broken[:16_000] = np.nan
    broken[16_000:32_000] = np.inf
    file = io.BytesIO()
    with av.open(file, "w", format="wav") as container:
        stream = container.add_stream("pcm_f32le", rate=16_000, layout="mono")
        frame = av.AudioFrame.from_ndarray(broken[None], format="flt", layout="mono")
        frame.sample_rate, frame.pts = 16_000, 0
        container.mux(stream.encode(frame))
    samples, _ = heard(file.getvalue())

    assert (False, 80_000) == (samples[:32_000].any(), samples.size)
    assert pytest.approx(TONE_AT_S, abs=0.01) == onset_s(samples)


def test_loud_samples_are_clipped(heard, audio_module):
    """Floats may lie outside -1 to 1; what Whisper gets does not."""
    file = io.BytesIO()
    with av.open(file, "w", format="wav") as container:
        stream = container.add_stream("pcm_f32le", rate=16_000, layout="mono")
        frame = av.AudioFrame.from_ndarray(np.full((1, 1600), -1e30, np.float32), format="flt", layout="mono")
        frame.sample_rate, frame.pts = 16_000, 0
        container.mux(stream.encode(frame))
    samples, _ = heard(file.getvalue())

    assert {-1.0} == set(samples.tolist())


@pytest.mark.parametrize(("kind", "codec"), [("mp3", "libmp3lame"), ("adts", "aac")])
def test_a_stream_may_change_on_its_way(heard, kind, codec):
    """Files put one after the other, of which the second has another rate and another number of channels."""
    samples, _ = heard(encoded(kind, codec, 44100, "stereo") + encoded(kind, codec, 16000, "mono"))

    assert pytest.approx(2 * LENGTH_S, abs=0.2) == samples.size / 16_000
    assert pytest.approx(TONE_AT_S, abs=0.2) == onset_s(samples[5 * 16_000 :])


@pytest.mark.parametrize("wrong_s", [100.0, -1.2], ids=["ahead", "behind"])
@pytest.mark.parametrize("packets", [1, 3])
def test_a_wrong_timestamp_moves_nothing(heard, wrong_s, packets):
    """A jump that the next packets take back is no hole: the tone is where it was."""
    samples, warnings = heard(retimed(lambda number, at_s: at_s + wrong_s * (60 <= number < 60 + packets)))

    assert pytest.approx(TONE_AT_S, abs=0.05) == onset_s(samples)
    assert pytest.approx(LENGTH_S, abs=0.1) == samples.size / 16_000
    assert [] == warnings


def test_timestamps_that_stand_still_after_a_wrong_one_move_nothing(heard):
    """What ffmpeg makes of it when it copies: all that follows has the wrong one's time."""
    samples, warnings = heard(retimed(lambda number, at_s: at_s if number < 60 else 101.5))

    assert pytest.approx(TONE_AT_S, abs=0.05) == onset_s(samples)
    assert pytest.approx(LENGTH_S, abs=0.1) == samples.size / 16_000
    assert [] == warnings


def test_a_hole_after_a_wrong_timestamp_is_silence(heard):
    """The wrong one is left aside, the hole is not."""
    times = retimed(lambda number, at_s: at_s + (100.0 if number == 60 else 0.5 if number > 60 else 0.0))
    samples, _ = heard(times)

    assert pytest.approx(TONE_AT_S + 0.5, abs=0.05) == onset_s(samples)


def retimed(move):
    """The tone, of which each packet is moved: Matroska takes times in any order, as long as dts go up."""
    file = io.BytesIO()
    with (
        av.open(io.BytesIO(encoded("matroska", "pcm_s16le", 48000, "mono"))) as source,
        av.open(file, "w", format="matroska") as container,
    ):
        copy = container.add_stream_from_template(source.streams.audio[0])
        for number, packet in enumerate(source.demux(audio=0)):
            if packet.size:
                packet.pts = round(move(number, float(packet.pts * packet.time_base)) * 1000)
                packet.dts, packet.time_base, packet.stream = number, Fraction(1, 1000), copy
                container.mux(packet)
    return file.getvalue()


def voice(seconds=5.0):
    return (32767 * np.resize(tone(length_s=5.0)[3 * 16_000 : 4 * 16_000], round(seconds * 16_000))).astype(np.int16)


@pytest.mark.parametrize("number", [0, 1])
def test_a_track_that_cannot_be_decoded_is_passed_over(heard, tmp_path, number):
    """As phones write one that hardly anything plays."""
    file = undecodable(write_tracks(tmp_path / "phone.mp4", [voice(), voice()], muxer="mp4"), number)

    samples, warnings = heard(file.read_bytes())

    assert 0.4 < samples.max()
    assert [] == warnings


def test_the_track_marked_as_default_is_heard(heard, tmp_path):
    """And said if it is silent, for there is another."""
    tracks = [voice(), np.zeros(5 * 16_000, np.int16)]

    first, nothing = heard(write_tracks(tmp_path / "a.mkv", tracks).read_bytes())
    second, warnings = heard(write_tracks(tmp_path / "b.mkv", tracks, default=1).read_bytes())

    assert (True, False) == (first.any(), bool(second.max() > 0.01))
    (warning,) = warnings
    assert [] == nothing
    stating(warning, "audio", "track 2", "silent", "track 1")


def test_a_track_that_another_takes_over_from_goes_on_in_it(heard, tmp_path):
    """A broadcast whose ids change in its middle."""
    parts = []
    for pid in (256, 512):
        file = io.BytesIO()
        with av.open(file, "w", format="mpegts", options={"mpegts_start_pid": str(pid)}) as container:
            stream = container.add_stream("aac", rate=48_000, layout="mono")
            container.mux([packet for frame in frames(tone(48_000), stream) for packet in stream.encode(frame)])
            container.mux(stream.encode(None))
        parts.append(file.getvalue())
    samples, _ = heard(b"".join(parts))

    assert pytest.approx(2 * LENGTH_S, abs=0.2) == samples.size / 16_000
    assert pytest.approx(TONE_AT_S, abs=0.2) == onset_s(samples[5 * 16_000 :])


def test_a_clock_that_starts_over_is_followed(heard):
    """Of videos put one after the other the second's holes are silence too."""
    video = encoded("mpegts", "aac", 48000, "mono")
    samples, _ = heard(video + encoded("mpegts", "aac", 48000, "mono", hole=(1.0, 2.5)))

    assert pytest.approx(2 * LENGTH_S, abs=0.2) == samples.size / 16_000
    assert pytest.approx(TONE_AT_S, abs=0.2) == onset_s(samples[5 * 16_000 :])


@pytest.mark.parametrize("kind", ["wav", "avi", "flac", "webm"])
def test_a_file_that_breaks_off_is_heard_as_far_as_it_goes(heard, kind):
    """With a sentence that says so."""
    form = next(form for form in (*WAVS, *COMPRESSED) if form[0] == kind)
    whole = encoded(*form)
    samples, warnings = heard(whole[: len(whole) * 2 // 3])

    assert 3.0 < samples.size / 16_000 < 4.0
    (warning,) = warnings
    stating(warning, "audio", "breaks off", f"{samples.size / 16_000:.1f} s", varies=True)


@pytest.mark.parametrize("form", TELLING, ids=lambda form: "-".join(map(str, form)))
def test_a_container_that_tells_its_length_breaks_off_only_when_it_does(heard, tmp_path, form):
    """A video whose audio ends before its image is whole."""
    data = write_telling(tmp_path / "talk", voice(12.0), form, image_s=18).read_bytes()

    samples, nothing = heard(data)
    _, warnings = heard(data[: len(data) * 6 // 10])

    assert pytest.approx(12, abs=0.2) == samples.size / 16_000
    (warning,) = warnings
    assert [] == nothing
    stating(warning, "audio", "breaks off", varies=True)


def test_packets_that_do_not_decode_are_left_out(heard):
    """The rest keeps its times, and a sentence says how many."""
    video = bytearray(encoded("matroska", "aac", 48000, "mono"))
    at = len(video) // 3
    video[at : at + 200] = bytes(200)
    samples, warnings = heard(bytes(video))

    assert pytest.approx(LENGTH_S, abs=0.3) == samples.size / 16_000
    assert pytest.approx(TONE_AT_S, abs=0.05) == onset_s(samples)
    (warning,) = warnings
    stating(warning, "audio", "damaged", "1 of its packets")


@pytest.mark.media
def test_memory_does_not_grow_with_the_length(tmp_path):
    """Three hours take no more of it than ten minutes."""
    code = (
        "import resource, sys, audio\n"
        "with open(sys.argv[1], 'rb') as file: length = sum(block.size for block in audio.Audio(file).blocks())\n"
        "print(length // 16_000, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024)"
    )
    peaks = []
    for minutes in (10, 180):
        path = tmp_path / f"{minutes}.wav"
        size = minutes * 60 * 16_000 * 2
        header = bytearray(wav(np.zeros(0)))
        header[4:8], header[40:44] = (size + 36).to_bytes(4, "little"), size.to_bytes(4, "little")
        with path.open("wb") as file:
            file.write(header)
            file.truncate(len(header) + size)
        done = subprocess.run(
            [sys.executable, "-c", code, path], cwd=WHISPER, capture_output=True, text=True, check=True
        )
        length_s, peak_mb = map(int, done.stdout.split())
        assert 60 * minutes == length_s
        peaks.append(peak_mb)

    assert peaks[1] < peaks[0] + 50


def jpeg():
    file = io.BytesIO()
    Image.new("RGB", (64, 48), "red").save(file, "JPEG")
    return file.getvalue()


def silent_video():
    file = io.BytesIO()
    with av.open(file, "w", format="mp4") as container:
        stream = container.add_stream("mpeg4", rate=25, width=64, height=48, pix_fmt="yuv420p")
        container.mux([*stream.encode(av.VideoFrame(64, 48, "yuv420p")), *stream.encode(None)])
    return file.getvalue()


UNREADABLE = ("audio", "not a supported", "WAV, MP3, M4A, FLAC, Ogg, WebM, MP4")
BAD = {
    "not base64": ("@@@", ("audio", "base64")),
    "a path elsewhere": ("/etc/passwd", ("audio", "base64")),
    "empty": ("data:audio/wav;base64,", ("audio", "empty")),
    "a data: URL in clear": ("data:audio/wav,abc", ("audio", "data: URL", "base64")),
    "a text": (sent(b"This is a text, and no audio at all.\n" * 50), UNREADABLE),
    "an image": (sent(jpeg()), UNREADABLE),
    "a video without audio": (sent(silent_video()), ("video without audio",)),
    "an MP4 without its end": (
        sent(encoded("mp4", "aac", 48000, "mono")[:8000]),
        ("audio", "cut short", "MP4", "missing"),
    ),
    "no samples": (sent(wav(np.zeros(0))), ("audio", "empty", "0 samples")),
    "http": ("http://example.com/a.mp3", ("audio's URL", "https://")),
    "a private address": ("https://127.0.0.1/a.mp3", ("audio's URL", "public internet")),
    "a file that is gone": ("/runpod-volume/a.mp3", ("'/runpod-volume/a.mp3' not found", "volume")),
}


@pytest.mark.parametrize(("audio", "facts"), BAD.values(), ids=BAD)
def test_what_is_no_audio_is_refused_in_one_sentence(refused, audio, facts):
    """Each says what is wrong with it."""
    stating(refused(audio), *facts)


def test_a_playlist_opens_nothing(refused, tmp_path):
    """ffmpeg would fetch what a playlist names, from the worker's own network."""
    (tmp_path / "a.wav").write_bytes(wav(tone()))
    asked = []
    with serving({"/a.ts": encoded("mpegts", "aac", 48000, "mono")}, asked) as base:
        scripts = (
            f"#EXTM3U\n#EXT-X-TARGETDURATION:5\n#EXTINF:5,\n{base}/a.ts\n#EXT-X-ENDLIST\n",
            f"ffconcat version 1.0\nfile '{tmp_path}/a.wav'\n",
            f"<MPD><Period><AdaptationSet><BaseURL>{base}/a.ts</BaseURL></AdaptationSet></Period></MPD>",
        )
        (sentence,) = {refused(sent(script.encode())) for script in scripts}

    assert [] == asked
    stating(sentence, *UNREADABLE)


@pytest.mark.parametrize(
    "spell",
    [
        sent,
        lambda data: f"data:audio/wav;base64,{sent(data)}",
        lambda data: base64.encodebytes(data).decode(),
        lambda data: sent(data).rstrip("="),
        lambda data: base64.urlsafe_b64encode(data).decode(),
        lambda data: f"data:audio/wav;base64,{quote(sent(data), safe='')}",
    ],
    ids=["bare", "data URL", "lines", "no padding", "URL-safe", "%-encoded"],
)
def test_base64_is_read_as_clients_write_it(whisper_module, spell):
    """Every spelling gives the same bytes."""
    data = bytes(range(256)) * 2 + b"end"

    assert data == whisper_module("base64text").from_text(spell(data), "audio")


def test_a_path_stays_on_the_volume(audio_module, refused, tmp_path):
    """Files of the volume are read, whatever their folder; no `..` and no link leads out of it."""
    volume = tmp_path / "volume"
    (volume / "talks").mkdir(parents=True)
    for path in (volume / "talks/a.wav", tmp_path / "secret.wav"):
        path.write_bytes(wav(tone()))
    (volume / "link.wav").symlink_to(tmp_path / "secret.wav")
    with audio_module.opened(f"{volume}/talks/a.wav", volume=volume) as opened:
        length = sum(block.size for block in opened.blocks())

    assert LENGTH_S * 16_000 == length
    for path in ("../secret.wav", "link.wav", "talks", "talks/b.wav", "a\0b"):
        stating(refused(f"{volume}/{path}", volume=volume), "not found", "volume", varies=True)


def test_urls_are_fetched(audio_module, refused, monkeypatch):
    """With the SDK's switch for private addresses an audio file may lie on a server beside the worker."""
    monkeypatch.setenv("RUNPOD_ALLOW_PRIVATE_DOWNLOAD_URLS", "true")
    with serving({"/a.wav": wav(tone())}) as base:
        with audio_module.opened(f"{base}/a.wav") as opened:
            length = sum(block.size for block in opened.blocks())
        missing = refused(f"{base}/b.wav")
        monkeypatch.setattr(audio_module, "MAX_DOWNLOAD_BYTES", 100_000)
        large = refused(f"{base}/a.wav")

    assert LENGTH_S * 16_000 == length
    stating(missing, "audio's URL", 404)
    stating(large, "audio's URL", "0 MB")
    stating(refused(f"{base}/a.wav"), "audio's URL")


@pytest.mark.parametrize("head", [b"HTTP/1.0 200 OK\r\nX: ", b"HTTP/1.0 200 OK\r\n\r\n"], ids=["headers", "body"])
def test_a_server_that_drips_is_given_up(audio_module, whisper_module, monkeypatch, head):
    """A byte now and then keeps a download alive for its time only, not for ever."""
    monkeypatch.setenv("RUNPOD_ALLOW_PRIVATE_DOWNLOAD_URLS", "true")
    monkeypatch.setattr(audio_module, "DOWNLOAD_TIMEOUT_S", 0.5)
    with (
        dripping(head) as base,
        pytest.raises(whisper_module("badinput").BadInputError) as caught,
        audio_module.opened(f"{base}/a.mp3"),
    ):
        pass

    stating(str(caught.value), "audio's URL", "0.5 s")


def test_no_redirect_leads_from_https_to_http(audio_module, refused, monkeypatch, tmp_path):
    """Not even where http:// is allowed."""
    pem = tls.certificate(tmp_path)
    monkeypatch.setenv("RUNPOD_ALLOW_PRIVATE_DOWNLOAD_URLS", "true")
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(pem))
    with serving({"/a.wav": wav(tone())}) as plain, tls.redirecting(pem, {"/a.wav": f"{plain}/a.wav"}) as secure:
        said = refused(f"{secure}/a.wav")

    stating(said, "audio's URL", "https://")


@pytest.mark.parametrize("status", [429, 503])
def test_a_busy_server_is_asked_again(audio_module, refused, monkeypatch, status):
    """When it says, if that is soon; and not for ever."""
    monkeypatch.setenv("RUNPOD_ALLOW_PRIVATE_DOWNLOAD_URLS", "true")
    busy, soon = Reply(status, b"", (("Retry-After", "0"),)), Reply(200, wav(tone()))
    with scripted(script(busy, busy, soon)) as server, audio_module.opened(f"{server.url}/a.wav") as opened:
        length = sum(block.size for block in opened.blocks())
    with scripted(script(busy)) as server:
        said = refused(f"{server.url}/a.wav")
    with scripted(script(Reply(status, b"", (("Retry-After", "3600"),)))) as patient:
        refused(f"{patient.url}/a.wav")

    assert LENGTH_S * 16_000 == length
    stating(said, "audio's URL", status)
    assert (5, 1) == (len(server.requests), len(patient.requests))


@pytest.mark.parametrize("head", [b"HTTP/1.0 200 OK\r\nX: ", b"HTTP/1.0 200 OK\r\n\r\n"], ids=["headers", "body"])
def test_a_download_ends_when_it_is_stopped(audio_module, whisper_module, monkeypatch, head):
    """In the middle of it: nobody waits for the audio any more."""
    monkeypatch.setenv("RUNPOD_ALLOW_PRIVATE_DOWNLOAD_URLS", "true")
    came = threading.Event()
    with (
        dripping(head, lambda _: came.set()) as base,
        pytest.raises(whisper_module("badinput").BadInputError) as caught,
        audio_module.opened(f"{base}/a.mp3", stopped=came.is_set),
    ):
        pass

    stating(str(caught.value), "audio's URL", "the job was cancelled")


FILES = [encoded(*form, length_s=0.5) for form in (WAVS[2], *COMPRESSED)]


@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_no_bytes_break_the_decoder(audio_module, whisper_module, data):
    """Real files with bytes changed, cut or added: samples that Whisper can take, or one sentence."""
    file = data.draw(st.sampled_from(FILES))
    at, keep = data.draw(st.integers(0, len(file))), data.draw(st.integers(10, 2 * len(file)))
    damaged = (file[:at] + data.draw(st.binary(max_size=8)) + file[at + data.draw(st.integers(0, 8)) :])[:keep]
    try:
        with audio_module.opened(sent(damaged)) as opened:
            peaks = [np.abs(block).max() for block in opened.blocks()]
    except whisper_module("jobinput").BadInputError as error:
        assert not {"/", "\n"} & set(str(error))
    else:
        assert all(0 <= peak <= 1 for peak in peaks)
