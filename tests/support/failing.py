"""Tests of failures: which one it is, and which facts its message gives.  Its wording is compared with one file.

A test asserts the error's code and the facts that a reader needs (names, numbers, places, commands).  How it is
worded stands in `tests/wording.ambr`, for all tests together: `make wording` writes it anew, and the diff is what a
reviewer reads.
"""

from __future__ import annotations

import pkgutil
import re
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
from support.command import Outcome
from syrupy.assertion import SnapshotAssertion
from syrupy.extensions.amber import AmberSnapshotExtension
from syrupy.location import PyTestLocation

import vidctl
from vidctl.errors import VidctlError

FILE = Path(__file__).resolve().parent.parent / "wording.ambr"
_ROOT = FILE.parent.parent

# The names of all tests that were collected, as they stand in FILE.
COLLECTED = pytest.StashKey[set[str]]()

# What differs from run to run, and from machine to machine.
_VARIES = (
    (re.compile(r"^ +\w+  the job is (waiting|running).*\n", re.MULTILINE), ""),  # where it takes longer than a moment
    (re.compile(r"[^\s'\"(]*/pytest-of-[^/\s]+/pytest-\d+/(popen-gw\d+/)?[\w-]+/?"), "TMP/"),
    (re.compile(re.escape(str(_ROOT))), "ROOT"),
    (re.compile(r"\b(127\.0\.0\.1|localhost|\[::1\]):\d{2,5}\b"), r"\1:PORT"),
    (re.compile(r"\b[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}\b"), "UUID"),
)


class OneFile(AmberSnapshotExtension):
    """Keeps the wordings of all tests in one file, by the test's file and name."""

    @classmethod
    def get_location(cls, *, test_location: PyTestLocation, index: Any) -> str:  # noqa: ARG003  syrupy's signature
        return str(FILE)

    @classmethod
    def get_snapshot_name(cls, *, test_location: PyTestLocation, index: Any = 0) -> str:
        name = super().get_snapshot_name(test_location=test_location, index=index)
        return f"{Path(test_location.filepath).stem}::{name}"


_wordings: list[SnapshotAssertion] = []


@pytest.fixture(autouse=True)
def _of_this_test(snapshot: SnapshotAssertion) -> Iterator[None]:
    """The wordings of the test that runs."""
    _wordings.append(snapshot.use_extension(OneFile))
    yield
    _wordings.clear()


class Caught:
    """The error that was raised in the block, once the block is over."""

    def __init__(self) -> None:
        self._info: pytest.ExceptionInfo[VidctlError] | None = None

    @property
    def value(self) -> Any:  # of the class that has the code
        assert self._info is not None, "the block has not ended"

        return self._info.value


@contextmanager
def failing(code: str, *facts: object, varies: bool = False) -> Iterator[Caught]:
    """The block raises the error of this code; each fact stands in its message or hint.

    `varies`: the wording is not compared, for it holds another's words or what no two runs share.
    """
    caught = Caught()
    with pytest.raises(VidctlError) as info:
        yield caught
    caught._info = info
    error = info.value
    _check(error.code, error.message, error.hint, code, facts)
    if not varies:
        same_wording(_told(error.message, error.hint))


def failed(outcome: Outcome, code: str, *facts: object, varies: bool = False) -> None:
    """The command ended with the exit status of this code, and said each fact on stderr; with `--json` the code too."""
    assert outcome.status == _status(code), outcome.stderr
    message, hint, said = outcome.stderr.rstrip("\n"), None, code
    if message.startswith("{") and message.endswith("}"):
        document = outcome.error
        message, hint, said = document["error"], document.get("hint"), document["code"]
    _check(said, message, hint, code, facts)
    if not varies:
        same_wording(_told(message, hint))


def same_wording(text: str) -> None:
    """The text is worded as in `tests/wording.ambr`, but for folders, ports and ids that no two runs share."""
    for pattern, name in _VARIES:
        text = pattern.sub(name, text)
    assert text == _wordings[-1], f"not as in {FILE.name}: {text}"


def _check(said: str, message: str, hint: str | None, code: str, facts: tuple[object, ...]) -> None:
    told = _told(message, hint)
    assert (code, []) == (said, [str(fact) for fact in facts if str(fact) not in told]), told


def _told(message: str, hint: str | None) -> str:
    return f"{message}\nhint: {hint}" if hint else message


def _status(code: str) -> int:
    """The exit status of errors of a code."""
    return next(each.exit_status for each in classes() if each.code == code)


def classes() -> Iterator[type[VidctlError]]:
    """Every class of failures that is loaded."""
    pending = [VidctlError]
    while pending:
        each = pending.pop()
        pending += each.__subclasses__()
        yield each


def all_classes() -> Iterator[type[VidctlError]]:
    """Every class of failures that vidctl may raise to a user; the local server's own are answers of its API."""
    for module in pkgutil.walk_packages(vidctl.__path__, "vidctl."):
        if not module.name.startswith("vidctl.local") and module.name != "vidctl.__main__":
            import_module(module.name)
    for each in classes():
        if each.__module__.startswith("vidctl.") and not each.__module__.startswith("vidctl.local"):
            yield each
