"""What commands ask of the control plane, and their time: a deploy that changes nothing, a plan of fifty specs."""

from __future__ import annotations

import json
import os
import resource
import socket
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import startup
from promises import Promise, print_table

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests"))

from support import scripted  # type: ignore[import-not-found]  # the tests are not typed

ROUNDS = 15
STATUS_ROUNDS = 5
STATUS_ENDPOINTS = 30
SLOWEST_S = 4.0
SPECS = 50
VIDCTL = str(Path(sys.executable).parent / "vidctl")
DOCKERFILE = "ARG BASE\nFROM ${BASE}\nCOPY . /app/\n"


def measure(scratch: Path) -> list[Promise]:
    """Print the counts and times, and judge them, against a local runtime that plays RunPod behind a counting proxy."""
    project = scratch / "control"
    (project / "configs").mkdir(parents=True)
    with runtime(project) as account:
        return [*measure_no_op(project, account), *measure_many(project, account), *measure_status(scratch)]


@dataclass
class Account:
    """The environment of commands, and what they asked since last looked at."""

    environ: dict[str, str]
    requests: list[str] = field(default_factory=list)

    def run(self, *arguments: str, cwd: Path) -> Counter[str]:
        """One command; what it asked, by kind."""
        self.requests.clear()
        command = [VIDCTL, *arguments]
        subprocess.run(command, cwd=cwd, env=self.environ, stdin=subprocess.DEVNULL, capture_output=True, check=True)
        return Counter(self.requests)


@contextmanager
def runtime(project: Path) -> Iterator[Account]:
    """A local runtime, and a proxy before it that counts."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = str(probe.getsockname()[1])
    own = {**os.environ, "VIDCTL_STATE_DIR": str(project / "state"), "VIDCTL_LOCAL_PORT": port}
    subprocess.run([VIDCTL, "local", "up", "-q"], cwd=project, env=own, capture_output=True, check=True)
    try:
        told = subprocess.run([VIDCTL, "local", "env", "--json"], cwd=project, env=own, capture_output=True, check=True)
        found = json.loads(told.stdout)
        account = Account({**own, **found, "VIDCTL_TARGET": "runpod"})

        def answer(request: scripted.Request) -> scripted.Reply:
            account.requests.append(f"{request.method} {request.path}")
            return scripted.forward(request, found["RUNPOD_API_BASE_URL"])

        with scripted.serving(answer) as server:
            account.environ["RUNPOD_API_BASE_URL"] = server.url
            yield account
    finally:
        subprocess.run([VIDCTL, "local", "down"], cwd=project, env=own, capture_output=True, check=True)


def measure_no_op(project: Path, account: Account) -> list[Promise]:
    """A worker that is built, pushed and deployed already, deployed again, beside `vidctl list`."""
    folder = project / "workers" / "still"
    folder.mkdir(parents=True)
    (folder / "handler.py").write_text("")
    (folder / "Dockerfile").write_text(DOCKERFILE)
    registry, base = os.environ.get("TEST_REGISTRY"), os.environ.get("TEST_BASE_BUSYBOX")
    has_engine = bool(registry and base)
    built = {"build": "workers/still", "repository": f"{registry}/bench/still", "build_args": {"BASE": base}}
    image = built if has_engine else "docker.io/me/still:1"
    spec = {"name": "still", "image": image, "gpu": "L4", "workers": {"min": 0, "max": 0}}
    (project / "configs" / "still.yaml").write_text(json.dumps(spec))
    account.run("deploy", "still", cwd=project)
    logs = project / ".vidctl" / "logs"
    builds = len(list(logs.glob("*"))) if logs.is_dir() else 0
    asked = account.run("deploy", "still", cwd=project)
    built_again = (len(list(logs.glob("*"))) if logs.is_dir() else 0) - builds
    here = Path.cwd()
    os.chdir(project)
    try:
        commands = {"vidctl list": [VIDCTL, "list"], "vidctl deploy still": [VIDCTL, "deploy", "still"]}
        times = startup.paired(commands, ROUNDS, account.environ)
    finally:
        os.chdir(here)
    what = "built and pushed image" if has_engine else "prebuilt image (tools/engine.sh was not sourced)"
    print_table(
        f"A deploy that changes nothing, {what}: median of {ROUNDS} runs",
        ("command", "milliseconds"),
        [(name, f"{sorted(seconds)[len(seconds) // 2] * 1000:.0f}") for name, seconds in times.items()],
    )
    return [
        Promise("what a deploy that changes nothing asks", "at most", 2, sum(asked.values()), "requests"),
        Promise("what it builds and pushes", "at most", 0, built_again, "images"),
        Promise(
            "its time against vidctl list",
            "at most",
            3,
            startup.ratio(times["vidctl deploy still"], times["vidctl list"]),
        ),
    ]


def measure_many(project: Path, account: Account) -> list[Promise]:
    """`plan --all` over fifty deployed specs."""
    (project / "configs" / "still.yaml").unlink()
    for number in range(SPECS):
        spec = {"name": f"many-{number}", "image": "docker.io/me/many:1", "gpu": "L4", "workers": {"min": 0, "max": 0}}
        (project / "configs" / f"many{number}.yaml").write_text(json.dumps(spec))
    account.run("deploy", "--all", cwd=project)
    for number in range(SPECS):
        path = project / "configs" / f"many{number}.yaml"
        path.write_text(path.read_text().replace('"max": 0', '"max": 1'))
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    asked = account.run("plan", "--all", cwd=project)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    seconds = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    print_table(
        f"plan --all, {SPECS} specs that all change", ("request", "times"), [(k, str(n)) for k, n in asked.items()]
    )
    return [
        Promise(
            f"what plan --all over {SPECS} specs asks, of each kind", "at most", 1, max(asked.values()), "requests"
        ),
        Promise("its processor time", "at most", 1, seconds, "s"),
    ]


def measure_status(scratch: Path) -> list[Promise]:
    """`vidctl status` of thirty endpoints, of which one takes four seconds to tell its workers."""
    project = scratch / "status"
    (project / "configs").mkdir(parents=True)
    names = [f"many-{number}" for number in range(STATUS_ENDPOINTS)]
    listed = scripted.ok({"endpoints": [{"id": name, "name": name, "workers": {"max": 1}} for name in names]})

    def answer(request: scripted.Request) -> scripted.Reply:
        return listed if request.path.endswith("/serverless") else scripted.ok({"workers": [], "jobs": {}})

    def delayed(request: scripted.Request) -> float:
        return SLOWEST_S if request.path == f"/v2/serverless/{names[-1]}/workers" else 0.2

    with scripted.serving(answer, delay_s=delayed) as server:
        environ = {
            **os.environ,
            "VIDCTL_TARGET": "runpod",
            "RUNPOD_API_KEY": "bench",
            "RUNPOD_API_BASE_URL": server.url,
            "RUNPOD_ENDPOINT_BASE_URL": f"{server.url}/v2",
        }
        pairs = [
            (_status_s(project, environ, *names[-1:]), _status_s(project, environ, *names))
            for _ in range(STATUS_ROUNDS)
        ]
    alone, median = (sorted(times)[STATUS_ROUNDS // 2] for times in zip(*pairs, strict=True))
    print_table(
        f"vidctl status of {STATUS_ENDPOINTS} endpoints, the slowest request {SLOWEST_S:g} s",
        ("command", "seconds"),
        [("vidctl status", f"{median:.2f}"), ("of the slowest endpoint alone", f"{alone:.2f}")],
    )
    return [
        Promise(
            f"status of {STATUS_ENDPOINTS} endpoints against its slowest request", "at most", 1.2, median / SLOWEST_S
        )
    ]


def _status_s(project: Path, environ: dict[str, str], *names: str) -> float:
    began = time.monotonic()
    command = [VIDCTL, "status", *names, "--timeout", "60s"]
    done = subprocess.run(command, cwd=project, env=environ, capture_output=True, text=True, check=True)
    seconds = time.monotonic() - began
    if done.stdout.count("\n") != len(names) or "no answer" in done.stdout:
        raise RuntimeError(f"not all of the endpoints answered: {done.stdout}")
    return seconds
