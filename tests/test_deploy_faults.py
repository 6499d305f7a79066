"""Whatever breaks a deploy, the next one converges: one endpoint, one template, nothing twice."""

from __future__ import annotations

import dataclasses
import json
import os
import signal
import subprocess
import threading
from contextlib import suppress

import pytest
import requests
from support.account import Account, is_write
from support.command import VIDCTL
from support.failing import failed
from support.runtime import until
from support.scripted import RESET, Reply, ok, serving

from vidctl.journal import Journal

SPEC = {
    "name": "faulty",
    "image": "docker.io/me/echo:1",
    "gpu": ["RTX 4090", "L4"],
    "workers": {"min": 0, "max": 0},
    "env": {"MODEL": "m"},
}


@pytest.fixture(params=["graphql", "rest"])
def account(request, project, account_runtime):
    """A RunPod account and a spec of a prebuilt image with no worker to wait for."""
    (project.root / "configs" / "faulty.yaml").write_text(json.dumps(SPEC))
    return Account.at(project, request.param, account_runtime)


def killed_at(account, number, *, is_carried_out):
    """Deploy, and kill vidctl with its `number`th request, before or after RunPod has carried it out; whether.

    Where it is carried out only those count that change something: to the others it makes no difference.
    """
    seen, pids = [], []

    def answer(request):
        if is_carried_out and not is_write(request):
            return account.forward(request)
        seen.append(request.path)
        if len(seen) != number:
            return account.forward(request)
        if is_carried_out:
            account.forward(request)
        os.kill(pids[0], signal.SIGKILL)
        return RESET

    with account.proxy(answer) as url:
        process = subprocess.Popen(
            [*VIDCTL, "deploy", "faulty"], cwd=account.project.root, env={**os.environ, **account.environ(url)},
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        pids.append(process.pid)
        return process.wait(timeout=60) == -signal.SIGKILL


@pytest.mark.parametrize("is_carried_out", [False, True])
def test_killed_at_any_request_the_next_deploy_converges(account, is_carried_out):
    """kill -9 with each request in turn, as it leaves or as its answer comes: then once more, undisturbed."""
    number = 0
    while killed_at(account, number := number + 1, is_carried_out=is_carried_out):
        again = account.run("deploy", "faulty", "--yes", "--json")
        found = graphql(account, ALL)["myself"]

        assert (again.status, len(found["endpoints"]), len(found["podTemplates"])) == (0, 1, 1), (number, again.stderr)
        assert account.run("plan", "faulty", "--detailed-exitcode").status == 0, number
        account.forget()
    assert number > (1 if is_carried_out else 3)
    assert account.run("destroy", "faulty", "--yes").status == 0
    assert graphql(account, ALL)["myself"] == {"endpoints": [], "podTemplates": []}


def test_a_create_whose_answer_is_lost_is_not_sent_again(account):
    """The connection breaks after RunPod made the endpoint: it is looked for and found, and there is one."""
    creates = []

    def answer(request):
        reply = account.forward(request)
        makes = b"saveEndpoint" in request.body or (request.method, request.path) == ("POST", "/v2/serverless")
        if not makes:
            return reply
        creates.append(request)
        return RESET

    with account.proxy(answer) as url:
        outcome = account.run("deploy", "faulty", "--json", url=url)

    assert (outcome.status, len(creates)) == (0, 1), outcome.stderr
    assert [each["name"] for each in account.endpoints()] == ["faulty"]


def test_what_cannot_be_read_back_is_not_called_done(account):
    """Once it is saved, RunPod answers nothing but 500: the command fails, says so, and the next one finishes."""
    is_saved = []

    def answer(request):
        if is_saved and not is_write(request):
            return Reply(status=500)
        if is_write(request) and (b"saveEndpoint" in request.body or request.path == "/v2/serverless"):
            is_saved.append(True)
        return account.forward(request)

    with account.proxy(answer) as url:
        broken = account.run("deploy", "faulty", "--json", url=url)
    again = account.run("deploy", "faulty", "--json")

    assert (broken.status, broken.error["code"], broken.stdout) == (1, "http_error", "")
    assert (again.status, len(account.endpoints())) == (0, 1)


def behind(account, reads):
    """An account whose next `reads` looks after each write show what was there before it."""
    shown, left = [], [0]

    def answer(request):
        is_look = b"podTemplates" in request.body or (request.method, request.path) == ("GET", "/v2/serverless")
        if is_look and left[0] and shown:
            left[0] -= 1
            return shown[-1]
        reply = account.forward(request)
        if is_look:
            shown.append(reply)
        elif is_write(request):
            left[0] = reads
        return reply

    return answer


@pytest.mark.parametrize("reads", [1, 3])
def test_what_is_shown_late_is_waited_for(account, reads):
    """RunPod's reads lag behind its writes: create, change and delete are seen through, nothing is called failed."""
    with account.proxy(behind(account, reads)) as url:
        made = account.run("deploy", "faulty", "--json", url=url)
        (account.project.root / "configs" / "faulty.yaml").write_text(json.dumps({**SPEC, "env": {"MODEL": "n"}}))
        changed = account.run("deploy", "faulty", "--json", "--yes", url=url)
        kept = account.project.dotenv()
        removed = account.run("destroy", "faulty", "--yes", url=url)

    assert (made.status, changed.status, removed.status) == (0, 0, 0), made.stderr + changed.stderr + removed.stderr
    assert kept == {"VIDCTL_FAULTY_ENDPOINT_ID": made.document["endpoint_id"]}
    assert (account.endpoints(), account.project.dotenv()) == ([], {})


def test_what_is_never_shown_is_in_the_projects_hands(account):
    """Nothing that was saved is ever shown: the deploy fails, but the id is in .env, and the journal knows it."""
    with account.proxy(behind(account, 1000)) as url:
        broken = account.run("deploy", "faulty", "--json", url=url)
    (endpoint,) = account.endpoints()

    assert (broken.status, broken.error["code"]) == (1, "api_error")
    assert account.project.dotenv() == {"VIDCTL_FAULTY_ENDPOINT_ID": endpoint["id"]}
    assert Journal(account.project.root / ".vidctl" / "journal.db").last_applied(endpoint["id"]).spec == "faulty"


def test_an_id_that_cannot_be_kept_is_told_at_once_and_at_the_end(account):
    """.env is a pipe that a password manager fills: the deploy goes on, says the id, and where it is to stand."""
    pipe = account.project.root / ".env"
    os.mkfifo(pipe)
    stop = threading.Event()

    def fill():
        while not stop.is_set():
            with suppress(BrokenPipeError), pipe.open("wb") as file:
                file.write(b"OTHER=1\n")
            stop.wait(0.2)  # who fills it again at once gives nobody time to see its end

    filling = threading.Thread(target=fill)
    filling.start()
    outcome = account.run("deploy", "faulty")
    (endpoint,) = account.endpoints()
    stop.set()
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)  # whoever waits for one goes on
    filling.join()
    os.close(reader)
    is_pipe = pipe.is_fifo()
    pipe.unlink()

    assert outcome.status == 1
    assert f"its endpoint is {endpoint['id']}" in outcome.stderr
    assert f"add the line VIDCTL_FAULTY_ENDPOINT_ID={endpoint['id']} to it" in " ".join(outcome.stderr.split())
    assert f"faulty: endpoint {endpoint['id']} on runpod is saved" in outcome.stdout
    assert is_pipe


def graphql(account, query, **variables):
    """What somebody does in RunPod's console."""
    answer = requests.post(
        f"{account.runtime['RUNPOD_API_BASE_URL']}/graphql",
        json={"query": query, "variables": variables},
        headers={"Authorization": f"Bearer {account.runtime['RUNPOD_API_KEY']}"},
        timeout=60,
    ).json()
    assert "errors" not in answer, answer
    return answer["data"]


ALL = "{ myself { endpoints { name } podTemplates { name } } }"
TEMPLATES = "{ myself { podTemplates { id name } } }"


def test_a_template_that_somebody_else_uses_stays(account):
    """A colleague's endpoint is made of the template: ours goes at once, with its line in .env; theirs is untouched."""
    made = dataclasses.replace(account, plane="graphql").run("deploy", "faulty")
    (template,) = graphql(account, TEMPLATES)["myself"]["podTemplates"]
    colleague = {"name": "colleague", "templateId": template["id"], "gpuIds": "ADA_24", "workersMin": 0}
    save = "mutation Save($input: EndpointInput!) { saveEndpoint(input: $input) { id } }"
    theirs = graphql(account, save, input={**colleague, "workersMax": 1})["saveEndpoint"]["id"]
    removed = account.run("destroy", "faulty", "--yes", timeout_s=30)
    said = " ".join(removed.stderr.split())

    assert (made.status, removed.status) == (0, 0), removed.stderr
    assert f"template vidctl-faulty is kept: colleague ({theirs}) uses it too" in said
    assert [each["id"] for each in account.endpoints()] == [theirs]
    assert graphql(account, TEMPLATES)["myself"]["podTemplates"] == [template]
    assert account.project.dotenv() == {}


def test_what_was_renamed_elsewhere_is_not_deleted_by_its_old_name(account):
    """Somebody gave the endpoint another name in the console: it goes by its id, not by the spec that made it."""
    endpoint_id = account.run("deploy", "faulty", "--json").document["endpoint_id"]
    address = f"{account.runtime['RUNPOD_API_BASE_URL']}/v2/serverless/{endpoint_id}"
    key = {"Authorization": f"Bearer {account.runtime['RUNPOD_API_KEY']}"}
    requests.patch(address, json={"name": "precious"}, headers=key, timeout=60).raise_for_status()
    refused = account.run("destroy", "faulty", "--yes", "--json")

    failed(refused, "not_deployed", "faulty", f"precious ({endpoint_id})", varies=True)
    assert [each["name"] for each in account.endpoints()] == ["precious"]
    assert account.run("destroy", endpoint_id, "--yes").status == 0
    assert (account.endpoints(), graphql(account, TEMPLATES)["myself"]["podTemplates"]) == ([], [])


def test_a_least_cuda_version_and_a_list_take_turns(account):
    """They exclude each other at RunPod: each is cleared when the other comes; what is in neither is nobody's."""
    planned = []
    for fields in ({"min_cuda": "12.8"}, {"cuda": ["12.8", "13.0"]}, {"min_cuda": "13.0"}, {}):
        (account.project.root / "configs" / "faulty.yaml").write_text(json.dumps({**SPEC, **fields}))
        deployed = account.run("deploy", "faulty", "--yes", "--json")
        assert deployed.status == 0, deployed.stderr
        assert account.run("plan", "faulty", "--detailed-exitcode").status == 0
        planned.append({each["field"]: each["new"] for each in deployed.document["changes"]})

    assert planned[0]["min_cuda"] == "12.8"
    assert planned[1:] == [
        {"min_cuda": "(removed)", "cuda_versions": "12.8, 13.0"},
        {"min_cuda": "13.0", "cuda_versions": "any"},
        {"min_cuda": "(removed)"},
    ]


@pytest.mark.parametrize("account", ["graphql"], indirect=True)
def test_a_template_of_somebody_elses_is_found_before_anything_is_built(account):
    """Names of templates are unique in an account: a build of minutes would end at this one."""
    save = "mutation Save($input: SaveTemplateInput!) { saveTemplate(input: $input) { id } }"
    fields = {"name": "vidctl-faulty", "imageName": "me/other:1", "dockerArgs": "", "containerDiskInGb": 5, "env": []}
    taken = graphql(account, save, input={**fields, "volumeInGb": 0})["saveTemplate"]["id"]
    planned = account.run("plan", "faulty", "--json")

    failed(planned, "not_owned", "faulty: ", f"template vidctl-faulty ({taken})", varies=True)


def test_all_leaves_out_what_the_target_cannot_run(account):
    """A worker without a repository cannot be pulled by RunPod, a prebuilt image is no folder for the local runtime."""
    account.project.worker("echo")
    account.project.spec("echo", worker="echo")
    at_runpod = account.run("plan", "--all", "--json")
    notes = account.run("plan", "--all").stderr
    here = account.project.run("plan", "--all", "--json", "--target", "local")

    assert [each["spec"] for each in at_runpod.document] == ["faulty"]
    assert "skipped: echo: image.repository is missing: RunPod pulls the image from it" in " ".join(notes.split())
    assert [each["spec"] for each in here.document] == ["echo"]
    assert account.run("plan", "echo", "--json").status == 2


@pytest.mark.parametrize("image", ["docker.io/you/echo:1", "you/echo:1"])
def test_a_placeholder_is_refused_by_its_name(account, image):
    (account.project.root / "configs" / "faulty.yaml").write_text(json.dumps({**SPEC, "image": image}))
    refused = account.run("plan", "faulty", "--json")

    failed(refused, "usage_error", "faulty.yaml:1:", "docker.io/you", image, "VIDCTL_REPOSITORY", varies=True)


def registry_of(images, *, wants_token=False):
    """A registry that gives these to everybody, and 401 for all others."""

    def answer(request):
        if request.path.startswith("/token"):
            return ok({"token": "anybody"})
        if wants_token and "Authorization" not in request.headers:
            realm = f'Bearer realm="http://{request.headers["Host"]}/token",service="here",scope="pull"'
            return Reply(401, b"{}", (("WWW-Authenticate", realm),))
        return Reply(200 if any(f"/{name}/manifests/" in request.path for name in images) else 401)

    return serving(answer)


@pytest.mark.parametrize("wants_token", [False, True])
def test_an_image_that_needs_a_login_is_told(account, wants_token):
    """The registry is asked once, without a login; one that gives the image to everybody is no matter of a warning."""
    with registry_of(["me/open"], wants_token=wants_token) as registry:
        said = []
        for name in ("open", "closed"):
            image = f"{registry.url.removeprefix('http://')}/me/{name}:1"
            (account.project.root / "configs" / "faulty.yaml").write_text(json.dumps({**SPEC, "image": image}))
            said.append(" ".join(account.run("plan", "faulty").stderr.split()))

    assert "requires authentication" not in said[0]
    assert (
        f"RunPod cannot pull {image}: its registry requires authentication, and the spec has no registry_auth"
        in said[1]
    )


@pytest.mark.parametrize("image", ["docker.io/me/echo:latest", "me/echo"])
def test_an_image_that_moves_is_told(account, image):
    (account.project.root / "configs" / "faulty.yaml").write_text(json.dumps({**SPEC, "image": image}))
    told = f"{image}: this tag may change with any push"

    assert told in " ".join(account.run("plan", "faulty").stderr.split())
    assert told in " ".join(account.run("validate", "faulty").stderr.split())


LOGIN = {"name": "hub", "username": "me", "password": "HUB_PASSWORD"}


def logged_in(account, url=None, **environ):
    """A deploy of a spec with a login whose user name and password it says."""
    (account.project.root / "configs" / "faulty.yaml").write_text(json.dumps({**SPEC, "registry_auth": LOGIN}))
    return account.run("deploy", "faulty", "--json", "--yes", url=url, **environ)


def changed(outcome):
    return [(each["field"], each["old"], each["new"]) for each in outcome.document["changes"]]


@pytest.mark.parametrize("account", ["graphql"], indirect=True)
def test_a_new_password_of_a_login_reaches_runpod(account):
    """RunPod shows no password: what it was given is in the journal, as a digest, and another one is sent."""
    seen = []

    def answer(request):
        seen.append(request.body)
        return account.forward(request)

    with account.proxy(answer) as url:
        first = logged_in(account, url, HUB_PASSWORD="dckr_1")
        same = logged_in(account, url, HUB_PASSWORD="dckr_1")
        before = len(seen)
        other = logged_in(account, url, HUB_PASSWORD="dckr_2")
    again = logged_in(account, HUB_PASSWORD="dckr_2")

    assert (first.status, same.document["up_to_date"], again.document["up_to_date"]) == (0, True, True), first.stderr
    assert changed(other) == [("registry_auth", "(set)", "(changed)")]
    sent = [json.loads(body)["variables"] for body in seen[before:] if b"updateRegistryAuth" in body]
    assert [(each["username"], each["password"]) for each in sent] == [("me", "dckr_2")]
    assert b"dckr_" not in (account.project.root / ".vidctl" / "journal.db").read_bytes()


def test_a_login_that_was_not_saved_from_here_is_told(account):
    """Without an entry nobody knows whether it is the same: GraphQL sends it, REST v2 cannot, and both say so."""
    key = {"Authorization": f"Bearer {account.runtime['RUNPOD_API_KEY']}"}
    body = {"name": "hub", "username": "me", "password": "dckr_1"}
    address = f"{account.runtime['RUNPOD_API_BASE_URL']}/v2/registries"
    requests.post(address, json=body, headers=key, timeout=60).raise_for_status()
    first = logged_in(account, HUB_PASSWORD="dckr_1")
    plan = account.run("plan", "faulty", "--json", HUB_PASSWORD="dckr_1").document

    assert first.status == 0, first.stderr
    if account.plane == "graphql":
        assert ("registry_auth", "(set)", "(changed)") in changed(first)
        assert (plan["changes"], plan["warnings"]) == ([], [])
    else:
        assert plan["warnings"] == [
            "faulty: registry login hub was not saved from here, and RunPod's REST v2 cannot change it"
        ]


@pytest.mark.parametrize("account", ["rest"], indirect=True)
def test_rest_says_that_it_cannot_change_a_login_and_removing_it_helps(account):
    """Nothing is written; the login is removed although it is used, and made anew."""
    logged_in(account, HUB_PASSWORD="dckr_1")
    refused = logged_in(account, HUB_PASSWORD="dckr_2")
    used = account.run("registry", "remove", "hub", "--yes", "--json")
    removed = account.run("registry", "remove", "hub", "--yes", "--force", "--json")
    after = logged_in(account, HUB_PASSWORD="dckr_2")
    assert [each["name"] for each in account.run("registry", "list", "--json").document] == ["hub"]
    failed(refused, "usage_error", "registry login hub", "REST v2", "vidctl registry remove hub --force", varies=True)
    failed(used, "not_owned", "registry login hub", "--force", varies=True)
    assert (removed.status, after.status) == (0, 0), after.stderr
    assert [field for field, *_ in changed(after)] == ["registry_auth_id"]


def test_destroy_names_the_login_that_it_leaves(account):
    logged_in(account, HUB_PASSWORD="dckr_1")
    destroyed = account.run("destroy", "faulty", "--yes")
    removed = account.run("registry", "remove", "hub", "--yes")
    again = account.run("registry", "remove", "hub", "--yes")

    assert "registry login hub stays at RunPod: vidctl registry remove hub" in " ".join(destroyed.stderr.split())
    assert (removed.status, again.status) == (0, 5)
    assert account.run("registry", "list", "--json").document == []


def test_a_server_error_now_and_then_is_lived_through(account):
    """Every second read answers 503: reads are sent again, writes only once."""
    reads, writes = [], []

    def answer(request):
        (writes if is_write(request) else reads).append(request)
        if not is_write(request) and len(reads) % 2:
            return Reply(status=503)
        return account.forward(request)

    with account.proxy(answer) as url:
        outcome = account.run("deploy", "faulty", "--json", url=url)

    assert outcome.status == 0, outcome.stderr
    assert len(writes) == (2 if account.plane == "graphql" else 1)


def test_a_deploy_that_changes_nothing_asks_little(account):
    """At most two requests to the control plane, none that writes, also with a login, a volume and data centers."""
    key = {"Authorization": f"Bearer {account.runtime['RUNPOD_API_KEY']}"}
    volume = {"name": "weights", "size": 10, "dataCenter": "EU-RO-1"}
    base_url = account.runtime["RUNPOD_API_BASE_URL"]
    requests.post(f"{base_url}/v2/network-volumes", json=volume, headers=key, timeout=60).raise_for_status()
    account.run("registry", "login", "hub", "-u", "me", VIDCTL_REGISTRY_PASSWORD="dckr_1")
    rich = {**SPEC, "registry_auth": "hub", "network_volume": "weights", "data_centers": ["EU-RO-1"]}
    (account.project.root / "configs" / "faulty.yaml").write_text(json.dumps(rich))
    first = account.run("deploy", "faulty")
    seen = []

    def answer(request):
        seen.append(request)
        return account.forward(request)

    with account.proxy(answer) as url:
        outcome = account.run("deploy", "faulty", url=url)

    assert first.status == 0, first.stderr
    assert "up to date" in outcome.stdout
    assert len(seen) == 2
    assert not any(is_write(request) for request in seen)


def test_a_data_center_that_is_not_there_is_found_out_before(account):
    """RunPod is asked which there are, and the nearest is named; nothing is made."""
    (account.project.root / "configs" / "faulty.yaml").write_text(json.dumps({**SPEC, "data_centers": ["EU-RO-9"]}))
    outcome = account.run("deploy", "faulty", "--json")

    failed(outcome, "usage_error", "faulty.yaml:1:", "EU-RO-9", "EU-RO-1", varies=True)
    assert account.endpoints() == []


def test_a_country_without_a_data_center_is_found_out_before(account):
    """REST v2 takes no countries at all."""
    (account.project.root / "configs" / "faulty.yaml").write_text(json.dumps({**SPEC, "data_centers": ["ZZ", "GB"]}))
    outcome = account.run("deploy", "faulty", "--json")

    said = {"graphql": "data center in ZZ", "rest": "countries: ZZ, GB"}
    failed(outcome, "usage_error", "faulty.yaml:1:", said[account.plane], varies=True)
    assert account.endpoints() == []


def test_a_volume_that_is_elsewhere_is_found_out_before(account):
    """Also when only the data centers change afterwards; nothing is built or sent."""
    base_url, key = (
        account.runtime["RUNPOD_API_BASE_URL"],
        {"Authorization": f"Bearer {account.runtime['RUNPOD_API_KEY']}"},
    )
    volume = {"name": "elsewhere", "size": 10, "dataCenter": "EU-RO-1"}
    requests.post(f"{base_url}/v2/network-volumes", json=volume, headers=key, timeout=60).raise_for_status()
    spec = account.project.root / "configs" / "faulty.yaml"
    outcomes = []
    for places in (["US-KS-2"], ["EU-RO-1"], ["US-KS-2", "EU-CZ-1"]):
        spec.write_text(json.dumps({**SPEC, "network_volume": "elsewhere", "data_centers": places}))
        outcomes.append(account.run("deploy", "faulty", "--json"))

    wrong, right, moved = outcomes
    assert right.status == 0, right.stderr
    for outcome in (wrong, moved):
        failed(outcome, "usage_error", "network volume elsewhere", "add EU-RO-1", "data_centers", varies=True)


def test_what_one_control_plane_made_the_other_goes_on_with(account):
    """No drift is told that nobody made, a change is written in place, and in the end no template is left."""
    other = dataclasses.replace(account, plane={"graphql": "rest", "rest": "graphql"}[account.plane])
    first = account.run("deploy", "faulty", "--json")
    again = other.run("plan", "faulty", "--json")
    (account.project.root / "configs" / "faulty.yaml").write_text(json.dumps({**SPEC, "env": {"MODEL": "n"}}))
    changed = other.run("deploy", "faulty", "--json", "--yes")
    back = account.run("plan", "faulty", "--json")
    removed = other.run("destroy", "faulty", "--yes")
    templates = requests.get(
        f"{account.runtime['RUNPOD_API_BASE_URL']}/v2/templates",
        headers={"Authorization": f"Bearer {account.runtime['RUNPOD_API_KEY']}"},
        timeout=60,
    ).json()

    assert (first.status, again.document["changes"]) == (0, [])
    assert [change["field"] for change in changed.document["changes"]] == ["env.MODEL"]
    assert (back.document["changes"], removed.status) == ([], 0)
    assert templates == {"templates": [], "pagination": {"hasNextPage": False, "nextCursor": None}}


def test_the_key_travels_in_one_header_only(account):
    """In no URL, in no body; and the log of --debug does not hold it either."""
    seen = []

    def answer(request):
        seen.append(request)
        return account.forward(request)

    key = account.runtime["RUNPOD_API_KEY"]
    with account.proxy(answer) as url:
        outcome = account.run("deploy", "faulty", "-v", "--debug", url=url)

    assert {request.headers["Authorization"] for request in seen} == {f"Bearer {key}"}
    assert not any(key in request.path or key.encode() in request.body for request in seen)
    assert key not in outcome.stdout + outcome.stderr


@pytest.mark.parametrize("step", ["build  2/", "push  ", "is in the registry", "apply  create", "read back"])
def test_killed_at_any_step_the_next_deploy_converges(project, step, repository, base_busybox):
    """kill -9 as soon as a step is told: the next deploy does what is missing, and there is one endpoint."""
    folder = project.worker("echo")
    (folder / "Dockerfile").write_text(f"FROM {base_busybox}\nCOPY . /app/\nRUN echo {step!r} > /step\n")
    spec = {"build": "workers/echo", "repository": repository}
    project.spec("boxed", worker="echo", image=spec, workers={"min": 0, "max": 0}, local={"isolation": "container"})
    process = project.start("deploy", "boxed")
    for line in process.stderr:
        if step in line.decode():
            process.kill()
            break
    process.communicate(timeout=60)
    again = project.run("deploy", "boxed", "--yes", "--json")
    (endpoint,) = project.run("list", "--json").document

    assert process.returncode == -signal.SIGKILL
    assert again.status == 0, again.stderr
    assert endpoint["image"].startswith(f"{repository}@sha256:")
    assert project.run("plan", "boxed", "--detailed-exitcode").status == 0


def test_killed_in_the_smoke_test_its_job_is_not_lost(project):
    """The job's id is in the journal, and the next deploy asks again and proves the endpoint."""
    gate = project.root / "gate"
    project.worker("slow")
    project.spec("slow", worker="slow", env={"GATE": str(gate)}, smoke={"input": "workers/slow/job.json"})
    process = project.start("deploy", "slow")
    (lost,) = until(project.jobs)
    process.kill()
    process.communicate(timeout=60)
    gate.touch()
    again = project.run("deploy", "slow", "--json")

    assert (again.status, again.document["is_proven"]) == (0, True), again.stderr
    assert [job["status"] for job in project.jobs()] == ["COMPLETED", "IN_QUEUE"]
    assert project.jobs()[1]["id"] == lost["id"]
    assert len(project.run("list", "--json").document) == 1
