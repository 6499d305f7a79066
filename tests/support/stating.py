"""Tests of sentences that are no error of vidctl's: a warning, or what a worker answers a job with."""

from __future__ import annotations

from support.failing import same_wording


def stating(sentence: str, *facts: object, varies: bool = False) -> None:
    """The sentence is one line and gives each fact; how it is worded stands in `tests/wording.ambr`.

    `varies`: the wording is not compared, for it holds what no two runs share.
    """
    assert (1, []) == (len(sentence.splitlines()), [str(fact) for fact in facts if str(fact) not in sentence]), sentence
    if not varies:
        same_wording(sentence)
