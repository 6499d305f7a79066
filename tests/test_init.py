"""`vidctl init`: a project from nothing, out of what the package carries."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from support.command import vidctl
from support.failing import failed, failing

from vidctl import revision
from vidctl.project.starter import WORKERS, create, starter_files
from vidctl.revision import of_checkout

ROOT = Path(__file__).resolve().parent.parent


def _written(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


def test_a_new_project_has_valid_specs_and_a_second_run_changes_nothing(tmp_path: Path) -> None:
    first = vidctl("init", "--json", cwd=tmp_path)
    before = {path: (tmp_path / path).read_bytes() for path in _written(tmp_path)}
    second = vidctl("init", "--json", cwd=tmp_path)
    valid = vidctl("validate", "--json", cwd=tmp_path)

    assert (0, 0, 0) == (first.status, second.status, valid.status)
    assert set(before) == set(first.document["created"]) == set(second.document["unchanged"])
    assert before == {path: (tmp_path / path).read_bytes() for path in _written(tmp_path)}
    assert sorted(WORKERS) == [each["spec"] for each in valid.document["valid"]]
    assert {"sample.jpg", "clip.mp4", "speech.wav", "SAMPLES.md", ".env.example", ".gitignore"} <= set(before)


@pytest.mark.parametrize("worker", WORKERS)
def test_a_workers_folder_is_whole_and_has_nothing_more(worker: str) -> None:
    """What Git keeps of it, however much of weights and caches the checkout has."""
    listed = subprocess.run(
        ["git", "ls-files", f"workers/{worker}"], cwd=ROOT, capture_output=True, text=True, check=True
    )

    files = {str(each.path) for each in starter_files([worker]) if each.path.parts[0] == "workers"}

    assert set(listed.stdout.split()) == files


def test_what_is_there_is_kept(tmp_path: Path) -> None:
    (tmp_path / "configs").mkdir()
    (tmp_path / "configs" / "yolo.yaml").write_text("name: mine\n")
    (tmp_path / ".gitignore").symlink_to(tmp_path / "nowhere")

    outcome = vidctl("init", "yolo", "--json", cwd=tmp_path)

    assert outcome.status == 0
    assert sorted([".gitignore", "configs/yolo.yaml"]) == sorted(outcome.document["kept"])
    assert (tmp_path / "configs" / "yolo.yaml").read_text() == "name: mine\n"
    assert not (tmp_path / "nowhere").exists()


def test_where_it_cannot_be_written_nothing_is(tmp_path: Path) -> None:
    (tmp_path / "workers").write_text("a file")

    with failing("failure", "workers"):
        create(tmp_path, starter_files(["yolo"]))

    assert {"workers"} == _written(tmp_path)


def test_a_minimal_worker_is_valid_and_alone(tmp_path: Path) -> None:
    outcome = vidctl("init", "--plain", "my-worker", "--json", cwd=tmp_path)
    valid = vidctl("validate", "--json", cwd=tmp_path)

    assert outcome.document["next"][0] == "vidctl deploy my-worker --target local"
    assert [("my-worker", "my-worker")] == [(each["spec"], each["name"]) for each in valid.document["valid"]]
    assert {
        *(f"workers/my-worker/{name}" for name in ("Dockerfile", "handler.py", "requirements.txt", "test_input.json")),
        *("configs/my-worker.yaml", "configs/spec.schema.json", "configs/overlay.schema.json"),
        *(".env.example", ".gitignore"),
    } == _written(tmp_path)


@pytest.mark.parametrize("arguments", [("yolov8",), ("--plain", "My Worker"), ("--plain", "a"), ("--plain", "yolo")])
def test_a_name_that_cannot_be_is_refused_before_anything_is_written(
    tmp_path: Path, arguments: tuple[str, ...]
) -> None:
    outcome = vidctl("init", *arguments, "--json", cwd=tmp_path)

    failed(outcome, "usage_error", arguments[-1])
    assert set() == _written(tmp_path)


def test_the_wheel_carries_the_same_files(tmp_path: Path) -> None:
    subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", tmp_path],
        cwd=ROOT,
        check=True,
        capture_output=True,
    )
    (wheel,) = tmp_path.glob("*.whl")
    zipfile.ZipFile(wheel).extractall(tmp_path / "installed")
    script = (
        "import hashlib, json; from vidctl.project import starter; "
        "print(json.dumps([starter.__file__, {str(f.path): hashlib.sha256(f.data).hexdigest()"
        " for f in starter.starter_files(starter.WORKERS, ['mine'])}]))"
    )

    done = subprocess.run(
        [sys.executable, "-c", script], cwd=tmp_path / "installed", capture_output=True, check=True,
        env={"PYTHONPATH": str(tmp_path / "installed")},
    )  # fmt: skip
    where, files = json.loads(done.stdout)

    assert Path(where).is_relative_to(tmp_path)
    assert {str(each.path): hashlib.sha256(each.data).hexdigest() for each in starter_files(WORKERS, ["mine"])} == files
    assert wheel.stat().st_size < 5_000_000
    assert of_checkout(ROOT) == (tmp_path / "installed" / revision.FILE).read_text().strip()
