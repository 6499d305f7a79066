"""A template's start command as words."""

import pytest

from vidctl.local.workers import start_command


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", None),
        ("python -u handler.py", None),
        ("{not json", None),
        ('{"cmd": "python"}', None),
        ('{"cmd": [1]}', None),
        ('{"cmd": [], "other": []}', None),
        ('{"cmd": ["python", "a b"]}', {"cmd": ["python", "a b"]}),
        ('{"cmd": ["x"], "entrypoint": ["/init"]}', {"cmd": ["x"], "entrypoint": ["/init"]}),
    ],
)
def test_a_line_of_text_is_no_words(text, words):
    assert start_command.read(text) == words


@pytest.mark.parametrize("words", [{"cmd": ["a b", "é"]}, {"cmd": ["x"], "entrypoint": ["/init", "-v"]}])
def test_what_is_written_is_read(words):
    assert start_command.read(start_command.written(words)) == words


def test_no_words_are_no_command():
    assert start_command.written({"cmd": [], "entrypoint": []}) == ""
