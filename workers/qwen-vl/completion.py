"""Answers in OpenAI's words: what their events add up to, and how one ends whose time is over.  Pure."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

# What vLLM says besides OpenAI's own words for the end of an answer (vllm/v1/engine/__init__.py, 0.32).
REASONS = {"repetition": "length", "abort": "length"}


def in_openais_words(answer: dict[str, Any]) -> dict[str, Any]:
    """The same object, with no finish_reason that a reader of OpenAI's API does not know."""
    for choice in _choices(answer):
        choice["finish_reason"] = REASONS.get(str(choice.get("finish_reason")), choice.get("finish_reason"))
    return answer


class Completion:
    """What the lines of a stream add up to."""

    def __init__(self) -> None:
        self._head: dict[str, Any] = {}
        self._choices: dict[int, dict[str, Any]] = {}
        self._usage: Any = None
        self._is_inside = False
        self.error: Any = None

    @property
    def has_begun(self) -> bool:
        """Whether there is a word of an answer."""
        return any(
            choice.get("text") or any(value for name, value in choice.get("message", {}).items() if name != "role")
            for choice in self._choices.values()
        )

    def take(self, line: bytes) -> str:
        """Take a line of the stream; give it as it is passed on."""
        self._is_inside = bool(line)
        event = _event(line)
        if not isinstance(event, dict):
            return line.decode("utf-8", "replace") + "\n"
        self._add(event)
        if not any(choice.get("finish_reason") in REASONS for choice in _choices(event)):
            return line.decode("utf-8", "replace") + "\n"
        return f"data: {json.dumps(in_openais_words(event), ensure_ascii=False)}\n"

    def answer(self) -> dict[str, Any]:
        """The answer as it would be without a stream; where its end is missing, it was too long."""
        kind = "text_completion" if self._is_plain else "chat.completion"
        choices = [
            {**choice, "finish_reason": choice.get("finish_reason") or "length"}
            for _, choice in sorted(self._choices.items())
        ]
        return in_openais_words({**self._head, "object": kind, "choices": choices, "usage": self._usage})

    def last_words(self, *, with_usage: bool) -> str:
        """The events that end a stream in the middle: too long, all that there are tokens for, and the end mark."""
        choices = [
            {"index": index, **({"text": ""} if "text" in choice else {"delta": {}}), "finish_reason": "length"}
            for index, choice in sorted(self._choices.items())
            if not choice.get("finish_reason")
        ]
        chunks = [{"choices": choices}] if choices else []
        chunks += [{"choices": [], "usage": self._usage}] if with_usage and self._usage else []
        kind = "text_completion" if self._is_plain else "chat.completion.chunk"
        events = [f"data: {json.dumps({**self._head, 'object': kind, **each})}\n\n" for each in chunks]
        return "".join(["\n" if self._is_inside else "", *events, "data: [DONE]\n\n"])

    @property
    def _is_plain(self) -> bool:
        return any("text" in choice for choice in self._choices.values())

    def _add(self, event: dict[str, Any]) -> None:
        self.error = event.get("error") or self.error
        self._usage = event.get("usage") or self._usage
        for name, value in event.items():
            if name not in ("choices", "usage", "object", "error"):
                self._head.setdefault(name, value)
        for choice in _choices(event):
            index = choice.get("index")
            whole = self._choices.setdefault(index if isinstance(index, int) else 0, {"index": index or 0})
            for name, value in choice.items():
                if name == "delta":
                    message = whole.setdefault("message", {"role": "assistant", "content": ""})
                    _merge(message, value if isinstance(value, dict) else {}, {"role"})
                elif name in ("text", "logprobs", "token_ids", "prompt_logprobs", "prompt_token_ids"):
                    _merge(whole, {name: value}, set())
                elif value is not None or name not in whole:
                    whole[name] = value


def has_ended(line: bytes) -> bool:
    """Whether an answer may end after this line: with its reason, an error, or the end mark."""
    if not line.startswith(b"data:"):
        return False
    if line[5:].strip() == b"[DONE]":
        return True
    if b'"finish_reason"' not in line and b'"error"' not in line:
        return False
    event = _event(line)
    if not isinstance(event, dict):
        return False
    return bool(event.get("error")) or any(choice.get("finish_reason") for choice in _choices(event))


def _event(line: bytes) -> Any:
    if not line.startswith(b"data:"):
        return None
    try:
        return json.loads(line[5:])
    except ValueError:
        return None


def _choices(event: Any) -> Iterator[dict[str, Any]]:
    choices = event.get("choices") if isinstance(event, dict) else None
    return (choice for choice in (choices if isinstance(choices, list) else []) if isinstance(choice, dict))


def _merge(whole: dict[str, Any], piece: Mapping[str, Any], replaced: set[str]) -> None:
    """Add a piece to what there is: text to text, list to list, and so on within."""
    for name, value in piece.items():
        there = whole.get(name)
        if value is None and name in whole:
            continue
        if there is None or name in replaced or type(there) is not type(value):
            whole[name] = value
        elif isinstance(value, dict):
            _merge(there, value, replaced)
        elif isinstance(value, (str, list)):
            whole[name] = there + value
        else:
            whole[name] = value
