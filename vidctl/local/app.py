"""The runtime: its parts put together, and served until it is told to stop."""

from __future__ import annotations

import asyncio
import logging
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import uvicorn
from starlette.applications import Starlette

from vidctl.errors import LocalRuntimeError
from vidctl.local.api.authentication import Authenticated
from vidctl.local.api.http import EXCEPTION_HANDLERS
from vidctl.local.api.job_calls import JobCalls
from vidctl.local.api.job_routes import JobRoutes
from vidctl.local.api.openai_routes import OpenAiRoutes
from vidctl.local.api.rate_limits import RateLimits
from vidctl.local.api.routes import RouteTable
from vidctl.local.api.runtime_routes import RuntimeRoutes
from vidctl.local.api.worker_polls import WorkerPolls
from vidctl.local.api.worker_routes import WorkerRoutes
from vidctl.local.control_plane import rest
from vidctl.local.control_plane.store import RecordStore
from vidctl.local.queue import webhooks
from vidctl.local.queue.queue import JobQueue
from vidctl.local.queue.store import JobStore
from vidctl.local.workers.dispatch import Dispatch
from vidctl.local.workers.fleet import Fleets
from vidctl.local.workers.lifecycle import WorkerLifecycle
from vidctl.local.workers.sdk_log import UnsentResults
from vidctl.local.workers.stops import JobStops
from vidctl.local.workers.supervisor import Supervisor

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from starlette.routing import Route

    from vidctl.local.daemon import Isolation

_log = logging.getLogger(__name__)


def serve(
    state_dir: Path,
    *,
    port: int,
    api_key: str,
    on_ready: Callable[[], None],
    isolation: Isolation = "process",
    page_size: int = rest.PAGE_SIZE,
    has_rate_limits: bool = True,
) -> None:
    """Serve on 127.0.0.1 until SIGTERM or SIGINT; `on_ready` is called once requests are answered.

    Jobs in progress at the end go back to the queue, which is in `state_dir`/runtime.db.  Raise LocalRuntimeError when
    what must go on in the background has ended: nothing would start a worker or time out a job any more.
    """
    state_dir.mkdir(parents=True, exist_ok=True)
    runtime = Runtime(
        state_dir,
        port=port,
        api_key=api_key,
        isolation=isolation,
        page_size=page_size,
        has_rate_limits=has_rate_limits,
    )
    config = uvicorn.Config(
        runtime.app,
        host="127.0.0.1",
        port=port,
        log_level="warning",
        access_log=False,
        lifespan="off",
        timeout_keep_alive=75,
        timeout_graceful_shutdown=5,
    )
    with suppress(KeyboardInterrupt):
        _Server(config, runtime, on_ready).run()
    if runtime.failure is not None:
        raise LocalRuntimeError("the local runtime's background tasks failed") from runtime.failure


class _Server(uvicorn.Server):
    """Stops the workers before the connections, for a worker's answer may still be on its way."""

    def __init__(self, config: uvicorn.Config, runtime: Runtime, on_ready: Callable[[], None]) -> None:
        super().__init__(config)
        self._runtime = runtime
        self._on_ready = on_ready

    async def startup(self, sockets: list[Any] | None = None) -> None:
        await super().startup(sockets)
        if not self.should_exit:
            self._runtime.start(on_failure=self._give_up)
            self._on_ready()

    async def shutdown(self, sockets: list[Any] | None = None) -> None:
        await self._runtime.stop()
        await super().shutdown(sockets)
        self._runtime.close()

    def _give_up(self) -> None:
        self.should_exit = True


class Runtime:
    """The parts of one running runtime, and `app`, which answers for all of them.

    `failure` is what ended its background tasks, if something did.
    """

    def __init__(
        self,
        state_dir: Path,
        *,
        port: int,
        api_key: str,
        isolation: Isolation = "process",
        page_size: int = rest.PAGE_SIZE,
        has_rate_limits: bool = True,
    ) -> None:
        url = f"http://127.0.0.1:{port}"
        self.records = RecordStore(state_dir / "runtime.db")
        self.queue = JobQueue(JobStore(state_dir / "runtime.db"))
        self.fleets = Fleets()
        self.stops = JobStops(self.fleets, self.queue)
        self.dispatch = Dispatch(self.fleets, self.queue)
        self.supervisor = self._supervisor(state_dir / "workers", url, api_key)
        self.failure: BaseException | None = None
        self._closing = asyncio.Event()
        self._housekeeping: list[asyncio.Task[None]] = []
        routes = self._routes(isolation, RateLimits() if has_rate_limits else None)
        self.app = rest.ControlPlane(
            Authenticated(Starlette(routes=routes, exception_handlers=EXCEPTION_HANDLERS), api_key),
            records=self.records,
            fleets=self.fleets,
            closing=self._closing,
            url=url,
            api_key=api_key,
            page_size=page_size,
        )

    def _supervisor(self, folder: Path, url: str, api_key: str) -> Supervisor:
        lifecycle = WorkerLifecycle(
            folder,
            fleets=self.fleets,
            records=self.records,
            queue=self.queue,
            stops=self.stops,
            unsent=UnsentResults(self.queue, self.dispatch),
            url=url,
            api_key=api_key,
        )
        return Supervisor(
            fleets=self.fleets,
            records=self.records,
            queue=self.queue,
            dispatch=self.dispatch,
            lifecycle=lifecycle,
        )

    def _routes(self, isolation: Isolation, rate_limits: RateLimits | None) -> list[Route]:
        calls = JobCalls(self.queue, self._closing)
        polls = WorkerPolls(self.queue, self.dispatch, self.stops, self._closing)
        return RouteTable(self.fleets, rate_limits).routes(
            JobRoutes(self.fleets, self.queue, calls),
            WorkerRoutes(self.fleets, self.queue, self.dispatch, polls),
            OpenAiRoutes(calls),
            RuntimeRoutes(self.fleets, self.records, isolation=isolation, has_rate_limits=rate_limits is not None),
        )

    def start(self, *, on_failure: Callable[[], None]) -> None:
        """Begin to look after workers, jobs and webhooks; `on_failure` is called if that ends by itself."""
        self.supervisor.start()
        self._housekeeping = [
            asyncio.ensure_future(self.supervisor.run()),
            asyncio.ensure_future(webhooks.deliver(self.queue)),
        ]

        def note(task: asyncio.Task[None]) -> None:
            if not task.cancelled():
                self.failure = task.exception()
                _log.error("the background tasks ended", exc_info=self.failure)
                on_failure()

        for task in self._housekeeping:
            task.add_done_callback(note)

    async def stop(self) -> None:
        self._closing.set()
        self.queue.watchers.notify_everyone()
        for task in self._housekeeping:
            task.cancel()
        await asyncio.gather(*self._housekeeping, return_exceptions=True)
        await self.supervisor.stop()

    def close(self) -> None:
        self.queue.store.close()
        self.records.close()
