"""What every test gets: no unnoticed skip where nothing may be skipped, and no touch of the user's own state."""

from __future__ import annotations

import os
import shutil
from collections.abc import Generator
from pathlib import Path

import hypothesis
import pytest
from support.project import Project

ROOT = Path(__file__).resolve().parent.parent

# How long an example takes says nothing of the code on a busy machine.
hypothesis.settings.register_profile("untimed", deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow])
hypothesis.settings.load_profile("untimed")

# Set by CI: every tool is there, so a skipped test is a failed one.
_FORBIDS_SKIPS = os.environ.get("VIDCTL_REQUIRE") == "all"


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
def _own_state(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A test sees neither the developer's RunPod key nor their runtime, and writes its state into its own folder."""
    for name in list(os.environ):
        if name.startswith(("RUNPOD_", "VIDCTL_")) and name not in ("VIDCTL_CACHE_DIR", "VIDCTL_REQUIRE"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("VIDCTL_STATE_DIR", str(tmp_path / "state"))


@pytest.fixture
def project(tmp_path: Path) -> Generator[Project, None, None]:
    """A project of the test's own; its runtime starts when it is needed and is stopped afterwards."""
    project = Project(tmp_path / "project")
    yield project
    project.close()


@pytest.fixture(scope="session")
def yolo_project(tmp_path_factory: pytest.TempPathFactory) -> Generator[Project, None, None]:
    """The shipped YOLO spec and worker, deployed with the tests' own weights (circles, squares and triangles)."""
    project = Project(tmp_path_factory.mktemp("yolo"))
    project.environ["VIDCTL_YOLO_MODEL"] = str(ROOT / "tests" / "data" / "shapes.pt")
    shutil.copy(ROOT / "configs" / "yolo.yaml", project.root / "configs")
    (project.root / "workers").symlink_to(ROOT / "workers")
    outcome = project.run("deploy", "yolo", timeout_s=1200)
    assert outcome.status == 0, outcome.stderr
    yield project
    project.close()
