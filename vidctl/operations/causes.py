"""Why an endpoint or a job does not answer, from what is seen of both: one table of causes.  Pure: no network.

Each rule gives a cause with the lines that show it and what mends it; all that hold are told, the likeliest first.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from vidctl.deploy.diagnosis import Diagnosis, EndpointSnapshot, diagnose, summary
from vidctl.operations.sdk_lines import read_line
from vidctl.runpod import gpus
from vidctl.runpod.jobs import GONE, Job
from vidctl.runpod.limits import RUN_BYTES
from vidctl.runpod.types import Balance, Endpoint, Offer
from vidctl.text import span

_MB = RUN_BYTES >> 20


@dataclass(frozen=True)
class Cause:
    """One reason: a stable `kind`, a sentence, the lines that show it, and what to do about it."""

    kind: str
    sentence: str
    evidence: tuple[str, ...] = ()
    remedy: str = ""


@dataclass(frozen=True)
class Findings:
    """What is seen; what could not be is None or empty.  `name` is what commands call the endpoint."""

    name: str
    endpoint: Endpoint
    snapshot: EndpointSnapshot
    job: Job | None = None
    applied_workers_max: int | None = None
    offers: tuple[Offer, ...] = ()
    workers_asked: int = 0
    worker_quota: int | None = None
    balance: Balance | None = None


def causes(found: Findings) -> list[Cause]:
    """All that hold; at least one."""
    told = [cause for rule in _RULES if (cause := rule(found))]
    told.sort(key=lambda cause: cause.kind in _CALM)
    return told or [Cause("working", f"nothing is wrong that can be seen: {summary(found.snapshot)}")]


_CALM = ("working", "idle")  # no cause where there is another

# --- of a job -------------------------------------------------------------------------------------------------------

_JOB_FAILURES: Sequence[tuple[str, str, str, str]] = (
    # What the error looks like, the kind, the sentence, what mends it; the first that fits counts.
    (
        # A live capture: "job timed out after 1 retries" (runpod-plugins-official, golden-paths/15).
        r"job timed out after \d+ retries|worker (died|was lost|exited)|lost its worker",
        "worker_died",
        "the worker was lost while it had the job",
        "vidctl logs {name} --since 30m shows its last lines; out of memory is the usual reason: take a larger GPU",
    ),
    (
        r"out of memory|CUDA error|OutOfMemory",
        "out_of_memory",
        "the worker ran out of memory",
        "take a larger GPU in the spec, or send smaller requests; then: vidctl deploy {name}",
    ),
    (
        r"cannot send its result|result (is )?too large|Failed to return job results|exceeds? .*(limit|max)",
        "result_too_large",
        f"the result could not be returned: RunPod takes {_MB} MB of a job",
        "let the handler return less, or upload the result and return its address; then: vidctl deploy {name}",
    ),
    (
        r"json is invalid|max size is|KeyError|validation|\b(invalid|missing|unknown|unexpected|required|must be)\b",
        "payload_refused",
        "the worker refused the input",
        "correct the input of the job, then send it again",
    ),
)


def _failed_job(found: Findings) -> Cause | None:
    job = found.job
    if job is None or job.status != "FAILED":
        return None
    error = job.error or ""
    for pattern, kind, sentence, remedy in _JOB_FAILURES:
        if re.search(pattern, error, re.IGNORECASE):
            return Cause(kind, f"{sentence}: {error}", _lines_of(job, found), remedy.format(name=found.name))
    what = f"the handler failed: {error}" if error else "the job failed, and RunPod tells no reason"
    remedy = f"vidctl logs {found.name} --grep {job.id} shows what the worker said of it"
    return Cause("job_failed", what, _lines_of(job, found), remedy)


def _ended_job(found: Findings) -> Cause | None:
    job = found.job
    if job is None:
        return None
    times = ", ".join(
        f"{word} {span(milliseconds / 1000)}"
        for word, milliseconds in (("waited", job.delay_ms), ("ran", job.execution_ms))
        if milliseconds is not None
    )
    match job.status:
        case "TIMED_OUT":
            limit = found.endpoint.execution_timeout_ms
            limited = f"; the endpoint lets a job run {span(limit / 1000)}" if limit else ""
            remedy = f"raise execution_timeout in the spec, then: vidctl deploy {found.name}"
            return Cause("timed_out", f"the job took too long ({times or 'no times known'}){limited}", (), remedy)
        case "CANCELLED":
            return Cause("cancelled", "somebody cancelled the job", _lines_of(job, found), "send it again")
        case "COMPLETED" if not job.has_output:
            # RunPod drops what is larger, and the job shows COMPLETED all the same (runpod.md §4.4).
            return Cause(
                "result_too_large",
                f"the job completed without an output: a result over {_MB} MB is dropped",
                _lines_of(job, found),
                f"let the handler return less, or an address; then: vidctl deploy {found.name}",
            )
        case "COMPLETED":
            return Cause("completed", f"the job completed: {times or 'no times known'}")
        case "IN_PROGRESS":
            return Cause("working", f"worker {job.worker_id or '(unknown)'} has the job", _lines_of(job, found))
        case status if status == GONE:
            return Cause(
                "forgotten",
                "RunPod no longer has the job: its time to live passed, or its result is older than 30 minutes",
                (),
                "send it again",
            )
    return None


def _lines_of(job: Job, found: Findings) -> tuple[str, ...]:
    """What the workers logged of a job."""
    lines = (line.text for logs in found.snapshot.logs.values() for line in logs)
    told = [said.message for said in map(read_line, lines) if said.job_id == job.id or job.id in said.message]
    return tuple(told[-5:])


# --- of an endpoint -------------------------------------------------------------------------------------------------


def _is_over(found: Findings) -> bool:
    """Whether the question was about a job that waits for nothing."""
    return found.job is not None and found.job.status != "IN_QUEUE"


def _no_money(found: Findings) -> Cause | None:
    left = found.balance.dollars if found.balance else None
    if left is None or left > 0:
        return None
    return Cause(
        "balance",
        f"the account's balance is ${left:.2f}: RunPod starts no workers",
        (),
        "add credit at console.runpod.io/user/billing",
    )


def _scaled_down(found: Findings) -> Cause | None:
    """RunPod lowers max workers to 2 after 3 days without requests and to 0 after 7 (docs, endpoint-configurations)."""
    now, before = found.endpoint.workers_max, found.applied_workers_max
    if _is_over(found) or before is None or now not in (0, 2) or now >= before:
        return None
    days = 7 if now == 0 else 3
    return Cause(
        "scaled_down",
        f"max workers is {now}, was {before} at the last deploy: RunPod lowers it after {days} days without requests",
        (),
        f"vidctl deploy {found.name}",
    )


def _waiting(found: Findings) -> Cause | None:
    """What the workers and their logs say of why one waits."""
    if _is_over(found):
        return None
    judged = diagnose(found.snapshot)
    if judged.kind == "stopped" and _scaled_down(found):
        return None
    if judged.kind in ("working", "starting") and not found.snapshot.waiting_jobs and not found.snapshot.fleet:
        return None
    if judged.kind == "starting" and not found.snapshot.waiting_jobs and not any(found.snapshot.workers.values()):
        return Cause("idle", "nothing waits, and no worker runs: a job starts one")
    evidence = judged.evidence or tuple(_stock(found, judged))
    return Cause(judged.kind, judged.sentence, evidence, judged.hint)


def _stock(found: Findings, judged: Diagnosis) -> Iterator[str]:
    """Which pools and data centers have GPUs, where want of them is what one waits for."""
    if judged.kind not in ("no_capacity", "throttled") or not found.offers:
        return
    wanted = gpus.selection(found.endpoint.gpu_ids).pools
    for offer in found.offers:
        if offer.pool in wanted:
            yield f"{offer.pool}: {_level(offer.stock)}{_places(offer, found.endpoint.locations)}"
    if others := [each.pool for each in found.offers if each.pool not in wanted and each.stock in ("MEDIUM", "HIGH")]:
        yield f"in stock: {', '.join(others)}"


def _places(offer: Offer, wanted: Sequence[str]) -> str:
    known = {place: stock for place, stock in offer.data_centers if stock != "NONE" or place in wanted}
    return f" ({', '.join(f'{place} {_level(stock)}' for place, stock in known.items())})" if known else ""


def _level(stock: str | None) -> str:
    return "stock unknown" if stock is None else "none" if stock == "NONE" else stock.lower()


def _over_quota(found: Findings) -> Cause | None:
    quota = found.worker_quota
    if _is_over(found) or quota is None or found.workers_asked <= quota:
        return None
    return Cause(
        "quota",
        f"the endpoints may have {found.workers_asked} workers together, the account {quota} (RunPod's docs)",
        (),
        "lower workers.max of this or another endpoint and deploy it, or ask RunPod for more workers",
    )


def _unsent_results(found: Findings) -> Cause | None:
    """The SDK logs what RunPod did not take of a result, and posts nothing else (rp_http.py, _handle_result)."""
    if found.job is not None:
        return None
    texts = [line.text for logs in found.snapshot.logs.values() for line in logs]
    lines = [said.message for said in map(read_line, texts) if re.search(_UNSENT, said.message)]
    if not lines:
        return None
    return Cause(
        "result_too_large",
        f"workers could not return results: RunPod takes {_MB} MB of a job",
        tuple(lines[-5:]),
        f"let the handler return less, or upload the result and return its address; then: vidctl deploy {found.name}",
    )


_UNSENT = r"Failed to return job results|Error while returning job result"

_RULES: Sequence[Callable[[Findings], Cause | None]] = (
    _failed_job,
    _ended_job,
    _no_money,
    _scaled_down,
    _waiting,
    _over_quota,
    _unsent_results,
)
