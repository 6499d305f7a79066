"""How long `vidctl jobs list` takes in a project that has sent 1,000,000 jobs.

`python benchmarks/journal.py` makes a journal of about 200 MB and removes it again; exit code 1 means a missed promise.
"""

from __future__ import annotations

import os
import statistics
import sys
import tempfile
from pathlib import Path
from time import perf_counter, time
from typing import TYPE_CHECKING

from promises import Promise, print_table
from startup import paired, ratio

from vidctl.journal import Journal
from vidctl.journal.database import JournalFile

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

JOBS = 1_000_000
ROUNDS = 15


def main() -> int:
    with tempfile.TemporaryDirectory() as scratch:
        promises = measure(Path(scratch))
    print_table("Promises", ("what", "promise", "measured", ""), [promise.row for promise in promises])
    return 0 if all(promise.is_met for promise in promises) else 1


def measure(scratch: Path) -> list[Promise]:
    """Print the times and judge them; each query opens the journal, as a command does."""
    folder = scratch / "project"
    (folder / "configs").mkdir(parents=True)
    path = folder / ".vidctl" / "journal.db"
    fill(path)
    queries = {
        "jobs list, the newest 20": lambda: Journal(path).jobs(limit=20),
        "jobs list --limit 1000": lambda: Journal(path).jobs(limit=1000),
        "the beginning of an id": lambda: Journal(path).find_jobs("job-0007777"),
        "an endpoint's jobs of a week that wait": lambda: Journal(path).jobs(
            limit=500, since=time() - 7 * 86_400, endpoint_id="ep-3", status="IN_QUEUE"
        ),
    }
    medians = {name: statistics.median(timed(query)) for name, query in queries.items()}
    vidctl = str(Path(sys.executable).parent / "vidctl")
    commands = {"list": [vidctl, "-C", str(folder), "jobs", "list"], "help": [vidctl, "--help"]}
    times = paired(commands, ROUNDS, os.environ)
    print_table(
        f"A journal of {JOBS:,} jobs, {path.stat().st_size / 1e6:.0f} MB: median of {ROUNDS} runs",
        ("what", "milliseconds"),
        [
            *((name, f"{1000 * seconds:.1f}") for name, seconds in medians.items()),
            ("the command `vidctl jobs list`", f"{1000 * statistics.median(times['list']):.0f}"),
            ("`vidctl --help`", f"{1000 * statistics.median(times['help']):.0f}"),
        ],
    )
    print(f"vidctl jobs list against vidctl --help: {ratio(times['list'], times['help']):.2f} times")
    first, *_ = medians.values()
    return [Promise(f"jobs list of {JOBS:,} jobs", "at most", 100, 1000 * first, "ms")]


def fill(path: Path) -> None:
    """Jobs of ten endpoints over a year, all but the newest thousand over."""
    Journal(path).check()
    with JournalFile(path).opened() as database:
        database.executemany(
            "INSERT INTO jobs (id, endpoint_id, target, what, submitted_at, status, delay_ms, execution_ms, spec,"
            " command, ended_at, worker_id)"
            " VALUES (?, ?, 'runpod', ?, ?, ?, 120, 900, 'yolo', 'detect', ?, 'worker-1')",
            rows(),
        )


def rows() -> Iterator[tuple[str, str, str, float, str, float]]:
    begin, step_s = time() - 365 * 86_400, 365 * 86_400 / JOBS
    for number in range(JOBS):
        at = begin + number * step_s
        status = "COMPLETED" if number < JOBS - 1000 else "IN_QUEUE"
        yield f"job-{number:07}-u1", f"ep-{number % 10}", f"detect frames/{number}.jpg", at, status, at + 1


def timed(query: Callable[[], object]) -> list[float]:
    """The seconds of each turn; the first only warms the disk's cache."""
    times: list[float] = []
    for _ in range(ROUNDS + 1):
        begin = perf_counter()
        query()
        times.append(perf_counter() - begin)
    return times[1:]


if __name__ == "__main__":
    sys.exit(main())
