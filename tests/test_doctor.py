"""`vidctl doctor`: each check by what it sees, none that changes or starts anything, none that hangs."""

from __future__ import annotations

import ast
import base64
import json
import os
import threading
from pathlib import Path

import pytest
from support.account import Account
from support.command import vidctl
from support.scripted import RESET, Reply, ok, serving

from vidctl.deploy.doctor import account as accounts
from vidctl.deploy.doctor import machine, models
from vidctl.deploy.doctor.finding import Finding, HealthCheck, examine
from vidctl.deploy.doctor.scope import scope_of
from vidctl.project import settings
from vidctl.runpod.image_registry import PushRight, RegistryUser, push_right
from vidctl.tasks.detect import weights as detect_weights
from vidctl.tasks.transcribe import weights as transcribe_weights

ROOT = Path(__file__).resolve().parent.parent
ANN = RegistryUser("ann", "secret")
MAY_PUSH = {"access": [{"type": "repository", "name": "you/worker", "actions": ["pull", "push"]}]}
MAY_PULL = {"access": [{"type": "repository", "name": "you/worker", "actions": ["pull"]}]}


def _token(claims: object) -> str:
    return "h." + base64.urlsafe_b64encode(json.dumps(claims).encode()).decode().rstrip("=") + ".s"


def _registry(token: Reply, *, upload: int = 401, cancelled: int = 204):
    """A registry that wants tokens, as the distribution project's spec/auth/token has it."""

    def answer(request):
        here = f"http://{request.headers['Host']}"
        if request.path.startswith("/token"):
            return token
        if request.path == "/v2/":
            challenge = f'Bearer realm="{here}/token",service="registry.test"'
            return Reply(401, headers=(("WWW-Authenticate", challenge),))
        location = (("Location", "/v2/you/worker/blobs/uploads/1?_state=secret"),)
        return Reply(upload, headers=location) if request.method == "POST" else Reply(cancelled)

    return answer


def _repository(url: str) -> str:
    return f"{url.removeprefix('http://')}/you/worker"


@pytest.mark.parametrize(
    ("answer", "state"),
    [
        (ok({"token": _token(MAY_PUSH)}), "granted"),
        (ok({"access_token": _token({"access": [{**MAY_PUSH["access"][0], "actions": ["*"]}]})}), "granted"),
        (ok({"token": _token(MAY_PULL)}), "denied"),
        (ok({"token": _token({"access": []})}), "denied"),
        (ok({"token": "opaque"}), "unsaid"),
        (ok({"token": "a.b.c"}), "unsaid"),
        (Reply(401), "refused"),
        (Reply(503), "unreachable"),
    ],
)
def test_the_right_to_push_is_what_the_registrys_token_grants(answer, state):
    with serving(_registry(answer)) as server:
        right = push_right(_repository(server.url), ANN)

    assert state == right.state
    assert {"GET"} == {request.method for request in server.requests}  # nothing is begun
    asked = server.requests[1]
    assert "scope=repository%3Ayou%2Fworker%3Apull%2Cpush" in asked.path
    assert asked.headers["Authorization"] == f"Basic {base64.b64encode(b'ann:secret').decode()}"


def test_an_identity_token_is_exchanged_as_docker_does():
    with serving(_registry(ok({"access_token": _token(MAY_PUSH)}))) as server:
        right = push_right(_repository(server.url), RegistryUser(identity_token="refresh"))

    assert "granted" == right.state
    assert b"grant_type=refresh_token" in server.requests[1].body
    assert b"refresh_token=refresh" in server.requests[1].body


def test_a_registry_without_tokens_takes_the_login_and_does_not_say_who_may_push():
    def answer(request):
        if request.headers.get("Authorization", "").startswith("Basic"):
            return Reply()
        return Reply(401, headers=(("WWW-Authenticate", 'Basic realm="here"'),))

    with serving(answer) as server:
        rights = [push_right(_repository(server.url), user).state for user in (ANN, None)]

    assert ["unsaid", "refused"] == rights


@pytest.mark.parametrize(
    ("upload", "cancelled", "right"),
    [
        (202, 204, PushRight("uploaded")),
        (202, 405, PushRight("uploaded", left="{url}/v2/you/worker/blobs/uploads/1")),
        (403, 204, PushRight("denied")),
    ],
)
def test_an_upload_is_begun_and_cancelled_where_that_is_wanted(upload, cancelled, right):
    """Where it cannot be cancelled, where it is left is told, without its secret."""
    with serving(_registry(ok({"token": _token(MAY_PUSH)}), upload=upload, cancelled=cancelled)) as server:
        found = push_right(_repository(server.url), ANN, begins_upload=True)

    assert PushRight(right.state, right.left and right.left.format(url=server.url)) == found
    wanted = ["POST /v2/you/worker/blobs/uploads/", "DELETE /v2/you/worker/blobs/uploads/1?_state=secret"]
    assert wanted[: 2 if upload == 202 else 1] == server.paths()[2:]


def test_a_check_that_hangs_fails_and_holds_no_other_up():
    never = threading.Event()

    def hangs() -> Finding:
        never.wait()
        return Finding("ok", "late")

    found = examine([HealthCheck("slow", hangs), HealthCheck("quick", lambda: Finding("ok", "seen"))], deadline_s=0.05)
    never.set()

    assert [("slow", "fail"), ("quick", "ok")] == [(name, each.state) for name, each in found]


def test_a_defect_of_a_check_is_not_taken_for_a_finding():
    def broken() -> Finding:
        raise RuntimeError("a defect")

    with pytest.raises(RuntimeError, match="a defect"):
        examine([HealthCheck("broken", broken)])


@pytest.mark.parametrize(
    ("ahead", "state", "seen"),
    [(0, "ok", "as"), (20, "ok", "20 s ahead"), (-45, "warn", "45 s behind"), (900, "fail", "900 s ahead")],
)
def test_the_clock_is_compared_with_runpods(ahead, state, seen):
    found = machine.clock_at("Sun, 29 Nov 2026 12:00:00 GMT", 1795953600 + ahead, host="runpod")

    assert (state, True) == (found.state, seen in found.seen)
    assert (found.fix is not None) is (state != "ok")


def test_a_clock_that_is_not_told_is_not_judged():
    assert "skipped" == machine.clock_at("", 0.0, host="runpod").state


def _scope(root: Path, target="local", **environ: str):
    return scope_of(settings.Project(root, environ), target)


@pytest.mark.parametrize(("mode", "state"), [(0o600, "ok"), (0o640, "warn"), (0o644, "warn")])
def test_a_dotenv_that_others_can_read_is_told_of(tmp_path, mode, state):
    (tmp_path / ".env").write_text("RUNPOD_API_KEY=k\n")
    (tmp_path / ".env").chmod(mode)

    found = machine.env_file(_scope(tmp_path))

    assert (state, f"chmod 600 {tmp_path / '.env'}" if state == "warn" else None) == (found.state, found.fix)


def _vision(root: Path, **env: str) -> None:
    (root / "configs").mkdir(exist_ok=True)
    (root / "workers" / "vision").mkdir(parents=True, exist_ok=True)
    (root / "workers" / "vision" / "Dockerfile").write_text("FROM scratch\n")
    document = {"name": "see-it", "task": "describe", "image": {"build": "workers/vision"}, "gpu": "L4", "env": env}
    (root / "configs" / "see.yaml").write_text(json.dumps(document))


@pytest.mark.parametrize(
    ("reply", "target", "state"),
    [
        (ok({"id": "some/model"}), "local", "ok"),
        (Reply(401), "local", "fail"),
        (Reply(404), "runpod", "fail"),
        (RESET, "local", "fail"),
        (RESET, "runpod", "warn"),  # RunPod's workers have another network
        (Reply(503), "runpod", "warn"),
    ],
)
def test_weights_are_asked_for_where_the_worker_asks(tmp_path, reply, target, state):
    with serving(lambda _: reply) as hub:
        _vision(tmp_path, MODEL_NAME="some/model", HF_ENDPOINT=hub.url)
        scope = _scope(tmp_path, target, RUNPOD_API_KEY="k")
        found = models.weights(scope, scope.specs[0])

    assert (state, ["GET /api/models/some/model/revision/main"]) == (found.state, hub.paths())
    assert (found.fix is None) is (state == "ok")


def test_weights_that_are_here_are_not_asked_for(tmp_path):
    (tmp_path / "mine").mkdir()
    _vision(tmp_path, MODEL_NAME="./mine")
    scope = _scope(tmp_path)

    assert "ok" == models.weights(scope, scope.specs[0]).state


def test_missing_weights_are_told_with_the_variable_that_names_others(tmp_path):
    _vision(tmp_path, MODEL_NAME="${MY_WEIGHTS:-/nowhere/here}")
    scope = _scope(tmp_path)

    found = models.weights(scope, scope.specs[0])

    assert ("fail", "export MY_WEIGHTS=/path/to/weights") == (found.state, found.fix)


def _constant(file: str, name: str):
    for node in ast.parse((ROOT / "workers" / file).read_text()).body:
        if isinstance(node, ast.Assign) and getattr(node.targets[0], "id", "") == name:
            return ast.literal_eval(node.value)
    raise AssertionError(name)


def test_what_is_asked_for_is_what_the_shipped_workers_download():
    pinned = set(_constant("whisper/weights.py", "REVISIONS"))
    names = ("tiny", "base", "small", "medium", "large-v2", "large-v3", "large-v3-turbo")

    assert _constant("yolo/weights.py", "RELEASE") == detect_weights.RELEASE
    assert pinned == {transcribe_weights.repository_of(name) for name in names}


def test_a_folder_is_examined_and_left_as_it_is(tmp_path):
    """No key, no engine, no runtime: each is told with what fixes it, and nothing is started or written."""
    _vision(tmp_path, MODEL_NAME="/nowhere")

    outcome = vidctl("doctor", "--json", cwd=tmp_path, VIDCTL_LOCAL_PORT="1", PATH=os.environ["PATH"])

    checks = {each["check"]: each for each in outcome.document["checks"]}
    assert (1, "vidctl.doctor/1", "local") == (outcome.status, outcome.document["schema"], outcome.document["target"])
    assert {"python", "vidctl", "project", ".env", "docker", "key", "graphql", "rest v2", "weights: see"} <= set(checks)
    assert "warn" == checks["docker"]["state"]
    assert "vidctl local up" == checks["key"]["fix"]
    assert "fail" == checks["weights: see"]["state"]
    assert all(each.get("fix") for each in checks.values() if each["state"] in ("warn", "fail"))
    assert {"configs", "workers", "state"} >= {path.name for path in tmp_path.iterdir()}
    assert not list((tmp_path / "state").rglob("*"))


def test_mistakes_in_specs_are_one_finding(tmp_path):
    (tmp_path / "configs").mkdir()
    (tmp_path / "configs" / "one.yaml").write_text("name: a-name\n")

    outcome = vidctl("doctor", "--target", "local", cwd=tmp_path)

    assert 1 == outcome.status
    assert "fix: vidctl validate" in outcome.stdout
    assert "configs/one.yaml:1:1" in outcome.stdout


def test_mistakes_in_the_projects_settings_are_told_too(tmp_path):
    (tmp_path / "configs").mkdir()
    (tmp_path / "vidctl.yaml").write_text("defaults: {detect: {cnf: 0.4}}\n")

    outcome = vidctl("doctor", "--json", "--target", "local", cwd=tmp_path)

    (found,) = (each for each in outcome.document["checks"] if each["check"] == "project")
    assert ("fail", "vidctl validate") == (found["state"], found["fix"])
    assert "vidctl.yaml:1:21" in found["seen"]


def test_a_real_registry_lets_an_upload_begin_and_be_cancelled(registry, locked_registry):
    login = RegistryUser(locked_registry.user, locked_registry.password)
    asked = [
        (f"{registry}/t/doctor", None, True),
        (f"{locked_registry.host}/t/doctor", login, False),
        (f"{locked_registry.host}/t/doctor", login, True),
        (f"{locked_registry.host}/t/doctor", RegistryUser(login.name, "wrong"), True),
    ]

    found = [push_right(repository, user, begins_upload=begins) for repository, user, begins in asked]

    assert [PushRight(state) for state in ("uploaded", "unsaid", "uploaded", "refused")] == found


@pytest.fixture
def account(project, account_runtime):
    return Account.at(project, "graphql", account_runtime)


def test_what_the_key_reads_is_told_of_both_planes(account):
    outcome = account.run("doctor", "--json")

    checks = {each["check"]: each for each in outcome.document["checks"]}
    for plane in ("graphql", "rest v2"):
        assert "ok" == checks[plane]["state"], checks[plane]
        assert "0 endpoints" in checks[plane]["seen"]
        assert "write access is not probed" in checks[plane]["seen"]
    assert "ok" == checks["clock"]["state"]
    assert {"skipped"} == {checks[name]["state"] for name in ("worker quota", "balance")}  # the runtime has no money


def test_what_the_key_may_not_read_fails_where_it_is_needed(account):
    """A key without the right to one of them on REST v2, which is not in use, is a warning; on GraphQL a failure."""

    def answer(request):
        if request.path.startswith("/v2/registries") or b"containerRegistryCreds" in request.body:
            return Reply(403, b'{"detail": "not allowed"}')
        return account.forward(request)

    with account.proxy(answer) as url:
        outcome = account.run("doctor", "--json", url=url)

    checks = {each["check"]: each for each in outcome.document["checks"]}
    assert (1, "fail", "warn") == (outcome.status, checks["graphql"]["state"], checks["rest v2"]["state"])
    assert "registry logins" in checks["graphql"]["seen"]


def test_a_retired_graphql_leaves_rest_and_no_balance(account):
    def answer(request):
        return Reply(410) if request.path == "/graphql" else account.forward(request)

    with account.proxy(answer) as url:
        outcome = account.run("doctor", "--json", url=url)

    checks = {each["check"]: each["state"] for each in outcome.document["checks"]}
    told = tuple(checks[name] for name in ("graphql", "rest v2", "worker quota", "balance"))
    assert ("warn", "ok", "skipped", "skipped") == told


@pytest.mark.parametrize(
    ("dollars", "spend", "state"), [(25.0, 0.0, "ok"), (10.0, 1.0, "warn"), (0.0, 0.0, "fail"), (None, None, "skipped")]
)
def test_the_balance_is_judged_by_what_is_spent(tmp_path, dollars, spend, state):
    myself = {"clientBalance": dollars, "currentSpendPerHr": spend, "spendLimit": 80}
    with serving(lambda _: ok({"data": {"myself": myself}})) as server:
        scope = _scope(tmp_path, "runpod", RUNPOD_API_KEY="k", RUNPOD_API_BASE_URL=server.url)
        found = accounts.balance(scope)

    assert state == found.state
