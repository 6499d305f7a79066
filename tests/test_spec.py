"""A spec says what it says, or every mistake in it is told with its place."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path
from typing import Literal

import jsonschema
import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support.command import vidctl
from support.failing import failed, failing, same_wording

from vidctl import spec
from vidctl.errors import SpecError

ROOT = Path(__file__).parent.parent
SPECS = Path(__file__).parent / "specs"
GOOD = sorted((SPECS / "good").glob("*.yaml"))
BAD = sorted((SPECS / "bad").glob("*.yaml"))
SEEN_BY_EDITORS = [path for path in BAD if "# an editor sees it\n" in path.read_text(encoding="utf-8")]
SHIPPED = ROOT / "configs" / "yolo.yaml"
WHISPER = ROOT / "configs" / "whisper.yaml"
OFFICIAL = ROOT / "configs" / "whisper-official.yaml"
MINIMAL = "name: echo\nimage: you/echo:1.0\ngpu: L4\n"


@pytest.fixture
def write(tmp_path):
    """Write a spec, and give its path."""

    def write(text: str | bytes, name: str = "echo.yaml") -> Path:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return path

    return write


def told(mistakes: list[spec.SpecProblem]) -> list[str]:
    return [f"{m.line}:{m.column}: {m.message}{f'; {m.hint}' if m.hint else ''}" for m in mistakes]


# --- mistakes ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", BAD, ids=lambda path: path.stem)
def test_each_mistake_is_told_with_its_place(path):
    """The `# ->` lines of a fixture are all of its mistakes, in order."""
    expected = re.findall(r"^# -> (.*)$", path.read_text(encoding="utf-8"), re.MULTILINE)

    actual = [line.replace(str(path.parent), "<folder>") for line in told(spec.check(path, environ={}))]

    assert expected
    assert expected == actual


def test_a_mistake_shows_the_line_and_a_caret(write, monkeypatch):
    """file:line:column as an editor takes it, relative to where one is; then the line, then the place in it."""
    path = write(MINIMAL + "timeouts: {idle: 5}\n")
    monkeypatch.chdir(path.parent)

    (mistake,) = spec.check(path, environ={})

    assert str(mistake) == (
        "echo.yaml:4:18: invalid duration; write 5s, 2m or 1h30m\n    timeouts: {idle: 5}\n                     ^"
    )


def test_the_caret_stands_under_wide_characters(write):
    """A column counts characters; the caret counts the terminal's cells."""
    (mistake,) = spec.check(write(MINIMAL + 'env: {A: "日本", B: on}\n'), environ={})

    *_, caret = str(mistake).splitlines()
    assert (4, 19) == (mistake.line, mistake.column)
    assert 4 + 18 + 2 + len("^") == len(caret)


def test_a_long_line_is_cut_around_the_caret(write):
    """A line of ten thousand characters does not bury its mistake."""
    text = MINIMAL + 'env: {A: "' + "x" * 10_000 + '", B: on, C: "' + "y" * 10_000 + '"}\n'

    (mistake,) = spec.check(write(text), environ={})

    _, line, caret = str(mistake).splitlines()
    assert len(line) <= 114
    assert line[caret.index("^") :].startswith("on")


def test_load_raises_every_mistake_at_once(write):
    """One SpecError, exit status 2, with all mistakes in its message."""
    path = write("name: on\ngpu: A100 40GB\nworker: 3\n")

    with pytest.raises(SpecError) as caught:
        spec.load(path, environ={})

    assert 2 == caught.value.exit_status
    assert "\n".join(map(str, spec.check(path, environ={}))) == caught.value.message
    assert 4 == len(spec.check(path, environ={}))


@pytest.mark.parametrize(
    ("content", "fact"),
    [
        (b"\xff\xfe\x00", "UTF-8 text (byte 0)"),
        (b"name: caf\xe9\n", "UTF-8 text (byte 9)"),
        (b"\x7fELF\x02\x01\x01\x00\x00", "U+007F"),
        (b"# " + b"x" * 300_000, "256 kB"),
    ],
    ids=["UTF-16", "Latin-1", "binary", "large"],
)
def test_what_is_no_text_is_one_mistake(write, content, fact):
    """Binary, other encodings and whole disks are refused before they are parsed."""
    (mistake,) = spec.check(write(content), environ={})

    assert fact in mistake.message
    same_wording(mistake.message)


def test_what_is_no_file_is_one_mistake(tmp_path):
    """A folder, a name that is not there, and names that no file can have."""
    pipe = tmp_path / "pipe.yaml"
    os.mkfifo(pipe)

    messages = [
        [mistake.message for mistake in spec.check(path, environ={})]
        for path in (tmp_path, tmp_path / "no.yaml", tmp_path / ("x" * 300), tmp_path / "a\0b", pipe)
    ]

    assert all(1 == len(found) for found in messages)
    for (message,) in messages[:2]:
        same_wording(message)


@pytest.mark.parametrize(
    "text",
    [
        "x-bomb:\n- &a [1, 1, 1, 1, 1, 1, 1, 1, 1, 1]\n"
        + "".join(f"- &{b} [{', '.join([f'*{a}'] * 10)}]\n" for a, b in zip("abcdefgh", "bcdefghi", strict=True)),
        "x-a: &a {k: v}\n" + "".join(f"x-{i}: &a{i}\n  <<: [{', '.join(['*a'] * 999)}]\n" for i in range(40)),
        "x-0: &n0 []\n" + "".join(f"x-{i}: &n{i} [*n{i - 1}]\n" for i in range(1, 2000)),
        "x-0: &n0 {}\n" + "".join(f"x-{i}: &n{i} {{<<: *n{i - 1}}}\n" for i in range(1, 2000)),
        "[" * 100_000,
        "{a: " * 60_000,
        "x-a: &a\n  <<: *a\n",
        "- " * 100_000,
        "? " * 100_000,
        MINIMAL + 'env: {A: "' + "${A:-" * 40_000 + '"}\n',
        MINIMAL + "disk: " + "9" * 200_000 + "\n",
    ],
    ids=[
        "bomb",
        "merges",
        "tower",
        "merge-tower",
        "brackets",
        "braces",
        "merge-loop",
        "dashes",
        "questions",
        "variables",
        "digits",
    ],
)
def test_aliases_and_nesting_cannot_run_away(write, text):
    """Depth and size are limited before they cost anything."""
    mistakes = spec.check(write(text), environ={})

    assert 1 == len(mistakes)


# --- what a good spec says -----------------------------------------------------------------------------------------


def test_the_shortest_spec_has_sensible_defaults():
    """Three keys make an endpoint that costs nothing while nobody asks."""
    path = SPECS / "good" / "minimal.yaml"

    endpoint = spec.load(path, environ={})

    assert ("echo", "minimal", path) == (endpoint.name, endpoint.key, endpoint.path)
    assert SPECS / "good" / "worker" == endpoint.image.build
    assert "AMPERE_24" == endpoint.gpu.ids
    assert (0, 3) == (endpoint.workers.min, endpoint.workers.max)
    assert (4, None) == (endpoint.scaling.queue_delay_s, endpoint.scaling.request_count)
    assert (5, 600) == (endpoint.timeouts.idle_s, endpoint.timeouts.execution_s)
    assert (10, True, {}, ()) == (endpoint.disk_gb, endpoint.flashboot, endpoint.env, endpoint.secrets)
    assert endpoint.with_local() is endpoint


def test_every_field_is_read():
    """Quoted numbers stay text, sizes and durations become numbers, `<<` merges, `contains` is any JSON."""
    endpoint = spec.load(SPECS / "good" / "full.yaml", environ={})

    assert "worker-vllm" == endpoint.image.protocol
    assert (2, True) == (endpoint.gpu.count, endpoint.gpu.exact)
    assert "AMPERE_24,ADA_24,-NVIDIA RTX A5000,-NVIDIA GeForce RTX 3090" == endpoint.gpu.ids
    assert (1, 4) == (endpoint.workers.min, endpoint.workers.max)
    assert (3600, 93_784) == (endpoint.timeouts.idle_s, endpoint.timeouts.execution_s)
    assert (20, 24) == (endpoint.disk_gb, endpoint.gpu.memory_gb)
    assert {"QUOTED": "010", "DOLLAR": "a$b default", "EMPTY": ""}.items() <= endpoint.env.items()
    assert ("12.8", "12.10") == endpoint.cuda
    assert ("my models", "volume") == (endpoint.network_volume, endpoint.weights)
    assert spec.RegistryAuth(name="hub", username="you", password="HUB_TOKEN") == endpoint.registry_auth
    assert endpoint.smoke is not None
    assert {"echo": {"say": "hello"}, "list": [1, 2.5, True, None]} == endpoint.smoke.contains


def test_local_is_laid_over():
    """`env` key by key, the other parts as a whole; what is not named stays."""
    endpoint = spec.load(SPECS / "good" / "full.yaml", environ={})

    local = endpoint.with_local()

    assert {**endpoint.env, "PLAIN": "local", "OPENAI_BASE_URL": "http://127.0.0.1:11434/v1"} == local.env
    assert (1, 2) == (local.workers.min, local.workers.max)
    assert (2, None) == (local.scaling.queue_delay_s, local.scaling.request_count)
    assert (120, 600) == (local.timeouts.idle_s, local.timeouts.execution_s)
    assert (endpoint.path, endpoint.gpu, None) == (local.path, local.gpu, local.local)
    assert ("container", "container") == (endpoint.isolation, local.isolation)


@pytest.mark.parametrize(
    ("model", "is_path"), [("weights/best.pt", True), ("best.pt", True), ("yolo11n.pt", False), ("base", False)]
)
def test_weights_in_the_project_are_found_from_there(write, tmp_path, model, is_path):
    """A local worker has a working folder of its own; a model's name stays one."""
    for name in ("weights/best.pt", "best.pt", "base/model.bin"):
        write("", name)
    text = f"{MINIMAL}local: {{env: {{MODEL: '${{VIDCTL_YOLO_MODEL}}'}}}}\n"
    endpoint = spec.load(write(text), environ={"VIDCTL_YOLO_MODEL": model})

    assert (str(tmp_path / model) if is_path else model) == endpoint.with_local().env["MODEL"]


def test_what_an_image_is_built_with(write):
    """The Dockerfile's place in the folder, its stage and its arguments; those of the local runtime are laid over."""
    write("", "worker/handler.py")
    write("", "worker/docker/gpu.Dockerfile")
    arguments = "build_args: {BASE: 'a:1', TORCH: '2'}"
    image = f"image: {{build: worker, dockerfile: docker/gpu.Dockerfile, target: serverless, {arguments}}}"
    local = "local: {build_args: {BASE: 'b:1', CPU: '1'}}"

    endpoint = spec.load(write(f"name: echo\n{image}\ngpu: L4\n{local}\n"), environ={})

    assert (Path("docker/gpu.Dockerfile"), "serverless", {"BASE": "a:1", "TORCH": "2"}) == (
        endpoint.image.dockerfile,
        endpoint.with_local().image.target,
        endpoint.image.build_args,
    )
    assert {"BASE": "b:1", "TORCH": "2", "CPU": "1"} == endpoint.with_local().image.build_args
    assert (None, None) == (endpoint.isolation, endpoint.with_local().isolation)


def test_what_is_run_of_a_folder(write):
    """What the Dockerfile starts, else by its name; `local.handler` goes before both, on the local runtime."""
    write("", "worker/src/rp_handler.py")
    write("", "worker/src/start.py")
    text = "name: echo\nimage: {build: worker}\ngpu: L4\n"
    named = spec.load(write(f"{text}local: {{handler: src/start.py}}\n"), environ={})
    found = spec.load(write(text), environ={})
    write("FROM a\nCOPY src /\nCMD python /start.py\n", "worker/Dockerfile")

    assert (Path("src/start.py"), Path("src/start.py")) == (named.handler, named.with_local().handler)
    assert Path("src/start.py") == found.with_local().handler
    (named.image.build / "Dockerfile").unlink()
    assert Path("src/rp_handler.py") == found.handler


def test_a_folder_needs_a_dockerfile_or_a_handler(write):
    """Wherever the Dockerfile is; what its image starts may have any name."""
    named = ", dockerfile: gpu/Docker.file"
    for folder, file, more in (
        ("a", "Dockerfile", ""),
        ("b", ".runpod/Dockerfile", ""),
        ("c", "gpu/Docker.file", named),
    ):
        write("FROM a\nCMD ./serve\n", f"{folder}/{file}")
        loaded = spec.load(write(f"name: echo\nimage: {{build: {folder}{more}}}\ngpu: L4\n"), environ={})

        assert loaded.handler is None


@pytest.fixture
def described(write):
    """A spec of a built worker that has a model, with these lines."""
    write("", "worker/handler.py")

    def described(*lines: str, image: str = "{build: worker}", env: str = "{MODEL_NAME: Qwen/Qwen3-VL-8B-Instruct}"):
        text = f"name: eyes\ntask: describe\nimage: {image}\ngpu: A100\nenv: {env}\n"
        return spec.load(write(text + "".join(f"{line}\n" for line in lines), "eyes.yaml"), environ={})

    return described


MODEL = {"MODEL_NAME": "Qwen/Qwen3-VL-8B-Instruct"}


@pytest.mark.parametrize(
    ("lines", "told", "args", "references"),
    [
        ((), {}, {}, ()),
        (
            ("weights: cache",),
            {"WEIGHTS": "cache"},
            {},
            ("https://huggingface.co/Qwen/Qwen3-VL-8B-Instruct:main",),
        ),
        (("weights: volume", "network_volume: models"), {"WEIGHTS": "volume"}, {"RUN_AS": "0"}, ()),
        (("weights: bake",), {"WEIGHTS": "bake"}, {**MODEL, "BAKE": "1"}, ()),
    ],
)
def test_where_a_built_worker_finds_its_weights(described, lines, told, args, references):
    """It is told in a variable; the cache, and the Dockerfile, are told what it needs of them."""
    endpoint = described(*lines)

    assert ({**MODEL, **told}, args) == (endpoint.worker_env, endpoint.build_args)
    assert references == endpoint.model_references


def test_a_prebuilt_worker_is_told_nothing_of_weights(described):
    """RunPod's own looks in the cache by itself, and has no such variable."""
    endpoint = described("weights: cache", image="runpod/worker-v1-vllm:v2.25.2")

    assert (MODEL, {}) == (endpoint.worker_env, endpoint.build_args)
    assert ("https://huggingface.co/Qwen/Qwen3-VL-8B-Instruct:main",) == endpoint.model_references


def test_a_revision_goes_with_the_model(described):
    env = "{MODEL_NAME: me/mine, MODEL_REVISION: v2}"

    assert ("https://huggingface.co/me/mine:v2",) == described("weights: cache", env=env).model_references
    assert {"MODEL_NAME": "me/mine", "MODEL_REVISION": "v2", "BAKE": "1"} == described(
        "weights: bake", env=env
    ).build_args


def test_what_a_spec_says_itself_of_weights_stands(described):
    """A Dockerfile, and a worker, may have ways of their own."""
    image = "{build: worker, build_args: {BAKE: all, MODEL_NAME: other/model}}"
    endpoint = described("weights: bake", image=image, env="{MODEL_NAME: me/mine, WEIGHTS: everywhere}")

    assert {"MODEL_NAME": "other/model", "BAKE": "all"} == endpoint.build_args
    assert "everywhere" == endpoint.worker_env["WEIGHTS"]


def test_a_token_is_never_baked_in(described):
    """Nor any other secret: an image shows its build arguments to whoever has it."""
    endpoint = described("weights: bake", "secrets: [HF_TOKEN]")

    assert {**MODEL, "BAKE": "1"} == endpoint.build_args


@pytest.mark.parametrize("lines", [("weights: cache",), ("weights: bake",), ("weights: volume", "network_volume: m")])
@pytest.mark.parametrize("local", ["local: {workers: {max: 1}}", "x-nothing: 1"])
def test_on_the_local_runtime_weights_mean_nothing(described, lines, local):
    """Its worker downloads its model, or reads a folder."""
    here = described(*lines, local).with_local()

    assert (None, (), {}, MODEL) == (here.weights, here.model_references, here.build_args, here.worker_env)


def test_an_overlay_takes_weights_away(described, write):
    """`null` as for any other key."""
    described("weights: cache")
    overlay = write("weights: null\n", "eyes.plain.yaml")

    assert spec.load(overlay, environ={}).weights is None


@pytest.mark.parametrize(
    "url",
    ["http://127.0.0.1:11434/v1", "https://llm.example.com/api/v1", "http://[::1]:8000/v1", "http://box.local/v1/"],
)
def test_a_server_that_the_user_has_already(described, url):
    """`local.openai` is the local worker's OPENAI_BASE_URL, and nothing at RunPod."""
    endpoint = described(f'local: {{openai: "{url}"}}')

    assert url == endpoint.with_local().worker_env["OPENAI_BASE_URL"]
    assert "OPENAI_BASE_URL" not in endpoint.worker_env


@pytest.mark.parametrize(
    "url", ["ftp://x/v1", "http://", "http://[::1/v1", "http://x:99999/v1", "http://a b/v1", "/v1", ""]
)
def test_what_is_no_server_is_a_mistake(write, url):
    (mistake,) = spec.check(write(MINIMAL + f"local:\n  openai: {json.dumps(url)}\n"), environ={})

    assert (5, 11) == (mistake.line, mistake.column)


def test_a_key_in_a_server_s_address_is_not_shown(write):
    """Neither the line of the mistake itself, nor that of another beside it."""
    text = MINIMAL + 'local: {openai: "http://me:s3cr3t@127.0.0.1/v1", workers: 5}\n'

    said = "\n".join(map(str, spec.check(write(text), environ={})))

    assert all(f"echo.yaml:4:{column}: " in said for column in (17, 59))
    assert "s3cr3t" not in said
    same_wording(said)


@pytest.mark.parametrize("login", ["hub", "clzdaifot0001l90809257ynb", "you@example.com (read only)"])
def test_a_login_by_its_name_or_id_alone(write, login):
    """What RunPod keeps already needs neither a username nor a password."""
    endpoint = spec.load(write(MINIMAL + f"registry_auth: {login}\n"), environ={})

    assert spec.RegistryAuth(name=login) == endpoint.registry_auth


@pytest.mark.parametrize(
    ("gpu", "is_told"),
    [
        ("{names: RTX A4500, memory: 16GB}", False),
        ("{names: RTX A4500, memory: 17GB}", True),
        ("{names: RTX A4500, memory: 20GB, exact: true}", False),
        ("{names: [RTX A4500, RTX A4000], memory: 20GB, exact: true}", True),
        ("{names: AMPERE_16, memory: 16GB}", False),
        ("{names: AMPERE_16, memory: 20GB, exact: true}", True),
        ("{names: [H200, L4], memory: 24GB}", False),
    ],
)
def test_the_smallest_card_that_runpod_may_give_counts(write, gpu, is_told):
    """RunPod rents pools; `exact` keeps to the cards named, each of which must have the memory."""
    mistakes = spec.check(write(f"name: echo\nimage: you/echo:1.0\ngpu: {gpu}\n"), environ={})

    assert is_told == bool(mistakes)


def test_relative_paths_start_from_the_project(write):
    """The project is what holds configs/; a spec elsewhere stands for itself."""
    write("", "worker/handler.py")
    text = "name: echo\nimage: {build: worker}\ngpu: L4\n"

    in_project = spec.load(write(text, "configs/echo.yaml"), environ={})
    alone = spec.load(write(text, "echo.yaml"), environ={})

    assert in_project.image.build == alone.image.build
    assert in_project.image.build is not None
    assert in_project.image.build.is_absolute()


def test_variables_fill_values_of_every_kind():
    """Where a number or true/false is expected, a variable's text is read as one; where text is, it stays text."""
    environ = {
        "NAME": "on",
        "GPUS": "4",
        "EXACT": "false",
        "MAX": "9",
        "DELAY": "1m",
        "FLASHBOOT": "true",
        "NUMBER": "010",
    }

    endpoint = spec.load(SPECS / "good" / "variables.yaml", environ=environ)

    assert ("on-endpoint", 4, False, 9) == (
        endpoint.name,
        endpoint.gpu.count,
        endpoint.gpu.exact,
        endpoint.workers.max,
    )
    assert (60, True, "010", ("12.10",)) == (
        endpoint.scaling.queue_delay_s,
        endpoint.flashboot,
        endpoint.env["NUMBER"],
        endpoint.cuda,
    )


def test_an_empty_variable_takes_the_default(write):
    """As in a shell, `:-` is for unset and empty; without it empty is empty."""
    endpoint = spec.load(write(MINIMAL + 'env: {A: "${E:-x}", B: "${E}"}\n'), environ={"E": ""})

    assert {"A": "x", "B": ""} == endpoint.env


NO_SURROGATES: list[Literal["Cs"]] = ["Cs"]
TEXT = st.text(st.characters(exclude_categories=NO_SURROGATES, exclude_characters="\0"))


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(value=TEXT)
def test_a_variable_gives_its_text_and_nothing_else(write, value):
    """Whatever a variable holds, quotes and newlines and ${…} included, it ends up in one value, unchanged."""
    endpoint = spec.load(write(MINIMAL + "env:\n  A: ${V}\n  B: '${V}'\n  C: kept\n"), environ={"V": value})

    assert {"A": value, "B": value, "C": "kept"} == endpoint.env


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(value=TEXT)
def test_a_quoted_dollar_is_a_dollar(write, value):
    """Any text can be written: quoted as JSON, its $ doubled."""
    text = MINIMAL + f"env: {{A: {json.dumps(value.replace('$', '$$'))}}}\n"

    assert {"A": value} == spec.load(write(text), environ={}).env


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    value=st.text(st.characters(min_codepoint=33, max_codepoint=126), min_size=8).map("s3cr3t".__add__),
    field=st.sampled_from(["gpu", "name", "task", "disk", "flashboot", "registry_auth", "schema_version", "cuda"]),
)
def test_no_mistake_tells_what_a_variable_holds(write, value, field):
    """A secret put in the wrong place is not printed: the file's own line is shown."""
    spelt = {"name": "name: echo", "image": "image: you/echo:1.0", "gpu": "gpu: L4", field: f"{field}: ${{V}}"}

    said = "\n".join(map(str, spec.check(write("\n".join(spelt.values())), environ={"V": value})))

    assert "s3cr3t" not in said


@pytest.mark.parametrize("other", ["usernam: you", "name: 5", "name: hub, username: [you]"])
def test_no_mistake_shows_a_line_with_a_password(write, other):
    """Where one was written in spite of all, it does not reach a log by way of another mistake beside it."""
    mistakes = spec.check(write(MINIMAL + f"registry_auth: {{{other}, password: s3cr3t}}\n"), environ={})

    assert len(mistakes) > 1
    assert "s3cr3t" not in "\n".join(map(str, mistakes))


# --- nothing raises anything else ----------------------------------------------------------------------------------


def assert_told(path: Path) -> None:
    """Either the file is a spec, or its mistakes are told, each within the file, and load raises just them."""
    mistakes = spec.check(path, environ={})
    if not mistakes:
        spec.load(path, environ={})
        return
    with pytest.raises(SpecError) as caught:
        spec.load(path, environ={})

    assert "\n".join(map(str, mistakes)) == caught.value.message


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=300)
@given(content=st.binary() | st.text(st.characters(exclude_categories=NO_SURROGATES)).map(str.encode))
def test_any_bytes_are_a_spec_or_told(write, content):
    """No byte sequence raises anything but SpecError."""
    assert_told(write(content))


FRAGMENTS = st.sampled_from(
    [
        *(
            "name",
            "gpu",
            "image",
            "env",
            "local",
            "smoke",
            "x-a",
            "[",
            "]",
            "{",
            "}",
            ":",
            ",",
            "-",
            "?",
            "|",
            ">",
            "&",
        ),
        *("*", "!", "%", "@", "`", "#", "'", '"', "\\", "\t", "\n", "\r", "<<", "*a", "&a", "null", "~", "on", "010"),
        *("1:30", "${", "}", "${V}", "$$", "${V:-1}", "!!str", "---", "...", "\\UFFFFFFFF", "\\uD800", "\a", "\x85"),
        *("\u2028", "é", "日", "1e999", "9" * 30, "%YAML 1.1", "%TAG ! x:", " ", "  ", ": ", "- "),
    ]
)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=300)
@given(text=st.lists(FRAGMENTS).map("".join))
def test_any_yaml_is_a_spec_or_told(write, text):
    """Nor does what looks like YAML."""
    assert_told(write(text.encode("utf-8", "replace")))


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow], max_examples=300)
@given(
    edits=st.lists(st.tuples(st.integers(0, 2000), st.integers(0, 12), FRAGMENTS | st.just("")), min_size=1, max_size=4)
)
def test_a_damaged_spec_is_a_spec_or_told(write, edits):
    """Nor does a good spec with cuts and splices."""
    text = (SPECS / "good" / "full.yaml").read_text()
    for at, cut, splice in edits:
        start = at % len(text)
        text = text[:start] + splice + text[start + cut :]

    assert_told(write(text))


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)
KEYS = st.sampled_from(list(spec.json_schema()["properties"]))


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=300)
@given(value=st.dictionaries(KEYS, JSON | st.dictionaries(st.sampled_from(["names", "min", "idle", "env"]), JSON)))
def test_any_value_anywhere_is_a_spec_or_told(write, value):
    """Nor does a value of the wrong kind in any field."""
    assert_told(write(json.dumps(value)))


# --- finding -------------------------------------------------------------------------------------------------------


def test_a_spec_is_found_by_name_and_by_path(write, tmp_path, monkeypatch):
    """`yolo` is configs/yolo.yaml of the project wherever one stands; a path is a path."""
    yolo, other = write("", "configs/yolo.yaml"), write("", "configs/other.yml")
    elsewhere = write("", "elsewhere/mine.yaml")
    monkeypatch.chdir(tmp_path / "elsewhere")

    assert ["other", "yolo"] == spec.names(tmp_path)
    assert [yolo, other] == [spec.find(name, root=tmp_path) for name in ("yolo", "other")]
    assert [elsewhere, Path("mine.yaml")] == [spec.find(name, root=tmp_path) for name in (str(elsewhere), "mine.yaml")]


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("yollo", "did you mean yolo?"),
        ("configs/yollo.yaml", "did you mean yolo?"),
        ("banana", "whisper, yolo"),
        ("a\0b", "whisper, yolo"),
        ("../configs/yolo", "did you mean yolo?"),
        ("", "whisper, yolo"),
    ],
)
def test_an_unknown_name_is_answered_with_those_there_are(write, tmp_path, name, hint):
    """The nearest, or all of them."""
    write("", "configs/yolo.yaml")
    write("", "configs/whisper.yml")

    with failing("spec_error", repr(name), hint):
        spec.find(name, root=tmp_path)


@pytest.mark.parametrize("command", [["validate"], ["deploy", "--target", "local"]], ids=lambda command: command[0])
def test_the_command_line_says_which_specs_there_are(write, tmp_path, command):
    """An unknown name is no mistake within a spec, and the schema would not help."""
    write(MINIMAL, "configs/yolo.yaml")
    write(MINIMAL, "configs/whisper.yaml")

    outcome = vidctl(*command, "banana", cwd=tmp_path)

    assert "" == outcome.stdout
    assert "vidctl schema" not in outcome.stderr
    failed(outcome, "spec_error", "'banana'", "whisper, yolo")


def test_validate_hints_at_the_schema_where_a_spec_is_wrong(write, tmp_path):
    """Beside it each unknown name keeps its own hint."""
    write("name: echo\n", "configs/yolo.yaml")

    outcome = vidctl("validate", "yolo", "yollo", cwd=tmp_path)

    failed(outcome, "spec_error", "'yollo'", "did you mean yolo?\n", "\nhint: vidctl schema ")


def test_a_project_without_specs_says_where_they_go(tmp_path):
    """An empty project is told what to write."""
    with failing("spec_error", "'yolo'", "configs/NAME.yaml"):
        spec.find("yolo", root=tmp_path)

    assert [] == spec.names(tmp_path)


# --- the shipped spec and the schema -------------------------------------------------------------------------------


def test_the_shipped_spec_carries_the_guides_settings():
    """yolo11-detection: RTX 4090 then A40, 0 to 3 workers, idle 5 s, execution 30 s, 10 GB."""
    endpoint = spec.load(SHIPPED, environ={})

    assert ("yolo11-detection", "detect", "yolo") == (endpoint.name, endpoint.task, endpoint.key)
    assert "ADA_24,AMPERE_48" == endpoint.gpu.ids
    assert (0, 3) == (endpoint.workers.min, endpoint.workers.max)
    assert (5, 30, 10) == (endpoint.timeouts.idle_s, endpoint.timeouts.execution_s, endpoint.disk_gb)
    assert {"MODEL": "yolo11m.pt"} == endpoint.env
    assert ROOT / "workers" / "yolo" == endpoint.image.build
    assert "docker.io/you/yolo11-runpod" == endpoint.image.repository
    assert {"MODEL": "yolo11n.pt"} == endpoint.with_local().env


def test_whispers_spec_carries_the_guides_settings():
    """faster-whisper-transcription: A40 then A100, 0 to 5 workers, idle 5 s, execution 60 s, 15 GB."""
    endpoint = spec.load(WHISPER, environ={})

    assert ("faster-whisper-transcription", "transcribe") == (endpoint.name, endpoint.task)
    assert "AMPERE_48,AMPERE_80" == endpoint.gpu.ids
    assert (0, 5) == (endpoint.workers.min, endpoint.workers.max)
    assert (5, 60, 15) == (endpoint.timeouts.idle_s, endpoint.timeouts.execution_s, endpoint.disk_gb)
    assert "large-v3-turbo" == endpoint.env["MODEL"]
    assert ROOT / "workers" / "whisper" == endpoint.image.build
    assert "base" == endpoint.with_local().env["MODEL"]


def test_runpods_own_whisper_worker_can_stand_beside_ours():
    """Its image and its protocol, the same GPUs and workers, and a name of its own."""
    ours, official = (spec.load(path, environ={}) for path in (WHISPER, OFFICIAL))

    assert ("transcribe", "worker-faster_whisper") == (official.task, official.image.protocol)
    assert "runpod/ai-api-faster-whisper:1.0.10" == official.image.reference
    assert (ours.gpu, ours.workers, ours.timeouts) == (official.gpu, official.workers, official.timeouts)
    assert ours.name != official.name


def test_the_shipped_spec_documents_every_field():
    """Each field of the schema, nested ones included, is written or shown in its comments."""
    text = SHIPPED.read_text()
    schema = spec.json_schema()
    fields = set(schema["properties"])
    for part in schema["$defs"].values():
        for form in [part, *part.get("anyOf", ())]:
            fields |= set(form.get("properties", ()))

    assert [] == [field for field in sorted(fields) if not re.search(rf"\b{field}\b:?", text)]
    assert text.startswith("# yaml-language-server: $schema=spec.schema.json\n")


def test_the_checked_in_schema_is_current():
    """configs/spec.schema.json is what `vidctl schema` prints, to the letter."""
    printed = vidctl("schema", cwd=ROOT).stdout

    assert (ROOT / "configs" / "spec.schema.json").read_text(encoding="utf-8") == printed
    assert spec.json_schema() == json.loads(printed)


@pytest.mark.parametrize("path", [SHIPPED, WHISPER, OFFICIAL, *GOOD], ids=lambda path: path.stem)
def test_the_schema_takes_every_good_spec(path):
    """An editor marks nothing in a spec that loads."""
    schema = spec.json_schema()
    jsonschema.Draft202012Validator.check_schema(schema)

    jsonschema.validate(yaml.safe_load(path.read_text()), schema, jsonschema.Draft202012Validator)

    assert [] == spec.check(path, environ={})


@pytest.mark.parametrize("path", SEEN_BY_EDITORS, ids=lambda path: path.stem)
def test_the_schema_refuses_what_an_editor_can_see(path):
    """Unknown and missing keys, wrong kinds and wrong forms are marked while typing: the fixtures say which."""
    validator = jsonschema.Draft202012Validator(spec.json_schema())

    assert not validator.is_valid(yaml.safe_load(path.read_text(encoding="utf-8")))


def test_a_least_cuda_version_and_a_list_exclude_each_other(write):
    """RunPod answers 400 to both, so the spec's line is told first."""
    (mistake,) = spec.check(write(MINIMAL + 'cuda: ["12.8"]\nmin_cuda: "12.8"\n'), environ={})

    assert (5, 11) == (mistake.line, mistake.column)
    same_wording(mistake.message)
    assert spec.load(write(MINIMAL + 'min_cuda: "12.8"\n'), environ={}).min_cuda == "12.8"
