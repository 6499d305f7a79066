"""Many jobs through `vidctl run --jsonl` on a bad network, killed again and again: none is lost, and none paid twice.

`make soak` runs it with SOAK_JOBS jobs and SOAK_KILLS kills instead of the few that fit into every test run.
"""

from __future__ import annotations

import json
import os
import random
import subprocess
import threading
from collections import Counter
from collections.abc import Generator
from pathlib import Path
from typing import Any

import pytest
from support.project import Project
from support.runtime import until
from support.scripted import RESET, Reply, Request, forward, serving

JOBS = int(os.environ.get("SOAK_JOBS", "240"))
KILLS = int(os.environ.get("SOAK_KILLS", "4"))
_FLAT_KB = 64 * 1024


class BadNetwork:
    """Between vidctl and the runtime: of 100 requests 5 are answered 429 or 500, or cut, or late."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._random = random.Random(5)

    def __call__(self, request: Request) -> Reply:
        match self._random.randrange(120):
            case 0:
                return Reply(429, b"{}", (("Retry-After", "0"),))
            case 1:
                return Reply(500)
            case 2:
                return RESET
            case 3:
                forward(request, self._url)
                return Reply(500)
            case 4:
                forward(request, self._url)
                return RESET
            case 5:
                threading.Event().wait(0.1)  # late
        return forward(request, self._url)


class Soaked(Project):
    """A project with a worker that writes down which jobs it began."""

    endpoint_id: str

    def deploy(self) -> None:
        self.worker("counting")
        workers = {"workers": {"min": 1, "max": 1}, "env": {"FILE": str(self.root / "begun")}}
        self.spec("counting", worker="counting", local=workers)
        up = self.run("local", "up", "--no-rate-limits")
        outcome = self.run("deploy", "counting", "-y")
        assert (0, 0) == (up.status, outcome.status), up.stderr + outcome.stderr
        self.endpoint_id = self.dotenv()["VIDCTL_COUNTING_ENDPOINT_ID_LOCAL"]

    @property
    def begun(self) -> Counter[int]:
        """How often each job was begun."""
        path = self.root / "begun"
        return Counter(int(line) for line in path.read_text().split()) if path.exists() else Counter()

    def rows(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in (self.root / "out.jsonl").read_text().splitlines()]


@pytest.fixture
def soaked(tmp_path: Path) -> Generator[Soaked, None, None]:
    project = Soaked(tmp_path / "soaked")
    project.deploy()
    yield project
    project.close()


def _killed_at(soaked: Soaked, process: subprocess.Popen[bytes], begun: int) -> None:
    until(lambda: soaked.begun.total() >= begun or process.poll() is not None, timeout_s=600)
    process.kill()
    process.communicate()


def _memory_kb(process: subprocess.Popen[bytes]) -> int:
    """What it takes now; 0 once it has ended."""
    fields = Path(f"/proc/{process.pid}/status").read_text().split("VmRSS:")
    return int(fields[1].split()[0]) if len(fields) > 1 else 0


def _finished(soaked: Soaked, process: subprocess.Popen[bytes]) -> tuple[int, str]:
    """By how much it grew from the first result to the last, and what it said."""
    output = soaked.root / "out.jsonl"
    seen: list[int] = []

    def has_ended() -> bool:
        if output.exists() and output.stat().st_size and (now := _memory_kb(process)):
            seen.append(now)
        return process.poll() is not None

    until(has_ended, timeout_s=3600)
    return (seen[-1] - seen[0] if seen else 0), process.communicate()[1].decode()


@pytest.mark.runtime
def test_of_many_jobs_on_a_bad_network_none_is_lost_and_none_is_paid_twice(soaked: Soaked) -> None:
    running = soaked.up()
    (soaked.root / "in.jsonl").write_text("".join(f'{{"n": {number}}}\n' for number in range(JOBS)))
    with serving(BadNetwork(running.url)) as network:
        account = {"RUNPOD_API_KEY": running.api_key, "RUNPOD_ENDPOINT_BASE_URL": f"{network.url}/v2"}
        words = ("run", "--endpoint-id", soaked.endpoint_id, "--target", "runpod", "--jsonl", "in.jsonl")
        resuming = (*words, "-o", "out.jsonl", "--in-flight", "64", "--resume", "-q")
        for kill in range(1, KILLS + 1):
            _killed_at(soaked, soaked.start(*resuming, **account), JOBS * kill // (KILLS + 2))
        (soaked.root / "out.jsonl").unlink(missing_ok=True)
        process = soaked.start(*resuming, **account)
        growth_kb, said = _finished(soaked, process)
        first, begun = soaked.rows(), soaked.begun
        for _ in range(10):
            if soaked.run(*resuming, "--resend-unknown", **account).status == 0:
                break

    assert growth_kb < _FLAT_KB
    assert list(range(JOBS)) == [row["index"] for row in first]
    assert {"COMPLETED"} >= {row["status"] for row in first} - {"unknown"}, said
    assert (9 if any(row["status"] == "unknown" for row in first) else 0) == process.returncode
    assert [] == [row for row in first if row["status"] == "COMPLETED" and row["output"] != {"n": row["index"]}]
    assert {} == {number: count for number, count in begun.items() if count > 1}
    assert set(begun) >= {row["index"] for row in first if row["status"] == "COMPLETED"}
    assert [("COMPLETED", {"n": number}) for number in range(JOBS)] == [
        (row["status"], row["output"]) for row in soaked.rows()
    ]
