"""A project folder with a local runtime of its own, used through the `vidctl` command."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest.mock import patch

from support.command import VIDCTL, Outcome, vidctl

from vidctl.local import daemon

ECHO_SMOKE = {"input": "workers/echo/job.json", "contains": {"echo": {"question": 1}}}
HANDLERS = Path(__file__).resolve().parent.parent / "handlers"


class Project:
    """`configs/`, `workers/` and whatever a test adds; its runtime is stopped by `close`."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.place = root  # where its runtime and workers keep temporary files, if a test says so
        self.port = _free_port()
        self.environ = {"VIDCTL_STATE_DIR": str(root / "state"), "VIDCTL_LOCAL_PORT": str(self.port)}
        (root / "configs").mkdir(parents=True, exist_ok=True)

    def worker(self, name: str) -> Path:
        """Copy one of the tests' workers into the project, with a smoke job beside it."""
        folder = self.root / "workers" / name
        shutil.copytree(HANDLERS / name, folder)
        (folder / "job.json").write_text(json.dumps({"input": {"question": 1}}))
        return folder

    def spec(self, key: str, *, worker: str, **fields: Any) -> Path:
        """Write configs/<key>.yaml for a worker of the project; JSON is YAML."""
        document = {"name": f"test-{key}", "image": {"build": f"workers/{worker}"}, "gpu": "L4", **fields}
        path = self.root / "configs" / f"{key}.yaml"
        path.write_text(json.dumps(document, indent=1))
        return path

    def run(self, *arguments: str | Path, **options: Any) -> Outcome:
        """One vidctl command in the project."""
        return vidctl(*arguments, cwd=self.root, **{**self.environ, **options})

    def start(self, *arguments: str | Path, **environ: str) -> subprocess.Popen[bytes]:
        """A vidctl command that goes on while the test does something to it."""
        with _heard(signal.SIGINT, signal.SIGHUP):
            return subprocess.Popen(
                [*VIDCTL, *map(str, arguments)],
                cwd=self.root,
                env={**os.environ, **self.environ, **environ},
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
            )

    def jobs(self) -> list[dict[str, Any]]:
        return list(self.run("jobs", "--json", "--limit", "1000").document["jobs"])

    def dotenv(self) -> dict[str, str]:
        lines = (self.root / ".env").read_text().splitlines()
        return dict(line.split("=", 1) for line in lines)

    def up(self) -> daemon.Connection:
        """Its runtime, as `vidctl local up` leaves it."""
        with patch.dict(os.environ, self.environ):
            return daemon.up(self.port)

    def close(self) -> None:
        """Stop its runtime, as `vidctl local down` does."""
        with patch.dict(os.environ, self.environ):
            daemon.down(self.port)


@contextmanager
def _heard(*signals: signal.Signals) -> Iterator[None]:
    """Whoever runs the tests in the background has these ignored, and a command that is started inherits that."""
    ignored = [each for each in signals if signal.getsignal(each) == signal.SIG_IGN]
    for each in ignored:
        signal.signal(each, signal.SIG_DFL)
    try:
        yield
    finally:
        for each in ignored:
            signal.signal(each, signal.SIG_IGN)


def ended(process: subprocess.Popen[bytes], number: signal.Signals) -> tuple[int, str, str]:
    """Send a signal; the exit status and what was written."""
    process.send_signal(number)
    stdout, stderr = process.communicate(timeout=60)
    return process.returncode, stdout.decode(), stderr.decode()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
