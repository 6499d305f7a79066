"""What the environment variables say: those of the guide, of RunPod's worker-vllm, and a few limits of our own."""

from __future__ import annotations

import os
import shlex
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit, urlunsplit

from variables import StartError, one_of, whole

if TYPE_CHECKING:
    from collections.abc import Mapping

STARTUP = (
    Path(__file__).resolve().parent / "engine" / "startup"
)  # a module there is imported by every Python that starts
# vLLM's own, for --dtype.
DTYPES = ("auto", "bfloat16", "float16", "half", "float", "float32")


@dataclass(frozen=True)
class Settings:
    """How this worker runs.

    `max_model_len` None means the model's own; `request_timeout_s` is how long a request may generate, and 0 means as
    long as it likes; `max_pixels` is what an image is shrunk to.  `server_url` names an OpenAI-compatible server that
    runs already, instead of an engine of our own.
    """

    model: str = "Qwen/Qwen3-VL-8B-Instruct"
    served_name: str = ""
    revision: str = ""
    tokenizer: str = ""
    dtype: str = "bfloat16"
    max_model_len: int | None = 8192
    gpu_memory_utilization: float = 0.9
    tensor_parallel_size: int = 1
    max_concurrency: int = 30
    max_images: int = 16
    max_pixels: int = 1_048_576
    request_timeout_s: float = 50.0
    startup_timeout_s: float = 1200.0
    engine_python: str = sys.executable
    engine_arguments: tuple[str, ...] = ()
    server_url: str = field(default="", repr=False)
    server_key: str = field(default="", repr=False)

    @classmethod
    def read(cls, environment: Mapping[str, str]) -> Settings:
        """Take the settings out of `environment`; raise StartError naming the variable that makes no sense."""
        return cls(
            model=environment.get("MODEL_NAME", "").strip() or cls.model,
            served_name=environment.get("OPENAI_SERVED_MODEL_NAME_OVERRIDE", "").strip(),
            revision=environment.get("MODEL_REVISION", "").strip(),
            tokenizer=environment.get("TOKENIZER_NAME", "").strip(),
            dtype=one_of(environment, "DTYPE", DTYPES, cls.dtype),
            max_model_len=whole(environment, "MAX_MODEL_LEN", cls.max_model_len),
            gpu_memory_utilization=_fraction(environment, "GPU_MEMORY_UTILIZATION", cls.gpu_memory_utilization),
            tensor_parallel_size=whole(environment, "TENSOR_PARALLEL_SIZE", cls.tensor_parallel_size),
            max_concurrency=whole(environment, "MAX_CONCURRENCY", cls.max_concurrency),
            max_images=whole(environment, "MAX_IMAGES", cls.max_images),
            max_pixels=whole(environment, "MAX_PIXELS", cls.max_pixels),
            request_timeout_s=_seconds(environment, "REQUEST_TIMEOUT", cls.request_timeout_s),
            startup_timeout_s=_seconds(environment, "VLLM_STARTUP_TIMEOUT", cls.startup_timeout_s),
            engine_python=environment.get("ENGINE_PYTHON") or cls.engine_python,
            engine_arguments=_words(environment, "VLLM_EXTRA_ARGS"),
            server_url=_url(environment, "OPENAI_BASE_URL"),
            server_key=environment.get("OPENAI_API_KEY", ""),
        )

    def left_s(self, took_s: float) -> float | None:
        """What is left of a request's time after its images were opened, which may have to be downloaded."""
        return max(0.0, self.request_timeout_s - took_s) if self.request_timeout_s else None

    @property
    def name(self) -> str:
        """What callers know the model by."""
        return self.served_name or self.model

    @property
    def server_shown(self) -> str:
        """The server's address without the name and password that may be in it."""
        parts = urlsplit(self.server_url)
        return urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2]))


def engine_environment(environment: Mapping[str, str]) -> dict[str, str]:
    """What the engine's process is told: all but RunPod's keys and addresses, which are none of its business.

    The hub's progress bars are for terminals, and nobody asked to be counted.
    """
    # Its socket is in a folder of ours alone; with a key of its own it would not know us.
    kept = {name: value for name, value in environment.items() if not name.startswith(("RUNPOD_", "VLLM_API_KEY"))}
    defaults = {
        "HF_HUB_DISABLE_TELEMETRY": "1",
        "VLLM_NO_USAGE_STATS": "1",
        "DO_NOT_TRACK": "1",
        "VLLM_CPU_KVCACHE_SPACE": "2",  # GiB; vLLM's own is half of the memory
        "PYTHONUNBUFFERED": "1",
    }
    path = os.pathsep.join(filter(None, (str(STARTUP), environment.get("PYTHONPATH"))))
    return {**defaults, **kept, "PYTHONPATH": path}


def _fraction(environment: Mapping[str, str], name: str, default: float) -> float:
    value = _number(environment, name, default)
    if not 0 < value <= 1:
        raise StartError(f"{name} must be above 0 and at most 1, not {value:g}")
    return value


def _seconds(environment: Mapping[str, str], name: str, default: float) -> float:
    value = _number(environment, name, default)
    if not 0 <= value <= 7 * 86_400:
        raise StartError(f"{name} must be seconds from 0 to 7 days, not {value:g}")
    return value


def _number(environment: Mapping[str, str], name: str, default: float) -> float:
    text = environment.get(name, "").strip()
    try:
        return float(text) if text else default
    except ValueError as error:
        raise StartError(f"{name} must be a number, not {text!r}") from error


def _words(environment: Mapping[str, str], name: str) -> tuple[str, ...]:
    try:
        return tuple(shlex.split(environment.get(name, "")))
    except ValueError as error:
        raise StartError(f"{name} has an unclosed quotation mark") from error


def _url(environment: Mapping[str, str], name: str) -> str:
    text = environment.get(name, "").strip().rstrip("/")
    try:
        parts = urlsplit(text)
        is_web = parts.scheme in ("http", "https") and bool(parts.hostname)
    except ValueError:
        is_web = False
    if text and not is_web:
        raise StartError(f"{name} must be an address such as http://127.0.0.1:11434/v1")
    return text
