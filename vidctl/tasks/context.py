"""What a task's `run` gets of its caller: the endpoint that answers, and the way there, when they are wanted."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

from vidctl.runpod.download import download, download_into
from vidctl.tasks.invoker import Invoker


@dataclass(frozen=True)
class EndpointFacts:
    """What its callers must know of an endpoint's worker; None is what is not known.

    `variables` are those of the worker's environment that the table of tasks names; None stands for a value that is not
    written down, for it may be a secret.
    """

    task: str | None = None
    protocol: str | None = None
    variables: Mapping[str, str | None] = field(default_factory=dict)


@dataclass(frozen=True)
class TaskEndpoint:
    """The endpoint that answers for a task: `key` is the spec that it was made of, if that is known.

    `version` stands for what is deployed; `spec_env` gives the worker's environment by the spec as it is now.
    """

    id: str
    key: str | None
    facts: EndpointFacts
    version: str
    spec_env: Callable[[], Mapping[str, str]]

    def __str__(self) -> str:
        return f"{self.key} ({self.id})" if self.key else self.id

    @property
    def name(self) -> str:
        return self.key or self.id

    def variable(self, name: str) -> str | None:
        """A variable that the table of tasks names for its task; only for a hidden one is the spec read."""
        if name in self.facts.variables and self.facts.variables[name] is None:
            return self.spec_env().get(name)
        return self.facts.variables.get(name)


@dataclass(frozen=True)
class TaskContext:
    """One call of a task: `find` gives its endpoint, or raises; `connect` the way there, started if it must be.

    `protocol` and `model` are the caller's own, where the endpoint's worker speaks another than is known.
    """

    root: Path
    timeout_s: float
    protocol: str | None
    model: str | None
    find: Callable[[], TaskEndpoint]
    connect: Callable[[TaskEndpoint], Invoker]

    def fetch(self, url: str) -> bytes:
        return download(url, timeout_s=self.timeout_s)

    def fetch_into(self, url: str, file: BinaryIO) -> None:
        download_into(url, file, timeout_s=self.timeout_s)
