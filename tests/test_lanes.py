"""Which tests `make unit` runs, and what those do not find."""

from __future__ import annotations

import os

import docker
import docker.errors
import pytest

from vidctl.local.workers import environments

LANES = {"unit", "runtime", "docker", "media", "model"}


def lanes(request):
    return LANES & {marker.name for marker in request.node.iter_markers()}


def test_what_needs_nothing_is_unit_and_finds_nothing(request, tmp_path):
    """No engine and an empty cache, on whatever machine: what passes here passes there."""
    assert {"unit"} == lanes(request)
    assert environments.cache_dir().is_relative_to(tmp_path)
    with pytest.raises(docker.errors.DockerException):
        docker.APIClient(os.environ["DOCKER_HOST"], version="auto")


def test_a_project_is_runtime(request, project):
    assert {"runtime"} == lanes(request)


def test_an_engine_is_docker(request, engine, project):
    """A test is in the lane of each thing it needs."""
    assert {"runtime", "docker"} == lanes(request)


@pytest.mark.model
def test_what_is_marked_is_not_unit(request):
    assert {"model"} == lanes(request)
