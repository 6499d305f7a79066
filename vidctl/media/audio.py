"""Make of any sound or film what a speech recogniser needs to hear: small Ogg Opus chunks, cut where nobody speaks."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

SAMPLE_RATE = 16_000
DEFAULT_CHUNK_S = 300.0
LONGEST_CHUNK_S = 1800.0


@dataclass(frozen=True)
class Chunk:
    """A part of a sound as it is sent, from `start_s` to `end_s` of the source; `digest` names what is in it."""

    index: int
    start_s: float
    end_s: float
    data: bytes = field(repr=False)
    digest: str
    is_last: bool


def duration_s(file: Path | BinaryIO, *, name: str) -> float | None:
    """How long the file says that its sound is, without reading it; None if it does not say.  Raises MediaError."""
    raise NotImplementedError


def chunks(
    file: Path | BinaryIO, *, name: str, warn: Callable[[str], None], chunk_s: float = DEFAULT_CHUNK_S
) -> Iterator[Chunk]:
    """Yield the sound in chunks of at most `chunk_s`, as soon as each is ready; raise MediaError."""
    raise NotImplementedError
