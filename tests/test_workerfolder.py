"""A worker's folder is taken as it is laid out: what starts it, what it requires, and its Dockerfile are found."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.layouts import LAYOUTS, lay_out

from vidctl.docker import worker_folder

ALL = ("handler.py", "rp_handler.py", "src/handler.py", "src/rp_handler.py", ".runpod/handler.py", "start.py", "a/b.py")


def grow(folder: Path, *files: str) -> Path:
    for file in files:
        (folder / file).parent.mkdir(parents=True, exist_ok=True)
        (folder / file).write_text("")
    return folder


@pytest.mark.parametrize("name", LAYOUTS)
def test_runpod_s_own_workers_are_found(tmp_path, name):
    """Each starts another file from another place."""
    assert Path(LAYOUTS[name][1]) == worker_folder.handler(lay_out(tmp_path, name, base="python"))


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        ("COPY . /app\nWORKDIR /app\nCMD python -u start.py", "start.py"),
        ('WORKDIR /app\nCOPY . .\nCMD ["python", "-u", "/app/src/handler.py"]', "src/handler.py"),
        ('COPY src /\nENTRYPOINT ["python"]\nCMD ["-u", "/handler.py"]', "src/handler.py"),
        ('COPY src/ /code/\nCMD ["python", "/code/rp_handler.py"]', "src/rp_handler.py"),
        ('COPY *.py start.sh /app/\nWORKDIR /app\nCMD ["python", "rp_handler.py"]', "rp_handler.py"),
        ('COPY ["src/rp_handler.py", "/main.py"]\nCMD ["python", "/main.py"]', "src/rp_handler.py"),
        ("COPY a /srv/a\nWORKDIR /srv\nCMD python -m a.b", "a/b.py"),
        ('COPY . /w\nCMD ["bash", "-c", "cd /w && exec python -u /w/start.py"]', "start.py"),
        ("WORKDIR /w\nCOPY . /w\nCMD ./run.sh --now", "a/b.py"),
        ("ARG HOME\nWORKDIR $HOME/x\nCOPY src $HOME/x\nCMD python src/handler.py", "src/handler.py"),
        ("COPY --from=tools /x /handler.py\nCOPY . /w\nCMD\tpython\t/w/start.py", "start.py"),
        ("CMD python start.py\nFROM b\nCOPY . /\nCMD python /rp_handler.py", "rp_handler.py"),
        ('CMD ["/usr/bin/server"]', "handler.py"),
        ("CMD python /opt/other.py", "handler.py"),
        ("CMD [", "handler.py"),
        ("COPY ../up [/ **/ /x\nCMD python 'open", "handler.py"),
    ],
)
def test_what_the_dockerfile_starts_is_the_handler(tmp_path, lines, expected):
    """By what it copies where; and where that does not tell, by the usual names."""
    grow(tmp_path, *ALL)
    (tmp_path / "run.sh").write_text("#!/bin/bash\npython -c pass\npython3 start.py\nexec python3.11 -u a/b.py $@\n")
    (tmp_path / "Dockerfile").write_text(f"FROM a\n{lines}\n")

    assert Path(expected) == worker_folder.handler(tmp_path)


@pytest.mark.parametrize("count", range(6))
def test_without_a_word_of_the_dockerfile_the_usual_places_are_looked_at(tmp_path, count):
    """In this order; and nothing is guessed beyond them."""
    usual = [*ALL[:4], ".runpod/handler.py", ".runpod/rp_handler.py"]
    grow(tmp_path, *usual[count:])

    assert Path(usual[count]) == worker_folder.handler(tmp_path)


def test_a_folder_without_any_has_none(tmp_path):
    """A file of another name may be anything."""
    assert worker_folder.handler(grow(tmp_path, "main.py", "src/app.py")) is None


def test_the_hub_s_dockerfile_is_found_where_there_is_no_other(tmp_path):
    """`.runpod/Dockerfile`, from which the handler is told too; one that is named is that one."""
    grow(tmp_path, ".runpod/Dockerfile", "handler.py", "start.py")
    (tmp_path / ".runpod/Dockerfile").write_text("FROM a\nCOPY . /\nCMD python /start.py\n")

    assert (Path(".runpod/Dockerfile"), Path("start.py")) == (
        worker_folder.dockerfile(tmp_path),
        worker_folder.handler(tmp_path),
    )
    assert Path("gpu.Dockerfile") == worker_folder.dockerfile(tmp_path, Path("gpu.Dockerfile"))
    assert Path("Dockerfile") == worker_folder.dockerfile(grow(tmp_path, "Dockerfile"))


@pytest.mark.parametrize("place", ["", "builder/", "src/", ".runpod/"])
def test_requirements_are_found_where_runpod_s_workers_have_them(tmp_path, place):
    """At the top, or with the builder; those for a CPU first."""
    grow(tmp_path, f"{place}requirements.txt")
    assert tmp_path / f"{place}requirements.txt" == worker_folder.requirements(tmp_path)
    grow(tmp_path, f"{place}requirements-cpu.txt")
    assert tmp_path / f"{place}requirements-cpu.txt" == worker_folder.requirements(tmp_path)
