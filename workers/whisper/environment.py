"""What the environment variables say.  Light: the heavy libraries read theirs when imported, so this comes first."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import variables

if TYPE_CHECKING:
    from collections.abc import Mapping

WORKER = "whisper"
DEVICES = ("auto", "cpu", "cuda")
# CTranslate2's own, but for auto: float16 on a GPU, int8 on a CPU.
COMPUTE_TYPES = (
    "auto", "float16", "bfloat16", "float32", "int8", "int8_float16", "int8_bfloat16", "int8_float32", "int16",
)  # fmt: skip


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
            device=variables.one_of(environment, "DEVICE", DEVICES, cls.device),
            compute_type=variables.one_of(environment, "COMPUTE_TYPE", COMPUTE_TYPES, cls.compute_type),
            threads=variables.whole(environment, "THREADS", variables.cores()),
            batch_size=variables.whole(environment, "BATCH_SIZE", cls.batch_size),
            max_concurrency=variables.whole(environment, "MAX_CONCURRENCY", cls.max_concurrency),
            folder=variables.model_folder(environment, WORKER),
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
