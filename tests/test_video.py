"""Any video, and the image that a player would show at a time."""

from __future__ import annotations

import io
import re
import subprocess
import sys
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from support.failing import failing
from support.videos import (
    AVI,
    FORMS,
    HEIGHT,
    LIVE,
    MATRICES,
    MKV,
    MP4,
    UNTIMED,
    WIDTH,
    Form,
    bars,
    corners,
    displayed_by,
    number_of,
    seen_in,
    steady,
    write,
)

from vidctl.errors import MediaError
from vidctl.media.video import Frame, duration_s, frame_at, frames

PIXELS = 1_000_000


def taken(
    file: Path | io.BytesIO, *, from_s: float = 0.0, to_s: float | None = None, fps: float = 2.0, max_frames: int = 100
) -> tuple[Frame, ...]:
    return frames(file, from_s=from_s, to_s=to_s, fps=fps, max_frames=max_frames, max_pixels=PIXELS, name="video")


def numbers(found: tuple[Frame, ...]) -> list[tuple[float, int]]:
    """When, and which image."""
    return [(round(frame.at_s, 3), number_of(frame.prepared.jpeg)) for frame in found]


def at(file: Path | io.BytesIO, at_s: float, max_pixels: int = PIXELS) -> Frame:
    return frame_at(file, at_s=at_s, max_pixels=max_pixels, name="video")


def number_at(file: Path | io.BytesIO, at_s: float) -> int:
    return number_of(at(file, at_s).prepared.jpeg)


@pytest.fixture(scope="module")
def minute(tmp_path_factory):
    """A minute of five images a second in any form, each written once."""
    folder = tmp_path_factory.mktemp("videos")

    def make(form: Form) -> Path:
        path = folder / str(form)
        return path if path.exists() else write(path, steady(60, 5), form, rate=5)

    return make


# MPEG-1 knows no five images a second, and a bare stream cannot say that it has so many.
SLOW = [form for form in FORMS if form.codec != "mpeg1video" and form != UNTIMED]


@pytest.mark.parametrize("form", FORMS, ids=str)
def test_the_same_images_come_out_of_every_form(tmp_path, form):
    """Two seconds at 25 a second, looked at twice a second, and at any moment."""
    video = write(tmp_path / "video", steady(2), form)

    assert [(0.0, 0), (0.5, 12), (1.0, 25), (1.5, 37)] == numbers(taken(video))
    assert [0, 1, 24, 25, 49] == [number_at(video, at_s) for at_s in (0.0, 0.04, 0.999 - 0.001, 1.0, 1.97)]


# A bare stream and a live one do not say, and of a program stream FFmpeg guesses.
SAYING = [form for form in FORMS if form not in (UNTIMED, LIVE) and form.format != "mpeg"]


@pytest.mark.parametrize("form", SAYING, ids=str)
def test_a_video_says_how_long_it_is(tmp_path, form):
    """Whatever it counts from."""
    video = write(tmp_path / "video", steady(2), form)

    assert pytest.approx(2.0, abs=0.05) == duration_s(video, name="video")


@pytest.mark.parametrize("form", [UNTIMED, LIVE], ids=str)
def test_a_video_may_not_say_how_long_it_is(tmp_path, form):
    """A bare stream, or one that was recorded live; its images are there."""
    video = write(tmp_path / "video", steady(2), form)

    assert duration_s(video, name="video") is None
    assert 4 == len(taken(video))


@pytest.mark.parametrize("form", SLOW, ids=str)
def test_moments_far_apart_are_found_in_every_form(minute, form):
    """Sought where that can be done, and read up to where it cannot; the image is the same."""
    video = minute(form)

    assert [(0.0, 0), (16.0, 80), (32.0, 160), (48.0, 240)] == numbers(taken(video, fps=1 / 16))
    assert [61, 225, 299] == [number_at(video, at_s) for at_s in (12.3, 45.0, 59.9)]
    assert [(45.1, 225), (45.35, 226), (45.6, 228)] == numbers(taken(video, from_s=45.1, to_s=45.8, fps=4))


class Counted(io.BytesIO):
    """A file that counts how much of it was read."""

    count = 0

    def read(self, size: int | None = -1) -> bytes:
        data = super().read(size)
        self.count += len(data)
        return data


@pytest.mark.parametrize("form", [MP4, MKV], ids=str)
def test_what_lies_between_moments_is_not_read(form):
    """Two moments of a minute need their own parts of the file, and its index."""
    noise = np.random.default_rng(0).integers(0, 255, (64, 64, 96, 3), np.uint8)
    video = write(io.BytesIO(), steady(60, 5), form, rate=5, images=lambda number: noise[number % 64])
    counted = Counted(video.getvalue())

    taken(counted, from_s=20.0, to_s=55.0, fps=1 / 30)
    assert counted.count < len(video.getvalue()) / 2


def test_images_without_times_are_counted(tmp_path):
    """A bare stream cannot be sought in: it is read from its beginning, once for all moments."""
    video = write(tmp_path / "video", steady(40), UNTIMED)

    counted = Counted(video.read_bytes())
    assert [(0.0, 0), (16.0, 400), (32.0, 800)] == numbers(taken(counted, fps=1 / 16))
    assert counted.count <= 5 * video.stat().st_size  # its form and its length, two seeks in vain, and all of it
    assert 626 == number_at(video, 25.05)
    with failing("media_error", "video: ", "41 s", "40.00 s"):
        at(video, 41.0)
    with failing("media_error", "video: ", "80 frames", "2 fps", 16):
        taken(video, max_frames=16)


@pytest.mark.parametrize("form", [MP4, MKV], ids=str)
@settings(max_examples=20, deadline=None)
@given(at_s=st.floats(0, 59.99))
def test_the_image_of_a_moment_is_the_one_displayed(minute, form, at_s):
    """The last that began by then, as of each fifth of a second."""
    assert int((at_s + 0.001) * 5) == number_at(minute(form), at_s)


@pytest.mark.parametrize("form", [MP4, MKV, Form("mpegts"), Form("flv")], ids=str)
def test_images_may_come_at_any_time(tmp_path, form):
    """As a telephone or a screen recorder writes them: an image lasts until the next."""
    times = [0, 0.1, 0.15, 1.0, 1.02, 1.04, 3.0, 3.5]
    video = write(tmp_path / "video", times, form)

    expected = [max(n for n, begins in enumerate(times) if begins <= at_s + 0.001) for at_s in (0, 0.4, 0.8, 1.2, 2.8)]
    assert expected == [number_at(video, at_s) for at_s in (0, 0.4, 0.8, 1.2, 2.8)]
    assert [(0.0, 0), (1.0, 3), (2.0, 5), (3.0, 6)] == numbers(taken(video, fps=1))


def test_an_image_that_stays_is_not_looked_for_again(tmp_path):
    """A slide of a minute: all moments of it have the same one, made once."""
    found = taken(write(tmp_path / "video", [0, 60, 61]), fps=1 / 15)

    assert [(0.0, 0), (15.0, 0), (30.0, 0), (45.0, 0), (60.0, 1)] == numbers(found)
    assert 2 == len({id(frame.prepared) for frame in found})


def test_more_images_than_the_video_has_are_the_same_ones_again(tmp_path):
    """Each is made once."""
    found = taken(write(tmp_path / "video", steady(0.2)), fps=50)

    assert [0, 0, 1, 1, 2, 2, 3, 3, 4, 4] == [number_of(frame.prepared.jpeg) for frame in found]
    assert found[0].prepared is found[1].prepared


@pytest.mark.parametrize("form", [MP4, MKV], ids=str)
def test_before_an_image_that_begins_late_there_is_the_first(tmp_path, form):
    """The video begins with its audio; a player has nothing else to show by then."""
    video = write(tmp_path / "video", steady(2, since_s=3), form, audio_s=5)

    assert [(0.0, 0), (2.0, 0), (4.0, 25)] == numbers(taken(video, fps=0.5))
    assert pytest.approx(5, abs=0.1) == duration_s(video, name="video")


@pytest.mark.parametrize(
    ("form", "since_s"),
    [(MKV, -1.0), *((form, since_s) for form in (MP4, MKV, Form("mpegts")) for since_s in (5.0, 70_000.0))],
    ids=str,
)
def test_a_video_begins_where_its_clock_does(tmp_path, form, since_s):
    """Cut out of another, or recorded since this morning: 0 is its first image."""
    video = write(tmp_path / "video", steady(2, since_s=since_s), form)

    assert [(0.0, 0), (0.5, 12), (1.0, 25), (1.5, 37)] == numbers(taken(video))


def test_what_an_edit_cuts_off_is_not_displayed(tmp_path):
    """A telephone's trimmed video: its first second is still in the file, and no player shows it."""
    video = write(tmp_path / "video", steady(2, since_s=-1.0), MP4)

    assert [(0.0, 25), (0.5, 37)] == numbers(taken(video))


@pytest.mark.parametrize("then_s", [10.0, 560.0, 90_000.0])
def test_a_clock_that_jumps_is_followed(tmp_path, then_s):
    """Two recordings, one behind the other in one file: the second goes on where the first ended."""
    form = Form("mpegts")
    halves = [write(io.BytesIO(), steady(2, since_s=since_s), form).getvalue() for since_s in (600.0, then_s)]
    video = tmp_path / "video"
    video.write_bytes(b"".join(halves))

    found = [number for _, number in numbers(taken(video, to_s=4.0, max_frames=10_000))]
    assert [0, 12, 25, 37] == found[:4]
    assert [0, 12, 25, 37] == pytest.approx(found[4:8], abs=1)


@pytest.mark.parametrize("number", [1, 2])
@pytest.mark.parametrize("form", [MP4, MKV, AVI], ids=str)
def test_a_video_may_be_an_image_or_two(tmp_path, form, number):
    """There is something to see in it."""
    video = write(tmp_path / "video", steady(number / 25), form)

    assert list(range(number)) == [n for _, n in numbers(taken(video, fps=25))]
    assert 0 == number_at(video, 0.0)


def test_a_moving_gif_is_a_video(tmp_path):
    """As good as any."""
    images = [Image.fromarray(bars(number)) for number in range(4)]
    images[0].save(tmp_path / "video.gif", save_all=True, append_images=images[1:], duration=500)

    assert [0, 1, 2, 3] == [number for _, number in numbers(taken(tmp_path / "video.gif"))]


# --- as it is displayed ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("matrix", "expected"), MATRICES)
def test_an_image_is_turned_as_the_video_says(tmp_path, matrix, expected):
    """All eight ways; ISO 14496-12 has x' = ax + cy and y' = bx + dy."""
    video = write(tmp_path / "video", steady(0.2), images=corners, look=displayed_by(matrix))

    frame = at(video, 0)
    size = (64, 128) if abs(matrix[1]) == 1 else (128, 64)
    assert expected == seen_in(frame.prepared.jpeg)
    assert (*size, *size) == (
        frame.prepared.width, frame.prepared.height, frame.prepared.sent_width, frame.prepared.sent_height,
    )  # fmt: skip
    assert size == Image.open(io.BytesIO(frame.prepared.jpeg)).size


def test_pixels_that_are_not_square_are_made_so(tmp_path):
    """A wide video of a digital video camera: 16 by 9, in 720 x 576 pixels."""

    def look(stream: av.VideoStream) -> None:
        stream.codec_context.sample_aspect_ratio = Fraction(64, 45)

    video = write(tmp_path / "video", steady(0.2), images=lambda n: bars(n, (720, 576)), look=look)

    prepared = at(video, 0).prepared
    assert (1024, 576, 1024, 576) == (prepared.width, prepared.height, prepared.sent_width, prepared.sent_height)
    prepared = at(video, 0, max_pixels=1024 * 576 // 4).prepared
    assert (1024, 576, 512, 288) == (prepared.width, prepared.height, prepared.sent_width, prepared.sent_height)
    assert (512, 288) == Image.open(io.BytesIO(prepared.jpeg)).size


@pytest.mark.parametrize(("size", "says"), [((1280, 720), True), ((1280, 720), False), ((640, 360), False)])
def test_colours_are_those_of_a_player(tmp_path, size, says):
    """BT.709 where the video says so, or is of high definition; else BT.601."""
    green = np.full((size[1], size[0], 3), (30, 200, 60), np.uint8)
    is_709 = says or size[1] >= 720

    def look(stream: av.VideoStream) -> None:
        if says:
            stream.codec_context.colorspace = 1

    path = tmp_path / "video.mp4"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=25)
        (stream.width, stream.height), stream.pix_fmt = size, "yuv420p"
        look(stream)
        frame = av.VideoFrame.from_ndarray(green, "rgb24").reformat(
            format="yuv420p", dst_colorspace="ITU709" if is_709 else "ITU601", dst_color_range=1
        )
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))

    shown = Image.open(io.BytesIO(at(path, 0).prepared.jpeg)).getpixel((50, 50))
    assert (30, 200, 60) == pytest.approx(shown, abs=6)


def test_an_image_is_shrunk_to_its_pixels(tmp_path):
    """Of the video's, the model sees no more than it can use."""
    video = write(tmp_path / "video", steady(0.2))

    prepared = at(video, 0, max_pixels=WIDTH * HEIGHT // 4).prepared
    assert (WIDTH, HEIGHT, WIDTH // 2, HEIGHT // 2) == (
        prepared.width, prepared.height, prepared.sent_width, prepared.sent_height,
    )  # fmt: skip


# --- what cannot be ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("form", [MP4, MKV, LIVE], ids=str)
def test_after_its_end_a_video_has_no_image(minute, form):
    """The error says how long it is; the very end still shows the last one."""
    assert 299 == number_at(minute(form), 60.0)
    for at_s, ask in (("61", lambda: at(minute(form), 61.0)), ("75.5", lambda: taken(minute(form), from_s=75.5))):
        with failing("media_error", "video: ", f"{at_s} s", "60.00 s"):
            ask()


@pytest.mark.parametrize("form", [MP4, LIVE], ids=str)
def test_too_many_images_are_told_with_the_rate_that_fits(minute, form):
    """How many there would be, how many there may be, and the hint keeps its word."""
    with failing("media_error", "video: ", "100 frames", "2 fps", 16) as caught:
        taken(minute(form), from_s=10.0, fps=2.0, max_frames=16)
    fits = float(re.search(r"fps to ([0-9.]+)", caught.value.hint)[1])

    assert len(taken(minute(form), from_s=10.0, fps=fits, max_frames=16)) in (15, 16)


@pytest.mark.parametrize("to_s", [20.0, 80.0])
@pytest.mark.parametrize("form", [MP4, LIVE], ids=str)
def test_only_the_part_that_is_asked_for_counts(minute, form, to_s):
    """Up to `to_s`, or to the video's end if that is earlier."""
    expected = int(min(to_s, 60.0) - 10.0)

    assert expected == len(taken(minute(form), from_s=10.0, to_s=to_s, fps=1.0, max_frames=expected))
    with failing("media_error", "video: ", f"{expected} frames", "1 fps", expected - 1):
        taken(minute(form), from_s=10.0, to_s=to_s, fps=1.0, max_frames=expected - 1)


@settings(max_examples=50, deadline=None)
@given(fps=st.floats(0.05, 25), most=st.integers(1, 30))
def test_the_rate_that_fits_always_fits(fps, most):
    """Whatever was asked, one may do as the hint says."""
    try:
        found = frames(VIDEO, from_s=0.3, to_s=None, fps=fps, max_frames=most, max_pixels=100, name="video")
    except MediaError as error:
        fits = float(re.search(r"fps to ([0-9.]+)", error.hint)[1])
        found = frames(VIDEO, from_s=0.3, to_s=None, fps=fits, max_frames=most, max_pixels=100, name="video")
    assert 1 <= len(found) <= most


VIDEO = write(io.BytesIO(), steady(4, 5), rate=5)


@pytest.mark.parametrize(
    ("asked", "facts"),
    [
        ({"fps": 0.0}, ("fps ", 0)), ({"fps": -1.0}, ("fps ", -1)), ({"fps": float("nan")}, ("fps ", "nan")),
        ({"fps": 1e300}, ("fps ", "1e+300")), ({"fps": 5e-324}, ("fps ",)), ({"from_s": 1e300}, ("from 1e+300 s",)),
        ({"max_frames": 0}, ("max_frames ", 0)),
        ({"from_s": -1.0}, ("from -1 s",)), ({"from_s": float("nan")}, ("from nan s",)), ({"to_s": 0.0}, ("to 0 s",)),
        ({"from_s": 2.0, "to_s": 1.0}, ("to 1 s", "2 s")), ({"to_s": float("nan")}, ("to nan s",)),
    ],
)  # fmt: skip
def test_times_that_cannot_be_are_a_usage_error(asked, facts):
    """The message names the one."""
    with failing("usage_error", *facts):
        taken(VIDEO, **asked)


@pytest.mark.parametrize("at_s", [-0.1, float("nan"), float("inf"), 1e300])
def test_a_moment_that_cannot_be_is_a_usage_error(at_s):
    """Before the video, or never."""
    with failing("usage_error", f"at {at_s:g} s"):
        at(VIDEO, at_s)


def audio_alone(cover: bool) -> bytes:
    """An audio file, with or without the image of its record."""
    file = io.BytesIO()
    with av.open(file, "w", format="matroska" if not cover else "mp3") as container:
        stream = container.add_stream("mp3", rate=48_000)
        image = None
        if cover:
            image = container.add_stream("mjpeg")
            image.width, image.height, image.pix_fmt = 64, 48, "yuvj420p"
            image.disposition = av.stream.Disposition.attached_pic
        for index in range(20):
            frame = av.AudioFrame.from_ndarray(np.zeros((2, 1152), np.float32), "fltp", "stereo")
            frame.sample_rate, frame.pts = 48_000, index * 1152
            container.mux(stream.encode(frame))
        if image is not None:
            container.mux(image.encode(av.VideoFrame.from_ndarray(np.zeros((48, 64, 3), np.uint8), "rgb24")))
        container.mux(stream.encode(None))
    return file.getvalue()


@pytest.mark.parametrize("cover", [False, True])
def test_an_audio_is_no_video(cover):
    """Not even with the cover of its record."""
    for ask in (at, lambda file, _: taken(file), lambda file, _: duration_s(file, name="video")):
        with failing("media_error", "video: ", "audio"):
            ask(io.BytesIO(audio_alone(cover)), 0.0)


@pytest.mark.parametrize(
    "data",
    [
        b"", b"\0" * 5000, b"some text\n" * 500, VIDEO.getvalue()[:40], b"\x1b[31mred\x1b[0m\n" * 100,
        b"ffconcat version 1.0\nfile '/etc/hostname'\n", b"#EXTM3U\n#EXTINF:10,\nfile:///etc/hostname\n",
    ],
)  # fmt: skip
def test_what_is_no_video_is_told_so(data):
    """One sentence that names it; nothing else is opened, whatever it says."""
    for ask in (at, lambda file, _: taken(file), lambda file, _: duration_s(file, name="video")):
        with failing("media_error", "video: ", varies=True):
            ask(io.BytesIO(data), 0.0)


def test_a_video_that_is_cut_short_has_the_images_that_it_has(tmp_path):
    """Its header says more: what is missing is not made up of the last image, and the moments of it are not there."""
    video = write(tmp_path / "video", steady(60, 5), FORMS[1], rate=5)
    video.write_bytes(video.read_bytes()[: video.stat().st_size // 2])

    found = numbers(taken(video, fps=1))
    assert 5 < len(found) < 50
    assert all(abs(number - at_s * 5) <= 1 for at_s, number in found)
    with failing("media_error", "video: ", "50 s", varies=True):
        at(video, 50.0)


def test_an_image_that_was_damaged_on_its_way_is_not_shown():
    """Where a broadcast lost a packet the image before stays, as it does on a good television."""
    noise = np.random.default_rng(0).integers(0, 90, (HEIGHT, WIDTH, 3), np.uint8)
    form = Form("mpegts", "mpeg2video", {"g": "12", "b": "3M"})
    video = write(io.BytesIO(), steady(2), form, images=lambda number: bars(number) // 255 * 160 + noise).getvalue()
    packets = [video[place : place + 188] for place in range(0, len(video), 188)]
    del packets[len(packets) // 2]
    broken = b"".join(packets)
    with av.open(io.BytesIO(broken)) as container:
        (lost,) = [number for number, frame in enumerate(container.decode(video=0)) if frame.is_corrupt]

    assert [lost - 1, lost - 1, lost + 1] == [number_at(io.BytesIO(broken), (lost + n) / 25) for n in (-1, 0, 1)]


@settings(max_examples=60, deadline=None)
@given(places=st.lists(st.integers(0, 10**6), min_size=1, max_size=20), value=st.integers(0, 255))
def test_a_damaged_video_is_read_as_far_as_that_goes(places, value):
    """Or told to be damaged; nothing else comes of it."""
    data = bytearray(VIDEO.getvalue())
    for place in places:
        data[place % len(data)] = value
    for ask in (taken, lambda file: at(file, 3.0), lambda file: duration_s(file, name="video")):
        try:
            ask(io.BytesIO(bytes(data)))
        except MediaError as error:
            assert error.message.startswith("video: ")


def test_a_video_is_read_from_its_beginning_each_time():
    """An open file is left where it is, and asked again."""
    file = io.BytesIO(VIDEO.getvalue())
    file.seek(1000)

    assert numbers(taken(file)) == numbers(taken(file))
    assert 5 == number_at(file, 1.0)


def test_no_image_is_kept_that_was_not_asked_for(tmp_path):
    """Three hundred images as they are decoded would be 415 MB; nine of them, made small, are nothing."""
    video = write(
        tmp_path / "video", steady(12), Form("mp4", options={"preset": "ultrafast", "g": "50"}),
        images=lambda number: bars(number, (1280, 720)),
    )  # fmt: skip
    code = """if True:
        import resource, sys
        from pathlib import Path
        from vidctl.media.video import frames

        def used_mb():
            return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (1e6 if sys.platform == "darwin" else 1e3)

        def take(fps):
            return frames(Path(sys.argv[1]), from_s=0, to_s=None, fps=fps, max_frames=9, max_pixels=10**4, name="f")

        take(1 / 40)
        before = used_mb()
        print(len(take(0.7)), used_mb() - before)
    """

    result = subprocess.run([sys.executable, "-c", code, str(video)], capture_output=True, text=True, check=True)
    found, grown_mb = result.stdout.split()
    assert "9" == found
    assert float(grown_mb) < 150
