"""Create a thing at RunPod once, although the answer may get lost on the way back.

RunPod has no token that would tell a repeated create from a new one, and its names are not unique: a create that is
sent twice may make, and bill, two.  So it is sent once, and after a lost answer the thing is looked for.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final, TypeVar

from vidctl.errors import ApiError, Unanswered

Sleep = Callable[[float], None]
_Thing = TypeVar("_Thing")

_PAUSES_S: Final = (0.1, 0.4, 1.0, 1.5)


def create_once(
    send: Callable[[], _Thing], look: Callable[[], _Thing | None], *, what: str, sleep: Sleep = time.sleep
) -> _Thing:
    """Give what `send` gives or, when its answer is lost, what `look` finds within three seconds.

    When it finds nothing, raise the error with which the answer was lost: the thing may still appear.
    """
    try:
        return send()
    except (Unanswered, ApiError) as error:
        if not _may_have_been_accepted(error):
            raise
        for pause_s in _PAUSES_S:
            sleep(pause_s)
            if (found := look()) is not None:
                return found
        raise type(error)(
            f"{error.message}; {what} is not there yet, but may still appear",
            hint="run the same command again: it looks for what is there before it creates",
            status=error.status,
        ) from error


def _may_have_been_accepted(error: Unanswered | ApiError) -> bool:
    """Whether the server may have acted: no answer, its own failure, or a 2xx that a proxy has spoilt."""
    if isinstance(error, Unanswered):
        return True
    return isinstance(error.status, int) and not 300 <= error.status < 500
