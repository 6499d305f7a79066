"""Answers that the journal keeps, given again in place of a job that would be paid, where a project says so."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Mapping
from threading import Lock
from typing import Any

from vidctl.journal import SentRequest
from vidctl.progress import Notify, Progress

_STREAMED = ("stream", "stream_options")  # how an answer comes is no part of the question


class AnswerCache:
    """For how long an endpoint's answers are kept and given again.

    `version` stands for what is deployed: another version may answer otherwise.  `notify` hears once that an answer
    was given again.
    """

    def __init__(self, max_age_s: float, version: str, notify: Notify) -> None:
        self.max_age_s = max_age_s
        self._version = version
        self._notify = notify
        self._lock = Lock()
        self._is_told = False

    def digest(self, payload: Mapping[str, Any]) -> str:
        """What names a question: the same of the same version has the same answer."""
        inner = payload.get("openai_input")
        question = {**payload, "openai_input": _plain(inner)} if isinstance(inner, Mapping) else _plain(payload)
        return hashlib.sha256(json.dumps([self._version, question], sort_keys=True).encode()).hexdigest()

    def takes(self, sent: SentRequest) -> bool:
        """Whether the answer is young enough, or the job may yet give one."""
        return not sent.is_answered or (sent.answered_at or 0.0) >= time.time() - self.max_age_s

    def tell(self) -> None:
        """Say, the first time, that an answer is one that was kept."""
        with self._lock:
            is_told, self._is_told = self._is_told, True
        if not is_told:
            self._notify(Progress("cache", "using answers kept in the journal; --no-cache pays for new ones"))


def _plain(payload: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in payload.items() if name not in _STREAMED}
