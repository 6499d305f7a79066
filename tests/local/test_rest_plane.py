"""REST v2 over the runtime's registry: RunPod's shapes and its traps, and GraphQL's view of the same things.

Each request and answer is held against RunPod's OpenAPI document too, where that is at hand.
"""

import json
import re
from itertools import count

import pytest
import requests
import runpod
from support import openapi
from support.runtime import until

from vidctl.local.control_plane.catalog import DATA_CENTERS
from vidctl.local.workers.folder_image import image_name

ENDPOINT = {
    "name": "asr",
    "type": "QUEUE",
    "image": "asr:1",
    "gpu": {"pools": ["ADA_24"]},
    "scaling": {"type": "QUEUE_DELAY", "queueDelay": 4},
}
COUNTING = {"type": "REQUEST_COUNT", "requestCount": 4}
NO_CAPACITY = (
    "There are no longer any instances available with the requested specifications. Please refresh and try again."
)
NO_IDLE_TIMEOUT = "idleTimeout does not apply to queue-based endpoints scaling on requestCount"
_numbers = count()


def unique(name):
    return f"{name}-{next(_numbers)}"


@pytest.fixture
def ask(runtime):
    """Make a request; its answer, which must have this status."""

    def ask(method, path, body=None, *, status=200):
        response = runtime.session.request(method, f"{runtime.url}{path}", json=body, timeout=30)
        answer = response.json() if response.content else None
        openapi.check(method, path, body, response.status_code, answer)
        assert status == response.status_code, answer
        return answer

    return ask


@pytest.fixture
def listed(ask):
    """All that the pages of a list hold."""

    def listed(resource, key):
        found, cursor = [], ""
        while True:
            answer = ask("GET", f"/v2/{resource}{cursor}")
            assert len(answer[key]) <= 2
            found += answer[key]
            if not answer["pagination"]["hasNextPage"]:
                assert answer["pagination"]["nextCursor"] is None
                return found
            cursor = f"?cursor={answer['pagination']['nextCursor']}"

    return listed


@pytest.fixture
def refusal(ask):
    """Make a request that is refused; what is said of it."""

    def refusal(status, method, path, body=None):
        problem = ask(method, path, body, status=status)
        assert {"title", "status", "detail"} <= problem.keys() <= {"title", "status", "detail", "errors"}
        assert status == problem["status"]
        return problem.get("errors", problem["detail"])

    return refusal


@pytest.fixture
def create(ask):
    """Create an endpoint of these fields; as the answer shows it."""

    def create(**fields):
        return ask("POST", "/v2/serverless", {**ENDPOINT, **fields}, status=201)

    return create


@pytest.fixture
def endpoint(create):
    return create()


@pytest.fixture
def patch(ask, endpoint):
    """Change the endpoint; as the answer shows it."""
    return lambda **fields: ask("PATCH", f"/v2/serverless/{endpoint['id']}", fields)


@pytest.fixture
def create_template(ask):
    def create_template(**fields):
        body = {"name": unique("template"), "image": "asr:1", "serverless": True, **fields}
        return ask("POST", "/v2/templates", body, status=201)

    return create_template


@pytest.fixture
def graphql(runtime):
    """The data of a GraphQL answer without errors."""

    def graphql(query, **variables):
        answer = runtime.post("/graphql", {"query": query, "variables": variables})
        assert "errors" not in answer, answer
        return answer["data"]

    return graphql


# --- endpoints --------------------------------------------------------------------------------------------------------


def test_an_endpoint_reads_back_whole(ask, create, runtime, listed):
    volume = ask("POST", "/v2/network-volumes", {"name": "w", "size": 10, "dataCenter": "EU-RO-1"}, status=201)
    login = ask("POST", "/v2/registries", {"name": "ghcr", "username": "me", "password": "hush"}, status=201)
    body = {
        "name": "asr",
        "type": "QUEUE",
        "image": "me/asr@sha256:1",
        "args": "python -u handler.py",
        "disk": 20,
        "env": {"MODEL": "large-v3", "EMPTY": ""},
        "ports": ["8888/http", "22/tcp"],
        "registry": login["id"],
        "gpu": {
            "pools": ["AMPERE_24", "ADA_24"],
            "excludedTypes": [" NVIDIA L4"],
            "count": 2,
            "allowedCudaVersions": [],
            "minCudaVersion": "12.8",
        },
        "workers": {"min": 0, "max": 0, "idleTimeout": 1},
        "scaling": {"type": "QUEUE_DELAY", "queueDelay": 0.5},
        "dataCenterIds": ["EU-RO-1", "US-KS-2"],
        "networkVolumes": [volume["id"]],
        "timeout": 600000,
        "flashboot": "PRIORITY_FLASHBOOT",
    }
    made = create(**body)
    base = f"{runtime.url}/v2/{made['id']}"

    assert [made] == [one for one in listed("serverless", "endpoints") if one["id"] == made["id"]]
    assert made == ask("GET", f"/v2/serverless/{made['id']}")
    assert re.fullmatch(r"[a-z0-9]{14}", made.pop("id"))
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", made.pop("createdAt"))
    assert {
        "run": f"{base}/run",
        "runSync": f"{base}/runsync",
        "status": f"{base}/status/{{job_id}}",
        "stream": f"{base}/stream/{{job_id}}",
        "cancel": f"{base}/cancel/{{job_id}}",
        "retry": f"{base}/retry/{{job_id}}",
        "purgeQueue": f"{base}/purge-queue",
        "health": f"{base}/health",
    } == made.pop("requestUrls")
    assert {**body, "gpu": {**body["gpu"], "excludedTypes": ["NVIDIA L4"]}} == made


def test_what_a_new_endpoint_is_not_told_is_not_what_one_would_guess(endpoint):
    """No time limit although the document says 300000, FlashBoot off although the console has it on."""
    fields = ("args", "disk", "env", "ports", "registry", "gpu", "workers", "dataCenterIds", "networkVolumes")

    assert (0, "OFF") == (endpoint["timeout"], endpoint["flashboot"])
    assert {
        "args": "",
        "disk": 10,
        "env": {},
        "ports": [],
        "registry": None,
        "gpu": {
            "pools": ["ADA_24"],
            "excludedTypes": [],
            "count": 1,
            "allowedCudaVersions": [],
            "minCudaVersion": None,
        },
        "workers": {"min": 0, "max": 3, "idleTimeout": 10},
        "dataCenterIds": [],
        "networkVolumes": [],
    } == {field: endpoint[field] for field in fields}


@pytest.mark.parametrize(
    ("fields", "errors"),
    [
        ({"bogus": 1}, ["$: additional properties 'bogus' not allowed"]),
        (
            {"gpuIds": "ADA_24", "executionTimeoutMs": 1},
            ["$: additional properties 'executionTimeoutMs', 'gpuIds' not allowed"],
        ),
        ({"workers": {"standby": 1}}, ["$.workers: additional properties 'standby' not allowed"]),
        ({"flashboot": True}, ["$.flashboot: value must be one of 'OFF', 'FLASHBOOT', 'PRIORITY_FLASHBOOT'"]),
        ({"timeout": "1"}, ["$.timeout: got string, want integer"]),
        ({"timeout": 0.5}, ["$.timeout: got number, want integer"]),
        ({"workers": {"min": -1}}, ["$.workers.min: minimum: got -1, want 0"]),
        ({"workers": {"idleTimeout": 3601}}, ["$.workers.idleTimeout: maximum: got 3601, want 3600"]),
        ({"env": [{"key": "A", "value": "b"}]}, ["$.env: got array, want object"]),
        ({"env": {"A": 1}}, ["$.env.A: got number, want string"]),
        ({"args": None}, ["$.args: got null, want string"]),
        ({"name": ""}, ["$.name: minLength: got 0, want 1"]),
        ({"gpu": {"pools": []}}, ["$.gpu.pools: minItems: got 0, want 1"]),
        (
            {"gpu": {"pools": ["ADA_24"], "minCudaVersion": "12"}},
            [r"$.gpu.minCudaVersion: '12' does not match pattern '^\d+\.\d+$'"],
        ),
        (
            {"gpu": {"pools": ["ADA_24"], "excludedTypes": ["a", "a"]}},
            ["$.gpu.excludedTypes: items at 0 and 1 are equal"],
        ),
        (
            {"scaling": {"type": "QUEUE_DELAY", "requestCount": 1}},
            ["$.scaling: missing property 'queueDelay'", "$.scaling: additional properties 'requestCount' not allowed"],
        ),
        ({"scaling": {"type": "NONE"}}, ["$.scaling.type: value must be one of 'QUEUE_DELAY', 'REQUEST_COUNT'"]),
    ],
)
def test_bodies_are_closed_and_typed(refusal, fields, errors):
    assert errors == refusal(422, "POST", "/v2/serverless", {**ENDPOINT, **fields})


def test_a_missing_field_makes_all_others_additional(refusal):
    """The first line is the one to read."""
    body = {field: value for field, value in ENDPOINT.items() if field != "image"}

    assert [
        "$: missing property 'image'",
        "$: additional properties 'gpu', 'name', 'scaling', 'type' not allowed",
    ] == refusal(422, "POST", "/v2/serverless", body)
    assert "$: missing properties 'name', 'type', 'scaling', 'image'" == refusal(422, "POST", "/v2/serverless", {})[0]


@pytest.mark.parametrize(
    ("status", "fields", "detail"),
    [
        (400, {"gpu": None}, "exactly one of gpu or cpu is required"),
        (400, {"cpu": [{"id": "cpu5c", "vcpuCount": 4}]}, "exactly one of gpu or cpu is required"),
        (
            422,
            {"gpu": None, "cpu": [{"id": "cpu5c", "vcpuCount": 4}]},
            "the local runtime takes endpoints with gpu only",
        ),
        (
            422,
            {"type": "LOAD_BALANCER", "scaling": COUNTING},
            "the local runtime runs queue endpoints only: type must be QUEUE",
        ),
        (422, {"scaling": COUNTING, "workers": {"idleTimeout": 5}}, NO_IDLE_TIMEOUT),
        (
            400,
            {"gpu": {"pools": ["ADA_24"], "allowedCudaVersions": ["12.8"], "minCudaVersion": "12.8"}},
            "gpu.allowedCudaVersions and gpu.minCudaVersion are mutually exclusive",
        ),
        (400, {"gpu": {"pools": ["RTX 4090"]}}, "gpu.pools has unknown GPU pools: RTX 4090"),
        (
            400,
            {"gpu": {"pools": ["ADA_24"], "excludedTypes": ["NVIDIA L4"]}},
            "gpu.excludedTypes are no GPU types of the pools: NVIDIA L4",
        ),
        (
            400,
            {"gpu": {"pools": ["ADA_24"], "excludedTypes": ["NVIDIA GeForce RTX 4090"]}},
            "gpu.excludedTypes leaves no GPU type of the pools",
        ),
        (400, {"dataCenterIds": ["EU-RO-1", "XX-NO-1"]}, NO_CAPACITY),
        (400, {"networkVolumes": ["nope"]}, "network volume nope not found"),
        (400, {"registry": "nope"}, "container registry credential nope not found"),
        (400, {"workers": {"min": 4}}, "workers.min must not be greater than workers.max"),
        (404, {"templateId": "nope"}, "template not found"),
    ],
)
def test_an_endpoint_that_cannot_be_is_refused(refusal, ask, status, fields, detail, listed):
    body = {field: value for field, value in {**ENDPOINT, **fields}.items() if value is not None}
    before = listed("serverless", "endpoints")

    assert detail == refusal(status, "POST", "/v2/serverless", body)
    assert before == listed("serverless", "endpoints")


def test_a_volume_pins_the_endpoint_to_its_data_center(ask, create, refusal):
    volume = ask("POST", "/v2/network-volumes", {"name": "w", "size": 10, "dataCenter": "EU-RO-1"}, status=201)
    body = {**ENDPOINT, "networkVolumes": [volume["id"]], "dataCenterIds": ["US-KS-2"]}

    assert NO_CAPACITY == refusal(400, "POST", "/v2/serverless", body)
    assert [] == create(networkVolumes=[volume["id"]])["dataCenterIds"]


def test_unknown_query_parameters_are_ignored(ask, endpoint):
    assert endpoint == ask("GET", f"/v2/serverless/{endpoint['id']}?includeTemplate=true")


@pytest.mark.parametrize("data", [b"", b"{", b"\xff", b'{"timeout": NaN}', b'{"timeout": 2147483648}', b'"\\ud800"'])
def test_a_body_that_is_no_json_is_a_bad_request(runtime, data):
    response = runtime.session.post(f"{runtime.url}/v2/serverless", data=data, timeout=30)

    assert (400, "request body is not valid JSON") == (response.status_code, response.json()["detail"])


def test_an_array_is_no_body(refusal):
    assert ["$: got array, want object"] == refusal(422, "POST", "/v2/serverless", [])


# --- changing and deleting --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "fields",
    [
        {"name": "other"},
        {"image": "asr:2"},
        {"args": "-m worker"},
        {"disk": 30},
        {"env": {"A": ""}},
        {"ports": ["80/http"]},
        {"dataCenterIds": ["EU-RO-1"]},
        {"timeout": 0},
        {"flashboot": "OFF"},
    ],
)
def test_a_patch_changes_what_it_says(create, ask, fields):
    before = create(env={"A": "b", "C": "d"}, timeout=5, flashboot="FLASHBOOT", ports=["22/tcp"])
    after = ask("PATCH", f"/v2/serverless/{before['id']}", fields)

    assert {**before, **fields} == after == ask("GET", f"/v2/serverless/{before['id']}")


def test_a_patch_changes_parts_of_gpu_and_workers(create, ask):
    before = create(gpu={"pools": ["AMPERE_24"], "excludedTypes": ["NVIDIA L4"], "minCudaVersion": "12.8"})
    path = f"/v2/serverless/{before['id']}"
    ask("PATCH", path, {"gpu": {"count": 2}, "workers": {"max": 1}})
    after = ask("PATCH", path, {"gpu": {"minCudaVersion": ""}, "workers": {"idleTimeout": 7}})

    assert {"min": 0, "max": 1, "idleTimeout": 7} == after["workers"]
    assert {**before["gpu"], "count": 2, "minCudaVersion": None} == after["gpu"]


def test_new_pools_forget_the_exclusions(create, ask, refusal):
    before = create(gpu={"pools": ["AMPERE_24"], "excludedTypes": ["NVIDIA L4"]})
    path = f"/v2/serverless/{before['id']}"

    assert ["$.gpu: properties 'pools' required, if 'excludedTypes' exists"] == refusal(
        422, "PATCH", path, {"gpu": {"excludedTypes": []}}
    )
    assert [] == ask("PATCH", path, {"gpu": {"pools": ["AMPERE_24"]}})["gpu"]["excludedTypes"]


def test_cuda_versions_exclude_a_floor_that_is_there_already(create, refusal, ask):
    before = create(gpu={"pools": ["ADA_24"], "minCudaVersion": "12.8"})
    path = f"/v2/serverless/{before['id']}"

    assert "mutually exclusive" in refusal(400, "PATCH", path, {"gpu": {"allowedCudaVersions": ["12.8"]}})
    after = ask("PATCH", path, {"gpu": {"allowedCudaVersions": ["12.8"], "minCudaVersion": ""}})
    assert (["12.8"], None) == (after["gpu"]["allowedCudaVersions"], after["gpu"]["minCudaVersion"])


@pytest.mark.parametrize(
    ("status", "fields", "detail"),
    [
        (422, {"type": "QUEUE"}, ["$: additional properties 'type' not allowed"]),
        (400, {"cpu": [{"id": "cpu5c", "vcpuCount": 4}]}, "an endpoint's compute family cannot be changed"),
        (422, {"scaling": COUNTING, "workers": {"idleTimeout": 5}}, NO_IDLE_TIMEOUT),
        (400, {"workers": {"max": 0, "min": 1}}, "workers.min must not be greater than workers.max"),
    ],
)
def test_a_patch_that_cannot_be_changes_nothing(refusal, ask, endpoint, status, fields, detail):
    path = f"/v2/serverless/{endpoint['id']}"

    assert detail == refusal(status, "PATCH", path, fields)
    assert endpoint == ask("GET", path)


def test_an_endpoint_that_scales_on_requests_has_no_idle_timeout(patch, refusal, endpoint):
    assert {"min": 0, "max": 3} == patch(scaling=COUNTING)["workers"]
    assert "idleTimeout does not apply" in refusal(
        422, "PATCH", f"/v2/serverless/{endpoint['id']}", {"workers": {"idleTimeout": 5}}
    )
    assert {"min": 0, "max": 3, "idleTimeout": 10} == patch(scaling=ENDPOINT["scaling"])["workers"]


def test_only_what_workers_are_made_of_is_a_new_version(patch, ask, endpoint):
    path = f"/v2/serverless/{endpoint['id']}/releases"
    versions = []
    for fields in ({}, {"workers": {"max": 1}}, {"image": "asr:1"}, {"image": "asr:2", "gpu": {"count": 2}}):
        patch(**fields)
        versions.append(ask("GET", path)["endpointVersion"])

    assert [0, 0, 0, 1] == versions


def test_a_release_says_what_changed_and_no_secret(patch, ask, endpoint):
    patch(env={"HF_TOKEN": "hf_old", "MODEL": "a"})
    patch(image="asr:2", env={"HF_TOKEN": "hf_new", "MODEL": "b"}, workers={"max": 2})
    answer = ask("GET", f"/v2/serverless/{endpoint['id']}/releases")
    newest, _, oldest = answer["releases"]

    assert {"inProgress": False, "workersOnLatest": 0, "workersTotal": 0, "percentOnLatest": 0} == answer["rollout"]
    assert (2, 2, "MANUAL") == (answer["endpointVersion"], newest["version"], newest["source"])
    assert (0, [], endpoint["createdAt"]) == (oldest["version"], oldest["diff"], oldest["createdAt"])
    assert [
        {"field": "workersMax", "old": 3, "new": 2},
        {"field": "template.imageName", "old": "asr:1", "new": "asr:2"},
        {
            "field": "template.env",
            "old": {"HF_TOKEN": "***", "MODEL": "a"},
            "new": {"HF_TOKEN": "***", "MODEL": "b"},
        },
    ] == newest["diff"]
    assert "hf_" not in json.dumps(answer)


def test_a_deleted_endpoint_takes_its_template_with_it(ask, create, runtime, listed):
    made = create(workers={"min": 0, "max": 1}, name=unique("gone"))
    path = f"/v2/serverless/{made['id']}"
    template = next(one for one in listed("templates", "templates") if one["name"].startswith(made["name"]))
    response = runtime.session.delete(f"{runtime.url}{path}", timeout=30)

    assert (204, b"") == (response.status_code, response.content)
    assert "endpoint not found" == ask("GET", path, status=404)["detail"]
    assert "template not found" == ask("GET", f"/v2/templates/{template['id']}", status=404)["detail"]


@pytest.mark.parametrize("resource", ["serverless", "templates", "registries", "network-volumes"])
def test_what_is_not_there_is_not_found(refusal, resource):
    what = {"serverless": "endpoint", "templates": "template", "registries": "registry"}.get(resource, "network volume")

    assert f"{what} not found" == refusal(404, "GET", f"/v2/{resource}/nope")
    assert f"{what} not found" == refusal(404, "DELETE", f"/v2/{resource}/nope")
    if resource != "registries":
        assert f"{what} not found" == refusal(404, "PATCH", f"/v2/{resource}/nope", {"name": "n"})


# --- templates --------------------------------------------------------------------------------------------------------


def test_a_template_is_for_pods_and_starts_ssh_unless_told_otherwise(ask):
    made = ask("POST", "/v2/templates", {"name": unique("t"), "image": "asr:1"}, status=201)

    assert (
        {
            "id": made["id"],
            "name": made["name"],
            "image": "asr:1",
            "args": "",
            "disk": 10,
            "env": {},
            "ports": [],
            "registry": None,
            "mounts": {},
            "serverless": False,
            "public": False,
            "category": "NVIDIA",
            "startSsh": True,
            "startJupyter": True,
            "allowedCudaVersions": [],
        }
        == made
        == ask("GET", f"/v2/templates/{made['id']}")
    )


def test_a_patched_template_changes_in_what_was_sent(ask, create_template):
    before = create_template(env={"A": "1", "B": "2"}, startSsh=False)
    fields = {"env": {"B": "3"}, "mounts": {"persistent": {"size": 20, "path": "/workspace"}}, "public": True}

    assert {**before, **fields} == ask("PATCH", f"/v2/templates/{before['id']}", fields)


def test_a_template_is_resolved_once(ask, create_template):
    """Body fields win, variables merge, and later changes of the template do not reach the endpoint."""
    template = create_template(env={"A": "1", "B": "2"}, disk=30, args="run", allowedCudaVersions=["12.8"])
    body = {**ENDPOINT, "templateId": template["id"], "env": {"B": "3"}, "disk": 40}
    del body["image"]
    made = ask("POST", "/v2/serverless", body, status=201)
    ask("PATCH", f"/v2/templates/{template['id']}", {"image": "asr:9"})

    assert ({"A": "1", "B": "3"}, 40, "run", "asr:1") == (made["env"], made["disk"], made["args"], made["image"])
    assert ["12.8"] == made["gpu"]["allowedCudaVersions"]
    assert made == ask("GET", f"/v2/serverless/{made['id']}")
    assert not {"template", "templateId", "version"} & made.keys()


def test_a_templates_cuda_versions_yield_to_a_floor(create, create_template):
    template = create_template(allowedCudaVersions=["12.8"])
    made = create(templateId=template["id"], gpu={"pools": ["ADA_24"], "minCudaVersion": "12.4"})

    assert ([], "12.4") == (made["gpu"]["allowedCudaVersions"], made["gpu"]["minCudaVersion"])


def test_a_template_in_a_patch_replaces_the_variables(create, ask, create_template):
    before = create(env={"OLD": "1"}, disk=25)
    template = create_template(env={"A": "1"}, image="asr:2", disk=30)
    after = ask("PATCH", f"/v2/serverless/{before['id']}", {"templateId": template["id"], "env": {"B": "2"}})

    assert ({"A": "1", "B": "2"}, "asr:2", 30) == (after["env"], after["image"], after["disk"])


def test_a_pod_template_makes_no_endpoint(refusal, create_template, endpoint):
    template_id = create_template(serverless=False)["id"]

    for method, path in (("POST", "/v2/serverless"), ("PATCH", f"/v2/serverless/{endpoint['id']}")):
        body = {**(ENDPOINT if method == "POST" else {}), "templateId": template_id}
        assert "the template is not a serverless template" == refusal(422, method, path, body)


def test_template_names_are_unique(refusal, create_template):
    taken = create_template()["name"]

    assert "Template name must be unique." == refusal(400, "POST", "/v2/templates", {"name": taken, "image": "x"})


def test_a_template_is_deleted_by_id_unless_it_is_in_use(ask, refusal, create_template, endpoint, graphql):
    unused = create_template()["id"]
    ask("DELETE", f"/v2/templates/{unused}", status=204)
    query = "query Get($id: String!) { myself { endpoint(id: $id) { templateId } } }"
    used = graphql(query, id=endpoint["id"])["myself"]["endpoint"]["templateId"]

    assert "in use" in refusal(400, "DELETE", f"/v2/templates/{used}")
    assert "template not found" == refusal(404, "GET", f"/v2/templates/{unused}")


def test_a_list_goes_on_where_its_last_entry_was_deleted(ask, refusal, create_template, listed):
    """Between two pages: the rest is not left out."""
    made = [create_template(image=f"asr:{number}") for number in range(6)]
    names = [template["name"] for template in made]
    page = ask("GET", "/v2/templates")
    while names[2] not in [one["name"] for one in page["templates"]]:
        page = ask("GET", f"/v2/templates?cursor={page['pagination']['nextCursor']}")
    last = page["templates"][-1]
    ask("DELETE", f"/v2/templates/{last['id']}", status=204)
    seen, more = set(), page
    while cursor := more["pagination"]["nextCursor"]:
        more = ask("GET", f"/v2/templates?cursor={cursor}")
        seen |= {one["name"] for one in more["templates"]}

    assert set(names[names.index(last["name"]) + 1 :]) <= seen
    assert last["name"] not in seen
    assert "invalid cursor" == refusal(400, "GET", "/v2/templates?cursor=x")


def test_a_start_command_comes_as_words_too(runtime, graphql):
    """Beyond the document; GraphQL shows it as RunPod keeps it."""
    body = {"name": unique("words"), "image": "asr:1", "cmd": ["python", "-u"], "entrypoint": ["/init"]}
    made = runtime.post("/v2/templates", body)
    changed = runtime.session.patch(
        f"{runtime.url}/v2/templates/{made['id']}", json={"cmd": ["bash"]}, timeout=30
    ).json()
    shown = graphql("query Read($id: String!) { podTemplate(id: $id) { dockerArgs } }", id=made["id"])
    endpoint = runtime.post("/v2/serverless", {**ENDPOINT, "name": unique("words"), "cmd": ["serve", "a b"]})

    assert ("", ["python", "-u"], ["/init"]) == (made["args"], made["cmd"], made["entrypoint"])
    assert (["bash"], ["/init"]) == (changed["cmd"], changed["entrypoint"])
    assert {"podTemplate": {"dockerArgs": '{"cmd":["bash"],"entrypoint":["/init"]}'}} == shown
    assert ["serve", "a b"] == endpoint["cmd"]


# --- registries and volumes -------------------------------------------------------------------------------------------


def test_a_login_is_kept_and_never_shown(ask, refusal, create_template, graphql, listed):
    given = {"name": unique("ghcr"), "username": "me", "password": "hush"}
    made = ask("POST", "/v2/registries", given, status=201)
    path = f"/v2/registries/{made['id']}"
    template = create_template(registry=made["id"])

    assert {"id": made["id"], "name": given["name"]} == made == ask("GET", path)
    assert "name must be unique" in refusal(400, "POST", "/v2/registries", given)
    assert made in listed("registries", "registries")
    assert made in graphql("{ myself { containerRegistryCreds { id name } } }")["myself"]["containerRegistryCreds"]
    ask("DELETE", path, status=204)
    assert "registry not found" == refusal(404, "GET", path)
    assert None is ask("GET", f"/v2/templates/{template['id']}")["registry"]


def test_a_login_needs_all_its_parts(refusal):
    assert [
        "$: missing properties 'username', 'password'",
        "$: additional properties 'user' not allowed",
    ] == refusal(422, "POST", "/v2/registries", {"name": "ghcr", "user": "me"})


def test_a_volume_grows_and_never_shrinks(ask, refusal, graphql, listed):
    made = ask("POST", "/v2/network-volumes", {"name": "w", "size": 50, "dataCenter": "EU-RO-1"}, status=201)
    path = f"/v2/network-volumes/{made['id']}"
    grown = ask("PATCH", path, {"size": 60})

    assert {"id": made["id"], "name": "w", "size": 60, "dataCenter": "EU-RO-1", "type": "STANDARD"} == grown
    assert "size cannot be reduced: it is 60 GB" == refusal(400, "PATCH", path, {"size": 59, "name": "v"})
    assert ["$: minProperties: got 0, want 1"] == refusal(422, "PATCH", path, {})
    assert grown == ask("GET", path)
    assert grown in listed("network-volumes", "networkVolumes")
    shown = graphql("{ myself { networkVolumes { id name size dataCenterId } } }")["myself"]["networkVolumes"]
    assert {"id": made["id"], "name": "w", "size": 60, "dataCenterId": "EU-RO-1"} in shown
    ask("DELETE", path, status=204)
    assert "network volume not found" == refusal(404, "GET", path)


def test_a_volume_needs_a_data_center_that_has_some(refusal):
    detail = refusal(400, "POST", "/v2/network-volumes", {"name": "w", "size": 10, "dataCenter": "US-TX-3"})

    assert detail.startswith("data center US-TX-3 has no network volumes; supported: EU-CZ-1, EU-RO-1, ")


# --- the two planes ---------------------------------------------------------------------------------------------------


@pytest.fixture
def sdk(runtime, monkeypatch):
    """RunPod's own client, which speaks GraphQL."""
    monkeypatch.setenv("RUNPOD_API_BASE_URL", runtime.url)
    monkeypatch.setattr(runpod, "api_key", runtime.api_key)
    return runpod


def test_what_runpods_client_creates_is_seen(sdk, ask):
    template = sdk.create_template(
        unique("sdk"),
        "asr:1",
        docker_start_cmd="python handler.py",
        container_disk_in_gb=20,
        ports="8888/http,22/tcp",
        env={"MODEL": "tiny"},
        is_serverless=True,
    )
    made = sdk.create_endpoint(
        "asr",
        template["id"],
        "AMPERE_24,ADA_24,-NVIDIA L4",
        locations="EU-RO-1,US-KS-2",
        idle_timeout=7,
        scaler_type="QUEUE_DELAY",
        scaler_value=2,
        workers_min=0,
        workers_max=5,
        flashboot=True,
        allowed_cuda_versions="12.8,12.9",
        gpu_count=2,
    )
    seen = ask("GET", f"/v2/serverless/{made['id']}")

    for field in ("requestUrls", "createdAt"):
        del seen[field]
    assert {
        "id": made["id"],
        "name": "asr",
        "type": "QUEUE",
        "image": "asr:1",
        "args": "python handler.py",
        "disk": 20,
        "env": {"MODEL": "tiny"},
        "ports": ["8888/http", "22/tcp"],
        "registry": None,
        "gpu": {
            "pools": ["AMPERE_24", "ADA_24"],
            "excludedTypes": ["NVIDIA L4"],
            "count": 2,
            "allowedCudaVersions": ["12.8", "12.9"],
            "minCudaVersion": None,
        },
        "workers": {"min": 0, "max": 5, "idleTimeout": 7},
        "scaling": {"type": "QUEUE_DELAY", "queueDelay": 2},
        "dataCenterIds": ["EU-RO-1", "US-KS-2"],
        "networkVolumes": [],
        "timeout": 600000,
        "flashboot": "FLASHBOOT",
    } == seen


READ = """query Read($id: String!) { myself { endpoint(id: $id) {
    name templateId gpuIds gpuCount workersMin workersMax idleTimeout scalerType scalerValue executionTimeoutMs
    locations allowedCudaVersions minCudaVersion flashBootType networkVolumeIds { networkVolumeId dataCenterId }
} } }"""
READ_TEMPLATE = """query Read($id: String!) { podTemplate(id: $id) {
    imageName dockerArgs containerDiskInGb ports isServerless env { key value } } }"""


def test_what_rest_creates_is_seen_by_graphql(ask, create, graphql):
    volume = ask("POST", "/v2/network-volumes", {"name": "w", "size": 10, "dataCenter": "EU-RO-1"}, status=201)
    made = create(
        env={"A": "b"},
        ports=["80/http"],
        gpu={"pools": ["AMPERE_24"], "excludedTypes": ["NVIDIA L4"], "minCudaVersion": "12.8"},
        scaling={"type": "QUEUE_DELAY", "queueDelay": 0.5},
        networkVolumes=[volume["id"]],
        timeout=1000,
    )
    seen = graphql(READ, id=made["id"])["myself"]["endpoint"]
    template = graphql(READ_TEMPLATE, id=seen.pop("templateId"))["podTemplate"]

    assert {
        "imageName": "asr:1",
        "dockerArgs": "",
        "containerDiskInGb": 10,
        "ports": "80/http",
        "isServerless": True,
        "env": [{"key": "A", "value": "b"}],
    } == template
    assert {
        "name": "asr",
        "gpuIds": "AMPERE_24,-NVIDIA L4",
        "gpuCount": 1,
        "workersMin": 0,
        "workersMax": 3,
        "idleTimeout": 10,
        "scalerType": "QUEUE_DELAY",
        "scalerValue": 1,
        "executionTimeoutMs": 1000,
        "locations": "",
        "allowedCudaVersions": "",
        "minCudaVersion": "12.8",
        "flashBootType": "OFF",
        "networkVolumeIds": [{"networkVolumeId": volume["id"], "dataCenterId": "EU-RO-1"}],
    } == seen


def test_a_template_that_others_use_is_left_as_it_is(sdk, ask, graphql):
    """What is set in one endpoint must not restart another's workers."""
    template = sdk.create_template(unique("shared"), "asr:1", is_serverless=True)["id"]
    one, other = (sdk.create_endpoint(name, template, "ADA_24")["id"] for name in ("one", "other"))
    bystander = ask("GET", f"/v2/serverless/{other}")
    ask("PATCH", f"/v2/serverless/{one}", {"workers": {"max": 1}, "image": "asr:1"})
    kept = graphql(READ, id=one)["myself"]["endpoint"]["templateId"]
    ask("PATCH", f"/v2/serverless/{one}", {"image": "asr:2"})
    own = graphql(READ, id=one)["myself"]["endpoint"]["templateId"]
    ask("PATCH", f"/v2/serverless/{one}", {"image": "asr:3"})

    assert template == kept != own == graphql(READ, id=one)["myself"]["endpoint"]["templateId"]
    assert "asr:1" == graphql(READ_TEMPLATE, id=template)["podTemplate"]["imageName"]
    assert "asr:3" == graphql(READ_TEMPLATE, id=own)["podTemplate"]["imageName"]
    assert (bystander, 0) == (
        ask("GET", f"/v2/serverless/{other}"),
        ask("GET", f"/v2/serverless/{other}/releases")["endpointVersion"],
    )
    ask("DELETE", f"/v2/serverless/{one}", status=204)
    assert {"podTemplate": None} == graphql(READ_TEMPLATE, id=own)
    ask("DELETE", f"/v2/serverless/{other}", status=204)
    assert "asr:1" == ask("GET", f"/v2/templates/{template}")["image"]


def test_a_template_lent_to_another_endpoint_is_left_as_it_is(sdk, ask, endpoint, graphql):
    """GraphQL can give one endpoint's own template to another, which then keeps it."""
    own = graphql(READ, id=endpoint["id"])["myself"]["endpoint"]["templateId"]
    other = sdk.create_endpoint("other", own, "ADA_24")["id"]
    ask("PATCH", f"/v2/serverless/{endpoint['id']}", {"image": "asr:2"})
    ask("DELETE", f"/v2/serverless/{endpoint['id']}", status=204)

    assert "asr:1" == ask("GET", f"/v2/serverless/{other}")["image"]


def test_a_template_that_came_within_an_endpoint_is_its_own(ask, graphql):
    save = "mutation Save($input: EndpointInput!) { saveEndpoint(input: $input) { id templateId } }"
    template = {"name": unique("inline"), "imageName": "asr:1"}
    made = graphql(save, input={"name": "inline", "gpuIds": "ADA_24", "template": template})["saveEndpoint"]
    path, template_path = f"/v2/serverless/{made['id']}", f"/v2/templates/{made['templateId']}"
    ask("PATCH", path, {"image": "asr:2"})

    assert (template["name"], "asr:2") == tuple(ask("GET", template_path)[field] for field in ("name", "image"))
    ask("DELETE", path, status=204)
    assert "template not found" == ask("GET", template_path, status=404)["detail"]


def test_what_graphql_lets_through_does_not_stop_a_patch(sdk, ask, graphql):
    """GraphQL takes exact CUDA versions beside a floor, and countries as locations."""
    template = sdk.create_template(unique("odd"), "asr:1", is_serverless=True)["id"]
    save = "mutation Save($input: EndpointInput!) { saveEndpoint(input: $input) { id } }"
    volume = ask("POST", "/v2/network-volumes", {"name": "w", "size": 10, "dataCenter": "US-KS-2"}, status=201)["id"]
    odd = {"allowedCudaVersions": "12.8", "minCudaVersion": "12.4", "locations": "US", "networkVolumeId": volume}
    made = graphql(save, input={"name": "odd", "templateId": template, "gpuIds": "ADA_24", **odd})["saveEndpoint"]
    ask("DELETE", f"/v2/network-volumes/{volume}", status=204)
    after = ask("PATCH", f"/v2/serverless/{made['id']}", {"workers": {"max": 1}})

    assert (1, ["US"], [volume], ["12.8"], "12.4") == (
        after["workers"]["max"],
        after["dataCenterIds"],
        after["networkVolumes"],
        after["gpu"]["allowedCudaVersions"],
        after["gpu"]["minCudaVersion"],
    )


def test_a_cpu_endpoint_of_graphql_is_shown_as_one(sdk, ask, refusal, graphql):
    template = sdk.create_template(unique("cpu"), "asr:1", is_serverless=True)["id"]
    save = "mutation Save($input: EndpointInput!) { saveEndpoint(input: $input) { id } }"
    made = graphql(save, input={"name": "cpu", "templateId": template, "instanceIds": ["cpu3g-4-16"]})["saveEndpoint"]
    path = f"/v2/serverless/{made['id']}"
    seen = ask("GET", path)

    assert (None, [{"id": "cpu3g", "vcpuCount": 4, "memory": 16}]) == (seen["gpu"], seen["cpu"])
    assert "an endpoint's compute family cannot be changed" == refusal(400, "PATCH", path, {"gpu": {"count": 1}})


# --- catalog ----------------------------------------------------------------------------------------------------------


def test_a_gpu_has_its_pools_price_an_hour(ask):
    gpus = {gpu["id"]: gpu for gpu in ask("GET", "/v2/catalog/gpus")["gpus"]}
    card = gpus["NVIDIA GeForce RTX 4090"]

    assert (
        {
            "id": "NVIDIA GeForce RTX 4090",
            "name": "RTX 4090",
            "pool": "ADA_24",
            "manufacturer": "NVIDIA",
            "memory": 24,
            "secure": True,
            "community": False,
            "price": {"secure": 0.0, "community": 0.0, "serverless": 1.12},
            "maxCount": {"secure": 0, "community": 0},
        }
        == card
        == ask("GET", "/v2/catalog/gpus/NVIDIA%20GeForce%20RTX%204090")
    )
    prices = {gpu["pool"]: gpu["price"].get("serverless") for gpu in gpus.values()}
    assert {
        "AMPERE_16": 0.58,
        "AMPERE_24": 0.68,
        "ADA_24": 1.12,
        "ADA_32_PRO": None,
        "AMPERE_48": 1.22,
        "ADA_48_PRO": 1.91,
        "AMPERE_80": 2.74,
        "ADA_80_PRO": 4.18,
        "BLACKWELL_96": 4.0,
        "HOPPER_141": 5.58,
        "BLACKWELL_180": 8.64,
    } == prices


def test_stock_is_shown_when_asked_for(ask):
    query = "include=AVAILABILITY&product=SERVERLESS&count=2"
    gpus = ask("GET", f"/v2/catalog/gpus?{query}")["gpus"]
    romania = [{"id": "EU-RO-1", "name": "EU-RO-1", "availability": "HIGH"}]

    assert {("HIGH", DATA_CENTERS)} == {
        (gpu["availability"], tuple(center["id"] for center in gpu["dataCenters"])) for gpu in gpus
    }
    assert romania == ask("GET", f"/v2/catalog/gpus?{query}&countryCodes=RO,XX")["gpus"][0]["dataCenters"]
    assert [] == ask("GET", f"/v2/catalog/gpus?{query}&countryCodes=XX")["gpus"]
    nowhere = ask("GET", f"/v2/catalog/gpus/NVIDIA%20L4?{query}&countryCodes=XX")
    assert ("NONE", False) == (nowhere["availability"], "dataCenters" in nowhere)


@pytest.mark.parametrize(
    ("status", "query", "detail"),
    [
        (400, "include=AVAILABILITY", "product is required with include=AVAILABILITY"),
        (400, "product=SERVERLESS", "product is valid only with include=AVAILABILITY"),
        (400, "countryCodes=US", "countryCodes is valid only with include=AVAILABILITY"),
        (
            400,
            "include=AVAILABILITY&product=POD&cudaVersions=12.8&minCudaVersion=12",
            "cudaVersions and minCudaVersion are mutually exclusive",
        ),
        (422, "include=PRICES", "include: value must be one of AVAILABILITY"),
        (422, "include=AVAILABILITY&product=serverless", "product: value must be one of POD, CLUSTER, SERVERLESS"),
        (
            422,
            "include=AVAILABILITY&product=POD&countryCodes=us",
            "countryCodes: 'us' does not match pattern '[A-Z]{2}(,[A-Z]{2})*'",
        ),
    ],
)
def test_stock_is_asked_for_rightly_or_not_at_all(refusal, status, query, detail):
    assert detail == refusal(status, "GET", f"/v2/catalog/gpus?{query}")


def test_data_centers_say_whether_they_have_volumes(ask, refusal):
    centers = {center["id"]: center for center in ask("GET", "/v2/catalog/datacenters")["dataCenters"]}
    europe = ask("GET", "/v2/catalog/datacenters?regions=EUROPE,ASIA&networkVolumeTypes=STANDARD")["dataCenters"]

    assert DATA_CENTERS == tuple(centers)
    assert ([], ["STANDARD"]) == tuple(centers[name]["networkVolumeTypes"] for name in ("US-TX-3", "US-KS-2"))
    assert ["EU-CZ-1", "EU-RO-1", "EUR-IS-1", "EUR-NO-1"] == [center["id"] for center in europe]
    assert [] == ask("GET", "/v2/catalog/datacenters?compliance=GDPR")["dataCenters"]
    stocked = ask("GET", "/v2/catalog/datacenters/US-KS-2?include=GPU_AVAILABILITY")
    assert {"id": "NVIDIA L4", "name": "L4", "availability": "HIGH"} in stocked.pop("gpuAvailability")
    assert centers["US-KS-2"] == stocked
    assert "data center not found" == refusal(404, "GET", "/v2/catalog/datacenters/XX-NO-1")
    assert "GPU type not found" == refusal(404, "GET", "/v2/catalog/gpus/RTX%204090")


# --- workers and logs -------------------------------------------------------------------------------------------------


@pytest.fixture
def deployed(ask, handlers):
    """An endpoint with a worker of the tests' own."""

    def deployed(handler, **fields):
        body = {**ENDPOINT, "name": handler, "image": image_name(handlers / handler), "workers": {"max": 1}, **fields}
        return ask("POST", "/v2/serverless", body, status=201)

    return deployed


def test_a_worker_of_an_older_version_is_stale(runtime, ask, deployed, tmp_path):
    """While it ends its job the next version waits: half of the rollout is done when both run."""
    made = deployed("basic", workers={"max": 2}, dataCenterIds=["EU-RO-1"])
    path = f"/v2/serverless/{made['id']}"
    started, go = tmp_path / "started", tmp_path / "go"
    job = {"do": "wait", "started": str(started), "until": str(go)}
    job_id = runtime.run(made["id"], job)
    until(started.exists)
    [before] = ask("GET", f"{path}/workers")["workers"]
    ask("PATCH", path, {"env": {"A": "b"}})
    runtime.runsync(made["id"], {"a": 1})
    answer = ask("GET", f"{path}/workers")
    releases = ask("GET", f"{path}/releases")
    go.touch()
    runtime.ended(made["id"], job_id)

    old, new = sorted(answer["workers"], key=lambda worker: worker["version"])
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", before.pop("startedAt"))
    assert before.pop("uptimeSeconds") in range(60)
    assert {
        "id": old["id"],
        "status": "RUNNING",
        "isStale": False,
        "version": 0,
        "gpuCount": 1,
        "image": made["image"],
        "gpuTypeId": "NVIDIA GeForce RTX 4090",
        "dataCenterId": "EU-RO-1",
    } == before
    assert ((True, 0, "RUNNING"), (False, 1, "IDLE")) == tuple(
        (worker["isStale"], worker["version"], worker["status"]) for worker in (old, new)
    )
    counts = {"running": 1, "idle": 1, "initializing": 0, "throttled": 0, "unhealthy": 0, "total": 2}
    assert (counts, 1) == (answer["summary"], answer["endpointVersion"])
    assert {"inProgress": True, "workersOnLatest": 1, "workersTotal": 2, "percentOnLatest": 50} == releases["rollout"]
    assert [1, 1] == [release["workerCount"] for release in releases["releases"]]


def test_a_worker_that_does_not_come_up_is_unhealthy(runtime, ask, deployed):
    made = deployed("exits")
    runtime.run(made["id"], {"a": 1})

    def unhealthy():
        return ask("GET", f"/v2/serverless/{made['id']}/workers")["summary"]["unhealthy"]

    assert 1 == until(unhealthy)


class Stream:
    """A log as it comes in."""

    def __init__(self, runtime, path, **headers):
        self._response = runtime.session.get(f"{runtime.url}{path}", stream=True, timeout=30, headers=headers)
        assert (200, "text/event-stream") == (
            self._response.status_code,
            self._response.headers["content-type"].partition(";")[0],
        )
        self._lines = self._response.iter_lines(chunk_size=1, decode_unicode=True)

    def events(self):
        """(id, data) of each event, for ever."""
        for line in self._lines:
            event_id = line.removeprefix("id: ")
            yield event_id, json.loads(next(self._lines).removeprefix("data: "))
            assert "" == next(self._lines)

    def until(self, text):
        """The events up to the one whose line has this text."""
        events = []
        for event in self.events():
            events.append(event)
            if text in event[1]["line"]:
                return events
        raise AssertionError(f"the log ended without {text!r}")


def test_a_workers_log_is_told_from_its_start_to_its_end(runtime, ask, deployed):
    made = deployed("basic")
    worker = runtime.runsync(made["id"], {"a": 1})["workerId"]
    path = f"/v2/serverless/{made['id']}/workers/{worker}/logs"
    first = Stream(runtime, f"{path}?source=container").until("Finished.")
    system = Stream(runtime, f"{path}?source=system")
    live = Stream(runtime, f"{path}?tail=0")
    runtime.run(made["id"], {"a": 2})
    seen = live.until("Finished.")
    ask("PATCH", f"/v2/serverless/{made['id']}", {"workers": {"max": 0}})
    lines = [data["line"] for _, data in system.until("remove container")]

    assert [
        f"create container {made['image']}",
        f"start container for {made['image']}: begin",
        f"stop container {worker}",
        f"remove container {worker}",
    ] == [line for line in lines if "container" in line]
    assert {"container"} == {data["source"] for _, data in first}
    assert [] == [event_id for event_id, _ in seen if event_id <= first[-1][0]]
    assert all(
        re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z/\d{12}", event_id) and event_id.startswith(data["ts"])
        for event_id, data in first
    )


def test_the_last_event_id_wins_over_all_else(runtime, deployed):
    made = deployed("basic")
    worker = runtime.runsync(made["id"], {"a": 1})["workerId"]
    path = f"/v2/serverless/{made['id']}/workers/{worker}/logs"
    whole = Stream(runtime, path).until("Finished.")
    middle = whole[2]
    query = f"?tail=0&since={whole[0][1]['ts']}"

    assert whole[3:] == Stream(runtime, path + query, **{"Last-Event-ID": middle[0]}).until("Finished.")
    assert whole == Stream(runtime, path + query).until("Finished.")


@pytest.mark.parametrize(
    ("query", "detail"),
    [
        ("source=gpu", "source: value must be one of 'container', 'system'"),
        ("tail=5001", "tail must be a number from 0 to 5000"),
        ("tail=all", "tail must be a number from 0 to 5000"),
        ("since=yesterday", "since is not a time of RFC 3339"),
    ],
)
def test_a_log_is_asked_for_rightly(runtime, refusal, deployed, query, detail):
    made = deployed("basic")
    worker = runtime.runsync(made["id"], {"a": 1})["workerId"]

    assert detail == refusal(422, "GET", f"/v2/serverless/{made['id']}/workers/{worker}/logs?{query}")


def test_a_worker_that_never_was_has_no_log(refusal, endpoint):
    assert "worker not found" == refusal(404, "GET", f"/v2/serverless/{endpoint['id']}/workers/nope/logs")


# --- the door ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("headers", "query", "detail"),
    [
        ({}, "", "missing bearer token"),
        ({}, "?api_key=test-key", "missing bearer token"),
        ({"Authorization": "test-key"}, "", "missing bearer token"),
        ({"Authorization": "Bearer other"}, "", "invalid bearer token"),
    ],
)
def test_the_key_comes_in_the_header(runtime, headers, query, detail):
    response = requests.get(f"{runtime.url}/v2/serverless{query}", headers=headers, timeout=30)

    assert (401, {"title": "Unauthorized", "status": 401, "detail": detail}) == (response.status_code, response.json())
    openapi.check("GET", "/v2/serverless", None, 401, response.json())


def test_answers_carry_an_id_and_the_quota(runtime):
    answers = [
        runtime.session.get(f"{runtime.url}/v2/{path}", timeout=30) for path in ("serverless", "serverless/nope")
    ]
    types = [answer.headers["content-type"] for answer in answers]

    assert ["application/json", "application/problem+json"] == types
    assert 2 == len({answer.headers["x-request-id"] for answer in answers})
    for answer in answers:
        assert '"minute";r=60;t=60, "hour";r=3000;t=3600, "day";r=50000;t=86400' == answer.headers["RateLimit"]
        assert '"minute";q=60;w=60, "hour";q=3000;w=3600, "day";q=50000;w=86400' == answer.headers["RateLimit-Policy"]


def test_unknown_paths_and_methods_are_problems(runtime):
    missing = runtime.session.get(f"{runtime.url}/v2/serverless/a/b/c", timeout=30)
    wrong = runtime.session.put(f"{runtime.url}/v2/serverless", timeout=30)

    assert {"title": "Not Found", "status": 404, "detail": "resource not found"} == missing.json()
    assert ({"GET", "HEAD", "POST"}, 405) == (set(wrong.headers["Allow"].split(", ")), wrong.status_code)
    assert "The requested method is not allowed for this path." == wrong.json()["detail"]


def test_the_document_is_at_hand_where_it_must_be():
    """Without RunPod's document nothing here is held against it."""
    if not openapi.is_at_hand():
        pytest.skip(openapi.MISSING)
    with pytest.raises(AssertionError, match="Unevaluated properties"):
        openapi.check("POST", "/v2/serverless", {**ENDPOINT, "bogus": 1}, 201, None)
    with pytest.raises(AssertionError, match="'id' is a required property"):
        openapi.check("GET", "/v2/serverless/x", None, 200, {})
