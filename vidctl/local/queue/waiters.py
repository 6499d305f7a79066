"""Who waits for what: the long polls of workers and callers.  Everything here runs on the event loop's thread."""

from __future__ import annotations

import asyncio
from collections import deque


async def until_set(event: asyncio.Event, timeout_s: float) -> None:
    """Wait until the event is set, and no longer than that.

    Being cancelled as the event is set is being cancelled: `asyncio.wait_for` of Python 3.11 and before drops that.
    """
    waiting = asyncio.ensure_future(event.wait())
    try:
        await asyncio.wait({waiting}, timeout=timeout_s)
    finally:
        waiting.cancel()


class Waiters:
    """Wakes those who wait for a name; a name that nobody waits for costs nothing."""

    def __init__(self) -> None:
        self._waiting: dict[str, deque[asyncio.Future[None]]] = {}

    def wait(self, name: str) -> asyncio.Future[None]:
        """A future that the next `notify` of `name` resolves; hand it to `leave` when done with it."""
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.setdefault(name, deque()).append(future)
        return future

    def leave(self, name: str, future: asyncio.Future[None]) -> None:
        """Stop waiting.  A notification that came meanwhile still counts: look again, or `notify` the next in line."""
        queue = self._waiting.get(name)
        if queue is None:
            return
        if future in queue:
            queue.remove(future)
        if not queue:
            del self._waiting[name]

    def notify(self, name: str) -> None:
        """Wake the one who has waited longest."""
        queue = self._waiting.get(name, ())
        for future in queue:
            if not future.done():
                future.set_result(None)
                return

    def notify_everyone(self) -> None:
        for name in list(self._waiting):
            self.notify_all(name)

    def notify_all(self, name: str) -> None:
        for future in self._waiting.get(name, ()):
            if not future.done():
                future.set_result(None)
