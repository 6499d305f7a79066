"""A Docker engine and registries for tests: those that the environment names, or a skip that says how to start them."""

from __future__ import annotations

import http.client
import os
import shutil
import socket
import subprocess
from collections.abc import Generator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from uuid import uuid4

import docker
import docker.errors
import pytest

HINT = "tools/engine.sh starts one"
_SOCKET = "unix:///var/run/docker.sock"
_CONFIG = """\
version: 0.1
storage: {{filesystem: {{rootdirectory: {folder}}}}}
http: {{addr: "{host}"}}
"""


def connect() -> docker.APIClient:
    """Return a client of the engine that DOCKER_HOST names; skip the test when none answers there."""
    where = os.environ.get("DOCKER_HOST") or _SOCKET
    try:
        return docker.APIClient(base_url=where, timeout=600)
    except docker.errors.DockerException as error:
        pytest.skip(f"no Docker engine answers at {where}: {HINT} ({error})")


def given(name: str) -> str:
    """Return what the environment names for the tests; skip the test when it does not."""
    value = os.environ.get(name)
    if not value:
        pytest.skip(f"{name} is not set: {HINT}, and writes a file to source")
    return value


def build(engine: docker.APIClient, name: str, folder: Path, **arguments: str) -> str:
    """Build the folder's Dockerfile, or find that the engine kept all its layers; the image's name."""
    lines = engine.build(path=str(folder), tag=name, buildargs=arguments, rm=True, forcerm=True, decode=True)
    log = [text for line in lines if (text := line.get("stream") or line.get("error"))]
    assert log[-1] == f"Successfully tagged {name}\n", "".join(log[-30:])
    return name


def keep_newest(engine: docker.APIClient, key: str) -> None:
    """Remove a spec's images but the newest, whose layers spare the next run of the tests minutes."""
    images = engine.images(filters={"label": f"vidctl.spec={key}"})
    for image in sorted(images, key=lambda each: -each["Created"])[1:]:
        engine.remove_image(image["Id"], force=True)


@dataclass(frozen=True)
class Locked:
    """A registry that asks for a password."""

    host: str
    user: str
    password: str = field(repr=False)


@contextmanager
def repository_of(engine: docker.APIClient, registry: str) -> Generator[str, None, None]:
    """A repository that nobody else uses; the engine's images of that name are removed afterwards."""
    name = f"{registry}/t/{uuid4().hex}"
    yield name
    for image in engine.images():
        for reference in (*(image["RepoTags"] or ()), *(image["RepoDigests"] or ())):
            if reference.startswith(name):
                with suppress(docker.errors.ImageNotFound):  # the last tag takes its digests along
                    engine.remove_image(reference, force=True)


@dataclass(frozen=True)
class RegistryProcess:
    """A registry of a test's own, which may be killed at the worst moment."""

    host: str
    process: subprocess.Popen[bytes]

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()


@contextmanager
def registry_process(folder: Path, *, port: int | None = None) -> Generator[RegistryProcess, None, None]:
    """Serve a registry that keeps its images in `folder`; the same folder and port again make it the same registry."""
    program = shutil.which("docker-registry")
    if program is None:
        pytest.skip("the program docker-registry is not installed: apt-get install docker-registry")
    host = f"127.0.0.1:{port or _free_port()}"
    folder.mkdir(parents=True, exist_ok=True)
    config = folder / "registry.yml"
    config.write_text(_CONFIG.format(folder=folder / "images", host=host))
    with (folder / "log").open("ab") as log:
        process = subprocess.Popen([program, "serve", str(config)], stdin=subprocess.DEVNULL, stdout=log, stderr=log)
    registry = RegistryProcess(host, process)
    try:
        _wait_until_it_serves(registry, folder / "log")
        yield registry
    finally:
        registry.kill()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def _wait_until_it_serves(registry: RegistryProcess, log: Path) -> None:
    while registry.process.poll() is None:
        connection = http.client.HTTPConnection(registry.host, timeout=5)
        with suppress(ConnectionRefusedError):
            connection.request("GET", "/v2/")
            assert 200 == connection.getresponse().status
            connection.close()
            return
        with suppress(subprocess.TimeoutExpired):
            registry.process.wait(0.05)
    raise AssertionError(f"the registry ended at once: {log.read_text()}")
