# Copied from workers/_shared/thinking.py by `make sync-workers`: edit it there.
"""Tell what a model thinks from what it answers, where both come as one text.

A thinking model writes `<think>…</think>` before its answer; where the template of its prompt begins that itself, the
first of the two marks is missing.  Servers that know the model take the thoughts out, into a field of their own.
"""

from __future__ import annotations

OPEN, CLOSE = "<think>", "</think>"


def split(text: str) -> tuple[str, str | None]:
    """The answer in a text, and what was thought before it, if anything was; all is, if the thinking has no end."""
    begun = text.lstrip()
    if begun.startswith(OPEN):
        thought, _, answer = begun[len(OPEN) :].partition(CLOSE)
    elif CLOSE in text:
        thought, _, answer = text.partition(CLOSE)
    else:
        return text, None
    return answer.lstrip(), thought.strip() or None


class Answering:
    """Gives the pieces of an answer as they come, without what is thought before it; `whole` is all that came.

    A text that turns out to have been a thought, for only its end was marked, was given by then: `split` of the whole
    knows better.
    """

    def __init__(self) -> None:
        self._pieces: list[str] = []
        self._held = ""
        self._state = "begins"

    @property
    def whole(self) -> str:
        return "".join(self._pieces)

    def feed(self, piece: str) -> str:
        """What of the answer is sure to be one by now."""
        self._pieces.append(piece)
        if self._state == "answers":
            return piece
        self._held += piece
        if self._state == "begins":
            begun = self._held.lstrip()
            if len(begun) < len(OPEN) and OPEN.startswith(begun):
                return ""
            self._state = "thinks" if begun.startswith(OPEN) else "answers"
            self._held = begun.removeprefix(OPEN) if self._state == "thinks" else self._held
        if self._state == "thinks":
            _, end, rest = self._held.partition(CLOSE)
            self._held = rest if end else self._held[1 - len(CLOSE) :]
            self._state = "ended" if end else "thinks"
        if self._state == "ended":
            self._held = self._held.lstrip()
            self._state = "answers" if self._held else "ended"
        if self._state != "answers":
            return ""
        given, self._held = self._held, ""
        return given
