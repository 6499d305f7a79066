"""Start, watch and stop the workers of every endpoint, as RunPod's scheduler would.

How many there should be is decided in fleet.py; `Supervisor` acts on it.  A worker is a process or a container, as its
image's name says, and learns from environment variables where its job queue is.
"""

from __future__ import annotations

import asyncio
import json
import secrets
import shutil
import signal
import string
from contextlib import suppress
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any

from vidctl.errors import LocalRuntimeError
from vidctl.local.faults import Faults
from vidctl.local.queue.waiters import Waiters
from vidctl.local.threads import in_thread
from vidctl.local.workers import containers, folder_image, os_process
from vidctl.local.workers.fleet import Fleet, Worker, WorkerStatus
from vidctl.local.workers.launcher import STOP_GRACE_S, LaunchRequest
from vidctl.local.workers.log import WorkerLog, last_lines
from vidctl.local.workers.processes import prepare_process
from vidctl.local.workers.scaling import backoff_s, init_timeout_s, workers_wanted
from vidctl.local.workers.stops import Stop
from vidctl.local.workers.variables import require_possible, worker_variables

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Iterator
    from pathlib import Path

    from vidctl.local.control_plane.records import EndpointRecord
    from vidctl.local.control_plane.registry import Registry
    from vidctl.local.queue.job import JobRecord
    from vidctl.local.queue.queue import JobQueue
    from vidctl.local.workers.launcher import Launcher, PreparedWorker

STABLE_AFTER_S = 60  # a worker that has run so long is no crash loop
TICK_S = 0.25
# What the SDK logs of a job (rp_http.py, _handle_result): that it cannot be sent, and then that it is over.
UNSENT = "Error while returning job result."
FINISHED = "Finished."


def launcher_for(image_name: str) -> Launcher:
    """A worker folder is run by a process of this machine, any other image by a container of it."""
    return prepare_process if folder_image.is_folder(image_name) else containers.prepare_container


class Supervisor:
    """Keeps every endpoint's workers as its record and its queue ask for."""

    def __init__(self, folder: Path, *, registry: Registry, queue: JobQueue, url: str, api_key: str) -> None:
        self._folder = folder
        self._registry = registry
        self._queue = queue
        self._url = url
        self._api_key = api_key
        self._fleets: dict[str, Fleet] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._wake = asyncio.Event()
        self._faults = Faults()
        self._is_stopping = False
        self.stops = Waiters()
        registry.on_change = self.changed
        queue.on_queued = self._queued
        queue.on_stop = self._stop_job
        queue.on_released = self._released

    # What the server asks

    def endpoint(self, endpoint_id: str) -> EndpointRecord | None:
        fleet = self._fleets.get(endpoint_id)
        return None if fleet is None else fleet.endpoint

    def worker(self, endpoint_id: str, worker_id: str) -> Worker | None:
        fleet = self._fleets.get(endpoint_id)
        return None if fleet is None else fleet.workers.get(worker_id)

    def mark_ready(self, endpoint_id: str, worker: Worker) -> None:
        """Its first request for a job shows that a worker has started."""
        if worker.is_ready:
            return
        worker.is_ready = True
        worker.idle_since_ms = self._queue.clock()
        self._fleets[endpoint_id].is_broken = False
        self._wake.set()

    def reports_no_jobs(self, endpoint_id: str, worker: Worker) -> None:
        """The worker says that it has no job: what it was given and has not answered, or its result, was lost.

        The SDK counts a job from when it has it until its result is posted or given up (rp_job.py, job_in_progress).
        """
        for job_id in worker.jobs | worker.stops.keys():
            job = self._queue.find(endpoint_id, job_id)
            if job is not None and job.status == "IN_PROGRESS" and job.worker_id == worker.id:
                self._queue.lose(job, is_counted=True)
            self.release(worker, job_id)

    def assign_jobs(self, worker: Worker, job_ids: list[str]) -> None:
        worker.jobs.update(job_ids)

    def acknowledge_stops(self, worker: Worker) -> None:
        """The worker asks for stops again: its loop runs and has dealt with those that it got before.

        That does not say whether it has dropped the jobs.  What it says when it next asks for a job does (see
        `reports_no_jobs`), so that poll is answered soon now.
        """
        for stop in worker.stops.values():
            stop.is_acknowledged = stop.sent_at_ms is not None
        if worker.is_settling:
            self._queue.takers.notify_everyone()
            self.stops.notify_all(worker.id)

    def stop_signals(self, worker: Worker) -> list[str]:
        """The jobs whose stops are to be sent to a worker now."""
        now = self._queue.clock()
        due = [job_id for job_id, stop in worker.stops.items() if (at := stop.due_at_ms()) is not None and at <= now]
        for job_id in due:
            worker.stops[job_id].mark_sent(now)
        return due

    def next_stop_s(self, worker: Worker) -> float | None:
        """In how many seconds a stop is to be sent to a worker once more; None: never."""
        due = [at for stop in worker.stops.values() if (at := stop.due_at_ms()) is not None]
        return max(0, min(due) - self._queue.clock()) / 1000 if due else None

    def answered(self, endpoint_id: str, worker: Worker, job_id: str) -> None:
        """The worker has posted a job's result, so it works."""
        self._fleets[endpoint_id].crashes = 0
        self.release(worker, job_id)

    def release(self, worker: Worker, job_id: str) -> None:
        """The worker has ended a job, whether or not anybody still wanted it."""
        worker.jobs.discard(job_id)
        worker.stops.pop(job_id, None)
        worker.idle_since_ms = worker.ended_at_ms = self._queue.clock()
        self._queue.takers.notify_all(worker.id)
        if worker.is_draining and not worker.is_busy:
            self._wake.set()

    def restart(self, worker: Worker) -> None:
        """A handler asked for a fresh process (`refresh_worker`); jobs that it still has may finish."""
        worker.is_draining = True
        self._wake.set()

    def health(self, endpoint_id: str) -> dict[str, int]:
        """/health's worker counts.  As RunPod's, `ready` counts the idle ones once more."""
        fleet = self._fleets[endpoint_id]
        states = [status for _, status in fleet.shown()]
        idle = states.count("IDLE")
        return {
            "idle": idle,
            "initializing": states.count("INITIALIZING"),
            "ready": idle,
            "running": states.count("RUNNING"),
            "throttled": 0,
            "unhealthy": states.count("UNHEALTHY"),
        }

    def report(self, endpoint_id: str) -> list[dict[str, Any]]:
        """Each worker with its state and last log lines."""
        return [_describe(worker, status) for worker, status in self._fleets[endpoint_id].shown()]

    def shown(self, endpoint_id: str) -> list[tuple[Worker, WorkerStatus]]:
        """The workers that the endpoint has, with their states."""
        return self._fleets[endpoint_id].shown()

    def log(self, endpoint_id: str, worker_id: str) -> WorkerLog | None:
        """The log of a worker, of one of the last few that have gone too."""
        fleet = self._fleets[endpoint_id]
        known = [*fleet.past, *fleet.workers.values()]
        return next((worker.log for worker in known if worker.id == worker_id), None)

    def logs(self, endpoint_id: str, tail: int) -> list[dict[str, Any]]:
        """The last lines of each worker's log, those of the last few that have gone included, the newest last."""
        fleet = self._fleets[endpoint_id]
        known = [*fleet.past, *fleet.workers.values()]
        return [
            {
                "workerId": worker.id,
                "startedAt": _iso(worker.started_at_ms),
                "lines": last_lines(worker.log.path, tail),
            }
            for worker in known
        ]

    # What happens over time

    async def run(self) -> None:
        """Look after jobs and workers until cancelled."""
        while True:
            with self._faults.survived("expiring jobs"):
                self._queue.expire_overdue()
            for endpoint_id, fleet in list(self._fleets.items()):
                with self._faults.survived(f"looking after endpoint {endpoint_id}"):
                    self._reconcile(fleet)
            with suppress(asyncio.TimeoutError):
                await asyncio.wait_for(self._wake.wait(), TICK_S)
            self._wake.clear()

    def start(self) -> None:
        """Kill what a previous run left running, queue its jobs again, and look after all known endpoints."""
        self._folder.mkdir(parents=True, exist_ok=True)
        os_process.kill_orphans(self._folder)
        with self._faults.survived("removing the containers of the last run"):
            containers.remove_orphans(self._folder)
        shutil.rmtree(self._folder)
        self._folder.mkdir()
        self._queue.recover()
        for endpoint in self._registry.endpoints():
            self._fleets[endpoint.id] = Fleet(endpoint)

    async def stop(self) -> None:
        """Stop all workers; what they were working on goes back to the queue."""
        self._is_stopping = True
        for fleet in self._fleets.values():
            for worker in fleet.workers.values():
                self._stop_worker(worker)
        # A thread that installs an environment cannot be interrupted: it is left to its end.
        spawned = [task for task in self._tasks if task.get_name() == "spawned"]
        if spawned:
            await asyncio.wait(spawned)

    def changed(self, endpoint_id: str) -> None:
        """The control plane saved or deleted an endpoint or its template."""
        endpoint = self._registry.endpoint(endpoint_id)
        fleet = self._fleets.get(endpoint_id)
        if endpoint is None:
            if fleet is not None:
                self._queue.forget_endpoint(endpoint_id)
                del self._fleets[endpoint_id]
                for worker in fleet.workers.values():
                    self._stop_worker(worker)
                for worker in fleet.past:
                    self._remove(worker)
        elif fleet is None:
            self._fleets[endpoint_id] = Fleet(endpoint)
        else:
            if endpoint.version != fleet.endpoint.version:
                fleet.crashes, fleet.is_broken, fleet.start_after_ms = 0, False, 0
            fleet.endpoint = endpoint
            # From now on every job goes to a worker of the new version.
            for worker in fleet.workers.values():
                worker.is_draining = worker.is_draining or worker.version != endpoint.version
        self._wake.set()

    def _reconcile(self, fleet: Fleet) -> None:
        now = self._queue.clock()
        for worker in list(fleet.workers.values()):
            self._check_worker(fleet, worker, now)
        current = fleet.current()
        starting = sum(not worker.is_ready for worker in current)
        demand = self._queue.store.demand(fleet.endpoint.id, now)
        wanted = workers_wanted(fleet.endpoint, demand, have=len(current), starting=starting)
        may_start = not self._is_stopping and now >= fleet.start_after_ms
        if may_start and wanted > len(current):
            # After a start that failed, one at a time is enough to learn whether the next does.
            for _ in range(1 if fleet.crashes else wanted - len(current)):
                self._start_worker(fleet)
        elif wanted < len(current):
            spare = sorted(current, key=lambda worker: worker.is_busy)[: len(current) - wanted]
            for worker in spare:
                worker.is_draining = True

    def _check_worker(self, fleet: Fleet, worker: Worker, now: int) -> None:
        if worker.is_stopping:
            return
        if worker.is_ready and worker.spawned_at_ms is not None and now - worker.spawned_at_ms >= STABLE_AFTER_S * 1000:
            fleet.crashes = 0
        overdue = {job_id: stop for job_id, stop in worker.stops.items() if now >= stop.kill_at_ms}
        if overdue and worker.jobs - worker.stops.keys() and all(stop.is_acknowledged for stop in overdue.values()):
            # It got the stop, and has other jobs, so it cannot say whether it dropped this one; they must not suffer.
            for job_id in overdue:
                self.release(worker, job_id)
        elif overdue:
            worker.log.note("killed: it did not drop a stopped job in time")
            self._kill(worker)
        elif not worker.is_ready and self._starts_too_long(fleet, worker, now):
            worker.error = "the worker did not request a job within its start timeout (RUNPOD_INIT_TIMEOUT)"
            self._kill(worker)
        if worker.is_busy:
            return
        if worker.is_draining or (worker.is_ready and self._is_idle_too_long(fleet, worker, now)):
            self._stop_worker(worker)

    def _is_idle_too_long(self, fleet: Fleet, worker: Worker, now: int) -> bool:
        has_spare = len(fleet.current()) > fleet.endpoint.workers_min
        return has_spare and now - worker.idle_since_ms >= fleet.endpoint.idle_timeout_s * 1000

    def _starts_too_long(self, fleet: Fleet, worker: Worker, now: int) -> bool:
        if worker.spawned_at_ms is None:
            return False
        template = self._registry.template(fleet.endpoint.template_id)
        return now - worker.spawned_at_ms > init_timeout_s(template.env if template else {}) * 1000

    # One worker, from start to end

    def _start_worker(self, fleet: Fleet) -> None:
        worker_id = "".join(secrets.choice(string.ascii_lowercase + string.digits) for _ in range(14))
        worker = Worker(
            id=worker_id,
            version=fleet.endpoint.version,
            log=WorkerLog(self._folder / worker_id / "log"),
            started_at_ms=self._queue.clock(),
        )
        worker.log.on_write = self._unsent_listener(fleet.endpoint.id, worker)
        fleet.workers[worker_id] = worker
        self._keep(self._run_worker(fleet, worker))

    def _unsent_listener(self, endpoint_id: str, worker: Worker) -> Callable[[bytes], None]:
        """Find in what a worker prints that it has a result which it cannot send: the SDK posts nothing then."""
        loop = asyncio.get_running_loop()

        def on_write(data: bytes) -> None:
            if UNSENT.encode() in data or (worker.unsent and FINISHED.encode() in data):
                loop.call_soon_threadsafe(self._find_unsent, endpoint_id, worker, data)

        return on_write

    def _find_unsent(self, endpoint_id: str, worker: Worker, data: bytes) -> None:
        for job_id, message in sdk_messages(data):
            if message.startswith(UNSENT):
                worker.unsent[job_id] = message.removeprefix(UNSENT).strip(" |")
            elif message == FINISHED and (reason := worker.unsent.pop(job_id, None)) is not None:
                # What could not be sent before was a progress update if the result has come meanwhile.
                job = self._queue.find(endpoint_id, job_id)
                if job is not None and job.status == "IN_PROGRESS" and job.worker_id == worker.id:
                    failure = f"the worker cannot send its result as JSON: {reason}"
                    self._queue.finish(job, error=json.dumps(failure).encode())
                    self.answered(endpoint_id, worker, job_id)

    async def _run_worker(self, fleet: Fleet, worker: Worker) -> None:
        try:
            prepared = await self._prepare(fleet, worker)
            if worker.is_stopping:
                return
            await self._run_to_end(worker, prepared)
        except (LocalRuntimeError, OSError, ValueError) as error:
            worker.error = _reason(error)
            worker.log.note(worker.error)
            fleet.is_broken = True
        finally:
            self._clean_up(fleet, worker)

    async def _prepare(self, fleet: Fleet, worker: Worker) -> PreparedWorker:
        template = self._registry.template(fleet.endpoint.template_id)
        if template is None:
            raise LocalRuntimeError(f"endpoint {fleet.endpoint.id} has no template")
        worker.image = template.image_name
        worker.log.note(f"create container {worker.image}")
        require_possible(template.env)
        request = LaunchRequest(
            worker_id=worker.id,
            image_name=template.image_name,
            folder=worker.log.path.parent,
            command=template.docker_args,
            template_env=template.env,
            variables=worker_variables(
                fleet.endpoint, worker.id, template_env=template.env, url=self._url, api_key=self._api_key
            ),
            login=self._registry.registry_auth(template.container_registry_auth_id),
        )
        return await launcher_for(request.image_name)(request, worker.log)

    async def _run_to_end(self, worker: Worker, prepared: PreparedWorker) -> None:
        """Start the worker and stay with it to its end."""
        task = asyncio.current_task()
        if task is not None:
            task.set_name("spawned")
        worker.instance = await prepared.start(worker.log)
        worker.spawned_at_ms = self._queue.clock()
        worker.log.note(f"start container for {worker.image}: begin")
        if worker.is_stopping:
            self._kill(worker)
        reason = _exit_reason(await worker.instance.ended())
        worker.error = worker.error or reason
        worker.log.note(reason)

    def _clean_up(self, fleet: Fleet, worker: Worker) -> None:
        fleet.workers.pop(worker.id, None)
        for job in self._queue.store.running(worker_id=worker.id, endpoint_id=fleet.endpoint.id):
            # We may have killed it for the sake of another job.
            self._queue.lose(job, is_counted=not (worker.is_stopping or worker.was_killed))
        worker.log.note(f"remove container {worker.id}")
        worker.log.close()
        if self._fleets.get(fleet.endpoint.id) is not fleet:
            self._remove(worker)
        elif len(fleet.past) == fleet.past.maxlen:
            self._remove(fleet.past[0])
        fleet.past.append(worker)
        if worker.has_crashed:
            fleet.crashes += 1
            fleet.start_after_ms = self._queue.clock() + int(backoff_s(fleet.crashes) * 1000)
        self._wake.set()

    def _remove(self, worker: Worker) -> None:
        """Delete what a worker that is gone left in its folder, which may be much."""
        folder = worker.log.path.parent
        self._keep(in_thread(lambda: shutil.rmtree(folder, ignore_errors=True)))

    def _keep(self, work: Coroutine[Any, Any, None]) -> None:
        """Run it, and remember it meanwhile."""
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _stop_worker(self, worker: Worker) -> None:
        """Ask it to end; kill it when it has not after the grace period."""
        if worker.is_stopping:
            return
        worker.is_stopping = True
        if worker.instance is not None and worker.instance.exit_code is None:
            worker.log.note(f"stop container {worker.id}")
            worker.instance.stop()
            asyncio.get_running_loop().call_later(STOP_GRACE_S, self._kill, worker)
        self.stops.notify_all(worker.id)
        self._queue.takers.notify_everyone()

    def _kill(self, worker: Worker) -> None:
        if worker.instance is not None and worker.instance.exit_code is None:
            worker.was_killed = True
            worker.instance.kill()

    # What the queue reports

    def _queued(self, endpoint_id: str) -> None:
        fleet = self._fleets.get(endpoint_id)
        if fleet is not None and not fleet.current():
            self._wake.set()

    def _stop_job(self, job: JobRecord) -> None:
        worker = self._holder(job)
        if worker is not None:
            worker.stops[job.id] = Stop(
                kill_at_ms=self._queue.clock() + int(STOP_GRACE_S * 1000), given_at_ms=job.started_at_ms or 0
            )
            self.stops.notify_all(worker.id)

    def _released(self, job: JobRecord) -> None:
        worker = self._holder(job)
        if worker is not None:
            self.release(worker, job.id)

    def _holder(self, job: JobRecord) -> Worker | None:
        fleet = self._fleets.get(job.endpoint_id)
        return fleet.workers.get(job.worker_id) if fleet is not None and job.worker_id is not None else None


def sdk_messages(data: bytes) -> Iterator[tuple[str, str]]:
    """The lines of RunPod's SDK about a job (rp_logger.py), as (job id, message)."""
    for line in data.splitlines():
        with suppress(ValueError):
            entry = json.loads(line)
            if isinstance(entry, dict) and entry.get("requestId") and isinstance(entry.get("message"), str):
                yield str(entry["requestId"]), entry["message"]


def _reason(error: LocalRuntimeError | OSError | ValueError) -> str:
    match error:
        case LocalRuntimeError(hint=str(hint)):
            return f"{error} ({hint})"
        case ValueError():  # an image name or a command that the standard library cannot make sense of
            return f"cannot start: {error}"
        case _:
            return str(error)


def _describe(worker: Worker, status: WorkerStatus) -> dict[str, Any]:
    return {
        "id": worker.id,
        "status": status,
        "pid": worker.instance.pid if worker.instance else None,
        "startedAt": _iso(worker.started_at_ms),
        "lastLog": last_lines(worker.log.path, 20),
        "error": worker.error,
    }


def _iso(at_ms: int) -> str:
    return datetime.fromtimestamp(at_ms / 1000, timezone.utc).isoformat(timespec="milliseconds")


def _exit_reason(exit_code: int) -> str:
    if exit_code < 0:
        return f"the worker was killed by {signal.Signals(-exit_code).name}"
    return f"the worker exited with status {exit_code}"
