"""Any image a person may have becomes a JPEG that the model can use, or one clear sentence."""

from __future__ import annotations

import io
import struct
import zlib
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Any, cast

import PIL
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image
from pillow_heif import register_heif_opener
from support.failing import failing

from vidctl.errors import MediaError
from vidctl.media import image
from vidctl.media.image import FORMATS, PreparedImage, open_upright, prepare, prepare_within
from vidctl.media.pixels import fit_within, is_too_long

ORANGE = (200, 100, 50)


def encoded(image: Image.Image, kind: str, **options) -> bytes:
    out = io.BytesIO()
    image.save(out, kind, **options)
    return out.getvalue()


def plain(mode: str = "RGB", size: tuple[int, int] = (64, 48)) -> Image.Image:
    return Image.new("RGB", size, ORANGE).convert(mode)


def opened(prepared: PreparedImage) -> Image.Image:
    return Image.open(io.BytesIO(prepared.jpeg))


def is_near(expected: tuple[int, ...], actual: Any, *, within: int = 8) -> bool:
    return all(abs(one - other) <= within for one, other in zip(expected, actual, strict=True))


@pytest.mark.parametrize(
    ("mode", "kind"),
    [
        ("RGB", "JPEG"), ("CMYK", "JPEG"), ("RGB", "PNG"), ("RGBA", "PNG"), ("P", "PNG"), ("RGB", "WEBP"),
        ("RGBA", "WEBP"), ("RGB", "BMP"), ("P", "BMP"), ("RGB", "TIFF"), ("CMYK", "TIFF"),
        ("P", "GIF"),
        # Pillow 12, the last for Python 3.10, cannot read what it writes here.
        *([("YCbCr", "TIFF")] if int(PIL.__version__.partition(".")[0]) >= 13 else []),
    ],
)  # fmt: skip
def test_every_format_keeps_its_colours(mode, kind):
    """What is sent shows what the file shows."""
    prepared = prepare(encoded(plain(mode), kind), imgsz=640, name="a")

    assert (64, 48, 64, 48) == (prepared.width, prepared.height, prepared.sent_width, prepared.sent_height)
    assert "JPEG" == opened(prepared).format
    assert is_near(ORANGE, opened(prepared).convert("RGB").getpixel((30, 20)))


@pytest.mark.parametrize("kind", [kind for kind in FORMATS if kind not in ("GIF", "BMP")])
def test_every_format_that_is_said_to_be_read_is_read(kind):
    """Among them AVIF, JPEG 2000 and HEIC where the installation has them."""
    if kind == "HEIF":
        register_heif_opener()
    data = encoded(plain(), kind, quality=90)

    assert is_near(ORANGE, open_upright(data).getpixel((30, 20)))
    assert "JPEG" == opened(prepare(data, imgsz=32, name="a")).format


def test_a_cameras_mpo_is_read():
    """Several JPEGs in one file: the first counts."""
    data = encoded(plain(), "MPO", save_all=True, append_images=[Image.new("RGB", (64, 48), "blue")])

    assert is_near(ORANGE, opened(prepare(data, imgsz=640, name="a")).getpixel((30, 20)))


@pytest.mark.parametrize(
    ("mode", "kind"), [("L", "JPEG"), ("L", "PNG"), ("LA", "PNG"), ("L", "BMP"), ("1", "TIFF"), ("L", "TIFF")]
)
def test_grey_stays_grey(mode, kind):
    """One band becomes three alike."""
    data = encoded(Image.new("L", (20, 10), 255).convert(mode), kind)

    assert is_near((255, 255, 255), open_upright(data).getpixel((5, 5)))


@pytest.mark.parametrize(
    ("mode", "kind", "value"),
    [("I;16", "PNG", 32896), ("I;16", "TIFF", 32896), ("I", "TIFF", 32896), ("I", "TIFF", 128),
     ("F", "TIFF", 0.502), ("F", "TIFF", 128.0)],
)  # fmt: skip
def test_more_than_eight_bits_are_scaled(mode, kind, value):
    """A middle grey stays a middle grey instead of being clipped to white."""
    data = encoded(Image.new(mode, (20, 10), value), kind)

    assert is_near((128, 128, 128), open_upright(data).getpixel((5, 5)), within=1)


def test_sixteen_bit_big_endian_is_scaled():
    """TIFF files of old Macs count too."""
    data = encoded(Image.frombytes("I;16B", (4, 4), b"\x80\x80" * 16), "TIFF")

    assert (128, 128, 128) == open_upright(data).getpixel((1, 1))


@pytest.mark.parametrize("mode", ["RGBA", "LA", "P", "L", "I;16", "1"])
def test_what_alpha_hides_is_not_shown(mode):
    """It is white, as a browser shows it: in what is sent to either model, and in what is saved."""
    if mode in ("RGBA", "LA", "P"):
        data = encoded(Image.new("RGBA", (8, 8), (*ORANGE, 0)).convert(mode), "PNG")
    else:
        data = encoded(Image.new(mode, (8, 8), 0), "PNG", transparency=0)

    seen = [prepare(data, imgsz=64, name="a"), prepare_within(data, max_pixels=64, name="a")]
    assert [(255, 255, 255)] * 2 == [opened(one).convert("RGB").getpixel((3, 3)) for one in seen]
    assert (255, 255, 255) == open_upright(data).getpixel((3, 3))


def grey_tiff(values: bytes, size: tuple[int, int], *, bits: int, kind: int, photometric: int = 1) -> bytes:
    """A TIFF of one strip of grey; `kind` is 1 for whole numbers, 3 for floating point."""
    tags = [
        (256, 4, size[0]), (257, 4, size[1]), (258, 3, bits), (259, 3, 1), (262, 3, photometric), (273, 4, 8),
        (277, 3, 1), (278, 4, size[1]), (279, 4, len(values)), (339, 3, kind),
    ]  # fmt: skip
    directory = b"".join(struct.pack("<HHII", tag, form, 1, value) for tag, form, value in tags)
    head = struct.pack("<2sHI", b"II", 42, 8 + len(values))
    return head + values + struct.pack("<H", len(tags)) + directory + bytes(4)


NAN, INFINITY = float("nan"), float("inf")


@pytest.mark.parametrize("odd", [NAN, INFINITY, -INFINITY])
@pytest.mark.parametrize("white", [1.0, 255.0, 65535.0])
def test_a_value_that_is_not_finite_is_black_and_spoils_no_other(odd, white):
    """One NaN of a depth map made all of it black."""
    data = grey_tiff(struct.pack("<4f", 0, odd, white / 2, white), (2, 2), bits=32, kind=3)
    image = open_upright(data)

    assert [0, 0, 128, 255] == [cast("tuple", image.getpixel(at))[0] for at in ((0, 0), (1, 0), (0, 1), (1, 1))]


@pytest.mark.parametrize(
    ("values", "bits", "kind"),
    [
        (struct.pack("<4B", 0, 64, 128, 255), 8, 1), (struct.pack("<4H", 0, 64 * 257, 128 * 257, 65535), 16, 1),
        (struct.pack("<4f", 0, 64 / 255, 128 / 255, 1), 32, 3),
    ],
)  # fmt: skip
def test_white_is_zero(values, bits, kind):
    """TIFF's negatives are turned into positives at every depth."""
    positive, negative = (
        open_upright(grey_tiff(values, (2, 2), bits=bits, kind=kind, photometric=photometric)) for photometric in (1, 0)
    )

    assert [0, 64, 128, 255] == [pixel[0] for pixel in cast("tuple", positive.get_flattened_data())]
    assert [255, 191, 127, 0] == [pixel[0] for pixel in cast("tuple", negative.get_flattened_data())]


@pytest.mark.parametrize("kind", [b"zTXt", b"iTXt"])
def test_a_png_with_much_text_opens(kind):
    """What a drawing program writes beside the pixels is not read, however long it is."""
    text = zlib.compress(b"x" * 3_000_000)
    body = b"k\0\0" + text if kind == b"zTXt" else b"k\0\1\0\0\0" + text
    chunk = struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
    data = encoded(plain(), "PNG")
    data = data[:33] + chunk + data[33:]

    assert (64, 48) == open_upright(data).size
    assert 64 == prepare(data, imgsz=64, name="a").width


@pytest.mark.parametrize(("imgsz", "longer"), [(321, 352), (320, 320), (33, 64), (2047, 2048)])
def test_an_image_is_shrunk_to_what_the_worker_uses(imgsz, longer):
    """A model's input is a multiple of 32."""
    assert longer == prepare(encoded(plain(size=(4000, 300)), "PNG"), imgsz=imgsz, name="a").sent_width


def xmp(orientation: int) -> bytes:
    return b'<x:xmpmeta><rdf:Description tiff:Orientation=\'%d\' x="" tiff:Orientation="%d"/></x:xmpmeta>' % (
        (orientation,) * 2
    )


@pytest.mark.parametrize("kind", ["JPEG", "WEBP", "TIFF"])
@pytest.mark.parametrize("imgsz", [640, 32])
def test_an_orientation_in_xmp_alone_turns_nothing(kind, imgsz):
    """As Ultralytics, whose OpenCV reads EXIF only; and it does not travel to whoever would turn the image again."""
    options = {"tiffinfo": {700: xmp(6)}} if kind == "TIFF" else {"xmp": xmp(6)}
    data = encoded(plain(), kind, **options)
    prepared = prepare(data, imgsz=imgsz, name="a")

    assert 6 == Image.open(io.BytesIO(data)).getexif()[0x0112]
    assert (64, 48) == (prepared.width, prepared.height) == open_upright(data).size
    assert b"Orientation" not in prepared.jpeg


@pytest.mark.parametrize("size", [(64, 48), (1000, 500)])
@pytest.mark.parametrize("progressive", [False, True])
def test_nothing_but_pixels_is_sent_of_a_jpeg(size, progressive):
    """Neither where it was taken, nor by whom, nor what a phone hangs on its end."""
    exif = Image.Exif()
    exif.get_ifd(0x8825)[1] = "secret"
    image = Image.effect_noise(size, 60).convert("RGB")
    options = {"quality": 80, "progressive": progressive}
    data = encoded(image, "JPEG", exif=exif, xmp=b"secret", comment=b"secret", icc_profile=b"secret" * 30, **options)
    data += b"secret film"
    sent = prepare(data, imgsz=640, name="a").jpeg

    assert data.count(b"secret") >= 5
    assert b"secret" not in sent
    if size == (64, 48):
        assert encoded(image, "JPEG", **options) == sent


@pytest.mark.parametrize(("mode", "kind"), [("RGB", "JPEG"), ("RGB", "PNG"), ("L", "PNG"), ("CMYK", "JPEG")])
def test_what_is_saved_is_srgb(mode, kind):
    """A profile is applied, as viewers do, and not written on."""
    space = {"L": b"GRAY", "RGB": b"RGB ", "CMYK": b"CMYK"}[mode]
    profile = linear_profile(space)
    data = encoded(Image.new("RGB", (8, 8), (128, 128, 128)).convert(mode), kind, icc_profile=profile)
    saved = open_upright(data)

    assert "RGB" == saved.mode
    assert {} == saved.info
    # Half of the light is 188 in sRGB (IEC 61966-2-1).  Nobody may make a profile for ink from nothing: it is refused.
    assert is_near((188,) * 3 if mode != "CMYK" else (128,) * 3, saved.getpixel((3, 3)), within=2)


def linear_profile(space: bytes) -> bytes:
    """An ICC profile (version 2) whose values are light itself, with sRGB's primaries."""

    def xyz(*values: float) -> bytes:
        return b"XYZ " + bytes(4) + b"".join(struct.pack(">i", round(value * 65536)) for value in values)

    curve = b"curv" + bytes(4) + struct.pack(">I", 0)
    name = b"desc" + bytes(4) + struct.pack(">I", 7) + b"linear\0" + bytes(78)
    tags = {b"desc": name, b"wtpt": xyz(0.9642, 1.0, 0.8249)}
    if space == b"GRAY":
        tags[b"kTRC"] = curve
    else:
        tags |= {b"rXYZ": xyz(0.4361, 0.2225, 0.0139), b"gXYZ": xyz(0.3851, 0.7169, 0.0971)}
        tags |= {b"bXYZ": xyz(0.1431, 0.0606, 0.7141), b"rTRC": curve, b"gTRC": curve, b"bTRC": curve}
    at, table, body = 132 + 12 * len(tags), b"", b""
    for tag, value in tags.items():
        table += tag + struct.pack(">II", at + len(body), len(value))
        body += value + bytes(-len(value) % 4)
    head = struct.pack(">I4sI4s4s4s", at + len(body), b"lcms", 0x02400000, b"mntr", space, b"XYZ ")
    head += bytes(12) + b"acsp" + bytes(28) + struct.pack(">iii", 63190, 65536, 54061)
    return head.ljust(128, b"\0") + struct.pack(">I", len(tags)) + table + body


def test_an_animation_gives_its_first_frame():
    """The later frames are not looked at."""
    frames = [Image.new("RGB", (16, 16), colour) for colour in (ORANGE, (0, 0, 255))]
    data = encoded(frames[0], "GIF", save_all=True, append_images=frames[1:])

    assert is_near(ORANGE, open_upright(data).getpixel((3, 3)))


@pytest.mark.parametrize("kind", ["JPEG", "PNG"])
@pytest.mark.parametrize(
    ("size", "imgsz", "sent"),
    [
        ((1280, 720), 640, (640, 360)), ((720, 1280), 640, (360, 640)), ((1921, 1081), 640, (640, 360)),
        ((641, 3), 640, (640, 3)), ((3000, 1), 64, (64, 1)), ((640, 640), 640, (640, 640)), ((100, 50), 640, (100, 50)),
    ],
)  # fmt: skip
def test_the_longer_side_becomes_exactly_what_the_model_sees(kind, size, imgsz, sent):
    """Large images shrink in proportion; small ones stay."""
    prepared = prepare(encoded(plain(size=size), kind), imgsz=imgsz, name="a")

    assert PreparedImage(prepared.jpeg, *size, *sent) == prepared
    assert sent == opened(prepared).size


@pytest.mark.parametrize("mode", ["RGB", "L"])
def test_a_small_upright_jpeg_is_sent_as_it_is(mode):
    """No second loss for an image that needs nothing."""
    data = encoded(plain(mode), "JPEG", quality=70)

    assert data == prepare(data, imgsz=640, name="a").jpeg


def test_threads_prepare_alike():
    """Many images are prepared at once, each as it would be alone."""
    images = [marked(orientation, kind) for orientation in range(1, 9) for kind in ("JPEG", "PNG", "TIFF")] * 4

    with ThreadPoolExecutor(8) as pool:
        together = list(pool.map(lambda data: prepare(data, imgsz=48, name="a"), images))

    assert [prepare(data, imgsz=48, name="a") for data in images] == together


def test_metadata_does_not_travel():
    """Where and with what an image was taken is not the worker's business."""
    exif = Image.Exif()
    exif[0x010F] = "Camera maker"
    data = encoded(plain(size=(1000, 500)), "JPEG", exif=exif, comment=b"private")

    sent = opened(prepare(data, imgsz=640, name="a"))

    assert not sent.getexif()
    assert "comment" not in sent.info


def marked(orientation: int, kind: str) -> bytes:
    """A 96x64 image as displayed, dark but for a white block at (72..88, 8..24), stored as the orientation says."""
    shown = Image.new("RGB", (96, 64), (20, 20, 20))
    shown.paste((255, 255, 255), (72, 8, 88, 24))
    inverse = {
        2: Image.Transpose.FLIP_LEFT_RIGHT, 3: Image.Transpose.ROTATE_180, 4: Image.Transpose.FLIP_TOP_BOTTOM,
        5: Image.Transpose.TRANSPOSE, 6: Image.Transpose.ROTATE_90,
        7: Image.Transpose.TRANSVERSE, 8: Image.Transpose.ROTATE_270,
    }  # fmt: skip
    stored = shown.transpose(inverse[orientation]) if orientation in inverse else shown
    exif = Image.Exif()
    exif[0x0112] = orientation
    return encoded(stored, kind, exif=exif, **({"quality": 95} if kind == "JPEG" else {}))


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF"])
@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("imgsz", [640, 48])
def test_images_are_sent_the_way_they_are_displayed(kind, orientation, imgsz):
    """Whatever the EXIF orientation, the mark is where a viewer shows it, at full size and shrunk."""
    data = marked(orientation, kind)
    prepared = prepare(data, imgsz=imgsz, name="a")

    scale = prepared.sent_width / 96
    sent = opened(prepared).convert("RGB")
    assert (96, 64) == (prepared.width, prepared.height)
    assert (prepared.sent_width, prepared.sent_height) == sent.size
    assert is_near((255, 255, 255), sent.getpixel((int(80 * scale), int(16 * scale))), within=12)
    assert is_near((20, 20, 20), sent.getpixel((int(16 * scale), int(48 * scale))), within=12)
    assert is_near((255, 255, 255), open_upright(data).getpixel((80, 16)), within=12)


@pytest.mark.filterwarnings("ignore:Corrupt EXIF")
def test_broken_exif_does_not_spoil_an_image():
    """An image whose metadata is damaged is still an image."""
    data = encoded(plain(), "JPEG", exif=b"Exif\0\0MM\0*\0\0\0\x08\xff\xff\x01\x12")

    assert (64, 48) == open_upright(data).size
    assert 64 == prepare(data, imgsz=640, name="a").width


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "TIFF", "WEBP", "GIF", "BMP"])
def test_a_truncated_image_is_refused_by_name(kind):
    """Half a download is an error, never half a result."""
    whole = encoded(Image.effect_noise((200, 200), 80).convert("RGB"), kind)

    with failing("media_error", "holiday.jpg: ", varies=True) as caught:
        prepare(whole[: len(whole) // 2], imgsz=640, name="holiday.jpg")
    assert "\n" not in caught.value.message


@pytest.mark.parametrize(
    "data", [b"", b"hello", b"\0" * 1000, b"<svg xmlns='http://www.w3.org/2000/svg'/>", b"%!PS-Adobe-3.0 EPSF-3.0\n"]
)
def test_what_is_no_image_is_refused_by_name(data):
    """Text, zeros, SVG and PostScript are not handed to any decoder."""
    with failing("media_error", "notes.txt: ", "not an image", varies=True):
        prepare(data, imgsz=640, name="notes.txt")


def png_header(width: int, height: int) -> bytes:
    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")


def test_a_decompression_bomb_is_refused():
    """A few bytes that claim gigapixels are refused before a pixel is decoded."""
    with failing("media_error", "bomb.png: ", "pixels"):
        prepare(png_header(60_000, 60_000), imgsz=640, name="bomb.png")


def test_an_image_of_no_pixels_is_refused():
    """0x0 is not an image."""
    with failing("media_error", "none.png: ", varies=True):
        prepare(png_header(0, 0), imgsz=640, name="none.png")


SAMPLES = [
    encoded(Image.effect_noise((40, 30), 60).convert("RGB"), "JPEG"),
    encoded(plain("CMYK", (40, 30)), "JPEG"),
    encoded(plain("P", (40, 30)), "PNG"),
    encoded(Image.new("I;16", (20, 20), 900), "PNG"),
    encoded(plain(size=(40, 30)), "TIFF", compression="tiff_lzw"),
    encoded(Image.new("F", (20, 20), 0.5), "TIFF"),
    encoded(plain("P", (40, 30)), "GIF"),
    encoded(plain(size=(40, 30)), "WEBP"),
    encoded(plain(size=(40, 30)), "BMP"),
    marked(6, "JPEG"),
    marked(6, "TIFF"),
]


def read_or_refused(data: bytes) -> None:
    with suppress(MediaError):
        prepared = prepare(data, imgsz=32, name="x")
        assert (prepared.sent_width, prepared.sent_height) == opened(prepared).size
        opened(prepared).load()
    with suppress(MediaError):
        open_upright(data, name="x")


@given(st.binary(max_size=200))
def test_no_bytes_make_a_traceback(data):
    """Anything may be given as an image."""
    read_or_refused(data)


@pytest.mark.filterwarnings("ignore")  # Pillow warns of the damage that is done here on purpose
@settings(max_examples=400, suppress_health_check=[HealthCheck.too_slow], deadline=None)
@given(
    st.sampled_from(SAMPLES),
    st.lists(st.tuples(st.integers(0, 4000), st.integers(0, 255)), max_size=8),
    st.integers(0, 400),
)
def test_no_damage_makes_a_traceback(sample, changes, cut):
    """Real images with bytes overwritten and the end cut off are read or refused."""
    damaged = bytearray(sample)
    for position, value in changes:
        damaged[position % len(damaged)] = value
    read_or_refused(bytes(damaged[: max(1, len(damaged) - cut % len(damaged))]))


@pytest.mark.parametrize(
    ("size", "max_pixels", "expected"),
    [((2000, 1000), 500_000, (1000, 500)), ((64, 48), 64 * 48, (64, 48)), ((3000, 4000), 1_048_576, (886, 1182))],
)
def test_an_image_for_a_language_model_is_shrunk_to_its_pixels(size, max_pixels, expected):
    """What counts is the number of pixels, whatever the sides; the image keeps its shape."""
    prepared = prepare_within(encoded(plain(size=size), "PNG"), max_pixels=max_pixels, name="a")

    assert (*size, *expected) == (prepared.width, prepared.height, prepared.sent_width, prepared.sent_height)
    assert expected == opened(prepared).size


@given(
    st.tuples(st.integers(1, 10**6), st.integers(1, 10**6)),
    st.integers(1, 2 * 10**6),
)
def test_no_image_is_larger_than_its_limit(size, max_pixels):
    """Not even one that is a single line; and none vanishes."""
    width, height = fit_within(size, max_pixels)

    assert 1 <= width * height <= max_pixels
    assert (width, height) == fit_within((width, height), max_pixels)
    assert is_too_long(size) or not is_too_long((width, height))


@pytest.mark.parametrize(
    ("size", "sent"),
    [((19900, 100), (14400, 72)), ((6400, 32), (6400, 32)), ((10, 10), (32, 32)), ((1000, 10), (3200, 32)),
     ((31, 62), (32, 64)), ((1, 1), (32, 32))],
)  # fmt: skip
def test_a_language_models_processor_takes_every_image(size, sent):
    """None becomes too long for it by being shrunk, and none is smaller than a token."""
    prepared = prepare_within(encoded(plain(size=size), "PNG"), max_pixels=1_048_576, name="a")

    assert (*size, *sent) == (prepared.width, prepared.height, prepared.sent_width, prepared.sent_height)
    assert sent == opened(prepared).size


def test_a_small_upright_jpeg_is_passed_to_a_language_model_as_it_is():
    """Byte for byte: what a camera has compressed once is not compressed again."""
    data = encoded(plain(), "JPEG", quality=50)

    assert data == prepare_within(data, max_pixels=64 * 48, name="a").jpeg


def test_a_turned_image_is_upright_and_within_its_pixels():
    """The sizes told are those of the image as people see it."""
    exif = Image.Exif()
    exif[0x0112] = 6
    prepared = prepare_within(encoded(plain(size=(200, 100)), "JPEG", exif=exif), max_pixels=5000, name="a")

    assert (100, 200, 50, 100) == (prepared.width, prepared.height, prepared.sent_width, prepared.sent_height)
    assert (50, 100) == opened(prepared).size


@pytest.mark.parametrize("mode", ["RGBA", "LA", "P"])
def test_what_is_transparent_is_white_for_a_language_model(mode):
    """A drawing without a background looks as it does on paper, not black on black."""
    drawing = Image.new("RGBA", (40, 40), (0, 0, 0, 0))
    drawing.paste((0, 0, 0, 255), (0, 0, 20, 40))
    prepared = prepare_within(encoded(drawing.convert(mode), "PNG"), max_pixels=10**6, name="a")

    assert is_near((0, 0, 0), opened(prepared).convert("RGB").getpixel((5, 20)))
    assert is_near((255, 255, 255), opened(prepared).convert("RGB").getpixel((35, 20)))


def test_what_is_no_image_is_named_to_a_language_model_too(monkeypatch):
    """One sentence that names the file."""
    monkeypatch.setattr(image, "FORMATS", ("JPEG", "PNG"))
    with failing("media_error", "a.png: ", "not an image", "JPEG, PNG"):
        prepare_within(b"text", max_pixels=10**6, name="a.png")
