"""What a deploy promises of a control plane, both of them, through the command: said once, in its place, and kept."""

from __future__ import annotations

import dataclasses
import json
import os
import re
import signal
import subprocess
import tempfile
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support.account import Account, is_write
from support.command import VIDCTL
from support.failing import failed
from support.project import ended
from support.runtime import API_KEY, LocalRuntime, until
from support.scripted import Reply, forward, ok, serving

from vidctl import spec
from vidctl.deploy import apply, checks, connect, planning
from vidctl.project.settings import Project as ProjectSettings
from vidctl.runpod import gpus
from vidctl.runpod.graphql import GraphQL
from vidctl.runpod.http import Http
from vidctl.runpod.rest import Rest
from vidctl.runpod.types import STAMP

PLANES = ["graphql", "rest"]
SECRETS = {"HF_TOKEN": "hf_one"}


# --- apply, apply again, and what somebody edits in between --------------------------------------------------------


@pytest.fixture(scope="module")
def runtime(tmp_path_factory):
    runtime = LocalRuntime(tmp_path_factory.mktemp("promises") / "runtime")
    runtime.start()
    runtime.login(name="hub", username="me", password="hunter22")
    runtime.post("/v2/network-volumes", {"name": "weights", "size": 10, "dataCenter": "EU-RO-1"})
    yield runtime
    runtime.close()


@pytest.fixture(scope="module")
def watched(runtime):
    """The runtime behind a server that remembers what was asked, and says the same in other words."""

    def answer(request):
        reply = forward(request, runtime.url)
        return dataclasses.replace(reply, body=json.dumps(_reworded(json.loads(reply.body))).encode())

    with serving(answer) as server:
        yield server


def _reworded(said):
    """What RunPod may as well say: lists that have no order in another, ` -fb` behind a name, null for empty."""
    if isinstance(said, list):
        return [_reworded(each) for each in said]
    if not isinstance(said, dict):
        return said
    other = {key: _reworded(value) for key, value in said.items()}
    for key in {"dataCenterIds", "pools", "excludedTypes", "allowedCudaVersions", "locations"} & set(said):
        value = said[key]
        other[key] = ",".join(value.split(",")[::-1]) if isinstance(value, str) else (value or [])[::-1]
    for key in {"networkVolumeId", "containerRegistryAuthId", "locations"} & set(said):
        other[key] = other[key] or None
    if {"gpuIds", "scaling"} & set(said):
        other["name"] = f"{said['name']} -fb"
    return other


_names = st.sampled_from([card.id for pool in gpus.POOLS for card in pool.gpu_types] + [pool.id for pool in gpus.POOLS])
_values = st.text(st.characters(exclude_categories=("Cs", "Cc"), exclude_characters="$"), max_size=8)


def _distinct_pools(names):
    return len({gpus.gpu_ids([name]).partition(",")[0] for name in names}) == len(names)


@st.composite
def documents(draw):
    """Anything that a file in configs/ may say of an endpoint that starts no worker by itself."""
    volume = draw(st.sampled_from([None, "weights"]))
    places = ["EU-RO-1"] if volume else ["EU-RO-1", "EU-CZ-1", "US-KS-2"]
    document = {
        "name": "any",
        "image": draw(st.sampled_from(["docker.io/me/any:1", "me/any@sha256:" + "a" * 64])),
        "gpu": {
            "names": draw(st.lists(_names, min_size=1, max_size=3, unique=True).filter(_distinct_pools)),
            "count": draw(st.integers(1, 4)),
            "exact": draw(st.booleans()),
        },
        "workers": {"min": 0, "max": draw(st.integers(0, 5))},
        "scaling": draw(
            st.builds(lambda n: {"queue_delay": n}, st.integers(1, 60))
            | st.builds(lambda n: {"request_count": n}, st.integers(1, 60))
        ),
        "timeouts": {"idle": f"{draw(st.integers(1, 3600))}s", "execution": f"{draw(st.integers(5, 9999))}s"},
        "disk": f"{draw(st.integers(1, 500))}GB",
        "env": draw(st.dictionaries(st.sampled_from(["MODEL", "A", "EMPTY", "Z_9"]), _values)),
        "secrets": draw(st.sampled_from([[], ["HF_TOKEN"]])),
        "flashboot": draw(st.booleans()),
        "data_centers": draw(st.lists(st.sampled_from(places), max_size=3, unique=True)),
        "cuda": draw(st.lists(st.sampled_from(["12.8", "12.9", "13.0"]), max_size=3, unique=True)),
        "network_volume": volume,
        "registry_auth": draw(st.sampled_from([None, "hub"])),
    }
    return {key: value for key, value in document.items() if value is not None}


def _edits(live):
    """Every field that somebody may change in RunPod's console, each with values that it does not have now."""
    template = live.template
    here = [("image", "me/other:2"), ("docker_args", "sh"), ("container_disk_gb", template.container_disk_gb + 1)]
    if template.registry_auth_id:
        here.append(("registry_auth_id", ""))
    for field, value in here:
        yield field, dataclasses.replace(live, template=dataclasses.replace(template, **{field: value}))
    for name in [*template.env, "ADDED"]:
        # With another's stamp it would be another's.
        for value in (None,) if name == STAMP else (None, template.env.get(name, "") + "x"):
            env = {key: old for key, old in template.env.items() if key != name}
            env = env if value is None else {**env, name: value}
            if env != template.env:
                yield f"env.{name}", dataclasses.replace(live, template=dataclasses.replace(template, env=env))
    others = {
        "gpu_ids": "AMPERE_80" if live.gpu_ids != "AMPERE_80" else "ADA_24",
        "gpu_count": live.gpu_count + 1,
        "workers_max": live.workers_max + 1,
        "execution_timeout_ms": 0,
        "scaler_type": "QUEUE_DELAY" if live.scaler_type == "REQUEST_COUNT" else "REQUEST_COUNT",
        "scaler_value": live.scaler_value + 1,
        "locations": () if live.locations else ("EU-RO-1",),
        "cuda_versions": () if live.cuda_versions else ("12.8",),
        "flashboot": not live.flashboot,
    }
    if live.scaler_type == "QUEUE_DELAY":  # RunPod has no idle timeout for those that count requests
        others["idle_timeout_s"] = live.idle_timeout_s % 3600 + 1
    if live.network_volume_id:
        others["network_volume_id"] = ""
    for field, value in others.items():
        yield field, dataclasses.replace(live, **{field: value})


def _plane(name, url):
    return {"graphql": GraphQL, "rest": Rest}[name](Http(API_KEY), url, sleep=lambda _: None)


class _Deployer:
    """One spec in a project of its own, planned and deployed as the command does it."""

    def __init__(self, root, document, plane, url):
        (root / "configs").mkdir()
        path = root / "configs" / "any.yaml"
        path.write_text(json.dumps(document))
        urls = {"RUNPOD_API_BASE_URL": url, "RUNPOD_ENDPOINT_BASE_URL": f"{url}/v2"}
        environ = {"RUNPOD_API_KEY": API_KEY, "VIDCTL_CONTROL": plane, **urls}
        self.place = connect.deploy_target(ProjectSettings(root, environ), "runpod")
        self.spec = spec.load(path, environ={})

    def plan(self):
        known = checks.check([self.spec], self.place, secrets=SECRETS, adopts=False)
        (planned,) = planning.plan_all([self.spec], self.place, known, secrets=SECRETS)
        return planned.plan

    def apply(self):
        apply.deploy(self.spec, self.place, self.plan(), secrets=SECRETS, choices=apply.Choices(waits=False))


@pytest.mark.parametrize("plane", PLANES)
@settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
@given(document=documents(), console=st.sampled_from(PLANES), data=st.data())
def test_apply_apply_writes_nothing_and_any_live_edit_is_drift(runtime, watched, plane, document, console, data):
    """Over specs, through a real control plane: no difference that is not there, and none that is there is missed."""
    sweeper = _plane("graphql", runtime.url)
    for endpoint in sweeper.account().endpoints:
        sweeper.delete(endpoint)
    with tempfile.TemporaryDirectory() as root:
        deployer = _Deployer(Path(root), document, plane, watched.url)
        deployer.apply()
        watched.requests.clear()
        assert () == deployer.plan().changes
        deployer.apply()
        assert [] == [request for request in watched.requests if is_write(request)]

        (live,) = _plane(console, runtime.url).account().endpoints
        live = dataclasses.replace(live, idle_timeout_s=deployer.spec.timeouts.idle_s)  # not shown where not in use
        field, edited = data.draw(st.sampled_from(list(_edits(live))))
        _plane(console, runtime.url).save(edited, before=live)
        # Of a secret's value the journal knows nothing, so whose doing a change is cannot be told.
        is_told = field != "env.HF_TOKEN" or "HF_TOKEN" not in edited.template.env
        # REST v2 gives an endpoint whose container it changes a template of another name.
        noise = {"name"} if (plane, console) == ("graphql", "rest") else set()
        seen = [(each.field, each.is_drift) for each in deployer.plan().changes if each.field not in noise]

        assert [(field, is_told)] == seen
        deployer.apply()
        assert () == deployer.plan().changes


# --- through the command -------------------------------------------------------------------------------------------

PLAIN = {
    "name": "plain",
    "image": "docker.io/me/echo:1",
    "gpu": ["L4"],
    "workers": {"min": 0, "max": 0},
}


def write(project, key, **fields):
    """configs/<key>.yaml, a line for each key; JSON is YAML."""
    document = {**PLAIN, "name": key, **fields}
    (project.root / "configs" / f"{key}.yaml").write_text(json.dumps(document, indent=1))


@pytest.fixture(params=PLANES)
def account(request, project, account_runtime):
    """A RunPod account, and a spec of a prebuilt image that starts no worker."""
    write(project, "plain")
    return Account.at(project, request.param, account_runtime)


@pytest.fixture
def old_account(project, account_runtime):
    """The same, for commands that begin with GraphQL."""
    write(project, "plain")
    return Account.at(project, "graphql", account_runtime)


def test_retired_graphql_is_said_once_and_the_deploy_goes_on(old_account):
    """What GraphQL made is changed, and something new made beside it, over REST v2; nothing of it is done twice."""
    old_account.run("deploy", "plain")
    write(old_account.project, "plain", workers={"min": 0, "max": 2})
    write(old_account.project, "other")
    seen = []

    def retired(request):
        seen.append(f"{request.method} {request.path}")
        return Reply(410, b"{}") if request.path == "/graphql" else old_account.forward(request)

    with old_account.proxy(retired) as url:
        done = old_account.run("deploy", "--all", "--yes", url=url)
        again = old_account.run("deploy", "--all", "--json", url=url)

    assert (0, 0) == (done.status, again.status), done.stderr
    assert 1 == done.stderr.count("RunPod has switched its GraphQL API off: using REST v2")
    assert "" == again.stderr
    assert [True, True] == [each["up_to_date"] for each in again.document]
    assert 2 == seen.count("POST /graphql")
    assert {"plain": 2, "other": 0} == {each["name"]: each["workers_max"] for each in old_account.endpoints()}


def test_a_refusal_names_the_line_of_the_spec(account):
    """RunPod's words about a value, with the place in configs/ that the value is from; RFC 9457 or GraphQL."""
    write(account.project, "plain", workers={"min": 0, "max": 4})
    refusals = ["$.workers.max: maximum: got 4, want 3"]
    problem = {"title": "Unprocessable Entity", "status": 422, "errors": refusals}
    error = {"message": 'Variable "$input" got invalid value 4 at "input.workersMax"; want 3'}

    def refuse(request):
        if b"saveEndpoint" in request.body:
            return ok({"data": None, "errors": [error]})
        if (request.method, request.path) == ("POST", "/v2/serverless"):
            return Reply(422, json.dumps(problem).encode(), (("Content-Type", "application/problem+json"),))
        return account.forward(request)

    with account.proxy(refuse) as url:
        outcome = account.run("deploy", "plain", "--json", url=url)
    lines = (account.project.root / "configs" / "plain.yaml").read_text().splitlines()
    line = next(number for number, text in enumerate(lines, 1) if '"max"' in text)
    said = error["message"] if account.plane == "graphql" else refusals[0]

    assert 1 == outcome.status
    assert f"configs/plain.yaml:{line}:3: RunPod: {said}" == outcome.error["error"]
    assert [] == account.endpoints()


def test_the_quota_of_workers_is_told_before_anything_is_built(old_account):
    """What an account of this balance may have, and what all endpoints would have; only when something changes."""
    write(old_account.project, "plain", workers={"min": 0, "max": 4})
    write(old_account.project, "other", workers={"min": 0, "max": 3})
    expected = "7 workers at most over all endpoints; an account with this balance has 5 (RunPod's docs)"

    def poor(request):
        reply = old_account.forward(request)
        if b"query Account" not in request.body:
            return reply
        document = json.loads(reply.body)
        document["data"]["myself"]["clientBalance"] = 9.5
        return ok(document)

    with old_account.proxy(poor) as url:
        alone = old_account.run("plan", "plain", "--json", url=url)
        both = old_account.run("deploy", "plain", "other", url=url)
        idle = old_account.run("plan", "plain", "other", "--json", url=url)

    assert [] == alone.document["warnings"]
    assert f"warning: {expected}" == both.stderr.splitlines()[0]
    assert [[], []] == [each["warnings"] for each in idle.document]


def test_all_that_is_wrong_is_told_together(account):
    """A key that is refused, a secret that is not set, an engine that is not there: one report, and nothing written."""
    account.project.worker("echo")
    write(
        account.project,
        "plain",
        image={"build": "workers/echo", "repository": "127.0.0.1:1/me/echo"},
        secrets=["HF_TOKEN"],
    )
    elsewhere = {"RUNPOD_API_KEY": "wrong", "DOCKER_HOST": "unix:///nowhere/docker.sock"}
    outcome = account.run("deploy", "plain", "--json", **elsewhere)
    said = outcome.error["error"]

    assert ("several", "") == (outcome.error["code"], outcome.stdout)
    assert "rejected the API key (401: " in said
    assert "HF_TOKEN: not set, but named under secrets in plain" in said
    assert "the Docker engine at unix:///nowhere/docker.sock: not found" in said
    assert [] == account.endpoints()


def test_a_plan_tells_runpod_s_own_prices_and_what_it_has(account):
    """Live over REST v2; GraphQL has neither, so the shipped table and its date serve."""
    write(account.project, "plain", workers={"min": 0, "max": 2})
    card = {"id": "NVIDIA L4", "pool": "AMPERE_24", "price": {"serverless": 0.5}, "availability": "LOW"}

    def sell(request):
        return ok({"gpus": [card]}) if request.path.startswith("/v2/catalog/gpus?") else account.forward(request)

    with account.proxy(sell) as url:
        shown = account.run("plan", "plain", url=url).stdout.splitlines()
        document = account.run("plan", "plain", "--json", url=url).document
    found = document["cost"]["as_of"], document["cost"]["after"]["most_per_hour"], document["stock"]

    if account.plane == "rest":
        assert ("live", 1.0, {"AMPERE_24": "LOW"}) == found
        assert "  in stock there: AMPERE_24 low" == shown[-2]
    else:
        assert (gpus.PRICED_ON, pytest.approx(0.00019 * 3600 * 2), {}) == found
        assert not any("in stock" in line for line in shown)


def test_the_sdk_and_the_command_see_the_same_endpoints(account, monkeypatch):
    """RunPod's client finds what `deploy` made, as the spec says it; what the client made is listed, and not ours."""
    runpod = pytest.importorskip("runpod", reason="RunPod's SDK is not installed: pip install 'vidctl[local]'")
    monkeypatch.setenv("RUNPOD_API_BASE_URL", account.runtime["RUNPOD_API_BASE_URL"])
    monkeypatch.setattr(runpod, "api_key", account.runtime["RUNPOD_API_KEY"])
    write(account.project, "plain", workers={"min": 0, "max": 2}, timeouts={"idle": "42s"}, env={"MODEL": "m"})
    ours = account.run("deploy", "plain", "--no-wait", "--json").document["endpoint_id"]
    (found,) = runpod.get_endpoints()

    assert (ours, "plain", "AMPERE_24", 0, 2, 42) == tuple(
        found[key] for key in ("id", "name", "gpuIds", "workersMin", "workersMax", "idleTimeout")
    )

    template = runpod.create_template("theirs", "you/theirs:1", env={"A": "1"}, is_serverless=True)
    theirs = runpod.create_endpoint("their-endpoint", template["id"], "ADA_24", workers_max=0)["id"]
    rows = {each["id"]: (each["name"], each["spec"], each["image"]) for each in account.endpoints()}

    assert {each["id"] for each in runpod.get_endpoints()} == set(rows)
    assert ("plain", "plain", "docker.io/me/echo:1") == rows[ours]
    assert ("their-endpoint", None, "you/theirs:1") == rows[theirs]

    write(account.project, "greedy", name="their-endpoint")
    refused = [account.run(*words, "--json") for words in (["deploy", "greedy", "-y"], ["destroy", theirs, "-y"])]

    assert [(2, "not_owned")] * 2 == [(each.status, each.error["code"]) for each in refused]
    assert 0 == account.run("destroy", "plain", "--yes").status
    assert [theirs] == [each["id"] for each in runpod.get_endpoints()]
    assert 0 == account.run("deploy", "greedy", "--yes", "--adopt").status
    assert ("their-endpoint", "greedy") == tuple(account.endpoints()[0][key] for key in ("name", "spec"))


# --- at a terminal -------------------------------------------------------------------------------------------------


def at_a_terminal(words, cwd, environ, on):
    """A command with somebody at a terminal who does `on[text]()`, and types what that gives, once `text` is shown."""
    master, slave = os.openpty()
    process = subprocess.Popen(
        [*VIDCTL, *words], cwd=cwd, env={**os.environ, "TERM": "xterm", "COLUMNS": "200", **environ},
        stdin=slave, stdout=subprocess.PIPE, stderr=slave,
    )  # fmt: skip
    os.close(slave)
    shown, left = b"", dict(on)
    with suppress(OSError):  # EIO: it has ended
        while chunk := os.read(master, 65536):
            shown += chunk
            for text in [each for each in left if each in shown]:
                os.write(master, left.pop(text)() or b"")
    os.close(master)
    stdout, _ = process.communicate(timeout=60)
    return process.returncode, stdout.decode(), shown.decode()


@pytest.mark.parametrize(("answer", "status", "count"), [(b"n\n", 2, 0), (b"\n", 2, 0), (b"y\n", 0, 1)])
def test_what_is_new_at_runpod_is_asked_for(old_account, answer, status, count):
    """Only a yes is a yes; the plan and what it costs stand above the question, and nothing is made before."""
    counts = []

    def type_it():
        counts.append(len(old_account.endpoints()))
        return answer

    root = old_account.project.root
    done, _, shown = at_a_terminal(["deploy", "plain"], root, old_account.environ(), {b"[y/N] ": type_it})
    above, _, below = shown.partition("deploy plain to runpod? [y/N] ")

    assert (status, [0], count) == (done, counts, len(old_account.endpoints()))
    assert "create endpoint plain" in above
    assert "/h idle, " in above
    assert ("aborted; nothing was changed" in below) == (count == 0)


# --- waiting -------------------------------------------------------------------------------------------------------


@pytest.fixture
def gated(project):
    """Two specs whose workers answer when `gate` is there."""
    project.gate = project.root / "gate"
    project.worker("slow")
    for key in ("one", "two"):
        smoke = {"input": "workers/slow/job.json"}
        project.spec(key, worker="slow", env={"GATE": str(project.gate)}, smoke=smoke)
    return project


def test_several_specs_are_proved_side_by_side(gated):
    """Both smoke tests are out while none has been answered."""
    process = gated.start("deploy", "one", "two")
    until(lambda: len(gated.jobs()) == 2)
    gated.gate.touch()
    stdout, stderr = process.communicate(timeout=120)

    assert 0 == process.returncode, stderr
    assert 2 == stdout.decode().count(" is ready\n")


def test_whoever_waits_at_a_terminal_sees_workers_and_queue(gated):
    """In a line that is replaced; where there is no terminal there is none."""
    words, on = ["deploy", "one", "--timeout", "60"], {b"; 1 job ": gated.gate.touch}
    status, stdout, shown = at_a_terminal(words, gated.root, gated.environ, on)

    assert (0, "ready\n") == (status, stdout[-6:])
    assert re.search(r"\bwait\b.*(no worker yet|1 (initializing|running|idle)); 1 job (waits|runs)", shown)
    assert "; 1 job " not in gated.run("deploy", "two").stderr


def test_a_deploy_that_is_stuck_says_what_is_left_and_how_to_remove_it(gated):
    """Exit code 6; the job is cancelled, the endpoint is named with its workers, and so is the command."""
    outcome = gated.run("deploy", "one", "--timeout", "6", "--json")
    (endpoint,) = gated.run("list", "--json").document
    left = f"endpoint {endpoint['id']} still exists (0 to 3 workers): vidctl destroy one removes it"

    assert (6, "timed_out", endpoint["id"]) == (outcome.status, outcome.error["code"], outcome.error["endpoint"])
    assert outcome.error["hint"].endswith(left)
    assert ["CANCELLED"] == [job["status"] for job in gated.jobs()]
    assert (0, []) == (gated.run("destroy", "one", "--yes").status, gated.run("list", "--json").document)


def test_whoever_waits_too_long_for_a_lock_hears_who_has_it(gated):
    """Nothing is done by the second, and the first goes on."""
    first = gated.start("deploy", "one")
    until(gated.jobs)
    second = gated.run("deploy", "one", "--timeout", "1", "--json")

    failed(second, "busy", f"vidctl (process {first.pid}, since ", varies=True)
    assert 130 == ended(first, signal.SIGINT)[0]
