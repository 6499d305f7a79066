"""`vidctl detect` as its users see it: real images, the real worker and a real model on the local runtime."""

from __future__ import annotations

import csv
import io
import json
import os
import re

import pexpect
import pytest
from PIL import Image
from support.command import VIDCTL
from support.scripted import Reply, serving
from support.shapes import draw, encoded, overlap

from vidctl import Client
from vidctl.errors import JobFailedError, MediaError, NotDeployedError
from vidctl.media.search import expand
from vidctl.media.sources import read
from vidctl.tasks.detect import run

pytestmark = pytest.mark.model

SIZE = (1280, 960)


@pytest.fixture(scope="module")
def shapes(yolo_project):
    """Images four times as large as the model sees them, with what is in them: name → shapes."""
    folder = yolo_project.root / "frames"
    known = {}
    for seed in range(6):
        image, found = draw(seed, (320, 240), plain=True)
        name = f"frame{seed}.jpg"
        folder.mkdir(exist_ok=True)
        (folder / name).write_bytes(encoded(image.resize(SIZE, Image.Resampling.LANCZOS), quality=95))
        known[name] = [(shape.name, tuple(4 * corner for corner in shape.box)) for shape in found]
    return known


def detect(project, *arguments, **options):
    return project.run("detect", *arguments, "--imgsz", "320", **options)


def test_boxes_are_in_the_images_own_pixels(yolo_project, shapes):
    """Images are resized before upload, boxes are scaled back: what was drawn is found where it was drawn."""
    outcome = detect(yolo_project, "frames", "--json")

    assert (outcome.status, outcome.stderr) == (0, "")
    results = outcome.document["results"]
    assert [result["source"] for result in results] == [f"frames/{name}" for name in shapes]
    assert {tuple(result["image_size"]) for result in results} == {SIZE}
    drawn = found = 0
    for result, expected in zip(results, shapes.values(), strict=True):
        drawn += len(expected)
        found += sum(
            any(each["class_name"] == name and overlap(each["bbox"], box) > 0.7 for each in result["detections"])
            for name, box in expected
        )
    assert found >= 0.9 * drawn


def test_a_large_image_and_its_small_twin_agree(yolo_project, shapes, tmp_path):
    """The image sent as it is, and four times as large: the same boxes within a pixel of the small one."""
    image, _ = draw(1, (320, 240), plain=True)
    image.save(tmp_path / "small.png")
    image.resize(SIZE, Image.Resampling.NEAREST).save(tmp_path / "large.png")
    both = (tmp_path / "small.png", tmp_path / "large.png")
    small, large = detect(yolo_project, *both, "--conf", "0.6", "--json").document["results"]

    assert small["count"] == large["count"] > 0
    pairs = zip(*(sorted(each["detections"], key=lambda found: found["bbox"]) for each in (small, large)), strict=True)
    for one, other in pairs:
        assert other["bbox"] == pytest.approx([4 * corner for corner in one["bbox"]], abs=8)


def test_one_bad_file_does_not_stop_the_rest(yolo_project, shapes):
    """It is reported in its place, and the exit code says partial."""
    (yolo_project.root / "bad.jpg").write_bytes(b"\xff\xd8\xff not a picture")
    outcome = detect(yolo_project, "frames/frame0.jpg", "bad.jpg", "missing.jpg", "frames/frame1.jpg", "--json")

    sources = [(result["source"], "error" in result) for result in outcome.document["results"]]
    assert outcome.status == 9
    assert sources == [
        ("frames/frame0.jpg", False), ("bad.jpg", True), ("missing.jpg", True), ("frames/frame1.jpg", False),
    ]  # fmt: skip
    assert outcome.error == {"error": "2 of 4 images failed", "code": "partial"}


def test_order_is_the_order_of_sources(yolo_project, shapes, tmp_path):
    """Also when images come from everywhere: glob, list, stdin, URL."""
    (tmp_path / "list.txt").write_text("# mine\nframes/frame3.jpg\n\nframes/frame2.jpg\n")
    data = (yolo_project.root / "frames" / "frame0.jpg").read_bytes()
    with serving(lambda _: Reply(200, data)) as server:
        outcome = detect(
            yolo_project, "-", f"@{tmp_path / 'list.txt'}", "frames/frame[45].jpg", f"{server.url}/x.jpg", "--json",
            stdin=data,
        )  # fmt: skip

    results = outcome.document["results"]
    assert [result["source"] for result in results] == [
        "stdin", "frames/frame3.jpg", "frames/frame2.jpg", "frames/frame4.jpg", "frames/frame5.jpg",
        f"{server.url}/x.jpg",
    ]  # fmt: skip
    assert results[0]["detections"] == results[-1]["detections"] != []


def test_a_pipe_of_the_shell_is_read_once():
    """`<(cat x.jpg)` is empty when it is read again, as --save does."""
    data = encoded(draw(0)[0])
    read_end, write_end = os.pipe()
    with os.fdopen(write_end, "wb") as pipe:
        pipe.write(data)
    with os.fdopen(read_end, "rb"):
        (source,) = expand([f"/dev/fd/{read_end}"])
        kept, _ = run._prepare(source, 640, str.encode)

        assert data == read(kept, fetch=str.encode)


def test_many_images_are_sent_in_few_jobs(yolo_project, shapes):
    """A frame is not a job: 40 images make three."""
    before = len(yolo_project.jobs())
    outcome = detect(yolo_project, *["frames/frame0.jpg"] * 40, "--format", "jsonl")

    lines = [json.loads(line) for line in outcome.stdout.splitlines()]
    assert len(lines) == 40
    assert len({json.dumps(line["detections"]) for line in lines}) == 1
    assert len(yolo_project.jobs()) - before == 3


@pytest.mark.parametrize("form", ["table", "json", "jsonl", "csv", "coco", "txt"])
def test_every_format_says_the_same(yolo_project, shapes, form):
    """As many objects in each."""
    expected = sum(r["count"] for r in detect(yolo_project, "frames", "--json").document["results"])
    outcome = detect(yolo_project, "frames", "--format", form)
    text = outcome.stdout
    counts = {
        "table": lambda: len([line for line in text.splitlines() if "\t" in line]),
        "json": lambda: sum(result["count"] for result in json.loads(text)["results"]),
        "jsonl": lambda: sum(json.loads(line)["count"] for line in text.splitlines()),
        "csv": lambda: len(list(csv.DictReader(io.StringIO(text)))),
        "coco": lambda: len(json.loads(text)["annotations"]),
        "txt": lambda: len([line for line in text.splitlines() if not line.startswith("#")]),
    }

    assert counts[form]() == expected > 6


def test_results_go_into_a_file_whole(yolo_project, shapes, tmp_path):
    outcome = detect(yolo_project, "frames", "--format", "coco", "-o", tmp_path / "boxes.json")

    assert outcome.stdout == ""
    document = json.loads((tmp_path / "boxes.json").read_text())
    assert len(document["images"]) == 6
    assert [each["name"] for each in document["categories"]] == ["circle", "square", "triangle"]


def test_a_file_that_cannot_be_written_is_one_line(yolo_project, shapes):
    outcome = detect(yolo_project, "frames/frame0.jpg", "-o", "/proc/boxes.json")

    assert (outcome.status, outcome.stdout) == (1, "")
    assert re.match(r"error: .*/proc/boxes\.json: cannot be written", outcome.stderr)
    assert "Traceback" not in outcome.stderr


def test_the_ending_of_the_file_is_the_format(yolo_project, shapes, tmp_path):
    detect(yolo_project, "frames/frame0.jpg", "-o", tmp_path / "boxes.csv")

    assert (tmp_path / "boxes.csv").read_text().startswith("x_min,y_min,")


def test_txt_into_a_folder_is_a_file_an_image(yolo_project, shapes, tmp_path):
    """As YOLO's labels lie; the folder is named by its slash."""
    outcome = detect(yolo_project, "frames", "--format", "txt", "-o", f"{tmp_path}/labels/")

    assert outcome.stdout == ""
    assert sorted(path.name for path in (tmp_path / "labels").iterdir()) == [f"frame{n}.txt" for n in range(6)]


def test_images_that_cannot_be_saved_are_still_results(yolo_project, shapes, tmp_path):
    """What was paid for is delivered; that it was not saved is said."""
    for name in shapes:
        (tmp_path / "taken" / name).mkdir(parents=True)
    outcome = detect(yolo_project, "frames", "--save", tmp_path / "taken", "--json")

    assert outcome.status == 9
    assert all(result["count"] for result in outcome.document["results"])
    assert outcome.error["error"] == "6 of 6 images could not be saved"


def test_images_are_saved_with_boxes_and_objects_cut_out(yolo_project, shapes, tmp_path):
    """The annotated image has the original's size and differs from it; a crop is as large as its box."""
    outcome = detect(
        yolo_project, "frames/frame1.jpg", "--save", tmp_path / "out", "--save-crop", tmp_path / "crops", "--json"
    )
    (result,) = outcome.document["results"]
    annotated = Image.open(tmp_path / "out" / "frame1.jpg")
    original = Image.open(yolo_project.root / "frames" / "frame1.jpg")
    crops = [path for path in (tmp_path / "crops").rglob("*") if path.is_file()]

    assert annotated.size == original.size == SIZE
    assert annotated.tobytes() != original.convert("RGB").tobytes()
    assert len(crops) == result["count"] > 0
    assert {path.parent.name for path in crops} == {found["class_name"] for found in result["detections"]}


def test_options_reach_the_model(yolo_project, shapes):
    """conf, classes by name and max_det each leave fewer boxes."""
    everything = detect(yolo_project, "frames", "--json").document["results"]
    names = [found["class_name"] for result in everything for found in result["detections"]]
    circles = detect(yolo_project, "frames", "--json", "--classes", "circle").document["results"]
    both = detect(yolo_project, "frames", "--json", "--classes", "circle", "--classes", "0,1").document["results"]
    single = detect(yolo_project, "frames", "--json", "--max-det", "1").document["results"]
    certain = detect(yolo_project, "frames", "--json", "--conf", "0.999").document["results"]

    assert {f["class_name"] for r in circles for f in r["detections"]} == {"circle"}
    assert sum(result["count"] for result in circles) == names.count("circle")
    assert sum(result["count"] for result in both) == names.count("circle") + names.count("square")
    assert [result["count"] for result in single] == [min(1, result["count"]) for result in everything]
    assert sum(result["count"] for result in certain) < len(names)


def test_an_unknown_class_is_the_workers_sentence(yolo_project, shapes):
    outcome = detect(yolo_project, "frames/frame0.jpg", "--classes", "zebra", "--json")

    assert (outcome.status, outcome.error["code"]) == (3, "job_failed")
    assert "zebra" in outcome.error["error"]
    assert outcome.error["job_id"]


def test_the_second_deploy_is_up_to_date(yolo_project):
    assert "up to date" in yolo_project.run("deploy", "yolo").stdout


def test_piped_output_is_plain_lines(yolo_project, shapes):
    """No table, no colour, no progress bar where no terminal is."""
    outcome = detect(yolo_project, "frames/frame1.jpg")

    assert all(
        re.fullmatch(r"frames/frame1\.jpg\t\w+\t\d\.\d\d(\t\d+){4}", line) for line in outcome.stdout.splitlines()
    )
    assert "" == re.sub(r"^ *detect  .*\n", "", outcome.stderr, flags=re.MULTILINE)  # a cold start is reported


def terminal(project, *arguments, **environ):
    """What a person's terminal shows."""
    child = pexpect.spawn(
        VIDCTL[0],
        [*VIDCTL[1:], "detect", *arguments, "--imgsz", "320"],
        cwd=str(project.root),
        env={**os.environ, **project.environ, "TERM": "xterm-256color", **environ},
        dimensions=(40, 100),
        encoding="utf-8",
        timeout=120,
    )
    child.expect(pexpect.EOF)
    child.close()
    return child.exitstatus, child.before


def test_a_terminal_gets_a_table_and_a_progress_bar(yolo_project, shapes):
    status, shown = terminal(yolo_project, "frames")

    assert status == 0
    assert "confidence" in shown
    assert "detect" in shown
    assert "\x1b[" in shown


def test_no_color_is_respected(yolo_project, shapes):
    """NO_COLOR: a table still, but no colour and no bold; --no-progress: no bar."""
    status, shown = terminal(yolo_project, "frames/frame1.jpg", "frames/frame2.jpg", "--no-progress", NO_COLOR="1")

    assert status == 0
    assert "confidence" in shown
    assert not re.search(r"\x1b\[[0-9;]*3[0-9]m", shown)


def test_from_python(yolo_project, shapes, monkeypatch):
    """`Client().detect` gives typed results, and errors that can be caught."""
    for name, value in yolo_project.environ.items():
        monkeypatch.setenv(name, value)
    client = Client(project=yolo_project.root)
    frames = yolo_project.root / "frames"
    result = client.detect(frames / "frame1.jpg", imgsz=320, conf=0.4)
    many = list(client.detect_many([frames], imgsz=320))

    assert (result.width, result.height) == SIZE
    assert result.detections[0].class_name in ("circle", "square", "triangle")
    assert len(many) == 6
    with pytest.raises(MediaError, match=r"nowhere\.jpg"):
        client.detect("nowhere.jpg")
    with pytest.raises(JobFailedError, match="zebra"):
        client.detect(frames / "frame1.jpg", imgsz=320, classes=("zebra",))
    assert client.detect((frames / "frame1.jpg").read_bytes(), imgsz=320, conf=0.4).detections == result.detections
    with pytest.raises(NotDeployedError, match="other"):
        Client(project=yolo_project.root, endpoint="other").detect(frames / "frame1.jpg")


def test_the_guides_request_works_through_the_sdk(yolo_project, shapes):
    """runpod.Endpoint(id).run_sync with the guide's input, against the local runtime, unchanged."""
    import subprocess
    import sys

    environ = yolo_project.run("local", "env", "--json").document
    code = """
import base64, json, os, sys, runpod
runpod.api_key = os.environ["RUNPOD_API_KEY"]
image = base64.b64encode(open(sys.argv[2], "rb").read()).decode()
result = runpod.Endpoint(sys.argv[1]).run_sync({"input": {"image": image, "conf": 0.25}})
print(json.dumps(result))
"""
    endpoint_id = yolo_project.dotenv()["VIDCTL_YOLO_ENDPOINT_ID_LOCAL"]
    image = yolo_project.root / "frames" / "frame1.jpg"
    done = subprocess.run(
        [sys.executable, "-c", code, endpoint_id, str(image)],
        env={**os.environ, **environ},
        capture_output=True,
        check=True,
    )
    result = json.loads(done.stdout.splitlines()[-1])

    assert result["image_size"] == list(SIZE)
    assert result["count"] == len(result["detections"]) > 0
    assert {"bbox", "confidence", "class", "class_name"} <= set(result["detections"][0])
    assert result["inference_time"] > 0
