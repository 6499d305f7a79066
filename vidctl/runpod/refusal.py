"""Turn what RunPod says against a value into one error: in its words, with the field, a hint, and no secret."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from typing import Final

from vidctl.errors import RefusedError
from vidctl.text import SENTENCE, one_line

# Shorter values are no secrets, and are in every other sentence.
_MIN_SECRET_LENGTH: Final = 4

_HINTS: Final = (
    (r"gpuIds|gpu\.pools|GPU pool|excludedTypes", "run `vidctl validate`: an endpoint takes pools of GPUs, not cards"),
    (r"cannot query field", "RunPod's API has changed: upgrade vidctl, or use VIDCTL_CONTROL=rest"),
    (r"something went wrong", "check the values in the plan, then try again: RunPod says this of invalid values too"),
    # The words of runpod/runpodctl#117.
    (r"quota|worker concurrency", "lower workers.max of this or another endpoint, or ask RunPod for more workers"),
    (
        r"no longer any instances available",
        "add GPUs or data centers, or remove data_centers: no data center that the spec allows has such a GPU",
    ),
    (r"name must be unique|name already exists", "rename or delete the other one in RunPod's console"),
    (r"api key|unauthorized|not authorized|permission", "check what RUNPOD_API_KEY may do in RunPod's console"),
)


def refused(
    message: str, *, field: str | None = None, hide: Iterable[str] = (), status: int | None = None
) -> RefusedError:
    """The error to raise; `hide` are values that were sent and must not be seen, for RunPod quotes what it refuses."""
    message = one_line(_without(message, hide), SENTENCE)
    advice = (words for sign, words in _HINTS if re.search(sign, message, re.IGNORECASE))
    return RefusedError(f"RunPod: {message}", field=field, hint=next(advice, None), status=status)


def _without(message: str, hide: Iterable[str]) -> str:
    values = {value for value in hide if len(value) >= _MIN_SECRET_LENGTH}
    written = values | {json.dumps(value)[1:-1] for value in values}
    for value in sorted(written, key=len, reverse=True):
        message = message.replace(value, "…")
    return message
