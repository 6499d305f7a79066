"""Tell where the settings of a `task: describe` cannot hold: memory, disk, precision, version, time.  Pure.

Only what is sure is told: of a model, a worker or a setting that is not known here, nothing.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

from vidctl.kinds import OFFICIAL
from vidctl.runpod import gpus
from vidctl.spec.document import Location
from vidctl.spec.lint import SpecWarning, version_of
from vidctl.spec.model import EndpointSpec
from vidctl.spec.weights import BASE_URL, MODEL

GB = 10**9  # what disks and files are told in
GIB = 2**30  # what cards have: one of `24 GB` has 24 GiB, or a little less

# vLLM keeps this free of weights and cache: while it starts it runs the largest image and the longest prompt that it
# may be sent, and records CUDA graphs.  More images at once take more.
ALLOWANCE_GIB = 2
# Beside the weights a disk holds what vLLM compiles, and temporary files.
ROOM_GB = 3


@dataclass(frozen=True)
class Model:
    """What a model takes.  `linear` are the parameters of its language part's linear layers: FP8 is of these alone."""

    name: str
    parameters: int
    linear: int
    layers: int
    kv_heads: int = 8
    head_size: int = 128
    is_fp8: bool = False

    def weights(self, width: int) -> int:
        """Bytes of weights where a parameter takes `width` of them."""
        return self.parameters * width - (self.linear * (width - 1) if self.is_fp8 else 0)

    def cache(self, width: int) -> int:
        """Bytes that vLLM keeps of each token: a key and a value in each layer."""
        return 2 * self.layers * self.kv_heads * self.head_size * width


# Parameters: `safetensors.total` of each model at huggingface.co (8B: 8,767,123,696, two bytes each: 17.5 GB).  Layers,
# heads and sizes: `text_config` of its config.json, from which the linear layers follow: in each layer q, k, v, o and
# three matrices of the MLP.  What FP8 leaves out: `quantization_config` of the -FP8 models (8B: 10.6 GB).
_SIZES = {
    "2B": (2_127_532_032, 1_409_286_144, 28),
    "4B": (4_437_815_808, 3_633_315_840, 36),
    "8B": (8_767_123_696, 6_945_767_424, 36),
    "32B": (33_357_390_064, 31_205_621_760, 64),
}
_NAME = re.compile(r"Qwen/Qwen3-VL-(2B|4B|8B|32B)-(?:Instruct|Thinking)(-FP8)?")
_FAMILY = "Qwen/Qwen3-VL-"
LONGEST = 262_144  # `max_position_embeddings` of all of them

_WIDTHS = {"": 2, "auto": 2, "bfloat16": 2, "float16": 2, "half": 2, "float": 4, "float32": 4}
# What makes the weights, the cache or what one GPU holds of them another than is reckoned here.
_RECKONED_ELSEWHERE = frozenset({
    "CALCULATE_KV_SCALES", "CPU_OFFLOAD_GB", "DATA_PARALLEL_SIZE", "HF_OVERRIDES", "KV_CACHE_DTYPE",
    "KV_CACHE_MEMORY_BYTES", "KV_OFFLOADING_SIZE", "LOAD_FORMAT", "PIPELINE_PARALLEL_SIZE", "QUANTIZATION",
    "ROPE_SCALING", "SPECULATIVE_CONFIG", "VLLM_ALLOW_LONG_MAX_MODEL_LEN", "VLLM_CONFIG_FILE", "VLLM_EXTRA_ARGS",
})  # fmt: skip
_DOWNLOADED_ELSEWHERE = frozenset({"BASE_PATH", "DOWNLOAD_DIR", "HF_HOME", "HF_HUB_CACHE", "XDG_CACHE_HOME"})

_WHOLE = re.compile(r"[1-9][0-9]{0,11}")
_DECIMAL = re.compile(r"[0-9]{1,9}(?:\.[0-9]{0,9})?|\.[0-9]{1,9}")


@dataclass(frozen=True)
class _Form:
    """What the value of a variable must be."""

    words: str
    is_of: Callable[[str], object]


_NUMBER_FROM_1 = _Form("a whole number from 1", _WHOLE.fullmatch)
_OFFICIAL_FORMS = {
    # vLLM has spellings of its own, such as 8k and auto, which RunPod's worker hands on.
    "MAX_MODEL_LEN": _Form("a number of tokens", re.compile(r"[1-9][0-9]*|[0-9.]+[kKmMgG]|auto|-1").fullmatch),
    "TENSOR_PARALLEL_SIZE": _NUMBER_FROM_1,
    "MAX_CONCURRENCY": _NUMBER_FROM_1,
    "GPU_MEMORY_UTILIZATION": _Form(
        "a number above 0 and at most 1", lambda text: _DECIMAL.fullmatch(text) and 0 < float(text) <= 1
    ),
    "REQUEST_TIMEOUT": _Form("a number of seconds", _DECIMAL.fullmatch),
    "DTYPE": _Form("auto, bfloat16, float16 or float32", lambda text: text.lower() in _WIDTHS),
}
_FORMS = {**_OFFICIAL_FORMS, **dict.fromkeys(("MAX_MODEL_LEN", "MAX_IMAGES", "MAX_PIXELS"), _NUMBER_FROM_1)}

_OFFICIAL = re.compile(r"(?:(?:index\.)?docker\.io/)?runpod/worker-v1-vllm:([^@]+)(?:@.*)?")
_TAG = re.compile(r"v?([0-9]+)\.([0-9]+)\.([0-9]+)")
# Tags and Dockerfiles of github.com/runpod-workers/worker-vllm; vLLM 0.11.0 is the first with Qwen3-VL.
_FIRST_WITH_QWEN3_VL = (2, 9, 5)
_FIRST_WITH_CUDA_13 = (2, 19, 0)
_GOOD_TAG = "runpod/worker-v1-vllm:v2.25.2"


def lint(spec: EndpointSpec) -> list[SpecWarning]:
    """List what in a spec cannot hold at RunPod, and what its worker would not start with on the local runtime."""
    if spec.image.protocol not in (None, OFFICIAL["describe"]):
        return []
    model = known(spec.env.get(MODEL, ""))
    found = [
        *_unreadable(spec, spec.env, ("env",)),
        *_precision(spec),
        *_version(spec),
        *_time(spec, ()),
    ]
    if model is not None and not spec.env.get(BASE_URL):
        found += [*_length(spec), *_gpus(spec), *_memory(spec, model), *_disk(spec, model)]
    if spec.local is not None:
        found += _unreadable(spec, spec.local.env, ("local", "env"))
        if "REQUEST_TIMEOUT" in spec.local.env or spec.local.timeouts is not None:
            found += _time(spec.with_local(), ("local",))
    return found


def known(name: str) -> Model | None:
    """The model of this name at huggingface.co; None for one of which nothing is known here."""
    found = _NAME.fullmatch(name)
    return Model(name, *_SIZES[found[1]], is_fp8=found[2] is not None) if found else None


# --- settings that are no numbers ----------------------------------------------------------------------------------


def _unreadable(spec: EndpointSpec, env: Mapping[str, str], where: Location) -> Iterator[SpecWarning]:
    """The variables whose values the worker, or vLLM, would refuse as it starts; an empty one is as good as none."""
    for name, form in (_OFFICIAL_FORMS if spec.image.protocol else _FORMS).items():
        text = env.get(name, "").strip()
        if text and not form.is_of(text):
            yield SpecWarning((*where, name), f"{name} must be {form.words}", "the worker would not start")


def _whole(spec: EndpointSpec, name: str) -> int | None:
    text = spec.env.get(name, "").strip()
    return int(text) if _WHOLE.fullmatch(text) else None


def _dtype(spec: EndpointSpec) -> str:
    return spec.env.get("DTYPE", "").strip().lower()


def _number(spec: EndpointSpec, name: str) -> float | None:
    text = spec.env.get(name, "").strip()
    return float(text) if _DECIMAL.fullmatch(text) else None


# --- memory --------------------------------------------------------------------------------------------------------


def _length(spec: EndpointSpec) -> Iterator[SpecWarning]:
    tokens = _whole(spec, "MAX_MODEL_LEN")
    if tokens is not None and tokens > LONGEST and _RECKONED_ELSEWHERE.isdisjoint(spec.env):
        yield SpecWarning(
            ("env", "MAX_MODEL_LEN"), f"Qwen3-VL takes {LONGEST:,} tokens at most", "vLLM refuses to start"
        )


def _gpus(spec: EndpointSpec) -> Iterator[SpecWarning]:
    """GPUs that the model asks for and does not get, or that are paid for and not used."""
    requested, count = _whole(spec, "TENSOR_PARALLEL_SIZE"), spec.gpu.count
    used = requested or (None if spec.image.protocol else 1)
    if requested is not None and requested > count:
        message = f"TENSOR_PARALLEL_SIZE needs {requested} GPUs, and gpu.count is {count}"
        yield SpecWarning(("env", "TENSOR_PARALLEL_SIZE"), message, f"gpu: {{names: […], count: {requested}}}")
    elif used is not None and used < count and _RECKONED_ELSEWHERE.isdisjoint(spec.env):
        message = f"a worker has {count} GPUs, all paid for, and its model is on {used}"
        yield SpecWarning(("gpu", "count"), message, f'TENSOR_PARALLEL_SIZE: "{count}" shares the model among them')


def _memory(spec: EndpointSpec, model: Model) -> Iterator[SpecWarning]:
    """Whether weights and the cache of one longest sequence fit the smallest card that may be given."""
    tokens, part, width = _tokens(spec), _part(spec), _WIDTHS.get(_dtype(spec))
    if not (tokens and part and width and _RECKONED_ELSEWHERE.isdisjoint(spec.env)):
        return
    shares = _whole(spec, "TENSOR_PARALLEL_SIZE") or (spec.gpu.count if spec.image.protocol else 1)
    weights = model.weights(width) / shares
    per_token = model.cache(width) / min(shares, model.kv_heads)
    needed = weights + tokens * per_token + ALLOWANCE_GIB * GIB
    card = min(gpus.cards(spec.gpu.names, exact=spec.gpu.exact), key=lambda card: card.memory_gb)
    room = part * card.memory_gb * GIB
    if needed <= room:
        return
    fits = math.floor((room - weights - ALLOWANCE_GIB * GIB) / per_token / 256) * 256
    each = " on each GPU" if shares > 1 else ""
    message = (
        f"{model.name} needs {needed / GIB:.1f} GiB{each} ({weights / GIB:.1f} of weights,"
        f" {tokens * per_token / GIB:.1f} of cache for {tokens:,} tokens,"
        f" about {ALLOWANCE_GIB} for images and CUDA graphs), and {part:g} of {card.id}'s {card.memory_gb} GB"
        f" is {room / GIB:.1f}"
    )
    if fits > 0:
        yield SpecWarning(("env", "MAX_MODEL_LEN"), message, f'MAX_MODEL_LEN: "{fits}" fits; {_larger(needed, part)}')
    else:
        yield SpecWarning(("gpu",), message, _larger(needed, part))


def _tokens(spec: EndpointSpec) -> int | None:
    """MAX_MODEL_LEN, or what a worker takes without it; None where that is not known."""
    if spec.env.get("MAX_MODEL_LEN", "").strip():
        tokens = _whole(spec, "MAX_MODEL_LEN")
        return tokens if tokens and tokens <= LONGEST else None
    return LONGEST if spec.image.protocol else 8192


def _part(spec: EndpointSpec) -> float | None:
    """GPU_MEMORY_UTILIZATION, or what a worker takes without it; of worker-vllm's defaults the largest."""
    if spec.env.get("GPU_MEMORY_UTILIZATION", "").strip():
        part = _number(spec, "GPU_MEMORY_UTILIZATION")
        return part if part and part <= 1 else None
    return 0.95 if spec.image.protocol else 0.9


def _larger(needed: float, part: float) -> str:
    """The smallest pool that would do."""
    fitting = (pool for pool in sorted(gpus.POOLS, key=lambda pool: pool.memory_gb))
    for pool in fitting:
        if part * pool.memory_gb * GIB >= needed:
            return f"{pool.id} has {pool.memory_gb} GB"
    return "no GPU has that much: share the model among several with TENSOR_PARALLEL_SIZE and gpu.count"


# --- disk, precision, version, time --------------------------------------------------------------------------------


def _disk(spec: EndpointSpec, model: Model) -> Iterator[SpecWarning]:
    """Whether the disk holds weights that are downloaded to it."""
    is_on_volume = spec.network_volume is not None and spec.image.protocol is not None
    if spec.weights is not None or is_on_volume or not _DOWNLOADED_ELSEWHERE.isdisjoint(spec.env):
        return
    size = model.weights(2)
    hint = f"disk: {math.ceil(size / GB + 2 * ROOM_GB)}GB; or weights: cache, which needs no room there"
    if spec.image.protocol:
        hint += " (/runpod-volume is on this disk, unless there is a network volume or the cache)"
    if size > spec.disk_gb * GIB:
        message = f"{model.name} is downloaded to this disk: {size / GB:.1f} GB of weights do not fit {spec.disk_gb} GB"
        yield SpecWarning(("disk",), message, hint)
    elif size + ROOM_GB * GB > spec.disk_gb * GB:
        message = f"{model.name} is downloaded to this disk: {size / GB:.1f} GB of weights barely fit {spec.disk_gb} GB"
        yield SpecWarning(("disk",), message, hint)


def _precision(spec: EndpointSpec) -> Iterator[SpecWarning]:
    if spec.env.get(MODEL, "").startswith(_FAMILY) and _dtype(spec) in ("float16", "half"):
        message = "Qwen3-VL's weights are bfloat16; float16 has a narrower range, in which its vision part may overflow"
        yield SpecWarning(("env", "DTYPE"), message, "DTYPE: bfloat16")


def _version(spec: EndpointSpec) -> Iterator[SpecWarning]:
    """Whether this version of RunPod's worker can load Qwen3-VL, and runs on the machines that may be given."""
    image = _OFFICIAL.fullmatch(spec.image.reference or "")
    if image is None or not spec.env.get(MODEL, "").startswith(_FAMILY):
        return
    found = _TAG.fullmatch(image[1])
    version = tuple(map(int, found.groups())) if found else None
    if "stable-cuda" in image[1]:
        message = "tags …stable-cuda… of worker-vllm have vLLM 0.8.4 at most, and Qwen3-VL needs 0.11.0"
        yield SpecWarning(("image", "reference"), message, _GOOD_TAG)
    elif version is not None and version < _FIRST_WITH_QWEN3_VL:
        message = "worker-vllm has vLLM 0.10.0 at most before v2.9.5, and Qwen3-VL needs 0.11.0"
        yield SpecWarning(("image", "reference"), message, _GOOD_TAG)
    elif version is not None and version >= _FIRST_WITH_CUDA_13:
        yield from _cuda(spec)


def _cuda(spec: EndpointSpec) -> Iterator[SpecWarning]:
    versions = [*spec.cuda, *([spec.min_cuda] if spec.min_cuda else [])]
    older = [each for each in versions if version_of(each) < (13, 0)]
    if older or not versions:
        field = "min_cuda" if spec.min_cuda else "cuda"
        allowed = f"{field}: allows {', '.join(older)}" if older else "without cuda: a machine may have an older one"
        message = f"worker-vllm needs CUDA 13.0 since v2.19.0, and {allowed}"
        yield SpecWarning((field,) if older else ("image",), message, 'min_cuda: "13.0"')


def _time(spec: EndpointSpec, where: Location) -> Iterator[SpecWarning]:
    """Whether the worker ends a request by itself before its job is stopped; 0 is no limit of its own."""
    limit_s, execution_s = _number(spec, "REQUEST_TIMEOUT"), spec.timeouts.execution_s
    if limit_s and limit_s >= execution_s:
        message = (
            f"a request may take {limit_s:g} s, and timeouts.execution stops its job after {execution_s} s:"
            " what was generated by then is lost"
        )
        yield SpecWarning((*where, "env", "REQUEST_TIMEOUT"), message, f'REQUEST_TIMEOUT: "{max(1, execution_s - 10)}"')
