"""Which container is put back when a new one does not work."""

from __future__ import annotations

import pytest

from vidctl.deploy.model_cache import Models
from vidctl.deploy.plan import Plan
from vidctl.deploy.rollback import document_then, last_good, models_then
from vidctl.endpoints import recorded, written
from vidctl.journal import Journal
from vidctl.runpod.types import Endpoint, Template, WorkerImage
from vidctl.tasks.context import EndpointFacts


@pytest.fixture
def journal(tmp_path):
    """What was proved, and the version after it, which was not; neither with the value of the secret."""
    journal = Journal(tmp_path / "journal.db")
    for image, is_proven in (("me/yolo:good", True), ("me/yolo:bad", False)):
        document = {"template.image": image, "template.env.MODEL": "m", "template.env.HF_TOKEN": None}
        journal.applied(
            spec="yolo", target="runpod", endpoint_id="ep", document=document, fingerprint=image, is_proven=is_proven
        )
    return journal


def planned(env):
    """A third version, over the bad one with this environment."""
    live = Endpoint("yolo", Template("me/yolo:bad", env=env), "ADA_24", id="ep")
    return Plan("yolo", live, live, WorkerImage("me/yolo:third", None), (), frozenset({"HF_TOKEN"}))


def test_the_last_that_was_proved_comes_back_with_the_secrets_that_are_live(journal):
    good = last_good(journal, planned({"MODEL": "other", "HF_TOKEN": "hf_1"}))

    assert (good.image, good.env) == ("me/yolo:good", {"MODEL": "m", "HF_TOKEN": "hf_1"})


def test_what_lacks_its_secret_is_not_put_back(journal):
    """Nobody has the value any more: without it, or empty, it is not the version that was proved."""
    assert last_good(journal, planned({"MODEL": "other"})) is None


def test_what_is_put_back_is_again_what_it_was_for_its_callers(tmp_path):
    """The version that failed said another protocol, and its secret stays one."""
    journal = Journal(tmp_path / "journal.db")
    for protocol, is_proven in (("worker-vllm", True), (None, False)):
        document = {"template.env.HF_TOKEN": None, **written(EndpointFacts("describe", protocol))}
        journal.applied(
            spec="yolo", target="runpod", endpoint_id="ep", document=document, fingerprint="", is_proven=is_proven
        )
    todo = planned({"HF_TOKEN": "hf_1"})
    document = document_then(journal, todo.endpoint, todo)

    assert EndpointFacts("describe", "worker-vllm") == recorded(document)
    assert document["template.env.HF_TOKEN"] is None


ASKED = "https://huggingface.co/me/mine:main"
RESOLVED = f"https://huggingface.co/me/mine:{'0c351dd01e' * 4}"
OTHER = "https://huggingface.co/me/other:main"


@pytest.mark.parametrize(
    ("before", "now", "asked_then", "asked_now", "expected"),
    [
        (RESOLVED, OTHER, ASKED, OTHER, RESOLVED),  # as RunPod had it, not asked for anew
        (OTHER, "", ASKED, "", ASKED),  # what was there meanwhile was not good
        ("", OTHER, "", OTHER, ""),
        (OTHER, OTHER, "", "", OTHER),  # somebody else's, and no business of ours
        (None, None, ASKED, ASKED, None),  # REST v2
    ],
)
def test_the_model_cache_is_put_back_too(tmp_path, before, now, asked_then, asked_now, expected):
    """The last good version finds its model where it was."""
    journal = Journal(tmp_path / "journal.db")
    good = {"endpoint.model_references": asked_then} if asked_then else {}
    journal.applied(spec="yolo", target="runpod", endpoint_id="ep", document=good, fingerprint="", is_proven=True)
    was, live = (
        Endpoint("yolo", Template("me/yolo"), "ADA_24", id="ep", model_references=there)
        for there in (_references(before), _references(now))
    )
    todo = Plan("yolo", live, was, WorkerImage("me/yolo", None), (), frozenset(), Models(None, _references(asked_now)))

    assert Models(_references(expected), _references(asked_then)) == models_then(journal, todo, live)


def _references(text):
    return None if text is None else (text,) if text else ()
