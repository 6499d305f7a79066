"""A local runtime as its users see it: a process, a URL and a key."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import requests

from vidctl.local.control_plane.store import RecordStore
from vidctl.local.workers.folder_image import image_name

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

API_KEY = "test-key"
_FIELDS = {
    "workers_min": "workersMin",
    "workers_max": "workersMax",
    "idle_timeout_s": "idleTimeout",
    "execution_timeout_ms": "executionTimeoutMs",
    "scaler_type": "scalerType",
    "scaler_value": "scalerValue",
}


def until(condition: Callable[[], Any], *, timeout_s: float = 60) -> Any:
    """The first true value of `condition`; fail when none comes in time."""
    end = time.monotonic() + timeout_s
    while time.monotonic() < end:
        if value := condition():
            return value
        time.sleep(0.05)
    raise AssertionError(f"nothing within {timeout_s} s: last value {condition()!r}")


class LocalRuntime:
    """One `python -m vidctl.local`, which can be killed and started again on its state; its REST lists have short
    pages.
    """

    def __init__(
        self, state_dir: Path, *, environment: dict[str, str] | None = None, has_rate_limits: bool = True
    ) -> None:
        self.state_dir = state_dir
        self._options = ["--page-size", "2", *([] if has_rate_limits else ["--no-rate-limits"])]
        self.api_key = API_KEY
        self.port = _free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.session = requests.Session()
        self.session.headers["Authorization"] = f"Bearer {API_KEY}"
        self._environment = environment or {}
        self._process: subprocess.Popen[bytes] | None = None
        state_dir.mkdir(parents=True, exist_ok=True)
        credentials = {"api_key": API_KEY, "port": self.port, "url": self.url}
        (state_dir / "credentials.json").write_text(json.dumps(credentials))

    @property
    def pid(self) -> int:
        return self._process.pid

    def start(self) -> None:
        command = [sys.executable, "-m", "vidctl.local", "--state-dir", str(self.state_dir), "--port", str(self.port)]
        command += self._options
        with (self.state_dir / "runtime.log").open("ab") as log:
            self._process = subprocess.Popen(
                command, stdout=log, stderr=log, env={**os.environ, **self._environment}, start_new_session=True
            )
        until(self._answers)

    def stop(self) -> None:
        """End it as `vidctl local down` does."""
        self._process.send_signal(signal.SIGTERM)
        self._process.wait(timeout=30)

    def kill(self) -> None:
        """End it as a power cut would, workers left behind."""
        self._process.kill()
        self._process.wait()

    def close(self) -> None:
        if self._process is not None and self._process.poll() is None:
            self.stop()
        self.session.close()

    def log(self) -> str:
        return (self.state_dir / "runtime.log").read_text()

    def endpoint(self, folder: Path, *, env: dict[str, str] | None = None, **settings: Any) -> str:
        """Save a worker folder as a template and an endpoint; `settings` are fields of EndpointRecord.  Its id."""
        return self.image_endpoint(image_name(folder), env=env, **{"name": folder.name, **settings})

    def image_endpoint(
        self,
        image: str,
        *,
        name: str,
        env: dict[str, str] | None = None,
        command: str = "",
        login: str = "",
        **settings: Any,
    ) -> str:
        """The same for any image; `login` is the id of one to its registry."""
        template = {
            "name": f"{name}-{time.monotonic_ns()}",
            "imageName": image,
            "containerDiskInGb": 10,
            "volumeInGb": 0,
            "dockerArgs": command,
            "containerRegistryAuthId": login,
            "env": [{"key": key, "value": value} for key, value in (env or {}).items()],
            "isServerless": True,
        }
        endpoint = {
            "name": name,
            "templateId": self._save("saveTemplate", "SaveTemplateInput", template),
            "gpuIds": "ADA_24",
            **{_FIELDS[key]: value for key, value in {"idle_timeout_s": 60, **settings}.items()},
        }
        return self._save("saveEndpoint", "EndpointInput", endpoint)

    def login(self, **records: str) -> str:
        """Save a registry's name, username and password; the login's id."""
        return self._save("saveRegistryAuth", "SaveRegistryAuthInput", records)

    def change(self, endpoint_id: str, **settings: Any) -> None:
        """Change an endpoint's record behind a stopped runtime's back."""
        records = RecordStore(self.state_dir / "runtime.db")
        records.save_endpoint(replace(records.endpoint(endpoint_id), **settings))
        records.close()

    def _save(self, mutation: str, kind: str, given: dict[str, Any]) -> str:
        query = f"mutation Save($input: {kind}!) {{ {mutation}(input: $input) {{ id }} }}"
        answer = self.post("/graphql", {"query": query, "variables": {"input": given}})
        assert "errors" not in answer, answer
        return answer["data"][mutation]["id"]

    def get(self, path: str, **options: Any) -> Any:
        return self._json(self.session.get(f"{self.url}{path}", timeout=60, **options))

    def post(self, path: str, body: Any = None, **options: Any) -> Any:
        return self._json(self.session.post(f"{self.url}{path}", json=body, timeout=60, **options))

    def run(self, endpoint_id: str, given: dict[str, Any], **request: Any) -> str:
        """Queue a job; its id."""
        return self.post(f"/v2/{endpoint_id}/run", {"input": given, **request})["id"]

    def runsync(self, endpoint_id: str, given: dict[str, Any], **request: Any) -> dict[str, Any]:
        return self.post(f"/v2/{endpoint_id}/runsync", {"input": given, **request})

    def status(self, endpoint_id: str, job_id: str) -> dict[str, Any]:
        return self.get(f"/v2/{endpoint_id}/status/{job_id}")

    def ended(self, endpoint_id: str, job_id: str) -> dict[str, Any]:
        """The status of a job once it is final."""
        final = {"COMPLETED", "FAILED", "CANCELLED", "TIMED_OUT"}

        def look() -> dict[str, Any] | None:
            status = self.status(endpoint_id, job_id)
            return status if status["status"] in final else None

        return until(look)

    def workers(self, endpoint_id: str) -> list[dict[str, Any]]:
        return self.get(f"/local/v1/endpoints/{endpoint_id}/workers")["workers"]

    def _answers(self) -> bool:
        if self._process.poll() is not None:
            raise AssertionError(f"the runtime exited: {self.log()}")
        try:
            return self.session.get(self.url, timeout=5).status_code == 200
        except requests.ConnectionError:
            return False

    def _json(self, response: requests.Response) -> Any:
        response.raise_for_status()
        return response.json()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]
