"""Whoever waits is woken, or told that it is over."""

import asyncio

import pytest

from vidctl.local.queue.waiters import until_set


@pytest.mark.parametrize("turns", range(5))
def test_a_wait_that_is_cancelled_as_it_ends_is_cancelled(turns):
    """A loop that waits like this would go on for ever, and its runtime never stop."""

    async def main():
        event = asyncio.Event()
        waiting = asyncio.create_task(until_set(event, 60))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        event.set()
        for _ in range(turns):
            await asyncio.sleep(0)
        is_accepted = waiting.cancel()
        await asyncio.wait({waiting})
        return is_accepted, waiting.cancelled()

    is_accepted, is_cancelled = asyncio.run(main())

    assert is_cancelled == is_accepted
