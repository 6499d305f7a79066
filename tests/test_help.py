"""Finding one's way: `vidctl help`, groups of commands, `-C DIR`, `--version`, what completion knows."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from support.command import vidctl
from support.failing import failed

from vidctl import __version__
from vidctl.cli import COMMANDS, groups
from vidctl.journal import Journal
from vidctl.revision import of_checkout

ROOT = Path(__file__).resolve().parent.parent
SHA = "0123456789abcdef0123456789abcdef01234567"


def test_every_command_is_in_one_group():
    named = [name for names in groups.GROUPS.values() for name in names]

    assert len(named) == len(set(named))
    assert set() == set(COMMANDS) - set(named)


def test_help_lists_the_commands_by_their_groups(tmp_path):
    outcome = vidctl("help", cwd=tmp_path)
    document = vidctl("help", "--json", cwd=tmp_path).document

    assert outcome.stdout == vidctl("--help", cwd=tmp_path).stdout
    assert "\nStart:\n  init" in outcome.stdout
    assert "Other:" not in outcome.stdout
    assert ("vidctl.help/1", set(COMMANDS)) == (document["schema"], {each["name"] for each in document["commands"]})


@pytest.mark.parametrize("words", ["deploy", "local", "local up"])
def test_help_of_a_command_is_its_own(tmp_path, words):
    assert vidctl(*words.split(), "--help", cwd=tmp_path).stdout == vidctl("help", *words.split(), cwd=tmp_path).stdout


@pytest.mark.parametrize(("words", "fact"), [("deplay", "deploy"), ("local upp", "up"), ("deploy yolo", "yolo")])
def test_help_of_no_command_names_what_may_be_meant(tmp_path, words, fact):
    failed(vidctl("help", *words.split(), cwd=tmp_path), "usage_error", fact)


def test_only_vidctl_itself_offers_to_install_completion(tmp_path):
    offering = [
        words
        for words in ("", "deploy", "local", "local up", "registry login")
        if "--install-completion" in vidctl(*words.split(), "--help", cwd=tmp_path).stdout
    ]

    assert [""] == offering


@pytest.mark.parametrize(
    "words",
    [
        "-C one/two validate --json",
        "-C one -C two validate --json",
        "--json -C one/two validate",
        "-C one/two --json validate",
    ],
)
def test_a_command_works_in_the_folder_that_is_named(tmp_path, words):
    """As git and make have it: each -C from the one before it, and before the command's name."""
    (tmp_path / "one" / "two" / "configs").mkdir(parents=True)
    spec = {"name": "a-name", "image": "docker.io/library/busybox:1", "gpu": "L4"}
    (tmp_path / "one" / "two" / "configs" / "here.yaml").write_text(json.dumps(spec))

    outcome = vidctl(*words.split(), cwd=tmp_path)

    assert (0, ["here"]) == (outcome.status, [each["spec"] for each in outcome.document["valid"]])


@pytest.mark.parametrize("folder", ["nowhere", "file", ""])
def test_a_folder_that_is_not_there_is_refused(tmp_path, folder):
    (tmp_path / "file").touch()

    failed(vidctl("-C", folder, "validate", cwd=tmp_path), "usage_error", "-C")


def test_the_option_without_a_folder_is_refused(tmp_path):
    failed(vidctl("-C", cwd=tmp_path), "usage_error", "-C")


def test_the_version_tells_the_revision_of_a_checkout(tmp_path):
    found = of_checkout(ROOT)

    assert f"vidctl {__version__} ({(found or '')[:12]})\n" == vidctl("--version", cwd=tmp_path).stdout
    if subprocess.run(["git", "--version"], capture_output=True, check=False).returncode == 0:
        head = subprocess.run(["git", "rev-parse", "HEAD"], cwd=ROOT, capture_output=True, text=True, check=True)
        assert head.stdout.strip() == found


@pytest.mark.parametrize("layout", ["loose", "packed", "detached", "worktree"])
def test_the_revision_is_read_as_git_keeps_it(tmp_path, layout):
    git = tmp_path / "checkout" / ".git"
    (git / "refs" / "heads").mkdir(parents=True)
    (git / "HEAD").write_text("ref: refs/heads/main\n")
    (git / "refs" / "heads" / "main").write_text(f"{SHA}\n")
    checkout = git.parent
    if layout == "packed":
        (git / "refs" / "heads" / "main").unlink()
        (git / "packed-refs").write_text(f"# pack-refs with: peeled\n{'f' * 40} refs/heads/o\n{SHA} refs/heads/main\n")
    if layout == "detached":
        (git / "HEAD").write_text(f"{SHA}\n")
    if layout == "worktree":
        checkout = tmp_path / "other"
        (git / "worktrees" / "other").mkdir(parents=True)
        (git / "worktrees" / "other" / "HEAD").write_text("ref: refs/heads/main\n")
        (git / "worktrees" / "other" / "commondir").write_text("../..\n")
        checkout.mkdir()
        (checkout / ".git").write_text(f"gitdir: {git / 'worktrees' / 'other'}\n")

    assert of_checkout(checkout) == SHA


@pytest.mark.parametrize("text", [None, "", "ref: refs/heads/none\n", "ref: ../../etc/passwd\n", "nonsense\n"])
def test_what_is_no_checkout_has_no_revision(tmp_path, text):
    if text is not None:
        (tmp_path / ".git").mkdir()
        (tmp_path / ".git" / "HEAD").write_text(text)

    assert of_checkout(tmp_path) is None


NO_SOCKET = """
import os, sys

def watch(event, arguments):
    if event.startswith("socket."):
        os.write(2, f"{event} {arguments}".encode())
        os._exit(9)

sys.addaudithook(watch)
"""
ONE_LINE = f"""{NO_SOCKET}
from vidctl.cli import main
sys.argv = ["vidctl"]
main()
"""


def completed(folder: Path, line: str, **environ: str) -> list[str]:
    """What the shell offers at the end of a line; a socket that is opened meanwhile ends it."""
    said = {"_VIDCTL_COMPLETE": "complete_bash", "COMP_WORDS": line, "COMP_CWORD": str(len(line.split(" ")) - 1)}
    done = subprocess.run(
        [sys.executable, "-c", ONE_LINE],
        cwd=folder,
        env={**os.environ, **environ, **said},
        capture_output=True,
        text=True,
        check=False,
    )

    assert (0, "") == (done.returncode, done.stderr)
    return done.stdout.split()


def test_completion_works_in_the_folder_that_is_named(tmp_path):
    (tmp_path / "one" / "configs").mkdir(parents=True)
    (tmp_path / "one" / "configs" / "here.yaml").touch()

    assert ["here"] == completed(tmp_path, "vidctl -C one deploy h")
    assert ["deploy", "describe", "destroy", "detect"] == sorted(
        each for each in completed(tmp_path, "vidctl help de") if each != "doctor"
    )


def test_completion_knows_names_targets_formats_languages_and_ids(tmp_path):
    (tmp_path / "configs").mkdir()
    (tmp_path / "configs" / "yolo.yaml").touch()
    (tmp_path / ".env").write_text('VIDCTL_YOLO_ENDPOINT_ID=ep-far\nOTHER=x\nVIDCTL_YOLO_ENDPOINT_ID_LOCAL="ep-near"\n')
    journal = Journal(tmp_path / ".vidctl" / "journal.db")
    journal.sent("job-1", endpoint_id="ep", target="local", what="a job")
    journal.ended("job-1", status="COMPLETED", worker_id="worker-1")

    assert {"local", "runpod"} == set(completed(tmp_path, "vidctl deploy yolo --target "))
    assert ["yolo"] == completed(tmp_path, "vidctl logs ")
    assert ["de"] == completed(tmp_path, "vidctl transcribe a.wav --language de")
    assert ["srt"] == completed(tmp_path, "vidctl transcribe a.wav -f s")
    assert {"vtt,srt", "vtt,txt", "vtt,tsv", "vtt,json"} == set(completed(tmp_path, "vidctl transcribe a.wav -f vtt,"))
    assert "coco" in completed(tmp_path, "vidctl detect a.jpg -f ")
    assert ["worker-vllm"] == completed(tmp_path, "vidctl describe a.jpg --protocol ")
    assert {"ep-far", "ep-near"} == set(completed(tmp_path, "vidctl detect a.jpg --endpoint-id "))
    assert ["job-1"] == completed(tmp_path, "vidctl jobs show ")
    assert ["worker-1"] == completed(tmp_path, "vidctl logs yolo --worker ")


EVERY_LINE = '''
import pydantic, typer
from vidctl.cli import app, main

def source(complete):
    for cell in complete.__closure__ or ():
        if callable(cell.cell_contents):
            return source(cell.cell_contents)
    return complete

def lines(command, words):
    """Where each function that completes is used; the same one is the same everywhere."""
    for each in command.params:
        if complete := each._custom_shell_complete:
            yield source(complete), f"{words} {each.opts[0] if each.param_type_name == 'option' else ''}".rstrip() + " "
    for name in getattr(command, "commands", {}):
        yield from lines(command.commands[name], f"{words} {name}")

every = ["vidctl ", "vidctl local ", *dict(lines(typer.main.get_command(app), "vidctl")).values()]
sys.stdout.flush()
for line in every:
    child = os.fork()
    if not child:
        os.environ |= {"_VIDCTL_COMPLETE": "complete_bash", "COMP_WORDS": line, "COMP_CWORD": str(line.count(" "))}
        sys.argv = ["vidctl"]
        main()
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    if status:
        sys.exit(f"{line}: {status}")
print(len(every))
'''


def test_no_completion_touches_the_network(tmp_path):
    """After every command and every option that has one: with a key, a journal, and a proxy that would be asked."""
    (tmp_path / "configs").mkdir()
    (tmp_path / "configs" / "yolo.yaml").write_text("name: yolo\n")
    (tmp_path / ".env").write_text("RUNPOD_API_KEY=k\nVIDCTL_YOLO_ENDPOINT_ID=ep\n")
    Journal(tmp_path / ".vidctl" / "journal.db").sent("job-1", endpoint_id="ep", target="local", what="a job")

    done = subprocess.run(
        [sys.executable, "-c", NO_SOCKET + EVERY_LINE],
        cwd=tmp_path,
        env={**os.environ, "HTTPS_PROXY": "http://127.0.0.1:1", "VIDCTL_LOCAL_PORT": "1"},
        capture_output=True,
        text=True,
        check=False,
    )

    assert (0, "") == (done.returncode, done.stderr)
    assert int(done.stdout.split()[-1]) > 12
