"""Make many calls at once, and wait for none of them longer than a deadline."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Hashable, Mapping
from queue import Empty, SimpleQueue
from typing import TypeVar

from vidctl.errors import VidctlError

_Key = TypeVar("_Key", bound=Hashable)
_Value = TypeVar("_Value")
_MOST_THREADS = 64


def side_by_side(
    calls: Mapping[_Key, Callable[[], _Value]], *, deadline_s: float, meanwhile: Callable[[], None] = lambda: None
) -> dict[_Key, _Value | VidctlError]:
    """What each call returned or raised; one that took longer is missing, and goes on in its thread unheard.

    `meanwhile` is called here, while they are under way.  Whatever a call raises that is no VidctlError is raised here.
    """
    waiting: SimpleQueue[_Key] = SimpleQueue()
    done: SimpleQueue[tuple[_Key, _Value | BaseException]] = SimpleQueue()
    for key in calls:
        waiting.put(key)
    # Not an executor's: Python would wait at its end for one that hangs.
    for _ in range(min(len(calls), _MOST_THREADS)):
        threading.Thread(target=_call, args=(calls, waiting, done), daemon=True).start()
    found: dict[_Key, _Value | VidctlError] = {}
    end = time.monotonic() + deadline_s
    meanwhile()
    while len(found) < len(calls):
        try:
            key, value = done.get(timeout=max(0.0, end - time.monotonic()))
        except Empty:
            break
        if isinstance(value, BaseException) and not isinstance(value, VidctlError):
            raise value
        found[key] = value
    return found


def _call(
    calls: Mapping[_Key, Callable[[], _Value]],
    waiting: SimpleQueue[_Key],
    done: SimpleQueue[tuple[_Key, _Value | BaseException]],
) -> None:
    while True:
        try:
            key = waiting.get_nowait()
        except Empty:
            return
        try:
            done.put((key, calls[key]()))
        except BaseException as error:  # noqa: BLE001  raised again by who waits
            done.put((key, error))
