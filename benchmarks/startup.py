"""How long a command takes to answer: `vidctl --help`, beside its libraries and beside Ultralytics' `yolo help`."""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING

from promises import Promise, print_table

if TYPE_CHECKING:
    from collections.abc import Mapping

ROUNDS = 41
YOLO_ROUNDS = 15


def measure(worker_python: Path, ultralytics_env: Mapping[str, str]) -> list[Promise]:
    """Print the times and judge them; the commands take turns, so that what else the machine does hits all alike."""
    bin_folder = Path(sys.executable).parent
    light = {
        "vidctl --help": [str(bin_folder / "vidctl"), "--help"],
        'python -c "import typer, rich"': [sys.executable, "-c", "import typer, rich"],
    }
    heavy = {"vidctl --help": light["vidctl --help"], "yolo help": [str(worker_python.with_name("yolo")), "help"]}
    own = paired(light, ROUNDS, os.environ)
    others = paired(heavy, YOLO_ROUNDS, {**os.environ, **ultralytics_env})
    medians = {name: statistics.median(times) for name, times in {**others, **own}.items()}
    print_table(
        f"Until a command answers: median of {ROUNDS} runs, {YOLO_ROUNDS} of yolo",
        ("command", "milliseconds"),
        [(name, f"{seconds * 1000:.0f}") for name, seconds in medians.items()],
    )
    own_ratio = ratio(own["vidctl --help"], own['python -c "import typer, rich"'])
    others_ratio = ratio(others["yolo help"], others["vidctl --help"])
    return [
        Promise('vidctl --help against python -c "import typer, rich"', "at most", 1.5, own_ratio),
        Promise("yolo help against vidctl --help", "at least", 8, others_ratio),
    ]


def paired(commands: Mapping[str, list[str]], rounds: int, env: Mapping[str, str]) -> dict[str, list[float]]:
    """The seconds of each command, run in turns; the first turn only warms the disk's cache."""
    times: dict[str, list[float]] = {name: [] for name in commands}
    for _ in range(rounds + 1):
        for name, command in commands.items():
            begin = perf_counter()
            subprocess.run(command, env=env, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, check=True)
            times[name].append(perf_counter() - begin)
    return {name: seconds[1:] for name, seconds in times.items()}


def ratio(one: list[float], other: list[float]) -> float:
    """How many times the other's time the one takes: the median over the turns."""
    return statistics.median(a / b for a, b in zip(one, other, strict=True))
