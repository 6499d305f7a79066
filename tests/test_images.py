"""From a folder to a registry, with a real engine and real registries."""

from __future__ import annotations

import base64
import hashlib
import http.client
import http.server
import io
import json
import os
import re
import shutil
import socketserver
import stat
import subprocess
import tarfile
import threading
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import cast
from uuid import uuid4

import pytest
from docker.errors import NotFound
from support import engine as engines
from support.failing import failing

from vidctl.errors import ImageError
from vidctl.images import BuildSource, Images, Login
from vidctl.progress import Progress, silent


class Workshop:
    """A worker's folder, the images made of it, and the progress reported meanwhile."""

    def __init__(self, root: Path, repository: str | None, **environ: str) -> None:
        self.folder = root / "worker"
        self.folder.mkdir(parents=True)
        self.logs = root / "logs"
        self.source = BuildSource(key=f"k{uuid4().hex}", folder=self.folder, repository=repository)
        self.environ = {**os.environ, **environ}
        self.reported: list[Progress] = []

    def write(self, **files: str | bytes) -> None:
        """`Dockerfile=…, a_py=…`"""
        for name, content in files.items():
            path = self.folder / name.replace("_", ".")
            path.write_bytes(content.encode() if isinstance(content, str) else content)

    @property
    def images(self) -> Images:
        """As a new command would have them."""
        return Images(self.environ, logs=self.logs, project=self.folder.parent)

    def provide(self):
        self.reported.clear()
        return self.images.provide(self.source, self.reported.append)

    def failure(self, *facts: object, varies: bool = True) -> ImageError:
        """The error of a build; each fact stands in its message or hint."""
        with failing("image_error", *facts, varies=varies) as found:
            self.provide()
        return cast("ImageError", found.value)

    @property
    def steps(self) -> list[str]:
        """What a log without a terminal shows."""
        return [progress.message for progress in self.reported if not progress.is_passing]

    def all_logs(self) -> str:
        return "".join(path.read_text() for path in self.logs.glob("*.log"))


@pytest.fixture
def workshop(tmp_path, engine, repository):
    workshop = Workshop(tmp_path, repository)
    yield workshop
    _remove_of(engine, workshop.source.key)


def _remove_of(engine, key: str) -> None:
    for image in engine.images(filters={"label": f"vidctl.spec={key}"}):
        engine.remove_image(image["Id"], force=True)


def _manifest(reference: str) -> dict:
    """What a registry has under `host/name@sha256:…`."""
    host, _, rest = reference.partition("/")
    name, _, digest = rest.partition("@")
    connection = http.client.HTTPConnection(host, timeout=30)
    accepted = "application/vnd.docker.distribution.manifest.v2+json"
    connection.request("GET", f"/v2/{name}/manifests/{digest}", headers={"Accept": accepted})
    return json.loads(connection.getresponse().read())


def _sizes(reference: str) -> dict[str, int]:
    manifest = _manifest(reference)
    return {blob["digest"]: blob["size"] for blob in [manifest["config"], *manifest["layers"]]}


# --- what is done, and what is not done twice ----------------------------------------------------------------------


def test_the_second_time_nothing_is_built_or_sent(workshop, engine, base_busybox):
    """The registry has the tag: one question, the same digest, and not a word."""
    workshop.write(Dockerfile=f"FROM {base_busybox}\nCOPY a.py /\n", a_py="1")
    first = workshop.provide()
    os.utime(workshop.folder / "a.py", (1, 1))
    second = workshop.provide()

    assert first == second == workshop.images.look(workshop.source)
    assert [] == workshop.reported
    assert 2 == len(list(workshop.logs.iterdir()))
    assert _manifest(first.digest)["config"]["digest"] == engine.inspect_image(first.tag)["Id"]


def test_look_builds_nothing(workshop, engine, base_busybox):
    """The tag is known before the image is there; a byte later it is another one."""
    workshop.write(Dockerfile=f"FROM {base_busybox}\nCOPY a.py /\n", a_py="1")
    before = workshop.images.look(workshop.source)
    workshop.write(a_py="2")
    after = workshop.images.look(workshop.source)

    assert (None, None) == (before.digest, after.digest)
    assert before.tag != after.tag
    assert before.tag.startswith(f"{workshop.source.repository}:content-")
    assert [] == engine.images(filters={"label": f"vidctl.spec={workshop.source.key}"})


def test_a_code_only_change_sends_less_than_a_megabyte(workshop, base_busybox):
    """What lies below the code, eight megabytes of weights here, is in the registry already."""
    dockerfile = f"FROM {base_busybox}\nCOPY weights.pt /models/\nRUN echo packages > /packages\nCOPY *.py /app/\n"
    workshop.write(Dockerfile=dockerfile, weights_pt=os.urandom(8_000_000), handler_py="1")
    first = workshop.provide()
    shutil.copytree(workshop.folder, workshop.folder.parent / "another checkout")
    workshop.source = replace(workshop.source, folder=workshop.folder.parent / "another checkout")
    (workshop.source.folder / "handler.py").write_text("2")
    second = workshop.provide()

    before, after = _sizes(first.digest), _sizes(second.digest)
    new = {digest: size for digest, size in after.items() if digest not in before}

    assert sum(before.values()) > 8_000_000
    assert 0 < sum(new.values()) < 1_000_000
    assert first.digest != second.digest


def test_a_pushed_image_serves_as_cache_on_another_machine(workshop, engine, base_busybox):
    """An engine that has pulled the last image, and never built it, does not build its lower layers again."""
    run = "RUN cat /proc/sys/kernel/random/uuid > /made"
    workshop.write(Dockerfile=f"FROM {base_busybox}\n{run}\nCOPY a.py /\n", a_py="1")
    first = workshop.provide()
    layers = _layers(engine, first.tag)
    _remove_of(engine, workshop.source.key)
    engine.pull(workshop.source.repository, first.tag.rpartition(":")[2])
    workshop.write(a_py="2")
    second = workshop.provide()

    assert layers[:-1] == _layers(engine, second.tag)[:-1]
    assert layers[-1] != _layers(engine, second.tag)[-1]


def test_one_line_per_step_and_per_layer(workshop, base_busybox):
    """Without a terminal a build reads as the Dockerfile does; what RUN says is passing, and whole in the log."""
    workshop.write(Dockerfile=f"FROM {base_busybox}\nCOPY a.py /\nRUN echo audio; echo noise >&2\n", a_py="1")
    image = workshop.provide()
    passing = [progress.message for progress in workshop.reported if progress.is_passing]

    dockerfile = [f"1/7 FROM {base_busybox}", "2/7 COPY a.py /", "3/7 RUN echo audio; echo noise >&2"]

    assert [*dockerfile, f"{image.tag} is built"] == workshop.steps[:4]
    assert f"{image.tag} is in the registry: {image.digest.partition('@')[2]}" == workshop.steps[-1]
    assert {"3/7 audio", "3/7 noise"} <= set(passing)
    assert {"audio", "noise"} <= set(workshop.all_logs().splitlines())
    assert {0o600} == {stat.S_IMODE(path.stat().st_mode) for path in workshop.logs.iterdir()}


def test_without_a_repository_the_image_stays_here(tmp_path, engine, base_busybox):
    """It has a name on this engine, and its id for a digest."""
    workshop = Workshop(tmp_path, None)
    workshop.write(Dockerfile=f"FROM {base_busybox}\nCOPY a.py /\n", a_py=uuid4().hex)
    try:
        image = workshop.provide()

        assert image.tag.startswith("vidctl/worker:content-")
        assert engine.inspect_image(image.tag)["Id"] == image.digest
        assert image == workshop.images.look(workshop.source)
    finally:
        _remove_of(engine, workshop.source.key)


def test_an_image_says_where_it_comes_from(workshop, engine, base_busybox):
    """Labels: the tag, the spec, the git revision when nothing is uncommitted, the remote without its password."""
    workshop.write(Dockerfile=f"FROM {base_busybox}\nCOPY a.py /\n", a_py="1")

    def git(*words: str) -> str:
        settings = ["-c", "user.name=t", "-c", "user.email=t@t", "-c", "init.defaultBranch=main"]
        done = subprocess.run(
            ["git", *settings, *words], cwd=workshop.folder, check=True, capture_output=True, text=True
        )
        return done.stdout.strip()

    git("init", "--quiet")
    git("remote", "add", "origin", "https://me:t0ken@example.com/me/worker.git?key=t0ken")
    git("add", ".")
    git("commit", "--quiet", "-m", "one")
    revision = git("rev-parse", "HEAD")
    (workshop.folder / ".dockerignore").write_text(".git\n.dockerignore\n")
    git("add", ".")
    git("commit", "--quiet", "-m", "two")
    clean = engine.inspect_image(workshop.provide().tag)["Config"]["Labels"]
    workshop.write(a_py="2")
    changed = engine.inspect_image(workshop.provide().tag)["Config"]["Labels"]

    assert workshop.source.key == clean["vidctl.spec"]
    assert clean["vidctl.content"] != changed["vidctl.content"]
    assert git("rev-parse", "HEAD") == clean["org.opencontainers.image.revision"] != revision
    assert "org.opencontainers.image.revision" not in changed
    assert "https://example.com/me/worker.git" == clean["org.opencontainers.image.source"]


def test_force_builds_again_without_the_cache(workshop, engine, base_busybox):
    """What a RUN fetches may have changed though no file did."""
    workshop.write(Dockerfile=f"FROM {base_busybox}\nRUN cat /proc/sys/kernel/random/uuid > /made\n")
    first = workshop.images.build(workshop.source, silent)
    one = engine.inspect_image(first.tag)["RootFS"]["Layers"]
    workshop.images.build(workshop.source, silent)
    same = engine.inspect_image(first.tag)["RootFS"]["Layers"]
    second = workshop.images.build(workshop.source, silent, force=True)
    other = engine.inspect_image(first.tag)["RootFS"]["Layers"]

    assert first == second
    assert one == same
    assert (one[:-1], True) == (other[:-1], one[-1] != other[-1])


def test_a_base_that_moved_in_its_registry_is_another_image(workshop, engine, registry, base_busybox):
    """The tag follows the registry, and the build stands on what the registry has, not on what the engine remembers."""
    with engines.repository_of(engine, registry) as base:
        for content in ("old", "new"):
            made = engine.import_image_from_data(_tar_of("base.txt", content.encode()), repository=base, tag=content)
            assert "error" not in made
        _push_as(engine, f"{base}:old", base)
        workshop.write(Dockerfile=f"FROM {base}:1\nCOPY a.py /\n", a_py="1")
        first = workshop.provide()
        _push_as(engine, f"{base}:new", base)
        engine.tag(f"{base}:old", base, "1")
        second = workshop.provide()

        assert first.tag != second.tag
        assert _layers(engine, f"{base}:new")[0] == _layers(engine, second.tag)[0] != _layers(engine, first.tag)[0]


def test_a_base_that_was_pulled_for_another_processor_is_pulled_again(workshop, engine, registry, base_busybox):
    """One name and one digest for both: `docker run` of it on an arm64 machine left the other one here."""
    with engines.repository_of(engine, registry) as base:
        _load_arm64(engine, f"{base}:arm64")
        engine.tag(base_busybox, base, "amd64")
        digest = _push_index(engine, base, "amd64", "arm64")
        engine.remove_image(f"{base}:amd64")
        for line in engine.pull(f"{base}@{digest}", platform="linux/arm64", stream=True, decode=True):
            assert "error" not in line
        engine.tag(f"{base}@{digest}", base, "both")
        assert "arm64" == engine.inspect_image(f"{base}:both")["Architecture"]
        for dockerfile in (f"FROM {base}:both\n", f"FROM {base}@{digest}\n"):
            workshop.write(Dockerfile=f"{dockerfile}COPY a.py /\n", a_py=dockerfile)
            image = workshop.provide()

            assert _layers(engine, base_busybox)[0] == _layers(engine, image.tag)[0]


def _push_index(engine, repository: str, *tags: str) -> str:
    """Push these, and `both`, which stands for all of them; its digest."""
    host, _, name = repository.partition("/")
    kind = "application/vnd.docker.distribution.manifest"
    manifests = []
    for tag in tags:
        assert "error" not in engine.push(repository, tag)
        connection = http.client.HTTPConnection(host, timeout=30)
        connection.request("GET", f"/v2/{name}/manifests/{tag}", headers={"Accept": f"{kind}.v2+json"})
        body = connection.getresponse().read()
        manifests.append(
            {
                "mediaType": f"{kind}.v2+json",
                "size": len(body),
                "digest": f"sha256:{hashlib.sha256(body).hexdigest()}",
                "platform": {"architecture": tag, "os": "linux"},
            }
        )
    index = {"schemaVersion": 2, "mediaType": f"{kind}.list.v2+json", "manifests": manifests}
    connection = http.client.HTTPConnection(host, timeout=30)
    headers = {"Content-Type": f"{kind}.list.v2+json"}
    connection.request("PUT", f"/v2/{name}/manifests/both", body=json.dumps(index), headers=headers)
    answer = connection.getresponse()
    assert 201 == answer.status, answer.read()
    return answer.headers["Docker-Content-Digest"]


def _push_as(engine, reference: str, repository: str) -> None:
    engine.tag(reference, repository, "1")
    assert "error" not in engine.push(repository, "1")


def _layers(engine, reference: str) -> list[str]:
    return engine.inspect_image(reference)["RootFS"]["Layers"]


def _tar_of(name: str, content: bytes) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        member = tarfile.TarInfo(name)
        member.size = len(content)
        archive.addfile(member, io.BytesIO(content))
    return buffer.getvalue()


def test_an_image_for_another_processor_gets_no_name(workshop, engine):
    """An engine takes a base of any architecture without a word; RunPod's hosts are amd64."""
    name = f"vidctl-test/{uuid4().hex}"
    _load_arm64(engine, f"{name}:1")
    try:
        workshop.write(Dockerfile=f"FROM {name}:1\nCOPY a.py /\n", a_py="1")

        workshop.failure(workshop.source.key, "linux/arm64", "linux/amd64", "docker pull --platform linux/amd64")

        assert workshop.images.look(workshop.source).digest is None
        assert [] == [each for each in workshop.images.built() if workshop.source.repository in each.tag]
    finally:
        engine.remove_image(f"{name}:1", force=True)


def _load_arm64(engine, reference: str) -> None:
    layer = _tar_of("a", b"1")
    rootfs = {"type": "layers", "diff_ids": ["sha256:" + hashlib.sha256(layer).hexdigest()]}
    config = {"architecture": "arm64", "os": "linux", "config": {}, "rootfs": rootfs}
    manifest = [{"Config": "config.json", "RepoTags": [reference], "Layers": ["layer.tar"]}]
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for path, content in (
            ("config.json", json.dumps(config).encode()),
            ("manifest.json", json.dumps(manifest).encode()),
            ("layer.tar", layer),
        ):
            member = tarfile.TarInfo(path)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    list(engine.load_image(buffer.getvalue()))


# --- what would fail is found before anything is built -------------------------------------------------------------


def _problems(workshop: Workshop) -> list[str]:
    return [problem.message for problem in workshop.images.problems(workshop.source)]


@pytest.fixture
def locked(workshop, engine, locked_registry):
    """A workshop whose repository is in the registry that asks for a password."""
    with engines.repository_of(engine, locked_registry.host) as repository:
        workshop.source = replace(workshop.source, repository=repository)
        yield workshop


def _nothing_was_built(workshop: Workshop, engine) -> bool:
    return engine.images(filters={"label": f"vidctl.spec={workshop.source.key}"}) == [] and not workshop.logs.exists()


def test_nothing_stands_in_the_way_of_a_good_build(workshop, base_busybox):
    """No problem is told where there is none."""
    workshop.write(Dockerfile=f"FROM {base_busybox}\n")

    assert [] == _problems(workshop)


def test_a_missing_login_is_found_before_the_build(locked, engine, base_busybox, docker_config):
    """The registry wants one, and neither the spec nor the Docker config has it."""
    locked.environ["DOCKER_CONFIG"] = str(docker_config)
    locked.write(Dockerfile=f"FROM {base_busybox}\n")
    failure = locked.failure(f"{locked.source.repository}: ", "docker login 127.0.0.1:", "registry_auth")

    assert [failure.message] == _problems(locked)
    assert _nothing_was_built(locked, engine)


def test_a_wrong_password_is_found_before_the_build(locked, engine, locked_registry, base_busybox):
    """Also after the right one was used: the engine's memory is not asked."""
    locked.write(Dockerfile=f"FROM {base_busybox}\n")
    locked.source = replace(locked.source, login=Login(locked_registry.user, locked_registry.password))
    good = locked.images
    assert [] == good.problems(locked.source)
    locked.source = replace(locked.source, login=Login(locked_registry.user, "wr0ng-pass"))
    (problem,) = good.problems(locked.source)

    assert problem.message == locked.failure(f"{locked.source.repository}: ", "registry_auth", "password").message
    assert "wr0ng-pass" not in f"{problem.message}{problem.hint}{locked.source!r}"
    assert _nothing_was_built(locked, engine)


def test_a_registry_that_lets_strangers_only_read_is_known(workshop, tmp_path, docker_config):
    """Docker Hub says that the tag is not there to whoever asks; without a login nothing is built for it."""
    with _scripted_engine(tmp_path, {"info": {}, "images/json": []}):
        workshop.environ |= {"DOCKER_HOST": f"unix://{tmp_path}/engine.sock", "DOCKER_CONFIG": str(docker_config)}
        workshop.source = replace(workshop.source, repository="docker.io/me/worker")
        workshop.write(Dockerfile="FROM scratch\nCOPY a.py /\n", a_py="1")

        assert workshop.images.look(workshop.source).digest is None
        failure = workshop.failure("docker.io/me/worker: ", "docker login docker.io", "registry_auth", varies=False)
        assert [failure.message] == _problems(workshop)


def test_one_spec_s_login_is_not_another_s(locked, locked_registry, base_busybox, docker_config):
    """Several specs are deployed at once, and each pushes as who it says."""
    locked.environ["DOCKER_CONFIG"] = str(docker_config)
    locked.write(Dockerfile=f"FROM {base_busybox}\n")
    images = locked.images
    with_login = replace(locked.source, login=Login(locked_registry.user, locked_registry.password))

    assert [] == images.problems(with_login)
    assert 1 == len(images.problems(locked.source))


@pytest.mark.parametrize("keeper", ["auths", "credHelpers", "credsStore"])
def test_the_docker_config_s_login_is_used(locked, locked_registry, base_busybox, docker_config, monkeypatch, keeper):
    """A login in the file itself, or with a credential helper: what `docker login` left is enough."""
    host, login = locked_registry.host, f"{locked_registry.user}:{locked_registry.password}"
    helper = docker_config / "docker-credential-test"
    answer = {"ServerURL": host, "Username": locked_registry.user, "Secret": locked_registry.password}
    helper.write_text(f"#!/bin/sh\ncat > /dev/null\necho '{json.dumps(answer)}'\n")
    helper.chmod(0o755)
    document = {
        "auths": {"auths": {host: {"auth": base64.b64encode(login.encode()).decode()}}},
        "credHelpers": {"credHelpers": {host: "test", "other.example": "absent"}},
        "credsStore": {"credsStore": "test"},
    }[keeper]
    (docker_config / "config.json").write_text(json.dumps(document))
    monkeypatch.setenv("PATH", f"{docker_config}:{os.environ['PATH']}")
    locked.environ["DOCKER_CONFIG"] = str(docker_config)
    locked.write(Dockerfile=f"FROM {base_busybox}\nCOPY a.py /\n", a_py=keeper)

    assert [] == _problems(locked)
    assert locked.provide().digest == locked.images.look(locked.source).digest


@pytest.mark.parametrize("keeper", ["beside an empty entry", "without auth", "with a helper that is not installed"])
def test_a_login_is_found_in_whatever_docker_takes(
    locked, locked_registry, base_busybox, docker_config, monkeypatch, keeper
):
    """docker-py refuses the first, passes over the second, and stops at the third; `docker` takes them."""
    host = locked_registry.host
    login = {"username": locked_registry.user, "password": locked_registry.password}
    document = {
        "beside an empty entry": {"auths": {host: login, "other.example": None, "one.example": {"auth": ""}}},
        "without auth": {"auths": {host: login}},
        "with a helper that is not installed": {"auths": {host: login}, "credsStore": "absent"},
    }[keeper]
    (docker_config / "config.json").write_text(json.dumps(document))
    locked.environ["DOCKER_CONFIG"] = str(docker_config)
    locked.write(Dockerfile=f"FROM {base_busybox}\nCOPY a.py /\n", a_py=keeper)

    assert [] == _problems(locked)
    assert locked.provide().digest == locked.images.look(locked.source).digest
    assert str(docker_config) == os.environ["DOCKER_CONFIG"]


def test_a_helper_that_is_not_installed_is_named_where_it_is_missed(locked, base_busybox, docker_config):
    """`docker` goes on without it, and has no login then."""
    (docker_config / "config.json").write_text(json.dumps({"credsStore": "absent"}))
    locked.environ["DOCKER_CONFIG"] = str(docker_config)
    locked.write(Dockerfile=f"FROM {base_busybox}\n")
    failure = locked.failure(f"{locked.source.repository}: ", "docker-credential-absent", "docker login 127.0.0.1:")

    assert [(failure.message, failure.hint)] == [
        (each.message, each.hint) for each in locked.images.problems(locked.source)
    ]


def test_the_engine_of_a_context_is_used(workshop, base_busybox, docker_config):
    """`docker context use`, and nothing else: as Colima, OrbStack and rootless Docker have it."""
    socket = workshop.environ["DOCKER_HOST"].removeprefix("unix://")
    host = f"unix://{docker_config}/mine.sock"
    meta = docker_config / "contexts" / "meta" / hashlib.sha256(b"mine").hexdigest()
    meta.mkdir(parents=True)
    (meta / "meta.json").write_text(json.dumps({"Name": "mine", "Endpoints": {"docker": {"Host": host}}}))
    (docker_config / "config.json").write_text(json.dumps({"currentContext": "mine"}))
    workshop.environ |= {"DOCKER_HOST": "", "DOCKER_CONTEXT": "", "DOCKER_CONFIG": str(docker_config)}
    workshop.write(Dockerfile=f"FROM {base_busybox}\n")

    workshop.failure(host, "Docker context mine", "docker context use", varies=False)

    (docker_config / "mine.sock").symlink_to(socket)

    assert [] == _problems(workshop)
    assert workshop.provide().digest


def test_a_private_base_is_pulled_with_the_same_login(locked, engine, locked_registry, base_busybox, docker_config):
    """From the registry that is pushed to; whoever has no login learns it before the build, with the line."""
    locked.environ["DOCKER_CONFIG"] = str(docker_config)
    base, login = f"{locked.source.repository}/base", Login(locked_registry.user, locked_registry.password)
    engine.tag(base_busybox, base, "1")
    secret = {"username": login.username, "password": login.password}
    assert "error" not in engine.push(base, "1", auth_config=secret)
    engine.remove_image(f"{base}:1")
    locked.write(Dockerfile=f"FROM {base}:1\nCOPY a.py /\n", a_py="1")
    line, registry = _problems(locked)

    assert line.startswith(f"{locked.folder / 'Dockerfile'}:1: base image {base}:1 ")
    assert registry.startswith(f"{locked.source.repository}: ")

    locked.source = replace(locked.source, login=login)
    image = locked.provide()

    assert [] == _problems(locked)
    assert _layers(engine, base_busybox)[0] == _layers(engine, image.tag)[0]


def test_a_login_stays_out_of_everything(locked, engine, locked_registry, base_busybox):
    """The password is in no log, label, layer, history or error; a secret build argument is in no log."""
    login = Login(locked_registry.user, locked_registry.password)
    arguments = {"API_TOKEN": "argument-value", "SIZE": "big"}
    locked.source = replace(locked.source, login=login, build_args=arguments)
    locked.write(Dockerfile=f"FROM {base_busybox}\nARG API_TOKEN\nARG SIZE\nRUN echo token $API_TOKEN $SIZE\n")
    image = locked.provide()
    layers = b"".join(engine.get_image(image.tag))
    said = locked.all_logs() + repr(locked.reported) + repr(locked.source)
    kept = json.dumps([engine.inspect_image(image.tag), engine.history(image.tag)])

    assert locked_registry.password not in said + kept
    assert locked_registry.password.encode() not in layers
    assert "argument-value" not in said
    assert "token *** big" in locked.all_logs().splitlines()


def test_an_engine_that_is_not_there_is_one_line_and_a_hint(workshop, base_busybox):
    """Whoever has no Docker running is told so, and what to do."""
    workshop.write(Dockerfile=f"FROM {base_busybox}\n")
    workshop.environ["DOCKER_HOST"] = "unix:///nowhere/docker.sock"

    failure = workshop.failure("unix:///nowhere/docker.sock", "DOCKER_HOST", "docker info", varies=False)

    assert [failure.message] == _problems(workshop)


def test_problems_of_the_folder_and_of_the_registry_are_told_together(workshop):
    """One run reports all that is to be fixed."""
    workshop.source = replace(workshop.source, repository="127.0.0.1:1/t/none")

    missing, closed = _problems(workshop)

    assert missing.startswith(f"{workshop.folder / 'Dockerfile'}: ")
    assert closed.startswith("127.0.0.1:1/t/none: ")
    assert closed.endswith("connection refused")


def test_a_line_that_needs_buildkit_is_named(workshop, engine, base_busybox):
    """Without docker buildx the file and the line are in the error, before anything is sent."""
    workshop.environ["PATH"] = str(workshop.folder)
    workshop.write(Dockerfile=f"FROM {base_busybox}\n\nRUN --mount=type=cache,target=/x \\\n  true\n")
    failure = workshop.failure(f"{workshop.folder / 'Dockerfile'}:3: RUN --mount ", "docker buildx", varies=False)

    assert [failure.message] == _problems(workshop)
    assert _nothing_was_built(workshop, engine)


@pytest.fixture
def buildx(workshop, tmp_path):
    """`docker buildx`; where it is not installed, BuildKit by way of the `docker build` of Debian's docker.io."""
    programs = tmp_path / "programs"
    programs.mkdir()
    real = shutil.which("docker")
    if real and subprocess.run([real, "buildx", "version"], capture_output=True, check=False).returncode == 0:
        command = f'exec {real} "$@"'
    elif Path("/usr/bin/docker").exists():
        command = '[ "$2" = version ] && exit; shift 3; DOCKER_BUILDKIT=1 exec /usr/bin/docker build "$@"'
    else:
        pytest.skip("neither docker buildx nor Debian's docker is installed: apt-get install docker.io")
    script = f'#!/bin/sh\necho "$@" >> {tmp_path}/arguments\n{command}\n'
    (programs / "docker").write_text(script)
    (programs / "docker").chmod(0o755)
    workshop.environ["PATH"] = f"{programs}:{os.environ['PATH']}"
    return tmp_path / "arguments"


def test_a_dockerfile_that_needs_buildkit_is_built_by_buildx(workshop, buildx, engine, base_busybox):
    """The same labels, log and push; a build argument's value is in no process list and, being secret, in no log."""
    run = "RUN --mount=type=cache,target=/x echo token $API_TOKEN > /made"
    workshop.write(Dockerfile=f"FROM {base_busybox}\nARG API_TOKEN\n{run}\nCOPY a.py /\n", a_py="1")
    workshop.source = replace(workshop.source, build_args={"API_TOKEN": "argument-value"})
    image = workshop.provide()
    labels = engine.inspect_image(image.tag)["Config"]["Labels"]

    assert [] == _problems(workshop)
    assert image.tag.partition(":content-")[2] == labels["vidctl.content"].removeprefix("content-")
    assert 3 == len([each for each in workshop.steps if each.split("/")[0] in "123"])
    assert "--build-arg API_TOKEN" in buildx.read_text()
    assert "argument-value" not in buildx.read_text() + workshop.all_logs() + repr(workshop.reported)


def test_buildx_s_failing_step_is_named_too(workshop, buildx, base_busybox):
    """The same error as the classic builder's: the step, the last lines, the log."""
    run = "RUN --mount=type=cache,target=/x echo before; exit 3"
    workshop.write(Dockerfile=f"FROM {base_busybox}\n{run}\n")
    failure = workshop.failure("before")
    (log,) = workshop.logs.iterdir()

    assert failure.message.startswith(f"{workshop.source.key}: Step 2/2 : {run}: ")
    assert str(log) in failure.hint


def test_the_classic_builder_too_is_told_the_platform(workshop, engine, base_busybox):
    """BuildKit gives these by itself; a Dockerfile's own value, and the spec's, go first."""
    lines = "ARG TARGETARCH TARGETOS=bsd\nARG\tTARGETPLATFORM\nARG BUILDARCH\n"
    run = "RUN echo $TARGETARCH $TARGETOS $TARGETPLATFORM $BUILDARCH > /made\n"
    workshop.write(Dockerfile=f"FROM {base_busybox}\n{lines}{run}CMD cat /made\n")
    workshop.source = replace(workshop.source, build_args={"BUILDARCH": "s390x"})

    assert "amd64 bsd linux/amd64 s390x\n" == _output(engine, workshop.provide().tag)


@pytest.mark.parametrize("line", ["", "RUN --mount=type=cache,target=/x true\n"], ids=["classic", "buildkit"])
def test_the_target_stage_is_what_is_built(workshop, buildx, engine, base_busybox, line):
    """Another stage is another tag; the base of a stage after it is not asked for."""
    text = f"FROM {base_busybox} AS serverless\n{line}CMD echo one\nFROM serverless AS pod\nCMD echo two\n"
    workshop.write(Dockerfile=text)
    last = workshop.provide()
    workshop.write(Dockerfile=f"{text}FROM 127.0.0.1:1/nobody\n")
    workshop.source = replace(workshop.source, target="serverless")
    first = workshop.provide()

    assert ("one\n", "two\n") == (_output(engine, first.tag), _output(engine, last.tag))
    workshop.source = replace(workshop.source, target="pod")
    assert first.tag != workshop.images.build(workshop.source, silent).tag


def _output(engine, tag: str) -> str:
    """What a container of the image prints."""
    container = engine.create_container(tag)["Id"]
    try:
        engine.start(container)
        engine.wait(container)
        return engine.logs(container).decode()
    finally:
        engine.remove_container(container, force=True)


# --- what fails on the way -----------------------------------------------------------------------------------------


def test_a_run_that_fails_is_named_with_its_last_words(workshop, engine, base_busybox):
    """The step, the last twenty lines, and where the rest is; no step's container is left."""
    mark = uuid4().hex
    run = f"RUN : {mark}; for i in $(seq 30); do echo line $i; done; echo last; exit 3"
    workshop.write(Dockerfile=f"FROM {base_busybox}\nRUN : {mark}\n{run}\n")
    failure = workshop.failure()
    (log,) = workshop.logs.iterdir()

    head, *last = failure.message.splitlines()

    assert head.startswith(f"{workshop.source.key}: Step 3/7 : {run}: ")
    assert head.endswith("returned a non-zero code: 3")
    assert (20, True) == (len(last), {"  line 30", "  last"} <= set(last))
    assert str(log) in failure.hint
    assert "line 1" in log.read_text().splitlines()
    assert [] == [each for each in engine.containers(all=True) if mark in each["Command"]]


def test_an_interrupted_build_does_not_go_on(workshop, engine, base_busybox):
    """Ctrl-C ends the engine's work too, not only the watching."""
    mark = uuid4().hex
    workshop.write(Dockerfile=f"FROM {base_busybox}\nRUN echo {mark}; echo begun; sleep 600\n")

    def watch(progress: Progress) -> None:
        if progress.message == "2/6 begun":
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt) as held:  # as whoever reports it holds it
        workshop.images.build(workshop.source, watch)
    steps = [each["Id"] for each in engine.containers(all=True) if mark in each["Command"]]
    for step in steps:
        with suppress(NotFound):
            engine.wait(step, timeout=30, condition="removed")

    assert held.value.args == ()
    assert [] == [each for each in engine.containers(all=True) if each["Id"] in steps]


@pytest.mark.parametrize(
    ("dockerfile", "expected"),
    [
        ("FROM {base}\nCOPY nope /x\n", "Step 2/6 : COPY nope /x: COPY failed: file not found in build context"),
        ("FROM {base}\nCOPPY a /x\n", "dockerfile parse error line 2: unknown instruction: COPPY"),
        ("\n", "failed to parse Dockerfile: file with no instructions"),
    ],
)
def test_what_the_engine_finds_wrong_is_told(workshop, base_busybox, dockerfile, expected):
    """A file that is missing, an instruction that there is not, a Dockerfile that says nothing."""
    workshop.write(Dockerfile=dockerfile.format(base=base_busybox))

    workshop.failure(f"{workshop.source.key}: ", expected)


def test_a_base_that_is_nowhere_is_named_with_its_line(workshop, registry):
    """Neither in its registry nor on this engine: found before the build."""
    workshop.write(Dockerfile=f"ARG BASE={registry}/no/such\n\nFROM $BASE\n")
    failure = workshop.failure(f"{workshop.folder / 'Dockerfile'}:3: ", f" {registry}/no/such ", varies=False)

    assert [failure.message] == _problems(workshop)


def test_a_full_disk_for_logs_stops_the_build_and_leaves_nothing(workshop, engine, base_busybox, tmp_path):
    """Half a log is no log, and a build that cannot be told of is not made."""
    with _tiny_disk(tmp_path / "disk", "64k") as disk:
        workshop.logs = disk / "logs"
        workshop.write(Dockerfile=f"FROM {base_busybox}\nRUN seq 100000\n")
        failure = workshop.failure(".log: ")

        assert failure.message.endswith(": No space left on device")
        assert [] == list(workshop.logs.iterdir())
        assert [] == engine.images(filters={"label": f"vidctl.spec={workshop.source.key}"})


def test_a_registry_whose_disk_is_full_is_one_clear_error(workshop, engine, tmp_path):
    """It says what to do, and no digest is believed.

    The engine's words are those of 20.10, which tries five times in a minute before it says them.
    """
    words = "received unexpected HTTP status: 500 Internal Server Error"
    workshop.write(Dockerfile="FROM scratch\nCOPY a.py /\n", a_py="1")
    tag = workshop.images.build(workshop.source, silent).tag
    lines = [
        {"status": f"The push refers to repository [{workshop.source.repository}]"},
        {"status": "Retrying in 1 second", "progressDetail": {}, "id": "135d05a9032f"},
        {"errorDetail": {"message": words}, "error": words},
    ]
    found = engine.inspect_image(tag)
    answers = {
        f"images/{tag.rpartition(':')[0]}/push": lines,
        f"images/{tag}/json": found,
        "images/json": [],
        "info": {},
    }
    with _scripted_engine(tmp_path, answers):
        workshop.environ["DOCKER_HOST"] = f"unix://{tmp_path}/engine.sock"
        failure = workshop.failure(f"{workshop.source.key}: push ", words)

    assert "the registry: its disk space" in failure.hint
    del workshop.environ["DOCKER_HOST"]
    assert workshop.images.look(workshop.source).digest is None


def test_a_disk_without_room_is_found_before_the_build(workshop, tmp_path):
    """Twice the files and a gigabyte must be free where a local engine keeps its images."""
    info = {"DockerRootDir": f"{tmp_path}/disk"}
    with _tiny_disk(tmp_path / "disk", "8m"), _scripted_engine(tmp_path, {"info": info}):
        workshop.environ["DOCKER_HOST"] = f"unix://{tmp_path}/engine.sock"
        workshop.source = replace(workshop.source, repository=None)
        workshop.write(Dockerfile="FROM scratch\nCOPY a.bin /\n", a_bin=bytes(100_000_000))
        (problem,) = workshop.images.problems(workshop.source)

        assert re.search(rf"0\.0 GB .*{workshop.source.key} .*1\.2 GB", problem.message)
        assert ("vidctl images prune" in problem.hint, "docker system prune" in problem.hint) == (True, True)


def test_an_engine_whose_disk_fills_up_says_what_to_do(workshop, tmp_path):
    """Its last word is an error of the stream, which has the answer's status 200."""
    words = "write /app/a.bin: no space left on device"
    lines = [{"stream": "Step 1/2 : FROM scratch\n"}, {"stream": "Step 2/2 : COPY a.bin /\n"}, {"error": words}]
    with _scripted_engine(tmp_path, {"build": lines, "images/json": [], "info": {}}):
        workshop.environ["DOCKER_HOST"] = f"unix://{tmp_path}/engine.sock"
        workshop.source = replace(workshop.source, repository=None)
        workshop.write(Dockerfile="FROM scratch\nCOPY a.bin /\n", a_bin=b"1")
        failure = workshop.failure("vidctl images prune", "docker system prune")

        assert failure.message.startswith(f"{workshop.source.key}: Step 2/2 : COPY a.bin /: {words}\n")


@contextmanager
def _scripted_engine(folder: Path, answers: dict):
    """What answers on `engine.sock` as an engine of API 1.41 does: these paths, and 404 for all else."""

    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            path = self.path.partition("?")[0].removeprefix("/v1.41/").removeprefix("/")
            known = {"version": {"ApiVersion": "1.41"}, **answers}
            self._answer(200 if path in known else 404, known.get(path, {"message": "manifest unknown"}))

        def do_POST(self) -> None:
            while self.headers["Transfer-Encoding"] and (size := int(self.rfile.readline(), 16)):  # a build's files
                self.rfile.read(size + 2)
            if self.headers["Transfer-Encoding"]:
                self.rfile.readline()
            self.do_GET()

        def _answer(self, status: int, document) -> None:
            is_stream = self.path.partition("?")[0].endswith(("/build", "/push"))
            parts = [json.dumps(each).encode() for each in (document if is_stream else [document])]
            self.send_response(status)
            self.send_header("Transfer-Encoding", "chunked")
            self.end_headers()
            for part in [*parts, b""]:
                self.wfile.write(b"%x\r\n%s\r\n" % (len(part), part))

        def log_message(self, *_: object) -> None:
            pass

    class Server(socketserver.ThreadingUnixStreamServer):
        daemon_threads = True

    with Server(f"{folder}/engine.sock", Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield
        server.shutdown()


@contextmanager
def _tiny_disk(folder: Path, size: str):
    """A file system of its own, as full as can be had without filling the machine's."""
    folder.mkdir()
    done = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", folder], capture_output=True, check=False
    )
    if done.returncode != 0:
        pytest.skip("a file system of its own cannot be mounted: needs root")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", folder], check=True)


@pytest.fixture
def own_records(workshop, tmp_path):
    """A registry of the test's own; the workshop's repository is in it."""
    with ExitStack() as stack:
        process = stack.enter_context(engines.registry_process(tmp_path / "registry"))
        workshop.source = replace(workshop.source, repository=f"{process.host}/t/{uuid4().hex}")

        def restart() -> None:
            port = int(process.host.partition(":")[2])
            stack.enter_context(engines.registry_process(tmp_path / "registry", port=port))

        yield process, restart


def test_a_registry_that_dies_in_mid_push_and_comes_back_gets_the_image(workshop, own_records, base_busybox):
    """Half of the layer is sent when it is killed; the push goes on and the digest is what the registry reports."""
    process, restart = own_records
    workshop.write(Dockerfile=f"FROM {base_busybox}\nCOPY a.bin /\n", a_bin=os.urandom(60_000_000))
    seen = []

    def watch(progress: Progress) -> None:
        is_alive = process.process.poll() is None
        if is_alive and progress.step == "push" and 0 < (progress.done or 0) < 60_000_000 <= (progress.total or 0):
            process.kill()
            seen.append("killed")
        elif not is_alive and "retrying" in progress.message and "restarted" not in seen:
            restart()
            seen.append("restarted")

    image = workshop.images.provide(workshop.source, watch)

    assert ["killed", "restarted"] == seen
    assert sum(_sizes(image.digest).values()) > 60_000_000


def test_a_push_to_a_registry_that_is_away_for_a_moment_is_tried_again(workshop, own_records, base_busybox):
    """The engine gives up at once; vidctl tries three times."""
    process, restart = own_records
    workshop.write(Dockerfile=f"FROM {base_busybox}\nCOPY a.py /\n", a_py="1")
    images = workshop.images
    images.build(workshop.source, silent)
    process.kill()

    def watch(progress: Progress) -> None:
        workshop.reported.append(progress)
        if "; retrying in " in progress.message:
            restart()

    image = images.push(workshop.source, watch)

    assert image == images.look(workshop.source)
    assert ["connection refused; retrying in 1 s"] == [
        each[-35:] for each in workshop.steps if "; retrying in " in each
    ]


def test_a_push_to_a_registry_that_stays_away_is_one_clear_error(workshop, own_records, base_busybox):
    """Three tries, then what the engine said and where the whole log is; what was built is kept for the next try."""
    process, _ = own_records
    workshop.write(Dockerfile=f"FROM {base_busybox}\nCOPY a.py /\n", a_py="1")
    images = workshop.images
    built = images.build(workshop.source, silent)
    process.kill()

    with failing("registry_connection_lost", varies=True) as failure:
        images.push(workshop.source, workshop.reported.append)

    head, *last = failure.value.message.splitlines()

    assert head.startswith(f"{workshop.source.key}: push ")
    assert head.endswith("connection refused")
    assert f"  The push refers to repository [{workshop.source.repository}]" in last
    assert 3 <= len(last) <= 20
    assert 2 == len([each for each in workshop.steps if "; retrying in " in each])
    assert [built.tag] == [each.tag for each in images.built() if each.key == workshop.source.key]


# --- what was built ------------------------------------------------------------------------------------------------


def test_the_list_says_what_was_pushed_and_which_step_changed(workshop, base_busybox):
    """Newest first: the first image has none before it, the second shares all but the code."""
    dockerfile = f"FROM {base_busybox}\nCOPY weights.pt /models/\nRUN echo packages > /packages\nCOPY *.py /app/\n"
    workshop.write(Dockerfile=dockerfile, weights_pt=os.urandom(2_000_000), handler_py="1")
    first = workshop.provide()
    workshop.write(handler_py="22")
    second = workshop.images.build(workshop.source, silent)
    newer, older = [each for each in workshop.images.built() if each.key == workshop.source.key]

    assert (first.tag, first.digest, None, None) == (older.tag, older.digest, older.changed_step, older.changed_bytes)
    assert (second.tag, None, "COPY … /app/", 2) == (newer.tag, newer.digest, newer.changed_step, newer.changed_bytes)
    assert 2_000_000 < newer.size


def test_prune_keeps_the_newest_and_what_is_not_vidctl_s(workshop, engine, base_busybox):
    """Of each spec's images the newest stay; others' images are not looked at, a registry is not touched."""
    workshop.write(Dockerfile=f"FROM {base_busybox}\nCOPY a.py /\n")
    workshop.write(a_py="0")
    stranger = engines.build(engine, f"vidctl-tests/{workshop.source.key}:1", workshop.folder)
    made = []
    for content in "123":
        workshop.write(a_py=content)
        made.append(workshop.provide())

    done = workshop.images.prune(workshop.images.outdated(keep=1, keys=[workshop.source.key]))

    assert [(made[1].tag, None), (made[0].tag, None)] == [(each.image.tag, each.kept_because) for each in done]
    assert [made[2].tag] == [each.tag for each in workshop.images.built() if each.key == workshop.source.key]
    assert engine.images(stranger)
    engine.remove_image(stranger)
    workshop.write(a_py="1")
    assert made[0] == workshop.images.look(workshop.source)


def test_prune_keeps_what_a_container_uses(workshop, engine, base_busybox):
    """The engine refuses, and its reason is told."""
    workshop.write(Dockerfile=f'FROM {base_busybox}\nCMD ["true"]\n')
    image = workshop.images.build(workshop.source, silent)
    container = engine.create_container(image.tag)["Id"]
    try:
        (kept,) = workshop.images.prune(workshop.images.outdated(keep=0, keys=[workshop.source.key]))

        assert image.tag == kept.image.tag
        assert container[:12] in kept.kept_because
    finally:
        engine.remove_container(container, force=True)
