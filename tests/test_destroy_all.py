"""`vidctl destroy --all` on both control planes, and `vidctl build --all`."""

from __future__ import annotations

import json

import pytest
from support.account import Account
from support.command import vidctl
from support.failing import failed
from support.project import Project

from vidctl.journal import Journal


def write(project, key, **fields):
    spec = {"image": "docker.io/me/echo:1", "gpu": "L4", "workers": {"min": 0, "max": 0}}
    document = {"name": f"all-{key}", **spec} if "." not in key else {}
    (project.root / "configs" / f"{key}.yaml").write_text(json.dumps({**document, **fields}))


@pytest.fixture(params=["graphql", "rest"])
def account(request, project, account_runtime):
    """An account with what two specs made, one of them with an overlay; a third one was never deployed."""
    for key in ("one", "two", "never"):
        write(project, key)
    write(project, "two.prod", env={"A": "b"})
    account = Account.at(project, request.param, account_runtime)
    assert account.run("deploy", "one", "two", "--yes").status == 0
    assert account.run("deploy", "two", "-e", "prod", "--yes").status == 0
    return account


def test_all_that_the_specs_made_is_deleted(account):
    """An overlay's alone with -e; what cannot be read of a spec is found by its stamp."""
    prod = account.run("destroy", "--all", "-e", "prod", "--yes", "--json").document
    (account.project.root / "configs" / "two.yaml").write_text("name: [")
    dry = account.run("destroy", "--all", "--dry-run", "--json").document
    there = [each["id"] for each in account.endpoints()]
    nobody = account.run("destroy", "--all")
    gone = account.run("destroy", "--all", "--yes", "--json").document
    again = account.run("destroy", "--all", "--yes")

    assert [each["spec"] for each in prod] == ["two.prod"]
    assert sorted(each["endpoint_id"] for each in dry) == sorted(there)
    failed(nobody, "usage_error", "delete", "-y", varies=True)
    assert ([each["spec"] for each in gone], account.endpoints(), again.status) == (["one", "two"], [], 0)
    assert not [line for line in (account.project.root / ".env").read_text().splitlines() if "ENDPOINT_ID" in line]
    last = Journal(account.project.root / ".vidctl" / "journal.db").last_applied(gone[0]["endpoint_id"])
    assert list(last.document) == ["by_hand.destroyed"]


def test_what_is_anothers_is_left(account):
    """A spec has its name, and another made it."""
    (account.project.root / "configs" / "one.yaml").rename(account.project.root / "configs" / "other.yaml")
    (account.project.root / ".vidctl" / "journal.db").unlink()
    gone = account.run("destroy", "--all", "--yes")

    assert (gone.status, [each["spec"] for each in account.endpoints()]) == (0, ["one"])
    assert "belongs to the spec 'one'" in " ".join(gone.stderr.split())


@pytest.mark.parametrize("words", [["destroy"], ["destroy", "x", "--all"], ["build"], ["build", "x", "--all"]])
def test_all_and_names_exclude_each_other(words, tmp_path):
    project = Project(tmp_path)
    write(project, "x")

    failed(vidctl(*words, cwd=tmp_path, VIDCTL_TARGET="runpod", RUNPOD_API_KEY="k"), "usage_error", "--all")


def test_build_all_leaves_out_what_is_prebuilt(tmp_path):
    """Without anything to build no engine is needed."""
    write(Project(tmp_path), "x")
    built = vidctl("build", "--all", cwd=tmp_path)

    assert (built.status, built.stdout, "x: skipped" in built.stderr) == (0, "", True)
    assert vidctl("build", "--all", "--json", cwd=tmp_path).document == []
