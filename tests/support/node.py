"""RunPod's own JavaScript programs, as they are published."""

from __future__ import annotations

import functools
import hashlib
import json
import os
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import Any

import pytest
from filelock import FileLock

from vidctl.local.workers import environments

FOLDER = Path(__file__).resolve().parents[1] / "node"


@functools.cache
def modules() -> Path:
    """The installed packages of tests/node, kept in the cache under the hash of their lock file."""
    if shutil.which("npm") is None:
        pytest.skip("npm is not installed")
    lock = FOLDER / "package-lock.json"
    home = environments.cache_dir() / "node" / hashlib.sha256(lock.read_bytes()).hexdigest()[:12]
    home.mkdir(parents=True, exist_ok=True)
    with FileLock(home.with_suffix(".lock")):
        if not (home / "done").exists():
            for file in (lock, FOLDER / "package.json"):
                shutil.copy(file, home)
            subprocess.run(["npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund"], cwd=home, check=True)
            (home / "done").touch()
    return home / "node_modules"


def run(script: str, *arguments: str) -> Any:
    """What an ES module prints as JSON in its last line; it may import the packages, its arguments are argv[2:]."""
    home = modules().parent
    with tempfile.NamedTemporaryFile("w", suffix=".mjs", dir=home) as file:
        file.write(script)
        file.flush()
        done = subprocess.run(["node", file.name, *arguments], capture_output=True, check=True, timeout=120)
    return json.loads(done.stdout.splitlines()[-1])


class McpServer:
    """RunPod's MCP server as an assistant starts it: JSON-RPC over its standard streams."""

    def __init__(self, environment: dict[str, str]) -> None:
        program = modules() / "@runpod/mcp-server/dist/stdio.mjs"
        self._process = subprocess.Popen(
            ["node", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
            env={**os.environ, **environment},
        )  # fmt: skip
        self._sent = 0
        client = {"name": "vidctl-tests", "version": "1"}
        self._ask("initialize", {"protocolVersion": "2025-06-18", "capabilities": {}, "clientInfo": client})
        self._send({"method": "notifications/initialized"})

    def call(self, tool: str, **arguments: Any) -> Any:
        """What a tool answers, which must be no error."""
        answer = self._ask("tools/call", {"name": tool, "arguments": arguments})
        (content,) = answer["content"]
        assert not answer.get("isError"), content["text"]
        return json.loads(content["text"])

    def close(self) -> None:
        self._process.stdin.close()
        self._process.wait(timeout=30)
        self._process.stdout.close()

    def _ask(self, method: str, params: dict[str, Any]) -> dict[str, Any]:
        self._sent += 1
        self._send({"id": self._sent, "method": method, "params": params})
        for line in self._process.stdout:
            answer = json.loads(line)
            if answer.get("id") == self._sent:
                return answer["result"]
        raise AssertionError("the MCP server has ended")

    def _send(self, message: dict[str, Any]) -> None:
        self._process.stdin.write(json.dumps({"jsonrpc": "2.0", **message}).encode() + b"\n")
        self._process.stdin.flush()
