"""Workers as containers of their image, on a Docker engine: the image that would be deployed is the one that answers.

docker-py blocks, so it is called in threads; it is imported when the first container is wanted, for a runtime that runs
worker folders needs none of it.
"""

from __future__ import annotations

import os
import threading
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from signal import Signals
from typing import TYPE_CHECKING, Any, Final

from vidctl.docker import docker_config
from vidctl.errors import ImageError, LocalRuntimeError
from vidctl.local.threads import in_thread
from vidctl.local.workers import start_command
from vidctl.local.workers.launcher import STOP_GRACE_S
from vidctl.local.workers.variables import proxies

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping
    from pathlib import Path

    from docker import APIClient  # type: ignore[import-untyped]  # it ships no types

    from vidctl.local.workers.launcher import LaunchRequest, PreparedWorker, WorkerInstance
    from vidctl.local.workers.log import WorkerLog

RUNTIME_LABEL: Final = "vidctl.runtime"  # the folder of the runtime's workers, in which its port is
WORKER_LABEL: Final = "vidctl.worker"
_START: Final = "start Docker, or set DOCKER_HOST and restart the runtime: vidctl local down, then vidctl local up"
_SHELL_SIGNAL: Final = 128  # the init in a container ends, as a shell does, with this and the number of the signal


async def prepare_container(request: LaunchRequest, log: WorkerLog) -> PreparedWorker:
    """Pull a worker's image if the engine does not have it."""
    await in_thread(lambda: _require_image(request, log))
    return _PulledImage(request)


def _require_image(request: LaunchRequest, log: WorkerLog) -> None:
    from docker.errors import APIError, ImageNotFound  # type: ignore[import-untyped]

    with _engine() as engine:
        with suppress(ImageNotFound):
            engine.inspect_image(request.image_name)
            return
        log.note(f"pulling {request.image_name}")
        login = request.login and {"username": request.login.username, "password": request.login.password}
        try:
            lines = list(engine.pull(request.image_name, auth_config=login, stream=True, decode=True))
        except APIError as error:
            raise _missing(request.image_name, error.explanation) from error
        if failure := next((line["error"] for line in lines if "error" in line), None):
            raise _missing(request.image_name, failure)
        log.note(f"pulled {request.image_name}")


def _missing(name: str, reason: str) -> LocalRuntimeError:
    return LocalRuntimeError(
        f"image {name} not found on the Docker engine, and pulling it failed: {reason}",
        hint="build it on this machine, or push it to a registry that the engine can pull from",
    )


def container_environment(variables: Mapping[str, str], *, inherited: Mapping[str, str]) -> dict[str, str]:
    """A worker's variables and the way to the network: what else this machine says is not true in a container."""
    return {**proxies(inherited), **variables}


@dataclass(frozen=True)
class _PulledImage:
    """An image that the engine has, and what to run of it."""

    request: LaunchRequest

    async def start(self, log: WorkerLog) -> WorkerInstance:
        return await in_thread(lambda: self._start(log))

    def _start(self, log: WorkerLog) -> _ContainerInstance:
        with _translated():
            engine = _connect()
            _mark(self.request.folder.parent).touch()
            container = self._create(engine)
            try:
                # Attached before it starts, so that nothing it says is lost; a slow reader makes it wait.
                output = engine.attach(container, stream=True)
                engine.start(container)
            except BaseException:
                _remove(engine, container)
                engine.close()
                raise
        return _ContainerInstance(engine, container, output, log)

    def _create(self, engine: APIClient) -> str:
        from docker.types import LogConfig  # type: ignore[import-untyped]

        request = self.request
        host = engine.create_host_config(
            network_mode="host",  # the runtime listens on this machine's loopback
            init=True,  # as the first process, Python would ignore SIGTERM
            log_config=LogConfig(type="none"),  # we read it, so the engine need not keep it
            device_requests=_gpus(engine),
        )
        words = start_command.read(request.command)
        created = engine.create_container(
            request.image_name,
            command=(request.command if words is None else words.get("cmd")) or None,
            entrypoint=(words or {}).get("entrypoint"),
            name=f"vidctl-{request.worker_id}",
            environment=container_environment(request.variables, inherited=os.environ),
            labels={RUNTIME_LABEL: str(request.folder.parent), WORKER_LABEL: request.worker_id},
            host_config=host,
        )
        return str(created["Id"])


def _gpus(engine: APIClient) -> list[Any]:
    """Ask for all GPUs of the machine where the engine can hand them in."""
    from docker.types import DeviceRequest

    has_gpus = "nvidia" in (engine.info().get("Runtimes") or {})
    return [DeviceRequest(count=-1, capabilities=[["gpu"]])] if has_gpus else []


class _ContainerInstance:
    """A container that was started."""

    pid = None  # the engine's business: it need not even be a process of this machine

    def __init__(self, engine: APIClient, container: str, output: Iterable[bytes], log: WorkerLog) -> None:
        self._engine = engine
        self._container = container
        self._output = output
        self._log = log
        self._exit_code: int | None = None

    @property
    def exit_code(self) -> int | None:
        return self._exit_code

    def stop(self) -> None:
        _unawaited(lambda: self._engine.stop(self._container, timeout=int(STOP_GRACE_S)))

    def kill(self) -> None:
        _unawaited(lambda: self._engine.kill(self._container))

    async def ended(self) -> int:
        self._exit_code = exit_code = await in_thread(self._follow)
        return exit_code

    def _follow(self) -> int:
        with _translated(), closing(self._engine):
            for data in self._output:
                self._log.write(data)
            status = int(self._engine.wait(self._container)["StatusCode"])
            _remove(self._engine, self._container)
        number = status - _SHELL_SIGNAL
        return -number if number in set(Signals) else status


def _unawaited(work: Callable[[], None]) -> None:
    """Do it in a thread; that it fails shows in that the container does not end, or already has."""

    def run() -> None:
        with suppress(LocalRuntimeError), _translated():
            work()

    threading.Thread(target=run, daemon=True).start()


def remove_orphans(workers: Path) -> None:
    """Remove the containers that a previous run of the runtime left.

    Raise LocalRuntimeError when there may be some and no engine answers; the next call tries again.
    """
    mark = _mark(workers)
    if not mark.exists():
        return
    with _engine() as engine:
        for container in engine.containers(all=True, filters={"label": f"{RUNTIME_LABEL}={workers}"}):
            _remove(engine, container["Id"])
    mark.unlink()


def _mark(workers: Path) -> Path:
    """Present where there may be containers of ours: without it no engine is needed."""
    return workers.with_name("containers")


def _remove(engine: APIClient, container: str) -> None:
    from docker.errors import APIError

    try:
        engine.remove_container(container, force=True)
    except APIError as error:
        if error.status_code not in (404, 409):  # it is gone, or somebody is removing it
            raise


@contextmanager
def _engine() -> Iterator[APIClient]:
    with _translated(), closing(_connect()) as engine:
        yield engine


def _connect() -> APIClient:
    from docker import APIClient
    from docker.errors import DockerException
    from docker.tls import TLSConfig  # type: ignore[import-untyped]

    try:
        config = docker_config.read(os.environ)
        where = docker_config.engine_address(os.environ, config)
    except ImageError as error:
        raise LocalRuntimeError(error.message, hint=error.hint) from error
    try:
        with docker_config.read_by_docker_py(config):
            return APIClient(where.host, tls=TLSConfig(**where.tls) if where.tls else False)
    except DockerException as error:
        raise LocalRuntimeError(
            f"cannot connect to the Docker engine at {where.host}: {_cause(error)}", hint=_START
        ) from error


@contextmanager
def _translated() -> Iterator[None]:
    """Raise LocalRuntimeError for all that docker-py and what is below it raise."""
    from docker.errors import APIError, DockerException
    from urllib3.exceptions import HTTPError  # what docker-py lets through when a stream breaks

    try:
        yield
    except APIError as error:
        raise LocalRuntimeError(f"the Docker engine at {_host()} refused: {error.explanation}") from error
    except (DockerException, HTTPError, OSError) as error:
        raise LocalRuntimeError(f"the Docker engine at {_host()} failed: {_cause(error)}", hint=_START) from error


def _host() -> str:
    try:
        return docker_config.engine_address(os.environ, docker_config.read(os.environ)).host
    except ImageError:  # was reported before
        return docker_config.DEFAULT_HOST


def _cause(error: BaseException) -> str:
    """What went wrong at first: docker-py and requests wrap it again and again."""
    while error.__context__ is not None:
        error = error.__context__
    return str(error)
