"""A long poll: look now, then whenever there is something new, until time is over or the client hangs up."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from starlette.requests import ClientDisconnect

if TYPE_CHECKING:
    from starlette.requests import Request
    from starlette.types import Receive

    from vidctl.local.queue.waiters import Waiters


class ClientGoneError(ClientDisconnect):
    """The client closed the connection while it was waiting."""


class Poll:
    """Times to look whether something has come: once at the start, then at each notification, until time is over.

    Raise ClientGoneError when the client hangs up, so that nothing is given to a client that is not there.
    """

    def __init__(self, request: Request, waiters: Waiters, name: str, timeout_s: float) -> None:
        self._receive = request.receive
        self._waiters = waiters
        self._name = name
        self._timeout_s = timeout_s
        self._deadline = 0.0
        self._future: asyncio.Future[None] | None = None
        self._hangup: asyncio.Task[None] | None = None
        self._alarm: asyncio.TimerHandle | None = None

    def __aiter__(self) -> Poll:
        return self

    async def __anext__(self) -> None:
        loop = asyncio.get_running_loop()
        if self._hangup is None or self._future is None:
            self._hangup = loop.create_task(_until_hangup(self._receive))
            self._deadline = loop.time() + self._timeout_s
            self._future = self._waiters.wait(self._name)
            await asyncio.sleep(0)
            if self._hangup.done():
                self._pass_on()
                raise ClientGoneError
            return
        left = self._deadline - loop.time()
        future = self._future
        if left <= 0:
            raise StopAsyncIteration
        await asyncio.wait({future, self._hangup}, timeout=left, return_when=asyncio.FIRST_COMPLETED)
        if self._hangup.done():
            self._pass_on()
            raise ClientGoneError
        if not future.done():
            raise StopAsyncIteration
        self._waiters.leave(self._name, future)
        self._future = self._waiters.wait(self._name)

    def _pass_on(self) -> None:
        """A notification that reached a client that is gone is for the next in line."""
        if self._future is not None and self._future.done():
            self.close()
            self._waiters.notify(self._name)

    def listen_to(self, name: str) -> None:
        """Be woken by this name from now on."""
        if name != self._name and self._future is not None:
            self._waiters.leave(self._name, self._future)
            if self._future.done():
                self._waiters.notify(self._name)
            self._name = name
            self._future = self._waiters.wait(name)

    def wake_at(self, loop_time: float) -> None:
        """Look at that time even without a notification, or at an earlier one that was set before."""
        loop = asyncio.get_running_loop()
        if self._alarm is not None and loop.time() < self._alarm.when() <= loop_time:
            return
        if self._alarm is not None:
            self._alarm.cancel()
        self._alarm = loop.call_at(loop_time, lambda: self._waiters.notify_all(self._name))

    def close(self) -> None:
        if self._alarm is not None:
            self._alarm.cancel()
        if self._future is not None:
            self._waiters.leave(self._name, self._future)
        if self._hangup is not None:
            self._hangup.cancel()


async def _until_hangup(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
