"""What is asked of a vision-language worker, and how its answer is read, whole or as it comes."""

from __future__ import annotations

import json
import math
import re
from contextlib import suppress
from dataclasses import replace
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.failing import failing

from vidctl.errors import ApiError, JobFailedError, SchemaMismatchError
from vidctl.tasks.describe.budget import MAX_PIXELS, image_tokens, pixel_budget
from vidctl.tasks.describe.codec import decode, encode, repair
from vidctl.tasks.describe.model import OFFICIAL, DescribeOptions, Description, Seen, Sent
from vidctl.tasks.describe.stream import StreamReader

CAT = Sent("cat.jpg", b"cat", 640, 480)
DOG = Sent("dog.jpg", b"dog", 320, 240)
EARLY = Sent("clip.mp4", b"early", 640, 360, at_s=1.5)
LATE = Sent("clip.mp4", b"late", 640, 360, at_s=62.25)
ASKED = DescribeOptions("What is this?")
SCHEMA = {"type": "object", "properties": {"age": {"type": "integer"}}, "required": ["age"]}
USAGE = {"prompt_tokens": 12, "completion_tokens": 3, "total_tokens": 15}

anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda children: st.lists(children, max_size=3) | st.dictionaries(st.text(), children, max_size=3),
    max_leaves=8,
)


def completion(text: object, **more: object) -> dict[str, object]:
    """As OpenAI's API answers a chat."""
    choice = {"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": "stop"}
    return {"object": "chat.completion", "choices": [choice], "usage": USAGE, "model": "Qwen3", **more}


def chunk(text: str | None = None, *, reason: str | None = None, usage: dict | None = None, number: str = "1") -> dict:
    """A piece of it, as the API streams it; the last one has the usage and no choice."""
    choices = [{"index": 0, "delta": {"content": text} if text is not None else {}, "finish_reason": reason}]
    whole = {"id": f"chatcmpl-{number}", "object": "chat.completion.chunk", "model": "Qwen3"}
    return {**whole, "choices": [] if usage else choices, "usage": usage}


def events(*chunks: dict, end: str = "\n") -> str:
    """The pieces as server-sent events."""
    lines = [f"data: {json.dumps(each)}" for each in chunks] + ["data: [DONE]"]
    return "".join(f"{line}{end}{end}" for line in lines)


HELLO = [chunk(""), chunk("Héllo"), chunk(" 🐈\u2028 there"), chunk(reason="stop"), chunk(usage=USAGE)]
SAID = "Héllo 🐈\u2028 there"


# --- the question -------------------------------------------------------------------------------------------------


def test_one_image_is_asked_as_the_guides_handler_expects():
    """`prompt`, `image`, `max_tokens` and `temperature` are all that a hand-written worker knows."""
    expected = {"prompt": "What is this?", "image": "Y2F0", "max_tokens": 512, "temperature": 0.7}

    assert expected == encode([CAT], ASKED, None)


def test_several_images_travel_as_a_list():
    """In the order in which they were named, and with what was asked for besides."""
    options = replace(ASKED, system="Be brief.", seed=7, stop=("END",), max_tokens=64, temperature=0)

    assert {
        "prompt": "What is this?", "images": ["Y2F0", "ZG9n"], "system": "Be brief.", "seed": 7, "stop": ["END"],
        "max_tokens": 64, "temperature": 0, "stream": True,
    } == encode([CAT, DOG], options, None, stream=True)  # fmt: skip


@pytest.mark.parametrize("sent", [[EARLY], [EARLY, CAT]])
def test_a_frame_is_sent_with_its_time(sent):
    """Even alone; an image without a time stays a text."""
    images = encode(sent, ASKED, None)["images"]

    assert {"image": "ZWFybHk=", "timestamp": 1.5} == images[0]
    assert ["Y2F0"] == images[1:] or len(images) == 1


def test_a_question_may_have_no_image():
    """Then it is the prompt alone."""
    assert {"prompt", "max_tokens", "temperature"} == encode([], ASKED, None).keys()


@pytest.mark.parametrize(
    ("form", "said"),
    [
        ({"schema": SCHEMA}, '"age":{"type":"integer"}'),
        ({"choices": ("yes", "no")}, '"yes", "no"'),
        ({"regex": "[0-9]+"}, "[0-9]+"),
    ],
)
def test_the_form_of_an_answer_is_enforced_and_said(form, said):
    """The engine holds the model to it; and the model is told, for descriptions reach it in no other way."""
    asked = encode([CAT], replace(ASKED, **form), None)

    (name, value), *_ = form.items()
    assert (list(value) if isinstance(value, tuple) else value) == asked[name]
    assert asked["prompt"].startswith("What is this?\n\nAnswer with ")
    assert said in asked["prompt"]


def test_the_official_worker_is_asked_in_openais_words():
    """Through the envelope that both of its generations take; frames after their times, the prompt at last."""
    options = replace(ASKED, system="Be brief.", seed=7, stop=("END",))

    asked = encode([CAT, EARLY, LATE], options, OFFICIAL, model="qwen")

    content = [
        {"type": "image_url", "image_url": {"url": "data:image/jpeg;base64,Y2F0"}},
        {"type": "text", "text": "<1.5 seconds>"},
        {"type": "image_url", "image_url": {"url": "data:image/jpeg;base64,ZWFybHk="}},
        {"type": "text", "text": "<62.2 seconds>"},
        {"type": "image_url", "image_url": {"url": "data:image/jpeg;base64,bGF0ZQ=="}},
        {"type": "text", "text": "What is this?"},
    ]
    assert {
        "openai_route": "/v1/chat/completions",
        "openai_input": {
            "model": "qwen",
            "messages": [{"role": "system", "content": "Be brief."}, {"role": "user", "content": content}],
            "max_tokens": 512, "temperature": 0.7, "seed": 7, "stop": ["END"],
        },
    } == asked  # fmt: skip


@pytest.mark.parametrize(
    ("form", "expected"),
    [
        (
            {"schema": SCHEMA},
            {"response_format": {"type": "json_schema", "json_schema": {"name": "answer", "schema": SCHEMA}}},
        ),
        ({"choices": ("yes", "no")}, {"structured_outputs": {"choice": ["yes", "no"]}}),
        ({"regex": "[0-9]+"}, {"structured_outputs": {"regex": "[0-9]+"}}),
    ],
)
def test_the_official_worker_is_held_to_a_form_in_vllms_words(form, expected):
    """`structured_outputs` has them since vLLM 0.11, the first with Qwen3-VL."""
    asked = encode([CAT], replace(ASKED, **form), OFFICIAL, model="qwen")["openai_input"]

    assert expected.items() <= asked.items()


def test_a_stream_of_the_official_worker_ends_with_its_usage():
    """Which it tells only if it is asked to."""
    asked = encode([CAT], ASKED, OFFICIAL, model="qwen", stream=True)["openai_input"]

    assert {"stream": True, "stream_options": {"include_usage": True}}.items() <= asked.items()


def test_the_official_worker_is_not_asked_without_the_name_of_its_model():
    """It would answer that it has no such model; the hint says where the name stands."""
    with failing("usage_error", OFFICIAL, "--model", "MODEL_NAME", "OPENAI_SERVED_MODEL_NAME_OVERRIDE"):
        encode([CAT], ASKED, OFFICIAL)


def test_an_unknown_protocol_is_refused():
    """And told which there are."""
    with failing("usage_error", "protocol", "worker-vllm", "worker-faster_whisper"):
        encode([CAT], ASKED, "worker-faster_whisper")


@pytest.mark.parametrize(("width", "height"), [(20_001, 100), (1, 201)])
def test_an_image_that_no_model_takes_is_not_sent(width, height):
    """Qwen's processor refuses sides of more than 200 to 1; a job that is known to fail is not paid for."""
    with failing("media_error", "line.png", f"{width} x {height} pixels", 200):
        encode([Sent("line.png", b"", width, height)], ASKED, None)


def test_other_fields_go_where_the_worker_takes_them():
    """vLLM's own parameters are a mapping of their own in one worker's words, and fields like any other in OpenAI's."""
    options = replace(ASKED, extra={"top_k": 20, "top_p": 0.8, "sampling_params": {"min_p": 0.1}})
    endless = encode([CAT], replace(ASKED, extra={"repetition_detection": None}), None)

    own = encode([CAT], options, None)
    official = encode([CAT], replace(ASKED, extra={"top_k": 20}), OFFICIAL, model="qwen")["openai_input"]

    assert (0.8, {"min_p": 0.1, "top_k": 20}) == (own["top_p"], own["sampling_params"])
    assert "top_k" not in own
    assert 20 == official["top_k"]
    assert {"repetition_detection": None} == endless["sampling_params"]


def test_what_the_images_were_shrunk_to_is_no_word_of_openais():
    options = replace(ASKED, extra={"max_pixels": 5000})

    assert 5000 == encode([CAT], options, None)["max_pixels"]
    assert "max_pixels" not in encode([CAT], options, OFFICIAL, model="qwen")["openai_input"]


THOUGHT = "<think>\nA bus?\n</think>\n\nA blue bus."


@pytest.mark.parametrize(
    ("output", "protocol"),
    [
        ({"response": THOUGHT}, None),
        ({"response": "A blue bus.", "reasoning": "A bus?"}, None),
        ({"choices": [{"message": {"content": THOUGHT}}]}, OFFICIAL),
        ({"choices": [{"message": {"content": "A blue bus.", "reasoning_content": "A bus?"}}]}, OFFICIAL),
        ({"choices": [{"message": {"content": "A blue bus.", "reasoning": "A bus?"}}]}, OFFICIAL),
    ],
)
def test_what_a_model_thinks_is_not_its_answer(output, protocol):
    found = decode(output, "bus.jpg", ASKED, protocol)

    assert ("A blue bus.", "A bus?") == (found.text, found.reasoning)
    assert "A bus?" == found.to_dict()["reasoning"]


def test_an_answer_in_a_form_may_have_been_thought_about():
    options = replace(ASKED, schema={"type": "object"})

    assert {"a": 1} == decode({"response": '<think>One.</think>\n{"a": 1}'}, "a", options, None).data


def test_how_a_model_is_to_think_goes_where_the_worker_takes_it():
    options = replace(ASKED, extra={"chat_template_kwargs": {"enable_thinking": False}})
    own, official = encode([CAT], options, None), encode([CAT], options, OFFICIAL, model="qwen")["openai_input"]

    assert {"enable_thinking": False} == own["sampling_params"]["chat_template_kwargs"]
    assert {"enable_thinking": False} == official["chat_template_kwargs"]


@pytest.mark.parametrize("name", ["prompt", "max_tokens", "image", "images", "messages", "stream", "model", "schema"])
def test_no_field_is_said_twice(name):
    """What an option says, or vidctl itself, `--set` cannot say otherwise."""
    with failing("usage_error", f"{name} "):
        DescribeOptions("What is this?", extra={name: 1})


def test_two_forms_of_an_answer_are_refused_in_openais_words_too():
    """A response_format besides a schema would win unseen."""
    options = replace(ASKED, schema=SCHEMA, extra={"response_format": {"type": "json_object"}})

    with failing("usage_error", "response_format"):
        encode([CAT], options, OFFICIAL, model="qwen")


@pytest.mark.parametrize(
    "options",
    [
        {"prompt": " \n"}, {"max_tokens": 0}, {"max_tokens": True}, {"max_tokens": 1.5}, {"temperature": -0.1},
        {"temperature": 2.1}, {"temperature": math.nan}, {"temperature": True}, {"seed": -1}, {"seed": 2**63},
        {"stop": ("",)}, {"choices": ("yes", "yes")}, {"choices": ("",)}, {"choices": (" yes",)}, {"regex": ""},
        {"schema": {"type": "objekt"}},
    ],
)  # fmt: skip
def test_options_out_of_range_are_a_usage_error(options):
    """The message names the option."""
    with failing("usage_error", next(iter(options))):
        DescribeOptions(**{"prompt": "What?", **options})


def test_an_answer_has_one_form():
    """Two at once cannot both be met."""
    with failing("usage_error", "schema and choices"):
        DescribeOptions("What?", schema=SCHEMA, choices=("a",))


@pytest.mark.parametrize("value", [math.nan, {1, 2}, b"bytes"])
def test_a_field_that_is_no_json_is_refused(value):
    """Before anything is sent."""
    with failing("usage_error", "JSON", varies=True):
        DescribeOptions("What?", extra={"top_p": value})


# --- what images cost ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("width", "height", "tokens"),
    [
        (1024, 1024, 1024),  # 32 x 32 squares of 32 pixels
        (1920, 1080, 2040),  # 60 x 33.75, rounded to 34
        (640, 480, 300),  # 20 x 15
        (1365, 768, 1032),  # 42.66 x 24: 43 x 24
        (720, 464, 308),  # 22.5 x 14.5: halves go to the even neighbour, 22 x 14
        (256, 192, 70),  # 49152 pixels are enlarged by sqrt(65536 / 49152) = 1.1547, and rounded up: 10 x 7
        (10, 10, 64),  # to 256 x 256, the least
        (15, 2900, 112),  # 15 pixels round to no square at all, so it is enlarged, by 1.2274: 1 x 112
        (8192, 8192, 16384),  # to 4096 x 4096, the most
        (6000, 4000, 16224),  # shrunk by sqrt(24e6 / 16777216) = 1.196, and rounded down: 156 x 104
    ],
)
def test_an_image_costs_what_the_models_processor_makes_of_it(width, height, tokens):
    """transformers 5.19, models/qwen2_vl/image_processing_qwen2_vl.py, `smart_resize`, computed by hand.

    With factor 32, min_pixels 65536 and max_pixels 16777216 of Qwen3-VL's preprocessor_config.json.
    """
    assert tokens == image_tokens(width, height)


@pytest.mark.parametrize(
    ("count", "tokens"), [(0, 1024), (1, 1024), (6, 1024), (8, 768), (16, 384), (96, 64), (500, 64)]
)
def test_images_share_what_there_is(count, tokens):
    """Together 6144 tokens, of the 8192 that fit; none has a use for more than 1024, and none gets less than 64."""
    assert tokens * 1024 == pixel_budget(count)
    assert pixel_budget(count) <= MAX_PIXELS


def test_images_share_what_the_models_context_holds():
    """Beside an answer, and 1536 tokens for words."""
    tokens = [pixel_budget(16, max_model_len=4096, max_tokens=512) / 1024, pixel_budget(4, max_tokens=4000) / 1024]

    assert [128, 664] == tokens


# --- the answer --------------------------------------------------------------------------------------------------


def test_the_guides_answer_is_enough():
    """Three fields are all that a hand-written handler gives."""
    answer = {"response": "A cat.", "prompt_tokens": 20, "completion_tokens": 3}

    assert Description("cat.jpg", "A cat.", 20, 3) == decode(answer, "cat.jpg", ASKED, None)


def test_the_workers_whole_answer_is_read():
    """And told again with the same names."""
    answer = {
        "response": "A cat.", "prompt_tokens": 320, "completion_tokens": 3, "image_tokens": 300,
        "finish_reason": "stop", "images": [{"width": 640, "height": 480, "tokens": 300}],
        "timings": {"prepare": 0.01, "first_token": 0.2, "total": 0.5},
        "model": {"name": "Qwen/Qwen3-VL-8B-Instruct", "engine": "vllm 0.32.0", "max_model_len": 8192},
        "warnings": ["one\x1b[2J\nline"],
    }  # fmt: skip

    description = decode(answer, "cat.jpg", ASKED, None)

    assert (300, "stop", (Seen(640, 480, 300),)) == (
        description.image_tokens, description.finish_reason, description.images,
    )  # fmt: skip
    assert {
        **answer,
        "source": "cat.jpg",
        "warnings": ["one\N{REPLACEMENT CHARACTER}[2J line"],
    } == description.to_dict()


@pytest.mark.parametrize(
    "output",
    [
        completion("A cat."),
        [completion("A cat.")],
        completion([{"type": "text", "text": "A "}, {"type": "text", "text": "cat."}]),
        [{"choices": [{"tokens": ["A ", "cat."]}], "usage": {"input": 12, "output": 3}}],
        [{"choices": [{"tokens": ["A "]}], "usage": {"input": 12, "output": 1}},
         {"choices": [{"tokens": ["cat."]}], "usage": {"input": 12, "output": 3}}],
        {"object": "text_completion", "choices": [{"text": "A cat.", "finish_reason": "stop"}], "usage": USAGE},
        [events(chunk("A "), chunk("cat.", reason="stop"), chunk(usage=USAGE))],
        [events(chunk("A "), chunk("cat.", reason="stop"), chunk(usage=USAGE))[:-16]],
        list(events(chunk("A "), chunk("cat.", reason="stop"), chunk(usage=USAGE))),
        [chunk("A "), chunk("cat.", reason="stop"), chunk(usage=USAGE)],
        [[chunk("A "), chunk("cat.", reason="stop")], [chunk(usage=USAGE)]],
    ],
)  # fmt: skip
def test_all_generations_of_the_official_worker_are_read(output):
    """Objects, lists of one, tokens of the older ones, and what RunPod gathers of a stream."""
    description = decode(output, "cat.jpg", ASKED, OFFICIAL)

    assert ("A cat.", 12, 3) == (description.text, description.prompt_tokens, description.completion_tokens)


def test_a_model_that_says_nothing_has_said_nothing():
    """One that is cut off while it still reasons has no content at all."""
    assert "" == decode(completion(None), "a", ASKED, OFFICIAL).text


@pytest.mark.parametrize("protocol", [None, OFFICIAL])
@pytest.mark.parametrize(
    ("error", "said"),
    [
        ({"error": "out of memory"}, "out of memory"),
        ({"error": {"message": "too\nlong", "type": "worker_error", "code": None}}, "too long"),
        ({"object": "error", "message": "At most 4 image(s)", "code": 400}, "At most 4 image(s)"),
        ([{"error": {"message": "too long"}}], "too long"),
        ({"error": ["no prompt", {"a": 1}]}, 'no prompt; {"a": 1}'),
    ],
)
def test_an_error_in_an_answers_place_is_a_job_that_failed(error, said, protocol):
    """RunPod says COMPLETED; the error says why, in one line."""
    with failing("job_failed", said):
        decode(error, "cat.jpg", ASKED, protocol)


@pytest.mark.parametrize(
    ("output", "protocol", "field"),
    [
        ("text", None, "output"), ([], None, "output"), (None, None, "output"), ({}, None, "output.response"),
        ({"response": 5}, None, "output.response"),
        ({"response": "", "prompt_tokens": "5"}, None, "output.prompt_tokens"),
        ({"response": "", "images": [{"width": 1}]}, None, "output.images[0].height"),
        ({"response": "", "timings": {"total": "x"}}, None, "output.timings.total"),
        ({"response": "", "completion_tokens": -1}, None, "output.completion_tokens"),
        ({"response": "", "model": 5}, None, "output.model"),
        ({}, OFFICIAL, "output.choices"), ({"choices": []}, OFFICIAL, "output.choices"),
        ({"choices": [5]}, OFFICIAL, "output.choices[0]"), ({"choices": [{}]}, OFFICIAL, "output.choices[0].message"),
        ({"choices": [{"message": {"content": 5}}]}, OFFICIAL, "output.choices[0].message.content"),
        ("no events", OFFICIAL, "output"), ([1, 2], OFFICIAL, "output"),
    ],
)  # fmt: skip
def test_what_is_no_answer_is_an_error_that_names_the_field(output, protocol, field):
    """A worker of another kind, or a broken one."""
    with failing("api_error", f"`{field}`"):
        decode(output, "cat.jpg", ASKED, protocol)


@pytest.mark.parametrize(
    ("output", "protocol", "facts"),
    [
        (completion("A cat."), None, ("output.response", "protocol: worker-vllm")),
        ({"response": "A cat."}, OFFICIAL, ("output.choices", "protocol")),
    ],
)
def test_the_answer_of_the_other_worker_says_so(output, protocol, facts):
    """The spec's protocol is the first thing to look at."""
    with failing("api_error", *facts):
        decode(output, "cat.jpg", ASKED, protocol)


@given(anything, st.sampled_from([None, OFFICIAL]))
def test_no_json_breaks_the_reader(output, protocol):
    """Whatever a worker answers becomes a description or one of the two errors."""
    with suppress(ApiError, JobFailedError):
        decode(output, "a", ASKED, protocol)


@given(
    st.dictionaries(
        st.sampled_from(["response", "choices", "images", "timings", "model", "warnings", "usage", "error", "object"]),
        anything
        | st.lists(st.dictionaries(st.sampled_from(["message", "tokens", "text", "width", "delta"]), anything)),
    ),
    st.sampled_from([None, OFFICIAL]),
)
def test_no_answer_with_known_fields_breaks_the_reader(answer, protocol):
    """Right names with anything in them."""
    with suppress(ApiError, JobFailedError):
        decode([answer], "a", ASKED, protocol).to_dict()
    with suppress(JobFailedError):
        StreamReader(protocol).feed(answer)


def test_what_no_file_can_hold_is_replaced():
    """Half of a pair of surrogates; all else is given as the model wrote it, for whoever shows it to clean."""
    assert "a\ufffd\x1b[2Jb" == decode({"response": "a\ud83d\x1b[2Jb"}, "a", ASKED, None).text


# --- answers of a form -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("text", ['{"age": 5}', '```json\n{"age": 5}\n```', ' ```\n{"age": 5}```\n', '{"age": 5.0}'])
def test_an_answer_that_meets_the_schema_comes_with_its_value(text):
    """Also out of the fence that models put around code."""
    description = decode({"response": text}, "a", replace(ASKED, schema=SCHEMA), None)

    assert {"age": 5} == description.data
    assert (text, {"age": 5}) == (description.text, description.to_dict()["data"])


@pytest.mark.parametrize(
    ("text", "facts"),
    [
        ('{"age": "five"}', ("age", '"five"')),
        ("{}", ('"age"',)),
        ("A cat.", ("JSON", "line 1 column 1")),
        ('{"age": NaN}', ("JSON", "NaN")),
        ('"\\ud800"', ("surrogate",)),
        ("```json", ("JSON", "line 1 column 1")),
    ],
)
def test_an_answer_that_does_not_meet_the_schema_is_not_taken_for_one(text, facts):
    """The error holds the answer and what is wrong with it, for a second attempt."""
    with failing("schema_mismatch", "cat.jpg", *facts) as caught:
        decode({"response": text}, "cat.jpg", replace(ASKED, schema=SCHEMA), None)
    assert text == caught.value.text
    assert [] == [fact for fact in facts if fact not in caught.value.problem]
    assert caught.value.message.endswith(f": {caught.value.problem}")


@pytest.mark.parametrize("form", [{"schema": SCHEMA}, {"choices": ("yes", "no")}])
def test_what_is_quoted_of_an_answer_steers_no_terminal(form):
    """The error is shown to people; the answer in it is as the model wrote it."""
    text = '{"age": "\x9b2J\u2028"}'
    with pytest.raises(SchemaMismatchError) as caught:
        decode({"response": text}, "a", replace(ASKED, **form), None)
    assert not re.search("[\x00-\x1f\x7f-\x9f\u2028]", f"{caught.value.message}{caught.value.problem}")
    assert text == caught.value.text


@pytest.mark.parametrize("text", ["[" * 100_000, "9" * 10_000, '{"a":' * 2000 + "1" + "}" * 2000])
def test_no_answer_breaks_the_check(text):
    """Towers of brackets and endless digits are a mismatch like any other."""
    with pytest.raises(SchemaMismatchError):
        decode({"response": text}, "a", replace(ASKED, schema={"type": "string"}), None)


def test_an_answer_that_was_cut_off_says_so():
    """It is the limit that has to be raised, not the question."""
    with failing("schema_mismatch", "512 tokens", "JSON", "max_tokens"):
        decode({"response": '{"age"', "finish_reason": "length"}, "a", replace(ASKED, schema=SCHEMA), None)


def test_an_answer_is_one_of_the_choices():
    """Without the spaces around it; anything else is a mismatch."""
    options = replace(ASKED, choices=("yes", "no"))

    assert "yes" == decode({"response": " yes\n"}, "a", options, None).text
    with failing("schema_mismatch", "a: ", "'Yes.'", '"yes", "no"'):
        decode({"response": "Yes."}, "a", options, None)


def test_a_repair_asks_again_with_what_was_wrong():
    """All else stays as it was; an endless answer is not sent back whole."""
    options = replace(ASKED, schema=SCHEMA, seed=7)

    again = repair(options, "five" * 10_000, 'the answer has no "age"')

    assert options == replace(again, prompt=options.prompt)
    assert again.prompt.startswith("What is this?\n\nTo this you answered before:\nfivefive")
    assert 'That was wrong: the answer has no "age".' in again.prompt
    assert len(again.prompt) < 3000


# --- the answer as it comes --------------------------------------------------------------------------------------


def test_the_workers_chunks_make_up_its_answer():
    """The last one has all that the answer says besides its text."""
    reader = StreamReader(None)

    told = [reader.feed({"text": "A ", "index": 0}), reader.feed([{"text": "cat.", "index": 1}])]
    before = reader.output
    reader.feed({"text": "", "index": 2, "done": True, "prompt_tokens": 9, "completion_tokens": 2})

    assert (["A ", "cat."], None) == (told, before)
    assert ("A cat.", False) == (reader.text, reader.has_gap)
    assert Description("a", "A cat.", 9, 2) == decode(reader.output, "a", ASKED, None)


def test_a_chunk_that_was_lost_is_noticed():
    """The answer says that it is not whole."""
    reader = StreamReader(None)

    for each in ({"text": "A ", "index": 0}, {"text": "sits.", "index": 2}, {"text": "", "index": 3, "done": True}):
        reader.feed(each)

    assert ("A sits.", True) == (reader.text, reader.has_gap)
    assert ("a part of the answer was lost in transit",) == decode(reader.output, "a", ASKED, None).warnings


def test_the_last_chunk_tells_of_those_lost_before_it():
    """Also where nothing but the end came."""
    reader = StreamReader(None)

    reader.feed({"text": "", "index": 4, "done": True})

    assert reader.has_gap


def test_a_chunk_that_comes_twice_is_told_once():
    """A repeated delivery changes nothing."""
    reader = StreamReader(None)

    told = [reader.feed({"text": text, "index": index}) for text, index in (("a", 0), ("b", 1), ("b", 1), ("c", 2))]

    assert (["a", "b", "", "c"], "abc", False) == (told, reader.text, reader.has_gap)


@pytest.mark.parametrize("protocol", [None, OFFICIAL])
def test_a_job_that_another_worker_takes_over_begins_again(protocol):
    """RunPod gives a job to another worker when it loses one: the answer is the new one's; what was told is not."""
    first = {None: [{"text": "A d", "index": 0}, {"text": "og", "index": 1}], OFFICIAL: [chunk("A d"), chunk("og")]}
    second = {
        None: [{"text": "A cat.", "index": 0}, {"text": "", "index": 1, "done": True}],
        OFFICIAL: [chunk("A cat.", number="2", reason="stop"), chunk(usage=USAGE, number="2")],
    }
    reader = StreamReader(protocol)

    for each in first[protocol] + second[protocol]:
        reader.feed(each)

    assert ("A cat.", True) == (reader.text, reader.has_gap)
    assert ("A cat.", ()) == (
        decode(reader.output, "a", ASKED, protocol).text,
        decode(reader.output, "a", ASKED, protocol).warnings,
    )


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
@given(cuts=st.lists(st.integers(0, 2000), max_size=40))
def test_the_same_events_cut_anywhere_give_the_same_text(end, cuts):
    """Between the halves of a line's end, within an escape, or not at all."""
    whole = events(*HELLO, end=end)
    places = [0, *sorted(min(cut, len(whole)) for cut in cuts), len(whole)]
    reader = StreamReader(OFFICIAL)

    told = "".join(reader.feed(whole[begin:stop]) for begin, stop in pairwise(places))

    assert (SAID, SAID, False) == (told, reader.text, reader.has_gap)
    assert decode(completion(SAID), "a", ASKED, OFFICIAL) == decode(reader.output, "a", ASKED, OFFICIAL)


@pytest.mark.parametrize(
    "outputs",
    [
        HELLO,
        [HELLO],
        [HELLO[:2], HELLO[2:]],
        [events(*HELLO[:3])[: -len("data: [DONE]\n\n")], events(*HELLO[3:])],
        [f": a comment\n\nevent: message\nid: 3\nretry: 10\n{events(*HELLO)}"],
        [json.dumps(HELLO[1]), 5, None, {"status": "IN_PROGRESS"}, {"choices": 7}, {"choices": [None]}, events(*HELLO)],
    ],
)
def test_a_stream_of_the_official_worker_has_many_forms(outputs):
    """Objects, lists of them, text of one or several events; what is none of these is passed over."""
    reader = StreamReader(OFFICIAL)

    assert SAID == "".join(reader.feed(each) for each in outputs)
    assert reader.output is not None


def test_a_stream_has_ended_with_its_reason_and_its_usage():
    """Or with the event that says so; before, there is nothing to decode."""
    reader = StreamReader(OFFICIAL)
    found = []
    for each in (*HELLO[1:], "data: [DONE]\n\n"):
        reader.feed(each)
        found.append(reader.output is not None)

    assert [False, False, False, True, True] == found


def test_the_older_workers_stream_is_read():
    """Batches of tokens, which end without a word."""
    reader = StreamReader(OFFICIAL)

    batches = [
        {"choices": [{"tokens": ["A ", "c"]}], "usage": {"input": 5, "output": 2}},
        {"choices": [{"tokens": ["at."]}]},
    ]

    assert "A cat." == "".join(map(reader.feed, batches))


def test_an_event_that_cannot_be_read_is_a_gap():
    """The rest goes on."""
    reader = StreamReader(OFFICIAL)

    told = reader.feed('data: {"choices": [{"del\n\n' + events(chunk("cat.", reason="stop")))

    assert ("cat.", True) == (told, reader.has_gap)
    assert ("a part of the answer was lost in transit",) == decode(reader.output, "a", ASKED, OFFICIAL).warnings


@pytest.mark.parametrize(
    ("protocol", "output"),
    [
        (None, {"error": "out of memory"}),
        (OFFICIAL, {"error": {"message": "out of memory"}}),
        (OFFICIAL, 'data: {"error": {"message": "out of memory", "code": 500}}\n\n'),
        (OFFICIAL, [{"object": "error", "message": "out of memory"}]),
    ],
)
def test_an_error_in_a_stream_is_a_job_that_failed(protocol, output):
    """At once, in whatever form it comes."""
    with failing("job_failed", "out of memory"):
        StreamReader(protocol).feed(output)


@given(st.lists(anything, max_size=5), st.sampled_from([None, OFFICIAL]))
def test_no_output_breaks_the_stream(outputs, protocol):
    """What is not known is passed over."""
    reader = StreamReader(protocol)
    for output in outputs:
        with suppress(JobFailedError):
            assert isinstance(reader.feed(output), str)
    with suppress(ApiError, JobFailedError):
        decode(reader.output, "a", ASKED, protocol)
