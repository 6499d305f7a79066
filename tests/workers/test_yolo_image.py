"""The YOLO worker's image, made by its own Dockerfile and pushed, sees what the worker's folder sees."""

import json
import shutil
import subprocess
import sys
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest
from support.engine import build
from support.runtime import LocalRuntime

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


@pytest.fixture(scope="session")
def yolo_image(engine, base_with_wheels, tmp_path_factory):
    """The shipped worker with the tests' own weights, for a CPU."""
    folder = tmp_path_factory.mktemp("image") / "yolo"
    shutil.copytree(ROOT / "workers/yolo", folder)
    shutil.copy(ROOT / "tests/data/shapes.pt", folder / "weights")
    arguments = {"BASE": base_with_wheels, "REQUIREMENTS": "requirements-cpu.txt", "MODEL": "shapes.pt"}
    return build(engine, "vidctl-tests/yolo:latest", folder, **arguments, MODEL_SHA256="")


@pytest.mark.heavy
def test_the_image_that_would_be_deployed_sees_what_its_folder_sees(engine, repository, yolo_image, yolo, tmp_path):
    engine.tag(yolo_image, repository, "1")
    *_, pushed = engine.push(repository, "1", stream=True, decode=True)
    runtime = LocalRuntime(tmp_path / "runtime")
    runtime.start()
    endpoint = runtime.image_endpoint(f"{repository}@{pushed['aux']['Digest']}", name="yolo")
    job = json.loads((ROOT / "workers/yolo/test_input.json").read_text())["input"]
    of_image = runtime.ended(endpoint, runtime.run(endpoint, job))["output"]
    runtime.close()
    [of_folder] = yolo.ask(job)

    assert ("10001", "amd64") == (
        engine.inspect_image(yolo_image)["Config"]["User"],
        engine.inspect_image(yolo_image)["Architecture"],
    )
    assert 3 < of_folder["count"]
    assert seen(of_folder) == seen(of_image)


def seen(output):
    return {name: output[name] for name in ("detections", "count", "image_size", "model")}
