"""The one writer."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from vidctl.errors import VidctlError
from vidctl.files import write, write_new


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
    with pytest.raises(VidctlError, match="differs") as refused:
        write_new(path, b"other", overwrite=False)
    assert (b"mine", True) == (path.read_bytes(), "--overwrite" in str(refused.value.hint))
    write_new(path, b"other", overwrite=True)
    assert path.read_bytes() == b"other"
