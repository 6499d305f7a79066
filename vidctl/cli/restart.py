"""`vidctl restart`."""

from __future__ import annotations

from typing import Annotated, Any

from vidctl.cli import options, targets

_SCHEMA = "vidctl.restart/1"


@options.spread
def restart(
    name: Annotated[str, options.changed_argument()],
    env: options.Environment = None,
    target: options.Target = None,
    *,
    how: options.ChangeOptions,
    said: options.ReportOptions,
) -> None:
    """Replace an endpoint's workers by new ones of the same version.

    Those that have jobs finish them first.  Where no worker runs nothing is done: the next one is new anyway.
    """
    from vidctl.deploy import by_hand
    from vidctl.deploy import restart as restarting
    from vidctl.project import configs

    report = said.report()
    project, place = targets.deployed(report, target)
    with by_hand.held(configs.key_of(name, env), project, place, adopts=False, notify=report.step) as (key, live):
        workers = [each.id for each in place.workers.workers(live.id or "").workers]
        question = f"restart {_count(workers)} of {key} on {place.name}?"
        if workers and how.confirmed(question, report, "changed"):
            with report.live() as notify:
                restarting.restart(key, live, place, notify=notify)
    document: dict[str, Any] = {
        "schema": _SCHEMA,
        "spec": key,
        "target": place.name,
        "endpoint_id": live.id,
        "workers": workers,
        "is_done": bool(workers) and not how.dry_run,
    }
    _print(document, as_json=said.as_json)


def _print(document: dict[str, Any], *, as_json: bool) -> None:
    from vidctl.cli.output import say
    from vidctl.text import safe_json

    if as_json:
        say(f"{safe_json(document, indent=2)}\n")
        return
    workers = document["workers"]
    about = f"{document['spec']}: endpoint {document['endpoint_id']} on {document['target']}"
    if not workers:
        say(f"{about} has no worker to restart\n")
        return
    verb = "is replacing" if document["is_done"] else "would replace"
    say(f"{about} {verb} {_count(workers)}: {', '.join(workers)}\n")


def _count(workers: list[str]) -> str:
    return "1 worker" if len(workers) == 1 else f"{len(workers)} workers"
