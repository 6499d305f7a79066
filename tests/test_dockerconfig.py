"""Which engine and which logins are used: those that `docker` would use, whatever is in its folder."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest
from support.failing import failing

from vidctl.docker import docker_config

LOGIN = {"username": "me", "password": "a:b"}


def encoded(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


def config(folder: Path, document: object) -> docker_config.Config:
    text = document if isinstance(document, str) else json.dumps(document)
    (folder / "config.json").write_text(text)
    return docker_config.read({"DOCKER_CONFIG": str(folder)})


def context(folder: Path, name: str, document: object) -> Path:
    """As `docker context create` writes it; the folder of its certificates."""
    place = hashlib.sha256(name.encode()).hexdigest()
    (folder / "contexts" / "meta" / place).mkdir(parents=True)
    (folder / "contexts" / "meta" / place / "meta.json").write_text(json.dumps(document))
    return folder / "contexts" / "tls" / place / "docker"


# --- the engine -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("chosen", "variables", "expected"),
    [
        (None, {}, ("unix:///var/run/docker.sock", None)),
        ("colima", {}, ("unix:///home/me/.colima/default/docker.sock", "colima")),
        ("colima", {"DOCKER_CONTEXT": "rootless"}, ("unix:///run/user/1000/docker.sock", "rootless")),
        ("colima", {"DOCKER_CONTEXT": "default"}, ("unix:///var/run/docker.sock", None)),
        ("colima", {"DOCKER_HOST": "tcp://h:1", "DOCKER_CONTEXT": "rootless"}, ("tcp://h:1", None)),
        (
            "colima",
            {"DOCKER_HOST": "", "DOCKER_CONTEXT": ""},
            ("unix:///home/me/.colima/default/docker.sock", "colima"),
        ),
    ],
)
def test_the_engine_is_that_of_docker_s_own_command_line(tmp_path, chosen, variables, expected):
    """`docker context create` and `use` say where; so do the variables, in docker's order."""
    program = shutil.which("docker")
    if program is None:
        pytest.skip("docker's command line is not installed: apt-get install docker.io")
    environ = {"DOCKER_CONFIG": str(tmp_path), "PATH": os.environ["PATH"]}

    def docker(*words: str, **more: str) -> str:
        done = subprocess.run([program, "context", *words], env=environ | more, capture_output=True, text=True)
        assert 0 == done.returncode, done.stderr
        return done.stdout.strip()

    docker("create", "colima", "--docker", "host=unix:///home/me/.colima/default/docker.sock")
    docker("create", "rootless", "--docker", "host=unix:///run/user/1000/docker.sock")
    if chosen:
        docker("use", chosen)

    found = docker_config.engine_address(environ | variables, docker_config.read(environ))

    assert expected == (found.host, found.context)
    assert found.host == docker("inspect", "--format", "{{.Endpoints.docker.Host}}", **variables)


def test_a_context_s_certificates_are_used(tmp_path):
    """An engine elsewhere, with a key of its own; and one that the user does not verify."""
    for name, is_unverified in (("far", False), ("near", True)):
        endpoints = {"docker": {"Host": "tcp://10.0.0.2:2376", "SkipTLSVerify": is_unverified}}
        place = context(tmp_path, name, {"Name": name, "Metadata": {}, "Endpoints": endpoints})
        place.mkdir(parents=True)
        for file in ("ca.pem", "cert.pem", "key.pem"):
            (place / file).write_text("")
        environ = {"DOCKER_CONFIG": str(tmp_path), "DOCKER_CONTEXT": name}

        tls = docker_config.engine_address(environ, docker_config.read(environ)).tls

        files = (str(place / "ca.pem"), (str(place / "cert.pem"), str(place / "key.pem")))
        assert (*files, not is_unverified) == (tls["ca_cert"], tls["client_cert"], tls["verify"])


@pytest.mark.parametrize("document", [None, {"Name": "gone"}, {"Endpoints": {"docker": "unix:///x"}}])
def test_a_context_that_is_none_is_named_with_who_names_it(tmp_path, document):
    """Not the engine at the usual socket: nobody chose it."""
    if document:
        context(tmp_path, "gone", document)
    known = config(tmp_path, {"currentContext": "gone"})
    command = "docker context inspect gone" if document else "docker context ls"
    for origin, variables in ((tmp_path / "config.json", {}), ("DOCKER_CONTEXT", {"DOCKER_CONTEXT": "gone"})):
        with failing("image_error", "context gone ", origin, command):
            docker_config.engine_address({"DOCKER_CONFIG": str(tmp_path), **variables}, known)


def test_without_a_home_folder_there_is_the_usual_engine():
    """A container's user without a name, for one."""
    if os.geteuid() != 0:
        pytest.skip("only root may become a user without a name")
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:  # nothing may leave it: it is a copy of the test run
        try:
            os.setuid(54321)
            os.environ.pop("HOME", None)
            os.write(writer, docker_config.engine_address({}, docker_config.read({})).host.encode())
        except BaseException as error:  # noqa: BLE001
            os.write(writer, repr(error).encode())
        finally:
            os._exit(0)
    os.waitpid(child, 0)

    assert b"unix:///var/run/docker.sock" == os.read(reader, 1000)


# --- the file -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text",
    ["{", "[]", None],
)
def test_a_config_that_cannot_be_read_is_named(tmp_path, text):
    """Not the engine, which has nothing to do with it."""
    if text is None:
        (tmp_path / "config.json").mkdir()
    # What is wrong is in the words of Python's own reader, or of the system.
    with failing("image_error", f"{tmp_path / 'config.json'}: ", varies=text != "[]"):
        config(tmp_path, text) if text else docker_config.read({"DOCKER_CONFIG": str(tmp_path)})


@pytest.mark.parametrize(
    ("entry", "expected"),
    [
        ({"auth": encoded("me:a:b")}, LOGIN),
        ({"auth": encoded("me:a:b\0\0")}, LOGIN),
        ({"auth": "", "username": "me", "password": "a:b"}, LOGIN),
        ({"username": "me", "password": "a:b", "email": None}, LOGIN),
        ({"identitytoken": "t", "auth": encoded("me:")}, {"IdentityToken": "t"}),
        ({"registrytoken": "t"}, {"registrytoken": "t"}),
        ({}, {}),
        ({"auth": ""}, {}),
        ({"email": "me@example.com"}, {}),
        (None, {}),
        ("me", {}),
    ],
)
def test_every_kind_of_entry_is_read(tmp_path, entry, expected):
    """As `docker` does: what is no login is none, beside those that are."""
    known = config(tmp_path, {"auths": {"other.example": {}, "https://one.example/v1/": entry, "null.example": None}})

    assert expected == known.login("one.example")
    assert {} == known.login("other.example") == known.login("null.example") == known.login("two.example")


@pytest.mark.parametrize("auth", ["%", "é", encoded("nobody"), 5, encoded("me")[:-1]])
def test_an_entry_that_cannot_be_read_is_named_where_it_is_wanted(tmp_path, auth):
    """And stops nothing else."""
    known = config(tmp_path, {"auths": {"one.example": {"auth": auth}, "two.example": {"auth": encoded("me:a:b")}}})

    assert LOGIN == known.login("two.example")
    with failing("image_error", f"{tmp_path / 'config.json'}: ", "one.example", "docker login one.example"):
        known.login("one.example")


@pytest.mark.parametrize("document", ["", "{}", {"auths": None}, {"auths": []}, {"credHelpers": [], "proxies": {}}])
def test_a_config_without_logins_has_none(tmp_path, document):
    """Empty, or with other things in it."""
    known = config(tmp_path, document)

    assert ({}, None) == (known.login("docker.io"), known.helper("docker.io"))


@pytest.mark.parametrize("name", ["https://index.docker.io/v1/", "index.docker.io", "docker.io"])
def test_docker_hub_has_several_names(tmp_path, name):
    """All of them are one registry."""
    known = config(tmp_path, {"auths": {name: {"auth": encoded("me:a:b")}}, "credHelpers": {docker_config.HUB: "pass"}})

    assert (LOGIN, "pass") == (known.login("docker.io"), known.helper("docker.io"))
