"""A log as a stream: whoever comes back with the last id they saw gets exactly the rest."""

import asyncio
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vidctl.local.control_plane import log_stream
from vidctl.local.control_plane.rest_wire import ProblemError, rfc3339
from vidctl.local.workers.log import WorkerLog


def past(log, query=None, last_event_id=None):
    """(id, line) of the events of what is in the log."""
    closing = asyncio.Event()
    closing.set()

    async def read():
        stream = await log_stream.open_stream(log, log_stream.read_request(query or {}, last_event_id), closing)
        return [event.decode() async for event in stream]

    parts = [event.removesuffix("\n\n").split("\ndata: ") for event in asyncio.run(read())]
    return [(event_id.removeprefix("id: "), json.loads(data)["line"]) for event_id, data in parts]


@pytest.fixture
def log(tmp_path):
    log = WorkerLog(tmp_path / "worker" / "log")
    yield log
    log.close()


@given(
    writes=st.lists(st.binary(max_size=30), min_size=1, max_size=20),
    max_bytes=st.sampled_from([40, 10_000]),
    index=st.integers(0, 100),
)
def test_resuming_gives_exactly_the_rest(tmp_path_factory, writes, max_bytes, index):
    """Whatever is written in whatever pieces, and whatever the log has forgotten by then."""
    log = WorkerLog(tmp_path_factory.mktemp("worker") / "log", max_bytes=max_bytes)
    for data in writes:
        log.write(data)
    log.write(b"\n")
    everything = past(log, {"tail": "5000"})
    index %= len(everything)
    rest = past(log, {"tail": "0"}, everything[index][0])
    log.close()

    lines = [line.decode("utf-8", "replace") for line in (b"".join(writes) + b"\n").splitlines()]
    places = [event_id.rpartition("/")[2] for event_id, _ in everything]
    # The first line that is left may have lost its beginning.
    assert lines[len(lines) - len(everything) + 1 :] == [line for _, line in everything[1:]]
    assert everything[index + 1 :] == rest
    assert sorted(set(places)) == places


def test_what_the_log_still_has_is_told(tmp_path):
    """Also what lies in the older of its two files; the numbers go on over what is gone."""
    log = WorkerLog(tmp_path / "log", max_bytes=8)
    for text in (b"one\n", b"two\n", b"three\n", b"four\n"):
        log.write(text)
    everything = past(log)
    log.close()

    assert [("000000000014", "three"), ("000000000019", "four")] == [
        (event_id.rpartition("/")[2], line) for event_id, line in everything
    ]


def test_a_line_is_told_once_it_is_whole(log):
    log.write(b"one\ntw")

    assert ["one"] == [line for _, line in past(log)]
    log.write(b"o\n")
    assert ["one", "two"] == [line for _, line in past(log)]


def test_the_last_lines_are_those_of_the_source(log):
    log.write(b"one\n")
    log.note("create container x")
    log.write(b"two\n")

    assert ["one", "create container x", "two"] == [line for _, line in past(log)]
    assert ["one", "two"] == [line for _, line in past(log, {"source": "container", "tail": "2"})]
    assert ["create container x"] == [line for _, line in past(log, {"source": "system", "tail": "1"})]
    assert [] == past(log, {"tail": "0"})


@pytest.mark.parametrize(
    ("query", "last_event_id", "lines"),
    [
        ({"since": "2026-06-01T12:00:01Z"}, None, ["b", "c"]),
        ({"since": "2026-06-01T14:00:01.001+02:00"}, None, ["c"]),
        ({"since": "2026-06-01t12:00:00.999999999z"}, None, ["b", "c"]),
        ({"since": "2026-06-01T12:00:02Z", "tail": "3"}, "2026-06-01T12:00:00.000Z", ["b", "c"]),
        ({"since": "2026-06-01T12:00:02Z", "tail": "3"}, "2026-06-01T12:00:00.000Z/000000000004", ["c"]),
    ],
)
def test_times_are_those_of_rfc_3339(query, last_event_id, lines):
    """A time without a place is one at which a line was seen, which is not sent again."""
    first_ms = 1_780_315_200_000  # 2026-06-01T12:00:00Z
    there = [
        log_stream.Line(place=2 * number, at_ms=first_ms + 1000 * (number - 1), source="container", text=text)
        for number, text in enumerate("abc", start=1)
    ]

    assert "2026-06-01T12:00:00.000Z" == rfc3339(first_ms)
    assert lines == [line.text for line in log_stream.read_request(query, last_event_id).past(there)]


@pytest.mark.parametrize("cursor", ["7", "/000000000042", "2026-06-01T12:00:00Z/42", "2026-13-01T12:00:00Z", "\n"])
def test_a_cursor_that_is_none_is_refused(cursor):
    with pytest.raises(ProblemError, match="Last-Event-ID is not a time of RFC 3339"):
        log_stream.read_request({}, cursor)


def test_a_log_that_is_gone_is_empty(log):
    log.write(b"one\n")
    log.path.unlink()

    assert [] == past(log)
