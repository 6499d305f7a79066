"""How long the content tag of a large worker folder takes, beside `sha256sum` of the same files.

`python benchmarks/hashing.py` makes 2 GB of files and removes them again; exit code 1 means a missed promise.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from time import perf_counter

from promises import Promise, print_table

from vidctl.images import context

ROUNDS = 5
LARGE_BYTES = 1_500_000_000  # weights
SMALL_FILES, SMALL_BYTES = 2_000, 250_000  # a folder of everything else


def main() -> int:
    with tempfile.TemporaryDirectory() as scratch:
        promises = measure(Path(scratch))
    print_table("Promises", ("what", "promise", "measured", ""), [promise.row for promise in promises])
    return 0 if all(promise.is_met for promise in promises) else 1


def measure(scratch: Path) -> list[Promise]:
    """Print the times and judge them; the two take turns, and the first turn only warms the disk's cache."""
    folder = make(scratch / "worker")
    files = sorted(str(path) for path in folder.rglob("*") if path.is_file())
    size = sum(Path(path).stat().st_size for path in files)
    own: list[float] = []
    other: list[float] = []
    read: list[float] = []
    for _ in range(ROUNDS + 1):
        mark, begin = bytes_read(), perf_counter()
        context.read(folder)
        own.append(perf_counter() - begin)
        read.append((bytes_read() - mark) / size)
        begin = perf_counter()
        subprocess.run(["sha256sum", "--", *files], stdout=subprocess.DEVNULL, check=True)
        other.append(perf_counter() - begin)
    ratios = [a / b for a, b in zip(own[1:], other[1:], strict=True)]
    print_table(
        f"Reading {len(files)} files of {size / 1e9:.1f} GB: median of {ROUNDS} turns",
        ("what", "seconds"),
        [
            ("the content tag", f"{statistics.median(own[1:]):.2f}"),
            ("sha256sum of the same files", f"{statistics.median(other[1:]):.2f}"),
        ],
    )
    return [
        Promise("the content tag of 2 GB against sha256sum", "at most", 1.3, statistics.median(ratios)),
        Promise("how often it reads a byte", "at most", 1.01, max(read)),
    ]


def make(folder: Path) -> Path:
    """A worker's folder of 2 GB: weights, and many small files in several folders."""
    folder.mkdir()
    (folder / "Dockerfile").write_text("FROM scratch\n")
    block = os.urandom(10_000_000)
    with (folder / "weights.pt").open("wb") as file:
        for _ in range(LARGE_BYTES // len(block)):
            file.write(block)
    for number in range(SMALL_FILES):
        path = folder / f"data{number % 20}" / f"{number}.bin"
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(block[number : number + SMALL_BYTES])
    return folder


def bytes_read() -> int:
    """What this process has read since it began, as Linux counts."""
    return int(Path("/proc/self/io").read_text().split()[1])


if __name__ == "__main__":
    sys.exit(main())
