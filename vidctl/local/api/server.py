"""The runtime's HTTP faces: RunPod's job API for callers, its worker API for workers, its control planes behind both.

Routes and answers are those of RunPod docs, serverless/endpoints/send-requests, and of runpod-python 1.12,
serverless/modules.  `GET /` and `/local/v1` are our own.
"""

from __future__ import annotations

import asyncio
import hmac
import logging
import os
import re
from contextlib import suppress
from http import HTTPStatus
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs

import uvicorn
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route

from vidctl import __version__
from vidctl.errors import LocalRuntimeError
from vidctl.local import wire
from vidctl.local.api import limits
from vidctl.local.api.limits import Limits, TooManyRequestsError
from vidctl.local.control_plane import rest
from vidctl.local.control_plane.registry import Registry
from vidctl.local.queue import transitions, webhooks
from vidctl.local.queue.job import DEFAULT_TTL_MS
from vidctl.local.queue.queue import JobQueue
from vidctl.local.queue.store import JobStore
from vidctl.local.queue.transitions import WrongStateError
from vidctl.local.wire import BadRequestError
from vidctl.local.workers.fleet import Worker
from vidctl.local.workers.scaling import jobs_to_give
from vidctl.local.workers.supervisor import Supervisor

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable
    from pathlib import Path

    from starlette.types import ASGIApp, Receive, Scope, Send

    from vidctl.local.api.limits import Limit
    from vidctl.local.control_plane.records import EndpointRecord
    from vidctl.local.daemon import Isolation
    from vidctl.local.queue.job import JobRecord
    from vidctl.local.queue.waiters import Waiters

    Endpoint = Callable[[Request, EndpointRecord], Awaitable[Response]]

_log = logging.getLogger(__name__)

POLL_S = 20.0  # a worker's long poll; the SDK gives up after 90 s
FULL_WAIT_S = 0.5
BURST_S = 0.05
SETTLE_S = 0.5  # how often a worker that got a stop for a job is to say whether it has jobs
DEFAULT_WAIT_MS = 90_000
WAIT_MS = (1_000, 300_000)
# RunPod documents 10 s, which is also when RunPod's own client gives up reading: a little less serves it too.
DEFAULT_STREAM_WAIT_MS = 9_000
DRAIN_BYTES = 20 << 20
BEGINNING_BYTES = 100


class NotFoundError(BadRequestError):
    """No such endpoint, job or worker; answered with HTTP 404."""


class ClientGoneError(ClientDisconnect):
    """The client closed the connection while it was waiting."""


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
    """The parts of one running runtime, and its routes."""

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
        database = state_dir / "runtime.db"
        self._api_key = api_key
        self._isolation = isolation
        self._limits = Limits() if has_rate_limits else None
        self._registry = Registry(database)
        self._store = JobStore(database)
        self._queue = JobQueue(self._store)
        self._supervisor = Supervisor(
            state_dir / "workers",
            registry=self._registry,
            queue=self._queue,
            url=f"http://127.0.0.1:{port}",
            api_key=api_key,
        )
        self._closing = asyncio.Event()
        self._housekeeping: list[asyncio.Task[None]] = []
        self.failure: BaseException | None = None
        self.app = rest.ControlPlane(
            _Authenticated(Starlette(routes=self._routes(), exception_handlers=_ERRORS), api_key),
            registry=self._registry,
            supervisor=self._supervisor,
            closing=self._closing,
            url=f"http://127.0.0.1:{port}",
            api_key=api_key,
            page_size=page_size,
        )

    def start(self, *, on_failure: Callable[[], None]) -> None:
        """Begin to look after workers, jobs and webhooks; `on_failure` is called if that ends by itself."""
        self._supervisor.start()
        self._housekeeping = [
            asyncio.ensure_future(self._supervisor.run()),
            asyncio.ensure_future(webhooks.deliver(self._queue)),
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
        self._queue.watchers.notify_everyone()
        for task in self._housekeeping:
            task.cancel()
        await asyncio.gather(*self._housekeeping, return_exceptions=True)
        await self._supervisor.stop()

    def close(self) -> None:
        self._store.close()
        self._registry.close()

    def _routes(self) -> list[Route]:
        on, base = self._on_endpoint, "/v2/{endpoint_id}"
        return [
            Route("/", self._about),
            Route(f"{base}/job-take/{{worker_id}}", on(self._take)),
            Route(f"{base}/job-take-batch/{{worker_id}}", on(self._take_batch)),
            Route(f"{base}/job-stop/{{worker_id}}", on(self._job_stop)),
            Route(f"{base}/job-done/{{worker_id}}/{{job_id}}", on(self._done), methods=["POST"]),
            Route(f"{base}/job-stream/{{worker_id}}/{{job_id}}", on(self._chunk), methods=["POST"]),
            Route(f"{base}/ping/{{worker_id}}", on(self._ping)),
            Route(f"{base}/run", on(self._run, limits.RUN), methods=["POST"]),
            Route(f"{base}/runsync", on(self._runsync, limits.RUNSYNC), methods=["POST"]),
            Route(f"{base}/status/{{job_id}}", on(self._status, limits.STATUS), methods=["GET", "POST"]),
            Route(f"{base}/status-sync/{{job_id}}", on(self._status_sync, limits.STATUS)),
            Route(f"{base}/stream/{{job_id}}", on(self._stream, limits.STREAM)),
            Route(f"{base}/cancel/{{job_id}}", on(self._cancel, limits.CANCEL), methods=["POST"]),
            Route(f"{base}/retry/{{job_id}}", on(self._retry), methods=["POST"]),
            Route(f"{base}/purge-queue", on(self._purge, limits.PURGE), methods=["POST"]),
            Route(f"{base}/health", on(self._health)),
            Route(f"{base}/openai/{{route:path}}", on(self._openai, limits.OPENAI), methods=["GET", "POST"]),
            Route("/graphql", self._graphql, methods=["POST"]),
            Route("/local/v1/endpoints/{endpoint_id}/workers", on(self._workers)),
            Route("/local/v1/endpoints/{endpoint_id}/logs", on(self._logs)),
        ]

    def _on_endpoint(self, handler: Endpoint, limit: Limit | None = None) -> Callable[[Request], Awaitable[Response]]:
        async def handle(request: Request) -> Response:
            endpoint = self._supervisor.endpoint(request.path_params["endpoint_id"])
            if endpoint is None:
                raise NotFoundError(f"endpoint {request.path_params['endpoint_id']} not found")
            if limit is None or self._limits is None:
                return await handler(request, endpoint)
            with self._limits.one(endpoint.id, limit):
                return await handler(request, endpoint)

        return handle

    # The workers' side

    async def _take(self, request: Request, endpoint: EndpointRecord) -> Response:
        jobs = await self._next_jobs(request, endpoint, limit=1)
        return _json(jobs[0]) if jobs else Response(status_code=204)

    async def _take_batch(self, request: Request, endpoint: EndpointRecord) -> Response:
        jobs = await self._next_jobs(request, endpoint, limit=_integer(request, "batch_size", 1, (1, 1000)))
        return _json(b"[" + b",".join(jobs) + b"]") if jobs else Response(status_code=204)

    async def _next_jobs(self, request: Request, endpoint: EndpointRecord, *, limit: int) -> list[bytes]:
        """Jobs for a worker, as soon as there are any; none when the poll's time is over.

        Jobs of a burst are given together: one that could take more than there are gets them a little later.  So does
        one whose SDK would begin those that come after the first only when that has ended.
        A worker that would be full waits for one of its jobs to end, or for half a second; see `jobs_to_give`.  One
        that got a stop for a job is soon answered, for what its next poll says.
        """
        worker = self._worker(request, endpoint)
        self._supervisor.mark_ready(endpoint.id, worker)
        if request.query_params.get("job_in_progress") == "0":
            self._supervisor.reports_no_jobs(endpoint.id, worker)
            worker.concurrency = limit  # only then it asks for as many as it can take
        begins_late = wire.begins_late(request.headers.get("user-agent", ""))
        before = len(worker.jobs)
        poll = _Poll(request, self._queue.takers, endpoint.id, POLL_S)
        full_until = asyncio.get_running_loop().time() + FULL_WAIT_S
        settled = asyncio.get_running_loop().time() + SETTLE_S
        gathered = float("inf")
        try:
            async for _ in poll:
                if not worker.takes_jobs:
                    # It was woken because it is to end, or for a job that is for the next in line.
                    self._queue.takers.notify(endpoint.id)
                    await self._hold_until_stopped(request, worker)
                    return []
                time = asyncio.get_running_loop().time()
                busy = len(worker.jobs)
                room = worker.room(limit, self._queue.clock())
                count = room or jobs_to_give(limit, busy=busy, ended=before - busy, may_wait=time < full_until)
                is_burst = self._queue.is_burst(endpoint.id) or (begins_late and not busy)
                if room and time < gathered and is_burst and self._is_room_left(endpoint.id, room):
                    gathered = min(gathered, time + BURST_S)
                    poll.listen_to(endpoint.id)
                    poll.wake_at(gathered)
                    continue
                taken = self._queue.take(endpoint, worker.id, count) if count else []
                if taken:
                    self._supervisor.assign_jobs(worker, [job.id for job, _ in taken])
                    return [wire.for_worker(job, body) for job, body in taken]
                if _should_poll_again(worker, poll, settled):
                    return []
                # While it waits for its own jobs to end, a new job is for another worker.
                poll.listen_to(endpoint.id if count else worker.id)
                if not count:
                    poll.wake_at(full_until)
        finally:
            poll.close()
        return []

    def _is_room_left(self, endpoint_id: str, room: int) -> bool:
        """Whether there are jobs, and they do not fill a worker."""
        return 0 < self._store.demand(endpoint_id, self._queue.clock()).queued < room

    async def _hold_until_stopped(self, request: Request, worker: Worker) -> None:
        """Keep a worker that gets no more jobs from asking again at once, which the SDK does after a 204."""
        poll = _Poll(request, self._supervisor.stops, worker.id, POLL_S)
        settled = asyncio.get_running_loop().time() + SETTLE_S
        try:
            async for _ in poll:
                if worker.is_stopping or self._closing.is_set() or _should_poll_again(worker, poll, settled):
                    return
        finally:
            poll.close()

    async def _job_stop(self, request: Request, endpoint: EndpointRecord) -> Response:
        worker = self._worker(request, endpoint)
        self._supervisor.acknowledge_stops(worker)
        stops: list[str] = []
        poll = _Poll(request, self._supervisor.stops, worker.id, POLL_S)
        try:
            async for _ in poll:
                stops = self._supervisor.stop_signals(worker)
                if stops or worker.is_stopping:
                    break
                in_s = self._supervisor.next_stop_s(worker)
                if in_s is not None:
                    poll.wake_at(asyncio.get_running_loop().time() + in_s)
        finally:
            poll.close()
        return _json(wire.answer({"jobsToStop": stops})) if stops else Response(status_code=204)

    async def _done(self, request: Request, endpoint: EndpointRecord) -> Response:
        worker_id, job_id = request.path_params["worker_id"], request.path_params["job_id"]
        max_bytes = wire.SYNC_BYTES if job_id.startswith("sync-") else wire.RUN_BYTES
        body, size = await _read(request, max_bytes)
        try:
            result = _object(_within(body, size, max_bytes), max_bytes=max_bytes, what="a result")
        except BadRequestError as error:
            # RunPod answers 400 too, and leaves the caller with a job that never ends or has no output.  A progress
            # update can be done without.
            if not wire.is_progress(body):
                self._finish(endpoint, worker_id, job_id, {"error": f"the worker's result was refused: {error}"})
            raise
        self._finish(endpoint, worker_id, job_id, result, is_stream=request.query_params.get("isStream") == "true")
        return _json(b"{}")

    def _finish(
        self, endpoint: EndpointRecord, worker_id: str, job_id: str, result: dict[str, Any], *, is_stream: bool = False
    ) -> None:
        """Take in what a worker says of a job; what nobody expects any more is dropped."""
        worker = self._supervisor.worker(endpoint.id, worker_id)
        job = self._running(endpoint, worker_id, job_id)
        if result.get("status") == "IN_PROGRESS":
            if job is not None:
                self._queue.progress(job, wire.dumps(result.get("output")))
            return
        if job is not None:
            has_output = "output" in result and not (is_stream and result["output"] == [])
            self._queue.finish(
                job,
                output=wire.dumps(result["output"]) if has_output else None,
                error=wire.dumps(result["error"]) if result.get("error") else None,
            )
        if worker is not None:
            self._supervisor.answered(endpoint.id, worker, job_id)
            if result.get("stopPod") is True:
                self._supervisor.restart(worker)

    async def _chunk(self, request: Request, endpoint: EndpointRecord) -> Response:
        job = self._running(endpoint, request.path_params["worker_id"], request.path_params["job_id"])
        try:
            chunk = _object(await _body(request, wire.RUN_BYTES), max_bytes=wire.RUN_BYTES, what="a stream chunk")
            if "output" not in chunk:
                raise BadRequestError("a stream chunk must have an output")
            pieces = wire.split_chunk(chunk["output"])
        except BadRequestError as error:
            # The SDK goes on after a chunk that was refused, and the caller would not miss it.
            if job is not None:
                self._queue.finish(job, error=wire.dumps(f"the worker's stream was refused: {error}"))
            raise
        if job is not None:
            self._queue.stream(job, pieces)
        return _json(b"{}")

    async def _ping(self, _request: Request, _endpoint: EndpointRecord) -> Response:
        # The heartbeat is a process of its own: that it beats says nothing about the worker, so nothing hangs on it.
        return _json(b"{}")

    def _worker(self, request: Request, endpoint: EndpointRecord) -> Worker:
        worker = self._supervisor.worker(endpoint.id, request.path_params["worker_id"])
        if worker is None:
            raise NotFoundError(f"worker {request.path_params['worker_id']} not found")
        return worker

    def _running(self, endpoint: EndpointRecord, worker_id: str, job_id: str) -> JobRecord | None:
        job = self._queue.find(endpoint.id, job_id)
        is_running = job is not None and job.status == "IN_PROGRESS" and job.worker_id == worker_id
        return job if is_running else None

    # The callers' side

    async def _run(self, request: Request, endpoint: EndpointRecord) -> Response:
        job = self._submit(endpoint, await _body(request, wire.RUN_BYTES), is_sync=False)
        return _json(wire.answer({"id": job.id, "status": job.status}))

    async def _runsync(self, request: Request, endpoint: EndpointRecord) -> Response:
        wait_ms = _integer(request, "wait", DEFAULT_WAIT_MS, WAIT_MS)
        requested_ms = wait_ms if "wait" in request.query_params else 0
        submitted = self._submit(endpoint, await _body(request, wire.SYNC_BYTES), is_sync=True, wait_ms=requested_ms)
        job = await self._ended(request, submitted, wait_ms / 1000)
        return self._describe(job) if job.is_final else _json(wire.answer({"id": job.id, "status": job.status}))

    def _submit(self, endpoint: EndpointRecord, data: bytes, *, is_sync: bool, wait_ms: int = 0) -> JobRecord:
        max_bytes = wire.SYNC_BYTES if is_sync else wire.RUN_BYTES
        request = wire.read_submission(data, max_bytes=max_bytes)
        job = transitions.submitted(
            wire.new_job_id(is_sync=is_sync),
            endpoint.id,
            self._queue.clock(),
            ttl_ms=request.ttl_ms or DEFAULT_TTL_MS,
            execution_timeout_ms=request.execution_timeout_ms,
            low_priority=request.low_priority,
            webhook=request.webhook,
            wait_ms=wait_ms,
        )
        self._queue.submit(job, request.body)
        return job

    async def _ended(self, request: Request, job: JobRecord, timeout_s: float) -> JobRecord:
        """The job once it has ended, or as it is when the time is over or the runtime ends."""
        poll = _Poll(request, self._queue.watchers, job.id, timeout_s)
        try:
            async for _ in poll:
                job = self._job(job.endpoint_id, job.id)
                if job.is_final or self._closing.is_set():
                    break
        finally:
            poll.close()
        return job

    async def _status(self, request: Request, endpoint: EndpointRecord) -> Response:
        job = self._job(endpoint.id, request.path_params["job_id"])
        if "ttl" in request.query_params:
            self._queue.keep_for(job, _integer(request, "ttl", 0, (0, wire.MAX_POLICY_MS)))
        return self._describe(job)

    async def _status_sync(self, request: Request, endpoint: EndpointRecord) -> Response:
        """Where RunPod's JavaScript SDK waits for a job that its /runsync did not see the end of."""
        job = self._job(endpoint.id, request.path_params["job_id"])
        wait_ms = _integer(request, "wait", DEFAULT_WAIT_MS, WAIT_MS)
        return self._describe(await self._ended(request, job, wait_ms / 1000))

    async def _stream(self, request: Request, endpoint: EndpointRecord) -> Response:
        job = self._job(endpoint.id, request.path_params["job_id"])
        wait_ms = _integer(request, "wait", DEFAULT_STREAM_WAIT_MS, WAIT_MS)
        job, chunks = await self._chunks(request, job, wait_ms / 1000)
        stream = b",".join(b'{"output":' + chunk + b"}" for chunk in chunks)
        return _json(wire.answer({"status": job.status, "stream": wire.Raw(b"[" + stream + b"]")}))

    async def _chunks(self, request: Request, job: JobRecord, timeout_s: float) -> tuple[JobRecord, list[bytes]]:
        """The job and its chunks, as soon as there are any or it has ended."""
        poll = _Poll(request, self._queue.watchers, job.id, timeout_s)
        chunks: list[bytes] = []
        try:
            async for _ in poll:
                job = self._job(job.endpoint_id, job.id)
                chunks = self._store.drain(job.id, max_bytes=DRAIN_BYTES)
                if chunks or job.is_final or self._closing.is_set():
                    break
        finally:
            poll.close()
        return job, chunks

    async def _cancel(self, request: Request, endpoint: EndpointRecord) -> Response:
        job = self._queue.cancel(self._job(endpoint.id, request.path_params["job_id"]))
        return _json(wire.answer({"id": job.id, "status": job.status}))

    async def _retry(self, request: Request, endpoint: EndpointRecord) -> Response:
        job = self._queue.retry(self._job(endpoint.id, request.path_params["job_id"]))
        return _json(wire.answer({"id": job.id, "status": job.status}))

    async def _purge(self, _request: Request, endpoint: EndpointRecord) -> Response:
        return _json(wire.answer({"removed": self._queue.purge(endpoint.id), "status": "completed"}))

    async def _health(self, _request: Request, endpoint: EndpointRecord) -> Response:
        demand = self._store.demand(endpoint.id, self._queue.clock())
        counts = self._store.counts(endpoint.id)
        jobs = {
            "completed": counts.completed,
            "failed": counts.failed,
            "inProgress": demand.in_progress,
            "inQueue": demand.queued,
            "retried": counts.retried,
        }
        return _json(wire.answer({"jobs": jobs, "workers": self._supervisor.health(endpoint.id)}))

    def _job(self, endpoint_id: str, job_id: str) -> JobRecord:
        job = self._queue.find(endpoint_id, job_id)
        if job is None:
            raise NotFoundError(f"job {job_id} not found: unknown or expired")
        return job

    def _describe(self, job: JobRecord) -> Response:
        return _json(wire.answer(wire.status_fields(job, *self._store.result(job.id))))

    # OpenAI's API, as a job

    async def _openai(self, request: Request, endpoint: EndpointRecord) -> Response:
        data = await _body(request, wire.SYNC_BYTES)
        given = wire.loads(data, max_bytes=wire.SYNC_BYTES) if data else {}
        envelope = {"openai_route": f"/{request.path_params['route']}", "openai_input": given}
        job = self._submit(endpoint, wire.dumps({"input": envelope}), is_sync=True)
        if isinstance(given, dict) and given.get("stream") is True:
            return StreamingResponse(self._events(request, job), media_type="text/event-stream")
        job = await self._ended(request, job, DEFAULT_TTL_MS / 1000)
        status, body = wire.openai_answer(
            job, *self._store.result(job.id), self._store.drain(job.id, max_bytes=DRAIN_BYTES)
        )
        return _json(body, status)

    async def _events(self, request: Request, job: JobRecord) -> AsyncIterator[bytes]:
        """Server-sent events: what the handler yields, an error if there is one, and OpenAI's end mark."""
        events = wire.Events()
        while True:
            try:
                job, chunks = await self._chunks(request, job, DEFAULT_TTL_MS / 1000)
            except ClientGoneError:
                return
            for chunk in chunks:
                yield events.take(chunk)
            if not chunks and (job.is_final or self._closing.is_set()):
                break
        if job.status != "COMPLETED":
            yield events.own(wire.openai_answer(job, *self._store.result(job.id), [])[1])
        yield events.end()

    # The control plane, and our own

    async def _about(self, _request: Request) -> Response:
        about = {
            "service": "vidctl-local",
            "version": __version__,
            "pid": os.getpid(),
            "isolation": self._isolation,
            "rateLimits": self._limits is not None,
        }
        return _json(wire.dumps(about))

    async def _graphql(self, request: Request) -> Response:
        from vidctl.local.control_plane import (
            graphql,  # graphql-core takes 10 MB that a runtime nobody deploys to does not need
        )

        status, result = graphql.respond(self._registry, await _body(request, wire.RUN_BYTES))
        return _json(wire.dumps(result), status)

    async def _workers(self, _request: Request, endpoint: EndpointRecord) -> Response:
        return _json(wire.dumps({"workers": self._supervisor.report(endpoint.id)}))

    async def _logs(self, request: Request, endpoint: EndpointRecord) -> Response:
        tail = _integer(request, "tail", 100, (0, 5000))
        return _json(wire.dumps({"logs": self._supervisor.logs(endpoint.id, tail)}))


class _Poll:
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

    def __aiter__(self) -> _Poll:
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


def _should_poll_again(worker: Worker, poll: _Poll, at: float) -> bool:
    """Whether a poll is to end: its worker acknowledged a stop, and this poll may be from before that."""
    if worker.is_settling and asyncio.get_running_loop().time() < at:
        poll.wake_at(at)
        return False
    return worker.is_settling


async def _until_hangup(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


_BEARER = re.compile(rb"bearer +", re.IGNORECASE)


class _Authenticated:
    """Answers 401 to everyone without the key, before anything is read.

    The key comes as `Bearer <key>` or bare, as RunPod's SDK sends it from a worker, and for GraphQL as `?api_key=`.
    """

    def __init__(self, app: ASGIApp, api_key: str) -> None:
        self._app = app
        self._api_key = api_key.encode()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope["path"] != "/" and not self._is_allowed(scope):
            await _json(wire.answer({"error": "unauthorized: the API key is missing or wrong"}), 401)(
                scope, receive, send
            )
            return
        await self._app(scope, receive, send)

    def _is_allowed(self, scope: Scope) -> bool:
        given = next((value for name, value in scope["headers"] if name == b"authorization"), b"")
        if not given and scope["path"] == "/graphql":
            given = parse_qs(scope["query_string"]).get(b"api_key", [b""])[0]
        return hmac.compare_digest(_BEARER.sub(b"", given).strip(), self._api_key)


async def _body(request: Request, max_bytes: int) -> bytes:
    """The body; raise BadRequestError when it is over the limit, once it is read, so that a client can read that."""
    return _within(*await _read(request, max_bytes), max_bytes)


async def _read(request: Request, max_bytes: int) -> tuple[bytes, int]:
    """The body, or no more than its beginning when it is over the limit, and its size."""
    chunks: list[bytes] = []
    size = 0
    async for chunk in request.stream():
        size += len(chunk)
        chunks.append(chunk)
        if size > max_bytes:
            chunks = [chunks[0][:BEGINNING_BYTES]]
    return b"".join(chunks), size


def _within(body: bytes, size: int, max_bytes: int) -> bytes:
    if size > max_bytes:
        raise BadRequestError(
            f"json is invalid; max size is {max_bytes >> 20}MiB (this one has {size / (1 << 20):.1f} MiB)"
        )
    return body


def _object(body: bytes, *, max_bytes: int, what: str) -> dict[str, Any]:
    value = wire.loads(body, max_bytes=max_bytes)
    if not isinstance(value, dict):
        raise BadRequestError(f"{what} must be a JSON object")
    return value


def _integer(request: Request, name: str, default: int, limits: tuple[int, int]) -> int:
    """A number from the query, brought within its limits."""
    text = request.query_params.get(name)
    if text is None:
        return default
    with suppress(ValueError):
        return min(limits[1], max(limits[0], int(text)))
    raise BadRequestError(f"invalid {name} {text!r}: expected a number")


def _json(body: bytes, status: int = 200) -> Response:
    return Response(body, status, media_type="application/json")


async def _error_response(request: Request, error: Exception) -> Response:
    match error:
        case NotFoundError():
            status = 404
        case HTTPException(status_code=status):
            phrase = HTTPStatus(status).phrase.lower()
            answer = _json(wire.answer({"error": f"{request.method} {request.url.path}: {phrase}"}), status)
            answer.headers.update(error.headers or {})
            return answer
        case TooManyRequestsError(retry_after_s=seconds):
            answer = _json(wire.answer({"error": str(error)}), 429)
            answer.headers["Retry-After"] = str(seconds)
            return answer
        case ClientGoneError() | ClientDisconnect():
            return Response(status_code=499)
        case _:
            status = 400
    return _json(wire.answer({"error": str(error)}), status)


_ERRORS: dict[Any, Any] = dict.fromkeys(
    (BadRequestError, WrongStateError, ClientDisconnect, HTTPException, TooManyRequestsError), _error_response
)
