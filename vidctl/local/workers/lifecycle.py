"""A worker from start to end: prepared, started, watched until it exits, and cleaned up after.

A worker is a process or a container, as its image's name says, and learns from environment variables where its job
queue is.
"""

from __future__ import annotations

import asyncio
import shutil
import signal
from typing import TYPE_CHECKING, Any

from vidctl.errors import LocalRuntimeError
from vidctl.local.control_plane.store import new_id
from vidctl.local.threads import in_thread
from vidctl.local.workers import containers, folder_image, os_process
from vidctl.local.workers.fleet import LocalWorker
from vidctl.local.workers.launcher import STOP_GRACE_S, LaunchRequest
from vidctl.local.workers.log import WorkerLog
from vidctl.local.workers.processes import prepare_process
from vidctl.local.workers.scaling import backoff_s
from vidctl.local.workers.variables import require_possible, worker_variables

if TYPE_CHECKING:
    from collections.abc import Coroutine
    from pathlib import Path

    from vidctl.local.control_plane.store import RecordStore
    from vidctl.local.faults import Faults
    from vidctl.local.queue.queue import JobQueue
    from vidctl.local.workers.fleet import Fleets, LocalFleet
    from vidctl.local.workers.launcher import Launcher, PreparedWorker
    from vidctl.local.workers.sdk_log import UnsentResults
    from vidctl.local.workers.stops import JobStops


def launcher_for(image_name: str) -> Launcher:
    """A worker folder is run by a process of this machine, any other image by a container of it."""
    return prepare_process if folder_image.is_folder(image_name) else containers.prepare_container


class WorkerLifecycle:
    """Starts workers, stays with each to its end, and stops them.  `folder` holds what each of them leaves."""

    def __init__(
        self,
        folder: Path,
        *,
        fleets: Fleets,
        records: RecordStore,
        queue: JobQueue,
        stops: JobStops,
        unsent: UnsentResults,
        url: str,
        api_key: str,
    ) -> None:
        self._folder = folder
        self._fleets = fleets
        self._records = records
        self._queue = queue
        self._stops = stops
        self._unsent = unsent
        self._url = url
        self._api_key = api_key
        self._tasks: set[asyncio.Task[None]] = set()

    def kill_orphans(self, faults: Faults) -> None:
        """Kill what a previous run left running, and delete what its workers left."""
        self._folder.mkdir(parents=True, exist_ok=True)
        os_process.kill_orphans(self._folder)
        with faults.survived("removing the containers of the last run"):
            containers.remove_orphans(self._folder)
        shutil.rmtree(self._folder)
        self._folder.mkdir()

    def start(self, fleet: LocalFleet) -> None:
        """Add a worker to an endpoint's; it is prepared and started meanwhile."""
        worker_id = new_id(14)
        worker = LocalWorker(
            id=worker_id,
            version=fleet.endpoint.version,
            log=WorkerLog(self._folder / worker_id / "log"),
            started_at_ms=self._queue.clock(),
        )
        worker.log.on_write = self._unsent.listener(fleet.endpoint.id, worker)
        fleet.workers[worker_id] = worker
        self._keep(self._run(fleet, worker))

    async def _run(self, fleet: LocalFleet, worker: LocalWorker) -> None:
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

    async def _prepare(self, fleet: LocalFleet, worker: LocalWorker) -> PreparedWorker:
        template = self._records.template(fleet.endpoint.template_id)
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
            login=self._records.registry_auth(template.container_registry_auth_id),
        )
        return await launcher_for(request.image_name)(request, worker.log)

    async def _run_to_end(self, worker: LocalWorker, prepared: PreparedWorker) -> None:
        """Start the worker and stay with it to its end."""
        task = asyncio.current_task()
        if task is not None:
            task.set_name("spawned")
        worker.instance = await prepared.start(worker.log)
        worker.spawned_at_ms = self._queue.clock()
        worker.log.note(f"start container for {worker.image}: begin")
        if worker.is_stopping:
            self.kill(worker)
        reason = _exit_reason(await worker.instance.ended())
        worker.error = worker.error or reason
        worker.log.note(reason)

    def _clean_up(self, fleet: LocalFleet, worker: LocalWorker) -> None:
        fleet.workers.pop(worker.id, None)
        for job in self._queue.store.running(worker_id=worker.id, endpoint_id=fleet.endpoint.id):
            # We may have killed it for the sake of another job.
            self._queue.lose(job, is_counted=not (worker.is_stopping or worker.was_killed))
        worker.log.note(f"remove container {worker.id}")
        worker.log.close()
        if self._fleets.get(fleet.endpoint.id) is not fleet:
            self.remove(worker)
        elif len(fleet.past) == fleet.past.maxlen:
            self.remove(fleet.past[0])
        fleet.past.append(worker)
        if worker.has_crashed:
            fleet.crashes += 1
            fleet.start_after_ms = self._queue.clock() + int(backoff_s(fleet.crashes) * 1000)
        self._fleets.wake.set()

    def remove(self, worker: LocalWorker) -> None:
        """Delete what a worker that is gone left in its folder, which may be much."""
        folder = worker.log.path.parent
        self._keep(in_thread(lambda: shutil.rmtree(folder, ignore_errors=True)))

    def stop(self, worker: LocalWorker) -> None:
        """Ask it to end; kill it when it has not after the grace period."""
        if worker.is_stopping:
            return
        worker.is_stopping = True
        if worker.instance is not None and worker.instance.exit_code is None:
            worker.log.note(f"stop container {worker.id}")
            worker.instance.stop()
            asyncio.get_running_loop().call_later(STOP_GRACE_S, self.kill, worker)
        self._stops.waiters.notify_all(worker.id)
        self._queue.takers.notify_everyone()

    def kill(self, worker: LocalWorker) -> None:
        if worker.instance is not None and worker.instance.exit_code is None:
            worker.was_killed = True
            worker.instance.kill()

    async def ended(self) -> None:
        """Wait until all workers that were started have ended.

        A thread that installs an environment cannot be interrupted: it is left to its end.
        """
        spawned = [task for task in self._tasks if task.get_name() == "spawned"]
        if spawned:
            await asyncio.wait(spawned)

    def _keep(self, work: Coroutine[Any, Any, None]) -> None:
        """Run it, and remember it meanwhile."""
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


def _reason(error: LocalRuntimeError | OSError | ValueError) -> str:
    match error:
        case LocalRuntimeError(hint=str(hint)):
            return f"{error} ({hint})"
        case ValueError():  # an image name or a command that the standard library cannot make sense of
            return f"cannot start: {error}"
        case _:
            return str(error)


def _exit_reason(exit_code: int) -> str:
    if exit_code < 0:
        return f"the worker was killed by {signal.Signals(-exit_code).name}"
    return f"the worker exited with status {exit_code}"
