"""The control plane answers RunPod's own client, and refuses what RunPod refuses."""

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
import runpod
import runpod.error
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from runpod.api.graphql import run_graphql_query

from vidctl.local.control_plane import graphql
from vidctl.local.control_plane.records import EndpointRecord, NetworkVolumeRecord
from vidctl.local.control_plane.store import RecordStore

TEMPLATE = {
    "name": "yolo",
    "imageName": "yolo:1",
    "dockerArgs": "",
    "containerDiskInGb": 10,
    "volumeInGb": 0,
    "env": [],
}
ENDPOINT = {"name": "yolo", "gpuIds": "ADA_24"}
CATCH_ALL = "Something went wrong. Please try again later or contact support."


@pytest.fixture
def own_records(tmp_path):
    own_records = RecordStore(tmp_path / "runtime.db")
    yield own_records
    own_records.close()


@pytest.fixture
def ask(own_records):
    """Execute a document and return the whole answer."""

    def ask(query, **variables):
        status, answer = graphql.respond(own_records, json.dumps({"query": query, "variables": variables}).encode())
        assert 200 == status
        return answer

    return ask


@pytest.fixture
def save_template(ask):
    """`saveTemplate` as flash and runpodctl write it."""

    def save(**fields):
        document = "mutation Save($input: SaveTemplateInput) { saveTemplate(input: $input) { id name imageName } }"
        return ask(document, input={**TEMPLATE, **fields})

    return save


@pytest.fixture
def template_id(save_template):
    return save_template()["data"]["saveTemplate"]["id"]


@pytest.fixture
def save_endpoint(ask):
    """`saveEndpoint` as flash and runpodctl write it."""

    def save(**fields):
        document = """mutation SaveEndpoint($input: EndpointInput!) { saveEndpoint(input: $input) {
            id name templateId gpuIds gpuCount instanceIds workersMin workersMax idleTimeout scalerType scalerValue
            executionTimeoutMs locations networkVolumeId networkVolumeIds { networkVolumeId } allowedCudaVersions
            flashEnvironmentId workersPFBTarget
            minCudaVersion flashBootType modelReferences compliance type computeType version createdAt } }"""
        return ask(document, input={**ENDPOINT, **fields})

    return save


@pytest.fixture
def endpoint_id(save_endpoint, template_id):
    return save_endpoint(templateId=template_id)["data"]["saveEndpoint"]["id"]


def refusal(answer):
    """The message of the one error of an answer that did nothing."""
    (error,) = answer["errors"]
    assert not any((answer.get("data") or {}).values())
    return error["message"]


# --- RunPod's own client ---------------------------------------------------------------------------------------------


@pytest.fixture
def sdk(own_records, tmp_path, monkeypatch):
    """The RunPod SDK, talking over HTTP to `respond`."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            # The registry is its thread's own; this one is the server's, on the same file.
            served = RecordStore(tmp_path / "runtime.db")
            status, answer = graphql.respond(served, self.rfile.read(int(self.headers["Content-Length"])))
            served.close()
            body = json.dumps(answer).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_):
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever).start()
    monkeypatch.setenv("RUNPOD_API_BASE_URL", f"http://127.0.0.1:{server.server_port}")
    runpod.api_key = "any"
    yield runpod
    server.shutdown()
    server.server_close()


def test_the_sdk_creates_a_template(sdk, own_records):
    made = sdk.create_template(
        "yolo",
        "yolo:1",
        docker_start_cmd='python -u "handler.py"',
        container_disk_in_gb=20,
        volume_mount_path="/data",
        ports="8888/http, 22/tcp",
        env={"MODEL": "yolo11n.pt"},
        is_serverless=True,
        registry_auth_id="auth1",
    )
    kept = own_records.template(made.pop("id"))

    assert {
        "name": "yolo",
        "imageName": "yolo:1",
        "dockerArgs": 'python -u "handler.py"',
        "containerDiskInGb": 20,
        "volumeInGb": 0,
        "volumeMountPath": "/data",
        "ports": "8888/http,22/tcp",
        "env": [{"key": "MODEL", "value": "yolo11n.pt"}],
        "isServerless": True,
    } == made
    assert ("auth1", {"MODEL": "yolo11n.pt"}) == (kept.container_registry_auth_id, kept.env)


def test_the_sdk_creates_an_endpoint(sdk, volume):
    template = sdk.create_template("yolo", "yolo:1", env={"MODEL": "yolo11n.pt"}, is_serverless=True)
    made = sdk.create_endpoint(
        "detector",
        template["id"],
        "ADA_24,AMPERE_48,-NVIDIA RTX A6000",
        network_volume_id=volume["id"],
        locations="EU-RO-1",
        flashboot=True,
        allowed_cuda_versions="12.8,12.9",
        gpu_count=2,
    )
    (listed,) = sdk.get_endpoints()

    assert {
        "id": listed["id"],
        "name": "detector",
        "templateId": template["id"],
        "gpuIds": "ADA_24,AMPERE_48,-NVIDIA RTX A6000",
        "networkVolumeId": volume["id"],
        "locations": "EU-RO-1",
        "idleTimeout": 5,
        "scalerType": "QUEUE_DELAY",
        "scalerValue": 4,
        "workersMin": 0,
        "workersMax": 3,
        "allowedCudaVersions": "12.8,12.9",
        "gpuCount": 2,
        "flashBootType": "FLASHBOOT",
    } == made
    assert {**listed, **{key: made[key] for key in made if key in listed}} == listed
    assert ([{"key": "MODEL", "value": "yolo11n.pt"}], 0, "QB", {"id": volume["id"], "dataCenterId": "EU-RO-1"}) == (
        listed["env"],
        listed["version"],
        listed["type"],
        listed["networkVolume"],
    )
    assert listed["aiKey"] is None


def test_the_sdk_gives_an_endpoint_another_template(sdk):
    one, two = (sdk.create_template(name, "yolo:1", is_serverless=True)["id"] for name in ("one", "two"))
    endpoint = sdk.create_endpoint("detector", one, "ADA_24")["id"]

    assert {"id": endpoint, "templateId": two} == sdk.update_endpoint_template(endpoint, two)
    assert [(two, 1)] == [(listed["templateId"], listed["version"]) for listed in sdk.get_endpoints()]


def test_the_sdk_hears_of_a_template_name_that_is_taken(sdk):
    sdk.create_template("yolo", "yolo:1")

    with pytest.raises(runpod.error.QueryError, match="must be unique"):
        sdk.create_template("yolo", "yolo:2")


def test_the_sdk_lists_gpus(sdk):
    assert {"id": "NVIDIA GeForce RTX 4090", "displayName": "RTX 4090", "memoryInGb": 24} in sdk.get_gpus()


def test_the_sdk_finds_a_gpu(sdk):
    assert 48 == sdk.get_gpu("NVIDIA A40", 2)["memoryInGb"]
    with pytest.raises(ValueError, match="No GPU found"):
        sdk.get_gpu("NVIDIA A100-SXM4-40GB")


def test_the_sdk_reads_the_user(sdk):
    assert {"id": "local", "pubKey": None, "networkVolumes": []} == sdk.get_user()


def test_the_sdk_keeps_registry_logins(sdk, own_records):
    made = sdk.create_container_registry_auth("ghcr", "me", "hush")
    changed = sdk.update_container_registry_auth(made["id"], "you", "hush2")
    (kept,) = own_records.registry_auths()

    assert {"id": kept.id, "name": "ghcr"} == made == changed
    assert ("you", "hush2") == (kept.username, kept.password)
    assert sdk.delete_container_registry_auth(made["id"]) is None
    assert () == own_records.registry_auths()


def test_the_sdk_hears_of_a_query_that_is_wrong(sdk):
    with pytest.raises(runpod.error.QueryError, match="Cannot query field 'pods'"):
        run_graphql_query("{ myself { pods { id } } }")


# --- endpoints -------------------------------------------------------------------------------------------------------


def test_every_setting_reads_back(save_endpoint, template_id, own_records):
    volumes = [
        own_records.save_network_volume(NetworkVolumeRecord("", "weights", 50, place)).id
        for place in ("US-KS-2", "EU-CZ-1")
    ]
    sent = {
        "name": "detector",
        "templateId": template_id,
        "gpuIds": "ADA_24",
        "gpuCount": 2,
        "instanceIds": ["cpu3g-4-16"],
        "workersMin": 1,
        "workersMax": 7,
        "idleTimeout": 42,
        "scalerType": "REQUEST_COUNT",
        "scalerValue": 9,
        "executionTimeoutMs": 0,
        "locations": "US,CZ",
        "networkVolumeIds": [{"networkVolumeId": volume_id} for volume_id in volumes],
        "allowedCudaVersions": "12.8",
        "minCudaVersion": "12.4",
        "flashBootType": "PRIORITY_FLASHBOOT",
        "modelReferences": ["https://huggingface.co/Qwen/Qwen3-VL-2B-Instruct:main"],
        "compliance": ["GDPR"],
        "flashEnvironmentId": "env1",
        "workersPFBTarget": 2,
        "type": "QB",
    }
    kept = save_endpoint(**sent)["data"]["saveEndpoint"]

    assert {**kept, **sent} == kept
    assert (volumes[0], "CPU", 0) == (kept["networkVolumeId"], kept["computeType"], kept["version"])
    assert kept["createdAt"].endswith("Z")


def test_a_new_endpoint_has_runpods_defaults(save_endpoint, template_id):
    made = save_endpoint(templateId=template_id)["data"]["saveEndpoint"]

    assert (0, 3, 10, "QUEUE_DELAY", 4, 1, "OFF") == tuple(
        made[key]
        for key in ("workersMin", "workersMax", "idleTimeout", "scalerType", "scalerValue", "gpuCount", "flashBootType")
    )


def test_an_update_resets_what_was_not_sent(save_endpoint, template_id):
    """Sent: id, name and gpuIds.  Reset: workersMax, idleTimeout and scalerValue.  Held: all else."""
    before = save_endpoint(
        templateId=template_id, workersMin=2, workersMax=7, idleTimeout=42, scalerValue=9, executionTimeoutMs=30000
    )["data"]["saveEndpoint"]
    after = save_endpoint(id=before["id"])["data"]["saveEndpoint"]

    assert {**before, "workersMax": 3, "idleTimeout": 10, "scalerValue": 4} == after


def test_zero_is_kept(save_endpoint, template_id):
    """No worker at all is a setting, not a setting that is missing."""
    before = save_endpoint(templateId=template_id, workersMin=1)["data"]["saveEndpoint"]
    after = save_endpoint(id=before["id"], workersMin=0, workersMax=0)["data"]["saveEndpoint"]

    assert (0, 0) == (after["workersMin"], after["workersMax"])


def test_a_changed_gpu_is_a_new_version(save_endpoint, endpoint_id):
    assert 1 == save_endpoint(id=endpoint_id, gpuIds="AMPERE_48")["data"]["saveEndpoint"]["version"]
    assert 1 == save_endpoint(id=endpoint_id, gpuIds="AMPERE_48", workersMax=9)["data"]["saveEndpoint"]["version"]


def test_creating_twice_makes_two_endpoints(save_endpoint, template_id, own_records):
    """Endpoint names are not unique, and nothing is idempotent."""
    save_endpoint(templateId=template_id)
    save_endpoint(templateId=template_id)

    assert ["yolo", "yolo"] == [endpoint.name for endpoint in own_records.endpoints()]


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"name": "ab"}, "at least 3 characters"),
        ({"gpuIds": "NVIDIA GeForce RTX 4090"}, "unknown GPU pools: NVIDIA GeForce RTX 4090"),
        ({"gpuIds": "ADA_24,ada_24"}, "unknown GPU pools: ada_24"),
        ({"gpuIds": "-NVIDIA L4"}, "gpuIds is required"),
        ({"gpuIds": None}, "gpuIds is required"),
        ({"gpuCount": 0}, "gpuCount"),
        ({"idleTimeout": 0}, "idleTimeout"),
        ({"idleTimeout": 3601}, "idleTimeout"),
        ({"workersMin": -1}, "workersMin"),
        ({"workersMin": 4}, "workersMin"),
        ({"scalerType": "VIBES"}, "scalerType"),
        ({"scalerValue": 0}, "scalerValue"),
        ({"executionTimeoutMs": -1}, "executionTimeoutMs"),
        ({"type": "LB"}, "queue endpoints only"),
        ({"hubReleaseId": "h1"}, "no Hub"),
        ({"templateId": None}, "templateId or template is required"),
        ({"templateId": "nope"}, "Template not found"),
        ({"template": {"name": "other", "imageName": "x"}}, "not both"),
    ],
)
def test_a_wrong_endpoint_is_refused(save_endpoint, template_id, own_records, fields, message):
    assert message in refusal(save_endpoint(**{"templateId": template_id, **fields}))
    assert () == own_records.endpoints()


def test_both_ends_of_the_idle_timeout_are_allowed(save_endpoint, template_id):
    assert [1, 3600] == [
        save_endpoint(templateId=template_id, idleTimeout=seconds)["data"]["saveEndpoint"]["idleTimeout"]
        for seconds in (1, 3600)
    ]


def test_the_read_shape_of_volumes_cannot_be_written(save_endpoint, template_id):
    """RunPod's own MCP server fell for this one."""
    volume = {"networkVolumeId": "v1", "dataCenterId": "EU-RO-1"}

    message = refusal(save_endpoint(templateId=template_id, networkVolumeIds=[volume]))

    assert "'NetworkVolumeIdsInput'" in message
    assert "'dataCenterId'" in message


def test_an_endpoint_may_bring_its_template(save_endpoint, own_records):
    """A second save of the same endpoint goes over the template that it brought."""
    template = {"name": "brought", "imageName": "yolo:1", "containerDiskInGb": 20, "env": [{"key": "A", "value": "1"}]}
    made = save_endpoint(template=template)["data"]["saveEndpoint"]
    save_endpoint(id=made["id"], template={**template, "env": [{"key": "A", "value": "2"}]})
    (kept,) = own_records.templates()

    assert (made["templateId"], "brought", 20, {"A": "2"}) == (
        kept.id,
        kept.name,
        kept.container_disk_in_gb,
        kept.env,
    )
    assert 1 == own_records.endpoint(made["id"]).version


def test_a_refused_endpoint_leaves_no_template_behind(save_endpoint, own_records):
    save_endpoint(template={"name": "brought", "imageName": "yolo:1"}, gpuIds="RTX 4090")

    assert () == own_records.templates()


def test_one_endpoint_can_be_asked_for(ask, endpoint_id):
    answer = ask("query One($id: String!) { myself { endpoint(id: $id) { id name } } }", id=endpoint_id)

    assert {"data": {"myself": {"endpoint": {"id": endpoint_id, "name": "yolo"}}}} == answer


def test_an_endpoint_with_workers_is_not_deleted(ask, save_endpoint, endpoint_id, own_records):
    """First no workers, then no endpoint; null is success."""
    delete = "mutation deleteEndpoint($id: String!) { deleteEndpoint(id: $id) }"

    assert "workersMin and workersMax to 0" in refusal(ask(delete, id=endpoint_id))
    save_endpoint(id=endpoint_id, workersMin=0, workersMax=0)
    assert {"data": {"deleteEndpoint": None}} == ask(delete, id=endpoint_id)
    assert () == own_records.endpoints()


@pytest.mark.parametrize(
    "field",
    [
        'saveEndpoint(input: {id: "nope", name: "yolo", gpuIds: "ADA_24"}) { id }',
        'updateEndpointTemplate(input: {endpointId: "nope", templateId: "nope"}) { id }',
        'saveTemplate(input: {id: "no", name: "x", dockerArgs: "", env: [], volumeInGb: 0, containerDiskInGb: 1}) {id}',
        'updateRegistryAuth(input: {id: "nope", username: "", password: ""}) { id }',
        'deleteEndpoint(id: "nope")',
        'deleteTemplate(templateName: "nope")',
        'deleteRegistryAuth(registryAuthId: "nope")',
    ],
)
def test_what_is_missing_is_null_without_errors(ask, field):
    name = field.partition("(")[0]

    assert {"data": {name: None}} == ask(f"mutation {{ {field} }}")


# --- templates -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("field", ["dockerArgs", "env", "volumeInGb"])
def test_a_template_without_what_runpod_needs_gets_the_catch_all(save_template, own_records, field):
    assert CATCH_ALL == refusal(save_template(**{field: None}))
    assert () == own_records.templates()


def test_template_names_are_unique(save_template, template_id):
    assert "unique" in refusal(save_template())
    assert template_id == save_template(id=template_id)["data"]["saveTemplate"]["id"]


def test_a_template_needs_a_name(save_template):
    assert "must not be empty" in refusal(save_template(name=""))


def test_a_template_in_use_is_not_deleted(ask, endpoint_id, own_records):
    assert "in use" in refusal(ask('mutation { deleteTemplate(templateName: "yolo") }'))
    own_records.delete_endpoint(endpoint_id)
    assert {"data": {"deleteTemplate": None}} == ask('mutation { deleteTemplate(templateName: "yolo") }')
    assert () == own_records.templates()


def test_an_updated_template_replaces_its_whole_environment(ask, save_template, template_id):
    save_template(id=template_id, env=[{"key": "A", "value": "1"}, {"key": "B", "value": ""}])
    save_template(id=template_id, env=[{"key": "B", "value": "2"}])
    answer = ask("query get($id: String!) { podTemplate(id: $id) { env { key value } readme } }", id=template_id)

    assert {"data": {"podTemplate": {"env": [{"key": "B", "value": "2"}], "readme": ""}}} == answer


def test_templates_are_listed(ask, template_id):
    """Ours are the user's; RunPod's own gallery is empty here."""
    document = "query List($input: PodTemplateInput) { podTemplates(input: $input) { id isRunpod } }"

    assert [{"id": template_id, "isRunpod": False}] == ask(document)["data"]["podTemplates"]
    assert [] == ask(document, input={"isRunpod": True})["data"]["podTemplates"]
    assert {"data": {"myself": {"podTemplates": [{"name": "yolo"}]}}} == ask("{ myself { podTemplates { name } } }")


# --- the rest --------------------------------------------------------------------------------------------------------


def test_pools_lead_to_their_gpus(ask):
    pools = {
        pool["id"]: pool["gpuTypeIds"] for pool in ask("{ serverlessGpuPools { id gpuTypeIds } }")["data"].popitem()[1]
    }

    assert 11 == len(pools)
    assert ["NVIDIA A40", "NVIDIA RTX A6000"] == pools["AMPERE_48"]


def test_stock_is_asked_as_flash_does(ask):
    document = """query ServerlessGpuTypes($price: GpuLowestPriceInput, $types: GpuTypeFilter) {
        gpuTypes(input: $types) { id lowestPrice(input: $price) { stockStatus } } }"""
    answer = ask(document, types={"ids": ["NVIDIA L4"]}, price={"gpuCount": 1, "dataCenterId": "EU-RO-1"})

    assert {"data": {"gpuTypes": [{"id": "NVIDIA L4", "lowestPrice": {"stockStatus": "High"}}]}} == answer


def test_data_centers_are_listed(ask):
    centers = ask("{ dataCenters { id name location gpuAvailability { gpuTypeId stockStatus } } }")["data"][
        "dataCenters"
    ]

    assert "EU-RO-1" in [center["id"] for center in centers]
    assert {"gpuTypeId": "NVIDIA L4", "stockStatus": "High"} in centers[0]["gpuAvailability"]


def test_registry_logins_are_listed_by_name(ask, sdk):
    login = sdk.create_container_registry_auth("ghcr", "me", "hush")

    assert {"data": {"myself": {"containerRegistryCreds": [login]}}} == ask(
        "{ myself { containerRegistryCreds { id name } } }"
    )


VOLUME = "{ id name size dataCenterId }"


@pytest.fixture
def volume(ask):
    document = f"mutation Make($input: CreateNetworkVolumeInput!) {{ createNetworkVolume(input: $input) {VOLUME} }}"
    given = {"name": "weights", "size": 50, "dataCenterId": "EU-RO-1"}
    return ask(document, input=given)["data"]["createNetworkVolume"]


def test_volumes_are_listed_by_name(ask, volume):
    assert {"id": volume["id"], "name": "weights", "size": 50, "dataCenterId": "EU-RO-1"} == volume
    assert {"data": {"myself": {"networkVolumes": [volume]}}} == ask(f"{{ myself {{ networkVolumes {VOLUME} }} }}")


def test_a_volume_grows_and_never_shrinks(ask, volume):
    document = f"mutation Save($input: UpdateNetworkVolumeInput!) {{ updateNetworkVolume(input: $input) {VOLUME} }}"
    grown = ask(document, input={"id": volume["id"], "size": 60})

    assert {"data": {"updateNetworkVolume": {**volume, "size": 60}}} == grown
    assert "cannot be reduced" in refusal(ask(document, input={"id": volume["id"], "size": 59}))
    assert {"data": {"updateNetworkVolume": None}} == ask(document, input={"id": "nope", "size": 60})


def test_a_volume_is_deleted(ask, volume):
    document = "mutation Drop($input: DeleteNetworkVolumeInput!) { deleteNetworkVolume(input: $input) }"

    assert {"data": {"deleteNetworkVolume": None}} == ask(document, input={"id": volume["id"]})
    assert {"data": {"myself": {"networkVolumes": []}}} == ask("{ myself { networkVolumes { id } } }")


def test_a_volume_needs_a_data_center_that_has_some(ask):
    document = "mutation Make($input: CreateNetworkVolumeInput!) { createNetworkVolume(input: $input) { id } }"

    assert "has no network volumes" in refusal(
        ask(document, input={"name": "weights", "size": 50, "dataCenterId": "US-TX-3"})
    )


def test_an_endpoint_says_where_its_volumes_are(ask, save_endpoint, template_id, volume, own_records):
    """One that is gone since is shown by its id, and stands in no other change's way."""
    gone = own_records.save_network_volume(NetworkVolumeRecord("", "gone", 50, "EU-RO-1")).id
    given = [{"networkVolumeId": volume["id"]}, {"networkVolumeId": gone}]
    made = save_endpoint(templateId=template_id, networkVolumeIds=given)["data"]["saveEndpoint"]["id"]
    own_records.delete_network_volume(gone)
    save_endpoint(id=made, templateId=template_id, networkVolumeIds=given, workersMax=1)
    document = f"""query Read($id: String!) {{ myself {{ endpoint(id: $id) {{
        networkVolume {VOLUME} networkVolumeIds {{ networkVolumeId dataCenterId }} }} }} }}"""

    assert {
        "networkVolume": volume,
        "networkVolumeIds": [
            {"networkVolumeId": volume["id"], "dataCenterId": "EU-RO-1"},
            {"networkVolumeId": gone, "dataCenterId": None},
        ],
    } == ask(document, id=made)["data"]["myself"]["endpoint"]


@pytest.mark.parametrize(
    ("locations", "message"),
    [
        ("EU-RO-1", None),
        ("RO,US", None),
        ("", None),
        ("US-KS-2", "is in EU-RO-1, which is not in locations"),
        ("US,CZ", "is in EU-RO-1, which is not in locations"),
        ("RO,ZZ", "unknown data centers or countries: ZZ"),
        ("EU-RO-1,EU-RO-99", "unknown data centers or countries: EU-RO-99"),
    ],
)
def test_a_volume_is_where_the_endpoint_may_be(save_endpoint, template_id, volume, locations, message):
    answer = save_endpoint(templateId=template_id, networkVolumeId=volume["id"], locations=locations)

    assert message is None or message in refusal(answer)
    assert ("errors" in answer) == (message is not None)


def test_an_unknown_volume_is_refused(save_endpoint, template_id, own_records):
    assert "Network volume nope not found" in refusal(save_endpoint(templateId=template_id, networkVolumeId="nope"))
    assert () == own_records.endpoints()


@pytest.mark.parametrize(
    "mutation",
    [
        'saveRegistryAuth(input: {name: " ", username: "me", password: "x"}) { id }',
        'createNetworkVolume(input: {name: "", size: 10, dataCenterId: "EU-RO-1"}) { id }',
        'saveTemplate(input: {name: " ", dockerArgs: "", env: [], volumeInGb: 0, containerDiskInGb: 1}) { id }',
    ],
)
def test_a_name_is_not_empty(ask, mutation):
    assert "must not be empty" in refusal(ask(f"mutation {{ {mutation} }}"))


def test_two_logins_have_two_names(sdk):
    sdk.create_container_registry_auth("ghcr", "me", "hush")
    with pytest.raises(runpod.error.QueryError, match="Registry auth name must be unique"):
        sdk.create_container_registry_auth("ghcr", "you", "hush")


def test_a_template_is_saved_as_runpodctl_does_for_the_names_of_its_ports(ask, save_template, template_id):
    """`runpodctl template update --port-labels` (internal/api/template_port_labels.go)."""
    answer = save_template(
        id=template_id,
        ports="80/http",
        portsConfig=[{"port": "80", "name": "web"}],
        startSsh=False,
        startJupyter=False,
        startScript="echo hi",
        advancedStart=True,
        category="CPU",
        isPublic=False,
        isServerless=True,
        readme="",
    )
    shown = ask("{ myself { podTemplates { startSsh startJupyter startScript advancedStart category isPublic } } }")

    assert "errors" not in answer
    assert shown["data"]["myself"]["podTemplates"] == [
        {
            "startSsh": False,
            "startJupyter": False,
            "startScript": "echo hi",
            "advancedStart": True,
            "category": "CPU",
            "isPublic": False,
        }
    ]


def test_nothing_costs_anything_here(ask):
    answer = ask("{ myself { email clientBalance currentSpendPerHr serverlessDiscount { discountFactor } } }")

    assert {"email": None, "clientBalance": None, "currentSpendPerHr": 0.0, "serverlessDiscount": None} == answer[
        "data"
    ]["myself"]


def test_introspection_is_off(ask):
    assert "introspection" in ask("{ __schema { types { name } } }")["errors"][0]["message"]


def test_the_operation_is_chosen_by_name(own_records):
    request = {"query": "query A { myself { id } } query B { dataCenters { id } }", "operationName": "A"}

    assert (200, {"data": {"myself": {"id": "local"}}}) == graphql.respond(own_records, json.dumps(request).encode())


def test_the_unexpected_is_logged_and_not_told(own_records, ask, save_endpoint, template_id, caplog):
    """A reader of the log sees what broke; a caller sees RunPod's catch-all."""
    own_records.save_endpoint(EndpointRecord(id="bad", name="bad", template_id=template_id, flash_boot_type="WARP"))
    answer = ask('{ myself { endpoint(id: "bad") { id flashBootType } } }')

    def break_down(_):
        raise OSError("/home/me/secret")

    own_records.on_change = break_down
    assert CATCH_ALL == refusal(save_endpoint(templateId=template_id))
    assert "/home/me/secret" in caplog.text
    assert {"id": "bad", "flashBootType": None} == answer["data"]["myself"]["endpoint"]


@pytest.mark.parametrize("body", [b"", b"{", b"\xff", b"[" * 100_000, b'{"query": "\\ud800"}'])
def test_a_body_that_is_not_json_is_a_bad_request(own_records, body):
    assert (400, {"errors": [{"message": "The request body is not valid JSON."}]}) == graphql.respond(own_records, body)


@pytest.mark.parametrize(
    "request_",
    [
        [],
        "query",
        None,
        {},
        {"query": 1},
        {"query": "{myself{id}}", "variables": []},
        {"query": "", "operationName": 1},
    ],
)
def test_a_body_that_is_no_request_is_told_so(own_records, request_):
    status, answer = graphql.respond(own_records, json.dumps(request_).encode())

    assert (200, ["errors"]) == (status, list(answer))


@pytest.mark.parametrize("query", ["{" * 5000, "{a(b:" + "[" * 5000, "{a}" * 20_000, "query Q($a: " + "[" * 9000])
def test_a_query_that_is_too_deep_or_too_long_is_an_error(ask, query):
    assert ask(query)["errors"]


TOKENS = """
    query mutation { } ( ) : , $ ! [ ] ... on fragment myself endpoints endpoint id name input saveEndpoint saveTemplate
    deleteEndpoint gpuTypes ids "" "ADA_24" "nope" null true 0 -1 1e400 99999999999 @skip if $x String
"""


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(body=st.binary() | st.text().map(str.encode) | st.text().map(lambda text: json.dumps({"query": text}).encode()))
def test_no_bytes_break_it(own_records, body):
    status, answer = graphql.respond(own_records, body)

    assert status in (200, 400)
    assert answer["errors"]
    assert json.dumps(answer, ensure_ascii=False).encode()


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    words=st.lists(st.sampled_from(TOKENS.split()), max_size=30),
    variables=st.dictionaries(
        st.sampled_from(["x", "input"]), st.recursive(st.none() | st.integers() | st.text(), st.lists), max_size=2
    ),
)
def test_no_query_breaks_it(own_records, words, variables):
    body = json.dumps({"query": " ".join(words), "variables": variables}).encode()
    status, answer = graphql.respond(own_records, body)

    assert status in (200, 400)
    assert json.dumps(answer, ensure_ascii=False).encode()


JSON_VALUES = st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.lists(st.text(), max_size=2)


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    fields=st.dictionaries(st.sampled_from([*TEMPLATE, *ENDPOINT, "workersMin", "templateId", "template"]), JSON_VALUES)
)
def test_no_input_breaks_it(own_records, fields):
    """Any value in any field is saved or refused, and what was saved can be read."""
    for kind, base in (("Template", TEMPLATE), ("Endpoint", ENDPOINT)):
        type_name = {"Template": "SaveTemplateInput", "Endpoint": "EndpointInput!"}[kind]
        document = f"mutation M($input: {type_name}) {{ save{kind}(input: $input) {{ id name }} }}"
        request = {"query": document, "variables": {"input": {**base, **fields}}}
        status, answer = graphql.respond(own_records, json.dumps(request).encode())
        read = graphql.respond(
            own_records, b'{"query": "{ myself { endpoints { id name } podTemplates { id name } } }"}'
        )

        assert status in (200, 400)
        assert json.dumps(answer, ensure_ascii=False).encode()
        assert "errors" not in read[1]
