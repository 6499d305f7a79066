"""The one writer."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from support.failing import failing

from vidctl.errors import VidctlError
from vidctl.files import Growing, check, write, write_new


def test_a_link_stays_a_link(tmp_path):
    """What it leads to is written, with the mode that it had."""
    target, link = tmp_path / "target.txt", tmp_path / "link.txt"
    target.write_text("old")
    target.chmod(0o600)
    link.symlink_to(target)

    write(link, b"new")

    assert (True, "new", 0o600) == (link.is_symlink(), target.read_text(), target.stat().st_mode & 0o777)


def test_a_file_of_two_names_keeps_both(tmp_path):
    """Both names show what was written."""
    one, other = tmp_path / "one.txt", tmp_path / "other.txt"
    one.write_text("a longer text than the new one")
    os.link(one, other)

    write(one, b"new")

    assert "new" == other.read_text()


def test_stdout_is_written_to_not_replaced(tmp_path):
    """/dev/stdout that leads to a file keeps what was written before, and stays what it is."""
    code = (
        "import sys\nfrom pathlib import Path\nfrom vidctl.files import write\n"
        "sys.stdout.write('before\\n')\nsys.stdout.flush()\nwrite(Path('/dev/stdout'), b'result\\n')\n"
        "sys.stdout.write('after\\n')"
    )
    before = os.lstat("/dev/stdout")
    out = tmp_path / "out.txt"
    with out.open("wb") as file:
        subprocess.run([sys.executable, "-c", code], stdout=file, check=True)

    assert "before\nresult\nafter\n" == out.read_text()
    assert before.st_ino == os.lstat("/dev/stdout").st_ino


def test_a_new_file_has_the_mode_asked_for(tmp_path):
    """Also between its making and its last byte: nobody else may open it."""
    path = write(tmp_path / "folder/secret", b"x", mode=0o600)

    assert 0o600 == path.stat().st_mode & 0o777


def test_what_cannot_be_written_is_one_error(tmp_path):
    """A folder in the file's place; nothing is left beside it."""
    (tmp_path / "there").mkdir()
    with pytest.raises(VidctlError):
        write(tmp_path / "there", b"x")

    assert ["there"] == [path.name for path in tmp_path.iterdir()]


def test_a_file_of_somebody_is_only_replaced_if_that_is_asked_for(tmp_path):
    """The same once more is no change."""
    path = tmp_path / "labels" / "a.txt"

    write_new(path, b"mine", overwrite=False)
    write_new(path, b"mine", overwrite=False)
    with failing("failure", path, "--overwrite"):
        write_new(path, b"other", overwrite=False)
    assert path.read_bytes() == b"mine"
    write_new(path, b"other", overwrite=True)
    assert path.read_bytes() == b"other"


def test_a_file_that_grows_is_emptied_by_what_comes_first(tmp_path):
    """Each piece is there at once; a link is followed, and the file keeps its mode."""
    target, link = tmp_path / "target.jsonl", tmp_path / "link.jsonl"
    target.write_text("from before, and longer than the rest")
    target.chmod(0o600)
    link.symlink_to(target)
    file = Growing(link)

    assert "from before, and longer than the rest" == target.read_text()
    for number in (1, 2):
        file.add(f"{number}\n".encode())
        assert "1\n2\n"[: 2 * number] == target.read_text()
    file.close()
    assert (True, 0o600) == (link.is_symlink(), target.stat().st_mode & 0o777)


def test_a_file_that_has_no_room_keeps_what_was_whole(tmp_path):
    """No half of a line stays: the limit is that of the process for a file."""
    code = (
        "import resource, signal, sys\nfrom pathlib import Path\nfrom vidctl.errors import VidctlError\n"
        "from vidctl.files import Growing\nsignal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (10, 10))\nfile = Growing(Path(sys.argv[1]))\n"
        "file.add(b'whole\\n')\ntry:\n    file.add(b'too long\\n')\nexcept VidctlError:\n    sys.exit(7)"
    )
    done = subprocess.run([sys.executable, "-c", code, tmp_path / "out"], check=False)

    assert (7, "whole\n") == (done.returncode, (tmp_path / "out").read_text())


@pytest.mark.parametrize("name", ["", "there/x", "/proc/x", "a\0b", "x" * 300])
def test_what_cannot_be_written_is_known_before(tmp_path, name):
    (tmp_path / "there").touch()
    with failing("failure", varies=True):
        check(tmp_path / name)

    assert ["there"] == [path.name for path in tmp_path.iterdir()]


def test_whether_a_file_can_be_written_is_asked_without_a_trace(tmp_path):
    (tmp_path / "there").write_text("mine")
    check(tmp_path / "there")
    check(tmp_path / "new" / "folder" / "x")
    check(tmp_path / "new", is_folder=True)
    check(Path("/dev/stdout"))

    assert [("there", "mine")] == [(path.name, path.read_text()) for path in tmp_path.iterdir()]
