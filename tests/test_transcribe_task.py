"""What is asked of a transcription worker, how its answer is read, and how the parts of an audio file are put
together.
"""

from __future__ import annotations

import base64
import math
from contextlib import suppress
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support import openai_whisper
from support.failing import failing

from vidctl.errors import ApiError, JobFailedError
from vidctl.tasks.transcribe import languages
from vidctl.tasks.transcribe.codec import decode, encode, partial
from vidctl.tasks.transcribe.model import (
    Gap,
    JobTranscript,
    Segment,
    TranscribeOptions,
    Transcript,
    TranscriptPart,
    Word,
)
from vidctl.tasks.transcribe.stitch import stitch

OFFICIAL = "worker-faster_whisper"
OPUS = base64.b64encode(b"opus").decode()
HELLO = {"start": 0.5, "end": 1.25, "text": " Hello."}
WORLD = {"start": 1.5, "end": 2.0, "text": " World."}


def answer(*segments: object, **more: object) -> dict[str, object]:
    return {"transcription": list(segments), **more}


def official(*segments: object, **more: object) -> dict[str, object]:
    return {"segments": list(segments), "detected_language": "en", "transcription": "", "translation": None, **more}


def test_only_what_differs_from_the_defaults_is_asked():
    """The simplest handler, which knows `audio` alone, is enough for the simplest question."""
    assert {"audio": OPUS} == encode(b"opus", TranscribeOptions())


def test_what_was_set_is_asked_by_the_workers_names():
    """A language by its code; further fields as they are."""
    options = TranscribeOptions(
        language="German", task="translate", word_timestamps=True, vad_filter=False, initial_prompt="Vidctl",
        hotwords="GPU", beam_size=1, temperature=0, extra={"best_of": 3},
    )  # fmt: skip

    assert {
        "audio": OPUS, "language": "de", "task": "translate", "word_timestamps": True, "vad_filter": False,
        "initial_prompt": "Vidctl", "hotwords": "GPU", "beam_size": 1, "temperature": 0, "best_of": 3,
    } == encode(b"opus", options)  # fmt: skip


def test_runpods_worker_is_asked_in_its_words():
    """Its own defaults are the model `base`, and no VAD: both are said."""
    options = TranscribeOptions(language="de", word_timestamps=True, initial_prompt="Vidctl", beam_size=1)

    assert {"audio_base64": OPUS, "model": "turbo", "enable_vad": True} == encode(
        b"opus", TranscribeOptions(), protocol=OFFICIAL
    )
    assert {
        "audio_base64": OPUS, "model": "turbo", "enable_vad": True, "language": "de", "word_timestamps": True,
        "initial_prompt": "Vidctl", "beam_size": 1,
    } == encode(b"opus", options, protocol=OFFICIAL)  # fmt: skip


def test_runpods_worker_translates_into_subtitles():
    """Of a translation it gives times in that form only."""
    asked = encode(b"opus", TranscribeOptions(task="translate", vad_filter=False), protocol=OFFICIAL)

    assert {
        "audio_base64": OPUS, "model": "turbo", "enable_vad": False, "translate": True, "translation": "srt",
    } == asked  # fmt: skip


def test_one_temperature_is_one_with_runpods_worker_too():
    """It would climb from there to 1 in steps of 0.2."""
    asked = encode(b"opus", TranscribeOptions(temperature=0.2), protocol=OFFICIAL)

    assert (0.2, 2.0) == (asked["temperature"], asked["temperature_increment_on_fallback"])


def test_what_is_extra_overrides_what_vidctl_chose():
    """Another of its models, say."""
    options = TranscribeOptions(temperature=0.2, extra={"model": "small", "temperature_increment_on_fallback": 0.4})

    asked = encode(b"opus", options, protocol=OFFICIAL)

    assert ("small", 0.4) == (asked["model"], asked["temperature_increment_on_fallback"])


@pytest.mark.parametrize(
    ("options", "facts"),
    [
        ({"hotwords": "GPU"}, ("hotwords", "initial prompt")),
        ({"extra": {"best_off": 3}}, ("extra", "'best_off'", "best_of?")),
        ({"extra": {"sing": True}}, ("extra", "'sing'", "patience", "no_speech_threshold")),
        ({"task": "translate", "word_timestamps": True}, ("word_timestamps", "translation")),
    ],
)  # fmt: skip
def test_what_runpods_worker_cannot_do_is_a_usage_error(options, facts):
    """It would refuse the job, after it was paid for."""
    with failing("usage_error", OFFICIAL, *facts):
        encode(b"opus", TranscribeOptions(**options), protocol=OFFICIAL)


def test_another_protocol_is_a_usage_error():
    """The message names the two that there are."""
    with failing("usage_error", "vidctl's own", "worker-faster_whisper", "'worker-vllm'"):
        encode(b"opus", TranscribeOptions(), protocol="worker-vllm")


@pytest.mark.parametrize(
    "options",
    [
        {"beam_size": 0}, {"beam_size": 21}, {"beam_size": 2.5}, {"beam_size": True}, {"temperature": -0.1},
        {"temperature": 2.1}, {"temperature": math.nan}, {"temperature": True}, {"temperature": "hot"},
        {"task": "sing"}, {"language": "xx"}, {"language": 5}, {"extra": {"beam_size": 3}}, {"extra": {"audio": ""}},
        {"extra": {"translate": True}}, {"extra": {"extra": {}}},
    ],
)  # fmt: skip
def test_options_out_of_range_are_a_usage_error(options):
    """The message names the option."""
    ((name, value),) = options.items()
    with failing("usage_error", next(iter(value)) if name == "extra" else name):
        TranscribeOptions(**options)


@pytest.mark.parametrize(
    ("language", "code"),
    [
        ("de", "de"),
        ("DE", "de"),
        ("German", "de"),
        ("haitian creole", "ht"),
        ("Castilian", "es"),
        (" yue ", "yue"),
        ("en-US", "en"),
        ("pt_BR", "pt"),
        ("eng", "en"),
        ("zho-Hant-TW", "zh"),
    ],
)
def test_a_language_is_a_code_or_a_name(language, code):
    """In any case, by the other names that whisper's command takes, and by what ISO 639 and locales call it."""
    assert code == encode(b"", TranscribeOptions(language=language))["language"]


@pytest.mark.parametrize("language", ["", "auto", " AUTO "])
@pytest.mark.parametrize("protocol", [None, OFFICIAL])
def test_a_language_may_be_left_to_the_model(language, protocol):
    """Neither worker hears of it then."""
    assert "language" not in encode(b"", TranscribeOptions(language=language), protocol=protocol)


def test_temperatures_above_1_are_taken():
    """Whisper's own command takes them."""
    assert 1.2 == encode(b"", TranscribeOptions(temperature=1.2))["temperature"]


@pytest.mark.parametrize(
    ("language", "facts"), [("germna", ("did you mean", "german?")), ("klingon", ("code", "English name: de, german"))]
)
def test_an_unknown_language_hints_at_near_ones(language, facts):
    """Or at what there is."""
    with failing("usage_error", f"'{language}'", *facts):
        TranscribeOptions(language=language)


@pytest.mark.model
def test_the_languages_are_whispers():
    """All codes, names and aliases of its own table."""
    names, aliases = openai_whisper.tables()

    assert names == languages.NAMES
    assert aliases == languages.ALIASES


def test_every_field_of_an_answer_is_read():
    """Segments are numbered from 0, in seconds from where the audio begins."""
    told = {
        **HELLO, "id": 7, "seek": 300, "confidence": 0.9, "avg_logprob": -0.1, "no_speech_prob": 0.01,
        "compression_ratio": 1.2, "temperature": 0.2, "tokens": [1, 2],
        "words": [{"word": " Hello.", "start": 0.5, "end": 1.25, "probability": 0.8}],
    }  # fmt: skip
    more = {
        "text": "Hello.", "language": "en", "language_probability": 0.95, "duration": 2.5, "processing_time": 0.4,
        "model": {"name": "base", "device": "cpu"}, "warnings": ["half of it was missing"],
    }  # fmt: skip

    heard = decode(answer(told, **more))

    words = (Word(" Hello.", 0.5, 1.25, 0.8),)
    segment = Segment(0, 0.5, 1.25, " Hello.", 0.9, -0.1, 0.01, 1.2, 0.2, 300, (1, 2), words)
    model = {"name": "base", "device": "cpu"}
    assert JobTranscript((segment,), 2.5, "en", 0.95, model, 0.4, ("half of it was missing",)) == heard
    assert heard == decode([answer(told, **more)])


def test_the_answer_of_the_simplest_handler_is_enough():
    """Texts and times alone; the spaces that it stripped come back, for the segments make up the text."""
    heard = decode(answer({**HELLO, "text": "Hello."}, {**WORLD, "text": "World."}))

    assert JobTranscript((Segment(0, 0.5, 1.25, " Hello."), Segment(1, 1.5, 2.0, " World."))) == heard


def test_languages_without_spaces_get_none():
    """As Whisper writes them."""
    heard = decode(answer({**HELLO, "text": "你好"}, {**WORLD, "text": "世界"}, language="zh"))

    assert "你好世界" == stitch("a", [TranscriptPart(0.0, 2.0, heard)]).text


def test_a_segment_that_begins_within_a_word_stays_so():
    """Whisper's own segments say where a space is."""
    heard = decode(answer(HELLO, {**WORLD, "text": "world."}))

    assert "Hello.world." == stitch("a", [TranscriptPart(0.0, 2.0, heard)]).text


def test_a_missing_confidence_is_the_mean_probability():
    """exp of `avg_logprob`, which is a hair above 0 at times; without both it is unknown."""
    told = [{**HELLO, "avg_logprob": value} for value in (-0.1, 0.001)]

    heard = decode(answer(*told, HELLO, {**HELLO, "confidence": 1.0004}))

    assert [0.9048, 1.0, None, 1.0] == [segment.confidence for segment in heard.segments]


def test_times_a_hair_off_are_moved_into_place():
    """A word's time is an estimate: it may begin before the audio, or end before it begins."""
    heard = decode(answer({**HELLO, "start": -0.02}, {**HELLO, "start": 1.0, "end": 0.96}))

    assert [(0.0, 1.25), (1.0, 1.0)] == [(segment.start, segment.end) for segment in heard.segments]


def test_control_characters_become_spaces():
    """What would steer a terminal, break a line of subtitles or not be UTF-8."""
    heard = decode(answer({**HELLO, "text": " a\x1b[2J\r\n\nb\ud800\u2028c\x9b"}, warnings=["a\nb"]))

    assert " a [2J b c " == heard.segments[0].text
    assert ("a b",) == heard.warnings


def test_runpods_answer_is_read():
    """Its `model` is a name; faster-whisper's numbers of segments begin at 1; what it does not tell is None."""
    told = {
        **HELLO,
        "id": 1,
        "seek": 0,
        "tokens": [5],
        "temperature": 0.0,
        "avg_logprob": 0.0,
        "compression_ratio": 1.0,
    }

    heard = decode(official({**told, "no_speech_prob": 0.5}, device="cuda", model="turbo"))

    segment = Segment(0, 0.5, 1.25, " Hello.", 1.0, 0.0, 0.5, 1.0, 0.0, 0, (5,))
    assert JobTranscript((segment,), None, "en", None, {"name": "turbo", "device": "cuda"}) == heard


def timed(*words: str) -> list[dict[str, object]]:
    return [{"word": word, "start": n / 2, "end": n / 2 + 0.5} for n, word in enumerate(words)]


def test_runpods_words_are_dealt_to_their_segments():
    """They come in one list, and make up the segments' texts."""
    first, second = {**HELLO, "text": " Hello, my world."}, {**WORLD, "text": " So long."}

    heard = decode(official(first, second, word_timestamps=timed(" Hello,", " my", " world.", " So", " long.")))

    assert [[" Hello,", " my", " world."], [" So", " long."]] == [
        [word.word for word in segment.words] for segment in heard.segments
    ]
    assert Word(" So", 1.5, 2.0) == heard.segments[1].words[0]


@pytest.mark.parametrize("words", [(), (" Hello.",), (" Hello.", " World.", " And", " more."), ("x", "", "yy")])
def test_no_word_of_runpods_is_lost(words):
    """Also where the words are not those of the segments."""
    heard = decode(official(HELLO, WORLD, word_timestamps=timed(*words)))

    assert words == tuple(word.word for segment in heard.segments for word in segment.words)


SRT = "1\n00:00:00,500 --> 00:00:01,250\nHello.\n\n2\n01:00:01,500 --> 01:00:02,000\n2 worlds.\n\n"


def test_runpods_translation_is_read_from_its_subtitles():
    """Its segments are still in the language of the audio."""
    heard = decode(official({**HELLO, "text": " Hallo."}, detected_language="zh", translation=SRT))

    assert (Segment(0, 0.5, 1.25, " Hello."), Segment(1, 3601.5, 3602.0, " 2 worlds.")) == heard.segments
    assert "zh" == heard.language
    assert () == decode(official(translation="")).segments


@pytest.mark.parametrize(
    ("error", "message"),
    [("no audio in it", "no audio in it"), (["x is required", "y is\nunknown"], "x is required; y is unknown")],
)
def test_a_refusal_is_told(error, message):
    """In one line, also where RunPod's worker lists what it does not like."""
    with failing("api_error", "worker", message):
        decode({"error": error})


@pytest.mark.parametrize(
    ("output", "field"),
    [
        (None, "output"), ("text", "output"), ([], "output"), ([answer(), answer()], "output"),
        ({}, "output.transcription"), ({"transcription": "Hello."}, "output.transcription"),
        ({"error": 5}, "output.error"), ({"error": [5]}, "output.error[0]"),
        (answer("x"), "output.transcription[0]"), (answer({"end": 1, "text": ""}), "output.transcription[0].start"),
        (answer({"start": 1, "text": ""}), "output.transcription[0].end"),
        (answer({"start": 1, "end": 2}), "output.transcription[0].text"),
        (answer(HELLO, {**HELLO, "text": None}), "output.transcription[1].text"),
        (answer({**HELLO, "start": math.nan}), "output.transcription[0].start"),
        (answer({**HELLO, "start": -1}), "output.transcription[0].start"),
        (answer({**HELLO, "end": math.inf}), "output.transcription[0].end"),
        (answer({**HELLO, "end": 10**400}), "output.transcription[0].end"),
        (answer({**HELLO, "end": 0.2}), "output.transcription[0].end"),
        (answer({**HELLO, "end": True}), "output.transcription[0].end"),
        (answer({**HELLO, "confidence": 1.5}), "output.transcription[0].confidence"),
        (answer({**HELLO, "no_speech_prob": -1}), "output.transcription[0].no_speech_prob"),
        (answer({**HELLO, "avg_logprob": "low"}), "output.transcription[0].avg_logprob"),
        (answer({**HELLO, "tokens": [0.5]}), "output.transcription[0].tokens"),
        (answer({**HELLO, "words": [{"start": 0, "end": 1}]}), "output.transcription[0].words[0].word"),
        (answer({**HELLO, "words": [{"word": "a", "start": 0}]}), "output.transcription[0].words[0].end"),
        (answer({**HELLO, "words": [{"word": "a", "start": 0, "end": 1, "probability": 2}]}),
         "output.transcription[0].words[0].probability"),
        (answer(duration="long"), "output.duration"), (answer(language=["en"]), "output.language"),
        (answer(language_probability=2), "output.language_probability"),
        (answer(processing_time=-1), "output.processing_time"),
        (answer(model=5), "output.model"), (answer(warnings="none"), "output.warnings"),
        ({"segments": {}}, "output.segments"), (official({**HELLO, "start": None}), "output.segments[0].start"),
        (official(detected_language=5), "output.detected_language"),
        (official(translation="Hello."), "output.translation"),
        (official(translation=SRT.replace("01,250", "00,250")), "output.translation[0].end"),
        (official(word_timestamps=[{}]), "output.word_timestamps[0].word"),
    ],
)  # fmt: skip
def test_a_malformed_answer_names_the_field(output, field):
    """What is not an answer is said in one sentence."""
    with failing("api_error", f"`{field}`") as caught:
        decode(output)

    assert "\n" not in caught.value.message


def test_progress_tells_the_latest_segments():
    """Their numbers, from `first` on, and the seconds that are done."""
    news = answer(HELLO, WORLD, first=40, progress={"done": 61.5, "total": None})

    expected = (40, (Segment(40, 0.5, 1.25, " Hello."), Segment(41, 1.5, 2.0, " World.")), 61.5)
    assert expected == partial(news)


@pytest.mark.parametrize(
    "output",
    [
        None, "40 %", {"progress": 0.5}, answer(HELLO), answer(HELLO, progress={"done": 1}), answer(HELLO, first=0),
        answer({**HELLO, "start": "x"}, first=0, progress={"done": 1}), answer(first=-1, progress={"done": 1}),
    ],
)  # fmt: skip
def test_other_progress_tells_nothing(output):
    """A worker may say what it likes while it runs."""
    assert (0, (), None) == partial(output)


FIRST = JobTranscript(
    (Segment(0, 1.0, 9.0, " One", seek=100, words=(Word(" One", 1.0, 9.0, 0.9),)),),
    10.0, "en", 0.9, {"name": "base"}, 1.5, ("quiet",),
)  # fmt: skip
SECOND = JobTranscript(
    (Segment(0, 0.1, 1.1, " two", words=()), Segment(1, 1.1, 2.1, " three.", words=(Word(" three.", 1.1, 2.1),))),
    10.0, "de", 0.6, {"name": "large"}, 2.5, ("quiet", "loud"),
)  # fmt: skip
LOST = JobFailedError("the worker died")


def test_parts_are_put_at_their_places():
    """Times, frames and numbers go on from part to part; what was said of the parts is put together."""
    result = stitch(
        "a.mp3",
        [TranscriptPart(0.0, 10.0, FIRST), TranscriptPart(10.0, 20.0, None, LOST), TranscriptPart(20.0, 29.5, SECOND)],
    )

    assert Transcript(
        "a.mp3", 29.5, "en", 0.9,
        (
            Segment(0, 1.0, 9.0, " One", seek=100, words=(Word(" One", 1.0, 9.0, 0.9),)),
            Segment(1, 20.1, 21.1, " two", seek=2000, words=()),
            Segment(2, 21.1, 22.1, " three.", seek=2000, words=(Word(" three.", 21.1, 22.1),)),
        ),
        (Gap(10.0, 20.0, LOST),), {"name": "base"}, 4.0, ("quiet", "loud"),
    ) == result  # fmt: skip
    assert "One two three." == result.text
    assert [" One", " three."] == [word.word for word in result.words]


def test_the_language_is_that_of_the_most_speech():
    """Not of the most parts, nor of the longest; its probability is weighed by the speech too."""
    parts = [
        TranscriptPart(0.0, 10.0, replace(FIRST, language_probability=1.0)),
        TranscriptPart(10.0, 30.0, replace(SECOND, segments=())),
        TranscriptPart(30.0, 50.0, SECOND),
        TranscriptPart(50.0, 60.0, replace(SECOND, language="en", language_probability=0.5)),
    ]

    result = stitch("a", parts)

    assert ("en", 0.9) == (result.language, result.language_probability)


def test_silence_has_the_language_that_was_told():
    """As from one job; nothing is known where no part was heard."""
    silence = JobTranscript((), 10.0, "nn", 0.3)

    whole, none = (
        stitch("a", [TranscriptPart(0.0, 10.0, silence)]),
        stitch("a", [TranscriptPart(0.0, 10.0, None, LOST)]),
    )

    assert ("nn", 0.3, "") == (whole.language, whole.language_probability, whole.text)
    assert (None, None) == (none.language, none.language_probability)


def test_times_stay_within_their_part():
    """The padding of a codec may be heard beyond the end, where the next part begins."""
    late = JobTranscript((Segment(0, 9.0, 10.7, " late", words=(Word(" late", 9.0, 10.7),)),), 10.7)

    result = stitch("a", [TranscriptPart(5.0, 15.0, late), TranscriptPart(15.0, 20.0, SECOND)])

    assert (14.0, 15.0) == (result.segments[0].start, result.segments[0].end)
    assert 15.0 == result.words[0].end


def test_times_are_rounded_to_a_millisecond():
    """No format tells more, and sums of seconds are a hair off."""
    result = stitch("a", [TranscriptPart(0.1, 9.0, JobTranscript((Segment(0, 0.2004, 1.0, " Hi"),)))])

    assert (0.3, 1.1) == (result.segments[0].start, result.segments[0].end)


def test_the_length_of_a_single_part_is_the_workers():
    """Who has decoded all of it knows better than a container, which may say nothing true."""
    result = stitch("a", [TranscriptPart(0.0, 5.0, FIRST)])

    assert (10.0, 9.0) == (result.duration, result.segments[0].end)


def test_a_transcript_is_given_with_the_workers_field_names():
    """What `--json` prints: what is known, and the gaps with their errors."""
    result = stitch("a.mp3", [TranscriptPart(0.0, 10.0, FIRST), TranscriptPart(10.0, 20.0, None, LOST)])

    assert {
        "source": "a.mp3",
        "duration": 20.0,
        "language": "en",
        "language_probability": 0.9,
        "text": "One",
        "segments": [
            {
                "id": 0, "seek": 100, "start": 1.0, "end": 9.0, "text": " One",
                "words": [{"word": " One", "start": 1.0, "end": 9.0, "probability": 0.9}],
            }
        ],
        "gaps": [{"start": 10.0, "end": 20.0, "error": "the worker died", "code": "job_failed"}],
        "model": {"name": "base"},
        "processing_time": 1.5,
        "warnings": ["quiet"],
    } == result.to_dict()  # fmt: skip
    assert {"source": "b", "duration": 3.0, "text": "", "segments": []} == Transcript(
        "b", 3.0, None, None, ()
    ).to_dict()


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(
        st.sampled_from(
            ["transcription", "segments", "error", "start", "end", "text", "words", "word", "language", "model", "done",
             "progress", "first", "translation", "word_timestamps", "detected_language", "warnings"]
        ),
        inner,
        max_size=5,
    ),
    max_leaves=20,
)  # fmt: skip
fields = st.sampled_from(
    ["start", "end", "text", "seek", "confidence", "avg_logprob", "no_speech_prob", "compression_ratio", "temperature",
     "tokens", "words"]
)  # fmt: skip


@given(json_values)
def test_no_answer_makes_a_traceback(output):
    """Any JSON value is read or refused; no progress is ever refused."""
    with suppress(ApiError):
        decode(output)
    partial(output)


@given(
    st.dictionaries(fields, json_values),
    st.dictionaries(st.sampled_from(["word", "start", "end", "probability"]), json_values),
)
def test_no_segment_makes_a_traceback(values, word):
    """A segment or a word with any value in any field is read or refused, and what was read can be written."""
    spoken = {"word": " Hi", "start": 0.5, "end": 1.0, **word}
    for segment in ({**HELLO, **values}, {**HELLO, "words": [spoken]}):
        for output in (answer(segment), official(segment, word_timestamps=[spoken])):
            with suppress(ApiError):
                result = stitch("a", [TranscriptPart(0.0, 60.0, decode(output))])

                (result.to_srt() + result.to_vtt() + result.to_tsv() + result.to_txt() + result.to_json()).encode()


@given(st.text())
def test_no_subtitles_make_a_traceback(text):
    """Whatever a worker calls a translation."""
    for srt in (text, f"1\n00:00:00,500 --> 00:00:01,250\n{text}"):
        with suppress(ApiError):
            decode(official(translation=srt))
