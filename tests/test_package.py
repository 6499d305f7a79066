"""What is published: installed into a new environment, it leads from an empty folder to an answer."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import zipfile
from collections.abc import Generator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent

pytestmark = pytest.mark.model  # a new environment, and the one of the worker


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder with what `make dist` makes."""
    folder = tmp_path_factory.mktemp("dist")
    subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-t", "sdist", "-d", folder],
        cwd=ROOT,
        check=True,
        capture_output=True,
    )
    return folder


class _Newcomer:
    """Somebody with nothing but the package: an environment, an empty folder, no key."""

    def __init__(self, place: Path, package: Path) -> None:
        self.folder = place / "empty"
        self.folder.mkdir()
        self._bin = place / "venv" / "bin"
        subprocess.run([sys.executable, "-m", "venv", place / "venv"], check=True)
        subprocess.run([self._bin / "pip", "install", "--quiet", package], check=True, timeout=600)
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        self._environ = {
            **{name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "VIRTUAL_ENV")},
            "VIDCTL_YOLO_MODEL": str(ROOT / "tests" / "data" / "shapes.pt"),
            "VIDCTL_STATE_DIR": str(place / "state"),
            "VIDCTL_LOCAL_PORT": str(port),
        }

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [self._bin / "vidctl", *arguments],
            cwd=self.folder,
            env=self._environ,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=1200,
            check=False,
        )


@pytest.fixture(params=["*.whl", "*.tar.gz"], ids=["wheel", "sdist"])
def newcomer(request: pytest.FixtureRequest, built: Path, tmp_path: Path) -> Generator[_Newcomer, None, None]:
    (package,) = built.glob(request.param)
    someone = _Newcomer(tmp_path, package)
    yield someone
    someone.run("local", "down")


def test_four_commands_lead_from_an_empty_folder_to_an_answer(newcomer: _Newcomer) -> None:
    """`pip install` (above), `init`, `deploy`, `detect`: without a clone, and without a key."""
    steps = [newcomer.run(*words) for words in (("init", "yolo"), ("deploy", "yolo"))]
    found = newcomer.run("detect", "sample.jpg", "--json")

    assert [0, 0, 0] == [each.returncode for each in (*steps, found)], [each.stderr for each in (*steps, found)]
    (result,) = json.loads(found.stdout)["results"]
    assert ("sample.jpg", len(result["detections"])) == (result["source"], result["count"])


def test_the_package_carries_its_papers(built: Path) -> None:
    """What is installed beside the code: the licence, and types for those who import it."""
    (wheel,) = built.glob("*.whl")
    names = zipfile.ZipFile(wheel).namelist()

    assert "vidctl/py.typed" in names
    assert [name for name in names if name.endswith("licenses/LICENSE")]
    assert [] == [name for name in names if "weights/" in name and not name.endswith(("README.md", ".gitignore"))]
