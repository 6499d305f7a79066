"""`vidctl history`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

from vidctl.cli import options, targets

if TYPE_CHECKING:
    from vidctl.runpod.types import Release, ReleaseHistory

_SCHEMA = "vidctl.history/1"


@options.spread
def history(
    name: Annotated[str, options.endpoint_argument()],
    env: options.Environment = None,
    target: options.Target = None,
    *,
    said: options.ReportOptions,
) -> None:
    """List an endpoint's versions, and what each changed.

    The newest first, as RunPod keeps them, whoever made them: when, how many workers run it, and each field with its
    old and new value.  Values of variables that look like secrets are hidden.
    """
    from vidctl.operations.names import find_id

    report = said.report()
    place = targets.live(report, target)
    endpoint_id = find_id(name, place, overlay=env)
    found = place.workers.releases(endpoint_id)
    if said.as_json:
        _print_document(endpoint_id, found)
        return
    _print_table(found)
    if found.is_rolling_out:
        report.note(f"{found.workers_on_latest} of {found.workers_total} workers run version {found.version} so far")


def _print_table(found: ReleaseHistory) -> None:
    from vidctl.cli import console

    console.table(
        [_row(each, is_newest=each.version == found.version) for each in found.releases],
        header=("version", "made", "source", "workers", "changes"),
        empty="RunPod keeps no version of it",
    )


def _row(release: Release, *, is_newest: bool) -> tuple[str, ...]:
    from vidctl.operations.releases import changes, line

    told = "; ".join(map(line, changes(release)))
    version = f"{release.version}{' *' if is_newest else ''}"
    return version, release.created_at, release.source.lower(), str(release.workers), told or "-"


def _print_document(endpoint_id: str, found: ReleaseHistory) -> None:
    from vidctl.cli.output import say
    from vidctl.operations.releases import changes
    from vidctl.text import safe_json

    releases = [
        {
            "version": each.version,
            "created_at": each.created_at,
            "source": each.source,
            "workers": each.workers,
            "changes": changes(each),
        }
        for each in found.releases
    ]
    rollout = {
        "in_progress": found.is_rolling_out,
        "workers_on_latest": found.workers_on_latest,
        "workers_total": found.workers_total,
    }
    document = {
        "schema": _SCHEMA,
        "endpoint_id": endpoint_id,
        "version": found.version,
        "rollout": rollout,
        "releases": releases,
    }
    say(f"{safe_json(document, indent=2)}\n")
