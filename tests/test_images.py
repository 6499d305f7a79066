"""From a folder to a registry, with a real engine and real registries."""

from __future__ import annotations

import http.client
import io
import json
import os
import shutil
import stat
import subprocess
import tarfile
from dataclasses import replace
from pathlib import Path
from uuid import uuid4

import pytest
from support import engine as engines

from vidctl.errors import ImageError
from vidctl.images import Images, Login, Source
from vidctl.progress import Progress, silent


class Workshop:
    """A worker's folder, the images made of it, and what was told meanwhile."""

    def __init__(self, root: Path, repository: str | None, **environ: str) -> None:
        self.folder = root / "worker"
        self.folder.mkdir(parents=True)
        self.logs = root / "logs"
        self.source = Source(key=f"k{uuid4().hex}", folder=self.folder, repository=repository)
        self.environ = {**os.environ, **environ}
        self.told: list[Progress] = []

    def write(self, **files: str | bytes) -> None:
        """`Dockerfile=…, a_py=…`"""
        for name, content in files.items():
            path = self.folder / name.replace("_", ".")
            path.write_bytes(content.encode() if isinstance(content, str) else content)

    @property
    def images(self) -> Images:
        """As a new command would have them."""
        return Images(self.environ, logs=self.logs)

    def provide(self):
        self.told.clear()
        return self.images.provide(self.source, self.told.append)

    def failure(self) -> ImageError:
        with pytest.raises(ImageError) as found:
            self.provide()
        return found.value

    @property
    def steps(self) -> list[str]:
        """What a log without a terminal shows."""
        return [progress.message for progress in self.told if not progress.is_passing]

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
    workshop.environ["DOCKER_HOST"] = os.environ["DOCKER_HOST"]
    second = workshop.provide()

    assert first == second == workshop.images.look(workshop.source)
    assert [] == workshop.told
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


def test_one_line_per_step_and_per_layer(workshop, base_busybox):
    """Without a terminal a build reads as the Dockerfile does; what RUN says is passing, and whole in the log."""
    workshop.write(Dockerfile=f"FROM {base_busybox}\nCOPY a.py /\nRUN echo sound; echo noise >&2\n", a_py="1")
    image = workshop.provide()
    passing = [progress.message for progress in workshop.told if progress.is_passing]

    assert [f"1/6 FROM {base_busybox}", "2/6 COPY a.py /", "3/6 RUN echo sound; echo noise >&2"] == workshop.steps[:3]
    assert f"{image.tag} is in the registry: {image.digest.partition('@')[2]}" == workshop.steps[-1]
    assert {"3/6 sound", "3/6 noise"} <= set(passing)
    assert {"sound", "noise"} <= set(workshop.all_logs().splitlines())
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
    """The tag follows the registry, and the build stands on what the registry has, not on what this engine remembers."""
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
    config = {"architecture": "arm64", "os": "linux", "config": {}, "rootfs": {"type": "layers", "diff_ids": []}}
    layer = _tar_of("a", b"1")
    import hashlib

    config["rootfs"]["diff_ids"] = ["sha256:" + hashlib.sha256(layer).hexdigest()]
    manifest = [{"Config": "config.json", "RepoTags": [f"{name}:1"], "Layers": ["layer.tar"]}]
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
    try:
        workshop.write(Dockerfile=f"FROM {name}:1\nCOPY a.py /\n", a_py="1")

        assert "linux/amd64" in workshop.failure().message
        assert workshop.images.look(workshop.source).digest is None
        assert [] == [each for each in workshop.images.built() if workshop.source.repository in each.tag]
    finally:
        engine.remove_image(f"{name}:1", force=True)
