"""The smoke test of a spec: a job, and what its answer must contain."""

from __future__ import annotations

from pathlib import Path

from pydantic import JsonValue

from vidctl.spec.fields import JobFile, SpecPart, holds_a_job


class Smoke(SpecPart):
    """The job that shows that a deployment works."""

    input: JobFile
    """A JSON file `{"input": {…}}`.  Relative to the project folder."""
    contains: JsonValue = None
    """What the answer must contain."""


def own_smoke(folder: Path) -> Smoke | None:
    """The job to try a worker with that lies in its folder, by RunPod's own name for it; None where there is none."""
    path = folder / "test_input.json"
    return Smoke.model_construct(input=path) if holds_a_job(path) else None
