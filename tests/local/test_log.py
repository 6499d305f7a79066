"""A worker's log stays small, and its end is what is read."""

import pytest

from vidctl.local.workers.log import WorkerLog, last_lines


def test_a_log_keeps_its_end_and_no_more_than_twice_its_size(tmp_path):
    log = WorkerLog(tmp_path / "log", max_bytes=1000)
    for number in range(1000):
        log.write(f"line {number}\n".encode())
    log.close()

    assert sum(path.stat().st_size for path in tmp_path.iterdir()) <= 2000
    assert last_lines(tmp_path / "log", 100) == [f"line {number}" for number in range(900, 1000)]


def test_a_line_of_ours_is_a_line_whatever_the_worker_left_unfinished(tmp_path):
    log = WorkerLog(tmp_path / "log")
    log.write(b"half")
    log.note("one")
    log.note("two")
    log.close()

    assert (tmp_path / "log").read_text() == "half\nvidctl-local: one\nvidctl-local: two\n"


@pytest.mark.parametrize(("count", "lines"), [(0, []), (1, ["c"]), (2, ["b", "c"]), (9, ["a", "b", "c"])])
def test_the_last_lines_are_the_last_lines(tmp_path, count, lines):
    (tmp_path / "log").write_text("a\nb\nc\n")

    assert last_lines(tmp_path / "log", count) == lines


def test_there_are_no_lines_without_a_log(tmp_path):
    assert last_lines(tmp_path / "log", 5) == []


def test_a_long_log_is_read_from_its_end(tmp_path):
    (tmp_path / "log").write_text("x" * 200_000 + "\nlast\n")

    assert last_lines(tmp_path / "log", 1) == ["last"]
