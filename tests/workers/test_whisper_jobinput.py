"""What a job may ask of the whisper worker; pure, so checked here without its environment."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support.stating import stating

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=5,
)


@pytest.fixture(scope="module")
def jobinput(whisper_module):
    return whisper_module("jobinput")


@pytest.fixture
def parse(jobinput):
    return lambda **fields: jobinput.parse({"audio": "aGk=", **fields})


def test_a_request_of_the_guide_is_understood(parse, jobinput):
    """audio, language, task, vad_filter and word_timestamps as the guide writes them."""
    request = parse(language="de", task="translate", vad_filter=False, word_timestamps=True)

    assert (
        jobinput.Request("aGk=", jobinput.Options(language="de", task="translate", vad_filter=False), True) == request
    )


def test_defaults_hold_for_what_is_not_sent_or_null(parse, jobinput):
    """null is the same as nothing, for clients that send every field."""
    assert parse() == parse(**dict.fromkeys(jobinput.FIELDS - {"audio"}))


def test_the_defaults_are_faster_whispers(parse):
    """Whisper's fallback through the temperatures, a beam of five, silence left out."""
    options = parse().options

    assert ((0.0, 0.2, 0.4, 0.6, 0.8, 1.0), 5, True) == (options.temperature, options.beam_size, options.vad_filter)
    assert (2.4, -1.0, 0.6) == (
        options.compression_ratio_threshold, options.log_prob_threshold, options.no_speech_threshold,
    )  # fmt: skip


@pytest.mark.parametrize(
    "language", ["es", "ES", "Spanish", "castilian", " spanish ", "es-419", "es_MX", "spa", "SPA-es"]
)
def test_a_language_is_a_code_or_a_name(parse, language):
    """As for Whisper's own command, in any case."""
    assert "es" == parse(language=language).options.language


@pytest.mark.parametrize("language", [None, "", " ", "auto", "Auto"])
def test_a_language_may_be_left_to_the_model(parse, language):
    """Other tools say so in words."""
    assert None is parse(language=language).options.language


def test_codes_of_iso_639_are_of_whispers_languages(whisper_module):
    """Three letters, older codes and those that Whisper spells on its own; none takes the place of one of Whisper's."""
    languages = whisper_module("languages")

    assert ["en", "de", "de", "zh", "he", "jw", "no"] == [
        languages.code(one) for one in ("eng", "deu", "ger", "cmn", "iw", "jv", "nb-NO")
    ]
    assert set(languages.NAMES) - {"haw", "yue"} == set(languages.STANDARD.values())  # these two are three letters
    assert [] == [code for code in languages.STANDARD if code in languages.NAMES or code in languages.ALIASES]


def test_what_other_tools_send_of_sampling_is_taken(parse):
    """Whisper's command takes 0 answers for one, and temperatures above 1."""
    options = parse(best_of=0, temperature=1.2).options

    assert (1, (1.2,)) == (options.best_of, options.temperature)


def test_audio_may_lie_at_a_url(jobinput):
    """`audio_url` is `audio` for clients that keep the two apart."""
    assert "https://x/a.mp3" == jobinput.parse({"audio_url": "https://x/a.mp3"}).audio


def test_a_temperature_is_one_number_or_a_list(parse):
    """One number is tried alone."""
    assert [(0.4,), (0.0, 1.0)] == [parse(temperature=one).options.temperature for one in (0.4, [0, 1])]


@pytest.mark.parametrize("spelling", [[5, 7, 12, 15], "5,7,12,15", [{"start": 5, "end": 7}, {"start": 12, "end": 15}]])
def test_clips_are_spelled_as_faster_whisper_does(parse, spelling):
    """In turn a start and an end, in a list, in a text or in objects."""
    assert ((5.0, 7.0), (12.0, 15.0)) == parse(clip_timestamps=spelling).options.clip_timestamps


def test_the_last_clip_may_end_with_the_audio(parse):
    """A start without an end."""
    assert ((5.0, 7.0), (12.0, None)) == parse(clip_timestamps=[5, 7, 12]).options.clip_timestamps


@pytest.mark.parametrize("spelling", ["0", [], "", [0]])
def test_the_whole_audio_is_no_clip(parse, spelling):
    """Whisper's own default is "0"."""
    assert () == parse(clip_timestamps=spelling).options.clip_timestamps


def test_tokens_are_a_list_or_a_text(parse):
    """Whisper's command has them as a text."""
    assert [(-1, 50257), (-1, 50257), ()] == [
        parse(suppress_tokens=one).options.suppress_tokens for one in ([-1, 50257], "-1, 50257", [])
    ]


def test_options_can_be_compared_and_kept(parse):
    """Jobs that want the same are distinguished from those that do not, whatever the order of the fields."""
    one, other = ({"threshold": 0.4, "speech_pad_ms": 200}, {"speech_pad_ms": 200, "threshold": 0.4})

    assert 1 == len({parse(vad_parameters=one).options, parse(vad_parameters=other).options})


def test_what_needs_sequential_decoding_has_it_with_batch_size_1(parse):
    """One window after the other is the only way to know what was said before."""
    options = parse(batch_size=1, prefix="So", condition_on_previous_text=True).options

    assert (1, "So", True) == (options.batch_size, options.prefix, options.condition_on_previous_text)
    assert False is parse(condition_on_previous_text=False).options.condition_on_previous_text


def test_fields_of_others_are_ignored(parse):
    """A client may send what it needs to find its audio again; whoever misspelt a name gets a warning."""
    given = parse(chunk=7, bestof=3)

    near, unknown = given.warnings
    assert (parse().options, ()) == (given.options, parse().warnings)
    stating(near, "field 'bestof'", "did you mean best_of?")
    stating(unknown, "field 'chunk'")


VAD = "threshold, neg_threshold, min_speech_duration_ms, max_speech_duration_s, min_silence_duration_ms, speech_pad_ms"
NO_AUDIO = ("audio", "base64", "data: URL", "path on the volume", "audio_url")
CLIPS = ("clip_timestamps must be", "starts", "ends", "seconds", "[0, 12.5, 60, 90]")
TOKENS = ("suppress_tokens must be", "-1 to 51863")
SEQUENTIAL = "batch_size 1"


@pytest.mark.parametrize(
    ("fields", "facts"),
    [
        ({"audio": None}, NO_AUDIO),
        ({"audio": ""}, NO_AUDIO),
        ({"audio": 7}, ("audio must be", "base64", "data: URL", "https:// URL", "path", "not a number")),
        ({"audio_url": "https://x/a"}, ("audio and audio_url", "one of them")),
        ({"audio": None, "audio_url": "aGk="}, ("audio_url must be", "https:// URL")),
        ({"language": "englsh"}, ("language 'englsh'", "did you mean English?")),
        ({"language": "klingon"}, ("language 'klingon'", "en, de, fr")),
        ({"language": 3}, ("language must be", "code", "English name", "not a number")),
        ({"task": "summarise"}, ("task must be transcribe or translate", "'summarise'")),
        ({"vad_filter": "yes"}, ("vad_filter must be true or false", "not a text")),
        ({"word_timestamps": 1}, ("word_timestamps must be true or false", "not a number")),
        ({"beam_size": 0}, ("beam_size must be", "1 to 20", "not 0")),
        ({"beam_size": 2.5}, ("beam_size must be", "whole number", "not 2.5")),
        ({"chunk_length": 60}, ("chunk_length must be", "1 to 30", "not 60")),
        ({"temperature": 2.5}, ("temperature must be", "0 to 2", "not 2.5")),
        ({"best_of": -1}, ("best_of must be", "0 to 20", "not -1")),
        ({"temperature": []}, ("temperature must be", "number", "list of 1 to 20", "not of 0")),
        ({"no_speech_threshold": math.nan}, ("no_speech_threshold must be", "0 to 1", "not nan")),
        ({"patience": True}, ("patience must be", "number from 1 to 10", "not a boolean")),
        ({"initial_prompt": ["a"]}, ("initial_prompt must be a text", "not a list")),
        ({"initial_prompt": "x" * 100_001}, ("initial_prompt", "100001", "100000 characters")),
        ({"hotwords": "\ud800"}, ("hotwords", "Unicode")),
        ({"suppress_tokens": [1.5]}, (*TOKENS, "not [1.5]")),
        ({"suppress_tokens": [True]}, (*TOKENS, "not [True]")),
        ({"suppress_tokens": {"5": 1}}, (*TOKENS, "not {'5': 1}")),
        ({"suppress_tokens": "5,a"}, (*TOKENS, "not '5,a'")),
        ({"suppress_tokens": 5}, (*TOKENS, "not 5")),
        ({"suppress_tokens": [99_999]}, (*TOKENS, "not [99999]")),
        ({"vad_parameters": {"threshold": 2}}, ("vad_parameters.threshold must be", "0 to 1", "not 2")),
        ({"vad_parameters": {"onset": 1}}, ("vad_parameters", "'onset'", VAD)),
        ({"clip_timestamps": [5, 5]}, CLIPS),
        ({"clip_timestamps": [7, 5]}, CLIPS),
        ({"clip_timestamps": "-1,5"}, CLIPS),
        ({"clip_timestamps": [0, "a"]}, CLIPS),
        ({"clip_timestamps": 5}, CLIPS),
        ({"clip_timestamps": {}}, CLIPS),
        ({"prefix": "So"}, ("prefix", SEQUENTIAL)),
        ({"batch_size": 8, "condition_on_previous_text": True}, ("condition_on_previous_text", SEQUENTIAL)),
    ],
)
def test_a_mistake_is_one_sentence(parse, jobinput, fields, facts):
    """Each names the field and the rule."""
    with pytest.raises(jobinput.BadInputError) as caught:
        parse(**fields)

    stating(str(caught.value), *facts)


def test_a_huge_number_is_a_mistake_like_any_other(parse, jobinput):
    """JSON knows whole numbers beyond every float; whatever the field, the sentence says what it may be."""
    places: dict[str, Callable] = {
        **{name: lambda huge: huge for name in (*jobinput.WHOLE_NUMBERS, *jobinput.NUMBERS, "temperature")},
        **dict.fromkeys(("suppress_tokens", "clip_timestamps"), lambda huge: [huge]),
        **{f"vad_parameters.{name}": lambda huge, name=name: {name: huge} for name in jobinput.VAD_PARAMETERS},
    }
    for name, place in places.items():
        for huge in (10**400, -(10**400), math.inf, math.nan):
            with pytest.raises(jobinput.BadInputError, match=f"^{name} must be .{{5,60}}") as caught:
                parse(**{"batch_size": 1, name.partition(".")[0]: place(huge)})

            assert len(str(caught.value)) < 150


def test_an_input_is_an_object(jobinput):
    """Not the audio itself."""
    with pytest.raises(jobinput.BadInputError) as caught:
        jobinput.parse("aGk=")

    stating(str(caught.value), "input must be an object", "audio", "not a text")


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_no_json_breaks_the_parser(jobinput, data):
    """Whatever a job holds, it is a request or a sentence, and a request's options can be kept."""
    fields = data.draw(JSON | st.fixed_dictionaries({}, optional=dict.fromkeys(sorted(jobinput.FIELDS), JSON)))
    try:
        request = jobinput.parse(fields)
    except jobinput.BadInputError as error:
        assert "\n" not in str(error)
    else:
        assert hash(request.options) == hash(jobinput.parse(fields).options)
