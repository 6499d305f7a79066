"""Questions as jobs: what is sent, in which order answers come, what is streamed, and what is asked once more."""

from __future__ import annotations

import base64
import io
import json
import threading

import pytest
from PIL import Image
from support.failing import failing
from support.scripted import RESET, Reply, Request, ok, serving

from vidctl.errors import (
    ApiError,
    AuthError,
    JobFailedError,
    MediaError,
    NotDeployedError,
    SchemaMismatchError,
    UsageError,
)
from vidctl.journal import Journal
from vidctl.media.sources import Source
from vidctl.runpod.http import Http
from vidctl.runpod.jobs import Jobs
from vidctl.runpod.limits import RUN_BYTES
from vidctl.tasks.describe.jobs import DescribeSettings, Effort, busy_s
from vidctl.tasks.describe.model import OFFICIAL, DescribeOptions
from vidctl.tasks.describe.questions import Clip, Question
from vidctl.tasks.describe.run import JOBS_IN_FLIGHT, describe
from vidctl.tasks.describe.streaming import stream
from vidctl.tasks.invoker import Invoker
from vidctl.tasks.results import Failed


def jpeg(width, height=32):
    out = io.BytesIO()
    Image.new("RGB", (width, height)).save(out, "JPEG")
    return out.getvalue()


def question(*widths):
    return Question(tuple(Source(f"{width}.jpg", data=jpeg(width)) for width in widths))


def width_of(asked):
    return Image.open(io.BytesIO(base64.b64decode(asked["image"]))).width


def answer(text, **more):
    return {"response": text, "prompt_tokens": 10, "completion_tokens": 3, "image_tokens": 4, **more}


class Endpoint:
    """A scripted endpoint: `make(input)` gives a job's output, or a whole /status; `looks` what its stream tells."""

    def __init__(self, make=lambda asked: answer(str(width_of(asked))), looks=()):
        self.make = make
        self.looks = list(looks)
        self.asked = {}
        self.cancelled = []
        self._lock = threading.Lock()

    def __call__(self, request: Request) -> Reply:
        route, _, job_id = request.path.partition("?")[0].removeprefix("/ep/").partition("/")
        if route == "run":
            with self._lock:
                job_id = f"job-{len(self.asked)}"
                self.asked[job_id] = json.loads(request.body)["input"]
            return ok({"id": job_id, "status": "IN_QUEUE"})
        if route == "stream":
            look = self.looks.pop(0) if self.looks else told(status="COMPLETED")
            return look if isinstance(look, Reply) else ok(look)
        if route == "cancel":
            self.cancelled.append(job_id)
            return ok({"id": job_id, "status": "CANCELLED"})
        if self.looks:
            return ok({"id": job_id, "status": "IN_PROGRESS"})
        made = self.make(self.asked[job_id])
        if isinstance(made, Reply):
            return made
        is_status = isinstance(made, dict) and "status" in made
        times = {"delayTime": 100, "executionTime": 2000}
        return ok({"id": job_id, **(made if is_status else {"status": "COMPLETED", "output": made}), **times})

    @property
    def inputs(self):
        return list(self.asked.values())


def told(*outputs, status="IN_PROGRESS"):
    return {"status": status, "stream": [{"output": output} for output in outputs]}


@pytest.fixture
def asking(tmp_path):
    """What the story needs, for an endpoint at a server."""

    def given(server, options=None, fetch=pytest.fail, **manner):
        invoker = Invoker(Jobs(Http("k"), server.url), "ep", target="local", journal=Journal(tmp_path / "j.db"))
        chosen = options if isinstance(options, DescribeOptions) else DescribeOptions(options or "What is it?")
        more = {"fetch": fetch, "fetch_into": lambda url, _: pytest.fail(url), "timeout_s": 30}
        return (chosen, invoker, DescribeSettings(**manner)), more

    return given


@pytest.fixture
def ask(asking):
    def run(endpoint, *questions, options=None, **manner):
        with serving(endpoint) as server:
            given, more = asking(server, options, **manner)
            return list(describe(list(questions), *given, **more))

    return run


@pytest.fixture
def listen(asking):
    """The pieces of a stream, and the stream."""

    def run(endpoint, options=None, **manner):
        with serving(endpoint) as server:
            given, more = asking(server, options, **manner)
            heard = stream(question(64), *given, **more)
            return list(heard), heard

    return run


def texts(described):
    return [each.result.error.message if isinstance(each.result, Failed) else each.result.text for each in described]


def test_answers_come_in_the_order_of_the_questions(ask):
    """Whichever job ends first; each knows its source, and what it took."""
    ends_last = threading.Event()

    def make(asked):
        if width_of(asked) == 40 and not ends_last.is_set():
            return {"status": "IN_PROGRESS"}
        if width_of(asked) == 42:
            ends_last.set()
        return answer(str(width_of(asked)))

    described = ask(Endpoint(make), *[question(width) for width in (40, 41, 42)])

    assert ["40", "41", "42"] == texts(described)
    assert ["40.jpg", "41.jpg", "42.jpg"] == [each.result.source for each in described]
    effort = described[0].effort
    assert (1, 100, 2000, None) == (effort.jobs, effort.delay_ms, effort.execution_ms, effort.first_text_s)


def test_jobs_side_by_side_share_the_time_of_a_worker():
    """Two overlap on one worker, a third runs after them, and another worker is paid beside it."""
    efforts = [
        Effort(2, runs=(("a", 10.0, 14.0), ("a", 12.0, 15.0))),
        Effort(1, runs=(("a", 20.0, 21.0),)),
        Effort(1, runs=(("b", 10.0, 11.0),)),
    ]

    assert 5.0 + 1.0 + 1.0 == busy_s(efforts)


def test_no_more_jobs_are_out_than_the_window(ask):
    endpoint = Endpoint()
    done, most = set(), []

    def make(asked):
        done.add(width_of(asked))
        most.append(len(endpoint.asked) - len(done))
        return answer(str(width_of(asked)))

    endpoint.make = make
    described = ask(endpoint, *[question(width) for width in range(40, 90)])

    assert [str(width) for width in range(40, 90)] == texts(described)
    assert max(most) <= JOBS_IN_FLIGHT


def test_one_failed_question_does_not_stop_the_rest(ask):
    """An image that cannot be read, a job that fails, an answer that is none: each in its place."""
    broken = Question((Source("broken.jpg", data=b"no image"),))

    def make(asked):
        width = width_of(asked)
        return {41: {"status": "FAILED", "error": "no"}, 42: {"strange": 1}}.get(width, answer(str(width)))

    endpoint = Endpoint(make)
    described = ask(endpoint, broken, question(40), question(41), broken, question(42), question(43), broken)
    kinds = [type(each.result.error) if isinstance(each.result, Failed) else each.result.text for each in described]

    assert [MediaError, "40", JobFailedError, MediaError, ApiError, "43", MediaError] == kinds
    assert [41, 42] == [width_of(endpoint.asked[described[index].result.error.job_id]) for index in (2, 4)]


@pytest.mark.parametrize(("status", "kind"), [(401, AuthError), (404, NotDeployedError)])
def test_what_is_the_same_for_every_job_ends_it_at_once(ask, status, kind):
    with pytest.raises(kind):
        ask(lambda _: Reply(status), question(40), question(41))


def test_several_images_are_one_question(ask):
    endpoint = Endpoint(lambda _: answer("both"))
    (described,) = ask(endpoint, question(64, 65, 66))
    (asked,) = endpoint.inputs

    assert (3, "64.jpg and 2 more") == (len(asked["images"]), described.result.source)


def test_many_images_are_smaller_than_one(ask):
    """Together they fit into the model's context."""
    large = Source("large.jpg", data=jpeg(1000, 1000))
    endpoint = Endpoint(lambda _: answer(""))
    ask(endpoint, Question((large,)), Question((large,) * 12))
    one, many = sorted(endpoint.inputs, key=len)
    sizes = {Image.open(io.BytesIO(base64.b64decode(image))).size for image in many["images"]}

    assert (1000, True) == (width_of(one), max(sizes) < (760, 760))


def test_more_images_than_the_worker_takes_are_refused_with_the_numbers(ask):
    endpoint = Endpoint()
    (described,) = ask(endpoint, question(64, 65, 66, 67, 68), max_images=4)

    with failing("usage_error", "64.jpg and 4 more", "5 images", "limit of 4", "MAX_IMAGES"):
        raise described.result.error
    assert [] == endpoint.inputs


def test_what_is_too_large_to_be_sent_is_shrunk_further(ask):
    """Ten megabytes are too many, whatever is asked for."""
    out = io.BytesIO()
    Image.effect_noise((3000, 3000), 100).save(out, "JPEG", quality=100)
    endpoint = Endpoint()
    options = DescribeOptions("What is it?", extra={"max_pixels": 16_000_000})
    ask(endpoint, Question((Source("heavy.jpg", data=out.getvalue()),)), options=options)
    (asked,) = endpoint.inputs

    assert len(json.dumps(asked)) < RUN_BYTES < len(out.getvalue()) * 4 / 3
    assert 1000 < width_of(asked) < 3000


def test_words_that_are_too_many_to_be_sent_are_refused_with_the_numbers(ask):
    endpoint = Endpoint()
    (described,) = ask(endpoint, question(64), options=DescribeOptions("long " * 2_200_000))

    assert ([], UsageError) == (endpoint.inputs, type(described.result.error))
    with failing("usage_error", "64.jpg", "11.0 MB", "10 MB"):
        raise described.result.error


PERSON = {"type": "object", "properties": {"age": {"type": "integer"}}, "required": ["age"]}


def test_an_answer_of_another_form_is_asked_for_once_more(ask):
    """With what is wrong with it; the tokens of both are paid, counted and said."""
    answers = iter(["old", '{"age": 7}'])
    endpoint = Endpoint(lambda _: answer(next(answers)))
    (described,) = ask(endpoint, question(64), options=DescribeOptions("Who?", schema=PERSON))
    result = described.result

    assert ({"age": 7}, 20, 6, 8) == (result.data, result.prompt_tokens, result.completion_tokens, result.image_tokens)
    assert (2, 200, 4000) == (described.effort.jobs, described.effort.delay_ms, described.effort.execution_ms)
    assert ("the first answer did not have the requested form, and is billed too",) == result.warnings
    assert "old" in endpoint.inputs[1]["prompt"]
    assert endpoint.inputs[0]["image"] == endpoint.inputs[1]["image"]


def test_an_answer_that_is_wrong_twice_is_an_error_with_the_reason(ask):
    endpoint = Endpoint(lambda _: answer('{"age": "old"}'))
    (described,) = ask(endpoint, question(64), options=DescribeOptions("Who?", schema=PERSON))

    assert (SchemaMismatchError, 2, 2) == (type(described.result.error), len(endpoint.inputs), described.effort.jobs)
    with failing("schema_mismatch", "64.jpg", "age", '"old"'):
        raise described.result.error


def test_an_answer_that_was_cut_off_is_not_asked_for_again(ask):
    """The next one would be cut off there too."""
    endpoint = Endpoint(lambda _: answer('{"age":', finish_reason="length"))
    (described,) = ask(endpoint, question(64), options=DescribeOptions("Who?", schema=PERSON))

    assert (SchemaMismatchError, 1) == (type(described.result.error), len(endpoint.inputs))


def test_choices_are_held_to_the_same(ask):
    answers = iter(["perhaps", " yes\n"])
    (described,) = ask(
        Endpoint(lambda _: answer(next(answers))),
        question(64),
        options=DescribeOptions("Is it?", choices=("yes", "no")),
    )

    assert "yes" == described.result.text


def test_the_official_worker_is_asked_in_its_words(ask):
    completion = {
        "choices": [{"message": {"content": "a cat"}, "finish_reason": "stop"}],
        "usage": {"prompt_tokens": 9},
    }
    endpoint = Endpoint(lambda _: [completion])
    (described,) = ask(endpoint, question(64), protocol=OFFICIAL, model="qwen")

    assert ("a cat", 9) == (described.result.text, described.result.prompt_tokens)
    assert ("/v1/chat/completions", "qwen") == (
        endpoint.inputs[0]["openai_route"],
        endpoint.inputs[0]["openai_input"]["model"],
    )


@pytest.mark.parametrize("manner", [{"protocol": "worker-faster_whisper"}, {"protocol": OFFICIAL}])
def test_what_the_worker_has_no_words_for_is_said_before_anything_is_opened(ask, manner):
    endpoint = Endpoint()
    with pytest.raises(UsageError):
        ask(endpoint, Question((Source("missing.jpg"),)), **manner)

    assert [] == endpoint.inputs


def piece(index, text):
    return {"text": text, "index": index}


def last(index, **more):
    facts = {name: value for name, value in answer("", **more).items() if name != "response"}
    return {"text": "", "index": index, "done": True, **facts}


def test_an_answer_comes_in_pieces_and_then_whole(listen):
    looks = [told(piece(0, "a ")), told(piece(1, "big "), piece(2, "cat")), told(last(3), status="COMPLETED")]
    endpoint = Endpoint(lambda _: answer("a big cat"), looks)
    pieces, heard = listen(endpoint)

    assert (["a ", "big cat"], "a big cat", True) == (pieces, heard.result.text, heard.is_whole)
    assert (True, 10) == (endpoint.inputs[0]["stream"], heard.result.prompt_tokens)
    assert heard.described.effort.first_text_s > 0


def test_what_is_lost_on_the_way_leaves_no_hole(listen):
    """The second chunk did not come: nothing after it is passed on before the whole answer is known."""
    endpoint = Endpoint(lambda _: answer("a big cat"), [told(piece(0, "a ")), told(piece(2, "cat"))])
    pieces, heard = listen(endpoint)

    assert (["a ", "big cat"], True, ()) == (pieces, heard.is_whole, heard.result.warnings)


def test_a_broken_connection_without_a_lost_chunk_costs_nothing(listen):
    """The chunks are numbered: it is seen that none is missing."""
    looks = [told(piece(0, "a ")), RESET, told(piece(1, "cat")), told(piece(2, "!"), last(3), status="COMPLETED")]
    pieces, heard = listen(Endpoint(lambda _: answer("a cat!"), looks))

    assert (["a ", "cat", "!"], True) == (pieces, heard.is_whole)


def test_where_chunks_have_no_numbers_a_broken_connection_may_have_cost_one(listen):
    def event(text):
        return "data: " + json.dumps({"choices": [{"delta": {"content": text}}]}) + "\n\n"

    looks = [told(event("a ")), RESET, told(event("cat"))]
    whole = [event("a "), event("big "), event("cat"), "data: [DONE]\n\n"]
    pieces, heard = listen(Endpoint(lambda _: whole, looks), protocol=OFFICIAL, model="qwen")

    assert (["a ", "big cat"], "a big cat") == (pieces, heard.result.text)


def test_another_worker_begins_anew_and_the_whole_answer_counts(listen):
    """The first one died with half an answer told: the stream says that its pieces are not the result."""
    looks = [told(piece(0, "a "), piece(1, "small ")), told(piece(0, "the ")), told(last(2), status="COMPLETED")]
    pieces, heard = listen(Endpoint(lambda _: answer("the dog"), looks))

    assert ("a small ", "the dog", False) == ("".join(pieces), heard.result.text, heard.is_whole)


def test_a_platform_that_keeps_no_output_has_its_answer_from_the_stream(listen):
    looks = [told(piece(0, "a ")), told(piece(1, "cat"), last(2, finish_reason="stop"), status="COMPLETED")]
    endpoint = Endpoint(lambda _: {"status": "COMPLETED"}, looks)
    pieces, heard = listen(endpoint)

    assert (["a ", "cat"], "a cat", 3, ()) == (
        pieces,
        heard.result.text,
        heard.result.completion_tokens,
        heard.result.warnings,
    )


def test_an_answer_of_which_a_part_is_lost_for_good_says_where(listen):
    looks = [told(piece(0, "a ")), told(piece(2, "cat"), last(3), status="COMPLETED")]
    pieces, heard = listen(Endpoint(lambda _: {"status": "COMPLETED"}, looks))

    assert (["a ", "[…]cat"], "a […]cat") == (pieces, heard.result.text)
    assert [True] == ["lost" in warning for warning in heard.result.warnings]


def test_a_stream_without_an_end_or_an_output_is_no_answer(listen):
    with failing("api_error") as raised:
        listen(Endpoint(lambda _: {"status": "COMPLETED"}, [told(piece(0, "a ")), told(status="COMPLETED")]))

    assert "job-0" == raised.value.job_id


@pytest.mark.parametrize(
    "end", [{"status": "FAILED", "error": "out of memory"}, {"error": "out of memory"}, {"status": "COMPLETED"}]
)
def test_an_error_in_the_stream_is_told_with_the_job_that_it_is_of(listen, end):
    """In the job's end, in its output, or in the stream alone."""
    with failing("job_failed", "out of memory") as raised:
        listen(Endpoint(lambda _: end, [told(piece(0, "a ")), told({"error": "out of memory"})]))

    assert "job-0" == raised.value.job_id


def test_a_stream_that_is_closed_cancels_its_job_and_has_no_result(asking):
    endpoint = Endpoint(looks=[told(piece(number, "word ")) for number in range(1000)])
    with serving(endpoint) as server:
        given, more = asking(server)
        with stream(question(64), *given, **more) as heard:
            first = next(heard)

        with failing("usage_error"):
            _ = heard.result

    assert ("word ", ["job-0"]) == (first, endpoint.cancelled)


def test_a_result_that_is_asked_for_early_reads_the_rest(asking):
    endpoint = Endpoint(lambda _: answer("a cat"), [told(piece(0, "a ")), told(piece(1, "cat"), status="COMPLETED")])
    with serving(endpoint) as server:
        given, more = asking(server)
        heard = stream(question(64), *given, **more)
        text = heard.result.text

    assert ("a cat", [], True) == (text, list(heard), heard.is_whole)


def test_a_streamed_answer_of_another_form_is_asked_for_once_more(listen):
    answers = iter(["old", '{"age": 7}'])
    looks = [told(piece(0, "old"), last(1), status="COMPLETED")]
    pieces, heard = listen(Endpoint(lambda _: answer(next(answers)), looks), DescribeOptions("Who?", schema=PERSON))

    assert (["old"], {"age": 7}, 20, False) == (pieces, heard.result.data, heard.result.prompt_tokens, heard.is_whole)
    assert (True, 2) == (heard.has_form, heard.described.effort.jobs)


def test_nothing_is_sent_before_somebody_listens(asking):
    endpoint = Endpoint()
    with serving(endpoint) as server:
        given, more = asking(server)
        stream(question(64), *given, **more).close()

    assert [] == endpoint.inputs


@pytest.mark.parametrize(
    ("wrong", "facts"),
    [
        ({"at_s": (1.0,), "fps": 2.0}, ("at ", "from, to or fps")),
        ({"at_s": (-1.0,)}, ("at -1 s",)),
        ({"from_s": float("nan")}, ("from nan s",)),
        ({"from_s": 5.0, "to_s": 5.0}, ("to 5 s", "from (5 s)")),
        ({"fps": 0.0}, ("fps ", 0)),
    ],
)
def test_a_part_of_a_video_that_cannot_be_is_refused(wrong, facts):
    with failing("usage_error", *facts):
        Clip(**wrong)
