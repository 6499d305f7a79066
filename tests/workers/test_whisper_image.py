"""The Whisper worker's image, built and deployed by vidctl, hears what the worker's folder hears.

It stays on this engine: compressing two gigabytes for a registry is minutes, and a push is a push (test_images).
"""

import json
import re
import shutil
from pathlib import Path

import pytest
from support import speech
from support.engine import keep_newest
from support.project import Project

ROOT = Path(__file__).resolve().parents[2]
WHISPER = ROOT / "workers/whisper"
BASE_SHA256 = "905e5bf8336bcc625ba4e33498d675a4b935504118c594d868c36e91a60c1a57"
FINDS_CUBLAS = "import ctypes; ctypes.CDLL('libcublas.so.12').cublasGetVersion_v2; print('found')"


@pytest.fixture
def contained(base_python, engine, tmp_path):
    """The shipped spec in a project whose local workers are containers of the image, with the base model baked in.

    The image's own pins are for another Python than the stand-in base's: it gets those of the CPU, and the CUDA
    libraries of the image.
    """
    project = Project(tmp_path / "project")
    project.environ |= {"VIDCTL_WHISPER_MODEL": "base"}
    folder = project.root / "workers/whisper"
    shipped = (ROOT / "configs/whisper.yaml").read_text()
    (project.root / "configs/whisper.yaml").write_text(re.sub(r"^  repository: .*\n", "", shipped, flags=re.MULTILINE))
    shutil.copytree(WHISPER, folder)
    shutil.copytree(speech.weights(), folder / "weights/base")
    pins = (WHISPER / "requirements.txt").read_text().splitlines()
    cuda = [pin for pin in pins if pin.startswith("nvidia-")]
    (folder / "requirements.txt").write_text("\n".join([(WHISPER / "requirements-cpu.txt").read_text(), *cuda]))
    stand_ins = {"BASE": base_python, "MODEL": "base", "MODEL_SHA256": BASE_SHA256}
    overlay = {"local": {"isolation": "container", "build_args": stand_ins}}
    (project.root / "configs/whisper.boxed.yaml").write_text(json.dumps(overlay))
    yield project
    project.close()
    keep_newest(engine, "whisper.boxed")


@pytest.mark.model
def test_the_image_that_would_be_deployed_is_the_one_that_hears(contained, engine):
    """From the folder to a container that transcribes, with its model in it and cuBLAS where CTranslate2 looks."""
    clip = speech.librivox()[0]
    outcome = contained.run("deploy", "whisper", "-e", "boxed", "--yes", "--json", timeout_s=1500)
    assert outcome.status == 0, outcome.stderr
    image = outcome.document["image"]["name"]
    heard = contained.run("transcribe", clip.path, "-e", "boxed", "--json")
    assert heard.status == 0, heard.stderr
    (result,) = heard.document["results"]
    (worker,) = engine.containers(filters={"ancestor": image})
    config = engine.inspect_container(worker["Id"])["Config"]

    assert speech.accuracy(clip.text, result["text"]) >= 0.9
    assert ("10001", {"name": "base", "device": "cpu", "compute_type": "int8"}) == (config["User"], result["model"])
    assert "found" == _run(engine, worker["Id"], ["python", "-c", FINDS_CUBLAS])


def _run(engine, container, command):
    started = engine.exec_create(container, command)
    return engine.exec_start(started["Id"]).decode().strip()
