"""What became of many sources, as one exit status: all, some or none of them failed."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from vidctl.errors import VidctlError


@dataclass
class Tally:
    """Counts sources, called `plural` when people read of them; `flawed` are those of which a part is missing."""

    plural: str
    taken: int = 0
    failures: list[VidctlError] = field(default_factory=list)
    unsaved: list[VidctlError] = field(default_factory=list)
    flawed: list[VidctlError] = field(default_factory=list)

    def settle(self) -> None:
        """Raise if anything failed: the one error, or what became of all."""
        from vidctl.errors import PartialFailureError, VidctlError

        if self.failures and self.taken == 1:
            raise self.failures[0]
        if self.failures and len(self.failures) == self.taken:
            first = self.failures[0]
            kind = type(first) if len({type(error) for error in self.failures}) == 1 else VidctlError
            raise kind(f"all {self.taken} {self.plural} failed", hint=first.hint, job_id=first.job_id)
        if self.failures:
            raise PartialFailureError(f"{len(self.failures)} of {self.taken} {self.plural} failed")
        if self.flawed:
            raise self.flawed[0]
        if self.unsaved:
            raise PartialFailureError(
                f"{len(self.unsaved)} of {self.taken} {self.plural} could not be saved",
                hint=self.unsaved[0].hint,
            )
