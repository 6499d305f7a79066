"""What was spent: the journal's execution times at RunPod's prices, beside what RunPod has billed.  Pure.

RunPod bills workers, not jobs: what they start and idle, their disks and its fee are in its bill alone, and so is what
was not sent from this project.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import Literal

from vidctl.journal import JobEntry
from vidctl.runpod.billing import BillingRecord

By = Literal["endpoint", "day", "command"]


@dataclass
class Spent:
    """Of one endpoint, day or command: `usd` at most, for what has a price, and `billed_usd` if RunPod tells it."""

    name: str
    jobs: int = 0
    execution_s: float = 0.0
    usd: float = 0.0
    unpriced: int = 0
    billed_usd: float | None = None

    @property
    def difference_usd(self) -> float | None:
        return None if self.billed_usd is None else self.billed_usd - self.usd


def spent(
    jobs: Iterable[JobEntry],
    price_per_s: Callable[[JobEntry], float | None],
    by: By,
    bills: Iterable[BillingRecord] | None,
) -> list[Spent]:
    """A row for each, the dearest first, days in their order.  RunPod's bill knows endpoints and days, no commands."""
    rows: dict[str, Spent] = {}
    for job in jobs:
        key = _key(job, by)
        row = rows.setdefault(key, Spent(_name(job, key, by)))
        took_s, price = (job.execution_ms or 0) / 1000, price_per_s(job)
        row.jobs += 1
        row.execution_s += took_s
        row.usd += took_s * (price or 0.0)
        row.unpriced += price is None and took_s > 0
    if bills is not None and by != "command":
        for row in rows.values():
            row.billed_usd = 0.0
        for bill in bills:
            key = bill.endpoint_id if by == "endpoint" else day_of(bill.at_s)
            row = rows.setdefault(key, Spent(key))
            row.billed_usd = (row.billed_usd or 0.0) + bill.total_usd
    if by == "day":
        return [rows[key] for key in sorted(rows)]
    return sorted(rows.values(), key=lambda row: (-max(row.usd, row.billed_usd or 0.0), row.name))


def total(rows: Iterable[Spent], bills: Iterable[BillingRecord] | None) -> Spent:
    """All rows together, with RunPod's whole bill."""
    whole = Spent("total")
    for row in rows:
        whole.jobs += row.jobs
        whole.execution_s += row.execution_s
        whole.usd += row.usd
        whole.unpriced += row.unpriced
    whole.billed_usd = None if bills is None else sum(bill.total_usd for bill in bills)
    return whole


def day_of(at_s: float) -> str:
    """The day in UTC, as RunPod bills it."""
    return datetime.fromtimestamp(at_s, timezone.utc).date().isoformat()


def _key(job: JobEntry, by: By) -> str:
    if by == "endpoint":
        return job.endpoint_id
    if by == "day":
        return day_of(job.submitted_at)
    return job.command or ("deploy" if job.what.startswith("smoke test") else "unknown")


def _name(job: JobEntry, key: str, by: By) -> str:
    return f"{job.spec} ({key})" if by == "endpoint" and job.spec else key
