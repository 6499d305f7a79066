"""What a script may give to `Client`, and that whatever it gives wrong is a VidctlError before anything is sent."""

import enum
import io
import json
import pathlib
from typing import Any

import numpy as np
import pytest
from PIL import Image
from support.endpoint import answering
from support.failing import failing
from support.scripted import ok, serving
from support.shapes import draw, encoded

import vidctl
from vidctl import Client, VidctlError, errors
from vidctl.media import given
from vidctl.media.kinds import IMAGES
from vidctl.media.sources import opened, read
from vidctl.tasks.results import Failed


class Answer(enum.Enum):
    YES = "yes"
    NO = "no"


ANY_CLIENT: Any = Client  # takes whatever is given


@pytest.fixture
def client(tmp_path, monkeypatch):
    """A client of an endpoint that must not be asked: nobody listens there."""
    (tmp_path / "frame.jpg").write_bytes(encoded(draw(seed=1)[0]))
    monkeypatch.setenv("RUNPOD_API_KEY", "k")
    monkeypatch.setenv("RUNPOD_ENDPOINT_BASE_URL", "http://127.0.0.1:9")
    monkeypatch.chdir(tmp_path)
    return Client(target="runpod", endpoint_id="ep", project=tmp_path)


WRONG = {
    "a source that is none": lambda c: c.detect(None),
    "a number": lambda c: c.detect(5),
    "no list": lambda c: list(c.detect_many(None)),
    "a number in what is asked about together": lambda c: list(
        c.describe_many(["frame.jpg", 5], "what?", together=True)
    ),
    "a file open for text": lambda c: c.detect(io.StringIO("x")),
    "an array of floats": lambda c: c.detect(np.zeros((4, 4, 3))),
    "an array of the wrong shape": lambda c: c.detect(np.zeros((3, 4, 4, 4), np.uint8)),
    "an empty array": lambda c: c.detect(np.zeros((0, 4, 3), np.uint8)),
    "text for a number": lambda c: c.detect("frame.jpg", conf="high"),
    "None for a number": lambda c: c.detect("frame.jpg", conf=None),
    "a list for a number": lambda c: c.detect("frame.jpg", imgsz=[640, 480]),
    "a number that is not whole": lambda c: c.detect("frame.jpg", max_det=1.5),
    "text for a flag": lambda c: c.detect("frame.jpg", agnostic_nms="yes"),
    "a number for classes": lambda c: c.detect("frame.jpg", classes=1.5),
    "a float as a class": lambda c: c.detect("frame.jpg", classes=[1.5]),
    "an unknown option": lambda c: c.detect("frame.jpg", confidence=0.5),
    "bytes for a language": lambda c: c.transcribe("frame.jpg", language=b"en"),
    "a number for a language": lambda c: c.transcribe("frame.jpg", language=5),
    "a list as a task": lambda c: c.transcribe("frame.jpg", task=["translate"]),
    "text for the beam": lambda c: c.transcribe("frame.jpg", beam_size="5"),
    "a number for the prompt": lambda c: c.transcribe("frame.jpg", initial_prompt=5),
    "a list as extra": lambda c: c.transcribe("frame.jpg", extra=[1]),
    "an unknown option of transcribe": lambda c: c.transcribe("frame.jpg", word_timestamp=True),
    "no prompt": lambda c: c.describe("frame.jpg", 5),
    "a list as a prompt": lambda c: c.describe("frame.jpg", ["what?"]),
    "text for tokens": lambda c: c.describe("frame.jpg", "what?", max_tokens="5"),
    "a number to stop at": lambda c: c.describe("frame.jpg", "what?", stop=5),
    "numbers to stop at": lambda c: c.describe("frame.jpg", "what?", stop=[5]),
    "numbers to choose from": lambda c: c.describe("frame.jpg", "what?", choices=[1, 2]),
    "a list as a schema": lambda c: c.describe("frame.jpg", "what?", schema=[1]),
    "a number as a regex": lambda c: c.describe("frame.jpg", "what?", regex=5),
    "words as moments": lambda c: c.describe("clip.mp4", "what?", at_s=["soon"]),
    "text for a rate": lambda c: c.describe("clip.mp4", "what?", fps="1"),
    "an unknown option of describe": lambda c: c.describe("frame.jpg", "what?", max_token=5),
    "text for a time-out": lambda _: Client(timeout_s="soon"),
    "no time at all": lambda _: Client(timeout_s=0),
    "an unknown option of a client": lambda _: ANY_CLIENT(timeout=5),
    "a number as an endpoint": lambda _: ANY_CLIENT(endpoint=5),
    "a list as an endpoint": lambda _: ANY_CLIENT(endpoint=["yolo"]),
    "a number as an id": lambda _: ANY_CLIENT(endpoint_id=5),
    "no project": lambda _: Client(project=None),
    "no path as a project": lambda _: Client(project="a\0b"),
    "a number as a preset": lambda c: c.describe("frame.jpg", preset=5),
    "what describe does anyway": lambda c: c.describe("frame.jpg", "what?", together=True),
    "what describe_stream does anyway": lambda c: c.describe_stream("frame.jpg", "what?", together=True),
    "nobody to tell": lambda c: c.transcribe("frame.jpg", on_progress=5),
}


@pytest.mark.parametrize("call", WRONG.values(), ids=WRONG)
def test_whatever_is_given_wrong_is_a_usage_error(client, call):
    with failing("usage_error", varies=True) as caught:
        call(client)

    assert 2 == caught.value.exit_status


def test_a_closed_file_is_an_error(tmp_path):
    """Of an image, and of audio, which is kept on disk for the while."""
    (tmp_path / "frame.jpg").write_bytes(b"x")
    with (tmp_path / "frame.jpg").open("rb") as file:
        pass
    (source,) = given.sources(file, IMAGES)
    with failing("media_error", "frame.jpg: ", "closed", varies=True):
        read(source, fetch=str.encode)
    with (
        failing("media_error", "frame.jpg: ", "closed", varies=True),
        opened(source, fetch_into=print),
    ):
        pass


@pytest.mark.parametrize(
    ("call", "meant"),
    [
        ("an unknown option", "conf"),
        ("an unknown option of transcribe", "word_timestamps"),
        ("an unknown option of describe", "max_tokens"),
        ("an unknown option of a client", "timeout_s"),
    ],
)
def test_a_wrong_keyword_names_the_right_one(client, call, meant):
    with failing("usage_error", meant, varies=True) as caught:
        WRONG[call](client)

    assert meant in caught.value.hint


@pytest.mark.parametrize(
    ("written", "plain"),
    [
        ({"classes": None}, ()),
        ({"classes": (name for name in ["a", "b"])}, ("a", "b")),
        ({"classes": {"a"}}, ("a",)),
        ({"classes": "a"}, ("a",)),
        ({"classes": Answer}, ("yes", "no")),
        ({"classes": np.array([1, 2])}, (1, 2)),
        ({"conf": np.float64(0.5), "max_det": np.int64(7)}, ()),
        ({"agnostic_nms": np.bool_(True)}, ()),
    ],
)
def test_options_are_taken_as_python_writes_them(written, plain):
    options = vidctl.DetectOptions(**written)

    assert plain == options.classes
    assert {int, float, bool} >= {type(getattr(options, name)) for name in written if name != "classes"}
    json.dumps(options.classes)


def image():
    """Blue on the left, red on the right."""
    shown = Image.new("RGB", (8, 4), (0, 0, 255))
    shown.paste((255, 0, 0), (4, 0, 8, 4))
    return shown


def in_bgr():
    return np.asarray(image())[..., ::-1]


def of_file(tmp_path):
    path = tmp_path / "i.png"
    image().save(path)
    return path


@pytest.mark.parametrize(
    "given_as",
    [
        lambda path: path,
        str,
        lambda path: path.read_bytes(),
        lambda path: bytearray(path.read_bytes()),
        lambda path: memoryview(path.read_bytes()),
        lambda path: io.BytesIO(path.read_bytes()),
        lambda path: path.open("rb"),
        lambda _: image(),
        lambda _: in_bgr(),
        lambda _: np.dstack([in_bgr(), np.full((4, 8), 255, np.uint8)]),
    ],
    ids=["path", "text", "bytes", "bytearray", "memoryview", "BytesIO", "open file", "Pillow", "BGR", "BGRA"],
)
def test_an_image_is_the_same_however_it_is_given(tmp_path, given_as):
    (source,) = given.sources(given_as(of_file(tmp_path)), IMAGES)
    data = source.data or (source.stream.read() if source.stream else source.path.read_bytes())
    if source.stream:
        source.stream.close()

    assert image().tobytes() == Image.open(io.BytesIO(data)).convert("RGB").tobytes()


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGBA", "CMYK", "YCbCr", "HSV", "I", "I;16", "F"])
def test_an_image_of_pillows_is_taken_in_every_mode(mode):
    shown = image().convert("L").convert(mode) if mode in ("I", "I;16", "F") else image().convert(mode)
    if mode == "RGBA":
        shown.info["exif"] = b"secret place"
    (source,) = given.sources(shown, IMAGES)

    assert (8, 4) == Image.open(io.BytesIO(source.data)).size
    assert b"secret place" not in source.data


def test_one_name_is_one_image(client, tmp_path, monkeypatch):
    """And not each letter of it: `.` would be every image in the folder."""
    (tmp_path / "other.jpg").write_bytes((tmp_path / "frame.jpg").read_bytes())
    with serving(lambda _: ok({"id": "j", "status": "FAILED", "error": "no"})) as server:
        monkeypatch.setenv("RUNPOD_ENDPOINT_BASE_URL", server.url)
        asking = Client(target="runpod", endpoint_id="ep", project=tmp_path)
        found = list(asking.detect_many("frame.jpg"))

    assert ["frame.jpg"] == [each.source.name for each in found]


@pytest.mark.parametrize("task", ["detect", "transcribe", "describe"])
def test_what_is_no_source_does_not_cost_the_rest(tmp_path, task):
    """A missing file, an empty folder, a list that is none, a number and nothing at all: each fails in its place."""
    (tmp_path / "empty").mkdir()
    with answering(tmp_path) as endpoint, pytest.MonkeyPatch.context() as patch:
        endpoint.image("frame.jpg")
        endpoint.audio("talk.wav")
        patch.chdir(tmp_path)
        for name, value in endpoint.environ.items():
            patch.setenv(name, value)
        good = "talk.wav" if task == "transcribe" else "frame.jpg"
        many = ["missing.jpg", good, "empty", 5, "@missing.txt", "", None, np.zeros((0, 4, 3), np.uint8), good]
        ask = getattr(Client(endpoint_id="ep"), f"{task}_many")
        results = [each.result for each in ask(many)]
        nothing = [each.result for each in ask(["empty", 5])]

    assert [1, 8] == [n for n, result in enumerate(results) if not isinstance(result, Failed)]
    codes = [result.error.code for result in results if isinstance(result, Failed)]
    assert ["media_error", "media_error", "usage_error", "media_error", *["usage_error"] * 3] == codes
    assert [("empty", "media_error"), ("int", "usage_error")] == [(each.source, each.error.code) for each in nothing]


def test_every_error_is_exported():
    there = {name for name, each in vars(errors).items() if isinstance(each, type) and issubclass(each, VidctlError)}

    assert there <= set(vidctl.__all__)
    assert all(getattr(vidctl, name) is getattr(errors, name) for name in there)


def test_paths_are_of_any_kind(tmp_path):
    (source,) = given.sources(pathlib.PurePath(of_file(tmp_path)), IMAGES)

    assert tmp_path / "i.png" == source.path
