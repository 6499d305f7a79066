"""What the whisper worker gives its detector of voices, on real signals: a stand-in that wants loudness."""

from __future__ import annotations

import numpy as np
import pytest
from support.stating import stating

RATE = 16_000


@pytest.fixture(scope="module")
def audible(whisper_module):
    return whisper_module("audible")


def noise(decibels, seconds=20.0):
    samples = np.random.default_rng(0).normal(0, 10 ** (decibels / 20), round(seconds * RATE))
    return samples.astype(np.float32)


def voice(decibels, since_s=5.0, until_s=8.0, length_s=20.0):
    """A buzz of 200 Hz and above for a while, in silence."""
    at = np.arange(round(length_s * RATE)) / RATE
    buzz = sum(np.sin(2 * np.pi * 200 * partial * at) for partial in (1, 2, 4)) / 3
    return np.where((at >= since_s) & (at < until_s), 10 ** (decibels / 20) * buzz, 0).astype(np.float32)


def loud(samples):
    """A detector that hears what is louder than -45 dB, and nothing in what is louder than -20 dB throughout."""
    found = np.flatnonzero(np.abs(samples) > 10 ** (-45 / 20))
    return [(int(found[0]), int(found[-1]))] if 0 < len(found) < 0.9 * len(samples) else []


@pytest.mark.parametrize("hertz", [50, 60])
def test_hum_is_kept_from_the_detector(audible, hertz):
    """The hum of mains, 20 dB above the voice, is gone before the voice is looked for."""
    hum = 0.8 * np.sin(2 * np.pi * hertz * np.arange(20 * RATE) / RATE)
    samples = (voice(-22) + hum).astype(np.float32)

    assert [] == loud(samples)
    assert audible.voices(samples, loud) == [pytest.approx((5 * RATE, 8 * RATE), abs=1600)]


def test_what_is_low_is_made_louder_for_the_detector(audible):
    """A recording 60 dB down is found where it is."""
    samples = voice(-75, until_s=19.0)

    assert [] == loud(samples)
    assert audible.voices(samples, loud) == [pytest.approx((5 * RATE, 19 * RATE), abs=1600)]


def test_what_is_heard_as_it_is_is_not_made_louder(audible):
    """A few words in a quiet room: the room stays quiet."""
    samples = voice(-20, until_s=6.0) + noise(-65)

    assert audible.voices(samples, loud) == [pytest.approx((5 * RATE, 6 * RATE), abs=1600)]


@pytest.mark.parametrize(
    "samples", [np.zeros(RATE * 5, np.float32), np.zeros(10, np.float32)], ids=["silence", "short"]
)
def test_silence_stays_silence(audible, samples):
    """Nothing is made of nothing."""
    assert [] == audible.voices(samples, loud)


@pytest.mark.parametrize(
    ("samples", "speech_s", "facts"),
    [
        (noise(-30), 0.0, ("no speech", "20.0 s", "vad_filter")),
        (noise(-30), 0.8, ("0.8 s", "20.0 s", "vad_filter")),
        (noise(-30), 5.0, None),
        (noise(-95), 0.0, None),
        (np.zeros(20 * RATE, np.float32), 0.0, None),
        (noise(-30, 3.0), 0.0, None),
        (voice(-20, until_s=7.0, length_s=60.0) + noise(-65, 60.0), 2.0, None),
    ],
    ids=["noise", "hardly any", "enough", "nearly silent", "silent", "short", "few words in a quiet room"],
)
def test_it_is_said_if_next_to_nothing_was_taken_for_speech(audible, samples, speech_s, facts):
    """Only of what is not silent."""
    loudness = audible.Loudness()
    for first in range(0, len(samples), 4800):
        loudness.add(samples[first : first + 4800])

    warning = audible.missed(speech_s, loudness.active_s)

    assert (facts is None) == (warning is None)
    if warning is not None:
        stating(warning, *facts)
