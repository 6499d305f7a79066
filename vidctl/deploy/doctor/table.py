"""The table of checks, in the order in which they are told."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from vidctl.deploy.doctor import account, images, machine, models
from vidctl.deploy.doctor.finding import Finding, HealthCheck
from vidctl.deploy.doctor.scope import DoctorScope

_MACHINE: dict[str, Callable[[DoctorScope], Finding]] = {
    "python": machine.python,
    "vidctl": machine.vidctl,
    "project": machine.project,
    ".env": machine.env_file,
    "clock": machine.clock,
    "disk: project": machine.project_disk,
    "disk: cache": machine.cache_disk,
    "disk: engine": images.disk,
    "local runtime": machine.runtime_port,
    "docker": images.engine,
    "buildx": images.builder,
}
_ACCOUNT: dict[str, Callable[[DoctorScope], Finding]] = {
    "key": account.key,
    "graphql": account.graphql,
    "rest v2": account.rest,
    "worker quota": account.quota,
    "balance": account.balance,
}


def checks(scope: DoctorScope) -> list[HealthCheck]:
    """All that there is to look at: a registry for each repository, weights for each spec."""
    built = {each.image.repository: each for each in scope.specs if each.image.build and each.image.repository}
    return [
        *(HealthCheck(name, partial(look, scope)) for name, look in _MACHINE.items()),
        *(HealthCheck(f"registry: {each.key}", partial(images.registry, scope, each)) for each in built.values()),
        *(HealthCheck(name, partial(look, scope)) for name, look in _ACCOUNT.items()),
        *(HealthCheck(f"weights: {each.key}", partial(models.weights, scope, each)) for each in scope.specs),
    ]
