"""The simulation of a load, held to the runtime that plays the same trace in real time, on a machine that is idle.

$ .venv/bin/python -m pytest benchmarks/test_simulation.py
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path

import pytest
from support.runtime import LocalRuntime

from vidctl.cost.simulate import Arrival, Lifetime, ScalingRules, simulate
from vidctl.runpod.http import Http
from vidctl.runpod.workers import WorkersApi

TIMED = Path(__file__).resolve().parent.parent / "tests" / "handlers" / "timed"
LOOK_S = 0.1
TOLERANCE = 0.1

# A burst that needs more than one worker, a job for a warm one, and after a pause in which all stop one more burst.
TRACE = [Arrival(at_s, 1.6) for at_s in (0, 0, 0.5, 1, 2, 2.5, 3, 9, 17, 19, 20)]
QUEUE_DELAY = ScalingRules(
    "QUEUE_DELAY", 2, workers_min=0, workers_max=3, idle_timeout_s=3, cold_start_s=0, one_start_at_a_time=True
)
REQUEST_COUNT = replace(QUEUE_DELAY, scaler_type="REQUEST_COUNT", scaler_value=3)


@dataclass(frozen=True)
class _RealWorker:
    """A worker's life as REST v2 tells it, in seconds of one clock: by its logs, and when it was first seen ready."""

    created_s: float
    ready_s: float
    stop_s: float
    removed_s: float

    @property
    def billed_s(self) -> int:
        return Lifetime(self.created_s, self.removed_s, busy_s=0).billed_s


@pytest.fixture(scope="module")
def runtime(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalRuntime]:
    running = LocalRuntime(tmp_path_factory.mktemp("runtime"))
    running.start()
    yield running
    running.close()


@pytest.mark.parametrize("rules", [QUEUE_DELAY, REQUEST_COUNT], ids=["queue-delay", "request-count"])
def test_the_runtime_bills_and_delays_as_simulated(runtime: LocalRuntime, rules: ScalingRules) -> None:
    """Within 10 %, once the simulation has the start, stop and execution times that the runtime had."""
    endpoint_id = _endpoint(runtime, rules)
    with ThreadPoolExecutor(1) as pool:
        submitted = pool.submit(_submit, runtime, endpoint_id)
        ready = _watch(runtime, endpoint_id, is_over=submitted.done)
    jobs = [runtime.status(endpoint_id, job_id) for job_id in submitted.result()]
    workers = [_real(runtime, endpoint_id, worker_id, ready_s) for worker_id, ready_s in ready.items()]

    trace = [replace(each, execution_s=job["executionTime"] / 1000) for each, job in zip(TRACE, jobs, strict=True)]
    cold_start_s = _mean(each.ready_s - each.created_s for each in workers)
    stop_s = _mean(each.removed_s - each.stop_s for each in workers)
    simulated = simulate(trace, replace(rules, cold_start_s=cold_start_s, stop_s=stop_s))

    assert sum(each.billed_s for each in workers) == pytest.approx(simulated.billed_s, rel=TOLERANCE)
    delay_s = _mean(job["delayTime"] / 1000 for job in jobs)
    assert delay_s == pytest.approx(_mean(simulated.delays_s), rel=TOLERANCE)


def _endpoint(runtime: LocalRuntime, rules: ScalingRules) -> str:
    """An endpoint with these rules and no worker, whose environment is there: only the first start had to make it."""
    endpoint_id = runtime.endpoint(
        TIMED,
        env={"START_S": "2"},
        workers_min=rules.workers_min,
        workers_max=rules.workers_max,
        idle_timeout_s=rules.idle_timeout_s,
        scaler_type=rules.scaler_type,
        scaler_value=rules.scaler_value,
    )
    runtime.ended(endpoint_id, runtime.run(endpoint_id, {"execution_s": 0}))
    _watch(runtime, endpoint_id, is_over=lambda: True)
    return endpoint_id


def _submit(runtime: LocalRuntime, endpoint_id: str) -> list[str]:
    """Play the trace; the ids of its jobs."""
    began = time.monotonic()
    ids = []
    for each in TRACE:
        time.sleep(max(0.0, began + each.at_s - time.monotonic()))
        ids.append(runtime.run(endpoint_id, {"execution_s": each.execution_s}))
    return ids


def _watch(runtime: LocalRuntime, endpoint_id: str, *, is_over: Callable[[], bool]) -> dict[str, float]:
    """When each worker was first seen to be ready: looked at until there is none, and `is_over`."""
    ready: dict[str, float] = {}
    while True:
        was_over = is_over()
        there = runtime.get(f"/v2/serverless/{endpoint_id}/workers")["workers"]
        for worker in there:
            if worker["status"] != "INITIALIZING":
                ready.setdefault(worker["id"], time.time())
        if was_over and not there:
            return ready
        time.sleep(LOOK_S)


def _real(runtime: LocalRuntime, endpoint_id: str, worker_id: str, ready_s: float) -> _RealWorker:
    api = WorkersApi(Http(runtime.api_key), f"{runtime.url}/v2")
    lines = api.logs(endpoint_id, worker_id, source="system", max_s=1)
    created_s, stop_s, removed_s = (
        next(_seconds(line.at) for line in lines if line.text.startswith(f"{event} container"))
        for event in ("create", "stop", "remove")
    )
    return _RealWorker(created_s, ready_s, stop_s, removed_s)


def _seconds(at: str) -> float:
    return datetime.fromisoformat(at.replace("Z", "+00:00")).timestamp()


def _mean(values: Iterable[float]) -> float:
    return statistics.fmean(values)
