"""What cannot hold is told beforehand, with its place and the numbers; what is not known is not told."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support.command import vidctl
from support.failing import same_wording

from vidctl import spec
from vidctl.runpod import gpus
from vidctl.tasks.describe import capacity

ROOT = Path(__file__).parent.parent
NAME = "Qwen/Qwen3-VL-8B-Instruct"
BUILT = "{build: worker}"
OFFICIAL = "runpod/worker-v1-vllm:v2.25.2"


@pytest.fixture
def warned(tmp_path):
    """A function from what a spec of a built worker on an A100 says otherwise to its warnings, as `line: message`."""
    (tmp_path / "worker").mkdir()
    (tmp_path / "worker" / "handler.py").touch()
    path = tmp_path / "eyes.yaml"

    def warned(
        *lines: str, image: str = BUILT, gpu: str = "A100", disk: str = "25GB", task: str = "describe", **env: str
    ) -> list[str]:
        if image.startswith("runpod/"):
            image = f"{{reference: '{image}', protocol: worker-vllm}}"
        variables = {"MODEL_NAME": NAME, "MAX_MODEL_LEN": "8192", **env}
        document = [
            "name: eyes", f"task: {task}", f"image: {image}", f"gpu: {gpu}", f"disk: {disk}",
            *lines, "env:", *(f"  {name}: {json.dumps(value)}" for name, value in variables.items()),
        ]  # fmt: skip
        path.write_text("\n".join(document) + "\n")
        assert spec.check(path, environ={}) == []
        return [f"{each.line}: {each.message}; {each.hint}" for each in spec.warnings(path, environ={})]

    return warned


def states(warning: str, line: int, *facts: str) -> None:
    """The warning is about that line and gives each fact; its wording is compared with tests/wording.ambr."""
    assert warning.startswith(f"{line}: ")
    assert [] == [fact for fact in facts if fact not in warning], warning
    same_wording(warning)


@pytest.mark.parametrize("path", sorted((ROOT / "configs").glob("*.yaml")), ids=lambda path: path.stem)
def test_what_is_shipped_holds(path):
    assert [] == spec.warnings(path, environ={})


# --- memory --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "weights", "token"),
    [
        ("Qwen/Qwen3-VL-2B-Instruct", 4.3, 114_688),
        ("Qwen/Qwen3-VL-4B-Thinking", 8.9, 147_456),
        ("Qwen/Qwen3-VL-8B-Instruct", 17.5, 147_456),
        ("Qwen/Qwen3-VL-8B-Instruct-FP8", 10.6, 147_456),
        ("Qwen/Qwen3-VL-32B-Instruct", 66.7, 262_144),
        ("Qwen/Qwen3-VL-32B-Thinking-FP8", 35.5, 262_144),
    ],
)
def test_what_a_model_takes(name, weights, token):
    """GB of weights as huggingface.co shows them, and bytes of a token's keys and values."""
    model = capacity.known(name)

    assert (weights, token) == (round(model.weights(2) / 1e9, 1), model.cache(2))


@pytest.mark.parametrize("name", ["Qwen/Qwen2.5-VL-7B-Instruct", "me/Qwen3-VL-8B-Instruct", "/models/mine", ""])
def test_of_a_model_that_is_not_known_nothing_is_told(warned, name):
    assert capacity.known(name) is None
    assert [] == warned(MODEL_NAME=name, gpu="RTX A4000", disk="5GB")


def test_a_model_that_is_larger_than_the_card(warned):
    """Of the cards that the pool may give, the smallest counts; the hint names the pool that would do."""
    (said,) = warned(gpu="RTX A4500")

    states(
        said, 4, NAME, "19.5 GiB", "16.3", "1.1", "8,192 tokens", "0.9 of NVIDIA RTX A4000's 16 GB is 14.4", "AMPERE_24"
    )


def test_exact_keeps_to_the_card_named(warned):
    """A model of 8.9 GB fits the 20 GB of the card that was named, not the 16 GB of its siblings at that length."""
    env = {"MODEL_NAME": "Qwen/Qwen3-VL-4B-Instruct", "MAX_MODEL_LEN": "40000"}

    assert [] == warned(gpu="{names: RTX A4500, exact: true}", **env)
    assert 1 == len(warned(gpu="RTX A4500", **env))


def test_a_context_that_is_too_long(warned):
    """The weights fit: it is the length that does not, and what would fit is said."""
    (said,) = warned(gpu="RTX 4090", MAX_MODEL_LEN="65536")

    states(
        said, 8, NAME, "27.3 GiB", "16.3", "9.0", "65,536", "is 21.6; ", 'MAX_MODEL_LEN: "23808"', "ADA_32_PRO", "32 GB"
    )
    assert [] == warned(gpu="RTX 4090", MAX_MODEL_LEN="23808")


def test_half_of_a_card(warned):
    assert [] == warned(gpu="A40", GPU_MEMORY_UTILIZATION="0.5")
    assert 1 == len(warned(gpu="A40", GPU_MEMORY_UTILIZATION="0.4"))


def test_a_wider_type_doubles_weights_and_cache(warned):
    (said,) = warned(gpu="RTX 5090", DTYPE="float32")

    states(said, 4, "32.7", "2.2", "8,192 tokens")


def test_several_gpus_share_a_model(warned):
    """Each holds its part of the weights, and of the heads' cache."""
    env = {"MODEL_NAME": "Qwen/Qwen3-VL-32B-Instruct", "disk": "100GB"}

    assert "no GPU" not in warned(gpu="A40", **env)[0]
    assert [] == warned(gpu="{names: A40, count: 2}", TENSOR_PARALLEL_SIZE="2", **env)
    (said,) = warned(gpu="{names: L4, count: 2}", TENSOR_PARALLEL_SIZE="2", **env)
    states(said, 4, "34.1 GiB on each GPU", "31.1", "1.0")


def test_more_gpus_are_asked_for_than_there_are(warned):
    (said,) = warned(gpu="{names: A100, count: 2}", TENSOR_PARALLEL_SIZE="4")

    states(said, 9, "TENSOR_PARALLEL_SIZE needs 4", "gpu.count is 2", "; gpu: {names: […], count: 4}")


def test_gpus_that_are_paid_for_and_not_used(warned):
    """RunPod's own worker takes all there are unless it is told otherwise."""
    two = "{names: A100, count: 2}"

    (said,) = warned(gpu=two)
    states(said, 4, "2 GPUs", " on 1; ", 'TENSOR_PARALLEL_SIZE: "2"')
    assert [] == warned('cuda: ["13.0"]', "weights: cache", gpu=two, image=OFFICIAL)


@pytest.mark.parametrize("name", ["VLLM_EXTRA_ARGS", "QUANTIZATION", "KV_CACHE_DTYPE", "CPU_OFFLOAD_GB"])
def test_what_is_reckoned_otherwise_is_left_to_vllm(warned, name):
    """It may make the model smaller, or put a part of it elsewhere."""
    assert [] == warned(gpu="RTX A4000", **{name: "fp8"})


def test_worker_vllm_takes_all_that_the_model_can(warned):
    """Without MAX_MODEL_LEN it is the model's own 262,144 tokens, which our worker does not take."""
    lines = ('cuda: ["13.0"]', "weights: cache")

    (said,) = warned(*lines, image=OFFICIAL, gpu="A40", MAX_MODEL_LEN="")
    states(said, 10, "36.0", "262,144 tokens")
    assert [] == warned(*lines, image=OFFICIAL, gpu="A100", MAX_MODEL_LEN="")
    assert [] == warned(gpu="A40", MAX_MODEL_LEN="")


def test_a_context_that_the_model_does_not_have(warned):
    (said,) = warned(MAX_MODEL_LEN="300000")

    states(said, 8, "262,144 tokens", "vLLM")


def test_a_server_elsewhere_has_the_model(warned):
    """No engine starts here, whatever the name says."""
    assert [] == warned(gpu="RTX A4000", disk="5GB", OPENAI_BASE_URL="https://llm.example.com/v1")


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60)
@given(
    size=st.sampled_from(["2B", "4B", "8B", "32B"]),
    pool=st.sampled_from([pool.id for pool in gpus.POOLS]),
    tokens=st.integers(1, 262_144),
    hundredths=st.integers(30, 100),
)
def test_what_a_hint_advises_holds(warned, size, pool, tokens, hundredths):
    """A length that is said to fit brings no warning, and neither does the pool that is named."""
    env = {"MODEL_NAME": f"Qwen/Qwen3-VL-{size}-Instruct", "GPU_MEMORY_UTILIZATION": f"{hundredths / 100}"}
    said = warned(gpu=pool, disk="100GB", MAX_MODEL_LEN=str(tokens), **env)
    for hint in said[0].rpartition(")")[2].split("; ")[1:] if said else ():
        words = hint.replace('"', "").split()
        if words[-1] == "fits":
            assert [] == warned(gpu=pool, disk="100GB", MAX_MODEL_LEN=words[1], **env)
        elif words[1] == "has":
            assert [] == warned(gpu=words[0], disk="100GB", MAX_MODEL_LEN=str(tokens), **env)


# --- disk ----------------------------------------------------------------------------------------------------------


def test_weights_that_are_downloaded_need_room(warned):
    """17.5 GB: not in 15 GB, barely in 20 GB, and in the guide's 25 GB."""
    for disk in ("15 GB", "20 GB"):
        (said,) = warned(disk=disk)
        states(said, 5, NAME, "17.5 GB", f"{disk}; ", "disk: 24GB", "weights: cache")
    assert [] == warned(disk="24GB")


@pytest.mark.parametrize(
    "lines", [("weights: cache",), ("weights: bake",), ("weights: volume", "network_volume: models")]
)
def test_weights_that_are_elsewhere_need_none(warned, lines):
    assert [] == warned(*lines, disk="10GB")


def test_worker_vllm_downloads_to_the_volume_if_there_is_one(warned):
    """/runpod-volume is the container's own disk where neither a volume nor the cache is mounted there."""
    cuda = 'cuda: ["13.0"]'

    (said,) = warned(cuda, image=OFFICIAL, disk="15GB")
    states(said, 5, "/runpod-volume", "network volume")
    assert [] == warned(cuda, "network_volume: models", image=OFFICIAL, disk="15GB")
    assert 1 == len(warned("network_volume: models", disk="15GB"))
    assert [] == warned(disk="15GB", HF_HOME="/somewhere")


# --- precision, version, time, numbers -----------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", ["float16", "half"])
@pytest.mark.parametrize("name", [NAME, "Qwen/Qwen3-VL-235B-A22B-Instruct"])
def test_a_precision_that_the_weights_do_not_have(warned, dtype, name):
    (said,) = warned(MODEL_NAME=name, DTYPE=dtype)

    states(said, 9, "weights are bfloat16", "float16 ", "; DTYPE: bfloat16")


@pytest.mark.parametrize(
    ("tag", "facts"),
    [
        ("stable-cuda12.1.0", ["stable-cuda", "vLLM 0.8.4", "0.11.0"]),
        ("v2.5.0stable-cuda12.1.0", ["stable-cuda", "vLLM 0.8.4", "0.11.0"]),
        ("v2.9.4", ["vLLM 0.10.0", "v2.9.5", "0.11.0"]),
        ("2.8.0", ["vLLM 0.10.0", "v2.9.5", "0.11.0"]),
        ("v2.9.5", None),
        ("v2.18.0", None),
        ("dev-main", None),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_worker_that_is_older_than_the_model(warned, tag, facts):
    """The first with vLLM 0.11.0 is v2.9.5; of a tag that is no version nothing is known."""
    found = warned("weights: cache", image=f"runpod/worker-v1-vllm:{tag}")

    assert len(found) == (0 if facts is None else 1)
    for said in found:
        states(said, 3, *facts)
    assert [] == warned("weights: cache", image=f"runpod/worker-v1-vllm:{tag}", MODEL_NAME="Qwen/Qwen2-VL-2B-Instruct")


@pytest.mark.parametrize("name", ["runpod/worker-v1-vllm:latest", "runpod/worker-v1-vllm"])
def test_a_name_that_is_no_version(warned, name):
    """Of what it is nothing is known but that it changes."""
    (said,) = warned("weights: cache", image=name)

    states(said, 3, f"{name}: ")


def test_a_worker_that_is_newer_than_the_machines(warned):
    """The images since v2.19.0 are CUDA 13.0's."""
    older = [said for said in warned("weights: cache", 'cuda: ["12.8", "13.0"]', image=OFFICIAL) if "13.0" in said]
    (any_machine,) = warned("weights: cache", image=OFFICIAL)

    states(older[-1], 7, "CUDA 13.0", "v2.19.0", "cuda: ", "12.8", '; min_cuda: "13.0"')
    states(any_machine, 3, "CUDA 13.0", "v2.19.0", "without cuda", '; min_cuda: "13.0"')
    assert [] == warned("weights: cache", 'min_cuda: "13.0"', image=OFFICIAL)
    assert [] == warned("weights: cache", 'cuda: ["13.0"]', image=OFFICIAL)


@pytest.mark.parametrize(("limit", "is_told"), [("59", False), ("60", True), ("3600", True), ("0", False), ("", False)])
def test_a_worker_that_is_stopped_before_it_stops_itself(warned, limit, is_told):
    """Its own limit must be the shorter one: then there is an answer, with what there was by then."""
    found = warned("timeouts: {execution: 60s}", REQUEST_TIMEOUT=limit)

    assert len(found) == is_told
    for said in found:
        states(said, 10, f"{limit} s, ", "timeouts.execution", "60 s", '; REQUEST_TIMEOUT: "50"')


def test_the_local_runtime_has_times_of_its_own(warned):
    """What is said for it is held against what is said for it."""
    local = "local: {env: {REQUEST_TIMEOUT: '300'}, timeouts: {execution: %s}}"

    assert [] == warned(local % "10m", REQUEST_TIMEOUT="50")
    (said,) = warned(local % "5m", REQUEST_TIMEOUT="50")
    states(said, 6, "300 s, ", "timeouts.execution", "after 300 s")


@pytest.mark.parametrize(
    ("name", "value", "what"),
    [
        ("MAX_MODEL_LEN", "8k", "a whole number from 1"),
        ("MAX_MODEL_LEN", "0", "a whole number from 1"),
        ("TENSOR_PARALLEL_SIZE", "two", "a whole number from 1"),
        ("MAX_IMAGES", "-1", "a whole number from 1"),
        ("GPU_MEMORY_UTILIZATION", "90%", "a number above 0 and at most 1"),
        ("GPU_MEMORY_UTILIZATION", "1.5", "a number above 0 and at most 1"),
        ("GPU_MEMORY_UTILIZATION", "0", "a number above 0 and at most 1"),
        ("REQUEST_TIMEOUT", "50s", "a number of seconds"),
        ("DTYPE", "fp16", "auto, bfloat16, float16 or float32"),
    ],
)
def test_what_the_worker_would_not_start_with(warned, name, value, what):
    """On RunPod and, where it is said for that alone, on the local runtime."""
    line = 8 if name == "MAX_MODEL_LEN" else 9

    (at_runpod,), (here,) = warned(**{name: value}), warned(f"local: {{env: {{{name}: '{value}'}}}}")

    states(at_runpod, line, name, what)
    states(here, 6, name, what)


def test_worker_vllm_hands_lengths_on_as_vllm_spells_them(warned):
    for length in ("8k", "8K", "auto", "-1", "25.6k"):
        assert [] == warned("weights: cache", 'cuda: ["13.0"]', image=OFFICIAL, MAX_MODEL_LEN=length)
    assert 1 == len(warned("weights: cache", 'cuda: ["13.0"]', image=OFFICIAL, MAX_MODEL_LEN="many"))


@pytest.mark.parametrize("task", ["detect", "transcribe"])
def test_other_tasks_are_not_looked_at(warned, task):
    assert [] == warned(gpu="RTX A4000", disk="5GB", task=task, DTYPE="float16")


# --- told ----------------------------------------------------------------------------------------------------------


@pytest.fixture
def project(tmp_path):
    """A project with a spec in which two things cannot hold, and an overlay."""
    (tmp_path / "worker").mkdir()
    (tmp_path / "worker" / "handler.py").touch()
    (tmp_path / "configs").mkdir()
    (tmp_path / "configs" / "eyes.yaml").write_text(
        f"name: eyes\ntask: describe\nimage: {BUILT}\ngpu: [RTX A4000]\nweights: cache\n"
        f"env: {{MODEL_NAME: {NAME}, DTYPE: float16}}\n"
    )
    (tmp_path / "configs" / "eyes.prod.yaml").write_text("gpu: A100\nworkers: {max: 1}\n")
    return tmp_path


def test_validate_warns_with_a_place_and_a_caret(project):
    """Like mistakes, on stderr; the overlay's base is not told twice; and all is well in the end."""
    outcome = vidctl("validate", cwd=project)
    lines = outcome.stderr.splitlines()

    assert (0, ["eyes: valid (eyes)", "eyes.prod: valid (eyes-prod)"]) == (
        outcome.status,
        [line for line in outcome.stdout.splitlines() if line.startswith("eyes")],
    )
    assert lines[0].startswith(f"warning: configs/eyes.yaml:4:6: {NAME} needs 19.5 GiB ")
    assert lines[1:3] == ["    gpu: [RTX A4000]", "         ^"]
    assert lines[3].startswith("warning: configs/eyes.yaml:6:53: Qwen3-VL's weights are bfloat16; ")
    assert 6 == len(lines)


def test_validate_gives_warnings_in_json(project):
    """Beside the mistakes, which there are none of."""
    outcome = vidctl("validate", "--json", cwd=project)
    document = outcome.document

    assert (0, "", []) == (outcome.status, outcome.stderr, document["mistakes"])
    assert [("configs/eyes.yaml", 4, 6), ("configs/eyes.yaml", 6, 53)] == [
        (each["file"], each["line"], each["column"]) for each in document["warnings"]
    ]
    assert {"file", "line", "column", "message", "hint"} == set(document["warnings"][0])


def test_a_spec_with_mistakes_is_not_warned_of(project):
    """First things first."""
    path = project / "configs" / "eyes.yaml"
    path.write_text(path.read_text() + "worker: 3\n")

    assert [] == spec.warnings(path, environ={})


def test_an_overlay_is_warned_of_where_it_says_something(project):
    """What it brings stands in its own file."""
    overlay = project / "configs" / "eyes.prod.yaml"
    overlay.write_text("gpu: L4\nenv: {MAX_MODEL_LEN: '100000'}\n")
    places = [(each.path.name, each.line, each.column) for each in spec.warnings(overlay, environ={})]

    assert [("eyes.yaml", 6, 53), ("eyes.prod.yaml", 2, 22)] == places


# --- versions of CUDA ----------------------------------------------------------------------------------------------


def test_a_list_of_cuda_versions_that_leaves_newer_ones_out(warned):
    """RunPod takes a machine only if its very version is in the list; a least version takes all newer ones."""
    exact = "RunPod matches these versions exactly: machines with CUDA"

    assert [f'6: {exact} 12.9, 13.0 are left out; add them, or write min_cuda: "12.8"'] == warned(
        'cuda: ["12.8"]', task="detect"
    )
    assert [] == warned('cuda: ["12.9", "13.0", "13.10"]', task="detect")
    assert [] == warned('min_cuda: "12.8"', task="detect")
