"""What fails is logged once and holds nothing up."""

import pytest

from vidctl.local.faults import Faults


def fail(faults, what, error):
    with faults.survived(what):
        raise error


def test_a_failure_is_told_once_until_it_is_over(caplog):
    faults = Faults()
    for _ in range(3):
        fail(faults, "this", OSError("disk full"))
    fail(faults, "that", OSError("disk full"))
    with faults.survived("this"):
        pass
    fail(faults, "this", OSError("disk full"))

    assert [record.getMessage().split()[0] for record in caplog.records] == ["this", "that", "this"]


def test_being_cancelled_is_no_failure():
    with pytest.raises(KeyboardInterrupt):
        fail(Faults(), "this", KeyboardInterrupt())
