"""Workers as containers of their image: a real engine, a real image, RunPod's own worker loop in it."""

import hashlib
import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from support.engine import build
from support.runtime import LocalRuntime, until

from vidctl.local.workers.containers import RUNTIME_LABEL, container_environment

ECHO = Path(__file__).parent.parent / "handlers" / "echo" / "handler.py"
# As small images are: a user without a name, and no folder to write to.
DOCKERFILE = """\
FROM {base}
RUN python -m pip install --no-cache-dir runpod==1.12.0
ENV HOME=/app
WORKDIR /app
COPY handler.py .
USER 10001
CMD ["python", "-u", "handler.py"]
"""


@pytest.fixture(scope="session")
def echo_image(engine, base_python, tmp_path_factory):
    """An image of the echo worker.  The engine keeps its layers, so that the next run need not install anything."""
    folder = tmp_path_factory.mktemp("echo")
    (folder / "Dockerfile").write_text(DOCKERFILE.format(base=base_python))
    shutil.copy(ECHO, folder)
    return build(engine, "vidctl-tests/echo:latest", folder)


@pytest.fixture
def containers(engine, own_runtime):
    """The containers, running or not, that belong to the test's runtime; what is left of them goes with it."""
    label = f"{RUNTIME_LABEL}={own_runtime.state_dir / 'workers'}"

    def all_of_them():
        return [
            engine.inspect_container(found["Id"]) for found in engine.containers(all=True, filters={"label": label})
        ]

    yield all_of_them
    own_runtime.close()
    for left in all_of_them():
        engine.remove_container(left["Id"], force=True)


def unhealthy(runtime, endpoint):
    """The worker that stands for those that do not come up."""
    return until(lambda: next((one for one in runtime.workers(endpoint) if one["status"] == "UNHEALTHY"), None))


def test_a_container_of_the_image_answers(engine, own_runtime, echo_image, containers):
    """It knows what a worker must know, and nothing of this machine but the way to the runtime."""
    endpoint = own_runtime.image_endpoint(echo_image, name="echo", env={"MODEL": "small"})
    answer = own_runtime.runsync(endpoint, {"question": 1})
    [container] = containers()
    of_image = {variable.partition("=")[0] for variable in engine.inspect_image(echo_image)["Config"]["Env"]}
    given = {variable.partition("=")[0]: variable for variable in container["Config"]["Env"]}

    assert {"echo": {"question": 1}, "greeting": "hello"} == answer["output"]
    assert (f"/vidctl-{answer['workerId']}", "host") == (container["Name"], container["HostConfig"]["NetworkMode"])
    assert "MODEL=small" == given["MODEL"]
    assert {"MODEL"} == {name for name in given if not name.startswith("RUNPOD_")} - of_image


def test_a_stopped_runtime_leaves_no_container(own_runtime, echo_image, containers):
    endpoint = own_runtime.image_endpoint(echo_image, name="echo")
    own_runtime.runsync(endpoint, {"question": 1})
    before = len(containers())
    own_runtime.stop()

    assert (1, []) == (before, containers())


def test_the_containers_of_a_killed_runtime_go_at_its_next_start(own_runtime, echo_image, containers):
    endpoint = own_runtime.image_endpoint(echo_image, name="echo")
    own_runtime.runsync(endpoint, {"question": 1})
    own_runtime.kill()
    [orphan] = containers()
    own_runtime.start()

    assert orphan["Id"] not in [container["Id"] for container in containers()]
    assert "COMPLETED" == own_runtime.runsync(endpoint, {"question": 1})["status"]


def test_down_takes_away_what_a_killed_runtime_left(engine, project, base_busybox):
    """And nothing else: containers of another runtime, or of nobody, are not its own."""
    port = project.run("local", "up", "--json").document["port"]
    home = Path(project.environ["VIDCTL_STATE_DIR"]) / "local" / str(port)
    (home / "containers").touch()
    ours, others = (
        engine.create_container(base_busybox, labels={RUNTIME_LABEL: str(workers)})["Id"]
        for workers in (home / "workers", home / "workers2")
    )
    project.run("local", "down")
    left = {container["Id"] for container in engine.containers(all=True)}
    engine.remove_container(others)

    assert {others} == left & {ours, others}


def test_a_container_that_is_killed_is_followed_by_another(engine, own_runtime, echo_image, containers):
    endpoint = own_runtime.image_endpoint(echo_image, name="echo", workers_max=1)
    first = own_runtime.runsync(endpoint, {"question": 1})
    engine.kill(f"vidctl-{first['workerId']}")
    second = own_runtime.runsync(endpoint, {"question": 1})

    assert ("COMPLETED", False) == (second["status"], first["workerId"] == second["workerId"])


def test_a_container_that_ends_again_and_again_shows_its_last_words(own_runtime, echo_image, containers):
    command = """python -c "print('no weights here'); raise SystemExit(3)" """
    endpoint = own_runtime.image_endpoint(echo_image, name="crashing", command=command)
    own_runtime.run(endpoint, {"question": 1})
    worker = unhealthy(own_runtime, endpoint)

    assert "the worker exited with status 3" == worker["error"]
    assert "no weights here" in worker["lastLog"]


def test_a_container_that_cannot_start_is_said_and_removed(engine, own_runtime, base_busybox, containers, tmp_path):
    (tmp_path / "Dockerfile").write_text(f"FROM {base_busybox}\nUSER stranger\nCMD sh\n")
    stranger = build(engine, "vidctl-tests/stranger:latest", tmp_path)
    endpoint = own_runtime.image_endpoint(stranger, name="stranger")
    own_runtime.run(endpoint, {"question": 1})
    error = unhealthy(own_runtime, endpoint)["error"]
    own_runtime.stop()

    assert error.endswith("unable to find user stranger: no matching entries in passwd file")
    assert [] == containers()


def test_an_image_that_is_nowhere_is_said_with_what_to_do(own_runtime, registry, containers):
    endpoint = own_runtime.image_endpoint(f"{registry}/t/nowhere:1", name="nowhere")
    own_runtime.run(endpoint, {"question": 1})
    error = unhealthy(own_runtime, endpoint)["error"]

    assert error == (
        f"image {registry}/t/nowhere:1 not found on the Docker engine, and pulling it failed: "
        f"manifest for {registry}/t/nowhere:1 not found: manifest unknown: manifest unknown "
        "(build it on this machine, or push it to a registry that the engine can pull from)"
    )


def test_a_private_image_is_pulled_with_the_login_of_the_template(engine, own_runtime, echo_image, locked_registry):
    """As RunPod does, with the credentials that the template names and no others."""
    name = f"{locked_registry.host}/t/{own_runtime.port}"
    login = {"username": locked_registry.user, "password": locked_registry.password}
    engine.tag(echo_image, name, "1")
    pushed = list(engine.push(name, "1", auth_config=login, stream=True, decode=True))
    engine.remove_image(f"{name}:1")
    without = own_runtime.image_endpoint(f"{name}:1", name="without")
    own_runtime.run(without, {"question": 1})
    refusal = unhealthy(own_runtime, without)["error"]
    with_login = own_runtime.image_endpoint(f"{name}:1", name="with", login=own_runtime.login(name="private", **login))
    answer = own_runtime.runsync(with_login, {"question": 2})
    own_runtime.stop()
    engine.remove_image(f"{name}:1")

    assert "aux" in pushed[-1]
    assert "no basic auth credentials" in refusal
    assert {"echo": {"question": 2}, "greeting": "hello"} == answer["output"]


@pytest.mark.runtime
def test_without_an_engine_a_worker_says_what_is_missing(tmp_path):
    socket = f"unix://{tmp_path}/docker.sock"
    runtime = LocalRuntime(tmp_path / "runtime", environment={"DOCKER_HOST": socket})
    runtime.start()
    endpoint = runtime.image_endpoint("anything:1", name="anything")
    runtime.run(endpoint, {"question": 1})
    error = unhealthy(runtime, endpoint)["error"]
    runtime.close()

    assert error.startswith(
        f"cannot connect to the Docker engine at {socket}: [Errno 2] No such file or directory (start Docker"
    )
    assert 1 == len(error.splitlines())


@pytest.mark.runtime
def test_the_engine_of_a_docker_context_is_asked(tmp_path):
    """`docker context use`, beside a login in the same file that docker-py cannot read."""
    socket = f"unix://{tmp_path}/colima.sock"
    meta = tmp_path / "contexts" / "meta" / hashlib.sha256(b"colima").hexdigest()
    meta.mkdir(parents=True)
    (meta / "meta.json").write_text(json.dumps({"Name": "colima", "Endpoints": {"docker": {"Host": socket}}}))
    (tmp_path / "config.json").write_text(json.dumps({"currentContext": "colima", "auths": {"one.example": None}}))
    environment = {"DOCKER_HOST": "", "DOCKER_CONTEXT": "", "DOCKER_CONFIG": str(tmp_path)}
    runtime = LocalRuntime(tmp_path / "runtime", environment=environment)
    runtime.start()
    endpoint = runtime.image_endpoint("anything:1", name="anything")
    runtime.run(endpoint, {"question": 1})
    error = unhealthy(runtime, endpoint)["error"]
    runtime.close()

    assert error.startswith(
        f"cannot connect to the Docker engine at {socket}: [Errno 2] No such file or directory (start Docker"
    )


def test_a_container_gets_of_the_environment_the_proxies_alone():
    inherited = {"HOME": "/home/me", "PATH": "/bin", "SSL_CERT_FILE": "/x", "KEY": "secret", "HTTP_PROXY": "http://p"}

    assert container_environment({"MODEL": "small"}, inherited=inherited) == {
        "HTTP_PROXY": "http://p",
        "NO_PROXY": "127.0.0.1,localhost",
        "no_proxy": "127.0.0.1,localhost",
        "MODEL": "small",
    }


def test_a_runtime_that_runs_no_containers_does_without_docker():
    """docker-py and what it brings take longer to import than all the rest."""
    script = "import sys, vidctl.local.__main__; print([name in sys.modules for name in ('uvicorn', 'docker')])"
    loaded = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)

    assert "[True, False]\n" == loaded.stdout


def test_the_isolation_is_what_was_asked_for_last(project):
    """`up` alone leaves it as it is; with another one it starts the runtime again."""
    first = project.run("local", "up", "--isolation", "container", "--json").document
    same = project.run("local", "up", "--json").document
    shown = project.run("local", "status")
    other = project.run("local", "up", "--isolation", "process", "--json").document

    assert ("container", first) == (first["isolation"], same)
    assert (
        f"running at {first['url']} (process {first['pid']}, isolation: container, rate limits: as RunPod's)"
        in shown.stdout
    )
    assert ("process", False) == (other["isolation"], first["pid"] == other["pid"])
