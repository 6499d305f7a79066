"""Which weights `workers/yolo` downloads: Ultralytics' own, by their names."""

from __future__ import annotations

from collections.abc import Mapping

from vidctl.tasks.downloads import ModelDownload

RELEASE = "v8.3.0"  # the one that workers/yolo/weights.py asks for


def download(env: Mapping[str, str]) -> ModelDownload | None:
    """The file that the worker fetches where it finds none of that name; None for a path."""
    model = env.get("MODEL") or "yolo11m.pt"
    if "/" in model or not model.endswith(".pt"):
        return None
    return ModelDownload(model, f"https://github.com/ultralytics/assets/releases/download/{RELEASE}/{model}")
