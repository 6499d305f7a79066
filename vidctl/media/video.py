"""Take pictures out of films, as they are displayed at a time.

Whatever FFmpeg says leaves here as a MediaError that names the file.  Nothing is kept but the pictures asked for.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from vidctl.media.image import Prepared


@dataclass(frozen=True)
class Frame:
    """The picture of a film that is displayed at `at_s` seconds from its beginning, as it is sent."""

    at_s: float
    prepared: Prepared


def duration_s(file: Path | BinaryIO, *, name: str) -> float | None:
    """How long the file says that its picture lasts, which is not read; None if it does not say.  Raises MediaError."""
    raise NotImplementedError


def frame_at(file: Path | BinaryIO, *, at_s: float, max_pixels: int, name: str) -> Frame:
    """The picture displayed at `at_s`; MediaError, with the film's length, if it is over by then."""
    raise NotImplementedError


def frames(
    file: Path | BinaryIO,
    *,
    from_s: float,
    to_s: float | None,
    fps: float,
    max_frames: int,
    max_pixels: int,
    name: str,
) -> tuple[Frame, ...]:
    """The pictures displayed at `from_s`, `from_s` + 1/`fps`, … before `to_s`, or before the film's end.

    Raises MediaError for more than `max_frames`, and says how many there would be and which `fps` fits.
    """
    raise NotImplementedError
