"""What the GraphQL plane asks and writes, and what RunPod's answers become."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from importlib import resources

import pytest
from graphql import build_schema, parse, validate
from support.failing import failing
from support.scripted import RESET, Reply, ok, serving

from vidctl.errors import RefusedError
from vidctl.runpod import graphql
from vidctl.runpod.graphql import GraphQL
from vidctl.runpod.http import Http
from vidctl.runpod.types import Account, Endpoint, Template

TEMPLATE = {
    "id": "t1",
    "name": "vidctl-yolo",
    "imageName": "me/yolo@sha256:1",
    "dockerArgs": "",
    "containerDiskInGb": 20,
    "containerRegistryAuthId": "",
    "volumeInGb": 0,
    "volumeMountPath": "/workspace",
    "ports": "8888/http",
    "isServerless": True,
    "readme": "by hand",
    "isPublic": False,
    "category": "NVIDIA",
    "startSsh": False,
    "startJupyter": False,
    "startScript": "by hand",
    "advancedStart": True,
    "env": [{"key": "VIDCTL_SPEC", "value": "yolo"}],
}
ENDPOINT = {
    "id": "e1",
    "name": "yolo -fb",
    "templateId": "t1",
    "gpuIds": "ADA_24",
    "gpuCount": 1,
    "workersMin": 1,
    "workersMax": 7,
    "idleTimeout": 42,
    "executionTimeoutMs": 600_000,
    "scalerType": "QUEUE_DELAY",
    "scalerValue": 9,
    "locations": "EU-RO-1,US",
    "networkVolumeId": None,
    "networkVolumeIds": None,
    "allowedCudaVersions": None,
    "flashBootType": "PRIORITY_FLASHBOOT",
    "minCudaVersion": "12.8",
    "instanceIds": None,
    "modelReferences": ["https://huggingface.co/a/b:main"],
    "compliance": ["GDPR"],
    "type": "QB",
}
LIVE = Endpoint(
    id="e1",
    name="yolo",
    template=Template(
        id="t1", name="vidctl-yolo", image="me/yolo@sha256:1", env={"VIDCTL_SPEC": "yolo"}, container_disk_gb=20
    ),
    gpu_ids="ADA_24",
    workers_min=1,
    workers_max=7,
    idle_timeout_s=42,
    scaler_value=9,
    min_cuda="12.8",
    locations=("EU-RO-1", "US"),
    model_references=("https://huggingface.co/a/b:main",),
)
WANTED = replace(LIVE, id=None, template=replace(LIVE.template, id=None))
CATCH_ALL = "Something went wrong. Please try again later or contact support."


class RunPod:
    """Answers each operation with its replies in turn, the last one again and again; a save with what was sent."""

    def __init__(self, *, endpoints=(ENDPOINT,), templates=(TEMPLATE,), balance=None, **replies):
        account = {"clientBalance": balance, "endpoints": list(endpoints), "podTemplates": list(templates)}
        self._replies = {"Account": [data(myself=account)], "Templates": [data(myself=account)], **replies}
        self.sent = []

    def __call__(self, request):
        body = json.loads(request.body)
        operation = re.match(r"\s*\w+ (\w+)", body["query"])[1]
        self.sent.append((operation, body["variables"]))
        replies = self._replies.get(operation, [None])
        reply = replies.pop(0) if len(replies) > 1 else replies[0]
        return reply or _saved(operation, body["variables"])

    def operations(self):
        return [operation for operation, _ in self.sent]

    def written(self):
        return [(operation, variables["input"]) for operation, variables in self.sent if operation.startswith("Save")]


def _saved(operation, variables):
    field = operation[0].lower() + operation[1:]
    return data(**{field: {"id": "new", **variables["input"]}} if "input" in variables else {field: None})


def data(**fields):
    return ok({"data": fields})


def failure(message, **more):
    return ok({"data": None, "errors": [{"message": message, **more}]})


@pytest.fixture
def slept():
    """The pauses that were made, none of which takes time."""
    return []


@pytest.fixture
def at(slept):
    """A function from a RunPod to the plane that speaks to it."""
    servers = []

    def plane(runpod):
        server = serving(runpod)
        servers.append(server)
        return GraphQL(Http("key"), server.__enter__().url, sleep=slept.append)

    yield plane
    for server in servers:
        server.__exit__(None, None, None)


def test_every_document_is_valid():
    """Whatever is sent to RunPod is valid against the schema that is checked in: no typing error waits for a user."""
    schema = build_schema(resources.files("vidctl.local.control_plane").joinpath("schema.graphql").read_text())
    documents = [text for text in vars(graphql).values() if re.match(r"\s*(query|mutation) ", str(text))]

    assert [validate(schema, parse(text)) for text in documents] == [[]] * 13


def test_an_account_is_one_request(at):
    """Endpoints with their templates, without RunPod's ` -fb`, and how many workers the balance allows."""
    runpod = RunPod(balance=250.0)

    assert Account((LIVE,), worker_quota=20) == at(runpod).account()
    assert runpod.operations() == ["Account"]


@pytest.mark.parametrize(
    ("balance", "quota"), [(None, None), (0, 5), (99.99, 5), (100, 10), (300, 30), (500, 40), (899, 50), (1e6, 60)]
)
def test_the_balance_says_how_many_workers(at, balance, quota):
    assert quota == at(RunPod(balance=balance)).account().worker_quota


def test_a_key_that_may_not_see_the_balance_is_enough(at):
    """The quota is unknown then, the rest is asked for again without it."""
    account = data(myself={"endpoints": [ENDPOINT], "podTemplates": [TEMPLATE]})
    runpod = RunPod(Account=[failure("not authorized", path=["myself", "clientBalance"]), account])

    assert Account((LIVE,), worker_quota=None) == at(runpod).account()
    assert runpod.sent == [("Account", {"withBalance": True}), ("Account", {"withBalance": False})]


def test_an_endpoint_whose_template_is_hidden_has_no_image(at):
    """It is not taken for equal to any spec, and its template's id is kept."""
    (endpoint,) = at(RunPod(templates=())).account().endpoints

    assert Template(image="", id="t1") == endpoint.template


def test_what_is_equal_is_not_written(at):
    runpod = RunPod()

    assert LIVE == at(runpod).save(WANTED, before=LIVE)
    assert runpod.written() == []


def test_a_save_keeps_what_is_not_ours(at):
    """A change of three fields sends every field that can be written, zero and false among them."""
    runpod = RunPod()
    saved = at(runpod).save(replace(WANTED, workers_min=0, workers_max=0, locations=()), before=LIVE)

    assert runpod.written() == [
        (
            "SaveEndpoint",
            {
                "id": "e1",
                "name": "yolo",
                "templateId": "t1",
                "gpuIds": "ADA_24",
                "gpuCount": 1,
                "workersMin": 0,
                "workersMax": 0,
                "idleTimeout": 42,
                "executionTimeoutMs": 600_000,
                "scalerType": "QUEUE_DELAY",
                "scalerValue": 9,
                "locations": "",
                "networkVolumeId": "",
                "allowedCudaVersions": "",
                "flashBootType": "PRIORITY_FLASHBOOT",
                "minCudaVersion": "12.8",
                "modelReferences": ["https://huggingface.co/a/b:main"],
                "compliance": ["GDPR"],
                "type": "QB",
            },
        )
    ]
    assert saved == replace(LIVE, workers_min=0, workers_max=0, locations=())


def test_a_changed_template_keeps_what_is_not_ours(at):
    """Only the template is written; an emptied variable stays a variable."""
    runpod = RunPod()
    env = {"VIDCTL_SPEC": "yolo", "EMPTY": ""}
    at(runpod).save(replace(WANTED, template=replace(WANTED.template, env=env, docker_args="-u")), before=LIVE)

    written = [{"key": "EMPTY", "value": ""}, {"key": "VIDCTL_SPEC", "value": "yolo"}]
    assert runpod.written() == [("SaveTemplate", {**TEMPLATE, "env": written, "dockerArgs": "-u"})]


@pytest.mark.parametrize(("live", "on", "written"), [("OFF", True, "FLASHBOOT"), ("PRIORITY_FLASHBOOT", False, "OFF")])
def test_flashboot_is_switched(at, live, on, written):
    runpod = RunPod(endpoints=[{**ENDPOINT, "flashBootType": live}])
    at(runpod).save(replace(WANTED, flashboot=on), before=LIVE)

    assert written == runpod.written()[0][1]["flashBootType"]


def test_a_list_of_versions_replaces_the_least_version(at):
    """Both at once would be refused."""
    runpod = RunPod()
    at(runpod).save(replace(WANTED, cuda_versions=("12.8", "12.9")), before=LIVE)

    written = runpod.written()[0][1]
    assert ("12.8,12.9", "") == (written["allowedCudaVersions"], written["minCudaVersion"])


@pytest.mark.parametrize(
    ("wanted", "written"),
    [
        (None, ["https://huggingface.co/a/b:main"]),
        (("https://huggingface.co/c/d:v2",), ["https://huggingface.co/c/d:v2"]),
        ((), []),
    ],
)
def test_what_the_model_cache_holds_is_written(at, wanted, written):
    """As it is asked for, emptied too; where nothing is asked it stays as somebody set it."""
    runpod = RunPod()
    saved = at(runpod).save(replace(WANTED, workers_max=2, model_references=wanted), before=LIVE)

    assert (written, tuple(written)) == (runpod.written()[0][1]["modelReferences"], saved.model_references)


def test_nothing_asked_of_the_model_cache_is_no_difference(at):
    runpod = RunPod()

    assert LIVE == at(runpod).save(replace(WANTED, model_references=None), before=LIVE)
    assert runpod.written() == []


def test_a_new_endpoint_is_made_with_its_models(at):
    """In the one request that makes it: no worker starts without them."""
    runpod = RunPod(endpoints=(), templates=())
    at(runpod).save(replace(WANTED, model_references=("https://huggingface.co/a/b:main",)), before=None)
    at(runpod).save(replace(WANTED, model_references=None), before=None)

    (_, _), (_, first), (_, _), (_, second) = runpod.written()
    assert (["https://huggingface.co/a/b:main"], False) == (first["modelReferences"], "modelReferences" in second)


def test_a_refusal_of_a_model_is_named(at):
    refusal = failure("invalid model", path=["saveEndpoint", "modelReferences"])

    with pytest.raises(RefusedError) as raised:
        at(RunPod(SaveEndpoint=[refusal])).save(replace(WANTED, model_references=()), before=LIVE)
    assert raised.value.field == "model_references"


@pytest.mark.parametrize(
    ("wanted", "written"),
    [
        ("v1", ("v1", [{"networkVolumeId": "v1"}, {"networkVolumeId": "v2"}])),
        ("v3", ("v3", [{"networkVolumeId": "v3"}])),
        ("", ("", [])),
    ],
)
def test_volumes_are_written_as_runpod_takes_them(at, wanted, written):
    """Those added by hand stay with the one that is ours; their data centers are read and never written."""
    volumes = [{"networkVolumeId": "v1", "dataCenterId": "EU-RO-1"}, {"networkVolumeId": "v2", "dataCenterId": "US-1"}]
    runpod = RunPod(endpoints=[{**ENDPOINT, "networkVolumeIds": volumes}])
    at(runpod).save(replace(WANTED, network_volume_id=wanted, workers_max=2), before=LIVE)

    given = runpod.written()[0][1]
    assert written == (given["networkVolumeId"], given["networkVolumeIds"])


def test_another_template_is_left_alone(at):
    """The endpoint gets a template of our name; the one it had may be used for other things."""
    runpod = RunPod(templates=[{**TEMPLATE, "name": "pytorch"}])
    saved = at(runpod).save(WANTED, before=LIVE)

    (template, created), (endpoint, changed) = runpod.written()
    assert (template, created["name"], "id" in created) == ("SaveTemplate", "vidctl-yolo", False)
    assert (endpoint, changed["id"], changed["templateId"]) == ("SaveEndpoint", "e1", "new")
    assert saved.template == replace(WANTED.template, id="new")


def test_a_template_that_two_endpoints_use_is_not_changed(at):
    runpod = RunPod(endpoints=[ENDPOINT, {**ENDPOINT, "id": "e2", "name": "other"}])

    with failing("not_owned", "template vidctl-yolo", "other\n"):
        at(runpod).save(replace(WANTED, template=replace(WANTED.template, image="new")), before=LIVE)
    assert runpod.written() == []


def test_a_create_goes_on_where_another_stopped(at):
    """The template of an interrupted deploy carries our stamp: it is used, and brought up to date."""
    runpod = RunPod(endpoints=())
    saved = at(runpod).save(replace(WANTED, template=replace(WANTED.template, image="new")), before=None)

    (_, template), (_, endpoint) = runpod.written()
    assert (template["id"], template["imageName"]) == ("t1", "new")
    assert ("id" in endpoint, endpoint["templateId"], saved.id) == (False, "t1", "new")


@pytest.mark.parametrize("env", [[], [{"key": "VIDCTL_SPEC", "value": "another"}]])
def test_a_template_of_somebody_else_is_not_taken(at, env):
    runpod = RunPod(endpoints=(), templates=[{**TEMPLATE, "env": env}])

    with failing("not_owned", "template vidctl-yolo"):
        at(runpod).save(WANTED, before=None)
    assert runpod.written() == []


def test_a_create_looks_first(at):
    """Names are not unique at RunPod: a second endpoint of that name would be made, and billed."""
    runpod = RunPod()

    with failing("api_error", "endpoint yolo ", ": e1\n"):
        at(runpod).save(WANTED, before=None)
    assert runpod.written() == []


@pytest.mark.parametrize(
    "lost", [RESET, Reply(502, b"<html>"), Reply(503, b"", (("Retry-After", "0"),)), Reply(200, b"<")]
)
def test_a_lost_answer_to_a_create_is_looked_for(at, slept, lost):
    """The endpoint shows up at the third look, and is not created again."""
    account = {"endpoints": [], "podTemplates": [TEMPLATE]}
    empty = data(myself=account)
    runpod = RunPod(
        Account=[empty, empty, empty, data(myself={**account, "endpoints": [ENDPOINT]})], SaveEndpoint=[lost]
    )

    assert LIVE == at(runpod).save(WANTED, before=None)
    assert runpod.operations() == ["Account", "SaveEndpoint", "Account", "Account", "Account"]
    assert slept == [0.1, 0.4, 1.0]


def test_a_create_that_nobody_can_find_is_not_made_again(at, slept):
    """It is said that it may still appear, and that the same command is safe."""
    runpod = RunPod(endpoints=(), SaveEndpoint=[RESET])

    with failing("unanswered", "endpoint yolo ", "hint: run the same command again"):
        at(runpod).save(WANTED, before=None)
    assert runpod.operations().count("SaveEndpoint") == 1
    assert sum(slept) == 3.0


@pytest.mark.parametrize(
    ("message", "field", "advice"),
    [
        ('Variable "$input" got invalid value -1 at "input.workersMax"; too low', "workers_max", None),
        ("gpuIds has unknown GPU pools: L4.", "gpu_ids", "`vidctl validate`"),
        (CATCH_ALL, None, "plan"),
        ("Your worker concurrency cannot go beyond the maximum limit of (20).", "workers_max", "workers.max"),
    ],
)
def test_a_refusal_is_named(at, message, field, advice):
    """An error inside HTTP 200 has RunPod's words, the field as vidctl calls it and advice."""
    with failing("value_refused", f"RunPod: {message}") as raised:
        at(RunPod(SaveEndpoint=[failure(message)])).save(replace(WANTED, workers_max=0), before=LIVE)

    assert field == raised.value.field
    assert raised.value.hint is None if advice is None else advice in raised.value.hint


def test_the_path_of_an_error_names_the_field_too(at):
    refusal = failure("must be positive", path=["saveTemplate", "containerDiskInGb"])

    with pytest.raises(RefusedError) as raised:
        at(RunPod(endpoints=(), templates=(), SaveTemplate=[refusal])).save(WANTED, before=None)
    assert raised.value.field == "container_disk_gb"


@pytest.mark.parametrize("status", [200, 400])
@pytest.mark.parametrize("before", [None, LIVE])
def test_a_refusal_tells_no_secret(at, status, before):
    """RunPod quotes what it refuses, in JSON's spelling: the values of variables are blotted out."""
    secret = 'hf_"quoted"\nsecret'
    body = {"errors": [{"message": f"bad value {json.dumps(secret)} or {secret} at input.env[0].value"}]}
    refusal = Reply(status, json.dumps(body).encode())
    there = {"endpoints": [ENDPOINT], "templates": [TEMPLATE]} if before else {"endpoints": [], "templates": []}
    wanted = replace(WANTED, template=replace(WANTED.template, env={"TOKEN": secret}))

    with failing("value_refused", 'RunPod: bad value "…" or … at input.env[0].value') as raised:
        at(RunPod(**there, SaveTemplate=[refusal])).save(wanted, before=before)
    assert raised.value.field == "env"


def test_a_registry_password_is_not_told(at):
    with failing("value_refused", "RunPod: bad password: …"):
        at(
            RunPod(
                Registries=[data(myself={"containerRegistryCreds": []})],
                SaveRegistry=[failure("bad password: hunter22")],
            )
        ).save_registry("hub", "me", "hunter22")


def test_null_is_not_a_saved_endpoint(at):
    """RunPod answers null without an error for what it does not have."""
    with failing("api_error", "'saveEndpoint'"):
        at(RunPod(SaveEndpoint=[data(saveEndpoint=None)])).save(replace(WANTED, workers_max=0), before=LIVE)


def test_an_endpoint_that_went_away_is_not_made_again(at):
    with failing("api_error", "endpoint yolo (e1)"):
        at(RunPod(endpoints=())).save(WANTED, before=LIVE)


def test_a_question_is_asked_again_when_runpod_is_out_of_sorts(at, slept):
    """Three times in all, and a write never."""
    account = data(myself={"endpoints": [], "podTemplates": []})
    runpod = RunPod(Account=[failure(CATCH_ALL), failure("Too Many Requests"), account])

    assert Account(()) == at(runpod).account()
    assert slept == [1, 3]
    runpod = RunPod(SaveEndpoint=[failure(CATCH_ALL)])
    with pytest.raises(RefusedError):
        at(runpod).save(replace(WANTED, workers_max=0), before=LIVE)
    assert runpod.operations() == ["Account", "SaveEndpoint"]


def test_a_question_is_not_asked_for_ever(at, slept):
    with failing("value_refused", "Something went wrong"):
        at(RunPod(Templates=[failure(CATCH_ALL)])).templates()
    assert slept == [1, 3]


def test_a_delete_stops_the_workers_first(at):
    """RunPod deletes no endpoint that may have workers; then its template goes, by name."""
    runpod = RunPod(endpoints=[{**ENDPOINT, "executionTimeoutMs": 0}])
    at(runpod).delete(LIVE)

    assert runpod.operations() == ["Account", "SaveEndpoint", "DeleteEndpoint", "DeleteTemplate"]
    (_, stopped), (_, deleted), (_, template) = runpod.sent[1:]
    sent = {key: stopped["input"][key] for key in ("workersMin", "workersMax", "idleTimeout", "executionTimeoutMs")}
    assert sent == {"workersMin": 0, "workersMax": 0, "idleTimeout": 42, "executionTimeoutMs": 0}
    assert (deleted, template) == ({"id": "e1"}, {"name": "vidctl-yolo"})


@pytest.mark.parametrize(
    ("endpoints", "template"),
    [
        ([], {**TEMPLATE, "env": []}),
        ([], {**TEMPLATE, "name": "pytorch"}),
        ([{**ENDPOINT, "id": "e2"}], TEMPLATE),
    ],
)
def test_a_delete_leaves_what_others_may_use(at, endpoints, template):
    """A template without our stamp, of another name, or of another endpoint too."""
    runpod = RunPod(endpoints=endpoints, templates=[template])
    at(runpod).delete(LIVE)

    assert runpod.operations() == ["Account"]


def test_a_template_that_is_still_in_use_is_waited_for(at, slept):
    """RunPod lets go of it within two minutes."""
    in_use = failure("Template is in use by an endpoint.")
    runpod = RunPod(endpoints=(), DeleteTemplate=[in_use, in_use, data(deleteTemplate=None)])
    at(runpod).delete_template(LIVE.template)

    assert slept == [2, 4]


def test_a_template_that_stays_in_use_is_given_up(at, slept):
    with failing("value_refused", "Template is in use by a pod."):
        at(RunPod(DeleteTemplate=[failure("Template is in use by a pod.")])).delete_template(LIVE.template)
    assert sum(slept) == 120


def test_the_endpoint_goes_though_its_template_stays(at, slept):
    """Whoever waits for the template first puts down that the endpoint is gone."""
    runpod = RunPod(endpoints=(), DeleteTemplate=[failure("Template is in use by a pod.")])
    at(runpod).delete(LIVE)

    assert (runpod.operations(), slept) == (["Account", "DeleteTemplate"], [])


def test_any_other_refusal_is_final(at, slept):
    with failing("value_refused", "no permission"):
        at(RunPod(DeleteTemplate=[failure("no permission")])).delete_template(LIVE.template)
    assert sum(slept) == 3  # it may be gone, and still shown


def test_what_somebody_else_deleted_is_fine(at):
    """The endpoint goes between our look and our delete."""
    gone = data(myself={"endpoints": [], "podTemplates": []})
    there = data(myself={"endpoints": [ENDPOINT], "podTemplates": [TEMPLATE]})
    missing = failure("not found")
    runpod = RunPod(
        Account=[there, gone], Templates=[gone], DeleteEndpoint=[missing], DeleteTemplate=[missing]
    )  # fmt: skip

    at(runpod).delete(LIVE)
    assert runpod.operations()[-2:] == ["DeleteTemplate", "Templates"]
