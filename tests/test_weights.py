"""Where a worker's weights are, from the spec to the account: through the command, over both control planes."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from typing import Any

import pytest
from support.account import Account, is_write
from support.failing import failed
from support.project import ECHO_SMOKE
from support.scripted import Reply, Request

from vidctl.runpod.graphql import GraphQL
from vidctl.runpod.http import Http

MODEL = "https://huggingface.co/Qwen/Qwen3-VL-8B-Instruct"
COMMIT = "0c351dd01ed87e9c1b53cbc748cba10e6187ff3b"
THEIRS = "https://huggingface.co/some/body:main"
SPEC: dict[str, Any] = {
    "name": "eyes",
    "image": "runpod/worker-v1-vllm:v2.25.2",
    "gpu": ["A100"],
    "workers": {"min": 0, "max": 0},
    "env": {"MODEL_NAME": "Qwen/Qwen3-VL-8B-Instruct"},
}
REST = {"VIDCTL_CONTROL": "rest"}


@pytest.fixture
def account(project, account_runtime):
    """A RunPod account, reached over GraphQL, and a spec that starts no worker and asks for the model cache."""
    write(project, weights="cache")
    return Account.at(project, "graphql", account_runtime)


def write(project, **fields):
    """configs/eyes.yaml, a line for each key; JSON is YAML."""
    document = {key: value for key, value in {**SPEC, **fields}.items() if value is not None}
    (project.root / "configs" / "eyes.yaml").write_text(json.dumps(document, indent=1))


def graphql(account):
    return GraphQL(Http(account.runtime["RUNPOD_API_KEY"]), account.runtime["RUNPOD_API_BASE_URL"])


def held(account):
    """What the cache holds for the one endpoint that there is."""
    (endpoint,) = graphql(account).account().endpoints
    return endpoint.model_references


def put(account, *references):
    """What somebody does in RunPod's console."""
    control = graphql(account)
    (live,) = control.account().endpoints
    control.save(replace(live, model_references=references), before=live)


def volume(account):
    """A new network volume; its id."""
    body = json.dumps({"name": "models", "size": 10, "dataCenter": "EU-RO-1"}).encode()
    key = {"Authorization": f"Bearer {account.runtime['RUNPOD_API_KEY']}", "Content-Type": "application/json"}
    return json.loads(account.forward(Request("POST", "/v2/network-volumes", key, body)).body)["id"]


def deploy(account, **options):
    """Deploy, and give the document."""
    outcome = account.run("deploy", "eyes", "--yes", "--json", **options)
    assert outcome.status == 0, outcome.stderr
    return outcome.document


def test_the_cache_is_filled_and_emptied_as_the_spec_says(account):
    """With the endpoint, in one save; the second deploy finds nothing to do."""
    first = deploy(account)
    assert (f"{MODEL}:main",) == held(account)
    assert ["model_references"] == [each["field"] for each in first["changes"] if "model" in each["field"]]
    assert deploy(account)["up_to_date"]

    write(account.project, weights="cache", env={**SPEC["env"], "MODEL_REVISION": "v2"})
    assert (f"{MODEL}:main", f"{MODEL}:v2") == changed(deploy(account))
    assert (f"{MODEL}:v2",) == held(account)

    write(account.project)
    assert (f"{MODEL}:v2", "(removed)") == changed(deploy(account))
    assert () == held(account)
    assert deploy(account)["up_to_date"]


def changed(document):
    """What was there of the model cache, and what is to be."""
    (change,) = (each for each in document["changes"] if each["field"] == "model_references")
    assert not change["is_drift"]
    return change["old"], change["new"]


def test_a_commit_in_place_of_the_branch_is_no_difference(account):
    """RunPod pins the commit that a branch has when it is written, and shows that ever after."""
    seen = []

    def resolving(request):
        seen.append(request)
        reply = account.forward(request)
        return Reply(reply.status, reply.body.replace(b":main", f":{COMMIT}".encode()), reply.headers)

    with account.proxy(resolving) as url:
        deploy(account, url=url)
        seen.clear()
        again = deploy(account, url=url)
        assert (True, []) == (again["up_to_date"], [request for request in seen if is_write(request)])
        write(account.project, weights="cache", workers={"min": 0, "max": 1})
        other = deploy(account, url=url)

    assert ["workers_max"] == [each["field"] for each in other["changes"]]
    assert (f"{MODEL}:{COMMIT}",) == held(account)


def test_what_somebody_else_put_there_stays(account):
    """Where the spec says nothing of weights; where it says that they are elsewhere, it is drift and goes."""
    write(account.project)
    deploy(account)
    put(account, THEIRS)
    write(account.project, workers={"min": 0, "max": 1})
    document = deploy(account)

    assert ["workers_max"] == [each["field"] for each in document["changes"]]
    assert ((THEIRS,), True) == (held(account), deploy(account)["up_to_date"])

    write(account.project, weights="volume", network_volume=volume(account))
    fields = {each["field"]: each for each in deploy(account)["changes"]}
    assert (THEIRS, "(removed)", True) == tuple(fields["model_references"][key] for key in ("old", "new", "is_drift"))
    assert () == held(account)


def test_rest_refuses_before_anything_is_changed(account):
    """One line with the place in the file; the hint names what can be had."""
    seen = []

    def watch(request):
        seen.append(request)
        return account.forward(request)

    with account.proxy(watch) as url:
        outcomes = [
            account.run(*words, "--json", url=url, **REST) for words in (["plan", "eyes"], ["deploy", "eyes", "-y"])
        ]

    for outcome in outcomes:
        assert (2, "") == (outcome.status, outcome.stdout)
        assert re.search(r"configs/eyes\.yaml:\d+:\d+: RunPod's REST v2 cannot fill", outcome.error["error"])
        assert "write weights: volume or weights: bake, or use VIDCTL_CONTROL=graphql" == outcome.error["hint"]
    assert [] == [request for request in seen if is_write(request)]
    assert [] == account.endpoints()


def test_rest_takes_weights_that_are_not_in_the_cache(account):
    write(account.project, weights="volume", network_volume=volume(account))
    document = deploy(account, **REST)

    assert ("create", True, ()) == (document["action"], deploy(account, **REST)["up_to_date"], held(account))


def test_rest_goes_on_where_the_cache_is_filled(account):
    """Nothing of it would change, as far as was seen last; that it cannot be seen is said."""
    deploy(account)
    write(account.project, weights="cache", workers={"min": 0, "max": 1})
    plan = account.run("plan", "eyes", "--json", **REST).document
    document = deploy(account, **REST)

    assert plan["warnings"] == [
        f"eyes: RunPod's REST v2 does not show its model cache; it was last set to {MODEL}:main"
    ]
    assert ["workers_max"] == [each["field"] for each in document["changes"]]
    assert (f"{MODEL}:main",) == held(account)
    assert deploy(account, **REST)["up_to_date"]
    assert deploy(account)["up_to_date"]


def test_rest_refuses_another_model(account):
    deploy(account)
    write(account.project, weights="cache", env={"MODEL_NAME": "Qwen/Qwen3-VL-4B-Instruct"})
    outcome = account.run("deploy", "eyes", "-y", "--json", **REST)

    failed(outcome, "usage_error", "REST v2", "model cache", varies=True)
    assert (f"{MODEL}:main",) == held(account)


def test_rest_says_what_it_cannot_take_out(account):
    """It stays until GraphQL is asked, which knows that it is to go."""
    deploy(account)
    write(account.project, workers={"min": 0, "max": 1})
    document = account.run("plan", "eyes", "--json", **REST).document
    deploy(account, **REST)

    assert document["warnings"] == [f"eyes: RunPod's model cache still holds {MODEL}:main: REST v2 cannot remove it"]
    assert (f"{MODEL}:main",) == held(account)
    assert (f"{MODEL}:main", "(removed)") == changed(deploy(account))
    assert () == held(account)


def test_retired_graphql_cannot_fill_the_cache(account):
    """What is new is refused, without the advice to use what is gone; what is there goes on."""

    def retired(request):
        return Reply(410, b"{}") if request.path == "/graphql" else account.forward(request)

    with account.proxy(retired) as url:
        refused = account.run("deploy", "eyes", "-y", "--json", url=url)
        assert (2, [], "write weights: volume or weights: bake") == (
            refused.status, account.endpoints(), refused.error["hint"],
        )  # fmt: skip
        deploy(account)
        write(account.project, weights="cache", workers={"min": 0, "max": 1})
        again = deploy(account, url=url)

    assert ["workers_max"] == [each["field"] for each in again["changes"]]
    assert (f"{MODEL}:main",) == held(account)


def test_graphql_that_is_retired_while_an_endpoint_is_made(account):
    """The endpoint is not made without its model: the deploy ends, and the next one says what can be done."""
    is_gone = []

    def retiring(request):
        if b"saveEndpoint" in request.body:
            is_gone.append(True)
        return Reply(410, b"{}") if is_gone and request.path == "/graphql" else account.forward(request)

    with account.proxy(retiring) as url:
        broken = account.run("deploy", "eyes", "-y", "--json", url=url)
        refused = account.run("deploy", "eyes", "-y", "--json", url=url)

    lines = (account.project.root / "configs" / "eyes.yaml").read_text().splitlines()
    line = next(number for number, text in enumerate(lines, 1) if "weights" in text)
    assert (1, f"configs/eyes.yaml:{line}:2: RunPod's REST v2 cannot change what its model cache holds") == (
        broken.status, broken.error["error"],
    )  # fmt: skip
    assert (2, "write weights: volume or weights: bake") == (refused.status, refused.error["hint"])
    assert [] == account.endpoints()


@pytest.mark.parametrize("plane", ["graphql", "rest"])
def test_the_local_runtime_has_no_weights_elsewhere(project, plane):
    """No variable, no model reference, and no word about them; `local.openai` reaches the worker."""
    project.worker("echo")
    project.spec(
        "echo", worker="echo", smoke=ECHO_SMOKE, weights="cache", env={"MODEL_NAME": "me/mine"},
        local={"openai": "http://127.0.0.1:9/v1"},
    )  # fmt: skip
    outcome = project.run("deploy", "echo", "--json", VIDCTL_CONTROL=plane)
    runtime = Account.of(project, plane)
    (endpoint,) = graphql(runtime).account().endpoints

    assert (0, "") == (outcome.status, outcome.stderr)
    assert {"MODEL_NAME": "me/mine", "OPENAI_BASE_URL": "http://127.0.0.1:9/v1", "VIDCTL_SPEC": "echo"} == (
        endpoint.template.env
    )
    assert () == endpoint.model_references
