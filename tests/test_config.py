"""`vidctl config show`, and the options that a project's vidctl.yaml gives to commands."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml
from PIL import Image
from support.command import vidctl
from support.failing import failed
from support.scripted import ok, script, serving

ROOT = Path(__file__).resolve().parent.parent
FOUND = {"image_size": [8, 8], "detections": [], "count": 0}


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "configs").mkdir()
    Image.new("RGB", (8, 8)).save(tmp_path / "frame.jpg")
    return tmp_path


def origins(folder: Path, *words: str, **environ: Any) -> dict[str, tuple[str | None, str]]:
    outcome = vidctl("config", "show", *words, "--json", cwd=folder, **environ)
    assert (0, "vidctl.config.show/1") == (outcome.status, outcome.document["schema"]), outcome.stderr

    return {each["name"]: (each["value"], each["origin"]) for each in outcome.document["settings"]}


def test_each_setting_is_told_with_where_it_comes_from(folder):
    (folder / ".env").write_text("RUNPOD_API_KEY=rpa_secret\nVIDCTL_LOCAL_PORT=9000\nMY_MODEL=base\n")
    (folder / "vidctl.yaml").write_text(
        "control: rest\ntarget: local\nendpoints: {detect: yolo}\ndefaults: {detect: {conf: 0.4}}\n"
    )

    found = origins(folder, VIDCTL_LOCAL_PORT="9001")

    assert ("***", ".env") == found["RUNPOD_API_KEY"]
    assert ("9001", "environment") == found["VIDCTL_LOCAL_PORT"]
    assert ("base", ".env") == found["MY_MODEL"]
    assert [("rest", "vidctl.yaml"), ("local", "vidctl.yaml")] == [found["control"], found["target"]]
    assert [("yolo", "vidctl.yaml"), (None, "default")] == [found["endpoints.detect"], found["endpoints.describe"]]
    assert ("0.4", "vidctl.yaml") == found["defaults.detect.conf"]
    assert ("https://api.runpod.io", "default") == found["RUNPOD_API_BASE_URL"]
    assert ("runpod", "flag") == origins(folder, "--target", "runpod")["target"]
    assert ("runpod", "environment") == origins(folder, VIDCTL_TARGET="runpod")["target"]


def test_a_table_hides_secrets_too(folder):
    (folder / ".env").write_text("RUNPOD_API_KEY=rpa_secret\nDATABASE=postgres://me:pw@host/db\n")

    outcome = vidctl("config", "show", "--origin", cwd=folder)

    assert "RUNPOD_API_KEY\t***\t.env\n" in outcome.stdout
    assert "DATABASE\t***\t.env\n" in outcome.stdout
    assert "rpa_secret" not in outcome.stdout
    assert "pw" not in outcome.stdout


def test_every_setting_of_the_readme_is_shown(folder):
    section = (ROOT / "README.md").read_text().partition("\n## Settings")[2].partition("\n## ")[0]
    named = {
        name for line in re.findall(r"^\| (`.*?) \|", section, re.MULTILINE) for name in re.findall(r"`(\w+)`", line)
    }

    assert set() == named - {"VIDCTL_TARGET", "VIDCTL_CONTROL"} - set(origins(folder))


@pytest.mark.parametrize(("words", "conf"), [([], 0.4), (["--conf", "0.7"], 0.7)])
def test_an_option_of_the_project_holds_where_the_command_line_has_none(folder, words, conf):
    (folder / "vidctl.yaml").write_text("defaults:\n  detect: {conf: 0.4, classes: person, no-progress: true}\n")
    answer = ok({"id": "j", "status": "COMPLETED", "output": FOUND})

    with serving(script(answer)) as server:
        outcome = vidctl(
            *("detect", "frame.jpg", "--endpoint-id", "ep", "--target", "runpod", "--json", *words),
            RUNPOD_API_KEY="k",
            RUNPOD_ENDPOINT_BASE_URL=server.url,
            RUNPOD_API_BASE_URL=server.url,
            cwd=folder,
        )
        sent = [json.loads(each.body)["input"] for each in server.requests if each.body]

    assert 0 == outcome.status, outcome.stderr
    assert [(conf, ["person"])] == [(each["conf"], each["classes"]) for each in sent]


def test_options_of_a_command_in_a_group(folder):
    (folder / "vidctl.yaml").write_text("defaults: {config show: {origin: true}}\n")

    assert "target\tlocal\tdefault\n" in vidctl("config", "show", cwd=folder).stdout


@pytest.mark.parametrize(
    ("text", "facts"),
    [
        ("defaults: {detect: {cnf: 0.4}}", ("vidctl.yaml:1:21", "cnf", '"conf"')),
        ("defaults:\n  detekt: {conf: 0.4}", ("vidctl.yaml:2:3", "detekt", '"detect"')),
        ("defaults: {detect: {max_det: 4}}", ("vidctl.yaml:1:21", "max_det", '"max-det"')),
        ("defaults: {jobs: {limit: many}}", ("vidctl.yaml:1:26", "many")),
        ("defaults: {jobs: {limit: [1, 2]}}", ("vidctl.yaml:1:26", "one value")),
        ("defaults: {deploy: {wait: 3}}", ("vidctl.yaml:1:27", "true or false")),
        ("defaults: {detect: {timeout: soon}}", ("vidctl.yaml:1:30", "soon")),
        ("defaults: {detect: {target: local}}", ("vidctl.yaml:1:21", "target:")),
        ("defaults: {destroy: {'yes': true}}", ("vidctl.yaml:1:22", "-y")),
        ("defaults: {detect: 3}", ("vidctl.yaml:1:20", "mapping")),
    ],
)
def test_a_mistake_is_told_with_its_place(folder, text, facts):
    (folder / "configs" / "a.yaml").write_text(
        '{"name": "a-name", "image": "docker.io/library/busybox:1", "gpu": "L4"}'
    )
    (folder / "vidctl.yaml").write_text(text + "\n")

    checked = vidctl("validate", cwd=folder)
    used = vidctl("list", cwd=folder)

    failed(checked, "spec_error", *facts)
    assert 2 == used.status
    assert facts[0] in used.stderr


def test_the_schema_of_settings_has_every_commands_options(folder):
    schema = vidctl("schema", "--settings", cwd=folder).document
    jsonschema.Draft202012Validator.check_schema(schema)
    validator = jsonschema.Draft202012Validator(schema)

    def is_valid(text: str) -> bool:
        return validator.is_valid(yaml.safe_load(text))

    assert is_valid("control: rest\ntarget: local\nendpoints: {detect: yolo}\ndefaults: {detect: {conf: 0.4}}")
    assert is_valid("defaults: {local up: {isolation: container}, deploy: {wait: false}}")
    assert not is_valid("defaults: {detect: {cnf: 0.4}}")
    assert not is_valid("defaults: {deploy: {wait: 3}}")
    assert not is_valid("contrl: rest")
