"""RunPod's rate limits of the job API."""

from support.failing import failing

from vidctl.local.api.rate_limits import RateLimits
from vidctl.runpod import limits


class Clock:
    now = 0.0

    def __call__(self):
        return self.now


def test_so_many_are_taken_in_ten_seconds_and_the_rest_is_told_when_to_come_back():
    clock = Clock()
    counted = RateLimits(clock=clock)
    for at in (0.0, 4.5):
        clock.now = at
        with counted.one("ep", limits.PURGE_RATE):
            pass
    clock.now = 6.0
    with (
        failing("local_runtime_error", "429", "2 /purge-queue requests in 10 s", "--no-rate-limits") as caught,
        counted.one("ep", limits.PURGE_RATE),
    ):
        pass

    assert caught.value.retry_after_s == 4
    clock.now = 10.0
    with counted.one("ep", limits.PURGE_RATE):
        pass


def test_endpoints_and_operations_are_counted_each_by_itself():
    counted = RateLimits(clock=Clock())
    for endpoint_id in ("a", "b"):
        for limit in (limits.PURGE_RATE, limits.CANCEL_RATE):
            for _ in range(2):
                with counted.one(endpoint_id, limit):
                    pass


def test_so_many_are_taken_at_once():
    counted = RateLimits(clock=Clock())
    underway = [counted.one("ep", limits.CANCEL_RATE) for _ in range(20)]
    for request in underway:
        request.__enter__()
    with failing("local_runtime_error", "429", "20 /cancel requests") as busy, counted.one("ep", limits.CANCEL_RATE):
        pass
    assert busy.value.retry_after_s == 1
    underway[0].__exit__(None, None, None)
    with counted.one("ep", limits.CANCEL_RATE):
        pass
