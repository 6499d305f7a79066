"""The simulation of a load: RunPod's scaling rules, who waits, what is billed."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vidctl.cost.simulate import Arrival, Lifetime, ScalingRules, Served, Simulation, percentile, simulate

ONE = ScalingRules("QUEUE_DELAY", 4, workers_min=0, workers_max=1, idle_timeout_s=5, cold_start_s=10)


def _arrivals() -> st.SearchStrategy[list[Arrival]]:
    time = st.floats(0, 300, allow_nan=False).map(lambda value: round(value, 2))
    length = st.floats(0.01, 30, allow_nan=False).map(lambda value: round(value, 2))
    return st.lists(st.builds(Arrival, time, length), min_size=1, max_size=60)


def _rules() -> st.SearchStrategy[ScalingRules]:
    return st.builds(
        ScalingRules,
        st.sampled_from(["QUEUE_DELAY", "REQUEST_COUNT"]),
        st.integers(1, 10),
        workers_min=st.integers(0, 2),
        workers_max=st.integers(2, 6),
        idle_timeout_s=st.integers(1, 60),
        cold_start_s=st.floats(0, 60).map(lambda value: round(value, 1)),
        concurrency=st.integers(1, 4),
        one_start_at_a_time=st.booleans(),
    )


def test_one_job_pays_for_its_start_its_run_and_the_idle_timeout() -> None:
    played = simulate([Arrival(100, 2.5)], ONE)

    assert played == Simulation((Served(100, 10, 2.5),), (Lifetime(100, 117.5, 2.5),))
    assert (18, 2.5 / 18) == (played.billed_s, played.utilisation)


def test_a_warm_worker_serves_at_once_and_a_stopped_one_starts_again() -> None:
    played = simulate([Arrival(0, 1), Arrival(15, 1), Arrival(60, 1)], ONE)

    assert [10, 0, 10] == played.delays_s
    assert [(0, 21), (60, 76)] == [(each.started_s, each.stopped_s) for each in played.workers]


def test_queue_delay_adds_a_worker_each_time_a_job_waited_longer() -> None:
    rules = ScalingRules("QUEUE_DELAY", 4, workers_min=0, workers_max=3, idle_timeout_s=5, cold_start_s=1)

    played = simulate([Arrival(0, 100)] * 5, rules)

    assert [0, 4, 8] == [each.started_s for each in played.workers]


def test_request_count_has_a_worker_for_every_so_many_jobs() -> None:
    rules = ScalingRules("REQUEST_COUNT", 2, workers_min=0, workers_max=10, idle_timeout_s=5, cold_start_s=1)

    played = simulate([Arrival(0, 10)] * 5, rules)

    assert [0, 0, 0] == [each.started_s for each in played.workers]


def test_workers_that_always_run_are_billed_between_jobs() -> None:
    rules = ScalingRules("QUEUE_DELAY", 4, workers_min=1, workers_max=1, idle_timeout_s=5, cold_start_s=10)

    played = simulate([Arrival(0, 1), Arrival(1000, 1)], rules)

    assert [0, 0] == played.delays_s
    assert 1001 == played.billed_s


@given(_arrivals(), _rules())
def test_every_job_is_served_once_and_nobody_works_unpaid(arrivals: list[Arrival], rules: ScalingRules) -> None:
    played = simulate(arrivals, rules)

    assert Counter((each.at_s, each.execution_s) for each in arrivals) == Counter(
        (each.at_s, each.execution_s) for each in played.jobs
    )
    began = [job.at_s + job.delay_s for job in played.jobs]
    assert began == sorted(began)
    assert min(played.delays_s) >= 0
    assert 0 <= played.utilisation <= 1
    assert sum(job.execution_s for job in played.jobs) <= played.billed_s * rules.concurrency + 1e-6
    changes = sorted(
        [(each.started_s, 1) for each in played.workers] + [(each.stopped_s, -1) for each in played.workers]
    )
    there = peak = 0
    for _, change in changes:
        there += change
        peak = max(peak, there)
    assert peak <= rules.workers_max


@given(_arrivals(), st.integers(1, 60))
def test_a_longer_idle_timeout_never_makes_a_single_worker_start_more_often(
    arrivals: list[Arrival], idle_s: int
) -> None:
    def starts(timeout_s: int) -> int:
        rules = ScalingRules("QUEUE_DELAY", 4, workers_min=0, workers_max=1, idle_timeout_s=timeout_s, cold_start_s=5)
        return len(simulate(arrivals, rules).workers)

    assert starts(idle_s + 30) <= starts(idle_s)


@given(st.lists(st.floats(0, 1e6), min_size=1), st.floats(0, 1))
def test_a_percentile_is_one_of_the_values_that_the_share_does_not_exceed(values: list[float], share: float) -> None:
    found = percentile(values, share)

    assert found in values
    assert sum(value <= found for value in values) >= share * len(values)


def test_rules_under_which_no_job_runs_are_refused() -> None:
    with pytest.raises(ValueError, match="workers_max"):
        simulate([Arrival(0, 1)], ScalingRules("QUEUE_DELAY", 4, 0, 0, 5, 10))
