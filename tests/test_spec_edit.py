"""What changes in a spec's file when a value is written into it: that value, and nothing else."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.failing import failing

from vidctl.spec import edit
from vidctl.spec.document import parse

MIN, MAX, IDLE = ("workers", "min"), ("workers", "max"), ("timeouts", "idle")


def written(tmp_path, text, values):
    path = tmp_path / "yolo.yaml"
    path.write_bytes(text.encode())
    edit.edited(path, values).write()
    return path.read_bytes().decode()


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("workers: # how many\n  min: 0 # none\n  max:   3  # at most\n", None),
        ("workers:\n    # nobody\n\n    max: 3\nname: x\n", "workers:\n    # nobody\n\n    max: 5\nname: x\n"),
        ("name: x\nworkers:\n  min: 0\n# end", "name: x\nworkers:\n  min: 0\n  max: 5\n# end"),
        ("name: x\r\nworkers: {min: 0}\r\n", "name: x\r\nworkers: {max: 5, min: 0}\r\n"),
        ('{"name": "x", "workers": {"min": 0, "max": 3}}', '{"name": "x", "workers": {"min": 0, "max": 5}}'),
        ('{"name": "x"}', '{"workers": {"max": 5}, "name": "x"}'),
        ("name: x", "name: x\nworkers:\n  max: 5\n"),
        ("name: |\n  long\n", "name: |\n  long\nworkers:\n  max: 5\n"),
        ("\ufeffname: x\nworkers: {}\n", "\ufeffname: x\nworkers: {max: 5}\n"),
        ("  name: x\n  workers:\n    max: '3'\n", "  name: x\n  workers:\n    max: 5\n"),
    ],
)  # fmt: skip
def test_only_the_value_changes(tmp_path, before, after):
    """Comments, order, indentation, quotes of keys and line ends stay; JSON stays JSON."""
    assert (after or before.replace("3", "5")) == written(tmp_path, before, {MAX: "5"})


def test_several_values_of_which_some_are_new(tmp_path):
    text = written(tmp_path, "name: x # mine\ntimeouts:\n  idle: 5s # short\n", {MIN: "1", MAX: "5", IDLE: "90s"})

    assert text == "name: x # mine\ntimeouts:\n  idle: 90s # short\nworkers:\n  min: 1\n  max: 5\n"


def test_json_keeps_its_quotes(tmp_path):
    text = written(tmp_path, '{"timeouts": {"idle": "5s"},\n "workers": {"min": 0}}', {IDLE: "90s"})

    assert text == '{"timeouts": {"idle": "90s"},\n "workers": {"min": 0}}'


def test_a_variable_is_left_and_said(tmp_path):
    path = tmp_path / "yolo.yaml"
    path.write_text("workers:\n  min: 0\n  max: ${MAX:-3}\n")
    found = edit.edited(path, {MIN: "1", MAX: "5"})

    assert found.text == "workers:\n  min: 1\n  max: ${MAX:-3}\n"
    [sentence] = found.left
    assert all(fact in sentence for fact in ("yolo.yaml:3:8", "workers.max", "${MAX:-3}", "5"))


@pytest.mark.parametrize(
    "text",
    [
        "other: &few {max: 3}\nworkers: *few\n",
        "other: &few 3\nworkers:\n  max: *few\n",
        "base: &base\n  max: 3\nworkers:\n  <<: *base\n",
        "workers:\n",
        "name: x\n...\n",
        "",
    ],
)
def test_what_would_change_more_is_refused(tmp_path, text):
    """An anchor that is used elsewhere too, and places where nothing can be seen."""
    path = tmp_path / "yolo.yaml"
    path.write_text(text)

    with failing("spec_error", "yolo.yaml", "workers.max: 5"):
        edit.edited(path, {MAX: "5"})
    assert path.read_text() == text


_keys = st.sampled_from(["min", "max", "name", "idle", "env"])
_scalars = st.integers(0, 99).map(str) | st.sampled_from(["5s", '"5s"', "'x'", "true"])


@given(
    st.dictionaries(_keys, _scalars, min_size=1, max_size=4),
    st.sampled_from(["workers:\n{}", "workers: {{{}}}\n"]),
    st.sampled_from(["", "# a comment\n", "name: x\n"]),
    st.integers(0, 1000),
)
def test_what_is_read_again_is_what_was_meant(tmp_path_factory, values, frame, rest, most):
    """Whatever else stands there."""
    is_flow = "{{" in frame
    pairs = [f"{key}: {value}" for key, value in values.items()]
    text = rest + frame.format(", ".join(pairs) if is_flow else "".join(f"  {pair} # why\n" for pair in pairs))
    path = tmp_path_factory.mktemp("spec") / "any.yaml"
    path.write_text(text)
    found = parse(edit.edited(path, {MAX: str(most)}).text, {}).value

    assert {**parse(text, {}).value, "workers": {**parse(text, {}).value["workers"], "max": most}} == found
