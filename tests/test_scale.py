"""`vidctl scale` on both control planes: what it changes, what it writes, and what a plan and a deploy say of it."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess

import pytest
import requests
from support.account import Account, is_write
from support.command import VIDCTL
from support.failing import failed
from support.scripted import RESET

SPEC = """name: scaled
image: docker.io/me/echo:1  # prebuilt
gpu: L4
workers:
  min: 0
  max: 0  # nobody yet
timeouts: {execution: 5m}
"""


@pytest.fixture(params=["graphql", "rest"])
def account(request, project, account_runtime):
    """A RunPod account in which the spec is deployed; no worker runs, for none is asked anything."""
    (project.root / "configs" / "scaled.yaml").write_text(SPEC)
    account = Account.at(project, request.param, account_runtime)
    deployed = account.run("deploy", "scaled", "--yes")
    assert deployed.status == 0, deployed.stderr
    return account


def counts(account):
    [live] = account.endpoints()
    return live["workers_min"], live["workers_max"]


def spec_of(account):
    return (account.project.root / "configs" / "scaled.yaml").read_text()


def test_it_scales_and_prints_the_lines_that_the_spec_lacks(account):
    done = account.run("scale", "scaled", "--max", "2", "--idle", "30s", "--yes")
    document = account.run("scale", "scaled", "--max", "2", "--idle", "30s", "--yes", "--json").document

    assert done.stdout.endswith("workers:\n  max: 2\ntimeouts:\n  idle: 30s\n"), done.stdout + done.stderr
    assert (counts(account), spec_of(account)) == ((0, 2), SPEC)
    assert (document["schema"], document["changes"], document["idle_s"]) == ("vidctl.scale/1", [], 30)
    assert document["yaml"] == "workers:\n  max: 2\ntimeouts:\n  idle: 30s"


def test_it_is_said_until_a_deploy_sets_it_back(account):
    """By plan, with the day; not as drift; and a deploy asks, which needs somebody."""
    account.run("scale", "scaled", "--max", "2", "--yes")
    plan = account.run("plan", "scaled", "--json").document
    nobody = account.run("deploy", "scaled")
    back = account.run("deploy", "scaled", "--yes")
    after = account.run("plan", "scaled", "--json").document

    [warning] = plan["warnings"]
    assert re.search(
        r"scaled by hand on \d{4}-\d\d-\d\d \d\d:\d\d: a deploy sets back workers.max from 2 to 0", warning
    )
    assert [(change["field"], change["is_drift"]) for change in plan["changes"]] == [("workers_max", False)]
    failed(nobody, "usage_error", "scaled", "--yes", varies=True)
    assert (back.status, "scaled by hand on" in back.stderr) == (0, True)
    assert (counts(account), after["warnings"], after["up_to_date"]) == ((0, 0), [], True)


def test_what_somebody_else_changes_is_drift_all_the_same(account):
    account.run("scale", "scaled", "--max", "2", "--yes")
    [live] = account.endpoints()
    requests.patch(
        f"{account.runtime['RUNPOD_API_BASE_URL']}/v2/serverless/{live['id']}",
        json={"workers": {"min": 0, "max": 3}},
        headers={"Authorization": f"Bearer {account.runtime['RUNPOD_API_KEY']}"},
        timeout=60,
    ).raise_for_status()
    plan = account.run("plan", "scaled", "--json").document

    assert [(change["field"], change["is_drift"]) for change in plan["changes"]] == [("workers_max", True)]
    assert plan["warnings"] == []


def test_write_changes_the_spec_and_nothing_is_left_to_say(account):
    done = account.run("scale", "scaled", "--max", "2", "--idle", "30s", "--write", "--yes")
    plan = account.run("plan", "scaled", "--json").document
    again = account.run("scale", "scaled", "--write", "--yes", "--json").document

    assert done.status == 0, done.stderr
    assert spec_of(account) == SPEC.replace("max: 0 ", "max: 2 ").replace("{exec", "{idle: 30s, exec")
    assert (plan["up_to_date"], plan["warnings"], plan["is_proven"]) == (True, [], False)  # nobody has been asked yet
    assert (again["changes"], again["written"]) == ([], None)


def test_a_later_write_takes_over_what_was_scaled(account):
    account.run("scale", "scaled", "--max", "2", "--yes")
    done = account.run("scale", "scaled", "--write", "--yes")

    assert (done.status, "max: 2  # nobody yet" in spec_of(account)) == (0, True)
    assert account.run("plan", "scaled", "--json").document["warnings"] == []


def test_a_variable_in_the_spec_is_left_and_said(account):
    path = account.project.root / "configs" / "scaled.yaml"
    path.write_text(SPEC.replace("max: 0", "max: ${MOST:-0}"))
    done = account.run("scale", "scaled", "--max", "2", "--write", "--yes")

    assert (done.status, "max: ${MOST:-0}" in spec_of(account), counts(account)) == (0, True, (0, 2))
    assert "scaled.yaml:6:8: workers.max is ${MOST:-0}" in " ".join(done.stderr.split())
    assert account.run("plan", "scaled", "--json", MOST="2").document["up_to_date"]


def test_a_dry_run_changes_nothing(account):
    dry = account.run("scale", "scaled", "--max", "2", "--write", "--dry-run", "--json")

    assert (dry.status, dry.document["is_done"], dry.document["written"]) == (0, False, None)
    assert [(each["old"], each["new"]) for each in dry.document["changes"]] == [("0", "2")]
    assert (counts(account), spec_of(account)) == ((0, 0), SPEC)


@pytest.mark.parametrize(
    ("options", "facts"),
    [
        (["--min", "3"], ["--min 3", "--max"]),
        (["--idle", "2h"], ["--idle", "3600"]),
        ([], ["--min", "--max", "--idle"]),
    ],
)
def test_what_cannot_be_is_refused_before_anything_is_sent(account, options, facts):
    refused = account.run("scale", "scaled", *options, "--yes")

    failed(refused, "usage_error", *facts)
    assert counts(account) == (0, 0)


def test_without_a_terminal_it_needs_a_yes(account):
    failed(account.run("scale", "scaled", "--max", "2"), "usage_error", "scale scaled on runpod", "-y")
    failed(account.run("scale", "nobody", "--max", "2", "--yes"), "not_deployed", "nobody")
    assert counts(account) == (0, 0)


def test_what_another_made_is_left_alone(account):
    """Not without --adopt, which has no spec to print lines for."""
    [live] = account.endpoints()
    path = account.project.root / "configs" / "scaled.yaml"
    path.rename(path.with_name("other.yaml"))
    (account.project.root / ".vidctl" / "journal.db").unlink()
    refused = account.run("scale", "other", "--max", "2", "--yes")
    adopted = account.run("scale", "other", "--max", "2", "--yes", "--adopt")

    failed(refused, "not_owned", live["id"], "--adopt", varies=True)
    assert (adopted.status, counts(account)) == (0, (0, 2)), adopted.stderr


def test_idle_of_what_scales_on_requests_is_nothing_to_rest(account):
    path = account.project.root / "configs" / "scaled.yaml"
    path.write_text(SPEC + "scaling: {request_count: 4}\n")
    assert account.run("deploy", "scaled", "--yes").status == 0
    outcome = account.run("scale", "scaled", "--idle", "30s", "--yes")

    if account.plane == "rest":
        failed(outcome, "usage_error", "--idle", "REST v2", "VIDCTL_CONTROL=graphql", varies=True)
    else:
        assert outcome.status == 0, outcome.stderr
    lines = account.run("scale", "scaled", "--max", "2", "--yes", "--json").document["yaml"]
    assert ("idle" in lines) == (account.plane == "graphql")


@pytest.mark.parametrize("is_carried_out", [False, True])
def test_killed_in_the_middle_the_same_command_ends_it(account, is_carried_out):
    """With the request that changes it, before or after RunPod has it: the plan knows, and once more it is done."""
    pids = []

    def answer(request):
        if not is_write(request):
            return account.forward(request)
        if is_carried_out:
            account.forward(request)
        os.kill(pids[0], signal.SIGKILL)
        return RESET

    with account.proxy(answer) as url:
        process = subprocess.Popen(
            [*VIDCTL, "scale", "scaled", "--max", "2", "--write", "--yes"],
            cwd=account.project.root, env={**os.environ, **account.environ(url)},
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        pids.append(process.pid)
        assert process.wait(60) == -signal.SIGKILL
    plan = account.run("plan", "scaled", "--json").document
    again = account.run("scale", "scaled", "--max", "2", "--write", "--yes")

    assert (len(plan["warnings"]), counts(account)) == (int(is_carried_out), (0, 2)), json.dumps(plan)
    assert (again.status, "max: 2  # nobody" in spec_of(account)) == (0, True)
    assert account.run("plan", "scaled", "--json").document["warnings"] == []
