"""What the REST v2 plane asks and writes, and what RunPod's answers become."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest
from support import openapi
from support.failing import failing
from support.scripted import RESET, Reply, ok, script, serving

from vidctl.runpod.http import Http
from vidctl.runpod.rest import Rest
from vidctl.runpod.types import Account, Catalogue, Endpoint, Offer, RegistryLogin, Template

NODE: dict[str, Any] = {
    "id": "e1",
    "name": "yolo -fb",
    "type": "QUEUE",
    "image": "me/yolo@sha256:1",
    "args": "",
    "disk": 20,
    "env": {"VIDCTL_SPEC": "yolo"},
    "ports": ["8888/http"],
    "registry": None,
    "gpu": {
        "pools": ["ADA_24", "AMPERE_24"],
        "excludedTypes": ["NVIDIA L4"],
        "count": 1,
        "allowedCudaVersions": [],
        "minCudaVersion": "12.8",
    },
    "workers": {"min": 1, "max": 7, "idleTimeout": 42},
    "scaling": {"type": "QUEUE_DELAY", "queueDelay": 9},
    "dataCenterIds": ["EU-RO-1", "US-KS-2"],
    "networkVolumes": ["v1", "v2"],
    "timeout": 600_000,
    "flashboot": "PRIORITY_FLASHBOOT",
    "createdAt": "2026-11-23T00:00:00Z",
}
LIVE = Endpoint(
    id="e1",
    name="yolo",
    template=Template(image="me/yolo@sha256:1", env={"VIDCTL_SPEC": "yolo"}, container_disk_gb=20),
    gpu_ids="ADA_24,AMPERE_24,-NVIDIA L4",
    workers_min=1,
    workers_max=7,
    idle_timeout_s=42,
    scaler_value=9,
    min_cuda="12.8",
    locations=("EU-RO-1", "US-KS-2"),
    network_volume_id="v1",
)
WANTED = replace(LIVE, id=None, template=replace(LIVE.template, name="vidctl-yolo"))
EMPTY = ok({"endpoints": []})
ALL = ok({"endpoints": [NODE]})


@pytest.fixture
def slept():
    """The pauses that were made, none of which takes time."""
    return []


@pytest.fixture
def at(slept):
    """A function from replies, in turn, to the plane that gets them and the server that gives them."""
    servers = []

    def plane(*replies):
        context = serving(script(*replies))
        servers.append(context)
        server = context.__enter__()
        return Rest(Http("key"), server.url, sleep=slept.append), server

    yield plane
    for context in servers:
        context.__exit__(None, None, None)


def problem(status, detail, *errors):
    body = {"title": "RefusedError", "status": status, "detail": detail, **({"errors": list(errors)} if errors else {})}
    return Reply(status, json.dumps(body).encode(), (("Content-Type", "application/problem+json"),))


def bodies(server):
    return [
        (f"{request.method} {request.path}", json.loads(request.body)) for request in server.requests if request.body
    ]


def test_an_account_is_one_request(at):
    rest, server = at(ALL)

    assert Account((LIVE,)) == rest.account()
    assert server.paths() == ["GET /v2/serverless"]


def test_a_create_sends_everything_that_is_ours(at):
    """Zero, false and empty too: what is left out gets RunPod's defaults, `timeout` even an undocumented one."""
    rest, server = at(EMPTY, Reply(201, json.dumps(NODE).encode()))
    wanted = replace(
        WANTED,
        workers_min=0,
        workers_max=0,
        execution_timeout_ms=0,
        flashboot=False,
        locations=(),
        network_volume_id="",
        template=replace(WANTED.template, env={"EMPTY": ""}),
    )
    rest.save(wanted, before=None)

    body = {
        "type": "QUEUE",
        "name": "yolo",
        "image": "me/yolo@sha256:1",
        "args": "",
        "disk": 20,
        "env": {"EMPTY": ""},
        "registry": None,
        "gpu": {
            "pools": ["ADA_24", "AMPERE_24"],
            "excludedTypes": ["NVIDIA L4"],
            "count": 1,
            "allowedCudaVersions": [],
            "minCudaVersion": "12.8",
        },
        "workers": {"min": 0, "max": 0, "idleTimeout": 42},
        "scaling": {"type": "QUEUE_DELAY", "queueDelay": 9},
        "dataCenterIds": [],
        "networkVolumes": [],
        "timeout": 0,
        "flashboot": "OFF",
    }
    assert [("POST /v2/serverless", body)] == bodies(server)
    openapi.check("POST", "/v2/serverless", body, 201, NODE)


MODEL = ("https://huggingface.co/a/b:main",)


@pytest.mark.parametrize(
    ("wanted", "before"),
    [
        (MODEL, None),
        (MODEL, replace(LIVE, model_references=())),
        ((), replace(LIVE, model_references=MODEL)),
        (MODEL, LIVE),
    ],
    ids=["a new one", "to fill", "to empty", "not seen"],
)
def test_what_the_model_cache_holds_is_not_silently_lost(at, wanted, before):
    """REST v2 has no field for it: nothing is sent, and the field is named."""
    rest, server = at(EMPTY)

    with failing("value_refused", "REST v2") as raised:
        rest.save(replace(WANTED, model_references=wanted), before=before)
    assert ("model_references", []) == (raised.value.field, server.requests)


@pytest.mark.parametrize("before", [replace(LIVE, model_references=MODEL), replace(LIVE, model_references=())])
def test_what_the_model_cache_holds_already_stays(at, before):
    """What GraphQL showed before it was switched off, and nothing of it is to change."""
    rest, server = at(ok(NODE), ok({**NODE, "workers": {**NODE["workers"], "max": 2}}))
    rest.save(replace(WANTED, workers_max=2, model_references=before.model_references), before=before)

    ((_, body),) = bodies(server)
    assert (2, False) == (body["workers"]["max"], any("model" in key for key in body))


def test_a_change_leaves_what_is_not_ours(at):
    """Ports, the least CUDA version, volumes that were added and the dearer flashboot stay as somebody set them."""
    rest, server = at(ok(NODE), ok({**NODE, "workers": {"min": 0, "max": 0, "idleTimeout": 42}}))
    saved = rest.save(replace(WANTED, workers_min=0, workers_max=0), before=LIVE)

    ((operation, body),) = bodies(server)
    assert operation == "PATCH /v2/serverless/e1"
    assert body == {"workers": {"min": 0, "max": 0, "idleTimeout": 42}}
    assert saved == replace(LIVE, workers_min=0, workers_max=0)
    openapi.check("PATCH", "/v2/serverless/e1", body, 200, NODE)


@pytest.mark.parametrize(
    ("changes", "field", "value"),
    [
        ({"name": "other"}, "name", "other"),
        ({"template": replace(WANTED.template, image="me/yolo@sha256:2")}, "image", "me/yolo@sha256:2"),
        ({"template": replace(WANTED.template, env={})}, "env", {}),
        ({"template": replace(WANTED.template, registry_auth_id="r1")}, "registry", "r1"),
        ({"execution_timeout_ms": 0}, "timeout", 0),
        ({"flashboot": False}, "flashboot", "OFF"),
        ({"locations": ("EU-RO-1",)}, "dataCenterIds", ["EU-RO-1"]),
        ({"network_volume_id": ""}, "networkVolumes", []),
        ({"scaler_value": 4}, "scaling", {"type": "QUEUE_DELAY", "queueDelay": 4}),
        (
            {"gpu_ids": "ADA_24"},
            "gpu",
            {
                "pools": ["ADA_24"],
                "excludedTypes": [],
                "count": 1,
                "allowedCudaVersions": [],
                "minCudaVersion": "12.8",
            },
        ),
    ],
)
def test_a_change_sends_what_differs(at, changes, field, value):
    """And nothing else: a name that is sent renames the template too."""
    rest, server = at(ok(NODE), ok(NODE))
    rest.save(replace(WANTED, **changes), before=LIVE)

    assert [("PATCH /v2/serverless/e1", {field: value})] == bodies(server)


def test_a_change_sends_a_new_order_along(at):
    """The order of data centers alone is not written; with another change it is."""
    rest, server = at(ok(NODE), ok(NODE), ok(NODE))
    turned = replace(WANTED, locations=LIVE.locations[::-1])
    rest.save(turned, before=LIVE)
    rest.save(replace(turned, execution_timeout_ms=9), before=LIVE)

    changes = {"timeout": 9, "dataCenterIds": ["US-KS-2", "EU-RO-1"]}
    assert [("PATCH /v2/serverless/e1", changes)] == bodies(server)


def test_a_change_undoes_what_excludes_it(at):
    """A list of CUDA versions clears the least one; a queue that counts requests has no idle timeout."""
    rest, server = at(ok(NODE))
    changes: dict[str, Any] = {
        "cuda_versions": ("12.8",), "scaler_type": "REQUEST_COUNT", "network_volume_id": "", "flashboot": False,
    }  # fmt: skip
    rest.save(replace(WANTED, **changes), before=LIVE)

    ((_, body),) = bodies(server)
    assert (["12.8"], "") == (body["gpu"]["allowedCudaVersions"], body["gpu"]["minCudaVersion"])
    assert {"min": 1, "max": 7} == body["workers"]
    assert {"type": "REQUEST_COUNT", "requestCount": 9} == body["scaling"]
    assert ([], "OFF") == (body["networkVolumes"], body["flashboot"])
    openapi.check("PATCH", "/v2/serverless/e1", body, 200, NODE)


@pytest.mark.parametrize(
    "wanted",
    [
        WANTED,
        replace(WANTED, gpu_ids="-NVIDIA L4,AMPERE_24,ADA_24"),
        replace(WANTED, locations=("US-KS-2", "EU-RO-1")),
    ],
)
def test_what_is_equal_is_not_written(at, wanted):
    """The order of what RunPod gives back in any order counts for nothing."""
    rest, server = at(ok(NODE))

    assert LIVE == rest.save(wanted, before=LIVE)
    assert server.paths() == ["GET /v2/serverless/e1"]


def test_an_idle_timeout_that_cannot_be_is_no_difference(at):
    counting = {**NODE, "workers": {"min": 1, "max": 7}, "scaling": {"type": "REQUEST_COUNT", "requestCount": 9}}
    rest, server = at(ok(counting))
    rest.save(replace(WANTED, scaler_type="REQUEST_COUNT"), before=LIVE)

    assert bodies(server) == []


def test_a_delay_of_half_a_second_is_not_none(at):
    rest, _ = at(ok({"endpoints": [{**NODE, "scaling": {"type": "QUEUE_DELAY", "queueDelay": 0.5}}]}))

    assert rest.account().endpoints[0].scaler_value == 1


def test_a_country_is_no_data_center(at):
    """GraphQL takes countries; here the data centers in them are named instead, and nothing is sent."""
    places = [{"id": place} for place in ("US-KS-2", "EU-RO-1", "US-CA-2")]
    rest, server = at(ok({"dataCenters": places}))

    with failing("value_refused", "REST v2", ": US\n", "US-KS-2, US-CA-2; ", "VIDCTL_CONTROL=graphql") as raised:
        rest.save(replace(WANTED, locations=("EU-RO-1", "US")), before=LIVE)
    assert raised.value.field == "locations"
    assert server.paths() == ["GET /v2/catalog/datacenters"]


@pytest.mark.parametrize(
    ("refusal", "message", "field"),
    [
        (
            problem(422, "Request validation failed.", "$.workers.max: minimum: got -1, want 0"),
            "$.workers.max: minimum: got -1, want 0",
            "workers_max",
        ),
        (
            problem(
                422,
                "Request validation failed.",
                "$: additional properties 'name', 'disk' not allowed",
                "$: missing property 'image'",
            ),
            "$: missing property 'image'",
            "image",
        ),
        (problem(422, "failed", "$.gpu.pools[0]: got number, want string"), None, "gpu_ids"),
        (problem(422, "failed", "$.env.MY_KEY: got number, want string"), None, "env"),
        (problem(422, "failed", "$.scaling.queueDelay: minimum: got 0, want 0.5"), None, "scaler_value"),
        (problem(422, "failed", "$.dataCenterIds[1]: got null, want string"), None, "locations"),
        (
            problem(
                422, "idleTimeout does not apply to queue-based endpoints scaling on requestCount"
            ),
            "idleTimeout does not apply to queue-based endpoints scaling on requestCount",
            "idle_timeout_s",
        ),
        (
            problem(400, "There are no longer any instances available with the requested specifications."),
            "There are no longer any instances available with the requested specifications.",
            None,
        ),
        (Reply(400, b"<html>"), "no reason given", None),
    ],
)  # fmt: skip
def test_a_problem_is_named(at, refusal, message, field):
    """What RunPod says of a body, with the value that it is about as vidctl calls it."""
    rest, _ = at(ok(NODE), refusal)

    with failing("value_refused", f"RunPod: {message or ''}") as raised:
        rest.save(replace(WANTED, workers_max=0), before=LIVE)
    assert raised.value.field == field


def test_a_place_without_such_gpus_is_explained(at):
    """RunPod's words never mention data centers, which are the usual cause."""
    detail = "There are no longer any instances available with the requested specifications."
    rest, _ = at(EMPTY, problem(400, detail))

    with failing("value_refused", detail, "data_centers"):
        rest.save(WANTED, before=None)


def test_a_refusal_tells_no_secret(at):
    """Nor does the traceback: the error that held RunPod's words is not its context."""
    rest, _ = at(EMPTY, problem(422, "hf_secret", "$.env.TOKEN: 'hf_secret' does not match"))

    with failing("value_refused", "RunPod: $.env.TOKEN: '…' does not match") as raised:
        rest.save(replace(WANTED, template=replace(WANTED.template, env={"TOKEN": "hf_secret"})), before=None)
    assert "hf_secret" not in raised.value.message
    assert (raised.value.__cause__, raised.value.__suppress_context__) == (None, True)


def test_an_endpoint_that_went_away_is_not_made_again(at):
    rest, server = at(problem(404, "resource not found"))

    with failing("api_error", "endpoint yolo (e1)"):
        rest.save(WANTED, before=LIVE)
    assert server.paths() == ["GET /v2/serverless/e1"]


def test_a_create_looks_first(at):
    rest, server = at(ALL)

    with failing("api_error", "endpoint yolo ", ": e1\n"):
        rest.save(WANTED, before=None)
    assert server.paths() == ["GET /v2/serverless"]


@pytest.mark.parametrize(
    "lost", [RESET, Reply(502, b"<html>"), Reply(503, b"", (("Retry-After", "0"),)), Reply(201, b"<")]
)
def test_a_lost_answer_to_a_create_is_looked_for(at, slept, lost):
    """The endpoint shows up at the third look, and is not created again."""
    rest, server = at(EMPTY, lost, EMPTY, EMPTY, ALL)

    assert LIVE == rest.save(WANTED, before=None)
    assert server.paths() == ["GET /v2/serverless", "POST /v2/serverless", *["GET /v2/serverless"] * 3]
    assert slept == [0.1, 0.4, 1.0]


def test_a_create_that_nobody_can_find_is_not_made_again(at, slept):
    rest, server = at(EMPTY, RESET, EMPTY)

    with failing("unanswered", "endpoint yolo "):
        rest.save(WANTED, before=None)
    assert server.paths().count("POST /v2/serverless") == 1
    assert sum(slept) == 3.0


def test_a_look_that_fails_leaves_it_undecided(at):
    """What is told is the lost create, not the question after it."""
    rest, _ = at(EMPTY, RESET, Reply(200, b"<html>"))

    with failing("unanswered", "endpoint yolo "):
        rest.save(WANTED, before=None)


def test_a_failure_of_runpods_keeps_its_request_id(at):
    rest, _ = at(EMPTY, Reply(500, b"{}", (("x-request-id", "req-7"),)), EMPTY)

    with failing("api_error", "500", "req-7"):
        rest.save(WANTED, before=None)


def test_a_write_that_came_too_soon_is_sent_again(at):
    """429 says that nothing was done, and when to come back."""
    rest, server = at(ok(NODE), Reply(429, b"{}", (("Retry-After", "0"),)), ok(NODE))
    rest.save(replace(WANTED, workers_max=0), before=LIVE)

    assert [path.partition(" ")[0] for path in server.paths()] == ["GET", "PATCH", "PATCH"]


@pytest.mark.parametrize("reply", [Reply(204, b""), problem(404, "resource not found")])
def test_a_delete_has_no_answer(at, reply):
    """204 has no body to read; what is gone already is fine."""
    rest, server = at(reply)
    rest.delete(LIVE)

    assert server.paths() == ["DELETE /v2/serverless/e1"]


def test_a_template_that_is_still_in_use_is_waited_for(at, slept):
    rest, server = at(problem(400, "template is in use"), problem(400, "template is in use"), Reply(204, b""))
    rest.delete_template(Template(image="", name="vidctl-yolo", id="t1"))

    assert server.paths() == ["DELETE /v2/templates/t1"] * 3
    assert slept == [2, 4]


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ({"nextCursor": "abc"}, "nextCursor"),
        ({"pagination": {"total": 9, "next": "abc"}}, "pagination.next"),
        ({"hasMore": True}, "hasMore"),
        ({"pagination": {"hasNextPage": True, "nextCursor": None}}, "pagination.hasNextPage"),
    ],
)
def test_a_page_is_not_taken_for_all(at, more, said):
    """vidctl would create again what is on the next page."""
    rest, _ = at(ok({"endpoints": [NODE], **more}))

    with failing("api_error", "endpoints", said):
        rest.account()


def test_a_last_page_is_all(at):
    rest, _ = at(ok({"endpoints": [NODE], "nextCursor": None, "page": {"hasMore": False, "total": 1}}))

    assert Account((LIVE,)) == rest.account()


def paged(cursor, *nodes):
    return ok({"endpoints": list(nodes), "pagination": {"hasNextPage": cursor is not None, "nextCursor": cursor}})


def test_all_pages_are_read(at):
    """Once each: what moved to a later page in between comes twice."""
    second = {**NODE, "id": "e2"}
    rest, server = at(paged("c&2", NODE, second), paged("c3", second), paged(None, {**NODE, "id": "e3"}))

    assert ["e1", "e2", "e3"] == [endpoint.id for endpoint in rest.account().endpoints]
    assert ["GET /v2/serverless", "GET /v2/serverless?cursor=c%262", "GET /v2/serverless?cursor=c3"] == server.paths()


def test_pages_that_go_round_are_an_error(at):
    rest, _ = at(paged("c2", NODE), paged("c3"), paged("c2"))

    with failing("api_error", "endpoints", "VIDCTL_CONTROL=graphql"):
        rest.account()


def test_another_server_is_not_an_empty_account(at):
    rest, _ = at(ok({"message": "hello"}))

    with failing("api_error", "'endpoints'", "RUNPOD_API_BASE_URL"):
        rest.account()


def test_the_catalogue_is_by_pool(at):
    """Of a pool's cards the dearest counts and the one that is there most; a card of no pool cannot be had."""
    card = {"manufacturer": "NVIDIA", "memory": 24, "secure": True, "community": False, "maxCount": {"secure": 1}}
    cards = [
        {**card, "id": "a", "pool": "AMPERE_24", "price": {"secure": 9, "serverless": 0.5}, "availability": "LOW"},
        {**card, "id": "b", "pool": "AMPERE_24", "price": {"secure": 9, "serverless": 0.69}, "availability": "HIGH"},
        {**card, "id": "c", "pool": None, "price": {"secure": 9}, "availability": "HIGH"},
        {**card, "id": "d", "pool": "ADA_24", "price": {"secure": 9}},
    ]
    rest, server = at(ok({"gpus": cards}))

    offers = (Offer("AMPERE_24", 0.69, "HIGH"), Offer("ADA_24", None, None))
    assert Catalogue(offers, as_of="live") == rest.catalogue()
    assert server.paths() == ["GET /v2/catalog/gpus?include=AVAILABILITY&product=SERVERLESS"]


def test_a_login_cannot_be_changed(at):
    """REST v2 has no such request."""
    rest, server = at(ok({"registries": []}))

    with failing("api_error", "REST v2", "'hub'", "VIDCTL_CONTROL=graphql"):
        rest.save_registry("hub", "me", "hunter22", id="r1")
    assert server.requests == []


def test_a_lost_login_is_looked_for(at):
    rest, server = at(ok({"registries": []}), RESET, ok({"registries": [{"id": "r1", "name": "hub"}]}))

    assert RegistryLogin("r1", "hub") == rest.save_registry("hub", "me", "hunter22")
    assert [("POST /v2/registries", {"name": "hub", "username": "me", "password": "hunter22"})] == bodies(server)
