"""Replacing an endpoint's workers: new ones of the same version, and nothing that a plan would set back."""

from __future__ import annotations

import pytest
from support.failing import failed
from support.project import ECHO_SMOKE, Project
from support.runtime import until


@pytest.fixture(scope="module", params=["graphql", "rest"])
def deployed(request, tmp_path_factory: pytest.TempPathFactory):
    project = Project(tmp_path_factory.mktemp("restart"))
    project.environ["VIDCTL_CONTROL"] = request.param
    project.worker("echo")
    project.spec("echo", worker="echo", smoke=ECHO_SMOKE, workers={"min": 1, "max": 1})
    outcome = project.run("deploy", "echo")
    assert outcome.status == 0, outcome.stderr
    yield project
    project.close()


pytestmark = pytest.mark.runtime


def workers(project: Project) -> list[str]:
    return list(project.run("restart", "echo", "-n", "--json").document["workers"])


def test_nothing_is_changed_without_a_yes_or_in_a_dry_run(deployed):
    before = workers(deployed)

    shown = deployed.run("restart", "echo", "--dry-run")

    failed(deployed.run("restart", "echo"), "usage_error", "restart 1 worker of echo on local?", "-y")
    assert "would replace 1 worker" in shown.stdout
    assert workers(deployed) == before


def test_workers_are_replaced_and_a_plan_has_nothing_to_do(deployed):
    """Neither then nor as drift: the version is the same, and what passed its smoke test still has."""
    (before,) = workers(deployed)

    document = deployed.run("restart", "echo", "-y", "--json").document
    until(lambda: len(now := workers(deployed)) == 1 and before not in now)
    again = deployed.run("deploy", "echo")

    assert (document["schema"], document["workers"], document["is_done"]) == ("vidctl.restart/1", [before], True)
    assert (0, []) == (again.status, deployed.run("status", "echo", "--json").document["endpoints"][0]["drift"])
    assert "up to date" in again.stdout
    assert before not in workers(deployed)


def test_what_is_not_there_cannot_be_restarted(deployed):
    failed(deployed.run("restart", "nobody", "-y"), "not_deployed", "nobody")
