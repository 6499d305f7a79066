# Copied from workers/_shared/audioclock.py by `make sync-workers`: edit it there.
"""Where frames of audio lie in time: what a file's timestamps say, beside what was heard so far.

A jump counts when what follows it goes on from there; one that is taken back is a wrong timestamp and moves nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import zip_longest
from typing import Any

JUMP_S = 0.1  # what timestamps may differ from the count of samples, for files that round them
SURE_S = 1.0  # what lies off the clock is held for this long: the next may be back on it
# Holes in all, beside as long again as was heard: what is beyond it is a clock that was set, not a pause.
MAX_HOLES_S = 3600.0


@dataclass
class _Run:
    """Frames that follow on each other, by their own timestamps, unless these stand still."""

    at_s: float
    stamped_s: float  # where the last timestamp ends
    length_s: float
    frames: list[Any]
    is_stuck: bool = False

    @property
    def end_s(self) -> float:
        return self.at_s + self.length_s

    @property
    def is_believed(self) -> bool:
        """Whether it lies where it says, if nothing that follows speaks against it."""
        return not self.is_stuck and self.stamped_s - self.at_s >= self.length_s / 2


class Clock:
    """The time of one track.

    `heard_s` is how much was given out, holes included; `reached_s` the latest end that a timestamp named, right or
    wrong.  Both count from `begins_s`, the file's own start; None means the first frame's.
    """

    def __init__(self, begins_s: float | None) -> None:
        self.heard_s = 0.0
        self.reached_s = 0.0
        self._begins_s = begins_s
        self._moved_s = 0.0  # by which timestamps are ahead of `heard_s`, since the file's clock was set
        self._holes_s = 0.0
        self._held: list[_Run] = []

    def placed(self, frames: Iterable[Any]) -> Iterator[tuple[float, Any]]:
        """Yield PyAV's frames in order, each with the seconds of silence that belong before it."""
        for frame in frames:
            length_s = frame.samples / frame.sample_rate
            at_s = self._at_s(frame, length_s)
            held_s = sum(run.length_s for run in self._held)
            if self._held and at_s is None:
                self._held[-1].frames.append(frame)
                self._held[-1].length_s += length_s
            elif at_s is None or abs(at_s - self._moved_s - self.heard_s - held_s) <= JUMP_S:
                yield from self._released()
                self.heard_s += length_s
                yield 0.0, frame
                continue
            else:
                self._hold(frame, at_s, length_s)
            if held_s and held_s + length_s >= SURE_S:
                yield from self._settled()
        yield from self._settled(is_end=True)

    def _at_s(self, frame: Any, length_s: float) -> float | None:
        if frame.time is None:
            return None
        time_s = float(frame.time)
        if self._begins_s is None:
            self._begins_s = time_s
        self.reached_s = max(self.reached_s, time_s - self._begins_s + length_s)
        return time_s - self._begins_s

    def _hold(self, frame: Any, at_s: float, length_s: float) -> None:
        if self._held and abs(at_s - self._held[-1].end_s) <= JUMP_S:
            run = self._held[-1]
            run.frames.append(frame)
            run.stamped_s = at_s + length_s
            run.length_s += length_s
        else:
            is_stuck = bool(self._held) and abs(at_s - self._held[-1].at_s) <= JUMP_S
            self._held.append(_Run(at_s, at_s + length_s, length_s, [frame], is_stuck))

    def _released(self) -> Iterator[tuple[float, Any]]:
        """Give what is held, whose timestamps were wrong."""
        held, self._held = self._held, []
        for run in held:
            self.heard_s += run.length_s
            yield from ((0.0, frame) for frame in run.frames)

    def _settled(self, *, is_end: bool = False) -> Iterator[tuple[float, Any]]:
        """Give what is held, where its timestamps say if they are right; the last run of several may go on."""
        keeps = len(self._held) > 1 and not is_end
        runs, self._held = self._held, self._held[-1:] if keeps else []
        for run, following in zip_longest(runs[:-1] if keeps else runs, runs[1:]):
            is_right = run.is_believed if following is None else not self._is_taken_back(run, following)
            hole_s = self._hole_s(run.at_s - self._moved_s - self.heard_s) if is_right else 0.0
            self.heard_s += hole_s + run.length_s
            yield hole_s, run.frames[0]
            yield from ((0.0, frame) for frame in run.frames[1:])

    def _is_taken_back(self, run: _Run, following: _Run) -> bool:
        """Whether a run cannot lie where it says, for the one after it lies before, but not before what was heard."""
        is_after = following.at_s - self._moved_s - self.heard_s - run.length_s >= -JUMP_S
        return is_after and (following.at_s < run.end_s or run.at_s - self._moved_s < self.heard_s)

    def _hole_s(self, ahead_s: float) -> float:
        """How much is missing; a clock that jumps back, or too far, is followed from there."""
        if JUMP_S < ahead_s <= MAX_HOLES_S + self.heard_s - 2 * self._holes_s:
            self._holes_s += ahead_s
            return ahead_s
        if abs(ahead_s) > JUMP_S:
            self._moved_s += ahead_s
        return 0.0
