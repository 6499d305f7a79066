"""Speech whose words are known, the model that hears it, and how well it was heard."""

from __future__ import annotations

import functools
import io
import os
import random
import re
import shutil
import subprocess
import sys
import wave
from dataclasses import dataclass
from itertools import count
from pathlib import Path

import av
import jiwer
import numpy as np
import pytest

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tools"))

import whisper_base  # noqa: E402

SAMPLE_RATE = 16_000
LIBRIVOX = Path("/usr/share/pocketsphinx/test/data/librivox")
ALSA = Path("/usr/share/sounds/alsa")

SENTENCES = (
    "The river bank was quiet in the early morning.",
    "She opened the window and looked at the garden.",
    "Two children were playing near the old stone bridge.",
    "Please send the report to the office before noon.",
    "The train to the city leaves every thirty minutes.",
    "He bought fresh bread, butter and a bottle of milk.",
    "Nobody knew why the lights went out last night.",
    "A small boat was waiting at the end of the harbour.",
    "The teacher wrote three questions on the board.",
    "We walked along the beach until the sun went down.",
    "My brother works in a hospital near the station.",
    "The weather will be cold and windy tomorrow.",
)
VOICES = ("en-us", "en-gb", "en-us+f2", "en-gb+m3")
WORDS_PER_MINUTE = (140, 155, 165)
PAUSES_S = (0.4, 0.7, 1.0, 1.5)

# What Whisper writes for words of the texts here.
_SPOKEN = {"mr": "mister", "2": "two", "3": "three", "10": "ten", "12": "twelve", "30": "thirty"}


@dataclass(frozen=True)
class Clip:
    """An audio file file and the words in it."""

    path: Path
    text: str


@functools.cache
def weights() -> Path:
    """The folder of the real whisper-base, fetched once into the cache."""
    cache = Path(os.environ.get("VIDCTL_CACHE_DIR") or ROOT / ".cache")
    return whisper_base.fetch(cache / "weights" / "whisper-base")


@functools.cache
def librivox() -> list[Clip]:
    """A reader's five sentences of "Sense and Sensibility", 25 seconds, from LibriVox."""
    if not LIBRIVOX.is_dir():
        pytest.skip("Debian's package pocketsphinx-testdata is not installed")
    lines = (LIBRIVOX / "transcription").read_text().splitlines()
    found = [re.fullmatch(r"<s> (?P<text>.*) </s> \((?P<name>.*)\)", line) for line in lines]
    # The book and the reader say "a more amiable woman".
    return [Clip(LIBRIVOX / f"{one['name']}.wav", one["text"].replace("a more a ", "a more ")) for one in found]


def alsa(name: str) -> Path:
    """The file of one of the words with which ALSA tests loudspeakers: "Front_Center", or "Noise"."""
    path = ALSA / f"{name}.wav"
    if not path.is_file():
        pytest.skip("Debian's package alsa-utils is not installed")
    return path


@functools.cache
def say(text: str, voice: str = "en-us", words_per_minute: int = 155) -> np.ndarray:
    """Speak a text with espeak-ng: int16 samples at 16 kHz."""
    if not shutil.which("espeak-ng"):
        pytest.skip("Debian's package espeak-ng is not installed")
    command = ["espeak-ng", "-v", voice, "-s", str(words_per_minute), "--stdout", text]
    return samples(io.BytesIO(subprocess.run(command, check=True, capture_output=True).stdout))


def samples(file: Path | io.BytesIO) -> np.ndarray:
    """Decode an audio file to int16 samples at 16 kHz, one channel."""
    resampler = av.AudioResampler("s16", "mono", SAMPLE_RATE)
    with av.open(file) as container:
        frames = [part for frame in container.decode(audio=0) for part in resampler.resample(frame)]
    return np.concatenate([frame.to_ndarray()[0] for frame in (*frames, *resampler.resample(None))])


def speech(seconds: float, seed: int = 7, *, by_a_reader: bool = False) -> tuple[np.ndarray, list[tuple[float, str]]]:
    """Make a recording of so many seconds: LibriVox's reader and espeak-ng's voices in turn, a pause after each.

    With `by_a_reader` there is the reader alone: what a telephone's 8 kHz leave of espeak-ng, base hears by chance.
    Gives int16 samples at 16 kHz and, for everything that is said, where it begins in seconds and its words; the same
    for the same seed.
    """
    rng = random.Random(seed)
    length = round(seconds * SAMPLE_RATE)
    parts: list[np.ndarray] = []
    said: list[tuple[float, str]] = []
    at = 0
    for turn in count():
        voice, text = _said(2 * turn if by_a_reader else turn, rng)
        if at + len(voice) > length:
            parts.append(_quiet(length - at, turn))
            return np.concatenate(parts), said
        pause = _quiet(min(round(rng.choice(PAUSES_S) * SAMPLE_RATE), length - at - len(voice)), turn)
        said.append((at / SAMPLE_RATE, text))
        parts += [voice, pause]
        at += len(voice) + len(pause)
    raise AssertionError("unreachable: the turns do not end")


def write_wav(path: Path, samples: np.ndarray, sample_rate: int = SAMPLE_RATE) -> Path:
    """Write int16 samples, of one channel or as (n, channels)."""
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1 if samples.ndim == 1 else samples.shape[1])
        file.setsampwidth(2)
        file.setframerate(sample_rate)
        file.writeframes(samples.astype("<i2").tobytes())
    return path


def accuracy(reference: str, heard: str) -> float:
    """1 - word error rate, whatever the case and the punctuation, with "30" and "Mr." taken as they are spoken."""
    return 1.0 - jiwer.wer(_spoken(reference), _spoken(heard))


def _said(turn: int, rng: random.Random) -> tuple[np.ndarray, str]:
    if turn % 2 == 0:
        clip = librivox()[turn // 2 % len(librivox())]
        return _clip_samples(clip.path), clip.text
    text = rng.choice(SENTENCES)
    return say(text, rng.choice(VOICES), rng.choice(WORDS_PER_MINUTE)), text


@functools.cache
def _clip_samples(path: Path) -> np.ndarray:
    return samples(path)


def _quiet(length: int, seed: int) -> np.ndarray:
    """A room's noise, far below speech; digital silence is what no microphone gives."""
    return np.random.default_rng(seed).normal(0, 16, length).astype(np.int16)


def _spoken(text: str) -> str:
    words = re.sub(r"[^\w\s']", " ", text.lower()).split()
    return " ".join(_SPOKEN.get(word, word) for word in words)
