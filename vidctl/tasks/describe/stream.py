"""Read a model's answer as it comes, in the pieces of a job's /stream.  Pure."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

from vidctl.errors import JobFailedError
from vidctl.runpod.sse import EventReader
from vidctl.tasks.describe.thinking import Answering
from vidctl.text import one_line, reason

_LOST = "a part of the answer was lost in transit"

_SURROGATE = re.compile("[\ud800-\udfff]")


def fit(text: str) -> str:
    """Text as a model wrote it, but for halves of surrogate pairs, which no file and no terminal takes."""
    return _SURROGATE.sub("�", text)


def raise_error(answer: Mapping[str, Any]) -> None:
    """Raise JobFailedError for an error in an answer's place.

    A worker that catches everything answers so, and RunPod takes the job for done.
    """
    error = answer if answer.get("object") == "error" else answer.get("error")
    if error:
        raise JobFailedError(f"the worker refused: {one_line(reason(error), 500)}", status="COMPLETED")


class OwnStream:
    """Of vidctl's own worker: `{"text": …, "index": 0, 1, …}`; with `"done": true` come the answer's other fields.

    A worker that begins again, after another was lost, counts from 0 again.
    """

    def __init__(self) -> None:
        self.has_gap = False
        self._answering = Answering()
        self._next = 0
        self._is_whole = True
        self._last: Mapping[str, Any] | None = None

    def feed(self, chunk: object) -> str:
        """The new text; JobFailedError for an error."""
        if isinstance(chunk, list):
            return "".join([self.feed(each) for each in chunk])
        if not isinstance(chunk, dict):
            return ""
        raise_error(chunk)
        text = chunk.get("text")
        if not isinstance(text, str) or not self._is_new(chunk.get("index")):
            return ""
        if chunk.get("done") is True:
            self._last = chunk
        return self._answering.feed(fit(text))

    @property
    def text(self) -> str:
        """All that came."""
        return self._answering.whole

    def _is_new(self, index: object) -> bool:
        """Whether a piece was not here before; and take note of what is missing before it."""
        if isinstance(index, bool) or not isinstance(index, int):
            return True
        if index == 0 and self._next:
            self._answering = Answering()
            self._next, self._is_whole, self._last, self.has_gap = 0, True, None, True
        if index < self._next:
            return False
        if index > self._next:
            self._is_whole, self.has_gap = False, True
        self._next = index + 1
        return True

    def answer(self) -> dict[str, Any] | None:
        """The whole answer as the job gives it; None before the last piece."""
        if self._last is None:
            return None
        fields = {name: value for name, value in self._last.items() if name not in ("text", "index", "done")}
        return _with_warning({**fields, "response": self.text}, self._is_whole)


class OpenAIStream:
    """Of a chat or plain completion: server-sent events, cut anywhere, or the objects in them, also in lists."""

    def __init__(self) -> None:
        self.has_gap = False
        self._answering = Answering()
        self._thoughts: list[str] = []
        self._has_begun = False
        self._events = EventReader()
        self._id: object = None
        self._is_whole = True
        self._is_done = False
        self._known: dict[str, Any] = {}

    def feed(self, chunk: object) -> str:
        """The new text; JobFailedError for an error."""
        if isinstance(chunk, list):
            return "".join([self.feed(each) for each in chunk])
        if isinstance(chunk, str):
            return "".join([self._take_data(data) for data in self._events.feed(chunk)])
        return self._take(chunk) if isinstance(chunk, dict) else ""

    def flush(self) -> None:
        """Take an event whose end did not come, and never will."""
        for data in self._events.rest():
            self._take_data(data)

    def answer(self, *, is_over: bool = False) -> dict[str, Any] | None:
        """The whole as a completion that was not streamed; None before it ended, unless it `is_over` anyway."""
        if is_over:
            self.flush()
        has_ended = self._is_done or self._known.keys() >= {"finish_reason", "usage"}
        if not has_ended and not (is_over and self._has_begun):
            return None
        message = {"content": self.text, "reasoning_content": "".join(self._thoughts) or None}
        choice = {"message": message, "finish_reason": self._known.get("finish_reason")}
        known = {name: self._known.get(name) for name in ("usage", "model")}
        return _with_warning({"choices": [choice], **known}, self._is_whole)

    def _take_data(self, data: str) -> str:
        if data.strip() == "[DONE]":
            self._is_done = True
            return ""
        try:
            event = json.loads(data)
        except (ValueError, RecursionError):
            self._is_whole, self.has_gap = False, True
            return ""
        return self._take(event) if isinstance(event, dict) else ""

    def _take(self, event: Mapping[str, Any]) -> str:
        raise_error(event)
        choices = event.get("choices")
        choice = choices[0] if isinstance(choices, list) and choices else {}
        if not isinstance(choice, dict):
            return ""
        self._begin_again(event.get("id"))
        for name, value, kind in (
            ("usage", event.get("usage"), dict),
            ("model", event.get("model"), str),
            ("finish_reason", choice.get("finish_reason"), str),
        ):
            if isinstance(value, kind):
                self._known[name] = value
        self._has_begun = True
        delta = choice.get("delta")
        if isinstance(delta, dict):
            thought = delta.get("reasoning_content") or delta.get("reasoning")
            self._thoughts += [fit(thought)] if isinstance(thought, str) else []
        return self._answering.feed(fit(_piece(choice)))

    @property
    def text(self) -> str:
        """All that came."""
        return self._answering.whole

    def _begin_again(self, number: object) -> None:
        """Forget an answer that another worker, since lost, had begun: each answer has its own id."""
        if not isinstance(number, str) or number == self._id:
            return
        if self._id is not None:
            self._answering, self._thoughts, self._has_begun = Answering(), [], False
            self._known, self._is_done, self._is_whole, self.has_gap = {}, False, True, True
        self._id = number


def _piece(choice: Mapping[str, Any]) -> str:
    """The text in one choice, of a chat's delta, of a plain completion, or of worker-vllm up to v2.23."""
    for name in ("delta", "message"):
        if isinstance(choice.get(name), dict):
            content = choice[name].get("content")
            return content if isinstance(content, str) else ""
    tokens = choice.get("tokens")
    if isinstance(tokens, list):
        return "".join(token for token in tokens if isinstance(token, str))
    text = choice.get("text")
    return text if isinstance(text, str) else ""


def _with_warning(answer: dict[str, Any], is_whole: bool) -> dict[str, Any]:
    """The answer, and that it is not whole."""
    if is_whole:
        return answer
    warnings = answer.get("warnings")
    return {**answer, "warnings": [*(warnings if isinstance(warnings, list) else []), _LOST]}


class StreamReader:
    """Reads the outputs of a job's /stream, in their order, of either worker; what it does not know it passes over."""

    def __init__(self, protocol: str | None) -> None:
        self._stream: OwnStream | OpenAIStream = OwnStream() if protocol is None else OpenAIStream()

    def feed(self, chunk: object) -> str:
        """The new text in one output, "" if there is none; JobFailedError for an error."""
        return self._stream.feed(chunk)

    @property
    def text(self) -> str:
        """All the text so far."""
        return self._stream.text

    @property
    def has_gap(self) -> bool:
        """Whether what `feed` gave is not the answer: a piece of it was lost, or the worker has begun again."""
        return self._stream.has_gap

    def flush(self) -> None:
        """Nothing comes any more: take the last event, should it have no end; JobFailedError for an error in it."""
        if isinstance(self._stream, OpenAIStream):
            self._stream.flush()

    @property
    def output(self) -> object | None:
        """What `decode` reads, once the stream has ended; None before.  That a piece was lost is a warning in it."""
        return self._stream.answer()
