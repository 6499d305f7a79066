"""`vidctl gc` on both control planes: what of this project no spec wants any more, and nothing of anybody else's."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from types import SimpleNamespace
from typing import Any

import pytest
from support.account import Account, is_write
from support.command import VIDCTL
from support.failing import failed
from support.scripted import RESET

from vidctl.deploy import garbage
from vidctl.journal import Journal
from vidctl.project.settings import open_project
from vidctl.runpod.jobs import Health
from vidctl.runpod.types import STAMP, Endpoint, Template
from vidctl.runpod.types import Account as AccountView

SPEC = {"image": "docker.io/me/echo:1", "gpu": "L4", "workers": {"min": 0, "max": 0}}
LOGIN = {"name": "hub", "username": "me", "password": "HUB_PASSWORD"}


def spec(account, key, **fields):
    path = account.project.root / "configs" / f"{key}.yaml"
    path.write_text(json.dumps({"name": f"gc-{key}", **SPEC, **fields}))
    return path


@pytest.fixture(params=["graphql", "rest"])
def account(request, project, account_runtime):
    """One spec that is kept and one that is about to go, with its registry login."""
    account = Account.at(project, request.param, account_runtime)
    spec(account, "kept")
    gone = spec(account, "gone", registry_auth=LOGIN)
    done = account.run("deploy", "kept", "gone", "--yes", HUB_PASSWORD="dckr_1")
    assert done.status == 0, done.stderr
    assert account.run("gc", "--yes", "--json").document["endpoints"] == []
    gone.unlink()
    return account


def test_what_no_spec_wants_goes(account):
    dry = account.run("gc", "--dry-run", "--json").document
    nobody = account.run("gc")
    before = [each["spec"] for each in account.endpoints()]
    done = account.run("gc", "--yes", "--json")
    again = account.run("gc", "--yes", "--json").document

    assert [each["spec"] for each in dry["endpoints"]] == ["gone"]
    assert [each["name"] for each in dry["logins"]] == ["hub"]
    failed(nobody, "usage_error", "gc-gone", "hub", "-y", varies=True)
    assert (sorted(before), done.status) == (["gone", "kept"], 0), done.stderr
    assert [each["spec"] for each in account.endpoints()] == ["kept"]
    assert account.run("registry", "list", "--json").document == []
    assert (again["endpoints"], again["templates"], again["logins"]) == ([], [], [])


def test_what_was_not_made_from_here_stays(account):
    """Another project may have a spec of that name: the journal knows what is ours."""
    (account.project.root / ".vidctl" / "journal.db").unlink()
    done = account.run("gc", "--yes", "--json").document

    assert (done["endpoints"], done["templates"], done["logins"]) == ([], [], [])
    assert any("gc-gone" in note for note in done["notes"])
    assert len(account.endpoints()) == 2


def test_killed_in_the_middle_the_next_one_ends_it(account):
    pids = []

    def answer(request):
        if not is_write(request):
            return account.forward(request)
        account.forward(request)
        os.kill(pids[0], signal.SIGKILL)
        return RESET

    with account.proxy(answer) as url:
        process = subprocess.Popen(
            [*VIDCTL, "gc", "--yes"], cwd=account.project.root, env={**os.environ, **account.environ(url)},
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        pids.append(process.pid)
        assert process.wait(60) == -signal.SIGKILL
    done = account.run("gc", "--yes")
    left = account.run("gc", "--yes", "--json").document

    assert (done.status, [each["spec"] for each in account.endpoints()]) == (0, ["kept"]), done.stderr
    assert (left["endpoints"], left["templates"], left["logins"]) == ([], [], [])
    assert account.run("registry", "list", "--json").document == []


def test_idle_workers_are_named_with_what_ends_them(tmp_path):
    """A spec may want them so: they are said, and stay."""
    journal = Journal(tmp_path / ".vidctl" / "journal.db")
    live = Endpoint("kept", Template("me/x", env={STAMP: "kept"}), "ADA_24", workers_min=2, id="ep")
    journal.applied(spec="kept", target="runpod", endpoint_id="ep", document={}, fingerprint="", is_proven=True)
    (tmp_path / "configs").mkdir()
    (tmp_path / "configs" / "kept.yaml").touch()
    place: Any = SimpleNamespace(
        name="runpod",
        journal=journal,
        control=SimpleNamespace(account=lambda: AccountView((live,)), templates=tuple, registries=tuple),
        jobs=SimpleNamespace(health=lambda _: Health({"idle": 1}, {})),
    )
    found = garbage.find(open_project(tmp_path, {}), place)

    [note] = found.notes
    assert all(fact in note for fact in ("kept", "1 idle of 2", "$", "/h", "vidctl scale kept --min 0")), note
    assert str(found) == ""
