"""Submit many things with a window in flight, and give what became of each in their order."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from concurrent.futures import Future
from concurrent.futures import wait as wait_for
from typing import TypeVar

Thing = TypeVar("Thing")
Made = TypeVar("Made")


def in_order(
    things: Iterable[Thing],
    submit: Callable[[Thing], Future[Made]],
    window: int,
    *,
    kept: Callable[[Thing], Thing],
) -> Iterator[tuple[Thing, Future[Made]]]:
    """Submit things, at most `window` at once; each with its future, in their order, when that is done.

    They are read only as fast as is submitted.  `kept` is what of a thing is wanted after that.
    """
    source, pending = iter(things), deque[tuple[Thing, Future[Made]]]()
    is_more = True
    while pending or is_more:
        while is_more and _has_room(pending, window) and not _has_answer(pending):
            thing = next(source, None)
            if thing is None:
                is_more = False
            else:
                pending.append((kept(thing), submit(thing)))
        while _has_answer(pending):
            yield pending.popleft()
        if pending and not (is_more and _has_room(pending, window)):
            wait_for([future for _, future in pending if not future.done()], return_when="FIRST_COMPLETED")


def _has_answer(pending: Sequence[tuple[object, Future[Made]]]) -> bool:
    return bool(pending) and pending[0][1].done()


def _has_room(pending: Collection[tuple[object, Future[Made]]], window: int) -> bool:
    """Answers that wait for an earlier one take memory, so they are bounded too."""
    return len(pending) < 4 * window and sum(not future.done() for _, future in pending) < window
