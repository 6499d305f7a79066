"""From what a caller sends to what the engine is sent: upright, within the limits, or one sentence."""

from __future__ import annotations

import base64
import io
import socket
from fractions import Fraction

import av
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from PIL.PngImagePlugin import PngInfo
from support import videos, vision
from support.stating import stating


@pytest.fixture(scope="module")
def images(qwen_module):
    return qwen_module("images")


@pytest.fixture(scope="module")
def media(qwen_module):
    return qwen_module("media")


@pytest.fixture(scope="module")
def jobinput(qwen_module):
    return qwen_module("jobinput")


def saved(image, form, **options):
    out = io.BytesIO()
    image.save(out, form, **options)
    return out.getvalue()


def opened(found):
    return Image.open(io.BytesIO(found.data))


def prepared(media, jobinput, *parts, **limits):
    given = {"max_images": 4, "max_pixels": 1_048_576, "seen_min": 1024, "seen_max": 1_048_576, **limits}
    return media.prepare([{"role": "user", "content": list(parts)}], media.Limits(**given))


# transformers, models/qwen2_vl/image_processing_qwen2_vl.py, smart_resize with factor 32, worked out by hand.
@pytest.mark.parametrize(
    ("size", "least", "most", "seen"),
    [
        ((256, 192), 1024, 10**6, (256, 192)),
        ((250, 190), 1024, 10**6, (256, 192)),
        ((47, 49), 1024, 10**6, (32, 64)),
        ((5, 5), 1024, 10**6, (32, 32)),
        ((640, 480), 1024, 262_144, (576, 416)),  # 640 / sqrt(307200 / 262144) = 591.2, down to 576; 443.4 to 416
        ((40, 40), 65_536, 10**6, (256, 256)),  # 40 * sqrt(65536 / 1600) = 256
    ],
)
def test_an_image_is_seen_as_the_processor_makes_it(images, size, least, most, seen):
    assert seen == images.seen(*size, least, most)


def test_a_small_upright_image_goes_as_it_is(images):
    """Byte for byte: nothing is lost twice."""
    for form in ("JPEG", "PNG"):
        data = vision.image(form=form)
        found = images.decode(data, 1_048_576, "image")

        assert (data, f"image/{form.lower()}", 256, 192) == (found.data, found.mime, found.width, found.height)


def test_what_an_image_says_of_itself_does_not_reach_the_engine(images):
    """Its reader would turn the image once more by its XMP, and refuse a PNG of much text."""
    image = Image.new("RGB", (64, 32), "red")
    text = PngInfo()
    text.add_text("comment", "x" * 3_000_000, zip=True)
    for data in (
        saved(image, "JPEG", xmp=b"<x:xmpmeta tiff:Orientation='6'/>", quality=75),
        saved(image, "PNG", pnginfo=text),
    ):
        found = images.decode(data, 1_048_576, "image")

        assert saved(image, found.mime.split("/")[1]) == found.data
        assert (64, 32) == (found.width, found.height)


@pytest.mark.parametrize(("size", "sent"), [((6400, 32), (6400, 32)), ((19900, 100), (14400, 72))])
def test_an_image_just_short_enough_is_taken(images, size, sent):
    """It is not too long at 200 to 1, nor is it made so by being shrunk."""
    found = images.decode(saved(Image.new("RGB", size), "PNG"), 1_048_576, "image")

    assert sent == (found.width, found.height)


def test_a_clear_colour_of_a_png_is_white(images):
    """What has no alpha of its own may say that one colour is none."""
    data = saved(Image.new("RGB", (64, 32), (1, 2, 3)), "PNG", transparency=(1, 2, 3))

    assert (255, 255, 255) == opened(images.decode(data, 1_048_576, "image")).getpixel((5, 5))


def test_a_small_image_in_a_large_file_is_made_anew(images):
    """What a file holds beside its pixels would be copied many times on its way to the model."""
    data = saved(Image.new("RGB", (10, 10), (200, 40, 90)), "JPEG")
    comment = b"\xff\xfe\xea\x62" + b"y" * 60_000  # a segment has 64 KB at most
    large = data[:2] + 10 * comment + data[2:]
    found = images.decode(large, 1_048_576, "image")

    assert ((10, 10), True) == ((found.width, found.height), len(found.data) < 2000 < len(large))


def test_an_image_whose_exif_makes_no_sense_is_seen(images):
    data = saved(Image.new("RGB", (64, 32)), "JPEG", exif=b"Exif\x00\x00II*\x00\xff\xff\xff\xff")

    assert (64, 32) == opened(images.decode(data, 1_048_576, "image")).size


def test_an_image_is_turned_upright_and_shrunk(images):
    """As its EXIF says; to at most the pixels, in its ratio."""
    exif = Image.Exif()
    exif[0x0112] = 6
    data = saved(Image.new("RGB", (400, 200), "red"), "JPEG", exif=exif)
    found = images.decode(data, 20_000, "image")

    assert ((100, 200), (100, 200)) == ((found.width, found.height), opened(found).size)


@pytest.mark.parametrize("form", ["JPEG", "PNG", "WEBP", "BMP", "GIF", "TIFF"])
def test_every_format_is_read(images, form):
    found = images.decode(vision.image(form=form), 10**6, "image")

    assert (256, 192) == opened(found).size


def test_what_is_transparent_is_white(images):
    found = images.decode(saved(Image.new("RGBA", (64, 64), (0, 0, 0, 0)), "PNG"), 10**6, "image")

    assert min(opened(found).convert("RGB").getpixel((5, 5))) > 250


def test_grey_of_sixteen_bits_keeps_its_shades(images):
    """Pillow's own conversion makes all of it white."""
    found = images.decode(saved(Image.new("I;16", (64, 64), 32_768), "PNG"), 10**6, "image")

    assert 120 < opened(found).convert("L").getpixel((5, 5)) < 135


@pytest.mark.parametrize(
    ("data", "facts"),
    [
        (b"no image", "JPEG, PNG, WEBP, BMP, GIF, TIFF"),
        (vision.image(2000, 4), "2000 x 4 pixels"),
        (vision.image()[:300], ""),
    ],
    ids=["text", "line", "damaged"],
)
def test_what_is_no_image_is_one_sentence(images, jobinput, data, facts):
    with pytest.raises(jobinput.BadInputError) as caught:
        images.decode(data, 10**6, "image")

    stating(str(caught.value), "image ", facts)


def test_too_many_pixels_are_refused_with_their_number(images, jobinput):
    """Before they are decoded: a small file may hold any number."""
    header = saved(Image.new("1", (12_000, 9_000)), "PNG")
    with pytest.raises(jobinput.BadInputError) as caught:
        images.decode(header, 10**6, "image")
    stating(str(caught.value), "12000 x 9000 pixels", "108 megapixels", "100")


@given(st.binary(max_size=200))
def test_any_bytes_are_an_image_or_refused(qwen_module, data):
    images = qwen_module("images")
    jobinput = qwen_module("jobinput")
    try:
        found = images.decode(data, 10**6, "image")
    except jobinput.BadInputError:
        return

    assert found.data


@pytest.mark.parametrize(
    ("value", "fact"),
    [
        ("", ""),
        ("****", "base64"),
        ("data:image/png,abc", "data: URL"),
        (7, "base64"),
        ("http://example.org/a.png", "https://"),
        ("https://127.0.0.1/a.png", "URL"),
    ],
)
def test_an_image_that_cannot_be_read_is_one_sentence(images, jobinput, value, fact):
    with pytest.raises(jobinput.BadInputError) as caught:
        images.read(value, "image")

    stating(str(caught.value), "image", fact)


def test_a_message_gets_its_images(media, jobinput):
    """As data: URLs, in their places; how the model sees each is counted."""
    one = jobinput.Media("image", vision.encoded(vision.image(64, 64)))
    found = prepared(media, jobinput, one, {"type": "text", "text": "?"})
    content = found.messages[0]["content"]

    assert content[0]["image_url"]["url"].startswith("data:image/png;base64,")
    assert {"image_tokens": 4, "images": [{"width": 64, "height": 64, "tokens": 4}]} == found.spelled()


def test_a_clip_is_frames_with_their_times(media, jobinput):
    """At its rate, each after its time."""
    clip = jobinput.Media("video", vision.encoded(vision.clip(4.0)), is_clip=True, fps=1.0)
    content = prepared(media, jobinput, clip).messages[0]["content"]

    assert [f"<{at}.0 seconds>" for at in range(4)] == [part["text"] for part in content if part["type"] == "text"]


@pytest.mark.parametrize("size", [(19900, 100), (100, 19900), (6400, 32)])
def test_what_is_near_the_longest_ratio_is_within_it_when_it_is_shrunk(images, size):
    found = images.decode(saved(Image.new("RGB", size), "PNG"), 1_048_576, "image")

    assert max(found.width, found.height) <= 200 * min(found.width, found.height)


@pytest.mark.parametrize(("least", "size"), [(0, (10, 40)), (32, (32, 128))])
def test_a_small_image_is_enlarged_for_anothers_server(media, jobinput, least, size):
    """Qwen's processor here takes it as it is; others refuse sides under 32."""
    one = jobinput.Media("image", vision.encoded(vision.image(10, 40)))
    url = prepared(media, jobinput, one, least_side=least).messages[0]["content"][0]["image_url"]["url"]

    assert size == Image.open(io.BytesIO(base64.b64decode(url.partition(",")[2]))).size


@pytest.mark.parametrize(("matrix", "expected"), videos.MATRICES)
def test_a_clip_is_turned_and_mirrored_as_it_says(media, jobinput, tmp_path, matrix, expected):
    """All eight ways, as the client shows a video."""
    look = videos.displayed_by(matrix)
    video = videos.write(tmp_path / "video.mp4", videos.steady(0.2), images=videos.corners, look=look)
    clip = jobinput.Media("video", vision.encoded(video.read_bytes()), is_clip=True)
    url = prepared(media, jobinput, clip).messages[0]["content"][1]["image_url"]["url"]

    assert expected == videos.seen_in(base64.b64decode(url.partition(",")[2]))


def test_a_clip_and_images_share_the_limit(media, jobinput):
    """What is left is sampled over the whole length."""
    clip = jobinput.Media("video", vision.encoded(vision.clip(4.0)), is_clip=True, fps=10.0)
    one = jobinput.Media("image", vision.encoded(vision.image(64, 64)))

    assert 4 == len(prepared(media, jobinput, one, one, clip).seen)


def test_clips_share_the_limit(media, jobinput):
    """Each is seen over its whole length."""
    clips = [jobinput.Media(f"videos[{n}]", vision.encoded(vision.clip(4.0)), is_clip=True, fps=10.0) for n in (0, 1)]
    (message,) = prepared(media, jobinput, *clips).messages

    assert ["<0.0 seconds>", "<2.0 seconds>"] * 2 == [
        part["text"] for part in message["content"] if part["type"] == "text"
    ]


def test_a_clip_that_does_not_say_its_length_is_seen_to_its_end(media, jobinput):
    """As browsers record: Matroska that is written while it goes on."""
    data = _video("matroska", 64, 64, count=80, live="1")
    clip = jobinput.Media("video", vision.encoded(data), is_clip=True)
    with av.open(io.BytesIO(data)) as container:
        assert (None, None) == (container.duration, container.streams.video[0].duration)
    (message,) = prepared(media, jobinput, clip).messages

    times = [float(part["text"][1:4]) for part in message["content"] if part["type"] == "text"]
    assert (4, True) == (len(times), times[-1] > 5.5)


def test_a_clip_of_too_many_pixels_is_refused_with_their_number(media, jobinput):
    """Before anything of it is decoded."""
    data = _video("avi", 8000, 5000, count=1, codec="mjpeg", pix_fmt="yuvj420p")
    clip = jobinput.Media("video", vision.encoded(data), is_clip=True)
    with pytest.raises(jobinput.BadInputError) as caught:
        prepared(media, jobinput, clip)
    stating(str(caught.value), "video ", "8000 x 5000 pixels", "36 megapixels")


def test_pixels_that_are_lines_are_refused(media, jobinput):
    """A clip of a few kilobytes may say that each of its pixels is hundreds of times as wide as it is high."""
    data = _video("mp4", 640, 360, count=1, ratio=Fraction(300, 1))
    clip = jobinput.Media("video", vision.encoded(data), is_clip=True)
    with pytest.raises(jobinput.BadInputError) as caught:
        prepared(media, jobinput, clip)
    stating(str(caught.value), "video ", "200")


def test_a_clip_that_nobody_waits_for_is_not_decoded_to_its_end(media, jobinput):
    looks = iter([False] * 20)
    clip = jobinput.Media("video", vision.encoded(vision.clip(10.0)), is_clip=True)
    limits = media.Limits(4, 1_048_576, 1024, 1_048_576)
    with pytest.raises(jobinput.BadInputError) as caught:
        media.prepare([{"role": "user", "content": [clip]}], limits, lambda: next(looks, True))
    stating(str(caught.value), "cancelled")


def _video(form, width, height, *, count, codec="libx264", pix_fmt="yuv420p", ratio=None, **options):
    """A video's bytes, in a form of FFmpeg's with these options of its; each of its frames is black."""
    out = io.BytesIO()
    frame = av.VideoFrame.from_ndarray(np.zeros((height, width, 3), np.uint8), format="rgb24")
    with av.open(out, "w", format=form, options=options) as container:
        stream = container.add_stream(codec, rate=10)
        stream.width, stream.height, stream.pix_fmt = width, height, pix_fmt
        if ratio:
            stream.codec_context.sample_aspect_ratio = ratio
        for _ in range(count):
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return out.getvalue()


def test_a_playlist_opens_nothing(media, jobinput):
    """FFmpeg would follow it to other files and addresses, while it opens it."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.setblocking(False)
        address = f"http://127.0.0.1:{server.getsockname()[1]}/a.ts"
        for text in (f"ffconcat version 1.0\nfile {address}\n", f"#EXTM3U\n#EXTINF:1,\n{address}\n#EXT-X-ENDLIST\n"):
            clip = jobinput.Media("video", vision.encoded(text.encode()), is_clip=True)
            with pytest.raises(jobinput.BadInputError) as caught:
                prepared(media, jobinput, clip)
            stating(str(caught.value), "video ")

        with pytest.raises(BlockingIOError):
            server.accept()


def test_an_audio_is_no_clip(media, jobinput):
    clip = jobinput.Media("video", vision.encoded(vision.clip(1.0)[:40]), is_clip=True)
    with pytest.raises(jobinput.BadInputError) as caught:
        prepared(media, jobinput, clip)
    stating(str(caught.value), "video ")


def test_a_clip_is_seen_as_it_is_displayed(media, jobinput):
    """Pixels that are not square are made so."""
    data = _video("mp4", 64, 64, count=1, ratio=Fraction(2, 1))
    clip = jobinput.Media("video", vision.encoded(data), is_clip=True)

    assert ((128, 64),) == prepared(media, jobinput, clip).seen
