"""The whisper worker's handler in its own environment, with the real whisper-base, on speech whose words are known."""

from __future__ import annotations

import base64
import io
import json
import os
import re
import subprocess
import threading
import wave
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from support import speech
from support.stating import stating

pytestmark = pytest.mark.model

ROOT = Path(__file__).resolve().parents[2]
WHISPER = ROOT / "workers/whisper"
RATE = speech.SAMPLE_RATE

PHRASES = {
    "de": "Guten Morgen, heute ist das Wetter sehr schön und wir gehen im Park spazieren. Danach essen wir Kuchen.",
    "es": "Buenos días, hoy hace muy buen tiempo y vamos a pasear por el parque. Después comeremos pastel.",
    "it": "Buongiorno, oggi il tempo è molto bello e andiamo a passeggiare nel parco. Poi mangiamo la torta.",
    "pl": "Dzień dobry, dzisiaj pogoda jest bardzo ładna i idziemy na spacer do parku.",
}
THREE_HOURS_S = 3 * 3600


def sent(samples):
    """A job's `audio`: int16 samples as a WAV file, or any file as it is."""
    if isinstance(samples, Path):
        return base64.b64encode(samples.read_bytes()).decode()
    file = io.BytesIO()
    with wave.open(file, "wb") as writer:
        writer.setnchannels(1)
        writer.setsampwidth(2)
        writer.setframerate(RATE)
        writer.writeframes(np.asarray(samples).astype("<i2").tobytes())
    return base64.b64encode(file.getvalue()).decode()


def letters(text):
    return " ".join(re.findall(r"\w+", text.lower()))


@pytest.fixture(scope="session")
def reader():
    """LibriVox's reader, and the words read."""
    clips = speech.librivox()
    return np.concatenate([speech.samples(clip.path) for clip in clips]), " ".join(clip.text for clip in clips)


@pytest.fixture(scope="session")
def sentence():
    """The first of the reader's sentences; John Dashwood is in it."""
    return speech.samples(speech.librivox()[0].path)


@dataclass
class Updates:
    """What workers tell RunPod of jobs that still run."""

    url: str = ""
    received: list = field(default_factory=list)
    arrived: threading.Condition = field(default_factory=threading.Condition)

    def of(self, job_id):
        return [body["output"] for path, body in list(self.received) if path.startswith(f"/done/{job_id}?")]

    def wait_for_one(self, job_id):
        with self.arrived:
            assert self.arrived.wait_for(lambda: self.of(job_id), timeout=120)


@contextmanager
def _listening():
    updates = Updates()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            with updates.arrived:
                updates.received.append((self.path, body))
                updates.arrived.notify_all()
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_):
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    updates.url = f"http://127.0.0.1:{server.server_port}/done/$ID?gpu=none"
    yield updates
    server.shutdown()
    server.server_close()


@pytest.fixture(scope="module")
def updates():
    with _listening() as updates:
        yield updates


@pytest.fixture(scope="module")
def volume(tmp_path_factory):
    return tmp_path_factory.mktemp("volume")


@pytest.fixture(scope="module")
def reporting(drive_whisper, updates, volume):
    """A worker whose updates are seen, and with a volume."""
    return drive_whisper(RUNPOD_WEBHOOK_POST_OUTPUT=updates.url, VOLUME=str(volume))


def test_a_request_of_the_guide_works_unchanged(whisper, sentence):
    """The guide's fields in; its fields, of its types, out."""
    job = {
        "audio": sent(sentence),
        "language": "en",
        "task": "transcribe",
        "vad_filter": True,
        "word_timestamps": False,
    }
    (answer,) = whisper.ask(job)
    (segment,) = answer["transcription"]

    assert letters("And Mr. John Dashwood had then leisure to consider") in letters(segment["text"])
    assert ("en", 1.0, 7.1) == (answer["language"], answer["language_probability"], answer["duration"])
    assert 0 <= segment["start"] < segment["end"] <= 7.1
    assert 0.8 < segment["confidence"] <= 1
    assert answer["processing_time"] > 0


def test_an_answer_says_what_gave_it_and_what_took_how_long(whisper, sentence):
    """Beyond the guide: the model, the seconds spent on each step, and how sure the model was of each segment."""
    (answer,) = whisper.ask({"audio": sent(sentence)})
    (segment,) = answer["transcription"]

    assert {"name": "whisper-base", "device": "cpu", "compute_type": "int8"} == answer["model"]
    assert {"open", "decode", "inference"} == set(answer["timings"])
    assert answer["processing_time"] == pytest.approx(sum(answer["timings"].values()), abs=0.001)
    assert segment["text"] == segment["text"].rstrip() == f" {answer['text']}"
    assert segment["confidence"] == pytest.approx(np.exp(segment["avg_logprob"]), abs=0.001)
    assert (1, 0, 0.0) == (segment["id"], segment["seek"], segment["temperature"])
    assert segment["no_speech_prob"] < 0.1
    assert segment["compression_ratio"] > 0
    assert len(segment["tokens"]) > 10
    assert "words" not in segment


def test_a_reader_is_understood(whisper, reader):
    """Real speech with a reference text: at least 95 of 100 words right."""
    samples, text = reader
    (answer,) = whisper.ask({"audio": sent(samples)})

    assert speech.accuracy(text, answer["text"]) >= 0.95
    assert "en" == answer["language"]


@pytest.mark.parametrize("name", ["Front_Center", "Rear_Left", "Side_Right"])
def test_two_words_are_understood(whisper, name):
    """As short as an audio file can be, and at 48 kHz."""
    (answer,) = whisper.ask({"audio": sent(speech.alsa(name))})

    assert letters(name.replace("_", " ")) == letters(answer["text"])


def test_a_reader_is_understood_above_hum_and_far_down(whisper, reader):
    """The hum of mains 15 dB above the voice, and a recording that is 60 dB down."""
    samples, text = reader
    hum = 0.75 * 32767 * np.sin(2 * np.pi * 60 * np.arange(len(samples)) / RATE)
    low = io.BytesIO()
    with wave.open(low, "wb") as writer:
        writer.setparams((1, 4, RATE, 0, "NONE", ""))
        writer.writeframes((samples.astype(np.float64) * 65.536).astype("<i4").tobytes())
    jobs = [sent(0.15 * samples + hum), base64.b64encode(low.getvalue()).decode()]

    for answer in whisper.ask(*({"audio": audio, "language": "en"} for audio in jobs)):
        assert speech.accuracy(text, answer["text"]) > 0.8
        assert "warnings" not in answer


def test_it_is_said_if_nothing_of_what_is_not_silent_was_taken_for_speech(whisper):
    """With the way to have all of it heard."""
    noise = np.random.default_rng(0).normal(0, 2000, 20 * RATE)
    (answer,) = whisper.ask({"audio": sent(noise)})

    (warning,) = answer["warnings"]
    stating(warning, "no speech", "20.0 s", "vad_filter")


def test_a_window_of_two_languages_is_heard_to_its_end(whisper):
    """A German announcement between sentences read in English ends neither."""
    clips = [speech.samples(clip.path) for clip in speech.librivox()]
    german = speech.say("Guten Tag meine Damen und Herren. Heute sprechen wir über das Wetter in Berlin.", "de", 140)
    (answer,) = whisper.ask({"audio": sent(np.concatenate([clips[0], german, clips[3], german, clips[1], clips[4]]))})

    assert answer["transcription"][-1]["end"] > answer["duration"] - 3
    assert {"berlin", "leisure"} <= set(letters(answer["text"]).split())


@pytest.mark.parametrize("language", ["de", "it", "pl"])
def test_a_language_is_recognized(whisper, language):
    """Whoever does not say which language it is; English and Spanish are found out below and above."""
    (answer,) = whisper.ask({"audio": sent(speech.say(PHRASES[language], language))})

    assert language == answer["language"]
    assert 0.5 < answer["language_probability"] <= 1


def test_a_language_is_told_by_what_is_said_first(whisper):
    """A minute of silence before the first word tells nothing, and costs nothing."""
    samples = np.concatenate([np.zeros(70 * RATE), speech.say(PHRASES["es"], "es")])
    (answer,) = whisper.ask({"audio": sent(samples)})

    assert "es" == answer["language"]
    assert answer["transcription"][0]["start"] == pytest.approx(70, abs=0.3)


def test_each_window_may_have_its_language(whisper, sentence):
    """multilingual: who changes the language is followed."""
    samples = np.concatenate([sentence, np.zeros(RATE), speech.say(PHRASES["es"], "es")])
    (answer,) = whisper.ask({"audio": sent(samples), "multilingual": True, "chunk_length": 8})

    assert "leisure to consider" in answer["text"]
    assert "pasear por el parque" in answer["text"]


def test_translate_gives_english(whisper):
    """task translate: said in Spanish, written in English."""
    (answer,) = whisper.ask({"audio": sent(speech.say(PHRASES["es"], "es")), "task": "translate"})

    assert "es" == answer["language"]
    assert {"morning", "going", "park"} <= set(letters(answer["text"]).split())


def noise(kind):
    generator = np.random.default_rng(7)
    count = 20 * RATE
    if kind == "hum":
        return 3000 * np.sin(2 * np.pi * 50 * np.arange(count) / RATE)
    white = generator.normal(0, 3000, count)
    if kind == "white":
        return white
    spectrum = np.fft.rfft(white)
    pink = np.fft.irfft(spectrum / np.sqrt(np.arange(1, len(spectrum) + 1)), count)
    return 3000 * pink / pink.std()


@pytest.mark.parametrize("batch_size", [None, 1])
@pytest.mark.parametrize("kind", ["white", "pink", "hum", "silence"])
def test_what_is_no_speech_gives_no_text(whisper, kind, batch_size):
    """Whisper makes words of noise if it is given any."""
    samples = np.zeros(20 * RATE) if kind == "silence" else noise(kind)
    (answer,) = whisper.ask({"audio": sent(samples), "batch_size": batch_size})

    assert ([], "", 20.0, 0.0) == (
        answer["transcription"], answer["text"], answer["duration"], answer["duration_after_vad"]
    )  # fmt: skip


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"vad_parameters": {"threshold": 0}, "language": "en"},
        {"vad_filter": False, "language": "en"},
        {"vad_filter": False, "language": "en", "batch_size": 1, "no_speech_threshold": 1},
    ],
)
def test_recorded_noise_gives_no_text(whisper, fields):
    """What loudspeakers are tested with: no voice, else likely silence at every temperature, else dots."""
    (answer,) = whisper.ask({"audio": sent(speech.alsa("Noise")), **fields})

    assert [] == answer["transcription"]


def test_no_speech_has_no_language(whisper):
    """Nothing is guessed where nothing was heard."""
    (answer,) = whisper.ask({"audio": sent(np.zeros(RATE))})

    assert (None, None) == (answer["language"], answer["language_probability"])


def test_sentences_are_segments_and_begin_where_they_are_said(whisper):
    """Of sentences with a pause between them, 19 of 20 are a segment each, within 0.3 seconds of their beginning."""
    samples, said = speech.speech(100)
    (answer,) = whisper.ask({"audio": sent(samples)})
    starts = np.array([segment["start"] for segment in answer["transcription"]])
    # The reader's files begin with a breath; espeak-ng's at once.
    late = [at for number, (at, _) in enumerate(said) if np.abs(starts - at - 0.3 * (number % 2 == 0)).min() > 0.3]

    assert len(said) == pytest.approx(len(starts), abs=2)
    assert len(late) <= len(said) / 20


def test_words_lie_within_their_segments(whisper, reader):
    """word_timestamps: each word once, in order, with its probability, from its segment's start to its end."""
    (answer,) = whisper.ask({"audio": sent(reader[0]), "word_timestamps": True})
    segments = answer["transcription"]
    edges = [edge for segment in segments for word in segment["words"] for edge in (word["start"], word["end"])]

    assert [one["text"] for one in segments] == ["".join(word["word"] for word in one["words"]) for one in segments]
    assert sorted(edges) == edges
    assert [(one["start"], one["end"]) for one in segments] == [
        (one["words"][0]["start"], one["words"][-1]["end"]) for one in segments
    ]
    assert all(0 <= word["probability"] <= 1 for one in segments for word in one["words"])
    assert edges[-1] <= answer["duration"]


def test_segments_of_long_audio_are_in_order(whisper):
    """Several windows and batches: ids from 1, no segment before the one before it has ended."""
    samples, said = speech.speech(45)
    (answer,) = whisper.ask({"audio": sent(samples), "chunk_length": 10, "batch_size": 2})
    segments = answer["transcription"]

    assert list(range(1, len(segments) + 1)) == [one["id"] for one in segments]
    assert all(one["end"] <= other["start"] for one, other in pairwise(segments))
    assert speech.accuracy(" ".join(text for _, text in said), answer["text"]) >= 0.85


@pytest.mark.parametrize("batch_size", [None, 1])
def test_a_name_is_spelled_as_told(whisper, sentence, batch_size):
    """Whisper cannot know how a name is written; hotwords and an initial_prompt tell."""
    job = {"audio": sent(sentence), "batch_size": batch_size, "language": "en"}
    name = "Mr. Jon Dashwoode."
    answers = whisper.ask(job, job | {"hotwords": name}, job | {"initial_prompt": name})

    assert [False, True, True] == ["Jon Dashwoode" in answer["text"] for answer in answers]


@pytest.mark.parametrize("batch_size", [None, 1])
def test_a_prompt_that_is_too_long_is_cut_as_faster_whisper_cuts_it(whisper, sentence, batch_size):
    """Its last words are heard, of hotwords the first; the answer says so."""
    name, filler = " Mr. Jon Dashwoode.", "many words " * 200
    job = {"audio": sent(sentence), "batch_size": batch_size, "condition_on_previous_text": False}
    last, first = whisper.ask(
        job | {"initial_prompt": filler + name, "temperature": 0}, job | {"hotwords": name + filler, "temperature": 0}
    )

    assert "Jon Dashwoode" in last["text"]
    (of_prompt,), (of_hotwords,) = last["warnings"], first["warnings"]
    stating(of_prompt, "initial_prompt", "408 tokens", "last 223")
    stating(of_hotwords, "hotwords", "410 tokens", "first 223")


def test_what_fails_is_tried_at_the_next_temperature(whisper, sentence):
    """Whisper's fallback: at each temperature in turn until one passes the thresholds, else the likeliest of all."""
    job = {"audio": sent(sentence), "language": "en"}
    (passed, failed, alone) = whisper.ask(
        job,
        job | {"log_prob_threshold": -0.0001, "temperature": [0, 0.2, 0.4]},
        job | {"log_prob_threshold": -0.0001, "temperature": 0},
    )

    assert [0.0, 0.4, 0.0] == [answer["transcription"][0]["temperature"] for answer in (passed, failed, alone)]
    assert "leisure to consider" in failed["text"]


def test_what_repeats_itself_is_tried_again(whisper, sentence):
    """The other threshold: a text that packs too well says the same again and again."""
    job = {"audio": sent(sentence), "language": "en", "temperature": [0, 0.2], "compression_ratio_threshold": 0.5}
    (answer,) = whisper.ask(job)

    assert 0.2 == answer["transcription"][0]["temperature"]


def test_a_temperature_is_sampled_at(whisper):
    """Above 0 the model says what is likely, not what is likeliest: not the same each time."""
    job = {"audio": sent(speech.say(PHRASES["de"], "de")), "language": "de", "temperature": 1, "best_of": 1}
    answers = whisper.ask(job, job, job)

    assert {1.0} == {segment["temperature"] for answer in answers for segment in answer["transcription"]}
    assert len({answer["text"] for answer in answers}) > 1


def test_what_is_likely_silence_is_dropped(whisper, sentence):
    """Above no_speech_threshold and below log_prob_threshold."""
    job = {"audio": sent(sentence), "language": "en", "temperature": 0}
    kept, dropped = whisper.ask(
        job | {"log_prob_threshold": -0.0001},
        job | {"log_prob_threshold": -0.0001, "no_speech_threshold": 0},
    )

    assert (1, 0) == (len(kept["transcription"]), len(dropped["transcription"]))


def test_what_is_understood_of_likely_silence_is_kept(whisper, sentence):
    """Where a voice was found, a window is not given up before its halves were heard alone: here the second is none."""
    backwards = speech.samples(speech.librivox()[2].path)[::-1]
    job = {"audio": sent(np.concatenate([sentence, backwards])), "language": "en", "temperature": 0}
    (answer,) = whisper.ask(job | {"log_prob_threshold": -0.25, "no_speech_threshold": 0})

    assert speech.accuracy(speech.librivox()[0].text, answer["text"]) >= 0.9


def test_who_does_not_pause_is_heard_to_the_end(whisper):
    """Speech without a breath for longer than a window: no stretch of it is lost, and few words are cut in two."""
    said = [speech.SENTENCES[number % 12] for number in range(15)]
    samples = np.concatenate([_trimmed(speech.say(text)) for text in said])
    (answer,) = whisper.ask({"audio": sent(samples), "language": "en", "word_timestamps": True})
    starts = [word["start"] for segment in answer["transcription"] for word in segment["words"]]
    heard, _ = np.histogram(starts, np.arange(0, len(samples) / RATE - 5, 5))

    assert heard.min() >= 5
    assert speech.accuracy(" ".join(said), answer["text"]) >= 0.85


def _trimmed(samples):
    loud = np.flatnonzero(np.abs(samples) > 300)
    return samples[loud[0] : loud[-1]]


def test_only_clips_are_heard(whisper, reader):
    """clip_timestamps, in seconds: the rest is as if it were not there, and times are still the source's."""
    (answer,) = whisper.ask({"audio": sent(reader[0]), "clip_timestamps": [15.3, 21.3]})

    assert letters("Had he married a more amiable woman") in letters(answer["text"])
    assert "Dashwood" not in answer["text"]
    assert all(15.3 <= one["start"] < one["end"] <= 21.3 for one in answer["transcription"])


def test_one_window_after_the_other(whisper, reader):
    """batch_size 1 is faster-whisper's sequential decoding: its own timestamps, its own options, words if asked."""
    samples, text = reader
    plain, words = whisper.ask(
        {"audio": sent(samples), "batch_size": 1, "condition_on_previous_text": False},
        {"audio": sent(samples), "batch_size": 1, "word_timestamps": True, "chunk_length": 20},
    )

    assert speech.accuracy(text, plain["text"]) >= 0.95
    assert speech.accuracy(text, words["text"]) >= 0.9
    assert not any("words" in one for one in plain["transcription"])
    assert all(one["words"] for one in words["transcription"])
    assert plain["transcription"][-1]["end"] <= plain["duration"]


def test_one_windows_options_do_not_outlast_their_job(whisper, sentence):
    """Another chunk_length is this job's alone."""
    job = {"audio": sent(sentence)}
    before, _, after = (whisper.ask(one)[0] for one in (job, job | {"batch_size": 1, "chunk_length": 5}, job))

    assert [before[name] for name in ("transcription", "language_probability")] == [
        after[name] for name in ("transcription", "language_probability")
    ]


@pytest.mark.parametrize(
    ("fields", "facts"),
    [
        ({"language": "yue"}, ("model", "language yue")),
        (
            {"initial_prompt": "many words " * 60, "hotwords": "word " * 110},
            ("initial_prompt and hotwords", "232 tokens", "223"),
        ),
        ({"max_new_tokens": 445}, ("max_new_tokens must be at most 443", "not 445")),
        ({"max_new_tokens": 300, "batch_size": 1}, ("max_new_tokens must be at most 220", "not 300")),
        (
            {"hotwords": "word " * 160, "batch_size": 1},
            ("hotwords", "161 tokens", "condition_on_previous_text", "156"),
        ),
        (
            {"initial_prompt": "many words " * 200, "hotwords": "word "},
            ("initial_prompt and hotwords", "403 tokens", "223"),
        ),
        (
            {"hotwords": "word " * 20, "max_new_tokens": 210, "batch_size": 1},
            ("max_new_tokens must be at most 199", "not 210"),
        ),
        ({"language": "Klingon"}, ("language 'Klingon'", "en, de, fr")),
    ],
)
def test_what_the_model_cannot_do_is_one_sentence(whisper, sentence, fields, facts):
    """It is the answer before anything is decoded."""
    (answer,) = whisper.ask({"audio": sent(sentence), **fields})

    assert ["error"] == list(answer)
    stating(answer["error"], *facts)


def test_sequential_decoding_is_for_shorter_audio(reporting, volume):
    """Its memory grows with the audio; batches' does not."""
    path = _sparse(volume / "half-hour.wav", 1801, {})

    (answer,) = reporting.ask({"audio": str(path), "batch_size": 1})

    assert ["error"] == list(answer)
    stating(answer["error"], "batch_size 1", "30 minutes")


def test_a_callers_batches_are_no_larger_than_a_cpus(reporting, volume):
    """Each of a batch's windows takes 150 MB: batch_size 128 would be the end of most computers."""
    before = _memory(reporting, "VmHWM")
    clips = {at_s: speech.samples(speech.librivox()[0].path) for at_s in range(0, 120, 10)}
    path = _sparse(volume / "two-minutes.wav", 120, clips)
    job = {"audio": str(path), "chunk_length": 10, "batch_size": 12, "temperature": 0, "language": "en"}
    (answer,) = reporting.ask(job)

    assert 12 == len(answer["transcription"])
    assert _memory(reporting, "VmHWM") - before < 1e9


def test_two_jobs_at_once_answer_as_alone(whisper, sentence):
    """They share the model's threads, nothing else."""
    other = speech.samples(speech.librivox()[1].path)
    jobs = [{"audio": sent(other), "chunk_length": 10}, {"audio": sent(sentence), "word_timestamps": True}]
    alone = [whisper.ask(job)[0]["transcription"] for job in jobs]

    assert alone == [answer["transcription"] for answer in whisper.ask(*jobs)]


def test_a_job_may_ask_in_the_official_workers_words(whisper, sentence):
    """RunPod's worker-faster_whisper: its fields in, its shape out, with a second pass for the translation."""
    job = {"audio_base64": sent(speech.say(PHRASES["es"], "es")), "transcription": "vtt", "translate": True}
    (answer,) = whisper.ask(job)

    assert {
        "segments", "detected_language", "transcription", "translation", "device", "model"
    } == set(answer)  # fmt: skip
    assert answer["transcription"].startswith("WEBVTT\n\n00:00:00.")
    assert "park" in answer["translation"]
    assert ("es", "cpu", "whisper-base") == (answer["detected_language"], answer["device"], answer["model"])


def test_the_official_workers_errors_are_lists(whisper):
    """As its validator answers."""
    (answer,) = whisper.ask({"audio_base64": "UklGRg==", "enable_vad": "yes"})

    assert isinstance(answer["error"], list)


def test_what_was_heard_is_told_while_the_rest_is_heard(reporting, updates):
    """Progress updates over RunPod's own SDK: seconds done, and what was said so far."""
    samples, _ = speech.speech(100)
    (job_id,) = reporting.send({"audio": sent(samples), "chunk_length": 10, "batch_size": 2, "beam_size": 1})
    _, answer = reporting.receive()
    updates.wait_for_one(job_id)
    first = updates.of(job_id)[0]
    count = len(first["transcription"])

    assert {"progress", "transcription", "first"} == set(first)
    assert (0, 100.0) == (first["first"], first["progress"]["total"])
    assert 0 < first["progress"]["done"] < 100
    assert 0 < count < len(answer["output"]["transcription"])
    assert answer["output"]["transcription"][:count] == first["transcription"]


def test_a_cancelled_job_frees_the_model(reporting, updates, sentence):
    """It stops after the batch it is at: nothing more is heard of it, and the next job is answered."""
    samples, _ = speech.speech(240)
    (job_id,) = reporting.send({"audio": sent(samples), "chunk_length": 10, "batch_size": 2})
    updates.wait_for_one(job_id)
    reporting.cancel(job_id)
    cancelled = reporting.receive()
    heard = len(updates.of(job_id))
    answers = reporting.ask(*[{"audio": sent(sentence), "language": "en"}] * 2)

    assert (job_id, {"id": job_id, "cancelled": True}) == cancelled
    assert heard == len(updates.of(job_id))
    assert all("Dashwood" in answer["text"] for answer in answers)


def test_three_hours_fit_into_memory(reporting, volume):
    """Audio of any length is read in parts: under 2 GB beyond the model, and only what is said is decoded."""
    loaded = _memory(reporting, "VmRSS")
    # Three sentences: the same one thrice would fail the threshold for what repeats itself.
    clips = {
        at_s: speech.samples(clip.path) for at_s, clip in zip((10, 5400, 10780), speech.librivox()[::2], strict=True)
    }
    path = _sparse(volume / "three-hours.wav", THREE_HOURS_S, clips)
    (answer,) = reporting.ask({"audio": str(path)})

    assert (THREE_HOURS_S, {0.0}) == (answer["duration"], {one["temperature"] for one in answer["transcription"]})
    assert [10, 5400, 10780] == [pytest.approx(one["start"], abs=0.6) for one in answer["transcription"]]
    assert _memory(reporting, "VmHWM") - loaded < 2e9


def _sparse(path, seconds, clips):
    """Write a WAV file of silence, which takes no space, with these audio files at these seconds."""
    speech.write_wav(path, np.zeros(0, np.int16))
    size = seconds * RATE * 2
    with path.open("r+b") as file:
        header = len(file.read())
        for at, value in ((4, header - 8 + size), (header - 4, size)):
            file.seek(at)
            file.write(value.to_bytes(4, "little"))
        for at_s, samples in clips.items():
            file.seek(header + at_s * RATE * 2)
            file.write(samples.astype("<i2").tobytes())
        file.truncate(header + size)
    return path


def _memory(worker, name):
    status = Path(f"/proc/{worker.pid}/status")
    if not status.exists():
        pytest.skip("the system has no /proc, which says what memory a process has")
    (line,) = re.findall(rf"{name}:\s+(\d+) kB", status.read_text())
    return int(line) * 1024


@pytest.mark.parametrize(
    ("env", "facts"),
    [
        ({"COMPUTE_TYPE": "float16"}, ("COMPUTE_TYPE=float16", "cpu", "int8")),
        ({"DEVICE": "cuda"}, ("DEVICE=cuda", "GPU")),
    ],
)
def test_a_worker_that_cannot_start_says_why_in_one_line(whisper_python, env, facts):
    """One sentence on stderr, exit status 1, no traceback."""
    env = {"PATH": os.environ["PATH"], "DEVICE": "cpu", "MODEL": str(speech.weights()), **env}
    done = subprocess.run([whisper_python, "handler.py"], cwd=WHISPER, env=env, capture_output=True, text=True)

    assert 1 == done.returncode
    assert 1 == done.stderr.count("\n")
    assert done.stderr.startswith("whisper worker: ")
    stating(done.stderr.rstrip("\n"), *facts, varies=True)
