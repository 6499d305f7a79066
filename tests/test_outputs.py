"""Where results go: nothing that was paid is lost, and no file of somebody's is replaced unasked."""

from __future__ import annotations

import pytest
from support.endpoint import FOUND, answering


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

    assert (9, f"# frame.jpg\n{line}") == (refused.status, refused.stdout)
    assert ("0 0.5 0.5 0.1 0.1\n", line) == (mine.read_text(), (endpoint.folder / "labels/other.txt").read_text())
    assert "printed instead; --overwrite" in refused.stderr
    done = endpoint.run("detect", *LABELS, "--overwrite")
    assert (0, line) == (done.status, mine.read_text()), done.stderr


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

    assert (9, "hello.\n", "mine") == (refused.status, refused.stdout, mine.read_text()), refused.stderr
    assert "hello." in (endpoint.folder / "out/talk.srt").read_text()
    assert "printed instead; --overwrite" in refused.stderr
    done = endpoint.run("transcribe", *words, "--overwrite", "--resume")
    assert (0, "hello.\n", 1) == (done.status, mine.read_text(), len(endpoint.asked)), done.stderr


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
    assert "printed instead" in outcome.error["hint"]
