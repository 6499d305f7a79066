"""A RunPod account, played by a project's local runtime, for `vidctl --target runpod` and for what stands between."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import requests
from support.command import Outcome, vidctl
from support.project import Project
from support.runtime import LocalRuntime
from support.scripted import Reply, Request, forward, serving


@dataclass
class Account:
    """What `vidctl local env` tells of the runtime, and the control plane that commands are to use."""

    project: Project
    plane: str
    runtime: dict[str, str]

    @classmethod
    def of(cls, project: Project, plane: str) -> Account:
        running = project.up()
        runtime = {
            "RUNPOD_API_KEY": running.api_key,
            "RUNPOD_API_BASE_URL": running.api_base_url,
            "RUNPOD_ENDPOINT_BASE_URL": running.endpoint_base_url,
        }
        return cls(project, plane, runtime)

    @classmethod
    def at(cls, project: Project, plane: str, runtime: LocalRuntime) -> Account:
        """An account without anything in it, played by a runtime that many tests share."""
        variables = {
            "RUNPOD_API_KEY": runtime.api_key,
            "RUNPOD_API_BASE_URL": runtime.url,
            "RUNPOD_ENDPOINT_BASE_URL": f"{runtime.url}/v2",
        }
        account = cls(project, plane, variables)
        account.forget()
        return account

    def forget(self) -> None:
        """Nothing is left of earlier tests and commands, neither in the account nor in the project."""
        with requests.Session() as session:
            session.headers["Authorization"] = f"Bearer {self.runtime['RUNPOD_API_KEY']}"
            for resource in ("serverless", "templates", "registries", "network-volumes"):  # what uses others is first
                _empty(session, f"{self.runtime['RUNPOD_API_BASE_URL']}/v2/{resource}")
        shutil.rmtree(self.project.root / ".vidctl", ignore_errors=True)
        (self.project.root / ".env").unlink(missing_ok=True)

    def environ(self, url: str | None = None) -> dict[str, str]:
        return {
            **self.project.environ,
            "RUNPOD_API_KEY": self.runtime["RUNPOD_API_KEY"],
            "RUNPOD_API_BASE_URL": url or self.runtime["RUNPOD_API_BASE_URL"],
            "RUNPOD_ENDPOINT_BASE_URL": self.runtime["RUNPOD_ENDPOINT_BASE_URL"],
            "VIDCTL_TARGET": "runpod",
            "VIDCTL_CONTROL": self.plane,
        }

    def run(self, *arguments: str, url: str | None = None, **options: Any) -> Outcome:
        """One command; with a `url` by way of what serves there."""
        return vidctl(*arguments, cwd=self.project.root, **{**self.environ(url), **options})

    @contextmanager
    def proxy(self, answer: Callable[[Request], Reply]) -> Iterator[str]:
        with serving(answer) as server:
            yield server.url

    def forward(self, request: Request) -> Reply:
        """What the runtime itself answers."""
        return forward(request, self.runtime["RUNPOD_API_BASE_URL"])

    def endpoints(self) -> list[dict[str, Any]]:
        return list(self.run("list", "--json").document)


def _empty(session: requests.Session, url: str) -> None:
    """Delete all of a kind; lists come in pages."""
    while left := next(value for value in session.get(url, timeout=60).json().values() if isinstance(value, list)):
        for each in left:
            session.delete(f"{url}/{each['id']}", timeout=60).raise_for_status()


def is_write(request: Request) -> bool:
    """Whether a request creates or changes something; what GraphQL asks is in its body."""
    return b"mutation" in request.body if request.path == "/graphql" else request.method != "GET"
