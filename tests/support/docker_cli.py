"""Docker's command line, as the judge of what a folder's .dockerignore leaves out."""

from __future__ import annotations

import io
import os
import shutil
import socketserver
import subprocess
import tarfile
import tempfile
import threading
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from pathlib import Path

import pytest

_OLDEST = 23  # the first whose patterns are those of github.com/moby/patternmatcher


class _Handler(BaseHTTPRequestHandler):
    """As much of an engine as takes a build's files."""

    protocol_version = "HTTP/1.1"
    server: _Server

    def log_message(self, *args: object) -> None:
        """Say nothing."""

    def do_HEAD(self) -> None:
        self._answer(b"")

    def do_GET(self) -> None:
        self._answer(b"{}")

    def do_POST(self) -> None:
        body = b""
        while size := int(self.rfile.readline(), 16):
            body += self.rfile.read(size)
            self.rfile.readline()
        self.rfile.readline()
        self.server.sent.append(body)
        self._answer(b'{"aux": {"ID": "sha256:0"}}\n')

    def _answer(self, body: bytes) -> None:
        self.send_response(200)
        for name, value in (("Api-Version", "1.41"), ("OSType", "linux"), ("Content-Length", str(len(body)))):
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)


class _Server(socketserver.ThreadingUnixStreamServer):
    daemon_threads = True

    def __init__(self, path: Path) -> None:
        super().__init__(str(path), _Handler)
        self.sent: list[bytes] = []

    def get_request(self):
        return super().get_request()[0], ("", 0)


@dataclass(frozen=True)
class DockerCli:
    """`docker build` of the command line on this machine, which takes an engine to be at a socket of ours."""

    program: str
    _server: _Server = field(repr=False)

    def sent(self, folder: Path) -> set[str] | str:
        """The paths that it sends of a folder, or what it says instead."""
        self._server.sent.clear()
        done = subprocess.run(
            [self.program, "build", "-q", str(folder)],
            env={
                "PATH": os.environ["PATH"],
                "DOCKER_BUILDKIT": "0",
                "DOCKER_HOST": f"unix://{self._server.server_address}",
                "DOCKER_CONFIG": str(Path(str(self._server.server_address)).parent),
            },
            capture_output=True,
            text=True,
        )
        if not self._server.sent:
            return done.stderr
        with tarfile.open(fileobj=io.BytesIO(self._server.sent[0])) as archive:
            return {name.rstrip("/") for name in archive.getnames()}


@contextmanager
def docker_cli() -> Generator[DockerCli, None, None]:
    """Yield it; skip the test where there is none, or one of before 2023."""
    program = shutil.which("docker")
    version = program and subprocess.run([program, "--version"], capture_output=True, text=True).stdout.split()[2]
    if not program or not version or int(version.split(".")[0]) < _OLDEST:
        pytest.skip(f"docker's command line is not here, or older than {_OLDEST}: docs.docker.com/engine/install")
    with tempfile.TemporaryDirectory() as folder, _Server(Path(folder, "socket")) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
        thread.start()
        try:
            yield DockerCli(program, server)
        finally:
            server.shutdown()
            thread.join()
