"""What a worker downloads before its first job: which model, and where it can be asked for."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import NamedTuple

from vidctl.spec.weights import DEFAULT_REVISION, HUB_NAME, REVISION


class ModelDownload(NamedTuple):
    """A model's name, and the address that answers where it can be had."""

    model: str
    url: str
    is_hub: bool = False


def from_hub(repository: str, env: Mapping[str, str]) -> ModelDownload | None:
    """A model of the hub, as huggingface_hub asks for it; None for what is no name there."""
    if not re.fullmatch(HUB_NAME, repository):
        return None
    base = (env.get("HF_ENDPOINT") or "https://huggingface.co").rstrip("/")
    revision = env.get(REVISION) or DEFAULT_REVISION
    return ModelDownload(repository, f"{base}/api/models/{repository}/revision/{revision}", is_hub=True)
