"""`vidctl transcribe` as a user types it: against a worker without a model, for what does not depend on one."""

from __future__ import annotations

import json
import signal

import numpy as np
import pytest
from support.project import ended
from support.runtime import until
from support.speech import SAMPLE_RATE, write_wav

from vidctl.client import Client
from vidctl.errors import JobFailed

CHUNK_S = 10
SMOKE_AUDIO = "AAAA"  # the worker without a model does not open it


def bursts(count, seconds=CHUNK_S):
    """So many times `seconds` of noise, each with a second of silence at its end: as many chunks of at most 11 s."""
    noise = np.random.default_rng(1).normal(0, 3000, (count, seconds * SAMPLE_RATE)).astype(np.int16)
    noise[:, -SAMPLE_RATE:] = 0
    return noise.reshape(-1)


@pytest.fixture
def dictation(project, tmp_path):
    """Deploy the worker without a model as the spec for transcribe; `memory` is the folder of its turns."""

    def deploy(**env):
        memory = tmp_path / "memory"
        memory.mkdir()
        folder = project.worker("dictation")
        (folder / "test_input.json").write_text(json.dumps({"input": {"audio": SMOKE_AUDIO}}))
        # Turn 1 is the smoke test's.
        smoke = {"input": "workers/dictation/test_input.json", "contains": {"language": "en"}}
        project.spec(
            "dictation", worker="dictation", task="transcribe", smoke=smoke, env={"FOLDER": str(memory), **env}
        )
        outcome = project.run("deploy", "dictation")
        assert outcome.status == 0, outcome.stderr
        project.memory = memory
        return project

    return deploy


def attempts(project):
    """The turns that were worked at, in order, without the smoke test's."""
    return [int(line) for line in (project.memory / "attempts").read_text().split()][1:]


def starts(document):
    """When each segment begins, in whole chunks."""
    (result,) = document["results"]
    return [round(segment["start"]) // CHUNK_S for segment in result["segments"]]


def test_a_long_sound_travels_in_chunks_and_comes_back_whole(dictation):
    """Each chunk's segment is in its place, in seconds of the whole."""
    project = dictation()
    write_wav(project.root / "talk.wav", bursts(4))
    outcome = project.run("transcribe", "talk.wav", "--chunk", "11s", "--json")

    (result,) = outcome.document["results"]
    assert (0, "vidctl.transcribe/1") == (outcome.status, outcome.document["schema"])
    assert [0, 1, 2, 3] == starts(outcome.document)
    assert ("word2. word3. word4. word5.", 40.0, "en") == (result["text"], result["duration"], result["language"])
    assert "gaps" not in result


def test_a_worker_that_dies_costs_time_not_words(dictation):
    """Killed with its third chunk in hand, the worker is replaced and the chunk goes again; nothing else does."""
    project = dictation(DIES="4")
    write_wav(project.root / "talk.wav", bursts(8))
    outcome = project.run("transcribe", "talk.wav", "--chunk", "11s", "--json")

    assert (0, list(range(8))) == (outcome.status, starts(outcome.document))
    assert [2, 3, 4, 4, 5, 6, 7, 8, 9] == sorted(attempts(project))


def test_a_chunk_that_fails_for_good_is_a_gap(dictation):
    """The rest is delivered, the gap is marked in its place, and the exit code says that something is missing."""
    project = dictation(FAILS="3")
    write_wav(project.root / "talk.wav", bursts(4))
    outcome = project.run("transcribe", "talk.wav", "--chunk", "11s", "--json")
    (gap,) = outcome.document["results"][0]["gaps"]

    assert (9, [0, 2, 3]) == (outcome.status, starts(outcome.document))
    assert (9.5, 19.5) == (round(gap["start"], 1), round(gap["end"], 1))
    assert "this sound cannot be understood" in gap["error"]
    assert ("partial", True) == (outcome.error["code"], "--resume" in outcome.error["hint"])


def test_a_gap_is_marked_in_subtitles_too(dictation):
    project = dictation(FAILS="3")
    write_wav(project.root / "talk.wav", bursts(3))
    outcome = project.run("transcribe", "talk.wav", "--chunk", "11s", "-f", "srt")
    cues = outcome.stdout.strip().split("\n\n")

    assert (9, 3) == (outcome.status, len(cues))
    assert ["word2.", "word4."] == [cues[index].splitlines()[-1] for index in (0, 2)]
    assert "missing" in cues[1]
    assert cues[1].splitlines()[1].startswith("00:00:09,")


def test_resume_pays_only_for_what_failed(dictation):
    """The chunks that were answered are not sent again."""
    project = dictation(FAILS="3")
    write_wav(project.root / "talk.wav", bursts(4))
    project.run("transcribe", "talk.wav", "--chunk", "11s")
    before = attempts(project)
    outcome = project.run("transcribe", "talk.wav", "--chunk", "11s", "--resume", "--json")

    assert ([2, 3, 4, 5], [3]) == (sorted(before), attempts(project)[len(before) :])
    assert (9, [0, 2, 3]) == (outcome.status, starts(outcome.document))


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT])
def test_a_command_that_was_ended_is_resumed(dictation, number):
    """Ended with chunks answered and chunks out: the next run has every word, and no answer is paid again."""
    project = dictation(HOLDS="5")
    write_wav(project.root / "talk.wav", bursts(6))
    process = project.start("transcribe", "talk.wav", "--chunk", "11s", "--json")
    until(lambda: (project.memory / "attempts").exists() and 5 in attempts(project))
    until(lambda: sum(job["status"] == "COMPLETED" for job in project.jobs()) == 3)
    ended(process, number)
    (project.memory / "gate").touch()
    outcome = project.run("transcribe", "talk.wav", "--chunk", "11s", "--resume", "--json")

    assert (0, list(range(6))) == (outcome.status, starts(outcome.document))
    assert [2, 3, 4] == [turn for turn in attempts(project) if turn < 5]


def test_kill_9_pays_for_no_chunk_twice(dictation):
    """The jobs that were out went on: a resumed run waits for them."""
    project = dictation(HOLDS="5")
    write_wav(project.root / "talk.wav", bursts(6))
    process = project.start("transcribe", "talk.wav", "--chunk", "11s", "--json")
    until(lambda: (project.memory / "attempts").exists() and 5 in attempts(project))
    until(lambda: len(project.jobs()) >= 6)
    ended(process, signal.SIGKILL)
    (project.memory / "gate").touch()
    outcome = project.run("transcribe", "talk.wav", "--chunk", "11s", "--resume", "--json")

    assert (0, list(range(6))) == (outcome.status, starts(outcome.document))
    assert [2, 3, 4, 5, 6, 7] == sorted(attempts(project))


def test_what_was_delivered_whole_is_asked_anew(dictation):
    """Also with --resume: there is nothing left to go on with."""
    project = dictation()
    write_wav(project.root / "talk.wav", bursts(1))
    for _ in range(2):
        assert 0 == project.run("transcribe", "talk.wav", "--resume").status

    assert [2, 2] == attempts(project)


def test_formats_go_to_a_folder(dictation):
    project = dictation()
    write_wav(project.root / "talk.wav", bursts(1))
    outcome = project.run("transcribe", "talk.wav", "-f", "srt,tsv", "-f", "json", "-o", "out")

    assert (0, "") == (outcome.status, outcome.stdout)
    assert ["talk.json", "talk.srt", "talk.tsv"] == sorted(path.name for path in (project.root / "out").iterdir())
    assert "1\n00:00:00,500 --> 00:00:01,000\nword2.\n\n" == (project.root / "out/talk.srt").read_text()
    assert "start\tend\ttext\n500\t1000\tword2.\n" == (project.root / "out/talk.tsv").read_text()


def test_all_formats_and_many_sounds(dictation):
    """One set of files for each sound; sounds of one name do not overwrite each other."""
    project = dictation()
    for folder in ("a", "b"):
        (project.root / folder).mkdir()
        write_wav(project.root / folder / "talk.wav", bursts(1, seconds=2 if folder == "a" else 3))
    outcome = project.run("transcribe", "a", "b", "-f", "all", "-o", "out")

    assert 0 == outcome.status, outcome.stderr
    assert 10 == len(list((project.root / "out").iterdir()))
    assert ["word2.", "word3."] == [
        (project.root / "out" / name).read_text().strip() for name in ("talk.txt", "talk-2.txt")
    ]


def test_a_files_ending_says_its_format(dictation):
    project = dictation()
    write_wav(project.root / "talk.wav", bursts(1))
    project.run("transcribe", "talk.wav", "-o", "talk.vtt")

    assert "WEBVTT\n\n00:00.500 --> 00:01.000\nword2.\n\n" == (project.root / "talk.vtt").read_text()


def test_a_pipe_gets_the_text_and_may_give_the_sound(dictation):
    project = dictation()
    path = write_wav(project.root / "talk.wav", bursts(1))
    outcome = project.run("transcribe", "-", stdin=path.read_bytes())

    assert (0, "word2.\n", "") == (outcome.status, outcome.stdout, outcome.stderr)


def test_one_bad_file_does_not_stop_the_others(dictation):
    project = dictation()
    write_wav(project.root / "talk.wav", bursts(1))
    (project.root / "letter.wav").write_text("Dear all,\n")
    outcome = project.run("transcribe", "letter.wav", "talk.wav", "missing.mp3", "--json")
    bad, good, missing = outcome.document["results"]

    assert (9, "partial") == (outcome.status, outcome.error["code"])
    assert ("word2.", "media_error", "media_error") == (good["text"], bad["code"], missing["code"])
    assert (["letter.wav", "missing.mp3"], True) == (
        [bad["source"], missing["source"]],
        "no such file" in missing["error"],
    )


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["-f", "doc"], "doc: no such format"),
        (["-f", "srt,vtt"], "name a folder"),
        (["--chunk", "soon"], "not a duration"),
        (["--set", "best_of"], "not KEY=VALUE"),
        (["--language", "Klingon"], "Klingon"),
        (["--json", "-f", "srt"], "one or the other"),
        (["--beam-size", "0"], "beam_size"),
    ],
)
def test_a_wrong_option_is_one_line_and_exit_code_2(project, arguments, said):
    write_wav(project.root / "talk.wav", bursts(1, seconds=1))
    outcome = project.run("transcribe", "talk.wav", *arguments)

    assert (2, "") == (outcome.status, outcome.stdout)
    assert said in outcome.stderr
    assert "Traceback" not in outcome.stderr


def test_nothing_deployed_is_said_at_once(project):
    write_wav(project.root / "talk.wav", bursts(1, seconds=1))
    outcome = project.run("transcribe", "talk.wav", "--json")

    assert (5, "not_deployed") == (outcome.status, outcome.error["code"])


def test_python_gets_a_typed_transcript(dictation, monkeypatch):
    project = dictation(FAILS="3")
    for name, value in project.environ.items():
        monkeypatch.setenv(name, value)
    good = write_wav(project.root / "good.wav", bursts(1))
    bad = write_wav(project.root / "bad.wav", bursts(1, seconds=3))
    client = Client(target="local", project=project.root)
    transcript = client.transcribe(good)
    with pytest.raises(JobFailed, match="cannot be understood"):
        client.transcribe(bad.read_bytes())

    assert ("word2.", "en", 0.5) == (transcript.text, transcript.language, transcript.segments[0].start)
    assert transcript.to_srt().startswith("1\n00:00:00,500 --> ")
