"""From what a caller sent to the samples Whisper hears, in blocks: memory stays bounded however long the sound is."""

from __future__ import annotations

from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

    import numpy as np
    from numpy.typing import NDArray

SAMPLE_RATE = 16_000
VOLUME = Path("/runpod-volume")  # where RunPod mounts a network volume


class Sound:
    """An open sound: `expected_s` is how long its file says it is, if it does; `warnings` grows while it is read."""

    expected_s: float | None
    warnings: list[str]

    def blocks(self, seconds: float = 300.0) -> Iterator[NDArray[np.float32]]:
        """Yield mono samples at 16 kHz, within -1 to 1, `seconds` at a time; raise BadInput if there are none."""
        raise NotImplementedError


@contextmanager
def opened(audio: str, *, volume: Path = VOLUME) -> Iterator[Sound]:
    """Open base64, a data: URL, an https:// URL or a path below `volume`; raise BadInput with one sentence."""
    raise NotImplementedError
