"""Where the whisper worker has its model from: folders, and a hub of which the tests have a small one."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from support.stating import stating

pytestmark = pytest.mark.model

WHISPER = Path(__file__).resolve().parents[2] / "workers/whisper"
BASE = "Systran/faster-whisper-base"
PINNED = "ebe41f70d5b6dfa9166e2c581c45c9c0cfc57b66"
FILES = {name: name.encode() for name in ("model.bin", "config.json", "tokenizer.json", "vocabulary.txt", "README.md")}


CODE = """
import os, sys, environment, variables
settings = environment.Settings.read(os.environ)
settings.apply()
import weights
try:
    print(weights.find(settings))
except variables.StartError as error:
    sys.exit(str(error))
"""


@pytest.fixture
def find(whisper_python, tmp_path):
    """Ask for a model in a process of its own; gives its folder, or the sentence that it ends with."""

    def ask(**env):
        env = {"PATH": os.environ["PATH"], "HOME": str(tmp_path), "HF_HUB_OFFLINE": "1", **env}
        done = subprocess.run([whisper_python, "-c", CODE], cwd=WHISPER, env=env, capture_output=True, text=True)
        return Path(done.stdout.strip()) if done.returncode == 0 else done.stderr.strip()

    return ask


@contextmanager
def hub(files=FILES, cut_short=()):
    """huggingface.co with one model, as far as a download needs it; gives how to reach it and what is fetched."""
    fetched = []

    class Handler(BaseHTTPRequestHandler):
        def do_HEAD(self):
            self.answer(_body(self.path, files))

        def do_GET(self):
            body = _body(self.path, files)
            self.answer(body)
            name = self.path.rpartition("/")[2]
            fetched.append(self.path)
            self.wfile.write(body[:-1] if name in cut_short else body)

        def answer(self, body):
            self.send_response(200 if body else 404)
            self.send_header("Content-Length", str(len(body)))
            self.send_header("ETag", f'"{hashlib.sha256(body).hexdigest()}"')
            self.send_header("X-Repo-Commit", PINNED)
            self.end_headers()

        def log_message(self, *args):
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield {"HF_ENDPOINT": f"http://127.0.0.1:{server.server_port}", "HF_HUB_OFFLINE": "0"}, fetched
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def _body(path, files):
    """What the hub has there; nothing where it has none."""
    if path.startswith(f"/api/models/{BASE}/tree/"):
        listed = [{"type": "file", "path": name, "size": len(body), "oid": "0" * 40} for name, body in files.items()]
        return json.dumps(listed).encode()
    return files.get(path.rpartition("/")[2], b"") if path.startswith(f"/{BASE}/resolve/") else b""


def test_a_name_is_downloaded_once_at_its_pinned_revision(find):
    """Only the files that faster-whisper reads; the next start needs no hub."""
    with hub() as (online, fetched):
        folder = find(MODEL="base", **online)

    assert {name: FILES[name] for name in FILES if name != "README.md"} == {
        path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()
    }
    assert f"/{BASE}/resolve/{PINNED}/model.bin" in fetched
    assert folder == find(MODEL="base")


def test_what_is_downloaded_is_found_without_a_lock(find, tmp_path):
    """A model that was put into an image may lie where nothing can be written."""
    with hub() as (online, _):
        folder = find(MODEL="base", **online)
    for lock in folder.parent.glob(".*.lock"):
        lock.unlink()

    assert folder == find(MODEL="base")
    assert [folder] == list(folder.parent.iterdir())


def test_workers_that_start_at_once_download_once(find):
    """The second waits for the first, and finds what it left."""
    with hub() as (online, fetched), ThreadPoolExecutor(2) as pool:
        folders = set(pool.map(lambda _: find(MODEL="base", **online), range(2)))

    assert 1 == len(folders)
    assert 1 == sum(path.endswith("/model.bin") for path in fetched)


def test_another_revision_is_another_model(find):
    """MODEL_REVISION goes before the pinned one, and what is downloaded for it has a folder of its own."""
    with hub() as (online, fetched):
        folders = {find(MODEL=BASE, MODEL_REVISION=revision, **online) for revision in ("", "a" * 40)}

    assert 2 == len(folders)
    assert f"/{BASE}/resolve/{'a' * 40}/model.bin" in fetched


def test_a_hub_that_is_away_is_one_sentence(find):
    """It says what can be done."""
    said = find(MODEL="base")

    stating(said, BASE, "huggingface.co", "build the image", "set MODEL", "VIDCTL_WHISPER_MODEL", varies=True)


@pytest.mark.parametrize(
    ("wrong", "facts"),
    [
        ({"cut_short": ["model.bin"]}, ("cannot download", BASE, "huggingface.co")),
        ({"files": {"model.bin": b"a", "config.json": b"b"}}, ("faster-whisper", "tokenizer.json is missing")),
    ],
    ids=["cut short", "a file is missing"],
)
def test_what_is_not_whole_is_not_kept(find, tmp_path, wrong, facts):
    """The next start tries again."""
    with hub(**wrong) as (online, _):
        said = find(MODEL="base", **online)

    stating(said, *facts, varies=True)
    assert [] == [path for path in (tmp_path / ".cache/whisper-worker").iterdir() if path.suffix != ".lock"]


def test_a_model_may_be_a_folder(find, tmp_path):
    """By its path, or by its name in MODEL_DIR."""
    (tmp_path / "mine").mkdir()
    for name, body in FILES.items():
        (tmp_path / "mine" / name).write_bytes(body)

    assert tmp_path / "mine" == find(MODEL=str(tmp_path / "mine")) == find(MODEL="mine", MODEL_DIR=str(tmp_path))


def test_the_digest_is_that_of_the_weights(find, tmp_path):
    """MODEL_SHA256 is checked for folders too."""
    for name, body in FILES.items():
        (tmp_path / name).write_bytes(body)
    digest = hashlib.sha256(FILES["model.bin"]).hexdigest()

    assert tmp_path == find(MODEL=str(tmp_path), MODEL_SHA256=digest.upper())
    stating(find(MODEL=str(tmp_path), MODEL_SHA256="ab" * 32), "model.bin", tmp_path, f"sha256 {'ab' * 32}")


@pytest.mark.parametrize("model", ["bsae", "/gone/away", "a/b/c"])
def test_what_is_neither_a_folder_nor_a_name_is_one_sentence(find, model):
    """With the names that there are."""
    said = find(MODEL=model)

    stating(said, f"MODEL={model}", "folder", "tiny.en, tiny, base.en, base, ", varies=True)


def test_prepare_says_that_the_model_is_ready(whisper_python, tmp_path):
    """What the local runtime runs before the first start."""
    for name, body in FILES.items():
        (tmp_path / name).write_bytes(body)
    env = {"PATH": os.environ["PATH"], "HOME": str(tmp_path), "MODEL": str(tmp_path)}
    done = subprocess.run([whisper_python, "prepare.py"], cwd=WHISPER, env=env, capture_output=True, text=True)

    assert (0, f"{tmp_path.name} is ready\n") == (done.returncode, done.stdout)
