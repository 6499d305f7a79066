"""What vidctl.yaml, beside configs/, may say: settings that hold for all of a project's specs."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import Field, create_model

from vidctl.errors import SpecError
from vidctl.kinds import KINDS
from vidctl.spec.document import Location
from vidctl.spec.fields import Duration, SpecPart
from vidctl.spec.files import read_files
from vidctl.spec.problem import SpecProblem
from vidctl.spec.validate import Validated, problem_at, validate

FILE = "vidctl.yaml"


class _Defaults(SpecPart):
    """Which spec's endpoint answers for a task, where several are deployed and a command names none."""


if TYPE_CHECKING:
    Defaults = _Defaults
else:
    Defaults = create_model("Defaults", __base__=_Defaults, **dict.fromkeys(KINDS, (str | None, None)))


class ProjectSettings(SpecPart):
    """Settings of a project; None is what the file does not say."""

    control: Literal["graphql", "rest"] | None = None
    """Which of RunPod's control planes vidctl speaks to."""
    target: Literal["local", "runpod"] | None = None
    """Where commands go that name no target."""
    cache: Duration | None = None
    """For how long answers are kept and given again instead of being paid once more: `30d`."""
    cache_gb: Annotated[float, Field(gt=0, le=1000)] = 1.0
    """How large all kept answers may be together; the oldest are dropped first."""
    endpoints: Defaults = Defaults()
    """Whom `detect`, `transcribe` and `describe` ask by default: `{detect: yolo}`."""
    defaults: dict[str, dict[str, Any]] = Field(default_factory=dict)
    """Options of commands, for where the command line does not have them: `{detect: {conf: 0.4}}`."""


def settings_of(root: Path) -> ProjectSettings:
    """Read a project's vidctl.yaml, if it has one.  Raises SpecError with every mistake."""
    checked = _read(root / FILE)
    if checked.value is None or checked.problems:
        raise SpecError("\n".join(map(str, checked.problems)))
    return checked.value


def check_settings(root: Path) -> list[SpecProblem]:
    """List what is wrong in a project's vidctl.yaml; raises nothing."""
    return _read(root / FILE).problems


def settings_problem(
    root: Path, field: Location, message: str, hint: str | None, *, at_key: bool = False
) -> SpecProblem:
    """Say what is wrong with a value of a project's vidctl.yaml, or with its key, where it stands."""
    return problem_at(read_files([root / FILE], {}), field, message, hint, at_key=at_key)


def _read(file: Path) -> Validated[ProjectSettings]:
    if not file.exists() or says_nothing(file):
        return Validated(ProjectSettings(), [])
    return validate(read_files([file], {}), ProjectSettings, None)


def says_nothing(file: Path) -> bool:
    """Whether there is nothing in a file but comments."""
    try:
        lines = file.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError):  # raised when it is read
        return False
    return not any(line.split("#")[0].strip() for line in lines)
