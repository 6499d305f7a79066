"""What the environment variables say.  Light: the heavy libraries read theirs when imported, so this comes first."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

DEVICES = ("auto", "cpu", "cuda")
# CTranslate2's own, but for auto: float16 on a GPU, int8 on a CPU.
COMPUTE_TYPES = (
    "auto", "float16", "bfloat16", "float32", "int8", "int8_float16", "int8_bfloat16", "int8_float32", "int16",
)  # fmt: skip


class StartError(Exception):
    """The worker cannot start: one sentence for the log."""


@dataclass(frozen=True)
class Settings:
    """How this worker runs.

    `batch_size` None means what suits the device; `revision` empty means the one this worker knows the model by;
    `sha256` empty means that a model it does not know is not checked.  `volume` is where a job's paths must lie.
    """

    model: str = "large-v3-turbo"
    revision: str = ""
    sha256: str = ""
    device: str = "auto"
    compute_type: str = "auto"
    threads: int = 1
    batch_size: int | None = None
    max_concurrency: int = 2
    folder: Path = Path()
    volume: Path = Path("/runpod-volume")

    @classmethod
    def read(cls, environment: Mapping[str, str]) -> Settings:
        """Take the settings out of `environment`; raise StartError naming the variable that makes no sense."""
        return cls(
            model=environment.get("MODEL") or cls.model,
            revision=environment.get("MODEL_REVISION", ""),
            sha256=environment.get("MODEL_SHA256", "").lower(),
            device=_one_of(environment, "DEVICE", DEVICES),
            compute_type=_one_of(environment, "COMPUTE_TYPE", COMPUTE_TYPES),
            threads=_whole(environment, "THREADS") or _cores(),
            batch_size=_whole(environment, "BATCH_SIZE"),
            max_concurrency=_whole(environment, "MAX_CONCURRENCY") or cls.max_concurrency,
            folder=_folder(environment),
            volume=Path(environment.get("VOLUME") or cls.volume),
        )

    def apply(self) -> None:
        """Set what Hugging Face's libraries read at import, unless the user has set it: a log is no terminal."""
        for name, value in {
            "HF_HUB_DISABLE_PROGRESS_BARS": "1",
            "HF_HUB_DISABLE_TELEMETRY": "1",
            "HF_HUB_VERBOSITY": "critical",  # what fails is told as a StartError
        }.items():
            os.environ.setdefault(name, value)


def _one_of(environment: Mapping[str, str], name: str, choices: tuple[str, ...]) -> str:
    value = environment.get(name, "").strip().lower() or choices[0]
    if value not in choices:
        raise StartError(f"{name} must be one of {', '.join(choices)}, not {value!r}")
    return value


def _whole(environment: Mapping[str, str], name: str) -> int | None:
    text = environment.get(name, "").strip()
    if not text:
        return None
    if not text.isdecimal() or int(text) < 1:
        raise StartError(f"{name} must be a whole number from 1, not {text!r}")
    return int(text)


def _cores() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _folder(environment: Mapping[str, str]) -> Path:
    if environment.get("MODEL_DIR"):
        return Path(environment["MODEL_DIR"]).absolute()
    cache = environment.get("XDG_CACHE_HOME")
    return (Path(cache) if cache else Path.home() / ".cache") / "whisper-worker"
