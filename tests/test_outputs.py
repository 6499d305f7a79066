"""Where results go: nothing that was paid is lost, and no file of somebody's is replaced unasked."""

from __future__ import annotations

import json
import os
import signal

import pexpect
import pytest
from support.command import VIDCTL
from support.endpoint import FOUND, answering
from support.failing import failed
from support.project import ended
from support.runtime import until
from support.stating import stating


@pytest.fixture
def endpoint(tmp_path):
    """One that answers at once; commands run in its folder."""
    folder = tmp_path / "work"
    (folder / "configs").mkdir(parents=True)
    with answering(folder) as endpoint:
        yield endpoint


LABELS = ("frame.jpg", "-f", "txt", "-o", "labels/")
EVERYTHING = ("frame.jpg", "-f", "txt", "-o", "labels/", "--save", "drawn", "--save-crop", "crops")


def test_the_same_run_once_more_changes_nothing_and_needs_no_overwrite(endpoint):
    endpoint.image("frame.jpg")
    first = endpoint.run("detect", *EVERYTHING)
    files = {path: path.read_bytes() for path in endpoint.folder.rglob("*") if path.suffix in (".txt", ".jpg")}
    second = endpoint.run("detect", *EVERYTHING)

    assert (0, 0, "", 4) == (first.status, second.status, second.stderr, len(files))
    assert files == {path: path.read_bytes() for path in files}


def test_labels_of_somebody_are_replaced_only_with_overwrite(endpoint):
    """What was paid is printed instead; no other image of the run suffers."""
    endpoint.image("frame.jpg", "other.jpg")
    endpoint.run("detect", *LABELS)
    mine = endpoint.folder / "labels/frame.txt"
    line = mine.read_text()
    mine.write_text("0 0.5 0.5 0.1 0.1\n")
    refused = endpoint.run("detect", "other.jpg", *LABELS)

    assert f"# frame.jpg\n{line}" == refused.stdout
    assert ("0 0.5 0.5 0.1 0.1\n", True) == (mine.read_text(), (endpoint.folder / "labels/other.txt").exists())
    failed(refused, "partial", "labels/frame.txt", "--overwrite")
    done = endpoint.run("detect", *LABELS, "--overwrite")
    assert (0, line) == (done.status, mine.read_text()), done.stderr


@pytest.mark.parametrize(("option", "columns"), [((), 5), (("--save-conf",), 6)])
@pytest.mark.parametrize("output", [("-o", "frame.txt"), ("-f", "txt", "-o", "labels/"), ("-f", "txt")])
def test_a_label_file_is_what_a_training_reads(endpoint, option, columns, output):
    """No heading, and the confidence only if asked for; so too where it is printed."""
    endpoint.image("frame.jpg")
    done = endpoint.run("detect", "frame.jpg", *option, *output)

    written = [path.read_text() for path in endpoint.folder.rglob("frame.txt")]
    (line,) = "".join(written or [done.stdout]).splitlines()
    assert (0, columns) == (done.status, len(line.split())), done.stderr


@pytest.mark.parametrize(
    ("arguments", "facts"),
    [
        (("a.jpg", "b.jpg", "-o", "all.txt"), ("-o all.txt", "-o DIR/")),
        (("a.jpg", "-f", "csv", "--save-conf"), ("--save-conf", "-f txt")),
        (("a.jpg", "--classes", ",,"), ("classes: ',,'",)),
        (("a.jpg", "--classes", "person", "--classes", ""), ("classes: ''",)),
    ],
)
def test_what_could_only_mislead_is_refused_before_it_is_sent(endpoint, arguments, facts):
    """Labels that nothing could read, and classes that are none."""
    endpoint.image("a.jpg", "b.jpg")
    refused = endpoint.run("detect", *arguments)

    failed(refused, "usage_error", *facts)
    assert ([], False) == (endpoint.asked, (endpoint.folder / "all.txt").exists())


def test_categories_that_the_worker_does_not_tell_are_said_once(endpoint):
    """Those that were seen are all that is known; their ids are the same in every file."""
    endpoint.image("a.jpg", "b.jpg")
    done = endpoint.run("detect", "a.jpg", "b.jpg", "-f", "coco")

    assert [1, 0] == [done.stderr.count("classes"), done.status]
    assert [{"id": 1, "name": "person"}] == done.document["categories"]


def test_classes_of_all_options_are_asked_for(endpoint):
    """The later one does not replace the first; what is in quotes is a name."""
    endpoint.image("a.jpg")
    endpoint.run("detect", "a.jpg", "--classes", 'person,"1"', "--classes", "7")

    assert ["person", "1", 7] == endpoint.asked[0]["classes"]


def test_another_answer_replaces_images_only_with_overwrite(endpoint):
    endpoint.image("frame.jpg")
    words = ("frame.jpg", "--save", "drawn", "--save-crop", "crops")
    endpoint.run("detect", *words)
    files = {path: path.read_bytes() for path in endpoint.folder.glob("*/**/*.jpg")}
    endpoint.found = [{**FOUND, "bbox": [5, 5, 60, 60]}]
    refused = endpoint.run("detect", *words)
    assert (9, files) == (refused.status, {path: path.read_bytes() for path in files})
    done = endpoint.run("detect", *words, "--overwrite")

    assert (0, 2) == (done.status, len(files)), done.stderr
    assert all(path.read_bytes() != data for path, data in files.items())


def test_a_transcript_of_somebody_is_replaced_only_with_overwrite(endpoint):
    """It is printed instead and not paid again; other formats of the same audio are written."""
    endpoint.audio("talk.wav")
    (endpoint.folder / "out").mkdir()
    mine = endpoint.folder / "out/talk.txt"
    mine.write_text("mine")
    words = ("talk.wav", "-f", "txt,srt", "-o", "out")
    refused = endpoint.run("transcribe", *words)

    failed(refused, "partial", "out/talk.txt", "--overwrite")
    assert ("hello.\n", "mine") == (refused.stdout, mine.read_text())
    assert "hello." in (endpoint.folder / "out/talk.srt").read_text()
    done = endpoint.run("transcribe", *words, "--overwrite", "--resume")
    assert (0, "hello.\n", 1) == (done.status, mine.read_text(), len(endpoint.asked)), done.stderr


@pytest.mark.parametrize("formats", ["srt,json", "json", "srt"])
def test_transcripts_that_cannot_be_written_are_read_apart(endpoint, formats):
    """Under headings as on any stdout, if they are text of one format; else a line of JSON has each file's content."""
    endpoint.audio("a.wav", "b.wav")
    endpoint.run("transcribe", "a.wav", "b.wav", "-f", formats, "-o", "out/")
    files = sorted((endpoint.folder / "out").iterdir(), key=lambda path: (path.stem, formats.find(path.suffix[1:])))
    expected = {f"out/{path.name}": path.read_text() for path in files}
    for path in files:
        path.write_text("mine")
    outcome = endpoint.run("transcribe", "a.wav", "b.wav", "-f", formats, "-o", "out/")

    assert (9, {"mine"}) == (outcome.status, {path.read_text() for path in files})
    if formats == "srt":
        assert "".join(f"# {name[4]}.wav\n{text}" for name, text in expected.items()) == outcome.stdout
    else:
        lines = [json.loads(line) for line in outcome.stdout.splitlines()]
        assert list(expected.items()) == [(line["file"], line["content"]) for line in lines]
        assert [f"{name[4]}.wav" for name in expected] == [line["source"] for line in lines]
    failed(outcome, "partial", *expected, "--overwrite")


def test_a_document_of_somebody_is_replaced_only_with_overwrite(endpoint):
    endpoint.audio("talk.wav")
    (endpoint.folder / "out").mkdir()
    mine = endpoint.folder / "out/transcripts.json"
    mine.write_text("mine")
    refused = endpoint.run("transcribe", "talk.wav", "--json", "-o", "out/")

    assert (1, "mine") == (refused.status, mine.read_text()), refused.stderr
    assert "hello." == refused.document["results"][0]["text"].strip()
    done = endpoint.run("transcribe", "talk.wav", "--json", "-o", "out/", "--overwrite")
    assert (0, True) == (done.status, "hello." in mine.read_text()), done.stderr


@pytest.mark.parametrize("command", ["detect", "transcribe", "describe"])
def test_a_document_that_cannot_be_written_is_printed(endpoint, command):
    """A disk that is full by now must not cost what was paid."""
    endpoint.image("frame.jpg")
    endpoint.audio("talk.wav")
    words = {"detect": ["frame.jpg"], "transcribe": ["talk.wav"], "describe": ["frame.jpg", "What?"]}[command]
    outcome = endpoint.run(command, *words, "--json", "-o", "/dev/full")

    assert (1, 1) == (outcome.status, len(outcome.document["results"])), outcome.stderr
    failed(outcome, "failure", "/dev/full")


WORDS = {"detect": ["frame.jpg"], "transcribe": ["talk.wav"], "describe": ["frame.jpg", "What?"]}


@pytest.mark.parametrize(
    ("command", "words", "code", "fact"),
    [
        ("detect", ["-o", "there"], "usage_error", "-o there: "),
        ("detect", ["-f", "json", "-o", "new/"], "usage_error", "-o new/: "),
        ("detect", ["-f", "coco", "-o", "there"], "usage_error", "-o there: "),
        ("detect", ["-o", "/proc/boxes.json"], "failure", "/proc/boxes.json: "),
        ("detect", ["-o", "file.txt/boxes.json"], "failure", "boxes.json: "),
        ("detect", ["-f", "txt", "-o", "/proc/labels/"], "failure", "/proc/labels: "),
        ("detect", ["-f", "txt", "-o", "file.txt/"], "usage_error", "-o file.txt: "),
        ("detect", ["--save", "file.txt"], "usage_error", "--save file.txt: "),
        ("detect", ["--save-crop", "file.txt"], "usage_error", "--save-crop file.txt: "),
        ("detect", ["--save", "/proc/drawn"], "failure", "/proc/drawn: "),
        ("transcribe", ["-o", "/proc/talk.txt"], "failure", "/proc/talk.txt: "),
        ("transcribe", ["-o", "/proc/talks"], "failure", "/proc/talks: "),
        ("transcribe", ["-o", "file.txt/"], "usage_error", "-o file.txt: "),
        ("describe", ["-o", "there"], "usage_error", "-o there: "),
        ("describe", ["-o", "/proc/answers.jsonl"], "failure", "/proc/answers.jsonl: "),
    ],
)
def test_a_place_that_cannot_be_is_refused_before_anything_is_sent(endpoint, command, words, code, fact):
    endpoint.image("frame.jpg")
    endpoint.audio("talk.wav")
    (endpoint.folder / "there").mkdir()
    (endpoint.folder / "file.txt").write_text("mine")
    names = sorted(path.name for path in endpoint.folder.iterdir())
    outcome = endpoint.run(command, *WORDS[command], *words)

    failed(outcome, code, fact)
    assert [] == endpoint.asked
    assert names == sorted(path.name for path in endpoint.folder.iterdir() if path.name != ".vidctl")


@pytest.mark.parametrize(
    ("command", "words"),
    [
        ("describe", ["What?", "-o", "out.jsonl"]),
        ("describe", ["What?", "-o", "out.txt"]),
        ("detect", ["-o", "out.jsonl"]),
        ("detect", ["-o", "out.csv"]),
        ("detect", ["-f", "table", "-o", "out.txt"]),
    ],
)
def test_kill_9_keeps_what_was_answered(endpoint, command, words):
    """The file grows with every answer; what failed before the first is in it too, where it has a line."""
    jobs = 1 if command == "describe" else 16
    endpoint.image(*(f"{number}.jpg" for number in range(3 * jobs)))
    endpoint.holds = 2 * jobs
    out = endpoint.folder / words[-1]
    out.write_text("from before")
    process = endpoint.start(command, "missing.jpg", *(f"{number}.jpg" for number in range(3 * jobs)), *words)
    until(lambda: all(word in out.read_text() for word in ("0.jpg", f"{2 * jobs - 1}.jpg")))
    ended(process, signal.SIGKILL)
    text = out.read_text()

    assert (False, True, "missing.jpg" in text) == ("from before" in text, text.endswith("\n"), "jsonl" in words[-1])
    if "jsonl" in words[-1]:
        lines = [json.loads(line) for line in text.splitlines()]
        assert ["missing.jpg", *(f"{number}.jpg" for number in range(2 * jobs))] == [line["source"] for line in lines]


def test_a_file_is_not_emptied_by_a_run_that_gets_no_answer(endpoint):
    (endpoint.folder / "out.jsonl").write_text("from before")
    for command in ("detect", "describe"):
        outcome = endpoint.run(command, "missing.jpg", *WORDS[command][1:], "-o", "out.jsonl")

        assert (1, "from before") == (outcome.status, (endpoint.folder / "out.jsonl").read_text())


@pytest.mark.parametrize("command", ["detect", "describe"])
def test_lines_that_find_no_room_are_printed(endpoint, command):
    """All of them: the first as well as those that follow it."""
    endpoint.image("frame.jpg", "other.jpg")
    outcome = endpoint.run(command, "other.jpg", *WORDS[command], "-f", "jsonl", "-o", "/dev/full")

    failed(outcome, "failure", "/dev/full")
    assert ["other.jpg", "frame.jpg"] == [json.loads(line)["source"] for line in outcome.stdout.splitlines()]


@pytest.mark.parametrize("command", WORDS)
@pytest.mark.parametrize("form", [[], ["--json"]])
def test_a_closed_stdout_is_refused_before_anything_is_sent(endpoint, command, form):
    """Not where the result goes elsewhere."""
    endpoint.image("frame.jpg")
    endpoint.audio("talk.wav")
    closed = ["bash", "-c", 'exec "$@" >&-', "bash"]
    refused = endpoint.start(command, *WORDS[command], *form, before=closed)
    assert (1, []) == (refused.wait(60), endpoint.asked), refused.stderr.read()
    done = endpoint.start(command, *WORDS[command], *form, "-o", "out.json", before=closed)

    assert 0 == done.wait(60), done.stderr.read()
    assert (endpoint.folder / "out.json").stat().st_size


@pytest.mark.parametrize("command", WORDS)
@pytest.mark.parametrize("form", [[], ["--json"]])
def test_what_stdout_does_not_take_is_kept(endpoint, command, form):
    """A reader that has gone, a full disk: exit code 1, and what was paid stands on stderr."""
    endpoint.image("frame.jpg")
    endpoint.audio("talk.wav")
    reader, gone = os.pipe()
    os.close(reader)
    with open("/dev/full", "wb") as full:  # noqa: PTH123
        for stdout in (gone, full.fileno()):
            process = endpoint.start(command, *WORDS[command], *form, stdout=stdout)
            stderr = process.communicate(timeout=60)[1].decode()

            assert (1, True) == (process.returncode, "standard output: " in stderr), stderr
            assert {"detect": "person", "transcribe": "hello.", "describe": "answer"}[command] in stderr
            assert "Traceback" not in stderr
    os.close(gone)
    if command == "transcribe":
        paid = len(endpoint.asked)
        assert (0, paid) == (endpoint.run(command, *WORDS[command], "--resume").status, len(endpoint.asked))


def test_what_is_saved_does_not_wait_for_a_reader(endpoint):
    """Who reads the lines may have gone: the annotated image and the crops are there."""
    endpoint.image("frame.jpg")
    reader, gone = os.pipe()
    os.close(reader)
    words = ("frame.jpg", "--save", "seen", "--save-crop", "crops")
    process = endpoint.start("detect", *words, stdout=gone)
    process.communicate(timeout=60)
    os.close(gone)

    assert 1 == process.returncode
    assert [True, True] == [any((endpoint.folder / folder).rglob("*.jpg")) for folder in ("seen", "crops")]


# --- names ---------------------------------------------------------------------------------------------------------


def made(endpoint, *folders):
    """What lies in the folders, by its path."""
    return sorted(
        path.relative_to(endpoint.folder).as_posix()
        for folder in folders
        for path in (endpoint.folder / folder).rglob("*")
        if path.is_file()
    )


def test_with_r_the_folders_of_images_are_kept(endpoint):
    """They begin below the folder that is named, also where all images lie deeper."""
    endpoint.image("shots/a/x.jpg", "shots/b/x.jpg", "shots/b/c/x.jpg")
    outcome = endpoint.run(
        "detect", "shots", "-r", "-f", "txt", "-o", "labels/", "--save", "drawn", "--save-crop", "crops"
    )

    assert (0, "") == (outcome.status, outcome.stderr)
    assert [f"labels/{name}/x.txt" for name in ("a", "b/c", "b")] == made(endpoint, "labels")
    assert [f"drawn/{name}/x.jpg" for name in ("a", "b/c", "b")] == made(endpoint, "drawn")
    assert [f"crops/person/{name}/x-1.jpg" for name in ("a", "b/c", "b")] == made(endpoint, "crops")
    endpoint.run("detect", "shots/b", "-r", "-f", "txt", "-o", "b/")
    assert ["b/c/x.txt", "b/x.txt"] == made(endpoint, "b")


def test_without_r_a_name_that_was_taken_is_told(endpoint):
    """Which source became which file, of those that got a number."""
    endpoint.image("a/x.jpg", "b/x.jpg")
    outcome = endpoint.run("detect", "a", "b", "-f", "txt", "-o", "labels/", "--save", "drawn")

    assert ["labels/x-2.txt", "labels/x.txt"] == made(endpoint, "labels")
    labels, drawn = outcome.stderr.splitlines()
    stating(labels, "b/x.jpg: ", "labels/x-2.txt")
    stating(drawn, "b/x.jpg: ", "drawn/x-2.jpg")


def test_with_r_the_folders_of_audio_are_kept(endpoint):
    """Files that are named, and folders; each file is told with its source."""
    endpoint.audio("A/talk.wav", "B/talk.wav")
    for words in (["A/talk.wav", "B/talk.wav"], ["A", "B"], ["."]):
        outcome = endpoint.run("transcribe", *words, "-r", "-f", "srt", "-o", "out/", "--overwrite")

        assert 0 == outcome.status, outcome.stderr
        assert ["out/A/talk.srt", "out/B/talk.srt"] == made(endpoint, "out")
        assert [f"{each}/talk.wav: saved out/{each}/talk.srt" for each in "AB"] == outcome.stderr.splitlines()


def test_no_crop_takes_the_place_of_an_image_in_a_deeper_folder(endpoint):
    endpoint.image("a/x.jpg", "crops/person/a/x-1.jpg")
    outcome = endpoint.run("detect", ".", "-r", "--save-crop", "crops")

    failed(outcome, "usage_error", "--save-crop crops: ", "person/a/x-1.jpg")
    assert [] == endpoint.asked


def test_subtitles_lie_beside_their_videos(endpoint):
    """Under their very names, for players find them by those; in folders, and with a number where two would be one."""
    names = ("videos/Don't Look Up (2021) [1080p] & more", "videos/हिन्दी", "talk", "v1.2")
    endpoint.audio(*(f"{name}.wav" for name in names), "talk.flac")
    outcome = endpoint.run("transcribe", ".", "-r", "--beside", "-f", "srt,vtt")
    stems = [*names, "talk-2"]

    assert 0 == outcome.status, outcome.stderr
    assert sorted(f"{stem}.{form}" for stem in stems for form in ("srt", "vtt")) == [
        name for name in made(endpoint, ".") if name.endswith(("srt", "vtt"))
    ]
    stating(next(line for line in outcome.stderr.splitlines() if "talk-2.srt" in line), "talk.wav: ")
    again = endpoint.run("transcribe", ".", "-r", "--beside", "-f", "srt,vtt")
    assert 0 == again.status, again.stderr


@pytest.mark.parametrize(
    ("words", "facts"),
    [
        (["talk.wav", "--beside", "-o", "out"], ["--beside", "-o"]),
        (["talk.wav", "--beside", "--json"], ["--beside", "--json"]),
        (["https://example.org/talk.mp3?key=secret", "--beside"], ["--beside: ", "https://example.org/talk.mp3"]),
        (["@talk.txt", "--beside", "-f", "txt"], ["talk.txt"]),
    ],
)
def test_what_cannot_lie_beside_its_source_is_refused(endpoint, words, facts):
    endpoint.audio("talk.wav")
    (endpoint.folder / "talk.txt").write_text("talk.wav\n")
    outcome = endpoint.run("transcribe", *words)

    failed(outcome, "usage_error", *facts)
    assert ([], False) == (endpoint.asked, "secret" in outcome.stderr)
    assert "talk.wav\n" == (endpoint.folder / "talk.txt").read_text()


# --- what -o says --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("command", WORDS)
def test_a_dash_is_stdout(endpoint, command):
    """For every form, and no file of this name is made."""
    endpoint.image("frame.jpg")
    endpoint.audio("talk.wav")
    for form in ([], ["--json"], ["-f", "text" if command == "describe" else "txt"]):
        expected = endpoint.run(command, *WORDS[command], *form)
        outcome = endpoint.run(command, *WORDS[command], *form, "-o", "-")

        assert (0, expected.stdout.splitlines()[0]) == (outcome.status, outcome.stdout.splitlines()[0])
    assert not (endpoint.folder / "-").exists()


@pytest.mark.parametrize(
    ("command", "name"),
    [("detect", "out.xml"), ("detect", "v1.2"), ("transcribe", "out.jsn"), ("describe", "out.TXTT")],
)
def test_an_ending_that_says_no_format_is_refused(endpoint, command, name):
    """Before anything is sent; a format that is said makes any name good."""
    endpoint.image("frame.jpg")
    endpoint.audio("talk.wav")
    refused = endpoint.run(command, *WORDS[command], "-o", name)

    failed(refused, "usage_error", f"-o {name}: ", "-f")
    assert [] == endpoint.asked
    done = endpoint.run(command, *WORDS[command], "-f", "json", "-o", name)
    assert (0, True) == (done.status, (endpoint.folder / name).stat().st_size > 0), done.stderr


@pytest.mark.parametrize(
    ("command", "name"),
    [("detect", "out.csv"), ("transcribe", "out.srt"), ("describe", "out.txt")],
)
def test_json_leaves_a_file_the_format_that_it_is_said(endpoint, command, name):
    """By its ending, or by -f; on standard output it is JSON and nothing else."""
    endpoint.image("frame.jpg")
    endpoint.audio("talk.wav")
    path = endpoint.folder / name
    plain = endpoint.run(command, *WORDS[command], "-o", name)
    expected = path.read_bytes()
    path.unlink()
    both = endpoint.run(command, *WORDS[command], "--json", "-o", name)

    assert (0, 0, "", "", expected) == (plain.status, both.status, both.stdout, both.stderr, path.read_bytes())
    form = {"txt": "text"}.get(name.rpartition(".")[2], name.rpartition(".")[2])
    endpoint.run(command, *WORDS[command], "--json", "-f", form, "-o", "out.json")
    assert expected == (endpoint.folder / "out.json").read_bytes()
    refused = endpoint.run(command, *WORDS[command], "--json", "-f", form)
    failed(refused, "usage_error", "--json", f"-f {form}")
    assert "" == refused.stdout


def test_json_says_each_failure_that_no_document_holds(endpoint):
    endpoint.image("frame.jpg")
    outcome = endpoint.run("detect", "frame.jpg", "missing.jpg", "--json", "-o", "out.csv")
    failure, partial = (json.loads(line) for line in outcome.stderr.splitlines())

    assert (9, "missing.jpg", "media_error") == (outcome.status, failure["source"], failure["code"])
    assert "partial" == partial["code"]


@pytest.mark.parametrize("command", ["transcribe", "describe"])
def test_who_wants_results_only_is_told_what_is_wrong_with_them(endpoint, command):
    endpoint.image("frame.jpg")
    endpoint.audio("talk.wav")
    endpoint.warnings = ["this worker has no field 'bogus'"]
    outcome = endpoint.run(command, *WORDS[command], "--set", "bogus=1", "-q")

    assert (0, f"warning: {WORDS[command][0]}: {endpoint.warnings[0]}\n") == (outcome.status, outcome.stderr)


@pytest.mark.parametrize("silence", [[], ["-q"], ["--json"]])
@pytest.mark.parametrize("command", WORDS)
def test_a_link_to_nothing_in_a_folder_is_said(endpoint, command, silence):
    """Also to who wants results only, for no result tells of it; it changes no exit status."""
    endpoint.image("in/frame.jpg")
    endpoint.audio("in/talk.wav")
    for name in ("in/gone.jpg", "in/gone.wav"):
        (endpoint.folder / name).symlink_to("nowhere")
    outcome = endpoint.run(command, "in", *WORDS[command][1:], *silence)
    said = '{"warning": "in: 1 broken link skipped"}' if silence == ["--json"] else "warning: in: 1 broken link skipped"

    assert (0, f"{said}\n") == (outcome.status, outcome.stderr)


# --- what is waited for --------------------------------------------------------------------------------------------

WAITS = "the job is waiting for a worker (1 initializing)"


@pytest.mark.parametrize("command", WORDS)
def test_a_worker_that_has_to_start_is_told_in_one_line(endpoint, command):
    """Where no terminal shows it."""
    endpoint.image("frame.jpg")
    endpoint.audio("talk.wav")
    endpoint.cold = 1_000
    process = endpoint.start(command, *WORDS[command])
    line = process.stderr.readline()
    endpoint.cold = 0
    stdout, rest = process.communicate(timeout=60)

    assert (f"{command:>8}  {WAITS}\n", b"", 0) == (line.decode(), rest, process.returncode)
    assert stdout


@pytest.mark.parametrize(
    ("command", "option"), [("detect", "-q"), ("transcribe", "--json"), ("describe", "--no-progress")]
)
def test_what_is_waited_for_is_not_told_to_who_wants_nothing_but_results(endpoint, command, option):
    endpoint.image("frame.jpg")
    endpoint.audio("talk.wav")
    endpoint.cold = 1_000
    process = endpoint.start(command, *WORDS[command], option)
    until(lambda: endpoint.cold < 988)
    endpoint.cold = 0
    stdout, stderr = process.communicate(timeout=60)

    assert (0, b"", True) == (process.returncode, stderr, bool(stdout))


@pytest.mark.parametrize("command", WORDS)
@pytest.mark.parametrize("count", [1, 2])
def test_a_worker_that_has_to_start_is_shown_on_a_terminal(endpoint, command, count):
    """Beside the bar, where there is one; the result stands on the screen as ever."""
    endpoint.image("frame.jpg", "other.jpg")
    endpoint.audio("talk.wav", "other.wav")
    endpoint.cold = 3
    source, *words = WORDS[command]
    child = pexpect.spawn(
        VIDCTL[0],
        [*VIDCTL[1:], command, source, *[f"other{source[-4:]}"][: count - 1], *words, "--endpoint-id", "ep"],
        cwd=str(endpoint.folder),
        env={**os.environ, **endpoint.environ, "TERM": "xterm-256color"},
        dimensions=(40, 150),
        encoding="utf-8",
        timeout=60,
    )
    child.expect_exact("waiting for a worker (1 initializing)")
    child.expect_exact({"detect": "person", "transcribe": "hello.", "describe": "answer 0"}[command])
    child.expect(pexpect.EOF)
    child.close()

    assert 0 == child.exitstatus
