"""What a deploy with an image of its own promises: nothing secret anywhere, and the registry's own digest."""

from __future__ import annotations

import json
import stat
import subprocess
from typing import Any
from uuid import uuid4

import pytest
from support import engine as engines
from support.account import Account

from vidctl import __version__

SECRETS = {"HF_TOKEN": "hf_9d8f7e6c5b4a", "DB_PASSWORD": "correct-horse-7", "RUNPOD_API_KEY": "", "HUB_TOKEN": ""}


@pytest.fixture
def workshop(project, engine, base_busybox):
    """A project that is its own worker's folder: `COPY .` would take `.env` and the journal along."""
    project.key = f"k{uuid4().hex}"
    (project.root / "handler.py").write_text("")
    (project.root / ".dockerignore").write_text("state\nconfigs\n")  # the local runtime's state is here in tests only
    (project.root / "Dockerfile").write_text(f"FROM {base_busybox}\nCOPY . /app/\nRUN ls -a /app\n")
    yield project
    for image in engine.images(filters={"label": f"vidctl.spec={project.key}"}):
        engine.remove_image(image["Id"], force=True)


@pytest.fixture(params=["graphql", "rest"])
def account(request, workshop, engine, locked_registry):
    """A RunPod account, and a spec of an image in a registry with a password, with all kinds of secrets in `.env`."""
    account: Any = Account.of(workshop, request.param)
    with engines.repository_of(engine, locked_registry.host) as repository:
        account.project.spec(
            workshop.key,
            worker="",
            image={"build": ".", "repository": repository},
            workers={"min": 0, "max": 0},
            env={"DB_PASSWORD": SECRETS["DB_PASSWORD"]},
            secrets=["HF_TOKEN"],
            registry_auth={"name": "hub", "username": locked_registry.user, "password": "HUB_TOKEN"},
        )
        account.secrets = SECRETS | {
            "HUB_TOKEN": locked_registry.password,
            "RUNPOD_API_KEY": account.runtime["RUNPOD_API_KEY"],
        }
        lines = [f"{name}={value}\n" for name, value in account.secrets.items() if name != "DB_PASSWORD"]
        (workshop.root / ".env").touch(mode=0o600)  # vidctl leaves the mode of a .env that is there
        (workshop.root / ".env").write_text("".join(lines))
        yield account


def test_nothing_secret_is_anywhere(account, engine):
    """A grep of all: plans, logs, --debug, the journal, locks, a saved plan, image labels, history and layers."""
    key, root = account.project.key, account.project.root
    told = []
    for words, status in (
        (["plan", key, "-v", "--debug", "-o", "../plan.json"], 0),
        (["deploy", "../plan.json", "-v", "--debug"], 0),
        (["plan", key, "--json"], 0),
        (["images"], 0),
        (["list", "--json"], 0),
        (["registry", "list", "--debug"], 0),
        (["deploy", key, "-y", "-v", "--debug", "--no-such-option"], 2),
        (["registry", "login", "hub", "-u", "me", "--debug"], 2),
    ):
        outcome = account.run(*words, VIDCTL_REGISTRY_PASSWORD=account.secrets["HUB_TOKEN"])
        assert status == outcome.status, outcome.stderr
        told.append(outcome.stdout + outcome.stderr)
    (endpoint,) = account.endpoints()
    kept = [path for path in (root / ".vidctl").rglob("*") if path.is_file()]
    seen = {
        "output": "".join(told).encode(),
        "plan.json": (root.parent / "plan.json").read_bytes(),
        "labels": json.dumps(engine.inspect_image(endpoint["image"])).encode(),
        "history": json.dumps(engine.history(endpoint["image"])).encode(),
        "layers": b"".join(engine.get_image(endpoint["image"])),
        **{str(path.relative_to(root)): path.read_bytes() for path in kept},
    }

    assert [] == [
        (name, where)
        for name, value in account.secrets.items()
        for where, text in seen.items()
        if value.encode() in text
    ]
    assert {".vidctl/journal.db", ".vidctl/.gitignore"} <= set(seen)
    private = [
        path for path in [root / ".env", *kept] if path.name.startswith((".env", "journal.db")) or path.suffix == ".log"
    ]
    assert 4 <= len(private)
    assert {0o600} == {stat.S_IMODE(path.stat().st_mode) for path in private}


def test_the_template_gets_the_digest_that_the_registry_reports(account, engine, locked_registry):
    """`repo@sha256:…`, with the login that RunPod needs to pull it; said again, nothing is built or changed."""
    made = account.run("deploy", account.project.key, "--json")
    logs = sorted((account.project.root / ".vidctl" / "logs").iterdir())
    again = account.run("deploy", account.project.key, "--json")
    (endpoint,) = account.endpoints()
    login = {"username": locked_registry.user, "password": locked_registry.password}
    repository = endpoint["image"].partition("@")[0]
    (tag,) = {tag for tag in engine.inspect_image(endpoint["image"])["RepoTags"] if tag.startswith(repository)}
    reported = engine.inspect_distribution(tag, auth_config=login)["Descriptor"]["digest"]
    labels = engine.inspect_image(endpoint["image"])["Config"]["Labels"]
    (hub,) = account.run("registry", "list", "--json").document
    given = [each["new"] for each in made.document["changes"] if each["field"] == "registry_auth_id"]

    assert (0, 0, True) == (made.status, again.status, again.document["up_to_date"]), made.stderr + again.stderr
    assert f"{repository}@{reported}" == endpoint["image"]
    assert (__version__, tag.rpartition(":")[2]) == (labels["vidctl.version"], labels["vidctl.content"])
    assert ("hub", 1) == (hub["name"], len(given))
    assert logs == sorted((account.project.root / ".vidctl" / "logs").iterdir())


def test_what_a_build_leaves_is_ignored_by_git(workshop, base_busybox):
    """A log is nobody's to commit, and a work tree is as clean after a build as before: so is the image's revision."""
    workshop.spec(workshop.key, worker="", image={"build": "."})
    for words in (["init", "-q"], ["add", "."], ["-c", "user.name=t", "-c", "user.email=t@t", "commit", "-qm", "one"]):
        subprocess.run(["git", *words], cwd=workshop.root, check=True)
    outcome = workshop.run("build", workshop.key)
    status = subprocess.run(["git", "status", "--porcelain"], cwd=workshop.root, capture_output=True, check=True)

    assert 0 == outcome.status, outcome.stderr
    assert list((workshop.root / ".vidctl" / "logs").iterdir())
    assert b"" == status.stdout
