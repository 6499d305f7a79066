"""Gather what is known of specs' endpoints: RunPod's prices now, and what the journal has of their jobs."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress

from vidctl.cost.facts import EndpointCosts
from vidctl.cost.measured import measured
from vidctl.cost.prices import Prices
from vidctl.errors import VidctlError
from vidctl.journal import Journal
from vidctl.project import settings
from vidctl.project.settings import Project
from vidctl.runpod import gpus
from vidctl.runpod.http import Http
from vidctl.runpod.rest import Rest
from vidctl.runpod.types import Catalogue
from vidctl.spec import EndpointSpec

_JOBS = 10_000  # the newest of an endpoint


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
