"""Which model `workers/whisper` downloads: faster-whisper's names of repositories on huggingface.co, or any there."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from vidctl.tasks.downloads import ModelDownload, from_hub

_TURBO: Final = "mobiuslabsgmbh/faster-whisper-large-v3-turbo"
# faster-whisper 1.2.1, utils.py; other names are `Systran/faster-whisper-NAME`.
_ELSEWHERE: Final = {
    "large": "Systran/faster-whisper-large-v3",
    "large-v3-turbo": _TURBO,
    "turbo": _TURBO,
    "distil-large-v2": "Systran/faster-distil-whisper-large-v2",
    "distil-medium.en": "Systran/faster-distil-whisper-medium.en",
    "distil-small.en": "Systran/faster-distil-whisper-small.en",
    "distil-large-v3": "Systran/faster-distil-whisper-large-v3",
    "distil-large-v3.5": "distil-whisper/distil-large-v3.5-ct2",
}


def download(env: Mapping[str, str]) -> ModelDownload | None:
    """The model that the worker fetches where it finds no folder of that name; None for a path."""
    return from_hub(repository_of(env.get("MODEL") or "large-v3-turbo"), env)


def repository_of(model: str) -> str:
    """Where a model is on the hub."""
    return _ELSEWHERE.get(model) or (model if "/" in model else f"Systran/faster-whisper-{model}")
