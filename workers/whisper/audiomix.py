# Copied from workers/_shared/audiomix.py by `make sync-workers`: edit it there.
"""Two channels made one, without losing what is the same in both but for its sign."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

BLOCK = 4000  # samples that are looked at at once, a quarter of a second at 16 kHz
# The power of the mix beside that of the channels: below the one they are opposite, above the other no longer.
OPPOSITE, ALIKE = 0.01, 0.05
QUIET = 1e-8  # of a power that says nothing, -80 dB


class Mixdown:
    """Makes one channel of two, block by block.

    Where one channel is the other's opposite, as behind a cable with two wires swapped, their mix is next to silence:
    one of them is taken.
    """

    def __init__(self) -> None:
        self._taken: int | None = None

    def mono(self, stereo: NDArray[Any]) -> NDArray[np.float32]:
        """Mix samples of two channels, one row each moment."""
        parts = [self._mixed(stereo[first : first + BLOCK]) for first in range(0, len(stereo), BLOCK)]
        return np.concatenate(parts) if parts else np.empty(0, np.float32)

    def _mixed(self, stereo: NDArray[Any]) -> NDArray[np.float32]:
        mix = np.asarray(stereo.mean(axis=1), np.float32)
        powers = np.mean(np.square(stereo, dtype=np.float64), axis=0)
        power = float(powers.mean())
        if power > QUIET:
            share = float(np.mean(np.square(mix, dtype=np.float64))) / power
            if share < OPPOSITE and self._taken is None:
                self._taken = int(powers.argmax())
            elif share > ALIKE:
                self._taken = None
        return mix if self._taken is None else np.asarray(stereo[:, self._taken], np.float32)
