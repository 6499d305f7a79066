"""What endpoints cost: traces, sweeps and prices as arithmetic, and the commands that show them."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.command import vidctl
from support.failing import failed, failing
from support.runtime import LocalRuntime
from support.scripted import Reply, Request, ok, serving

from vidctl.cost.estimate import DAY_S, PoolEstimate, units_per_hour, worker_day
from vidctl.cost.facts import KnownTime
from vidctl.cost.figures import FIGURES, figures_for, of_pools
from vidctl.cost.guide import GUIDE
from vidctl.cost.measured import Measured, measured
from vidctl.cost.prices import Prices, every_pool
from vidctl.cost.simulate import Arrival, ScalingRules, percentile, simulate
from vidctl.cost.spent import By, spent, total
from vidctl.cost.sweep import GpuPrice, cheapest, played, spec_lines, sweep
from vidctl.cost.trace import TraceRow, read_trace
from vidctl.journal import JobEntry, Journal
from vidctl.runpod import gpus
from vidctl.runpod.billing import BillingRecord
from vidctl.runpod.types import Catalogue, Offer
from vidctl.text import dollars

RULES = ScalingRules("QUEUE_DELAY", 4, workers_min=0, workers_max=3, idle_timeout_s=5, cold_start_s=2)
PRICE = GpuPrice("L4", 0.0002)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A project with one spec and one trace."""
    (tmp_path / "configs").mkdir()
    spec = {"name": "test-plain", "image": "docker.io/you/plain:1", "gpu": ["L4", "A40"], "workers": {"max": 2}}
    (tmp_path / "configs" / "plain.yaml").write_text(json.dumps(spec))
    (tmp_path / "trace.csv").write_text("at_s,execution_s\n0,1\n0.5,1\n30,2\n")
    return tmp_path


# --- traces ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "rows"),
    [
        ("at_s,execution_s\n10,2\n5,1\n", [TraceRow(0, 1), TraceRow(5, 2)]),
        ("Submitted At,Endpoint,Duration MS\n2026-05-01T12:00:00Z,x,1500\n2026-05-01 12:00:01.5,x,\n",
         [TraceRow(0, 1.5), TraceRow(1.5, None)]),
        ("\ufefftime\n2026-05-01T14:00:00+02:00\n2026-05-01T12:00:02+00:00\n", [TraceRow(0, None), TraceRow(2, None)]),
    ],
)  # fmt: skip
def test_a_trace_is_read_however_its_columns_are_spelled(text: str, rows: list[TraceRow]) -> None:
    assert rows == read_trace(text, "trace.csv")


@pytest.mark.parametrize(
    ("text", "facts"),
    [
        ("", ["at_s", "the file is empty"]),
        ("job,length\na,1\n", ["job, length", "at_s"]),
        ("at_s\n", ["no jobs"]),
        ("at_s,execution_s\n0,1\nsoon,1\n", ["trace.csv:3", "at_s", "soon"]),
        ("at_s,execution_s\n0,-1\n", ["trace.csv:2", "execution_s", "-1"]),
        ("at_s\nnan\n", ["trace.csv:2", "nan"]),
    ],
)
def test_what_is_wrong_with_a_trace_is_said_with_its_line(text: str, facts: list[str]) -> None:
    with failing("usage_error", *facts):
        read_trace(text, "trace.csv")


# --- the sweep ------------------------------------------------------------------------------------------------------


def _arrivals() -> st.SearchStrategy[list[Arrival]]:
    time = st.floats(0, 200, allow_nan=False).map(lambda value: round(value, 1))
    length = st.floats(0.1, 20, allow_nan=False).map(lambda value: round(value, 1))
    return st.lists(st.builds(Arrival, time, length), min_size=1, max_size=15)


@given(_arrivals(), st.floats(0.5, 60))
def test_the_cheapest_keeps_the_promise_and_none_that_keeps_it_is_cheaper(
    arrivals: list[Arrival], p95_s: float
) -> None:
    tried = sweep(arrivals, RULES, [PRICE, GpuPrice("A40", 0.0003, slowness=0.5)])

    best = cheapest(tried, p95_s)

    fitting = [each.cost for each in tried if percentile(each.simulation.totals_s, 0.95) <= p95_s]
    assert min(fitting, default=None) == (best and best.cost)
    assert all(each.rules.workers_max >= each.rules.workers_min for each in tried)


@given(_arrivals(), st.floats(1e-5, 0.01), st.integers(1, 8))
def test_the_cost_is_that_of_whole_seconds_of_each_worker(
    arrivals: list[Arrival], per_s: float, gpus_each: int
) -> None:
    one = played(arrivals, RULES, GpuPrice("L4", per_s))
    more = played(arrivals, RULES, GpuPrice("L4", per_s * gpus_each))

    lives = one.simulation.workers
    paid_for_nothing = [each.billed_s - (each.stopped_s - each.started_s) for each in lives]
    assert all(-1e-6 < each < 1 for each in paid_for_nothing)
    assert one.cost == pytest.approx(per_s * sum(each.billed_s for each in lives))
    assert more.cost == pytest.approx(gpus_each * one.cost)
    assert one.simulation.billed_s >= sum(each.execution_s for each in arrivals) - 1e-6


@given(_arrivals(), st.floats(0, 5), st.floats(0, 5))
def test_a_worker_that_stops_slowly_delays_nobody_and_costs_that_much_more(
    arrivals: list[Arrival], quick_s: float, slow_s: float
) -> None:
    stopping = sorted((quick_s, slow_s))
    quick, slow = (simulate(arrivals, replace(RULES, stop_s=each)) for each in stopping)

    assert quick.delays_s == slow.delays_s
    assert quick.billed_s <= slow.billed_s


def test_a_full_worker_looks_for_the_next_job_once_a_second() -> None:
    one = replace(RULES, workers_max=1, cold_start_s=0)

    seen = simulate([Arrival(0, 0.2)] * 3, one)
    without = simulate([Arrival(0, 0.2)] * 3, replace(one, full_pause_s=0))

    assert [0, 1, 2] == seen.delays_s
    assert [0, 0.2, 0.4] == pytest.approx(without.delays_s)


def test_lines_for_the_spec_hold_what_differs_and_nothing_else() -> None:
    arrivals = [Arrival(0, 1)]
    other = played(arrivals, replace(RULES, workers_max=1, idle_timeout_s=60), GpuPrice("ADA_24", 0.0003))

    assert "" == spec_lines(played(arrivals, RULES, PRICE), RULES, "L4")
    assert "gpu: ADA_24\nworkers:\n  min: 0\n  max: 1\ntimeouts:\n  idle: 60s" == spec_lines(other, RULES, "L4")


# --- prices and times -----------------------------------------------------------------------------------------------


@given(st.floats(1e-6, 1e6))
def test_dollars_are_written_to_their_first_digits(amount: float) -> None:
    written = float(dollars(amount).removeprefix("$").replace(",", ""))

    assert written == pytest.approx(amount, rel=0.006)


def test_a_price_is_that_of_the_dearest_pool_times_the_gpus() -> None:
    live = Catalogue((Offer("AMPERE_24", 0.72), Offer("AMPERE_48", 1.44)), as_of="live")

    assert (pytest.approx(0.0008), "live") == (Prices(live, 2).per_s(("AMPERE_24", "AMPERE_48")), Prices(live, 2).as_of)
    assert (pytest.approx(0.00034), gpus.PRICED_ON) == (Prices(None).per_s(("AMPERE_48",)), Prices(None).as_of)
    assert Prices(None).per_s(("ADA_32_PRO",)) is None
    assert {pool.id for pool in gpus.POOLS} == set(every_pool())


def test_every_figure_has_a_source_and_is_taken_for_its_own_model_and_cards_only() -> None:
    assert [] == [each for each in FIGURES if "." not in each.source.rpartition(": ")[2] or each.unit_s <= 0]
    turbo = figures_for("transcribe", {"MODEL": "large-v3-turbo"})
    assert turbo == figures_for("transcribe", {"MODEL": "Systran/faster-whisper-large-v3-turbo"})
    assert turbo == figures_for("transcribe", {"MODEL": "turbo"})
    assert () == figures_for("transcribe", {"MODEL": "base"}) == figures_for(None, {"MODEL": "large-v3"})
    assert of_pools(turbo, ("AMPERE_48",)) is None
    found = of_pools(turbo, ("ADA_80_PRO",))
    assert (found and found.card) == "H100 SXM"


def _job(at_s: float, what: str, delay_s: float, execution_s: float, status: str = "COMPLETED") -> JobEntry:
    return JobEntry(str(at_s), "ep", "runpod", what, at_s, status, round(delay_s * 1000), round(execution_s * 1000))


def test_what_was_measured_is_of_jobs_of_units_and_of_starts() -> None:
    """The newest come first, as the journal has them; smoke tests tell of a start, but not of the work."""
    jobs = [
        _job(200, "detect c.jpg and 3 more", 0.1, 0.4),
        _job(130, "detect b.jpg", 0, 9, status="FAILED"),
        _job(101, "detect b.jpg", 0.1, 0.2),
        _job(100, "detect a.jpg and 9 more", 20, 1),
        _job(0, "smoke test of yolo", 30, 5),
    ]

    assert Measured(3, 0.4, 0.1, 20) == measured(jobs, "detect", idle_timeout_s=5)
    assert measured(jobs[-1:], "detect", idle_timeout_s=5) is None


def test_audio_is_measured_by_its_minutes_where_those_are_known() -> None:
    jobs = [_job(9, "transcribe a.mp4 60-90 s", 0, 2), _job(5, "transcribe b.wav", 0, 7)]

    found = measured(jobs, "transcribe", idle_timeout_s=5)

    assert Measured(2, 4.5, 4.0, None) == found


# --- vidctl cost simulate -------------------------------------------------------------------------------------------


def test_a_trace_is_simulated_and_the_cheapest_setting_found(folder: Path) -> None:
    words = ("cost", "simulate", "trace.csv", "plain", "--cold-start", "2s")
    plain = vidctl(*words, cwd=folder)
    outcome = vidctl(*words, "--p95", "4s", "--json", cwd=folder)

    document = outcome.document
    assert (0, 0) == (plain.status, outcome.status), outcome.stderr
    assert "vidctl.cost.simulate/1" == document["schema"]
    assert (3, "the trace", 2, gpus.PRICED_ON) == (
        document["jobs"], document["execution"], document["cold_starts"], document["prices_as_of"]
    )  # fmt: skip
    assert (18, pytest.approx(18 * 0.00034)) == (document["billed_s"], document["cost_usd"])
    assert (10, "timeouts:\n  idle: 1s") == (document["cheapest"]["billed_s"], document["cheapest"]["yaml"])
    assert all(each in plain.stdout for each in ("plain: 3 jobs", "$0.00612", gpus.PRICED_ON, "2 cold starts"))


def test_a_promise_that_no_setting_keeps_is_a_failure_with_the_best_that_there_is(folder: Path) -> None:
    outcome = vidctl("cost", "simulate", "trace.csv", "plain", "--p95", "1s", "--json", cwd=folder)

    failed(outcome, "no_setting", "p95", "1 s", "workers.min")
    assert outcome.document["cheapest"] is None


def test_without_an_execution_time_nothing_is_guessed(folder: Path) -> None:
    (folder / "trace.csv").write_text("time\n0\n")

    failed(vidctl("cost", "simulate", "trace.csv", "plain", cwd=folder), "usage_error", "--execution")
    failed(vidctl("cost", "simulate", "none.csv", "plain", cwd=folder), "usage_error", "none.csv")


# --- vidctl cost estimate -------------------------------------------------------------------------------------------


@given(st.integers(0, 2), st.integers(1, 3), st.floats(0.01, 30), st.integers(0, 3_000))
def test_a_day_is_billed_for_its_work_and_for_workers_that_always_run(
    workers_min: int, more: int, execution_s: float, jobs: int
) -> None:
    rules = replace(RULES, workers_min=workers_min, workers_max=workers_min + more)

    day = worker_day(rules, execution_s, jobs)

    assert day.billed_s >= workers_min * DAY_S - 1e-6
    assert day.billed_s >= jobs * execution_s - 1e-6
    assert workers_min or (day.cold_starts > 0) == (jobs > 0)


def test_more_jobs_than_are_played_cost_in_proportion() -> None:
    """With one worker that is never idle, the day is what the jobs take."""
    rules = replace(RULES, workers_max=1, idle_timeout_s=3600)

    assert worker_day(rules, 0.1, 40_000).billed_s == pytest.approx(DAY_S, rel=0.01)


@given(st.floats(0.01, 60), st.floats(1e-4, 10))
def test_an_hour_of_video_costs_as_many_calls_as_are_looked_at(every_s: float, execution_s: float) -> None:
    estimate = PoolEstimate("ADA_24", True, 0.0003, KnownTime(execution_s, "--execution"), None)

    assert estimate.per_hour(units_per_hour("detect", every_s)) == pytest.approx(3600 / every_s * execution_s * 0.0003)
    assert 60 == units_per_hour("transcribe", every_s)


def test_the_guide_says_sixty_times_what_it_says_of_audio() -> None:
    prices = Prices(None)

    said = {each.task: each.contradictions(prices) for each in GUIDE}
    assert ["$0.00100 for each minute of audio is $0.0600 an hour, and its table says $3.60"] == said["transcribe"]
    assert ["$0.0000310" in each and "$0.000400" in each for each in said["detect"]] == [True]
    assert [] == said["describe"]


def test_an_estimate_is_of_what_was_measured_at_runpod(folder: Path) -> None:
    """Not of what the local runtime did, nor of another endpoint."""
    journal = Journal(folder / ".vidctl" / "journal.db")
    for number, (endpoint_id, target) in enumerate([("ep", "runpod"), ("ep", "local"), ("other", "runpod")]):
        journal.sent(str(number), endpoint_id=endpoint_id, target=target, what="run", command="run")
        journal.ended(str(number), status="COMPLETED", delay_ms=7000, execution_ms=2000 * (1 + number))
    (folder / ".env").write_text("VIDCTL_PLAIN_ENDPOINT_ID=ep\n")

    document = vidctl("cost", "estimate", "plain", "--every", "2s", "--json", cwd=folder).document
    shown = vidctl("cost", "estimate", "plain", "--fps", "0.5", cwd=folder)

    (plain,) = document["estimates"]
    own = {each["pool"]: each for each in plain["gpus"] if each["is_in_spec"]}
    assert ("vidctl.cost.estimate/1", "call", 1800) == (
        document["schema"], plain["unit"], plain["units_per_hour_of_video"]
    )  # fmt: skip
    assert ["AMPERE_24", "AMPERE_48"] == list(own)
    assert (2, "measured: median of 1 job") == (own["AMPERE_24"]["unit_s"], own["AMPERE_24"]["source"])
    assert own["AMPERE_48"]["usd_per_hour_of_video"] == pytest.approx(1800 * 2 * 0.00034)
    assert 7 == plain["cold_start"]["seconds"]
    assert {None} == {each["usd_per_unit"] for each in plain["gpus"] if not each["is_in_spec"]}
    assert all(each in shown.stdout for each in ("AMPERE_24*\t$0.684\t2\t$0.000380", "no figure of other GPUs"))


def test_sampling_is_said_once(folder: Path) -> None:
    outcome = vidctl("cost", "estimate", "plain", "--every", "1s", "--fps", "2", cwd=folder)

    failed(outcome, "usage_error", "--every", "--fps")


@pytest.mark.runtime
def test_prices_are_live_where_there_is_a_key(folder: Path, account_runtime: LocalRuntime) -> None:
    environ: dict[str, Any] = {"RUNPOD_API_KEY": account_runtime.api_key, "RUNPOD_API_BASE_URL": account_runtime.url}

    live = vidctl("cost", "estimate", "plain", "--execution", "1s", "--json", cwd=folder, **environ).document
    refused = vidctl(
        "cost", "estimate", "plain", "--execution", "1s", "--json", cwd=folder, **{**environ, "RUNPOD_API_KEY": "no"}
    ).document

    assert ("live", gpus.PRICED_ON) == (live["prices_as_of"], refused["prices_as_of"])
    assert all(each["usd_per_unit"] for each in live["estimates"][0]["gpus"] if each["is_in_spec"])


# --- vidctl cost report ---------------------------------------------------------------------------------------------

_MONDAY_S = 1_777_852_800.0  # 2026-05-04, midnight in UTC
_SOME_JOBS = [
    replace(_job(_MONDAY_S + 10, "detect a.jpg", 0, 10), spec="yolo", command="detect"),
    replace(_job(_MONDAY_S + 90_000, "smoke test of yolo", 0, 2), spec="yolo"),
    replace(_job(_MONDAY_S + 20, "run", 0, 5), endpoint_id="other", command="run"),
]
_SOME_BILLS = [
    BillingRecord(_MONDAY_S, "ep", 0.02),
    BillingRecord(_MONDAY_S + 86_400, "ep", 0.01),
    BillingRecord(_MONDAY_S, "stranger", 1.0),
]


def _price_of(job: JobEntry) -> float | None:
    return 0.001 if job.endpoint_id == "ep" else None


@pytest.mark.parametrize(
    ("by", "rows"),
    [
        (
            "endpoint",
            [("stranger", 0, 0, 0, 1.0), ("yolo (ep)", 2, 0.012, 0, pytest.approx(0.03)), ("other", 1, 0, 1, 0)],
        ),
        ("day", [("2026-05-04", 2, 0.01, 1, 1.02), ("2026-05-05", 1, 0.002, 0, 0.01)]),
        ("command", [("detect", 1, 0.01, 0, None), ("deploy", 1, 0.002, 0, None), ("run", 1, 0, 1, None)]),
    ],
)
def test_what_was_spent_stands_beside_what_was_billed(by: By, rows: list[tuple[object, ...]]) -> None:
    found = spent(_SOME_JOBS, _price_of, by, _SOME_BILLS)

    whole = total(found, _SOME_BILLS)
    assert rows == [(each.name, each.jobs, each.usd, each.unpriced, each.billed_usd) for each in found]
    assert (3, pytest.approx(0.012), pytest.approx(1.03)) == (whole.jobs, whole.usd, whole.billed_usd)
    assert whole.difference_usd == pytest.approx(1.018)


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 10**6)), max_size=30), st.floats(0, 0.01))
def test_however_it_is_grouped_it_is_the_same_sum(jobs: list[tuple[int, int]], per_s: float) -> None:
    entries = [
        replace(_job(_MONDAY_S + 40_000 * number, "run", 0, execution_ms / 1000), endpoint_id=f"ep{where}")
        for number, (where, execution_ms) in enumerate(jobs)
    ]

    sums = [total(spent(entries, lambda _: per_s, by, None), None) for by in ("endpoint", "day", "command")]

    assert all(each.jobs == len(jobs) and each.billed_usd is None for each in sums)
    assert all(each.usd == pytest.approx(per_s * sum(ms for _, ms in jobs) / 1000) for each in sums)


def _sent(folder: Path, *jobs: tuple[str, str]) -> None:
    journal = Journal(folder / ".vidctl" / "journal.db")
    for number, (endpoint_id, target) in enumerate(jobs):
        journal.sent(str(number), endpoint_id=endpoint_id, target=target, what="run", spec="plain", command="run")
        journal.ended(str(number), status="COMPLETED", execution_ms=10_000)


def test_a_report_compares_the_journal_with_runpods_bill(folder: Path) -> None:
    _sent(folder, ("ep", "runpod"), ("ep", "runpod"), ("near", "local"))

    def bill(request: Request) -> Reply:
        if not request.path.startswith("/v2/billing/serverless?"):
            return Reply(404)
        start = parse_qs(urlsplit(request.path).query)["startTime"][0]
        assert start.endswith(":00:00Z")
        amounts = {"totalAmount": 0.01, "gpuAmount": 0.01, "cpuAmount": 0, "diskAmount": 0, "feeAmount": 0}
        return ok({"records": [{"startTime": start, "endTime": start, "serverlessId": "ep", **amounts}]})

    with serving(bill) as server:
        environ: dict[str, Any] = {"RUNPOD_API_KEY": "k", "RUNPOD_API_BASE_URL": server.url}
        document = vidctl("cost", "report", "--json", cwd=folder, **environ).document
        shown = vidctl("cost", "report", "--since", "1d", cwd=folder, **environ)

    (row,) = document["rows"]
    assert ("vidctl.cost.report/1", 1, None) == (document["schema"], document["local_jobs"], document["billing_error"])
    assert ("plain (ep)", 2, 0.0068, 0.01, 0.0032) == (
        row["name"], row["jobs"], row["usd"], row["billed_usd"], row["difference_usd"]
    )  # fmt: skip
    assert "plain (ep)\t2\t20.0 s\t$0.00680\t$0.0100\t+$0.00320" in shown.stdout
    assert "local runtime, at no cost: 1" in shown.stdout


@pytest.mark.runtime
def test_a_report_without_a_bill_says_why(folder: Path, account_runtime: LocalRuntime) -> None:
    """And with the local runtime in RunPod's place, nothing was billed."""
    _sent(folder, ("ep", "runpod"))
    environ: dict[str, Any] = {"RUNPOD_API_BASE_URL": account_runtime.url}

    keyless = vidctl("cost", "report", "--json", cwd=folder).document
    refused = vidctl("cost", "report", "--json", cwd=folder, **environ, RUNPOD_API_KEY="no").document
    free = vidctl(
        "cost", "report", "--by", "day", "--json", cwd=folder, **environ, RUNPOD_API_KEY=account_runtime.api_key
    )

    assert "RUNPOD_API_KEY" in keyless["billing_error"]
    assert refused["billing_error"]
    assert (None, None) == (keyless["total"]["billed_usd"], refused["total"]["billed_usd"])
    assert (None, 0) == (free.document["billing_error"], free.document["total"]["billed_usd"])
    assert 0.0034 == keyless["total"]["usd"]
