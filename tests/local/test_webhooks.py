"""A webhook that is not taken is sent twice more, and the job stays what it is."""

import asyncio
import re
import socket
import threading
from contextlib import contextmanager, suppress
from dataclasses import replace

import pytest

from vidctl.local.queue import transitions, webhooks
from vidctl.local.queue.queue import JobQueue
from vidctl.local.queue.store import ALWAYS, JobStore

NOW = 1_700_000_000_000


@pytest.fixture
def store(tmp_path):
    store = JobStore(tmp_path / "runtime.db")
    yield store
    store.close()


def finished(webhook):
    new = transitions.submitted("a-u1", "ep", NOW, webhook=webhook)
    return transitions.finished(transitions.taken(new, NOW, worker_id="w", execution_timeout_ms=0), NOW)


def test_a_delivery_that_fails_is_due_again_twice():
    first = webhooks.next_try(finished("http://x"), NOW, delivered=False)
    second = webhooks.next_try(first, NOW + 10_000, delivered=False)
    third = webhooks.next_try(second, NOW + 20_000, delivered=False)

    assert [job.webhook_due_at_ms for job in (first, second, third)] == [NOW + 10_000, NOW + 20_000, None]
    assert third.status == "COMPLETED"


def test_a_delivery_that_succeeds_is_the_last():
    assert webhooks.next_try(finished("http://x"), NOW, delivered=True).webhook_due_at_ms is None


async def serve_until(statuses, store):
    """Deliver to a server that gives these statuses in turn; the bodies it got."""
    bodies, done = [], asyncio.Event()

    async def answer(reader, writer):
        head = await reader.readuntil(b"\r\n\r\n")
        length = next(int(line.split(b":")[1]) for line in head.split(b"\r\n") if line.lower().startswith(b"content-l"))
        bodies.append(await reader.readexactly(length))
        writer.write(b"HTTP/1.1 %d X\r\ncontent-length: 0\r\nconnection: close\r\n\r\n" % statuses[len(bodies) - 1])
        await writer.drain()
        writer.close()
        if len(bodies) == len(statuses):
            done.set()

    async with await asyncio.start_server(answer, "127.0.0.1", 0) as server:
        job = finished(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/hook")
        store.add(job, b'{"input":{"n":1}}')
        store.save(job, output=b"2")
        clock = iter(range(NOW, NOW + 10**9, 5_000))
        delivery = asyncio.create_task(webhooks.deliver(JobQueue(store, clock=lambda: next(clock)), spacing_s=0.01))
        await asyncio.wait_for(done.wait(), 30)
        while store.get(job.id, NOW).webhook_due_at_ms is not None:  # noqa: ASYNC110  (a database notifies nobody)
            await asyncio.sleep(0.01)
        delivery.cancel()
        await asyncio.gather(delivery, return_exceptions=True)
    return bodies


@pytest.mark.parametrize(("statuses", "tries"), [([200], 1), ([500, 204], 2), ([500, 404, 301], 3)])
def test_a_webhook_is_posted_until_it_is_taken_but_three_times_at_most(store, statuses, tries):
    bodies = asyncio.run(serve_until(statuses, store))
    job = store.get("a-u1", NOW)

    assert (len(bodies), len(set(bodies)), job.webhook_tries, job.status) == (tries, 1, tries, "COMPLETED")


def test_what_was_due_before_a_restart_is_still_due_after_it(store, tmp_path):
    job = replace(finished("http://127.0.0.1:1/"), webhook_tries=1, webhook_due_at_ms=NOW + 7)
    store.add(job, b'{"input":{"n":1}}')
    reopened = JobStore(tmp_path / "runtime.db")

    assert (reopened.webhooks_due(NOW + 6, limit=9), reopened.webhooks_due(NOW + 7, limit=9)) == ([], [job])
    reopened.close()


@pytest.mark.parametrize("url", ["http://127.0.0.1:1/", "http://nowhere.invalid/", "https://127.0.0.1:1/"])
def test_a_receiver_that_is_not_there_has_not_taken_it(url):
    assert asyncio.run(webhooks.post(url, b"{}")) is False


@contextmanager
def receiver(answer):
    """The URL of a receiver that does `answer(connection)` in a thread of each connection."""

    def serve():
        with suppress(OSError):
            while True:
                connection = server.accept()[0]
                threading.Thread(target=answer, args=(connection,), daemon=True).start()

    with socket.create_server(("127.0.0.1", 0)) as server:
        threading.Thread(target=serve, daemon=True).start()
        yield f"http://127.0.0.1:{server.getsockname()[1]}/hook"
        with suppress(OSError):
            server.shutdown(socket.SHUT_RDWR)


def test_a_receiver_that_drips_is_given_up(store):
    """Each byte comes in time, the answer never does."""
    gone = threading.Event()

    def drip(connection):
        with suppress(OSError), connection:
            connection.sendall(b"HTTP/1.1 200 OK\r\nx: ")
            while not gone.wait(0.05):
                connection.sendall(b"x")
        gone.set()

    with receiver(drip) as url:
        is_taken = asyncio.run(webhooks.post(url, b"{}", timeout_s=0.5))

    assert (is_taken, gone.wait(30)) == (False, True)


def test_a_webhook_looks_like_runpods():
    """Its headers are those that were captured."""
    heads = []

    def note(connection):
        heads.append(connection.recv(1 << 16).decode().lower())
        connection.close()

    with receiver(note) as url:
        asyncio.run(webhooks.post(url, b"{}"))
    first, *lines = heads[0].split("\r\n\r\n")[0].split("\r\n")
    headers = dict(line.split(": ", 1) for line in lines)

    assert (first, headers["content-type"]) == ("post /hook http/1.1", "application/json")
    assert headers["user-agent"] == "go-http-client/2.0"
    assert re.fullmatch("00-[0-9a-f]{32}-[0-9a-f]{16}-01", headers["traceparent"])


async def deliver_until(condition, store, **options):
    """Deliver what is due until `condition` is true of the store."""
    delivery = asyncio.create_task(webhooks.deliver(JobQueue(store, clock=lambda: NOW), **options))

    async def come_true():
        while not condition():  # noqa: ASYNC110  (a database notifies nobody)
            await asyncio.sleep(0.01)

    await asyncio.wait_for(come_true(), 30)
    delivery.cancel()
    await asyncio.gather(delivery, return_exceptions=True)


def finish(store, job_id, webhook, **changes):
    job = replace(finished(webhook), id=job_id, **changes)
    store.add(job, b'{"input":{"n":1}}')
    store.save(job)
    return job


def is_done_with(store, job_id):
    return lambda: store.get(job_id, ALWAYS).webhook_due_at_ms is None


def take_it(connection):
    with connection:
        connection.recv(1 << 16)
        connection.sendall(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n")


def test_a_receiver_that_hangs_holds_up_nobody_elses_webhook(store):
    hung = threading.Event()

    with receiver(lambda _: hung.wait(60)) as hole, receiver(take_it) as url:
        for number in range(12):
            finish(store, f"hung-{number}", hole)
        finish(store, "well", url)
        asyncio.run(deliver_until(is_done_with(store, "well"), store))
        hung.set()

    assert [store.get(f"hung-{number}", NOW).webhook_tries for number in range(12)] == [0] * 12


def test_a_webhook_that_cannot_be_made_is_no_end_of_the_others(store, caplog):
    """Its job's input is gone, say: that is told, once."""
    with receiver(take_it) as url:
        finish(store, "broken", url)
        store._db.execute("DELETE FROM job_inputs")
        finish(store, "well", url)
        asyncio.run(deliver_until(is_done_with(store, "well"), store, spacing_s=0.01))

    assert [record.getMessage() for record in caplog.records] == ["the webhook of job broken failed, the rest goes on"]


def test_a_job_is_kept_until_its_webhook_is_done_with(store):
    """Also past its retention: the receiver is owed the result."""
    with receiver(take_it) as url:
        finish(store, "late", url, expires_at_ms=NOW - 1)
        before = store.expired(NOW)
        asyncio.run(deliver_until(is_done_with(store, "late"), store))

    assert (before, [job.id for job in store.expired(NOW)]) == ([], ["late"])


@pytest.mark.parametrize("url", ["http://a b/", "http://127.0.0.1:1/a b"])
def test_a_url_that_cannot_be_asked_is_not_asked_for_ever(store, url):
    job = finish(store, "odd", url)
    asyncio.run(deliver_until(lambda: store.get("odd", NOW).webhook_tries == 1, store))

    assert store.get("odd", NOW).webhook_due_at_ms > job.webhook_due_at_ms
