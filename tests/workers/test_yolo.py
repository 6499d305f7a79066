"""The yolo worker's handler in its own environment, on images whose shapes are known."""

from __future__ import annotations

import base64
import json
import os
import struct
import subprocess
import threading
import zlib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image, ImageOps
from support import shapes
from support.servers import serving

from vidctl.media.image import open_upright
from vidctl.tasks.detect.formats import save_txt, to_coco
from vidctl.tasks.detect.model import Detection, Detections

pytestmark = pytest.mark.model

ROOT = Path(__file__).resolve().parents[2]
YOLO = ROOT / "workers/yolo"
ORIENTATION = 0x0112


def sent(image: Image.Image | bytes, kind: str = "PNG", **options: object) -> str:
    data = image if isinstance(image, bytes) else shapes.encoded(image, kind, **options)
    return base64.b64encode(data).decode()


def found(answer, truth, least=0.7):
    """Those of the known shapes that the answer has, by class and place."""
    return [
        shape
        for shape in truth
        if any(
            one["class_name"] == shape.name and shapes.overlap(one["bbox"], shape.box) >= least
            for one in answer["detections"]
        )
    ]


def apart(one, other):
    """How far two answers are apart: the largest difference of a box's side in pixels; infinite if boxes differ."""
    pairs = list(zip(one["detections"], other["detections"], strict=False))
    if one["count"] != other["count"] or any(a["class"] != b["class"] for a, b in pairs):
        return float("inf")
    return max((abs(x - y) for a, b in pairs for x, y in zip(a["bbox"], b["bbox"], strict=True)), default=0)


def test_a_request_of_the_guide_works_unchanged(yolo):
    """image, conf, iou, classes in; detections, count, inference_time and image_size out, of the guide's types."""
    image, truth = shapes.draw(3)
    (answer,) = yolo.ask({"image": sent(image, "JPEG"), "conf": 0.25, "iou": 0.7, "classes": []})

    assert set(truth) == set(found(answer, truth))
    assert (len(answer["detections"]), [320, 320]) == (answer["count"], answer["image_size"])
    assert answer["inference_time"] > 0
    assert all(
        {"bbox", "confidence", "class", "class_name"} == set(one)
        and shapes.NAMES[one["class"]] == one["class_name"]
        and 0.25 <= one["confidence"] <= 1
        for one in answer["detections"]
    )


def test_an_answer_says_what_gave_it_and_what_took_how_long(yolo):
    """The model and the seconds spent on each step, which add up."""
    (answer,) = yolo.ask({"image": sent(shapes.draw(3)[0])})
    timings = answer["timings"]

    assert {
        "name": "shapes",
        "task": "detect",
        "classes": 3,
        "imgsz": 320,
        "format": "openvino",
        "device": "cpu",
        "half": False,
    } == answer["model"]
    assert list(shapes.NAMES) == answer["names"]
    assert {"decode", "queue", "inference"} == set(timings)
    assert answer["inference_time"] == pytest.approx(sum(timings.values()), abs=0.001)


def test_shapes_are_found_where_they_are(yolo):
    """Of 120 drawn shapes at least 95 of 100 are found, class and place, and little else."""
    drawn = [shapes.draw(seed, plain=seed % 2 == 0) for seed in range(40)]
    (answer,) = yolo.ask({"images": [sent(image) for image, _ in drawn], "conf": 0.5})
    truths = [truth for _, truth in drawn]
    hits = sum(len(found(one, truth)) for one, truth in zip(answer["results"], truths, strict=True))
    boxes = sum(one["count"] for one in answer["results"])
    known = sum(map(len, truths))

    assert hits / known >= 0.95
    assert hits / boxes >= 0.85


def test_boxes_are_in_pixels_of_the_image_as_sent(yolo):
    """An image four times as large as the model's has boxes four times as large."""
    image, truth = shapes.draw(5, (1280, 1280))
    (answer,) = yolo.ask({"image": sent(image, "JPEG", quality=90)})

    assert (list(truth), [1280, 1280]) == (found(answer, truth), answer["image_size"])


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_is_applied(yolo, orientation):
    """Boxes are in the image as a viewer shows it, however the camera was held."""
    stored = shapes.draw(5, (480, 320))[0]
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    stored_file = sent(stored, "PNG", exif=exif)
    shown_image = stored.copy()
    shown_image.getexif()[ORIENTATION] = orientation
    shown_image = ImageOps.exif_transpose(shown_image)
    oriented, shown = yolo.ask({"image": stored_file}, {"image": sent(shown_image)})

    assert list(shown_image.size) == shown["image_size"] == oriented["image_size"]
    assert shown["count"] >= 1
    assert apart(shown, oriented) <= 1


def test_a_rotated_jpeg_is_shrunk_and_turned(yolo):
    """The fast decoding of a large JPEG and the orientation do not get into each other's way."""
    image, truth = shapes.draw(5, (1920, 1280))
    exif = Image.Exif()
    exif[ORIENTATION] = 6  # shown turned by a quarter to the right, so stored turned to the left
    stored = image.transpose(Image.Transpose.ROTATE_90)
    (answer,) = yolo.ask({"image": sent(stored, "JPEG", exif=exif, quality=90)})

    assert ([1920, 1280], list(truth)) == (answer["image_size"], found(answer, truth))


def _as_is(image):
    return image


@pytest.mark.parametrize(
    ("kind", "convert"),
    [
        ("JPEG", _as_is),
        ("JPEG", lambda image: image.convert("CMYK")),
        ("WEBP", _as_is),
        ("BMP", _as_is),
        ("TIFF", _as_is),
        ("TIFF", lambda image: image.convert("CMYK")),
        ("PNG", lambda image: image.convert("RGBA")),
        ("PNG", lambda image: image.quantize(256)),
        ("GIF", lambda image: image.quantize(256)),
    ],
    ids=["jpeg", "cmyk-jpeg", "webp", "bmp", "tiff", "cmyk-tiff", "alpha", "palette", "gif"],
)
def test_formats_and_colours_give_the_same_shapes(yolo, kind, convert):
    """What a caller saves an image as does not change what is in it."""
    image, truth = shapes.draw(9)
    options = {"quality": 95} if kind in ("JPEG", "WEBP") else {}
    (answer,) = yolo.ask({"image": sent(convert(image), kind, **options)})

    assert list(truth) == found(answer, truth)


def test_16_bit_grey_is_scaled_not_clipped(yolo):
    """A 16-bit image answers as its 8-bit self."""
    grey = shapes.draw(9, plain=True)[0].convert("L")
    deep = Image.frombytes("I;16", grey.size, b"".join(struct.pack("<H", value * 257) for value in grey.tobytes()))
    shallow, scaled = yolo.ask({"image": sent(grey)}, {"image": sent(deep)})

    assert shallow["count"] >= 1
    assert apart(shallow, scaled) <= 1


def test_what_is_transparent_is_white(yolo):
    """A cut-out is laid on white, as a browser shows it, whatever colour lies under its alpha."""
    image, truth = shapes.draw(9, plain=True)
    mask = Image.new("L", image.size, 0)
    for shape in truth:
        mask.paste(255, shape.box)
    hidden = image.copy()
    hidden.putalpha(mask)
    on_white = Image.composite(image, Image.new("RGB", image.size, "white"), mask)
    cut_out, expected = yolo.ask({"image": sent(hidden)}, {"image": sent(on_white)})

    assert apart(expected, cut_out) <= 1


LABELS = """
import sys, pathlib, yaml
from ultralytics.data.converter import convert_coco
from ultralytics.data.dataset import YOLODataset
root = pathlib.Path(sys.argv[1])
convert_coco(str(root / "coco"), save_dir=str(root / "converted"), cls91to80=False)
for folder in ("images", "labels"):
    assert (root / folder).is_dir()
data = {"names": {0: "circle", 1: "square", 2: "triangle"}, "channels": 3}
for item in YOLODataset(img_path=str(root / "images"), data=data, augment=False).labels:
    classes = item["cls"].ravel().astype(int).tolist()
    print(pathlib.Path(item["im_file"]).name, classes, item["bboxes"].astype(float).round(5).tolist())
for path in sorted((root / "converted").rglob("*.txt")):
    print(path.stem, [[round(float(word), 5) for word in line.split()] for line in path.read_text().splitlines()])
"""


def test_ultralytics_reads_what_is_written(yolo_python, tmp_path):
    """Its data set takes the label files as they are, and its converter makes the same of COCO's."""
    names = ("circle", "square", "triangle")
    found = (Detection((10, 20, 50, 80), 0.9, 2, "triangle"), Detection((0, 0, 200, 100), 0.5, 0, "circle"))
    results = [Detections("a.png", 200, 100, found, names=names), Detections("b.png", 200, 100, (), names=names)]
    for folder in ("images", "coco"):
        (tmp_path / folder).mkdir()
    for result in results:
        save_txt(result, tmp_path / "labels")
        (tmp_path / "images" / result.source).write_bytes(shapes.encoded(Image.new("RGB", (200, 100)), "PNG"))
    (tmp_path / "coco/boxes.json").write_text(to_coco(results))
    env = {**os.environ, "YOLO_CONFIG_DIR": str(tmp_path)}
    done = subprocess.run(
        [yolo_python, "-c", LABELS, tmp_path], env=env, capture_output=True, text=True, check=True, timeout=120
    )

    assert [
        "a.png [2, 0] [[0.15, 0.5, 0.2, 0.6], [0.5, 0.5, 1.0, 1.0]]",
        "b.png [] []",
        "a [[2.0, 0.15, 0.5, 0.2, 0.6], [0.0, 0.5, 0.5, 1.0, 1.0]]",
    ] == [line for line in done.stdout.splitlines() if line.startswith(("a", "b"))]


DECODE = """
import base64, json, sys, images
for line in sys.stdin:
    found = images.decode(base64.b64decode(line), 2048)
    print(json.dumps([found.size, found.pixels[:, :, ::-1].tolist()]))
"""


def odd_files():
    """What the client and the worker read differently once."""
    floats = Image.new("F", (4, 2), 0.5)
    floats.putpixel((0, 0), float("nan"))
    floats.putpixel((3, 1), 1.0)
    cut_out = Image.new("RGBA", (4, 2), (200, 0, 0, 0))
    cut_out.paste((200, 0, 0, 128), (0, 0, 2, 2))
    xmp = b"<x:xmpmeta tiff:Orientation='6'/>"
    return [
        shapes.encoded(floats, "TIFF"),
        shapes.encoded(Image.new("I;16", (4, 2), 200), "PNG"),
        shapes.encoded(Image.new("I;16", (4, 2), 60_000), "TIFF", tiffinfo={262: 0}),
        shapes.encoded(Image.new("I", (4, 2), 200), "TIFF"),
        shapes.encoded(cut_out, "PNG"),
        shapes.encoded(cut_out.convert("P"), "PNG"),
        shapes.encoded(Image.new("RGB", (4, 2), "red"), "JPEG", xmp=xmp),
        shapes.encoded(Image.new("RGB", (4, 2), "red"), "TIFF", tiffinfo={700: xmp}),
    ]


def test_worker_and_client_read_the_same_pixels(yolo_python):
    """However an image comes, the model sees the same: both have one rule."""
    lines = "".join(base64.b64encode(data).decode() + "\n" for data in odd_files())
    done = subprocess.run(
        [yolo_python, "-c", DECODE], cwd=YOLO, input=lines, capture_output=True, text=True, check=True
    )
    worker = [json.loads(line) for line in done.stdout.splitlines()]
    client = [np.asarray(open_upright(data)) for data in odd_files()]

    assert [[[4, 2], pixels.tolist()] for pixels in client] == worker


def test_the_first_frame_of_a_gif_is_what_counts(yolo):
    """An animation is answered by its first image."""
    first, truth = shapes.draw(9)
    others = [Image.new("RGB", first.size, "black") for _ in range(2)]
    (answer,) = yolo.ask({"image": sent(first, "GIF", save_all=True, append_images=others)})

    assert list(truth) == found(answer, truth)


def test_a_list_answers_as_one_by_one(yolo):
    """Images in one batch, of several sizes, answer in order and as each alone."""
    images = [sent(shapes.draw(seed, size)[0]) for seed, size in enumerate([(320, 320), (640, 360), (320, 320)] * 3)]
    together, *alone = yolo.ask({"images": images}, *({"image": one} for one in images))

    assert [one["image_size"] for one in alone] == [one["image_size"] for one in together["results"]]
    assert all(apart(one, other) <= 1 for one, other in zip(alone, together["results"], strict=True))
    assert {"results", "inference_time", "model", "names", "timings"} == set(together)


def test_jobs_at_the_same_time_do_not_mix(yolo):
    """Sixteen jobs with different options in flight: each gets the answer that it gets alone."""
    jobs = [
        {"image": sent(shapes.draw(seed)[0]), "conf": (0.25, 0.6)[seed % 2], "imgsz": (320, 384)[seed % 3 == 0]}
        for seed in range(16)
    ]
    together = yolo.ask(*jobs)
    alone = [yolo.ask(job)[0] for job in jobs]

    assert all(apart(one, other) <= 1 for one, other in zip(alone, together, strict=True))


def test_a_bad_image_does_not_lose_the_others(yolo):
    """It has an error in its place."""
    good = sent(shapes.draw(3)[0])
    (answer,) = yolo.ask({"images": [good, "@@@", good]})

    assert [False, True, False] == ["error" in one for one in answer["results"]]
    assert "image is not valid base64" == answer["results"][1]["error"]
    assert answer["results"][0]["detections"] == answer["results"][2]["detections"]


def test_options_reach_the_model(yolo):
    """classes by name, max_det, conf: what is asked for is what comes back."""
    image = sent(shapes.draw(3)[0])
    named, numbered, one, sure, nothing = yolo.ask(
        {"image": image, "classes": ["Circle"]},
        {"image": image, "classes": [0]},
        {"image": image, "max_det": 1},
        {"image": image, "conf": 0.9},
        {"image": image, "conf": 1},
    )

    assert {"circle"} == {box["class_name"] for box in named["detections"]}
    assert named["detections"] == numbered["detections"]
    assert (1, 0) == (one["count"], nothing["count"])
    assert all(box["confidence"] >= 0.9 for box in sure["detections"])


def test_agnostic_nms_lets_classes_suppress_each_other(yolo):
    """At iou 0 any two boxes that touch are one: with agnostic_nms no two boxes overlap."""
    image = sent(shapes.draw(3)[0])
    (answer,) = yolo.ask({"image": image, "conf": 0.05, "iou": 0, "agnostic_nms": True})
    boxes = [one["bbox"] for one in answer["detections"]]

    assert boxes
    assert all(shapes.overlap(a, b) < 0.02 for at, a in enumerate(boxes) for b in boxes[at + 1 :])


def _png(width: int, height: int) -> bytes:
    """A PNG in a few bytes that says it is so large."""
    chunks = (b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0), b"IDAT" + zlib.compress(b""), b"IEND")
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(chunk) - 4) + chunk + struct.pack(">I", zlib.crc32(chunk)) for chunk in chunks
    )


UNREADABLE = "image has an unsupported format; expected one of JPEG, PNG, WEBP, BMP, GIF, TIFF"
JPEG = shapes.encoded(shapes.draw(3)[0], "JPEG")
BAD = {
    "not base64": ({"image": "@@@"}, "image is not valid base64"),
    "not an image": ({"image": sent(b"hello")}, UNREADABLE),
    "cut short": ({"image": sent(JPEG[: len(JPEG) // 2])}, "image is damaged or truncated"),
    "a bomb": ({"image": sent(_png(60_000, 60_000))}, "image is larger than 100 megapixels"),
    "0 x 0": ({"image": sent(_png(0, 0))}, UNREADABLE),
    "not an object": ("image", "input must be an object with an image, not a text"),
    "a private address": ({"image": "https://127.0.0.1/a.jpg"}, "the image's URL is not on the public internet"),
}


@pytest.mark.parametrize(("job", "sentence"), BAD.values(), ids=BAD)
def test_bad_input_is_one_sentence_and_the_worker_lives_on(yolo, job, sentence):
    """The job fails, and the next one is answered."""
    refused, fine = yolo.ask(job, {"image": sent(JPEG)})

    assert {"error": sentence} == refused
    assert fine["count"] >= 1


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_no_bytes_break_the_worker(yolo, data):
    """Random bytes, and real files with bytes changed, cut or added: an answer or a sentence, no path, no traceback."""
    image = data.draw(st.binary(max_size=200) | _damaged())
    (answer,) = yolo.ask({"image": base64.b64encode(image).decode()})

    assert ("detections" in answer) != ("error" in answer)
    assert "the model failed" not in answer.get("error", "")
    assert not {"/", "\n"} & set(answer.get("error", ""))


def _damaged():
    kinds = ("JPEG", "PNG", "WEBP", "BMP", "GIF", "TIFF")
    files = st.sampled_from([shapes.encoded(shapes.draw(1, (64, 48), count=0)[0], kind) for kind in kinds])
    return st.builds(
        lambda file, at, patch, keep: (file[: at % len(file)] + patch + file[at % len(file) + len(patch) :])[:keep],
        files,
        st.integers(0, 100_000),
        st.binary(max_size=8),
        st.integers(10, 100_000),
    )


def test_data_urls_and_wrapped_base64_are_read(yolo):
    """The spellings in which images come: bare, in a data: URL, in lines of 76."""
    bare, url, wrapped = yolo.ask(
        {"image": sent(JPEG)},
        {"image": f"data:image/jpeg;base64,{sent(JPEG)}"},
        {"image": base64.encodebytes(JPEG).decode()},
    )

    assert bare["detections"] == url["detections"] == wrapped["detections"]


def test_urls_are_fetched(drive_yolo):
    """With the SDK's switch for private addresses an image may lie on a server beside the worker."""
    private = drive_yolo(RUNPOD_ALLOW_PRIVATE_DOWNLOAD_URLS="true")
    with serving({"/a.jpg": JPEG}) as base:
        good, missing, bare = private.ask(
            {"image": f"{base}/a.jpg"}, {"image": f"{base}/b.jpg"}, {"images": [f"{base}/a.jpg", sent(JPEG)]}
        )

    assert good["detections"]
    assert {"error": "the image's URL returned HTTP 404"} == missing
    assert [good["detections"]] * 2 == [one["detections"] for one in bare["results"]]


def test_openvino_detects_as_pytorch_does(yolo, drive_yolo):
    """The CPU's format changes the speed, not what is found: each sure box is there, within 2 pixels and 0.05."""
    images = [sent(shapes.draw(seed)[0]) for seed in range(12)]
    (exact,) = drive_yolo(FORMAT="pytorch").ask({"images": images, "conf": 0.6})
    (fast,) = yolo.ask({"images": images, "conf": 0.5})
    pairs = list(zip(exact["results"], fast["results"], strict=True))

    assert ("pytorch", "openvino") == (exact["model"]["format"], fast["model"]["format"])
    assert sum(one["count"] for one, _ in pairs) >= 24
    assert [] == [box for one, other in pairs for box in one["detections"] if not _has(other, box)]


def _has(answer, box):
    return any(
        box["class"] == one["class"]
        and abs(box["confidence"] - one["confidence"]) <= 0.05
        and all(abs(x - y) <= 2 for x, y in zip(box["bbox"], one["bbox"], strict=True))
        for one in answer["detections"]
    )


def test_a_cancelled_job_is_not_answered_and_the_next_is(yolo):
    """RunPod's job-stop reaches jobs that wait for the model."""
    image = sent(shapes.draw(3)[0])
    busy = yolo.send(*({"images": [image] * 16} for _ in range(3)))
    (doomed,) = yolo.send({"image": image})
    yolo.cancel(doomed)
    answers = dict(yolo.receive() for _ in range(4))

    assert {*busy, doomed} == set(answers)
    assert all(16 == len(answers[one]["output"]["results"]) for one in busy)
    assert {"id": doomed, "cancelled": True} == answers[doomed]


def test_the_example_job_gives_the_example_answer(yolo):
    """test_output.json has the fields, types and size of what the worker answers to test_input.json."""
    job, example = (json.loads((YOLO / name).read_text()) for name in ("test_input.json", "test_output.json"))
    (answer,) = yolo.ask(job["input"])

    assert _form(example) == _form(answer)
    assert (example["image_size"], example["model"]) == (answer["image_size"], answer["model"])


def _form(value):
    if isinstance(value, dict):
        return {key: _form(one) for key, one in value.items()}
    if isinstance(value, list):
        return [_form(one) for one in value[:1]]
    return "number" if isinstance(value, (int, float)) and not isinstance(value, bool) else type(value).__name__


def test_python_handler_answers_the_example_job(yolo_python, tmp_path):
    """`python handler.py` in the worker's folder runs test_input.json and ends with success."""
    done = _run(yolo_python, "handler.py", tmp_path, MODEL=str(ROOT / "tests/data/shapes.pt"))

    assert 0 == done.returncode
    assert "Job local_test completed successfully." in done.stdout


@pytest.mark.parametrize(
    ("env", "sentence"),
    [
        ({"MODEL": "gone/away.pt"}, "MODEL: file not found: gone/away.pt"),
        ({"MODEL": "notes.txt"}, "MODEL must be a .pt file, not notes.txt"),
        (
            {"MODEL": str(ROOT / "tests/data/shapes.pt"), "MODEL_SHA256": "ab" * 32},
            "shapes.pt has another sha256",
        ),
        ({"HALF": "maybe"}, "HALF must be auto, true or false, not 'maybe'"),
        ({"FORMAT": "tflite"}, "FORMAT must be one of auto, pytorch, openvino, not 'tflite'"),
        ({"THREADS": "0"}, "THREADS must be a whole number from 1, not '0'"),
    ],
)
def test_a_worker_that_cannot_start_says_why_in_one_line(yolo_python, tmp_path, env, sentence):
    """No traceback, for this line is what the runtime shows."""
    done = _run(yolo_python, "handler.py", tmp_path, **env)

    assert (1, 1) == (done.returncode, len(done.stderr.strip().splitlines()))
    assert f"yolo worker: {sentence}" in done.stderr


def test_weights_that_are_none_are_refused(yolo_python, tmp_path):
    """A pickle that is not a model ends in a sentence, and its code does not run."""
    trap = tmp_path / "trap.pt"
    trap.write_bytes(b"cos\nsystem\n(S'touch %s'\ntR." % str(tmp_path / "sprung").encode())
    done = _run(yolo_python, "handler.py", tmp_path, MODEL=str(trap), FORMAT="pytorch")

    assert (1, False) == (done.returncode, (tmp_path / "sprung").exists())
    assert "yolo worker: trap.pt cannot be loaded as weights" in done.stderr


def test_prepare_exports_once_for_all(yolo_python, tmp_path):
    """Two at once make one export, whole; a later one finds it."""
    env = {"MODEL": str(ROOT / "tests/data/shapes.pt")}
    both = [threading.Thread(target=_run, args=(yolo_python, "prepare.py", tmp_path), kwargs=env) for _ in range(2)]
    for one in both:
        one.start()
    for one in both:
        one.join()
    (export,) = (tmp_path / "yolo-worker").glob("*_openvino_model")
    made = {path.name: path.stat().st_mtime_ns for path in export.iterdir()}
    done = _run(yolo_python, "prepare.py", tmp_path, **env)

    assert "shapes.pt is ready as openvino" == done.stdout.strip().splitlines()[-1]
    assert {path.name: path.stat().st_mtime_ns for path in export.iterdir()} == made
    assert "metadata.yaml" in made


def _run(python, script, home, **env):
    return subprocess.run(
        [python, script],
        cwd=YOLO,
        env={"PATH": "/usr/bin:/bin", "HOME": str(home), "XDG_CACHE_HOME": str(home), **env},
        capture_output=True,
        text=True,
        timeout=300,
    )


NMS_CHECK = """
import json, sys, torch
sys.path.insert(0, sys.argv[1])
import torchvision_ops
for line in sys.stdin:
    boxes, scores, threshold = json.loads(line)
    kept = torchvision_ops.nms(torch.tensor(boxes).reshape(-1, 4), torch.tensor(scores), threshold)
    print(json.dumps(kept.tolist()), flush=True)
"""
COORDINATES, SIDES = st.integers(0, 60), st.integers(1, 40)
BOXES = st.lists(
    st.builds(lambda x, y, w, h: [x, y, x + w, y + h], COORDINATES, COORDINATES, SIDES, SIDES), max_size=12
)
# No two such boxes overlap by just these, but for 0 and 1: rounding decides nothing.
THRESHOLDS = (0.0, 0.25003, 0.45003, 0.70003, 1.0)


@pytest.fixture(scope="module")
def nms(yolo_python):
    """The worker's own NMS, asked over a pipe."""
    process = subprocess.Popen(
        [yolo_python, "-c", NMS_CHECK, YOLO], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )

    def ask(boxes, scores, threshold):
        process.stdin.write(json.dumps([boxes, scores, threshold]) + "\n")
        process.stdin.flush()
        return json.loads(process.stdout.readline())

    yield ask
    process.communicate(timeout=60)


@settings(max_examples=200, deadline=None)
@given(boxes=BOXES, data=st.data(), threshold=st.sampled_from(THRESHOLDS))
def test_the_nms_in_numpy_is_nms(nms, boxes, data, threshold):
    """It keeps what the definition keeps: in order of score, whatever does not overlap a kept box too much."""
    scores = data.draw(st.permutations([round(0.05 * (at + 1), 2) for at in range(len(boxes))]))
    kept: list[int] = []
    for at in sorted(range(len(boxes)), key=lambda at: -scores[at]):
        if all(shapes.overlap(boxes[at], boxes[other]) <= threshold for other in kept):
            kept.append(at)

    assert kept == nms([list(map(float, box)) for box in boxes], list(scores), threshold)
