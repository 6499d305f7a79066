"""The worker's settings, from environment variables.  Imported first: heavy libraries read theirs when imported."""

from __future__ import annotations

import ctypes
import os
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import variables
from variables import StartError

if TYPE_CHECKING:
    from collections.abc import Mapping

WORKER = "yolo"
FORMATS = ("auto", "pytorch", "openvino")

# glibc's mallopt (malloc.h): one heap for all threads, which keeps arrays up to 32 MB and what is free at its end.  By
# default a thread's large arrays go back to the system after each layer and come anew, a sixth of a batch on a CPU.
_MALLOC = {-8: 1, -3: 32 << 20, -1: (1 << 31) - 1}  # M_ARENA_MAX, M_MMAP_THRESHOLD, M_TRIM_THRESHOLD


@dataclass(frozen=True)
class Settings:
    """How this worker runs.

    `half` None means on CUDA only; `max_batch` None means 8 on a CPU, 32 on a GPU; `sha256` empty means that the
    digest Ultralytics' own weights are known by is checked and no other.
    """

    model: str = "yolo11m.pt"
    sha256: str = ""
    device: str = "auto"
    half: bool | None = None
    format: str = "auto"
    max_concurrency: int = 8
    max_batch: int | None = None
    threads: int = 1
    folder: Path = Path()

    @classmethod
    def read(cls, environment: Mapping[str, str]) -> Settings:
        """Take the settings out of `environment`; raise StartError naming an invalid variable."""
        return cls(
            model=environment.get("MODEL") or cls.model,
            sha256=environment.get("MODEL_SHA256", "").lower(),
            device=environment.get("DEVICE") or cls.device,
            half=_flag(environment, "HALF"),
            format=variables.one_of(environment, "FORMAT", FORMATS, cls.format),
            max_concurrency=variables.whole(environment, "MAX_CONCURRENCY", cls.max_concurrency),
            max_batch=variables.whole(environment, "MAX_BATCH", cls.max_batch),
            threads=variables.whole(environment, "THREADS", variables.cores()),
            folder=variables.model_folder(environment, WORKER),
        )

    def apply(self) -> None:
        """Set what torch and Ultralytics read at import, unless the user has set it.

        Ultralytics sets OMP_NUM_THREADS=1 where it finds none, which halves a CPU worker's speed and more.
        """
        for name, value in {
            "OMP_NUM_THREADS": str(self.threads),
            "ULTRALYTICS_SAFE_LOAD": "1",  # weights are pickles: only tensors and known layers come out of them
            "ULTRALYTICS_SKIP_REQUIREMENTS_CHECKS": "1",
            "YOLO_AUTOINSTALL": "false",
            "YOLO_CONFIG_DIR": str(self.folder / "ultralytics"),
            "YOLO_OFFLINE": "true",
            "YOLO_VERBOSE": "false",
        }.items():
            os.environ.setdefault(name, value)
        with suppress(AttributeError, OSError, TypeError):  # another C library has no such function
            mallopt = ctypes.CDLL(None).mallopt
            for option, number in _MALLOC.items():
                mallopt(option, number)
        try:
            Path(os.environ["YOLO_CONFIG_DIR"]).mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise StartError(f"cannot write to {self.folder}: {error.strerror}; set MODEL_DIR to a folder") from error


def _flag(environment: Mapping[str, str], name: str) -> bool | None:
    text = environment.get(name, "").strip().lower()
    if text in ("", "auto"):
        return None
    if text in ("1", "true", "yes", "0", "false", "no"):
        return text in ("1", "true", "yes")
    raise StartError(f"{name} must be auto, true or false, not {text!r}")
