"""An endpoint's versions as RunPod keeps them, and what each changed."""

from __future__ import annotations

import json

import pytest
from support.command import Outcome, vidctl
from support.failing import failed
from support.project import ECHO_SMOKE, Project
from support.scripted import Reply, ok, script, serving

from vidctl.operations.releases import changes
from vidctl.runpod.types import Release, ReleaseChange

# As the reference's example of REST v2 has it.
RELEASES = {
    "endpointVersion": 2,
    "rollout": {"inProgress": True, "workersOnLatest": 1, "workersTotal": 3, "percentOnLatest": 33},
    "releases": [
        {
            "id": "r2", "version": 2, "source": "MANUAL", "buildId": None, "createdByUserId": "u", "workerCount": 1,
            "createdAt": "2026-08-06T17:42:52Z",
            "diff": [
                {"field": "image", "old": "you/yolo:1", "new": "you/yolo:2"},
                {"field": "env", "old": {"HF_TOKEN": "hf_abcdefghij", "SIZE": "n"}, "new": {"SIZE": "s"}},
            ],
        },
        {"id": "r1", "version": 1, "source": "MANUAL", "workerCount": 2, "createdAt": "2026-08-05T10:00:00Z"},
    ],
}  # fmt: skip


def history(reply: Reply, folder, *words: str) -> Outcome:
    with serving(script(ok({"endpoints": [{"id": "ep1", "name": "yolo"}]}), reply)) as server:
        return vidctl(
            "history", "yolo", *words, "--target", "runpod", cwd=folder,
            RUNPOD_API_KEY="key", RUNPOD_API_BASE_URL=server.url, RUNPOD_ENDPOINT_BASE_URL=f"{server.url}/v2",
        )  # fmt: skip


def test_versions_are_listed_with_what_they_changed(tmp_path):
    """The newest is marked, and how far its workers are is said; a secret's value is hidden."""
    outcome = history(ok(RELEASES), tmp_path)

    assert [line.split("\t") for line in outcome.stdout.splitlines()] == [
        [
            "2 *", "2026-08-06T17:42:52Z", "manual", "1",
            "image: you/yolo:1 → you/yolo:2; env.HF_TOKEN: *** → (none); env.SIZE: n → s",
        ],
        ["1", "2026-08-05T10:00:00Z", "manual", "2", "-"],
    ]  # fmt: skip
    assert "1 of 3 workers" in outcome.stderr


def test_json_has_all_and_no_secret(tmp_path):
    outcome = history(ok(RELEASES), tmp_path, "--json")

    document = outcome.document
    assert (document["schema"], document["version"]) == ("vidctl.history/1", 2)
    assert document["rollout"] == {"in_progress": True, "workers_on_latest": 1, "workers_total": 3}
    assert document["releases"][0]["changes"][1] == {"field": "env.HF_TOKEN", "old": "***", "new": None}
    assert "hf_" not in outcome.stdout + outcome.stderr


@pytest.mark.parametrize("document", [[], {"releases": "none"}, {"releases": [{"version": "two"}]}])
def test_an_answer_that_is_none_is_an_error(document, tmp_path):
    failed(history(ok(document), tmp_path), "api_error")


def test_a_secret_in_any_field_is_hidden():
    """A registry's address with a password in it, and GraphQL's form of an environment."""
    release = Release(
        1, "", "MANUAL", 0,
        (
            ReleaseChange("template.env", [{"key": "A", "value": "x"}], [{"key": "A", "value": "https://u:p@h/x"}]),
            ReleaseChange("apiKey", "one", "two"),
            ReleaseChange("workersMax", 3, 1),
        ),
    )  # fmt: skip

    assert changes(release) == [
        {"field": "template.env.A", "old": "x", "new": "***"},
        {"field": "apiKey", "old": "***", "new": "***"},
        {"field": "workersMax", "old": 3, "new": 1},
    ]


def test_what_was_deployed_here_is_listed(project: Project):
    """Of the local runtime too: the second deploy's change by its field."""
    project.worker("echo")
    spec = project.spec("echo", worker="echo", smoke=ECHO_SMOKE)
    assert project.run("deploy", "echo").status == 0
    spec.write_text(json.dumps({**json.loads(spec.read_text()), "env": {"SIZE": "s"}}))
    assert project.run("deploy", "echo", "-y").status == 0

    newest, *older = project.run("history", "echo", "--json").document["releases"]

    assert newest["changes"] == [{"field": "template.env.SIZE", "old": None, "new": "s"}]
    assert [each["version"] for each in older] == [newest["version"] - 1]
