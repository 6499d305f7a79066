"""Real speech through `vidctl transcribe`, the local runtime, RunPod's SDK and the real whisper-base."""

from __future__ import annotations

import base64
import os
import re
from itertools import pairwise
from statistics import median

import numpy as np
import pexpect
import pytest
from support import speech
from support.command import VIDCTL
from support.runtime import until
from support.sounds import COMPRESSED, WAVS, write

from vidctl.local import daemon
from vidctl.media import audio
from vidctl.runpod.http import Http
from vidctl.runpod.jobs import Jobs

FIVE_MINUTES_S = 300


@pytest.fixture(scope="session")
def recording():
    """Five minutes of speech, 16 kHz, and what is said when."""
    return speech.speech(FIVE_MINUTES_S)


@pytest.fixture(scope="session")
def recorded(recording, tmp_path_factory):
    return speech.write_wav(tmp_path_factory.mktemp("recorded") / "talk.wav", recording[0])


def transcribed(project, *arguments):
    outcome = project.run("transcribe", *arguments, "--json", timeout_s=900)
    assert outcome.status == 0, outcome.stderr
    return outcome.document["results"]


@pytest.fixture(scope="session")
def whole(whisper_project, recorded):
    """The five minutes in one job."""
    (result,) = transcribed(whisper_project, recorded, "--chunk", "10m", "--word-timestamps")
    return result


def accuracy(recording, result):
    return speech.accuracy(" ".join(text for _, text in recording[1]), result["text"])


def test_real_speech_is_understood(whisper_project):
    """A reader's sentences, each a file of its own: 95 of 100 words are right."""
    clips = speech.librivox()
    results = transcribed(whisper_project, *(clip.path for clip in clips))
    heard = " ".join(result["text"] for result in results)

    assert speech.accuracy(" ".join(clip.text for clip in clips), heard) >= 0.95
    assert {"en"} == {result["language"] for result in results}


def test_words_at_a_loudspeaker_test_are_understood(whisper_project):
    """All eight of ALSA's clips of two words; its noise says nothing."""
    names = [f"{row}_{side}" for row in ("Front", "Rear") for side in ("Left", "Center", "Right")]
    names += ["Side_Left", "Side_Right"]
    results = transcribed(whisper_project, *(speech.alsa(name) for name in [*names, "Noise"]), "--language", "en")
    heard = [re.sub("[^a-z ]", "", result["text"].lower()) for result in results]

    assert [*(name.lower().replace("_", " ") for name in names), ""] == heard


@pytest.mark.parametrize(
    ("voice", "text"),
    [
        ("en", "The river bank was quiet in the early morning, and nobody was there."),
        ("de", "Guten Morgen, heute ist ein schöner Tag, und wir gehen zusammen in die Stadt."),
        ("fr-fr", "Bonjour, aujourd'hui il fait beau et nous allons ensemble à la plage."),
        ("es", "Buenos días, hoy hace buen tiempo y vamos juntos a la playa con los niños."),
        ("it", "Vorrei sapere quando parte il prossimo treno per Roma, perché devo arrivare prima di mezzogiorno."),
    ],
)
def test_the_language_is_found_out(whisper_project, tmp_path, voice, text):
    path = speech.write_wav(tmp_path / "greeting.wav", speech.say(text, voice, 140))
    (result,) = transcribed(whisper_project, path)

    assert voice[:2] == result["language"]
    assert result["language_probability"] > 0.5


@pytest.mark.parametrize("kind", ["silence", "noise", "hum"])
def test_where_nobody_speaks_nothing_is_written(whisper_project, tmp_path, kind):
    at = np.arange(40 * speech.SAMPLE_RATE)
    made = {
        "silence": np.zeros(len(at)),
        "noise": np.random.default_rng(5).normal(0, 2000, len(at)),
        "hum": 6000 * np.sin(2 * np.pi * 50 * at / speech.SAMPLE_RATE),
    }
    path = speech.write_wav(tmp_path / f"{kind}.wav", made[kind].astype(np.int16))
    (result,) = transcribed(whisper_project, path)

    assert ("", [], 40.0) == (result["text"], result["segments"], round(result["duration"], 1))


def test_every_form_of_a_sound_is_understood(whisper_project, tmp_path):
    """Five minutes in sixteen forms: each lasts as long, and is understood about as well as the best."""
    reading = speech.speech(FIVE_MINUTES_S, by_a_reader=True)
    forms = [*WAVS, *COMPRESSED]
    paths = [write(tmp_path / f"{form}.{form.suffix}", reading[0], form) for form in forms]
    results = transcribed(whisper_project, *paths)
    known = {str(form): accuracy(reading, result) for form, result in zip(forms, results, strict=True)}

    assert {} == {name: found for name, found in known.items() if found < max(known.values()) - 0.03}
    assert [] == [result["source"] for result in results if abs(result["duration"] - FIVE_MINUTES_S) > 0.1]


def test_a_sound_in_chunks_is_the_same_sound(whisper_project, recording, recorded, whole):
    """Cut at every minute: no worse understood, and each of its segments begins where the whole has that word."""
    (cut,) = transcribed(whisper_project, recorded, "--chunk", "60s", "--word-timestamps")
    begins = np.array([word["start"] for segment in whole["segments"] for word in segment["words"]])
    late_s = [float(np.abs(begins - segment["start"]).min()) for segment in cut["segments"]]

    assert accuracy(recording, cut) >= accuracy(recording, whole) - 0.01
    assert max(late_s) <= 0.3
    assert abs(cut["duration"] - whole["duration"]) < 0.1
    assert all(one["end"] <= other["start"] + 0.01 for one, other in pairwise(cut["segments"]))


def test_segments_begin_where_sentences_do(recording, whole):
    """Half of them within a quarter of a second, and none is a second off."""
    starts = np.array([segment["start"] for segment in whole["segments"]])
    off_s = [float(np.abs(starts - at_s).min()) for at_s, _ in recording[1]]

    assert median(off_s) < 0.25
    assert np.quantile(off_s, 0.9) < 0.6


def test_the_words_of_runpods_own_worker_are_spoken(whisper_project):
    """`--protocol worker-faster_whisper` asks as RunPod's worker is asked; ours answers in its shape, and is read."""
    clip = speech.librivox()[0]
    endpoint_id = whisper_project.dotenv()["VIDCTL_WHISPER_ENDPOINT_ID_LOCAL"]
    outcome = whisper_project.run(
        "transcribe", clip.path, "--endpoint-id", endpoint_id, "--protocol", "worker-faster_whisper", "--json"
    )

    assert (0, "") == (outcome.status, outcome.stderr)
    assert speech.accuracy(clip.text, outcome.document["results"][0]["text"]) >= 0.9


def test_segments_appear_on_a_terminal_as_they_come(whisper_project, recorded):
    """With times and colours, while a bar counts seconds of sound; in the end only the text is there."""
    terminal = pexpect.spawn(
        VIDCTL[0], [*VIDCTL[1:], "transcribe", str(recorded), "--chunk", "60s"], cwd=whisper_project.root,
        encoding="utf-8", timeout=300, dimensions=(40, 200),
        env={**os.environ, **whisper_project.environ, "TERM": "xterm-256color"},
    )  # fmt: skip
    terminal.expect(r"\[00:00\.\d\d\d --> 00:0\d\.\d\d\d\]\x1b\[0m \x1b\[3[123]m And Mr\. John")
    terminal.expect(r"0[0-3]:\d\d / 05:00 \d+\.\d× real time")
    terminal.expect(r"\[04:\d\d\.\d\d\d --> 0[45]:\d\d\.\d\d\d\]")
    terminal.expect(pexpect.EOF)
    terminal.close()

    assert 0 == terminal.exitstatus
    assert terminal.before.endswith("\x1b[2K")


def test_a_job_tells_how_far_it_is(whisper_project, recorded, monkeypatch):
    """RunPod's own progress: what /status shows while a long job runs is how far it is, and its segments so far."""
    for name, value in whisper_project.environ.items():
        monkeypatch.setenv(name, value)
    runtime = daemon.connection()
    endpoint_id = whisper_project.dotenv()["VIDCTL_WHISPER_ENDPOINT_ID_LOCAL"]
    jobs = Jobs(Http(runtime.api_key), runtime.endpoint_base_url)
    (chunk,) = audio.chunks(recorded, name="talk", warn=pytest.fail, chunk_s=600)
    job_id = jobs.run(endpoint_id, {"audio": base64.b64encode(chunk.data).decode()})
    seen = until(lambda: isinstance(told := jobs.status(endpoint_id, job_id).output, dict) and told)
    jobs.cancel(endpoint_id, job_id)

    assert len(seen["transcription"]) > 0
    assert 0 < seen["progress"]["done"] < FIVE_MINUTES_S == round(seen["progress"]["total"])
