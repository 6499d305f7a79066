"""In which order and under which titles the help lists the commands."""

from __future__ import annotations

from collections.abc import Iterable

OTHERS = "Other"
GROUPS: dict[str, tuple[str, ...]] = {
    "Start": ("init", "doctor", "config", "validate", "schema", "help"),
    "Call": ("detect", "transcribe", "describe", "run", "jobs", "health", "purge"),
    "See": ("list", "status", "logs", "why", "bench"),
    "Act": (
        "plan", "deploy", "scale", "restart", "rollback", "history", "destroy", "gc",
    ),
    "Pay": ("cost",),
    "Images": ("build", "push", "images", "registry"),
    "Local": ("local",),
}  # fmt: skip


def of(commands: Iterable[str]) -> dict[str, list[str]]:
    """The commands by their groups; those in none come last."""
    there = set(commands)
    found = {title: [name for name in names if name in there] for title, names in GROUPS.items()}
    found[OTHERS] = sorted(there.difference(*found.values()))
    return {title: names for title, names in found.items() if names}
