"""Questions that have a name: shipped, copied, and the user's own."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
import yaml
from jsonschema import Draft202012Validator
from support.failing import failing

from vidctl.project import configs
from vidctl.spec.presets import Preset, load, names
from vidctl.tasks.describe.model import DescribeOptions
from vidctl.tasks.describe.schema import check

ROOT = Path(__file__).parent.parent
KNOWN = "prompt, system, schema, choices, max_tokens, temperature, description"
SHIPPED = ["caption", "count", "emotion", "ocr", "safety", "timeline"]


@pytest.fixture
def project(tmp_path, monkeypatch):
    """A project of one preset, whose text is to be written; the current folder."""
    (tmp_path / "presets").mkdir()
    monkeypatch.chdir(tmp_path)

    def write(text: str, name: str = "mine.yaml") -> Path:
        (tmp_path / "presets" / name).write_text(text, encoding="utf-8")
        return tmp_path

    return write


@pytest.mark.parametrize("name", SHIPPED)
def test_a_shipped_preset_is_a_question(name, tmp_path):
    """It can be asked as it is, and says what it is for."""
    preset = load(name, root=tmp_path)

    asked = DescribeOptions(
        preset.prompt, system=preset.system, schema=preset.schema, choices=preset.choices,
        max_tokens=preset.max_tokens, temperature=preset.temperature,
    )  # fmt: skip
    assert preset.prompt == asked.prompt
    assert preset.description


def test_emotion_asks_in_the_guides_words(tmp_path):
    """With its limit and its temperature."""
    preset = load("emotion", root=tmp_path)

    asked = "Describe what is happening in this video frame. Pay attention to people's emotions and body language."
    assert (asked, 512, 0.7) == (preset.prompt, preset.max_tokens, preset.temperature)


@pytest.mark.parametrize(
    ("name", "answer"),
    [
        ("count", {"objects": [{"name": "cat", "count": 2}]}), ("count", {"objects": []}),
        ("safety", {"reasons": ["smoke"], "level": "danger"}), ("safety", {"reasons": [], "level": "safe"}),
        ("timeline", {"events": [{"at": 1.5, "what": "A door opens."}]}),
    ],
)  # fmt: skip
def test_a_shipped_schema_takes_what_it_asks_for(name, answer, tmp_path):
    """And nothing in the place of it."""
    schema = load(name, root=tmp_path).schema

    Draft202012Validator.check_schema(schema)
    assert check(schema, answer) is None
    assert check(schema, {}) is not None
    assert check(schema, {**answer, "more": 1}) is not None


@pytest.mark.parametrize("name", SHIPPED)
def test_a_shipped_preset_is_written_to_be_copied(name):
    """It says so at its beginning, and every YAML reader reads it alike."""
    path = ROOT / "vidctl/tasks/describe/presets" / f"{name}.yaml"
    text = path.read_text(encoding="utf-8")

    assert text.startswith("# ")
    assert "copy" in text.split("description:")[0].lower()
    plain = yaml.safe_load(text)
    preset = load(name, root=ROOT / "no such folder")
    assert plain == {key: getattr(preset, key) for key in plain}


def test_a_projects_own_preset_goes_before_the_shipped_one(project):
    """A copy is what is asked from then on; a new name is a new preset."""
    root = project("prompt: What is funny here?\n", "caption.yaml")
    project("prompt: Price in $? Or in ${CURRENCY}?\nchoices: [low, high]\n")

    assert Preset("caption", "What is funny here?") == load("caption", root=root)
    assert Preset("mine", "Price in $? Or in ${CURRENCY}?", choices=("low", "high")) == load("mine", root=root)
    assert sorted([*SHIPPED, "mine"]) == names(root)


def test_names_are_known_without_reading_a_file(project):
    """For completion: broken ones are named too, hidden ones and others are not, and nothing heavy is loaded."""
    root = project("prompt: [")
    project("", ".hidden.yaml")
    project("", "notes.txt")
    code = """if True:
        import sys
        from pathlib import Path
        from vidctl.project import configs

        print(*configs.preset_files(Path(sys.argv[1])))
        sys.exit(bool({"yaml", "pydantic", "PIL"} & set(sys.modules)))
    """
    done = subprocess.run([sys.executable, "-c", code, str(root)], capture_output=True, text=True, check=True)

    assert sorted([*SHIPPED, "mine"]) == names(root) == done.stdout.split()
    assert SHIPPED == list(configs.preset_files(root / "nothing here"))


@pytest.mark.parametrize(
    ("name", "facts"),
    [
        ("emotions", ["did you mean emotion?"]),
        ("xyz", [", ".join(SHIPPED), "presets/NAME.yaml"]),
        ("../pyproject", [", ".join(SHIPPED), "presets/NAME.yaml"]),
        ("", [", ".join(SHIPPED), "presets/NAME.yaml"]),
    ],
)
def test_an_unknown_name_is_answered_with_the_known_ones(name, facts, tmp_path):
    """Or with the one that was meant; no name leads out of the folder."""
    with failing("usage_error", repr(name), *facts):
        load(name, root=tmp_path)


@pytest.mark.parametrize(
    ("text", "mistakes"),
    [
        ("max_tokens: 5\n", {"1:1": ["prompt"]}),
        ("prompt: ' '\n", {"1:9": []}),
        ("prompt: a\npromt: b\n", {"2:1": ["promt", 'did you mean "prompt"?']}),
        ("prompt: a\ntop_p: 1\n", {"2:1": ["top_p", KNOWN]}),
        ("prompt: 5\nmax_tokens: many\ntemperature: 3\n",
         {"1:9": ["text", '"5"'], "2:13": ["whole number"], "3:14": ["2"]}),
        ("prompt: a\nmax_tokens: 0\n", {"2:13": ["1"]}),
        ("prompt: a\nschema: {type: object}\nchoices: [a]\n", {"3:10": ["schema"]}),
        ("prompt: a\nchoices: [yes, no]\n", {"2:11": ["yes", "true", '"yes"'], "2:16": ["no", "false", '"no"']}),
        ("prompt: a\nchoices: [a, '']\n", {"2:14": []}),
        ("prompt: a\nschema: name, age int\n", {"2:9": ["mapping"]}),
        ("prompt: [a\n", {"1:9": []}),
        ("- prompt\n", {"1:1": ["mapping"]}),
        ("prompt: a\nprompt: b\n", {"2:1": ["line 1"]}),
        ("prompt:\n", {"1:1": ["value"]}),
    ],
)  # fmt: skip
def test_each_mistake_in_a_preset_is_told_with_its_place(project, text, mistakes):
    """All at once, as those of a spec are."""
    with failing("spec_error") as caught:
        load("mine", root=project(text))
    lines = [line for line in str(caught.value).splitlines() if not line.startswith(" ")]

    assert len(mistakes) == len(lines)
    for line, (place, facts) in zip(lines, mistakes.items(), strict=True):
        assert line.startswith(f"presets/mine.yaml:{place}: ")
        assert [] == [fact for fact in facts if fact not in line]


@pytest.mark.parametrize("text", ["", "# prompt: later\n"])
def test_an_empty_preset_says_what_is_missing(project, text):
    """And not what a spec would lack."""
    with failing("spec_error", "presets/mine.yaml: ", "`prompt: …`"):
        load("mine", root=project(text))


def test_the_presets_are_in_the_package(tmp_path):
    """What is installed has them."""
    build = "import hatchling.build, os, sys; os.chdir(sys.argv[1]); print(hatchling.build.build_wheel(sys.argv[2]))"
    done = subprocess.run(
        [sys.executable, "-c", build, str(ROOT), str(tmp_path)], capture_output=True, text=True, check=False
    )
    assert 0 == done.returncode, done.stderr
    with zipfile.ZipFile(next(tmp_path.glob("*.whl"))) as wheel:
        found = [Path(name).stem for name in wheel.namelist() if name.startswith("vidctl/tasks/describe/presets/")]

    assert SHIPPED == sorted(found)
