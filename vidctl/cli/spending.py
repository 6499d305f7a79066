"""How `vidctl cost report` is shown."""

from __future__ import annotations

from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from vidctl.cost.gather import SpendingReport
    from vidctl.cost.spent import By, Spent

SCHEMA = "vidctl.cost.report/1"


def document(found: SpendingReport, by: By) -> dict[str, Any]:
    """What --json prints."""
    return {
        "schema": SCHEMA,
        "since": _time(found.start_s),
        "by": by,
        "prices_as_of": found.prices_as_of,
        "rows": [_row(each) for each in found.rows],
        "total": _row(found.total),
        "local_jobs": found.local_jobs,
        "billing_error": found.billing_error,
    }


def _row(each: Spent) -> dict[str, Any]:
    return {
        "name": each.name,
        "jobs": each.jobs,
        "execution_s": round(each.execution_s, 3),
        "usd": round(each.usd, 6),
        "jobs_without_price": each.unpriced,
        "billed_usd": None if each.billed_usd is None else round(each.billed_usd, 6),
        "difference_usd": None if each.difference_usd is None else round(each.difference_usd, 6),
    }


def show(found: SpendingReport, by: By) -> None:
    """For people: a row for each, and all together."""
    from vidctl.cli import console
    from vidctl.text import one_line

    header = (by, "jobs", "execution", "cost at most", "billed by RunPod", "difference")
    rows = [_cells(each) for each in (*found.rows, found.total)]
    print(f"since {_time(found.start_s)}; prices as of {found.prices_as_of}")  # noqa: T201
    console.table(rows, header=header, empty="")
    notes = []
    if found.billing_error:
        notes.append(f"RunPod's bill is not shown: {found.billing_error}")
    if found.total.unpriced:
        notes.append(f"jobs without a known price: {found.total.unpriced}")
    if found.local_jobs:
        notes.append(f"jobs on the local runtime, at no cost: {found.local_jobs}")
    for note in notes:
        print(one_line(f"  {note}"))  # noqa: T201


def _cells(each: Spent) -> tuple[str, ...]:
    from vidctl.text import dollars

    billed = "–" if each.billed_usd is None else dollars(each.billed_usd)
    difference = "–"
    if each.difference_usd is not None:
        difference = ("-" if each.difference_usd < 0 else "+") + dollars(abs(each.difference_usd))
    return (each.name, f"{each.jobs:,}", f"{each.execution_s:,.1f} s", dollars(each.usd), billed, difference)


def _time(at_s: float) -> str:
    return datetime.fromtimestamp(at_s, timezone.utc).strftime("%Y-%m-%d %H:%M UTC")
