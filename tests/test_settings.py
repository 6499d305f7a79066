"""Where the project is, which target, which control plane, which key, and what `.env` looks like afterwards."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as configure
from hypothesis import strategies as st
from support.command import vidctl
from support.failing import failing, same_wording

from vidctl import endpoints, spec
from vidctl.client import Client
from vidctl.errors import UsageError
from vidctl.journal import Journal
from vidctl.project import env_file, settings
from vidctl.tasks.context import EndpointFacts


@pytest.fixture
def project(tmp_path):
    (tmp_path / "configs").mkdir()
    return settings.open_project(tmp_path, {})


def test_a_project_is_found_from_any_of_its_folders(project):
    deep = project.root / "a" / "b"
    deep.mkdir(parents=True)

    assert project.root == settings.open_project(deep, {}).root


def test_the_environment_goes_before_dotenv(project):
    project.env_file.write_text("RUNPOD_API_KEY=from-file\nOTHER=kept\n")

    opened = settings.open_project(project.root, {"RUNPOD_API_KEY": "from-environment"})

    assert (opened.environ["RUNPOD_API_KEY"], opened.environ["OTHER"]) == ("from-environment", "kept")


@pytest.mark.parametrize(
    ("environ", "flag", "expected"),
    [
        ({}, None, ("local", True)),
        ({"RUNPOD_API_KEY": "k"}, None, ("runpod", False)),
        ({"RUNPOD_API_KEY": "k"}, "local", ("local", False)),
        ({"VIDCTL_TARGET": "runpod"}, None, ("runpod", False)),
        ({"VIDCTL_TARGET": "runpod"}, "local", ("local", False)),
    ],
)
def test_target_goes_flag_environment_key(project, environ, flag, expected):
    """Without a key the target is local, and that is known to have been nobody's choice."""
    assert expected == settings.choose_target(settings.Project(project.root, environ), flag)


@pytest.mark.parametrize(
    ("environ", "flag", "expected"),
    [
        ({"RUNPOD_API_KEY": "k"}, None, ("local", False)),
        ({}, None, ("local", False)),
        ({"VIDCTL_TARGET": "runpod"}, None, ("runpod", False)),
        ({}, "runpod", ("runpod", False)),
    ],
)
def test_the_projects_target_goes_before_the_key_and_after_the_environment(project, environ, flag, expected):
    """What vidctl.yaml says is somebody's choice."""
    opened = settings.Project(project.root, environ)

    assert expected == settings.choose_target(opened, flag, default="local")


@pytest.mark.parametrize(
    ("environ", "from_file", "expected"),
    [({}, None, "graphql"), ({}, "rest", "rest"), ({"VIDCTL_CONTROL": "graphql"}, "rest", "graphql")],
)
def test_the_control_plane_goes_environment_file_graphql(project, environ, from_file, expected):
    assert expected == settings.control_plane(settings.Project(project.root, environ), from_file)


def test_an_unknown_control_plane_is_a_usage_error(project):
    with failing("usage_error", "VIDCTL_CONTROL", "'soap'", "graphql", "rest"):
        settings.control_plane(settings.Project(project.root, {"VIDCTL_CONTROL": "soap"}), "rest")


def test_an_unknown_target_is_a_usage_error(project):
    with failing("usage_error", "'moon'", "--target local", "--target runpod"):
        settings.choose_target(project, "moon")


@pytest.mark.parametrize("key", ["", "  ", "with space", "new\nline", "schlüssel"])
def test_a_key_that_cannot_be_one_is_refused_without_showing_it(project, key):
    with failing("auth_error", "RUNPOD_API_KEY") as raised:
        settings.runpod_access(settings.Project(project.root, {"RUNPOD_API_KEY": key}))

    assert not key.strip() or key not in raised.value.message


def test_the_sdks_variables_name_the_base_urls(project):
    """RUNPOD_API_BASE_URL and RUNPOD_ENDPOINT_BASE_URL, as runpod-python reads them."""
    access = settings.runpod_access(
        settings.Project(
            project.root,
            {
                "RUNPOD_API_KEY": "k",
                "RUNPOD_API_BASE_URL": "http://127.0.0.1:1/",
                "RUNPOD_ENDPOINT_BASE_URL": "http://127.0.0.1:1/v2",
            },
        )
    )

    assert (access.api_base_url, access.endpoint_base_url) == ("http://127.0.0.1:1", "http://127.0.0.1:1/v2")
    assert "'k'" not in repr(access)


def test_the_key_is_in_no_repr(project):
    project.env_file.write_text("RUNPOD_API_KEY=verysecret\n")

    assert "verysecret" not in repr(settings.open_project(project.root, {}))


@pytest.mark.parametrize(
    ("key", "target", "name"),
    [
        ("yolo", "runpod", "VIDCTL_YOLO_ENDPOINT_ID"),
        ("yolo", "local", "VIDCTL_YOLO_ENDPOINT_ID_LOCAL"),
        ("qwen-vl", "runpod", "VIDCTL_QWEN_VL_ENDPOINT_ID"),
        ("yolo.prod", "runpod", "VIDCTL_YOLO_PROD_ENDPOINT_ID"),
    ],
)
def test_an_endpoints_name_in_dotenv(key, target, name):
    assert name == settings.endpoint_id_name(key, target)


def test_remembering_keeps_all_else_and_the_files_mode(project):
    project.env_file.write_text("# mine\nA='x y'\nVIDCTL_YOLO_ENDPOINT_ID=old\nexport B=2\n")
    project.env_file.chmod(0o640)

    env_file.remember(project.env_file, "VIDCTL_YOLO_ENDPOINT_ID", "new")

    assert project.env_file.read_text() == "# mine\nA='x y'\nVIDCTL_YOLO_ENDPOINT_ID=new\nexport B=2\n"
    assert stat.S_IMODE(project.env_file.stat().st_mode) == 0o640
    assert [path.name for path in project.root.iterdir() if path.name.startswith(".env")] == [".env"]


def test_a_new_dotenv_is_its_owners_only(project):
    env_file.remember(project.env_file, "A", "1")

    assert (b"A=1\n", 0o600) == (project.env_file.read_bytes(), stat.S_IMODE(project.env_file.stat().st_mode))


def test_every_other_byte_of_dotenv_stays(project):
    """The mark at its beginning, line ends, `export `, comments, what is no line, and a last line without an end."""
    before = b"\xef\xbb\xbfA='x' # one\r\n\r\n  export ID = 'old' # mine\r\nwhat is this\r\nB=\"${A}\"  # two"
    project.env_file.write_bytes(before)

    env_file.remember(project.env_file, "ID", "new")
    changed = project.env_file.read_bytes()
    env_file.remember(project.env_file, "C", "3")
    longer = project.env_file.read_bytes()
    env_file.forget(project.env_file, "ID")

    assert before.replace(b"ID = 'old'", b"ID=new") == changed
    assert changed + b"\r\nC=3\r\n" == longer
    assert longer.replace(b"  export ID=new # mine\r\n", b"") == project.env_file.read_bytes()


def test_single_quotes_are_literal(project):
    project.env_file.write_text("X=1\nA='p${X}w'\nB=\"p${X}w\"\nC=${HOME}${X}\nexport 'D' = '${X}'\n")

    read = settings.open_project(project.root, {"HOME": "/h"}).environ

    assert ("p${X}w", "p1w", "/h1", "${X}") == (read["A"], read["B"], read["C"], read["D"])


def test_a_line_that_is_none_is_one_warning(project, caplog):
    """With its place, and without what stands there, which may be a secret."""
    project.env_file.write_text("A=1\n\nB='never closed\nC=3\n")

    opened = [settings.open_project(project.root, {}).environ for _ in range(2)]

    assert [{"A": "1", "C": "3"}] * 2 == opened
    (warning,) = caplog.messages
    assert warning.startswith(f"{project.env_file}:3: ")
    assert "never closed" not in warning
    same_wording(warning)


def test_a_named_pipe_is_read_and_never_replaced(project):
    """Password managers put one there; a file in its place would hold their secrets."""
    os.mkfifo(project.env_file)

    def fill():
        with project.env_file.open("wb") as pipe:
            pipe.write(b"RUNPOD_API_KEY=k\n")

    with ThreadPoolExecutor(1) as pool:
        writing = pool.submit(fill)
        read = settings.open_project(project.root, {}).environ
        writing.result()
    with failing("failure", project.env_file, "ID=new"):
        env_file.remember(project.env_file, "ID", "new")

    assert {"RUNPOD_API_KEY": "k"} == read
    assert project.env_file.is_fifo()


def test_a_named_pipe_that_nobody_fills_is_given_up(project, monkeypatch):
    os.mkfifo(project.env_file)
    monkeypatch.setattr(env_file, "PIPE_S", 0.1)

    with failing("usage_error", project.env_file, "pipe", "0.1 s"):
        settings.open_project(project.root, {})


def test_remembering_through_a_link_keeps_the_link(project, tmp_path_factory):
    real = tmp_path_factory.mktemp("elsewhere") / "shared.env"
    real.write_text("A=1\n")
    project.env_file.symlink_to(real)

    env_file.remember(project.env_file, "B", "2")

    assert project.env_file.is_symlink()
    assert real.read_text() == "A=1\nB=2\n"


@configure(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(before=st.binary(max_size=80))
def test_a_broken_dotenv_is_one_clear_line(project, before):
    """Any bytes in .env: it is read, or refused as a usage error; never a traceback."""
    project.env_file.write_bytes(before)
    try:
        read = settings.open_project(project.root, {}).environ
    except UsageError as error:
        assert str(project.env_file) in error.message
    else:
        assert isinstance(read, dict)


# --- vidctl.yaml ---------------------------------------------------------------------------------------------------


def write_settings(project, text):
    (project.root / "vidctl.yaml").write_text(text)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("control: rest\ntarget: local\n", ("rest", "local")),
        ("target: runpod\n", (None, "runpod")),
        ("# target: runpod\n\n", (None, None)),
        ("", (None, None)),
    ],
)
def test_a_projects_settings_are_read(project, text, expected):
    """All of it is optional, the file itself included."""
    assert (None, None) == (spec.settings_of(project.root).control, spec.settings_of(project.root).target)
    assert not project.has_settings

    write_settings(project, text)

    found = spec.settings_of(project.root)
    assert expected == (found.control, found.target)
    assert project.has_settings


def test_every_mistake_in_a_projects_settings_is_told_with_its_place(project, monkeypatch):
    """As in a spec; `vidctl validate` tells them too."""
    monkeypatch.chdir(project.root)
    write_settings(project, "controll: rest\ntarget: cloud\ncontrol: on\n")

    places = ["vidctl.yaml:1:1: ", "vidctl.yaml:2:9: ", "vidctl.yaml:3:10: "]
    with failing("spec_error", *places, '"controll"', '"control"?', "local or runpod", "write true"):
        spec.settings_of(project.root)

    (project.root / "configs" / "echo.yaml").write_text("name: echo\nimage: you/echo:1.0\ngpu: L4\n")
    outcome = vidctl("validate", "--json", cwd=project.root)
    assert 2 == outcome.status
    assert [1, 2, 3] == [mistake["line"] for mistake in outcome.document["mistakes"]]


def test_a_client_hears_the_projects_target(project, monkeypatch):
    """Also where a key would say runpod."""
    monkeypatch.setenv("RUNPOD_API_KEY", "k")
    monkeypatch.delenv("VIDCTL_TARGET", raising=False)
    before = Client(project=project.root)
    write_settings(project, "target: local\n")

    after = Client(project=project.root)

    assert ("runpod", "local", False) == (before.target, after.target, after.is_target_by_default)


def test_a_client_reads_no_yaml_of_what_was_deployed_from_here(project):
    """Loading the reader takes longer than all that `vidctl detect` does before its first request."""
    (project.root / "configs" / "echo.yaml").write_text("task: detect\n")
    document = endpoints.written(EndpointFacts("detect"))
    Journal(project.root / ".vidctl" / "journal.db").applied(
        spec="echo", target="local", endpoint_id="e1", document=document, fingerprint="", is_proven=True
    )
    program = (
        "import sys; from vidctl.client import Client\n"
        "Client(target='local').endpoint_id('detect')\n"
        "print(sorted({'yaml', 'pydantic'} & set(sys.modules)))"
    )
    environ = {**os.environ, "VIDCTL_ECHO_ENDPOINT_ID_LOCAL": "e1"}

    done = subprocess.run([sys.executable, "-c", program], cwd=project.root, env=environ, capture_output=True)

    assert (b"[]\n", b"") == (done.stdout, done.stderr)


@pytest.mark.parametrize("make", [lambda path: path.write_bytes(b"NAME=caf\xe9\n"), lambda path: path.mkdir()])
def test_an_env_file_that_cannot_be_one_is_a_usage_error(project, make):
    """Not UTF-8, or a folder: one line that names it, without a decoder's words."""
    env_file = project.root / ".env"
    env_file.unlink(missing_ok=True)
    make(env_file)

    with failing("usage_error", env_file, "NAME=value"):
        settings.open_project(project.root, {})
