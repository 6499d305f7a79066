"""`vidctl build`, `push`, `images` and `images prune`, as a user types them."""

from __future__ import annotations

import io
import json
from uuid import uuid4

import pytest
from support.failing import failed
from support.layouts import LAYOUTS, lay_out
from support.project import Project


class Shop(Project):
    key: str


@pytest.fixture
def shop(tmp_path, engine, repository, base_busybox):
    """A project with a spec `word` whose worker's image is a line of Dockerfile over busybox."""
    project = Shop(tmp_path / "project")
    folder = project.worker("echo")
    (folder / "Dockerfile").write_text(f"FROM {base_busybox}\nCOPY *.py /\nRUN echo built\n")
    key = f"k{uuid4().hex}"
    project.key = key
    project.spec(key, worker="echo", image={"build": "workers/echo", "repository": repository})
    yield project
    for image in engine.images(filters={"label": f"vidctl.spec={key}"}):
        engine.remove_image(image["Id"], force=True)


def _mine(project, documents):
    return [each for each in documents if each["spec"] == project.key]


def test_push_builds_what_is_not_built_and_says_each_step_once(shop):
    """Steps on stderr, the digest on stdout; again it says the digest and nothing else."""
    first, second = shop.run("push", shop.key), shop.run("push", shop.key)

    assert (0, 0) == (first.status, second.status), first.stderr
    assert first.stdout == second.stdout
    assert first.stdout.startswith(f"{shop.key}: 127.0.0.1:")
    assert 1 == len([line for line in first.stderr.splitlines() if line.split()[:2] == ["build", "3/7"]])
    assert "" == second.stderr


@pytest.mark.parametrize("name", LAYOUTS)
def test_runpod_s_own_workers_validate_and_build(shop, base_busybox, name):
    """Their folders as they are: none of them has a handler.py at its top."""
    lay_out(shop.root / "workers" / name, name, base=base_busybox)
    shop.spec(shop.key, worker="", image={"build": f"workers/{name}"})
    valid, built = shop.run("validate", shop.key), shop.run("build", shop.key, "--json")

    assert (0, 0) == (valid.status, built.status), valid.stderr + built.stderr
    assert built.document["image"].startswith(f"vidctl/{name.replace('_', '-')}:content-")


def test_build_needs_no_registry_and_no_second_build(shop):
    """An image of this machine: the tag for people, JSON for scripts."""
    first, second = shop.run("build", shop.key, "--json"), shop.run("build", shop.key)

    assert (0, "") == (first.status, first.stderr)
    assert {"spec": shop.key, "image": first.document["image"], "digest": None} == first.document
    assert f"{shop.key}: {first.document['image']}\n" == second.stdout
    assert "" == second.stderr


def test_specs_that_share_an_image_have_it_built_and_pushed_once(shop, repository):
    """A spec and its overlay deployed together: one build, one push, one digest for both."""
    base = shop.root / "configs" / f"{shop.key}.yaml"
    base.write_text(json.dumps({**json.loads(base.read_text()), "local": {"isolation": "container"}}))
    base.with_suffix(".prod.yaml").write_text("workers: {max: 2}\n")
    outcome = shop.run("deploy", shop.key, f"{shop.key}.prod", "--no-wait", "--json")
    logs = [path.name.rpartition("-")[2] for path in (shop.root / ".vidctl" / "logs").iterdir()]
    digests = {each["image"]["name"] for each in outcome.document}
    shop.close()

    assert (0, 2, 1) == (outcome.status, len(outcome.document), len(digests)), outcome.stderr
    assert digests.pop().startswith(f"{repository}@sha256:")
    assert ["build.log", "push.log"] == sorted(logs)


def test_a_prebuilt_image_is_not_built(shop):
    """There is nothing to build: a mistake of the command line."""
    shop.spec("ready", worker="echo", image="example.com/me/worker:1")
    outcome = shop.run("build", "ready", "--json")

    failed(outcome, "usage_error", "ready: ", "example.com/me/worker:1")


def test_pushing_without_a_repository_is_told_before_anything(shop):
    """The spec names none, so there is nowhere to push to."""
    shop.spec("local", worker="echo")
    outcome = shop.run("push", "local")

    failed(outcome, "usage_error", "local: ", "image.repository")


def test_an_engine_that_is_not_there_is_one_line_and_a_hint(shop):
    """No traceback: what is missing, and what to do."""
    outcome = shop.run("build", shop.key, DOCKER_HOST="unix:///nowhere/docker.sock")

    failed(outcome, "image_error", "unix:///nowhere/docker.sock", "DOCKER_HOST", "docker info")
    assert ["error", "hint"] == [line.partition(": ")[0] for line in outcome.stderr.splitlines()]


def test_prune_keeps_what_another_project_made(shop, tmp_path, engine):
    """A project with a spec of the same name, pruned to nothing, leaves this one's images where they are."""
    shop.run("build", shop.key)
    (mine,) = _mine(shop, shop.run("images", "--json").document)
    other = Project(tmp_path / "other")
    folder = other.worker("echo")
    (folder / "Dockerfile").write_text((shop.root / "workers" / "echo" / "Dockerfile").read_text() + "CMD true\n")
    other.spec(shop.key, worker="echo", image={"build": "workers/echo"})
    other.run("build", shop.key)
    both = [each["image"] for each in _mine(shop, shop.run("images", "--json").document)]

    done = other.run("images", "prune", "--keep", "0", "--yes", "--json")

    assert ([both[0]], [both[0], mine["image"]]) == ([each["image"] for each in done.document], both)
    assert [mine] == _mine(shop, shop.run("images", "--json").document)


def test_an_image_that_names_no_project_is_told_by_its_repository(shop, engine, base_busybox, repository):
    """Those of versions before: this project's are in its specs' repositories; a spec with mistakes names none."""
    (shop.root / "configs" / "broken.yaml").write_text("name: [\n")
    old = []
    for name in (repository, f"{repository}/of-another-project"):
        labels = {"vidctl.spec": shop.key, "vidctl.content": "content-0123456789abcdef"}
        dockerfile = io.BytesIO(f"FROM {base_busybox}\nENV OF={name}\n".encode())
        old.append(f"{name}:content-0123456789abcdef")
        assert list(engine.build(fileobj=dockerfile, tag=old[-1], labels=labels, rm=True))

    done = shop.run("images", "prune", "--keep", "0", "--yes")

    assert (0, f"{old[0]}: removed\n") == (done.status, done.stdout)
    assert "keeping images of broken without a project label: invalid spec: " in done.stderr
    assert [old[1]] == [each["image"] for each in _mine(shop, shop.run("images", "--json").document)]


def test_images_lists_and_prune_removes_after_a_yes(shop):
    """The list knows what was pushed; nothing is removed where nobody can be asked."""
    shop.run("push", shop.key)
    handler = shop.root / "workers" / "echo" / "handler.py"
    handler.write_text(handler.read_text() + "# one more\n")
    shop.run("build", shop.key)
    newer, older = _mine(shop, shop.run("images", "--json").document)
    plain = [line.split("\t") for line in shop.run("images").stdout.splitlines() if line.startswith(shop.key)]

    assert (None, "COPY … /") == (newer["digest"], newer["changed_layer"])
    assert (True, None) == (older["digest"].startswith("127.0.0.1:"), older["changed_layer"])
    assert [[shop.key, newer["image"], "no"], [shop.key, older["image"], "yes"]] == [
        [row[0], row[1], row[4]] for row in plain
    ]
    refused = shop.run("images", "prune", shop.key, "--keep", "1")
    done = shop.run("images", "prune", shop.key, "--keep", "1", "--yes", "--json")
    again = shop.run("images", "prune", shop.key, "--keep", "1")

    assert 2 == refused.status
    assert refused.stderr.startswith(
        f"error: remove 1 images ({older['size'] / 1e6:.1f} MB with the layers they share)?"
    )
    assert [{**older, "kept_because": None}] == done.document
    assert [newer["image"]] == [each["image"] for each in _mine(shop, shop.run("images", "--json").document)]
    assert (0, "nothing to remove\n") == (again.status, again.stderr)
