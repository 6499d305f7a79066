"""What every test gets: no unnoticed skip where nothing may be skipped, and no touch of the user's own state."""

from __future__ import annotations

import os
import shutil
from collections import Counter
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from pathlib import Path

import docker
import hypothesis
import pytest
from support import engine as engines
from support import speech, vision
from support.failing import COLLECTED, _of_this_test  # noqa: F401  for every test
from support.project import ECHO_SMOKE, Project
from support.runtime import LocalRuntime

ROOT = Path(__file__).resolve().parent.parent

# How long an example takes says nothing of the code on a busy machine.
hypothesis.settings.register_profile("untimed", deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow])
hypothesis.settings.load_profile("untimed")

# Set by CI: every tool is there, so a skipped test is a failed one.
_FORBIDS_SKIPS = os.environ.get("VIDCTL_REQUIRE") == "all"


# The files that take longest.  Each is one process's (`make test`), so one that began last would be waited for.  The
# first need different workers' environments: whoever needs one that is not in the cache makes it.
_LONG = (
    "test_speech.py",
    "test_package.py",
    "workers/test_qwen_vl_engine.py",
    "workers/test_whisper_image.py",
    "workers/test_qwen_vl_image.py",
    "workers/test_yolo_image.py",
    "workers/test_whisper.py",
    "test_deploy_faults.py",
    "test_transcribing.py",
    "workers/test_yolo.py",
    "test_deploy.py",
    "test_rollout.py",
    "test_outputs.py",
    "test_audio.py",
    "test_images.py",
    "workers/test_qwen_vl.py",
    "test_describing.py",
    "local/test_environments.py",
    "test_promises_images.py",
    "test_promises_control.py",
    "test_images_command.py",
    "workers/test_whisper_handler.py",
    "test_vision.py",
    "local/test_runtime_workers.py",
)


# What a test needs, known by its fixtures; a test that needs it without one of these is marked where it stands.
_NEEDS = {
    "docker": {"engine", "registry", "locked_registry"},
    "model": {"yolo_project", "whisper_project", "qwen_project", "yolo_python", "whisper_python", "qwen_python"},
    "runtime": {"project", "runtime", "own_runtime", "deployed", "deployments", "dictation", "unlimited"},
    "media": {"made"},
}


@pytest.hookimpl(tryfirst=True)  # before -m chooses
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Every test in its lanes; long files first, then those of many tests, a file's together and in their order."""
    for item in items:
        _put_into_lanes(item)
        item.config.stash.setdefault(COLLECTED, set()).add(f"{item.path.stem}::{item.name}")
    counts = Counter(item.path for item in items)

    def place(item: pytest.Item) -> tuple[int, int, Path]:
        name = os.path.relpath(item.path, ROOT / "tests")
        return (_LONG.index(name) if name in _LONG else len(_LONG), -counts[item.path], item.path)

    items.sort(key=place)


def _put_into_lanes(item: pytest.Item) -> None:
    used = set(getattr(item, "fixturenames", ()))
    for lane, fixtures in _NEEDS.items():
        if used & fixtures:
            item.add_marker(lane)
    if not any(item.get_closest_marker(lane) for lane in _NEEDS):
        item.add_marker("unit")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    if _FORBIDS_SKIPS and report.skipped and not hasattr(report, "wasxfail"):
        report.outcome = "failed"
        report.longrepr = f"skipped, but VIDCTL_REQUIRE=all forbids it: {report.longrepr}"
    return report


@pytest.fixture(autouse=True)
def _own_state(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A test sees neither the developer's RunPod key nor their runtime, and writes its state into its own folder.

    One of the lane `unit` finds no engine and an empty cache, on whatever machine it runs.
    """
    for name in list(os.environ):
        if name.startswith(("RUNPOD_", "VIDCTL_")) and name not in ("VIDCTL_CACHE_DIR", "VIDCTL_REQUIRE"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("VIDCTL_STATE_DIR", str(tmp_path / "state"))
    if request.node.get_closest_marker("unit"):
        monkeypatch.setenv("DOCKER_HOST", "tcp://127.0.0.1:1")
        monkeypatch.setenv("VIDCTL_CACHE_DIR", str(tmp_path / "cache"))


@pytest.fixture
def project(tmp_path: Path) -> Generator[Project, None, None]:
    """A project of the test's own; its runtime starts when it is needed and is stopped afterwards."""
    project = Project(tmp_path / "project")
    yield project
    project.close()


@pytest.fixture(scope="session")
def account_runtime(tmp_path_factory: pytest.TempPathFactory) -> Generator[LocalRuntime, None, None]:
    """What plays the accounts of tests that neither stop it nor run a worker."""
    runtime = LocalRuntime(tmp_path_factory.mktemp("account"), has_rate_limits=False)
    runtime.start()
    yield runtime
    runtime.close()


@pytest.fixture
def echo(project: Project) -> Project:
    """A project with a plain endpoint: no task, any folder with a handler."""
    project.worker("echo")
    project.spec("echo", worker="echo", smoke=ECHO_SMOKE)
    return project


@pytest.fixture(scope="session")
def yolo_project(tmp_path_factory: pytest.TempPathFactory) -> Generator[Project, None, None]:
    """The shipped YOLO spec and worker, deployed with the tests' own weights (circles, squares and triangles)."""
    with _shipped("yolo", tmp_path_factory, VIDCTL_YOLO_MODEL=ROOT / "tests" / "data" / "shapes.pt") as project:
        yield project


@pytest.fixture(scope="session")
def whisper_project(tmp_path_factory: pytest.TempPathFactory) -> Generator[Project, None, None]:
    """The shipped Whisper spec and worker, deployed with the real base model."""
    with _shipped("whisper", tmp_path_factory, VIDCTL_WHISPER_MODEL=speech.weights()) as project:
        yield project


@pytest.fixture(scope="session")
def qwen_project(tmp_path_factory: pytest.TempPathFactory) -> Generator[Project, None, None]:
    """The shipped Qwen3-VL spec and worker, deployed with the tiny random model on the real engine.

    The engine's socket is in `place`.
    """
    vision.engine_python()
    place = tmp_path_factory.mktemp("v")
    with _shipped("qwen-vl", tmp_path_factory, VIDCTL_QWEN_VL_MODEL=vision.weights(), TMPDIR=place) as project:
        project.place = place
        yield project


@contextmanager
def _shipped(key: str, folders: pytest.TempPathFactory, **environ: Path) -> Iterator[Project]:
    """A project with a shipped spec, deployed with these variables."""
    project = Project(folders.mktemp(key))
    project.environ |= {name: str(value) for name, value in environ.items()}
    shutil.copy(ROOT / "configs" / f"{key}.yaml", project.root / "configs")
    (project.root / "workers").symlink_to(ROOT / "workers")
    outcome = project.run("deploy", key, timeout_s=1200)
    assert outcome.status == 0, outcome.stderr
    yield project
    project.close()


@pytest.fixture(scope="session")
def engine() -> Generator[docker.APIClient, None, None]:
    """A client of the Docker engine of this machine."""
    client = engines.connect()
    yield client
    client.close()


@pytest.fixture(scope="session")
def base_busybox(engine: docker.APIClient) -> str:
    """The name of an image of two megabytes that has a shell."""
    return engines.given("TEST_BASE_BUSYBOX")


@pytest.fixture(scope="session")
def base_python(engine: docker.APIClient) -> str:
    """The name of an image that has Python, pip and a shell."""
    return engines.given("TEST_BASE_PYTHON")


@pytest.fixture(scope="session")
def registry() -> str:
    """`host:port` of a registry that lets everybody push."""
    return engines.given("TEST_REGISTRY")


@pytest.fixture(scope="session")
def locked_registry() -> engines.Locked:
    return engines.Locked(
        engines.given("TEST_REGISTRY_AUTH"), engines.given("TEST_REGISTRY_USER"), engines.given("TEST_REGISTRY_PASS")
    )


@pytest.fixture
def repository(engine: docker.APIClient, registry: str) -> Generator[str, None, None]:
    """A repository of the test's own in the open registry."""
    with engines.repository_of(engine, registry) as name:
        yield name


@pytest.fixture
def docker_config(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """The folder of Docker's configuration, the test's own: it knows no credentials."""
    folder = tmp_path / "docker"
    folder.mkdir()
    monkeypatch.setenv("DOCKER_CONFIG", str(folder))
    return folder
