"""How `vidctl cost estimate` is shown."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator

    from vidctl.cost.estimate import PoolEstimate, Usage
    from vidctl.cost.facts import EndpointCosts
    from vidctl.cost.prices import Prices

SCHEMA = "vidctl.cost.estimate/1"
NO_FIGURE, NO_PRICE = "no figure", "no price"


def whole(documents: list[dict[str, Any]], usage: Usage, prices: Prices) -> dict[str, Any]:
    """What --json prints."""
    return {
        "schema": SCHEMA,
        "prices_as_of": prices.as_of,
        "assumptions": {"every_s": usage.every_s, "jobs_per_day": usage.jobs_per_day},
        "estimates": documents,
    }


def document(known: EndpointCosts, usage: Usage) -> dict[str, Any]:
    """One spec's estimates."""
    from vidctl.cost.estimate import estimates, units_per_hour

    spec, cold_start = known.spec, known.cold_start()
    units = units_per_hour(spec.task, usage.every_s)
    pools = list(estimates(known, usage))
    return {
        "spec": spec.key,
        "task": spec.task,
        "unit": known.unit,
        "units_per_hour_of_video": units,
        "gpus_per_worker": spec.gpu.count,
        "workers_min": spec.workers.min,
        "idle_timeout_s": spec.timeouts.idle_s,
        "cold_start": {"seconds": cold_start.seconds, "source": cold_start.source},
        "prices_as_of": known.prices.as_of,
        "gpus": [_pool(each, units) for each in pools],
        "figures_elsewhere": [
            {"card": each.card, "unit_s": each.unit_s, "source": each.source}
            for each in known.figures
            if each.pool is None
        ],
        "guide": _guide(known, pools),
    }


def total(documents: list[dict[str, Any]]) -> str | None:
    """Where the guide's sum is not that of its parts; said of all three together."""
    from vidctl.cost.guide import GUIDE, GUIDE_TOTAL
    from vidctl.text import dollars

    if not {each.task for each in GUIDE} <= {each["task"] for each in documents}:
        return None
    most, least = max(GUIDE_TOTAL), min(GUIDE_TOTAL)
    parts = dollars(sum(each.per_hour for each in GUIDE))
    return f"the guide contradicts itself: its three hours add up to {parts}, and it says ${least:g} to ${most:g}"


def _pool(each: PoolEstimate, units_per_hour: float) -> dict[str, Any]:
    return {
        "pool": each.pool,
        "is_in_spec": each.is_own,
        "usd_per_hour": _rounded(None if each.per_s is None else each.per_s * 3600),
        "unit_s": None if each.time is None else round(each.time.seconds, 6),
        "source": None if each.time is None else each.time.source,
        "usd_per_unit": _rounded(each.per_unit),
        "usd_per_hour_of_video": _rounded(each.per_hour(units_per_hour)),
        "usd_per_month": _rounded(each.per_month),
        "billed_s_per_day": None if each.day is None else round(each.day.billed_s),
        "cold_starts_per_day": None if each.day is None else round(each.day.cold_starts, 1),
    }


def _guide(known: EndpointCosts, pools: list[PoolEstimate]) -> dict[str, Any] | None:
    """What the guide says of this task, ours on the spec's first pool with the guide's sampling, and what is off."""
    from vidctl.cost.guide import guide_for

    guide = guide_for(known.spec.task)
    if guide is None:
        return None
    own = pools[0]
    return {
        "sampling": guide.what,
        "card": guide.card,
        "usd_per_unit": guide.per_unit,
        "usd_per_hour": guide.per_hour,
        "ours_usd_per_unit": _rounded(own.per_unit),
        "ours_usd_per_hour": _rounded(own.per_hour(guide.units_per_hour)),
        "contradictions": guide.contradictions(known.prices),
    }


def _rounded(amount: float | None) -> float | None:
    return None if amount is None else round(amount, 9)


def show(document: dict[str, Any], usage: Usage) -> None:
    """For people: a table of GPUs, what it assumes, and what the guide says."""
    from vidctl.cli import console
    from vidctl.text import one_line

    unit = document["unit"]
    rows = [_row(each) for each in document["gpus"] if each["is_in_spec"] or each["unit_s"] is not None]
    header = ("GPU pool", "an hour", "seconds", f"one {unit}", "hour of video", "month", "execution time")
    print(one_line(f"{document['spec']}: prices as of {document['prices_as_of']}; * in the spec"))  # noqa: T201
    console.table(rows, header=header, empty="")
    for line in _notes(document, usage):
        print(one_line(f"  {line}"))  # noqa: T201


def _row(each: dict[str, Any]) -> tuple[str, ...]:
    from vidctl.text import dollars

    unknown = NO_FIGURE if each["unit_s"] is None else NO_PRICE
    amounts = (each["usd_per_unit"], each["usd_per_hour_of_video"], each["usd_per_month"])
    return (
        each["pool"] + "*" * each["is_in_spec"],
        NO_PRICE if each["usd_per_hour"] is None else dollars(each["usd_per_hour"]),
        NO_FIGURE if each["unit_s"] is None else f"{each['unit_s']:.3g}",
        *(unknown if amount is None else dollars(amount) for amount in amounts),
        each["source"] or NO_FIGURE,
    )


def _notes(document: dict[str, Any], usage: Usage) -> Iterator[str]:
    from vidctl.cost.estimate import DAYS
    from vidctl.text import dollars

    unit, cold = document["unit"], document["cold_start"]
    every = "all audio" if document["task"] == "transcribe" else f"one {unit} every {usage.every_s:g} s"
    yield f"an hour of video: {every}; execution time alone, without starting and idling"
    yield (
        f"a month: {DAYS} days of {usage.jobs_per_day:,} calls of one {unit} at random times, with cold starts of "
        f"{cold['seconds']:g} s ({cold['source']}), {document['idle_timeout_s']:g} s of idling, "
        f"workers.min {document['workers_min']}"
    )
    if unknown := [each["pool"] for each in document["gpus"] if not each["is_in_spec"] and each["unit_s"] is None]:
        yield f"{NO_FIGURE} of other GPUs: {', '.join(unknown)}"
    for each in document["figures_elsewhere"]:
        yield f"not at RunPod Serverless: {each['unit_s']:.3g} s for one {unit} on {each['card']}: {each['source']}"
    if guide := document["guide"]:
        ours = "no figure"
        if guide["ours_usd_per_hour"] is not None:
            ours = f"{dollars(guide['ours_usd_per_unit'])}, {dollars(guide['ours_usd_per_hour'])} an hour"
        yield (
            f"the guide ({guide['sampling']}, {guide['card']}): {dollars(guide['usd_per_unit'])} for one {unit}, "
            f"{dollars(guide['usd_per_hour'])} an hour; ours: {ours}"
        )
        for each in guide["contradictions"]:
            yield f"the guide contradicts itself: {each}"
