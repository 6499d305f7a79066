"""Where the qwen-vl worker has its model from, and what it says when it cannot be had."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess

import pytest
from support import vision
from support.stating import stating

SCRIPT = vision.WORKER / "engine/weights.py"
NAME = "Qwen/Qwen3-VL-2B-Instruct"


@pytest.fixture
def weights(monkeypatch, tmp_path):
    """The module, with its fixed places in the test's own folder."""
    described = importlib.util.spec_from_file_location("qwen_vl_weights", SCRIPT)
    module = importlib.util.module_from_spec(described)
    described.loader.exec_module(module)
    monkeypatch.setattr(module, "BAKED", tmp_path / "models/hub")
    monkeypatch.setattr(module, "VOLUME", tmp_path / "volume")
    monkeypatch.setattr(module, "VOLUME_HUB", tmp_path / "volume/huggingface-cache/hub")
    return module


def model(folder):
    """A folder with the files that a model has."""
    folder.mkdir(parents=True)
    for name in ("config.json", "model.safetensors", "tokenizer.json"):
        (folder / name).write_text("{}")
    return folder


def snapshot(hub, commit="abc", branch="main"):
    """A model as Hugging Face's cache has it."""
    repository = hub / f"models--{NAME.replace('/', '--')}"
    (repository / "refs").mkdir(parents=True)
    (repository / "refs" / branch).write_text(commit)
    return model(repository / "snapshots" / commit)


def asked(**env):
    """What the script says in vLLM's environment, and its exit status."""
    told = {"PATH": os.environ["PATH"], "MODEL_NAME": NAME, **env}
    done = subprocess.run([vision.engine_python(), SCRIPT], env=told, capture_output=True, text=True, check=False)
    return done.returncode, (done.stderr or done.stdout).strip().splitlines()[-1]


def test_a_folder_is_the_model(weights, tmp_path):
    folder = model(tmp_path / "mine")

    assert folder == weights.find(str(folder), "", {})


def test_a_folder_that_is_no_model_is_named(weights, tmp_path):
    (tmp_path / "mine").mkdir()
    with pytest.raises(weights.WeightsError) as caught:
        weights.find(str(tmp_path / "mine"), "", {})
    stating(str(caught.value), tmp_path / "mine", "config.json")


@pytest.mark.parametrize("name", ["/no/such", "nothing", "./a/b", "a/b/c"])
def test_what_is_neither_folder_nor_name_is_said(weights, name):
    with pytest.raises(weights.WeightsError) as caught:
        weights.find(name, "", {})
    stating(str(caught.value), f"MODEL_NAME {name}: ", "owner/name")


@pytest.mark.parametrize("place", ["models/hub", "volume/huggingface-cache/hub", "home/huggingface/hub"])
def test_a_model_that_is_here_is_not_downloaded(weights, tmp_path, place):
    """Baked into the image, in RunPod's cache or on a volume, or in Hugging Face's own cache."""
    found = snapshot(tmp_path / place)

    assert found == weights.find(NAME, "", {"XDG_CACHE_HOME": str(tmp_path / "home")})


@pytest.mark.parametrize(
    "there",
    [
        ["model-00001-of-00002.safetensors"],  # the index comes later
        ["model-00001-of-00002.safetensors", "model.safetensors.index.json"],
        ["model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors", "broken"],
        [],
    ],
)
def test_a_download_that_was_cut_short_is_no_model(weights, tmp_path, there):
    """Else every start would load half a model and end, for good."""
    folder = snapshot(tmp_path / "models/hub")
    (folder / "model.safetensors").unlink()
    index = {"weight_map": {"a": "model-00001-of-00002.safetensors", "b": "model-00002-of-00002.safetensors"}}
    for name in there:
        text = json.dumps(index) if name.endswith(".json") else "{}"
        (folder / ("model.safetensors.index.json" if name == "broken" else name)).write_text(text)
    assert weights._snapshot(tmp_path / "models/hub", NAME, "") is None

    for number in (1, 2):
        (folder / f"model-0000{number}-of-00002.safetensors").write_text("{}")
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    assert folder == weights._snapshot(tmp_path / "models/hub", NAME, "")


def test_a_revision_is_the_one_that_was_asked_for(weights, tmp_path):
    """By its commit or by a branch; another one is not taken for it."""
    found = snapshot(tmp_path / "models/hub", commit="abc", branch="v2")
    environment = {"XDG_CACHE_HOME": str(tmp_path / "home"), "WEIGHTS": "volume"}

    assert (found, found) == (weights.find(NAME, "abc", {}), weights.find(NAME, "v2", {}))
    with pytest.raises(weights.WeightsError) as caught:
        weights._hub(environment)
    stating(str(caught.value), "network volume")


def test_the_processors_limits_are_read(weights, tmp_path):
    """From either of the files that transformers has written over time; none where there is none."""
    size = {"size": {"shortest_edge": 1024, "longest_edge": 262_144}}
    folder = model(tmp_path / "mine")
    assert {} == weights.limits(folder)
    (folder / "preprocessor_config.json").write_text(json.dumps(size))
    assert {"min_pixels": 1024, "max_pixels": 262_144} == weights.limits(folder)
    size["size"]["longest_edge"] = 4096
    (folder / "processor_config.json").write_text(json.dumps({"image_processor": size}))
    assert {"min_pixels": 1024, "max_pixels": 4096} == weights.limits(folder)


@pytest.mark.parametrize(
    ("kinds", "status", "says"),
    [
        (("GatedRepoError",), 403, "is gated: accept its licence"),
        (("RepositoryNotFoundError",), 401, "the name is wrong, or it is private and HF_TOKEN is not set"),
        (("RevisionNotFoundError",), 404, "correct MODEL_REVISION"),
        (("LocalEntryNotFoundError",), None, "it cannot be reached from here"),
    ],
)
def test_what_the_hub_says_becomes_one_sentence(weights, kinds, status, says):
    """By the names of its exceptions: what they are derived from has changed more than once."""
    (kind,) = kinds
    error = type(kind, (Exception,), {})("many\nlines")
    error.response = type("Response", (), {"status_code": status})()

    assert says in str(weights._why(NAME, error, {}))


def test_a_full_disk_is_said(weights):
    assert "the disk is full" in str(weights._why(NAME, OSError(28, "No space left on device"), {}))


@pytest.mark.model
def test_a_hub_that_cannot_be_reached_is_one_sentence(tmp_path):
    """With vLLM's own huggingface_hub; what helps is said."""
    closed = {"HF_ENDPOINT": "http://127.0.0.1:1", "HOME": str(tmp_path)}
    status, said = asked(**closed)

    assert (1, True) == (status, said.startswith(f"qwen-vl worker: cannot download {NAME} from huggingface.co"))
    assert "set MODEL_NAME to a folder" in said


@pytest.mark.model
def test_a_model_that_is_ready_is_said():
    assert (0, f"{vision.weights().name} is ready") == asked(MODEL_NAME=str(vision.weights()))
