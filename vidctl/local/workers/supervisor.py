"""Keep every endpoint's workers as its record and its queue ask for, as RunPod's scheduler would.

How many there should be is decided in scaling.py; each is started, watched and stopped by lifecycle.py.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from vidctl.local.faults import Faults
from vidctl.local.queue.waiters import until_set
from vidctl.local.workers.scaling import init_timeout_s, workers_wanted

if TYPE_CHECKING:
    from vidctl.local.control_plane.records import EndpointRecord
    from vidctl.local.control_plane.store import RecordStore
    from vidctl.local.queue.queue import JobQueue
    from vidctl.local.workers.dispatch import Dispatch
    from vidctl.local.workers.fleet import Fleets, LocalFleet, LocalWorker
    from vidctl.local.workers.lifecycle import WorkerLifecycle

STABLE_AFTER_S = 60  # a worker that has run so long is no crash loop
TICK_S = 0.25


class Supervisor:
    """Looks after all endpoints' workers, several times a second and whenever something has changed."""

    def __init__(
        self, *, fleets: Fleets, records: RecordStore, queue: JobQueue, dispatch: Dispatch, lifecycle: WorkerLifecycle
    ) -> None:
        self._fleets = fleets
        self._records = records
        self._queue = queue
        self._dispatch = dispatch
        self._lifecycle = lifecycle
        self._faults = Faults()
        self._is_stopping = False
        records.on_change = self.changed
        queue.on_queued = self._queued

    def start(self) -> None:
        """Kill what a previous run left running, queue its jobs again, and look after all known endpoints."""
        self._lifecycle.kill_orphans(self._faults)
        self._queue.recover()
        for endpoint in self._records.endpoints():
            self._fleets.add(endpoint)

    async def run(self) -> None:
        """Look after jobs and workers until cancelled."""
        while True:
            with self._faults.survived("expiring jobs"):
                self._queue.expire_overdue()
            for fleet in self._fleets.all():
                with self._faults.survived(f"looking after endpoint {fleet.endpoint.id}"):
                    self._reconcile(fleet)
            await until_set(self._fleets.wake, TICK_S)
            self._fleets.wake.clear()

    async def stop(self) -> None:
        """Stop all workers; what they were working on goes back to the queue."""
        self._is_stopping = True
        for fleet in self._fleets.all():
            for worker in fleet.workers.values():
                self._lifecycle.stop(worker)
        await self._lifecycle.ended()

    def changed(self, endpoint_id: str) -> None:
        """The control plane saved or deleted an endpoint or its template."""
        endpoint = self._records.endpoint(endpoint_id)
        fleet = self._fleets.get(endpoint_id)
        if fleet is None and endpoint is not None:
            self._fleets.add(endpoint)
        elif fleet is not None and endpoint is None:
            self._remove(fleet)
        elif fleet is not None and endpoint is not None:
            _update(fleet, endpoint)
        self._fleets.wake.set()

    def _remove(self, fleet: LocalFleet) -> None:
        self._queue.forget_endpoint(fleet.endpoint.id)
        self._fleets.remove(fleet.endpoint.id)
        for worker in fleet.workers.values():
            self._lifecycle.stop(worker)
        for worker in fleet.past:
            self._lifecycle.remove(worker)

    def _queued(self, endpoint_id: str) -> None:
        fleet = self._fleets.get(endpoint_id)
        if fleet is not None and not fleet.current():
            self._fleets.wake.set()

    def _reconcile(self, fleet: LocalFleet) -> None:
        now = self._queue.clock()
        for worker in list(fleet.workers.values()):
            self.check_worker(fleet, worker, now)
        current = fleet.current()
        starting = sum(not worker.is_ready for worker in current)
        demand = self._queue.store.demand(fleet.endpoint.id, now)
        wanted = workers_wanted(fleet.endpoint, demand, have=len(current), starting=starting)
        may_start = not self._is_stopping and now >= fleet.start_after_ms
        if may_start and wanted > len(current):
            # After a start that failed, one at a time is enough to learn whether the next does.
            for _ in range(1 if fleet.crashes else wanted - len(current)):
                self._lifecycle.start(fleet)
        elif wanted < len(current):
            spare = sorted(current, key=lambda worker: worker.is_busy)[: len(current) - wanted]
            for worker in spare:
                worker.is_draining = True

    def check_worker(self, fleet: LocalFleet, worker: LocalWorker, now: int) -> None:
        """End a worker that has done its part, and one that keeps a stopped job or does not come up."""
        if worker.is_stopping:
            return
        if worker.is_ready and worker.spawned_at_ms is not None and now - worker.spawned_at_ms >= STABLE_AFTER_S * 1000:
            fleet.crashes = 0
        overdue = {job_id: stop for job_id, stop in worker.stops.items() if now >= stop.kill_at_ms}
        if overdue and worker.jobs - worker.stops.keys() and all(stop.is_acknowledged for stop in overdue.values()):
            # It got the stop, and has other jobs, so it cannot say whether it dropped this one; they must not suffer.
            for job_id in overdue:
                self._dispatch.release(worker, job_id)
        elif overdue:
            worker.log.note("killed: it did not drop a stopped job in time")
            self._lifecycle.kill(worker)
        elif not worker.is_ready and self._starts_too_long(fleet, worker, now):
            worker.error = "the worker did not request a job within its start timeout (RUNPOD_INIT_TIMEOUT)"
            self._lifecycle.kill(worker)
        if not worker.is_busy and (worker.is_draining or (worker.is_ready and fleet.is_idle_too_long(worker, now))):
            self._lifecycle.stop(worker)

    def _starts_too_long(self, fleet: LocalFleet, worker: LocalWorker, now: int) -> bool:
        if worker.spawned_at_ms is None:
            return False
        template = self._records.template(fleet.endpoint.template_id)
        return now - worker.spawned_at_ms > init_timeout_s(template.env if template else {}) * 1000


def _update(fleet: LocalFleet, endpoint: EndpointRecord) -> None:
    """From now on every job goes to a worker of the new version."""
    if endpoint.version != fleet.endpoint.version:
        fleet.crashes, fleet.is_broken, fleet.start_after_ms = 0, False, 0
    fleet.endpoint = endpoint
    for worker in fleet.workers.values():
        worker.is_draining = worker.is_draining or worker.version != endpoint.version
