"""The whisper worker in the words of RunPod's own; pure, so checked here without its environment."""

from __future__ import annotations

import pytest
from support.stating import stating

SEGMENTS = [
    {
        "id": 1, "seek": 0, "start": 0.26, "end": 3.5, "text": " He was not --> ill-disposed.", "tokens": [634, 390],
        "confidence": 0.93, "avg_logprob": -0.07, "no_speech_prob": 0.01, "compression_ratio": 1.2, "temperature": 0.0,
        "words": [{"word": " He", "start": 0.26, "end": 0.4, "probability": 0.9}],
    },
    {
        "id": 2, "seek": 0, "start": 3725.5, "end": 3726.999, "text": " Rather selfish.", "tokens": [7],
        "confidence": 0.9, "avg_logprob": -0.1, "no_speech_prob": 0.01, "compression_ratio": 1.1, "temperature": 0.0,
        "words": [{"word": " Rather", "start": 3725.5, "end": 3726.0, "probability": 0.8}],
    },
]  # fmt: skip
RESULT = {"transcription": SEGMENTS, "text": "…", "language": "en", "language_probability": 0.99, "duration": 3727.0}
MODELS = "tiny, base, small, medium, large-v1, large-v2, large-v3, turbo, distil-large-v2, distil-large-v3"
INFO = {"name": "large-v3-turbo", "device": "cuda", "compute_type": "float16"}


@pytest.fixture(scope="module")
def official(whisper_module):
    return whisper_module("official")


@pytest.fixture(scope="module")
def bad_input(whisper_module):
    return whisper_module("jobinput").BadInputError


@pytest.mark.parametrize(
    ("job_input", "is_its"),
    [
        ({"audio_base64": "aGk="}, True),
        ({"audio": "https://x/a.mp3"}, True),
        ({"audio": "https://x/a.mp3", "word_timestamps": True, "beam_size": 5}, True),
        ({"audio": "https://x/a.mp3", "enable_vad": True, "task": "translate"}, True),
        ({"audio": "aGk=", "transcription": "srt"}, True),
        ({"audio": "https://x/a.mp3", "task": "transcribe"}, False),
        ({"audio": "aGk=", "word_timestamps": True}, False),
        ({"audio_url": "https://x/a.mp3"}, False),
        ({}, False),
        ("aGk=", False),
    ],
)
def test_jobs_in_its_words_are_known_by_them(official, job_input, is_its):
    """A word of its own, or a URL and nothing that only we have."""
    assert is_its == official.is_official(job_input)


def test_its_words_become_ours(official):
    """Each option has its place; the temperatures go up in its steps."""
    job = official.parse({
        "audio_base64": "aGk=", "language": "German", "temperature": 0.5, "temperature_increment_on_fallback": 0.25,
        "enable_vad": True, "logprob_threshold": -2, "beam_size": 3, "initial_prompt": "So", "word_timestamps": True,
        "transcription": "srt",
    })  # fmt: skip
    options = job.request.options

    assert ("aGk=", True, "srt", None) == (
        job.request.audio, job.request.words, job.transcription, job.translation_request,
    )  # fmt: skip
    assert ("de", (0.5, 0.75, 1.0), True, -2.0, 3, "So") == (
        options.language, options.temperature, options.vad_filter, options.log_prob_threshold, options.beam_size,
        options.initial_prompt,
    )  # fmt: skip


def test_its_defaults_hold(official):
    """No voice detection, Whisper's temperatures."""
    options = official.parse({"audio": "https://x/a.mp3"}).request.options

    assert (False, (0.0, 0.2, 0.4, 0.6, 0.8, 1.0)) == (options.vad_filter, options.temperature)


def test_an_increment_of_nothing_is_one_temperature(official):
    """There is nothing to fall back to."""
    job = official.parse({"audio_base64": "aGk=", "temperature": 0.3, "temperature_increment_on_fallback": 0})

    assert (0.3,) == job.request.options.temperature


def test_a_translation_is_a_second_request(official):
    """Of the same audio and language, to English."""
    job = official.parse({"audio_base64": "aGk=", "translate": True, "language": "de", "translation": "vtt"})
    second = job.translation_request

    assert ("aGk=", "translate", "de", "vtt") == (
        second.audio, second.options.task, second.options.language, job.translation,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("job_input", "errors"),
    [
        ({"audio_base64": "aGk=", "task": "translate"}, ["Unexpected input. task is not a valid input option."]),
        (
            {"audio_base64": 7, "beam_size": "5"},
            [
                "audio_base64 should be <class 'str'> type, not <class 'int'>.",
                "beam_size should be <class 'int'> type, not <class 'str'>.",
            ],
        ),
    ],
)
def test_its_validators_errors_are_a_list(official, job_input, errors):
    """In the sentences of the SDK's validator, which it uses."""
    with pytest.raises(official.InvalidJobError) as caught:
        official.parse(job_input)

    assert errors == caught.value.errors


@pytest.mark.parametrize(
    ("job_input", "facts"),
    [
        ({"model": "turbo"}, ("Must provide either audio or audio_base64",)),
        ({"audio": "https://x/a", "audio_base64": "aGk="}, ("Must provide either audio or audio_base64, not both",)),
        ({"audio_base64": "aGk=", "model": "huge"}, ("model 'huge'", MODELS)),
        ({"audio_base64": "aGk=", "language": "englsh"}, ("language 'englsh'", "did you mean English?")),
        ({"audio_base64": "aGk=", "temperature": float("nan")}, ("temperature must be", "0 to 2", "not nan")),
    ],
)
def test_its_other_errors_are_a_sentence(official, bad_input, job_input, facts):
    """Its own sentences where it has one."""
    with pytest.raises(bad_input) as caught:
        official.parse(job_input)

    assert not isinstance(caught.value, official.InvalidJobError)
    stating(str(caught.value), *facts)


@pytest.mark.parametrize("huge", [10**400, -(10**400)], ids=["above", "below"])
def test_a_huge_number_is_a_sentence_too(official, bad_input, huge):
    """JSON knows whole numbers beyond every float, of which its validator makes one."""
    for name, (kind, _) in official.SCHEMA.items():
        if kind in (int, float):
            with pytest.raises(bad_input) as caught:
                official.parse({"audio_base64": "aGk=", name: huge})

            said = "a number in this job is too large" if kind is float else " to 20, not "
            assert said in str(caught.value)


def test_the_answer_has_its_shape(official):
    """Its fields and no others; the model is the one that answered."""
    job = official.parse({"audio_base64": "aGk=", "model": "base", "transcription": "formatted_text"})
    answer = official.answer(job, RESULT, None, INFO)

    assert {
        "segments": [
            {key: value for key, value in one.items() if key not in ("confidence", "words")} for one in SEGMENTS
        ],
        "detected_language": "en",
        "transcription": "He was not --> ill-disposed.\nRather selfish.",
        "translation": None,
        "device": "cuda",
        "model": "large-v3-turbo",
    } == answer


def test_words_are_a_list_of_their_own(official):
    """Without probabilities, as there."""
    job = official.parse({"audio_base64": "aGk=", "word_timestamps": True})

    assert [
        {"word": " He", "start": 0.26, "end": 0.4},
        {"word": " Rather", "start": 3725.5, "end": 3726.0},
    ] == official.answer(job, RESULT, None, INFO)["word_timestamps"]


def test_a_translation_has_its_own_format(official):
    """The first pass is plain text unless told, the second what `translation` says."""
    job = official.parse({"audio_base64": "aGk=", "translate": True, "translation": "srt"})
    answer = official.answer(job, RESULT, {**RESULT, "transcription": SEGMENTS[1:]}, INFO)

    assert "He was not --> ill-disposed. Rather selfish." == answer["transcription"]
    assert "1\n01:02:05,500 --> 01:02:06,999\nRather selfish.\n\n" == answer["translation"]


def test_subtitles_are_spelled_as_there_but_for_the_header(official):
    """Hours always, an arrow in the text made harmless; its VTT is none, for it lacks the first line."""
    cues = (
        ("00:00:00{0}260 --> 00:00:03{0}500", "He was not -> ill-disposed."),
        ("01:02:05{0}500 --> 01:02:06{0}999", "Rather selfish."),
    )

    assert "WEBVTT\n\n" + "".join(f"{when.format('.')}\n{text}\n\n" for when, text in cues) == official.formatted(
        SEGMENTS, "vtt"
    )
    assert "".join(
        f"{number}\n{when.format(',')}\n{text}\n\n" for number, (when, text) in enumerate(cues, start=1)
    ) == official.formatted(SEGMENTS, "srt")


def test_a_format_it_does_not_know_is_plain_text(official):
    """Its own test asks for "plain text", with a space."""
    assert official.formatted(SEGMENTS, "plain_text") == official.formatted(SEGMENTS, "plain text")
