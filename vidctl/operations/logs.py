"""Read the logs of an endpoint's workers side by side, and merge their lines by time.

RunPod has a log for each worker, a stream of server-sent events that never ends and is silent when nothing happens
(api-reference-v2, listWorkerLogs): so a thread reads each, into one queue.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from queue import Empty, SimpleQueue

from vidctl.errors import ApiError, AuthError, NetworkError, NotDeployedError, UsageError, VidctlError
from vidctl.runpod.limits import MOST_LOG_LINES
from vidctl.runpod.types import LogBatch, LogLine, Worker
from vidctl.runpod.workers import LogSource, WorkersApi

_MOST_BREAKS = 3  # of a connection, in a row and without a line between, where nobody follows
_DRAIN_S = 0.2


@dataclass(frozen=True)
class LogSelection:
    """Which lines are wanted: the newest `tail` of each worker, or those since a time (RFC 3339).

    `worker` is the beginning of a worker's id.
    """

    tail: int
    since: str | None = None
    source: LogSource | None = None
    worker: str | None = None
    is_following: bool = False


@dataclass(frozen=True)
class LogPace:
    """How long silence is, in seconds: `idle_s` ends a log that is not followed, `caught_up_s` a past to be sorted.

    What is not followed is read for `most_s` at most, for a worker may write without a pause.
    """

    idle_s: float = 2.0
    caught_up_s: float = 0.5
    most_s: float = 10.0
    look_s: float = 5.0
    """Between two looks for new workers: REST v2 takes about 60 requests a minute."""
    retry_s: float = 1.0
    most_retry_s: float = 15.0
    tick_s: float = 0.1


@dataclass(frozen=True)
class WorkerLine:
    """A line, and the worker whose it is."""

    worker_id: str
    line: LogLine


@dataclass
class _Stream:
    """What is known of one worker's log: None in `opened_s` is not open (yet, or any more)."""

    opened_s: float | None = None
    heard_s: float = 0.0
    count: int = 0
    is_over: bool = False
    error: VidctlError | None = None

    def is_caught_up(self, silence_s: float, most_s: float) -> bool:
        now = time.monotonic()
        is_open = self.opened_s is not None
        return self.is_over or (is_open and (now - self.heard_s >= silence_s or now - (self.opened_s or 0) >= most_s))


@dataclass(frozen=True)
class _News:
    """What a thread tells: lines, that the connection is open, or that a log is over and why."""

    worker_id: str
    lines: tuple[LogLine, ...] = ()
    is_open: bool = True
    is_over: bool = False
    error: VidctlError | None = None


@dataclass
class LogReader:
    """Reads the logs of one endpoint's workers; `note` hears what cannot be read."""

    api: WorkersApi
    endpoint_id: str
    request: LogSelection
    note: Callable[[str], None]
    pace: LogPace = field(default_factory=LogPace)
    _queue: SimpleQueue[_News | tuple[Worker, ...] | VidctlError] = field(default_factory=SimpleQueue)
    _streams: dict[str, _Stream] = field(default_factory=dict)
    _stopped: threading.Event = field(default_factory=threading.Event)

    def stop(self) -> None:
        """End `batches` soon; what has come until then is still given."""
        self._stopped.set()

    def batches(self) -> Iterator[list[WorkerLine]]:
        """Lines in the order of their times: first what there is, then, where it is followed, what comes.

        Raise NotDeployedError for an endpoint or a worker that is not there, UsageError for a worker's id that is not
        one worker's.
        """
        try:
            self._begin(self._workers())
            yield _merged(self._past())
            if self.request.is_following:
                threading.Thread(target=self._look, daemon=True).start()
                while not self._stopped.is_set():
                    yield _merged(self._taken(self.pace.tick_s))
                yield _merged(self._drained())
        finally:
            self._stopped.set()
        if not self.request.is_following:
            self._check()

    def _workers(self) -> tuple[Worker, ...]:
        return self.api.workers(self.endpoint_id).workers

    def _begin(self, workers: tuple[Worker, ...]) -> None:
        chosen = _chosen(workers, self.request.worker)
        if not chosen:
            self.note("no worker runs: waiting for one" if self.request.is_following else NO_WORKER)
        if self.request.since:
            self._note_reach(workers)
        for worker_id in chosen:
            self._start(worker_id, tail=self.request.tail)

    def _note_reach(self, workers: Iterable[Worker]) -> None:
        """Say what cannot be had: a container's lines are gone about 2 minutes after it (runpod.md §2.4)."""
        uptimes = [worker.uptime_s for worker in workers if worker.uptime_s is not None]
        oldest = f"; the oldest of these started {max(uptimes)} s ago" if uptimes else ""
        self.note(f"--since reaches the workers that are there now; RunPod drops the lines of removed ones{oldest}")

    def _start(self, worker_id: str, *, tail: int) -> None:
        self._streams[worker_id] = _Stream()
        threading.Thread(target=self._read, args=(worker_id, tail), daemon=True).start()

    # --- in threads -------------------------------------------------------------------------------------------------

    def _read(self, worker_id: str, tail: int) -> None:
        """Read one worker's log, again and again from where a connection broke."""
        last_id: str | None = None
        breaks = 0
        while not self._stopped.is_set():
            error: VidctlError | None = None
            try:
                for batch in self._connection(worker_id, tail, last_id):
                    self._queue.put(_News(worker_id, batch.lines))
                    last_id, breaks = batch.last_id, 0 if batch.lines else breaks
            except VidctlError as failure:
                error = failure
            breaks += 1
            if isinstance(error, (NotDeployedError, AuthError)) or self._gives_up(breaks):
                self._queue.put(_News(worker_id, is_open=False, is_over=True, error=error))
                return
            self._queue.put(_News(worker_id, is_open=False))
            self._stopped.wait(min(self.pace.retry_s * 2 ** min(breaks - 1, 10), self.pace.most_retry_s))

    def _connection(self, worker_id: str, tail: int, last_id: str | None) -> Iterator[LogBatch]:
        return self.api.follow(
            self.endpoint_id,
            worker_id,
            source=self.request.source,
            tail=tail,
            since=self.request.since,
            last_id=last_id,
        )

    def _gives_up(self, breaks: int) -> bool:
        return not self.request.is_following and breaks >= _MOST_BREAKS

    def _look(self) -> None:
        """Look for new workers now and then."""
        while not self._stopped.wait(self.pace.look_s):
            with suppress(NetworkError, ApiError):  # the next look may go better
                self._look_once()

    def _look_once(self) -> None:
        try:
            self._queue.put(self._workers())
        except (NotDeployedError, AuthError) as error:
            self._queue.put(error)
            self._stopped.wait()

    # --- in the thread of whoever reads -----------------------------------------------------------------------------

    def _past(self) -> list[WorkerLine]:
        """What there is already, of all workers."""
        silence_s = self.pace.caught_up_s if self.request.is_following else self.pace.idle_s
        found: list[WorkerLine] = []
        while not self._stopped.is_set() and not all(
            stream.count >= MOST_LOG_LINES or stream.is_caught_up(silence_s, self.pace.most_s)
            for stream in self._streams.values()
        ):
            found += self._taken(self.pace.tick_s)
        if self._stopped.is_set():
            found += self._drained()
        return found if self.request.is_following else self._cut(found)

    def _cut(self, found: list[WorkerLine]) -> list[WorkerLine]:
        """At most so many lines of a worker, and that said."""
        kept: list[WorkerLine] = []
        counts = dict.fromkeys(self._streams, 0)
        for each in found:
            counts[each.worker_id] += 1
            if counts[each.worker_id] <= MOST_LOG_LINES:
                kept.append(each)
        for worker_id, count in counts.items():
            if count >= MOST_LOG_LINES:
                self.note(f"worker {worker_id}: cut at {MOST_LOG_LINES} lines; --since a later time shows the rest")
        return kept

    def _taken(self, wait_s: float) -> list[WorkerLine]:
        """What comes within a moment, and all that has come with it."""
        found: list[WorkerLine] = []
        with suppress(Empty):
            found += self._take(self._queue.get(timeout=wait_s))
            while True:
                found += self._take(self._queue.get_nowait())
        return found

    def _drained(self) -> list[WorkerLine]:
        """What has come by now, and what is on its way from a thread."""
        found: list[WorkerLine] = []
        while more := self._taken(_DRAIN_S):
            found += more
            if len(found) > MOST_LOG_LINES:
                break
        return found

    def _take(self, news: _News | tuple[Worker, ...] | VidctlError) -> list[WorkerLine]:
        if isinstance(news, VidctlError):
            raise news
        if isinstance(news, tuple):
            self._start_new(news)
            return []
        stream, now = self._streams[news.worker_id], time.monotonic()
        stream.opened_s = (stream.opened_s or now) if news.is_open else None
        stream.heard_s = now
        stream.count += len(news.lines)
        stream.is_over, stream.error = news.is_over, news.error
        if isinstance(news.error, AuthError):
            raise news.error
        return [WorkerLine(news.worker_id, line) for line in news.lines]

    def _start_new(self, workers: tuple[Worker, ...]) -> None:
        """Follow workers that were not there before, from their first line."""
        wanted = self.request.worker or ""
        for worker in workers:
            known = self._streams.get(worker.id)
            if worker.id.startswith(wanted) and (known is None or known.is_over):
                self._start(worker.id, tail=MOST_LOG_LINES)

    def _check(self) -> None:
        """Say which logs could not be had; raise where that is all of them."""
        failed = {worker_id: stream.error for worker_id, stream in self._streams.items() if stream.error}
        if failed and all(stream.error and not stream.count for stream in self._streams.values()):
            raise next(iter(failed.values()))
        for worker_id, error in failed.items():
            self.note(f"worker {worker_id}: {error.message}")


NO_WORKER = "no worker runs, and what ran before cannot be read any more: a job starts one"


def _chosen(workers: tuple[Worker, ...], wanted: str | None) -> list[str]:
    """The ids of the workers to read; one that is not listed may be gone for less than two minutes, and is tried."""
    ids = [worker.id for worker in workers]
    if wanted is None:
        return ids
    found = [wanted] if wanted in ids else [each for each in ids if each.startswith(wanted)]
    if len(found) > 1:
        raise UsageError(f"--worker {wanted}: several workers begin so: {', '.join(found)}")
    return found or [wanted]


def _merged(lines: list[WorkerLine]) -> list[WorkerLine]:
    return sorted(lines, key=lambda each: each.line.order)
