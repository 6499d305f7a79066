"""Workers as processes: the handler of a worker folder, in a copy of the folder."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from vidctl.local.threads import in_thread
from vidctl.local.workers import environments, folder_image, os_process
from vidctl.local.workers.variables import activated, process_environment

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from vidctl.local.workers.launcher import LaunchRequest, PreparedWorker, WorkerInstance
    from vidctl.local.workers.log import WorkerLog


async def prepare_process(request: LaunchRequest, log: WorkerLog) -> PreparedWorker:
    """Make the virtual environment of a worker folder, where there is none yet."""
    source = folder_image.folder(request.image_name)
    python = await in_thread(lambda: environments.interpreter(source, request.template_env, log.note))
    engine = await in_thread(lambda: environments.engine(source, request.template_env, log.note))
    home, cache_home = request.folder / "home", environments.cache_home(source)
    home.mkdir(exist_ok=True)
    cache_home.mkdir(parents=True, exist_ok=True)
    variables = {**activated(python), **engine, **request.variables}
    env = process_environment(variables, inherited=os.environ, home=home, cache_home=cache_home)
    return _HandlerCommand(python, folder_image.handler(request.image_name), source, env, request.folder)


@dataclass(frozen=True)
class _HandlerCommand:
    """A handler and the interpreter that runs it, in a copy of the source folder that lives as long as the process."""

    python: Path
    handler: Path
    source: Path
    env: dict[str, str] = field(repr=False)
    folder: Path

    async def start(self, log: WorkerLog) -> WorkerInstance:
        own = _source_copy(self.folder)
        # A pipe of our own: asyncio (before 3.11.9) does not tell of an exit while a child of the worker, such as the
        # SDK's heartbeat, holds one that asyncio made.
        output, theirs = os.pipe()
        try:
            await in_thread(lambda: folder_image.copy_source(self.source, own, self.handler))
            linked = await in_thread(lambda: _linked_files(own))
            process = await asyncio.create_subprocess_exec(
                str(self.python), "-u", str(self.handler),
                cwd=own, env=self.env, start_new_session=True,
                stdin=asyncio.subprocess.DEVNULL, stdout=theirs, stderr=asyncio.subprocess.STDOUT,
            )  # fmt: skip
        except BaseException:
            os.close(output)
            shutil.rmtree(own, ignore_errors=True)
            raise
        finally:
            os.close(theirs)
        os_process.remember(self.folder, process.pid)
        return _ProcessInstance(process, asyncio.ensure_future(_copy(output, log)), log, self.folder, linked)


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
        reading: asyncio.Future[None],
        log: WorkerLog,
        folder: Path,
        linked: Mapping[Path, tuple[int, int] | None],
    ) -> None:
        self._process = process
        self._log = log
        self._folder = folder
        self._linked = linked
        self._reading = reading

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


async def _copy(output: int, log: WorkerLog) -> None:
    """Write down what a worker prints.  The pipe makes one that prints a lot wait for us."""
    reader = asyncio.StreamReader()
    pipe = os.fdopen(output, "rb", buffering=0)
    transport, _ = await asyncio.get_running_loop().connect_read_pipe(
        lambda: asyncio.StreamReaderProtocol(reader), pipe
    )
    try:
        while data := await reader.read(1 << 16):
            log.write(data)
    finally:
        transport.close()
