"""An overlay says only what is different, and every mistake names the file that it is in."""

from __future__ import annotations

import copy
import json
from pathlib import Path

import jsonschema
import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support.command import vidctl
from support.failing import failed, failing

from vidctl import spec
from vidctl.client import Client
from vidctl.errors import SpecError, UsageError
from vidctl.spec.document import parse
from vidctl.spec.overlay import lay as lay_over

ROOT = Path(__file__).parent.parent
BASE = """\
name: echo
task: detect
image: {build: worker, repository: docker.io/you/echo}
gpu: [L4, RTX 4090]
workers:
  min: 1
  max: 3
scaling: {queue_delay: 4s}
env:
  A: base
  B: base
smoke: {input: worker/job.json, contains: {say: hello}}
local: {isolation: process, env: {A: local}, workers: {max: 1}}
"""


@pytest.fixture
def write(tmp_path, monkeypatch):
    """Write a file of a project that one stands in; give its path."""
    monkeypatch.chdir(tmp_path)

    def write(text: str, name: str) -> Path:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
        return path

    write("", "worker/handler.py")
    write('{"input": {"say": "hello"}}', "worker/job.json")
    return write


@pytest.fixture
def lay(write):
    """Write a base, and an overlay over it; give the overlay's path."""

    def lay(overlay: str, base: str = BASE) -> Path:
        write(base, "configs/echo.yaml")
        return write(overlay, "configs/echo.prod.yaml")

    return lay


def told(path: Path) -> list[str]:
    return [str(mistake).splitlines()[0] for mistake in spec.check(path, environ={})]


# --- what an overlay does ------------------------------------------------------------------------------------------


def test_an_overlay_says_only_what_is_different(lay, tmp_path):
    """Mappings key by key, deep ones too; a list and a rule of scaling as a whole; all else stays."""
    overlay = lay(
        "gpu: A100\nworkers: {max: 9}\nscaling: {request_count: 2}\nenv: {B: prod, C: prod}\n"
        "smoke: {contains: {heard: hello}}\nlocal: {env: {A: here}}\n"
    )

    base, laid = (spec.load(path, environ={}) for path in (tmp_path / "configs/echo.yaml", overlay))

    assert ("echo", "echo-prod") == (base.name, laid.name)
    assert ("echo", "echo.prod") == (base.key, laid.key)
    assert (tmp_path / "configs/echo.yaml", overlay) == laid.files
    assert ("AMPERE_24,ADA_24", "AMPERE_80") == (base.gpu.ids, laid.gpu.ids)
    assert (1, 9) == (laid.workers.min, laid.workers.max)
    assert (None, 2) == (laid.scaling.queue_delay_s, laid.scaling.request_count)
    assert {"A": "base", "B": "prod", "C": "prod"} == laid.env
    assert {"heard": "hello"} == laid.smoke.contains
    assert {"A": "here", "B": "prod", "C": "prod"} == laid.with_local().env
    assert ("process", 1) == (laid.with_local().isolation, laid.with_local().workers.max)
    assert (base.image, base.task) == (laid.image, laid.task)


def test_null_takes_a_key_away(lay):
    """A value, or a mapping with all that is in it; the defaults hold again."""
    laid = spec.load(lay("smoke: null\nworkers: null\nenv: {A: null}\n"), environ={})

    assert (None, 0, 3, {"B": "base"}) == (laid.smoke, laid.workers.min, laid.workers.max, laid.env)


def test_an_overlay_may_name_its_endpoint(lay):
    """Then nothing is added to the name."""
    assert "loud-echo" == spec.load(lay("name: loud-echo\n"), environ={}).name


def test_a_shorthand_replaces_a_mapping_and_a_mapping_a_shorthand(lay):
    """They are not merged: one list of GPUs cannot be half of another."""
    base = BASE.replace("[L4, RTX 4090]", "{names: [L4], count: 2}")

    assert 1 == spec.load(lay("gpu: [A100]\n", base), environ={}).gpu.count
    assert ['configs/echo.prod.yaml:1:1: missing key "names"'] == told(lay("gpu: {count: 2}\n"))


def test_overlays_lie_over_overlays(write, lay):
    """`echo.prod.eu` over `echo.prod` over `echo`; each adds to the name."""
    lay("env: {A: prod, B: prod}\n")
    top = write("env: {B: eu}\n", "configs/echo.prod.eu.yml")

    laid = spec.load(top, environ={})

    assert ("echo-prod-eu", {"A": "prod", "B": "eu"}) == (laid.name, laid.env)


def test_an_overlays_variables_are_filled_in(lay):
    """As in any spec."""
    overlay = lay("env: {A: '${WHERE}'}\nworkers: {max: '${MANY}'}\n")

    laid = spec.load(overlay, environ={"WHERE": "there", "MANY": "7"})

    assert ("there", 7) == (laid.env["A"], laid.workers.max)


def test_paths_of_an_overlay_start_from_the_project(write, lay, tmp_path):
    """As the base's do."""
    write("", "other/handler.py")

    assert tmp_path / "other" == spec.load(lay("image: {build: other}\n"), environ={}).image.build


# --- laws ----------------------------------------------------------------------------------------------------------

NAMES = st.sampled_from(["MODEL", "LEVEL", "SIZE"])
ENVIRONMENTS = st.dictionaries(NAMES, st.text(st.characters(codec="ascii", exclude_characters="\0$")), max_size=3)
WORKERS = st.fixed_dictionaries({}, optional={"min": st.integers(0, 3), "max": st.integers(3, 9)})
LOCAL = st.fixed_dictionaries({}, optional={"env": ENVIRONMENTS, "workers": WORKERS})
CONTENT = st.fixed_dictionaries(
    {},
    optional={
        "name": st.sampled_from(["echo", "other"]),
        "gpu": st.sampled_from(["L4", ["L4", "A40"], {"names": ["H100"], "count": 2}]),
        "workers": WORKERS,
        "scaling": st.sampled_from([{"queue_delay": "9s"}, {"request_count": 3}]),
        "env": ENVIRONMENTS,
        "cuda": st.sampled_from([["12.8"], ["13.0", "12.8"], []]),
        "flashboot": st.booleans(),
        "local": LOCAL,
        "image": st.just("you/echo:1.0"),
    },
)
SPECS = CONTENT.map({"name": "echo", "gpu": "L4", "image": "you/echo:1.0"}.__or__)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(content=SPECS)
def test_an_overlay_of_a_spec_over_itself_is_the_spec(lay, tmp_path, content):
    """Whatever it says."""
    overlay = lay(json.dumps(content), json.dumps(content))

    base = spec.load(tmp_path / "configs/echo.yaml", environ={})

    assert base.model_dump() == spec.load(overlay, environ={}).model_dump()


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(content=SPECS, over=CONTENT)
def test_an_overlay_wins_and_leaves_the_rest(lay, tmp_path, content, over):
    """What the overlay says holds; what it does not say is the base's, key by key; the base is what it was."""
    overlay = lay(json.dumps(over), json.dumps(content))
    before = spec.load(tmp_path / "configs/echo.yaml", environ={})

    laid = spec.load(overlay, environ={})

    assert {**content.get("env", {}), **over.get("env", {})} == laid.env
    workers = {"min": 0, "max": 3, **content.get("workers", {}), **over.get("workers", {})}
    assert workers == laid.workers.model_dump()
    for field in set(content) - set(over) - {"name"}:
        assert getattr(before, field) == getattr(laid, field)
    assert before == spec.load(tmp_path / "configs/echo.yaml", environ={})


@given(content=SPECS, over=CONTENT)
def test_laying_over_changes_neither(content, over):
    """What a file was read as is as it was, places and all."""
    base, overlay = (parse(json.dumps(each), {}) for each in (content, over))
    before = copy.deepcopy((base, overlay))

    lay_over(overlay, base, suffix="-prod")

    assert before == (base, overlay)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(content=SPECS, over=CONTENT, removed=st.sampled_from(["workers", "scaling", "env", "flashboot", "cuda"]))
def test_what_null_takes_away_is_as_if_never_said(lay, content, over, removed):
    """A base with a key that the overlay takes away is a base without it."""
    over.pop(removed, None)
    without = {key: value for key, value in content.items() if key != removed}
    expected = spec.load(lay(json.dumps(over), json.dumps(without)), environ={})

    if removed in content:
        assert expected == spec.load(lay(json.dumps({**over, removed: None}), json.dumps(content)), environ={})


# --- mistakes ------------------------------------------------------------------------------------------------------


EITHER = (
    "an image is either built or prebuilt; give one of build: and reference:; "
    "in an overlay null takes away what its base says"
)


@pytest.mark.parametrize(
    ("overlay", "expected"),
    [
        ("workers: {max: -1}\n", ["prod.yaml:1:16: worker count must be between 0 and 1000"]),
        ("workers: {max: 0}\n", ["prod.yaml:1:16: min is more than max"]),
        ("workers: {min: 4}\n", ["prod.yaml:1:16: min is more than max"]),
        ("worker: {min: 4}\n", ['prod.yaml:1:1: unknown key "worker"; did you mean "workers"?']),
        ("env: {A: on}\n", ['prod.yaml:1:10: some YAML parsers read on as true; write true, or "on" if it is text']),
        ("gpu: null\n", ['prod.yaml:1:1: missing key "gpu"']),
        ("timeouts: null\n", ["prod.yaml:1:1: missing value; add one, or remove the line"]),
        ("workers:\n", ["prod.yaml:1:1: missing value; add one, or remove the line"]),
        ("secrets: [B]\n", ["yaml:11:3: already listed in secrets; remove it from env: or from secrets:"]),
        ("env: {A: null}\nsecrets: [A]\nlocal: {env: {A: null}}\n", []),
        ("- a list\n", ["prod.yaml:1:1: expected a mapping (key: value)"]),
        ("", ["prod.yaml:1:1: the file is empty; the shipped configs/yolo.yaml documents every field"]),
        ("image: {reference: 'you/echo:1.0'}\n", [f"prod.yaml:1:8: {EITHER}"]),
        (
            "gpu: {names: [L4, RTX A4000], memory: 24GB}\n",
            ["prod.yaml:1:19: RTX A4000 has 16 GB, and gpu.memory requires 24 GB; AMPERE_24 has 24 GB"],
        ),
    ],
)
def test_a_mistake_is_told_in_the_file_that_makes_it(lay, overlay, expected):
    """Of two values that do not go together, the overlay's is the wrong one; what is gone from the base is not read."""
    assert [f"configs/echo.{line}" for line in expected] == told(lay(overlay))


def test_the_bases_own_mistakes_are_the_bases(lay):
    """Told where they stand, before the overlay's; what the overlay replaces is no mistake with it."""
    base = BASE.replace("max: 3", "max: 3.5").replace("L4,", "RTX 409,").replace("task: detect", "task: detects")

    mistakes = told(lay("task: transcribe\nname: on\n", base))

    assert [
        "configs/echo.yaml:4:7: unknown GPU 'RTX 409'; did you mean RTX 4090?",
        "configs/echo.yaml:7:8: expected a whole number",
        'configs/echo.prod.yaml:2:7: some YAML parsers read on as true; write true, or "on" if it is text',
    ] == mistakes


def test_a_mistake_shows_its_own_files_line(lay):
    """The line under the message is that of the file it names."""
    (mistake,) = spec.check(lay("# one\nflashboot: 3\n"), environ={})

    assert "configs/echo.prod.yaml:2:12: expected true or false\n    flashboot: 3\n               ^" == str(mistake)


def test_what_is_missing_in_both_is_missing_in_the_base(lay):
    """An overlay need not say it."""
    assert ['configs/echo.yaml:1:1: missing key "gpu"'] == told(
        lay("workers: {max: 4}\n", BASE.replace("gpu: [L4, RTX 4090]\n", ""))
    )


def test_no_mistake_tells_what_a_variable_of_the_base_holds(lay):
    """Nor when it is the overlay's value that does not go with it."""
    base = BASE.replace("[L4, RTX 4090]", '{names: ["${GPU}"]}')
    overlay = lay("gpu: {memory: 24GB}\n", base)

    (mistake,) = spec.check(overlay, environ={"GPU": "rtx-a4000"})

    assert "a4000" not in str(mistake).lower()


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["min", "names", "A"]), inner),
    max_leaves=6,
)
KEYS = st.sampled_from(list(spec.json_schema()["properties"]))


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=300)
@given(over=st.dictionaries(KEYS, JSON), base=st.dictionaries(KEYS, JSON))
def test_any_overlay_over_anything_is_a_spec_or_told(lay, over, base):
    """Nothing but SpecError is raised, and each mistake is in one of the two files."""
    overlay = lay(json.dumps(over), json.dumps(base))
    mistakes = spec.check(overlay, environ={})

    assert {mistake.path.name for mistake in mistakes} <= {"echo.yaml", "echo.prod.yaml"}
    if mistakes:
        with pytest.raises(SpecError):
            spec.load(overlay, environ={})
    else:
        assert "echo.prod" == spec.load(overlay, environ={}).key


# --- finding -------------------------------------------------------------------------------------------------------


@pytest.fixture
def several(write):
    for name in ("yolo", "yolo.prod", "yolo.staging", "whisper", "other.v2"):
        write("", f"configs/{name}.yaml")
    for name in ("yolo.prod.eu.yml", "yolo.prod.yml", ".yolo.yaml", "yolo.txt"):
        write("", f"configs/{name}")


def test_overlays_are_no_specs_of_their_own(several, tmp_path):
    """A file with a dot in its name is an overlay where there is a spec for it to lie over."""
    assert ["other.v2", "whisper", "yolo"] == spec.names(tmp_path)
    assert ["prod", "prod.eu", "staging"] == spec.overlays(tmp_path, "yolo")
    assert [] == spec.overlays(tmp_path, "whisper") == spec.overlays(tmp_path, "nothing")


@pytest.mark.parametrize(
    ("name", "overlay", "file"),
    [
        ("yolo", None, "yolo.yaml"),
        ("yolo", "prod", "yolo.prod.yaml"),
        ("yolo.prod", None, "yolo.prod.yaml"),
        ("yolo.prod", "eu", "yolo.prod.eu.yml"),
        ("yolo", "prod.eu", "yolo.prod.eu.yml"),
        ("configs/yolo.yaml", "prod", "yolo.prod.yaml"),
        ("configs/yolo.prod.yaml", None, "yolo.prod.yaml"),
    ],
)
def test_an_overlay_is_found_by_name_and_by_path(several, tmp_path, name, overlay, file):
    """`yolo.prod` means `yolo -e prod`."""
    assert tmp_path / "configs" / file == spec.find(name, root=tmp_path, overlay=overlay).absolute()


@pytest.mark.parametrize(
    ("name", "overlay", "hint"),
    [
        ("yolo", "dev", "prod, prod.eu, staging"),
        ("yolo", "../whisper", "prod, prod.eu, staging"),
        ("whisper", "prod", "configs/whisper.prod.yaml"),
        ("yolo.pord", None, "did you mean yolo.prod?"),
    ],
)
def test_a_missing_overlay_says_which_there_are(several, tmp_path, name, overlay, hint):
    """Or which file to write."""
    with failing("spec_error", name, repr(overlay or name), hint):
        spec.find(name, root=tmp_path, overlay=overlay)


def test_specs_are_loaded_together(write, lay, tmp_path):
    """Each once, and with everything that is wrong in any of them."""
    lay("workers: {max: 4}\n")
    write("name: x\n", "configs/bad.yaml")

    names = ["echo", "echo.prod", "configs/echo.yaml"]

    assert ["echo", "echo.prod"] == [each.key for each in spec.load_all(names, root=tmp_path, environ={})]
    with failing("spec_error", "configs/bad.yaml:1:1: ", '"gpu"', "'ecko'", "did you mean echo?"):
        spec.load_all(["bad", "echo", "ecko"], root=tmp_path, environ={})


# --- where a spec says something -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("field", "place"),
    [
        (("name",), "echo.yaml:1:1"),
        (("workers", "max"), "echo.prod.yaml:2:3"),
        (("workers", "min"), "echo.yaml:6:3"),
        (("workers", "idle"), "echo.prod.yaml:1:1"),
        (("env", "A"), "echo.yaml:10:3"),
        (("env", "B"), "echo.prod.yaml:3:7"),
        (("gpu", "names", 1), "echo.yaml:4:11"),
        (("image", "reference"), "echo.yaml:3:1"),
        (("smoke", "input"), "echo.prod.yaml:4:1"),
        (("disk",), None),
        ((), None),
    ],
)
def test_a_field_is_located_in_the_file_that_has_the_last_word(lay, field, place):
    """The field, else the part that it would be in; nowhere if neither file speaks of it."""
    laid = spec.load(lay("workers:\n  max: 9\nenv: {B: prod}\nsmoke: null\n"), environ={})

    assert (place and f"configs/{place}") == spec.locate(laid, field)


def test_a_field_of_the_local_runtime_is_located_in_local(lay):
    """Where `local` is laid over, it has the last word."""
    endpoint = spec.load(lay("flashboot: true\n"), environ={})

    assert "configs/echo.yaml:7:3" == spec.locate(endpoint, ("workers", "max"))
    assert "configs/echo.yaml:13:56" == spec.locate(endpoint.with_local(), ("workers", "max"))
    assert "configs/echo.yaml:11:3" == spec.locate(endpoint.with_local(), ("env", "B"))


def test_a_file_that_is_gone_says_nothing(lay):
    """Locating never raises: it decorates another error."""
    overlay = lay("flashboot: true\n")
    endpoint = spec.load(overlay, environ={})
    overlay.unlink()

    assert None is spec.locate(endpoint, ("workers", "max"))


# --- the command line, the client, editors -------------------------------------------------------------------------


def test_validate_checks_every_overlay(write, lay, tmp_path):
    """All without a name; the base's mistakes once; with a name just that."""
    lay("workers: {max: 4}\n")
    write("name: echo\ngpu: L4\nimage: you/echo:1.0\nflashboot: 1\n", "configs/bad.yaml")
    write("disk: 20GB\n", "configs/bad.prod.yaml")

    everything = vidctl("validate", cwd=tmp_path)
    one = vidctl("validate", "echo", "-e", "prod", "--json", cwd=tmp_path)
    by_name = vidctl("validate", "echo.prod", cwd=tmp_path)

    assert (2, "echo: valid (echo)\necho.prod: valid (echo-prod)\n") == (everything.status, _first(everything.stdout))
    assert 1 == everything.stderr.count("configs/bad.yaml:4:12: expected true or false")
    assert ["echo.prod"] == [entry["spec"] for entry in one.document["valid"]]
    assert (0, "echo.prod: valid (echo-prod)\n") == (by_name.status, _first(by_name.stdout))


@pytest.mark.parametrize("other", ["echo-prod", "Echo_prod"])
def test_two_specs_never_share_a_name_in_dotenv(lay, tmp_path, other):
    """Else `detect` would ask the endpoint that was deployed last, whichever it is told to."""
    lay("workers: {max: 4}\n")
    (tmp_path / "configs" / f"{other}.yaml").write_text("name: other\ngpu: L4\nimage: you/echo:1.0\n")
    outcome = vidctl("deploy", "echo", "-e", "prod", "--json", cwd=tmp_path)

    failed(outcome, "usage_error", f"echo.prod and {other} ", "VIDCTL_ECHO_PROD_ENDPOINT_ID")


def _first(stdout: str) -> str:
    """Without the notes, which are indented."""
    return "".join(line for line in stdout.splitlines(keepends=True) if not line.startswith(" "))


def test_validate_with_an_environment_that_no_spec_has(lay, tmp_path):
    """All specs that have it; none is a mistake."""
    lay("workers: {max: 4}\n")

    assert "echo.prod: valid (echo-prod)\n" == _first(vidctl("validate", "-e", "prod", cwd=tmp_path).stdout)
    outcome = vidctl("validate", "--env", "dev", cwd=tmp_path)
    assert "" == outcome.stdout
    failed(outcome, "spec_error", "'dev'", "configs/yolo.dev.yaml")


@pytest.mark.parametrize("command", ["plan", "deploy"])
def test_all_specs_are_never_none(lay, tmp_path, command):
    """--all with an overlay that no spec has, or without any spec, is a mistake: CI must not pass by it."""
    lay("workers: {max: 4}\n")
    (tmp_path / "empty" / "configs").mkdir(parents=True)
    unknown = vidctl(command, "--all", "-e", "dev", "--json", cwd=tmp_path)
    none = vidctl(command, "--all", "--json", cwd=tmp_path / "empty")

    failed(unknown, "spec_error", "'dev'")
    failed(none, "spec_error", (tmp_path / "empty").resolve())
    assert vidctl(command, "--json", cwd=tmp_path).error["hint"].endswith(": echo")


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("vidctl validate yolo", ["yolo", "yolo.prod", "yolo.prod.eu", "yolo.staging"]),
        ("vidctl validate yolo -e ", ["prod", "prod.eu", "staging"]),
        ("vidctl validate whisper -e ", []),
        ("vidctl validate -e s", ["staging"]),
        ("vidctl validate whisper --env=", []),
        ("vidctl detect --endpoint whisper -e ", []),
        ("vidctl detect frame.jpg -e ", ["prod", "prod.eu", "staging"]),
    ],
)
def test_completion_knows_specs_and_overlays(several, tmp_path, words, expected):
    """From file names alone; the overlays are those of the specs on the line."""
    count = len(words.split(" ")) - 1
    environ = {"_VIDCTL_COMPLETE": "complete_bash", "COMP_WORDS": words, "COMP_CWORD": str(count)}

    assert expected == vidctl(cwd=tmp_path, **environ).stdout.split()


@pytest.fixture
def deployed(write, lay):
    """A base and an overlay, both deployed to both targets."""
    lay("workers: {max: 4}\n")
    write("VIDCTL_ECHO_ENDPOINT_ID_LOCAL=base\nVIDCTL_ECHO_PROD_ENDPOINT_ID_LOCAL=overlaid\n", ".env")


@pytest.mark.parametrize(
    ("endpoint", "overlay", "expected"),
    [
        (None, None, "base"),
        (None, "prod", "overlaid"),
        ("echo", None, "base"),
        ("echo", "prod", "overlaid"),
        ("echo.prod", None, "overlaid"),
        ("configs/echo.prod.yaml", None, "overlaid"),
    ],
)
def test_a_client_asks_the_endpoint_of_the_overlay(deployed, tmp_path, endpoint, overlay, expected):
    """And that of the spec by itself unless an overlay is named."""
    client = Client(project=tmp_path, target="local", endpoint=endpoint, overlay=overlay)

    assert expected == client.endpoint_id("detect")


def test_a_client_says_which_overlay_is_not_deployed(deployed, tmp_path):
    """Or that there is none for the task."""
    with failing("not_deployed", "echo.dev", "local"):
        Client(project=tmp_path, target="local", endpoint="echo", overlay="dev").endpoint_id("detect")
    with failing("not_deployed", "detect.dev", tmp_path):
        Client(project=tmp_path, target="local", overlay="dev").endpoint_id("detect")
    with pytest.raises(UsageError):
        Client(project=tmp_path, target="local", overlay="prod", endpoint_id="e1")


def test_detect_asks_the_endpoint_of_the_overlay(lay, tmp_path):
    """`-e prod` is enough where one spec is for detect."""
    lay("workers: {max: 4}\n")
    (tmp_path / "frame.jpg").touch()

    outcome = vidctl("detect", "frame.jpg", "-e", "prod", "--target", "local", cwd=tmp_path)

    failed(outcome, "not_deployed", "echo.prod", "hint: vidctl deploy echo.prod --target local")


def test_the_task_of_an_overlay_is_its_own_or_its_bases(write, lay, tmp_path):
    """The last word on the task line."""
    lay("task: transcribe\n")
    write("VIDCTL_ECHO_PROD_ENDPOINT_ID_LOCAL=overlaid\n", ".env")

    assert "overlaid" == Client(project=tmp_path, target="local", overlay="prod").endpoint_id("transcribe")


def test_the_schema_of_overlays_is_current():
    """configs/overlay.schema.json is what `vidctl schema --overlay` prints, to the letter."""
    printed = vidctl("schema", "--overlay", cwd=ROOT).stdout

    assert (ROOT / "configs" / "overlay.schema.json").read_text(encoding="utf-8") == printed


@pytest.mark.parametrize(
    ("overlay", "is_valid"),
    [
        ("workers: {max: 9}\nenv: {A: null}\nsmoke: null\ngpu: {count: 2}\n", True),
        ("gpu: [A100]\nregistry_auth: {username: you}\nlocal: {isolation: container, env: null}\n", True),
        ("worker: {max: 9}\n", False),
        ("workers: {max: many}\n", False),
        ("cuda: [null]\n", False),
    ],
)
def test_an_editor_takes_an_overlay(overlay, is_valid):
    """Nothing is required, null may stand for any key; all else is as in a spec."""
    schema = spec.overlay_schema()
    jsonschema.Draft202012Validator.check_schema(schema)

    assert is_valid == jsonschema.Draft202012Validator(schema).is_valid(yaml.safe_load(overlay))
