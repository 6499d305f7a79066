"""What a job may ask of the yolo worker; pure, so checked here without its environment."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.stating import stating

COCO = {0: "person", 1: "bicycle", 2: "car", 3: "motorcycle", 5: "bus"}
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=5,
)
FIELDS = ("image", "images", "conf", "iou", "classes", "imgsz", "max_det", "agnostic_nms")


@pytest.fixture(scope="module")
def jobinput(yolo_module):
    return yolo_module("jobinput")


@pytest.fixture
def parse(jobinput):
    return lambda **fields: jobinput.parse(fields, names=COCO, imgsz=640)


def test_a_request_of_the_guide_is_understood(parse, jobinput):
    """image, conf, iou and classes as the guide writes them; an empty classes list means all."""
    request = parse(image="aGk=", conf=0.25, iou=0.7, classes=[])

    assert jobinput.Request(("aGk=",), False, jobinput.Options(conf=0.25, iou=0.7, classes=(), imgsz=640)) == request


def test_defaults_hold_for_what_is_not_sent_or_null(parse):
    """null is the same as nothing, for clients that send every field."""
    assert parse(image="x") == parse(image="x", conf=None, iou=None, classes=None, imgsz=None, agnostic_nms=None)


@pytest.mark.parametrize(
    ("wanted", "ids"),
    [("Car", (1,)), ("car", (2,)), ("CAR", (1,)), ("1", (0,)), (1, (1,)), (" bus", (4,)), ("bus", (3,)), ("Bus", (3,))],
)
def test_the_very_name_comes_before_one_that_is_like_it(jobinput, wanted, ids):
    """Models have classes `Car` and `car`, and classes whose name is a number."""
    names = {0: "1", 1: "Car", 2: "car", 3: "bus", 4: " bus"}

    assert ids == jobinput.parse({"image": "x", "classes": [wanted]}, names=names, imgsz=640).options.classes


def test_classes_are_ids_or_names(parse):
    """Names in any case, ids, both; each once."""
    assert (0, 2, 5) == parse(image="x", classes=["Car", 0, "PERSON", " bus ", 2]).options.classes
    assert (2,) == parse(image="x", classes="car").options.classes


def test_imgsz_is_rounded_up_to_what_the_model_can_see(parse):
    """Ultralytics' strides are 32."""
    assert [32, 352, 640, 2048] == [parse(image="x", imgsz=size).options.imgsz for size in (32, 333, 640, 2048)]


def test_fields_of_others_are_ignored(parse):
    """A client may send what it needs to find its image again."""
    assert parse(image="x") == parse(image="x", frame=7, camera={"name": "door"})


@pytest.mark.parametrize(
    ("fields", "facts"),
    [
        ({}, ["image", "images"]),
        ({"image": ""}, ["image", "images"]),
        ({"image": "x", "images": ["x"]}, ["image", "images"]),
        ({"images": []}, ["images", "empty"]),
        ({"images": "x"}, ["images", "list", "text"]),
        ({"images": ["x"] * 65}, ["images", "65", "64"]),
        ({"image": "x", "conf": math.nan}, ["conf", "0 to 1", "nan"]),
        ({"image": "x", "conf": -0.1}, ["conf", "0 to 1", "-0.1"]),
        ({"image": "x", "iou": 7}, ["iou", "0 to 1", "7"]),
        ({"image": "x", "iou": "0.7"}, ["iou", "number", "0 to 1", "text"]),
        ({"image": "x", "conf": True}, ["conf", "number", "0 to 1", "boolean"]),
        ({"image": "x", "max_det": 0}, ["max_det", "1 to 1000", "0"]),
        ({"image": "x", "max_det": 1.5}, ["max_det", "whole number", "1.5"]),
        ({"image": "x", "imgsz": 100_000}, ["imgsz", "32 to 2048", "100000"]),
        ({"image": "x", "agnostic_nms": "yes"}, ["agnostic_nms", "true or false", "text"]),
        ({"image": "x", "classes": ["bycicle"]}, ["'bycicle'", "did you mean bicycle?"]),
        ({"image": "x", "classes": "zebra"}, ["'zebra'", "person, bicycle, car, motorcycle, bus"]),
        ({"image": "x", "classes": [99]}, ["99", "0 to 5"]),
        ({"image": "x", "classes": {"a": 1}}, ["classes", "names", "whole numbers", "object"]),
    ],
)
def test_a_mistake_is_one_sentence(parse, jobinput, fields, facts):
    """Each names the field and the rule."""
    with pytest.raises(jobinput.BadInputError) as caught:
        parse(**fields)

    stating(str(caught.value), *facts)


@given(data=st.data())
def test_no_json_breaks_the_parser(jobinput, data):
    """Whatever a job holds, it is a request or a sentence."""
    fields = data.draw(JSON | st.fixed_dictionaries({}, optional=dict.fromkeys(FIELDS, JSON)))
    sentence, options = _outcome(jobinput, fields)

    assert bool(sentence) != (options is not None)
    assert "\n" not in sentence
    assert options is None or (0 <= options.conf <= 1 and options.imgsz % 32 == 0 and set(options.classes) <= set(COCO))


def _outcome(jobinput, fields):
    """The sentence that refuses these fields, or the options they give."""
    try:
        return "", jobinput.parse(fields, names=COCO, imgsz=640).options
    except jobinput.BadInputError as error:
        return str(error), None
