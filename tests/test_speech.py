"""Real speech through `vidctl transcribe`, the local runtime, RunPod's SDK and the real whisper-base."""

from __future__ import annotations

import base64
import os
from itertools import pairwise
from statistics import median

import numpy as np
import pexpect
import pytest
from support import speech
from support.audio_files import COMPRESSED, WAVS, write
from support.command import VIDCTL
from support.runtime import until

from vidctl.local import daemon
from vidctl.media import audio
from vidctl.runpod.http import Http
from vidctl.runpod.jobs import Jobs

LENGTH_S = 120


@pytest.fixture(scope="session")
def recording():
    """Two minutes of speech, 16 kHz, and what is said when."""
    return speech.speech(LENGTH_S)


@pytest.fixture(scope="session")
def recorded(recording, tmp_path_factory):
    return speech.write_wav(tmp_path_factory.mktemp("recorded") / "talk.wav", recording[0])


@pytest.fixture(scope="session")
def minute(recording, tmp_path_factory):
    """The first of them."""
    path = tmp_path_factory.mktemp("minute") / "talk.wav"
    return speech.write_wav(path, recording[0][: 60 * speech.SAMPLE_RATE])


def transcribed(project, *arguments):
    outcome = project.run("transcribe", *arguments, "--json", timeout_s=900)
    assert outcome.status == 0, outcome.stderr
    return outcome.document["results"]


@pytest.fixture(scope="session")
def whole(whisper_project, recorded):
    """The two minutes in one job."""
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


@pytest.mark.parametrize("form", [WAVS[0], COMPRESSED[5]], ids=str)
def test_other_forms_are_understood_as_well(whisper_project, tmp_path, form):
    """A telephone's 8 kHz, and a video; that a worker gets the same audio of every form, `test_audio.py` shows."""
    clips = speech.librivox()
    reading = np.concatenate([speech.samples(clip.path) for clip in clips])
    (result,) = transcribed(whisper_project, write(tmp_path / f"talk.{form.suffix}", reading, form))

    assert speech.accuracy(" ".join(clip.text for clip in clips), result["text"]) >= 0.9
    assert abs(result["duration"] - len(reading) / speech.SAMPLE_RATE) < 0.1


def test_audio_in_chunks_is_the_same_audio(whisper_project, recording, recorded, whole):
    """Cut at every 40 s: no worse understood, and each of its segments begins where the whole has that word."""
    (cut,) = transcribed(whisper_project, recorded, "--chunk", "40s", "--word-timestamps")
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


def test_segments_appear_on_a_terminal_as_they_come(whisper_project, minute):
    """With times and colours, while a bar counts seconds of audio; in the end only the text is there."""
    terminal = pexpect.spawn(
        VIDCTL[0], [*VIDCTL[1:], "transcribe", str(minute), "--chunk", "20s"], cwd=whisper_project.root,
        encoding="utf-8", timeout=300, dimensions=(40, 200),
        env={**os.environ, **whisper_project.environ, "TERM": "xterm-256color"},
    )  # fmt: skip
    terminal.expect(r"\[00:00\.\d\d\d --> 00:0\d\.\d\d\d\]\x1b\[0m \x1b\[3[123]m And Mr\. John")
    terminal.expect(r"00:[0-5]\d / 01:00 \d+\.\d× real time")
    terminal.expect(r"\[00:[45]\d\.\d\d\d --> 0[01]:\d\d\.\d\d\d\]")
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
    small = {"chunk_length": 5, "batch_size": 2}  # parts, of which it tells after each
    job_id = jobs.run(endpoint_id, {"audio": base64.b64encode(chunk.data).decode(), **small})
    seen = until(lambda: isinstance(told := jobs.status(endpoint_id, job_id).output, dict) and told)
    jobs.cancel(endpoint_id, job_id)

    assert len(seen["transcription"]) > 0
    assert 0 < seen["progress"]["done"] < LENGTH_S == round(seen["progress"]["total"])
