"""The qwen-vl worker through the local runtime, RunPod's SDK, the `openai` package and `vidctl describe`.

The engine is the real one and its model tiny and random: what is tested is everything but what it says.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import openai
import pexpect
import pytest
from support import vision
from support.command import VIDCTL
from support.project import ended
from support.runtime import until

from vidctl import spec
from vidctl.deploy.smoke_test import difference
from vidctl.runpod.http import Http
from vidctl.runpod.jobs import Jobs

pytestmark = pytest.mark.model

ROOT = Path(__file__).resolve().parents[1]

PERSON = "mood, count int, seated bool"
# As the guide has it, but for the two lines that name the endpoint and the image.
GUIDE = """
import runpod
import base64
import os, sys, json

runpod.api_key = os.environ["RUNPOD_API_KEY"]

# Prepare image
with open("frame.jpg", "rb") as f:
    image_b64 = base64.b64encode(f.read()).decode()

endpoint = runpod.Endpoint(sys.argv[1])

# Call with vision input
result = endpoint.run_sync({
    "input": {
        "prompt": "Describe what is happening in this video frame. Pay attention to people's emotions and body language.",
        "image": image_b64,
        "max_tokens": 512,
        "temperature": 0.7
    }
})

print(json.dumps(result), file=sys.stderr)
"""  # noqa: E501


@pytest.fixture(scope="module")
def project(qwen_project):
    (qwen_project.root / "frame.jpg").write_bytes(vision.image(640, 480, form="JPEG"))
    (qwen_project.root / "other.png").write_bytes(vision.image(64, 64, red=20))
    (qwen_project.root / "clip.mp4").write_bytes(vision.clip(4.0))
    return qwen_project


@pytest.fixture(scope="module")
def endpoint_id(project):
    return project.dotenv()["VIDCTL_QWEN_VL_ENDPOINT_ID_LOCAL"]


@pytest.fixture(scope="module")
def runpod_variables(project):
    """What lets any RunPod client work against the runtime."""
    return project.run("local", "env", "--json").document


@pytest.fixture(scope="module")
def socket(project):
    return vision.engine_socket(project.place)


@pytest.fixture(scope="module")
def client(endpoint_id, runpod_variables):
    """The openai package, with only its base URL and its key changed; it takes nothing that is not of OpenAI's form."""
    base = f"{runpod_variables['RUNPOD_ENDPOINT_BASE_URL']}/{endpoint_id}/openai/v1"
    return openai.OpenAI(
        base_url=base,
        api_key=runpod_variables["RUNPOD_API_KEY"],
        max_retries=0,
        _strict_response_validation=True,
    )


@pytest.fixture(scope="module")
def jobs(runpod_variables):
    return Jobs(Http(runpod_variables["RUNPOD_API_KEY"]), runpod_variables["RUNPOD_ENDPOINT_BASE_URL"])


def described(project, *arguments, **options):
    outcome = project.run("describe", *arguments, "--json", **options)
    assert outcome.status == 0, outcome.stderr
    return outcome.document["results"]


def story(count):
    """A job of just so many tokens."""
    return {"prompt": "Tell me.", "max_tokens": count, "temperature": 1.0, "sampling_params": vision.EXACTLY}


# --- RunPod's own client ----------------------------------------------------------------------------------------------


def test_the_guides_client_works_as_it_is_written(project, endpoint_id, runpod_variables):
    """RunPod's SDK, the guide's lines, and the three fields that it promises."""
    done = subprocess.run(
        [sys.executable, "-c", GUIDE, endpoint_id],
        cwd=project.root,
        env={**os.environ, **runpod_variables},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stderr.splitlines()[-1])

    assert (str, int, int) == tuple(type(result[key]) for key in ("response", "prompt_tokens", "completion_tokens"))
    assert result["prompt_tokens"] > result["image_tokens"] > 0


def test_tokens_come_through_runpods_stream(jobs, endpoint_id):
    """In order, several chunks, and all of them: the last one says how it ended."""
    job_id = jobs.run(endpoint_id, {**story(400), "stream": True})
    chunks = []
    while not chunks or not chunks[-1].get("done"):
        chunks += jobs.stream(endpoint_id, job_id, hold_s=10).chunks
    final = until(lambda: (job := jobs.status(endpoint_id, job_id)).is_final and job)

    assert list(range(len(chunks))) == [chunk["index"] for chunk in chunks]
    assert final.output["response"] == "".join(chunk["text"] for chunk in chunks)
    assert ({"done", "text", "index", *final.output} - {"response"}, True) == (set(chunks[-1]), len(chunks) > 2)


def test_a_cancelled_job_frees_the_engine_through_the_runtime(jobs, endpoint_id, socket):
    """RunPod's job-stop reaches the engine."""
    job_id = jobs.run(endpoint_id, story(7500))
    until(lambda: vision.running(socket) == 1)
    jobs.cancel(endpoint_id, job_id)

    until(lambda: vision.running(socket) == 0)
    assert "CANCELLED" == jobs.status(endpoint_id, job_id).status


def test_sixteen_jobs_run_at_once(jobs, endpoint_id, socket):
    """From the queue into one batch of the engine, and out of it."""
    ids = [jobs.run(endpoint_id, {**story(7500), "seed": number}) for number in range(16)]
    until(lambda: vision.running(socket) == 16)
    for job_id in ids:
        jobs.cancel(endpoint_id, job_id)

    until(lambda: vision.running(socket) == 0)


# --- the openai package -----------------------------------------------------------------------------------------------


def test_the_openai_package_chats(client):
    completion = client.chat.completions.create(
        model="any", messages=[{"role": "user", "content": "Hello"}], max_tokens=6, extra_body={"ignore_eos": True}
    )

    assert (6, "length") == (completion.usage.completion_tokens, completion.choices[0].finish_reason)


def test_the_openai_package_shows_images(client):
    """A data: URL, as OpenAI's guide has it; the prompt's tokens are the image's and more."""
    url = f"data:image/png;base64,{vision.encoded(vision.image(256, 192))}"
    content = [{"type": "text", "text": "What is it?"}, {"type": "image_url", "image_url": {"url": url}}]
    completion = client.chat.completions.create(
        model="any", messages=[{"role": "user", "content": content}], max_tokens=4
    )

    assert 48 < completion.usage.prompt_tokens < 120


def test_the_openai_package_streams(client):
    """Several events, and the usage at the end if it is asked for."""
    events = list(
        client.chat.completions.create(
            model="any",
            messages=[{"role": "user", "content": "Hello"}],
            max_tokens=40,
            stream=True,
            stream_options={"include_usage": True},
            extra_body={"ignore_eos": True},
        )
    )

    assert 40 == events[-1].usage.completion_tokens
    assert sum(bool(event.choices) for event in events) > 3


def test_the_openai_package_hears_what_is_wrong(client):
    """OpenAI's kind of error, with the number that is the limit."""
    with pytest.raises(openai.BadRequestError, match="max_tokens=99999"):
        client.chat.completions.create(model="any", messages=[{"role": "user", "content": "Hello"}], max_tokens=99_999)


def test_the_openai_package_lists_the_model(client):
    (model,) = client.models.list().data

    assert vision.weights().name in model.id


def test_the_smoke_test_of_runpods_worker_is_passed_by_ours(jobs, endpoint_id):
    """Both answer in OpenAI's words, in a list of one."""
    official = spec.load(ROOT / "configs/qwen-vl-official.yaml", environ={})
    job_id = jobs.run(endpoint_id, json.loads((ROOT / official.smoke.input).read_text())["input"])
    output = until(lambda: (job := jobs.status(endpoint_id, job_id)).is_final and job).output

    assert "" == difference(official.smoke.contains, output)
    assert "" != difference(official.smoke.contains, [{"error": {"message": "no"}}])


# --- vidctl describe --------------------------------------------------------------------------------------------------


def test_an_image_is_described(project):
    """The answer, its tokens, and those of the image, which was resized for this model."""
    (result,) = described(project, "frame.jpg", "What is it?", "--max-tokens", "12", "--set", "top_p=0.9")

    assert (234, True) == (result["image_tokens"], 0 < result["completion_tokens"] <= 12)
    assert result["prompt_tokens"] > 234


def test_an_answer_streams_to_a_terminal(project):
    """Piece by piece; afterwards what it cost, on the other stream."""
    child = pexpect.spawn(
        VIDCTL[0],
        [*VIDCTL[1:], "describe", "frame.jpg", "Go on.", "--max-tokens", "100", "--seed", "5", "--stats"],
        cwd=str(project.root),
        env={**os.environ, **project.environ, "TERM": "dumb"},
        timeout=60,
    )
    child.expect(pexpect.EOF)
    child.close()

    assert 0 == child.exitstatus, child.before
    shown: Any = child.before  # bytes, without an encoding
    assert b"tokens/s" in shown
    assert b"\x1b" not in shown


def test_choices_and_schemas_hold_through_the_command(project):
    """A model of random words answers with one of the choices, and with JSON that is valid."""
    (choice,) = described(project, "other.png", "Is it red?", "--choices", "yes,no")
    schema = json.dumps({
        "type": "object",
        "properties": {"mood": {"enum": ["calm", "angry"]}, "count": {"type": "integer", "minimum": 0, "maximum": 9}},
        "required": ["mood", "count"],
        "additionalProperties": False,
    })  # fmt: skip
    (person,) = described(project, "other.png", "Who?", "--schema", schema)

    assert choice["response"] in ("yes", "no")
    assert (True, True) == (person["data"]["mood"] in ("calm", "angry"), 0 <= person["data"]["count"] <= 9)


def test_several_images_are_one_question(project):
    """Together they are one answer, without that one each."""
    together = described(
        project, "frame.jpg", "other.png", "clip.mp4", "What changed?", "--together", "--max-tokens", "4"
    )
    each = described(project, "frame.jpg", "other.png", "-p", "What?", "--max-tokens", "4")

    assert (1, 2) == (len(together), len(each))
    assert together[0]["image_tokens"] > each[0]["image_tokens"] + each[1]["image_tokens"]


def test_a_video_is_seen_at_a_time(project):
    """One image of it, or several."""
    (one,) = described(project, "clip.mp4", "What?", "--at", "0:02", "--max-tokens", "4")
    (three,) = described(project, "clip.mp4", "What?", "--from", "0", "--to", "3", "--fps", "1", "--max-tokens", "4")

    assert 3 * one["image_tokens"] == three["image_tokens"]


def test_workers_of_runpods_are_asked_in_their_words(project, endpoint_id):
    """The same question, through OpenAI's envelope, which worker-vllm and this worker both answer."""
    (result,) = described(
        project, "frame.jpg", vision.GUIDE_PROMPT, "--endpoint-id", endpoint_id, "--protocol", "worker-vllm",
        "--model", "any", "--max-tokens", "9", "--set", "ignore_eos=true",
    )  # fmt: skip

    assert (9, "length") == (result["completion_tokens"], result["finish_reason"])


def test_ctrl_c_frees_the_engine(project, socket):
    """What is not waited for is not paid for."""
    command = project.start(
        "describe",
        "other.png",
        "Go on.",
        "--max-tokens",
        "7500",
        "--set",
        f"sampling_params={json.dumps(vision.EXACTLY)}",
    )
    until(lambda: vision.running(socket) == 1)
    status, _, stderr = ended(command, signal.SIGINT)

    assert (130, True) == (status, "cancelled 1 job" in stderr)
    until(lambda: vision.running(socket) == 0)


def test_another_server_answers_behind_the_same_handler(project, endpoint_id, runpod_variables):
    """`local: {openai: …}`: here the first endpoint's own OpenAI address, asked by a worker without an engine."""
    base = f"{runpod_variables['RUNPOD_ENDPOINT_BASE_URL']}/{endpoint_id}/openai/v1"
    overlay = {
        "local": {"openai": base, "env": {"OPENAI_API_KEY": runpod_variables["RUNPOD_API_KEY"], "MODEL_NAME": "any"}}
    }
    (project.root / "configs/qwen-vl.mine.yaml").write_text(json.dumps(overlay))
    outcome = project.run("deploy", "qwen-vl", "-e", "mine", "--yes", timeout_s=600)
    assert outcome.status == 0, outcome.stderr
    (plain,) = described(project, "frame.jpg", "What?", "-e", "mine", "--max-tokens", "5")
    (choice,) = described(project, "frame.jpg", "Is it?", "-e", "mine", "--choices", "yes,no")

    assert (base, True) == (plain["model"]["engine"], plain["prompt_tokens"] > 234)
    assert choice["response"] in ("yes", "no")


def test_a_server_that_is_not_there_is_said_by_deploy(project):
    """In the worker's own sentence, not as a crash loop that nobody understands."""
    overlay = {"local": {"openai": "http://127.0.0.1:1/v1", "env": {"MODEL_NAME": "any"}}}
    (project.root / "configs/qwen-vl.gone.yaml").write_text(json.dumps(overlay))
    outcome = project.run("deploy", "qwen-vl", "-e", "gone", "--yes", timeout_s=300)
    project.run("destroy", "qwen-vl", "-e", "gone", "--yes")

    assert 0 != outcome.status
    assert "no OpenAI-compatible server answers at http://127.0.0.1:1/v1" in outcome.stderr
