"""What the local runtime itself costs: jobs per second, milliseconds added to a job, memory after 10,000 jobs.

Run `python benchmarks/runtime.py [--jobs 10000] [--json FILE]`; it needs the extra `local` and some free minutes.
The same no-op handler runs under the runtime with the SDK's worker loop at concurrency 1 and 50, with a bare loop that
speaks the same protocol, and behind the SDK's own `--rp_serve_api`.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import aiohttp
import psutil  # type: ignore[import-untyped]  # it ships no types
import requests

from vidctl.local.control_plane.records import EndpointRecord, TemplateRecord
from vidctl.local.control_plane.store import RecordStore
from vidctl.local.workers.folder_image import image_name

if TYPE_CHECKING:
    from collections.abc import Iterator

HERE = Path(__file__).parent
KEY = "benchmark"
HEADERS = {"Authorization": f"Bearer {KEY}"}
CALLERS = 50


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--jobs", type=int, default=10_000, help="jobs of the long run (default: 10000)")
    parser.add_argument("--json", type=Path, help="write the numbers here")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        numbers = {"runtime": measure_runtime(Path(folder), options.jobs), "rp_serve_api": measure_sdk()}
    print_table(numbers)
    if options.json:
        options.json.write_text(json.dumps(numbers, indent=2) + "\n")


def measure_runtime(folder: Path, jobs: int) -> dict[str, Any]:
    with local_runtime(folder) as (url, pid, endpoints):
        numbers: dict[str, Any] = {}
        for name, callers, count in (("noop", 1, 15), ("noop_concurrent", 1, 50), ("noop_concurrent", CALLERS, 2_000)):
            label = f"{name} × {callers}"
            numbers[label] = asyncio.run(load(f"{url}/v2/{endpoints[name]}/runsync", count, callers))
        direct = f"{url}/v2/{endpoints['noop_direct']}/runsync"
        numbers["bare loop × 1"] = asyncio.run(load(direct, 1_000, 1))
        memory = [rss_mb(pid)]
        for _ in range(5):
            numbers[f"bare loop × {CALLERS}"] = asyncio.run(load(direct, jobs // 5, CALLERS))
            memory.append(rss_mb(pid))
        numbers["memory_mb"] = memory
    return numbers


def measure_sdk() -> dict[str, Any]:
    port = free_port()
    command = [sys.executable, "handler.py", "--rp_serve_api", "--rp_api_port", str(port)]
    quiet = subprocess.DEVNULL
    with subprocess.Popen(command, cwd=HERE / "noop", stdout=quiet, stderr=quiet) as server:
        url = f"http://localhost:{port}"
        wait_for(url)
        numbers = {
            "noop × 1": asyncio.run(load(f"{url}/runsync", 1_000, 1)),
            f"noop × {CALLERS}": asyncio.run(load(f"{url}/runsync", 2_000, CALLERS)),
        }
        server.terminate()
    return numbers


async def load(url: str, count: int, callers: int) -> dict[str, float]:
    """Ask `count` times, `callers` at once; jobs per second and the milliseconds a caller waits."""
    left = iter(range(count))
    waits: list[float] = []

    async def call(session: aiohttp.ClientSession) -> None:
        for number in left:
            begin = time.perf_counter()
            async with session.post(url, json={"input": {"n": number}}, headers=HEADERS) as answer:
                body = await answer.json()
            if body.get("status") != "COMPLETED":
                raise SystemExit(f"a job did not complete: {body}")
            waits.append((time.perf_counter() - begin) * 1000)

    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:
        async with session.post(url, json={"input": {"warm": "up"}}, headers=HEADERS) as answer:
            await answer.read()
        begin = time.perf_counter()
        await asyncio.gather(*(call(session) for _ in range(callers)))
        took = time.perf_counter() - begin
    return {"jobs_per_s": round(count / took, 1), "median_ms": round(statistics.median(waits), 2)}


@contextmanager
def local_runtime(folder: Path) -> Iterator[tuple[str, int, dict[str, str]]]:
    """A runtime with an endpoint for each handler: its URL, its process and the endpoints' ids."""
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    (folder / "credentials.json").write_text(json.dumps({"api_key": KEY, "port": port, "url": url}))
    records = RecordStore(folder / "runtime.db")
    endpoints = {name: register(records, name) for name in ("noop", "noop_concurrent", "noop_direct")}
    records.close()
    command = [sys.executable, "-m", "vidctl.local", "--state-dir", str(folder), "--port", str(port)]
    command += ["--no-rate-limits"]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL) as process:
        try:
            wait_for(url)
            yield url, process.pid, endpoints
        finally:
            process.terminate()


def register(records: RecordStore, name: str) -> str:
    template = records.save_template(TemplateRecord(id="", name=name, image_name=image_name(HERE / name)))
    record = EndpointRecord(id="", name=name, template_id=template.id, workers_max=1, idle_timeout_s=3600)
    return records.save_endpoint(record).id


def rss_mb(pid: int) -> float:
    return round(float(psutil.Process(pid).memory_info().rss) / (1 << 20), 1)


def wait_for(url: str) -> None:
    end = time.monotonic() + 60
    while time.monotonic() < end:
        with suppress(requests.ConnectionError):
            requests.get(url, timeout=5)
            return
        time.sleep(0.1)
    raise SystemExit(f"{url} does not answer")


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def print_table(numbers: dict[str, dict[str, Any]]) -> None:
    print(f"{os.cpu_count()} processors, Python {sys.version.split()[0]}")
    print(f"{'':32} {'jobs/s':>10} {'median ms':>10}")
    for server, rows in numbers.items():
        for name, row in rows.items():
            if isinstance(row, dict):
                print(f"{server + ': ' + name:32} {row['jobs_per_s']:>10} {row['median_ms']:>10}")
    memory = numbers["runtime"]["memory_mb"]
    print(f"runtime's memory, MB, before and during {len(memory) - 1} rounds: {memory}")


if __name__ == "__main__":
    main()
