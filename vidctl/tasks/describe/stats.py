"""What answers took: times, tokens and their price.  Pure: values in, values and text out."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

from vidctl.tasks.describe.jobs import Described, busy_s
from vidctl.tasks.describe.model import Description

Price = Callable[[float], float | None]  # of so many seconds of a worker, in dollars; None where it is not known


def of_answer(described: Described, result: Description, *, price: Price | None) -> dict[str, Any]:
    """What is known of one answer; without a `price` where its jobs share the time of a worker with others."""
    effort = described.effort
    known = {
        "jobs": effort.jobs,
        "delay_ms": effort.delay_ms,
        "execution_ms": effort.execution_ms,
        "first_text_s": None if effort.first_text_s is None else round(effort.first_text_s, 3),
        "first_token_s": result.timings.get("first_token"),
        "tokens_per_s": _speed(described, result),
        "price_usd": price(effort.execution_ms / 1000) if price and effort.execution_ms else None,
    }
    return {name: value for name, value in known.items() if value is not None}


def of_all(answers: Sequence[Described], *, price: Price) -> dict[str, Any]:
    """What all jobs together took, those of answers that were of no use too."""
    efforts = [described.effort for described in answers]
    worked_s = busy_s(efforts)
    known = {
        "jobs": sum(effort.jobs for effort in efforts),
        "execution_ms": sum(effort.execution_ms or 0 for effort in efforts),
        "busy_ms": round(worked_s * 1000),
        "price_usd": price(worked_s),
    }
    return {name: value for name, value in known.items() if value is not None}


def facts(stats: dict[str, Any], result: Description) -> Iterator[str]:
    """One answer's in words, without the price."""
    if "delay_ms" in stats:
        yield f"queue {stats['delay_ms'] / 1000:.2f} s"
    firsts = [("here", stats.get("first_text_s")), ("in the engine", stats.get("first_token_s"))]
    if times := [f"{seconds:.2f} s {where}" for where, seconds in firsts if seconds is not None]:
        yield f"first token {', '.join(times)}"
    if "tokens_per_s" in stats:
        yield f"{stats['tokens_per_s']:.1f} tokens/s"
    if result.prompt_tokens is not None:
        image = "" if result.image_tokens is None else f" ({result.image_tokens} of them image)"
        yield f"{result.prompt_tokens} prompt tokens{image}"
    if result.completion_tokens is not None:
        yield f"{result.completion_tokens} answer tokens"
    if "execution_ms" in stats:
        jobs = f" in {stats['jobs']} jobs" if stats["jobs"] > 1 else ""
        yield f"ran {stats['execution_ms'] / 1000:.2f} s{jobs}"


def sums(answers: Sequence[Described], stats: dict[str, Any]) -> Iterator[str]:
    """Those of all answers in words, without the price."""
    found = [each.result for each in answers if isinstance(each.result, Description)]
    yield f"{sum(answer.prompt_tokens or 0 for answer in found)} prompt tokens"
    yield f"{sum(answer.completion_tokens or 0 for answer in found)} answer tokens"
    yield f"ran {stats['execution_ms'] / 1000:.2f} s, side by side in {stats['busy_ms'] / 1000:.2f} s"


def _speed(described: Described, result: Description) -> float | None:
    """Tokens a second, from the first one to the last where the worker tells its times, else over all of the job."""
    tokens, effort, timings = result.completion_tokens, described.effort, result.timings
    if not tokens:
        return None
    seconds = (effort.execution_ms or 0) / 1000
    if effort.jobs == 1 and {"first_token", "total"} <= timings.keys():
        tokens, seconds = tokens - 1, timings["total"] - timings.get("prepare", 0.0) - timings["first_token"]
    return round(tokens / seconds, 1) if tokens and seconds > 0 else None
