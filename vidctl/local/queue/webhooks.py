"""Tell callers of finished jobs: POST the job to its webhook, up to three times."""

from __future__ import annotations

import asyncio
import http.client
import secrets
import socket
from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from vidctl.local import wire
from vidctl.local.faults import Faults
from vidctl.local.queue.store import ALWAYS
from vidctl.local.queue.waiters import until_set
from vidctl.local.threads import in_thread
from vidctl.runpod import limits

if TYPE_CHECKING:
    from urllib.parse import SplitResult

    from vidctl.local.queue.job import JobRecord
    from vidctl.local.queue.queue import JobQueue

TRIES = 3
TIMEOUT_S = 10.0
# RunPod's docs say 10 s; 5 s and 15 s have been seen.  What is due is in the database, so a restart delivers it.
SPACING_S = 10.0
_AT_ONCE = 32


def next_try(job: JobRecord, now_ms: int, *, delivered: bool, spacing_s: float = SPACING_S) -> JobRecord:
    """The job after one attempt: done with, or due again.  Its result stays what it is either way."""
    tries = job.webhook_tries + 1
    again = not delivered and tries < TRIES
    return replace(job, webhook_tries=tries, webhook_due_at_ms=now_ms + int(spacing_s * 1000) if again else None)


async def deliver(queue: JobQueue, *, spacing_s: float = SPACING_S) -> None:
    """Deliver what is due, as it comes, until cancelled.  A receiver that takes its time holds up nobody else's."""
    out: dict[str, asyncio.Task[None]] = {}
    faults = Faults()

    async def attempt(job: JobRecord) -> None:
        with faults.survived(f"the webhook of job {job.id}"):
            await _attempt(queue, job, spacing_s)
            queue.webhooks.set()
        del out[job.id]

    try:
        while True:
            with faults.survived("looking for webhooks"):
                # Those that are out are among the ones that are due, and the first of them.
                for job in queue.store.webhooks_due(queue.clock(), limit=_AT_ONCE):
                    if job.id not in out:
                        out[job.id] = asyncio.ensure_future(attempt(job))
            await until_set(queue.webhooks, min(1.0, spacing_s))
            queue.webhooks.clear()
    finally:
        for task in list(out.values()):
            task.cancel()


async def _attempt(queue: JobQueue, job: JobRecord, spacing_s: float) -> None:
    delivered = await post(job.webhook or "", _body(queue, job))
    current = queue.store.get(job.id, ALWAYS)
    # The caller may have had it retried meanwhile: its next end has its own webhook.
    if current is not None and current.webhook_due_at_ms == job.webhook_due_at_ms:
        queue.store.note_webhook(next_try(current, queue.clock(), delivered=delivered, spacing_s=spacing_s))


def _body(queue: JobQueue, job: JobRecord) -> bytes:
    """The whole job, what was handed in included."""
    output, error = queue.store.result(job.id)
    handed_in = wire.loads(queue.store.body(job.id), max_bytes=limits.RUNSYNC_BYTES)
    return wire.answer({**wire.status_fields(job, output, error), "input": handed_in["input"], "webhook": job.webhook})


async def post(url: str, body: bytes, *, timeout_s: float = TIMEOUT_S) -> bool:
    """Whether the receiver took it with a 2xx, in time.  Redirects are not followed, as a POST would become a GET."""
    parts = urlsplit(url)
    try:
        connection = await in_thread(lambda: _connection(parts, timeout_s))
    except (http.client.HTTPException, ValueError):
        return False
    try:
        return await asyncio.wait_for(in_thread(lambda: _is_taken(connection, parts, body)), timeout_s)
    except asyncio.TimeoutError:
        # The connection's own time-out begins anew with every byte; without its socket the thread ends.
        if connection.sock is not None:
            with suppress(OSError):
                connection.sock.shutdown(socket.SHUT_RDWR)
        return False


def _connection(parts: SplitResult, timeout_s: float) -> http.client.HTTPConnection:
    kind = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
    return kind(parts.hostname or "", parts.port, timeout=timeout_s)


def _is_taken(connection: http.client.HTTPConnection, parts: SplitResult, body: bytes) -> bool:
    path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    headers = {
        "content-type": "application/json",
        "user-agent": "Go-http-client/2.0",
        "traceparent": f"00-{secrets.token_hex(16)}-{secrets.token_hex(8)}-01",
    }
    try:
        connection.request("POST", path, body, headers)
        return 200 <= connection.getresponse().status < 300
    except (OSError, http.client.HTTPException, ValueError):
        return False
    finally:
        connection.close()
