"""Say why an endpoint keeps one waiting, from what can be seen of it.  Pure: no network.

A job that stays IN_QUEUE has opposite causes: no GPU is free, or the worker dies again and again.  Four of five
"capacity" reports were the latter (runpod-mcp PR #62), so what the workers say goes before what the counts suggest.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from vidctl.runpod.limits import INIT_TIMEOUT_S
from vidctl.runpod.types import LogLine, Worker, WorkerList
from vidctl.text import span

Kind = Literal[
    "stopped",
    "no_capacity",
    "throttled",
    "pulling",
    "registry_auth",
    "image_missing",
    "wrong_platform",
    "crash_loop",
    "loading",
    "at_max",
    "rolling",
    "starting",
    "working",
]


@dataclass(frozen=True)
class EndpointSnapshot:
    """What is seen of an endpoint on which somebody waits.

    `workers` and `jobs` are the counts of `/health`; `fleet` is None where the workers cannot be listed; `logs` holds
    the newest lines of both sources for each worker's id.  The rest is how the endpoint is set.
    """

    workers: Mapping[str, int]
    jobs: Mapping[str, int]
    workers_max: int
    waited_s: float = 0
    pools: tuple[str, ...] = ()
    data_centers: tuple[str, ...] = ()
    fleet: WorkerList | None = None
    logs: Mapping[str, tuple[LogLine, ...]] = field(default_factory=dict)
    is_local: bool = False  # workers of the local runtime, which looks for no GPU

    @property
    def running_jobs(self) -> int:
        return self.jobs.get("inProgress", 0)

    @property
    def waiting_jobs(self) -> int:
        return self.jobs.get("inQueue", 0)


@dataclass(frozen=True)
class Diagnosis:
    """Why it takes so long: one line for people, what to do about it, and the log lines that show it.

    `is_fatal`: waiting longer cannot help.
    """

    kind: Kind
    sentence: str
    hint: str = ""
    evidence: tuple[str, ...] = ()
    is_fatal: bool = False


def summary(snapshot: EndpointSnapshot) -> str:
    """The counts on one line: `2 initializing, 1 throttled; 3 jobs wait`."""
    states = ("running", "idle", "initializing", "throttled", "unhealthy")
    workers = ", ".join(f"{snapshot.workers[state]} {state}" for state in states if snapshot.workers.get(state))
    jobs = [
        f"{_count(number, 'job')} {verb}{'s' if number == 1 else ''}"
        for number, verb in ((snapshot.running_jobs, "run"), (snapshot.waiting_jobs, "wait"))
        if number
    ]
    rollout = [_rollout(snapshot.fleet)] if snapshot.fleet and _stale(snapshot) else []
    return "; ".join([workers or "no worker yet", *(", ".join(part) for part in (jobs, rollout) if part)])


def diagnose(snapshot: EndpointSnapshot) -> Diagnosis:
    """Judge what one waits for: what the workers say first, then their states, last that there are none."""
    if snapshot.workers_max == 0:
        return Diagnosis(
            "stopped",
            "no worker may start: the endpoint's max workers is 0",
            hint="set workers.max in the spec and deploy again; RunPod sets it to 0 after 7 days without requests",
            is_fatal=True,
        )
    if _is_served(snapshot):
        return _served(snapshot)
    return _from_workers(snapshot) or _from_health(snapshot) or _from_states(snapshot) or _from_absence(snapshot)


def _is_served(snapshot: EndpointSnapshot) -> bool:
    """Whether jobs are being done, or could be; what workers of an older version do says nothing of the newest."""
    fresh = {worker.status for worker in _fresh(snapshot)}
    is_busy = "RUNNING" in fresh or (snapshot.running_jobs > 0 and not _stale(snapshot))
    return is_busy or ("IDLE" in fresh and not snapshot.waiting_jobs)


def _served(snapshot: EndpointSnapshot) -> Diagnosis:
    busy = max(_number(snapshot, "RUNNING"), snapshot.workers.get("running", 0))
    if not snapshot.waiting_jobs:
        is_busy = busy or snapshot.running_jobs
        return Diagnosis("working", "a worker has the job" if is_busy else f"{_workers(snapshot, 'IDLE')} ready")
    if busy >= snapshot.workers_max:
        return Diagnosis(
            "at_max",
            f"all {_count(busy, 'worker')} busy with other jobs; {_count(snapshot.waiting_jobs, 'job')} queued",
            hint="more workers.max in the spec lets more jobs run at a time",
        )
    return Diagnosis("working", f"{_count(busy, 'worker')} busy; {_count(snapshot.waiting_jobs, 'job')} queued")


def _from_workers(snapshot: EndpointSnapshot) -> Diagnosis | None:
    """The worst that holds for a worker of the newest version; fatal when it holds for all that have a GPU."""
    judged = [_judge(worker, _since_stop(snapshot.logs.get(worker.id, ())), snapshot) for worker in _fresh(snapshot)]
    known = sorted(filter(None, judged), key=lambda found: _WORST_FIRST.index(found.kind))
    if not known:
        return None
    is_open = any(
        found is None and worker.status in ("IDLE", "INITIALIZING")
        for worker, found in zip(_fresh(snapshot), judged, strict=True)
    )
    return dataclasses.replace(known[0], is_fatal=not is_open and all(found.is_fatal for found in known))


# A container that runs shows that the image can be had, whatever another host says.
_WORST_FIRST: Sequence[Kind] = ("crash_loop", "loading", "wrong_platform", "image_missing", "registry_auth", "pulling")

# What Docker's and containerd's words for it have in common; a worker's own "401 Unauthorized" is in another log.
_NO_ACCESS = re.compile(
    "pull access denied|unauthorized|authentication required|no basic auth|requested access .*denied|403 forbidden"
    "|insufficient_scope|toomanyrequests",
    re.IGNORECASE,
)
_NO_IMAGE = re.compile(
    "manifest unknown|no matching manifest|name unknown|invalid reference format"
    "|failed to resolve reference .*not found",
    re.IGNORECASE,
)
# Of the container itself, as said by runc or tini; Python's "[Errno 8] Exec format error" is of a program inside.
_WRONG_PLATFORM = re.compile(r"(?<!\] )exec format error", re.IGNORECASE)
_EXCEPTION = re.compile(r"[A-Za-z_][\w.]*(Error|Exception|Exit)(: .*)?")


def _judge(worker: Worker, recent: Sequence[LogLine], snapshot: EndpointSnapshot) -> Diagnosis | None:
    """What a worker's state and its log since it was last stopped say of it; None if nothing."""
    if worker.status == "IDLE":
        return None
    trouble = _image_trouble(worker, recent) or _crash(worker, recent, snapshot)
    if trouble or worker.status == "THROTTLED":
        return trouble
    so_far = f"{span(snapshot.waited_s)} so far"
    if _runs(recent):
        return Diagnosis(
            "loading",
            f"the container runs and took no job yet, {so_far}: it may be loading the model",
            hint=_SLOW_LOAD,
            evidence=_last(recent),
        )
    if recent:
        return Diagnosis(
            "pulling",
            f"pulling the image {worker.image or ''}".rstrip() + f", {so_far}",
            # Over 20 minutes for 10 GB: runpod-plugins-official, golden-paths/20.
            hint="the first pull on a host takes minutes; a smaller image starts sooner",
            evidence=_last(recent),
        )
    return None


_SLOW_LOAD = (
    f"RunPod gives a start {INIT_TIMEOUT_S // 60} minutes; "
    "RUNPOD_INIT_TIMEOUT: SECONDS under env in the spec gives it longer"
)


def _image_trouble(worker: Worker, recent: Sequence[LogLine]) -> Diagnosis | None:
    image = f"the image {worker.image}" if worker.image else "the image"
    if wrong := [line for line in recent if _WRONG_PLATFORM.search(line.text)]:
        return Diagnosis(
            "wrong_platform",
            f"{image} is for another platform: RunPod's hosts are linux/amd64",
            hint="build it with vidctl build NAME, or docker build --platform linux/amd64",
            evidence=_last(wrong),
            is_fatal=True,
        )
    starts = [index for index, line in enumerate(recent) if _is_system(line, "start container")]
    pulls = [line for line in recent[starts[-1] if starts else 0 :] if line.source == "system"]
    if denied := [line for line in pulls if _NO_ACCESS.search(line.text)]:
        return Diagnosis(
            "registry_auth",
            f"the registry denies RunPod access to {image}",
            hint="run vidctl registry login NAME -u USER and add registry_auth: NAME, or correct image: in the spec",
            evidence=_last(denied),
            is_fatal=True,
        )
    if missing := [line for line in pulls if _NO_IMAGE.search(line.text)]:
        return Diagnosis(
            "image_missing",
            f"the registry does not have {image} for linux/amd64",
            hint="vidctl push NAME, or correct image: in the spec",
            evidence=_last(missing),
            is_fatal=True,
        )
    return None


def _crash(worker: Worker, recent: Sequence[LogLine], snapshot: EndpointSnapshot) -> Diagnosis | None:
    """A container that ends by itself: unhealthy, out with a traceback, or started again and again.

    RunPod's own sign is `start container` again and again with nothing from the container (golden-paths/15).
    """
    runs, is_unhealthy = _runs(recent), worker.status == "UNHEALTHY"
    cause = next(filter(None, map(_exception, reversed(runs))), "")
    ended = sum(bool(_exception(run)) or not any(_LOOP in text for text in run) for run in runs[:-1])
    ended += bool(runs) and (is_unhealthy or _died(runs[-1]))
    if not (is_unhealthy or ended > 1 or (ended and (cause or not any(runs)))):
        return None
    is_slow = any(runs) and not cause and len(runs) == 1 and snapshot.waited_s >= INIT_TIMEOUT_S
    return Diagnosis(
        "crash_loop",
        f"the worker's container exited by itself{f' {ended} times' if ended > 1 else ''}"
        + (f": {cause}" if cause else ""),
        hint=_SLOW_LOAD if is_slow else _fix(snapshot),
        evidence=_last([line for line in recent if line.source == "container"] or recent),
        is_fatal=is_unhealthy or ended > 1,
    )


_LOOP = "Starting Serverless Worker"  # what the SDK writes when all is loaded (runpod-python, serverless/__init__.py)


def _fix(snapshot: EndpointSnapshot) -> str:
    return "fix the worker and redeploy" + ("" if snapshot.is_local else "; --target local runs the same code here")


def _from_health(snapshot: EndpointSnapshot) -> Diagnosis | None:
    """Workers that `/health` counts as unhealthy and that are not listed: down just now, and no want of GPUs."""
    states = {worker.status for worker in _fresh(snapshot)}
    number = snapshot.workers.get("unhealthy", 0)
    if not number or _stale(snapshot) or states & {"IDLE", "INITIALIZING"}:
        return None
    return Diagnosis(
        "crash_loop", f"{_count(number, 'worker')} unhealthy: the container exits by itself", hint=_fix(snapshot)
    )


def _from_states(snapshot: EndpointSnapshot) -> Diagnosis | None:
    """What the states of workers say whose logs say nothing, or cannot be seen."""
    states = {worker.status for worker in _fresh(snapshot)}
    if states == {"THROTTLED"}:
        return _without_gpus(
            snapshot, "throttled", f"{_workers(snapshot, 'THROTTLED')} throttled: the hosts have no free"
        )
    if _stale(snapshot) and snapshot.fleet:
        return Diagnosis(
            "rolling", f"{_rollout(snapshot.fleet)}; RunPod replaces the others when they have finished their jobs"
        )
    if "INITIALIZING" in states:
        return Diagnosis(
            "starting",
            f"{_workers(snapshot, 'INITIALIZING')} starting, {span(snapshot.waited_s)} so far",
            hint="it is pulling the image or loading the model",
        )
    if "IDLE" in states and snapshot.waited_s >= _PATIENCE_S:
        return Diagnosis(
            "loading",
            f"{_workers(snapshot, 'IDLE')} ready, yet no job was taken in {span(snapshot.waited_s)}",
            hint="check that the image starts RunPod's worker loop: runpod.serverless.start",
        )
    return Diagnosis("starting", "a ready worker is about to take the job") if "IDLE" in states else None


def _from_absence(snapshot: EndpointSnapshot) -> Diagnosis:
    if snapshot.is_local:
        return Diagnosis("starting", f"the local runtime is starting a worker, {span(snapshot.waited_s)} so far")
    if snapshot.waited_s < _PATIENCE_S:
        return Diagnosis("starting", "RunPod is looking for a GPU")
    return _without_gpus(snapshot, "no_capacity", f"no worker in {span(snapshot.waited_s)}: RunPod has no free")


# Seconds in which RunPod as a rule has found a worker; a cold start took 18 to 105 s in all (golden-paths/03, /09).
_PATIENCE_S = 60


def _without_gpus(snapshot: EndpointSnapshot, kind: Kind, what: str) -> Diagnosis:
    where = f" in {' or '.join(snapshot.data_centers)}" if snapshot.data_centers else ""
    return Diagnosis(
        kind,
        " ".join(filter(None, (what, " or ".join(snapshot.pools), "GPU"))) + where,
        hint="name more GPUs under gpu: in the spec" + (", or drop data_centers" if snapshot.data_centers else ""),
    )


def _fresh(snapshot: EndpointSnapshot) -> tuple[Worker, ...]:
    """The workers of the newest version; where none is listed, what `/health` counts."""
    if snapshot.fleet and snapshot.fleet.workers:
        return snapshot.fleet.fresh
    states = ("running", "idle", "initializing", "throttled", "unhealthy")
    return tuple(Worker("", state.upper()) for state in states for _ in range(snapshot.workers.get(state, 0)))


def _stale(snapshot: EndpointSnapshot) -> bool:
    return snapshot.fleet is not None and len(snapshot.fleet.fresh) < len(snapshot.fleet.workers)


def _workers(snapshot: EndpointSnapshot, status: str) -> str:
    return _count(_number(snapshot, status), "worker")


def _number(snapshot: EndpointSnapshot, status: str) -> int:
    return sum(worker.status == status for worker in _fresh(snapshot))


def _rollout(fleet: WorkerList) -> str:
    return f"{len(fleet.fresh)} of {_count(len(fleet.workers), 'worker')} on the new version"


def _since_stop(lines: Sequence[LogLine]) -> list[LogLine]:
    """The lines since RunPod last stopped a container that was well, both sources in the order of time."""
    ordered = sorted(lines, key=lambda line: line.order)
    recent: list[LogLine] = []
    for line in ordered:
        if _is_system(line, "stop container") and not any(map(_died, _runs(recent)[-1:])):
            recent = []
        elif not _is_system(line, "stop container", "remove container"):
            recent.append(line)
    return recent


def _runs(recent: Sequence[LogLine]) -> list[list[str]]:
    """What the container wrote in each of its runs; a log's tail may begin in the middle of one."""
    runs: list[list[str]] = []
    for line in recent:
        if _is_system(line, "start container") or (line.source == "container" and not runs):
            runs.append([])
        if line.source == "container":
            runs[-1].append(line.text)
    return runs


def _is_system(line: LogLine, *words: str) -> bool:
    return line.source == "system" and line.text.startswith(words)


def _died(run: Sequence[str]) -> bool:
    """Whether an exception was the last that a container wrote."""
    return bool(_exception(run)) and run[-1] == _exception(run)


def _exception(run: Sequence[str]) -> str:
    """The exception of the last traceback in what a container wrote, "" if there is none."""
    tracebacks = [index for index, text in enumerate(run) if text.startswith("Traceback (most recent call last)")]
    after = run[tracebacks[-1] :] if tracebacks else ()
    return next((text for text in reversed(after) if _EXCEPTION.fullmatch(text)), "")


def _last(lines: Sequence[LogLine]) -> tuple[str, ...]:
    return tuple(line.text for line in lines[-5:])


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
