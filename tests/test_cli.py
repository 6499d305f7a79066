"""The command line's manners: exit codes, one line and a hint, JSON errors, and a light start."""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from support.command import VIDCTL, vidctl
from support.failing import failed
from support.scripted import RESET, Reply, ok, script, serving
from support.shapes import draw, encoded

ROOT = Path(__file__).resolve().parent.parent
HEAVY = {
    "docker",
    "requests",
    "runpod",
    "av",
    "PIL",
    "yaml",
    "starlette",
    "uvicorn",
    "graphql",
    "dotenv",
    "platformdirs",
}


@pytest.fixture
def folder(tmp_path):
    """A project with nothing in it but an image."""
    (tmp_path / "configs").mkdir()
    (tmp_path / "frame.jpg").write_bytes(encoded(draw(seed=1)[0]))
    return tmp_path


def test_help_imports_nothing_heavy():
    """`--help` of every command is instant because no library of the work is loaded for it."""
    code = """
import sys
from typer.main import get_command
from vidctl.cli import app, run

def words_of(command, words):
    yield words
    for name, each in getattr(command, "commands", {}).items():
        yield from words_of(each, [*words, name])

for words in words_of(get_command(app), []):
    run([*words, "--help"])
    print("/".join(words), *{name.partition(".")[0] for name in sys.modules}, file=sys.stderr)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = {line.partition(" ")[0]: set(line.split(" ")[1:]) for line in done.stderr.splitlines()}

    assert {"", "plan", "deploy", "list", "destroy", "push", "images/prune", "registry/login", "local/up"} <= set(
        loaded
    )
    assert {} == {command: HEAVY & modules for command, modules in loaded.items() if HEAVY & modules}


def test_help_says_of_a_command_what_its_docstring_says():
    """The table that is shown instead of the commands themselves repeats the first sentence of each."""
    from typer.main import get_command

    from vidctl.cli import COMMANDS, app

    group: Any = get_command(app)
    sentences = {name: command.get_short_help_str(1000) for name, command in group.commands.items()}

    assert sentences == {name: place.help for name, place in COMMANDS.items()}


@pytest.mark.parametrize(
    ("words", "modules"),
    [
        ([], set()),
        (["--help"], set()),
        (["list", "--help"], {"vidctl.cli.endpoints"}),
        (["local"], {"vidctl.cli.local"}),
    ],
)
def test_only_the_command_that_is_asked_for_is_loaded(words, modules):
    code = (
        "import sys\nfrom vidctl.cli import COMMANDS, run\nrun(sys.argv[1:])\n"
        "every = {place.module for place in COMMANDS.values()}\n"
        "print(*(name for name in every if name in sys.modules), file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code, *words], capture_output=True, text=True, check=True)

    assert modules == set(done.stderr.split())


def test_every_command_takes_the_options_of_every_command():
    from typer.main import get_command

    from vidctl.cli import app

    def lacking(words, command):
        taken = {flag for parameter in command.params for flag in parameter.opts}
        missing = {"--json", "--quiet", "-q", "--verbose", "-v", "--debug"} - taken
        inner = getattr(command, "commands", {})
        return (
            {words: missing} if missing else {k: v for n in inner for k, v in lacking(f"{words} {n}", inner[n]).items()}
        )

    assert {} == lacking("vidctl", get_command(app))


@pytest.mark.parametrize(
    "words",
    [
        *("local status --json -q", "--json local status", "local -q --json status", "-qv --json --debug local status"),
        *("--json -- local status", "-- local --json -- status", "--json --debug -- local status"),
    ],
)
def test_options_of_every_command_stand_before_it_too(folder, words):
    outcome = vidctl(*words.split(), cwd=folder, VIDCTL_LOCAL_PORT="9")

    assert ("not_deployed", ("--debug" in words)) == (
        json.loads(outcome.stderr.splitlines()[-1])["code"],
        "Traceback" in outcome.stderr,
    )


def test_behind_two_dashes_an_option_of_every_command_is_a_name(folder):
    """Neither is the error JSON, nor is there a traceback."""
    outcome = vidctl("detect", "-o", "boxes.x", "--", "--json", "--debug", cwd=folder)

    assert (2, True) == (outcome.status, outcome.stderr.startswith("error: -o boxes.x: ")), outcome.stderr


@pytest.mark.parametrize(
    "words",
    [
        ["detect", "a\nforged: b\x1b[2J.jpg"],
        ["detect", "@a\nforged: b.txt"],
        ["detect", "frame.jpg", "-o", "a.x\nforged: b"],
        ["transcribe", "frame.jpg", "-f", "a\nforged: b"],
        ["describe", "a\nforged: b.jpg", "c\nforged: d.jpg", "-p", "What?"],
        ["plan", "a\nforged: b", "c\nforged: d"],
        ["validate", "a\nforged: b"],
        ["deploy", "a\nforged: b.json"],
        ["a\nforged: b"],
    ],
)
def test_a_name_forges_no_line_of_an_error(folder, words):
    """Nor does it move a terminal's cursor, in a message, a hint or in one of several."""
    outcome = vidctl(*words, cwd=folder, VIDCTL_LOCAL_PORT="9")

    assert 0 != outcome.status
    assert "forged" in outcome.stderr
    assert [] == [line for line in outcome.stderr.splitlines() if line.startswith("forged") or "\x1b" in line]


def commands():
    """Every command by its words, groups among them."""
    from typer.main import get_command

    from vidctl.cli import app

    def inside(words, command):
        for name, inner in getattr(command, "commands", {}).items():
            yield f"{words} {name}".strip(), inner
            yield from inside(f"{words} {name}".strip(), inner)

    return dict(inside("", get_command(app)))


def test_the_help_of_every_command_ends_with_examples_that_it_takes():
    """Files in them are samples of this repository, or what a run writes."""
    known = commands()
    lines = [line for each in known.values() for line in (each.epilog or "").splitlines() if "vidctl" in line]
    taken = [shlex.split(re.sub(r"^ *(eval \"\$\()?|\)\"$| [<>] .*", "", line)) for line in lines]

    assert [] == [name for name, each in known.items() if "Example" not in (each.epilog or "")]
    for _, *words in taken:
        name = next(name for name in (" ".join(words[:2]), words[0]) if name in known)
        known[name].make_context(name, words[len(name.split()) :])
        for word in (each for each in words if re.fullmatch(r"(\w+/)?\w+\.(jpg|mp4|wav)|frames/", each)):
            assert (ROOT / "samples" / word).exists(), word


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("detect frame.jpg --conf 7", "--conf must"),
        ("detect frame.jpg --max-det=0", "--max-det must"),
        ("transcribe frame.jpg --max-line-count 2", "--max-line-count: has no effect without --max-line-width"),
        ("transcribe frame.jpg --max_line_count 2", "--max-line-count: has no effect without --max-line-width"),
        ("describe frame.jpg What? --schema name --choices a,b", "--schema and --choices "),
        ("describe frame.jpg What? --set max_tokens=3", "max_tokens "),
    ],
)
def test_an_error_spells_options_as_they_are_typed(folder, words, said):
    """Python calls them by their names; on the command line they have dashes."""
    outcome = vidctl(*words.split(), "--endpoint-id", "ep", cwd=folder, RUNPOD_API_KEY="k")

    assert (2, True) == (outcome.status, outcome.stderr.startswith(f"error: {said}")), outcome.stderr


@pytest.mark.parametrize("words", ["", "local", "registry"])
def test_what_a_command_does_is_said_in_one_line(words):
    """A group alone shows its commands, each with a sentence that is not cut."""
    outcome = vidctl(*words.split(), cwd=ROOT)

    assert (0, "") == (outcome.status, outcome.stderr)
    assert "..." not in outcome.stdout.partition("Start:" if not words else "Commands:")[2]


@pytest.mark.parametrize(
    ("words", "hint"),
    [
        ("nothing", "vidctl --help"),
        ("plan -o", "vidctl plan --help"),
        ("registry nothing", "vidctl registry --help"),
        ("registry login hub", "vidctl registry login --help"),
    ],
)
def test_a_wrong_command_line_names_the_help_of_its_command(words, hint):
    assert f"hint: {hint}" == vidctl(*words.split(), cwd=ROOT).stderr.splitlines()[-1]


@pytest.mark.parametrize("words", [["--help"], ["detect", "--help"], ["registry", "login", "-h"]])
def test_help_does_not_even_import_pydantic(words):
    """Typer itself needs it to run a command; vidctl's models are loaded by none of them."""
    code = f"import sys\nfrom vidctl.cli import run\nrun({words})\nsys.exit('pydantic' in sys.modules)"

    assert subprocess.run([sys.executable, "-c", code], capture_output=True, check=False).returncode == 0


def test_completion_knows_the_presets_and_imports_nothing_heavy_for_them(folder):
    (folder / "presets").mkdir()
    (folder / "presets" / "mood.yaml").write_text("")
    done = completed(folder, "describe frame.jpg --preset")

    assert {"mood", "caption", "ocr"} <= set(done.stdout.split())
    assert set() == HEAVY & set(done.stderr.split())


def completed(folder, words):
    """What the shell is told that may follow; on stderr the modules that were loaded for it."""
    code = (
        "import sys\nfrom vidctl.cli import run\n"
        "try:\n    run([])\nfinally:\n    print(*sorted({n.partition('.')[0] for n in sys.modules}), file=sys.stderr)"
    )
    line = {"COMP_WORDS": f"vidctl {words} ", "COMP_CWORD": str(1 + len(words.split()))}
    environ = {**os.environ, "_VIDCTL_COMPLETE": "complete_bash", **line}
    return subprocess.run([sys.executable, "-c", code], cwd=folder, env=environ, capture_output=True, text=True)


@pytest.mark.parametrize("words", ["plan", "deploy", "destroy", "build", "push", "images prune", "deploy -e"])
def test_completion_imports_nothing_heavy_and_knows_the_specs(folder, words):
    (folder / "configs" / "yolo.yaml").write_text("")
    (folder / "configs" / "yolo.prod.yaml").write_text("")
    done = completed(folder, words)

    assert done.stdout.split() == (["prod"] if words.endswith("-e") else ["yolo", "yolo.prod"])
    assert set() == HEAVY & set(done.stderr.split())


def test_version(folder):
    outcome = vidctl("--version", cwd=folder)

    assert (outcome.status, bool(re.fullmatch(r"vidctl \d+\.\d+\.\d+( \([0-9a-f]{12}\))?\n", outcome.stdout))) == (
        0,
        True,
    )


@pytest.mark.parametrize(
    ("arguments", "status", "code"),
    [
        (["detect"], 2, "usage_error"),
        (["detect", "frame.jpg", "--conf", "2"], 2, "usage_error"),
        (["detect", "frame.jpg", "--nonsense"], 2, "usage_error"),
        (["nonsense"], 2, "usage_error"),
        (["deploy", "nothing"], 2, "spec_error"),
        (["detect", "frame.jpg", "--target", "moon"], 2, "usage_error"),
        (["detect", "frame.jpg", "--target", "runpod"], 4, "auth_error"),
        (["local", "status"], 5, "not_deployed"),
        (["local", "env"], 5, "not_deployed"),
    ],
)
def test_exit_codes_without_a_network(folder, arguments, status, code):
    """Each mistake has its documented exit code, and with --json one object on stderr."""
    outcome = vidctl(*arguments, "--json", cwd=folder)

    assert (outcome.status, outcome.stdout) == (status, "")
    assert outcome.error["code"] == code
    assert outcome.error["error"]


def test_a_mistake_is_a_line_and_a_hint(folder):
    outcome = vidctl("detect", "frame.jpg", "--target", "runpod", cwd=folder)

    assert outcome.stderr.splitlines() == [
        "error: RUNPOD_API_KEY is not set",
        "hint: set it in the environment or in .env, or use --target local, which needs no key",
    ]


@pytest.mark.parametrize(
    ("reply", "status", "code"),
    [
        (Reply(401), 4, "auth_error"),
        (Reply(404), 5, "not_deployed"),
        (Reply(500), 1, "http_error"),
        (RESET, 1, "unanswered"),
        (Reply(200, b"<html>"), 1, "api_error"),
        (Reply(200, b'{"id": 7}'), 1, "api_error"),
    ],
)
def test_what_runpod_answers_becomes_an_exit_code(folder, reply, status, code):
    """A wrong key, a 500, a reset, nonsense: one clear object, no traceback, and /run is sent once."""
    with serving(script(reply)) as server:
        outcome = runpod(folder, server, "detect", "frame.jpg", "--endpoint-id", "ep", "--json")

    assert (outcome.status, outcome.error["code"]) == (status, code)
    assert server.paths() == ["POST /ep/run"]
    assert "Traceback" not in outcome.stderr


def runpod(folder, server, *arguments, **environ):
    """vidctl against a scripted RunPod."""
    urls = {"RUNPOD_API_BASE_URL": server.url, "RUNPOD_ENDPOINT_BASE_URL": server.url}
    return vidctl(*arguments, cwd=folder, RUNPOD_API_KEY="rpa_TESTKEY", **urls, **environ)


def test_a_failed_job_is_exit_code_3_and_keeps_its_id(folder):
    replies = [ok({"id": "job-7"}), ok({"id": "job-7", "status": "FAILED", "error": "no such class: zebra"})]
    with serving(script(*replies)) as server:
        outcome = runpod(folder, server, "detect", "frame.jpg", "--endpoint-id", "ep", "--json")

    failed(outcome, "job_failed", "no such class: zebra")
    assert outcome.error["job_id"] == "job-7"


def test_waiting_too_long_is_exit_code_6(folder):
    with serving(script(ok({"id": "job-7", "status": "IN_QUEUE"}))) as server:
        outcome = runpod(folder, server, "detect", "frame.jpg", "--endpoint-id", "ep", "--timeout", "0.2", "--json")

    assert (outcome.status, outcome.error["job_id"]) == (6, "job-7")
    assert server.paths()[-1] == "POST /ep/cancel/job-7"


def test_the_key_is_nowhere_even_with_debug(folder):
    """Not in stdout, stderr, a traceback, or any file that vidctl writes."""
    with serving(script(Reply(500, b'{"error": "rpa"}'))) as server:
        outcome = runpod(folder, server, "detect", "frame.jpg", "--endpoint-id", "ep", "--debug", "-v")

    written = b"".join(path.read_bytes() for path in folder.rglob("*") if path.is_file())
    assert "Traceback" in outcome.stderr
    assert "rpa_TESTKEY" not in outcome.stdout + outcome.stderr
    assert b"rpa_TESTKEY" not in written


def test_jobs_lists_what_was_sent(folder):
    """A job that vidctl gave up on is still known by its id."""
    with serving(script(ok({"id": "job-7", "status": "IN_QUEUE"}))) as server:
        runpod(folder, server, "detect", "frame.jpg", "--endpoint-id", "ep", "--timeout", "0.2")
        listed = vidctl("jobs", "--json", cwd=folder).document["jobs"]

    assert [(entry["id"], entry["status"], entry["what"]) for entry in listed] == [
        ("job-7", "CANCELLED", "detect frame.jpg")
    ]


def test_an_image_that_is_none_needs_no_endpoint_job(folder):
    """A corrupt image is refused here: nothing is sent, nothing is paid."""
    (folder / "bad.jpg").write_bytes(b"not a picture")
    with serving(script(ok({}))) as server:
        outcome = runpod(folder, server, "detect", "bad.jpg", "--endpoint-id", "ep", "--json")

    assert (outcome.status, outcome.error["code"], server.requests) == (1, "media_error", [])


def test_every_failed_source_of_many_is_reported(folder):
    """All images bad: exit code 1 and both named; some good would be 9."""
    (folder / "bad.jpg").write_bytes(b"not a picture")
    with serving(script(ok({}))) as server:
        outcome = runpod(folder, server, "detect", "bad.jpg", "missing.jpg", "--endpoint-id", "ep")

    assert outcome.status == 1
    assert "bad.jpg" in outcome.stderr
    assert "missing.jpg" in outcome.stderr
    assert "all 2 images failed" in outcome.stderr


def test_nothing_typed_is_help(folder):
    for command in ([], ["local"]):
        outcome = vidctl(*command, cwd=folder)

        assert (outcome.status, outcome.stderr) == (0, "")
        assert outcome.stdout.startswith("Usage: vidctl")


@pytest.mark.parametrize("flags", [["--json"], ["-f", "json"], ["-fjson"], ["--format=jsonl"], ["--format", "json"]])
def test_every_spelling_of_json_gives_json_errors(folder, flags):
    assert vidctl("detect", "frame.jpg", *flags, "--target", "runpod", cwd=folder).error["code"] == "auth_error"


def test_whoever_stops_reading_is_no_failure(folder):
    """`vidctl schema | true`, and a closed stdout."""
    command = shlex.join(VIDCTL)
    piped = subprocess.run(["bash", "-c", f"{command} schema | true; echo ${{PIPESTATUS[0]}}"], capture_output=True)
    closed = subprocess.run(["bash", "-c", f"{command} schema >&-"], capture_output=True)

    assert (piped.stdout.split()[-1:], piped.stderr) == ([b"0"], b"")
    assert (closed.returncode, closed.stderr) == (0, b"")


def test_a_large_image_warns_nobody(folder):
    """Pillow has a warning for images of 90 megapixels and more: it is no business of stderr's."""
    Image.new("1", (10_000, 10_000)).save(folder / "large.png")
    with serving(script(ok({"id": "j", "status": "FAILED", "error": "no"}))) as server:
        outcome = runpod(folder, server, "detect", "large.png", "--endpoint-id", "ep", "--json")

    assert (outcome.status, outcome.error["error"]) == (3, "no")


def test_a_named_pipe_is_refused_and_not_waited_for(folder):
    os.mkfifo(folder / "pipe.jpg")
    with serving(script(ok({}))) as server:
        outcome = runpod(folder, server, "detect", "pipe.jpg", "--endpoint-id", "ep", "--json", timeout_s=30)

    assert (outcome.status, outcome.error["code"]) == (1, "media_error")


def test_a_journal_that_cannot_be_written_stops_before_anything_is_sent(folder):
    """An id that cannot be written down is better not asked for."""
    (folder / ".vidctl").write_text("a file in the way")
    with serving(script(ok({"id": "j"}))) as server:
        outcome = runpod(folder, server, "detect", "frame.jpg", "--endpoint-id", "ep", "--json")

    failed(outcome, "failure", "journal", varies=True)
    assert server.requests == []


def test_people_see_the_job_id_too(folder):
    """Whatever goes wrong after a job was sent, its id is on the screen."""
    with serving(script(ok({"id": "job-7"}), ok({"id": "job-7", "status": "FAILED", "error": "no"}))) as server:
        outcome = runpod(folder, server, "detect", "frame.jpg", "--endpoint-id", "ep")

    assert outcome.stderr.splitlines() == ["error: no", "job: job-7"]


def test_a_request_that_never_left_was_not_accepted(folder):
    """No connection: the hint does not say that a job may be out."""
    url = "http://127.0.0.1:9"
    outcome = vidctl(
        "detect", "frame.jpg", "--endpoint-id", "ep", "--json",
        cwd=folder, RUNPOD_API_KEY="k", RUNPOD_ENDPOINT_BASE_URL=url,
    )  # fmt: skip

    assert (outcome.status, outcome.error["hint"]) == (1, "check the network and the base URLs")


def test_the_local_port_may_stand_in_dotenv(folder):
    (folder / ".env").write_text("VIDCTL_LOCAL_PORT=nonsense\n")
    outcome = vidctl("local", "status", "--json", cwd=folder)

    assert (outcome.status, outcome.error["error"]) == (2, "invalid VIDCTL_LOCAL_PORT 'nonsense'")


def test_status_says_whether_there_are_rate_limits(project):
    project.run("local", "up", "--no-rate-limits")
    shown = project.run("local", "status").stdout
    document = project.run("local", "status", "--json").document

    assert ("rate limits: none" in shown, document["rate_limits"]) == (True, False)


def test_an_endpoint_is_named_once(folder):
    outcome = vidctl("detect", "frame.jpg", "--endpoint", "yolo", "--endpoint-id", "x", "--json", cwd=folder)

    assert (outcome.status, outcome.error["code"]) == (2, "usage_error")


@pytest.mark.parametrize(
    ("text", "is_found"),
    [
        ("name: abc\ntask: detect  # boxes\nimage: a/b:1\ngpu: L4\n", True),
        ('{"name": "abc", "task": "detect", "image": "a/b:1", "gpu": "L4"}', True),
        ("name: abc\ntask: transcribe\nimage: a/b:1\ngpu: L4\n", False),
        ("name: abc\nimage: a/b:1\ngpu: L4\nenv:\n  X: |\n    task: detect\n", False),
        ("task: [", False),
        ("\0", False),
    ],
)
def test_the_endpoint_for_detect_is_that_of_a_spec_for_detect(folder, text, is_found):
    """However the spec is written; one that cannot be read is none."""
    (folder / "configs" / "eyes.yaml").write_text(text)
    with serving(script(ok({"id": "j", "status": "FAILED", "error": "no"}))) as server:
        outcome = runpod(folder, server, "detect", "frame.jpg", "--json", VIDCTL_EYES_ENDPOINT_ID="ep")

    assert outcome.status == (3 if is_found else 5)


@pytest.mark.parametrize(
    ("arguments", "code", "fact"),
    [
        ("--endpoint nose", "not_deployed", "did you mean nose2"),
        ("--endpoint ears", "usage_error", "nose2"),
        ("", "not_deployed", "VIDCTL_NOSE2_ENDPOINT_ID"),
        ("--endpoint-id ep2", "not_deployed", "vidctl list"),
    ],
)
def test_a_wrong_endpoint_says_where_it_is_named_and_which_there_are(folder, arguments, code, fact):
    """An unknown name, one for another task, an id in .env that is out of date, and an id of nothing."""
    (folder / "configs" / "nose2.yaml").write_text("name: abc\ntask: detect\nimage: a/b:1\ngpu: L4\n")
    (folder / "configs" / "ears.yaml").write_text("name: abd\ntask: transcribe\nimage: a/b:1\ngpu: L4\n")
    with serving(lambda _: Reply(404)) as server:
        outcome = runpod(
            folder, server, "detect", "frame.jpg", *arguments.split(), "--json",
            VIDCTL_NOSE2_ENDPOINT_ID="ep",
        )  # fmt: skip

    failed(outcome, code, fact)


def test_a_list_without_its_sign_is_no_image(folder):
    (folder / "list.txt").write_text("frame.jpg\n")
    outcome = vidctl("detect", "list.txt", "--endpoint-id", "ep", "--json", cwd=folder)

    failed(outcome, "usage_error", "@list.txt")


def test_detect_without_a_deploy_starts_nothing(folder):
    """Exit code 5, and no runtime was started to find out."""
    outcome = vidctl("detect", "frame.jpg", "--json", cwd=folder)

    assert (outcome.status, outcome.error["code"]) == (5, "not_deployed")
    assert vidctl("local", "status", cwd=folder).status == 5


def test_validate_tells_every_mistake_of_every_spec(folder):
    """For people with a caret, for machines as a list; the good ones are told too."""
    (folder / "configs" / "good.yaml").write_text("name: good\nimage: a/b:1\ngpu: L4\n")
    (folder / "configs" / "one.yaml").write_text("name: one\nimage: a/b:1\ngpu: RTX 4099\n")
    (folder / "configs" / "two.yaml").write_text("name: two\nimage: a/b:1\ngpu: L4\nworker: 1\ndisk: big\n")
    outcome = vidctl("validate", "--json", cwd=folder)
    people = vidctl("validate", cwd=folder)

    document = outcome.document
    assert (outcome.status, outcome.error["code"], [each["spec"] for each in document["valid"]]) == (
        2, "spec_error", ["good"],
    )  # fmt: skip
    places = [(Path(each["file"]).name, each["line"], each["column"]) for each in document["mistakes"]]
    assert places == [("one.yaml", 3, 6), ("two.yaml", 4, 1), ("two.yaml", 5, 7)]
    assert "good: valid" in people.stdout
    assert people.stderr.count("^") == 3
    assert "did you mean" in people.stderr


def test_schema_is_json(folder):
    assert vidctl("schema", cwd=folder).document["properties"]["name"]["type"] == "string"


def test_readme_documents_every_exit_code():
    """The table in the README and the errors' exit statuses are the same."""
    from vidctl import errors
    from vidctl.cli.deploy import CHANGES_FOUND

    kinds = [kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, errors.VidctlError)]
    table = {int(number) for number in re.findall(r"^\| (\d+) \|", (ROOT / "README.md").read_text(), re.MULTILINE)}

    assert table == {0, CHANGES_FOUND} | {kind.exit_status for kind in kinds}


def test_errors_in_json_are_flat(folder):
    """Keys without a value are left out, and every value is a scalar."""
    outcome = vidctl("local", "status", "--json", cwd=folder)

    assert {"error", "code", "hint"} == set(json.loads(outcome.stderr))


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["detect", "frame.jpg", "-o", "frame.jpg"], "one of the sources"),
        (["detect", "frame.jpg", "-o", "link.json"], "one of the sources"),
        (["detect", "frame.jpg", "-o", "new.jpg"], "an image, a video or audio"),
        (["detect", "frame.jpg", "-o", "new.MP4"], "an image, a video or audio"),
        (["detect", "frame.jpg", "--save", "new.png"], "an image, a video or audio"),
        (["detect", "frame.jpg", "--save-crop", "new.wav"], "an image, a video or audio"),
        (["detect", "@list.txt", "-f", "txt", "-o", "list.txt"], "reads its words from"),
        (["detect", "@list.txt", "other/list.png", "-f", "txt", "-o", "./"], "would overwrite"),
        (["detect", ".", "-r", "--save", "."], "would overwrite"),
        (["detect", "other/frame.jpg", "frame.jpg", "--save", "same"], "would overwrite"),
        (["detect", "frame.jpg", "crops/person/frame-1.jpg", "--save-crop", "crops"], "one of the sources"),
        (["transcribe", "talk.mp3", "-f", "txt", "-o", "talk.mp3"], "one of the audio files"),
        (["transcribe", "talk.mp3", "-f", "txt", "-o", "new.mp3"], "an image, a video or audio"),
        (["transcribe", "@list.txt", "-o", "list.txt"], "reads its words from"),
        (["transcribe", "@list.txt", "a/list.mp3", "-f", "txt", "-o", "."], "would overwrite"),
        (["describe", "frame.jpg", "What?", "-o", "new.jpg"], "an image, a video or audio"),
        (["describe", "@list.txt", "What?", "-o", "list.txt"], "reads its words from"),
        (["describe", "frame.jpg", "-p", "@list.txt", "-o", "list.txt"], "reads its words from"),
        (["describe", "frame.jpg", "What?", "--schema", "fields.json", "-o", "fields.json"], "reads its words from"),
        (["detect", "frame.jpg", "-o", ".env"], "a file of the project"),
        (["detect", "frame.jpg", "-f", "csv", "-o", "vidctl.yaml"], "a file of the project"),
        (["transcribe", "talk.mp3", "-f", "txt", "-o", ".env"], "a file of the project"),
        (["describe", "frame.jpg", "What?", "-f", "json", "-o", "configs/own.yaml"], "a file of the project"),
        (["detect", "frame.jpg", "-f", "csv", "-o", ".vidctl/journal.db"], "a file of the project"),
        (["detect", "frame.jpg", "-f", "csv", "-o", "workers/own/src/handler.py"], "a file of the project"),
        (["detect", "frame.jpg", "--save", "workers/own/new"], "a file of the project"),
        (["transcribe", "talk.mp3", "-f", "json", "-o", "configs/own.smoke.json"], "a file of the project"),
        (["plan", "own", "-o", "configs/own.smoke.json"], "a file of the project"),
        (["detect", "frame.jpg", "-f", "csv", "-o", "new", "--save", "new"], "the file of -o"),
        (["detect", "frame.jpg", "--save", ""], "it is empty"),
        (["detect", "frame.jpg", "-f", "txt", "-o", ""], "it is empty"),
    ],
)
def test_no_output_costs_what_a_run_reads(folder, arguments, said):
    """Exit 2 before anything is sent; sources, lists and prompts are told by what they are, not how they are spelt."""
    for name in ("other", "crops/person", "a"):
        (folder / name).mkdir(parents=True)
    for name in ("other/frame.jpg", "other/list.png", "crops/person/frame-1.jpg"):
        (folder / name).write_bytes(encoded(draw(seed=2)[0]))
    (folder / "list.txt").write_text("frame.jpg\n")
    (folder / "fields.json").write_text('{"type": "object", "properties": {"name": {"type": "string"}}}')
    (folder / "talk.mp3").write_bytes(b"audio")
    (folder / "configs" / "own.yaml").write_text("name: own\n")
    (folder / "configs" / "own.smoke.json").write_text("{}")
    (folder / "workers/own/src").mkdir(parents=True)
    for name in (".vidctl/journal.db", "workers/own/Dockerfile", "workers/own/src/handler.py"):
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text("own")
    (folder / "link.json").symlink_to("frame.jpg")
    (folder / "same").symlink_to(".")
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    outcome = vidctl(*arguments, cwd=folder)

    assert (2, True) == (outcome.status, said in outcome.stderr), outcome.stderr
    assert before == {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


FOUND: dict[str, Any] = {
    "results": [{"detections": [], "count": 0, "image_size": [480, 640], "inference_time": 0.0}],
    "inference_time": 0.0,
}


@pytest.fixture
def detectors(folder):
    """A project with two specs for one task, both deployed, and their endpoints' ids."""
    for key in ("fake", "yolo"):
        (folder / "configs" / f"{key}.yaml").write_text(f"name: {key}\ntask: detect\nimage: me/{key}:1\ngpu: L4\n")
    (folder / ".env").write_text("VIDCTL_FAKE_ENDPOINT_ID=ep-fake\nVIDCTL_YOLO_ENDPOINT_ID=ep-yolo\n")
    return folder


def detected(folder, *arguments, **environ):
    """`vidctl detect`, and which endpoints were asked."""
    with serving(script(ok({"id": "j", "status": "COMPLETED", "output": FOUND["results"][0]}))) as server:
        outcome = runpod(folder, server, "detect", "frame.jpg", *arguments, **environ)
    return outcome, {path.split("/")[1] for path in server.paths()}


def test_of_two_endpoints_none_is_asked_by_chance(detectors):
    """Two specs of one task are deployed: nobody is asked before one is named, and both are."""
    outcome, asked = detected(detectors, "--json")

    failed(outcome, "usage_error", "detect: ", "runpod: fake, yolo", "endpoints: {detect: fake}")
    assert asked == set()


def test_a_project_says_whom_a_task_asks(detectors):
    """vidctl.yaml names it, --endpoint goes before that, and the answer says who gave it."""
    (detectors / "vidctl.yaml").write_text("endpoints: {detect: yolo}\n")
    default, by_default = detected(detectors, "--json")
    named, by_name = detected(detectors, "--endpoint", "fake", "-f", "jsonl")
    told, _ = detected(detectors, "-v")
    given, _ = detected(detectors, "--endpoint-id", "ep-else", "--json")

    assert (by_default, by_name) == ({"ep-yolo"}, {"ep-fake"}), default.stderr
    assert (default.document["endpoint"], named.document["endpoint"]) == ("yolo", "fake")
    assert "asking endpoint yolo (ep-yolo) on runpod" in told.stderr
    assert given.document["endpoint"] == "ep-else"


def test_a_default_that_is_not_deployed_is_said(detectors):
    (detectors / "vidctl.yaml").write_text("endpoints: {detect: other, detekt: yolo}\n")
    mistaken, _ = detected(detectors, "--json")
    (detectors / "vidctl.yaml").write_text("endpoints: {detect: other}\n")
    missing, asked = detected(detectors, "--json")
    (detectors / "configs" / "other.yaml").write_text("name: abc\ntask: transcribe\nimage: a/b:1\ngpu: L4\n")
    for_another_task, asked_then = detected(detectors, "--json", VIDCTL_OTHER_ENDPOINT_ID="ep-other")

    failed(mistaken, "spec_error", "vidctl.yaml", "detekt", '"detect"', varies=True)
    failed(missing, "not_deployed", "vidctl.yaml", "other", varies=True)
    failed(for_another_task, "usage_error", "vidctl.yaml", "other", varies=True)
    assert (asked, asked_then) == (set(), set())
