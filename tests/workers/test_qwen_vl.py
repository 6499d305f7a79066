"""The qwen-vl worker on the real engine: vLLM on the CPU, with a tiny random Qwen3-VL.  Its words are noise.

So nothing here looks at what it says, but for answers that are held to something.
"""

from __future__ import annotations

import asyncio
import json
import math
import re

import pytest
from support import vision
from support.runtime import until

pytestmark = pytest.mark.model

MAX_MODEL_LEN = 16384
ENDLESS = 16000  # tokens: more than are made while a test looks at a job
NAME = "Qwen/Qwen3-VL-8B-Instruct"
PERSON = {
    "type": "object",
    "properties": {
        "mood": {"enum": ["calm", "angry"]},
        "count": {"type": "integer", "minimum": 0, "maximum": 99},
        "seated": {"type": "boolean"},
    },
    "required": ["mood", "count", "seated"],
    "additionalProperties": False,
}


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """Where the worker keeps its temporary files, the engine's socket among them; a short path, as sockets want."""
    return tmp_path_factory.mktemp("q")


@pytest.fixture(scope="module")
def worker(drive_qwen, place):
    return drive_qwen(TMPDIR=str(place))


@pytest.fixture(scope="module")
def socket(worker, place):
    return vision.engine_socket(place)


def ask(worker, **job_input):
    (answer,) = worker.ask({"prompt": "Describe the image.", "max_tokens": 8, **job_input})
    return answer


def exactly(count, **job_input):
    """A job that makes just so many tokens."""
    return {"prompt": "Tell me a story.", "max_tokens": count, "sampling_params": vision.EXACTLY, **job_input}


def part(data):
    return {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{vision.encoded(data)}"}}


def text(words):
    return {"type": "text", "text": words}


# --- what is counted --------------------------------------------------------------------------------------------------


def test_the_guides_request_is_answered_in_its_fields(worker):
    """Word for word: prompt, image, max_tokens and temperature in; response and two counts out."""
    request = {
        "prompt": vision.GUIDE_PROMPT,
        "image": vision.encoded(vision.image(form="JPEG")),
        "max_tokens": 512,
        "temperature": 0.7,
    }
    (answer,) = worker.ask(request)

    assert (str, int, int) == tuple(type(answer[key]) for key in ("response", "prompt_tokens", "completion_tokens"))
    assert 0 < answer["completion_tokens"] <= 512
    assert answer["model"] == {"name": NAME, "engine": answer["model"]["engine"], "max_model_len": MAX_MODEL_LEN}
    assert re.fullmatch(r"vllm \d+\.\d+\.\d+", answer["model"]["engine"])


@pytest.mark.parametrize("count", [1, 7, 64])
def test_completion_tokens_are_those_that_were_made(worker, count):
    (answer,) = worker.ask(exactly(count))

    assert (count, "length") == (answer["completion_tokens"], answer["finish_reason"])


def test_prompt_tokens_are_the_tokenizers(worker, socket):
    """A system text and a prompt, through the model's own chat template."""
    answer = ask(worker, prompt="What colour is it?", system="You are careful.")
    messages = [{"role": "system", "content": "You are careful."}, {"role": "user", "content": "What colour is it?"}]

    assert vision.prompt_tokens(socket, NAME, messages) == answer["prompt_tokens"]


@pytest.mark.parametrize(
    ("width", "height", "seen"),
    [
        (256, 192, (256, 192)),
        (250, 190, (256, 192)),  # each side to the nearest multiple of 32
        (640, 480, (576, 416)),  # this model sees 512 x 512 pixels at most
        (20, 20, (32, 32)),
        (1000, 100, (992, 96)),
    ],
)
def test_an_images_tokens_are_the_processors(worker, socket, width, height, seen):
    """Width x height / 32 x 32, as transformers' processor makes it; the prompt grows by just that and two marks."""
    data = vision.image(width, height)
    answer = ask(worker, image=vision.encoded(data))
    without = ask(worker)["prompt_tokens"]
    tokens = seen[0] * seen[1] // 1024
    messages = [{"role": "user", "content": [part(data), text("Describe the image.")]}]

    assert [{"width": seen[0], "height": seen[1], "tokens": tokens}] == answer["images"]
    assert (tokens, without + tokens + 2) == (answer["image_tokens"], answer["prompt_tokens"])
    assert vision.prompt_tokens(socket, NAME, messages) == answer["prompt_tokens"]


def test_an_image_is_shrunk_to_what_the_job_asks_for(worker):
    """At most max_pixels, its ratio kept."""
    answer = ask(worker, image=vision.encoded(vision.image(400, 400)), max_pixels=64 * 1024)

    assert [{"width": 256, "height": 256, "tokens": 64}] == answer["images"]


def test_three_images_are_one_prompt(worker):
    """Each costs its own tokens; times are told before their images."""
    frames = [vision.encoded(vision.image(64, 64, red=red)) for red in (10, 120, 240)]
    plain = ask(worker, images=frames)
    timed = ask(worker, images=[{"image": one, "timestamp": at} for at, one in enumerate(frames)])

    assert ([4, 4, 4], 12) == ([one["tokens"] for one in plain["images"]], plain["image_tokens"])
    assert timed["prompt_tokens"] > plain["prompt_tokens"]


def test_a_clip_is_sampled_over_its_length(worker):
    """At its rate, and more sparsely where there are more frames than a job may have."""
    clip = vision.encoded(vision.clip(4.0))
    at_rate = ask(worker, video=clip, fps=0.5)
    sparse = ask(worker, video=clip, fps=10)
    few = ask(worker, video=clip, max_frames=1)

    assert [2, 4, 1] == [len(answer["images"]) for answer in (at_rate, sparse, few)]


def test_messages_are_a_conversation(worker):
    """OpenAI's content parts, several turns."""
    messages = [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": [part(vision.image(64, 64)), text("What is it?")]},
        {"role": "assistant", "content": "A square."},
        {"role": "user", "content": "And its colour?"},
    ]
    (answer,) = worker.ask({"messages": messages, "max_tokens": 4})

    assert (4, str) == (answer["image_tokens"], type(answer["response"]))


# --- what an answer is held to ----------------------------------------------------------------------------------------


def test_an_answer_with_choices_is_one_of_them(worker):
    """Whatever the model would say, and whatever the temperature."""
    answers = worker.ask(
        *({"prompt": "Is it red?", "choices": ["yes", "no"], "temperature": 2, "seed": n} for n in range(6))
    )

    assert {answer["response"] for answer in answers} <= {"yes", "no"}
    assert {"stop"} == {answer["finish_reason"] for answer in answers}


def test_an_answer_with_a_schema_meets_it(worker):
    """A model that knows nothing writes what is asked for."""
    asked = ({"prompt": "Who?", "schema": PERSON, "max_tokens": 200, "temperature": 1.5, "seed": n} for n in range(6))
    people = [json.loads(answer["response"]) for answer in worker.ask(*asked)]

    for person in people:
        assert {"mood", "count", "seated"} == person.keys()
        assert (True, True) == (person["mood"] in ("calm", "angry"), 0 <= person["count"] <= 99)


def test_an_answer_with_a_regex_matches_it(worker):
    answer = ask(worker, regex=r"[0-9]{2}:[0-9]{2}", max_tokens=20)

    assert re.fullmatch(r"\d\d:\d\d", answer["response"])


def test_an_answer_that_was_cut_off_says_so(worker):
    """It cannot have met the schema: nobody should take it for an answer."""
    answer = ask(worker, schema=PERSON, max_tokens=3)

    assert "length" == answer["finish_reason"]
    assert any("cut off" in warning for warning in answer["warnings"])


def test_a_schema_with_words_that_the_engine_has_not_is_answered_and_these_are_named(worker):
    """vLLM refuses all of it, and does not say why."""
    schema = {
        "allOf": [
            {"type": "object", "properties": {"n": {"type": "integer", "multipleOf": 5, "maximum": 9}}},
            {"properties": {"on": {"type": "string", "format": "date", "maxLength": 10}}, "required": ["on"]},
        ]
    }
    answer = ask(worker, schema=schema, max_tokens=200)

    assert "of the schema: maxLength, multipleOf" in answer["warnings"][0]
    assert "on" in json.loads(answer["response"]) if answer["finish_reason"] == "stop" else True


def test_the_same_seed_says_the_same(worker):
    """And another one something else."""
    job = {"prompt": "Tell me.", "max_tokens": 24, "temperature": 1.2, "sampling_params": vision.EXACTLY}
    first, second, other = (ask(worker, **job, seed=seed)["response"] for seed in (7, 7, 8))

    assert (True, False) == (first == second, first == other)


def test_a_stop_stops(worker):
    """Before the text that stops it, which is not part of the answer."""
    job = exactly(64, temperature=1.2, seed=11)
    (whole,) = worker.ask(job)
    middle = whole["response"][len(whole["response"]) // 2 :][:3]
    (stopped,) = worker.ask({**job, "stop": [middle]})

    assert (whole["response"].partition(middle)[0], "stop") == (stopped["response"], stopped["finish_reason"])
    assert stopped["completion_tokens"] < 64


def test_an_answer_that_goes_round_in_circles_is_stopped(worker):
    """The tiny model, asked for its likeliest words, says one of them for ever."""
    (endless,) = worker.ask(
        {"prompt": "Go on.", "max_tokens": 1200, "temperature": 0, "sampling_params": {"ignore_eos": True}}
    )

    assert ("repetition", True) == (endless["finish_reason"], 512 <= endless["completion_tokens"] <= 1024)


# --- limits -----------------------------------------------------------------------------------------------------------


def test_five_images_are_more_than_four(worker):
    """The answer has both numbers, in our words and in OpenAI's."""
    five = [vision.encoded(vision.image(64, 64, red=red)) for red in range(5)]
    envelope = {"messages": [{"role": "user", "content": [part(vision.image(64, 64)) for _ in range(5)]}]}
    ours, theirs = worker.ask(
        {"prompt": "?", "images": five}, {"openai_route": "/v1/chat/completions", "openai_input": envelope}
    )

    assert {"error": "the job has 5 images; this worker takes 4 (MAX_IMAGES)"} == ours
    assert (ours["error"], 400) == (theirs["error"]["message"], theirs["error"]["code"])


@pytest.mark.parametrize(
    ("job_input", "says"),
    [
        ({"prompt": "word " * 20000}, r"maximum context length is 16384 tokens"),
        ({"prompt": "?", "max_tokens": 20000}, r"max_tokens=20000 cannot be greater than max_model_len=16384"),
        ({"prompt": "?", "image": vision.encoded(vision.image()[:200])}, r"image is damaged or cut short"),
        ({"prompt": "?", "video": vision.encoded(vision.image())}, r"video is not a clip"),
        ({"prompt": "?", "schema": {"type": "nothing"}}, r"."),
        ({"prompt": "?", "max_tokens": 4, "sampling_params": {"top_p": 7}}, r"top_p"),
        ({}, r"prompt missing"),
    ],
)
def test_what_is_wrong_with_a_job_is_one_sentence(worker, job_input, says):
    """The worker lives on, which the next test shows."""
    (answer,) = worker.ask(job_input)

    assert ["error"] == list(answer)
    assert re.search(says, answer["error"])
    assert "\n" not in answer["error"]


def test_a_bad_job_does_not_hurt_its_neighbours(worker):
    """They run side by side, in one engine."""
    bad = [{"prompt": "word " * 20000}, {"prompt": "?", "image": "AAAA"}, {"prompt": "?", "choices": [""]}]
    answers = worker.ask(exactly(40), *bad, exactly(40))

    assert [40, None, None, None, 40] == [answer.get("completion_tokens") for answer in answers]


def test_a_cancelled_job_frees_the_engine(worker, socket):
    """Its tokens are not made to the end."""
    (job_id,) = worker.send(exactly(ENDLESS))
    until(lambda: vision.running(socket) == 1)
    worker.cancel(job_id)
    answered, answer = worker.receive()

    assert (job_id, True) == (answered, answer["cancelled"])
    until(lambda: vision.running(socket) == 0)


def test_a_request_that_takes_too_long_gives_what_there_is(socket, qwen_module):
    """The platform would end the job and keep nothing of it, but the bill.  Another worker's, on the same engine."""
    handler, server, environment = (qwen_module(name) for name in ("handler", "server", "environment"))
    settings = environment.Settings.read({"MODEL_NAME": NAME, "REQUEST_TIMEOUT": "1.5"})
    job = {"id": "1", "input": exactly(ENDLESS, temperature=1.0)}

    async def ask_impatiently():
        async with server.Server("http://engine/v1", socket=str(socket)) as client:
            facts = server.Facts(NAME, "vllm", is_vllm=True, max_model_len=MAX_MODEL_LEN)
            return await handler.Worker(client, facts, settings).answer(job)

    answer = asyncio.run(ask_impatiently())
    until(lambda: vision.running(socket) == 0)

    assert ("time", True) == (answer["finish_reason"], 0 < answer["completion_tokens"] < ENDLESS)
    assert answer["response"]


def test_many_jobs_share_the_engine(worker, socket):
    """Sixteen at once are sixteen in the engine, not one after the other."""
    ids = worker.send(*(exactly(ENDLESS, temperature=1.0, seed=n) for n in range(16)))
    until(lambda: vision.running(socket) == 16)
    for job_id in ids:
        worker.cancel(job_id)

    assert {(one, True) for one in ids} == {
        (one, answer["cancelled"]) for one, answer in (worker.receive() for _ in ids)
    }
    until(lambda: vision.running(socket) == 0)


# --- in OpenAI's words, and worker-vllm's -----------------------------------------------------------------------------


def test_the_envelope_is_answered_as_openai_does(worker):
    """In a list, as worker-vllm has it; the name of the model does not matter."""
    given = {"model": "gpt-4o", "messages": [{"role": "user", "content": [part(vision.image(64, 64)), text("?")]}]}
    (answers,) = worker.ask({"openai_route": "/v1/chat/completions", "openai_input": {**given, "max_tokens": 5}})
    (completion,) = answers

    assert ("chat.completion", NAME) == (completion["object"], completion["model"])
    assert completion["usage"]["completion_tokens"] <= 5


def test_the_envelope_lists_the_model(worker):
    (answers,) = worker.ask({"openai_route": "/v1/models", "openai_input": {}})

    assert [NAME] == [model["id"] for model in answers[0]["data"]]


def test_the_envelope_has_a_token_limit_in_any_case(worker):
    """An endless answer costs as long as it lasts."""
    given = {"messages": [{"role": "user", "content": "Go on."}], "ignore_eos": True}
    (answers,) = worker.ask({"openai_route": "/v1/chat/completions", "openai_input": given})

    assert 512 == answers[0]["usage"]["completion_tokens"]


def test_other_routes_of_the_server_are_not_for_callers(worker):
    (answer,) = worker.ask({"openai_route": "/sleep", "openai_input": {}})

    assert "/v1/chat/completions" in answer["error"]["message"]


def test_the_engine_fetches_nothing_by_itself(worker):
    """An address in a message is fetched by the guarded download, or not at all."""
    content = [{"type": "image_url", "image_url": {"url": "http://127.0.0.1:1/secret.png"}}, text("?")]
    given = {"messages": [{"role": "user", "content": content}]}
    (answer,) = worker.ask({"openai_route": "/v1/chat/completions", "openai_input": given})

    assert "messages[0].content[0]: the URL must be https://" == answer["error"]["message"]


@pytest.mark.parametrize(
    ("job_input", "kind"),
    [
        ({"messages": [{"role": "user", "content": "Hi"}], "sampling_params": {"max_tokens": 4}}, "chat.completion"),
        ({"prompt": "Hi", "sampling_params": {"max_tokens": 4}}, "text_completion"),
        ({"prompt": "Hi", "apply_chat_template": True, "sampling_params": {"max_tokens": 4}}, "chat.completion"),
    ],
)
def test_worker_vllms_own_input_is_answered_in_its_shape(worker, job_input, kind):
    """A list with one OpenAI object (worker-vllm from 2.24)."""
    (answers,) = worker.ask(job_input)

    assert [kind] == [one["object"] for one in answers]
    assert answers[0]["usage"]["completion_tokens"] <= 4


def test_the_first_token_is_timed(worker):
    """From the request to the engine; the whole is not shorter."""
    timings = ask(worker, image=vision.encoded(vision.image()))["timings"]

    assert {"prepare", "first_token", "total"} == timings.keys()
    assert 0 < timings["first_token"] <= timings["total"]
    assert all(math.isfinite(seconds) for seconds in timings.values())
