"""Where a worker's model is: the variables and build arguments that tell it, and RunPod's model cache."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Literal

from vidctl.spec.fields import Environment, wrong

# Variables, and build arguments, of a worker that is told where its model is.
BASE_URL = "OPENAI_BASE_URL"
MODEL, REVISION, WEIGHTS = "MODEL_NAME", "MODEL_REVISION", "WEIGHTS"
DEFAULT_REVISION = "main"  # of a repository at Hugging Face
Weights = Literal["cache", "volume", "bake"]
# As huggingface_hub checks a repository's name; a revision is a git ref, which has no colon.
HUB_NAME = r"(?=.{3,96}\Z)[A-Za-z0-9][A-Za-z0-9_.-]*/[A-Za-z0-9][A-Za-z0-9_.-]*"
_HUB_REVISION = r"(?:[A-Za-z0-9][A-Za-z0-9._/-]{0,199})?"


def require_repository(weights: Weights, env: Environment) -> None:
    """Raise for a MODEL_NAME that Hugging Face does not have, or a MODEL_REVISION that cannot be one."""
    if MODEL not in env:
        raise wrong(f"weights: {weights} needs {MODEL} in env:", hint=f"{MODEL}: Qwen/Qwen3-VL-8B-Instruct, for one")
    if not re.fullmatch(HUB_NAME, env[MODEL]):
        rule = f"weights: {weights} needs the name of a model at huggingface.co here"
        raise wrong(rule, hint="write it like Qwen/Qwen3-VL-8B-Instruct", beside=("env", MODEL))
    if not re.fullmatch(_HUB_REVISION, env.get(REVISION, "")):
        raise wrong(
            "invalid revision: expected a branch, a tag or a commit", hint="write main", beside=("env", REVISION)
        )


def references(env: Environment) -> tuple[str, ...]:
    """What RunPod's model cache is to hold, as its API spells it."""
    return (f"https://huggingface.co/{env[MODEL]}:{env.get(REVISION) or DEFAULT_REVISION}",)


def image_args(weights: Weights | None, env: Environment) -> dict[str, str]:
    """What `weights` asks of the Dockerfile; never a secret, HF_TOKEN for one: an image shows its arguments."""
    if weights == "bake":
        return {**{name: env[name] for name in (MODEL, REVISION) if name in env}, "BAKE": "1"}
    # RunPod mounts a network volume as root's, and the worker must write to it.
    return {"RUN_AS": "0"} if weights == "volume" else {}


def with_full_paths(env: Environment, folder: Path) -> Environment:
    """Let weights that lie in the project be found from there: a worker has a working folder of its own."""
    # `base` is the name of a model, whatever else the project has of that name.
    named = [name for name in ("MODEL", MODEL) if re.search(r"/|\.pt$", env.get(name, ""))]
    paths = {name: folder / Path(env[name]).expanduser() for name in named}
    return env | {name: str(path.absolute()) for name, path in paths.items() if path.exists()}
