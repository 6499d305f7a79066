"""Which audio track of a file is heard, where there are several."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress
from typing import Any

import av

_DEFAULT, _COMMENT, _IMPAIRED = 1 << 0, 1 << 3, 1 << 7 | 1 << 8  # FFmpeg's dispositions
SILENT = 0.001  # a peak of -60 dB: nobody speaks as low as that


def is_decodable(track: Any) -> bool:
    """Whether FFmpeg has a decoder for it."""
    return track.codec_context is not None


def best(tracks: Iterable[Any]) -> Any | None:
    """The track that a player would choose, of PyAV's streams; None if none can be decoded.

    The one marked as default takes precedence over the others, and they over what is a comment, or made for those who
    hear or see little, or has first packets that told the decoder nothing; of equals the first is taken.
    """
    return min(filter(is_decodable, tracks), key=_rank, default=None)


def _rank(track: Any) -> tuple[bool, bool, bool]:
    marks = int(track.disposition)
    return not track.codec_context.sample_rate, bool(marks & (_COMMENT | _IMPAIRED)), not marks & _DEFAULT


def successors(container: Any, track: Any) -> list[Any]:
    """The track, and those that go on where it ends in the file, each a new one because the programme's ids changed.

    Reads the whole container if it may be so: it has to be opened again.
    """
    if len(container.streams.audio) < 2 or container.format.name != "mpegts":
        return [track]
    spans: dict[int, tuple[int, int]] = {}
    with suppress(av.FFmpegError, IndexError):  # as far as it goes; IndexError is PyAV's, at a track it does not know
        for number, packet in enumerate(container.demux(container.streams.audio)):
            if packet.size:
                first, _ = spans.get(packet.stream.index, (number, number))
                spans[packet.stream.index] = first, number
    chain = [track]
    for later in sorted(filter(is_decodable, container.streams.audio), key=lambda one: spans.get(one.index, (0, 0))):
        end = spans.get(chain[-1].index, (0, 0))[1]
        if later.index in spans and spans[later.index][0] > end and later.index != chain[-1].index:
            chain.append(later)
    return chain


def unheard(container: Any, turns: Iterable[int], peak: float) -> list[int]:
    """Which other tracks might hold speech, by their numbers from 1: those beside one that is silent."""
    if peak > SILENT:
        return []
    heard = set(turns)
    tracks = enumerate(container.streams.audio, 1)
    return [number for number, track in tracks if track.index not in heard and is_decodable(track)]
