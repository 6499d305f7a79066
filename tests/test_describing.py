"""`vidctl describe` as a user types it: against a worker without a model, under the real runtime and RunPod's SDK."""

from __future__ import annotations

import io
import json
import os
import re
import shutil
import signal
from pathlib import Path

import pexpect
import pytest
from PIL import Image
from support.command import VIDCTL
from support.failing import failed, failing
from support.project import Project, ended
from support.runtime import until
from support.scripted import Reply, serving
from support.videos import steady, write

from vidctl import Client
from vidctl.errors import MediaError


def jpeg(width, height=64):
    out = io.BytesIO()
    Image.new("RGB", (width, height), "teal").save(out, "JPEG")
    return out.getvalue()


def save(project, *widths):
    """Images named by their widths, as which the worker without a model sees them."""
    for width in widths:
        (project.root / f"{width}.jpg").write_bytes(jpeg(width))


class Captioner(Project):
    memory: Path


def says(text, **more):
    """A prompt that is answered with this text."""
    return json.dumps({"say": text, **more})


@pytest.fixture(scope="module")
def deployed(tmp_path_factory):
    """The worker without a model, deployed as the spec for describe; `memory` is the folder of what it was asked."""
    project = Captioner(tmp_path_factory.mktemp("captioner"))
    project.memory = tmp_path_factory.mktemp("memory")
    folder = project.worker("captioner")
    (folder / "test_input.json").write_text(json.dumps({"input": {"prompt": "smoke"}}))
    smoke = {"input": "workers/captioner/test_input.json", "contains": {"finish_reason": "stop"}}
    project.spec(
        "captioner", worker="captioner", task="describe", smoke=smoke, env={"FOLDER": str(project.memory)},
        gpu={"names": ["A100", "H100"], "count": 2}, local={"workers": {"max": 1}},  # a second one would share the jobs
    )  # fmt: skip
    outcome = project.run("deploy", "captioner")
    assert outcome.status == 0, outcome.stderr
    yield project
    project.close()


@pytest.fixture
def captioner(deployed):
    """The same with one image, 64.jpg, and a worker that was never asked."""
    kept = ("configs", "workers", "state", ".env", ".vidctl")
    for path in (*deployed.root.iterdir(), *deployed.memory.iterdir()):
        if path.name not in kept:
            shutil.rmtree(path) if path.is_dir() else path.unlink()
    (deployed.memory / "asked").touch()
    save(deployed, 64)
    return deployed


def asked(project):
    """The jobs' inputs, in order."""
    return [json.loads(line) for line in (project.memory / "asked").read_text().splitlines()]


def terminal(project, *arguments, shell='exec "$@"', **environ):
    """The command on a pseudo-terminal of its own."""
    return pexpect.spawn(
        "/bin/sh",
        ["-c", shell, "sh", *VIDCTL, "describe", *arguments],
        cwd=str(project.root),
        env={**os.environ, **project.environ, "TERM": "dumb", **environ},
        dimensions=(40, 100),
        encoding="utf-8",
        timeout=60,
    )


def shown(child):
    """The exit status, and what stood on the screen."""
    child.expect(pexpect.EOF)
    child.close()
    return child.exitstatus, child.before.replace("\r\n", "\n")


# --- one question --------------------------------------------------------------------------------------------------


def test_an_image_and_a_question_give_an_answer(captioner):
    outcome = captioner.run("describe", "64.jpg", "What is it?", "--no-progress")
    (job,) = asked(captioner)

    assert (0, "I see 64x64.\n", "") == (outcome.status, outcome.stdout, outcome.stderr)
    assert ("What is it?", [64, 64], 512, 0.7) == (job["prompt"], job["image"], job["max_tokens"], job["temperature"])
    assert "stream" not in job


def test_every_option_reaches_the_worker(captioner):
    (captioner.root / "system.txt").write_text("Be brief.\n")
    captioner.run(
        "describe", "64.jpg", "-p", "What?", "-s", "@system.txt", "--max-tokens", "7", "--temperature", "0",
        "--seed", "3", "--stop", "END", "--stop", "FIN", "--set", "top_p=0.5", "--set", "max_pixels=4096",
    )  # fmt: skip
    (job,) = asked(captioner)

    assert {
        "prompt": "What?", "image": [64, 64], "system": "Be brief.", "max_tokens": 7, "temperature": 0.0, "seed": 3,
        "stop": ["END", "FIN"], "top_p": 0.5, "max_pixels": 4096,
    } == job  # fmt: skip


def test_images_are_turned_upright_and_resized_before_upload(captioner):
    image = Image.new("RGB", (3000, 2000))
    exif = Image.Exif()
    exif[0x0112] = 6
    image.save(captioner.root / "lying.jpg", exif=exif)
    outcome = captioner.run("describe", "lying.jpg", "What?", "--json")
    width, height = asked(captioner)[0]["image"]

    assert (True, True) == (width < height, 900_000 < width * height <= 1_048_576)
    assert outcome.document["results"][0]["image_tokens"] == width * height // 1024


def test_json_has_the_answer_and_what_it_took(captioner):
    outcome = captioner.run("describe", "64.jpg", "What?", "--json")
    (result,) = outcome.document["results"]
    stats = result["stats"]

    assert ("vidctl.describe/1", "64.jpg", "I see 64x64.", "stop") == (
        outcome.document["schema"], result["source"], result["response"], result["finish_reason"],
    )  # fmt: skip
    assert (5, 3, 4) == tuple(result[f"{what}_tokens"] for what in ("prompt", "completion", "image"))
    assert (1, 0.5, 1.0) == (stats["jobs"], stats["first_token_s"], stats["tokens_per_s"])
    assert stats["delay_ms"] >= 0 <= stats["execution_ms"]
    assert "price_usd" not in stats


def test_stats_are_said_on_stderr(captioner):
    outcome = captioner.run("describe", "64.jpg", "What?", "--stats", "--no-progress")

    assert (0, "I see 64x64.\n") == (outcome.status, outcome.stdout)
    assert re.fullmatch(
        r"64\.jpg: queue \d\.\d\d s; first token 0\.50 s in the engine; 1\.0 tokens/s; "
        r"5 prompt tokens \(4 of them image\); 3 answer tokens; ran \d\.\d\d s; no price: local\n",
        outcome.stderr,
    )


def test_stats_of_many_answers_are_added_up(captioner):
    """Of jobs side by side only all together have a price."""
    save(captioner, 65)
    outcome = captioner.run("describe", "64.jpg", "65.jpg", "What?", "--stats", "--no-progress")
    spent = captioner.run("describe", "64.jpg", "65.jpg", "What?", "--json").document["stats"]

    assert re.search(
        r"\nall 2: 10 prompt tokens; 6 answer tokens; ran \d\.\d\d s, side by side in \d\.\d\d s; no price: local\n$",
        outcome.stderr,
    )
    assert (2, True) == (spent["jobs"], 0 <= spent["busy_ms"])


def test_a_file_is_not_replaced_by_nothing(captioner):
    """What an earlier run wrote is still there when this one got no answer."""
    (captioner.root / "notes.txt").write_text("from before")
    for form in ("text", "json", "jsonl"):
        outcome = captioner.run("describe", "64.jpg", '{"error": "too many images"}', "-o", "notes.txt", "-f", form)

        assert (True, "from before") == (outcome.status != 0, (captioner.root / "notes.txt").read_text())


def test_what_cannot_be_written_is_printed(captioner):
    """It was paid: a disk that is full by now must not cost it."""
    outcome = captioner.run("describe", "64.jpg", "What?", "-o", "/dev/full", "-f", "text")

    assert (1, "I see 64x64.\n") == (outcome.status, outcome.stdout)
    assert "is printed instead" in outcome.stderr


def test_an_answer_that_does_not_meet_its_schema_is_told(captioner):
    """It was paid, twice; a number that nobody can write down is none."""
    answer = says('{"total": 1e999}')
    outcome = captioner.run("describe", "64.jpg", answer, "--schema", "total float", "--json")
    (result,) = outcome.document["results"]

    assert ("schema_mismatch", '{"total": 1e999}') == (result["code"], result["response"])
    assert "1e999 is too large a number" in result["error"]
    assert 'the answer was: {"total": 1e999}' in result["hint"]


def test_there_is_one_standard_input(captioner):
    outcome = captioner.run("describe", "-", "What?", "--system", "-")

    failed(outcome, "usage_error", "- and --system -")


@pytest.mark.parametrize(
    ("reason", "said"),
    [("length", "--max-tokens"), ("repetition", "repetition_detection=null"), ("time", "time limit")],
)
def test_an_answer_that_ends_too_early_is_mentioned(captioner, reason, said):
    outcome = captioner.run("describe", "64.jpg", says("It is", finish_reason=reason, warnings=["careful"]))

    assert (0, "It is\n") == (outcome.status, outcome.stdout)
    assert (said in outcome.stderr, "warning: 64.jpg: careful" in outcome.stderr) == (True, True)


def test_what_a_model_thinks_is_no_answer_and_shown_on_request(captioner):
    thinks = says("<think>\nA bus?\n</think>\n\nA blue bus.")
    plain, asked_for, document = (
        captioner.run("describe", "64.jpg", thinks, *more) for more in ([], ["--reasoning"], ["--json"])
    )

    assert ("A blue bus.\n", "A blue bus.\n") == (plain.stdout, asked_for.stdout)
    assert (False, True) == ("A bus?" in plain.stderr, "64.jpg: reasoning: A bus?" in asked_for.stderr)
    assert "A bus?" == document.document["results"][0]["reasoning"]


def test_a_model_that_was_cut_off_while_it_thought_is_said_to_be_so(captioner):
    outcome = captioner.run("describe", "64.jpg", says("<think>A bus?", finish_reason="length"))

    assert "still reasoning" in outcome.stderr
    assert "enable_thinking" in outcome.stderr


def test_a_refusal_is_one_line_with_its_job(captioner):
    outcome = captioner.run("describe", "64.jpg", '{"error": "too many images"}', "--json")

    assert (3, "job_failed", True) == (outcome.status, outcome.error["code"], bool(outcome.error["job_id"]))
    assert ("too many images", "too many images") == (
        outcome.error["error"],
        outcome.document["results"][0]["error"],
    )


# --- what the words mean -------------------------------------------------------------------------------------------


def test_a_prompt_comes_from_an_argument_a_file_or_a_pipe(captioner):
    (captioner.root / "ask.txt").write_text("\ufeffHow many?\n", encoding="utf-8")
    captioner.run("describe", "64.jpg", "@ask.txt")
    captioner.run("describe", "-p", "@ask.txt", "64.jpg")
    captioner.run("describe", "64.jpg", "-p", "-", stdin=b"Who?\n")
    captioner.run("describe", "-", "Where?", stdin=jpeg(80))

    assert ["How many?", "How many?", "Who?", "Where?"] == [job["prompt"] for job in asked(captioner)]
    assert [80, 64] == asked(captioner)[-1]["image"]


def test_a_prompt_that_is_a_file_is_a_source_unless_it_is_said_to_be_the_prompt(captioner):
    save(captioner, 65)
    (captioner.root / "What?").write_bytes(jpeg(66))
    both = captioner.run("describe", "64.jpg", "65.jpg", "Why?", "-f", "jsonl")
    captioner.run("describe", "64.jpg", "What?", "-p", "65.jpg", "-f", "jsonl")

    assert ["64.jpg", "65.jpg"] == [json.loads(line)["source"] for line in both.stdout.splitlines()]
    assert [("Why?", 64), ("Why?", 65), ("65.jpg", 64), ("65.jpg", 66)] == sorted(
        ((job["prompt"], job["image"][0]) for job in asked(captioner)), key=lambda pair: (pair[0] == "65.jpg", pair[1])
    )


@pytest.mark.parametrize(
    ("arguments", "code", "facts"),
    [
        (["frame.jpgg"], "media_error", ["frame.jpgg"]),
        (["What is it?", "64.jpg"], "usage_error", ["What is it?", 'vidctl describe 64.jpg "What is it?"']),
        (["frame.jpgg", "What?"], "media_error", ["frame.jpgg"]),
        (["64.jpg", "65.jpg"], "media_error", ["65.jpg", "-p"]),
        (["64.jpg", "my frame.jpg"], "media_error", ["my frame.jpg", "-p"]),
        (["64.jpg", "frames/*.png"], "media_error", ["frames/*.png", "-p"]),
        (["64.jpg", "frames/one"], "media_error", ["frames/one", "-p"]),
        (["64.jpg", "What is it?", "--preset", "caption"], "usage_error", ["What is it?", "-p"]),
        (["64.jpg", "What is it?", "-p", "Who?"], "usage_error", ["What is it?", "-p"]),
        (["What is it?"], "usage_error", ['vidctl describe FILE "What is it?"']),
        (["-", "-p", "-"], "usage_error", ["-p -"]),
        (["-", "-", "What?"], "usage_error", []),
        (["64.jpg", "@missing.txt"], "usage_error", ["@missing.txt"]),
        (["64.jpg", "-p", "@64.jpg"], "usage_error", ["UTF-8"]),
        (["64.jpg", "-p", "-"], "usage_error", ["-"]),
        (["64.jpg", ""], "usage_error", ["prompt"]),
        (["64.jpg", "What?", "--at", "1:75"], "usage_error", ["--at 1:75", "83.5, 1:23, 1:02:03 or 2m"]),
        (["64.jpg", "What?", "--from", ""], "usage_error", ["--from"]),
        (["64.jpg", "What?", "--at", "soon"], "usage_error", ["--at soon"]),
        (["64.mp4", "What?", "--at", "3", "--fps", "2"], "usage_error", ["at ", "fps"]),
        (["64.mp4", "What?", "--from", "3", "--to", "2"], "usage_error", ["to 2 s", "from (3 s)"]),
        (["64.jpg", "What?", "--schema", "name whole"], "usage_error", ["'whole'"]),
        (["64.jpg", "What?", "--schema", "missing.json"], "usage_error", ["--schema missing.json"]),
        (["64.jpg", "What?", "--schema", '{"type": 3}'], "usage_error", ["schema"]),
        (["64.jpg", "What?", "--schema", "name", "--choices", "a,b"], "usage_error", ["--schema and --choices"]),
        (["64.jpg", "What?", "--choices", "yes,,no"], "usage_error", ["choices"]),
        (["64.jpg", "What?", "--set", "seed"], "usage_error", ["seed", "KEY=VALUE"]),
        (["64.jpg", "What?", "--set", "prompt=x"], "usage_error", ["prompt"]),
        (["64.jpg", "What?", "--max-tokens", "0"], "usage_error", ["--max-tokens", "1000000"]),
        (["64.jpg", "What?", *(f"--stop={letter}" for letter in "abcde")], "usage_error", ["stop", "4", "5"]),
        (["64.jpg", "What?", "--model", "mine"], "usage_error", ["model"]),
        (["64.jpg", "a\udcffb"], "usage_error", ["prompt", "UTF-8"]),
        (["64.jpg", "What?", "--preset", ""], "usage_error", ["-p"]),
        (["64.jpg", "What?", "--protocol", "worker-faster_whisper"], "usage_error", ["protocol", "worker-vllm"]),
        (["64.jpg", "What?", "--protocol", "worker-vllm"], "usage_error", ["--model", "MODEL_NAME"]),
        (["64.jpg", "What?", "-o", "64.jpg"], "usage_error", ["-o 64.jpg"]),
        (["64.jpg", "What?", "-o", "."], "usage_error", ["-o ."]),
        (["64.jpg", "What?", "-o", "/proc/a.txt"], "failure", ["/proc/a.txt"]),
    ],
)
def test_what_cannot_be_is_said_before_anything_is_sent(project, arguments, code, facts):
    """One line, no traceback, and the prompt is never taken for an image, nor a typing error for a prompt."""
    save(project, 64)
    (project.root / "64.mp4").write_bytes(b"none")
    with serving(lambda _: Reply(500)) as server:
        urls = {"RUNPOD_API_BASE_URL": server.url, "RUNPOD_ENDPOINT_BASE_URL": server.url, "RUNPOD_API_KEY": "k"}
        outcome = project.run("describe", *arguments, "--endpoint-id", "any", **urls)

    assert ("", []) == (outcome.stdout, server.paths())
    failed(outcome, code, *facts)
    assert "Traceback" not in outcome.stderr


def test_an_image_without_a_question_has_a_caption(captioner):
    captioner.run("describe", "64.jpg")
    captioner.run("describe", "64.jpg", "--preset", "caption")
    first, second = asked(captioner)

    assert first == second
    assert "image" in first["prompt"]


def test_a_preset_is_asked_with_all_that_it_says(captioner):
    """The project's own too; -p takes the place of its prompt."""
    (captioner.root / "presets").mkdir()
    (captioner.root / "presets" / "mood.yaml").write_text(
        "prompt: How are they?\nchoices: [good, bad]\nmax_tokens: 9\n"
    )
    outcome = captioner.run("describe", "64.jpg", "--preset", "mood", "-p", says("good"))
    captioner.run("describe", "64.jpg", "--preset", "mood", "--max-tokens", "8")

    assert (0, "good\n") == (outcome.status, outcome.stdout)
    assert [9, 8, 8] == [job["max_tokens"] for job in asked(captioner)]
    assert "How are they?" in asked(captioner)[1]["prompt"]


def test_an_unknown_preset_names_those_that_there_are(captioner):
    outcome = captioner.run("describe", "64.jpg", "--preset", "poem")

    failed(outcome, "usage_error", "poem", "caption, count, emotion, ocr")
    assert [] == asked(captioner)


# --- videos ---------------------------------------------------------------------------------------------------------


@pytest.fixture
def video(captioner):
    """Eight seconds."""
    write(captioner.root / "clip.mp4", steady(8.0, 4), rate=4)
    return captioner


def seen(project):
    """The times of the images in each job."""
    return [[image["timestamp"] for image in job["images"]] for job in asked(project)]


@pytest.mark.parametrize(
    ("arguments", "times"),
    [
        (["--at", "0:05.5"], [5.5]),
        (["--at", "2", "--at", "0:00:07"], [2.0, 7.0]),
        (["--from", "0:02", "--to", "0:03", "--fps", "4"], [2.0, 2.25, 2.5, 2.75]),
        (["--from", "6"], [6.0, 7.0]),
        ([], [0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0]),
    ],
)
def test_of_a_video_the_images_that_were_asked_for_are_seen(video, arguments, times):
    """In one question, each with its time."""
    outcome = video.run("describe", "clip.mp4", "What happens?", *arguments, "--json")

    assert ([times], "clip.mp4") == (seen(video), outcome.document["results"][0]["source"])


def test_a_video_comes_from_anywhere(video):
    """From a pipe it is one because of the moment."""
    data = (video.root / "clip.mp4").read_bytes()
    with serving(lambda _: Reply(200, data)) as server:
        video.run("describe", f"{server.url}/clip.mp4", "What?", "--at", "1")
    video.run("describe", "-", "What?", "--at", "2", stdin=data)

    assert [[1.0], [2.0]] == seen(video)


def test_images_and_videos_are_asked_about_together(video):
    outcome = video.run("describe", "64.jpg", "clip.mp4", "--together", "Is she in it?", "--json")
    (job,) = asked(video)

    assert ([64, 64], 9) == (job["images"][0], len(job["images"]))
    assert ["64.jpg", "clip.mp4"] == outcome.document["results"][0]["sources"]


def test_a_moment_after_the_end_of_a_video_is_refused_with_its_length(video):
    outcome = video.run("describe", "clip.mp4", "What?", "--at", "1:00")

    failed(outcome, "media_error", "clip.mp4", "60 s", "8.00 s")
    assert [] == asked(video)


# --- several sources -----------------------------------------------------------------------------------------------


def test_many_images_are_many_questions_answered_in_order(captioner):
    """Files, a glob, a list, stdin and an address; each under its name."""
    save(captioner, 65, 66, 67)
    (captioner.root / "list.txt").write_text("# mine\n67.jpg\n")
    with serving(lambda _: Reply(200, jpeg(80))) as server:
        outcome = captioner.run(
            "describe", "-", "@list.txt", "6[56].jpg", f"{server.url}/x.jpg", "What?", stdin=jpeg(90)
        )

    assert 0 == outcome.status, outcome.stderr
    assert outcome.stdout.splitlines() == [
        "# stdin", "I see 90x64.", "# 67.jpg", "I see 67x64.", "# 65.jpg", "I see 65x64.", "# 66.jpg", "I see 66x64.",
        f"# {server.url}/x.jpg", "I see 80x64.",
    ]  # fmt: skip


def test_a_folder_is_asked_about_with_many_jobs_at_once(captioner):
    """As many as the window has; their answers come in order all the same."""
    (captioner.root / "frames").mkdir()
    for number in range(40):
        (captioner.root / "frames" / f"{number}.jpg").write_bytes(jpeg(100 + number))
    gated = json.dumps({"waits": 1})
    process = captioner.start("describe", "frames", gated, "-f", "jsonl")
    until(lambda: len(asked(captioner)) == 16)
    (captioner.memory / "gate").touch()
    stdout, stderr = process.communicate(timeout=120)
    lines = [json.loads(line) for line in stdout.splitlines()]

    assert (0, b"") == (process.returncode, stderr)
    assert [f"I see {100 + number}x64." for number in range(40)] == [line["response"] for line in lines]
    assert ({"vidctl.describe/1"}, "16") == (
        {line["schema"] for line in lines},
        (captioner.memory / "most").read_text(),
    )


def test_together_is_one_question(captioner):
    save(captioner, 65, 66)
    outcome = captioner.run("describe", "64.jpg", "65.jpg", "66.jpg", "--together", "What has changed?", "--json")
    (result,) = outcome.document["results"]

    assert ("I see 64x64 and 65x64 and 66x64.", ["64.jpg", "65.jpg", "66.jpg"]) == (
        result["response"],
        result["sources"],
    )
    assert [[64, 64], [65, 64], [66, 64]] == asked(captioner)[0]["images"]


def test_one_bad_image_does_not_stop_the_others(captioner):
    save(captioner, 65)
    (captioner.root / "bad.jpg").write_bytes(b"\xff\xd8\xff not an image")
    outcome = captioner.run("describe", "bad.jpg", "64.jpg", "missing.jpg", "65.jpg", "What?", "--json")
    bad, good, missing, other = outcome.document["results"]

    assert (9, {"error": "2 of 4 sources failed", "code": "partial"}) == (outcome.status, outcome.error)
    assert ("media_error", "media_error") == (bad["code"], missing["code"])
    assert ("I see 64x64.", "I see 65x64.") == (good["response"], other["response"])


def test_results_go_into_a_file_in_the_form_of_its_name(captioner):
    save(captioner, 65)
    for name in ("out.txt", "out.json", "out.jsonl"):
        assert "" == captioner.run("describe", "64.jpg", "65.jpg", "What?", "-o", name).stdout
    text, document, lines = ((captioner.root / f"out.{end}").read_text() for end in ("txt", "json", "jsonl"))

    assert "# 64.jpg\nI see 64x64.\n# 65.jpg\nI see 65x64.\n" == text
    assert ["I see 64x64.", "I see 65x64."] == [result["response"] for result in json.loads(document)["results"]]
    assert ["I see 64x64.", "I see 65x64."] == [json.loads(line)["response"] for line in lines.splitlines()]


# --- the form of the answer ----------------------------------------------------------------------------------------


def test_a_schema_gives_json_that_meets_it(captioner):
    outcome = captioner.run(
        "describe", "64.jpg", says('```json\n{"name": "Ada", "age": 36}\n```'), "--schema", "name, age int"
    )

    assert (0, '{"name": "Ada", "age": 36}\n') == (outcome.status, outcome.stdout)
    assert ["name", "age"] == asked(captioner)[0]["schema"]["required"]


def test_a_schema_may_be_a_file_or_json(captioner):
    schema = {"type": "array", "items": {"type": "integer"}}
    (captioner.root / "schema.json").write_text(json.dumps(schema))
    by_file = captioner.run("describe", "64.jpg", says("[1, 2]"), "--schema", "schema.json")
    by_json = captioner.run("describe", "64.jpg", says("[1, 2]"), "--schema", json.dumps(schema))

    assert ("[1, 2]\n", "[1, 2]\n") == (by_file.stdout, by_json.stdout)
    assert [schema, schema] == [job["schema"] for job in asked(captioner)]


def test_an_answer_of_another_form_is_repaired_once_and_both_are_counted(captioner):
    prompt = says("I think 36", again='{"age": 36}')
    outcome = captioner.run("describe", "64.jpg", prompt, "--schema", "age int", "--json")
    (result,) = outcome.document["results"]
    first, second = asked(captioner)

    assert (0, {"age": 36}, 2) == (outcome.status, result["data"], result["stats"]["jobs"])
    assert (8, 5) == (result["image_tokens"], result["completion_tokens"])
    assert ["the first answer did not have the requested form, and is billed too"] == result["warnings"]
    assert ("I think 36" in second["prompt"].removeprefix(first["prompt"][:50]), first["image"]) == (
        True,
        second["image"],
    )


def test_an_answer_that_stays_wrong_is_an_error(captioner):
    outcome = captioner.run("describe", "64.jpg", says("maybe"), "--choices", "yes,no", "--json")

    assert (1, "schema_mismatch", 2) == (outcome.status, outcome.error["code"], len(asked(captioner)))
    assert "maybe" in outcome.error["error"]


def test_choices_add_up(captioner):
    """An option that is given twice is not half of what was asked."""
    outcome = captioner.run("describe", "64.jpg", says("no"), "--choices", "yes", "--choices", "no,perhaps")

    assert (0, "no\n", ["yes", "no", "perhaps"]) == (outcome.status, outcome.stdout, asked(captioner)[-1]["choices"])


def test_a_prompt_before_the_image_is_told_where_it_belongs(captioner):
    """A caption that nobody wanted would be paid for."""
    outcome = captioner.run("describe", "What is it?", "64.jpg")

    failed(outcome, "usage_error", 'vidctl describe 64.jpg "What is it?"')
    assert [] == asked(captioner)


def test_choices_give_the_bare_choice(captioner):
    outcome = captioner.run("describe", "64.jpg", says(" yes\n"), "--choices", "yes, no")

    assert (0, "yes\n", ["yes", "no"]) == (outcome.status, outcome.stdout, asked(captioner)[0]["choices"])


# --- on a terminal -------------------------------------------------------------------------------------------------


def test_an_answer_appears_as_it_is_made(captioner):
    """The first words stand on the terminal while the worker still waits with the rest."""
    prompt = json.dumps({"pieces": ["One ", "two ", "three."], "waits": 2})
    child = terminal(captioner, "64.jpg", prompt)
    child.expect_exact("One two ")
    (captioner.memory / "gate").touch()

    assert (0, "three.\n") == shown(child)
    assert True is asked(captioner)[0]["stream"]


def test_what_is_waited_for_is_shown_until_the_first_word(captioner):
    """Then nothing of it is left."""
    prompt = json.dumps({"pieces": ["One ", "two."], "waits": 0})
    child = terminal(captioner, "64.jpg", prompt, TERM="xterm")
    child.expect_exact("waiting for the first token")
    (captioner.memory / "gate").touch()
    child.expect_exact("One ")
    status, screen = shown(child)

    assert (0, "two.\n") == (status, screen)


def test_a_bar_on_the_terminal_does_not_swallow_what_goes_into_a_file(captioner):
    save(captioner, 65)
    child = terminal(captioner, "64.jpg", "65.jpg", "What?", shell='"$@" > out.txt', TERM="xterm")
    status, _ = shown(child)

    assert (0, "# 64.jpg\nI see 64x64.\n# 65.jpg\nI see 65x64.\n") == (status, (captioner.root / "out.txt").read_text())


@pytest.mark.parametrize("arguments", [["--no-stream"], ["--json"], ["-o", "out.txt"]])
def test_who_does_not_read_along_gets_it_whole(captioner, arguments):
    status, _ = shown(terminal(captioner, "64.jpg", "What?", *arguments))

    assert (0, False) == (status, "stream" in asked(captioner)[0])


def test_what_a_terminal_would_obey_does_not_reach_it(captioner):
    """Not even a sequence that comes in two pieces; line ends and tabs stay."""
    hostile = ["red \x1b", "[31mnow\n", "\x9b2J", "\u202eturned\t", "end\x07\x00"]
    status, screen = shown(terminal(captioner, "64.jpg", json.dumps({"pieces": hostile})))

    assert (0, ["red \ufffd[31mnow", "\ufffd2J\ufffdturned\tend\ufffd\ufffd"]) == (
        status,
        [line.replace("        ", "\t") for line in screen.splitlines()],
    )


@pytest.mark.parametrize("form", [[], ["--json"], ["-f", "jsonl"], ["--schema", "text"]])
def test_nor_does_it_reach_a_pipe_or_a_document(captioner, form):
    """JSON keeps it, escaped."""
    hostile = "a\x1b[31m\x9b\u202eb"
    said = json.dumps({"text": hostile}) if form[:1] == ["--schema"] else hostile
    outcome = captioner.run("describe", "64.jpg", says(said), *form)

    assert 0 == outcome.status
    assert not re.search("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202e]", outcome.stdout)
    if form == ["--json"]:
        assert hostile == outcome.document["results"][0]["response"]


def test_an_answer_with_a_form_is_laid_out_for_a_reader(captioner):
    status, screen = shown(terminal(captioner, "64.jpg", says('{"name":"Ada"}'), "--schema", "name"))

    assert (0, '{\n  "name": "Ada"\n}\n') == (status, screen)


def test_several_answers_stand_under_the_names_of_their_sources(captioner):
    save(captioner, 65)
    status, screen = shown(terminal(captioner, "65.jpg", "64.jpg", "What?", "--no-progress"))

    assert (0, "65.jpg\nI see 65x64.\n64.jpg\nI see 64x64.\n") == (status, screen)


def test_stats_of_a_streamed_answer_tell_when_its_first_text_was_here(captioner):
    status, screen = shown(terminal(captioner, "64.jpg", "What?", "--stats", COLUMNS="1000"))

    assert 0 == status
    assert re.search(r"first token \d+\.\d\d s here, 0\.50 s in the engine", " ".join(screen.split()))


def test_a_worker_that_dies_while_it_speaks_does_not_mix_two_answers(captioner):
    """The job goes to another worker, which begins anew; the whole answer is printed once more."""
    prompt = json.dumps({"pieces": ["One ", "two."], "dies": True})
    status, screen = shown(terminal(captioner, "64.jpg", prompt))

    assert (0, "One two.") == (status, screen.splitlines()[-1])


def test_an_error_after_the_first_words_begins_a_line(captioner):
    prompt = json.dumps({"pieces": ["One ", "two."], "waits": 1})
    child = terminal(captioner, "64.jpg", prompt, "--timeout", "3")
    child.expect_exact("One ")
    status, screen = shown(child)

    assert (6, True) == (status, screen.startswith("\nerror: job "))


# --- interruptions -------------------------------------------------------------------------------------------------


def test_ctrl_c_in_the_middle_of_an_answer_cancels_its_job(captioner):
    prompt = json.dumps({"pieces": ["One ", "two."], "waits": 1})
    child = terminal(captioner, "64.jpg", prompt)
    child.expect_exact("One ")
    child.sendintr()
    status, screen = shown(child)
    job = captioner.jobs()[0]

    assert (130, "CANCELLED") == (status, job["status"])
    assert f"error: interrupted; cancelled 1 job ({job['id']})" in " ".join(screen.split())
    assert "Traceback" not in screen


def test_ctrl_c_in_a_batch_cancels_all_and_keeps_what_there_is(captioner):
    save(captioner, 65, 66)
    process = captioner.start("describe", "64.jpg", "65.jpg", "66.jpg", json.dumps({"waits": 1}), "--json")
    until(lambda: len(asked(captioner)) == 3 if (captioner.memory / "asked").exists() else False)
    status, stdout, stderr = ended(process, signal.SIGINT)

    assert (130, "", "interrupted") == (status, stdout, json.loads(stderr)["code"])
    assert ["CANCELLED"] * 3 == [job["status"] for job in captioner.jobs()[:3]]


# --- other workers, and Python -------------------------------------------------------------------------------------


OFFICIAL = ("--protocol", "worker-vllm", "--model", "qwen")


def test_the_official_worker_is_understood(captioner):
    outcome = captioner.run("describe", "64.jpg", "What?", "--system", "Be brief.", *OFFICIAL, "--json")
    (result,) = outcome.document["results"]
    (job,) = asked(captioner)

    assert ("I see 64x64.", 5, 3, "stop") == (
        result["response"], result["prompt_tokens"], result["completion_tokens"], result["finish_reason"],
    )  # fmt: skip
    assert ("qwen", "Be brief.", [[64, 64], "What?"]) == (
        job["model"], job["messages"][0]["content"], job["messages"][1]["content"],
    )  # fmt: skip


def test_the_official_worker_streams_too(captioner):
    """Its chunks are text of events, cut anywhere; its output at the end is all of them."""
    prompt = json.dumps({"pieces": [f"word{number} " for number in range(10)], "waits": 8})
    child = terminal(captioner, "64.jpg", prompt, *OFFICIAL)
    child.expect_exact("word0 ")
    (captioner.memory / "gate").touch()
    status, screen = shown(child)

    assert (0, "".join(f"word{number} " for number in range(1, 10)) + "\n") == (status, screen)


def test_python_gets_a_typed_answer(captioner, monkeypatch):
    for name, value in captioner.environ.items():
        monkeypatch.setenv(name, value)
    save(captioner, 65)
    paths = [captioner.root / "64.jpg", captioner.root / "65.jpg"]
    client = Client(target="local", project=captioner.root)
    answer = client.describe(paths[0], "What?", max_tokens=9)
    both = client.describe([paths[0], jpeg(66)], "What?")
    data = client.describe(jpeg(67), says('{"age": 3}'), schema="age int").data
    many = list(client.describe_many(["missing.jpg", *paths], "What?"))

    assert ("I see 64x64.", 4, "stop", 9) == (
        answer.text, answer.image_tokens, answer.finish_reason, asked(captioner)[0]["max_tokens"],
    )  # fmt: skip
    assert ("I see 64x64 and 66x64.", {"age": 3}) == (both.text, data)
    assert [MediaError, "I see 64x64.", "I see 65x64."] == [
        type(each.result.error) if hasattr(each.result, "error") else each.result.text for each in many
    ]
    with failing("job_failed", "too dark"):
        client.describe(paths[0], '{"error": "too dark"}')
    with failing("usage_error"):
        client.describe([], "What?")


def test_python_hears_an_answer_as_it_is_made(captioner, monkeypatch):
    for name, value in captioner.environ.items():
        monkeypatch.setenv(name, value)
    client = Client(target="local", project=captioner.root)
    prompt = json.dumps({"pieces": ["One ", "two ", "three."], "waits": 1})
    with client.describe_stream(captioner.root / "64.jpg", prompt) as pieces:
        first = next(pieces)
        (captioner.memory / "gate").touch()
        rest = "".join(pieces)

    assert ("One ", "two three.", "One two three.") == (first, rest, pieces.result.text)


def test_the_price_is_that_of_the_first_gpu_of_the_spec(captioner):
    """At RunPod: so many GPUs, for as long as the job ran."""
    output = {"response": "a cat", "prompt_tokens": 9, "completion_tokens": 3}
    status = {"id": "j", "status": "COMPLETED", "output": output, "delayTime": 1000, "executionTime": 2500}
    replies = {"POST": Reply(200, b'{"id": "j"}'), "GET": Reply(200, json.dumps(status).encode())}
    with serving(lambda request: replies[request.method]) as server:
        urls = {"RUNPOD_API_BASE_URL": server.url, "RUNPOD_ENDPOINT_BASE_URL": server.url, "RUNPOD_API_KEY": "k"}
        deployed = {**urls, "VIDCTL_CAPTIONER_ENDPOINT_ID": "ep"}
        known = captioner.run("describe", "64.jpg", "What?", "--stats", "--target", "runpod", **deployed)
        unknown = captioner.run("describe", "64.jpg", "What?", "--stats", "--endpoint-id", "ep", **urls)

    assert "queue 1.00 s; 1.2 tokens/s; 9 prompt tokens; 3 answer tokens; ran 2.50 s; $0.003800" in known.stderr
    assert "; price unknown\n" in unknown.stderr
