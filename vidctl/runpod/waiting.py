"""Wait for what RunPod does late: it shows a write, a create that was not answered, lets go of a template."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Final, TypeVar

from vidctl.errors import ApiError, NetworkError, RefusedError, UnansweredError
from vidctl.progress import Notify, Progress

Sleep = Callable[[float], None]
_Thing = TypeVar("_Thing")

_LOOK_PAUSES_S: Final = (0.1, 0.4, 1.0, 1.5)

# A template is in use for up to two minutes after its last user went (RunPod docs, sdks/graphql/manage-pod-templates).
_IN_USE: Final = re.compile(r"in use|used by", re.IGNORECASE)
_IN_USE_PAUSES_S: Final = (2, 4, 8, 16, 30, 30, 30)


def create_once(send: Callable[[], _Thing], look: Callable[[], _Thing | None], *, what: str, sleep: Sleep) -> _Thing:
    """Give what `send` gives or, when its response is lost, what `look` finds within three seconds.

    RunPod has no token that would tell a repeated create from a new one, and its names are not unique: a create that is
    sent twice may make, and bill, two.  So when nothing is found, raise the error with which the response was lost.
    """
    try:
        return send()
    except (UnansweredError, ApiError) as error:
        if not may_have_been_accepted(error):
            raise
        found = _look_for(look, sleep)
        if found is None:
            raise _undecided(error, what) from error
        return found


def settled(look: Callable[[], _Thing], is_settled: Callable[[_Thing], bool], *, sleep: Sleep = time.sleep) -> _Thing:
    """What `look` shows: the first that is settled within three seconds, else the last.

    Right after a write RunPod may still show what was there before it (runpod/runpodctl
    internal/api/template_port_labels.go waits up to 2.5 s for that).
    """
    found = look()
    for pause_s in _LOOK_PAUSES_S:
        if is_settled(found):
            break
        sleep(pause_s)
        found = look()
    return found


def delete_when_released(delete: Callable[[], RefusedError | None], *, what: str, notify: Notify, sleep: Sleep) -> None:
    """Call `delete` until it is done, for two minutes and only while RunPod says that the thing is in use.

    Raise what it refused with.
    """
    for pause_s in (*_IN_USE_PAUSES_S, None):
        refusal = delete()
        if refusal is None:
            return
        if pause_s is None or not is_in_use(refusal):
            raise refusal
        notify(Progress("delete", f"{what} is still in use; retrying in {pause_s} s", is_passing=True))
        sleep(pause_s)


def is_in_use(refusal: RefusedError) -> bool:
    """Whether it says that the thing is in use."""
    return _IN_USE.search(refusal.message) is not None


def may_have_been_accepted(error: UnansweredError | ApiError) -> bool:
    """Whether the server may have acted: no response, its own failure, or a 2xx that a proxy has spoilt."""
    if isinstance(error, UnansweredError):
        return True
    return isinstance(error.status, int) and not 300 <= error.status < 500


def _look_for(look: Callable[[], _Thing | None], sleep: Sleep) -> _Thing | None:
    with suppress(NetworkError, ApiError):  # then it stays undecided
        for pause_s in _LOOK_PAUSES_S:
            sleep(pause_s)
            if (found := look()) is not None:
                return found
    return None


def _undecided(error: UnansweredError | ApiError, what: str) -> UnansweredError | ApiError:
    kind = UnansweredError if isinstance(error, UnansweredError) else ApiError
    advice = "run the same command again: it looks for existing resources before it creates any"
    return kind(
        f"{error.message}; {what} not found yet, but it may still appear",
        hint=f"{advice}; {error.hint}" if error.hint else advice,
        status=error.status,
    )
