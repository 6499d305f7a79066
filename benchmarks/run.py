"""`make bench`: measure what vidctl promises, print it, and end with exit code 1 if a promise is missed.

`python benchmarks/run.py [PART …] [--rounds N]`; nothing is written but to the cache.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import control
import hashing
import images
import journal
import photographs
import speech
import startup
import vision
from promises import Promise, print_table

from vidctl.local.workers import environments

if TYPE_CHECKING:
    from collections.abc import Collection

ROOT = Path(__file__).resolve().parent.parent
SHAPES = ROOT / "tests/data/shapes.pt"
sys.path.insert(0, str(ROOT / "tools"))
os.environ.setdefault("VIDCTL_CACHE_DIR", str(ROOT / ".cache"))

import demo  # noqa: E402  it reads the cache's place when imported

PARTS = ("startup", "images", "speech", "vision", "runtime", "control", "hashing", "journal")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", nargs="*", metavar="PART", help=f"{', '.join(PARTS)} (default: all)")
    parser.add_argument("--rounds", type=int, default=images.ROUNDS, help="turns of each comparison of images")
    options = parser.parse_args()
    if unknown := set(options.parts) - set(PARTS):
        parser.error(f"no such part: {', '.join(unknown)}")
    wanted = options.parts or PARTS
    print(f"{processor()}, {os.cpu_count()} processors, {memory_gb():.0f} GB, Python {platform.python_version()}")
    print(f"load before: {os.getloadavg()[0]:.1f} (the promises are about an idle machine)")
    with tempfile.TemporaryDirectory() as scratch:
        promises = measure(wanted, Path(scratch), options.rounds)
    print_table("Promises", ("what", "promise", "measured", ""), [promise.row for promise in promises])
    return 0 if all(promise.is_met for promise in promises) else 1


def measure(wanted: Collection[str], scratch: Path, rounds: int) -> list[Promise]:
    alone = {
        "control": control.measure,
        "hashing": hashing.measure,
        "journal": journal.measure,
        "runtime": measure_runtime,
        "speech": speech.measure,
        "vision": vision.measure,
    }
    promises = [promise for part, measured in alone.items() if part in wanted for promise in measured(scratch)]
    if not {"startup", "images"} & set(wanted):
        return promises
    people = people_weights()
    for model in (SHAPES, people):
        python = environments.interpreter(images.WORKER, {"MODEL": str(model)}, print)
    ultralytics_env = surroundings(scratch)
    if "startup" in wanted:
        promises += startup.measure(python, ultralytics_env)
    if "images" in wanted:
        folder = scratch / "photographs"
        photographs.make(next(python.parent.parent.glob("lib/python*/site-packages/ultralytics/assets")), folder)
        bench = images.Bench(folder, scratch, python, ultralytics_env, threads=os.cpu_count() or 1, rounds=rounds)
        for weights, label in ((people, "people detector (YOLOv8s)"), (SHAPES, "tests/data/shapes.pt (tiny)")):
            is_judged = weights == people
            for form in ("pytorch", "openvino"):
                promises += images.measure(bench, weights, label, form, is_judged=is_judged)
            promises += images.measure_as_typed(bench, weights, label, is_judged=is_judged)
    return promises


def people_weights() -> Path:
    path = demo.CACHE / "weights/people.pt"
    path.parent.mkdir(parents=True, exist_ok=True)
    if not path.is_file():
        demo.fetch_people(path)
    return path


def surroundings(scratch: Path) -> dict[str, str]:
    """What Ultralytics gets: a scratch home, no look at the network, and the worker's exports."""
    return {
        "PATH": os.environ["PATH"],
        "HOME": str(scratch),
        "XDG_CACHE_HOME": str(environments.cache_home(images.WORKER)),
        "YOLO_CONFIG_DIR": str(scratch),
        "YOLO_OFFLINE": "true",
        "YOLO_AUTOINSTALL": "false",
        "ULTRALYTICS_SAFE_LOAD": "1",
        "PYTHONUNBUFFERED": "1",
    }


def measure_runtime(scratch: Path) -> list[Promise]:
    numbers = scratch / "runtime.json"
    print("\nThe runtime itself, beside the SDK's own server of one handler\n", flush=True)
    subprocess.run([sys.executable, ROOT / "benchmarks/runtime.py", "--json", numbers], check=True)
    memory = json.loads(numbers.read_text())["runtime"]["memory_mb"]
    return [
        Promise("the runtime's memory after 10,000 jobs", "at most", 120, memory[-1], "MB"),
        Promise("its growth over the last 8,000 of them", "at most", 5, memory[-1] - memory[1], "MB"),
    ]


def processor() -> str:
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text().splitlines() if cpuinfo.is_file() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def memory_gb() -> float:
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9


if __name__ == "__main__":
    sys.exit(main())
