"""What is sent to a detection worker, and how its answer is read."""

from __future__ import annotations

import base64
import math
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.failing import failing
from support.stating import stating

from vidctl.errors import ApiError, MediaError
from vidctl.media.image import PreparedImage
from vidctl.tasks.detect.codec import decode, encode, parse_classes
from vidctl.tasks.detect.model import Detection, Detections, DetectOptions
from vidctl.tasks.results import Failed

HALVED = PreparedImage(b"jpeg", 1280, 720, 640, 360)
WHOLE = PreparedImage(b"small", 100, 50, 100, 50)
PERSON = {"bbox": [10.0, 20.0, 30.0, 40.0], "confidence": 0.95, "class": 0, "class_name": "person"}


def answer(*detections: object, **more: object) -> dict[str, object]:
    return {"detections": list(detections), "count": len(detections), "inference_time": 0.045, **more}


def decoded(output: object, images: list[PreparedImage], names: list[str]) -> list[Any]:
    """What becomes of each image: its boxes, or the error in their place."""
    return decode(output, images, names)


def test_one_image_is_sent_as_the_simplest_handler_expects():
    """`image`, `conf` and `iou` are all that a hand-written worker knows; options at their defaults are not sent."""
    expected = {"image": base64.b64encode(b"jpeg").decode(), "conf": 0.25, "iou": 0.7, "imgsz": 640}

    assert expected == encode([HALVED], DetectOptions())


def test_several_images_are_sent_as_a_list_with_what_was_set():
    """`images`, and each option that differs from its default."""
    options = DetectOptions(conf=0.5, classes=("person", 2), max_det=10, agnostic_nms=True)

    payload = encode([HALVED, WHOLE], options)

    assert ["anBlZw==", "c21hbGw="] == payload.pop("images")
    assert {
        "conf": 0.5, "iou": 0.7, "imgsz": 640, "classes": ["person", 2], "max_det": 10, "agnostic_nms": True,
    } == payload  # fmt: skip


@pytest.mark.parametrize(
    "options",
    [
        {"conf": -0.1}, {"conf": 1.1}, {"conf": math.nan}, {"iou": math.inf}, {"imgsz": 0}, {"imgsz": 10**6},
        {"max_det": 0}, {"classes": ("",)}, {"classes": ""}, {"classes": (-1,)}, {"classes": (True,)}, {"conf": True},
        {"imgsz": 640.5},
    ],
)  # fmt: skip
def test_options_out_of_range_are_a_usage_error(options):
    """The message names the option."""
    ((name, value),) = options.items()
    with failing("usage_error", name, *([str(value)] if name != "classes" else [])):
        DetectOptions(**options)


@pytest.mark.parametrize(
    ("text", "expected"),
    [("person,car", ("person", "car")), (" traffic light , 2,", ("traffic light", 2)), ("²", ("²",)),
     ('"1",1', ("1", 1)), ('"light, red" , 5" pipe,a"b"', ("light, red", '5" pipe', 'a"b"')),
     ('"say ""x"""', ('say "x"',)),
    ],
)  # fmt: skip
def test_classes_are_names_and_ids(text, expected):
    """Names may hold spaces, digits are ids; what stands in quotes is a name."""
    assert expected == parse_classes(text)


@pytest.mark.parametrize("text", ["", ",,", " ", " , "])
def test_classes_that_name_none_are_refused(text):
    """A typing error must not find all."""
    with failing("usage_error", f"classes: {text!r}"):
        parse_classes(text)


def test_boxes_come_back_in_original_pixels():
    """An image that was halved for the model has its boxes doubled."""
    (result,) = decoded(answer(PERSON, image_size=[640, 360], model={"name": "yolo11m"}), [HALVED], ["a.jpg"])

    expected = Detections(
        "a.jpg", 1280, 720, (Detection((20.0, 40.0, 60.0, 80.0), 0.95, 0, "person"),), 0.045, {"name": "yolo11m"}
    )
    assert expected == result


def test_the_answer_of_the_simplest_handler_is_enough():
    """No image_size, no model, no timing: still an answer; a missing name becomes the id."""
    bare = {"bbox": [1, 2, 3, 4], "confidence": 1, "class": 7}

    (result,) = decoded({"detections": [bare]}, [WHOLE], ["a.jpg"])

    assert Detections("a.jpg", 100, 50, (Detection((1.0, 2.0, 3.0, 4.0), 1.0, 7, "7"),)) == result


def test_results_keep_the_order_of_the_images():
    """One answer an image; the one the worker could not read takes its place as an error."""
    output = {"results": [answer(PERSON), {"error": "not an image"}, answer()], "model": {"name": "m"}}

    first, second, third = decoded(output, [WHOLE, WHOLE, HALVED], ["a", "b", "c"])

    assert isinstance(second, MediaError)
    stating(second.message, "b: ", "not an image")
    assert [("a", 1, {"name": "m"}), ("c", 0, {"name": "m"})] == [
        (each.source, len(each.detections), each.model) for each in (first, third)
    ]


def test_an_image_of_another_size_fails_alone():
    """What the worker saw in a size that was not sent is an error in its place; the others keep their answers."""
    output = {"results": [answer(PERSON), answer(PERSON, image_size=[320, 240]), answer()]}

    first, second, third = decoded(output, [WHOLE] * 3, ["a", "b", "c"])

    assert isinstance(second, MediaError)
    stating(second.message, "b: ", "`results[1].image_size`", "[320, 240]", "[100, 50]")
    assert [("a", 1), ("c", 0)] == [(each.source, len(each.detections)) for each in (first, third)]


def test_boxes_are_clipped_to_the_image():
    """A model may point a little outside; a file must not."""
    outside = {**PERSON, "bbox": [-3.0, -0.5, 700.0, 361.0]}

    (result,) = decoded(answer(outside), [HALVED], ["a"])

    assert (0.0, 0.0, 1280.0, 720.0) == result.detections[0].bbox


@pytest.mark.parametrize(
    ("output", "field"),
    [
        (None, "output"), ("text", "output"), ([], "output"), ({}, "output.detections"),
        ({"detections": {}}, "output.detections"),
        (answer("x"), "output.detections[0]"), (answer({}), "output.detections[0].bbox"),
        (answer({**PERSON, "bbox": [1, 2, 3]}), "output.detections[0].bbox"),
        (answer({**PERSON, "bbox": [1, 2, 3, math.nan]}), "output.detections[0].bbox"),
        (answer({**PERSON, "bbox": [1, 2, 3, 1e300]}), "output.detections[0].bbox"),
        (answer({**PERSON, "bbox": [1, 2, 3, 10**400]}), "output.detections[0].bbox"),
        (answer({**PERSON, "bbox": [1, 2, 3, True]}), "output.detections[0].bbox"),
        (answer({**PERSON, "bbox": [9, 2, 3, 4]}), "output.detections[0].bbox"),
        (answer(PERSON, {**PERSON, "confidence": 1.5}), "output.detections[1].confidence"),
        (answer({**PERSON, "confidence": None}), "output.detections[0].confidence"),
        (answer({**PERSON, "class": -1}), "output.detections[0].class"),
        (answer({**PERSON, "class": 0.5}), "output.detections[0].class"),
        (answer({**PERSON, "class_name": 3}), "output.detections[0].class_name"),
        (answer(image_size=[320, 240]), "output.image_size"), (answer(image_size="big"), "output.image_size"),
        (answer(inference_time="slow"), "output.inference_time"), (answer(model="m"), "output.model"),
        ({"error": 5}, "output.error"), ({"results": "none"}, "results"), ({"results": [None]}, "results[0]"),
    ],
)  # fmt: skip
def test_a_malformed_answer_names_the_field(output, field):
    """What is not an answer is said in one sentence."""
    with failing("api_error", f"`{field}`") as caught:
        decode(output, [WHOLE], ["a"])

    assert "\n" not in caught.value.message


@pytest.mark.parametrize(
    ("output", "facts"),
    [({"results": [answer()]}, (1, 2)), (answer(), ("`results`",)), ({"error": "no"}, ("no",)),
     ({"results": [answer()] * 3}, (3, 2))],
)  # fmt: skip
def test_another_number_of_answers_is_refused(output, facts):
    """Answers that cannot be matched to images are worth nothing."""
    with failing("api_error", *facts):
        decode(output, [WHOLE, WHOLE], ["a", "b"])


def test_results_are_given_with_the_workers_field_names():
    """What `--json` prints is what the worker's documentation says, and the source."""
    result = Detections("a.jpg", 100, 50, (Detection((1.0, 2.0, 3.0, 4.0), 0.5, 7, "truck"),), 0.1)

    assert {
        "source": "a.jpg",
        "image_size": [100, 50],
        "count": 1,
        "detections": [{"bbox": [1.0, 2.0, 3.0, 4.0], "confidence": 0.5, "class": 7, "class_name": "truck"}],
        "inference_time": 0.1,
    } == result.to_dict()
    assert {"source": "b", "error": "b: gone", "code": "media_error"} == Failed("b", MediaError("b: gone")).to_dict()


sizes = st.integers(1, 9000)


@given(sizes, sizes, st.integers(32, 2048), st.lists(st.floats(0, 1), min_size=4, max_size=4))
def test_boxes_scale_back_within_a_pixel(width, height, imgsz, corners):
    """For any image and any model size, a box of the original comes back where it was."""
    scale = min(1.0, imgsz / max(width, height))
    sent = (max(1, round(width * scale)), max(1, round(height * scale)))
    (left, right), (top, bottom) = sorted(corners[::2]), sorted(corners[1::2])
    box = [left * sent[0], top * sent[1], right * sent[0], bottom * sent[1]]

    (result,) = decoded(answer({**PERSON, "bbox": box}), [PreparedImage(b"", width, height, *sent)], ["a"])

    original = (left * width, top * height, right * width, bottom * height)
    assert all(abs(one - other) <= 1 for one, other in zip(original, result.detections[0].bbox, strict=True))


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(
        st.sampled_from(
            ["detections", "results", "error", "bbox", "confidence", "class", "class_name", "image_size", "model", "x"]
        ),
        inner,
        max_size=5,
    ),
    max_leaves=20,
)  # fmt: skip


@given(json_values, st.integers(1, 3))
def test_no_answer_makes_a_traceback(output, count):
    """Any JSON value is read or refused."""
    with suppress(ApiError):
        results = decode(output, [WHOLE] * count, ["a"] * count)

        assert count == len(results)


@given(st.lists(json_values, min_size=5, max_size=5))
def test_no_detection_makes_a_traceback(values):
    """A detection with every field present and any value in each is read or refused."""
    bbox, confidence, class_id, name, size = values
    found = {"bbox": bbox, "confidence": confidence, "class": class_id, "class_name": name}
    with suppress(ApiError):
        decode(answer(found, image_size=size), [WHOLE], ["a"])
    with suppress(ApiError):
        decode(answer({**PERSON, "confidence": confidence, "class": class_id}), [WHOLE], ["a"])
