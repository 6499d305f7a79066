"""What must change so that RunPod matches a spec; nothing here touches a network."""

from __future__ import annotations

import dataclasses

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.failing import failing

from vidctl import spec
from vidctl.deploy.cost import Cost, cost
from vidctl.deploy.plan import Change, document, plan
from vidctl.runpod.types import Catalogue, Endpoint, Offer, Template, WorkerImage

DIGEST = "docker.io/you/yolo@sha256:" + "a" * 64
IMAGE = WorkerImage("docker.io/you/yolo:v1", DIGEST)

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
    path.write_text(YAML.format(image=DIGEST))
    return spec.load(path, environ={})


def planned(yolo, endpoint=None, **changed):
    return plan(yolo, **{"image": IMAGE, "secrets": SECRETS, "live": endpoint, **changed})


def live(yolo, **edit):
    """The endpoint as it is after the spec was applied, with what somebody edited since."""
    endpoint = planned(yolo).endpoint
    template = {name: edit.pop(name) for name in list(edit) if name in TEMPLATE_FIELDS}
    return dataclasses.replace(
        endpoint, id="ep1", template=dataclasses.replace(endpoint.template, id="tp1", **template), **edit
    )


TEMPLATE_FIELDS = ("image", "env", "docker_args", "container_disk_gb", "registry_auth_id")


def test_nothing_there_means_create(yolo):
    """The guide's settings arrive whole: pools in order of priority, seconds as milliseconds, and whose it is."""
    todo = planned(yolo)

    assert todo.action == "create"
    assert todo.endpoint == Endpoint(
        name="yolo11-detection",
        template=Template(
            name="vidctl-yolo11-detection",
            image=DIGEST,
            env={"MODEL": "yolo11m.pt", "HF_TOKEN": "hf_secret", "VIDCTL_SPEC": "yolo"},
            container_disk_gb=10,
        ),
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
    todo = planned(yolo, live(yolo))

    assert (todo.is_empty, todo.action) == (True, "keep")


def test_the_order_of_data_centers_is_no_change(yolo):
    assert planned(yolo, live(yolo, locations=("CZ", "EU-RO-1"))).is_empty


def test_the_order_of_gpus_is_a_change(yolo):
    """It is their priority; REST v2 does not promise to give it back."""
    swapped = live(yolo, gpu_ids="AMPERE_48,ADA_24")

    assert planned(yolo, swapped).changes == (Change("endpoint", "gpu_ids", "AMPERE_48,ADA_24", "ADA_24,AMPERE_48"),)
    assert planned(yolo, swapped, plane="rest").is_empty


def test_a_container_without_a_template_of_its_own_is_no_change(yolo):
    """REST v2 keeps no template's name; with GraphQL another name is another template."""
    endpoint = live(yolo)
    nameless = dataclasses.replace(endpoint, template=dataclasses.replace(endpoint.template, name="", id=None))

    assert planned(yolo, nameless, plane="rest").is_empty
    assert [change.field for change in planned(yolo, nameless).changes] == ["name"]


_edits = st.sampled_from(
    [
        ("gpu_ids", "AMPERE_16"), ("gpu_count", 2), ("workers_min", 1), ("workers_max", 0), ("idle_timeout_s", 10),
        ("execution_timeout_ms", 0), ("scaler_type", "REQUEST_COUNT"), ("scaler_value", 1), ("locations", ()),
        ("network_volume_id", "v"), ("cuda_versions", ("12.8",)), ("flashboot", False),
        ("image", "x:1"), ("docker_args", "sh"), ("container_disk_gb", 5), ("registry_auth_id", "r"),
    ]
)  # fmt: skip


@given(edit=_edits)
def test_any_edit_of_what_is_live_is_seen_as_drift(yolo, edit):
    """Zero, false and empty are values like any other; with what was applied at hand, somebody else's edit is named."""
    name, value = edit
    applied = document(live(yolo))
    todo = planned(yolo, live(yolo, **{name: value}), applied=applied)

    assert [(change.field, change.is_drift) for change in todo.changes] == [(name, True)]


@given(edit=_edits)
def test_an_edit_of_the_spec_is_not_drift(yolo, edit):
    """What is live is what was applied: the difference is the spec's own."""
    name, value = edit
    there = live(yolo, **{name: value})
    todo = planned(yolo, there, applied=document(there))

    assert [(change.field, change.is_drift) for change in todo.changes] == [(name, False)]


def test_a_variable_added_elsewhere_is_drift(yolo):
    before = live(yolo)
    after = live(yolo, env={**before.template.env, "DEBUG": "1"})
    todo = planned(yolo, after, applied=document(before))

    assert todo.changes == (Change("template", "env.DEBUG", "(set)", "(removed)", is_drift=True),)


COMMIT = "0c351dd01ed87e9c1b53cbc748cba10e6187ff3b"
ASKED = ("https://huggingface.co/Qwen/Qwen3-VL-8B-Instruct:main",)
RESOLVED = (f"https://huggingface.co/Qwen/Qwen3-VL-8B-Instruct:{COMMIT}",)
THEIRS = ("https://huggingface.co/some/body:main",)


def cached(yolo, weights="cache", **env):
    """The spec with a model, found there."""
    return yolo.model_copy(update={"weights": weights, "env": {"MODEL_NAME": "Qwen/Qwen3-VL-8B-Instruct", **env}})


def applied(spec, **changed):
    """What the journal keeps of the spec once it is applied."""
    return planned(spec, **changed).document()


def asked_of_cache(todo):
    return [(change.old, change.new, change.is_drift) for change in todo.changes if change.field == "model_references"]


def test_the_model_cache_is_asked_for_the_model(yolo):
    """By a new endpoint and by one that is there; a silent spec asks for nothing, and says nothing of it."""
    silent = cached(yolo, None)
    new, there = planned(cached(yolo)), planned(cached(yolo), live(silent), applied=applied(silent))

    assert [(None, ASKED[0], False)] == asked_of_cache(new) == asked_of_cache(there)
    assert (ASKED, True) == (there.endpoint.model_references, there.replaces_workers)
    assert [] == asked_of_cache(planned(silent))
    assert "endpoint.model_references" not in applied(silent)


def test_a_branch_that_runpod_shows_as_a_commit_is_no_change(yolo):
    """It resolves what it is asked for, and writing the branch again would resolve it anew: what is there is kept."""
    asked = cached(yolo)
    todo = planned(asked, live(asked, model_references=RESOLVED), applied=applied(asked))

    assert (True, RESOLVED) == (todo.is_empty, todo.endpoint.model_references)
    assert applied(asked) == todo.document()
    assert planned(asked, live(asked, model_references=RESOLVED)).is_empty


@pytest.mark.parametrize("known", [True, False])
def test_another_revision_is_a_change(yolo, known):
    """With the journal or without: the workers' own variable says which was asked for."""
    before, after = cached(yolo), cached(yolo, MODEL_REVISION="v2")
    todo = planned(after, live(before, model_references=RESOLVED), applied=applied(before) if known else None)

    assert [(RESOLVED[0], "https://huggingface.co/Qwen/Qwen3-VL-8B-Instruct:v2", False)] == asked_of_cache(todo)


def test_a_commit_that_was_asked_for_is_that_commit(yolo):
    pinned = cached(yolo, MODEL_REVISION="1" * 40)

    assert [RESOLVED[0]] == [
        old for old, _, _ in asked_of_cache(planned(pinned, live(pinned, model_references=RESOLVED)))
    ]


def test_what_was_half_saved_is_still_to_be_saved(yolo):
    """The variables are there, the cache has what the version before asked for: the journal knows."""
    before, after = cached(yolo), cached(yolo, MODEL_REVISION="v2")
    todo = planned(after, live(after, model_references=RESOLVED), applied=applied(before))

    assert 1 == len(asked_of_cache(todo))


@pytest.mark.parametrize("weights", ["volume", "bake"])
def test_weights_that_are_elsewhere_leave_the_cache_empty(yolo, weights):
    """The spec says where they are, whoever filled the cache."""
    todo = planned(cached(yolo, weights), live(cached(yolo, weights), model_references=THEIRS))

    assert [(THEIRS[0], "(removed)", False)] == asked_of_cache(todo)
    assert () == todo.endpoint.model_references


@pytest.mark.parametrize("there", [ASKED, RESOLVED])
def test_a_spec_that_asks_no_more_takes_its_model_out(yolo, there):
    """What vidctl put there by the journal, and no drift."""
    before, after = cached(yolo), cached(yolo, None)
    todo = planned(after, live(before, model_references=there), applied=applied(before))

    assert [(there[0], "(removed)", False)] == asked_of_cache(todo)


def test_a_spec_that_asks_no_more_takes_its_model_out_without_a_journal(yolo):
    """A built worker was told WEIGHTS=cache when the cache was filled."""
    after = cached(yolo, None)
    there = live(after, env={**live(after).template.env, "WEIGHTS": "cache"}, model_references=ASKED)

    assert [(ASKED[0], "(removed)", False)] == asked_of_cache(planned(after, there))
    themselves = cached(yolo, None, WEIGHTS="cache")
    assert [] == asked_of_cache(planned(themselves, live(themselves, model_references=ASKED)))


@pytest.mark.parametrize("known", [True, False])
def test_what_somebody_else_put_into_the_cache_stays(yolo, known):
    """A spec that says nothing of weights has no business there, and it is nothing of what was applied."""
    silent = cached(yolo, None)
    todo = planned(silent, live(silent, model_references=THEIRS), applied=applied(silent) if known else None)

    assert (True, THEIRS) == (todo.is_empty, todo.endpoint.model_references)
    assert applied(silent) == todo.document()


def test_what_somebody_else_put_there_instead_is_drift(yolo):
    asked = cached(yolo)
    todo = planned(asked, live(asked, model_references=THEIRS), applied=applied(asked))
    emptied = planned(asked, live(asked, model_references=()), applied=applied(asked))

    assert [(THEIRS[0], ASKED[0], True)] == asked_of_cache(todo)
    assert [(None, ASKED[0], True)] == asked_of_cache(emptied)


def test_over_rest_the_cache_is_out_of_sight(yolo):
    """What was asked for stays asked for; nothing is said to differ, and what cannot be done is known."""
    asked, silent = cached(yolo), cached(yolo, None)
    seen = live(asked, model_references=None)
    kept = planned(asked, seen, applied=applied(asked), plane="rest")
    dropped = planned(silent, live(silent, model_references=None), applied=applied(asked), plane="rest")

    assert (True, None, ASKED, ()) == (
        kept.is_empty, kept.endpoint.model_references, kept.models.unseen, kept.models.stuck,
    )  # fmt: skip
    assert (True, None, (), ASKED) == (
        dropped.is_empty, dropped.endpoint.model_references, dropped.models.unseen, dropped.models.stuck,
    )  # fmt: skip
    assert applied(asked)["endpoint.model_references"] == dropped.document()["endpoint.model_references"]


def test_only_what_workers_are_made_of_replaces_them(yolo):
    assert not planned(yolo).replaces_workers
    assert not planned(yolo, live(yolo, workers_max=9, idle_timeout_s=1, scaler_value=2)).replaces_workers
    assert planned(yolo, live(yolo, image="x:1")).replaces_workers
    assert planned(yolo, live(yolo, env={})).replaces_workers


def test_a_changed_secret_shows_no_value(yolo):
    todo = planned(yolo, live(yolo), secrets={"HF_TOKEN": "hf_other"})

    assert todo.changes == (Change("template", "env.HF_TOKEN", "(set)", "(changed)"),)


def test_a_variable_that_goes_shows_no_value(yolo):
    """It may have been a secret once."""
    there = live(yolo)
    todo = planned(yolo, live(yolo, env={**there.template.env, "OLD": "hf_ancient"}))

    assert todo.changes == (Change("template", "env.OLD", "(set)", "(removed)"),)


def test_what_was_a_secret_is_not_shown_when_it_is_given_a_plain_value(yolo):
    """The spec calls it a secret no more, but the value that is live was one: the journal kept it to itself."""
    plain = yolo.model_copy(update={"env": {**yolo.env, "SALT": "plain"}})
    there = live(yolo, env={**live(yolo).template.env, "SALT": "c0ffee"})
    todo = planned(plain, there, applied={**document(there), "template.env.SALT": None})

    assert todo.changes == (Change("template", "env.SALT", "(set)", "plain"),)


def test_a_secret_may_be_called_like_a_field(yolo):
    """What is hidden is the variable, not the image."""
    assert document(live(yolo), frozenset({"image"}))["template.image"] == DIGEST


@pytest.mark.parametrize("name", ["API_KEY", "HF_TOKEN", "DB_PASSWORD", "AWS_SECRET_ACCESS", "KEY", "openai_apikey"])
def test_a_variable_whose_name_is_a_secrets_is_treated_as_one(yolo, name):
    """Neither the plan nor the journal tells what it is, though the spec does not call it a secret."""
    loud = yolo.model_copy(update={"env": {name: "sk-1"}})
    todo = plan(loud, image=IMAGE, secrets=SECRETS, live=live(yolo, env={name: "sk-2"}))
    change = next(change for change in todo.changes if change.field == f"env.{name}")

    assert (change.old, change.new) == ("(set)", "(changed)")
    assert "sk-" not in repr(todo) + repr(todo.document())


@pytest.mark.parametrize(
    "value", ["postgres://app:Pa55word@db/app", "https://host/hook?sig=Pa55word", "Server=db;Password=Pa55word"]
)
def test_a_value_that_holds_a_secret_is_treated_as_one(yolo, value):
    """A password in a URL or in a connection string, whatever the variable is called."""
    loud = yolo.model_copy(update={"env": {"CONNECTION": value}})
    todo = plan(loud, image=IMAGE, secrets=SECRETS, live=live(yolo, env={"CONNECTION": f"{value}-old"}))

    assert Change("template", "env.CONNECTION", "(set)", "(changed)") in todo.changes
    assert "Pa55word" not in repr(todo.changes) + str(todo.document())


def test_what_a_variable_gave_is_treated_as_a_secret(tmp_path):
    """`${TOK}` came from the environment or from .env: the spec does not say whether it may be read."""
    path = tmp_path / "yolo.yaml"
    path.write_text(YAML.format(image=DIGEST).replace("MODEL: yolo11m.pt", 'MODEL: yolo11m.pt, OTHER: "${TOK}"'))
    filled = spec.load(path, environ={"TOK": "Pa55word"})
    todo = planned(filled)

    assert ("yolo11m.pt", None) == (todo.document()["template.env.MODEL"], todo.document()["template.env.OTHER"])
    assert "Pa55word" not in repr(todo.changes)
    assert "Pa55word" == todo.endpoint.template.env["OTHER"]


def test_no_secret_is_in_any_repr(yolo):
    assert "hf_secret" not in repr(planned(yolo)) + repr(planned(yolo, live(yolo), secrets={"HF_TOKEN": "n"}))


def test_a_missing_secret_is_a_usage_error(yolo):
    with failing("usage_error", "HF_TOKEN", "yolo", ".env"):
        planned(yolo, secrets={})


def test_a_fingerprint_outlives_the_push_and_nothing_else(yolo):
    """A saved plan still holds when its image has been pushed, and no longer when the live endpoint has changed."""
    before = planned(yolo, live(yolo, image="old:1"), image=WorkerImage(IMAGE.tag, None)).fingerprint()
    pushed = planned(yolo, live(yolo, image="old:1")).fingerprint()
    edited = planned(yolo, live(yolo, image="old:1", workers_max=4)).fingerprint()

    assert before == pushed
    assert pushed != edited


def test_a_price_is_the_pools_times_the_gpus(yolo):
    """From the shipped table, or RunPod's own where it told it; unknown where a pool's is not published."""
    endpoint = dataclasses.replace(live(yolo), gpu_count=2, workers_min=1)
    told = Catalogue((Offer("ADA_24", 1.0), Offer("AMPERE_48", 2.0)), as_of="live")

    shipped = cost(endpoint)
    assert (round(shipped.worker[0], 3), round(shipped.worker[1], 3)) == (2.232, 2.448)
    assert cost(endpoint, told) == Cost(worker=(2.0, 4.0), workers_min=1, workers_max=3)
    assert (cost(endpoint, told).idle, cost(endpoint, told).most) == (4.0, 12.0)
    assert cost(dataclasses.replace(endpoint, gpu_ids="ADA_32_PRO")).most is None
    assert Cost((0.684, 0.684), 0, 5).to_json()["most_per_hour"] == 3.42
