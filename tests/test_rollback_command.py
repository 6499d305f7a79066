"""`vidctl rollback` on both control planes: which version comes back, whole, and what a plan and a deploy say of it."""

from __future__ import annotations

import json
import os
import signal
import subprocess

import pytest
import requests
from support.account import Account, is_write
from support.command import VIDCTL
from support.failing import failed
from support.project import ECHO_SMOKE
from support.scripted import RESET

from vidctl.deploy.by_hand import ROLLED_BACK, SCALED
from vidctl.deploy.rollback import RELEASE
from vidctl.deploy.versions import versions
from vidctl.journal import Journal

GOOD = {
    "name": "rolled",
    "image": "docker.io/me/echo:1",
    "gpu": "L4",
    "workers": {"min": 0, "max": 0},
    "env": {"MODEL": "a"},
    "data_centers": ["EU-RO-1", "EU-CZ-1"],
}
BAD = {
    **GOOD,
    "image": "docker.io/me/echo:2",
    "gpu": {"names": ["L4", "RTX 4090"], "exact": True},
    "env": {"MODEL": "b", "MORE": "c"},
    "data_centers": ["EU-RO-1"],
    "timeouts": {"idle": "30s", "execution": "5m"},
    "flashboot": False,
    "disk": "20GB",
}


@pytest.fixture(params=["graphql", "rest"])
def account(request, project, account_runtime):
    """A RunPod account in which the good version was deployed, and then the bad one; no worker runs."""
    account = Account.at(project, request.param, account_runtime)
    for document in (GOOD, BAD):
        deploy(account, document)
    return account


def deploy(account, document, *options, **environ):
    (account.project.root / "configs" / "rolled.yaml").write_text(json.dumps(document))
    done = account.run("deploy", "rolled", "--yes", *options, **environ)
    assert done.status == 0, done.stderr
    return done


def rollback(account, *options, **environ):
    return account.run("rollback", "rolled", "--yes", "--json", *options, **environ)


def numbers(account):
    [live] = account.endpoints()
    found = versions(Journal(account.project.root / ".vidctl" / "journal.db"), live["id"])
    return [each.number for each in found], [each.number for each in found if each.is_current]


def version_at_runpod(account):
    [live] = account.endpoints()
    url = f"{account.runtime['RUNPOD_API_BASE_URL']}/v2/serverless/{live['id']}/releases"
    key = {"Authorization": f"Bearer {account.runtime['RUNPOD_API_KEY']}"}
    return requests.get(url, headers=key, timeout=60).json()["endpointVersion"]


def test_image_and_settings_come_back_together(account):
    """Nothing is left for a deploy of the old spec to do; and a second rollback is a way back again."""
    done = rollback(account)
    (account.project.root / "configs" / "rolled.yaml").write_text(json.dumps(GOOD))
    plan = account.run("plan", "rolled", "--json").document
    there_again = rollback(account)
    (account.project.root / "configs" / "rolled.yaml").write_text(json.dumps(BAD))

    assert (done.status, done.document["image"], done.document["is_done"]) == (0, GOOD["image"], True), done.stderr
    assert (plan["changes"], plan["is_proven"], plan["warnings"]) == ([], True, [])
    assert (there_again.status, there_again.document["image"]) == (0, BAD["image"])
    assert account.run("plan", "rolled", "--json").document["changes"] == []


def test_it_is_pinned_until_the_next_deploy_which_says_so(account):
    number = rollback(account).document["version"]
    plan = account.run("plan", "rolled", "--json").document
    nobody = account.run("deploy", "rolled")
    after = deploy(account, BAD)

    [warning] = plan["warnings"]
    assert f"rolled back by hand to version {number} on " in warning
    assert not any(change["is_drift"] for change in plan["changes"])
    failed(nobody, "usage_error", "rolled", "--yes", varies=True)
    assert f"rolled back by hand to version {number} on" in " ".join(after.stderr.split())
    assert account.run("plan", "rolled", "--json").document["warnings"] == []


def test_versions_are_numbered_as_runpod_numbers_them(account):
    deployed = version_at_runpod(account)
    known, current = numbers(account)
    done = rollback(account, "--to", str(known[1]))
    again = rollback(account, "--to", str(known[1]))

    assert (known[0], current) == (deployed, [deployed])
    assert (done.document["version"], again.document["changes"]) == (known[1], [])
    assert numbers(account) == ([version_at_runpod(account), *known], [version_at_runpod(account)])


def test_a_dry_run_changes_nothing(account):
    before = version_at_runpod(account)
    dry = account.run("rollback", "rolled", "--dry-run", "--json")

    changed = {change["field"] for change in dry.document["changes"]}
    assert (dry.status, dry.document["is_done"]) == (0, False)
    assert {"image", "env.MODEL", "env.MORE", "container_disk_gb", "gpu_ids", "locations", "flashboot"} <= changed
    assert version_at_runpod(account) == before


def test_what_cannot_come_back_is_refused(account):
    """A number that is none, a version whose secret nobody has any more; and nobody says yes."""
    before, (known, _) = version_at_runpod(account), numbers(account)
    unknown = rollback(account, "--to", "99")
    silent = account.run("rollback", "rolled")
    deploy(account, {**BAD, "secrets": ["HF_TOKEN"]}, HF_TOKEN="hf_secret")
    deploy(account, BAD)
    lost = rollback(account)

    failed(unknown, "usage_error", "99", *known, varies=True)
    failed(silent, "usage_error", "roll rolled on runpod back", "-y", varies=True)
    failed(lost, "usage_error", "HF_TOKEN", "vidctl deploy rolled", varies=True)
    assert before < version_at_runpod(account)
    assert b"hf_secret" not in (account.project.root / ".vidctl" / "journal.db").read_bytes()


def test_a_secret_keeps_the_value_that_it_has_now(account):
    deploy(account, {**BAD, "secrets": ["HF_TOKEN"]}, HF_TOKEN="hf_one")
    deploy(account, {**GOOD, "secrets": ["HF_TOKEN"]}, HF_TOKEN="hf_two")
    done = rollback(account)
    (account.project.root / "configs" / "rolled.yaml").write_text(json.dumps({**BAD, "secrets": ["HF_TOKEN"]}))

    assert (done.status, "hf_" in done.stdout + done.stderr) == (0, False)
    assert account.run("plan", "rolled", "--json", HF_TOKEN="hf_two").document["changes"] == []


def test_without_its_spec_it_is_rolled_back_too(account):
    """Whoever has broken the spec needs it most."""
    (account.project.root / "configs" / "rolled.yaml").write_text("name: [")
    done = rollback(account)

    assert (done.status, done.document["image"]) == (0, GOOD["image"]), done.stderr


def test_the_first_version_has_none_before_it(account):
    account.run("destroy", "rolled", "--yes")
    absent = rollback(account)
    deploy(account, GOOD)
    first = rollback(account)

    failed(absent, "not_deployed", "rolled", varies=True)
    failed(first, "not_deployed", "rolled", "vidctl deploy rolled", varies=True)


@pytest.mark.parametrize(("number", "is_carried_out"), [(1, False), (1, True), (2, False)])
def test_killed_in_the_middle_the_same_command_ends_it(account, number, is_carried_out):
    """GraphQL changes the container and the endpoint in two requests, REST v2 both in one."""
    seen, pids = [], []

    def answer(request):
        if not is_write(request):
            return account.forward(request)
        seen.append(request)
        if len(seen) < number:
            return account.forward(request)
        if is_carried_out:
            account.forward(request)
        os.kill(pids[0], signal.SIGKILL)
        return RESET

    with account.proxy(answer) as url:
        process = subprocess.Popen(
            [*VIDCTL, "rollback", "rolled", "--yes"],
            cwd=account.project.root, env={**os.environ, **account.environ(url)},
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        pids.append(process.pid)
        status = process.wait(60)
    again = rollback(account)
    (account.project.root / "configs" / "rolled.yaml").write_text(json.dumps(GOOD))

    if (account.plane, number) != ("rest", 2):
        assert (status, again.document["image"]) == (-signal.SIGKILL, GOOD["image"])
        assert account.run("plan", "rolled", "--json").document["changes"] == []


def test_the_local_runtime_runs_a_folder_only_as_it_is(project):
    """What its image would hold is not kept there: that is said, and nothing is changed."""
    folder = project.worker("echo")
    project.spec("echo", worker="echo", smoke=ECHO_SMOKE, workers={"max": 1})
    assert project.run("deploy", "echo").status == 0
    (folder / "more.py").touch()
    assert project.run("deploy", "echo", "--yes").status == 0
    refused = project.run("rollback", "echo", "--yes")
    (folder / "more.py").unlink()
    done = project.run("rollback", "echo", "--yes")

    failed(refused, "usage_error", "folder", "vidctl deploy echo", varies=True)
    assert (done.status, project.run("plan", "echo", "--detailed-exitcode").status) == (0, 0), done.stderr


# --- which versions there are, by the journal ------------------------------------------------------------------------


@pytest.fixture
def journal(tmp_path):
    return Journal(tmp_path / "journal.db")


def applied(journal, image, *, is_proven=True, **more):
    document = {"template.image": image, **more}
    journal.applied(spec="x", target="runpod", endpoint_id="ep", document=document, fingerprint="", is_proven=is_proven)


def shown(journal):
    return [(each.number, each.image, each.is_current) for each in versions(journal, "ep")]


def test_only_what_passed_is_a_version_and_scaling_makes_none(journal):
    applied(journal, "one", is_proven=False)
    applied(journal, "one", **{RELEASE: "4"})
    applied(journal, "two", **{RELEASE: "6"})
    applied(journal, "two", **{RELEASE: "6", SCALED: "today"})

    assert shown(journal) == [(6, "two", True), (4, "one", False)]
    applied(journal, "three", is_proven=False)
    assert shown(journal) == [(6, "two", False), (4, "one", False)]


def test_without_runpods_numbers_the_journal_counts(journal):
    """What is written once more is no new version; a rollback is."""
    applied(journal, "one")
    applied(journal, "two")
    applied(journal, "two")
    applied(journal, "one", **{ROLLED_BACK: "1 today"})

    assert shown(journal) == [(3, "one", True), (2, "two", False), (1, "one", False)]
