"""What workers and client must do alike has one source."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent


def _sync_workers():
    spec = importlib.util.spec_from_file_location("sync_workers", ROOT / "tools/sync_workers.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


sync_workers = _sync_workers()


def test_every_shared_file_is_copied_somewhere():
    """No file of workers/_shared is forgotten in the table."""
    assert sorted(path.name for path in sync_workers.SHARED.glob("*.py")) == sorted(sync_workers.COPIES)


@pytest.mark.parametrize("copy", sync_workers.copies(), ids=lambda path: str(path.relative_to(ROOT)))
def test_a_copy_is_its_source(copy):
    """`make sync-workers` has run since the source was edited, and nobody edited a copy."""
    assert sync_workers.copies()[copy] == copy.read_text()
