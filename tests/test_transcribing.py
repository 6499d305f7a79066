"""`vidctl transcribe` as a user types it: against a worker without a model, for what does not depend on one."""

from __future__ import annotations

import copy
import json
import os
import signal

import numpy as np
import pexpect
import pytest
from support.audio_files import write_tracks
from support.command import VIDCTL, vidctl
from support.endpoint import answering
from support.failing import failed, failing, same_wording
from support.project import Project, ended
from support.runtime import until
from support.scripted import Reply, serving
from support.speech import SAMPLE_RATE, write_wav

from vidctl.cli import whisper_options
from vidctl.client import Client

SMOKE_AUDIO = "AAAA"  # the worker without a model does not open it


def bursts(*numbers):
    """Noise, with a pause of a second between two bursts; with --chunk 11s each is a chunk, of a known length."""
    parts = []
    for number in numbers:
        noise = np.random.default_rng(number).normal(0, 3000, round((8.9 + 0.1 * number) * SAMPLE_RATE))
        noise[: SAMPLE_RATE // 2] = 0
        noise[-SAMPLE_RATE // 2 :] = 0
        parts.append(noise.astype(np.int16))
    return np.concatenate(parts)


def test_another_audio_track_is_heard_if_it_is_named(dictation):
    """By its number or its language; one that is not there is an error before anything is sent."""
    project = dictation()
    write_tracks(project.root / "video.mkv", [bursts(1), bursts(3)], languages=("en", "de"))

    first = project.run("transcribe", "video.mkv", "--json")
    others = [project.run("transcribe", "video.mkv", "--audio-track", each, "--json") for each in ("2", "German")]
    missing = project.run("transcribe", "video.mkv", "--audio-track", "7")

    assert [words(1), words(3), words(3)] == [each.document["results"][0]["text"] for each in (first, *others)]
    failed(missing, "media_error", "video.mkv", "track 7", "1 (en), 2 (de)")
    assert 3 == len(attempts(project))


def words(*numbers):
    return " ".join(f"word{number}." for number in numbers)


@pytest.fixture
def dictation(request, deployments, tmp_path):
    """Deploy the worker without a model as the spec for transcribe; `memory` is the folder of its turns.

    What tests leave as it is they share: each has a folder of its own below the project's, which is `home`.
    """

    def deploy(*, is_alone=False, **env):
        if is_alone or not {"DIES", "HOLDS"}.isdisjoint(env):
            return deployed(request.getfixturevalue("project"), tmp_path / "memory", **env)
        project = copy.copy(deployments(**env))
        project.root = project.home / tmp_path.name
        project.root.mkdir()
        project.begun += len(attempts(project))
        return project

    return deploy


@pytest.fixture(scope="module")
def deployments(tmp_path_factory):
    """A deployed project for each set of variables."""
    made = {}

    def get(**env):
        key = tuple(env.items())
        if key not in made:
            made[key] = Project(tmp_path_factory.mktemp("dictation"))
            deployed(made[key], tmp_path_factory.mktemp("memory") / "turns", **env)
        return made[key]

    yield get
    for project in made.values():
        project.close()


def deployed(project, memory, **env):
    memory.mkdir()
    folder = project.worker("dictation")
    (folder / "test_input.json").write_text(json.dumps({"input": {"audio": SMOKE_AUDIO}}))
    smoke = {"input": "workers/dictation/test_input.json", "contains": {"language": "en"}}
    project.spec("dictation", worker="dictation", task="transcribe", smoke=smoke, env={"FOLDER": str(memory), **env})
    project.spec("other", worker="dictation", task="detect")
    outcome = project.run("deploy", "dictation")
    assert outcome.status == 0, outcome.stderr
    project.home, project.memory, project.begun = project.root, memory, 1
    return project


def attempts(project):
    """The numbers that were worked at for this test, in order, without the smoke test's."""
    path = project.memory / "attempts"
    return [int(line) for line in path.read_text().split()][project.begun :] if path.exists() else []


def completed(project):
    """How many chunks vidctl knows to be answered; the smoke test's job is one more."""
    return sum(job["status"] == "COMPLETED" for job in project.jobs()) - 1


def test_long_audio_is_sent_in_chunks_and_comes_back_whole(dictation):
    """Each chunk's segment is in its place, in seconds of the whole."""
    project = dictation()
    write_wav(project.root / "talk.wav", bursts(1, 2, 3, 4))
    outcome = project.run("transcribe", "talk.wav", "--chunk", "11s", "--json")

    (result,) = outcome.document["results"]
    assert (0, "vidctl.transcribe/1") == (outcome.status, outcome.document["schema"])
    assert (words(1, 2, 3, 4), 36.6, "en") == (result["text"], round(result["duration"], 2), result["language"])
    assert [0.5, 9.5, 18.6, 27.8] == [round(segment["start"], 1) for segment in result["segments"]]
    assert "gaps" not in result


def test_a_worker_that_dies_costs_time_not_words(dictation):
    """Killed with its third chunk in hand, the worker is replaced and the chunk goes again; nothing else does."""
    project = dictation(DIES="3")
    write_wav(project.root / "talk.wav", bursts(*range(1, 9)))
    outcome = project.run("transcribe", "talk.wav", "--chunk", "11s", "--json")

    assert (0, words(*range(1, 9))) == (outcome.status, outcome.document["results"][0]["text"])
    assert [1, 2, 3, 3, 4, 5, 6, 7, 8] == sorted(attempts(project))


def test_a_chunk_that_fails_for_good_is_a_gap(dictation):
    """The rest is delivered, the gap is marked in its place, and the exit code says that something is missing."""
    project = dictation(FAILS="2")
    write_wav(project.root / "talk.wav", bursts(1, 2, 3, 4))
    outcome = project.run("transcribe", "talk.wav", "--chunk", "11s", "--json")
    (result,) = outcome.document["results"]
    (gap,) = result["gaps"]

    assert (9, words(1, 3, 4)) == (outcome.status, result["text"])
    assert (9.0, 18.1) == (round(gap["start"], 1), round(gap["end"], 1))
    assert "this audio cannot be understood" in gap["error"]
    assert ("partial", True) == (outcome.error["code"], "--resume" in outcome.error["hint"])


def test_a_gap_is_marked_in_subtitles_too(dictation):
    project = dictation(FAILS="2")
    write_wav(project.root / "talk.wav", bursts(1, 2, 3))
    outcome = project.run("transcribe", "talk.wav", "--chunk", "11s", "-f", "srt")
    cues = outcome.stdout.strip().split("\n\n")

    assert (9, 3) == (outcome.status, len(cues))
    assert ["word1.", "word3."] == [cues[index].splitlines()[-1] for index in (0, 2)]
    assert "missing" in cues[1]
    assert cues[1].splitlines()[1].startswith("00:00:09,")


def test_resume_pays_only_for_what_failed(dictation):
    """The chunks that were answered are not sent again."""
    project = dictation(FAILS="2")
    write_wav(project.root / "talk.wav", bursts(1, 2, 3, 4))
    project.run("transcribe", "talk.wav", "--chunk", "11s")
    before = attempts(project)
    outcome = project.run("transcribe", "talk.wav", "--chunk", "11s", "--resume", "--json")

    assert ([1, 2, 3, 4], [2]) == (sorted(before), attempts(project)[len(before) :])
    assert (9, words(1, 3, 4)) == (outcome.status, outcome.document["results"][0]["text"])


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT])
def test_a_command_that_was_ended_is_resumed(dictation, number):
    """Ended with chunks answered and chunks out: the next run has every word, and no answer is paid again."""
    project = dictation(HOLDS="4")
    write_wav(project.root / "talk.wav", bursts(*range(1, 7)))
    process = project.start("transcribe", "talk.wav", "--chunk", "11s", "--json")
    until(lambda: completed(project) == 3)
    _, _, stderr = ended(process, number)
    (project.memory / "gate").touch()
    outcome = project.run("transcribe", "talk.wav", "--chunk", "11s", "--resume", "--json")

    assert (0, words(*range(1, 7))) == (outcome.status, outcome.document["results"][0]["text"])
    assert [1, 2, 3] == sorted(number for number in attempts(project) if number < 4)
    assert (number == signal.SIGINT) == ("--resume" in stderr)


def test_kill_9_pays_for_no_chunk_twice(dictation):
    """The jobs that were out went on: a resumed run waits for them."""
    project = dictation(HOLDS="4")
    write_wav(project.root / "talk.wav", bursts(*range(1, 7)))
    process = project.start("transcribe", "talk.wav", "--chunk", "11s", "--json")
    until(lambda: completed(project) == 3 and len(project.jobs()) == 7)
    ended(process, signal.SIGKILL)
    (project.memory / "gate").touch()
    outcome = project.run("transcribe", "talk.wav", "--chunk", "11s", "--resume", "--json")

    assert (0, words(*range(1, 7))) == (outcome.status, outcome.document["results"][0]["text"])
    assert [1, 2, 3, 4, 5, 6] == sorted(attempts(project))


def test_what_was_delivered_whole_is_asked_anew(dictation):
    """Also with --resume: there is nothing left to go on with."""
    project = dictation()
    write_wav(project.root / "talk.wav", bursts(1))
    for _ in range(2):
        assert 0 == project.run("transcribe", "talk.wav", "--resume").status

    assert [1, 1] == attempts(project)


def test_what_could_not_be_saved_is_not_paid_again(dictation):
    """The answer was not delivered: the next run has it, and the one after that asks anew."""
    project = dictation()
    write_wav(project.root / "talk.wav", bursts(1))
    full = project.run("transcribe", "talk.wav", "-o", "/dev/full")
    again = project.run("transcribe", "talk.wav", "--resume", "--json")
    before = attempts(project)
    project.run("transcribe", "talk.wav", "--resume")

    assert ((9, True), (0, "word1.")) == (
        (full.status, "/dev/full" in full.stderr),
        (again.status, again.document["results"][0]["text"]),
    )
    assert ([1], [1, 1]) == (before, attempts(project))


def test_a_document_that_was_never_written_is_not_paid_again(dictation):
    """With --json nothing is delivered before the end: killed there, the first file's answer is still known."""
    project = dictation(HOLDS="2")
    for number in (1, 2):
        write_wav(project.root / f"{number}.wav", bursts(number))
    process = project.start("transcribe", "1.wav", "2.wav", "--json")
    until(lambda: completed(project) == 1 and 2 in attempts(project))
    ended(process, signal.SIGKILL)
    (project.memory / "gate").touch()
    outcome = project.run("transcribe", "1.wav", "2.wav", "--json", "--resume")

    assert ["word1.", "word2."] == [result["text"] for result in outcome.document["results"]]
    assert [1, 2] == attempts(project)


def test_another_version_is_asked_anew(dictation):
    """What an earlier deploy answered is no part of this one's transcript."""
    project = dictation(is_alone=True, FAILS="2")
    write_wav(project.root / "talk.wav", bursts(1, 2))
    project.run("transcribe", "talk.wav", "--chunk", "11s")
    spec = project.root / "configs/dictation.yaml"
    spec.write_text(spec.read_text().replace('"FAILS": "2"', '"FAILS": "5"'))
    assert project.run("deploy", "dictation", "--yes").status == 0
    before = attempts(project)
    outcome = project.run("transcribe", "talk.wav", "--chunk", "11s", "--resume")

    assert (0, "word1.\nword2.\n") == (outcome.status, outcome.stdout)
    assert [1, 2] == sorted(attempts(project)[len(before) :])[-2:]


@pytest.mark.parametrize(
    ("arguments", "facts"),
    [
        (["1.wav", "2.wav", "-o", "have.txt"], ("-o have.txt", "one file", "-o DIR/")),
        (["1.wav", "2.wav", "-o", "new.srt"], ("-o new.srt", "one file", "-o DIR/")),
        (["1.wav", "-f", "txt", "-o", "1.wav"], ("-o 1.wav", "audio files")),
        (["1.wav", "-o", "talk.ass"], ("talk.ass", "format")),
        (["1.wav", "--endpoint", "other"], ("other", "detect")),
    ],
)
def test_what_cannot_be_is_said_before_anything_is_paid(dictation, arguments, facts):
    project = dictation()
    (project.root / "have.txt").write_text("mine")
    for number in (1, 2):
        write_wav(project.root / f"{number}.wav", bursts(number))
    outcome = project.run("transcribe", *arguments)

    assert ([], "mine") == (attempts(project), (project.root / "have.txt").read_text())
    failed(outcome, "usage_error", *facts)


def test_several_audio_files_are_read_apart_on_a_terminal(dictation):
    """Each under its name, one after the other, however they come."""
    project = dictation()
    for number in (3, 1, 2):
        write_wav(project.root / f"{number}.wav", bursts(number))
    terminal = pexpect.spawn(
        VIDCTL[0], [*VIDCTL[1:], "transcribe", "3.wav", "1.wav", "2.wav", "--no-progress"], cwd=project.root,
        encoding="utf-8", timeout=60, env={**os.environ, **project.environ, "TERM": "dumb"},
    )  # fmt: skip
    terminal.expect(pexpect.EOF)
    terminal.close()
    lines = [line.rpartition("] ")[2].strip() for line in terminal.before.splitlines()]

    assert ["3.wav", "word3.", "1.wav", "word1.", "2.wav", "word2."] == lines


def test_audio_without_speech_is_mentioned(dictation):
    """An empty result is no mistake, and yet nobody should wonder."""
    project = dictation(SILENT="1")
    write_wav(project.root / "talk.wav", bursts(1))
    outcome = project.run("transcribe", "talk.wav", "--no-progress")

    assert (0, "") == (outcome.status, outcome.stdout)
    assert outcome.stderr.startswith("talk.wav: ")
    same_wording(outcome.stderr)


def test_formats_go_to_a_folder(dictation):
    project = dictation()
    write_wav(project.root / "talk.wav", bursts(1))
    outcome = project.run("transcribe", "talk.wav", "-f", "srt,tsv", "-f", "json", "-o", "out/", "--no-progress")

    assert (0, "") == (outcome.status, outcome.stdout)
    assert ["saved out/talk.srt", "saved out/talk.tsv", "saved out/talk.json"] == outcome.stderr.splitlines()
    assert ["talk.json", "talk.srt", "talk.tsv"] == sorted(path.name for path in (project.root / "out").iterdir())
    assert "1\n00:00:00,600 --> 00:00:00,800\nword1.\n\n" == (project.root / "out/talk.srt").read_text()
    assert "start\tend\ttext\n500\t1000\tword1.\n" == (project.root / "out/talk.tsv").read_text()


def test_all_formats_and_many_audio_files(dictation):
    """One set of files for each audio file; audio files of one name do not overwrite each other."""
    project = dictation()
    for folder, number in (("a", 1), ("b", 2)):
        (project.root / folder).mkdir()
        write_wav(project.root / folder / "talk.wav", bursts(number))
    outcome = project.run("transcribe", "a", "b", "-f", "all", "-o", "out/")

    assert 0 == outcome.status, outcome.stderr
    assert 10 == len(list((project.root / "out").iterdir()))
    assert ["word1.", "word2."] == [
        (project.root / "out" / name).read_text().strip() for name in ("talk.txt", "talk-2.txt")
    ]


def test_a_files_ending_says_its_format(dictation):
    project = dictation()
    write_wav(project.root / "talk.wav", bursts(1))
    project.run("transcribe", "talk.wav", "-o", "talk.vtt")

    assert "WEBVTT\n\n00:00.600 --> 00:00.800\nword1.\n\n" == (project.root / "talk.vtt").read_text()


def test_a_pipe_gets_the_text_and_may_give_the_audio(dictation):
    project = dictation()
    path = write_wav(project.root / "talk.wav", bursts(1))
    outcome = project.run("transcribe", "-", "--no-progress", stdin=path.read_bytes())

    assert (0, "word1.\n", "") == (outcome.status, outcome.stdout, outcome.stderr)


def test_a_letter_that_the_locale_cannot_write_costs_no_result(dictation):
    project = dictation()
    path = write_wav(project.root / "größe.wav", bursts(1))
    outcome = project.run("transcribe", path.name, "--json", PYTHONIOENCODING="ascii")

    assert (0, "word1.") == (outcome.status, outcome.document["results"][0]["text"])


def test_the_secrets_of_an_address_are_not_written_down(dictation):
    """A signed address is a key: the journal and the results name the audio without it."""
    project = dictation()
    path = write_wav(project.root / "talk.wav", bursts(1))
    with serving(lambda _: Reply(body=path.read_bytes())) as server:
        url = server.url.replace("://", "://me:hunter2@") + "/talk.wav?signature=s3cret"
        outcome = project.run("transcribe", url)
        told = project.run("transcribe", url, "--json")
    kept = b"".join(file.read_bytes() for file in (project.home / ".vidctl").rglob("*") if file.is_file())

    assert (0, "word1.\n") == (outcome.status, outcome.stdout)
    assert f"{server.url}/talk.wav?***" == told.document["results"][0]["source"]
    assert [] == [word for word in (b"hunter2", b"s3cret") if word in kept + told.stdout.encode()]


def test_one_bad_file_does_not_stop_the_others(dictation):
    project = dictation()
    write_wav(project.root / "talk.wav", bursts(1))
    (project.root / "letter.wav").write_text("Dear all,\n")
    outcome = project.run("transcribe", "letter.wav", "talk.wav", "missing.mp3", "--json")
    bad, good, missing = outcome.document["results"]

    assert (9, "partial") == (outcome.status, outcome.error["code"])
    assert ("word1.", "media_error", "media_error") == (good["text"], bad["code"], missing["code"])
    assert (["letter.wav", "missing.mp3"], True) == (
        [bad["source"], missing["source"]],
        "missing.mp3" in missing["error"],
    )


@pytest.mark.parametrize(
    ("arguments", "facts"),
    [
        (["-f", "doc"], ("-f doc", "txt, srt, vtt, tsv, json")),
        (["-f", ""], ("-f ", "txt, srt, vtt, tsv, json")),
        (["-f", "srt,vtt"], ("stdout", "-o DIR")),
        (["--chunk", "soon"], ("--chunk soon",)),
        (["--chunk", "2h"], ("7200 s", "10 s to 1800 s")),
        (["--set", "best_of"], ("--set best_of", "KEY=VALUE")),
        (["--set", "patience=NaN"], ("patience", "nan", "JSON")),
        (["--set", "beam_size=3"], ("beam_size",)),
        (["--language", "Klingon"], ("Klingon",)),
        (["--json", "-f", "srt"], ("--json", "-f srt")),
        (["--beam-size", "0"], ("--beam-size 0", "1 to 20")),
    ],
)
def test_a_wrong_option_is_one_line_and_exit_code_2(tmp_path, arguments, facts):
    write_wav(tmp_path / "talk.wav", bursts(1))
    outcome = vidctl("transcribe", "talk.wav", "--endpoint-id", "any", *arguments, cwd=tmp_path)

    assert ("", False) == (outcome.stdout, "Traceback" in outcome.stderr)
    failed(outcome, "usage_error", *facts)


def test_nothing_deployed_is_said_at_once(project):
    write_wav(project.root / "talk.wav", bursts(1))
    outcome = project.run("transcribe", "talk.wav", "--json")

    assert (5, "not_deployed") == (outcome.status, outcome.error["code"])


def test_subtitles_are_cut_where_words_are(dictation):
    """Their times are asked for, and are in JSON only where somebody wants them; a segment may be kept whole."""
    project = dictation()
    write_wav(project.root / "talk.wav", bursts(1))
    project.run("transcribe", "talk.wav", "-f", "srt,json", "-o", "plain/")
    project.run("transcribe", "talk.wav", "-f", "srt,json", "-o", "words/", "--word-timestamps")
    project.run("transcribe", "talk.wav", "-f", "srt", "-o", "whole/", "--keep-segments")
    folders = [project.root / name for name in ("plain", "words", "whole")]

    assert ["00:00:00,600 --> 00:00:00,800", "00:00:00,600 --> 00:00:00,800", "00:00:00,500 --> 00:00:01,000"] == [
        (folder / "talk.srt").read_text().splitlines()[1] for folder in folders
    ]
    assert [False, True] == [
        "words" in json.loads((folder / "talk.json").read_text())["segments"][0] for folder in folders[:2]
    ]


def test_whispers_own_command_line_is_understood(dictation):
    """With underscores, True and False, a folder for the results, and its further options."""
    project = dictation()
    write_wav(project.root / "talk.wav", bursts(1))
    outcome = project.run(
        *("transcribe", "talk.wav", "--language", "en-US", "--word_timestamps", "True", "--highlight_words=False"),
        *("--output_format", "all", "--output_dir", "out.d", "--best_of", "0", "--temperature", "1.2"),
    )

    assert (0, "") == (outcome.status, outcome.stdout), outcome.stderr
    assert [f"talk.{form}" for form in ("json", "srt", "tsv", "txt", "vtt")] == sorted(
        path.name for path in (project.root / "out.d").iterdir()
    )


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        ("a.mp3 --word_timestamps True b.mp3", "a.mp3 --word-timestamps b.mp3"),
        ("--word_timestamps False a.mp3", "a.mp3"),
        ("--word_timestamps a.mp3", "--word-timestamps a.mp3"),
        ("--output_dir out/ --output_format=srt", "--output out/ --format srt"),
        ("--best_of 3 --logprob_threshold -2", "--set best_of=3 --set log_prob_threshold=-2"),
        ("--condition_on_previous_text False", "--set condition_on_previous_text=false"),
        ("--suppress_tokens -1 --patience None", '--set suppress_tokens="-1"'),
        ("--max_line_width", "--max-line-width"),
        ("-- --best_of 3", "-- --best_of 3"),
        ("--word-timestamps True --set best_of=3", "--word-timestamps True --set best_of=3"),
    ],
)
def test_each_of_whispers_options_is_one_of_vidctls(typed, meant):
    assert meant.split() == whisper_options.translated(typed.split())


def test_python_gets_a_typed_transcript(dictation, monkeypatch):
    project = dictation(FAILS="2")
    for name, value in project.environ.items():
        monkeypatch.setenv(name, value)
    good = write_wav(project.root / "good.wav", bursts(1))
    bad = write_wav(project.root / "bad.wav", bursts(2))
    client = Client(target="local", project=project.home)
    transcript = client.transcribe(good)
    with failing("job_failed", "this audio cannot be understood", varies=True):
        client.transcribe(bad.read_bytes())

    assert ("word1.", "en", 0.5) == (transcript.text, transcript.language, transcript.segments[0].start)
    assert transcript.to_srt().startswith("1\n00:00:00,500 --> ")


# --- texts from files ----------------------------------------------------------------------------------------------


def test_a_text_is_read_from_its_file(tmp_path):
    """@FILE and - as in `describe`; what cannot be read, or would be written over, is told before anything is sent."""
    (tmp_path / "names.txt").write_text("\N{BOM}Jon Dashwoode\n")
    prompt, words = ("--initial-prompt", "@names.txt"), ("--hotwords", "-")
    with answering(tmp_path) as endpoint:
        endpoint.audio("talk.wav")
        refused = [
            endpoint.run("transcribe", "talk.wav", *prompt, "--hotwords", "@missing.txt"),
            endpoint.run("transcribe", "talk.wav", *prompt, "-o", "names.txt"),
            endpoint.run("transcribe", "-", *words),
        ]
        sent = len(endpoint.asked)
        endpoint.run("transcribe", "talk.wav", *prompt, *words, stdin="Größe\n".encode())

    assert ([2, 2, 2], 0) == ([each.status for each in refused], sent)
    for each, fact in zip(refused, ("--hotwords @missing.txt", "-o names.txt", "--hotwords -"), strict=True):
        failed(each, "usage_error", fact)
    assert [("Jon Dashwoode", "Größe")] == [(each["initial_prompt"], each["hotwords"]) for each in endpoint.asked]
