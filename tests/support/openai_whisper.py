"""OpenAI's whisper package without what it needs to run: its writers and its tables, to compare with."""

from __future__ import annotations

import ast
import functools
import importlib.util
import io
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from vidctl.local.workers import environments

WANTED = "openai-whisper==20250625"


@functools.cache
def folder() -> Path:
    """The package's folder, installed once into the cache; skips the test where it cannot be had."""
    home = environments.cache_dir() / WANTED
    if not home.exists():
        home.parent.mkdir(parents=True, exist_ok=True)
        fresh = Path(tempfile.mkdtemp(dir=home.parent))
        command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--target", str(fresh), WANTED]
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode != 0:
            shutil.rmtree(fresh)
            pytest.skip(f"{WANTED} cannot be installed: {done.stderr.strip().splitlines()[-1]}")
        _move(fresh, home)
    return home / "whisper"


def _move(fresh: Path, home: Path) -> None:
    """Put a finished installation in its place, unless another test run was first."""
    try:
        fresh.rename(home)
    except OSError:
        shutil.rmtree(fresh)


@functools.cache
def writers() -> ModuleType:
    """`whisper.utils`, the one module that does without torch."""
    spec = importlib.util.spec_from_file_location("whisper_utils", folder() / "utils.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def written(form: str, result: dict[str, Any], **layout: Any) -> str:
    """What whisper's command writes into a file of the format `form`."""
    file = io.StringIO()
    writers().get_writer(form, "").write_result(result, file, layout)
    return file.getvalue()


def tables() -> tuple[dict[str, str], dict[str, str]]:
    """`LANGUAGES` (code to name), and the aliases that `TO_LANGUAGE_CODE` adds (name to code)."""
    found: dict[str, dict[str, str]] = {}
    for node in ast.parse((folder() / "tokenizer.py").read_text("utf-8")).body:
        match node:
            case ast.Assign(targets=[ast.Name(id=name)], value=ast.Dict(keys=keys, values=values)):
                pairs = zip(keys, values, strict=True)
                found[name] = {ast.literal_eval(key): ast.literal_eval(value) for key, value in pairs if key}
    return found["LANGUAGES"], found["TO_LANGUAGE_CODE"]
