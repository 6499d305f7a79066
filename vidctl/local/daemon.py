"""The local runtime as a background process: one per user and port, started, found and stopped from anywhere.

What it keeps is in one folder per port: the key that its callers need, its process id, its log, its database.  Cheap to
import: the command line does so, and the runtime's libraries are for the other process.
"""

from __future__ import annotations

import importlib.util
import json
import os
import secrets
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal, get_args

import platformdirs
from filelock import FileLock

from vidctl import __version__, files
from vidctl.errors import LocalRuntimeError, NotDeployedError, UsageError
from vidctl.local.workers import os_process
from vidctl.local.workers.log import LOG_BYTES, last_lines, older

if TYPE_CHECKING:
    from collections.abc import Callable

Isolation = Literal["process", "container"]
"""What a deploy gives the runtime to run: worker folders as processes, or images as containers."""

DEFAULT_PORT: Final = 8421
_SERVICE: Final = "vidctl-local"
_START_S: Final = 60.0
_STOP_S: Final = 20.0
_POLL_S: Final = 0.05
_ANSWER_S: Final = 5.0
_LAST_LINES: Final = 20
# Our own server on this machine is never behind a proxy, whatever the environment says.
_http: Final = urllib.request.build_opener(urllib.request.ProxyHandler({}))


@dataclass(frozen=True)
class Connection:
    """How to reach a runtime that runs."""

    port: int
    pid: int
    version: str
    api_key: str = field(repr=False)
    isolation: Isolation = "process"
    has_rate_limits: bool = True

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def api_base_url(self) -> str:
        """What RunPod's clients take as `RUNPOD_API_BASE_URL`."""
        return self.url

    @property
    def endpoint_base_url(self) -> str:
        """What RunPod's clients take as `RUNPOD_ENDPOINT_BASE_URL`."""
        return f"{self.url}/v2"


def state_dir() -> Path:
    """Where runtimes keep what must last: `$VIDCTL_STATE_DIR`, else the user's state folder."""
    return Path(os.environ.get("VIDCTL_STATE_DIR") or platformdirs.user_state_dir("vidctl")).absolute()


def up(
    port: int | None = None,
    *,
    isolation: Isolation | None = None,
    has_rate_limits: bool | None = None,
    notify: Callable[[str], None] = lambda _: None,
) -> Connection:
    """Return the running runtime, started first where needed; one of another version, isolation or limits is replaced.

    Raise LocalRuntimeError when the port is taken, the extra `local` is not installed, or the process ends at once.
    """
    port = port_of(port)
    running = connection(port)
    if running is not None and _is_wanted(running, isolation, has_rate_limits):
        return running
    _require_libraries()
    with _lock(port):
        running = connection(port)
        if running is not None and _is_wanted(running, isolation, has_rate_limits):
            return running
        if running is not None:
            which = "" if running.version == __version__ else f" of vidctl {running.version}"
            notify(f"replacing the local runtime{which}")
            isolation = isolation or running.isolation
            has_rate_limits = running.has_rate_limits if has_rate_limits is None else has_rate_limits
            _stop(port)
        notify(f"starting the local runtime at http://127.0.0.1:{port}")
        return _start(port, isolation or "process", has_rate_limits=has_rate_limits is not False)


def _is_wanted(running: Connection, isolation: Isolation | None, has_rate_limits: bool | None) -> bool:
    is_as_requested = isolation in (None, running.isolation) and has_rate_limits in (None, running.has_rate_limits)
    return running.version == __version__ and is_as_requested


def down(port: int | None = None) -> bool:
    """Stop the runtime and its workers; whether there was one to stop."""
    port = port_of(port)
    if not _home(port).is_dir():
        return False
    with _lock(port):
        return _stop(port)


def connection(port: int | None = None) -> Connection | None:
    """The runtime of this user on that port, or None when it does not run."""
    port = port_of(port)
    try:
        api_key = str(json.loads((_home(port) / "credentials.json").read_text())["api_key"])
        about = _get(f"http://127.0.0.1:{port}/")
        found = Connection(
            port=port,
            pid=int(about["pid"]),
            version=str(about["version"]),
            api_key=api_key,
            isolation=_isolation(about.get("isolation")),
            has_rate_limits=about.get("rateLimits") is not False,
        )
    except (OSError, ValueError, KeyError, TypeError):
        return None
    # Another user's runtime, or another program, may answer there.
    return found if about.get("service") == _SERVICE and found.pid == _recorded_pid(port) else None


def endpoints(running: Connection) -> list[dict[str, Any]]:
    """What the runtime serves: `{"id", "name", "workers": {state: count}, "jobs": {state: count}}` per endpoint.

    Raise LocalRuntimeError when it stops answering.
    """
    return [{**endpoint, **_request(running, f"/v2/{endpoint['id']}/health")} for endpoint in _endpoint_names(running)]


def logs(
    endpoint: str | None = None, *, port: int | None = None, tail: int = 100, known_id: str | None = None
) -> list[str]:
    """The last lines of the runtime's own log, or of the workers of one endpoint (its name or id), the newest last.

    `known_id` is the one meant if none has that name.  Raise NotDeployedError when there is no such endpoint, or no
    runtime to ask for it.
    """
    port = port_of(port)
    if endpoint is None:
        return last_lines(_home(port) / "runtime.log", tail)
    running = connection(port)
    if running is None:
        raise NotDeployedError("the local runtime is not running", hint="start it: vidctl local up")
    there = _endpoint_names(running)
    matches = [one["id"] for one in there if endpoint in (one["id"], one["name"])]
    matches = matches or [one["id"] for one in there if one["id"] == known_id]
    if not matches:
        raise NotDeployedError(
            f"endpoint {endpoint!r} not found", hint="list the local runtime's endpoints: vidctl local status"
        )
    workers = [
        log for match in matches for log in _request(running, f"/local/v1/endpoints/{match}/logs?tail={tail}")["logs"]
    ]
    return [f"{worker['workerId']} | {line}" for worker in workers for line in worker["lines"]][-tail:]


def port_of(port: int | None) -> int:
    given = port if port is not None else os.environ.get("VIDCTL_LOCAL_PORT") or DEFAULT_PORT
    try:
        number = int(given)
    except ValueError:
        number = 0
    if not 0 < number < 65536:
        raise UsageError(
            f"invalid port {str(given)!r}: expected a number from 1 to 65535", hint="set --port or VIDCTL_LOCAL_PORT"
        )
    return number


def missing_libraries() -> list[str]:
    """What of its dependencies is not installed."""
    return [name for name in ("graphql", "starlette", "uvicorn") if importlib.util.find_spec(name) is None]


def _require_libraries() -> None:
    if missing := missing_libraries():
        raise LocalRuntimeError(
            f"cannot start the local runtime: {', '.join(missing)} not installed",
            hint="install vidctl again, with what it depends on: pip install --force-reinstall vidctl",
        )


def _home(port: int) -> Path:
    return state_dir() / "local" / str(port)


def _lock(port: int) -> FileLock:
    """Held by whoever starts or stops the runtime of this port; the folder is made, for the user alone."""
    home = _home(port)
    home.mkdir(parents=True, exist_ok=True)
    home.chmod(0o700)
    return FileLock(home / "lock")


def _isolation(name: object) -> Isolation:
    """What a runtime says of itself; one of an older version says nothing."""
    return next((known for known in get_args(Isolation) if known == name), "process")


def _start(port: int, isolation: Isolation, *, has_rate_limits: bool) -> Connection:
    require_free(port)
    home = _home(port)
    _ensure_credentials(home / "credentials.json")
    process = _spawn(home, port, isolation, has_rate_limits=has_rate_limits)
    pid_file = home / "runtime.pid"
    pid_file.write_text(f"{process.pid} {os_process.identity(process.pid) or ''}\n")
    deadline = time.monotonic() + _START_S
    while time.monotonic() < deadline and process.poll() is None:
        if running := connection(port):
            process.returncode = 0  # it outlives us: Popen has nothing to wait for, or to complain of
            return running
        time.sleep(_POLL_S)
    ended = process.poll()
    os_process.signal_group(process.pid, signal.SIGKILL)
    process.wait()
    pid_file.unlink()
    reason = "it does not respond" if ended is None else f"it exited with status {ended}"
    last = "\n".join(last_lines(home / "runtime.log", _LAST_LINES))
    raise LocalRuntimeError(
        f"cannot start the local runtime: {reason}\n{last}", hint=f"see its log: {home / 'runtime.log'}"
    )


def require_free(port: int) -> None:
    """Raise LocalRuntimeError where a runtime cannot start: its port is taken, or an earlier one hangs."""
    pid = _recorded_pid(port)
    if pid is not None:
        raise LocalRuntimeError(
            f"the local runtime (process {pid}) does not respond", hint="stop it: vidctl local down"
        )
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError as error:
            raise LocalRuntimeError(
                f"cannot use port {port}: {error.strerror}",
                hint="choose another port with --port or VIDCTL_LOCAL_PORT",
            ) from error


def _ensure_credentials(path: Path) -> None:
    """Make a key once; later starts keep it, so that clients go on."""
    if not path.is_file():
        key = f"local_{secrets.token_urlsafe(32)}"
        files.write(path, json.dumps({"api_key": key}).encode(), mode=0o600)


def _spawn(home: Path, port: int, isolation: Isolation, *, has_rate_limits: bool) -> subprocess.Popen[bytes]:
    # The runtime has no business with the user's RunPod account.
    env = {name: value for name, value in os.environ.items() if not name.startswith("RUNPOD_")}
    log = home / "runtime.log"
    if log.is_file() and log.stat().st_size > LOG_BYTES:
        log.replace(older(log))
    with os.fdopen(os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600), "wb") as output:
        return subprocess.Popen(
            [
                *(sys.executable, "-m", "vidctl.local"),
                *("--state-dir", str(home), "--port", str(port), "--isolation", isolation),
                *([] if has_rate_limits else ["--no-rate-limits"]),
            ],
            cwd=home,
            env=env,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
        )


def _stop(port: int) -> bool:
    from vidctl.local.workers import containers, processes  # with all that it takes to start a worker

    pid = _recorded_pid(port)
    if pid is not None:
        _end(pid)
    os_process.kill_orphans(_home(port) / "workers")
    with suppress(LocalRuntimeError):  # no engine, no running containers; the next start looks again
        containers.remove_orphans(_home(port) / "workers")
    processes.remove_copies(_home(port) / "workers")
    (_home(port) / "runtime.pid").unlink(missing_ok=True)
    return pid is not None


def _end(pid: int) -> None:
    """Ask the process to end, and after a while make it."""
    for number, patience_s in ((signal.SIGTERM, _STOP_S), (signal.SIGKILL, _STOP_S)):
        os_process.signal_group(pid, number)
        deadline = time.monotonic() + patience_s
        while time.monotonic() < deadline:
            with suppress(ChildProcessError):  # when it is our child, only its parent can take its remains away
                os.waitpid(pid, os.WNOHANG)
            if os_process.identity(pid) is None:
                return
            time.sleep(_POLL_S)


def _recorded_pid(port: int) -> int | None:
    """The process that was started for this port, if it lives: its number alone may be another's by now."""
    try:
        number, _, identity = (_home(port) / "runtime.pid").read_text().strip().partition(" ")
    except OSError:
        return None
    return int(number) if number.isdigit() and identity and os_process.identity(int(number)) == identity else None


def _endpoint_names(running: Connection) -> list[dict[str, Any]]:
    answer = _request(running, "/graphql", {"query": "{ myself { endpoints { id name } } }"})
    found: list[dict[str, Any]] = answer["data"]["myself"]["endpoints"]
    return found


def _request(running: Connection, path: str, body: dict[str, Any] | None = None) -> dict[str, Any]:
    try:
        return _get(f"{running.url}{path}", body, api_key=running.api_key)
    except (OSError, ValueError) as error:
        raise LocalRuntimeError(
            f"the local runtime stopped responding: {error}", hint="see its log: vidctl local logs"
        ) from error


def _get(url: str, body: dict[str, Any] | None = None, *, api_key: str = "") -> dict[str, Any]:
    data = None if body is None else json.dumps(body).encode()
    headers = {"Authorization": f"Bearer {api_key}", "Content-Type": "application/json"}
    with _http.open(urllib.request.Request(url, data, headers), timeout=_ANSWER_S) as response:  # noqa: S310
        answer = json.load(response)
    if not isinstance(answer, dict):
        raise ValueError(f"invalid response from {url}: expected a JSON object")
    return answer
