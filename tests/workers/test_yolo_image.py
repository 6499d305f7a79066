"""The YOLO worker's image, built and deployed by vidctl, sees what was drawn.

It stays on this engine: compressing a gigabyte for a registry is minutes, and a push is a push (test_images).
"""

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest
from support.engine import build, keep_newest
from support.project import Project
from support.runtime import until
from support.shapes import draw, encoded, overlap

ROOT = Path(__file__).resolve().parents[2]
# An index that cannot be reached would be tried five times for each of a hundred packages.
BASE = """\
FROM {base}
COPY wheels/ /wheels/
ENV PIP_FIND_LINKS=/wheels PIP_RETRIES=1
"""


@pytest.fixture(scope="session")
def base_with_wheels(engine, base_python, tmp_path_factory):
    """The base image as pip needs it here: with the wheels that pip's settings find in folders of this machine."""
    folder = tmp_path_factory.mktemp("base")
    (folder / "Dockerfile").write_text(BASE.format(base=base_python))
    (folder / "wheels").mkdir()
    requirements = (ROOT / "workers/yolo/requirements-cpu.txt").read_text().split()
    command = ["pip", "install", "--dry-run", "--ignore-installed", "--no-deps", "--quiet", "--report", "-"]
    wanted = [name for name in requirements if name.startswith(("torch==", "torchvision=="))]
    report = subprocess.run([sys.executable, "-m", *command, *wanted], stdout=subprocess.PIPE, check=True).stdout
    for package in json.loads(report)["install"]:
        place = urlsplit(package["download_info"]["url"])
        if place.scheme == "file":
            shutil.copy(unquote(place.path), folder / "wheels")
    return build(engine, "vidctl-tests/base:latest", folder)


@pytest.fixture
def contained(base_with_wheels, engine, tmp_path):
    """The shipped spec in a project whose local workers are containers of the image, with the tests' own weights."""
    project = Project(tmp_path / "project")
    project.environ |= {"VIDCTL_YOLO_MODEL": "shapes.pt"}
    shipped = (ROOT / "configs/yolo.yaml").read_text()
    (project.root / "configs/yolo.yaml").write_text(re.sub(r"^  repository: .*\n", "", shipped, flags=re.MULTILINE))
    shutil.copytree(ROOT / "workers/yolo", project.root / "workers/yolo")
    shutil.copy(ROOT / "tests/data/shapes.pt", project.root / "workers/yolo/weights")
    stand_ins = {"BASE": base_with_wheels, "REQUIREMENTS": "requirements-cpu.txt", "MODEL": "shapes.pt"}
    overlay = {"local": {"isolation": "container", "build_args": {**stand_ins, "MODEL_SHA256": ""}}}
    (project.root / "configs/yolo.boxed.yaml").write_text(json.dumps(overlay))
    yield project
    project.close()
    keep_newest(engine, "yolo.boxed")


@pytest.mark.model
def test_the_image_that_would_be_deployed_is_the_one_that_answers(contained, engine):
    """From the folder to a container that detects; in the end none is left.

    Then a change of code, which makes kilobytes of layers.
    """
    picture, drawn = draw(3, (320, 240), plain=True)
    (contained.root / "shapes.png").write_bytes(encoded(picture, "PNG"))
    first = deployed(contained)
    detected = contained.run("detect", "shapes.png", "--json", "-e", "boxed")
    assert detected.status == 0, detected.stderr
    (worker,) = engine.containers(filters={"ancestor": first})
    config = engine.inspect_container(worker["Id"])

    assert (config["Config"]["User"], config["HostConfig"]["NetworkMode"]) == ("10001", "host")
    assert_seen(drawn, detected.document["results"][0]["detections"])

    assert contained.run("destroy", "yolo.boxed", "--yes").status == 0
    until(lambda: not engine.containers(all=True, filters={"ancestor": first}))

    with (contained.root / "workers/yolo/handler.py").open("a") as handler:
        handler.write("# one more line\n")
    second = deployed(contained, "--no-wait")
    layers = [engine.inspect_image(image)["RootFS"]["Layers"] for image in (first, second)]

    assert layers[0][:-1] == layers[1][:-1]
    assert layers[0] != layers[1]
    assert max(step["Size"] for step in engine.history(second)[:3]) < 1_000_000


def deployed(project, *options):
    """The image that the endpoint got."""
    outcome = project.run("deploy", "yolo", "-e", "boxed", "--yes", "--json", *options, timeout_s=1500)
    assert outcome.status == 0, outcome.stderr
    return outcome.document["image"]["name"]


def assert_seen(drawn, detections):
    """Each shape, and nothing else."""
    found = sorted(detections, key=lambda each: each["bbox"])
    for shape, each in zip(sorted(drawn, key=lambda shape: shape.box), found, strict=True):
        assert shape.name == each["class_name"]
        assert overlap(shape.box, each["bbox"]) > 0.85
