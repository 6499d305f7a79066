"""How often a job's stream is asked for more."""

from __future__ import annotations

from vidctl.runpod.jobs import Streamed

# A server that holds a question about a stream until there is an answer is asked again at once: then the first text is
# here one way after it came there, and sooner it cannot be.  One that says at once that there is nothing is asked again
# after a pause, which is then the floor of the time to the first text, besides the way there and back.
HOLD_S = 10.0
_HOLDS_FROM_S = 0.5
_STREAM_PAUSE_S = 0.05
_SLOWEST_STREAM_PAUSE_S = 1.0


class StreamPace:
    """How long to wait before a stream is asked about again."""

    def __init__(self) -> None:
        self._pause_s = _STREAM_PAUSE_S
        self._status = ""

    def pause_s(self, news: Streamed, *, took_s: float) -> float:
        """Nothing where something came, or where the server waits by itself; elsewhere longer each time."""
        if news.is_final:
            return 0.0
        if news.chunks or news.status != self._status:
            self._pause_s = _STREAM_PAUSE_S
        self._status = news.status
        if news.chunks or took_s >= _HOLDS_FROM_S:
            return 0.0
        pause_s, self._pause_s = self._pause_s, min(self._pause_s * 1.5, _SLOWEST_STREAM_PAUSE_S)
        return pause_s
