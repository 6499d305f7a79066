"""The table of tasks: what `task:` in a spec may say, and where the code of each is.  It imports nothing.

The spec's model and its JSON Schema, the defaults in vidctl.yaml, the commands and what `deploy` says to try next
follow from it: a new kind of worker is one line here, one folder in `vidctl/tasks/`, one module in `vidctl/cli/`.
"""

from __future__ import annotations

from typing import NamedTuple


class TaskKind(NamedTuple):
    """One task.  `help` is the first sentence of its command's docstring."""

    help: str
    example: str
    """The arguments of its command that `deploy` says to try."""
    official: str | None
    """The protocol of RunPod's own worker for the task."""
    command: str
    """Where its command is: a function of the task's name."""
    run: str
    """Where its function `run` is, which `Client.run_task` calls."""
    variables: tuple[str, ...] = ()
    """What in the worker's environment its callers must know: `deploy` records it."""
    weights: str | None = None
    """Where a function `download` is, which tells what the worker downloads, by its variables."""
    lint: str | None = None
    """Where a function `lint` is, which tells what in a valid spec of the task will not hold."""


KINDS = {
    "detect": TaskKind(
        "Find objects in images.",
        "sample.jpg",
        None,
        "vidctl.cli.detect",
        "vidctl.tasks.detect.run",
        weights="vidctl.tasks.detect.weights",
    ),
    "transcribe": TaskKind(
        "Transcribe audio files and videos.",
        "clip.mp4",
        "worker-faster_whisper",
        "vidctl.cli.transcribe",
        "vidctl.tasks.transcribe.run",
        weights="vidctl.tasks.transcribe.weights",
    ),
    "describe": TaskKind(
        "Ask about images and videos.",
        'sample.jpg "What is this?"',
        "worker-vllm",
        "vidctl.cli.describe",
        "vidctl.tasks.describe.run",
        ("MODEL_NAME", "OPENAI_SERVED_MODEL_NAME_OVERRIDE", "MAX_IMAGES", "MAX_MODEL_LEN"),
        "vidctl.tasks.describe.weights",
        "vidctl.tasks.describe.capacity",
    ),
}
OFFICIAL = {name: kind.official for name, kind in KINDS.items() if kind.official}
