"""The site of docs/: its command lines parse, what is made from code is as the code is, and the action plans."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from support.project import Project
from support.shell import parsed, words_of

ROOT = Path(__file__).resolve().parent.parent
PAGES = [path for path in (ROOT / "docs").glob("*.md") if path.stem not in ("architecture", "how-it-works")]
LINES = [
    (path.name, line.removeprefix("$ "))
    for path in [*PAGES, ROOT / "SKILL.md"]
    for line in path.read_text(encoding="utf-8").splitlines()
    if re.match(r"\$ (.*(\||&&) )?vidctl ", line)
]


@pytest.mark.parametrize(("page", "line"), LINES)
def test_the_pages_command_lines_parse(page: str, line: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT / "samples")

    parsed(words_of(line))


def test_what_is_made_from_code_is_as_the_code_is() -> None:
    done = subprocess.run(
        [sys.executable, "tools/reference.py", "--check"], cwd=ROOT, capture_output=True, text=True, check=False
    )

    assert (0, "") == (done.returncode, done.stdout + done.stderr)


def test_the_site_is_built_without_a_warning(tmp_path: Path) -> None:
    """No link leads nowhere."""
    shutil.copytree(ROOT / "docs", tmp_path / "docs")
    (tmp_path / "zensical.toml").write_text((ROOT / "zensical.toml").read_text())

    done = subprocess.run(
        [Path(sys.executable).with_name("zensical"), "build", "--strict"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )

    assert 0 == done.returncode, done.stdout + done.stderr
    assert (tmp_path / "site" / "reference" / "cli" / "index.html").is_file()


def test_every_page_is_in_the_navigation() -> None:
    named = set(re.findall(r'"([\w/-]+\.md)"', (ROOT / "zensical.toml").read_text()))
    there = {path.relative_to(ROOT / "docs").as_posix() for path in (ROOT / "docs").rglob("*.md")}

    assert there == named


def test_the_action_plans_and_says_whether_there_is_something_to_do(project: Project, tmp_path: Path) -> None:
    project.worker("echo")
    project.spec("echo", worker="echo")
    (tmp_path / "bin").mkdir()
    script = f"#!/bin/sh\nexec '{sys.executable}' -m vidctl \"$@\"\n"
    (tmp_path / "bin" / "vidctl").write_text(script)
    (tmp_path / "bin" / "vidctl").chmod(0o755)
    summary, output = tmp_path / "summary", tmp_path / "output"

    done = subprocess.run(
        [ROOT / ".github" / "actions" / "plan" / "plan.sh"],
        cwd=project.root,
        env={
            **os.environ,
            **project.environ,
            "PATH": f"{tmp_path / 'bin'}:{os.environ['PATH']}",
            "SPECS": "--all",
            "VIDCTL_TARGET": "local",
            "RUNNER_TEMP": str(tmp_path),
            "GITHUB_STEP_SUMMARY": str(summary),
            "GITHUB_OUTPUT": str(output),
        },
        capture_output=True,
        text=True,
        check=False,
    )
    variables = dict(line.split("=", 1) for line in output.read_text().splitlines())

    assert 0 == done.returncode, done.stderr
    assert "true" == variables["has-changes"]
    assert "echo" == json.loads(Path(variables["plan"]).read_text())[0]["spec"]
    assert "create" in summary.read_text()
