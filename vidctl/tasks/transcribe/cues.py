"""Cut speech into subtitles that can be read: two lines of 42 characters, 7 seconds, ending where clauses do.

Pure.  The limits are those of most style guides for subtitles.  Words that were timed keep their times; where there are
none, a segment's time is shared among its characters.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator, Sequence
from itertools import accumulate
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from vidctl.tasks.transcribe.model import Segment

LINE = 42  # characters; one of Chinese, Japanese or Korean takes the room of two
LINES = 2
LONGEST_S = 7.0

_SLOWEST = 3.0  # characters a second: what takes longer than that is not spoken all the time
_SENTENCE_END = frozenset(".?!…。?!।؟۔")
_CLAUSE_END = frozenset(",;:—–、,;:،؛")
_CLOSING = frozenset("\"'”’»)]}」』)】")
# What a subtitle costs, and what an end within a clause adds: fewer, even ones that end with their clauses are best.
_EACH, _IN_CLAUSE, _AT_CLAUSE, _UNEVEN = 1.0, 2.5, 0.3, 0.6


class Cue(NamedTuple):
    """A text from `start` to `end`, in seconds."""

    start: float
    end: float
    text: str


def readable(segment: Segment) -> Iterator[Cue]:
    """The segment's subtitles; none of a segment that says nothing."""
    row = _Row([piece for each in _pieces(segment) for piece in _narrow(each)])
    for first, after in _cut(row):
        start = row.pieces[first].start
        yield Cue(start, min(row.pieces[after - 1].end, start + LONGEST_S), row.text(first, after))


class _Piece(NamedTuple):
    """What stands together in a line: a word with its marks, or a letter where words have no spaces."""

    start: float
    end: float
    text: str
    is_spaced: bool  # from what is before it


def _pieces(segment: Segment) -> list[_Piece]:
    if segment.words:
        timed = [Cue(word.start, max(word.start, word.end), word.word) for word in segment.words]
        # A worker's words are its text; where they are not, the text is right.
        if "".join("".join(cue.text for cue in timed).split()) == "".join(segment.text.split()):
            return _joined(timed)
    text = segment.text.strip()
    length_s = max(segment.end - segment.start, 0.0)
    if length_s > LONGEST_S and len(text) < _SLOWEST * length_s and _width(text) <= LINE:
        length_s = LONGEST_S
    step = length_s / max(len(text), 1)
    shared = [
        Cue(segment.start + found.start() * step, segment.start + found.end() * step, found[0])
        for found in re.finditer(r"\s*\S", text)
    ]
    return _joined(shared)


def _joined(timed: Sequence[Cue]) -> list[_Piece]:
    """The pieces of which none begins in the middle of a word."""
    pieces: list[_Piece] = []
    is_spaced = False
    for start, end, text in timed:
        bare = " ".join(text.split())
        is_spaced = is_spaced or text[:1].isspace()
        if not bare:
            continue
        if pieces and not is_spaced and not _may_part(pieces[-1].text[-1], bare[0]):
            last = pieces[-1]
            pieces[-1] = last._replace(end=max(last.end, end), text=last.text + bare)
        else:
            pieces.append(_Piece(start, end, bare, is_spaced and bool(pieces)))
        is_spaced = text[-1:].isspace()
    return pieces


def _may_part(before: str, after: str) -> bool:
    """Whether a line may end between two letters that no space is between, as in Chinese and Thai."""
    is_unspaced = _is_unspaced(before) or _is_unspaced(after)
    return is_unspaced and unicodedata.category(after)[0] not in "MP" and unicodedata.category(before) != "Ps"


def _is_unspaced(letter: str) -> bool:
    return _is_wide(letter) or "\u0e00" <= letter <= "\u0eff" or "\u1000" <= letter <= "\u109f"


def _is_wide(letter: str) -> bool:
    return unicodedata.east_asian_width(letter) in "WF" and not "\uac00" <= letter <= "\ud7a3"


def _narrow(piece: _Piece) -> Iterator[_Piece]:
    """A piece that is wider than a line, as an address is, in parts that are not."""
    parts = list(_parts(piece.text))
    step = (piece.end - piece.start) / len(piece.text)
    at = 0
    for number, part in enumerate(parts):
        start = piece.start + at * step
        at += len(part)
        end = piece.end if number == len(parts) - 1 else piece.start + at * step
        yield _Piece(start, end, part, piece.is_spaced and number == 0)


def _parts(text: str) -> Iterator[str]:
    part = ""
    for letter in text:
        if _width(part + letter) > LINE:
            yield part
            part = ""
        part += letter
    yield part


def _width(text: str) -> int:
    return sum(2 if unicodedata.east_asian_width(letter) in "WF" else 1 for letter in text)


class _Row:
    """Pieces in a row, and how wide any of them are together."""

    def __init__(self, pieces: Sequence[_Piece]) -> None:
        self.pieces = pieces
        self._widths = list(accumulate((_width(piece.text) for piece in pieces), initial=0))
        self._spaces = list(accumulate((int(piece.is_spaced) for piece in pieces), initial=0))

    def width(self, first: int, after: int) -> int:
        return self._widths[after] - self._widths[first] + self._spaces[after] - self._spaces[first + 1]

    def fits(self, first: int, after: int) -> bool:
        """Whether they may be one subtitle.  One alone always does: it has a line's width, and is cut short in time."""
        if after - first > 1 and self.pieces[after - 1].end - self.pieces[first].start > LONGEST_S:
            return False
        return self.width(first, after) <= LINE or any(self._halves(first, after))

    def text(self, first: int, after: int) -> str:
        """In one line, or in two that are alike and part where a clause ends."""
        if self.width(first, after) <= LINE:
            return self._line(first, after)
        cost = {
            place: abs(self.width(first, place) - self.width(place, after)) / LINE + self.break_cost(place) / 3
            for place in self._halves(first, after)
        }
        place = min(cost, key=cost.__getitem__)
        return f"{self._line(first, place)}\n{self._line(place, after)}"

    def break_cost(self, place: int) -> float:
        """What it costs to part before the piece at `place`."""
        before = self.pieces[place - 1].text
        last = (before.rstrip("".join(_CLOSING)) or before)[-1]
        if last in _SENTENCE_END:
            return 0.0
        return _AT_CLAUSE if last in _CLAUSE_END else _IN_CLAUSE

    def _halves(self, first: int, after: int) -> Iterator[int]:
        for place in range(first + 1, after):
            if self.width(first, place) > LINE:
                return
            if self.width(place, after) <= LINE:
                yield place

    def _line(self, first: int, after: int) -> str:
        texts = [f" {piece.text}" if piece.is_spaced else piece.text for piece in self.pieces[first:after]]
        return "".join(texts).lstrip()


def _cut(row: _Row) -> list[tuple[int, int]]:
    """Where each subtitle begins and ends, for the least cost of all."""
    count = len(row.pieces)
    best: list[tuple[float, int]] = [(0.0, 0)]  # of the pieces up to here: the cost, and where the last one begins
    for after in range(1, count + 1):
        options = []
        for first in range(after - 1, -1, -1):
            if not row.fits(first, after):
                break
            slack = 1 - min(row.width(first, after) / (LINE * LINES), 1)
            end_cost = row.break_cost(after) if after < count else 0.0
            options.append((best[first][0] + _EACH + _UNEVEN * slack**2 + end_cost, first))
        best.append(min(options))
    found = []
    after = count
    while after:
        first = best[after][1]
        found.append((first, after))
        after = first
    return found[::-1]
