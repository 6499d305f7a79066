"""The registry keeps what was saved and reports which endpoints a change affects."""

import sqlite3
from dataclasses import replace

import pytest

from vidctl.local.control_plane.records import EndpointRecord, NetworkVolumeRecord, RegistryAuthRecord, TemplateRecord
from vidctl.local.control_plane.store import RecordError, RecordStore


@pytest.fixture
def own_records(tmp_path):
    own_records = RecordStore(tmp_path / "runtime.db")
    yield own_records
    own_records.close()


@pytest.fixture
def changes(own_records):
    """The endpoint ids that were reported to whoever runs the workers."""
    changed = []
    own_records.on_change = changed.append
    return changed


@pytest.fixture
def template(own_records):
    return own_records.save_template(TemplateRecord(id="", name="yolo", image_name="yolo:1", env={"MODEL": "a.pt"}))


@pytest.fixture
def endpoint(own_records, template):
    return own_records.save_endpoint(EndpointRecord(id="", name="yolo", template_id=template.id, gpu_ids="ADA_24"))


def test_ids_look_like_runpods(endpoint, template):
    """Templates get 10 and endpoints 14 lower-case letters and digits."""
    assert (10, 14) == (len(template.id), len(endpoint.id))
    assert all(c.isascii() and c.isalnum() and c == c.lower() for c in template.id + endpoint.id)


def test_records_outlive_the_process(tmp_path, own_records, endpoint, template):
    """A second registry on the same file reads what the first one saved."""
    second = RecordStore(tmp_path / "runtime.db")

    assert (endpoint,) == second.endpoints()
    assert (template,) == second.templates()


def test_a_row_of_an_older_vidctl_is_read(tmp_path, own_records):
    """Fields that an old row does not have get their defaults; fields that nobody knows any more are left out."""
    with sqlite3.connect(tmp_path / "runtime.db") as old:
        old.execute(
            "INSERT INTO templates VALUES (?, ?, ?)",
            ("t1", "old", '{"id": "t1", "name": "old", "image_name": "x", "gone": 1}'),
        )

    assert TemplateRecord(id="t1", name="old", image_name="x") == own_records.template("t1")


def test_what_is_not_there_is_none(own_records):
    assert (None, None, None, None) == (
        own_records.endpoint("nope"),
        own_records.template("nope"),
        own_records.template_named("nope"),
        own_records.registry_auth("nope"),
    )


def test_records_are_listed_oldest_first(own_records, template):
    """Saving again does not move a record to the end."""
    first, second = (
        own_records.save_endpoint(EndpointRecord(id="", name=name, template_id=template.id)) for name in ("b", "a")
    )
    own_records.save_endpoint(replace(first, workers_max=9))

    assert [first.id, second.id] == [endpoint.id for endpoint in own_records.endpoints()]


@pytest.mark.parametrize(
    "change",
    [
        {"gpu_ids": "AMPERE_48"},
        {"gpu_count": 2},
        {"locations": "EU-RO-1"},
        {"network_volume_id": "vol1"},
        {"allowed_cuda_versions": "12.8"},
        {"flash_boot_type": "FLASHBOOT"},
        {"instance_ids": ("cpu3g-4-16",)},
        {"network_volume_ids": ("vol1", "vol2")},
        {"model_references": ("https://huggingface.co/Qwen/Qwen3-VL-2B-Instruct:main",)},
    ],
)
def test_a_change_in_what_workers_are_made_of_is_a_new_version(own_records, endpoint, changes, change):
    saved = own_records.save_endpoint(replace(endpoint, **change))

    assert replace(endpoint, **change, version=endpoint.version + 1) == saved
    assert [endpoint.id] == changes


@pytest.mark.parametrize(
    "change",
    [
        {"name": "other"},
        {"workers_min": 1},
        {"workers_max": 9},
        {"idle_timeout_s": 60},
        {"execution_timeout_ms": 1},
        {"scaler_type": "REQUEST_COUNT", "scaler_value": 1},
    ],
)
def test_scaling_keeps_the_version(own_records, endpoint, changes, change):
    """The workers that run go on; whoever runs them hears of the new numbers."""
    saved = own_records.save_endpoint(replace(endpoint, **change))

    assert replace(endpoint, **change) == saved == own_records.endpoint(endpoint.id)
    assert [endpoint.id] == changes


def test_saving_the_same_changes_nothing(own_records, endpoint, template, changes):
    assert (endpoint, template) == (own_records.save_endpoint(endpoint), own_records.save_template(template))
    assert [] == changes


def test_another_template_is_a_new_version(own_records, endpoint, changes):
    other = own_records.save_template(TemplateRecord(id="", name="other", image_name="yolo:1"))

    assert endpoint.version + 1 == own_records.save_endpoint(replace(endpoint, template_id=other.id)).version
    assert [endpoint.id] == changes


def test_a_changed_template_replaces_the_workers_of_its_endpoints_only(own_records, endpoint, template, changes):
    other = own_records.save_template(TemplateRecord(id="", name="other", image_name="yolo:1"))
    bystander = own_records.save_endpoint(EndpointRecord(id="", name="bystander", template_id=other.id))
    changes.clear()
    own_records.save_template(replace(template, env={"MODEL": "b.pt"}))

    assert [endpoint.id] == changes
    assert endpoint.version + 1 == own_records.endpoint(endpoint.id).version
    assert bystander == own_records.endpoint(bystander.id)


def test_a_renamed_template_replaces_no_worker(own_records, endpoint, template):
    own_records.save_template(replace(template, name="renamed", readme="words"))

    assert endpoint == own_records.endpoint(endpoint.id)
    assert (None, template.id) == (own_records.template_named("yolo"), own_records.template_named("renamed").id)


def test_the_version_is_not_the_callers_to_say(own_records, endpoint):
    """A reader who echoes an old version and creation time cannot turn the clock back."""
    own_records.save_endpoint(replace(endpoint, gpu_count=2))
    saved = own_records.save_endpoint(replace(endpoint, gpu_count=4, version=0, created_at="never"))

    assert (2, endpoint.created_at) == (saved.version, saved.created_at)


def test_template_names_are_unique(own_records, template):
    other = own_records.save_template(TemplateRecord(id="", name="other", image_name="x"))

    with pytest.raises(RecordError, match="unique"):
        own_records.save_template(TemplateRecord(id="", name="yolo", image_name="x"))
    with pytest.raises(RecordError, match="unique"):
        own_records.save_template(replace(other, name="yolo"))
    assert (template, other) == own_records.templates()


def test_an_endpoint_needs_its_template(own_records, changes):
    with pytest.raises(RecordError, match="not found"):
        own_records.save_endpoint(EndpointRecord(id="", name="yolo", template_id="nope"))
    assert ((), []) == (own_records.endpoints(), changes)


def test_a_template_in_use_stays(own_records, endpoint, template):
    with pytest.raises(RecordError, match="in use"):
        own_records.delete_template(template.name)
    own_records.delete_endpoint(endpoint.id)
    own_records.delete_template(template.name)

    assert ((), ()) == (own_records.endpoints(), own_records.templates())


def test_a_deleted_endpoint_is_told_once(own_records, endpoint, changes):
    own_records.delete_endpoint(endpoint.id)
    own_records.delete_endpoint(endpoint.id)

    assert [endpoint.id] == changes


@pytest.fixture
def bound(own_records):
    """An endpoint that was saved with its container."""
    container = TemplateRecord(id="", name="", image_name="yolo:1")
    return own_records.save_with_container(EndpointRecord(id="", name="bound", template_id=""), container)


def test_an_endpoint_saved_with_its_container_has_a_template_of_its_own(own_records, bound, changes):
    template = own_records.template(bound.template_id)
    after = own_records.save_with_container(replace(bound, gpu_count=2), replace(template, image_name="yolo:2"))

    assert (f"bound__template__{template.id}", bound.id) == (template.name, template.bound_endpoint_id)
    assert replace(bound, gpu_count=2, version=1) == after == own_records.endpoint(bound.id)
    assert (replace(template, image_name="yolo:2"),) == own_records.templates()
    assert [bound.id] == changes


def test_saving_an_endpoint_with_the_container_that_it_has_changes_nothing(own_records, endpoint, template, changes):
    assert endpoint == own_records.save_with_container(endpoint, replace(template, name="", readme="other"))
    assert ((template,), []) == (own_records.templates(), changes)


def test_a_new_container_is_not_put_into_a_template_made_by_somebody(own_records, endpoint, template):
    after = own_records.save_with_container(endpoint, replace(template, image_name="yolo:2"))

    assert template == own_records.template(template.id)
    assert ("yolo:2", 1) == (own_records.template(after.template_id).image_name, after.version)


def test_only_the_template_that_was_made_for_it_goes_with_an_endpoint(own_records, endpoint, template, bound):
    own_records.delete_endpoint(endpoint.id, with_template=True)
    own_records.delete_endpoint(bound.id, with_template=True)

    assert (template,) == own_records.templates()


def test_each_version_is_a_release(own_records, endpoint, template):
    """Also one that came of a changed template; what only scales is none."""
    own_records.save_endpoint(replace(endpoint, workers_max=9))
    own_records.save_template(replace(template, env={"MODEL": "b.pt", "HF_TOKEN": "hush"}))
    own_records.save_endpoint(replace(own_records.endpoint(endpoint.id), gpu_count=2, idle_timeout_s=5))
    third, second, first = own_records.releases(endpoint.id)

    assert [2, 1, 0] == [third.version, second.version, first.version]
    assert [["gpuCount", 1, 2], ["idleTimeout", 10, 5]] == sorted(third.diff)
    assert (["template.env", {"MODEL": "a.pt"}, {"MODEL": "b.pt", "HF_TOKEN": "***"}],) == second.diff
    assert ((), endpoint.created_at) == (first.diff, first.created_at)


def test_releases_go_with_their_endpoint(own_records, endpoint):
    own_records.delete_endpoint(endpoint.id)

    assert () == own_records.releases(endpoint.id)


def test_volumes_are_kept_and_replaced(own_records):
    volume = own_records.save_network_volume(NetworkVolumeRecord("", "weights", 10, "EU-RO-1"))
    grown = own_records.save_network_volume(replace(volume, size_gb=20))

    assert 10 == len(volume.id)
    assert ((grown,), grown) == (own_records.network_volumes(), own_records.network_volume(volume.id))
    own_records.delete_network_volume(volume.id)
    assert ((), None) == (own_records.network_volumes(), own_records.network_volume(volume.id))


def test_templates_lose_a_login_that_is_deleted(own_records, endpoint, template):
    """Without a new version: workers that run have their image."""
    login = own_records.save_registry_auth(RegistryAuthRecord(id="", name="ghcr"))
    own_records.save_template(replace(template, container_registry_auth_id=login.id))
    version = own_records.endpoint(endpoint.id).version
    own_records.delete_registry_auth(login.id)

    assert (template, version) == (own_records.template(template.id), own_records.endpoint(endpoint.id).version)


def test_registry_logins_are_kept_and_replaced(own_records):
    login = own_records.save_registry_auth(RegistryAuthRecord(id="", name="ghcr", username="me", password="hush"))
    changed = own_records.save_registry_auth(replace(login, password="hush2"))

    assert (changed,) == own_records.registry_auths()
    assert changed == own_records.registry_auth(login.id)
    own_records.delete_registry_auth(login.id)
    assert () == own_records.registry_auths()


def test_no_secret_is_in_a_repr():
    login = RegistryAuthRecord(id="1", name="ghcr", username="me", password="hush")

    assert "hush" not in repr(login)
