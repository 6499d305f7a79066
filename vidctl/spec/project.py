"""What vidctl.yaml, beside configs/, may say: settings that hold for all of a project's specs."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Literal

from pydantic import create_model

from vidctl.errors import SpecError
from vidctl.kinds import KINDS
from vidctl.spec.mistake import Mistake
from vidctl.spec.model import Part
from vidctl.spec.reading import Reading, open_sheets, read


class _Defaults(Part):
    """Which spec's endpoint answers for a task, where several are deployed and a command names none."""


if TYPE_CHECKING:
    Defaults = _Defaults
else:
    Defaults = create_model("Defaults", __base__=_Defaults, **dict.fromkeys(KINDS, (str | None, None)))


class ProjectSettings(Part):
    """Settings of a project; None is what the file does not say."""

    control: Literal["graphql", "rest"] | None = None
    """Which of RunPod's control planes vidctl speaks to."""
    target: Literal["local", "runpod"] | None = None
    """Where commands go that name no target."""
    endpoints: Defaults = Defaults()
    """Whom `detect`, `transcribe` and `describe` ask by default: `{detect: yolo}`."""


def settings_of(root: Path) -> ProjectSettings:
    """Read a project's vidctl.yaml, if it has one.  Raises SpecError with every mistake."""
    reading = _read(root / "vidctl.yaml")
    if reading.value is None or reading.mistakes:
        raise SpecError("\n".join(map(str, reading.mistakes)))
    return reading.value


def check_settings(root: Path) -> list[Mistake]:
    """List what is wrong in a project's vidctl.yaml; raises nothing."""
    return _read(root / "vidctl.yaml").mistakes


def _read(file: Path) -> Reading[ProjectSettings]:
    if not file.exists() or says_nothing(file):
        return Reading(ProjectSettings(), [])
    return read(open_sheets([file], {}), ProjectSettings, None)


def says_nothing(file: Path) -> bool:
    """Whether there is nothing in a file but comments."""
    try:
        lines = file.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError):  # raised when it is read
        return False
    return not any(line.split("#")[0].strip() for line in lines)
