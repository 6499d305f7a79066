"""The caller's own limits: however requests come, RunPod would refuse none of them."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from vidctl.runpod.limits import RATE_WINDOW_S, RateLimit
from vidctl.runpod.rate_limiter import RateLimiter


@given(st.integers(1, 20), st.lists(st.floats(0, 5), max_size=80))
def test_no_window_of_ten_seconds_holds_more_than_the_limit_and_no_request_waits_in_vain(
    rate: int, gaps: list[float]
) -> None:
    now = 0.0
    limiter = RateLimiter(RateLimit("/run", rate), clock=lambda: now)

    starts: list[float] = []
    for gap in gaps:
        now += gap
        wait_s = limiter.reserve()
        starts.append(now + wait_s)
        assert wait_s == 0.0 or len(starts) > rate

    assert starts == sorted(starts)
    for first, after in zip(starts, starts[rate:], strict=False):
        assert after - first > RATE_WINDOW_S


def test_only_so_many_are_under_way_at_once() -> None:
    limiter = RateLimiter(RateLimit("/cancel", 100, 2))

    with limiter.one(), limiter.one():
        assert not limiter._places.acquire(blocking=False)

    assert limiter._places.acquire(blocking=False)


def test_whoever_gives_up_waiting_sends_nothing() -> None:
    limiter = RateLimiter(RateLimit("/purge-queue", 1))
    sent = []

    def stop(_: float) -> None:
        raise KeyboardInterrupt

    with limiter.one(stop):
        sent.append(1)
    try:
        with limiter.one(stop):
            sent.append(2)
    except KeyboardInterrupt:
        pass

    assert [1] == sent
