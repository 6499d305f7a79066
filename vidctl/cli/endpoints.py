"""`vidctl list`: the account's endpoints."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from vidctl.cli import options, targets

if TYPE_CHECKING:
    from vidctl.runpod.types import Endpoint


@options.spread
def list_endpoints(
    target: options.Target = None,
    *,
    said: options.ReportOptions,
) -> None:
    """List the account's endpoints.

    Which spec made them, how many workers they may have, on which GPUs, and what they cost when idle.
    """
    from vidctl.cli import console

    _, place = targets.deployed(said.report(), target)
    rows = [_row(each) for each in place.control.account().endpoints]
    if said.as_json:
        print(json.dumps(rows, indent=2))  # noqa: T201
        return
    console.table(
        [
            (row["name"], row["id"], row["spec"] or "-", f"{row['workers_min']}-{row['workers_max']}", row["gpu_ids"],
             _dollars(row["idle_per_hour"]), row["image"])
            for row in rows
        ],
        header=("endpoint", "id", "spec", "workers", "gpus", "idle $/h", "image"),
        empty=f"no endpoints on {place.name}",
    )  # fmt: skip


def _row(endpoint: Endpoint) -> dict[str, Any]:
    from vidctl.deploy import cost, plan

    costs = cost.cost(endpoint)
    return {
        "name": endpoint.name,
        "id": endpoint.id,
        "spec": plan.owner(endpoint),
        "workers_min": endpoint.workers_min,
        "workers_max": endpoint.workers_max,
        "gpu_ids": endpoint.gpu_ids,
        "idle_per_hour": costs.idle,
        "most_per_hour": costs.most,
        "image": endpoint.template.image,
    }


def _dollars(amount: float | None) -> str:
    return "?" if amount is None else f"{amount:.2f}"
