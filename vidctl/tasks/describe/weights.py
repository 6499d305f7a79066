"""Which model `workers/qwen-vl` and worker-vllm download."""

from __future__ import annotations

from collections.abc import Mapping

from vidctl.spec.weights import MODEL
from vidctl.tasks.downloads import ModelDownload, from_hub


def download(env: Mapping[str, str]) -> ModelDownload | None:
    """The model on the hub; None for a path."""
    return from_hub(env.get(MODEL, "").strip() or "Qwen/Qwen3-VL-8B-Instruct", env)
