"""Write a transcript as a file.  Pure: text out.

For the same segments the text is that of Whisper's own command, byte for byte; SRT and VTT where a layout of Whisper's
or `keep_segments` is set, for a segment is too long to be read at once.  Four things differ where Whisper's file
could not be read back: `-->` and empty lines within a subtitle go, a segment without words keeps its text, a part that
is missing is marked in its place, and VTT escapes what its readers would take for a tag or a character reference.
"""

from __future__ import annotations

import html
import json as jsonlib
import math
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, fields
from itertools import chain
from typing import TYPE_CHECKING, Any

from vidctl.errors import UsageError
from vidctl.tasks.transcribe.cues import Cue, readable

if TYPE_CHECKING:  # which imports this module
    from vidctl.tasks.transcribe.model import Gap, Segment, Transcript

_UNLIMITED = 1000  # Whisper's own: characters in a line, words in a subtitle
_LONG_PAUSE_S = 3.0

Spelled = Callable[[str], str]


@dataclass(frozen=True)
class Layout:
    """How words are laid out in SRT and VTT, with the names of Whisper's command; UsageError for what has no effect.

    Without a value of its own subtitles have two lines of 42 characters and 7 seconds at most; with `keep_segments`
    every segment is one subtitle, however long.
    """

    max_line_width: int | None = None
    max_line_count: int | None = None
    max_words_per_line: int | None = None
    highlight_words: bool = False
    keep_segments: bool = False

    def __post_init__(self) -> None:
        for name in ("max_line_width", "max_line_count", "max_words_per_line"):
            value = getattr(self, name)
            if value is not None and (isinstance(value, bool) or not isinstance(value, int) or value < 1):
                raise UsageError(f"invalid {name} {value}: expected a whole number above 0")
        if self.max_line_count is not None and self.max_line_width is None:
            raise UsageError("max_line_count: has no effect without max_line_width")
        if self.max_words_per_line is not None and self.max_line_width is not None:
            raise UsageError("max_words_per_line: has no effect with max_line_width")

    @property
    def of_words(self) -> tuple[str, ...]:
        """The names of what is set, which all need the times of words."""
        names = (each.name for each in fields(self) if each.name != "keep_segments")
        return tuple(name for name in names if getattr(self, name))

    @property
    def is_readable(self) -> bool:
        """Whether nothing else is asked for than subtitles that can be read."""
        return self == Layout()

    @property
    def joins_segments(self) -> bool:
        """Whether lines and subtitles are filled across the borders of segments."""
        return self.max_line_width is not None and self.max_line_count is not None


def txt(transcript: Transcript, _layout: Layout | None = None) -> str:
    """One line a segment."""
    return "".join(f"{cue.text}\n" for cue in _lines(transcript))


def srt(transcript: Transcript, layout: Layout | None = None) -> str:
    """SubRip subtitles.  Raise UsageError if the layout needs the times of words and there are none."""
    written = []
    for number, (start, end, text) in enumerate(_cues(transcript, layout or Layout()), start=1):
        written.append(f"{number}\n{_clock(start, ',', hours=True)} --> {_clock(end, ',', hours=True)}\n{text}\n\n")
    return "".join(written)


def vtt(transcript: Transcript, layout: Layout | None = None) -> str:
    """WebVTT subtitles.  Raise UsageError if the layout needs the times of words and there are none."""
    written = ["WEBVTT\n\n"]
    for start, end, text in _cues(transcript, layout or Layout(), _escaped):
        written.append(f"{_clock(start, '.', hours=False)} --> {_clock(end, '.', hours=False)}\n{text}\n\n")
    return "".join(written)


def tsv(transcript: Transcript, _layout: Layout | None = None) -> str:
    """`start`, `end` (in milliseconds) and `text`, separated by tabs, under a line with these names."""
    written = ["start\tend\ttext\n"]
    for start, end, text in _lines(transcript):
        written.append(f"{_milliseconds(start)}\t{_milliseconds(end)}\t{_FIELD_END.sub(' ', text)}\n")
    return "".join(written)


_FIELD_END = re.compile(r"[\t\r\n]")


def json(transcript: Transcript, _layout: Layout | None = None) -> str:
    """The JSON of Whisper's command, which has no name for some of what `Transcript.to_dict` gives; and `gaps`."""
    result: dict[str, Any] = {
        "text": "".join(segment.text for segment in transcript.segments),
        "segments": [_whisper_segment(segment) for segment in transcript.segments],
        "language": transcript.language,
    }
    if transcript.gaps:
        result["gaps"] = [gap.to_dict() for gap in transcript.gaps]
    return jsonlib.dumps(result)


def _whisper_segment(segment: Segment) -> dict[str, Any]:
    known = {"tokens": [], **segment.to_dict()}
    return {name: known[name] for name in _WHISPER_FIELDS if name in known}


# The fields that Whisper gives a segment, in its order.
_WHISPER_FIELDS = (
    "id", "seek", "start", "end", "text", "tokens", "temperature", "avg_logprob", "compression_ratio", "no_speech_prob",
    "words",
)  # fmt: skip


def _clock(seconds: float, mark: str, *, hours: bool) -> str:
    """`MM:SS.mmm`, with `HH:` in front where `hours` says so or there are any."""
    rest, milliseconds = divmod(_milliseconds(seconds), 1000)
    rest, second = divmod(rest, 60)
    hour, minute = divmod(rest, 60)
    front = f"{hour:02d}:" if hours or hour else ""
    return f"{front}{minute:02d}:{second:02d}{mark}{milliseconds:03d}"


def _milliseconds(seconds: float) -> int:
    return round(1000 * seconds)


def _lines(transcript: Transcript) -> Iterator[Cue]:
    """Each segment, and each gap in its place."""
    for segments, gap in _runs(transcript):
        yield from map(_whole, segments)
        if gap is not None:
            yield _missing(gap)


def _runs(transcript: Transcript) -> Iterator[tuple[list[Segment], Gap | None]]:
    """The segments up to each gap with that gap, then the rest."""
    run: list[Segment] = []
    gaps = list(transcript.gaps)
    for segment in transcript.segments:
        while gaps and gaps[0].start <= segment.start:
            yield run, gaps.pop(0)
            run = []
        run.append(segment)
    for gap in gaps:
        yield run, gap
        run = []
    yield run, None


def _whole(segment: Segment) -> Cue:
    return Cue(segment.start, segment.end, segment.text.strip())


def _missing(gap: Gap) -> Cue:
    reason = " ".join(gap.error.message.split())
    return Cue(gap.start, gap.end, f"[missing: this part could not be transcribed: {reason}]")


def _cues(transcript: Transcript, layout: Layout, spelled: Spelled = str) -> Iterator[Cue]:
    """The subtitles: out of words where there are any, else one a segment; and one for each gap.

    `spelled` writes their text as the format has it.
    """
    has_words = any(segment.words is not None for segment in transcript.segments)
    if layout.of_words and transcript.segments and not has_words:
        raise UsageError(
            f"{layout.of_words[0]}: needs word timestamps, and there are none", hint="transcribe with word timestamps"
        )
    for segments, gap in _runs(transcript):
        if layout.is_readable:
            cues: Iterable[Cue] = _spelled(chain.from_iterable(map(readable, segments)), spelled)
        elif has_words:
            cues = _word_cues(segments, layout, spelled)
        else:
            cues = _spelled(map(_whole, segments), spelled)
        for cue in chain(cues, _spelled([] if gap is None else [_missing(gap)], spelled)):
            yield cue._replace(text=_unbroken(cue.text))


def _spelled(cues: Iterable[Cue], spelled: Spelled) -> Iterator[Cue]:
    return (cue._replace(text=spelled(cue.text)) for cue in cues)


def _escaped(text: str) -> str:
    """As WebVTT has it; a reader drops `<enter>`, and all after the sign in `a < b`."""
    return _REFERENCE.sub(_reference, text).replace("<", "&lt;")


_REFERENCE = re.compile(r"&#?\w+;?")


def _reference(found: re.Match[str]) -> str:
    return found[0] if html.unescape(found[0]) == found[0] else f"&amp;{found[0][1:]}"


def _unbroken(text: str) -> str:
    """Without what ends a subtitle early: an arrow as between its times, an empty line."""
    return _EMPTY_LINES.sub("\n", _ARROW.sub("->", text))


_ARROW = re.compile(r"-{2,}>")
_EMPTY_LINES = re.compile(r"[\r\n]\s*[\r\n]")


def _word_cues(segments: Sequence[Segment], layout: Layout, spelled: Spelled) -> Iterator[Cue]:
    for words in _subtitles(segments, layout):
        if layout.highlight_words:
            yield from _highlighted([word._replace(text=spelled(word.text)) for word in words])
        else:
            yield Cue(words[0].start, words[-1].end, spelled(_joined(words)))


def _joined(words: Sequence[Cue]) -> str:
    return "".join(word.text for word in words)


def _highlighted(words: Sequence[Cue]) -> Iterator[Cue]:
    """The same text once for each of its words, underlined, and once for each pause between them."""
    shown_until = words[0].start
    for place, word in enumerate(words):
        if _milliseconds(shown_until) != _milliseconds(word.start):
            yield Cue(shown_until, word.start, _joined(words))
        bare = word.text.lstrip()
        space = word.text[: len(word.text) - len(bare)]
        text = f"{_joined(words[:place])}{space}<u>{bare}</u>{_joined(words[place + 1 :])}"
        yield Cue(word.start, word.end, text)
        shown_until = word.end


def _subtitles(segments: Sequence[Segment], layout: Layout) -> Iterator[list[Cue]]:
    """The words of each subtitle, broken into lines."""
    width = layout.max_line_width or _UNLIMITED
    subtitle: list[Cue] = []
    lines, length, last_start = 1, 0, math.inf
    for word, is_first in _words(segments, layout):
        has_paused = layout.joins_segments and word.start - last_start > _LONG_PAUSE_S
        last_start = word.start
        if 0 < length <= width - len(word.text) and not has_paused and not is_first:
            subtitle.append(word)
            length += len(word.text)
            continue
        text = word.text.strip()
        if subtitle and (is_first or has_paused or lines >= (layout.max_line_count or math.inf)):
            yield subtitle
            subtitle, lines = [], 1
        elif length > 0:
            text = f"\n{text}"
            lines += 1
        subtitle.append(word._replace(text=text))
        length = len(text.strip())
    if subtitle:
        yield subtitle


def _words(segments: Sequence[Segment], layout: Layout) -> Iterator[tuple[Cue, bool]]:
    """Every word, and whether a subtitle begins with it whatever room there is."""
    step = layout.max_words_per_line or _UNLIMITED
    for segment in segments:
        words = [Cue(word.start, word.end, word.word) for word in segment.words or ()]
        if not words and segment.text.strip():
            words = [Cue(segment.start, segment.end, segment.text)]
        for place, word in enumerate(words):
            yield word, place % step == 0 and not layout.joins_segments
