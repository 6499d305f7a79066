"""Transcripts as files: byte for byte what Whisper's own command writes, and readable whatever a model says."""

from __future__ import annotations

import html
import json
import re
from dataclasses import replace
from itertools import pairwise

import pysubs2
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support import openai_whisper
from support.failing import failing

from vidctl.errors import JobFailedError
from vidctl.tasks.transcribe.cues import readable
from vidctl.tasks.transcribe.formats import FORMATS, TranscriptContext
from vidctl.tasks.transcribe.model import Gap, Segment, Transcript, Word
from vidctl.tasks.transcribe.subtitles import Layout

SEGMENTS = Layout(keep_segments=True)


def transcript(*segments: Segment, gaps: tuple[Gap, ...] = ()) -> Transcript:
    return Transcript("talk.mp3", 60.0, "en", 0.9, tuple(replace(each, id=n) for n, each in enumerate(segments)), gaps)


def written(form: str, result: Transcript, layout: Layout) -> str:
    return FORMATS[form].write([result], TranscriptContext(layout))


def spoken(start: float, *words: str) -> Segment:
    """A segment whose words last half a second each."""
    timed = tuple(Word(word, start + n / 2, start + n / 2 + 0.5, 0.9) for n, word in enumerate(words))
    return Segment(0, start, start + len(words) / 2, "".join(words), words=timed)


def gap(start: float, end: float, message: str = "the worker died") -> Gap:
    return Gap(start, end, JobFailedError(message))


def whispers(result: Transcript) -> dict[str, object]:
    """The same transcript as whisper itself holds it."""
    segments = []
    for each in result.segments:
        segment = {
            "id": each.id,
            "seek": each.seek,
            "start": each.start,
            "end": each.end,
            "text": each.text,
            "tokens": list(each.tokens),
            "temperature": each.temperature,
            "avg_logprob": each.avg_logprob,
            "compression_ratio": each.compression_ratio,
            "no_speech_prob": each.no_speech_prob,
        }
        if each.words is not None:
            segment["words"] = [
                {"word": word.word, "start": word.start, "end": word.end, "probability": word.probability}
                for word in each.words
            ]
        segments.append(segment)
    return {"text": "".join(each.text for each in result.segments), "segments": segments, "language": result.language}


# What a model says when nothing is wrong: any letters and marks, no control characters, no arrow of subtitles.
# Nor what VTT escapes, where we differ.
letters = st.characters(exclude_categories=("C", "Z"), exclude_characters="<>&")
bare_words = st.text(letters, min_size=1, max_size=12)
words = st.tuples(st.sampled_from([" ", " ", " ", "", "  "]), bare_words, st.sampled_from(["", "", "", " ", "\t"])).map(
    "".join
)
pauses = st.sampled_from([0.0, 0.0, 0.0001, 0.1, 0.25, 1.0, 3.0, 3.01, 8.0, 4000.0])
lengths = st.floats(0, 30)
fractions = st.floats(0, 1)


@st.composite
def segments_of(draw, *, with_words: bool) -> list[Segment]:
    now = draw(st.sampled_from([0.0, 0.0, 12.34, 3590.0]))
    segments = []
    for number in range(draw(st.integers(0, 5))):
        timed = []
        for word in draw(st.lists(words, min_size=1, max_size=8)):
            start = now + draw(pauses)
            now = start + draw(lengths)
            timed.append(Word(word, start, now, draw(fractions)))
        segments.append(
            Segment(
                number,
                timed[0].start,
                timed[-1].end,
                "".join(word.word for word in timed),
                avg_logprob=-draw(fractions),
                no_speech_prob=draw(fractions),
                compression_ratio=draw(st.floats(0, 5)),
                temperature=draw(st.sampled_from([0.0, 0.2])),
                seek=draw(st.integers(0, 10**6)),
                tokens=tuple(draw(st.lists(st.integers(0, 51_865), max_size=5))),
                words=tuple(timed) if with_words else None,
            )
        )
    return segments


line_widths = st.integers(1, 60)
layouts = st.one_of(
    st.builds(Layout, highlight_words=st.booleans(), keep_segments=st.just(True)),
    st.builds(Layout, max_line_width=line_widths, highlight_words=st.booleans()),
    st.builds(Layout, max_line_width=line_widths, max_line_count=st.integers(1, 4), highlight_words=st.booleans()),
    st.builds(Layout, max_words_per_line=st.integers(1, 10), highlight_words=st.booleans()),
)


@pytest.mark.model
@pytest.mark.parametrize("form", FORMATS)
@given(segments=segments_of(with_words=False))
def test_files_equal_whispers_own(form, segments):
    """Every format, whatever was said and when."""
    result = transcript(*segments)

    assert openai_whisper.written(form, whispers(result)) == written(form, result, SEGMENTS)


@pytest.mark.model
@pytest.mark.parametrize("form", FORMATS)
@given(segments=segments_of(with_words=True), layout=layouts)
def test_files_out_of_words_equal_whispers_own(form, segments, layout):
    """With the times of words, in every layout that whisper's command knows."""
    result = transcript(*segments)
    options = {name: getattr(layout, name) for name in Layout.__dataclass_fields__}

    assert openai_whisper.written(form, whispers(result), **options) == written(form, result, layout)


@pytest.mark.model
@pytest.mark.parametrize("layout", [{"keep_segments": True}, {"max_words_per_line": 300}])
def test_a_segment_of_a_thousand_words_equals_whispers_own(layout):
    """Whisper ends a subtitle after a thousand words, and a line after a thousand characters."""
    result = transcript(spoken(0.0, *(f" w{n}" for n in range(1234))), spoken(700.0, " end."))

    assert openai_whisper.written("srt", whispers(result), **layout) == result.to_srt(**layout)


@pytest.mark.model
@pytest.mark.parametrize("form", FORMATS)
def test_silence_equals_whispers_own(form):
    """A file with nothing in it, but the head that its format has."""
    assert openai_whisper.written(form, whispers(transcript())) == written(form, transcript(), SEGMENTS)


@pytest.mark.model
def test_whisper_has_the_same_formats():
    """No more and no fewer."""
    assert {"txt", "srt", "vtt", "tsv", "json"} == set(FORMATS)
    assert callable(openai_whisper.writers().get_writer("all", ""))


@pytest.mark.parametrize(
    ("options", "facts"),
    [
        ({"max_line_count": 2}, ("max_line_count", "without max_line_width")),
        ({"max_words_per_line": 2, "max_line_width": 40}, ("max_words_per_line", "with max_line_width")),
        ({"max_line_width": 0}, ("max_line_width 0", "above 0")),
        ({"max_words_per_line": True}, ("max_words_per_line True", "above 0")),
        ({"max_line_width": 40.5}, ("max_line_width 40.5", "above 0")),
    ],
)
def test_a_layout_without_effect_is_a_usage_error(options, facts):
    """What whisper's command warns of, or leaves to chance."""
    with failing("usage_error", *facts):
        Layout(**options)


@pytest.mark.parametrize("form", ["srt", "vtt"])
def test_a_layout_of_words_needs_words(form):
    """As whisper's command says of each such option; a file without any segment has nothing to lay out."""
    silent = written(form, transcript(), Layout(highlight_words=True))

    assert written(form, transcript(), SEGMENTS) == silent
    with failing("usage_error", "highlight_words", "word timestamps"):
        written(form, transcript(Segment(0, 0.0, 1.0, " Hi.")), Layout(highlight_words=True))


def test_a_segment_without_words_keeps_its_text():
    """A worker may find no words in one of many segments."""
    result = transcript(spoken(0.0, " One", " two."), Segment(0, 1.0, 2.0, " Hm."), spoken(2.0, " Three."))

    expected = [("One two.", 0, 1000), ("Hm.", 1000, 2000), ("Three.", 2000, 2500)]
    assert expected == [(cue.text, cue.start, cue.end) for cue in read(result.to_srt())]


GAPPED = transcript(
    Segment(0, 0.0, 4.0, " Before."),
    Segment(0, 20.0, 21.0, " After."),
    gaps=(gap(10.0, 20.0), gap(30.0, 60.0, "no\n\nGPU")),
)
DIED = "[missing: this part could not be transcribed: the worker died]"
NO_GPU = "[missing: this part could not be transcribed: no GPU]"


def test_a_gap_is_told_in_its_place():
    """In every format: a line, a subtitle with its times, a row, an entry of a list."""
    expected = [("Before.", 0, 4000), (DIED, 10000, 20000), ("After.", 20000, 21000), (NO_GPU, 30000, 60000)]

    assert "".join(f"{text}\n" for text, _, _ in expected) == GAPPED.to_txt()
    assert "".join(f"{start}\t{end}\t{text}\n" for text, start, end in [("text", "start", "end"), *expected]) == (
        GAPPED.to_tsv()
    )
    for subtitles in (GAPPED.to_srt(), GAPPED.to_vtt()):
        assert expected == [(cue.text, cue.start, cue.end) for cue in read(subtitles)]
    assert [
        {"start": 10.0, "end": 20.0, "error": "the worker died", "code": "job_failed"},
        {"start": 30.0, "end": 60.0, "error": "no\n\nGPU", "code": "job_failed"},
    ] == json.loads(GAPPED.to_json())["gaps"]


def test_no_subtitle_reaches_across_a_gap():
    """Lines are filled up to it and begin anew behind it."""
    result = transcript(spoken(0.0, " a", " b"), spoken(5.0, " c"), spoken(6.0, " d"), gaps=(gap(2.0, 5.0),))

    cues = read(result.to_srt(max_line_width=40, max_line_count=2))

    assert ["a b", DIED, "c d"] == [cue.text for cue in cues]


def test_gaps_alone_are_a_file():
    """Where every part is missing."""
    assert f"1\n00:00:00,000 --> 00:01:00,000\n{DIED}\n\n" == transcript(gaps=(gap(0.0, 60.0),)).to_srt()


def read(subtitles: str) -> list[pysubs2.SSAEvent]:
    return list(pysubs2.SSAFile.from_string(subtitles))


LONG = (
    " It is a truth universally acknowledged, that a single man in possession of a good fortune, must be in want of a "
    "wife. However little known the feelings or views of such a man may be on his first entering a neighbourhood, this "
    "truth is so well fixed in the minds of the surrounding families, that he is considered as the rightful property."
)


def cut(subtitles: str) -> list[tuple[float, float, list[str]]]:
    """The subtitles of a file, as (start, end, lines)."""
    return [(cue.start / 1000, cue.end / 1000, cue.text.split("\\N")) for cue in read(subtitles)]


@pytest.mark.parametrize("has_words", [True, False])
def test_a_subtitle_can_be_read(has_words):
    """One of 330 characters and 28 s was one; two lines of 42 and 7 s are what a viewer can take in."""
    words = tuple(f" {word}" for word in LONG.split())
    segment = spoken(0.0, *words)
    segment = segment if has_words else replace(segment, words=None)

    found = cut(transcript(segment).to_srt())

    assert LONG.split() == " ".join(line for _, _, lines in found for line in lines).split()
    assert all(len(lines) <= 2 and all(len(line) <= 42 for line in lines) for _, _, lines in found)
    assert all(0 < end - start <= 7 for start, end, _ in found)
    assert all(before[1] <= after[0] for before, after in pairwise(found))
    assert sum(lines[-1][-1] in ".," for _, _, lines in found) >= 4
    if has_words:
        starts = {word.start for word in segment.words}
        assert {start for start, _, _ in found} <= starts


def test_subtitles_end_where_clauses_do():
    """Not where they are full."""
    segment = Segment(
        0, 0.0, 9.0, " When the rain had stopped, we went out to see the river. It was higher than ever before."
    )

    assert [
        ["When the rain had stopped,", "we went out to see the river."],
        ["It was higher than ever before."],
    ] == [lines for _, _, lines in cut(transcript(segment).to_srt())]


def test_what_fits_is_one_subtitle():
    """With its own times."""
    segment = Segment(0, 1.0, 4.5, " Short and good.")

    assert [(1.0, 4.5, ["Short and good."])] == cut(transcript(segment).to_srt())


def test_little_that_takes_long_is_not_drawn_out():
    """A segment without words may reach far beyond what is said in it."""
    assert [(0.0, 7.0, ["Oh no."])] == cut(transcript(Segment(0, 0.0, 29.0, " Oh no.")).to_srt())


def test_text_without_spaces_is_cut_too():
    """Of Chinese and Japanese half as many letters are as wide; no line begins with a mark."""
    text = (
        "今日はとてもいい天気ですから、公園まで散歩に行きましょう。"
        "そのあとで一緒に昼ご飯を食べて、映画を見るのはどうですか。"
    )
    found = cut(transcript(Segment(0, 0.0, 12.0, text)).to_vtt())

    assert text == "".join(line for _, _, lines in found for line in lines)
    assert all(len(lines) <= 2 and all(len(line) <= 21 for line in lines) for _, _, lines in found)
    assert [] == [lines for _, _, lines in found if any(line[0] in "、。" for line in lines)]
    assert {"。"} == {lines[-1][-1] for _, _, lines in found}


@given(segments_of(with_words=True), st.booleans())
def test_every_text_is_cut_without_a_loss(segments, has_words):
    """Whatever is said: all of it, in order, within the limits."""
    result = transcript(*(each if has_words else replace(each, words=None) for each in segments))

    found = [cue for each in result.segments for cue in readable(each)]

    assert "".join("".join(each.text.split()) for each in segments) == "".join(
        "".join(cue.text.split()) for cue in found
    )
    assert all(cue.text.count("\n") <= 1 and max(map(len, cue.text.split("\n"))) <= 42 for cue in found)
    assert all(cue.end - cue.start <= 7.001 for cue in found)


@pytest.mark.parametrize("layout", [{}, {"keep_segments": True}, {"max_line_width": 42}, {"highlight_words": True}])
def test_nothing_is_lost_to_a_reader_of_vtt(layout):
    """A tag, a sign and a character reference are what somebody said."""
    said = ["Press", "<enter>", "if", "a", "<", "b", "&", "c", "&amp;", "AT&T", "&lt;u&gt;"]
    text = transcript(spoken(0.0, *(f" {word}" for word in said))).to_vtt(**layout)

    shown = [html.unescape(re.sub(r"<[^>]*>", "", block.split("\n", 1)[1])) for block in text.split("\n\n")[1:-1]]

    assert "AT&T" in text  # what no reader takes for something else stays as Whisper has it
    assert said == " ".join(shown if "highlight_words" not in layout else shown[:1]).split()


def test_srt_has_no_escapes():
    """None that players know."""
    assert "Press <enter> & wait" in transcript(Segment(0, 0.0, 1.0, " Press <enter> & wait")).to_srt()


# What ends a subtitle, or a line of one, where it may not.
hostile = st.lists(st.sampled_from(["a", "1", "-", "-->", "\n", "\r", " ", "\t", "\x85", "<"]), max_size=8).map("".join)


@given(st.lists(hostile, max_size=4), st.lists(hostile, min_size=1, max_size=4), layouts)
def test_no_text_breaks_a_subtitle(before, then, layout):
    """However a model's words are made: as many subtitles are read as were written, each with its own times."""
    result = transcript(spoken(0.0, *before), spoken(100.0, *then))

    for form, head in (("srt", ""), ("vtt", "WEBVTT\n\n")):
        text = written(form, result, layout).removeprefix(head)
        blocks = text.split("\n\n")[:-1]

        assert len(blocks) == text.count(" --> ") == text.count("-->")


@given(st.lists(hostile, min_size=1, max_size=4))
def test_no_text_breaks_a_row(texts):
    """As many rows as segments, each of three fields."""
    result = transcript(*(Segment(0, float(n), n + 1.0, text) for n, text in enumerate(texts)))

    rows = result.to_tsv().removesuffix("\n").split("\n")

    assert [3] * (len(texts) + 1) == [len(row.split("\t")) for row in rows]
