"""How many workers there are to be, and what a worker is told."""

from pathlib import Path

import pytest

from vidctl.local.control_plane.records import EndpointRecord
from vidctl.local.queue.store import Demand
from vidctl.local.workers.scaling import backoff_s, init_timeout_s, jobs_to_give, workers_wanted
from vidctl.local.workers.variables import process_environment, worker_variables


def endpoint(scaler="QUEUE_DELAY", value=4, least=0, most=3):
    return EndpointRecord("ep", "ep", "t", workers_min=least, workers_max=most, scaler_type=scaler, scaler_value=value)


@pytest.mark.parametrize(
    ("record", "demand", "have", "starting", "wanted"),
    [
        (endpoint(), Demand(), 0, 0, 0),
        (endpoint(least=2), Demand(), 0, 0, 2),
        (endpoint(), Demand(1, 0, 1, 0), 0, 0, 1),
        (endpoint(), Demand(1, 1, 1, 4_000), 1, 0, 1),
        (endpoint(), Demand(1, 1, 1, 4_001), 1, 0, 2),
        (endpoint(), Demand(9, 1, 9, 60_000), 1, 1, 1),
        (endpoint(), Demand(9, 3, 9, 60_000), 3, 0, 3),
        (endpoint(most=0), Demand(9, 0, 9, 60_000), 0, 0, 0),
        (endpoint(most=1), Demand(), 3, 0, 1),
        (endpoint(), Demand(5, 0, 0, 0), 0, 0, 0),
        (endpoint("REQUEST_COUNT", 4), Demand(5, 0, 5, 0), 0, 0, 2),
        (endpoint("REQUEST_COUNT", 4), Demand(7, 2, 7, 0), 1, 0, 3),
        (endpoint("REQUEST_COUNT", 1), Demand(50, 0, 50, 0), 0, 0, 3),
        (endpoint("REQUEST_COUNT", 4), Demand(), 2, 0, 2),
    ],
)
def test_workers_follow_the_queue_between_min_and_max(record, demand, have, starting, wanted):
    assert workers_wanted(record, demand, have=have, starting=starting) == wanted


@pytest.mark.parametrize(
    ("requested", "busy", "ended", "may_wait", "given"),
    [
        (1, 0, 0, True, 1),
        (2, 0, 0, True, 1),
        (1, 1, 0, True, 0),
        (1, 1, 0, False, 1),
        (1, 0, 1, True, 1),
        (50, 0, 0, True, 24),
        (2, 24, 0, True, 0),
        (2, 23, 1, True, 1),
        (2, 4, 20, True, 2),
        (2, 24, 0, False, 2),
    ],
)
def test_a_worker_is_not_filled_to_the_brim_while_it_may_wait(requested, busy, ended, may_wait, given):
    assert jobs_to_give(requested, busy=busy, ended=ended, may_wait=may_wait) == given


def test_a_start_that_fails_is_tried_again_ever_more_slowly():
    assert [backoff_s(crashes) for crashes in (0, 1, 2, 3, 9)] == [0, 1, 2, 4, 60]


@pytest.mark.parametrize(
    ("text", "seconds"), [(None, 420), ("", 420), ("5", 5), ("²", 420), ("-1", 420), ("soon", 420), ("9" * 5000, 420)]
)
def test_a_worker_has_the_time_to_start_that_its_template_gives(text, seconds):
    assert init_timeout_s({} if text is None else {"RUNPOD_INIT_TIMEOUT": text}) == seconds


def environment(**inherited):
    variables = worker_variables(
        endpoint(),
        "w1",
        template_env={"MODEL": "small", "RUNPOD_LOG_LEVEL": "DEBUG", "RUNPOD_POD_ID": "mine"},
        url="http://127.0.0.1:1",
        api_key="local-key",
    )
    return process_environment(variables, inherited=inherited, home=Path("/scratch"), cache_home=Path("/cache"))


def test_a_worker_learns_nothing_of_the_callers_secrets():
    env = environment(PATH="/bin", RUNPOD_API_KEY="secret", AWS_SECRET_ACCESS_KEY="secret", HOME="/home/me")

    assert "secret" not in env.values()
    assert (env["PATH"], env["HOME"], env["RUNPOD_AI_API_KEY"]) == ("/bin", "/scratch", "local-key")


def test_the_template_sets_what_it_likes_but_not_who_the_worker_is():
    env = environment()

    assert (env["MODEL"], env["RUNPOD_LOG_LEVEL"], env["RUNPOD_POD_ID"]) == ("small", "DEBUG", "w1")


def test_a_worker_behind_a_proxy_still_reaches_the_runtime():
    env = environment(HTTPS_PROXY="http://proxy", HTTP_PROXY="http://proxy", NO_PROXY="internal")

    assert env["NO_PROXY"] == env["no_proxy"] == "internal,127.0.0.1,localhost"


def test_a_worker_may_reach_what_is_not_public_only_if_its_template_says_so():
    """The SDK's guarded download guards here as it does at RunPod."""
    assert "RUNPOD_ALLOW_PRIVATE_DOWNLOAD_URLS" not in environment()
