"""A worker folder has a name that follows its content, and an environment that is made once."""

import os
import re
import stat
import subprocess
import sys
import threading
import time
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from support.failing import failing
from support.runtime import until

from vidctl.errors import LocalRuntimeError
from vidctl.local.workers import environments, folder_image, installer, os_process

SIX = "six==1.17.0\n"
DEADLINE_S = 120


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    """A cache of our own, filled by uv, the faster one, unless a test says otherwise."""
    monkeypatch.setenv("VIDCTL_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setenv("VIDCTL_INSTALLER", "uv")
    monkeypatch.setenv("PATH", f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
    return tmp_path / "cache"


@pytest.fixture
def worker(tmp_path):
    folder = tmp_path / "my worker"
    folder.mkdir()
    (folder / "handler.py").write_text("import runpod\n")
    return folder


@pytest.fixture
def heard():
    return []


def make(folder, heard, env=None):
    return environments.interpreter(folder, env or {}, heard.append)


def left_in(cache):
    return sorted(path.name.partition(".")[2] or "an environment" for path in (cache / "environments").iterdir())


# --- copies ----------------------------------------------------------------------------------------------------------


def test_a_copy_links_what_may_be_large_and_copies_the_rest(worker, tmp_path):
    files = ("weights/model.bin", "lib/util.py", "data/big/clip.bin", "data/kept.txt", "__pycache__/handler.pyc")
    for name in files:
        (worker / name).parent.mkdir(parents=True, exist_ok=True)
        (worker / name).write_text(name)
    (worker / ".dockerignore").write_text("# large\ndata\n!data/kept.txt\n**/*.log\n!weights\n")
    (worker / "lib" / "run.log").write_text("")
    own = tmp_path / "own"
    folder_image.copy_source(worker, own)
    copied = {path.relative_to(own).as_posix(): path.is_symlink() for path in own.rglob("*") if path.is_file()}

    assert copied == {
        ".dockerignore": False,
        "data/big/clip.bin": True,
        "data/kept.txt": False,
        "handler.py": False,
        "lib/run.log": True,
        "lib/util.py": False,
        "weights/model.bin": True,
    }


def test_what_a_worker_writes_into_its_copy_changes_no_image_name(worker, tmp_path):
    before = folder_image.image_name(worker)
    (worker / "weights").mkdir()
    (worker / "weights" / "model.bin").write_text("")
    with_weights = folder_image.image_name(worker)
    folder_image.copy_source(worker, tmp_path / "own")
    (tmp_path / "own" / "input.txt").write_text("Anna")
    (tmp_path / "own" / "handler.py").write_text("")
    (tmp_path / "own" / "weights" / "new.bin").write_text("")

    assert folder_image.image_name(worker) == with_weights != before


def test_the_file_of_patterns_for_the_dockerfile_goes_first_and_a_wrong_pattern_is_said(worker, tmp_path):
    (worker / ".dockerignore").write_text("handler.py\n")
    (worker / "Dockerfile.dockerignore").write_text("*\n!*.txt\n")
    (worker / "a.txt").write_text("")
    (worker / "b.bin").write_text("")
    folder_image.copy_source(worker, tmp_path / "own")
    links = {path.name: path.is_symlink() for path in (tmp_path / "own").iterdir()}
    (worker / "Dockerfile.dockerignore").write_text("[\n")

    assert links == {
        ".dockerignore": True,
        "Dockerfile.dockerignore": True,
        "a.txt": False,
        "b.bin": True,
        "handler.py": False,
    }
    with failing("local_runtime_error", "Dockerfile.dockerignore:1", "["):
        folder_image.copy_source(worker, tmp_path / "other")


# --- names -----------------------------------------------------------------------------------------------------------


def test_an_image_name_leads_back_to_its_folder(worker):
    name = folder_image.image_name(worker)

    assert worker == folder_image.folder(name)
    assert name.startswith("file:///")
    assert " " not in name


def test_a_relative_folder_has_the_same_name(worker, monkeypatch):
    monkeypatch.chdir(worker.parent)

    assert folder_image.image_name(worker) == folder_image.image_name(Path(worker.name))


def touch_the_time(worker):
    os.utime(worker / "handler.py", (1, 1))


def import_it(worker):
    (worker / "__pycache__").mkdir()
    (worker / "__pycache__" / "handler.cpython-311.pyc").write_bytes(b"x")
    (worker / "old.pyc").write_bytes(b"x")


def run_tools(worker):
    for name in (".pytest_cache", ".ruff_cache", ".cache", ".git", ".venv"):
        (worker / name).mkdir()
        (worker / name / "file").write_text("x")


@pytest.mark.parametrize("act", [touch_the_time, import_it, run_tools])
def test_what_is_not_content_keeps_the_name(worker, act):
    before = folder_image.image_name(worker)
    act(worker)

    assert before == folder_image.image_name(worker)


def edit(worker):
    (worker / "handler.py").write_text("import  runpod\n")


def rename(worker):
    (worker / "handler.py").with_name("model.py").write_text("")


def make_executable(worker):
    (worker / "handler.py").chmod(0o755)


def describe_the_hub_entry(worker):
    (worker / ".runpod").mkdir()
    (worker / ".runpod" / "hub.json").write_text("{}")


@pytest.mark.parametrize("act", [edit, rename, make_executable, describe_the_hub_entry])
def test_changed_content_is_another_image(worker, act):
    before = folder_image.image_name(worker)
    act(worker)

    assert before != folder_image.image_name(worker)


def test_bytes_cannot_move_between_files_unseen(tmp_path):
    """Two folders whose names and bytes, put one after the other, read the same are still two images."""
    names = []
    for number, files in enumerate([{"handler.py": "", "a": "bc"}, {"handler.py": "", "ab": "c"}]):
        folder = tmp_path / str(number) / "worker"
        folder.mkdir(parents=True)
        for name, text in files.items():
            (folder / name).write_text(text)
        names.append(folder_image.image_name(folder).partition("?")[2])

    assert names[0] != names[1]


def test_a_folder_without_handler_is_no_worker(tmp_path):
    with failing(
        "local_runtime_error", "handler.py", tmp_path, "local: {handler: src/start.py}", "local: {isolation: container}"
    ):
        folder_image.image_name(tmp_path)


def test_a_handler_of_another_name_is_in_the_name(tmp_path):
    """The runtime then knows it; whoever names none gets what is found."""
    (tmp_path / "src").mkdir()
    (tmp_path / "src" / "rp handler.py").write_text("")
    name = folder_image.image_name(tmp_path, Path("src/rp handler.py"))

    assert (tmp_path, Path("src/rp handler.py")) == (folder_image.folder(name), folder_image.handler(name))
    assert name.endswith("&handler=src/rp%20handler.py")

    (tmp_path / "src" / "rp handler.py").rename(tmp_path / "src" / "rp_handler.py")

    assert folder_image.image_name(tmp_path).endswith("&handler=src/rp_handler.py")
    with failing("local_runtime_error", tmp_path):
        folder_image.folder(name)


@pytest.mark.parametrize(
    "name",
    [
        *("runpod/worker-v1-vllm:v2.9.5", "", "file:///tmp/x", "file://host/tmp/x?sha256=ab", "http://x/y?sha256=ab"),
        *("file://[?sha256=ab", f"file:///{'x' * 300}?sha256=ab"),
    ],
)
def test_another_image_is_refused_by_name(name):
    with failing("local_runtime_error", name, "image: {build: "):
        folder_image.folder(name)


def test_a_folder_that_is_gone_is_said_to_be(worker):
    name = folder_image.image_name(worker)
    (worker / "handler.py").unlink()

    with failing("local_runtime_error", worker):
        folder_image.folder(name)


def test_two_folders_of_one_name_do_not_share_downloads(tmp_path, cache):
    homes = {environments.cache_home(tmp_path / place / "yolo") for place in "ab"}

    assert len(homes) == 2
    assert {cache / "workers"} == {home.parent for home in homes}


# --- environments ----------------------------------------------------------------------------------------------------


def test_a_folder_that_requires_nothing_runs_in_our_python(worker, heard):
    assert Path(sys.executable) == make(worker, heard)
    assert [] == heard


def test_an_environment_is_made_with_uv_where_there_is_one(worker, heard, monkeypatch):
    monkeypatch.delenv("VIDCTL_INSTALLER")
    (worker / "requirements.txt").write_text("# nothing\n")
    make(worker, heard)

    assert "creating an environment for my worker with uv" == heard[0]


@pytest.mark.parametrize("installer", ["pip", "uv"])
def test_an_environment_has_what_the_folder_requires(worker, heard, cache, monkeypatch, installer):
    """The second time it is there, and nobody hears of it.  Whom the system trusts is trusted, unasked."""
    monkeypatch.setenv("VIDCTL_INSTALLER", installer)
    monkeypatch.delenv("SSL_CERT_FILE", raising=False)
    monkeypatch.delenv("SSL_CERT_DIR", raising=False)
    (worker / "requirements.txt").write_text(SIX)
    python = make(worker, heard)
    again = []

    version = subprocess.run(
        [python, "-c", "import six; print(six.__version__)"], capture_output=True, text=True, check=True
    )
    assert version.stdout == "1.17.0\n"
    assert f"creating an environment for my worker with {installer}" == heard[0]
    assert python == make(worker, again)
    assert [] == again
    assert ["an environment", "lock", "log"] == left_in(cache)


def test_the_cpu_requirements_win(worker, heard):
    (worker / "requirements.txt").write_text("six==99.0\n")
    (worker / "requirements-cpu.txt").write_text("# nothing\n")

    assert make(worker, heard).exists()


def test_included_files_and_constraints_count(worker, heard):
    """A requirements file may include another and constrain it; a change in either is another environment."""
    (worker / "requirements.txt").write_text("-r base.txt\n-c pins.txt\n")
    (worker / "base.txt").write_text("six\n")
    (worker / "pins.txt").write_text("six==1.16.0\n")
    python = make(worker, heard)
    (worker / "pins.txt").write_text(SIX)
    other = make(worker, heard)

    def version_in(interpreter):
        command = [interpreter, "-c", "import six; print(six.__version__)"]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()

    assert ("1.16.0", "1.17.0") == (version_in(python), version_in(other))


@pytest.mark.parametrize(
    ("installer", "reason"),
    [("pip", "No matching distribution found for six==99"), ("uv", "there is no version of six==99")],
)
def test_a_failed_install_says_why_and_leaves_nothing(worker, heard, cache, monkeypatch, installer, reason):
    monkeypatch.setenv("VIDCTL_INSTALLER", installer)
    (worker / "requirements.txt").write_text("six==99.0\n")

    with failing("local_runtime_error", reason, varies=True) as caught:
        make(worker, heard)
    assert ["lock", "log"] == left_in(cache)
    assert "six==99.0" in Path(caught.value.hint.split()[-1]).read_text()


def test_an_interrupted_install_leaves_nothing(worker, cache):
    (worker / "requirements.txt").write_text(SIX)

    def interrupt(line):
        if line.startswith("resolved"):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        environments.interpreter(worker, {}, interrupt)
    assert ["lock", "log"] == left_in(cache)


def test_what_a_killed_install_left_is_made_anew(worker, heard):
    """Without its stamp an environment counts for nothing."""
    (worker / "requirements.txt").write_text("# nothing\n")
    home = make(worker, heard).parent.parent
    (home / "complete").unlink()
    (home / "junk").touch()
    heard.clear()

    assert home / "bin" / "python" == make(worker, heard)
    assert "created the environment of my worker" == heard[-1]
    assert not (home / "junk").exists()


def test_of_two_makers_one_waits_and_says_so(worker):
    (worker / "requirements.txt").write_text("# nothing\n")
    has_begun, has_waited = threading.Event(), threading.Event()
    heard = {"first": [], "second": []}
    made = {}

    def first(line):
        heard["first"].append(line)
        has_begun.set()
        assert has_waited.wait(DEADLINE_S)

    def second(line):
        heard["second"].append(line)
        has_waited.set()

    def maker(name, notify):
        made[name] = environments.interpreter(worker, {}, notify)

    threads = [
        threading.Thread(target=maker, args=("first", first)),
        threading.Thread(target=maker, args=("second", second)),
    ]
    threads[0].start()
    assert has_begun.wait(DEADLINE_S)
    threads[1].start()
    for thread in threads:
        thread.join(DEADLINE_S)

    assert made["first"] == made["second"]
    assert ["waiting for the environment of my worker: another process is working on it"] == heard["second"]


@pytest.fixture
def index():
    """A server that answers 404 to all and records the requested paths."""
    paths = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            paths.append(self.path)
            self.send_error(404)

        do_HEAD = do_GET  # noqa: N815 - the library's name

        def log_message(self, *_):
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever).start()
    yield server, paths
    server.shutdown()
    server.server_close()


def test_an_index_that_answers_is_asked(worker, heard, index, monkeypatch):
    monkeypatch.setenv("VIDCTL_INSTALLER", "pip")
    server, paths = index
    (worker / "requirements.txt").write_text(f"--extra-index-url http://127.0.0.1:{server.server_port}/whl\n{SIX}")
    make(worker, heard)

    assert "/whl/six/" in paths


def test_an_index_that_cannot_be_reached_is_left_out(worker, heard, index):
    """pip would retry it for every package, for minutes."""
    server, paths = index
    server.socket.close()
    url = f"http://127.0.0.1:{server.server_port}/whl"
    (worker / "requirements.txt").write_text(f"--extra-index-url={url}\n{SIX}")
    make(worker, heard)

    assert f"skipping the package index {url}: unreachable" in heard
    assert [] == paths


@pytest.mark.parametrize(
    ("line", "step"),
    [
        ("  Downloading torch-2.13.0-cp311-cp311-linux_x86_64.whl (194 MB)", "downloading torch 2.13.0 (194 MB)"),
        ("  Downloading https://host/opencv-5.0.tar.gz (1.2 GB)", "downloading opencv 5.0 (1.2 GB)"),
        ("  Downloading six-1.17.0-py2.py3-none-any.whl (11 kB)", None),
        ("  Downloading websockets-17.4-cp311-cp311-manylinux.whl (4.9 MB)", None),
        ("Collecting certifi>=2017.4.17 (from requests==2.32.3->-r r.txt (line 2))", None),
        ("  Installing build dependencies: started", None),
        ("Installing collected packages: six, idna, requests", "installing 3 packages"),
        ("Installing collected packages: six", "installing 1 package"),
        ("Downloading torch (858.0MiB)", "downloading torch (858.0MiB)"),
        ("Resolved 6 packages in 232ms", "resolved 6 packages in 232ms"),
        ("Looking in indexes: https://pypi.org/simple", None),
        ("", None),
    ],
)
def test_steps_are_told_in_few_words(line, step):
    assert step == installer.step(line)


def test_the_installer_is_pip_or_uv(worker, heard, monkeypatch):
    (worker / "requirements.txt").write_text(SIX)
    monkeypatch.setenv("VIDCTL_INSTALLER", "conda")

    with failing("local_runtime_error", "VIDCTL_INSTALLER", "'conda'", "pip", "uv"):
        make(worker, heard)


def test_uv_that_was_asked_for_must_be_there(worker, heard, monkeypatch, tmp_path):
    (worker / "requirements.txt").write_text(SIX)
    monkeypatch.setenv("VIDCTL_INSTALLER", "uv")
    monkeypatch.setenv("PATH", str(tmp_path))

    with failing("local_runtime_error", "VIDCTL_INSTALLER", "PATH", "pip install uv"):
        make(worker, heard)


# --- environments that are no longer used ----------------------------------------------------------------------------


def age(home, days):
    past = time.time() - days * 86_400
    os.utime(home / "complete", (past, past))


def test_a_new_environment_takes_the_place_of_those_unused_for_a_month(worker, heard):
    """Those that were used since stay, and so does one that a worker still runs in, however old."""
    homes = {}
    for name in ("old", "recent", "running", "used"):
        (worker / "requirements.txt").write_text(f"# {name}\n")
        homes[name] = make(worker, heard).parent.parent
    running = subprocess.Popen([homes["running"] / "bin" / "python", "-c", "input()"], stdin=subprocess.PIPE)
    until(lambda: str(homes["running"]) in os_process.commands())  # its name comes a moment after it is begun
    age(homes["recent"], 29)
    for name in ("old", "running", "used"):
        age(homes[name], 31)
    make(worker, heard)  # used again
    (worker / "requirements.txt").write_text("# new\n")
    homes["new"] = make(worker, heard).parent.parent
    running.communicate(b"\n")

    assert ["recent", "running", "used", "new"] == [name for name, home in homes.items() if home.exists()]
    assert 1 == heard.count(f"removed the environment {homes['old'].name}, not used for 30 days")


# --- makers that are killed ------------------------------------------------------------------------------------------

# Started by an installer, or as prepare.py: it takes until the file `go` is there, and notes its beginning and end.
SLOW = """\
import pathlib, time
events, go = (pathlib.Path(__file__).parent.parent / name for name in ("events", "go"))
with events.open("a") as file:
    file.write("begun\\n")
deadline = time.monotonic() + 120
while not go.exists() and time.monotonic() < deadline:
    time.sleep(0.02)
with events.open("a") as file:
    file.write("ended\\n")
"""
BACKEND = """\
[build-system]
requires = []
build-backend = "slow"
backend-path = ["."]
"""
MAKER = """\
import pathlib, sys
from vidctl.local.workers import environments
environments.interpreter(pathlib.Path(sys.argv[1]), {}, print)
"""


def slow_to_prepare(worker):
    (worker / "prepare.py").write_text(SLOW)


def slow_to_install(worker):
    """A package that pip builds from its sources: it fails in the end, after several such steps."""
    package = worker.parent / "package"
    package.mkdir()
    (package / "pyproject.toml").write_text(BACKEND)
    (package / "slow.py").write_text(SLOW)
    (worker / "requirements.txt").write_text(f"slow @ {package.as_uri()}\n")


def events_of(worker):
    path = worker.parent / "events"
    return path.read_text().split() if path.exists() else []


@pytest.mark.parametrize("slowly", [slow_to_prepare, slow_to_install])
def test_what_outlives_a_killed_maker_is_waited_for(worker, heard, monkeypatch, slowly):
    """pip and prepare.py live on when their maker is killed: nobody else works in their folder meanwhile."""
    monkeypatch.setenv("VIDCTL_INSTALLER", "pip")
    slowly(worker)
    killed = subprocess.Popen([sys.executable, "-c", MAKER, worker], stdout=subprocess.DEVNULL)
    until(lambda: events_of(worker))
    killed.kill()
    killed.wait()
    second = threading.Thread(target=make_or_fail, args=(worker, heard))
    second.start()
    until(lambda: heard)
    (worker.parent / "go").touch()
    second.join(DEADLINE_S)

    assert re.fullmatch("waiting for .*my worker.*: another process is working on it", heard[0])
    assert len(events_of(worker)) > 2
    assert ["begun", "ended"] * (len(events_of(worker)) // 2) == events_of(worker)


def make_or_fail(worker, heard):
    with suppress(LocalRuntimeError):
        make(worker, heard)


# --- prepare.py ------------------------------------------------------------------------------------------------------

PREPARE = """\
import os, pathlib
print("fetching", os.environ["MODEL"])
with open(os.path.join(os.environ["XDG_CACHE_HOME"], "runs"), "a") as runs:
    runs.write(f"{os.environ['MODEL']} {pathlib.Path.cwd().name} {os.environ.get('RUNPOD_API_KEY')}\\n")
"""


def runs(worker):
    return (environments.cache_home(worker) / "runs").read_text().splitlines()


def test_prepare_runs_once_for_each_environment_of_an_endpoint(worker, heard, monkeypatch):
    """It sees the endpoint's variables and not our key; a second start, or another order of them, is no new run."""
    monkeypatch.setenv("RUNPOD_API_KEY", "hush")
    (worker / "prepare.py").write_text(PREPARE)
    make(worker, heard, {"MODEL": "a.pt", "X": "1"})
    make(worker, heard, {"X": "1", "MODEL": "a.pt"})
    make(worker, heard, {"MODEL": "b.pt"})

    assert ["a.pt my worker None", "b.pt my worker None"] == runs(worker)
    assert ["preparing my worker", "fetching a.pt", "preparing my worker", "fetching b.pt"] == heard


def test_prepare_learns_nothing_of_the_callers_secrets(worker, heard, monkeypatch):
    """It is a worker's code, and knows what workers know."""
    for name in ("AWS_SECRET_ACCESS_KEY", "GITHUB_TOKEN", "PIP_INDEX_URL"):
        monkeypatch.setenv(name, "hush")
    (worker / "prepare.py").write_text("import os\nprint('hush' in os.environ.values(), os.environ['PATH'])\n")
    make(worker, heard)

    assert heard[-1] == f"False {Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"


def test_the_log_holds_what_was_told_and_is_the_users_alone(worker):
    """A line is in it when it is told, so that a long preparation can be followed."""
    (worker / "prepare.py").write_text("print('first')\nprint('second')\n")
    log = environments.cache_home(worker).with_suffix(".log")
    logged = {}
    environments.interpreter(
        worker, {}, lambda line: logged.update({line: log.read_text().split() if log.exists() else []})
    )

    assert {"preparing my worker": [], "first": ["first"], "second": ["first", "second"]} == logged
    assert 0o600 == stat.S_IMODE(log.stat().st_mode)


def test_a_changed_prepare_runs_again(worker, heard):
    """And it alone: what was installed stays."""
    (worker / "requirements.txt").write_text("# nothing\n")
    (worker / "prepare.py").write_text(PREPARE)
    make(worker, heard, {"MODEL": "a.pt"})
    (worker / "prepare.py").write_text(PREPARE + "print('more')\n")
    make(worker, heard, {"MODEL": "a.pt"})

    assert len(runs(worker)) == 2
    assert "more" == heard[-1]
    assert 1 == heard.count("created the environment of my worker")


def test_a_failed_prepare_says_why_and_is_tried_again(worker, heard):
    (worker / "prepare.py").write_text("raise SystemExit('no weights here')\n")

    for _ in range(2):
        with failing("local_runtime_error", "prepare.py of my worker", "status 1\nno weights here", varies=True):
            make(worker, heard)
    assert 2 == heard.count("no weights here")


# --- an engine beside the handler ------------------------------------------------------------------------------------


@pytest.fixture
def engine_worker(worker):
    """A worker whose engine has requirements of its own; what its one package needs is not among them."""
    folder = worker / "engine"
    folder.mkdir()
    (folder / "requirements-cpu.txt").write_text("jinja2==3.1.6\n")
    return worker


def installed(python):
    names = "import importlib.metadata as m; print(*(each.name for each in m.distributions()))"
    listed = subprocess.run([python, "-c", names], capture_output=True, text=True, check=True)
    return set(listed.stdout.lower().split())


@pytest.mark.parametrize("installer", ["uv", "pip"])
def test_an_engine_has_an_environment_as_it_stands(engine_worker, heard, monkeypatch, installer):
    """Just what is written, without what the packages ask for; made once."""
    monkeypatch.setenv("VIDCTL_INSTALLER", installer)
    first = environments.engine(engine_worker, {}, heard.append)
    second = environments.engine(engine_worker, {}, heard.append)

    assert (first, {"ENGINE_PYTHON"}) == (second, set(first))
    assert {"jinja2"} == installed(first["ENGINE_PYTHON"]) - {"pip", "setuptools"}
    assert 1 == sum("creating an environment for my worker's engine" in line for line in heard)


def test_a_server_that_runs_already_needs_no_engine(engine_worker, heard):
    """Nothing is installed for it."""
    assert {} == environments.engine(engine_worker, {"OPENAI_BASE_URL": "http://127.0.0.1:11434/v1"}, heard.append)
    assert [] == heard


def test_a_worker_without_an_engine_is_told_nothing_of_one(worker, heard):
    assert {} == environments.engine(worker, {}, heard.append)


def test_the_engine_is_there_when_a_worker_is_prepared(engine_worker, heard):
    """prepare.py may ask it for the weights."""
    (engine_worker / "prepare.py").write_text("import os; print('with', os.environ['ENGINE_PYTHON'])")
    make(engine_worker, heard)
    python = environments.engine(engine_worker, {}, heard.append)["ENGINE_PYTHON"]

    assert f"with {python}" in heard
