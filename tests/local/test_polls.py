"""The worker's side spoken by hand: long polls, batches, stops, and what is lost on the way."""

from __future__ import annotations

import asyncio

import pytest
from support.asgi import Request, turn

from vidctl.local.api import worker_polls
from vidctl.local.app import Runtime
from vidctl.local.control_plane.records import EndpointRecord
from vidctl.local.workers.fleet import LocalWorker
from vidctl.local.workers.log import WorkerLog


class Bench:
    """A runtime without sockets or processes, its endpoint `ep` and workers by name."""

    def __init__(self, folder, *names):
        self.runtime = Runtime(folder, port=1, api_key="key")
        fleet = self.runtime.fleets.add(EndpointRecord(id="ep", name="ep", template_id="t"))
        for name in names:
            log = WorkerLog(folder / "workers" / name / "log")
            fleet.workers[name] = LocalWorker(id=name, version=0, log=log, started_at_ms=0)
        self.workers = fleet.workers

    def ask(self, method, path, body=None, agent=""):
        return Request(self.runtime.app, method, f"/v2/ep/{path}", key="key", body=body, agent=agent)

    def take(self, worker, *, has_job=False):
        return self.ask("GET", f"job-take/{worker}?gpu=x&job_in_progress={int(has_job)}")

    def take_batch(self, worker, size, *, has_job=False, agent=""):
        path = f"job-take-batch/{worker}?gpu=x&batch_size={size}&job_in_progress={int(has_job)}"
        return self.ask("GET", path, agent=agent)

    async def run(self, **request):
        """Queue a job; its id."""
        _, answer = await self.ask("POST", "run", {"input": {"a": 1}, **request})
        return answer["id"]

    async def done(self, worker, job_id, result):
        return (await self.ask("POST", f"job-done/{worker}/{job_id}?gpu=x&isStream=false", result))[0]

    async def status(self, job_id):
        return (await self.ask("GET", f"status/{job_id}"))[1]


@pytest.fixture
def play(tmp_path):
    """Play a scene: an async function of a bench with the workers `a` and `b`."""

    def play(scene):
        async def main():
            bench = Bench(tmp_path, "a", "b")
            await asyncio.wait_for(scene(bench), 30)
            bench.runtime.close()

        asyncio.run(main())

    return play


def test_a_poll_gets_the_job_that_comes_meanwhile(play):
    async def scene(bench):
        poll = bench.take("a")
        await turn()
        waited = not poll.is_answered
        job_id = await bench.run()

        assert (waited, await poll) == (True, (200, {"id": job_id, "input": {"a": 1}}))

    play(scene)


def test_a_poll_ends_with_204_when_its_time_is_over(play, monkeypatch):
    monkeypatch.setattr(worker_polls, "POLL_S", 0.01)

    async def scene(bench):
        assert [await bench.take("a"), await bench.ask("GET", "job-stop/a?gpu=x")] == [(204, None), (204, None)]

    play(scene)


def test_a_batch_has_as_many_jobs_as_were_asked_for(play, monkeypatch):
    """Once the worker no longer waits to be less than full."""
    monkeypatch.setattr(worker_polls, "FULL_WAIT_S", 0)

    async def scene(bench):
        job_ids = [await bench.run() for _ in range(3)]
        batch = await bench.ask("GET", "job-take-batch/a?gpu=x&batch_size=2&job_in_progress=0")

        assert batch == (200, [{"id": job_id, "input": {"a": 1}} for job_id in job_ids[:2]])
        assert (await bench.status(job_ids[2]))["status"] == "IN_QUEUE"

    play(scene)


def test_a_client_that_has_hung_up_gets_no_job(play):
    async def scene(bench):
        job_id = await bench.run()
        poll = bench.take("a")
        poll.hang_up()
        await poll

        assert (await bench.status(job_id))["status"] == "IN_QUEUE"

    play(scene)


def test_a_job_that_was_taken_and_did_not_arrive_is_given_again(play):
    """The connection broke as the answer was under way; the worker's next poll says that it has nothing."""

    async def scene(bench):
        job_id = await bench.run()
        await bench.take("a")
        _, given = await bench.take("a", has_job=False)

        assert (given["id"], (await bench.status(job_id))["retries"]) == (job_id, 1)

    play(scene)


def test_a_worker_that_has_its_job_keeps_it(play):
    async def scene(bench):
        job_id = await bench.run()
        await bench.take("a")
        poll = bench.take("a", has_job=True)
        await turn()

        assert (await bench.status(job_id))["workerId"] == "a"
        poll.hang_up()
        await poll

    play(scene)


def test_a_stopped_job_that_the_worker_has_no_more_does_not_get_it_killed(play):
    async def scene(bench):
        job_id = await bench.run()
        await bench.take("a")
        await bench.ask("POST", f"cancel/{job_id}")
        stops = await bench.ask("GET", "job-stop/a?gpu=x")
        poll = bench.take("a", has_job=False)
        await turn()

        assert (stops, bench.workers["a"].is_busy) == ((200, {"jobsToStop": [job_id]}), False)
        poll.hang_up()
        await poll

    play(scene)


def test_a_stop_that_came_before_the_job_was_begun_is_told_once_more(play):
    """The SDK drops a stop for a job that it has and has not begun; its next question for stops is no proof."""

    async def scene(bench):
        queue, worker = bench.runtime.queue, bench.workers["a"]
        now = queue.clock()
        queue.clock = lambda: now
        job_id = await bench.run()
        await bench.take("a")
        await bench.ask("POST", f"cancel/{job_id}")
        first = await bench.ask("GET", "job-stop/a?gpu=x")
        poll = bench.ask("GET", "job-stop/a?gpu=x")
        await turn()
        waited, is_kept = not poll.is_answered, worker.is_busy
        now += 500
        bench.runtime.stops.waiters.notify_all("a")
        second = await poll
        third = bench.ask("GET", "job-stop/a?gpu=x")
        await turn()

        sent = (200, {"jobsToStop": [job_id]})
        assert (first, waited, is_kept, second, third.is_answered) == (sent, True, True, sent, False)
        third.hang_up()
        await third

    play(scene)


@pytest.mark.parametrize("is_draining", [False, True])
def test_a_worker_that_heard_of_a_stop_says_soon_whether_it_has_jobs(play, is_draining):
    """Its poll for jobs was asked before, and would say so in 20 seconds."""

    async def scene(bench):
        job_id = await bench.run()
        await bench.take("a")
        bench.workers["a"].is_draining = is_draining
        poll = bench.take("a", has_job=True)
        await turn()
        await bench.ask("POST", f"cancel/{job_id}")
        await bench.ask("GET", "job-stop/a?gpu=x")
        stop = bench.ask("GET", "job-stop/a?gpu=x")

        assert (await poll)[0] == 204
        stop.hang_up()
        await stop

    play(scene)


@pytest.mark.parametrize(
    ("has_other", "hears", "is_killed"), [(False, True, True), (True, True, False), (True, False, True)]
)
def test_only_a_worker_that_cannot_say_is_spared_when_it_keeps_a_stopped_job(play, has_other, hears, is_killed):
    async def scene(bench):
        queue, supervisor, worker = bench.runtime.queue, bench.runtime.supervisor, bench.workers["a"]
        job_ids = [await bench.run() for _ in range(1 + has_other)]
        for _ in job_ids:
            await bench.take("a", has_job=True)
        await bench.ask("POST", f"cancel/{job_ids[0]}")
        await bench.ask("GET", "job-stop/a?gpu=x")
        if hears:
            poll = bench.ask("GET", "job-stop/a?gpu=x")
            await turn()
            poll.hang_up()
            await poll
        later = queue.clock() + 5_000
        supervisor.check_worker(bench.runtime.fleets["ep"], worker, later)

        assert ("killed" in worker.log.path.read_text() if worker.log.path.exists() else False) == is_killed
        assert (job_ids[0] in worker.stops) == is_killed

    play(scene)


def test_a_worker_that_is_all_but_full_does_not_stand_in_an_idle_ones_way(play, monkeypatch):
    """It asked first, but waits for a job of its own to end."""
    monkeypatch.setattr(worker_polls, "FULL_WAIT_S", 60)

    async def scene(bench):
        first = await bench.run()
        await bench.take("a")
        full, idle = bench.take("a", has_job=True), bench.take("b")
        await turn()
        second = await bench.run()
        given = await idle
        await bench.done("a", first, {"output": 1})
        third = await bench.run()

        assert (given[1]["id"], (await full)[1]["id"]) == (second, third)

    play(scene)


# --- bursts ----------------------------------------------------------------------------------------------------------


def ids(answer):
    return [job["id"] for job in answer[1]]


def test_the_jobs_of_a_burst_are_given_together_and_fill_the_worker(play, monkeypatch):
    """The first is given at once; the worker then asks for less than it can take, for it counts that one twice."""
    monkeypatch.setattr(worker_polls, "BURST_S", 60)

    async def scene(bench):
        queue = bench.runtime.queue
        now = queue.clock()
        queue.clock = lambda: now
        poll = bench.take_batch("a", 4)
        await turn()
        first = await bench.run()
        alone = ids(await poll)
        poll = bench.take_batch("a", 2, has_job=True)
        rest = [await bench.run()]
        await turn()
        waited = not poll.is_answered
        rest += [await bench.run(), await bench.run()]

        assert (alone, waited, ids(await poll)) == ([first], True, rest)

    play(scene)


def test_a_burst_fills_a_worker_that_asked_for_less_while_it_had_a_job(play, monkeypatch):
    """The fourth job began after 1.5 seconds when the size of that poll passed for all that the worker can take."""
    monkeypatch.setattr(worker_polls, "BURST_S", 60)

    async def scene(bench):
        queue = bench.runtime.queue
        now = queue.clock()
        queue.clock = lambda: now
        earlier = await bench.run()
        await bench.take_batch("a", 4)
        poll = bench.take_batch("a", 2, has_job=True)
        await turn()
        await bench.done("a", earlier, {"output": 1})
        now += 2000
        first = await bench.run()
        alone = ids(await poll)
        poll = bench.take_batch("a", 2, has_job=True)
        rest = [await bench.run() for _ in range(3)]

        assert (alone, ids(await poll)) == ([first], rest)

    play(scene)


@pytest.mark.parametrize(("version", "waits"), [("1.7.13", True), ("1.8.2", True), ("1.9.1", False), ("2.0.0", False)])
def test_the_first_job_of_a_burst_waits_for_the_others_where_the_sdk_would_begin_them_only_after_it(
    play, monkeypatch, version, waits
):
    monkeypatch.setattr(worker_polls, "BURST_S", 60)

    async def scene(bench):
        poll = bench.take_batch("a", 4, agent=f"RunPod-Python-SDK/{version} (Linux 6; x86_64)")
        await turn()
        job_ids = [await bench.run()]
        await turn()
        assert poll.is_answered != waits
        job_ids += [await bench.run() for _ in range(3)]

        assert ids(await poll) == (job_ids if waits else job_ids[:1])

    play(scene)


def test_a_burst_that_does_not_fill_the_worker_is_waited_for_no_longer_than_that(play, monkeypatch):
    monkeypatch.setattr(worker_polls, "BURST_S", 0.01)

    async def scene(bench):
        job_ids = [await bench.run(), await bench.run()]

        assert ids(await bench.take_batch("a", 4)) == job_ids

    play(scene)


@pytest.mark.parametrize("apart_ms", [51, 10_000])
def test_a_job_that_comes_alone_waits_for_no_other(play, monkeypatch, apart_ms):
    monkeypatch.setattr(worker_polls, "BURST_S", 60)

    async def scene(bench):
        queue = bench.runtime.queue
        now = queue.clock()
        queue.clock = lambda: now
        given = []
        for has_job in (False, True):
            now += apart_ms
            job_id = await bench.run()
            given.append(ids(await bench.take_batch("a", 4, has_job=has_job)) == [job_id])

        assert given == [True, True]

    play(scene)


def test_a_worker_that_takes_one_job_at_a_time_waits_for_no_other(play, monkeypatch):
    monkeypatch.setattr(worker_polls, "BURST_S", 60)

    async def scene(bench):
        job_ids = [await bench.run(), await bench.run()]

        assert (await bench.take("a"))[1]["id"] == job_ids[0]

    play(scene)


def test_a_worker_with_short_jobs_in_a_row_is_not_filled(play, monkeypatch):
    """Full, its loop would sleep for a second."""
    monkeypatch.setattr(worker_polls, "BURST_S", 60)

    async def scene(bench):
        first = await bench.run()
        await bench.take("a")
        await bench.done("a", first, {"output": 1})
        job_ids = [await bench.run() for _ in range(3)]

        assert ids(await bench.take_batch("a", 4)) == job_ids[:1]

    play(scene)


def test_progress_after_the_end_changes_nothing(play):
    """The SDK posts it from a thread of its own: it may come late."""

    async def scene(bench):
        job_id = await bench.run()
        await bench.take("a")
        await bench.done("a", job_id, {"output": "result"})
        before = await bench.status(job_id)
        late = await bench.done("a", job_id, {"status": "IN_PROGRESS", "output": "late"})

        assert (late, await bench.status(job_id)) == (200, before)
        assert before["output"] == "result"

    play(scene)


def test_an_oversized_progress_update_costs_the_job_nothing(play):
    async def scene(bench):
        job_id = await bench.run()
        await bench.take("a")
        refused = await bench.done("a", job_id, {"status": "IN_PROGRESS", "output": "x" * (11 << 20)})
        await bench.done("a", job_id, {"output": "result"})

        assert (refused, (await bench.status(job_id))["output"]) == (400, "result")

    play(scene)


def test_a_running_job_is_forgotten_and_stopped_when_its_ttl_is_over(play):
    async def scene(bench):
        job_id = await bench.run(policy={"ttl": 10_000})
        await bench.take("a")
        queue = bench.runtime.queue
        later = queue.clock() + 10_000
        queue.clock = lambda: later
        queue.expire_overdue()

        assert await bench.ask("GET", "job-stop/a?gpu=x") == (200, {"jobsToStop": [job_id]})
        assert (await bench.ask("GET", f"status/{job_id}"))[0] == 404

    play(scene)
