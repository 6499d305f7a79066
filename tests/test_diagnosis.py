"""Why an endpoint keeps one waiting, judged from what RunPod shows.

The lines and counts have the shapes of live captures: runpod-plugins-official, golden-paths/15 and /20; worker-comfyui
issue 201; the words of Docker, containerd, runc and tini for a pull or a start that fails.
"""

from __future__ import annotations

import dataclasses
import itertools
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.runtime import API_KEY, LocalRuntime, until
from support.stating import stating

from vidctl.deploy.diagnosis import EndpointSnapshot, diagnose, summary
from vidctl.runpod.http import Http
from vidctl.runpod.jobs import Jobs
from vidctl.runpod.types import LogLine, Worker, WorkerList
from vidctl.runpod.workers import WorkersApi

IMAGE = "docker.io/you/yolo@sha256:0123"
CREATE = ("system", f"create container {IMAGE}")
START = ("system", f"start container for {IMAGE}: begin")
STOP = (("system", "stop container a6a111ed"), ("system", "remove container"))
PENDING = ("system", f"error creating container: image pull: {IMAGE}: pending")
DENIED = (
    "system",
    "error pulling image: Error response from daemon: pull access denied for you/yolo, repository does not exist",
)
UNAUTHORIZED = (
    "system",
    'failed to resolve reference "ghcr.io/you/yolo:1": failed to authorize: 401 Unauthorized',
)
UNKNOWN = ("system", "error pulling image: manifest for you/yolo:1 not found: manifest unknown: manifest unknown")
NO_AMD64 = ("system", "no matching manifest for linux/amd64 in the manifest list entries")
SDK = ("container", "--- Starting Serverless Worker | Version 1.12.0 ---")
LOADING = ("container", "Loading checkpoint shards: 50%")
TRACEBACK = (
    ("container", "Traceback (most recent call last):"),
    ("container", 'File "/handler.py", line 3, in <module>'),
    ("container", "import ultralytics"),
    ("container", "ModuleNotFoundError: No module named 'ultralytics'"),
)

MISSING_MODULE = "ModuleNotFoundError: No module named 'ultralytics'"


def lines(*said: tuple[Any, str]) -> tuple[LogLine, ...]:
    """Lines as they come from RunPod, a second apart."""
    return tuple(LogLine(f"2026-08-06T17:42:{second:02}Z", *each) for second, each in enumerate(said))


def queued(status: str | None, *said: tuple[str, str], **changed) -> EndpointSnapshot:
    """One job waits, and there is one worker (or none) with this status and log."""
    workers = () if status is None else (Worker("w1", status, image=IMAGE),)
    counts = {} if status is None else {status.lower(): 1}
    seen = EndpointSnapshot(
        workers={"idle": 0, "initializing": 0, "ready": 0, "running": 0, "throttled": 0, "unhealthy": 0, **counts},
        jobs={"completed": 31, "failed": 0, "inProgress": 0, "inQueue": 1, "retried": 0},
        workers_max=3,
        waited_s=95,
        pools=("ADA_24",),
        fleet=WorkerList(workers),
        logs={"w1": lines(*said)},
    )
    return dataclasses.replace(seen, **changed)


def unlisted(**workers: int) -> EndpointSnapshot:
    """One job waits; of the workers only the counts are to be had."""
    return queued(None, workers=workers, fleet=None)


def rolling(*fresh: Worker, jobs: dict[str, int] | None = None, **changed) -> EndpointSnapshot:
    """Workers of an older version do the jobs while one of the newest is made ready."""
    stale = Worker("old", "RUNNING", is_stale=True)
    counts = {"running": 1, "initializing": len(fresh)}
    return queued(
        None, fleet=WorkerList((stale, *fresh)), workers=counts, jobs=jobs or {"inProgress": 1, "inQueue": 1}, **changed
    )


CASES = [
    # The endpoint was set, or has set itself, to no workers.
    ("stopped", queued(None, workers_max=0), ("max workers is 0",)),
    # Nothing is there: at first that is how every start from zero looks.
    ("starting", queued(None, waited_s=20), ()),
    ("no_capacity", queued(None), ("95 s", "ADA_24")),
    (
        "no_capacity",
        queued(None, pools=("ADA_24", "AMPERE_24"), data_centers=("EU-RO-1",), waited_s=600),
        ("10 min", "ADA_24", "AMPERE_24", "EU-RO-1"),
    ),
    ("throttled", queued("THROTTLED"), ("1 worker", "ADA_24")),
    ("throttled", unlisted(throttled=2), ("2 workers", "ADA_24")),
    ("throttled", queued("THROTTLED", CREATE, PENDING), ("1 worker", "ADA_24")),
    # A worker has a GPU and gets its image.
    ("starting", queued("INITIALIZING", START, SDK, *STOP), ("1 worker", "95 s")),
    (
        "starting",
        queued("INITIALIZING", workers={"initializing": 1, "unhealthy": 1}),
        ("1 worker", "95 s"),
    ),
    ("starting", queued("INITIALIZING"), ("1 worker", "95 s")),
    ("starting", unlisted(initializing=2, throttled=1), ("2 workers", "95 s")),
    ("pulling", queued("INITIALIZING", CREATE), (IMAGE, "95 s")),
    ("pulling", queued("INITIALIZING", CREATE, PENDING, CREATE, PENDING), (IMAGE, "95 s")),
    ("pulling", queued("INITIALIZING", START, SDK, *STOP, CREATE), (IMAGE, "95 s")),
    # It cannot get it.
    ("registry_auth", queued("INITIALIZING", CREATE, DENIED), (IMAGE,)),
    (
        "registry_auth",
        queued("UNHEALTHY", CREATE, UNAUTHORIZED, CREATE, UNAUTHORIZED),
        (IMAGE,),
    ),
    (
        "image_missing",
        queued("INITIALIZING", CREATE, UNKNOWN),
        (IMAGE, "linux/amd64"),
    ),
    (
        "image_missing",
        queued("INITIALIZING", CREATE, NO_AMD64),
        (IMAGE, "linux/amd64"),
    ),
    *(
        (
            "wrong_platform",
            queued("INITIALIZING", CREATE, START, (source, said), START, (source, said), START),
            (IMAGE, "linux/amd64"),
        )
        for source, said in (
            ("container", "exec /usr/bin/python3: exec format error"),
            ("container", "[FATAL tini (7)] exec /bin/sh failed: Exec format error"),
            ("system", 'standard_init_linux.go:228: exec user process caused: exec format error"'),
        )
    ),
    # It was refused once and had later: the container runs.
    ("loading", queued("INITIALIZING", CREATE, DENIED, CREATE, START), ("95 s",)),
    # The container runs.
    ("loading", queued("INITIALIZING", CREATE, START, LOADING), ("95 s",)),
    ("loading", queued("INITIALIZING", LOADING, LOADING), ("95 s",)),
    ("loading", queued("IDLE"), ("1 worker", "95 s")),
    ("starting", queued("IDLE", waited_s=20), ()),
    ("loading", queued("INITIALIZING", START, LOADING, START, ("container", "")), ("95 s",)),
    ("loading", queued("INITIALIZING", START, LOADING, START, LOADING), ("95 s",)),
    ("loading", queued("INITIALIZING", START, SDK, START, SDK, START), ("95 s",)),
    ("loading", queued("IDLE", START, *TRACEBACK), ("1 worker", "95 s")),
    # What its own program was refused is no matter of the registry or of the image.
    (
        "loading",
        queued(
            "INITIALIZING", START, ("container", "401 Client Error: Unauthorized for url: https://huggingface.co/x")
        ),
        ("95 s",),
    ),
    (
        "loading",
        queued("INITIALIZING", START, ("container", "OSError: [Errno 8] Exec format error: '/opt/ffmpeg'"), LOADING),
        ("95 s",),
    ),
    (
        "loading",
        queued("INITIALIZING", START, *TRACEBACK, ("container", "falling back to the CPU")),
        ("95 s",),
    ),
    # A worker that was stopped when idle, and is started anew, has not crashed.
    (
        "loading",
        queued("INITIALIZING", *itertools.chain(*[(CREATE, START, SDK, *STOP)] * 5), CREATE, START),
        ("95 s",),
    ),
    # A crash loop, whatever it looks like.
    ("crash_loop", queued("INITIALIZING", START, START), ("exited",)),
    ("crash_loop", queued("INITIALIZING", START, START, START), ("exited", "2 times")),
    ("crash_loop", queued("THROTTLED", START, START, START), ("exited", "2 times")),
    (
        "crash_loop",
        queued("INITIALIZING", START, ("container", "usage: handler"), START, ("container", "usage: handler"), START),
        ("exited", "2 times"),
    ),
    ("crash_loop", queued("INITIALIZING", START, *TRACEBACK), ("exited", MISSING_MODULE)),
    (
        "crash_loop",
        queued("INITIALIZING", START, *TRACEBACK, *STOP, CREATE, START, *TRACEBACK, *STOP, CREATE),
        ("exited", "2 times", MISSING_MODULE),
    ),
    ("crash_loop", queued("UNHEALTHY"), ("exited",)),
    ("crash_loop", unlisted(unhealthy=1, throttled=2), ("exited",)),
    (
        "crash_loop",
        queued("THROTTLED", workers={"throttled": 1, "unhealthy": 2}),
        ("2 workers",),
    ),
    ("crash_loop", queued(None, workers={"unhealthy": 1}), ("exited",)),
    # Others' jobs are before this one.
    (
        "at_max",
        queued("RUNNING", workers={"running": 3}, jobs={"inProgress": 3, "inQueue": 5}),
        ("3 workers", "5 jobs"),
    ),
    (
        "working",
        queued("RUNNING", workers={"running": 1}, jobs={"inProgress": 1, "inQueue": 4}),
        ("1 worker", "4 jobs"),
    ),
    ("working", queued("RUNNING", jobs={"inProgress": 1, "inQueue": 0}), ()),
    ("working", queued("UNHEALTHY", jobs={"inProgress": 1, "inQueue": 0}), ()),
    # The two views may disagree.
    ("working", queued("RUNNING", workers={}), ("1 worker", "1 job")),
    ("working", queued("IDLE", jobs={"inProgress": 0, "inQueue": 0}), ("1 worker",)),
    # The version before does the jobs: only what the newest does counts.
    (
        "rolling",
        rolling(),
        ("0 of 1 worker", "new version"),
    ),
    (
        "rolling",
        rolling(Worker("w1", "INITIALIZING"), workers_max=1),
        ("1 of 2 workers", "new version"),
    ),
    ("throttled", rolling(Worker("w1", "THROTTLED")), ("1 worker", "ADA_24")),
    (
        "crash_loop",
        rolling(Worker("w1", "INITIALIZING"), logs={"w1": lines(START, *TRACEBACK, START, *TRACEBACK)}),
        ("exited", "2 times", MISSING_MODULE),
    ),
    ("working", rolling(Worker("w1", "RUNNING"), jobs={"inProgress": 2, "inQueue": 0}), ()),
    (
        "rolling",
        queued(None, fleet=WorkerList((Worker("old", "UNHEALTHY", is_stale=True),)), workers={"unhealthy": 1}),
        ("0 of 1 worker", "new version"),
    ),
]


@pytest.mark.parametrize(("kind", "seen", "facts"), CASES, ids=range(len(CASES)))
def test_each_reason_is_distinguished_from_its_neighbours(kind, seen, facts):
    """What is seen decides the kind, and the sentence says it with its numbers."""
    found = diagnose(seen)

    assert kind == found.kind
    stating(found.sentence, *facts)


FATAL = [
    (queued(None, workers_max=0), True),
    (queued("INITIALIZING", CREATE, DENIED), True),
    (queued("INITIALIZING", CREATE, UNKNOWN), True),
    (queued("INITIALIZING", START, START, START), True),
    (queued("UNHEALTHY"), True),
    (unlisted(unhealthy=1), True),
    # A second try may do better than the first; so may another worker.
    (queued("INITIALIZING", START, *TRACEBACK), False),
    (queued("INITIALIZING", START, START), False),
    (unlisted(unhealthy=1, initializing=1), False),
    (unlisted(unhealthy=1, idle=1), False),
    (queued("UNHEALTHY", fleet=WorkerList((Worker("w1", "UNHEALTHY"), Worker("w2", "INITIALIZING")))), False),
    (queued("UNHEALTHY", fleet=WorkerList((Worker("w1", "UNHEALTHY"), Worker("w2", "THROTTLED")))), True),
    (queued("THROTTLED", workers={"throttled": 1, "unhealthy": 1}), False),
    (queued("THROTTLED"), False),
    (queued(None, waited_s=3600), False),
    (queued("INITIALIZING", START, LOADING), False),
]


@pytest.mark.parametrize(("seen", "is_fatal"), FATAL)
def test_only_what_cannot_recover_is_fatal(seen, is_fatal):
    """A deploy may give up early when every worker that has a GPU has failed for good, and not before."""
    assert diagnose(seen).is_fatal is is_fatal


@pytest.mark.parametrize("better", [(CREATE,), (START, LOADING)])
def test_a_crash_is_told_before_what_another_worker_does(better):
    """The same image will crash there too; but as long as one may do better, it is worth waiting."""
    both = WorkerList((Worker("w1", "INITIALIZING"), Worker("w2", "INITIALIZING")))
    logs = {"w1": lines(*better), "w2": lines(START, *TRACEBACK, START, *TRACEBACK)}

    found = diagnose(queued("INITIALIZING", fleet=both, logs=logs))

    assert (found.kind, found.is_fatal) == ("crash_loop", False)


def test_what_the_local_runtime_does_is_not_told_of_runpod():
    """It looks for no GPU, and its workers are already the same code here."""
    start = queued(None, waited_s=20, is_local=True)
    crash = queued("UNHEALTHY", CREATE, START, *TRACEBACK, is_local=True)

    stating(diagnose(start).sentence, "local runtime", "20 s")
    stating(diagnose(crash).hint, "redeploy")


def test_crash_shows_what_the_container_wrote_last():
    """The evidence is the end of the traceback, not the host's story; the hint is to mend the worker."""
    found = diagnose(queued("UNHEALTHY", CREATE, START, LOADING, LOADING, *TRACEBACK, CREATE, START))

    assert ("crash_loop", True) == (found.kind, found.is_fatal)
    assert found.evidence == (LOADING[1], *(text for _, text in TRACEBACK))
    stating(found.sentence, "exited", "2 times", MISSING_MODULE)
    stating(found.hint, "redeploy", "--target local")


def test_silent_crash_shows_what_the_host_did():
    """A container that wrote nothing leaves its starts as the only evidence, at most five lines."""
    found = diagnose(queued("INITIALIZING", *[START] * 7))

    assert found.evidence == (START[1],) * 5


def test_slow_start_is_given_its_own_advice():
    """RunPod calls a worker unhealthy that loads for over seven minutes, although nothing is broken."""
    slow = queued("UNHEALTHY", CREATE, START, LOADING, LOADING, waited_s=430)

    stating(diagnose(slow).hint, "7 minutes", "RUNPOD_INIT_TIMEOUT", "env")
    stating(diagnose(dataclasses.replace(slow, waited_s=30)).hint, "redeploy", "--target local")


def test_lack_of_gpus_advises_to_ask_for_more():
    """More kinds of GPU help always; data centers are mentioned when the spec pins them."""
    anywhere, pinned = queued("THROTTLED"), queued("THROTTLED", data_centers=("EU-RO-1",))

    stating(diagnose(anywhere).hint, "gpu:")
    stating(diagnose(pinned).hint, "gpu:", "data_centers")


def test_both_sources_are_read_in_the_order_of_time():
    """Lines come source by source, with times to the second or the nanosecond."""
    said = (
        LogLine("2026-08-06T17:43:01.179039264Z", "container", "Loading"),
        LogLine("2026-08-06T17:43:01Z", "system", START[1]),
        LogLine("2026-08-06T17:43:00Z", "system", CREATE[1]),
    )

    found = diagnose(queued("INITIALIZING", logs={"w1": said}))

    assert (found.kind, found.evidence) == ("loading", (CREATE[1], START[1], "Loading"))


@pytest.mark.parametrize(
    ("seen", "line"),
    [
        (
            queued(None, workers={"initializing": 2, "throttled": 1, "ready": 4}, jobs={"inQueue": 3}),
            "2 initializing, 1 throttled; 3 jobs wait",
        ),
        (queued(None), "no worker yet; 1 job waits"),
        (
            queued(None, workers={"running": 1}, jobs={"inProgress": 1, "inQueue": 2}),
            "1 running; 1 job runs, 2 jobs wait",
        ),
        (queued(None, workers={"idle": 2}, jobs={}), "2 idle"),
        (
            rolling(Worker("w1", "THROTTLED"), jobs={"inProgress": 1}),
            "1 running, 1 initializing; 1 job runs; 1 of 2 workers on the new version",
        ),
    ],
)
def test_summary_is_the_counts_on_one_line(seen, line):
    """Only what is there is counted; `ready`, which says a part of it again, is left out."""
    assert summary(seen) == line


SAID = st.sampled_from((CREATE, START, *STOP, PENDING, DENIED, UNKNOWN, SDK, LOADING, *TRACEBACK, ("container", "")))
STATUS = st.sampled_from(("RUNNING", "IDLE", "INITIALIZING", "THROTTLED", "UNHEALTHY", "NAPPING"))
COUNTS = st.dictionaries(
    st.sampled_from(("idle", "initializing", "running", "throttled", "unhealthy")), st.integers(0, 3)
)


@st.composite
def snapshots(draw) -> EndpointSnapshot:
    workers = tuple(Worker(f"w{n}", draw(STATUS), is_stale=draw(st.booleans())) for n in range(draw(st.integers(0, 3))))
    return EndpointSnapshot(
        workers=draw(COUNTS),
        jobs=draw(st.dictionaries(st.sampled_from(("inQueue", "inProgress")), st.integers(0, 2))),
        workers_max=draw(st.integers(0, 3)),
        waited_s=draw(st.floats(0, 1000)),
        fleet=draw(st.sampled_from((None, WorkerList(workers)))),
        logs={worker.id: lines(*draw(st.lists(SAID, max_size=8))) for worker in workers},
    )


@given(snapshots())
def test_want_of_gpus_is_never_said_of_a_crash(seen):
    """Whatever RunPod shows: with an unhealthy worker of the newest version nobody is told to look for other GPUs."""
    fresh = seen.fleet.fresh if seen.fleet else ()
    is_rolling = bool(seen.fleet and len(fresh) < len(seen.fleet.workers))
    is_crashing = any(worker.status == "UNHEALTHY" for worker in fresh) or (
        not is_rolling and seen.workers.get("unhealthy", 0) > 0
    )

    found = diagnose(seen)

    assert not (is_crashing and found.kind in ("no_capacity", "throttled"))
    assert not (found.is_fatal and found.kind in ("no_capacity", "throttled", "pulling", "loading", "working"))
    assert len(found.evidence) <= 5
    assert "\n" not in found.sentence


@pytest.fixture
def runtime(tmp_path):
    runtime = LocalRuntime(tmp_path / "runtime")
    runtime.start()
    yield runtime
    runtime.close()


def test_a_real_crash_is_seen_through_the_api(runtime):
    """From counts, workers and logs as a server sends them: a worker that cannot start is never short of GPUs."""
    http, base_url = Http(API_KEY), f"{runtime.url}/v2"
    jobs, workers = Jobs(http, base_url), WorkersApi(http, base_url)
    endpoint_id = runtime.endpoint(Path(__file__).parent / "handlers" / "crashing", workers_max=1)
    runtime.run(endpoint_id, {"a": 1})
    kinds = set()

    def fatal():
        health, fleet = jobs.health(endpoint_id), workers.workers(endpoint_id)
        logs = {worker.id: workers.logs(endpoint_id, worker.id, max_s=2) for worker in fleet.workers}
        found = diagnose(EndpointSnapshot(health.workers, health.jobs, workers_max=1, fleet=fleet, logs=logs))
        kinds.add(found.kind)
        return found.is_fatal and found

    found = until(fatal)

    assert (found.kind, found.evidence) == ("crash_loop", ("the weights are not where they should be",))
    assert kinds <= {"starting", "pulling", "loading", "crash_loop"}
