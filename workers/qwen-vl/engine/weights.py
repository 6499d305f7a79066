"""Find the folder of a model's weights, or download them; an error is one sentence.

python weights.py        # what MODEL_NAME names is ready
"""

from __future__ import annotations

import json
import os
import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

HERE = Path(__file__).resolve().parent
BAKED = Path("/models/hub")  # where the image's Dockerfile downloads to
# RunPod mounts a network volume here, and shows models of its cache in the same folder of it (RunPod docs,
# serverless/endpoints/model-caching; worker-vllm reads them from there as well).
VOLUME = Path("/runpod-volume")
VOLUME_HUB = VOLUME / "huggingface-cache" / "hub"
# Transformers' formats of the same weights, and images of the model card.
INDEX = "model.safetensors.index.json"
UNUSED = ["*.pth", "*.pt", "original/*", "*.gguf", "*.onnx", "*.png", "*.jpg", "*.mp4"]


class WeightsError(Exception):
    """The weights cannot be found or downloaded: one sentence that says why, and what to do."""


def find(
    name: str, revision: str, environment: Mapping[str, str], *, notify: Callable[[str], None] = lambda _: None
) -> Path:
    """Give the folder that holds the model: a path as it is, a name from where WEIGHTS says, else downloaded.

    `name` is a folder or an owner/name of huggingface.co.  Raises WeightsError.
    """
    folder = _folder(name)
    if folder is not None:
        return _checked(folder)
    for hub in (BAKED, VOLUME_HUB, _home_hub(environment)):
        if found := _snapshot(hub, name, revision):
            return found
    return _downloaded(name, revision, environment, notify)


def limits(folder: Path) -> dict[str, int]:
    """What the model's processor makes of an image, for counting its tokens: pixels at least and at most.

    Transformers writes them as `size` with `shortest_edge` and `longest_edge`, which are pixels in all.
    """
    for name, key in (("processor_config.json", "image_processor"), ("preprocessor_config.json", None)):
        try:
            config = json.loads((folder / name).read_text(encoding="utf-8"))
        except (OSError, ValueError):
            continue
        size = ((config.get(key) or {}) if key else config).get("size")
        if not isinstance(size, dict):
            continue
        if isinstance(size.get("shortest_edge"), int) and isinstance(size.get("longest_edge"), int):
            return {"min_pixels": size["shortest_edge"], "max_pixels": size["longest_edge"]}
    return {}


def _folder(name: str) -> Path | None:
    path = Path(name).expanduser()
    for folder in (Path.cwd() / path, HERE.parent / path):
        if folder.is_dir():
            return folder
    if path.is_absolute() or name.startswith(".") or name.count("/") != 1:
        raise WeightsError(f"invalid MODEL_NAME {name}: expected a folder or an owner/name of huggingface.co")
    return None


def _checked(folder: Path) -> Path:
    if missing := _missing(folder):
        raise WeightsError(f"{folder} is not a model: {missing} is missing")
    return folder


def _missing(folder: Path) -> str | None:
    """The first kind of file that every model has, and this folder has not."""
    kinds = ("config.json", "*.safetensors", "tokenizer*.json")
    return next((kind for kind in kinds if not any(folder.glob(kind))), None)


def _snapshot(hub: Path, name: str, revision: str) -> Path | None:
    """A complete model in a cache folder of Hugging Face's, without asking anybody.

    A download that was cut short leaves a folder with some of the files, and may go on while we look.
    """
    repository = hub / f"models--{name.replace('/', '--')}"
    if not repository.is_dir():
        return None
    named = repository / "refs" / (revision or "main")
    commit = named.read_text(encoding="utf-8").strip() if named.is_file() else revision
    candidates = [repository / "snapshots" / commit] if commit else sorted((repository / "snapshots").glob("*"))
    return next((one for one in candidates if _is_whole(one)), None)


def _is_whole(folder: Path) -> bool:
    """Whether all files that the model needs are there: each shard that its index names."""
    there = {one.name for one in folder.glob("*.safetensors") if one.is_file()}
    index = folder / INDEX
    try:
        needed = set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values()) if index.is_file() else set()
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return False
    # Shards come with an index, which may come last.
    if not needed and any("-of-" in name for name in there):
        return False
    return bool(there) and needed <= there and _missing(folder) is None


def _downloaded(name: str, revision: str, environment: Mapping[str, str], notify: Callable[[str], None]) -> Path:
    from huggingface_hub import snapshot_download

    hub = _hub(environment)
    if environment.get("WEIGHTS") == "cache":
        notify(f"RunPod's model cache has no {name} here: downloading it, which costs time at each cold start")
    elif environment.get("WEIGHTS") == "bake":
        notify(f"the image has no {name} in it: downloading it, which costs time at each cold start")
    try:
        _check_room(name, revision, hub, environment)
        notify(f"downloading {name} to {hub}")
        return Path(
            snapshot_download(
                name,
                revision=revision or None,
                cache_dir=hub,
                token=environment.get("HF_TOKEN") or None,
                ignore_patterns=UNUSED,
            )
        )
    except Exception as error:  # the hub's own tree changes with its version, its HTTP library too
        raise _why(name, error, environment) from error


def _hub(environment: Mapping[str, str]) -> Path:
    """Where to download to: the network volume, if that is what WEIGHTS says, else Hugging Face's usual cache."""
    if environment.get("WEIGHTS") == "volume":
        if not VOLUME.is_dir():
            raise WeightsError(f"WEIGHTS=volume, but no network volume at {VOLUME}: add one to the spec")
        return VOLUME_HUB
    return _home_hub(environment)


def _home_hub(environment: Mapping[str, str]) -> Path:
    """Hugging Face's usual cache, by the variables that its libraries read."""
    caches = environment.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    home = environment.get("HF_HOME") or Path(caches, "huggingface")
    return Path(environment.get("HF_HUB_CACHE") or Path(home, "hub"))


def _check_room(name: str, revision: str, hub: Path, environment: Mapping[str, str]) -> None:
    """Find out before 17 GB are half there."""
    from huggingface_hub import HfApi

    info = HfApi(token=environment.get("HF_TOKEN") or None).model_info(
        name, revision=revision or None, files_metadata=True
    )
    needed = sum(one.size or 0 for one in info.siblings or () if one.rfilename.endswith(".safetensors"))
    place = next(path for path in (hub, *hub.parents) if path.exists())
    blobs = hub / f"models--{name.replace('/', '--')}" / "blobs"
    needed -= sum(one.stat().st_size for one in blobs.glob("*"))  # what an earlier start has downloaded of it
    free = shutil.disk_usage(place).free
    if needed > free:
        raise WeightsError(
            f"{name} needs {needed / 1e9:.1f} GB and {place} has room for {free / 1e9:.1f} GB: "
            "give the endpoint a larger disk, or set weights: cache or volume"
        )


def _why(name: str, error: Exception, environment: Mapping[str, str]) -> WeightsError:
    """What the hub's exception means; by its name, for what it is derived from has changed more than once."""
    if isinstance(error, WeightsError):
        return error
    kinds = {kind.__name__ for kind in type(error).__mro__}
    status = getattr(getattr(error, "response", None), "status_code", None)
    if "GatedRepoError" in kinds or status == 403:
        return WeightsError(f"{name} is gated: accept its licence on huggingface.co, and give the worker your HF_TOKEN")
    if "RepositoryNotFoundError" in kinds or status == 401:
        token = "HF_TOKEN is not for it" if environment.get("HF_TOKEN") else "it is private and HF_TOKEN is not set"
        return WeightsError(f"model {name} not found on huggingface.co: the name is wrong, or {token}")
    if "RevisionNotFoundError" in kinds:
        return WeightsError(f"revision of {name} not found: correct MODEL_REVISION")
    if isinstance(error, PermissionError):
        return WeightsError(f"cannot download {name}: {error.filename} is not writable")
    if isinstance(error, OSError) and error.errno == 28:
        return WeightsError(f"the disk is full: {name} does not fit; give the endpoint a larger one")
    return WeightsError(
        f"cannot download {name} from huggingface.co ({type(error).__name__}): "
        "it cannot be reached from here; set MODEL_NAME to a folder that holds the model (on the local "
        "runtime: VIDCTL_QWEN_VL_MODEL)"
    )


def main() -> None:
    name = os.environ.get("MODEL_NAME") or "Qwen/Qwen3-VL-8B-Instruct"
    try:
        folder = find(name, os.environ.get("MODEL_REVISION", ""), os.environ, notify=_write)
    except WeightsError as error:
        sys.exit(f"qwen-vl worker: {error}")
    _write(f"{folder.name if folder.name == Path(name).name else name} is ready")


def _write(text: Any) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
