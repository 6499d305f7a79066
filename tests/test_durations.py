"""One way to write how long: on the command line, in Python and in specs."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.command import vidctl
from support.failing import failed, failing

from vidctl import Client
from vidctl.tasks import options
from vidctl.tasks.describe.questions import Clip, posed
from vidctl.text import duration_s


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("90", 90), ("90s", 90), ("90 s", 90), ("1.5", 1.5), ("5m", 300), ("1h", 3600), ("1h30m", 5400),
        ("2d", 172_800), ("1m30s", 90), ("1.5h", 5400), ("1:30", 90), ("90:00", 5400), ("1:02:03.5", 3723.5),
        (" 5m ", 300), ("0", 0),
    ],
)  # fmt: skip
def test_a_duration_is_written_as_people_write_it(text, seconds):
    assert seconds == duration_s(text)


@pytest.mark.parametrize(
    "text", ["", " ", "soon", "1:75", "1:60:00", "-5", "5x", "m", "1h:30", "1:2:3:4", "٣", "inf", "nan", "1e3", "5m 3h"]
)
def test_what_is_no_duration_is_none(text):
    assert None is duration_s(text)


@given(st.integers(0, 10**9))
def test_every_spelling_means_the_same(seconds):
    minutes, rest = divmod(seconds, 60)
    spellings = (f"{seconds}", f"{seconds}s", f"{minutes}m{rest}s", f"{minutes}:{rest:02d}")

    assert {seconds} == {duration_s(spelling) for spelling in spellings}


def test_a_program_gives_seconds_or_text():
    """NumPy's numbers too."""
    assert [90.0, 90.0, 90.0, 90.0] == [
        options.seconds("timeout_s", value) for value in (90, "1:30", np.float32(90), np.int64(90))
    ]


@pytest.mark.parametrize("value", ["soon", None, True, math.nan, math.inf, [90], b"90"])
def test_what_is_none_in_a_program_names_the_argument(value):
    with failing("usage_error", "timeout_s", repr(value)):
        options.seconds("timeout_s", value)


@pytest.mark.parametrize(
    ("call", "name", "value"),
    [
        (lambda client: client.transcribe("a.wav", chunk_s="soon"), "chunk_s", "'soon'"),
        (lambda _: Client(timeout_s="0s"), "timeout_s", "'0s'"),
    ],
    ids=["chunk_s", "timeout_s"],
)
def test_a_client_refuses_what_is_no_duration(tmp_path, monkeypatch, call, name, value):
    monkeypatch.chdir(tmp_path)
    with failing("usage_error", name, value):
        call(Client(target="runpod", timeout_s="5m"))


def test_a_clip_is_written_as_on_the_command_line(tmp_path, monkeypatch):
    """Moments and the ends of a part."""
    monkeypatch.chdir(tmp_path)
    client = Client(target="runpod")
    moments = posed(["clip.mp4"], "What?", root=client.project.root, at_s=["1:23", 4, "2m"]).clip
    part = posed(["clip.mp4"], "What?", root=client.project.root, from_s="1:00", to_s="90s").clip

    assert (Clip(at_s=(83.0, 4.0, 120.0)), Clip(from_s=60.0, to_s=90.0)) == (moments, part)


@pytest.mark.parametrize(
    ("arguments", "facts"),
    [
        (["detect", "a.jpg", "--timeout", "soon"], ["--timeout soon"]),
        (["detect", "a.jpg", "--timeout", "0.01s"], ["--timeout 0.01s", "0.1 s"]),
        (["describe", "a.mp4", "What?", "--at", "1:75"], ["--at 1:75"]),
        (["transcribe", "a.wav", "--chunk", "soon"], ["--chunk soon"]),
        (["deploy", "echo", "--timeout", "0:00"], ["--timeout 0:00", "1 s"]),
    ],
)
def test_a_command_names_the_option(tmp_path, arguments, facts):
    failed(vidctl(*arguments, "--json", cwd=tmp_path), "usage_error", *facts)


@pytest.mark.parametrize("wait", ["90", "90s", "5m", "1:30"])
def test_a_command_takes_every_spelling(tmp_path, wait):
    """What comes next is what is missing."""
    outcomes = [
        vidctl(*words, "--timeout", wait, "--json", cwd=tmp_path)
        for words in (("detect", "a.jpg", "--target", "runpod"), ("transcribe", "a.wav", "--chunk", wait))
    ]

    assert [] == [outcome.error["error"] for outcome in outcomes if "not a duration" in outcome.error["error"]]
