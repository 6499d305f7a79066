"""What an image says of where it comes from."""

from __future__ import annotations

import hashlib
import os
import re
import subprocess
from collections.abc import Mapping
from pathlib import Path

from vidctl import __version__

CONTENT = "vidctl.content"
PROJECT = "vidctl.project"
SPEC = "vidctl.spec"
_STEP = re.compile(r"LABEL (?:vidctl\.|org\.opencontainers\.image\.(?:revision|source)=)")


def is_ours(step: str) -> bool:
    """Whether a step is one that `labels` adds to a Dockerfile's own: the classic builder makes a step of each."""
    return bool(_STEP.search(step))


def project_of(root: Path) -> str:
    """What tells a project's images from another's on one machine: its folder, which nobody can read from it."""
    return hashlib.sha256(os.fsencode(root.resolve())).hexdigest()[:16]


def labels(key: str, content: str, folder: Path, environ: Mapping[str, str], *, project: str) -> dict[str, str]:
    """The labels of an image; the revision only from a git work tree without changes, the source without passwords."""
    known = {
        CONTENT: content,
        SPEC: key,
        PROJECT: project,
        "vidctl.version": __version__,
        "org.opencontainers.image.revision": _revision(folder, environ),
        "org.opencontainers.image.source": _source(folder, environ),
    }
    return {name: value for name, value in known.items() if value}


def _revision(folder: Path, environ: Mapping[str, str]) -> str | None:
    return _git(folder, environ, "rev-parse", "HEAD") if _git(folder, environ, "status", "--porcelain") == "" else None


def _source(folder: Path, environ: Mapping[str, str]) -> str | None:
    """The remote's URL without the user, who may be a token; a path on this machine is nobody's business."""
    url = _git(folder, environ, "remote", "get-url", "origin") or ""
    if found := re.fullmatch(r"((?:https?|ssh|git)://)(?:[^/]*@)?([^?#]+)(?:[?#].*)?", url):
        return found[1] + found[2]
    return url if re.fullmatch(r"git@[\w.-]+:[^:@?#]+", url) else None


def _git(folder: Path, environ: Mapping[str, str], *arguments: str) -> str | None:
    """What git says, None when it is not there or this is no work tree."""
    settings = {name: value for name, value in environ.items() if not name.startswith("GIT_")}
    try:
        done = subprocess.run(
            ["git", "-C", os.fspath(folder), *arguments],
            env={**settings, "GIT_OPTIONAL_LOCKS": "0"},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=30,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.decode(errors="replace").strip() if done.returncode == 0 else None
