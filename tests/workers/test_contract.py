"""What every folder in workers/ promises: to RunPod's builder and Hub, to the local runtime, and to the next worker."""

from __future__ import annotations

import ast
import json
import re
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.version import Version

from vidctl import spec

ROOT = Path(__file__).resolve().parents[2]
WORKERS = sorted(path.parent for path in (ROOT / "workers").glob("*/handler.py"))
PYTHONS = ("3.10", "3.11", "3.12", "3.13")
# Of the image vllm/vllm-openai (vllm-project/vllm, docker/Dockerfile).
VLLM_PYTHON = "3.12"

# RunPod docs, hub/publishing-guide.
CATEGORIES = {"audio", "embedding", "language", "video", "image"}
POOLS = {
    "AMPERE_16", "AMPERE_24", "ADA_24", "ADA_32_PRO", "AMPERE_48", "ADA_48_PRO", "AMPERE_80", "ADA_80_PRO",
    "HOPPER_141", "BLACKWELL_96", "BLACKWELL_180",
}  # fmt: skip
ENV_TYPES = {"string", "number", "boolean", "huggingface"}


@pytest.fixture(params=WORKERS, ids=lambda folder: folder.name)
def folder(request: pytest.FixtureRequest) -> Path:
    return request.param


def test_a_worker_has_its_files(folder):
    """Each worker can be built, run, tested and published from its folder alone."""
    wanted = {
        "handler.py", "Dockerfile", ".dockerignore", "requirements.txt", "requirements-cpu.txt", "README.md", "LICENSE",
        "test_input.json", "test_output.json", ".runpod/hub.json", ".runpod/tests.json",
    }  # fmt: skip

    assert set() == {name for name in wanted if not (folder / name).is_file()}


def test_a_worker_imports_nothing_of_vidctl(folder):
    """They meet in JSON: a worker's image does not hold vidctl."""
    imported = {name for path in folder.glob("*.py") for name in _imports(path)}

    assert "vidctl" not in imported


def test_a_handler_starts_only_as_the_main_program(folder):
    """The SDK's heartbeat process may import handler.py again; that must not start a second worker."""
    tree = ast.parse((folder / "handler.py").read_text())
    guards = [ast.unparse(node.test) for node in tree.body if isinstance(node, ast.If)]
    at_top = [
        ast.unparse(node) for node in tree.body if isinstance(node, ast.Expr) and isinstance(node.value, ast.Call)
    ]

    assert ("__name__ == '__main__'" in guards, []) == (True, at_top)


def test_a_dockerfile_builds_with_the_classic_builder(folder):
    """docker-py speaks to the classic builder, which knows no RUN --mount and no heredocs."""
    text = _dockerfile(folder)

    assert [] == re.findall(r"--mount|<<\w+|--link|--checksum", text)


def test_a_dockerfile_pins_its_base(folder):
    """The base is an ARG, so that a test can give another, and its default names one version."""
    default = re.search(r"^ARG BASE=(\S+)$", _dockerfile(folder), re.MULTILINE)[1]
    bases = re.findall(r"^FROM (\S+)", _dockerfile(folder), re.MULTILINE)

    assert (["${BASE}"], True) == (bases, bool(re.search(r":v?\d+\.\d+\.\d+|@sha256:", default)))


def test_code_is_the_last_layer_of_an_image(folder):
    """Weights and libraries lie below the code, so that a changed handler pushes kilobytes."""
    steps = re.findall(r"^(RUN|COPY|ADD)\b(.*)$", _dockerfile(folder), re.MULTILINE)
    verb, what = steps[-1]

    assert ("COPY", True) == (verb, ".py" in what)
    assert not any(".py" in what for verb, what in steps[:-1] if verb == "COPY")


def test_an_image_runs_unbuffered_and_not_as_root(folder):
    """Logs appear as they are written; the user is a number that a build argument can change."""
    text = _dockerfile(folder)

    assert "PYTHONUNBUFFERED=1" in text
    assert re.search(r"^ARG RUN_AS=[1-9]\d*$", text, re.MULTILINE)
    assert re.search(r"^USER \$\{RUN_AS\}$", text, re.MULTILINE)
    assert 'CMD ["python", "-u", "handler.py"]' == text.strip().splitlines()[-1]


def test_no_secret_is_built_into_an_image(folder):
    """Keys come from the endpoint's environment."""
    names = re.findall(r"(\w*(?:TOKEN|SECRET|PASSWORD|API_KEY)\w*)\s*=", _dockerfile(folder))

    assert [] == names


@pytest.mark.parametrize("name", ["requirements.txt", "requirements-cpu.txt"])
def test_requirements_are_pinned(folder, name):
    """Every package has exactly one version, and none that only one index has (`+cpu`)."""
    loose = [str(one) for one in _requirements(folder / name) if not re.fullmatch(r"==[^*+,]+", str(one.specifier))]

    assert [] == loose


def test_cpu_requirements_bring_no_cuda(folder):
    """A laptop does not download 3 GB that it cannot use."""
    names = {one.name for one in _requirements(folder / "requirements-cpu.txt")}

    assert set() == {name for name in names if re.match(r"nvidia-(?!ml-py$)|cuda-|triton$", name)}


@pytest.mark.parametrize("python", PYTHONS)
def test_cpu_requirements_satisfy_the_extra(folder, python):
    """What pyproject.toml asks for is what the lock gives, on every Python: `make lock` was run."""
    pins = _versions(folder / "requirements-cpu.txt", python)
    wanted = _extra(f"{folder.name}-cpu")

    assert [] == [str(one) for one in wanted if not one.specifier.contains(pins.get(one.name, "0"))]


def test_image_requirements_satisfy_the_extra(folder):
    """The image has what pyproject.toml asks for, on the Python of its base."""
    base, version = re.search(r"^ARG BASE=(\S+):v?(\d+\.\d+)", _dockerfile(folder), re.MULTILINE).groups()
    python = version if base == "python" else VLLM_PYTHON
    pins = _versions(folder / "requirements.txt", python)

    assert [] == [str(one) for one in _extra(folder.name) if not one.specifier.contains(pins.get(one.name, "0"))]


def test_the_example_job_fits_its_answer(folder):
    """test_input.json is a job, test_output.json an answer without an error; both are small."""
    job, answer = (json.loads((folder / name).read_text()) for name in ("test_input.json", "test_output.json"))

    assert ({"input"}, False) == (set(job), "error" in answer or "output" in answer)
    assert (folder / "test_input.json").stat().st_size < 60_000


def test_the_hub_file_says_what_the_hub_asks_for(folder):
    """RunPod docs, hub/publishing-guide: pools for the GPUs, presets that set known variables, typed settings."""
    hub = json.loads((folder / ".runpod/hub.json").read_text())
    config = hub["config"]
    keys = {one["key"] for one in config["env"]}

    assert ("serverless", True, "GPU") == (hub["type"], hub["category"] in CATEGORIES, config["runsOn"])
    assert hub["title"]
    assert hub["description"]
    assert {pool for pool in config["gpuIds"].split(",") if not pool.startswith("-")} <= POOLS
    assert isinstance(config["containerDiskInGb"], int)
    assert all(re.fullmatch(r"\d+\.\d+", cuda) for cuda in config["allowedCudaVersions"])
    assert {key for preset in config["presets"] for key in preset["defaults"]} <= keys
    assert [] == [one["key"] for one in config["env"] if "value" not in one and one["input"]["type"] not in ENV_TYPES]


def test_machines_have_the_cuda_that_the_image_needs(folder):
    """The Hub's files and the shipped spec ask for a driver of the CUDA version that the image's libraries are of.

    Libraries of one major version run with any driver of that version (NVIDIA's minor version compatibility).
    """
    newest = _cuda(folder)
    hub, tests = (json.loads((folder / f".runpod/{name}.json").read_text())["config"] for name in ("hub", "tests"))
    shipped = spec.load(ROOT / f"configs/{folder.name}.yaml", environ={})
    oldest = {
        min(map(Version, allowed))
        for allowed in (hub["allowedCudaVersions"], tests["allowedCudaVersions"], shipped.cuda)
    }

    assert 1 == len(oldest)
    assert all(newest.major == one.major and one <= newest for one in oldest)


def test_the_hub_tests_are_jobs(folder):
    """Each has a name, an input and a time-out in milliseconds; the GPU is named by its type, not by its pool."""
    tests = json.loads((folder / ".runpod/tests.json").read_text())

    assert tests["config"]["gpuTypeId"] not in POOLS
    assert len({one["name"] for one in tests["tests"]}) == len(tests["tests"]) > 0
    assert all(one["input"] and one["timeout"] >= 1000 for one in tests["tests"])


def _cuda(folder: Path) -> Version:
    """The CUDA version of the image's libraries: what it installs, or what its base says of itself."""
    toolkits = {"cuda-toolkit", "nvidia-cublas-cu12"}
    installed = [one for one in _requirements(folder / "requirements.txt") if one.name in toolkits]
    if not installed:
        return Version(re.search(r"CUDA (\d+\.\d+)", (folder / "Dockerfile").read_text())[1])
    return Version(re.match(r"==(\d+\.\d+)", str(installed[0].specifier))[1])


def _imports(path: Path) -> set[str]:
    nodes = list(ast.walk(ast.parse(path.read_text())))
    plain = {alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names}
    return {name.split(".")[0] for name in plain | {n.module or "" for n in nodes if isinstance(n, ast.ImportFrom)}}


def _dockerfile(folder: Path) -> str:
    """The instructions, without comments, a continued one on one line."""
    lines = [line for line in (folder / "Dockerfile").read_text().splitlines() if not line.startswith("#")]
    return re.sub(r"\\\n\s*", " ", "\n".join(lines))


def _requirements(path: Path) -> list[Requirement]:
    lines = (line.partition("#")[0].strip() for line in path.read_text().splitlines())
    return [Requirement(line) for line in lines if line and not line.startswith("--")]


def _versions(path: Path, python: str) -> dict[str, Version]:
    """The pins that hold on Linux with this Python; two for one package would be a contradiction."""
    here = {
        "python_version": python, "python_full_version": f"{python}.9",
        "sys_platform": "linux", "platform_system": "Linux",
        "platform_machine": "x86_64", "platform_python_implementation": "CPython", "implementation_name": "cpython",
        "os_name": "posix", "extra": "",
    }  # fmt: skip
    pins = [one for one in _requirements(path) if one.marker is None or one.marker.evaluate(here)]
    found = {one.name: Version(next(iter(one.specifier)).version) for one in pins}
    assert len(found) == len(pins)
    return found


def _extra(name: str) -> list[Requirement]:
    """The requirements of an extra, as pyproject.toml has them: read by pattern, for Python 3.10 has no tomllib."""
    text = (ROOT / "pyproject.toml").read_text()
    body = re.search(rf"^{re.escape(name)} = \[(.*?)\]$", text, re.MULTILINE | re.DOTALL)[1]
    return [Requirement(one) for one in re.findall(r'"([^"]+)"', body)]
