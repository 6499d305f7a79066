"""How a worker is launched: what each launcher must offer, and the one that runs a worker folder as a process.

The other one is containers.py.  Which of them a worker gets is decided by the name of its image.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

from vidctl.errors import LocalRuntimeError
from vidctl.local.threads import in_thread
from vidctl.local.workers import environments, os_process
from vidctl.local.workers.variables import inheritable

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


class Prepared(Protocol):
    """A worker that is ready to start: all that may take long is done."""

    async def start(self, log: WorkerLog) -> WorkerInstance:
        """Start it; raise LocalRuntimeError, OSError or ValueError when that cannot be."""


class Launcher(Protocol):
    """A way to launch workers: as a process, or as a container."""

    async def __call__(self, request: LaunchRequest, log: WorkerLog) -> Prepared:
        """Get what the worker needs, noting in its log what takes long; raise LocalRuntimeError when that fails."""


async def prepare_process(request: LaunchRequest, log: WorkerLog) -> Prepared:
    """Make the virtual environment of a worker folder, where there is none yet."""
    source = environments.folder(request.image_name)
    python = await in_thread(lambda: environments.interpreter(source, request.template_env, log.note))
    engine = await in_thread(lambda: environments.engine(source, request.template_env, log.note))
    home, cache_home = request.folder / "home", environments.cache_home(source)
    home.mkdir(exist_ok=True)
    cache_home.mkdir(parents=True, exist_ok=True)
    variables = {**environments.activated(python), **engine, **request.variables}
    env = process_environment(variables, inherited=os.environ, home=home, cache_home=cache_home)
    return _Command(python, environments.handler(request.image_name), source, env, request.folder)


def process_environment(
    variables: Mapping[str, str], *, inherited: Mapping[str, str], home: Path, cache_home: Path
) -> dict[str, str]:
    """A worker's variables on top of what its process needs to know of this machine.

    HOME is a scratch folder because RunPod's SDK (http_client.py) prefers a key in ~/.runpod over the one it is given.
    """
    return {**inheritable(inherited), "HOME": str(home), "XDG_CACHE_HOME": str(cache_home), **variables}


@dataclass(frozen=True)
class _Command:
    """A handler and the interpreter that runs it, in a copy of the source folder that lives as long as the process."""

    python: Path
    handler: Path
    source: Path
    env: dict[str, str] = field(repr=False)
    folder: Path

    async def start(self, log: WorkerLog) -> WorkerInstance:
        own = _source_copy(self.folder)
        try:
            await in_thread(lambda: environments.copy_source(self.source, own, self.handler))
            linked = await in_thread(lambda: _linked_files(own))
            process = await asyncio.create_subprocess_exec(
                str(self.python), "-u", str(self.handler),
                cwd=own, env=self.env, start_new_session=True,
                stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
            )  # fmt: skip
        except BaseException:
            shutil.rmtree(own, ignore_errors=True)
            raise
        os_process.remember(self.folder, process.pid)
        return _ProcessInstance(process, log, self.folder, linked)


def _source_copy(folder: Path) -> Path:
    return folder / "source"


def _linked_files(own: Path) -> dict[Path, tuple[int, int] | None]:
    """The files of the source that a copy links to, as they are."""
    return {path.resolve(): _state(path) for path in own.rglob("*") if path.is_symlink() and path.is_file()}


def _state(path: Path) -> tuple[int, int] | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_mtime_ns, found.st_size


def remove_copies(workers: Path) -> None:
    """Remove the copies that workers of a runtime that was killed ran in."""
    for copy in workers.glob(f"*/{_source_copy(workers).name}"):
        shutil.rmtree(copy, ignore_errors=True)


class _ProcessInstance:
    """A process group."""

    def __init__(
        self,
        process: asyncio.subprocess.Process,
        log: WorkerLog,
        folder: Path,
        linked: Mapping[Path, tuple[int, int] | None],
    ) -> None:
        self._process = process
        self._log = log
        self._folder = folder
        self._linked = linked
        self._reading = asyncio.ensure_future(_copy(process, log))

    @property
    def pid(self) -> int | None:
        return self._process.pid if self.exit_code is None else None

    @property
    def exit_code(self) -> int | None:
        return self._process.returncode

    def stop(self) -> None:
        os_process.signal_group(self._process.pid, signal.SIGTERM)

    def kill(self) -> None:
        os_process.signal_group(self._process.pid, signal.SIGKILL)

    async def ended(self) -> int:
        exit_code = await self._process.wait()
        # The SDK's heartbeat runs in a process of its own, which outlives a killed parent.
        self.kill()
        os_process.forget(self._folder)
        own = _source_copy(self._folder)
        await in_thread(lambda: shutil.rmtree(own, ignore_errors=True))
        # A grandchild in a session of its own may hold the pipe open for ever.
        await asyncio.wait({self._reading}, timeout=1)
        self._reading.cancel()
        await in_thread(self._report_changes)
        return exit_code

    def _report_changes(self) -> None:
        """No permission keeps root from writing through the links, nor the files' owner."""
        changed = sorted(str(path) for path, state in self._linked.items() if _state(path) != state)
        if changed:
            more = f" and {len(changed) - 1} more" if changed[1:] else ""
            self._log.note(f"changed while this worker ran: {changed[0]}{more}; a handler must not write there")


async def _copy(process: asyncio.subprocess.Process, log: WorkerLog) -> None:
    """Write down what a worker prints.  The pipe makes one that prints a lot wait for us."""
    if process.stdout is None:
        raise LocalRuntimeError("a worker was started without a pipe for its output")
    while data := await process.stdout.read(1 << 16):
        log.write(data)
