"""Where speech is, packed into windows for the model, and the way back: from a window's words to the source's segments.

Silence costs a model as much as speech, and tempts it to invent.  So speech is cut out, and its pieces are put together
until a window is full; a `Piece` remembers where in the source its part of the window came from.
"""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass, replace
from itertools import groupby, pairwise
from operator import itemgetter
from typing import TYPE_CHECKING

import numpy as np
from audio import SAMPLE_RATE

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from jobinput import Options
    from numpy.typing import NDArray

    Samples = NDArray[np.float32]
    # Finds where voices are, as (start, end) in samples, by faster-whisper's VadOptions.
    FindVoices = Callable[[Samples, Mapping[str, float]], list[tuple[int, int]]]

VAD = {"min_silence_duration_ms": 160.0, "speech_pad_ms": 400.0}  # faster-whisper's own for batches
UNSURE_MS = 500  # at the end of a block, beside the silence that must follow
ONSET_S = 0.3  # a first word this close to where speech begins begins there
OVERLAP_S = 0.05  # by which a word may reach into the speech after its own
SHORTEST_S, SLOWEST_S = 0.01, 0.5  # words that the model failed to place
SENTENCE_PAUSE_S = 0.15
PAUSE_S = 1.0  # ends a segment without a full stop too
LONGEST_S = 15.0
COMMA_S = 0.5  # a comma is as good a place to cut as this much silence

LOST_S = 3.0  # of speech after a window's last word: the model ended early
FASTEST = 10.0  # words a second; where there are more the model failed to place them, and none may be missing

_SENTENCE_ENDS = tuple(".?!…。？！")
_NO_ENDS = ("Mr.", "Mrs.", "Ms.", "Dr.", "St.", "Prof.")  # a name follows, now and then after a breath
_COMMAS = tuple(",;:、，；：")
_CLOSING = "\"'”’»)]」』）"


@dataclass(frozen=True)
class Piece:
    """A part of a window: where it begins in the source and in the window, how long it is, where its speech begins."""

    source_s: float
    window_s: float
    length_s: float
    speech_s: float


@dataclass(frozen=True, eq=False)
class Window:
    """Pieces of speech in a row, at most 30 seconds, as 16 kHz mono samples."""

    samples: Samples
    pieces: tuple[Piece, ...]

    @property
    def start_s(self) -> float:
        return self.pieces[0].source_s

    @property
    def end_s(self) -> float:
        return self.pieces[-1].source_s + self.pieces[-1].length_s


@dataclass(frozen=True)
class Word:
    """One word, with the space before it."""

    word: str
    start_s: float
    end_s: float
    probability: float


@dataclass(frozen=True, eq=False)
class _Cut:
    """Samples of the source from `start` on; speech begins at `speech`.  Both count samples."""

    start: int
    speech: int
    samples: Samples


def windows(blocks: Iterable[Samples], options: Options, find_voices: FindVoices) -> Iterator[Window]:
    """Pack what is spoken into windows; holds no more than a block and a window, however long the audio."""
    limit = options.chunk_length * SAMPLE_RATE
    if options.clip_timestamps:
        cuts = _at_quiet_moments(_clipped(blocks, options.clip_timestamps), limit)
    elif options.vad_filter:
        cuts = _spoken(blocks, {**VAD, **dict(options.vad_parameters)}, limit, find_voices)
    else:
        cuts = _at_quiet_moments(_numbered(blocks), limit)
    return _packed(cuts, limit)


def _spoken(blocks: Iterable[Samples], vad: Mapping[str, float], limit: int, find_voices: FindVoices) -> Iterator[_Cut]:
    """Cut out where voices are; what comes near the end of a block is looked at again with the next."""
    pad = min(_samples(vad["speech_pad_ms"]), limit // 4)
    shortest_ms = vad.get("min_speech_duration_ms", 0)  # what is not that long yet may become so in the next block
    unsure = _samples(vad["min_silence_duration_ms"] + shortest_ms + UNSURE_MS) + 2 * pad
    # Without the detector's own padding, after which it no longer says where speech begins.
    bare = {**vad, "speech_pad_ms": 0}
    start, held = 0, np.zeros(0, np.float32)
    for block in blocks:
        held = np.concatenate([held, block])
        sure = len(held) - unsure
        keep = max(0, sure)
        for cut in _padded(held, find_voices(held, bare), pad, limit):
            end = cut.start + len(cut.samples)
            if end > sure:
                keep = cut.start
                break
            keep = max(keep, end)
            yield replace(cut, start=start + cut.start, speech=start + cut.speech)
        start, held = start + keep, held[keep:]
    for cut in _padded(held, find_voices(held, bare), pad, limit):
        yield replace(cut, start=start + cut.start, speech=start + cut.speech)


def _padded(samples: Samples, voices: Sequence[tuple[int, int]], pad: int, limit: int) -> Iterator[_Cut]:
    """Take some silence around each voice; where two are near each other, each has half of what is between them.

    A voice that does not pause for longer than a window is cut where it is quietest: the detector would cut its words.
    """
    middles = ((one[1] + other[0]) // 2 for one, other in pairwise(voices))
    for (start, end), (low, high) in zip(voices, pairwise([0, *middles, len(samples)]), strict=False):
        first, last = max(low, start - pad), min(high, end + pad)
        yield from _shortened(_Cut(first, start, samples[first:last]), limit)


def _shortened(cut: _Cut, limit: int) -> Iterator[_Cut]:
    while len(cut.samples) > limit:
        length = _quietest(cut.samples[:limit])
        yield replace(cut, samples=cut.samples[:length])
        cut = _Cut(cut.start + length, cut.start + length, cut.samples[length:])
    yield cut


def _samples(milliseconds: float) -> int:
    return round(milliseconds * SAMPLE_RATE / 1000)


def _numbered(blocks: Iterable[Samples]) -> Iterator[tuple[int, Samples]]:
    at = 0
    for block in blocks:
        yield at, block
        at += len(block)


def _clipped(blocks: Iterable[Samples], clips: Sequence[tuple[float, float | None]]) -> Iterator[tuple[int, Samples]]:
    """Give the parts of the blocks that lie in `clips`, each with its place in the source."""
    for at, block in _numbered(blocks):
        for start_s, end_s in clips:
            first = max(at, _samples(start_s * 1000))
            last = at + len(block) if end_s is None else min(at + len(block), _samples(end_s * 1000))
            if first < last:
                yield first, block[first - at : last - at]


def _at_quiet_moments(parts: Iterable[tuple[int, Samples]], limit: int) -> Iterator[_Cut]:
    """Cut what follows on each other into lengths up to `limit`, where it is quietest."""
    start, held = 0, np.zeros(0, np.float32)
    for at, samples in parts:
        if at != start + len(held):
            if len(held):
                yield _Cut(start, start, held)
            start, held = at, samples
        else:
            held = np.concatenate([held, samples])
        *sure, last = _shortened(_Cut(start, start, held), limit)
        yield from sure
        start, held = last.start, last.samples
    if len(held):
        yield _Cut(start, start, held)


def _quietest(samples: Samples) -> int:
    """Find the middle of the quietest tenth of a second in the last third."""
    tenth = min(SAMPLE_RATE // 10, len(samples) // 3)
    count = len(samples) // 3 // tenth
    tail = samples[len(samples) - count * tenth :].reshape(count, tenth)
    return len(samples) - len(tail) * tenth + int(np.square(tail).sum(axis=1).argmin()) * tenth + tenth // 2


def halves(window: Window) -> tuple[Samples, Samples]:
    """Cut a window near its middle, where it is quietest."""
    middle = _quietest(window.samples[: len(window.samples) * 3 // 5])
    return window.samples[:middle], window.samples[middle:]


def unheard_from(words: Sequence[Word], window: Window) -> float | None:
    """From which second of the window on there is speech that nothing was heard of; None if there is hardly any."""
    if not words or len(words) > FASTEST * words[-1].end_s:
        return None
    end_s = words[-1].end_s
    lost_s = 0.0
    for piece in window.pieces:
        before_s = piece.speech_s - piece.source_s  # silence, as there is after the speech
        since_s = max(piece.window_s + before_s, end_s)
        lost_s += max(0.0, piece.window_s + piece.length_s - before_s - since_s)
    return end_s if lost_s >= LOST_S else None


def _packed(cuts: Iterable[_Cut], limit: int) -> Iterator[Window]:
    held: list[_Cut] = []
    length = 0
    for cut in cuts:
        if held and length + len(cut.samples) > limit:
            yield _window(held)
            held, length = [], 0
        held.append(cut)
        length += len(cut.samples)
    if held:
        yield _window(held)


def _window(cuts: Sequence[_Cut]) -> Window:
    pieces, length = [], 0
    for cut in cuts:
        seconds = (one / SAMPLE_RATE for one in (cut.start, length, len(cut.samples), cut.speech))
        pieces.append(Piece(*seconds))
        length += len(cut.samples)
    return Window(np.concatenate([cut.samples for cut in cuts]), tuple(pieces))


def segments(words: Sequence[Word], window: Window) -> list[tuple[Word, ...]]:
    """Put a window's words into their places in the source, and together as they were spoken: sentence by sentence."""
    placed = _spread(_placed(words, window.pieces), window.pieces)
    groups: list[tuple[Word, ...]] = []
    first = 0
    for number, (word, piece) in enumerate(placed, 1):
        if number == len(placed) or _ends(word, piece, *placed[number]):
            groups.extend(_bounded([one for one, _ in placed[first:number]]))
            first = number
    return groups


def _placed(words: Sequence[Word], pieces: Sequence[Piece]) -> list[tuple[Word, int]]:
    """Give each word its times in the source, never backwards nor in what was cut out, and its piece's number."""
    starts = [piece.window_s for piece in pieces]
    voices = [piece.window_s + piece.speech_s - piece.source_s + OVERLAP_S for piece in pieces]
    placed: list[tuple[Word, int]] = []
    number, earliest_s = -1, 0.0
    for word in words:
        # Words at a cut reach into the other piece.  One belongs where its middle is, and the model lets the first
        # after a silence begin in it: one that ends in a piece's speech is of that piece.
        middle = bisect_right(starts, (word.start_s + word.end_s) / 2) - 1
        end = bisect_right(voices, word.end_s) - 1
        is_first = max(middle, end) > number
        number = max(number, middle, end, 0)
        piece = pieces[number]
        start_s, end_s = (_in_source(at_s, piece) for at_s in (word.start_s, word.end_s))
        if is_first and start_s < piece.speech_s + ONSET_S and end_s > piece.speech_s:
            start_s = piece.speech_s
        start_s = max(start_s, earliest_s)
        earliest_s = max(end_s, start_s)
        placed.append((replace(word, start_s=start_s, end_s=earliest_s), number))
    return placed


def _spread(placed: Sequence[tuple[Word, int]], pieces: Sequence[Piece]) -> list[tuple[Word, int]]:
    """Share out the time around words without length, which the model failed to place, within their pieces."""
    spread: list[tuple[Word, int]] = []
    for number, group in groupby(placed, key=itemgetter(1)):
        words = [word for word, _ in group]
        piece = pieces[number]
        spread.extend((word, number) for word in _with_lengths(words, piece.speech_s, piece.source_s + piece.length_s))
    return spread


def _with_lengths(words: Sequence[Word], start_s: float, end_s: float) -> list[Word]:
    """Give a run of words without length the time up to the next word; where that is none, that word shares its own.

    `start_s` and `end_s` are where their piece's speech begins and the piece ends.
    """
    done: list[Word] = []
    run: list[Word] = []
    for word, next_s in zip(words, [*(one.start_s for one in words[1:]), end_s], strict=True):
        is_placed = word.end_s - word.start_s >= SHORTEST_S
        if is_placed and not run:
            done.append(word)
            continue
        run.append(word)
        first_s, last_s = run[0].start_s, word.end_s if is_placed else next_s
        if last_s - first_s >= SHORTEST_S * len(run):
            done.extend(_evenly(run, first_s, min(last_s, first_s + SLOWEST_S * len(run))))
            run = []
    if run:
        free_s = done[-1].end_s if done else min(start_s, run[0].start_s)
        if done and end_s - free_s < SHORTEST_S * len(run):
            run.insert(0, done.pop())
            free_s = run[0].start_s
        done.extend(_evenly(run, max(free_s, min(run[0].start_s, end_s - SLOWEST_S * len(run))), end_s))
    return done


def _evenly(words: Sequence[Word], start_s: float, end_s: float) -> Iterator[Word]:
    edges = (start_s + (end_s - start_s) * number / len(words) for number in range(len(words) + 1))
    for word, (first_s, last_s) in zip(words, pairwise(edges), strict=True):
        yield replace(word, start_s=first_s, end_s=last_s)


def _in_source(window_s: float, piece: Piece) -> float:
    return piece.source_s + min(max(window_s - piece.window_s, 0.0), piece.length_s)


def _ends(word: Word, piece: int, following: Word, following_piece: int) -> bool:
    pause_s = following.start_s - word.end_s
    if pause_s >= PAUSE_S:
        return True
    text = word.word.strip()
    is_sentence = text.rstrip(_CLOSING).endswith(_SENTENCE_ENDS) and text not in _NO_ENDS
    return is_sentence and (pause_s >= SENTENCE_PAUSE_S or piece != following_piece)


def _bounded(words: Sequence[Word]) -> list[tuple[Word, ...]]:
    """Cut what is too long at its best pauses and commas, rather in the middle than at an end."""
    length_s = words[-1].end_s - words[0].start_s
    if length_s <= LONGEST_S or len(words) == 1:
        return [tuple(words)]
    middle_s = words[0].start_s + length_s / 2

    def merit(number: int) -> float:
        before, after = words[number - 1], words[number]
        comma_s = COMMA_S if before.word.endswith(_COMMAS) else 0.0
        return after.start_s - before.end_s + comma_s - abs(after.start_s - middle_s) / length_s

    cut = max(range(1, len(words)), key=merit)
    return [*_bounded(words[:cut]), *_bounded(words[cut:])]
