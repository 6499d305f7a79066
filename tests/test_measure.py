"""tools/measure.py counts what its docstring says, on a house small enough to count by hand."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

TOOL = Path(__file__).resolve().parents[1] / "tools/measure.py"
SAME = "\n".join(f"    total += {number}" for number in range(6))
FILES = {
    "pyproject.toml": '[project]\nname = "toy"\n\n[tool.importlinter]\nroot_package = "vidctl"\n\n'
    '[[tool.importlinter.contracts]]\nlayers = [\n    "vidctl.cli",\n    # why\n'
    '    "vidctl.errors",\n]\n\n[tool.ruff]\n',
    "README.md": "# Toy\n\nFind objects in an image.\n\n- Of a film,\n  every second\n- of a scene\n",
    "vidctl/__init__.py": "",
    "vidctl/py.typed": "",
    "vidctl/presets/one.json": "{}",
    "vidctl/errors.py": "class NotDeployed(Exception): ...\n",
    "vidctl/plan.py": 'class Step: ...\n\n\ndef plan():\n    raise NotDeployed("there is no such", hint="do it")\n',
    "vidctl/local/__init__.py": "",
    "vidctl/local/work.py": "class _Step: ...\n\n\ndef work():\n" + "    pass\n" * 449,
    "workers/one/handler.py": f"def one():\n    total = 1\n{SAME}\n",
    "workers/two/handler.py": f"def two():\n    total = 2\n\n{SAME}\n",
    "workers/_shared/handler.py": f"def two():\n    total = 2\n{SAME}\n",
    "tests/test_one.py": "def test_one(): ...\n\n\ndef helper(): ...\n",
}


@pytest.fixture
def toy(tmp_path):
    for name, text in FILES.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return tmp_path


def measured(root, *options):
    command = [sys.executable, TOOL, "--root", root, *options]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def test_every_number_is_what_a_person_counts(toy):
    numbers = json.loads(measured(toy, "--json"))

    assert numbers == {
        "top_level_entries": 3,  # errors, local, plan
        "repeated_types": 1,  # Step
        "long_modules": 1,  # local/work, of 453 lines
        "contract_lines": 7,
        "contract_names": 2,
        "functions": 2,
        "long_functions": 1,
        "long_functions_percent": 50,
        "median_function": 226,
        "worker_repeats": 1,
        "user_strings": 6,  # four blocks of the page, a message and its hint
        "left_out_strings": 2,
        "test_functions": 1,
        "tests": 1,
    }


def test_the_places_are_listed(toy):
    assert ["vidctl/plan.py:5: there is no such", "README.md:5: film"] == measured(
        toy, "--list", "left_out_strings"
    ).splitlines()


def test_no_user_reads_a_left_out_word():
    """In help, errors, hints and pages; `tools/words.py` says what to write instead."""
    assert [] == measured(TOOL.parent.parent, "--list", "left_out_strings").split()
