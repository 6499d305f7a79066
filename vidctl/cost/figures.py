"""How long the shipped workers' models take on GPUs that somebody measured, with where that stands.

A figure is of the model alone: what a worker adds (decoding, JSON, the way through the queue) is not in it.  Where
there is none for a card, none is guessed.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from vidctl.runpod import gpus

UNITS = {"detect": "image", "transcribe": "minute of audio", "describe": "answer"}
"""What is counted of each task; of any other worker it is the call."""

_MODEL_VARIABLES = {"detect": "MODEL", "transcribe": "MODEL", "describe": "MODEL_NAME"}


@dataclass(frozen=True)
class Figure:
    """Seconds of a unit (see UNITS) on a card, as `source` has it."""

    task: str
    model: str
    card: str
    unit_s: float
    source: str

    @property
    def pool(self) -> str | None:
        """The pool that has the card; None for one that RunPod Serverless does not rent."""
        try:
            return gpus.resolve(self.card).pool.id
        except gpus.UnknownGpuError:
            return None


FIGURES = (
    Figure(
        "detect", "yolo11m", "T4", 0.0047,
        "YOLO11m at 640 pixels with TensorRT: docs.ultralytics.com/models/yolo11",
    ),
    Figure(
        "transcribe", "large-v3-turbo", "RTX 2080 Ti", 60 * 19.155 / (13 * 60),
        "faster-whisper fp16, 13 minutes in 19.155 s, WER 1.919: github.com/SYSTRAN/faster-whisper/pull/1030",
    ),
    Figure(
        "transcribe", "large-v3-turbo", "RTX 4070 Ti", 60 / 56,
        "faster-whisper 1.2.1, 56 times real time: x2q.net/post/whisper-backend-shootout",
    ),
    Figure(
        "transcribe", "large-v3-turbo", "RTX 5090", 60 / 117,
        "117 times real time: huggingface.co/datasets/witcheer/sovereign-asr-bench",
    ),
    Figure(
        "transcribe", "large-v3-turbo", "H100 SXM", 60 * 0.201 / 120,
        "Transformers, 120 s in 0.201 s: inferencebench.io/blog/whisper-large-v3-turbo-597x-realtime-asr-benchmark",
    ),
    Figure(
        "transcribe", "large-v3", "RTX 3090", 60 * 0.09,
        "faster-whisper fp16, 10 minutes at 0.09 of real time: gigagpu.com/whisper-large-v3-rtf-by-gpu",
    ),
    Figure(
        "transcribe", "large-v3", "RTX 5090", 60 * 0.04,
        "faster-whisper fp16, 10 minutes at 0.04 of real time: gigagpu.com/whisper-large-v3-rtf-by-gpu",
    ),
)  # fmt: skip


def figures_for(task: str | None, env: Mapping[str, str]) -> tuple[Figure, ...]:
    """Those of the model that a worker with these variables runs."""
    name = env.get(_MODEL_VARIABLES.get(task or "", ""), "")
    model = name.rpartition("/")[2].removesuffix(".pt").removeprefix("faster-whisper-").removeprefix("whisper-")
    aliases = {"turbo": "large-v3-turbo"}
    return tuple(each for each in FIGURES if (each.task, each.model) == (task, aliases.get(model, model)))


def of_pools(figures: tuple[Figure, ...], pools: tuple[str, ...]) -> Figure | None:
    """The slowest of the figures of these pools' cards: RunPod may give any of them."""
    return max((each for each in figures if each.pool in pools), key=lambda each: each.unit_s, default=None)
