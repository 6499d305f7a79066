"""A plan on disk: what somebody reviewed, and a deploy must still find."""

from __future__ import annotations

import dataclasses
import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from vidctl import __version__, files
from vidctl.deploy.planning import Planned
from vidctl.errors import UsageError, VidctlError
from vidctl.project.settings import Target


@dataclass(frozen=True)
class SavedPlan:
    """What a file holds: for each spec's key the fingerprint of what was planned."""

    path: Path
    target: Target
    specs: Mapping[str, str]

    def require_current(self, planned: Sequence[Planned]) -> None:
        """Raise UsageError when the spec, its image or what is live has changed since."""
        stale = [each.spec.key for each in planned if self.specs.get(each.spec.key) != each.plan.fingerprint()]
        if stale:
            raise UsageError(
                f"{self.path} is out of date for {', '.join(stale)}: the spec, the image or the endpoint has changed",
                hint=f"vidctl plan {' '.join(self.specs)} -o {self.path}",
            )


def check(path: Path) -> None:
    """Raise UsageError for a name by which no deploy would know the plan, VidctlError where it cannot be written."""
    if not path.name or path.is_dir():
        raise UsageError(f"{path}: is a folder", hint="name a file with -o")
    if path.suffix != ".json":
        raise UsageError(
            f"-o {path}: invalid name of a plan: expected NAME.json",
            hint="choose a name that ends in .json: deploy reads any other as a spec's",
        )
    files.check(path)


def text(target: Target, planned: Sequence[Planned]) -> str:
    """The plan as it is saved; it holds no secret, and no value of a variable that may be one."""
    document = {
        "vidctl": __version__,
        "made_at": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "target": target,
        "specs": {
            each.spec.key: {
                "fingerprint": each.plan.fingerprint(),
                "action": each.plan.action,
                "changes": [dataclasses.asdict(change) for change in each.plan.changes],
            }
            for each in planned
        },
    }
    return json.dumps(document, indent=2) + "\n"


def save(path: Path, target: Target, planned: Sequence[Planned]) -> None:
    """Write it whole or not at all."""
    try:
        files.write(path, text(target, planned).encode())
    except VidctlError as error:
        error.hint = "choose another place with -o"
        raise


def load(names: Sequence[str]) -> SavedPlan | None:
    """The plan, if what a deploy was given is the name of one; raise UsageError for a file that is none."""
    if len(names) != 1 or not names[0].endswith(".json"):
        return None
    path = Path(names[0])
    try:
        document = json.loads(path.read_bytes())
        target: Target = "local" if document["target"] == "local" else "runpod"
        specs = {str(key): str(each["fingerprint"]) for key, each in document["specs"].items()}
    except OSError as error:
        raise UsageError(f"{path}: cannot be read: {error.strerror}", hint="vidctl plan NAME -o FILE") from error
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise UsageError(f"{path}: not a plan of vidctl", hint="vidctl plan NAME -o FILE") from error
    return SavedPlan(path, target, specs)
