"""`vidctl health` and `vidctl purge`: an endpoint's workers and queue."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

from vidctl.cli import options, targets

if TYPE_CHECKING:
    from vidctl.runpod.jobs import Health


@options.spread
def health(
    name: Annotated[str, options.endpoint_argument()],
    env: options.Environment = None,
    target: options.Target = None,
    *,
    said: options.ReportOptions,
) -> None:
    """Show how many workers of an endpoint are in each state, and how many jobs."""
    from vidctl.operations.names import find_id
    from vidctl.text import safe_json

    place = targets.live(said.report(), target)
    endpoint_id = find_id(name, place, overlay=env)
    found = place.jobs.health(endpoint_id)
    if said.as_json:
        document = {"endpoint_id": endpoint_id, "target": place.name, "workers": found.workers, "jobs": found.jobs}
        print(safe_json({"schema": "vidctl.health/1", **document}, indent=2))  # noqa: T201
    else:
        _print(found)


def _print(found: Health) -> None:
    from vidctl.text import one_line

    for label, counts in (("workers", found.workers), ("jobs", found.jobs)):
        told = ", ".join(f"{count} {_WORDS.get(state, state)}" for state, count in counts.items())
        print(f"{label:8} {one_line(told) or '-'}")  # noqa: T201


_WORDS = {"inProgress": "in progress", "inQueue": "in the queue"}


@options.spread
def purge(
    name: Annotated[str, options.endpoint_argument()],
    env: options.Environment = None,
    target: options.Target = None,
    *,
    how: options.ChangeOptions,
    said: options.ReportOptions,
) -> None:
    """Remove the jobs that wait in an endpoint's queue; those that run go on.

    What was removed is not run, and not paid.  RunPod takes two purges of an endpoint in 10 seconds.
    """
    from vidctl.operations import jobs
    from vidctl.operations.names import find_id
    from vidctl.text import safe_json

    report = said.report()
    place = targets.live(report, target)
    endpoint_id = find_id(name, place, overlay=env)
    waiting = place.jobs.health(endpoint_id).jobs.get("inQueue", 0)
    removed = left = 0
    if how.confirmed(f"remove {waiting} queued jobs of {name} ({endpoint_id}) on {place.name}?", report, "removed"):
        removed = jobs.purge(endpoint_id, place)
        left = place.jobs.health(endpoint_id).jobs.get("inQueue", 0)
    if said.as_json:
        document = {"endpoint_id": endpoint_id, "target": place.name, "removed": removed, "is_dry_run": how.dry_run}
        queued = waiting if how.dry_run else left
        print(safe_json({"schema": "vidctl.purge/1", **document, "queued": queued}, indent=2))  # noqa: T201
    elif how.dry_run:
        print(f"{name}: would remove {waiting} queued jobs")  # noqa: T201
    else:
        print(f"{name}: removed {removed} queued jobs" + (f"; {left} came since" if left else ""))  # noqa: T201
