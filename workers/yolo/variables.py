# Copied from workers/_shared/variables.py by `make sync-workers`: edit it there.
"""Read settings from environment variables; raise StartError naming one that makes no sense."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Mapping

_Default = TypeVar("_Default", bound="int | None")


class StartError(Exception):
    """The worker cannot start: one sentence for the log."""


def one_of(environment: Mapping[str, str], name: str, choices: tuple[str, ...], default: str) -> str:
    value = environment.get(name, "").strip().lower() or default
    if value not in choices:
        raise StartError(f"{name} must be one of {', '.join(choices)}, not {value!r}")
    return value


def whole(environment: Mapping[str, str], name: str, default: _Default) -> int | _Default:
    text = environment.get(name, "").strip()
    if not text:
        return default
    if not text.isdecimal() or not 1 <= int(text) <= 1 << 40:
        raise StartError(f"{name} must be a whole number from 1, not {text!r}")
    return int(text)


def cores() -> int:
    """How many this process may use, where the system says so."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def model_folder(environment: Mapping[str, str], worker: str) -> Path:
    """Where models are kept: MODEL_DIR, or the worker's own place in the user's cache."""
    if environment.get("MODEL_DIR"):
        return Path(environment["MODEL_DIR"]).absolute()
    cache = environment.get("XDG_CACHE_HOME")
    return (Path(cache) if cache else Path.home() / ".cache") / f"{worker}-worker"
