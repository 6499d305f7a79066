"""Chunks of audio as jobs side by side: the progress while they run, and what is requested again."""

from __future__ import annotations

import base64
import json
import threading

import numpy as np
import pytest
from support.scripted import Reply, Request, ok, serving
from support.speech import SAMPLE_RATE, write_wav

from vidctl.errors import AuthError, NotDeployedError, UsageError
from vidctl.journal import Journal
from vidctl.media import audio
from vidctl.media.sources import Source
from vidctl.runpod.http import Http
from vidctl.runpod.jobs import Jobs
from vidctl.tasks.invoker import Invoker
from vidctl.tasks.transcribe.model import TranscribeOptions
from vidctl.tasks.transcribe.run import TranscribeSettings, transcribe


def segment(number, text, start):
    return {"id": number, "start": start, "end": start + 1, "text": text}


def answer(*texts):
    segments = [segment(number, text, float(2 * number)) for number, text in enumerate(texts)]
    return {"status": "COMPLETED", "output": {"transcription": segments, "language": "en", "duration": 10.0}}


def progress(first, *texts):
    segments = [segment(first + n, text, float(2 * (first + n))) for n, text in enumerate(texts)]
    output = {"progress": {"done": 5.0, "total": 10.0}, "transcription": segments, "first": first}
    return {"status": "IN_PROGRESS", "output": output}


class Endpoint:
    """Answers with what each chunk is given: attempts at it, and of an attempt one state a look, the last for ever."""

    def __init__(self, *chunks):
        self.attempts = [[list(looks) for looks in attempts] for attempts in chunks]
        self.chunks = []
        self.inputs = []

    def __call__(self, request: Request) -> Reply:
        route, _, job_id = request.path.removeprefix("/ep/").partition("/")
        if route == "run":
            return self.run(json.loads(request.body)["input"])
        if route == "status":
            index, attempt = map(int, job_id.split("-"))
            looks = self.attempts[index][attempt]
            state = looks.pop(0) if len(looks) > 1 else looks[0]
            return ok({"id": job_id, **(state() if callable(state) else state)})
        return ok({"id": job_id, "status": "CANCELLED"})

    def run(self, asked):
        """Jobs are sent side by side, so their audio says which they are."""
        index = self.chunks.index(asked.get("audio") or asked["audio_base64"])
        attempt = sum(index == other for other, _ in self.inputs)
        self.inputs.append((index, asked))
        return ok({"id": f"{index}-{attempt}", "status": "IN_QUEUE"})


@pytest.fixture
def ask(tmp_path):
    """Transcribe audio of so many chunks at a scripted endpoint: the result; `received` gets the progress."""

    def run(endpoint, *, chunks=1, received=None, options=None, **settings):
        noise = np.random.default_rng(3).normal(0, 3000, (chunks, 10 * SAMPLE_RATE)).astype(np.int16)
        noise[:, -SAMPLE_RATE:] = 0
        path = write_wav(tmp_path / "talk.wav", noise.reshape(-1))
        if isinstance(endpoint, Endpoint):
            sent = audio.chunks(path, name="talk", chunk_s=11.0, warn=pytest.fail)
            endpoint.chunks = [base64.b64encode(chunk.data).decode() for chunk in sent]
        with serving(endpoint) as server:
            invoker = Invoker(Jobs(Http("k"), server.url), "ep", target="local", journal=Journal(tmp_path / "j.db"))
            (done,) = transcribe(
                [Source("talk.wav", path=path)],
                options or TranscribeOptions(),
                invoker,
                TranscribeSettings(11.0, **settings),
                fetch_into=lambda _url, _file: None,
                timeout_s=60,
                on_progress=(received if received is not None else []).append,
            )
        return done.result

    return run


def texts(received):
    return [each.text for passing in received for each in passing.segments]


def test_segments_are_passed_on_once_as_they_come(ask):
    """The progress of a running job, and then the rest when it is done."""
    first_seen = threading.Event()

    def done():
        return answer(" one", " two", " three") if first_seen.is_set() else progress(0, " one")

    class Received(list):
        def append(self, passing):
            super().append(passing)
            if passing.segments:
                first_seen.set()

    received = Received()
    result = ask(Endpoint([[progress(0, " one"), done]]), received=received)

    assert [" one", " two", " three"] == texts(received)
    assert [" one"] == [each.text for each in next(passing for passing in received if passing.segments).segments]
    assert "one two three" == result.text


def test_a_job_that_begins_anew_repeats_nothing(ask):
    """Its worker died, and another one starts from the beginning."""
    received = []
    looks = [progress(0, " one", " two"), progress(0, " one"), progress(1, " two", " three")]
    result = ask(Endpoint([[*looks, answer(" one", " two", " three", " four")]]), received=received)

    assert [" one", " two", " three", " four"] == texts(received)
    assert "one two three four" == result.text


def test_segments_are_passed_on_in_the_order_of_the_audio(ask):
    """A later chunk that is done first has to wait; its times are the audio's."""
    second_is_done = threading.Event()

    def second():
        second_is_done.set()
        return answer(" later")

    def first():
        return answer(" sooner") if second_is_done.is_set() else {"status": "IN_PROGRESS"}

    received = []
    result = ask(Endpoint([[first]], [[second]]), chunks=2, received=received)

    assert [" sooner", " later"] == texts(received)
    assert [0.0, 9.5] == [round(each.start, 1) for each in result.segments]
    assert 20.0 == round(received[-1].done_s) == round(received[-1].total_s)


def test_progress_that_cannot_be_read_is_ignored(ask):
    received = []
    states = [{"status": "IN_PROGRESS", "output": output} for output in ("loading", {"progress": 1}, [])]
    result = ask(Endpoint([[*states, answer(" well")]]), received=received)

    assert ([" well"], "well") == (texts(received), result.text)


def test_an_answer_that_cannot_be_read_is_a_gap(ask):
    nonsense = {"status": "COMPLETED", "output": {"transcription": "yes"}}
    result = ask(Endpoint([[answer(" one")]], [[nonsense]], [[answer(" three")]]), chunks=3)
    (gap,) = result.gaps

    assert (["one", "three"], "1-0") == ([each.text.strip() for each in result.segments], gap.error.job_id)
    assert (9.5, 19.5) == (round(gap.start, 1), round(gap.end, 1))


def test_an_answer_that_could_not_be_read_is_asked_for_again(ask):
    nonsense = {"status": "COMPLETED", "output": None}
    endpoint = Endpoint([[answer(" one")]], [[nonsense], [answer(" two")]])
    ask(endpoint, chunks=2)
    result = ask(endpoint, chunks=2, resumes=True)

    assert ([0, 1, 1], "one two") == (sorted(index for index, _ in endpoint.inputs), result.text)


def test_clips_are_not_taken_of_each_chunk(ask):
    """Their times would be those of the chunk."""
    options = TranscribeOptions(extra={"clip_timestamps": [2, 4]})
    whole, cut = Endpoint([[answer(" one")]]), Endpoint([], [])
    result = ask(whole, options=options)

    assert ("one", [2, 4]) == (result.text, whole.inputs[0][1]["clip_timestamps"])
    assert (UsageError, []) == (type(ask(cut, chunks=2, options=options).error), cut.inputs)


@pytest.mark.parametrize(("status", "error"), [(401, AuthError), (404, NotDeployedError)])
def test_what_is_the_same_for_every_job_ends_all(ask, status, error):
    with pytest.raises(error):
        ask(lambda _: Reply(status), chunks=3)


def test_other_options_are_another_question(ask):
    """Resumed with another language, what was answered before does not count; with the same it does."""
    broken = {"status": "FAILED", "error": "no"}
    new = [answer(" new")]
    endpoint = Endpoint([[answer(" one")], new], [[broken], [broken], new])
    ask(endpoint, chunks=2)
    ask(endpoint, chunks=2, resumes=True)
    result = ask(endpoint, chunks=2, resumes=True, options=TranscribeOptions(language="de"))

    assert ([0, 0, 1, 1, 1], "new new") == (sorted(index for index, _ in endpoint.inputs), result.text)


def test_the_official_worker_is_asked_in_its_words(ask):
    endpoint = Endpoint([[{"status": "COMPLETED", "output": {
        "segments": [{"id": 0, "seek": 0, "start": 0.0, "end": 1.0, "text": " hello", "tokens": [1], "temperature": 0,
                      "avg_logprob": -0.1, "compression_ratio": 1.0, "no_speech_prob": 0.01}],
        "detected_language": "en", "transcription": "hello", "translation": None, "device": "cuda", "model": "turbo",
    }}]])  # fmt: skip
    result = ask(endpoint, protocol="worker-faster_whisper")

    assert ("hello", "en", 0.9048) == (result.text, result.language, round(result.segments[0].confidence, 4))
    assert ["audio_base64", "model"] == sorted({"audio", "audio_base64", "model"} & endpoint.inputs[0][1].keys())
