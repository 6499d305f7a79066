"""The runtime that the tests of this folder share, and one of their own for those that kill it."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.runtime import LocalRuntime

HANDLERS = Path(__file__).parent / "handlers"


@pytest.fixture(scope="session")
def shared_runtime(tmp_path_factory):
    runtime = LocalRuntime(tmp_path_factory.mktemp("runtime"))
    runtime.start()
    yield runtime
    runtime.close()


@pytest.fixture
def runtime(shared_runtime):
    """A running runtime; endpoints are each test's own."""
    return shared_runtime


@pytest.fixture
def own_runtime(tmp_path):
    """A running runtime that the test may stop and kill."""
    runtime = LocalRuntime(tmp_path / "runtime")
    runtime.start()
    yield runtime
    runtime.close()


@pytest.fixture(scope="session")
def handlers():
    """The folder of the tests' own workers."""
    return HANDLERS
