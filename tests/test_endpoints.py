"""What an endpoint is was written down when it was deployed; only without that its spec is asked."""

from __future__ import annotations

import pytest
from support.failing import failing
from support.project import ECHO_SMOKE

from vidctl import Client
from vidctl.endpoints import EndpointFinder, facts_of, recorded, written
from vidctl.journal import Journal
from vidctl.kinds import KINDS
from vidctl.project import settings
from vidctl.spec import load
from vidctl.tasks.context import EndpointFacts

SPEC = "name: abc\ntask: {task}\nimage: {{reference: a/b:1{more}}}\ngpu: L4\n"


@pytest.fixture
def folder(tmp_path):
    """A project with one spec that is deployed to RunPod as ep."""
    (tmp_path / "configs").mkdir()
    (tmp_path / ".env").write_text("VIDCTL_EYES_ENDPOINT_ID=ep\n")
    return tmp_path


def write(folder, task, *, more="", env=""):
    path = folder / "configs" / "eyes.yaml"
    path.write_text(SPEC.format(task=task, more=more) + env)
    return path


def record(folder, facts, *, spec="eyes"):
    Journal(folder / ".vidctl" / "journal.db").applied(
        spec=spec,
        target="runpod",
        endpoint_id="ep",
        document=written(facts) if facts else {"template.image": "a/b:1"},
        fingerprint="f",
        is_proven=True,
    )


def finder(folder, **given):
    return EndpointFinder(settings.open_project(folder, {}), "runpod", **given)


def test_a_spec_that_was_changed_and_not_deployed_changes_no_endpoint(folder):
    """Its worker runs as it did: by another task or protocol it would be asked, and paid for, in vain."""
    record(folder, EndpointFacts("describe", "worker-vllm", {"MODEL_NAME": "a/b"}))
    write(folder, "detect")
    found = finder(folder).find("describe")

    assert ("ep", "eyes", "worker-vllm", "a/b") == (
        found.id,
        found.key,
        found.facts.protocol,
        found.variable("MODEL_NAME"),
    )
    with failing("not_deployed", "detect"):
        finder(folder).find("detect")
    with failing("usage_error", "eyes", "describe", "detect"):
        finder(folder, endpoint="eyes").find("detect")


def test_a_spec_that_cannot_be_read_any_more_is_still_deployed(folder):
    record(folder, EndpointFacts("detect"))
    (folder / "configs" / "eyes.yaml").write_text("task: [")

    assert "ep" == finder(folder).find("detect").id


@pytest.mark.parametrize(
    "record_it",
    [
        lambda _: None,
        lambda folder: record(folder, None),
        lambda folder: record(folder, EndpointFacts("describe"), spec="other"),
    ],
    ids=["on another machine", "by an older vidctl", "of another spec"],
)
def test_without_a_record_of_its_own_the_spec_says_what_it_is(folder, record_it):
    record_it(folder)
    write(folder, "transcribe", more=", protocol: worker-faster_whisper")
    found = finder(folder).find("transcribe")

    assert ("ep", "worker-faster_whisper") == (found.id, found.facts.protocol)


def test_a_variable_that_is_set_only_where_it_is_deployed_hides_no_endpoint(folder):
    """What it holds is asked for only where that is needed."""
    write(folder, "describe", env="env: {MODEL_NAME: '${MINE}', MAX_IMAGES: '4'}\n")
    found = finder(folder).find("describe")

    assert ("ep", "4") == (found.id, found.variable("MAX_IMAGES"))
    with failing("spec_error", "MINE", varies=True):
        found.variable("MODEL_NAME")


def test_an_endpoint_that_is_named_by_its_id_is_what_was_recorded_of_it(folder):
    record(folder, EndpointFacts("transcribe", "worker-faster_whisper"))
    known, unknown = (finder(folder, endpoint_id=each).find("transcribe") for each in ("ep", "else"))

    assert (("ep", "worker-faster_whisper"), ("else", None)) == (
        (known.name, known.facts.protocol),
        (unknown.name, unknown.facts.protocol),
    )


def test_the_journal_keeps_what_callers_must_know_and_no_value_that_may_be_secret(folder):
    env = "env: {MODEL_NAME: a/b, MAX_IMAGES: '${MOST}', OTHER: x}\n"
    facts = facts_of(load(write(folder, "describe", more=", protocol: worker-vllm", env=env), environ={"MOST": "4"}))

    assert EndpointFacts("describe", "worker-vllm", {"MODEL_NAME": "a/b", "MAX_IMAGES": None}) == facts
    assert facts == recorded(written(facts))
    assert {"MODEL_NAME", "MAX_IMAGES"} <= {*KINDS["describe"].variables}


def test_a_deploy_records_what_an_endpoint_is(project):
    """Also where it changes nothing at RunPod: a task is vidctl's own matter."""
    project.worker("echo")
    project.spec("echo", worker="echo", smoke=ECHO_SMOKE)
    project.run("deploy", "echo")
    client = Client(project=project.root, target="local")
    with failing("not_deployed", "detect", varies=True):
        client.endpoint_id("detect")
    project.spec("echo", worker="echo", smoke=ECHO_SMOKE, task="detect")
    again = project.run("deploy", "echo")
    (project.root / "configs" / "echo.yaml").write_text("task: [")

    assert "up to date" in again.stdout
    assert project.dotenv()["VIDCTL_ECHO_ENDPOINT_ID_LOCAL"] == client.endpoint_id("detect")
