"""From a spec to an endpoint that has answered, on the local runtime: once, twice, and when something is wrong."""

from __future__ import annotations

import dataclasses
import json
import os
from concurrent.futures import ThreadPoolExecutor
from threading import Event

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.failing import failed, failing
from support.project import ECHO_SMOKE as SMOKE
from support.shapes import draw, encoded
from support.speech import SAMPLE_RATE, write_wav

from vidctl import spec
from vidctl.deploy import apply, connect, planning, rollout, survey
from vidctl.deploy.smoke_test import difference
from vidctl.errors import ApiError, ImageError, InterruptionError, VidctlError
from vidctl.progress import Progress, silent
from vidctl.project import settings
from vidctl.runpod.types import WorkerImage

ENDPOINT_NAME = "VIDCTL_ECHO_ENDPOINT_ID_LOCAL"


def test_a_deploy_ends_with_an_endpoint_that_answered(echo):
    """The id is in .env, the journal knows the smoke job, and the runtime knows the endpoint."""
    outcome = echo.run("deploy", "echo", "--json")

    document = outcome.document
    assert (outcome.status, outcome.stderr) == (0, "")
    assert (document["action"], document["is_proven"]) == ("create", True)
    assert echo.dotenv() == {ENDPOINT_NAME: document["endpoint_id"]}
    assert [(job["what"], job["status"]) for job in echo.jobs()] == [("smoke test of echo", "COMPLETED")]
    assert [each["id"] for each in echo.run("local", "status", "--json").document["endpoints"]] == [
        document["endpoint_id"]
    ]


def test_the_second_deploy_does_nothing(echo):
    """Unchanged spec: no change, no smoke job, and it says so."""
    first = echo.run("deploy", "echo", "--json").document
    second = echo.run("deploy", "echo")

    assert second.stdout == f"echo: up to date (endpoint {first['endpoint_id']} on local)\n"
    assert len(echo.jobs()) == 1


def test_all_in_json_is_a_list_of_however_many(echo):
    """A script that reads --all need not know how many specs there are."""
    one, every = echo.run("plan", "echo", "--json"), echo.run("plan", "--all", "--json")
    deployed = echo.run("deploy", "--all", "--json", "--no-wait")

    assert [one.document] == every.document
    assert ["echo"] == [each["spec"] for each in deployed.document]


def test_without_a_key_the_target_is_local_and_one_line_says_so(echo):
    outcome = echo.run("deploy", "echo", "--dry-run")

    lines = outcome.stderr.splitlines()
    assert lines[0] == "RUNPOD_API_KEY is not set: using the local runtime (--target local)"
    assert "RUNPOD_API_KEY" not in "".join(lines[1:])


def test_a_dry_run_changes_nothing(echo):
    outcome = echo.run("deploy", "echo", "--dry-run")

    assert outcome.status == 0
    assert outcome.stdout.endswith("\necho: would create endpoint test-echo; nothing was changed\n")
    assert "endpoint gpu_ids: AMPERE_24" in outcome.stdout
    assert not (echo.root / ".env").exists()
    assert echo.run("local", "status", "--json").document["endpoints"] == []


def files(project):
    """Every file of the project's own, and what is in it."""
    state = project.root / "state"
    own = (path for path in project.root.rglob("*") if path.is_file() and not path.is_relative_to(state))
    return {path: path.read_bytes() for path in own}


def test_a_plan_writes_nothing_and_says_that_it_starts_the_runtime(echo):
    """It is for looking, also in a project that cannot be written; what is there is read as it is."""
    before = files(echo)
    first = echo.run("plan", "echo")
    after = files(echo)
    echo.run("deploy", "echo", "--no-wait")
    deployed = files(echo)

    assert (first.status, after) == (0, before), first.stderr
    assert "starting the local runtime at http://127.0.0.1:" in first.stderr
    assert echo.run("plan", "echo").stdout.startswith("echo: up to date")
    assert files(echo) == deployed


@pytest.mark.parametrize("command", ["detect", "transcribe", "describe"])
def test_who_asks_is_told_once_that_the_runtime_is_started(project, command):
    (project.root / "frame.jpg").write_bytes(encoded(draw(seed=1)[0]))
    write_wav(project.root / "talk.wav", np.zeros(SAMPLE_RATE, np.int16))
    words = [command, "talk.wav" if command == "transcribe" else "frame.jpg", "--endpoint-id", "none"]
    first, again = project.run(*words, "--target", "local"), project.run(*words, "--target", "local")

    assert [1, 0] == [each.stderr.count("starting the local runtime at http://") for each in (first, again)]
    assert (5, 5) == (first.status, again.status), first.stderr


def test_an_empty_list_says_so(echo):
    """On stderr, for what reads stdout counts lines; the first of them also says that it starts the runtime."""
    lists = {
        ("list",): "no endpoints on local",
        ("registry", "list"): "no registry logins on local",
        ("jobs",): "no jobs sent from this project",
        ("local", "status"): "no endpoints",
    }
    said = {words: echo.run(*words) for words in lists}

    assert {words: outcome.stderr.splitlines()[-1] for words, outcome in said.items()} == lists
    assert [outcome.stdout for outcome in said.values()][:3] == ["", "", ""]
    assert "starting the local runtime" in said["list",].stderr


def test_logs_take_a_specs_name(echo):
    """What the endpoint is called at RunPod is no business of who wrote the spec."""
    echo.run("deploy", "echo")
    by_spec, by_name = (echo.run("local", "logs", name) for name in ("echo", "test-echo"))

    assert (by_spec.status, by_spec.stdout) == (0, by_name.stdout)
    assert by_spec.stdout
    assert echo.run("local", "logs", "nobody").status == 5


def test_a_changed_field_is_the_only_change(echo):
    """One field in the spec, one line in the plan, the same endpoint."""
    first = echo.run("deploy", "echo", "--json").document
    echo.spec("echo", worker="echo", smoke=SMOKE, workers={"min": 0, "max": 5})
    second = echo.run("deploy", "echo", "--json", "--yes").document

    assert second["endpoint_id"] == first["endpoint_id"]
    assert second["changes"] == [
        {"resource": "endpoint", "field": "workers_max", "old": "3", "new": "5", "is_drift": False}
    ]
    assert (second["action"], second["replaces_workers"]) == ("update", False)


def test_changed_code_is_a_new_image_and_new_workers(echo):
    """The worker's files are the image: one byte replaces the workers, touching a file's time does not."""
    echo.run("deploy", "echo")
    handler = echo.root / "workers" / "echo" / "handler.py"
    os.utime(handler, (1, 1))
    touched = echo.run("deploy", "echo", "--json").document
    handler.write_text(handler.read_text().replace("hello", "welcome"))
    echo.spec("echo", worker="echo", smoke={**SMOKE, "contains": {"greeting": "welcome"}})
    changed = echo.run("deploy", "echo", "--json", "--yes").document

    assert touched["up_to_date"]
    assert [change["field"] for change in changed["changes"]] == ["image"]
    assert changed["replaces_workers"]


def test_an_edit_behind_our_back_is_put_right(echo):
    """Somebody changed the live endpoint: the next deploy sees it and writes every field, zeros included."""
    echo.spec("echo", worker="echo", smoke=SMOKE, workers={"min": 0, "max": 4}, flashboot=False)
    echo.run("deploy", "echo")
    control = target_of(echo).control
    (live,) = control.account().endpoints
    control.save(dataclasses.replace(live, workers_min=1, flashboot=True), before=live)
    outcome = echo.run("deploy", "echo", "--json", "--yes").document
    (live,) = control.account().endpoints

    assert [(change["field"], change["is_drift"]) for change in outcome["changes"]] == [
        ("workers_min", True), ("flashboot", True),
    ]  # fmt: skip
    assert (live.workers_min, live.workers_max, live.flashboot) == (0, 4, False)


def test_a_wrong_answer_fails_the_deploy(echo):
    """The smoke test's answer lacks what the spec says: exit code 3, the endpoint named, its id in .env."""
    echo.spec("echo", worker="echo", smoke={**SMOKE, "contains": {"greeting": "goodbye"}})
    outcome = echo.run("deploy", "echo", "--json")

    failed(outcome, "job_failed", "echo", 'output.greeting is "hello", not "goodbye"', varies=True)
    assert echo.dotenv() == {ENDPOINT_NAME: outcome.error["endpoint"]}


def test_without_a_smoke_test_nobody_says_that_it_is_ready(echo):
    """No worker is started for nothing, so nothing is known of it."""
    echo.spec("echo", worker="echo")
    outcome = echo.run("deploy", "echo")
    (endpoint,) = echo.run("list", "--json").document

    assert outcome.stdout == f"echo: endpoint {endpoint['id']} on local is saved; no smoke test was sent\n"
    assert echo.run("deploy", "echo").stdout == f"echo: up to date (endpoint {endpoint['id']} on local)\n"


def test_what_to_try_next_asks_what_was_deployed(echo):
    """A detector's overlay is another endpoint than its base."""
    echo.spec("echo", worker="echo", smoke=SMOKE, task="detect")
    (echo.root / "configs" / "echo.prod.yaml").write_text("workers: {max: 2}\n")
    outcome = echo.run("deploy", "echo", "echo.prod")
    tried = [line for line in outcome.stderr.splitlines() if line.startswith("try: ")]

    assert tried == ["try: vidctl detect sample.jpg", "try: vidctl detect sample.jpg --endpoint echo.prod"]


def test_without_a_smoke_test_a_worker_that_is_kept_running_is_waited_for(echo):
    """workers.min is 1: deployed means that one is ready."""
    echo.spec("echo", worker="echo", workers={"min": 1, "max": 1})
    outcome = echo.run("deploy", "echo", "--json")
    (endpoint,) = echo.run("local", "status", "--json").document["endpoints"]

    assert (outcome.status, endpoint["workers"]["ready"]) == (0, 1)


def test_without_a_smoke_test_a_worker_that_cannot_start_is_seen(project):
    project.worker("crashing")
    project.spec("crashing", worker="crashing", workers={"min": 1, "max": 1})
    outcome = project.run("deploy", "crashing", "--json")

    failed(outcome, "job_failed", "the weights are not where they should be", varies=True)
    assert outcome.error["status"] == "UNHEALTHY"


def test_what_was_not_proved_is_tried_again(echo):
    """A deploy that failed its smoke test is not up to date, though every field is."""
    echo.spec("echo", worker="echo", smoke={**SMOKE, "contains": {"greeting": "goodbye"}})
    echo.run("deploy", "echo")
    echo.spec("echo", worker="echo", smoke=SMOKE)
    outcome = echo.run("deploy", "echo", "--json").document

    assert outcome["up_to_date"]
    assert len(echo.jobs()) == 2
    assert ENDPOINT_NAME in echo.dotenv()


def test_a_worker_that_cannot_start_shows_its_last_lines(project):
    """A crash loop is not called a lack of capacity."""
    project.worker("crashing")
    project.spec("crashing", worker="crashing", smoke={"input": "workers/crashing/job.json"})
    outcome = project.run("deploy", "crashing", "--json", "--timeout", "120")

    failed(outcome, "job_failed", "container exited", "the weights are not where they should be", varies=True)
    assert outcome.error["status"] == "UNHEALTHY"
    assert [job["status"] for job in project.jobs()] == ["CANCELLED"]


def test_a_secret_travels_and_is_shown_nowhere(echo):
    """From .env to the worker, and into no output and no file of ours but .env."""
    echo.spec("echo", worker="echo", smoke=SMOKE, secrets=["HF_TOKEN"])
    (echo.root / ".env").write_text("HF_TOKEN=hf_verysecret\n")
    outcome = echo.run("deploy", "echo", "-v")
    again = echo.run("deploy", "echo", "--yes", HF_TOKEN="hf_evenmoresecret")

    assert (outcome.status, again.status) == (0, 0)
    assert "template env.HF_TOKEN: (set) → (changed)" in again.stderr
    shown = outcome.stdout + outcome.stderr + again.stdout + again.stderr
    assert "verysecret" not in shown
    assert "evenmoresecret" not in shown
    ours = [path for path in (echo.root / ".vidctl").rglob("*") if path.is_file()]
    assert not any(b"moresecret" in path.read_bytes() or b"verysecret" in path.read_bytes() for path in ours)


def test_two_deploys_at_once_start_one_runtime(echo):
    """`deploy` starts the runtime when needed, and twice at the same time is once."""
    with ThreadPoolExecutor(2) as pool:
        first, second = pool.map(lambda _: echo.run("local", "up", "--json"), range(2))

    assert first.document["pid"] == second.document["pid"]


def test_many_specs_in_one_command(echo):
    echo.spec("other", worker="echo", smoke=SMOKE)
    outcome = echo.run("deploy", "echo", "other", "--json")

    assert [each["spec"] for each in outcome.document] == ["echo", "other"]
    assert len(set(echo.dotenv().values())) == 2


def test_what_was_deployed_before_one_failed_is_told(echo):
    """`deploy A B --json`, B fails: A's document is on stdout, B's error on stderr."""
    echo.spec("wrong", worker="echo", smoke={**SMOKE, "contains": {"greeting": "goodbye"}})
    outcome = echo.run("deploy", "echo", "wrong", "--json")

    assert (outcome.status, [each["spec"] for each in outcome.document]) == (3, ["echo"])
    assert outcome.error["code"] == "job_failed"


def test_the_shell_of_local_env_is_local(echo):
    """After eval "$(vidctl local env)", vidctl itself still means the local runtime."""
    echo.run("deploy", "echo")
    environ = echo.run("local", "env", "--json").document

    assert "up to date" in echo.run("deploy", "echo", **environ).stdout


def test_a_spec_is_named_by_file_from_any_folder(echo):
    """`echo` is configs/echo.yaml wherever in the project one stands."""
    deep = echo.root / "workers" / "echo"
    outcome = echo.run("deploy", "echo", "--dry-run", "--json")
    from support.command import vidctl

    below = vidctl("deploy", "echo", "--dry-run", "--json", cwd=deep, **echo.environ)
    by_path = vidctl("deploy", "../../configs/echo.yaml", "--dry-run", "--json", cwd=deep, **echo.environ)

    assert outcome.document == below.document == by_path.document


def test_another_project_on_the_same_runtime_through_the_sdks_variables(echo):
    """`vidctl local env` makes the local runtime an ordinary RunPod for any client: here vidctl's own runpod target."""
    echo.run("local", "up")
    environ = echo.run("local", "env", "--json").document
    reference = "docker.io/me/echo:1"
    (echo.root / "configs" / "cloud.yaml").write_text(
        json.dumps({"name": "cloud", "image": reference, "gpu": "L4", "workers": {"min": 0, "max": 0}})
    )
    environ |= {"VIDCTL_TARGET": "runpod"}
    outcome = echo.run("deploy", "cloud", "--json", **environ)

    assert (outcome.status, outcome.document["target"]) == (0, "runpod")
    assert echo.dotenv() == {"VIDCTL_CLOUD_ENDPOINT_ID": outcome.document["endpoint_id"]}


def test_the_runtime_of_the_projects_own_port_says_how_workers_run(project):
    """The port stands in .env only: the runtime there runs images, so a prebuilt one may be deployed."""
    (project.root / ".env").write_text(f"VIDCTL_LOCAL_PORT={project.environ.pop('VIDCTL_LOCAL_PORT')}\n")
    project.spec("echo", worker="echo", image="docker.io/me/echo:1")
    project.run("local", "up", "--isolation", "container")

    assert project.run("plan", "echo").stdout.endswith("\necho: would create endpoint test-echo; nothing was changed\n")


def target_of(project):
    """The collaborators of a deploy to the project's runtime."""
    for name, value in project.environ.items():
        os.environ[name] = value
    return connect.deploy_target(settings.open_project(project.root, os.environ), "local")


class Forgetful:
    """A control plane that accepts an idle timeout and keeps another."""

    plane = "graphql"

    def __init__(self, control):
        self.account = control.account
        self._control = control

    def save(self, endpoint, *, before):
        return self._control.save(dataclasses.replace(endpoint, idle_timeout_s=7), before=before)


def test_success_is_read_back(echo, monkeypatch):
    """A control plane that accepts a value and keeps another is not believed."""
    monkeypatch.setattr(os, "environ", {**os.environ, **echo.environ})
    path = echo.spec("echo", worker="echo", smoke=SMOKE, timeouts={"idle": "42s"})
    each = spec.load(path, environ={})
    target = target_of(echo)
    target = dataclasses.replace(target, control=Forgetful(target.control))
    known = survey.survey([each], target)
    todo = planning.prepare(each, target, known, image=target.images.look(each), secrets={})

    with failing("api_error", "echo: ", "endpoint idle_timeout_s", "vidctl deploy echo"):
        apply.deploy(each, target, todo, secrets={})


class Failing:
    """A control plane of which one method fails, after `good` calls that do not."""

    plane = "graphql"

    def __init__(self, control, method, *, good):
        self._control, self._method, self._good = control, method, good

    def __getattr__(self, name):
        if name == self._method:
            self._good -= 1
            if self._good < 0:
                raise ApiError("RunPod is out")
        return getattr(self._control, name)


def carry_out(project, secrets, *, method, good):
    """Deploy with a control plane that fails; return what is raised."""
    each = spec.load(project.root / "configs" / "echo.yaml", environ={})
    target = target_of(project)
    todo = planning.prepare(
        each, target, survey.survey([each], target), image=target.images.look(each), secrets=secrets
    )
    target = dataclasses.replace(target, control=Failing(target.control, method, good=good))
    with pytest.raises(VidctlError) as raised:
        apply.deploy(each, target, todo, secrets=secrets)
    return raised.value


def test_a_new_secret_is_not_taken_for_proved(echo, monkeypatch):
    """It was saved and could not be read back: no fingerprint holds it, and still the next deploy asks the worker."""
    monkeypatch.setattr(os, "environ", {**os.environ, **echo.environ})
    echo.spec("echo", worker="echo", smoke=SMOKE, secrets=["HF_TOKEN"])
    echo.run("deploy", "echo", HF_TOKEN="hf_old")
    error = carry_out(echo, {"HF_TOKEN": "hf_new"}, method="account", good=0)
    document = echo.run("plan", "echo", "--json", HF_TOKEN="hf_new").document

    assert error.message == "RunPod is out"
    assert (document["up_to_date"], document["is_proven"]) == (True, False)


def test_what_cannot_be_put_back_is_told_with_why_it_should_be(echo, monkeypatch):
    """The new version fails and so does putting the old one back: both are said."""
    monkeypatch.setattr(os, "environ", {**os.environ, **echo.environ})
    echo.run("deploy", "echo")
    (echo.root / "workers" / "echo" / "handler.py").write_text("raise SystemExit('no weights')\n")
    error = carry_out(echo, {}, method="save", good=1)

    assert error.code == "api_error"
    assert "no weights" in error.message
    assert "rollback" in error.message.splitlines()[-1]
    assert error.message.endswith(": RunPod is out")
    assert error.job_id == echo.jobs()[0]["id"]


def test_all_that_is_wrong_with_a_spec_is_told(echo):
    """One thing in the way does not hide the next; each has its place in the file."""
    echo.spec("echo", worker="echo", registry_auth="nobody", network_volume="nothing", data_centers=["US"])
    echo.spec("twin", worker="echo", name="test-echo")
    outcome = echo.run("plan", "echo", "twin", "--json", VIDCTL_CONTROL="rest")

    head, *lines = outcome.error["error"].splitlines()

    assert (outcome.status, outcome.error["code"], head[0], len(lines)) == (2, "several", "4", 4)
    for line, facts in zip(
        lines,
        (
            ("- echo, twin: ", "'test-echo'"),
            ("- configs/echo.yaml:7:2: ", "registry login 'nobody'"),
            ("- configs/echo.yaml:8:2: ", "network volume 'nothing'"),
            ("- configs/echo.yaml:9:2: ", "REST v2", "countries: US"),
        ),
        strict=True,
    ):
        assert [] == [fact for fact in facts if fact not in line], line


def test_what_graphql_made_is_gone_whole_over_rest(echo, monkeypatch):
    """GraphQL keeps an endpoint's template apart, and REST v2 leaves it where it is: destroy does not."""
    monkeypatch.setattr(os, "environ", {**os.environ, **echo.environ})
    echo.run("deploy", "echo")
    made = [template.name for template in target_of(echo).control.templates()]
    outcome = echo.run("destroy", "echo", "--yes", VIDCTL_CONTROL="rest")

    assert (made, outcome.status) == (["vidctl-test-echo"], 0)
    assert target_of(echo).control.templates() == ()


class Building:
    """Images of which one cannot be built, while the other takes as long as anybody listens."""

    def __init__(self):
        self.is_at_work, self.is_given_up = Event(), Event()

    def look(self, spec):
        return WorkerImage(spec.key, None)

    def provide(self, spec, _, notify):
        if spec.key == "broken":
            self.is_at_work.wait(30)
            raise ImageError("no base of this name")
        try:
            for _ in range(3000):
                notify(Progress("build", "one more line"))
                self.is_at_work.set()
                self.is_given_up.wait(0.01)
        except InterruptionError:
            self.is_given_up.set()
            raise


def test_what_goes_wrong_with_one_image_ends_the_work_on_the_others(echo, monkeypatch):
    """Nobody waits for a long build to hear that another has failed long since."""
    monkeypatch.setattr(os, "environ", {**os.environ, **echo.environ})
    specs = [spec.load(echo.spec(key, worker="echo"), environ={}) for key in ("a_long_one", "broken")]
    building = Building()
    target = dataclasses.replace(target_of(echo), images=building)
    known = survey.survey(specs, target)
    planned = planning.plan_all(specs, target, known, secrets={})

    with failing("image_error", "no base of this name", varies=True):
        rollout.provide(planned, target, known, secrets={}, notify=silent)
    assert building.is_given_up.is_set()


@pytest.mark.parametrize(
    ("wanted", "answer", "expected"),
    [
        (None, 3, ""),
        ({"a": 1}, {"a": 1, "b": 2}, ""),
        ({"a": 1}, {"b": 2}, "output.a is missing"),
        ({"a": {"b": 1}}, {"a": {"b": 2}}, "output.a.b is 2, not 1"),
        ([1, 2], [1, 2.0001], ""),
        ([1, 2], [1], "output is not a list of 2"),
        ("ello", "hello", ""),
        ("bye", "hello", 'output is "hello", not "bye"'),
        (True, 1, "output is 1, not true"),
        (1, True, "output is true, not 1"),
        ({"a": 1}, [1], "output is not an object"),
    ],
)
def test_what_an_answer_must_contain(wanted, answer, expected):
    assert expected == difference(wanted, answer)


_json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=10,
)


@given(answer=_json, wanted=_json)
def test_comparing_never_fails_and_an_answer_contains_itself(answer, wanted):
    assert difference(answer, answer) == ""
    assert isinstance(difference(wanted, answer), str)
