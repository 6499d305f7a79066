"""Who pushes and pulls."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True)
class Login:
    """A user of a registry."""

    username: str
    password: str = field(repr=False)
