"""The formats of results: each task's table is what its command offers."""

from __future__ import annotations

from typing import get_args

import pytest

from vidctl.cli import describe, detect
from vidctl.tasks.describe import formats as answers
from vidctl.tasks.detect import formats as detections


@pytest.mark.parametrize(
    ("offered", "table"), [(detect.Format, detections.FORMATS), (describe.Format, answers.FORMATS)]
)
def test_a_command_offers_its_tasks_formats(offered: object, table: dict[str, object]) -> None:
    """The option's words are spelled beside it, for `--help` loads no task."""
    assert list(table) == list(get_args(offered))
