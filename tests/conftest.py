"""What every test gets: no skip goes unnoticed where nothing may be skipped, and no test touches the user's own state."""

from __future__ import annotations

import os
from collections.abc import Generator
from pathlib import Path

import pytest

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
