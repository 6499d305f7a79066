"""Write answers as text, as one JSON document or as lines of JSON."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from vidctl.tasks.describe import stats
from vidctl.tasks.describe.jobs import Described
from vidctl.tasks.describe.model import Description
from vidctl.tasks.formats import ResultFormat, by_name, heading
from vidctl.text import prose, safe_json

SCHEMA = "vidctl.describe/1"


@dataclass(frozen=True)
class AnswersContext:
    """What is known besides the answers: the endpoint, the price of its time, and whether there are several.

    What `is_read` on a terminal is laid out for that, `headed` by what names each of several there.
    """

    endpoint: str | None
    price: stats.Price
    has_several: bool
    is_read: bool = False
    headed: Callable[[str], str] = heading


AnswersFormat = ResultFormat[Described, AnswersContext]


def _text(answers: Sequence[Described], context: AnswersContext) -> str:
    return "".join(_answer(each.result, context) for each in answers if isinstance(each.result, Description))


def _answer(result: Description, context: AnswersContext) -> str:
    if result.data is not None:
        text = safe_json(result.data, indent=2 if context.is_read else None)
    else:
        text = prose(result.text).strip("\n")
    return f"{context.headed(result.source) if context.has_several else ''}{text}\n"


def _json(answers: Sequence[Described], context: AnswersContext) -> str:
    whole = {"stats": stats.of_all(answers, price=context.price)} if context.has_several else {}
    results = [_item(each, context) for each in answers]
    return safe_json({"schema": SCHEMA, "endpoint": context.endpoint, "results": results, **whole}, indent=2) + "\n"


def _jsonl(answers: Sequence[Described], context: AnswersContext) -> str:
    beginning = {"schema": SCHEMA, "endpoint": context.endpoint}
    return "".join(safe_json({**beginning, **_item(each, context)}) + "\n" for each in answers)


def _item(described: Described, context: AnswersContext) -> dict[str, Any]:
    result = described.result
    names = [source.name for source in described.question.sources]
    item = {**result.to_dict(), **({"sources": names} if len(names) > 1 else {})}
    if not isinstance(result, Description):
        return item
    # Of several answers only the sum is known: their jobs share the time of a worker.
    price = None if context.has_several else context.price
    return {**item, "stats": stats.of_answer(described, result, price=price)}


FORMATS: dict[str, AnswersFormat] = by_name(
    ResultFormat("text", _text, ("txt",)),
    ResultFormat("json", _json, ("json",), is_document=True, is_json=True, has_failures=True),
    ResultFormat("jsonl", _jsonl, ("jsonl",), is_json=True, has_failures=True),
)
