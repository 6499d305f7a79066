"""How the whisper worker packs speech into windows and makes segments out of words; pure, without its environment."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

RATE = 16_000
MINUTE_S = 60


@pytest.fixture(scope="module")
def speech(whisper_module):
    return whisper_module("speech")


@pytest.fixture(scope="module")
def windows(whisper_module, speech):
    """Pack an audio file that comes in blocks of so many seconds."""
    options = whisper_module("jobinput").Options

    def pack(samples, *, block_s=MINUTE_S, **wanted):
        step = round(block_s * RATE)
        blocks = (samples[at : at + step] for at in range(0, len(samples), step))
        return list(speech.windows(blocks, options(**wanted), voices))

    return pack


@pytest.fixture(scope="module")
def sentences(speech):
    """The texts of the segments that words become; a word is (text, start, end), all in one piece unless told."""

    def split(words, pieces=((0.0, 0.0, 30.0, 0.0),)):
        return ["".join(word.word for word in group) for group in segments(speech, words, pieces)]

    return split


def segments(speech, words, pieces):
    window = speech.Window(np.zeros(0, np.float32), tuple(speech.Piece(*piece) for piece in pieces))
    return speech.segments([speech.Word(text, start_s, end_s, 0.9) for text, start_s, end_s in words], window)


def voices(samples, vad):
    """A voice detector that takes all but zeros for voice, and Silero's parameters for what they say."""
    loud = np.flatnonzero(samples)
    if not loud.size:
        return []
    gaps = np.flatnonzero(np.diff(loud) > vad["min_silence_duration_ms"] * RATE / 1000)
    runs = [(int(run[0]), int(run[-1]) + 1) for run in np.split(loud, gaps + 1)]
    return [run for run in runs if run[1] - run[0] > vad.get("min_speech_duration_ms", 0) * RATE / 1000]


def recording(*parts_s):
    """Silence and voice in turn, in seconds; each sample of a voice says where in the recording it is."""
    edges = np.cumsum([0, *(round(one * RATE) for one in parts_s)])
    samples = np.arange(1, edges[-1] + 1, dtype=np.float32)
    for start, end in list(pairwise(edges))[::2]:
        samples[start:end] = 0
    return samples


def taken(windows):
    """The places of the voice samples in the windows, in order."""
    return np.concatenate([window.samples[window.samples > 0] for window in windows] or [np.zeros(0)]) - 1


PARTS_S = st.lists(st.floats(0, 40) | st.floats(0, 1), max_size=12)


@settings(max_examples=60)
@given(PARTS_S, st.floats(0.5, 90), st.sampled_from([5, 30]))
def test_every_voice_is_in_one_window_in_order(windows, parts_s, block_s, chunk_length):
    """However the blocks fall, nothing said is lost or doubled, and no window is longer than the model hears."""
    samples = recording(*parts_s)
    packed = windows(samples, block_s=block_s, chunk_length=chunk_length)

    assert np.flatnonzero(samples).tolist() == taken(packed).tolist()
    assert all(len(window.samples) <= chunk_length * RATE for window in packed)


@settings(max_examples=60)
@given(PARTS_S, st.floats(0.5, 90))
def test_pieces_lead_back_to_the_source(windows, parts_s, block_s):
    """What lies at a moment of a window lies in the source where its piece says."""
    for window in windows(recording(*parts_s), block_s=block_s):
        for piece in window.pieces:
            first, count = round(piece.window_s * RATE), round(piece.length_s * RATE)
            samples = window.samples[first : first + count]
            voiced = np.flatnonzero(samples)

            assert (voiced + round(piece.source_s * RATE)).tolist() == (samples[voiced] - 1).tolist()
        assert len(window.samples) == sum(round(piece.length_s * RATE) for piece in window.pieces)


@settings(max_examples=30)
@given(PARTS_S, st.floats(0.5, 90))
def test_windows_are_as_full_as_pieces_allow(windows, parts_s, block_s):
    """A block's end leaves no window half empty: the next piece would not have fitted."""
    packed = windows(recording(*parts_s), block_s=block_s)

    assert all(len(one.samples) + other.pieces[0].length_s * RATE > 30 * RATE for one, other in pairwise(packed))


def test_silence_gives_no_windows(windows):
    """Nothing is decoded where nobody speaks, so nothing can be invented."""
    assert [] == windows(np.zeros(600 * RATE, np.float32))


def test_a_voice_keeps_some_silence_around_it(windows):
    """0.4 seconds on both sides, as faster-whisper has it; where speech begins is remembered."""
    (window,) = windows(recording(5, 2, 5))
    (piece,) = window.pieces

    assert (4.6, 2.8, 5.0) == (piece.source_s, piece.length_s, piece.speech_s)


def test_voice_parameters_are_the_jobs(windows):
    """vad_parameters reach the detector, and the padding is ours to do."""
    samples = recording(5, 2, 0.5, 2, 5)
    (apart,) = windows(samples, vad_parameters=(("speech_pad_ms", 100.0),))
    (together,) = windows(samples, vad_parameters=(("min_silence_duration_ms", 1000.0),))

    assert ([2.2, 2.2], [5.3]) == tuple(
        [round(piece.length_s, 3) for piece in window.pieces] for window in (apart, together)
    )


def test_a_voice_across_a_blocks_end_is_as_long_as_it_is(windows):
    """min_speech_duration_ms: neither of its parts is long enough alone."""
    samples = recording(8, 4, 8)
    packed = windows(samples, block_s=10, vad_parameters=(("min_speech_duration_ms", 3000.0),))

    assert np.flatnonzero(samples).tolist() == taken(packed).tolist()


def test_a_voice_longer_than_a_window_is_cut_where_it_is_quietest(windows):
    """Its words are whole: the detector would cut at the thirtieth second."""
    samples = recording(0, 80)
    samples[25 * RATE : 25 * RATE + RATE // 10] = 1
    first, *_ = windows(samples)

    assert 25.0 < len(first.samples) / RATE < 25.1


def test_without_the_filter_all_of_it_is_heard(windows):
    """vad_filter off: silence goes to the model too."""
    samples = recording(20, 30, 20)
    packed = windows(samples, block_s=25, vad_filter=False)

    assert samples.tolist() == np.concatenate([window.samples for window in packed]).tolist()
    assert all(len(window.samples) <= 30 * RATE for window in packed)


def test_without_the_filter_a_cut_is_where_it_is_quietest(windows):
    """A word is not cut in two as long as there is a pause in the last third of the window."""
    first, _ = windows(recording(0, 25, 0.3, 24.7), vad_filter=False)

    assert 25.0 < len(first.samples) / RATE < 25.3


def test_only_what_is_in_the_clips_is_heard(windows):
    """clip_timestamps, from second to second and from a second to the end; a window has them side by side."""
    samples = recording(0, 100)
    (window,) = windows(samples, block_s=7, clip_timestamps=((3.0, 9.5), (20.0, 21.0), (95.0, None)))

    assert [(3.0, 6.5), (20.0, 1.0), (95.0, 5.0)] == [(piece.source_s, piece.length_s) for piece in window.pieces]
    assert [3 * RATE, 95 * RATE + 5 * RATE - 1] == [taken([window])[0], taken([window])[-1]]


WORDS = st.lists(
    st.tuples(st.sampled_from([" a", " b,", " c.", " d?", "。", " Mr."]), st.floats(0, 2), st.floats(0, 12)),
    min_size=1,
    max_size=60,
)
PIECES = st.lists(st.tuples(st.floats(0, 300), st.floats(0.3, 30), st.floats(0, 0.4)), min_size=1, max_size=6)


@given(WORDS, PIECES)
def test_words_stay_in_order_and_in_their_pieces(speech, words, pieces):
    """No word is lost or without length, none runs backwards or lies in what was cut out, wherever the model has it."""
    laid_out = []
    source_s = window_s = 0.0
    for gap_s, length_s, onset_s in pieces:
        source_s += gap_s
        laid_out.append((source_s, window_s, length_s, source_s + onset_s * length_s))
        source_s += length_s
        window_s += length_s
    placed, at_s = [], 0.0
    for text, pause_s, length_s in words:
        placed.append((text, at_s + pause_s - 1, at_s + pause_s - 1 + length_s))  # a few overlap, as the model's do
        at_s += pause_s + length_s
    groups = segments(speech, placed, laid_out)
    found = [word for group in groups for word in group]
    edges = [edge for word in found for edge in (word.start_s, word.end_s)]

    assert [text for text, _, _ in placed] == [word.word for word in found]
    assert sorted(edges) == edges
    assert all(word.start_s < word.end_s for word in found)
    assert all(
        any(start <= word.start_s and word.end_s <= start + length + 1e-6 for start, _, length, _ in laid_out)
        for word in found
    )
    assert all(len(group) == 1 or group[-1].end_s - group[0].start_s <= 15 for group in groups)


def test_a_sentence_ends_at_a_full_stop_and_a_pause(sentences):
    """One without the other ends none: neither a number's point nor a breath does."""
    words = [(" No.", 0, 0.5), (" 5", 0.5, 1.2), (" came.", 1.6, 2.0), (" It", 2.2, 2.4), (" sat.", 2.4, 2.9)]

    assert [" No. 5 came.", " It sat."] == sentences(words)


def test_a_title_ends_no_sentence(sentences):
    """Who reads aloud may breathe before a name."""
    assert [" Mr. Smith"] == sentences([(" Mr.", 0, 0.5), (" Smith", 0.8, 1.2)])


@pytest.mark.parametrize("end", [".", "?", "!", "…", '."', "。", "？", "！", "。」"])
def test_sentences_end_in_every_script(sentences, end):
    """What ends a sentence, be there a quotation mark after it or no spaces at all."""
    assert [f"好{end}", "好"] == sentences([(f"好{end}", 0, 1), ("好", 1.2, 2)])


def test_a_long_pause_ends_a_segment(sentences):
    """A second of silence separates, with a full stop or without."""
    assert [" one two", " three"] == sentences([(" one", 0, 1), (" two", 1.9, 2.5), (" three", 3.5, 4)])


def test_what_was_cut_out_between_two_pieces_is_a_pause(sentences):
    """Side by side in the window, a minute apart in the source."""
    pieces = ((0.0, 0.0, 1.0, 0.0), (60.0, 1.0, 1.0, 60.0))

    assert [" one", " two"] == sentences([(" one", 0, 1), (" two", 1, 2)], pieces)


def test_a_long_segment_is_cut_at_a_comma_or_a_pause(sentences):
    """Longer than 15 seconds, without a full stop: at the best place near the middle."""
    words = [(" la," if number == 11 else " la", number, number + 1) for number in range(20)]
    paused = [(" la", number + 0.4 * (number > 8), number + 1) for number in range(20)]

    assert [12, 8] == [text.count("la") for text in sentences(words)]
    assert 2 == len(sentences(paused))


def test_a_piece_begins_where_its_voice_does(speech):
    """The first word of a piece begins with its speech: not in the silence before, nor a little late."""
    pieces = ((10.0, 0.0, 5.0, 10.4), (60.0, 5.0, 5.0, 60.4))
    early, late = segments(speech, [(" early.", 0.1, 1.0), (" late.", 5.6, 6.0)], pieces)

    assert [10.4, 60.4] == [early[0].start_s, late[0].start_s]


def test_a_voice_that_is_no_word_moves_none(speech):
    """A cough a second before the first word does not become its beginning."""
    ((word,),) = segments(speech, [(" word.", 2.0, 3.0)], ((10.0, 0.0, 5.0, 10.4),))

    assert 12.0 == word.start_s


def test_a_word_that_begins_in_the_silence_before_it_is_of_its_own_piece(speech):
    """The first after a cut begins early; that it ends in the second piece's speech says where it was spoken."""
    pieces = ((10.0, 0.0, 2.0, 10.4), (60.0, 2.0, 2.0, 60.4))
    (early,), (late,) = segments(speech, [(" early.", 0.4, 1.0), (" late.", 1.0, 2.6)], pieces)

    assert [(10.4, 11.0), (60.4, 60.6)] == [(round(one.start_s, 6), round(one.end_s, 6)) for one in (early, late)]


def test_a_word_that_reaches_over_the_cut_stays_in_its_piece(speech):
    """As long as it ends before the other piece's speech begins."""
    pieces = ((10.0, 0.0, 2.0, 10.4), (60.0, 2.0, 2.0, 60.4))
    (early,), (late,) = segments(speech, [(" early.", 0.4, 2.4), (" late.", 2.4, 3.0)], pieces)

    assert [(10.4, 12.0), (60.4, 61.0)] == [(round(one.start_s, 6), round(one.end_s, 6)) for one in (early, late)]


@pytest.mark.parametrize(
    ("failed_s", "after_s", "edges"),
    [
        (2.0, 3.2, [2.0, 2.4, 2.8, 3.2]),  # up to the word after them
        (2.0, 9.0, [2.0, 2.5, 3.0, 3.5]),  # at a slow speaker's pace
        (2.0, 2.0, [2.0, 2.25, 2.5, 2.75]),  # together with the word after them
        (10.0, None, [8.5, 9.0, 9.5, 10.0]),  # before the end
    ],
)
def test_words_that_were_not_placed_share_the_time_there_is(speech, failed_s, after_s, edges):
    """Words in a row without length are where the model failed to align them."""
    words = [(" one", 0, 0.5), *[(" la", failed_s, failed_s)] * 3]
    if after_s is not None:
        words.append((" last", after_s, after_s + 1))
    found = [word for group in segments(speech, words, ((0.0, 0.0, 10.0, 0.0),)) for word in group]
    lost = [word for word in found if word.word == " la"]

    assert edges == pytest.approx([lost[0].start_s, *(word.end_s for word in lost)])


@pytest.mark.parametrize(
    ("words", "unheard"),
    [
        ([("One", 0.5, 1.0), (" two.", 1.0, 11.0)], 11.0),  # 8.2 s of speech after it
        ([("One", 0.5, 1.0), (" two.", 1.0, 17.5)], None),  # 1.7 s
        ([(" w", 0.1, 0.11)] * 40, None),  # words that the model failed to place
        ([], None),
    ],
    ids=["ends early", "ends with the speech", "not placed", "no words"],
)
def test_a_window_whose_words_end_long_before_its_speech_has_a_rest(speech, words, unheard):
    """What is silent around the pieces counts for nothing."""
    pieces = tuple(speech.Piece(*piece) for piece in ((10.0, 0.0, 12.0, 10.4), (40.0, 12.0, 8.0, 40.4)))
    window = speech.Window(np.zeros(20 * RATE, np.float32), pieces)

    assert unheard == speech.unheard_from([speech.Word(*word, 0.9) for word in words], window)
