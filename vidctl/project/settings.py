"""Where the project is, which RunPod to speak to and with which key.

Flags take precedence over the environment, then `.env`, then vidctl.yaml, then the defaults.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from vidctl.errors import AuthError, UsageError
from vidctl.project import configs, env_file

if TYPE_CHECKING:
    pass


Target = Literal["local", "runpod"]
ControlPlane = Literal["graphql", "rest"]

# The names that RunPod's own SDK reads (runpod-python: runpod/__init__.py, api/graphql.py), and its defaults.
API_BASE_URL = "https://api.runpod.io"
ENDPOINT_BASE_URL = "https://api.runpod.ai/v2"


@dataclass(frozen=True)
class Access:
    """The two base URLs and the key; `target` only chooses the name under which endpoint ids are remembered."""

    target: Target
    api_base_url: str
    endpoint_base_url: str
    api_key: str = field(repr=False)
    has_rate_limits: bool = True


@dataclass(frozen=True)
class Project:
    """A folder with `configs/`, its `.env` and its `.vidctl/`; `environ` is the environment laid over `.env`."""

    root: Path
    environ: Mapping[str, str] = field(repr=False)

    @property
    def env_file(self) -> Path:
        return self.root / ".env"

    @property
    def has_settings(self) -> bool:
        """Whether it has a vidctl.yaml; reading it (`spec.settings_of`) takes longer than all else before a request."""
        return (self.root / "vidctl.yaml").exists()

    @property
    def journal_file(self) -> Path:
        return self.root / ".vidctl" / "journal.db"


def open_project(start: Path, environ: Mapping[str, str]) -> Project:
    """The project that holds `start`: the nearest folder upwards with `configs/`, else `start` itself."""
    start = start.resolve()
    root = next((folder for folder in (start, *start.parents) if (folder / "configs").is_dir()), start)
    return Project(root, {**env_file.variables(root / ".env", environ), **environ})


def choose_target(project: Project, flag: str | None, *, default: Target | None = None) -> tuple[Target, bool]:
    """The target, and whether it was chosen for want of a key: then it is worth a line to the user.

    `default` is what vidctl.yaml says.
    """
    wanted = flag or project.environ.get("VIDCTL_TARGET", default)
    if wanted is None:
        return ("runpod", False) if project.environ.get("RUNPOD_API_KEY") else ("local", True)
    if wanted not in ("local", "runpod"):
        raise UsageError(f"invalid target {wanted!r}", hint="use --target local or --target runpod")
    return ("local" if wanted == "local" else "runpod"), False


def control_plane(project: Project, from_file: ControlPlane | None) -> ControlPlane:
    """RunPod's control plane: VIDCTL_CONTROL's, else what vidctl.yaml says, else GraphQL; raise UsageError."""
    wanted = project.environ.get("VIDCTL_CONTROL", from_file or "graphql")
    if wanted not in ("graphql", "rest"):
        raise UsageError(f"invalid VIDCTL_CONTROL {wanted!r}", hint="set it to graphql or rest")
    return "rest" if wanted == "rest" else "graphql"


def runpod_access(project: Project) -> Access:
    """RunPod's URLs, or those that its SDK's variables name, and the key; raise AuthError without one."""
    api_key = project.environ.get("RUNPOD_API_KEY", "").strip()
    if not api_key:
        raise AuthError(
            "RUNPOD_API_KEY is not set",
            hint="set it in the environment or in .env, or use --target local, which needs no key",
        )
    # A key with other bytes in it cannot go in an HTTP header, and the library's error would show it.
    if not re.fullmatch(r"[!-~]+", api_key):
        raise AuthError("invalid RUNPOD_API_KEY: unexpected characters", hint="copy it again, without quotes or spaces")
    return Access(
        target="runpod",
        api_base_url=_base_url(project, "RUNPOD_API_BASE_URL", API_BASE_URL),
        endpoint_base_url=_base_url(project, "RUNPOD_ENDPOINT_BASE_URL", ENDPOINT_BASE_URL),
        api_key=api_key,
    )


def local_port(project: Project) -> int | None:
    """VIDCTL_LOCAL_PORT, None when it is not set."""
    word = project.environ.get("VIDCTL_LOCAL_PORT", "").strip()
    if not word:
        return None
    if not (word.isascii() and word.isdigit() and 0 < int(word) < 65536):
        raise UsageError(f"invalid VIDCTL_LOCAL_PORT {word!r}", hint="set it to a number from 1 to 65535")
    return int(word)


def endpoint_id_name(spec_key: str, target: Target) -> str:
    """`VIDCTL_YOLO_ENDPOINT_ID`, or `…_LOCAL`: under which name a spec's endpoint id stands in `.env`."""
    word = re.sub(r"[^A-Z0-9]+", "_", spec_key.upper()).strip("_")
    return f"VIDCTL_{word}_ENDPOINT_ID" + ("_LOCAL" if target == "local" else "")


def require_own_names(root: Path, keys: Iterable[str]) -> None:
    """Raise UsageError for a spec whose endpoint's id would stand in `.env` under another spec's name."""
    taken: dict[str, list[str]] = {}
    for key in configs.keys(root):
        taken.setdefault(endpoint_id_name(key, "runpod"), []).append(key)
    for key in keys:
        name = endpoint_id_name(key, "runpod")
        if others := [each for each in taken.get(name, []) if each != key]:
            raise UsageError(
                f"{key} and {others[0]} would both keep their endpoint's id as {name}", hint="rename one of the files"
            )


def _base_url(project: Project, name: str, default: str) -> str:
    url = project.environ.get(name, "").strip() or default
    if not re.match(r"https?://[^\s/]+", url):
        raise UsageError(f"invalid {name} {url!r}: expected an http(s) URL", hint=f"write it like {default}")
    return url.rstrip("/")
