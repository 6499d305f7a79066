"""How a worker is launched: what a way to launch workers must offer.

There are two, processes.py and containers.py; which of them a worker gets is decided by the name of its image.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from vidctl.local.control_plane.records import RegistryAuthRecord
    from vidctl.local.workers.log import WorkerLog

STOP_GRACE_S = 5.0


@dataclass(frozen=True)
class LaunchRequest:
    """The worker to launch.

    `folder` is its own, for its log and records; `variables` are RunPod's and the template's, which `template_env`
    holds alone; `login` is the one to the image's registry.
    """

    worker_id: str
    image_name: str
    folder: Path
    command: str = ""
    template_env: Mapping[str, str] = field(default_factory=dict, repr=False)
    variables: Mapping[str, str] = field(default_factory=dict, repr=False)
    login: RegistryAuthRecord | None = None


class WorkerInstance(Protocol):
    """A worker that was started: while it runs, and after."""

    @property
    def pid(self) -> int | None:
        """Its process here, while there is one that may be known."""

    @property
    def exit_code(self) -> int | None:
        """None while it runs; the negative number of the signal that ended it."""

    def stop(self) -> None:
        """Ask it to end."""

    def kill(self) -> None:
        """End it at once."""

    async def ended(self) -> int:
        """Wait until it has ended, its last words are in the log and nothing of it is left; its exit code."""


class PreparedWorker(Protocol):
    """A worker that is ready to start: all that may take long is done."""

    async def start(self, log: WorkerLog) -> WorkerInstance:
        """Start it; raise LocalRuntimeError, OSError or ValueError when that cannot be."""


class Launcher(Protocol):
    """A way to launch workers: as a process, or as a container."""

    async def __call__(self, request: LaunchRequest, log: WorkerLog) -> PreparedWorker:
        """Get what the worker needs, noting in its log what takes long; raise LocalRuntimeError when that fails."""
