"""What must change so that RunPod matches a spec; nothing here touches a network."""

from __future__ import annotations

import dataclasses

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vidctl import spec
from vidctl.errors import UsageError
from vidctl.plan import Change, plan
from vidctl.resources import Endpoint, Template

IMAGE = "docker.io/you/yolo@sha256:" + "a" * 64

YAML = """
name: yolo11-detection
task: detect
image: {image}
gpu: [RTX 4090, A40]
workers: {{min: 0, max: 3}}
timeouts: {{idle: 5s, execution: 30s}}
disk: 10GB
env: {{MODEL: yolo11m.pt}}
secrets: [HF_TOKEN]
data_centers: [EU-RO-1, CZ]
"""
SECRETS = {"HF_TOKEN": "hf_secret"}


@pytest.fixture(scope="module")
def yolo(tmp_path_factory):
    path = tmp_path_factory.mktemp("project") / "yolo.yaml"
    path.write_text(YAML.format(image=IMAGE))
    return spec.load(path, environ={})


def planned(yolo, endpoint=None, template=None, **changed):
    arguments = {"image": IMAGE, "secrets": SECRETS, "live_endpoint": endpoint, "live_template": template, **changed}
    return plan(yolo, **arguments)


def live(yolo):
    """The endpoint and the template as they are after the spec was applied."""
    first = planned(yolo)
    return (
        dataclasses.replace(first.endpoint, id="ep1", template_id="tp1"),
        dataclasses.replace(first.template, id="tp1"),
    )


def test_nothing_there_means_create_both(yolo):
    """The guide's settings arrive whole: pools in order of priority, seconds as milliseconds."""
    todo = planned(yolo)

    assert (todo.template_action, todo.endpoint_action) == ("create", "create")
    assert todo.template.env == {"MODEL": "yolo11m.pt", "HF_TOKEN": "hf_secret"}
    assert todo.endpoint == Endpoint(
        name="yolo11-detection",
        template_id="",
        gpu_ids="ADA_24,AMPERE_48",
        workers_min=0,
        workers_max=3,
        idle_timeout_s=5,
        execution_timeout_ms=30_000,
        scaler_type="QUEUE_DELAY",
        scaler_value=4,
        locations=("EU-RO-1", "CZ"),
        flashboot=True,
    )


def test_what_was_applied_is_up_to_date(yolo):
    """Planning after applying finds nothing to do."""
    todo = planned(yolo, *live(yolo))

    assert todo.is_empty
    assert (todo.template_action, todo.endpoint_action) == ("keep", "keep")


def test_the_order_of_data_centers_is_no_change(yolo):
    endpoint, template = live(yolo)

    assert planned(yolo, dataclasses.replace(endpoint, locations=("CZ", "EU-RO-1")), template).is_empty


def test_the_order_of_gpus_is_a_change(yolo):
    """It is their priority."""
    endpoint, template = live(yolo)
    todo = planned(yolo, dataclasses.replace(endpoint, gpu_ids="AMPERE_48,ADA_24"), template)

    assert todo.changes == (Change("endpoint", "gpu_ids", "AMPERE_48,ADA_24", "ADA_24,AMPERE_48"),)
    assert (todo.template_action, todo.endpoint_action) == ("keep", "update")


_edits = st.sampled_from(
    [
        ("gpu_ids", "AMPERE_16"), ("gpu_count", 2), ("workers_min", 1), ("workers_max", 0), ("idle_timeout_s", 10),
        ("execution_timeout_ms", 0), ("scaler_type", "REQUEST_COUNT"), ("scaler_value", 1), ("locations", ()),
        ("network_volume_id", "v"), ("cuda_versions", ("12.8",)), ("flashboot", False), ("template_id", "other"),
    ]
)  # fmt: skip


@given(edit=_edits)
def test_any_edit_of_a_live_endpoint_is_seen(yolo, edit):
    """Zero, false and empty are values like any other: somebody's edit to them is a difference."""
    name, value = edit
    endpoint, template = live(yolo)
    todo = planned(yolo, dataclasses.replace(endpoint, **{name: value}), template)

    assert [change.field for change in todo.changes] == [name]


@given(
    edit=st.sampled_from([("image", "x:1"), ("docker_args", "sh"), ("container_disk_gb", 5), ("registry_auth_id", "r")])
)
def test_any_edit_of_a_live_template_is_seen(yolo, edit):
    name, value = edit
    endpoint, template = live(yolo)
    todo = planned(yolo, endpoint, dataclasses.replace(template, **{name: value}))

    assert [change.field for change in todo.changes] == [name]


def test_a_changed_secret_shows_no_value(yolo):
    endpoint, template = live(yolo)
    todo = planned(yolo, endpoint, template, secrets={"HF_TOKEN": "hf_other"})

    assert todo.changes == (Change("template", "env.HF_TOKEN", "(set)", "(changed)"),)


def test_a_variable_that_goes_shows_no_value(yolo):
    """It may have been a secret once."""
    endpoint, template = live(yolo)
    todo = planned(yolo, endpoint, dataclasses.replace(template, env={**template.env, "OLD": "hf_ancient"}))

    assert todo.changes == (Change("template", "env.OLD", "(set)", "(removed)"),)


def test_no_secret_is_in_any_repr(yolo):
    endpoint, template = live(yolo)

    assert "hf_secret" not in repr(planned(yolo)) + repr(planned(yolo, endpoint, template, secrets={"HF_TOKEN": "n"}))


def test_a_missing_secret_is_a_usage_error(yolo):
    with pytest.raises(UsageError, match="HF_TOKEN: not set"):
        planned(yolo, secrets={})


def test_a_template_of_our_name_is_taken_over(yolo):
    """A deploy that died between its two writes left a template: the next one uses it."""
    todo = planned(yolo, None, Template(name="vidctl-yolo11-detection", image="old", id="tp9"))

    assert (todo.template.id, todo.template_action, todo.endpoint_action) == ("tp9", "update", "create")
