"""What a job for the qwen-vl worker may ask; pure, so checked here without its environment."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.failing import same_wording
from support.stating import stating

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner, max_size=3),
    max_leaves=8,
)
FIELDS = (
    "prompt", "system", "image", "images", "video", "fps", "messages", "max_tokens", "temperature", "seed", "stop",
    "sampling_params", "schema", "choices", "regex", "stream", "max_pixels", "openai_route", "openai_input", "route",
)  # fmt: skip


@pytest.fixture(scope="module")
def jobinput(qwen_module):
    return qwen_module("jobinput")


def media(asked):
    """Where the images and clips of a request stand, and what came for them."""
    content = asked.body["messages"][-1]["content"]
    return [(part.name, part.value, part.is_clip) for part in content if not isinstance(part, dict)]


def test_the_guides_defaults_hold(jobinput):
    """512 tokens at 0.7; one user's message, the image before the question."""
    asked = jobinput.parse({"prompt": "What?", "image": "aGk="})
    (message,) = asked.body["messages"]

    assert (512, 0.7, "user") == (asked.body["max_tokens"], asked.body["temperature"], message["role"])
    assert [("image", "aGk=", False)] == media(asked)
    assert {"type": "text", "text": "What?"} == message["content"][-1]


def test_times_stand_before_their_images(jobinput):
    """In the form that Qwen3-VL was trained on."""
    asked = jobinput.parse({"prompt": "?", "images": [{"image": "a", "timestamp": 1.5}, "b"]})
    first, second, third, _ = asked.body["messages"][0]["content"]

    assert ("<1.5 seconds>", "images[0]", "images[1]") == (first["text"], second.name, third.name)


def test_a_clip_has_its_rate(jobinput):
    asked = jobinput.parse({"prompt": "?", "video": "aGk=", "fps": 2, "max_frames": 5})
    clip = asked.body["messages"][0]["content"][0]

    assert (True, 2.0, 5) == (clip.is_clip, clip.fps, clip.max_frames)


@pytest.mark.parametrize(
    "part",
    [
        {"type": "image_url", "image_url": {"url": "data:image/png;base64,aGk="}},
        {"type": "image_url", "image_url": "data:image/png;base64,aGk="},
        {"type": "image", "image": "data:image/png;base64,aGk="},
        {"type": "video_url", "video_url": {"url": "data:image/png;base64,aGk="}},
    ],
)
def test_images_in_messages_are_found(jobinput, part):
    """In OpenAI's form and in Qwen's own; nothing of them reaches the engine as it came."""
    asked = jobinput.parse({"messages": [{"role": "user", "content": [part]}], "max_tokens": 3})

    assert [("messages[0].content[0]", "data:image/png;base64,aGk=", part["type"].startswith("video"))] == media(asked)


@pytest.mark.parametrize(
    ("job_input", "kind", "route"),
    [
        ({"prompt": "Hi"}, "own", "/v1/chat/completions"),
        ({"prompt": "Hi", "image": "aGk=", "max_tokens": 5}, "own", "/v1/chat/completions"),
        ({"messages": [{"role": "user", "content": "Hi"}], "max_tokens": 5}, "own", "/v1/chat/completions"),
        ({"messages": [{"role": "user", "content": "Hi"}]}, "native", "/v1/chat/completions"),
        ({"prompt": "Hi", "sampling_params": {}}, "native", "/v1/completions"),
        ({"prompt": "Hi", "sampling_params": {}, "image": "aGk="}, "own", "/v1/chat/completions"),
        ({"openai_route": "/v1/models"}, "openai", "/v1/models"),
        ({"openai_route": "chat/completions", "openai_input": {"messages": [{"role": "user", "content": "Hi"}]}},
         "openai", "/v1/chat/completions"),
        ({"route": "/v1/models", "method": "GET"}, "openai", "/v1/models"),
    ],
)  # fmt: skip
def test_jobs_are_known_by_their_words(jobinput, job_input, kind, route):
    """Ours, OpenAI's through RunPod's envelope, or worker-vllm's."""
    asked = jobinput.parse(job_input)

    assert (kind, route) == (asked.kind, asked.route)


def test_what_nobody_knows_is_named(jobinput):
    """A misspelt field would else be paid for and not be heard."""
    assert "temprature" in jobinput.parse({"prompt": "Hi", "temprature": 0}).warnings[0]


@pytest.mark.parametrize(
    ("job_input", "limit"),
    [
        ({"prompt": "?", "image": "aGk=", "sampling_params": {"max_tokens": None}}, 512),
        ({"openai_route": "/v1/chat/completions", "openai_input": {"messages": [{"role": "user"}]}}, 512),
        ({"openai_route": "/v1/completions", "openai_input": {"prompt": "?", "max_completion_tokens": 9}}, 512),
        ({"prompt": "?", "sampling_params": {"max_tokens": 7}}, 7),
    ],
)
def test_there_is_always_a_limit_to_tokens(jobinput, job_input, limit):
    """A null is no way around it, nor a name that the route does not know."""
    assert limit == jobinput.parse(job_input).body["max_tokens"]


def test_a_stop_to_repetition_can_be_taken_off(jobinput):
    with_it = {"prompt": "Hi", "image": "aGk="}
    without = {**with_it, "sampling_params": {"repetition_detection": None}}

    assert "repetition_detection" in jobinput.parse(with_it).body
    assert "repetition_detection" not in jobinput.parse(without).body


@pytest.mark.parametrize("place", ["job", "sampling_params"])
def test_how_a_model_is_to_think_reaches_the_engine(jobinput, place):
    told = {"chat_template_kwargs": {"enable_thinking": False}}
    body = jobinput.parse({"prompt": "Hi", **(told if place == "job" else {place: told})}).body

    assert {"enable_thinking": False} == body["chat_template_kwargs"]


@pytest.mark.parametrize(
    "job_input",
    [
        {"prompt": "?", "video": ["AAAA", "BBBB", "CCCC"], "fps": 2},
        {"prompt": "?", "video": "data:video/jpeg;base64,AAAA,BBBB,CCCC", "fps": 2},
        {"prompt": "?", "video_url": [{"url": "AAAA"}, {"image": "BBBB"}, "CCCC"], "fps": 2},
        {"messages": [{"role": "user", "content": [
            {"type": "video", "video": ["AAAA", "BBBB", "CCCC"], "fps": 2}, {"type": "text", "text": "?"},
        ]}], "max_tokens": 5},
        {"openai_route": "/v1/chat/completions", "openai_input": {"messages": [{"role": "user", "content": [
            {"type": "video_url", "video_url": {"url": "data:video/jpeg;base64,AAAA,BBBB,CCCC"}, "fps": 2},
            {"type": "text", "text": "?"},
        ]}]}},
    ],
)  # fmt: skip
def test_a_list_of_frames_is_a_clip(jobinput, job_input):
    """Images with their times, as Qwen's own tools and vLLM's clients write them."""
    *frames, question = jobinput.parse(job_input).body["messages"][0]["content"]

    assert {"type": "text", "text": "?"} == question
    assert ["<0.0 seconds>", "<0.5 seconds>", "<1.0 seconds>"] == [each["text"] for each in frames[::2]]
    assert [("AAAA", False), ("BBBB", False), ("CCCC", False)] == [(each.value, each.is_clip) for each in frames[1::2]]


def test_of_a_list_of_frames_there_are_no_more_than_wanted(jobinput):
    given = {"prompt": "?", "video": [f"{n}" for n in range(10)], "max_frames": 3}
    *frames, _ = jobinput.parse(given).body["messages"][0]["content"]

    assert ["0", "3", "6"] == [each.value for each in frames[1::2]]
    with pytest.raises(jobinput.BadInputError) as caught:
        jobinput.parse({"prompt": "?", "video": []})
    stating(str(caught.value), "video")


def test_what_an_image_is_shrunk_to_can_be_said_in_openais_words(jobinput):
    given = {"messages": [{"role": "user"}], "max_pixels": 5000}
    asked = jobinput.parse({"openai_route": "/v1/chat/completions", "openai_input": given})

    assert (5000, False) == (asked.max_pixels, "max_pixels" in asked.body)


OPENAI = {"openai_route": "/v1/chat/completions"}


@pytest.mark.parametrize(
    "job_input",
    [
        {"prompt": "Hi", "schema": {"type": "object"}},
        {"prompt": "Hi", "choices": ["yes", "no"]},
        {"prompt": "Hi", "regex": "0+"},
        {"prompt": "Hi", "sampling_params": {"structured_outputs": {"grammar": "root ::= x"}}},
        {"prompt": "Hi", "sampling_params": {"response_format": {"type": "json_object"}}},
        {**OPENAI, "openai_input": {"messages": [{"role": "user"}], "response_format": {"type": "json_schema"}}},
        {**OPENAI, "openai_input": {"messages": [{"role": "user"}], "structured_outputs": {"regex": "0+"}}},
        {"messages": [{"role": "user"}], "sampling_params": {"structured_outputs": {"regex": "0+"}}},
    ],
)
def test_an_answer_that_is_held_to_a_form_may_repeat_itself(jobinput, job_input):
    """A list of forty zeros is right where a schema asks for it."""
    assert "repetition_detection" not in jobinput.parse(job_input).body


@pytest.mark.parametrize("size", range(1, 66))
def test_512_tokens_of_one_pattern_of_64_are_a_repetition_and_no_less(jobinput, size):
    """By vLLM's own rule (0.32, v1/core/sched/utils.py): each size in turn, so often at the end."""
    rule = jobinput.REPETITION

    def is_stopped(tokens):
        return any(
            each * rule["min_count"] <= len(tokens)
            and all(tokens[-at] == tokens[-at - each] for at in range(1, each * (rule["min_count"] - 1) + 1))
            for each in range(rule["min_pattern_size"], rule["max_pattern_size"] + 1)
        )

    stops_at = next((n for n in range(1, 1100) if is_stopped([at % size for at in range(n)])), None)
    assert stops_at is None if size > 64 else 512 <= stops_at <= 1024


def test_a_repetition_that_the_job_allows_or_forbids_itself_is_its_own_affair(jobinput):
    own = {"min_pattern_size": 1, "max_pattern_size": 8, "min_count": 9}
    asked = {"messages": [{"role": "user"}], "repetition_detection": own}

    assert own == jobinput.parse({**OPENAI, "openai_input": asked}).body["repetition_detection"]
    asked["repetition_detection"] = None
    assert jobinput.parse({**OPENAI, "openai_input": asked}).body["repetition_detection"] is None


@pytest.mark.parametrize(
    ("job_input", "facts"),
    [
        ([], ["object", "prompt", "a list"]),
        ({}, ["prompt", "image", "images", "video", "messages"]),
        ({"prompt": 7}, ["prompt", "text"]),
        ({"prompt": "?", "image": "a", "images": ["b"]}, ["image and images"]),
        ({"prompt": "?", "images": []}, ["images"]),
        ({"prompt": "?", "images": "a"}, ["images", "list"]),
        ({"prompt": "?", "images": [{"image": "a", "timestamp": -1}]}, ["timestamp", "0", "-1"]),
        ({"prompt": "?", "max_tokens": 0}, ["max_tokens", "1", "0"]),
        ({"prompt": "?", "max_tokens": 1.5}, ["max_tokens", "whole number", "1.5"]),
        ({"prompt": "?", "max_tokens": 10**30}, ["max_tokens"]),
        ({"prompt": "?", "temperature": 3}, ["temperature", "0 to 2", "3"]),
        ({"prompt": "?", "temperature": True}, ["temperature", "number"]),
        ({"prompt": "?", "stop": [""]}, ["stop", "text"]),
        ({"prompt": "?", "choices": []}, ["choices", "list"]),
        ({"prompt": "?", "schema": "x"}, ["schema", "JSON Schema"]),
        ({"prompt": "?", "schema": {"a": 1}, "regex": "a"}, ["schema and regex"]),
        ({"prompt": "?", "stream": "yes"}, ["stream", "true or false"]),
        ({"prompt": "?", "max_tokens": 1, "sampling_params": {"n": 4}}, ["sampling_params", " n"]),
        ({"prompt": "?", "max_tokens": 1, "sampling_params": {"model": "x"}}, ["sampling_params", "model"]),
        ({"prompt": "?", "messages": [{"role": "user", "content": "Hi"}], "max_tokens": 1}, ["messages and prompt"]),
        ({"messages": [7], "max_tokens": 1}, ["messages[0]", "object"]),
        ({"messages": [{"role": "user", "content": [{"type": "input_audio"}]}], "max_tokens": 1},
         ["text, image_url and video_url", "input_audio"]),
        ({"video": "a", "fps": 0}, ["fps", "0"]),
        ({"openai_route": "/v1/load_lora_adapter"}, ["/v1/chat/completions", "/v1/load_lora_adapter"]),
        ({"openai_route": "/sleep"}, ["/v1/chat/completions", "/sleep"]),
        ({"openai_route": "/v1/responses"}, ["/v1/chat/completions", "/v1/responses"]),
        ({"openai_route": "/../health"}, ["/v1/chat/completions", "/../health"]),
        ({"openai_route": 7}, ["/v1/chat/completions", "7"]),
        ({"openai_route": "/v1/chat/completions", "openai_input": []}, ["openai_input", "object"]),
        ({"prompt": "?", "image": "a", "sampling_params": {"mm_processor_kwargs": {"min_pixels": 10**9}}},
         ["mm_processor_kwargs", "max_pixels"]),
        ({"openai_route": "/v1/completions", "openai_input": {"prompt": "?", "prompt_logprobs": 20}},
         ["prompt_logprobs"]),
        ({"prompt": "?", "sampling_params": {"request_id": "1"}}, ["request_id"]),
        ({"openai_route": "/v1/completions", "openai_input": {"prompt": ["?"] * 9, "n": 2}}, ["18 answers", "16"]),
        ({"openai_route": "/v1/completions", "openai_input": {"prompt": "?", "messages": "a"}},
         ["messages", "/v1/completions"]),
        ({"prompt": "?", "sampling_params": {"messages": [], "max_tokens": 1}}, ["messages", "/v1/completions"]),
    ],
)  # fmt: skip
def test_what_is_wrong_is_named(jobinput, job_input, facts):
    """One sentence, with the field in it."""
    with pytest.raises(jobinput.BadInputError) as caught:
        jobinput.parse(job_input)
    message = str(caught.value)

    assert [] == [fact for fact in facts if fact not in message]
    assert "\n" not in message
    same_wording(message)


@given(st.dictionaries(st.sampled_from(FIELDS), JSON, max_size=5) | JSON)
def test_any_json_is_a_request_or_refused(qwen_module, job_input):
    """Nothing else comes out, whatever comes in."""
    jobinput = qwen_module("jobinput")
    try:
        asked = jobinput.parse(job_input)
    except jobinput.BadInputError:
        return

    assert asked.route in jobinput.ROUTES
