"""What a detector of voices is to be given, and how much of the audio there was to hear.

Silero takes speech above the hum of mains for no speech, and hears nothing of what is 60 dB down; Whisper hears both.
So it is given audio without what lies below voices, and louder where all is low.  Whisper itself hears what was sent.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from audio import SAMPLE_RATE

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    Samples = NDArray[np.float32]
    Voices = list[tuple[int, int]]

CUT_HZ = (80.0, 130.0)  # nothing below the one, all above the other
WANTED_DB, LOW_DB, MOST_DB = -25.0, -40.0, 60.0  # how loud it is made, what is low, by how much at most
EDGE = SAMPLE_RATE // 4  # beyond the ends audio is mirrored: where it breaks off is a click to a filter
NOTHING_DB = -100.0  # of digital silence, and the errors of filters
FRAME = SAMPLE_RATE * 3 // 100
STEP = 1 << 14  # lengths that this divides are quick to transform

LEAST_SHARE = 0.05  # of what is not silent; less was taken for speech by mistake, or is music
LEAST_S = 5.0
RANGE_DB, SILENCE_DB = 25, -85  # below the loudest, and in any case: what is silence between words
LOUDEST = 0.02  # of the frames: clicks


def voices(samples: Samples, find: Callable[[Samples], Voices]) -> Voices:
    """Find where voices are, in audio made clearer."""
    clear = _without_hum(samples)
    levels = _levels(clear)
    if not len(levels):
        return find(samples)
    usual, loudest = (float(level) for level in np.percentile(levels, (90, 99)))
    found = find(clear) if loudest >= LOW_DB else []
    if found or usual >= WANTED_DB or loudest < NOTHING_DB:
        return found
    gain = 10 ** (min(WANTED_DB - usual, MOST_DB) / 20)
    return find(np.clip(clear * np.float32(gain), -1.0, 1.0))


def _without_hum(samples: Samples) -> Samples:
    edge = min(EDGE, max(len(samples) - 1, 0))
    padded = np.pad(samples, edge, "reflect", reflect_type="odd") if edge else samples
    size = -(-max(len(padded), 1) // STEP) * STEP
    low, high = (round(hertz * size / SAMPLE_RATE) for hertz in CUT_HZ)
    spectrum = np.fft.rfft(padded, size)
    spectrum[:low] = 0
    spectrum[low:high] *= np.linspace(0.0, 1.0, high - low)
    return np.asarray(np.fft.irfft(spectrum, size)[edge : edge + len(samples)], np.float32)


def _levels(samples: Samples) -> NDArray[np.float64]:
    """How loud each frame is, in dB of full scale."""
    frames = samples[: len(samples) // FRAME * FRAME].reshape(-1, FRAME)
    power = np.mean(np.square(frames, dtype=np.float64), axis=1)
    return np.asarray(10 * np.log10(np.maximum(power, 1e-12)))


class Loudness:
    """How much of the audio is not silent, beside what is loud in it."""

    def __init__(self) -> None:
        self._counts = np.zeros(121, np.int64)  # of frames, from -120 dB to 0

    def add(self, samples: Samples) -> None:
        levels = np.clip(np.rint(_levels(samples)), -120, 0).astype(np.int64)
        self._counts += np.bincount(levels + 120, minlength=121)

    @property
    def active_s(self) -> float:
        """Seconds that are within the range of speech below the loudest."""
        from_top = np.cumsum(self._counts[::-1])
        if not from_top[-1]:
            return 0.0
        loudest = -int(np.argmax(from_top > LOUDEST * from_top[-1]))
        least = max(loudest - RANGE_DB, SILENCE_DB)
        return float(self._counts[least + 120 :].sum()) * FRAME / SAMPLE_RATE


def missed(speech_s: float, active_s: float) -> str | None:
    """Say that next to nothing was taken for speech, where there was something to hear."""
    if active_s < LEAST_S or speech_s >= LEAST_SHARE * active_s:
        return None
    found = f"only {speech_s:.1f} s of" if speech_s else "no"
    return f"found {found} speech in {active_s:.1f} s that are not silent; set vad_filter to false to transcribe all"
