"""How long a file says that its audio is, and whether the file has an end: what shows that one was cut off."""

from __future__ import annotations

import io
import struct
from typing import IO, Any

import av

# Formats whose length FFmpeg guesses from the bit rate, or takes from what there is.
_GUESSED = ("aac", "ac3", "amr", "dts", "eac3", "mpeg", "mpegts", "ogg", "voc")
_SLACK = 64  # bytes: some programs count a header or a byte of padding wrongly
_UNKNOWN = 0x7FFF0000  # and more is what those write into a size who cannot know it
_W64 = bytes.fromhex("726966662e91cf11a5d628db04c10000")
_ASF = bytes.fromhex("3026b2758e66cf11a6d900aa0062ce6c")
_ASF_FILE = bytes.fromhex("a1dcab8c47a9cf118ee400c00c205365")
_EBML, _SEGMENT = b"\x1a\x45\xdf\xa3", b"\x18\x53\x80\x67"
_HEAD = 65536


def declared_s(container: Any, track: Any) -> float | None:
    """How long the file's header says that this track is, in seconds; None if it does not say."""
    names = container.format.name.split(",")
    if any(name in _GUESSED for name in names) or ("mp3" in names and not track.start_time):
        return None  # an mp3's header tells of its start if it tells of its length
    whole_s = container.duration / av.time_base if container.duration else None
    if track.duration:
        return float(track.duration * track.time_base)
    tagged_s = _tagged_s(track.metadata)
    if tagged_s is not None:
        return tagged_s if whole_s is None else min(tagged_s, whole_s)
    return whole_s if len(container.streams) == 1 else None  # else it is that of the longest


def is_short(heard_s: float, declared_s: float | None) -> bool:
    """Whether more is missing than codecs and clocks may differ by."""
    return declared_s is not None and declared_s - heard_s > max(1.0, declared_s / 100)


def _tagged_s(tags: Any) -> float | None:
    """What Matroska's writers say of each track: 00:01:02.5, for some under a name with a language."""
    names = sorted(name for name in tags if name == "DURATION" or name.startswith("DURATION-"))
    for name in names:
        try:
            hours, minutes, seconds = map(float, tags[name].split(":"))
        except ValueError:
            continue
        return hours * 3600 + minutes * 60 + seconds
    return None


def is_cut(file: IO[bytes]) -> bool:
    """Whether a file ends before its header says that it does, which FFmpeg does not report.

    Known for WAV, AVI, Wave64, CAF, WMA, FLV, Matroska and WebM, unless they were written into a pipe.
    """
    place = file.tell()
    length = file.seek(0, io.SEEK_END)
    file.seek(0)
    head = file.read(_HEAD)
    file.seek(place)
    end = _end(head)
    return end is not None and end - length > _SLACK


def _end(head: bytes) -> int | None:
    if head[:4] == b"RIFF":
        size = int.from_bytes(head[4:8], "little")
        return size + 8 if size < _UNKNOWN else None
    if head[:16] == _W64:
        return int.from_bytes(head[16:24], "little")
    if head[:4] == b"caff":
        return _caf_end(head)
    if head[:16] == _ASF:
        at = head.find(_ASF_FILE)
        is_live = at < 0 or at + 88 >= len(head) or head[at + 88] & 1
        return None if is_live else int.from_bytes(head[at + 40 : at + 48], "little")
    if head[:3] == b"FLV":
        return _flv_end(head)
    return _matroska_end(head) if head[:4] == _EBML else None


def _caf_end(head: bytes) -> int | None:
    at = 8
    while at + 12 <= len(head):
        size = int.from_bytes(head[at + 4 : at + 12], "big", signed=True)
        if head[at : at + 4] == b"data" or size < 0:
            return at + 12 + size if size >= 0 else None
        at += 12 + size
    return None


def _flv_end(head: bytes) -> int | None:
    """From `onMetaData`: the name, the type (a number) and its eight bytes."""
    at = head.find(b"filesize\0", 0, 4096)
    if at < 0 or at + 17 > len(head):
        return None
    (size,) = struct.unpack(">d", head[at + 9 : at + 17])
    return int(size) if 0 < size < 1e15 else None


def _matroska_end(head: bytes) -> int | None:
    at = head.find(_SEGMENT, 0, 256)
    if at < 0:
        return None
    first = head[at + 4] if at + 4 < len(head) else 0
    count = 9 - first.bit_length()  # of the bytes that the size takes
    size = int.from_bytes(head[at + 4 : at + 4 + count], "big") & ((1 << 7 * count) - 1)
    return at + 4 + count + size if first and size != (1 << 7 * count) - 1 else None
