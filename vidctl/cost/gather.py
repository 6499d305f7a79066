"""Gather what is known of specs' endpoints: RunPod's prices now, and what the journal has of their jobs."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass

from vidctl.cost.facts import EndpointCosts
from vidctl.cost.measured import measured
from vidctl.cost.prices import Prices
from vidctl.cost.spent import By, Spent, spent, total
from vidctl.endpoints import deployed_gpus
from vidctl.errors import SpecError, VidctlError
from vidctl.journal import JobEntry, Journal
from vidctl.project import settings
from vidctl.project.settings import Project
from vidctl.runpod import gpus
from vidctl.runpod.billing import BillingApi, BillingRecord, Bucket
from vidctl.runpod.http import Http
from vidctl.runpod.rest import Rest
from vidctl.runpod.types import Catalogue
from vidctl.spec import EndpointSpec, load_all

_JOBS = 10_000  # the newest of an endpoint
_HOURLY_S = 14 * 86_400.0  # RunPod is asked for hours up to this, for days of more


def live_catalogue(project: Project) -> Catalogue | None:
    """RunPod's prices now; None without a key, or where nobody answers: the shipped table serves as well.

    It is asked of REST v2 whatever the control plane is, for GraphQL has no prices of pools.
    """
    with suppress(VidctlError):
        access = settings.runpod_access(project)
        return Rest(Http(access.api_key), access.api_base_url).catalogue()
    return None


def endpoint_costs(
    project: Project,
    specs: Sequence[EndpointSpec],
    *,
    execution_s: float | None = None,
    cold_start_s: float | None = None,
) -> list[EndpointCosts]:
    """The same of each spec.  Only jobs at RunPod count: those of the local runtime ran on no GPU."""
    catalogue = live_catalogue(project)
    journal = Journal(project.journal_file)
    found = []
    for spec in specs:
        endpoint_id = project.environ.get(settings.endpoint_id_name(spec.key, "runpod"))
        jobs = journal.jobs(limit=_JOBS, endpoint_id=endpoint_id) if endpoint_id else []
        known = measured(
            [each for each in jobs if each.target == "runpod"], spec.task, idle_timeout_s=spec.timeouts.idle_s
        )
        found.append(EndpointCosts(spec, Prices(catalogue, spec.gpu.count), known, execution_s, cold_start_s))
    return found


def most_per_s(project: Project, gpus_of: tuple[str, int] | None) -> float | None:
    """What a second of a worker costs at most, by RunPod's `gpuIds` and the GPUs of a worker; None if not known."""
    if gpus_of is None:
        return None
    gpu_ids, count = gpus_of
    return Prices(live_catalogue(project), count).per_s(gpus.selection(gpu_ids).pools)


@dataclass(frozen=True)
class SpendingReport:
    """What was spent at RunPod since `start_s`: `billing_error` is why RunPod's own bill is missing.

    `local_jobs` ran on the local runtime, which costs nothing.
    """

    start_s: float
    rows: tuple[Spent, ...]
    total: Spent
    prices_as_of: str
    local_jobs: int
    billing_error: str | None = None


def spending_report(project: Project, *, since_s: float, by: By, now_s: float) -> SpendingReport:
    """The journal's jobs, and RunPod's bill where the key may read it: of whole hours, over two weeks of whole days."""
    bucket: Bucket = "hour" if since_s <= _HOURLY_S else "day"
    length_s = 3600 if bucket == "hour" else 86_400
    start_s = (now_s - since_s) // length_s * length_s
    journal = Journal(project.journal_file)
    entries = journal.jobs(limit=None, since=start_s)
    jobs = [each for each in entries if each.target == "runpod"]
    catalogue = live_catalogue(project)
    prices = {each.endpoint_id: _price_per_s(project, journal, each, catalogue) for each in jobs}
    bills, error = _bills(project, start_s, now_s, bucket)
    rows = spent(jobs, lambda job: prices[job.endpoint_id], by, bills)
    local_jobs = len(entries) - len(jobs)
    as_of = Prices(catalogue).as_of
    return SpendingReport(start_s, tuple(rows), total(rows, bills), as_of, local_jobs, error)


def _price_per_s(project: Project, journal: Journal, job: JobEntry, catalogue: Catalogue | None) -> float | None:
    """What a second of the job's endpoint costs at most: of its GPUs as deployed, else as its spec says now."""
    found = deployed_gpus(journal, job.endpoint_id)
    if found is None and job.spec:
        with suppress(SpecError):
            (spec,) = load_all([job.spec], root=project.root, environ=project.environ)
            found = spec.gpu.ids, spec.gpu.count
    return None if found is None else Prices(catalogue, found[1]).per_s(gpus.selection(found[0]).pools)


def _bills(
    project: Project, start_s: float, end_s: float, bucket: Bucket
) -> tuple[tuple[BillingRecord, ...] | None, str | None]:
    try:
        access = settings.runpod_access(project)
        api = BillingApi(Http(access.api_key), f"{access.api_base_url}/v2")
        return api.serverless(start_s=start_s, end_s=end_s, bucket=bucket), None
    except VidctlError as error:
        return None, error.message
