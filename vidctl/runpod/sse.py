"""Read server-sent events: a worker's log, or what a model's server streams.  Pure."""

from __future__ import annotations

import re


class EventReader:
    """Server-sent events: pieces of text in, cut anywhere, the data of whole events out, and of nothing else in them.

    As https://html.spec.whatwg.org/multipage/server-sent-events.html has it, but an event whose end never comes is
    still given by `rest`.  `last_id` is that of the last event that ended, for Last-Event-ID.
    """

    def __init__(self) -> None:
        self.last_id: str | None = None
        self._id: str | None = None
        self._line = ""
        self._data: list[str] = []
        self._ended_with_return = False

    def feed(self, text: str) -> list[str]:
        """The data of the events that end in this piece."""
        if not text:
            return []
        if self._ended_with_return:  # the line ended there: a line feed now is the other half of its end
            text = text.removeprefix("\n")
        self._ended_with_return = text.endswith("\r")
        *lines, self._line = re.split("\r\n|\r|\n", self._line + text)
        return [data for line in lines for data in self._take(line)]

    def rest(self) -> list[str]:
        """The data of an event that was not ended, if there is any."""
        line, self._line = self._line, ""
        return [data for each in (line, "") for data in self._take(each)]

    def _take(self, line: str) -> list[str]:
        """An empty line ends an event."""
        if not line:
            data, self._data, self.last_id = self._data, [], self._id
            return ["\n".join(data)] if data else []
        name, _, value = line.removeprefix("\ufeff").partition(":")
        if name == "data":
            self._data.append(value.removeprefix(" "))
        if name == "id" and "\0" not in value:
            self._id = value.removeprefix(" ")
        return []
